#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "columns.hpp"
#include "io/fields.hpp"
#include "line_decoder.hpp"
#include "number.hpp"
#include "weir/error.hpp"
#include "weir/names.hpp"
#include "weir/random/key_hash.hpp"

namespace weir::stream {

namespace {

/// Makes events of keys, and leaves names where they are wanted.
class KeyedEvents {
 public:
  KeyedEvents(const Limits& limits, const ReadOptions& options, const std::string& name)
      : limits_(limits), operand_(options.default_operand), keys_(options.key_seed), sink_(options.names) {
    if (sink_) source_ = sink_->source_number(name);
  }

  [[nodiscard]] bool is_matrix() const noexcept { return has_column(operand_); }
  [[nodiscard]] Operand operand() const noexcept { return operand_; }

  /// The index of a key below `bound`, where it is quickly told; the key must outlive note(). False otherwise.
  [[nodiscard]] bool place(std::string_view key, std::uint64_t bound, std::uint64_t& index,
                           bool& hashed) const noexcept {
    hashed = false;
    if (static_cast<unsigned char>(key.front() - '0') <= 9) {
      if (const auto number = whole_number(key)) {
        index = *number;
        return index < bound;
      }
    }
    if (bound < index_limit) return false;
    index = keys_.hash(key);
    hashed = true;
    return true;
  }
  /// Why place() is false.
  [[nodiscard]] std::string complaint(std::string_view key, std::uint64_t bound, const Column& column) const {
    if (const auto number = whole_number(key))
      return is_matrix() && bound == limits_.columns(operand_) ? limits_.complaint(operand_, 0, *number)
                                                               : limits_.complaint(operand_, *number, 0);
    return fmt::format(
        "{}: the key {} is no whole number, and only {} of 2^63 indices has room for hashes of text: "
        "expected a whole number below {}",
        column.name, quoted_excerpt(key), to_string(operand_), bound);
  }
  [[nodiscard]] std::uint64_t rows() const noexcept { return limits_.rows(operand_); }
  [[nodiscard]] std::uint64_t columns() const noexcept { return limits_.columns(operand_); }

  /// Remembers the name of the key of an event, at `place` of the source, if it is wanted.
  void note(const Event& event, std::string_view key, std::uint64_t place) {
    const auto priority = sink_->wants(event.i, std::abs(event.delta), source_, place);
    if (!priority) return;
    std::size_t length = std::min(key.size(), longest_name);
    // Not in the middle of a character of UTF-8.
    while (length < key.size() && length + 4 > longest_name && (static_cast<unsigned char>(key[length]) & 0xC0) == 0x80)
      --length;
    pending_.push_back({event.i, *priority, std::string(key.substr(0, length))});
    if (pending_.size() >= most_pending) flush();
  }
  [[nodiscard]] bool has_sink() const noexcept { return sink_ != nullptr; }
  void flush() {
    if (sink_) sink_->add(pending_);
  }

 private:
  static constexpr std::size_t most_pending = 1024;

  Limits limits_;
  Operand operand_;
  TextKeys keys_;
  std::shared_ptr<NameSink> sink_;
  std::uint64_t source_ = 0;
  std::vector<KeyName> pending_;
};

/// A field of several as a part of one text.
void append_quoted(std::string& text, std::string_view field) {
  if (field.find_first_of(",\"\r\n") == std::string_view::npos) {
    text += field;
    return;
  }
  text += '"';
  for (const char c : field) {
    if (c == '"') text += '"';
    text += c;
  }
  text += '"';
}

/// What grammars of keyed lines have in common. A derived grammar finds the texts of the columns.
class KeyedGrammar {
 public:
  static constexpr bool mirrors = false;
  static constexpr bool has_rows = false;
  static constexpr bool has_names = true;

  KeyedGrammar(const Limits& limits, const ReadOptions& options, const std::string& name,
               std::shared_ptr<const ColumnLayout> layout)
      : events_(limits, options, name), layout_(std::move(layout)) {
    if (events_.is_matrix() && layout_->key.size() != 2 && !layout_->key.empty())
      throw UsageError(fmt::format("--key: the entries of {} have a row and a column: expected two columns, found {}",
                                   to_string(events_.operand()), layout_->key.size()));
  }

