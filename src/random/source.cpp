#include "weir/random/source.hpp"

#include <array>
#include <bit>
#include <cassert>
#include <limits>
#include <string>

#include "random/argument_checks.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "random/source.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include "random/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {

void fill_mix_words(const std::uint64_t* HWY_RESTRICT k, const std::uint64_t* HWY_RESTRICT keys,
                    std::uint64_t* HWY_RESTRICT out, std::size_t count) {
  const hn::ScalableTag<std::uint64_t> d;
  const std::size_t width = hn::Lanes(d);
  std::size_t t = 0;
  for (; t + width <= count; t += width) hn::StoreU(mix_words(d, hn::LoadU(d, keys + t), k), d, out + t);
  const hn::CappedTag<std::uint64_t, 1> d1;
  for (; t < count; ++t) hn::StoreU(mix_words(d1, hn::LoadU(d1, keys + t), k), d1, out + t);
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "weir/error.hpp"

namespace weir {

HWY_EXPORT(fill_mix_words);

namespace {

constexpr std::array<std::string_view, 3> randomness_names{"mix", "kwise", "nisan"};
constexpr std::uint32_t nisan_levels = 61;
constexpr std::uint64_t mersenne = (std::uint64_t{1} << 61U) - 1;

std::uint64_t multiply_add(std::uint64_t a, std::uint64_t b, std::uint64_t c) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b + c;
  std::uint64_t folded = static_cast<std::uint64_t>(product & mersenne) + static_cast<std::uint64_t>(product >> 61U);
  if (folded >= mersenne) folded -= mersenne;
  return folded;
}

}  // namespace

std::string_view to_string(Randomness kind) noexcept { return randomness_names[static_cast<std::size_t>(kind)]; }

Randomness parse_randomness(std::string_view name) {
  for (std::size_t kind = 0; kind < randomness_names.size(); ++kind)
    if (name == randomness_names[kind]) return static_cast<Randomness>(kind);
  throw UsageError("unknown randomness '" + std::string(name) + "': expected mix, kwise or nisan");
}

std::uint64_t subkey(std::uint64_t seed, Purpose purpose, std::uint32_t number, std::uint32_t part) noexcept {
  std::uint64_t z = finalise(seed + constants::golden);
  z = finalise(z + static_cast<std::uint64_t>(purpose) * constants::golden);
  z = finalise(z + number * constants::golden);
  return finalise(z + part * constants::golden);
}

std::uint64_t key_limit(Randomness kind) noexcept {
  return kind == Randomness::mix ? std::numeric_limits<std::uint64_t>::max() : mersenne;
}

WordFunction::WordFunction(Randomness kind, std::uint64_t seed, Purpose purpose, std::uint32_t number,
                           std::uint32_t independence)
    : kind_(kind) {
  if (kind == Randomness::mix) {
    for (std::uint32_t part = 0; part < 3; ++part) mix_keys_[part] = subkey(seed, purpose, number, part);
  } else {
    coefficients_.resize(kind == Randomness::kwise ? independence : 1 + 2 * nisan_levels);
    for (std::uint32_t j = 0; j < coefficients_.size(); ++j) {
      const std::uint64_t value = subkey(seed, purpose, number, j) >> 3U;
      coefficients_[j] = value == mersenne ? 0 : value;
    }
  }
}

std::uint64_t WordFunction::operator()(std::uint64_t key) const noexcept {
  if (kind_ == Randomness::mix) {
    std::uint64_t z = key ^ mix_keys_[0];
    z = (z ^ (z >> 32U)) * constants::mix1 + mix_keys_[1];
    z = (z ^ (z >> 29U)) * constants::mix2;
    z = ((z ^ (z >> 32U)) + mix_keys_[2]) * constants::mix3;
    return z ^ (z >> 31U);
  }
  assert(key < mersenne);
  if (kind_ == Randomness::nisan) {
    std::uint64_t block = coefficients_[0];
    while (key != 0) {
      const auto level = static_cast<std::size_t>(std::bit_width(key));
      block = multiply_add(coefficients_[2 * level - 1], block, coefficients_[2 * level]);
      key ^= std::uint64_t{1} << (level - 1);
    }
    return block << 3U;
  }
  std::uint64_t value = 0;
  for (std::size_t j = coefficients_.size(); j-- > 0;) value = multiply_add(value, key, coefficients_[j]);
  return value << 3U;
}

void WordFunction::fill(std::span<const std::uint64_t> keys, std::span<std::uint64_t> out) const {
  require_equal({"WordFunction::fill", "out.size()", "keys.size()"}, out.size(), keys.size());
  if (kind_ == Randomness::mix) {
    HWY_DYNAMIC_DISPATCH(fill_mix_words)(mix_keys_.data(), keys.data(), out.data(), keys.size());
  } else {
    for (std::size_t t = 0; t < keys.size(); ++t) out[t] = (*this)(keys[t]);
  }
}

std::uint64_t WordFunction::stored_bits() const noexcept {
  constexpr std::uint64_t bits_of_mix = 64, bits_of_number = 61;
  return kind_ == Randomness::mix ? bits_of_mix * mix_keys_.size() : bits_of_number * coefficients_.size();
}

}  // namespace weir
#endif
