#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "columns.hpp"
#include "edge_list.hpp"
#include "line_decoder.hpp"

namespace weir::stream {

namespace {

bool is_digits(std::string_view field) noexcept {
  return !field.empty() && field.find_first_not_of("0123456789") == std::string_view::npos;
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

  /// What a line of two whole numbers is between which there is no comma.
  enum class Pair : std::uint8_t { event, event_with_warning, edge };

  TextGrammar(const Limits& limits, const ReadOptions& options, Pair pair = Pair::event, std::string name = {})
      : limits_(limits),
        default_(options.default_operand),
        edges_unsaid_(options.edges == Edges::unsaid),
        pair_(pair),
        name_(std::move(name)),
        warn_(options.warn) {}

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
    const bool is_named = separator != 0;
    p = scan_first_index(p, separator, event.i);
    if (p == nullptr || (!is_named && separator != ',' && pair_ != Pair::event)) return nullptr;
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
    return line.empty() || (is_comment(line) && return_complaint(line).empty());
  }
  static bool is_comment(std::string_view line) noexcept {
    line = trim(without_byte_order_mark(line));
    return !line.empty() && (line[0] == '#' || line[0] == '%');
  }

  Line parse(std::string_view line, Event& event, RowBatch& rows, std::string& reason) {
    line = trim(without_line_end(without_byte_order_mark(line)));
    reason = return_complaint(line);
    if (!reason.empty()) return Line::bad;
    const Line kind = parse_fields(line, event, rows, reason);
    if (kind == Line::bad && line.find(';') != std::string_view::npos)
      reason = fmt::format("{} has semicolons: expected commas, tabs or blanks between fields, and points in numbers",
                           quoted_excerpt(line));
    return kind;
  }

  [[nodiscard]] Operand default_operand() const noexcept { return default_; }
  [[nodiscard]] const Limits& limits() const noexcept { return limits_; }

 private:
  Line parse_fields(std::string_view line, Event& event, RowBatch& rows, std::string& reason) {
    const Fields fields(line);
    const std::string_view first = fields.field[0];
    const auto named = find_operand(first);
    const bool is_number = !first.empty() && std::string_view("0123456789+-.").find(first[0]) != std::string_view::npos;
    if (!named && !is_number && (fields.count > 2 || has_column(default_))) {
      reason = fmt::format("unknown operand {}: expected {}", quoted_excerpt(first), expected());
      return Line::bad;
    }
    if (!named && has_column(default_)) {
      reason = fmt::format(
          "the line names no operand: expected {}{}", expected(),
          fields.count == 2 || fields.count == 3 ? "; --edges out|in|both reads edges i,j and i,j,weight" : "");
      return Line::bad;
    }
    event.operand = named.value_or(default_);
    if (!limits_.takes(event.operand)) {
      reason = limits_.complaint(event.operand);
      return Line::bad;
    }
    if (named && fields.count > 2 && row_weight(fields.field[2]) != 0)
      return parse_row(line, *named, rows, reason) ? Line::row : Line::bad;
    const bool is_pair = !named && fields.count == 2 && line.find(',') == std::string_view::npos &&
                         is_digits(fields.field[0]) && is_digits(fields.field[1]);
    if (is_pair && pair_ == Pair::edge) {
      reason = fmt::format(
          "the comments of the file tell of a graph, and {} may be an edge: expected --edges out|in|both for edges, or "
          "--edges none for events i,delta",
          quoted_excerpt(line));
      return Line::bad;
    }
    if (is_pair && pair_ == Pair::event_with_warning) {
      pair_ = Pair::event;
      if (warn_)
        warn_(fmt::format(
            "{}: {} and lines like it are taken for events i,delta; --edges out|in|both reads them as edges "
            "of a graph, and --edges none says that they are events",
            name_, quoted_excerpt(line)));
    }
    if (!parse_entry(fields, named.has_value(), event, reason)) {
      if (!named && edges_unsaid_ && fields.count == 3 && is_digits(fields.field[1]))
        reason += "; --edges out|in|both reads edges i,j,weight";
      return Line::bad;
    }
    return Line::entry;
  }

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
  bool edges_unsaid_;
  Pair pair_;
  std::string name_;  ///< Of the file.
  std::function<void(const std::string&)> warn_;
};

/// Lines of edges, which name no operand, among lines of events that do. See Edges.
class EdgeGrammar {
 public:
  static constexpr bool mirrors = true;
  static constexpr bool has_rows = true;

