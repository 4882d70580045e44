#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir {

/// `text` in single quotes for a one-line message: at most 40 bytes of it (then "..."), with bytes outside printable
/// ASCII as `\xNN`.
[[nodiscard]] std::string quoted_excerpt(std::string_view text);

/// Removes the first word (separated by blanks, tabs and carriage returns) from `line` and returns it; empty when there
/// is none.
[[nodiscard]] std::string_view take_word(std::string_view& line) noexcept;

/// The whole of `word` as a finite double, with an optional sign; none when it is anything else: nan, inf, a number out
/// of range, a whole number beyond 2^53 that no double equals. Other numbers are rounded to the nearest double: 1e-400 to 0.
[[nodiscard]] std::optional<double> parse_finite(std::string_view word) noexcept;

/// Goes through the lines of a text.
class TextLines {
 public:
  explicit TextLines(std::string_view text) : text_(text) {}

  /// The next line without its newline; none at the end of the text.
  [[nodiscard]] std::optional<std::string_view> next() noexcept;
  /// 1-based number of the line that next() returned last.
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  /// Byte after the end of that line.
  [[nodiscard]] std::size_t offset() const noexcept { return offset_; }

 private:
  std::string_view text_;
  std::size_t offset_ = 0;
  std::uint64_t number_ = 0;
};

}  // namespace weir