  /// Blank lines; and where files were put together, a header or directives that come again.
  [[nodiscard]] bool is_nothing(std::string_view line) const noexcept {
    line = without_line_end(without_byte_order_mark(line));
    if (trim(line).empty() || (!layout_->header.empty() && line == layout_->header)) return true;
    return layout_->is_log && is_directive_of_log(line) && !is_other_header(line);
  }
  static bool is_comment(std::string_view) noexcept { return false; }

  void note_name(const Event& event, std::uint64_t place) {
    if (hashed_ && events_.has_sink()) events_.note(event, key_, place);
  }
  void flush_names() { events_.flush(); }

 protected:
  /// Makes the event of what was found in a line. The fields of the key must live until note_name().
  Line finish(std::span<const std::string_view> key, std::optional<std::string_view> delta,
              std::optional<std::string_view> sign, Event& event, std::string& reason) {
    const ColumnLayout& layout = *layout_;
    event.operand = events_.operand();
    event.j = 0;
    if (events_.is_matrix()) {
      bool column_is_hashed = false;
      if (!place(key[0], events_.rows(), layout.key[0], event.i, hashed_, reason) ||
          !place(key[1], events_.columns(), layout.key[1], event.j, column_is_hashed, reason))
        return Line::bad;
      key_ = key[0];
    } else {
      key_ = key[0];
      if (key.size() > 1) {
        joined_.clear();
        bool any = false;
        for (std::size_t k = 0; k < key.size(); ++k) {
          if (k > 0) joined_ += ',';
          any = any || !key[k].empty();
          append_quoted(joined_, key[k]);
        }
        if (any) key_ = joined_;
        if (!any) key_ = {};
      }
      if (!place(key_, events_.rows(), layout.key[0], event.i, hashed_, reason)) return Line::bad;
    }
    event.delta = layout.constant;
    // Logs write - for what there is none of.
    if (delta && *delta == "-" && (layout.is_log || layout.separator == ' '))
      event.delta = 0;
    else if (delta && !parse_number(*delta, fmt::format("the delta in {}", layout.delta->name), event.delta, reason))
      return Line::bad;
    if (sign) {
      const int of_field = sign_of(*sign);
      if (of_field == 0) {
        reason = fmt::format("{}: {} is no sign: expected + or -, add or remove, insert or delete, or a number",
                             layout.sign->name, quoted_excerpt(*sign));
        return Line::bad;
      }
      event.delta *= of_field;
    }
    return Line::entry;
  }

  /// Whether a log has other columns from here on.
  [[nodiscard]] bool is_other_header(std::string_view line) const noexcept {
    return layout_->is_log && (line.starts_with("#fields") || line.starts_with("#Fields:"));
  }

  KeyedEvents events_;
  std::shared_ptr<const ColumnLayout> layout_;
  std::string_view key_;  ///< Of the last event, as text,
  bool hashed_ = false;   ///< of which its index is a hash.
  std::string joined_;

 private:
  bool place(std::string_view key, std::uint64_t bound, const Column& column, std::uint64_t& index, bool& hashed,
             std::string& reason) const {
    if (key.empty()) {
      reason = fmt::format("{} is empty: expected a key", column.name);
      return false;
    }
    if (events_.place(key, bound, index, hashed)) return true;
    reason = events_.complaint(key, bound, column);
    return false;
  }
};

/// Bytes 0x80 where `word` has a zero byte; above the lowest of them there may be others.
constexpr std::uint64_t zero_bytes(std::uint64_t word) noexcept {
  return (word - 0x0101010101010101U) & ~word & 0x8080808080808080U;
}
constexpr std::uint64_t repeated(char c) noexcept { return 0x0101010101010101U * static_cast<unsigned char>(c); }

/// Lines of columns.
class TableGrammar : public KeyedGrammar {
 public:
  TableGrammar(const Limits& limits, const ReadOptions& options, const std::string& name,
               std::shared_ptr<const ColumnLayout> layout)
      : KeyedGrammar(limits, options, name, std::move(layout)) {
    std::size_t last = 0;
    const auto note = [&](const Column& column, Meaning meaning) {
      last = std::max(last, column.number + 1);
      parts_.resize(std::max(parts_.size(), column.number + 1), Meaning::none);
      // A column that means two things is left to the slow way.
      has_plain_ = has_plain_ && parts_[column.number] == Meaning::none;
      parts_[column.number] = meaning;
    };
    for (const Column& column : layout_->key) note(column, Meaning::key);
    if (layout_->delta) note(*layout_->delta, Meaning::delta);
    if (layout_->sign) note(*layout_->sign, Meaning::sign);
    separator_ = layout_->separator;
    has_plain_ = has_plain_ && layout_->key.size() == 1 && !events_.is_matrix() && !layout_->sign && separator_ != ' ';
    const std::string& header = layout_->header;
    has_header_ = !header.empty();
    const std::string line = header + '\n';
    const std::size_t known = std::min<std::size_t>(line.size(), 8);
    std::memcpy(&header_, line.data(), known);
    std::memset(&header_mask_, 0xFF, known);
    fields_.resize(last);
    key_fields_.resize(layout_->key.size());
  }

