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

/// What is expected in the place of a whole number that would be rounded.
inline constexpr std::string_view exact_whole = "a whole number that a double holds exactly, as it does all up to 2^53";

/// Reads an index. False, with the reason, when `field` (called `name`) is none; `first` is the least that there is, for
/// the message. An index above 2^64 - 1 counts as too large.
[[nodiscard]] bool parse_index(std::string_view field, std::string_view name, std::uint64_t& value, std::string& reason,
                               int first = 0);

/// Reads a finite number. False, with the reason, when `field` (called `name`) is none, or is_rounded_whole().
[[nodiscard]] bool parse_number(std::string_view field, std::string_view name, double& value, std::string& reason);

/// What is wrong with a line, without its end, that is longer than `longest`; and with one that holds a NUL byte, empty
/// when it has none.
[[nodiscard]] std::string overlong_complaint(std::size_t longest);
[[nodiscard]] std::string nul_complaint(std::string_view line);

}  // namespace weir
