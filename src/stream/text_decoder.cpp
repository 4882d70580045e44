#include <algorithm>
#include <string>

#include "line_decoder.hpp"

namespace weir::stream {

namespace {

std::string_view without_byte_order_mark(std::string_view line) noexcept {
  return line.starts_with("\xEF\xBB\xBF") ? line.substr(3) : line;
}

std::string_view without_line_end(std::string_view line) noexcept {
  return line.ends_with('\r') ? line.substr(0, line.size() - 1) : line;
}

/// Takes the fields of a line one by one. Commas separate where there is one, else tabs, else runs of blanks.
class FieldCursor {
 public:
  explicit FieldCursor(std::string_view line) noexcept
      : rest_(line),
        separator_(line.find(',') != std::string_view::npos    ? ','
                   : line.find('\t') != std::string_view::npos ? '\t'
                                                               : ' ') {}

  /// False after the last field.
  bool next(std::string_view& field) noexcept {
    if (finished_) return false;
    const std::size_t end = rest_.find(separator_);
    field = trim(rest_.substr(0, end));
    finished_ = end == std::string_view::npos;
    if (finished_) return true;
    rest_.remove_prefix(end + 1);
    if (separator_ == ' ') rest_ = trim(rest_);
    return true;
  }

 private:
  std::string_view rest_;
  char separator_;
  bool finished_ = false;
};

/// The fields of a line; more than fit are counted, not kept.
struct Fields {
  explicit Fields(std::string_view line) noexcept {
    FieldCursor cursor(line);
    for (std::string_view text; cursor.next(text); ++count) {
      if (count < field.size()) field[count] = text;
    }
  }

  std::array<std::string_view, 4> field;
  std::size_t count = 0;
};

/// 1 for the mark of a row that comes, -1 for that of one that leaves, 0 for any other field.
int row_weight(std::string_view field) noexcept { return field == "*" ? 1 : field == "-*" ? -1 : 0; }

class TextGrammar {
 public:
  static constexpr bool mirrors = false;
  static constexpr bool has_rows = true;

  TextGrammar(const Limits& limits, Operand default_operand) : limits_(limits), default_(default_operand) {}

  const char* parse_plain(const char* p, Event& event) const noexcept {
    Operand operand = default_;
    char separator = 0;
    if (static_cast<unsigned char>(*p - '0') > 9) {
      p = scan_operand(p, operand);
      if (p == nullptr) return nullptr;
      separator = *p++;
    } else if (has_column(default_)) {
      return nullptr;
    }
    p = scan_first_index(p, separator, event.i);
    if (p == nullptr) return nullptr;
    if (has_column(operand)) {
      const unsigned second = scan_digits(p, event.j);
      if (second == 0 || p[second] != separator) return nullptr;
      p += second + 1;
    }
    event.operand = operand;
    p = scan_number(p, '\n', event.delta);
    if (p == nullptr || !limits_.contain(operand, event.i, event.j)) return nullptr;
    return scan_line_end(p);
  }

  bool parse_plain_row(const char* p, RowBatch& rows) const {
    Operand operand;
    std::uint64_t i;
    p = scan_operand(p, operand);
    if (p == nullptr || !has_column(operand)) return false;
    char separator = *p++;
    p = scan_first_index(p, separator, i);
    if (p == nullptr || i >= limits_.rows(operand)) return false;
    const bool leaves = *p == '-';
    p += leaves ? 1 : 0;
    if (*p++ != '*') return false;
    const auto [least, most] = limits_.row_length(operand);
    const std::size_t first = rows.values.size();
    std::size_t length = 0;
    for (; *p == separator && length < most; ++length) {
      double value = 0;
      p = scan_number(p + 1, separator, value);
      if (p == nullptr) break;
      rows.values.push_back(value);
    }
    if (p == nullptr || scan_line_end(p) == nullptr || length < least) {
      rows.values.resize(first);
      return false;
    }
    rows.close_row(operand, i, leaves ? -1 : 1);
    return true;
  }