  /// Of lines without quotes, carriage returns and blanks at the ends of fields.
  const char* parse_plain(const char* p, Event& event) noexcept {
    if (!has_plain_) return nullptr;
    // A byte order mark, a directive, and a header that comes again are for the others.
    if (*p == '\xEF' || *p == '#') return nullptr;
    std::uint64_t beginning;
    std::memcpy(&beginning, p, 8);
    if (has_header_ && ((beginning ^ header_) & header_mask_) == 0) return nullptr;
    event.operand = events_.operand();
    event.j = 0;
    event.delta = layout_->constant;
    std::string_view key;
    bool is_at_end = false;
    for (const Meaning& part : parts_) {
      const char* const end = field_end(p);
      if (*end == '"' || (end == p && part != Meaning::none)) return nullptr;
      if (part == Meaning::key) {
        key = {p, static_cast<std::size_t>(end - p)};
        if (is_blank(key.front()) || is_blank(key.back()) || key.back() == '\r') return nullptr;
      } else if (part == Meaning::delta) {
        if (scan_number(p, separator_, event.delta) != end) return nullptr;
      }
      p = end + 1;
      if (*end != '\n') continue;
      if (&part != &parts_.back()) return nullptr;
      is_at_end = true;
    }
    while (!is_at_end) {  // columns that do not matter
      const char* const end = field_end(p);
      if (*end == '"') return nullptr;
      p = end + 1;
      is_at_end = *end == '\n';
    }
    if (key.empty() || !events_.place(key, events_.rows(), event.i, hashed_)) return nullptr;
    key_ = key;
    return p;
  }

  Line parse(std::string_view line, Event& event, RowBatch&, std::string& reason) {
    line = without_line_end(without_byte_order_mark(line));
    reason = return_complaint(line);
    if (!reason.empty()) return Line::bad;
    if (is_other_header(line)) {
      reason = "the log has other columns from here on: expected one kind of lines in a file";
      return Line::bad;
    }
    TableFields cursor(line, separator_);
    std::size_t count = 0;
    for (std::string_view field; cursor.next(field); ++count) {
      if (cursor.is_broken()) break;
      if (count < fields_.size()) fields_[count].assign(field);
      // In lines between blanks, as logs have them, what comes later may be anything.
      else if (separator_ == ' ')
        break;
    }
    if (cursor.is_broken()) {
      reason = fmt::format(
          "column {} begins with a quote and does not end with one: expected a quote before the next separator, "
          "\"\" for a quote inside, and no line break between quotes",
          count + 1);
      return Line::bad;
    }
    if (count < fields_.size()) {
      reason = fmt::format("the line has {} column{} between {}, and no {}", count, count == 1 ? "" : "s",
                           name_of_separator(separator_), missing(count));
      return Line::bad;
    }
    const auto text = [&](const Column& column) { return std::string_view(fields_[column.number]); };
    for (std::size_t k = 0; k < key_fields_.size(); ++k) key_fields_[k] = text(layout_->key[k]);
    return finish(key_fields_, layout_->delta ? std::optional(text(*layout_->delta)) : std::nullopt,
                  layout_->sign ? std::optional(text(*layout_->sign)) : std::nullopt, event, reason);
  }

 private:
  enum class Meaning : std::uint8_t { none, key, delta, sign };

  static bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

  /// The first separator, line end or quote from `p` on. Eight bytes behind the line end must be readable.
  const char* field_end(const char* p) const noexcept {
    const std::uint64_t separators = repeated(separator_);
    while (true) {
      std::uint64_t word;
      std::memcpy(&word, p, 8);
      const std::uint64_t found =
          zero_bytes(word ^ separators) | zero_bytes(word ^ repeated('\n')) | zero_bytes(word ^ repeated('"'));
      if (found != 0) return p + std::countr_zero(found) / 8;
      p += 8;
    }
  }

