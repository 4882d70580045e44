#include "weir/random/scale.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>

#ifndef WEIR_RANDOM_SCALE_CHUNK
#define WEIR_RANDOM_SCALE_CHUNK
namespace weir {
/// Items whose words are held at a time: small enough for the first-level cache.
constexpr std::size_t chunk = 128;
/// Words and scales that a step may touch past the last.
constexpr std::size_t overrun = 64;
}  // namespace weir
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "random/scale.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include "random/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
/// Vectors of scales computed side by side.
constexpr std::size_t together = 4;

/// Scales for the vectors of words number 0, 1, 2, ... that `word_vector` gives, written to `out` one after the other;
/// the count is rounded up to whole steps.
template <Formula formula, class D, class WordVector>
HWY_INLINE void scales_of_run(D d, std::size_t vectors, const WordVector& word_vector, float* HWY_RESTRICT out) {
  const hn::Repartition<float, D> df;
  for (std::size_t first = 0; first < vectors; first += 2 * together) {
    hn::Vec<D> words[2 * together];
    hn::Vec<decltype(df)> scales[together];
    for (std::size_t k = 0; k < 2 * together; ++k) words[k] = word_vector(first + k);
    scales_from_words<formula, together>(d, words, scales);
    for (std::size_t k = 0; k < together; ++k) hn::StoreU(scales[k], df, out + (first + 2 * k) * hn::Lanes(d));
  }
}

template <Formula formula>
void scales_of_words(const std::uint64_t* HWY_RESTRICT words, float* HWY_RESTRICT out, std::size_t count) {
  const hn::CappedTag<std::uint64_t, 8> d;
  const std::size_t width = hn::Lanes(d);
  scales_of_run<formula>(
      d, (count + width - 1) / width, [&](std::size_t v) HWY_ATTR { return hn::LoadU(d, words + v * width); }, out);
}

/// Scales for `lanes` lanes (a multiple of 8) of `count` items whose shared words are `bases`, rounded up to whole
/// steps of 8 items.
template <Formula formula>
void scales_of_lanes(const std::uint64_t* HWY_RESTRICT bases, std::size_t count,
                     const std::uint64_t* HWY_RESTRICT lane_xor, const std::uint64_t* HWY_RESTRICT lane_multiply,
                     std::size_t lanes, float* HWY_RESTRICT out) {
  const hn::CappedTag<std::uint64_t, 8> d;
  const hn::Repartition<float, decltype(d)> df;
  const std::size_t width = hn::Lanes(d);
  hn::Vec<decltype(d)> words[2 * together];
  hn::Vec<decltype(df)> scales[together];
  const auto word = [=](std::size_t item, std::size_t lane) HWY_ATTR {
    return hn::Xor(hn::Set(d, bases[item]), hn::LoadU(d, lane_xor + lane)) * hn::LoadU(d, lane_multiply + lane);
  };
  std::size_t lane = 0;
  for (; lane + 2 * width <= lanes; lane += 2 * width) {
    for (std::size_t item = 0; item < count; item += together) {
      for (std::size_t k = 0; k < together; ++k) {
        words[2 * k] = word(item + k, lane);
        words[2 * k + 1] = word(item + k, lane + width);
      }
      scales_from_words<formula, together>(d, words, scales);
      for (std::size_t k = 0; k < together; ++k) hn::StoreU(scales[k], df, out + (item + k) * lanes + lane);
    }
  }
  if (lane < lanes) {  // half a vector of lanes is left: two items share a vector
    const hn::Half<decltype(df)> half;
    for (std::size_t item = 0; item < count; item += 2 * together) {
      for (std::size_t k = 0; k < 2 * together; ++k) words[k] = word(item + k, lane);
      scales_from_words<formula, together>(d, words, scales);
      for (std::size_t k = 0; k < together; ++k) {
        float* target = out + (item + 2 * k) * lanes + lane;
        hn::StoreU(hn::LowerHalf(half, scales[k]), half, target);
        hn::StoreU(hn::UpperHalf(half, scales[k]), half, target + lanes);
      }
    }
  }
}

