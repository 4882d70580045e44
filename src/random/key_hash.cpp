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

std::uint64_t key_of_text(std::uint64_t seed, std::string_view text) noexcept {
  if (const auto number = whole_number(text)) return *number;
  return XXH3_64bits_withSeed(text.data(), text.size(), subkey(seed, Purpose::key, 0, 0)) >> 1U;
}

}  // namespace weir