  /// The first column that a line of `count` lacks.
  [[nodiscard]] std::string missing(std::size_t count) const {
    const Column* first = nullptr;
    const auto look = [&](const Column& column) {
      if (column.number >= count && (first == nullptr || column.number < first->number)) first = &column;
    };
    for (const Column& column : layout_->key) look(column);
    if (layout_->delta) look(*layout_->delta);
    if (layout_->sign) look(*layout_->sign);
    return first->name;
  }

  std::uint64_t header_ = 0;  ///< Its first bytes,
  std::uint64_t header_mask_ = 0;
  bool has_header_ = false;
  char separator_ = ',';
  bool has_plain_ = true;
  std::vector<Meaning> parts_;  ///< Of the columns up to the last that matters.
  std::vector<std::string> fields_;
  std::vector<std::string_view> key_fields_;
};

/// Takes the texts at some paths out of a JSON object, as nlohmann's SAX parser goes through it.
class MemberFinder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  static constexpr std::size_t elsewhere = std::string::npos;
  struct Wanted {
    const std::string* path;
    std::string text = {};
    bool found = false;
    /// How many characters of the path what is open has matched, with the dot behind; none where it leads elsewhere.
    std::vector<std::size_t> matched = {};

    [[nodiscard]] std::string_view rest() const {
      if (matched.empty() || matched.back() == elsewhere) return {};
      return std::string_view(*path).substr(matched.back());
    }
  };

  explicit MemberFinder(std::vector<Wanted>& wanted) : wanted_(&wanted) {}
  void restart() {
    levels_.clear();
    error_.clear();
    for (Wanted& wanted : *wanted_) {
      wanted.found = false;
      wanted.matched.clear();
    }
  }
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

  bool null() override { return leave({}, false); }
  bool boolean(bool value) override { return leave(value ? "true" : "false", true); }
  bool number_integer(number_integer_t value) override { return leave(fmt::to_string(value), true); }
  bool number_unsigned(number_unsigned_t value) override { return leave(fmt::to_string(value), true); }
  bool number_float(number_float_t, const string_t& text) override { return leave(text, true); }
  bool string(string_t& text) override { return leave(text, true); }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(false); }
  bool start_array(std::size_t) override { return enter(true); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    levels_.back().name = name;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) override {
    error_ = error.what();
    return false;
  }

 private:
  struct Level {
    bool is_array;
    std::size_t next = 0;  ///< Of an array.
    std::string name = {};
  };

  /// The name of the value that comes now.
  std::string_view name_now() {
    if (levels_.empty()) return {};
    Level& level = levels_.back();
    if (!level.is_array) return level.name;
    level.name = fmt::to_string(level.next++);
    return level.name;
  }
  bool enter(bool is_array) {
    const std::string_view name = name_now();
    for (Wanted& wanted : *wanted_) {
      std::size_t matched = levels_.empty() ? 0 : elsewhere;
      const std::string_view rest = wanted.rest();
      if (rest.size() > name.size() && rest.starts_with(name) && rest[name.size()] == '.')
        matched = wanted.matched.back() + name.size() + 1;
      wanted.matched.push_back(matched);
    }
    levels_.push_back({is_array});
    return true;
  }
  bool close() {
    levels_.pop_back();
    for (Wanted& wanted : *wanted_) wanted.matched.pop_back();
    return true;
  }
  bool leave(std::string_view text, bool is_value) {
    const std::string_view name = name_now();
    for (Wanted& wanted : *wanted_)
      if (!wanted.rest().empty() && wanted.rest() == name) {
        wanted.found = is_value;
        wanted.text = text;
      }
    return true;
  }

  std::vector<Wanted>* wanted_;
  std::vector<Level> levels_;
  std::string error_;
};

/// Lines of JSON objects.
class JsonGrammar : public KeyedGrammar {
 public:
  JsonGrammar(const Limits& limits, const ReadOptions& options, const std::string& name,
              std::shared_ptr<const ColumnLayout> layout)
      : KeyedGrammar(limits, options, name, std::move(layout)) {
    for (const Column& column : layout_->key) columns_.push_back(&column);
    if (layout_->delta) columns_.push_back(&*layout_->delta);
    if (layout_->sign) columns_.push_back(&*layout_->sign);
    for (const Column* column : columns_) wanted_.push_back({.path = &column->path});
    key_fields_.resize(layout_->key.size());
  }

