#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weir {

// How keys that are text become indices, to the bit; golden vectors are in tests/random.
//
//   key_of_text(seed, text) = XXH3_64bits_withSeed(bytes of text, subkey(seed, Purpose::key, 0, 0)) >> 1
//
// unless the text is a whole number, see whole_number(): that is the index itself, so that "7" and 7 are one key.

/// The number that `text` is the decimal form of: digits alone, without a zero in front of others, below 2^63. None for
/// everything else, such as "007", "+7", "7.0" and the empty text.
[[nodiscard]] std::optional<std::uint64_t> whole_number(std::string_view text) noexcept;

/// The index of a key that is text, below 2^63. The bytes count: "a" in UTF-8 and in UTF-16 are two keys.
///
/// The hash is keyed by the seed of the sketch, so that who does not know the seed cannot choose texts that collide. (XXH3
/// is no cryptographic hash. Keep the seed secret where input is hostile, as for the sketch itself.) States that are to be
/// added need one seed anyway, and have the same indices then.
///
/// Of k distinct texts some two have one index with probability about k^2 / 2^64: 5e-8 for a million, 0.05 for 10^9.
/// They count as one key then. O(length).
[[nodiscard]] std::uint64_t key_of_text(std::uint64_t seed, std::string_view text) noexcept;

/// The same for many texts and one seed.
class TextKeys {
 public:
  explicit TextKeys(std::uint64_t seed) noexcept;
  /// key_of_text(seed, text).
  [[nodiscard]] std::uint64_t operator()(std::string_view text) const noexcept;
  /// Of a text that is no whole_number().
  [[nodiscard]] std::uint64_t hash(std::string_view text) const noexcept;

 private:
  std::uint64_t subkey_;
};

}  // namespace weir