  /// `largest` nodes on either side, where the file states them.
  EdgeGrammar(const Limits& limits, const ReadOptions& options,
              const std::optional<std::array<std::uint64_t, 2>>& largest)
      : events_(limits, options),
        edges_(options.edges),
        is_degree_(!has_column(options.default_operand)),
        largest_(largest.value_or(std::array{index_limit, index_limit})) {}

  const char* parse_plain(const char* p, Event& event) {
    second_.reset();
    if (static_cast<unsigned char>(*p - '0') > 9) return events_.parse_plain(p, event);
    std::uint64_t i, j;
    const unsigned first = scan_digits(p, i);
    const char separator = p[first];
    if (first == 0 || (separator != '\t' && separator != ' ' && separator != ',')) return nullptr;
    p += first + 1;
    const unsigned second = scan_digits(p, j);
    if (second == 0) return nullptr;
    p += second;
    event.delta = 1;
    if (*p == separator) {
      p = scan_number(p + 1, '\n', event.delta);
      if (p == nullptr) return nullptr;
    }
    const char* after = scan_line_end(p);
    return after != nullptr && place(i, j, event) ? after : nullptr;
  }

  bool parse_plain_row(const char* p, RowBatch& rows) const { return events_.parse_plain_row(p, rows); }
  static bool is_nothing(std::string_view line) noexcept { return TextGrammar::is_nothing(line); }
  static bool is_comment(std::string_view line) noexcept { return TextGrammar::is_comment(line); }

  Line parse(std::string_view line, Event& event, RowBatch& rows, std::string& reason) {
    second_.reset();
    const std::string_view content = trim(without_line_end(without_byte_order_mark(line)));
    const Fields fields(content);
    if (find_operand(fields.field[0]) || !return_complaint(content).empty() ||
        content.find(';') != std::string_view::npos)
      return events_.parse(line, event, rows, reason);
    if (fields.count < 2 || fields.count > 3) {
      reason = fmt::format("{} field: found {}, expected 2 or 3 as in the edges i,j and i,j,weight",
                           fields.count < 2 ? "missing" : "extra", fields.count);
      return Line::bad;
    }
    std::uint64_t i = 0, j = 0;
    if (!parse_index(fields.field[0], "i", i, reason) || !parse_index(fields.field[1], "j", j, reason))
      return Line::bad;
    event.delta = 1;
    if (fields.count == 3 && !parse_number(fields.field[2], "the weight", event.delta, reason)) return Line::bad;
    if (place(i, j, event)) return Line::entry;
    reason = complaint(i, j);
    return Line::bad;
  }

  std::optional<Event> mirror(const Event&) const noexcept { return second_; }

 private:
  [[nodiscard]] Event entry(std::uint64_t i, std::uint64_t j, double delta) const noexcept {
    return {events_.default_operand(), i, is_degree_ ? 0 : j, delta};
  }
  [[nodiscard]] bool contains(std::uint64_t i, std::uint64_t j) const noexcept {
    return events_.limits().contain(events_.default_operand(), i, is_degree_ ? 0 : j);
  }

  /// Makes the edge of weight event.delta an event, or two; false where an index is too large.
  bool place(std::uint64_t i, std::uint64_t j, Event& event) noexcept {
    if (i > largest_[0] || j > largest_[1]) return false;
    if (edges_ == Edges::in) std::swap(i, j);
    if (!contains(i, j)) return false;
    if (edges_ == Edges::both && (i != j || is_degree_)) {
      if (!contains(j, i)) return false;
      second_ = entry(j, i, event.delta);
    }
    event = entry(i, j, event.delta);
    return true;
  }

