#include "weir/random/key_hash.hpp"

#include <xxhash.h>

#include <charconv>
#include <limits>

#include "weir/random/source.hpp"

namespace weir {

std::optional<std::uint64_t> whole_number(std::string_view text) noexcept {
  if (text.empty() || (text.front() == '0' && text.size() > 1)) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (error != std::errc() || end != text.data() + text.size() || number > largest) return std::nullopt;
  return number;
}

TextKeys::TextKeys(std::uint64_t seed) noexcept : subkey_(subkey(seed, Purpose::key, 0, 0)) {}

std::uint64_t TextKeys::hash(std::string_view text) const noexcept {
  return XXH3_64bits_withSeed(text.data(), text.size(), subkey_) >> 1U;
}

std::uint64_t TextKeys::operator()(std::string_view text) const noexcept {
  const auto number = whole_number(text);
  return number ? *number : hash(text);
}

std::uint64_t key_of_text(std::uint64_t seed, std::string_view text) noexcept { return TextKeys(seed)(text); }

}  // namespace weir
