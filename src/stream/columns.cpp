#include "columns.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "line_buffer.hpp"
#include "number.hpp"
#include "weir/error.hpp"
#include "weir/io/text.hpp"

namespace weir::stream {

namespace {

/// The number of a column, from 1, that a text of digits, perhaps behind #, stands for.
std::optional<std::size_t> number_of(std::string_view text) {
  if (text.starts_with('#')) text.remove_prefix(1);
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0 || text.front() == '0')
    return std::nullopt;
  return number;
}

/// Whether the text of Columns::delta is a number and not the number of a column.
bool is_constant(const std::string& delta) {
  if (delta == "1") return true;
  return !number_of(delta) && parse_finite(delta);
}

char separator_of(std::string_view line) {
  std::array<bool, 256> has{};
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    if (!quoted) has[static_cast<unsigned char>(c)] = true;
  }
  for (const char c : {'\t', ',', ';', '|'})
    if (has[static_cast<unsigned char>(c)]) return c;
  return has[' '] ? ' ' : ',';
}

/// The line of names that the directive for it is, or the line as it is.
std::string_view without_directive(std::string_view line) {
  for (const std::string_view directive : {"#fields\t", "#Fields: "})
    if (line.starts_with(directive)) return line.substr(directive.size());
  return line;
}

/// Whether a line above a table is a comment: "# text", "#", "##", "#!", or a directive. A key may begin with # as well.
bool is_table_comment(std::string_view line) {
  if (!line.starts_with('#')) return false;
  if (line.size() == 1 || std::string_view(" \t#!").find(line[1]) != std::string_view::npos) return true;
  return is_directive_of_log(line) && without_directive(line).size() == line.size();
}

/// Finds columns in the first line of a table.
class Finder {
 public:
  Finder(std::vector<std::string> fields, bool is_header, char separator, std::string place)
      : fields_(std::move(fields)), is_header_(is_header), separator_(separator), place_(std::move(place)) {}

  [[nodiscard]] Column find(const std::string& wanted) const {
    const auto number = number_of(wanted);
    if (is_header_ && !(number && wanted.starts_with('#'))) {
      const auto found = std::ranges::find(fields_, wanted);
      if (found != fields_.end()) {
        const auto place = static_cast<std::size_t>(found - fields_.begin());
        if (number && *number != place + 1)
          throw InputError(
              fmt::format("{}: {} is the name of column {}, and the number of another: expected #{} or #{}", place_,
                          wanted, place + 1, place + 1, *number));
        if (std::find(found + 1, fields_.end(), wanted) != fields_.end())
          throw InputError(fmt::format("{}: two columns are called {}: expected the number of one, #1 being the first",
                                       place_, quoted_excerpt(wanted)));
        return column(place);
      }
    }
    if (!number)
      throw InputError(fmt::format("{}: no column is called {}; {}", place_, quoted_excerpt(wanted), what_is_there()));
    if (*number > most_columns)
      throw InputError(fmt::format("{}: column {}: expected a number up to {}", place_, *number, most_columns));
    // Without a header the first line may be a bad one.
    if (is_header_ && *number > fields_.size())
      throw InputError(fmt::format("{}: there is no column {}; {}", place_, *number, what_is_there()));
    return column(*number - 1);
  }

  [[nodiscard]] const std::string& text_of(const Column& column) const { return fields_[column.number]; }

 private:
  [[nodiscard]] Column column(std::size_t number) const {
    Column found{.number = number, .name = fmt::format("column {}", number + 1)};
    if (is_header_) found.name += fmt::format(" ({})", quoted_excerpt(fields_[number]));
    return found;
  }
  [[nodiscard]] std::string what_is_there() const {
    constexpr std::size_t most_shown = 12;
    std::string shown;
    for (std::size_t k = 0; k < std::min(fields_.size(), most_shown); ++k)
      shown += fmt::format("{}{}", k > 0 ? ", " : "", quoted_excerpt(fields_[k]));
    if (fields_.size() > most_shown) shown += ", ...";
    return fmt::format("the line has {} column{} between {}: {}", fields_.size(), fields_.size() == 1 ? "" : "s",
                       name_of_separator(separator_), shown);
  }

  std::vector<std::string> fields_;
  bool is_header_;
  char separator_;
  std::string place_;
};

void find_in_json(const Columns& columns, ColumnLayout& layout, const std::string& name) {
  if (columns.header == HeaderLine::yes || columns.separator)
    throw InputError(fmt::format("{}: begins as JSON does, which has neither a header nor a separator", name));
  const auto member = [](const std::string& path) {
    return Column{.path = path, .name = fmt::format("member {}", quoted_excerpt(path))};
  };
  for (const std::string& key : columns.key) layout.key.push_back(member(key));
  if (!columns.delta.empty() && !is_constant(columns.delta)) layout.delta = member(columns.delta);
  if (!columns.sign.empty()) layout.sign = member(columns.sign);
}

