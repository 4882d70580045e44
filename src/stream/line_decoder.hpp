#pragma once

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "decoder.hpp"
#include "line_buffer.hpp"
#include "number.hpp"
#include "weir/error.hpp"

namespace weir::stream {

/// Longest line, without its end, that holds no row.
inline constexpr std::size_t longest_line = 4096;

/// What a line turned out to be.
enum class Line : std::uint8_t { bad, entry, row };

/// The decoder of a format with an event a line. A Grammar has
///   const char* parse_plain(const char* p, Event&)
///       the commonest spelling, fast: returns the byte after the line's end, or nullptr to leave the line to the
///       others; never of a line that is too long;
///   bool parse_plain_row(const char* p, RowBatch&)
///       likewise for a whole row, which it appends (only where `has_rows`); false to leave the line to parse();
///   bool is_nothing(std::string_view line)
///       true for blank lines and comments;
///   bool is_comment(std::string_view beginning)
///       true for a comment, of which a beginning is enough to tell, so that it may be of any length;
///   Line parse(std::string_view line, Event&, RowBatch&, std::string& reason)
///       any other line, without its end; the reason when it is bad; event.i comes as the number of such lines before it;
///   std::optional<Event> mirror(const Event&)
///       a second event that the same line stands for (only where `mirrors`);
///   void note_name(const Event&, std::uint64_t place), void flush_names()
///       called for each entry that was parsed, with the place of its line in the input, and after a batch (only where it has a
///       member has_names, which is true).
template <class Grammar>
class LineDecoder : public Decoder {
 public:
  /// `input` stands at the first line, number `lines_before` + 1, which begins at offset `data_begin`.
  LineDecoder(std::unique_ptr<Input> input, const ReadOptions& options, Part part, Grammar grammar, std::size_t longest,
              std::uint64_t data_begin, std::uint64_t lines_before)
      : input_(std::move(input)),
        options_(options),
        part_(std::move(part)),
        grammar_(std::move(grammar)),
        lines_(*input_, longest),
        data_begin_(data_begin),
        lines_before_(lines_before) {
    if (const auto size = input_->size()) {
      own_ = part_.of_size(*size, data_begin);
    } else {
      own_ = part_.uncut();
    }
    progress_ = Progress(own_);
    if (!progress_.is_done()) begin_range();
  }

  bool next(EventBatch& batch, std::size_t most) override {
    most = std::min(most, options_.batch);
    batch.resize(most + (Grammar::mirrors ? 1 : 0));
    std::size_t count = 0;
    while (count == 0 && batch.rows.empty() && !progress_.is_done()) {
      count = read(batch, most);
      if (count > 0 || !batch.rows.empty()) break;
      // The range is at its end.
      progress_.next_range();
      if (!progress_.is_done()) begin_range();
    }
    batch.resize(count);
    if (!batch.empty()) {
      progress_.pass(position());
      return true;
    }
    if (!finished_) finish();
    finished_ = true;
    return false;
  }

  [[nodiscard]] std::vector<FileRange> unread() const override {
    std::vector<FileRange> rest = progress_.rest();
    // What is checked at the end of the file is still to be checked.
    if (!finished_ && input_->size() && ends_file() && (rest.empty() || rest.back().end < end_of_file()))
      rest.push_back({end_of_file(), std::numeric_limits<std::uint64_t>::max()});
    return rest;
  }

  [[nodiscard]] std::optional<BytesRead> bytes_read() const noexcept override {
    return input_->size() ? progress_.units() : input_->bytes_read();
  }
  [[nodiscard]] std::uint64_t skipped() const noexcept override { return skipped_; }
  [[nodiscard]] const SkippedLine* first_skipped() const noexcept override {
    return first_skipped_ ? &*first_skipped_ : nullptr;
  }

 protected:
  /// Called at the end of the part, to check what can only be checked there.
  virtual void finish() = 0;
  /// Whether finish() checks the whole file.
  [[nodiscard]] virtual bool ends_file() const noexcept { return false; }

  /// Lines so far, bad ones too, that are neither blank nor comments; of an input that cannot seek, with those that were
  /// passed over.
  [[nodiscard]] std::uint64_t entries() const noexcept { return entries_; }
  /// Such lines that begin in [begin, end); stops at the first one if `first_only`. Ends the decoding.
  [[nodiscard]] std::uint64_t count_entries(std::uint64_t begin, std::uint64_t end, bool first_only) {
    lines_.restrict_to(begin, end);
    std::uint64_t found = 0;
    while (!(first_only && found > 0) && advance()) {
      while (cursor_ != limit_) {
        if (is_entry(take_line())) ++found;
      }
    }
    return found;
  }

  [[nodiscard]] const Grammar& grammar() const noexcept { return grammar_; }
  [[nodiscard]] const Input& input() const noexcept { return *input_; }
  [[nodiscard]] const Part& part() const noexcept { return part_; }
  /// The ranges of offsets that are read; of entries() when the input cannot seek.
  [[nodiscard]] const std::vector<FileRange>& own() const noexcept { return own_; }
  [[nodiscard]] std::uint64_t data_begin() const noexcept { return data_begin_; }

 private:
  static void store(EventBatch& batch, std::size_t t, const Event& event) {
    batch.operands[t] = event.operand;
    batch.i[t] = event.i;
    batch.j[t] = event.j;
    batch.delta[t] = event.delta;
  }

  [[nodiscard]] std::uint64_t end_of_file() const noexcept {
    return input_->size().value_or(std::numeric_limits<std::uint64_t>::max());
  }
  /// Of the next line, in the unit of the ranges.
  [[nodiscard]] std::uint64_t position() const noexcept {
    return input_->size() ? lines_.run_end() - static_cast<std::uint64_t>(limit_ - cursor_) : entries_;
  }