  static bool is_nothing(std::string_view line) noexcept {
    line = trim(without_line_end(without_byte_order_mark(line)));
    return line.empty() || line[0] == '#';
  }

  Line parse(std::string_view line, Event& event, RowBatch& rows, std::string& reason) const {
    line = trim(without_line_end(without_byte_order_mark(line)));
    const Fields fields(line);
    const std::string_view first = fields.field[0];
    const auto named = find_operand(first);
    const bool is_number = !first.empty() && std::string_view("0123456789+-.").find(first[0]) != std::string_view::npos;
    if (!named && !is_number && (fields.count > 2 || has_column(default_))) {
      reason = fmt::format("unknown operand {}: expected {}", quoted_excerpt(first), expected());
      return Line::bad;
    }
    if (!named && has_column(default_)) {
      reason = fmt::format("the line names no operand: expected {}", expected());
      return Line::bad;
    }
    event.operand = named.value_or(default_);
    if (!limits_.takes(event.operand)) {
      reason = limits_.complaint(event.operand);
      return Line::bad;
    }
    if (named && fields.count > 2 && row_weight(fields.field[2]) != 0)
      return parse_row(line, *named, rows, reason) ? Line::row : Line::bad;
    return parse_entry(fields, named.has_value(), event, reason) ? Line::entry : Line::bad;
  }

 private:
  /// The name of an operand; the byte after it, or nullptr. Of a name that only begins like a listed one, "x2", the rest
  /// is left, which no separator begins: such lines are parse()'s.
  static const char* scan_operand(const char* p, Operand& operand) noexcept {
    switch (*p++) {
      case 'y':
        operand = Operand::y;
        return p;
      case 'x':
        operand = Operand::x;
        return p;
      case 'X':
        operand = Operand::X;
        return p;
      case 'A':
        operand = Operand::A;
        if (*p == '1' || *p == '2') operand = *p++ == '1' ? Operand::A1 : Operand::A2;
        return p;
      default:
        return scan_registered(p - 1, operand);
    }
  }

  /// As scan_operand(), of the operands that are not listed.
  [[gnu::noinline]] static const char* scan_registered(const char* p, Operand& operand) noexcept {
    const auto known = known_operands();
    for (const Operand candidate : known.subspan(static_cast<std::size_t>(Operand::X) + 1)) {
      const std::string_view name = to_string(candidate);
      std::size_t equal = 0;
      while (equal < name.size() && p[equal] == name[equal]) ++equal;  // a line's end is no character of a name
      const char after = p[equal];
      if (equal < name.size() || (after != ',' && after != '\t' && after != ' ')) continue;
      operand = candidate;
      return p + equal;
    }
    return nullptr;
  }

  /// The first index and the separator behind it, which is found out where it is 0; the byte after it, or nullptr.
  static const char* scan_first_index(const char* p, char& separator, std::uint64_t& index) noexcept {
    const unsigned length = scan_digits(p, index);
    if (length == 0) return nullptr;
    p += length;
    if (separator == 0) separator = *p;
    if ((separator != ',' && separator != '\t' && separator != ' ') || *p != separator) return nullptr;
    return p + 1;
  }

  /// All but the operand of an event of one entry; `named` says whether the first field is the operand.
  bool parse_entry(const Fields& fields, bool named, Event& event, std::string& reason) const {
    const std::size_t wanted = (named ? 1u : 0u) + (has_column(event.operand) ? 3u : 2u);
    if (fields.count != wanted) {
      reason = fmt::format("{} field: found {}, expected {} as in {}", fields.count < wanted ? "missing" : "extra",
                           fields.count, wanted, named ? std::string(form_of(event.operand)) : expected());
      return false;
    }
    for (std::size_t f = 0; f < wanted; ++f) {
      if (fields.field[f].empty()) {
        reason = fmt::format("missing field: field {} is empty", f + 1);
        return false;
      }
    }
    const auto names = index_names(event.operand);
    const std::size_t at = named ? 1 : 0;
    event.j = 0;
    if (!parse_index(fields.field[at], {&names[0], 1}, event.i, reason)) return false;
    if (has_column(event.operand) && !parse_index(fields.field[at + 1], {&names[1], 1}, event.j, reason)) return false;
    if (!limits_.contain(event.operand, event.i, event.j)) {
      reason = limits_.complaint(event.operand, event.i, event.j);
      return false;
    }
    return parse_number(fields.field[wanted - 1], "delta", event.delta, reason);
  }

