#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir {

// What fields and lines of text formats mean, and what is wrong with the others, in the same words for all of them.

/// True when `word`, whose nearest double is `value`, is a whole number that no double equals: an optional sign, digits,
/// and perhaps a point and zeros. All whole numbers up to 2^53 are doubles. O(1) for `value` below that.
[[nodiscard]] bool is_rounded_whole_slow(std::string_view word, double value) noexcept;
[[nodiscard]] inline bool is_rounded_whole(std::string_view word, double value) noexcept {
  return std::abs(value) >= 0x1p53 && is_rounded_whole_slow(word, value);
}

/// Of a number that from_chars() finds outside of the range of a double: true when it is too small, so that the nearest
/// double is 0, false when it is too large. O(length).
[[nodiscard]] bool is_too_small(std::string_view word) noexcept;

/// What is expected in the place of a whole number that would be rounded.
inline constexpr std::string_view exact_whole = "a whole number that a double holds exactly, as it does all up to 2^53";

/// Reads an index. False, with the reason, when `field` (called `name`) is none; `first` is the least that there is, for
/// the message. An index above 2^64 - 1 counts as too large.
[[nodiscard]] bool parse_index(std::string_view field, std::string_view name, std::uint64_t& value, std::string& reason,
                               int first = 0);

/// Reads a finite number. False, with the reason, when `field` (called `name`) is none, or is_rounded_whole().
[[nodiscard]] bool parse_number(std::string_view field, std::string_view name, double& value, std::string& reason);

/// What is wrong with a line of which a carriage return ends a part, as lines of other files end; empty where there is none
/// but at the end of the line.
[[nodiscard]] std::string return_complaint(std::string_view line);
/// What is wrong with a line, without its end, that is longer than `longest` and begins with `beginning`; and with one that
/// holds a NUL byte, empty when it has none.
[[nodiscard]] std::string overlong_complaint(std::size_t longest, std::string_view beginning);
[[nodiscard]] std::string nul_complaint(std::string_view line);

}  // namespace weir
