#include "weir/random/scale.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>

#include "random/argument_checks.hpp"

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
template <bool kUniform, class D, class WordVector>
HWY_INLINE void scales_of_run(D d, ScaleFormula formula, std::size_t vectors, const WordVector& word_vector,
                              float* HWY_RESTRICT out) {
  const hn::Repartition<float, D> df;
  for (std::size_t first = 0; first < vectors; first += 2 * together) {
    hn::Vec<D> words[2 * together];
    hn::Vec<decltype(df)> scales[together];
    for (std::size_t k = 0; k < 2 * together; ++k) words[k] = word_vector(first + k);
    scales_from_words<kUniform, together>(d, words, formula, scales, nothing_between);
    for (std::size_t k = 0; k < together; ++k) hn::StoreU(scales[k], df, out + (first + 2 * k) * hn::Lanes(d));
  }
}

template <bool kUniform>
void scales_of_words(ScaleFormula formula, const std::uint64_t* HWY_RESTRICT words, float* HWY_RESTRICT out,
                     std::size_t count) {
  const hn::CappedTag<std::uint64_t, 8> d;
  const std::size_t width = hn::Lanes(d);
  scales_of_run<kUniform>(
      d, formula, (count + width - 1) / width, [&](std::size_t v) HWY_ATTR { return hn::LoadU(d, words + v * width); },
      out);
}

/// Scales for `lanes` lanes (a multiple of 8) of `count` items whose shared words are `bases`, rounded up to whole
/// steps of 8 items.
template <bool kUniform>
void scales_of_lanes(ScaleFormula formula, const std::uint64_t* HWY_RESTRICT bases, std::size_t count,
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
      scales_from_words<kUniform, together>(d, words, formula, scales, nothing_between);
      for (std::size_t k = 0; k < together; ++k) hn::StoreU(scales[k], df, out + (item + k) * lanes + lane);
    }
  }
  if (lane < lanes) {  // half a vector of lanes is left: two items share a vector
    const hn::Half<decltype(df)> half;
    for (std::size_t item = 0; item < count; item += 2 * together) {
      for (std::size_t k = 0; k < 2 * together; ++k) words[k] = word(item + k, lane);
      scales_from_words<kUniform, together>(d, words, formula, scales, nothing_between);
      for (std::size_t k = 0; k < together; ++k) {
        float* target = out + (item + 2 * k) * lanes + lane;
        hn::StoreU(hn::LowerHalf(half, scales[k]), half, target);
        hn::StoreU(hn::UpperHalf(half, scales[k]), half, target + lanes);
      }
    }
  }
}

/// Two lanes, the second of them scaled, vectorised over the items: out[2 t] = 1 and out[2 t + 1] = scale, the count
/// rounded up to whole steps of 8 items.
template <bool kUniform>
void scales_of_pair(ScaleFormula formula, const std::uint64_t* HWY_RESTRICT bases, std::size_t count,
                    std::uint64_t lane_xor, std::uint64_t lane_multiply, float* HWY_RESTRICT out) {
  const hn::CappedTag<std::uint64_t, 8> d;
  const std::size_t width = hn::Lanes(d);
  const auto x = hn::Set(d, lane_xor);
  const auto c = hn::Set(d, lane_multiply);
  HWY_ALIGN float scales[chunk + overrun];
  scales_of_run<kUniform>(
      d, formula, (count + width - 1) / width,
      [&](std::size_t v) HWY_ATTR { return hn::Xor(hn::LoadU(d, bases + v * width), x) * c; }, scales);
  const hn::CappedTag<float, 8> df;
  const auto one = hn::Set(df, 1.0F);
  for (std::size_t t = 0; t < count; t += hn::Lanes(df)) {
    hn::StoreInterleaved2(one, hn::Load(df, scales + t), df, out + 2 * t);
  }
}

#else  // one lane at a time: the definition itself
template <bool kUniform>
void scales_of_words(ScaleFormula formula, const std::uint64_t* words, float* out, std::size_t count) {
  for (std::size_t t = 0; t < count; ++t) out[t] = scale_from_word(words[t], formula);
}

template <bool kUniform>
void scales_of_lanes(ScaleFormula formula, const std::uint64_t* bases, std::size_t count, const std::uint64_t* lane_xor,
                     const std::uint64_t* lane_multiply, std::size_t lanes, float* out) {
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      out[t * lanes + lane] = scale_from_word((bases[t] ^ lane_xor[lane]) * lane_multiply[lane], formula);
    }
  }
}

template <bool kUniform>
void scales_of_pair(ScaleFormula formula, const std::uint64_t* bases, std::size_t count, std::uint64_t lane_xor,
                    std::uint64_t lane_multiply, float* out) {
  for (std::size_t t = 0; t < count; ++t) {
    out[2 * t] = 1.0F;
    out[2 * t + 1] = scale_from_word((bases[t] ^ lane_xor) * lane_multiply, formula);
  }
}
#endif

/// Run-time choice of the law; Highway exports plain functions only.
#define WEIR_WITH_LAW(function, ...)                                             \
  return formula == ScaleFormula::uniform ? function<true>(formula, __VA_ARGS__) \
                                          : function<false>(formula, __VA_ARGS__);

void fill_from_words(ScaleFormula formula, const std::uint64_t* words, float* out, std::size_t count) {
  WEIR_WITH_LAW(scales_of_words, words, out, count)
}

