#include "weir/io/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "io/fields.hpp"

namespace weir {

std::string quoted_excerpt(std::string_view text) {
  constexpr std::size_t limit = 40;
  std::string result = "'";
  for (const char c : text.substr(0, limit)) {
    if (c >= ' ' && c <= '~') {
      result += c;
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  result += '\'';
  if (text.size() > limit) result += "...";
  return result;
}

std::string_view take_word(std::string_view& line) noexcept {
  constexpr std::string_view blanks = " \t\r";
  const std::size_t begin = std::min(line.find_first_not_of(blanks), line.size());
  const std::size_t end = std::min(line.find_first_of(blanks, begin), line.size());
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

std::optional<double> parse_finite(std::string_view word) noexcept {
  if (word.starts_with('+') && !word.starts_with("+-")) word.remove_prefix(1);
  double value = 0;
  const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (status == std::errc::result_out_of_range && end == word.data() + word.size() && is_too_small(word))
    return word.starts_with('-') ? -0.0 : 0.0;
  if (status != std::errc() || end != word.data() + word.size() || !std::isfinite(value)) return std::nullopt;
  if (is_rounded_whole(word, value)) return std::nullopt;
  return value;
}

std::optional<std::string_view> TextLines::next() noexcept {
  if (offset_ >= text_.size()) return std::nullopt;
  const std::size_t end = std::min(text_.find('\n', offset_), text_.size());
  const std::string_view line = text_.substr(offset_, end - offset_);
  offset_ = std::min(end + 1, text_.size());
  ++number_;
  return line;
}

}  // namespace weir
