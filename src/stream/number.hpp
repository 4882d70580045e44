#pragma once

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

#include "io/fields.hpp"
#include "weir/io/text.hpp"

namespace weir::stream {

static_assert(std::endian::native == std::endian::little,
              "loads eight characters at once, the first in the lowest byte");

inline constexpr std::array<std::uint64_t, 16> powers_of_ten = [] {
  std::array<std::uint64_t, 16> powers{};
  std::uint64_t power = 1;
  for (std::uint64_t& entry : powers) {
    entry = power;
    power *= 10;
  }
  return powers;
}();

/// Reads up to eight decimal digits at `p` without a branch on their number, which is returned. Eight bytes must be
/// readable.
inline unsigned scan_eight_digits(const char* p, std::uint64_t& value) noexcept {
  std::uint64_t characters;
  std::memcpy(&characters, p, 8);
  std::uint64_t digits = characters ^ 0x3030303030303030u;
  // Bit 7 of a byte is set from the first byte on that is no digit (a carry can only disturb later bytes).
  const std::uint64_t others = (digits | (digits + 0x7676767676767676u)) & 0x8080808080808080u;
  const auto count = static_cast<unsigned>(std::countr_zero(others)) / 8;
  if (count == 0) return 0;
  digits <<= 64 - 8 * count;
  digits = (digits * 10 + (digits >> 8)) & 0x00FF00FF00FF00FFu;
  digits = (digits * 100 + (digits >> 16)) & 0x0000FFFF0000FFFFu;
  value = (digits * 10000 + (digits >> 32)) & 0xFFFFFFFFu;
  return count;
}

/// Reads the digits at `p`; returns how many, or 0 when there are none or more than 15. Sixteen bytes must be readable.
inline unsigned scan_digits(const char* p, std::uint64_t& value) noexcept {
  const unsigned count = scan_eight_digits(p, value);
  if (count < 8) return count;
  std::uint64_t low = 0;
  const unsigned more = scan_eight_digits(p + 8, low);
  if (more == 8) return 0;
  value = value * powers_of_ten[more] + low;
  return 8 + more;
}

/// Reads a number written as [-]digits[.digits] with at most 15 digits, whose nearest double one division finds
/// (Clinger, "How to read floating point numbers accurately", 1990). Returns the byte after it, or nullptr for any
/// other spelling.
inline const char* scan_plain_number(const char* p, double& value) noexcept {
  const bool negative = *p == '-';
  p += negative ? 1 : 0;
  std::uint64_t mantissa;
  const unsigned whole = scan_digits(p, mantissa);
  if (whole == 0) return nullptr;
  p += whole;
  auto magnitude = static_cast<double>(mantissa);
  if (*p == '.') {
    std::uint64_t fraction;
    const unsigned decimals = scan_digits(++p, fraction);
    if (decimals == 0 || whole + decimals > 15) return nullptr;
    p += decimals;
    magnitude = static_cast<double>(mantissa * powers_of_ten[decimals] + fraction) /
                static_cast<double>(powers_of_ten[decimals]);
  }
  value = negative ? -magnitude : magnitude;
  return p;
}

/// Reads a finite number that `separator` or the end of the line follows; returns the byte after it, or nullptr, as for
/// a number of more than 64 bytes or a whole one that would be rounded.
inline const char* scan_number(const char* p, char separator, double& value) noexcept {
  const auto ends = [separator](const char* after) { return *after == separator || *after == '\n' || *after == '\r'; };
  const char* plain = scan_plain_number(p, value);
  if (plain != nullptr && ends(plain)) return plain;
  const auto* newline = static_cast<const char*>(std::memchr(p, '\n', 66));
  const auto [end, error] = std::from_chars(p, newline != nullptr ? newline : p + 65, value);
  if (error != std::errc() || !std::isfinite(value) || !ends(end)) return nullptr;
  return is_rounded_whole({p, static_cast<std::size_t>(end - p)}, value) ? nullptr : end;
}

/// The byte after the end of the line when the line ends at `p`, otherwise nullptr.
inline const char* scan_line_end(const char* p) noexcept {
  if (*p == '\r') ++p;
  return *p == '\n' ? p + 1 : nullptr;
}

/// `text` without blanks and tabs at its ends.
[[nodiscard]] inline std::string_view trim(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

[[nodiscard]] inline std::string_view without_byte_order_mark(std::string_view line) noexcept {
  return line.starts_with("\xEF\xBB\xBF") ? line.substr(3) : line;
}

[[nodiscard]] inline std::string_view without_line_end(std::string_view line) noexcept {
  return line.ends_with('\r') ? line.substr(0, line.size() - 1) : line;
}

}  // namespace weir::stream