  /// Goes to the first line of the current range.
  void begin_range() {
    const FileRange& range = progress_.current();
    if (input_->size()) {
      lines_.restrict_to(range.begin, range.end);
      cursor_ = limit_ = nullptr;
      lines_read_ = 0;
    } else {
      last_entry_ = range.end;
    }
  }

  /// Passes over the entries before the current range of an input that cannot seek.
  void pass_over() {
    const std::uint64_t begin = progress_.current().begin;
    while (entries_ < begin) {
      if (cursor_ == limit_ && !advance()) throw InputError(part_.too_short_complaint(begin, entries_));
      ++lines_read_;
      if (is_entry(take_line())) ++entries_;
    }
  }

  /// Entries of the current range, of which it returns the number, and rows; nothing of both at its end. At most `most`
  /// events, or one more for a second event of one line.
  std::size_t read(EventBatch& batch, std::size_t most) {
    if (!input_->size()) pass_over();
    std::size_t room = most;  // for entries
    std::size_t count = 0;
    limit_to_range(room, count);
    while (count < room) {
      if (cursor_ == limit_ && ((count + batch.rows.size() > 0 && lines_.is_live()) || !advance())) break;
      while (cursor_ != limit_ && count < room) {
        Event event;
        [[maybe_unused]] const char* const line = cursor_;
        const char* after = grammar_.parse_plain(cursor_, event);
        if (after == nullptr) {
          const Line kind = take_other_line(event, batch.rows);
          if (kind == Line::row) room = batch.rows.values.size() < options_.row_values ? room - 1 : count;
          if (kind != Line::entry) {
            limit_to_range(room, count);
            continue;
          }
        } else {
          cursor_ = after;
          ++lines_read_;
          ++entries_;
        }
        store(batch, count++, event);
        if constexpr (requires { Grammar::has_names; })
          grammar_.note_name(event, lines_.run_end() - static_cast<std::uint64_t>(limit_ - line));
        if constexpr (Grammar::mirrors) {
          if (const auto second = grammar_.mirror(event)) store(batch, count++, *second);
        }
      }
    }
    if constexpr (requires { Grammar::has_names; }) grammar_.flush_names();
    return count;
  }

  /// Lowers `room` to what is left of the current range when that is counted in entries, `count` of `room` being taken.
  void limit_to_range(std::size_t& room, std::size_t count) const noexcept {
    room = count + static_cast<std::size_t>(std::min<std::uint64_t>(room - count, last_entry_ - entries_));
  }

  /// Whether a line is an event, be it a bad one.
  [[nodiscard]] bool is_entry(std::string_view line) const {
    return line.size() > lines_.longest_line() ? !grammar_.is_comment(line) : !grammar_.is_nothing(line);
  }

  bool advance() {
    const std::string_view run = lines_.next_run();
    cursor_ = run.data();
    limit_ = run.data() + run.size();
    return !run.empty();
  }

  std::string_view take_line() {
    const char* line = cursor_;
    const auto* newline = static_cast<const char*>(std::memchr(line, '\n', static_cast<std::size_t>(limit_ - line)));
    cursor_ = newline + 1;
    return {line, static_cast<std::size_t>(newline - line)};
  }

  /// The next line, which is no plain entry, as an event, which goes to `event` or to `rows`; bad, too, when it is
  /// blank or a comment.
  [[gnu::noinline]] Line take_other_line(Event& event, RowBatch& rows) {
    const std::string_view line = take_line();
    ++lines_read_;
    // First, as such a line may have been cut in the middle of a number.
    const bool too_long = line.size() > lines_.longest_line();
    if constexpr (Grammar::has_rows) {
      if (!too_long && grammar_.parse_plain_row(line.data(), rows)) {
        ++entries_;
        return Line::row;
      }
    }
    std::string reason;
    Line kind = Line::bad;
    if (too_long) {
      if (grammar_.is_comment(line)) return Line::bad;
      reason = overlong_complaint(lines_.longest_line(), line);
    } else if (grammar_.is_nothing(line)) {
      return Line::bad;
    } else if (reason = nul_complaint(line); reason.empty()) {
      event.i = entries_;
      kind = grammar_.parse(line, event, rows, reason);
    }
    ++entries_;
    if (kind == Line::bad) {
      if (options_.on_error == OnError::stop) {
        if (input_->size()) lines_before_ = count_newlines(*input_, lines_.first_line_offset());
        throw InputError(fmt::format("{}:{}: {}", input_->name(), lines_before_ + lines_read_, reason));
      }
      if (skipped_++ == 0) {
        const bool sliced = input_->size().has_value();
        first_skipped_ = {input_->name(), (sliced ? 0 : lines_before_) + lines_read_,
                          sliced ? lines_.first_line_offset() : 0, std::move(reason)};
      }
    }
    return kind;
  }

  std::unique_ptr<Input> input_;
  ReadOptions options_;
  Part part_;
  Grammar grammar_;
  LineBuffer lines_;
  std::uint64_t data_begin_;
  std::vector<FileRange> own_;
  Progress progress_;
  std::uint64_t last_entry_ = std::numeric_limits<std::uint64_t>::max();  ///< Of the range, where entries are counted.
  bool finished_ = false;
  const char* cursor_ = nullptr;
  const char* limit_ = nullptr;
  std::uint64_t lines_before_;
  std::uint64_t lines_read_ = 0;
  std::uint64_t entries_ = 0;
  std::uint64_t skipped_ = 0;
  std::optional<SkippedLine> first_skipped_;
};

}  // namespace weir::stream