  /// Why place() is false.
  [[nodiscard]] std::string complaint(std::uint64_t i, std::uint64_t j) const {
    if (const bool is_left = i > largest_[0]; is_left || j > largest_[1])
      return fmt::format("{} = {} is too large: the comments of the file state {} nodes on the {} of its edges",
                         is_left ? 'i' : 'j', is_left ? i : j, largest_[is_left ? 0 : 1], is_left ? "left" : "right");
    if (edges_ == Edges::in) std::swap(i, j);
    if (contains(i, j)) std::swap(i, j);
    return events_.limits().complaint(events_.default_operand(), i, is_degree_ ? 0 : j);
  }

  TextGrammar events_;
  Edges edges_;
  bool is_degree_;                        ///< The default operand is a vector.
  std::array<std::uint64_t, 2> largest_;  ///< Nodes on the left and on the right.
  std::optional<Event> second_;
};

/// A value of a row takes at most this many bytes on average, its separator included: the longest that a double's
/// shortest spelling takes is 24.
constexpr std::size_t longest_value = 32;

template <class Grammar>
class TextDecoder final : public LineDecoder<Grammar> {
  using Base = LineDecoder<Grammar>;

 public:
  TextDecoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits, Part part,
              Grammar grammar)
      : Base(std::move(input), options, std::move(part), std::move(grammar), longest_text_line(limits, options), 0, 0) {
  }

 private:
  void finish() override {
    if (Base::entries() > 0 || Base::part().may_be_empty) return;
    if (const auto size = Base::input().size()) {
      // One party speaks for all; its own part may well be empty when the file is not.
      if (!Base::part().begins_file() || Base::count_entries(0, *size, true) > 0) return;
    }
    throw NoEvents(Base::input().name());
  }
};

}  // namespace

std::unique_ptr<Decoder> text_decoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits,
                                      Part part) {
  if (options.columns.any()) return column_decoder(std::move(input), options, limits, std::move(part), nullptr);
  // Lines that have come from elsewhere, and have no name, have no comments before all of them; and whoever writes into a pipe
  // may be silent after a short line.
  const bool has_beginning = !part.name.empty() && !input->is_live();
  if (options.edges == Edges::both && has_beginning && tells_of_two_sides(input->peek(edge_header_limit)))
    throw InputError(fmt::format(
        "{}: its comments say that the graph is bipartite: its two sides count their nodes apart, so that both "
        "would add up different nodes; expected --edges out or --edges in",
        input->name()));
  if (options.edges != Edges::unsaid && options.edges != Edges::none) {
    std::optional<std::array<std::uint64_t, 2>> largest;
    if (has_beginning) largest = largest_nodes(input->peek(edge_header_limit), input->name());
    EdgeGrammar grammar(limits, options, largest);
    return std::make_unique<TextDecoder<EdgeGrammar>>(std::move(input), options, limits, std::move(part),
                                                      std::move(grammar));
  }
  using Pair = TextGrammar::Pair;
  auto pair = Pair::event;
  if (options.edges == Edges::unsaid && has_beginning && tells_of_graph(input->peek(edge_header_limit)))
    pair = Pair::edge;
  else if (options.edges == Edges::unsaid && options.warn && part.begins_file())
    pair = Pair::event_with_warning;
  TextGrammar grammar(limits, options, pair, input->name());
  return std::make_unique<TextDecoder<TextGrammar>>(std::move(input), options, limits, std::move(part),
                                                    std::move(grammar));
}

bool is_text_comment(std::string_view beginning) noexcept { return TextGrammar::is_comment(beginning); }

std::size_t longest_text_line(const Limits& limits, const ReadOptions& options) noexcept {
  if (options.columns.any()) return longest_record;
  std::uint64_t columns = 0;
  for (const Operand operand : limits.taken()) {
    if (has_column(operand)) columns = std::max(columns, limits.columns(operand));
  }
  return longest_line + longest_value * static_cast<std::size_t>(std::min<std::uint64_t>(columns, longest_row));
}

}  // namespace weir::stream
