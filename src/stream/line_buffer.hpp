#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "io/input.hpp"

namespace weir::stream {

/// Cuts an Input into runs of whole lines, in memory of at most twice the longest line and a piece.
class LineBuffer {
 public:
  /// Bytes after a run that may be read (not used), so that a parser can load eight bytes at once.
  static constexpr std::size_t padding = 16;

  /// All lines from `input`'s current offset on. A line, without its end, may have `longest_line` bytes.
  LineBuffer(Input& input, std::size_t longest_line);

  /// From now on the lines that begin in [begin, end), and no others. Only when the input can seek.
  void restrict_to(std::uint64_t begin, std::uint64_t end);

  /// The next run of whole lines, each ended by '\n' (supplied when the last line has none). Empty at the end. What the
  /// run before referred to is gone. A line that is too long may be cut, but stays too long.
  [[nodiscard]] std::string_view next_run();
  /// Offset of the first line in the range, once next_run() has been called.
  [[nodiscard]] std::uint64_t first_line_offset() const noexcept { return first_line_offset_; }
  /// Offset behind the last run: of the next line, or inside of a line that was cut.
  [[nodiscard]] std::uint64_t run_end() const noexcept { return run_end_; }
  [[nodiscard]] bool is_live() const noexcept { return input_->is_live(); }
  [[nodiscard]] std::size_t longest_line() const noexcept { return longest_line_; }

 private:
  [[nodiscard]] std::string_view hand_out(std::size_t length);

  Input* input_;
  std::size_t longest_line_;
  std::size_t piece_;         ///< Bytes that are read at once.
  std::vector<char> buffer_;  ///< Grows with the lines; behind the bytes, '\n' and the padding have room.
  std::size_t filled_ = 0;    ///< Bytes in the buffer.
  std::size_t handed_ = 0;    ///< Of these, handed out in the last run.
  std::uint64_t end_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t first_line_offset_ = 0;
  std::uint64_t run_end_ = 0;
  bool first_run_ = true;
  bool inside_line_ = false;  ///< The next bytes belong to a line that is not ours, or was cut.
  bool finished_ = false;
};

/// Lines ('\n' bytes) in the first `length` bytes of an input that can seek.
[[nodiscard]] std::uint64_t count_newlines(Input& input, std::uint64_t length);

}  // namespace weir::stream