/// The one scaled lane of a two-lane sketch, vectorised over the items: out[2 t + 1] = scale.
template <Formula formula>
void scales_of_pair(const std::uint64_t* HWY_RESTRICT bases, std::size_t count, std::uint64_t lane_xor,
                    std::uint64_t lane_multiply, float* HWY_RESTRICT out) {
  const hn::CappedTag<std::uint64_t, 8> d;
  const std::size_t width = hn::Lanes(d);
  const auto x = hn::Set(d, lane_xor);
  const auto c = hn::Set(d, lane_multiply);
  HWY_ALIGN float scales[chunk + overrun];
  scales_of_run<formula>(
      d, (count + width - 1) / width,
      [&](std::size_t v) HWY_ATTR { return hn::Xor(hn::LoadU(d, bases + v * width), x) * c; }, scales);
  for (std::size_t t = 0; t < count; ++t) out[2 * t + 1] = scales[t];
}

#else  // one lane at a time: the definition itself
template <Formula formula>
float scalar_scale(std::uint64_t word) {
  constexpr ScaleLaw law = formula == Formula::uniform ? ScaleLaw::uniform : ScaleLaw::exponential;
  return scale_from_word(word, law,
                         formula == Formula::exponential_one    ? 1.0
                         : formula == Formula::exponential_half ? 0.5
                                                                : 2.0);
}

template <Formula formula>
void scales_of_words(const std::uint64_t* words, float* out, std::size_t count) {
  for (std::size_t t = 0; t < count; ++t) out[t] = scalar_scale<formula>(words[t]);
}

template <Formula formula>
void scales_of_lanes(const std::uint64_t* bases, std::size_t count, const std::uint64_t* lane_xor,
                     const std::uint64_t* lane_multiply, std::size_t lanes, float* out) {
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      out[t * lanes + lane] = scalar_scale<formula>((bases[t] ^ lane_xor[lane]) * lane_multiply[lane]);
    }
  }
}

template <Formula formula>
void scales_of_pair(const std::uint64_t* bases, std::size_t count, std::uint64_t lane_xor, std::uint64_t lane_multiply,
                    float* out) {
  for (std::size_t t = 0; t < count; ++t) {
    out[2 * t + 1] = scalar_scale<formula>((bases[t] ^ lane_xor) * lane_multiply);
  }
}
#endif

/// Run-time choice of the formula; Highway exports plain functions only.
#define WEIR_WITH_FORMULA(function, ...)                       \
  switch (formula) {                                           \
    case Formula::exponential_two:                             \
      return function<Formula::exponential_two>(__VA_ARGS__);  \
    case Formula::exponential_one:                             \
      return function<Formula::exponential_one>(__VA_ARGS__);  \
    case Formula::exponential_half:                            \
      return function<Formula::exponential_half>(__VA_ARGS__); \
    case Formula::uniform:                                     \
      return function<Formula::uniform>(__VA_ARGS__);          \
  }

void fill_from_words(Formula formula, const std::uint64_t* words, float* out, std::size_t count) {
  WEIR_WITH_FORMULA(scales_of_words, words, out, count)
}

void fill_lanes(Formula formula, const std::uint64_t* bases, std::size_t count, const std::uint64_t* lane_xor,
                const std::uint64_t* lane_multiply, std::size_t lanes, float* out) {
  WEIR_WITH_FORMULA(scales_of_lanes, bases, count, lane_xor, lane_multiply, lanes, out)
}

void fill_pair(Formula formula, const std::uint64_t* bases, std::size_t count, std::uint64_t lane_xor,
               std::uint64_t lane_multiply, float* out) {
  WEIR_WITH_FORMULA(scales_of_pair, bases, count, lane_xor, lane_multiply, out)
}

#undef WEIR_WITH_FORMULA

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <string>

#include "weir/error.hpp"