/// Whether the first line of a table, which has no names for all columns that are wanted, must be a header all the same: what
/// would be its delta is no number, or its sign none.
bool looks_like_header(const Columns& columns, const std::vector<std::string>& fields) {
  const auto field = [&](const std::string& wanted) -> const std::string* {
    const auto number = number_of(wanted);
    return number && *number <= fields.size() ? &fields[*number - 1] : nullptr;
  };
  if (!columns.delta.empty() && !is_constant(columns.delta)) {
    const std::string* const delta = field(columns.delta);
    if (delta != nullptr && !parse_finite(*delta)) return true;
  }
  if (!columns.sign.empty()) {
    const std::string* const sign = field(columns.sign);
    if (sign != nullptr && sign_of(*sign) == 0) return true;
  }
  return false;
}

/// True where `line`, the first one, is a header; `is_directive`: of a log that has more directives behind it, perhaps.
bool find_in_table(const Columns& columns, std::string_view line, bool is_directive, ColumnLayout& layout,
                   const std::string& place) {
  layout.separator = columns.separator.value_or(separator_of(line));
  layout.is_between_blanks_by_guess = !columns.separator && layout.separator == ' ' && !is_directive;
  std::vector<std::string> fields;
  TableFields cursor(line, layout.separator);
  for (std::string_view field; cursor.next(field);) fields.emplace_back(field);
  const auto is_name = [](const std::string& wanted) { return !wanted.empty() && !number_of(wanted); };
  const bool has_names = std::ranges::any_of(columns.key, is_name) || is_name(columns.sign) ||
                         (is_name(columns.delta) && !is_constant(columns.delta));
  if (has_names && !is_directive && columns.header == HeaderLine::no)
    throw InputError(place + ": without a header columns have no names: expected numbers, the first being 1");
  layout.is_header_by_guess =
      !is_directive && !has_names && columns.header == HeaderLine::unsaid && looks_like_header(columns, fields);
  const bool is_header = is_directive || columns.header == HeaderLine::yes ||
                         (columns.header == HeaderLine::unsaid && (has_names || layout.is_header_by_guess));
  const Finder finder(fields, is_header, layout.separator, place);
  for (const std::string& key : columns.key) layout.key.push_back(finder.find(key));
  if (!columns.sign.empty()) layout.sign = finder.find(columns.sign);
  const bool is_called_so = is_header && std::ranges::find(fields, columns.delta) != fields.end();
  if (!columns.delta.empty() && (is_called_so || !is_constant(columns.delta)))
    layout.delta = finder.find(columns.delta);
  return is_header;
}

}  // namespace

bool is_directive_of_log(std::string_view line) noexcept {
  if (!line.starts_with('#')) return false;
  const std::string_view word = line.substr(1, line.find_first_of(" \t") - 1);
  constexpr std::array<std::string_view, 17> directives{
      "separator",   "set_separator", "empty_field", "unset_field", "path",      "open",
      "close",       "fields",        "types",       "Version:",    "Software:", "Date:",
      "Start-Date:", "End-Date:",     "Remark:",     "GMT-Offset:", "Fields:"};
  return std::ranges::find(directives, word) != directives.end();
}

std::string_view name_of_separator(char separator) noexcept {
  switch (separator) {
    case '\t':
      return "tabs";
    case ',':
      return "commas";
    case ';':
      return "semicolons";
    case '|':
      return "bars";
    case ' ':
      return "blanks";
    default:
      return "separators";
  }
}