  static const char* parse_plain(const char*, Event&) noexcept { return nullptr; }

  Line parse(std::string_view line, Event& event, RowBatch&, std::string& reason) {
    line = trim(without_line_end(without_byte_order_mark(line)));
    MemberFinder finder(wanted_);
    finder.restart();
    if (line.front() != '{' || !nlohmann::json::sax_parse(line.begin(), line.end(), &finder)) {
      reason = fmt::format("{} is no JSON object{}; --separator says that lines are those of a table",
                           quoted_excerpt(line), detail_of(finder.error()));
      return Line::bad;
    }
    for (std::size_t k = 0; k < wanted_.size(); ++k) {
      if (wanted_[k].found) continue;
      reason = fmt::format("the object has no {} that is text or a number", columns_[k]->name);
      return Line::bad;
    }
    const std::size_t keys = key_fields_.size();
    for (std::size_t k = 0; k < keys; ++k) key_fields_[k] = wanted_[k].text;
    std::optional<std::string_view> delta, sign;
    if (layout_->delta) delta = wanted_[keys].text;
    if (layout_->sign) sign = wanted_.back().text;
    return finish(key_fields_, delta, sign, event, reason);
  }

 private:
  /// What nlohmann's parser says, without the number of its error.
  static std::string detail_of(const std::string& error) {
    const std::size_t end = error.find("] ");
    if (end == std::string::npos) return {};
    std::string what = error.substr(end + 2);
    constexpr std::size_t longest = 160;
    if (what.size() > longest) what.resize(longest);
    for (char& c : what)
      if (c < ' ' || c > '~') c = '?';
    return ": " + what;
  }

  std::vector<const Column*> columns_;
  std::vector<MemberFinder::Wanted> wanted_;
  std::vector<std::string_view> key_fields_;
};

template <class Grammar>
class ColumnDecoder final : public LineDecoder<Grammar> {
  using Base = LineDecoder<Grammar>;

 public:
  ColumnDecoder(std::unique_ptr<Input> input, const ReadOptions& options, Part part, Grammar grammar,
                const ColumnLayout& layout)
      : Base(std::move(input), options, std::move(part), std::move(grammar), longest_record, layout.data_begin,
             layout.lines_before) {}

 private:
  void finish() override {
    if (Base::entries() > 0 || Base::part().may_be_empty) return;
    if (const auto size = Base::input().size()) {
      // One party speaks for all; its own part may well be empty when the file is not.
      if (!Base::part().begins_file() || Base::count_entries(Base::data_begin(), *size, true) > 0) return;
    }
    throw NoEvents(Base::input().name());
  }
};

}  // namespace

std::unique_ptr<Decoder> column_decoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits,
                                        Part part, std::shared_ptr<const ColumnLayout> layout) {
  if (!layout) layout = std::make_shared<ColumnLayout>(layout_of(options.columns, *input));
  if (layout->data_begin > 0 && !input->size()) {
    std::string passed(static_cast<std::size_t>(layout->data_begin), '\0');
    if (input->read_fully(std::as_writable_bytes(std::span(passed))) < passed.size()) throw NoEvents(input->name());
  }
  if (options.warn && part.begins_file()) {
    if (layout->is_header_by_guess)
      options.warn(
          fmt::format("{}:{}: {} is taken for a header, as its delta is no number or its sign none; --header yes or no "
                      "says what it is",
                      input->name(), layout->lines_before, quoted_excerpt(layout->header)));
    if (layout->is_between_blanks_by_guess)
      options.warn(
          fmt::format("{}: columns are taken to stand between blanks; --separator blank, or another one, says what "
                      "separates them",
                      input->name()));
  }
  const std::string name = part.name;
  const auto make = [&]<class Grammar>(Grammar grammar) -> std::unique_ptr<Decoder> {
    return std::make_unique<ColumnDecoder<Grammar>>(std::move(input), options, std::move(part), std::move(grammar),
                                                    *layout);
  };
  if (layout->is_json) return make(JsonGrammar(limits, options, name, layout));
  return make(TableGrammar(limits, options, name, layout));
}

}  // namespace weir::stream