namespace weir {

HWY_EXPORT(fill_from_words);
HWY_EXPORT(fill_lanes);
HWY_EXPORT(fill_pair);

namespace {

Formula formula_of(ScaleLaw law, double p) noexcept {
  if (law == ScaleLaw::uniform) return Formula::uniform;
  return p == 2.0 ? Formula::exponential_two : p == 1.0 ? Formula::exponential_one : Formula::exponential_half;
}

}  // namespace

std::string_view to_string(ScaleLaw law) noexcept { return law == ScaleLaw::exponential ? "exponential" : "uniform"; }

float scale_from_word(std::uint64_t word, ScaleLaw law, double p) noexcept {
  const auto upper = static_cast<float>(static_cast<std::int32_t>(word >> 33U));
  const auto lower = static_cast<float>(static_cast<std::int32_t>((word & 0xFFFFFFFFU) >> 1U));
  const float v = upper * constants::two_to_minus_31 + (lower + 0.5F) * constants::two_to_minus_62;
  float scale = 0;
  if (law == ScaleLaw::uniform) {
    scale = 1.0F / std::sqrt(v);
  } else {
    const float t = std::max(1.0F - v, constants::two_to_minus_25);
    const auto bits = std::bit_cast<std::int32_t>(t);
    const std::int32_t from_root = bits - constants::bits_of_root_half;
    const std::int32_t exponent = from_root >> 23;
    const auto m = std::bit_cast<float>(bits - (from_root & constants::exponent_mask));
    const float f = exponent == 0 ? -v : m - 1.0F;
    const auto linear = [f](std::size_t k) {
      return constants::log_coefficients[k] + constants::log_coefficients[k + 1] * f;
    };
    const float f2 = f * f;
    const float q = (linear(0) + linear(2) * f2) + (linear(4) + linear(6) * f2) * (f2 * f2);
    const float e = static_cast<float>(-exponent) * constants::ln2 - f * q;
    scale = p == 2.0 ? 1.0F / std::sqrt(e) : 1.0F / e;
    if (p == 0.5) scale = scale * scale;
  }
  return (scale + constants::quantiser) - constants::quantiser;
}

ScaleFunction::ScaleFunction(Randomness kind, std::uint64_t seed, std::uint32_t independence, ScaleLaw law, double p,
                             std::uint32_t lanes)
    : law_(law),
      p_(p),
      lanes_(lanes),
      base_(kind, seed, Purpose::scale, 0, independence),
      is_mix_(kind == Randomness::mix) {
  if (p != 2.0 && p != 1.0 && p != 0.5) throw UsageError("p is " + std::to_string(p) + ": expected 2, 1 or 0.5");
  if (law == ScaleLaw::uniform && p != 2.0) throw UsageError("the uniform law has p = 2 only");
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    if (is_mix_) {
      lane_xor_.push_back(subkey(seed, Purpose::scale, lane, 3));
      lane_multiply_.push_back(subkey(seed, Purpose::scale, lane, 4) | 1U);
    } else {
      lane_functions_.emplace_back(kind, seed, Purpose::scale, lane, independence);
    }
  }
}

std::uint64_t ScaleFunction::word(std::uint64_t key, std::uint32_t lane) const noexcept {
  return is_mix_ ? (base_(key) ^ lane_xor_[lane]) * lane_multiply_[lane] : lane_functions_[lane](key);
}

float ScaleFunction::operator()(std::uint64_t key, std::uint32_t lane) const noexcept {
  return lane == 0 ? 1.0F : scale_from_word(word(key, lane), law_, p_);
}

void ScaleFunction::fill(std::span<const std::uint64_t> keys, std::uint32_t first, std::uint32_t count,
                         std::span<float> out) const noexcept {
  assert(first + count <= lanes_ && (count == lanes_ || (first % 8 == 0 && count % 8 == 0)));
  assert(out.size() >= (keys.size() + 7) / 8 * 8 * count);
  const Formula formula = formula_of(law_, p_);
  std::array<std::uint64_t, chunk + overrun> words{};
  std::array<float, chunk + overrun> scales;
  for (std::size_t done = 0; done < keys.size(); done += chunk) {
    const auto part = keys.subspan(done, std::min(chunk, keys.size() - done));
    const auto part_words = std::span(words).first(part.size());
    float* target = out.data() + done * count;
    if (is_mix_ && lanes_ > 1) {
      base_.fill(part, part_words);
      if (lanes_ == 2) {
        HWY_DYNAMIC_DISPATCH(fill_pair)(formula, words.data(), part.size(), lane_xor_[1], lane_multiply_[1], target);
      } else {
        HWY_DYNAMIC_DISPATCH(fill_lanes)
        (formula, words.data(), part.size(), lane_xor_.data() + first, lane_multiply_.data() + first, count, target);
      }
    } else {
      for (std::uint32_t k = first == 0 ? 1 : 0; k < count; ++k) {
        lane_functions_[first + k].fill(part, part_words);
        HWY_DYNAMIC_DISPATCH(fill_from_words)(formula, words.data(), scales.data(), part.size());
        for (std::size_t t = 0; t < part.size(); ++t) target[t * count + k] = scales[t];
      }
    }
    if (first == 0) {
      for (std::size_t t = 0; t < part.size(); ++t) target[t * count] = 1.0F;
    }
  }
}

}  // namespace weir
#endif
