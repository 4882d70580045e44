#include "io/fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

#include "weir/io/text.hpp"

namespace weir {

bool is_rounded_whole_slow(std::string_view word, double value) noexcept {
  if (word.starts_with('+') || word.starts_with('-')) word.remove_prefix(1);
  if (const std::size_t point = word.find('.'); point != std::string_view::npos) {
    if (word.find_first_not_of('0', point + 1) != std::string_view::npos) return false;
    word = word.substr(0, point);
  }
  if (word.find_first_not_of("0123456789") != std::string_view::npos) return false;
  word.remove_prefix(std::min(word.find_first_not_of('0'), word.size()));
  std::array<char, 310> digits;  // the largest double has 309
  const auto [end, error] =
      std::to_chars(digits.data(), digits.data() + digits.size(), std::abs(value), std::chars_format::fixed, 0);
  return error != std::errc() || word != std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data()));
}

bool is_too_small(std::string_view word) noexcept {
  // The power of ten of the first digit that is not 0. Out of range means below -323 or above 308.
  const std::size_t mark = std::min(word.find_first_of("eE"), word.size());
  const std::string_view digits = word.substr(0, mark);
  const std::size_t first = digits.find_first_of("123456789");
  if (first == std::string_view::npos) return true;
  const auto point = static_cast<std::int64_t>(std::min(digits.find('.'), digits.size()));
  const auto place = static_cast<std::int64_t>(first);
  const std::int64_t power = place < point ? point - place - 1 : point - place;
  std::string_view exponent_text = word.substr(std::min(mark + 1, word.size()));
  if (exponent_text.starts_with('+')) exponent_text.remove_prefix(1);
  std::int64_t exponent = 0;
  const auto [end, error] =
      std::from_chars(exponent_text.data(), exponent_text.data() + exponent_text.size(), exponent);
  if (error == std::errc::result_out_of_range) return exponent_text.starts_with('-');
  // No word is 2^40 digits long.
  constexpr std::int64_t most = std::int64_t{1} << 40;
  return power + std::clamp(exponent, -most, most) < 0;
}

bool parse_index(std::string_view field, std::string_view name, std::uint64_t& value, std::string& reason, int first) {
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  const bool whole = end == field.data() + field.size();
  if (error == std::errc() && whole) return true;
  if (error == std::errc::result_out_of_range && whole) {
    reason = fmt::format("{} = {} is too large: indices lie below 2^63", name, quoted_excerpt(field));
  } else if (field.size() > 1 && field[0] == '-' &&
             field.find_first_not_of("0123456789", 1) == std::string_view::npos) {
    reason = fmt::format("{} = {} is negative: {} count from {}", name, quoted_excerpt(field),
                         first == 0 ? "indices" : "rows and columns", first);
  } else {
    reason = fmt::format("{} is not an index: expected a whole number for {}", quoted_excerpt(field), name);
  }
  return false;
}

bool parse_number(std::string_view field, std::string_view name, double& value, std::string& reason) {
  const std::size_t plus = field.size() > 1 && field[0] == '+' && field[1] != '-' ? 1 : 0;
  const char* last = field.data() + field.size();
  const auto [end, error] = std::from_chars(field.data() + plus, last, value);
  if (end != last || error == std::errc::invalid_argument) {
    reason = fmt::format("{} is not a number: expected {}", quoted_excerpt(field), name);
  } else if (error == std::errc::result_out_of_range) {
    if (is_too_small(field)) {
      value = field.starts_with('-') ? -0.0 : 0.0;
      return true;
    }
    reason = fmt::format("{} = {} is outside the range of a double", name, quoted_excerpt(field));
  } else if (!std::isfinite(value)) {
    reason = fmt::format("{} = {} is not finite", name, quoted_excerpt(field));
  } else if (is_rounded_whole(field, value)) {
    reason = fmt::format("{} = {} would be rounded: expected {}", name, quoted_excerpt(field), exact_whole);
  } else {
    return true;
  }
  return false;
}

std::string return_complaint(std::string_view line) {
  const std::size_t found = line.find('\r');
  if (found == std::string_view::npos || line.find_first_not_of(" \t\r", found) == std::string_view::npos) return {};
  return "a carriage return in the middle of the line: expected lines that end with \\n or \\r\\n (tr '\\r' '\\n' "
         "changes "
         "lines that end with \\r)";
}

std::string overlong_complaint(std::size_t longest, std::string_view beginning) {
  const std::string of_return = return_complaint(beginning);
  return of_return.empty() ? fmt::format("the line is longer than {} bytes", longest) : of_return;
}

std::string nul_complaint(std::string_view line) {
  return line.find('\0') != std::string_view::npos ? "the line contains a NUL byte; expected text" : "";
}

}  // namespace weir