  /// A line whose third field is the mark of a row.
  bool parse_row(std::string_view line, Operand operand, RowBatch& rows, std::string& reason) const {
    if (!has_column(operand)) {
      reason = fmt::format("{} is a vector: only matrices have rows", to_string(operand));
      return false;
    }
    FieldCursor fields(line);
    std::string_view field;
    std::uint64_t i = 0;
    fields.next(field);
    fields.next(field);
    const char name = index_names(operand)[0];
    if (!parse_index(field, {&name, 1}, i, reason)) return false;
    if (!limits_.contain(operand, i, 0)) {
      reason = limits_.complaint(operand, i, 0);
      return false;
    }
    fields.next(field);
    const int weight = row_weight(field);
    const auto [least, most] = limits_.row_length(operand);
    const std::size_t first = rows.values.size();
    std::size_t length = 0;
    for (; fields.next(field); ++length) {
      if (!reason.empty() || length >= most) continue;
      if (const auto value = parse_finite(field)) {
        rows.values.push_back(*value);
      } else if (field.empty()) {
        reason = fmt::format("v{} is empty: expected a number", length);
      } else {
        double none;
        (void)parse_number(field, fmt::format("v{}", length), none, reason);
      }
    }
    if (length < least || length > most) reason = limits_.row_complaint(operand, length);
    if (!reason.empty()) {
      rows.values.resize(first);
      return false;
    }
    rows.close_row(operand, i, weight);
    return true;
  }

  /// The forms of a line that the model takes: "i,delta or y,i,delta".
  std::string expected() const {
    std::string forms;
    const auto add = [&](std::string_view form) { forms += fmt::format("{}{}", forms.empty() ? "" : " or ", form); };
    if (!has_column(default_) && limits_.takes(default_)) add(default_ == Operand::x ? "j,delta" : "i,delta");
    for (const Operand operand : limits_.taken()) add(form_of(operand));
    return forms;
  }

  Limits limits_;
  Operand default_;
};

/// A value of a row takes at most this many bytes on average, its separator included: the longest that a double's
/// shortest spelling takes is 24.
constexpr std::size_t longest_value = 32;

class TextDecoder final : public LineDecoder<TextGrammar> {
 public:
  TextDecoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits, Part part)
      : LineDecoder(std::move(input), options, std::move(part), TextGrammar(limits, options.default_operand),
                    longest_text_line(limits), 0, 0) {}

 private:
  void finish() override {
    if (entries() > 0 || part().may_be_empty) return;
    if (const auto size = input().size()) {
      // One party speaks for all; its own part may well be empty when the file is not.
      if (!part().begins_file() || count_entries(0, *size, true) > 0) return;
    }
    throw NoEvents(input().name());
  }
};

}  // namespace

std::unique_ptr<Decoder> text_decoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits,
                                      Part part) {
  return std::make_unique<TextDecoder>(std::move(input), options, limits, std::move(part));
}

std::size_t longest_text_line(const Limits& limits) noexcept {
  std::uint64_t columns = 0;
  for (const Operand operand : limits.taken()) {
    if (has_column(operand)) columns = std::max(columns, limits.columns(operand));
  }
  return longest_line + longest_value * static_cast<std::size_t>(std::min<std::uint64_t>(columns, longest_row));
}

}  // namespace weir::stream
