#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "input.hpp"

namespace weir::stream {

/// Longest line, without its end, that a text format may have.
inline constexpr std::size_t longest_line = 4096;

/// Cuts an Input into runs of whole lines, in bounded memory.
class LineBuffer {
 public:
  /// Bytes after a run that may be read (not used), so that a parser can load eight bytes at once.
  static constexpr std::size_t padding = 16;

  /// All lines from `input`'s current offset on.
  explicit LineBuffer(Input& input);

  /// From now on the lines that begin in [begin, end), and no others. Only when the input can seek.
  void restrict_to(std::uint64_t begin, std::uint64_t end);

  /// The next run of whole lines, each ended by '\n' (supplied when the last line has none). Empty at the end. What the
  /// run before referred to is gone. A line longer than longest_line may be cut, but stays longer than longest_line.
  [[nodiscard]] std::string_view next_run();
  /// Offset of the first line in the range, once next_run() has been called.
  [[nodiscard]] std::uint64_t first_line_offset() const noexcept { return first_line_offset_; }
  [[nodiscard]] bool is_live() const noexcept { return input_->is_live(); }

 private:
  [[nodiscard]] std::string_view hand_out(std::size_t length);

  Input* input_;
  std::size_t capacity_;
  std::vector<char> buffer_;  ///< Of capacity_, one for the '\n' that a last line may lack, and the padding.
  std::size_t filled_ = 0;    ///< Bytes in the buffer.
  std::size_t handed_ = 0;    ///< Of these, handed out in the last run.
  std::uint64_t end_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t first_line_offset_ = 0;
  bool first_run_ = true;
  bool inside_line_ = false;  ///< The next bytes belong to a line that is not ours, or was cut.
  bool finished_ = false;
};

/// Lines ('\n' bytes) in the first `length` bytes of an input that can seek.
[[nodiscard]] std::uint64_t count_newlines(Input& input, std::uint64_t length);

}  // namespace weir::stream
