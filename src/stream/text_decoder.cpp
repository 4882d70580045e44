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

std::optional<Operand> operand_of(std::string_view name) noexcept {
  for (const Operand operand : {Operand::y, Operand::x, Operand::A, Operand::A1, Operand::A2, Operand::X}) {
    if (name == to_string(operand)) return operand;
  }
  return std::nullopt;
}

/// The fields of a line; more than fit are counted, not kept.
struct Fields {
  std::array<std::string_view, 4> field;
  std::size_t count = 0;

  void add(std::string_view text) noexcept {
    if (count < field.size()) field[count] = trim(text);
    ++count;
  }
};

/// Commas separate where there is one, else tabs, else runs of blanks.
Fields split(std::string_view line) noexcept {
  Fields fields;
  const char separator = line.find(',') != std::string_view::npos    ? ','
                         : line.find('\t') != std::string_view::npos ? '\t'
                                                                     : ' ';
  while (true) {
    const std::size_t end = line.find(separator);
    fields.add(line.substr(0, end));
    if (end == std::string_view::npos) return fields;
    line.remove_prefix(end + 1);
    if (separator == ' ') line = trim(line);
  }
}

class TextGrammar {
 public:
  static constexpr bool mirrors = false;

  TextGrammar(const Limits& limits, Operand default_operand) : limits_(limits), default_(default_operand) {}

  const char* parse_plain(const char* p, Event& event) const noexcept {
    Operand operand = default_;
    char separator = 0;
    if (static_cast<unsigned char>(*p - '0') > 9) {
      switch (*p++) {
        case 'y':
          operand = Operand::y;
          break;
        case 'x':
          operand = Operand::x;
          break;
        case 'X':
          operand = Operand::X;
          break;
        case 'A':
          operand = Operand::A;
          if (*p == '1' || *p == '2') operand = *p++ == '1' ? Operand::A1 : Operand::A2;
          break;
        default:
          return nullptr;
      }
      separator = *p++;
    } else if (has_column(default_)) {
      return nullptr;
    }
    const unsigned length = scan_digits(p, event.i);
    if (length == 0) return nullptr;
    p += length;
    if (separator == 0) separator = *p;
    if ((separator != ',' && separator != '\t' && separator != ' ') || *p++ != separator) return nullptr;
    if (has_column(operand)) {
      const unsigned second = scan_digits(p, event.j);
      if (second == 0 || p[second] != separator) return nullptr;
      p += second + 1;
    }
    event.operand = operand;
    p = scan_number(p, event.delta);
    if (p == nullptr || !limits_.contain(operand, event.i, event.j)) return nullptr;
    return scan_line_end(p);
  }

  static bool is_nothing(std::string_view line) noexcept {
    line = trim(without_line_end(without_byte_order_mark(line)));
    return line.empty() || line[0] == '#';
  }

  bool parse(std::string_view line, Event& event, std::string& reason) const {
    const Fields fields = split(trim(without_line_end(without_byte_order_mark(line))));
    const std::string_view first = fields.field[0];
    const auto named = operand_of(first);
    const bool is_number = !first.empty() && std::string_view("0123456789+-.").find(first[0]) != std::string_view::npos;
    if (!named && !is_number && (fields.count > 2 || has_column(default_))) {
      reason = fmt::format("unknown operand {}: expected {}", quoted_excerpt(first), expected());
      return false;
    }
    if (!named && has_column(default_)) {
      reason = fmt::format("the line names no operand: expected {}", expected());
      return false;
    }
    event.operand = named.value_or(default_);
    if (!limits_.takes(event.operand)) {
      reason = limits_.complaint(event.operand);
      return false;
    }
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

 private:
  /// The forms of a line that the model takes: "i,delta or y,i,delta".
  std::string expected() const {
    std::string forms;
    const auto add = [&](std::string_view form) { forms += fmt::format("{}{}", forms.empty() ? "" : " or ", form); };
    if (!has_column(default_) && limits_.takes(default_)) add(default_ == Operand::x ? "j,delta" : "i,delta");
    for (const Operand operand : {Operand::y, Operand::x, Operand::A, Operand::A1, Operand::A2, Operand::X}) {
      if (limits_.takes(operand)) add(form_of(operand));
    }
    return forms;
  }

  Limits limits_;
  Operand default_;
};

class TextDecoder final : public LineDecoder<TextGrammar> {
 public:
  TextDecoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits)
      : LineDecoder(std::move(input), options, TextGrammar(limits, options.default_operand), 0, 0) {}

 private:
  void finish() override {
    if (entries() > 0) return;
    if (const auto size = input().size()) {
      // One party speaks for all; its own slice may well be empty when the file is not.
      if (options().slice > 0 || count_entries(end(), *size, true) > 0) return;
    }
    throw InputError(fmt::format("{}: contains no events", input().name()));
  }
};

}  // namespace

std::unique_ptr<Decoder> text_decoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits) {
  return std::make_unique<TextDecoder>(std::move(input), options, limits);
}

}  // namespace weir::stream
