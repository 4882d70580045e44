#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/input.hpp"
#include "weir/error.hpp"
#include "weir/event.hpp"
#include "weir/io/npy.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

/// Indices lie below this.
inline constexpr std::uint64_t index_limit = std::uint64_t{1} << 63;

/// Bounds of the indices of each operand; rows are 0 for an operand that the model does not take, and for one that was
/// not known when the reader was made.
class Limits {
 public:
  explicit Limits(const ReadOptions& options);

  /// The operands that takes() is true for.
  [[nodiscard]] OperandSet taken() const noexcept { return taken_; }
  [[nodiscard]] bool takes(Operand operand) const noexcept { return rows(operand) > 0; }
  [[nodiscard]] std::uint64_t rows(Operand operand) const noexcept { return rows_[static_cast<std::size_t>(operand)]; }
  [[nodiscard]] std::uint64_t columns(Operand operand) const noexcept {
    return columns_[static_cast<std::size_t>(operand)];
  }
  [[nodiscard]] bool contain(Operand operand, std::uint64_t i, std::uint64_t j) const noexcept {
    return i < rows(operand) && j < columns(operand);
  }
  /// The values that a whole row of a matrix operand must have: between `least` and `most`, which differ only where the
  /// columns are not known, and contradict each other where there are too many.
  struct RowLength {
    std::uint64_t least;
    std::uint64_t most;
  };
  [[nodiscard]] RowLength row_length(Operand operand) const noexcept {
    const std::uint64_t all = columns(operand);
    return {all == index_limit ? 1 : all, std::min<std::uint64_t>(all, longest_row)};
  }

  /// Why contain() is false.
  [[nodiscard]] std::string complaint(Operand operand, std::uint64_t i, std::uint64_t j) const;
  /// Why a row of `found` values does not have the row_length().
  [[nodiscard]] std::string row_complaint(Operand operand, std::uint64_t found) const;
  /// Why takes() is false.
  [[nodiscard]] std::string complaint(Operand operand) const;

 private:
  std::array<std::uint64_t, most_operands> rows_{};
  std::array<std::uint64_t, most_operands> columns_{};
  OperandSet taken_;
  bool given_ = false;
  std::string advice_;
  std::string shape_note_;
};

/// The lines of a text event for `operand`: "y,i,delta".
[[nodiscard]] std::string form_of(Operand operand);
/// What the indices of `operand` are called in it.
[[nodiscard]] std::array<char, 2> index_names(Operand operand) noexcept;

/// What was wrong with a line that was skipped.
struct SkippedLine {
  std::string name;        ///< Of the file.
  std::uint64_t line = 0;  ///< Its number, counted from 1 at offset `lines_from`; 0 where `reason` says all.
  std::uint64_t lines_from = 0;
  std::string reason;
};

/// Thrown where text or binary records end without an event, and for a matrix or array without entries: a fault of a file
/// that is the only one, but not of every message, nor of one file of many.
class NoEvents : public InputError {
 public:
  explicit NoEvents(const std::string& place, const std::string& reason = {})
      : InputError(place + ": contains no events" + reason) {}
};

/// `ranges` in ascending order, without empty ones, and those that touch as one. Throws InputError when one ends before it
/// begins, or two overlap.
[[nodiscard]] std::vector<FileRange> in_order(std::vector<FileRange> ranges);

/// The part of one file that a decoder reads: a slice of all of it, or of ranges.
struct Part {
  std::string name;  ///< Of the file.
  std::uint32_t slice = 0;
  std::uint32_t slice_count = 1;
  std::optional<std::vector<FileRange>> ranges = {};  ///< in_order(); none: all of the file.
  /// Lines of text and binary events only. A file without events is an error, as most likely another was meant; what a
  /// client sends, or a piece of a longer text, may have none.
  bool may_be_empty = false;