std::optional<ColumnLayout> layout_of(const Columns& columns, std::string_view beginning, bool is_whole,
                                      const std::string& name) {
  ColumnLayout layout;
  bool is_behind_directive = false;
  if (!columns.delta.empty() && is_constant(columns.delta)) layout.constant = *parse_finite(columns.delta);
  while (layout.data_begin < beginning.size()) {
    const std::string_view rest = beginning.substr(static_cast<std::size_t>(layout.data_begin));
    const std::size_t newline = rest.find('\n');
    if (newline == std::string_view::npos && !is_whole) return std::nullopt;
    const std::size_t length = newline == std::string_view::npos ? rest.size() : newline + 1;
    const std::string_view whole = rest.substr(0, length);
    // A blank or a tab in front may be a separator.
    const std::string_view line = without_line_end(without_byte_order_mark(whole.substr(0, newline)));
    if (is_behind_directive && !is_table_comment(line)) return layout;
    if (trim(line).empty() || is_table_comment(line)) {
      layout.is_log = layout.is_log || is_directive_of_log(line);
      layout.data_begin += length;
      ++layout.lines_before;
      continue;
    }
    const std::string place = fmt::format("{}:{}", name, layout.lines_before + 1);
    for (const std::string& reason : {return_complaint(whole.substr(0, newline)), nul_complaint(line)})
      if (!reason.empty()) throw InputError(fmt::format("{}: {}", place, reason));
    const std::string_view text = trim(line);
    if (text.front() == '[' && text.find_first_of("{\"", 1) != std::string_view::npos && !columns.separator)
      throw InputError(place + ": an array of JSON: expected an object in each line, as jq -c '.[]' FILE makes them");
    layout.is_json = text.front() == '{' && !columns.separator;
    if (layout.is_json) {
      find_in_json(columns, layout, name);
    } else {
      const std::string_view fields = without_directive(line);
      const bool is_directive = fields.size() < line.size();
      if (find_in_table(columns, fields, is_directive, layout, place)) {
        layout.data_begin += length;
        ++layout.lines_before;
        layout.header = line;
      }
      layout.is_log = layout.is_log || is_directive;
      is_behind_directive = is_directive;
      if (is_directive) continue;
    }
    return layout;
  }
  if (!is_whole) return std::nullopt;
  return layout;
}

std::shared_ptr<const ColumnLayout> without_header(ColumnLayout layout) {
  layout.data_begin = layout.lines_before = 0;
  return std::make_shared<const ColumnLayout>(std::move(layout));
}

ColumnLayout layout_of(const Columns& columns, Input& input) {
  std::string_view beginning = input.peek(input.is_live() ? 1 : std::size_t{1} << 14);
  while (true) {
    const std::size_t known = beginning.size();
    bool is_whole = known == 0;
    std::optional<ColumnLayout> layout = layout_of(columns, beginning, is_whole, input.name());
    if (layout) return *layout;
    if (known >= longest_record)
      throw InputError(
          fmt::format("{}: its first {} bytes have no line that could be a header or an event: expected "
                      "lines of at most as many bytes, and fewer comments",
                      input.name(), known));
    // A live source is asked for one byte more, so that it does not wait for what its writer has not written.
    beginning = input.peek(input.is_live() ? known + 1 : std::min(4 * known, longest_record));
    if (beginning.size() > known) continue;
    is_whole = true;
    return layout_of(columns, beginning, is_whole, input.name()).value();
  }
}

bool TableFields::next(std::string_view& field) {
  if (finished_ || broken_) return false;
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  const bool between_blanks = separator_ == ' ';
  while (!rest_.empty() && is_blank(rest_.front()) && (between_blanks || rest_.front() != separator_))
    rest_.remove_prefix(1);
  if (between_blanks && rest_.empty()) {
    finished_ = true;
    return false;
  }
  const auto is_end = [&](char c) { return between_blanks ? is_blank(c) : c == separator_; };
  std::size_t end = 0;
  if (!rest_.starts_with('"')) {
    end = static_cast<std::size_t>(std::ranges::find_if(rest_, is_end) - rest_.begin());
    field = trim(rest_.substr(0, end));
  } else {
    unquoted_.clear();
    std::size_t at = 1;
    while (true) {
      const std::size_t quote = rest_.find('"', at);
      if (quote == std::string_view::npos) {
        broken_ = true;
        unquoted_ += rest_.substr(at);
        end = rest_.size();
        break;
      }
      unquoted_ += rest_.substr(at, quote - at);
      at = quote + 1;
      // As web servers write a quote within quotes.
      if (between_blanks && quote > 1 && rest_[quote - 1] == '\\') {
        unquoted_.back() = '"';
        continue;
      }
      if (at < rest_.size() && rest_[at] == '"') {
        unquoted_ += '"';
        ++at;
        continue;
      }
      end = at;
      while (end < rest_.size() && is_blank(rest_[end]) && !is_end(rest_[end])) ++end;
      broken_ = end < rest_.size() && !is_end(rest_[end]);
      break;
    }
    field = unquoted_;
  }
  finished_ = end >= rest_.size();
  rest_.remove_prefix(std::min(end + 1, rest_.size()));
  return true;
}

int sign_of(std::string_view field) noexcept {
  const auto is = [&](std::string_view word) {
    return std::ranges::equal(field, word, [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
  };
  for (const std::string_view word : {"+", "add", "insert"})
    if (is(word)) return 1;
  for (const std::string_view word : {"-", "remove", "delete"})
    if (is(word)) return -1;
  const auto number = parse_finite(field);
  return !number || *number == 0 ? 0 : *number > 0 ? 1 : -1;
}

}  // namespace weir::stream