void fill_lanes(ScaleFormula formula, const std::uint64_t* bases, std::size_t count, const std::uint64_t* lane_xor,
                const std::uint64_t* lane_multiply, std::size_t lanes, float* out) {
  WEIR_WITH_LAW(scales_of_lanes, bases, count, lane_xor, lane_multiply, lanes, out)
}

void fill_pair(ScaleFormula formula, const std::uint64_t* bases, std::size_t count, std::uint64_t lane_xor,
               std::uint64_t lane_multiply, float* out) {
  WEIR_WITH_LAW(scales_of_pair, bases, count, lane_xor, lane_multiply, out)
}

#undef WEIR_WITH_LAW

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

ScaleFormula formula_of(ScaleLaw law, double p) noexcept {
  if (law == ScaleLaw::uniform) return ScaleFormula::uniform;
  return p == 2.0   ? ScaleFormula::exponential_two
         : p == 1.0 ? ScaleFormula::exponential_one
                    : ScaleFormula::exponential_half;
}

}  // namespace

std::string_view to_string(ScaleLaw law) noexcept { return law == ScaleLaw::exponential ? "exponential" : "uniform"; }

float scale_from_word(std::uint64_t word, ScaleFormula formula) noexcept {
  const auto upper = static_cast<std::uint32_t>(word >> 34U);
  const std::uint32_t lower = static_cast<std::uint32_t>(word) >> 2U;
  const float v = static_cast<float>(upper) * constants::two_to_minus_30 +
                  (static_cast<float>(lower) + 0.5F) * constants::two_to_minus_60;
  float scale = 0;
  if (formula == ScaleFormula::uniform) {
    scale = 1.0F / std::sqrt(v);
  } else {
    const std::int32_t doublings = std::countr_one(upper ^ lower) << 23U;
    const auto linear = [v](std::size_t k) {
      return constants::log_coefficients[k] + constants::log_coefficients[k + 1] * v;
    };
    const float v2 = v * v;
    const float q = (linear(0) + linear(2) * v2) + linear(4) * (v2 * v2);
    const float e = static_cast<float>(doublings) * constants::ln2_by_two_to_23 + v * q;
    scale = formula == ScaleFormula::exponential_two ? 1.0F / std::sqrt(e) : 1.0F / e;
    if (formula == ScaleFormula::exponential_half) scale = scale * scale;
  }
  return (scale + constants::quantiser) - constants::quantiser;
}

float scale_from_word(std::uint64_t word, ScaleLaw law, double p) noexcept {
  return scale_from_word(word, formula_of(law, p));
}

ScaleFunction::ScaleFunction(Randomness kind, std::uint64_t seed, std::uint32_t independence, ScaleLaw law, double p,
                             std::uint32_t lanes)
    : formula_(formula_of(law, p)),
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
  return lane == 0 ? 1.0F : scale_from_word(word(key, lane), formula_);
}

void ScaleFunction::fill(std::span<const std::uint64_t> keys, std::uint32_t first, std::uint32_t count,
                         std::span<float> out) const {
  assert(first + count <= lanes_ && (count == lanes_ || (first % 8 == 0 && count % 8 == 0)));
  require_at_least({"ScaleFunction::fill", "out.size()", "count times keys.size() rounded up to a multiple of 8"},
                   out.size(), (keys.size() + 7) / 8 * 8 * count);
  std::array<std::uint64_t, chunk + overrun> words{};
  std::array<float, chunk + overrun> scales;
  for (std::size_t done = 0; done < keys.size(); done += chunk) {
    const auto part = keys.subspan(done, std::min(chunk, keys.size() - done));
    const auto part_words = std::span(words).first(part.size());
    float* target = out.data() + done * count;
    if (is_mix_ && lanes_ > 1) {
      base_.fill(part, part_words);
      if (lanes_ == 2) {
        HWY_DYNAMIC_DISPATCH(fill_pair)(formula_, words.data(), part.size(), lane_xor_[1], lane_multiply_[1], target);
      } else {
        HWY_DYNAMIC_DISPATCH(fill_lanes)
        (formula_, words.data(), part.size(), lane_xor_.data() + first, lane_multiply_.data() + first, count, target);
      }
    } else {
      for (std::uint32_t k = first == 0 ? 1 : 0; k < count; ++k) {
        lane_functions_[first + k].fill(part, part_words);
        HWY_DYNAMIC_DISPATCH(fill_from_words)(formula_, words.data(), scales.data(), part.size());
        for (std::size_t t = 0; t < part.size(); ++t) target[t * count + k] = scales[t];
      }
    }
    if (first == 0 && !(is_mix_ && lanes_ == 2)) {
      for (std::size_t t = 0; t < part.size(); ++t) target[t * count] = 1.0F;
    }
  }
}

std::uint64_t ScaleFunction::stored_bits() const noexcept {
  std::uint64_t bits = is_mix_ ? base_.stored_bits() + 64 * (lane_xor_.size() + lane_multiply_.size()) : 0;
  for (const WordFunction& lane : lane_functions_) bits += lane.stored_bits();
  return bits;
}

void ScaleFunction::fill_bases(std::span<const std::uint64_t> keys, std::span<std::uint64_t> bases) const {
  assert(is_mix_);
  base_.fill(keys, bases);
}

MixedLanes ScaleFunction::mixed_lanes(std::uint32_t first) const noexcept {
  assert(is_mix_);
  return {.formula = formula_,
          .first = first,
          .lane_xor = lane_xor_.data() + first,
          .lane_multiply = lane_multiply_.data() + first};
}

}  // namespace weir
#endif