  /// What a decoder of a file that is `size` units long, with events from `from` on, reads, in order. Throws InputError for
  /// ranges beyond the file.
  [[nodiscard]] std::vector<FileRange> of_size(std::uint64_t size, std::uint64_t from = 0) const;
  /// What a decoder of a file that cannot be cut reads, which is of this slice alone.
  [[nodiscard]] std::vector<FileRange> uncut() const { return ranges.value_or(std::vector<FileRange>(1)); }
  /// True for one party, the one that begins the file: it speaks for all where there is nothing in it.
  [[nodiscard]] bool begins_file() const noexcept {
    return slice == 0 && (!ranges || (!ranges->empty() && ranges->front().begin == 0));
  }
  /// True for one party, the one that ends the file: it speaks for all when all has been read.
  [[nodiscard]] bool ends_file(std::uint64_t size) const noexcept {
    return slice + std::uint64_t{1} == slice_count && (!ranges || (!ranges->empty() && ranges->back().end >= size));
  }
  /// The complaint about a file of `events` events that ends before the part does.
  [[nodiscard]] std::string too_short_complaint(std::uint64_t begin, std::uint64_t events) const;
};

/// How far a list of ranges has been read.
class Progress {
 public:
  Progress() = default;
  explicit Progress(std::vector<FileRange> ranges);

  /// Whether all has been read.
  [[nodiscard]] bool is_done() const noexcept { return at_ == ranges_.size(); }
  /// The rest of the range that is being read; only before the end.
  [[nodiscard]] const FileRange& current() const noexcept { return ranges_[at_]; }
  /// All before `position` of the current range has been read; it may lie behind the range's end.
  void pass(std::uint64_t position) noexcept { ranges_[at_].begin = std::min(position, ranges_[at_].end); }
  /// Goes on to the next range.
  void next_range() noexcept { ++at_; }
  void finish() noexcept { at_ = ranges_.size(); }
  /// What is left, without empty ranges.
  [[nodiscard]] std::vector<FileRange> rest() const;
  /// Units of the ranges, which have ends; `read` of them have been passed.
  [[nodiscard]] BytesRead units() const noexcept;

 private:
  std::vector<FileRange> ranges_;
  std::size_t at_ = 0;
  std::uint64_t all_ = 0;
};

/// Reads the events of one file in one format, or of a part of it.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// As EventReader::next, but `batch` comes without whole rows, and `most` is at least 1.
  virtual bool next(EventBatch& batch, std::size_t most) = 0;
  /// As EventReader::unread, of this file.
  [[nodiscard]] virtual std::vector<FileRange> unread() const = 0;
  /// As EventReader::bytes_read, of this file.
  [[nodiscard]] virtual std::optional<BytesRead> bytes_read() const noexcept = 0;
  /// Lines skipped so far.
  [[nodiscard]] virtual std::uint64_t skipped() const noexcept { return 0; }
  /// The first of them; null where there is none.
  [[nodiscard]] virtual const SkippedLine* first_skipped() const noexcept { return nullptr; }
};

/// What begins with `head`: 16 bytes, 19 after a byte order mark, fewer only if there are no more.
[[nodiscard]] StreamFormat format_of_head(std::string_view head) noexcept;
/// Whether a line of text that begins so is a comment, which may be of any length.
[[nodiscard]] bool is_text_comment(std::string_view beginning) noexcept;
/// Bytes in the longest line, without its end, that text_decoder() takes.
[[nodiscard]] std::size_t longest_text_line(const Limits& limits, const ReadOptions& options) noexcept;

// When `input` has a size, the decoder reads part.of_size() of it, otherwise part.uncut().
[[nodiscard]] std::unique_ptr<Decoder> text_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                    const Limits& limits, Part part);
[[nodiscard]] std::unique_ptr<Decoder> matrix_market_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                             const Limits& limits, Part part);
/// Whether the Matrix Market file that begins with the first byte of `input`, which stands there, is in array format: its
/// entries do not say where they stand, so that it cannot be cut. Throws InputError.
[[nodiscard]] bool is_matrix_market_array(Input& input);
[[nodiscard]] std::unique_ptr<Decoder> npy_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                   const Limits& limits, Part part);
/// The header of the array that begins with the first byte of `input`, which stands there. Throws InputError.
[[nodiscard]] NpyHeader read_npy_header(Input& input);
[[nodiscard]] std::unique_ptr<Decoder> binary_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                                      const Limits& limits, Part part);

}  // namespace weir::stream
