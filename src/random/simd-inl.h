// The random layer's vector code, included once for each Highway target. Mirrors the scalar definitions of source.hpp
// and scale.hpp operation by operation: both must give the same bits.
#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(WEIR_RANDOM_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEIR_RANDOM_SIMD_INL_H_
#undef WEIR_RANDOM_SIMD_INL_H_
#else
#define WEIR_RANDOM_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include "random/constants.hpp"
#include "weir/random/scale.hpp"

#ifndef WEIR_INLINE_LAMBDA
/// For the lambdas of hot loops: what they capture is in registers only where they are inlined. Not under sanitizers,
/// whose checks of so much code in one function take compilers minutes.
#if HWY_IS_ASAN || defined(__SANITIZE_ADDRESS__)
#define WEIR_INLINE_LAMBDA HWY_ATTR
#else
#define WEIR_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))
#endif
#endif

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Words of the source `mix` for a vector of keys.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V mix_words(D d, V keys, const std::uint64_t* HWY_RESTRICT k) {
  V z = hn::Xor(keys, hn::Set(d, k[0]));
  z = hn::Xor(z, hn::ShiftRight<32>(z)) * hn::Set(d, constants::mix1);
  z = hn::Add(z, hn::Set(d, k[1]));
  z = hn::Xor(z, hn::ShiftRight<29>(z)) * hn::Set(d, constants::mix2);
  z = hn::Add(hn::Xor(z, hn::ShiftRight<32>(z)), hn::Set(d, k[2]));
  z = z * hn::Set(d, constants::mix3);
  return hn::Xor(z, hn::ShiftRight<31>(z));
}

/// How often scales_from_words calls `between`.
constexpr std::size_t steps_of_scales = 8;
constexpr auto nothing_between = [](auto) {};

#if HWY_TARGET != HWY_SCALAR
/// Scales from pairs of vectors of words: lanes of scales[k] are those of words[2 k] followed by those of words[2 k +
/// 1]. The chain of operations is long and each waits for the one before; several at a time, step by step, keep the
/// processor busy. Calls between(std::integral_constant of the step) after each step, for work of another kind that
/// wants other parts of the processor.
template <bool kUniform, std::size_t kCount, class D64, class Between, class V64 = hn::Vec<D64>>
HWY_INLINE void scales_from_words(D64 /*d64*/, const V64 (&words)[2 * kCount], ScaleFormula formula,
                                  hn::Vec<hn::Repartition<float, D64>> (&scales)[kCount], const Between& between) {
  const hn::Repartition<float, D64> df;
  const hn::Repartition<std::int32_t, D64> di;
  const hn::Repartition<std::uint32_t, D64> du;
  using F = hn::Vec<decltype(df)>;
  using I = hn::Vec<decltype(di)>;
  const auto each = [](const auto& step) WEIR_INLINE_LAMBDA {
    for (std::size_t k = 0; k < kCount; ++k) step(k);
  };

  I upper[kCount];
  I lower[kCount];
  each([&](std::size_t k) WEIR_INLINE_LAMBDA {
    const auto low = hn::BitCast(du, words[2 * k]);
    const auto high = hn::BitCast(du, words[2 * k + 1]);
    upper[k] = hn::BitCast(di, hn::ShiftRight<2>(hn::ConcatOdd(du, high, low)));
    lower[k] = hn::BitCast(di, hn::ShiftRight<2>(hn::ConcatEven(du, high, low)));
  });
  between(std::integral_constant<std::size_t, 0>());
  F v[kCount];
  F tail[kCount];
  each([&](std::size_t k) WEIR_INLINE_LAMBDA {
    v[k] = hn::Mul(hn::ConvertTo(df, upper[k]), hn::Set(df, constants::two_to_minus_30));
    tail[k] = hn::Add(hn::ConvertTo(df, lower[k]), hn::Set(df, 0.5F));
  });
  between(std::integral_constant<std::size_t, 1>());
  each([&](std::size_t k)
           HWY_ATTR { v[k] = hn::Add(v[k], hn::Mul(tail[k], hn::Set(df, constants::two_to_minus_60))); });
  between(std::integral_constant<std::size_t, 2>());

  F e[kCount];
  if constexpr (kUniform) {
    each([&](std::size_t k) WEIR_INLINE_LAMBDA { e[k] = v[k]; });
    between(std::integral_constant<std::size_t, 3>());
    between(std::integral_constant<std::size_t, 4>());
    between(std::integral_constant<std::size_t, 5>());
  } else {
    each([&](std::size_t k) WEIR_INLINE_LAMBDA {
      const auto bits = hn::Xor(upper[k], lower[k]);
      const auto first_zero = hn::AndNot(bits, hn::Add(bits, hn::Set(di, 1)));  // 2^K
      e[k] = hn::ConvertTo(df, first_zero);
    });
    between(std::integral_constant<std::size_t, 3>());
    each([&](std::size_t k) WEIR_INLINE_LAMBDA {
      const auto doublings = hn::Sub(hn::BitCast(di, e[k]), hn::Set(di, constants::bits_of_one));  // K * 2^23
      e[k] = hn::Mul(hn::ConvertTo(df, doublings), hn::Set(df, constants::ln2_by_two_to_23));
    });
    between(std::integral_constant<std::size_t, 4>());
    F q[kCount];
    each([&](std::size_t k) WEIR_INLINE_LAMBDA {
      const auto linear = [&](std::size_t c) WEIR_INLINE_LAMBDA {
        return hn::Add(hn::Set(df, constants::log_coefficients[c]),
                       hn::Mul(hn::Set(df, constants::log_coefficients[c + 1]), v[k]));
      };
      const auto squared = hn::Mul(v[k], v[k]);
      q[k] = hn::Add(hn::Add(linear(0), hn::Mul(linear(2), squared)), hn::Mul(linear(4), hn::Mul(squared, squared)));
    });
    between(std::integral_constant<std::size_t, 5>());
    each([&](std::size_t k) WEIR_INLINE_LAMBDA { e[k] = hn::Add(e[k], hn::Mul(v[k], q[k])); });
  }
  const auto one = hn::Set(df, 1.0F);
  if (kUniform || formula == ScaleFormula::exponential_two) {
    each([&](std::size_t k) WEIR_INLINE_LAMBDA { scales[k] = hn::Div(one, hn::Sqrt(e[k])); });
  } else {
    each([&](std::size_t k) WEIR_INLINE_LAMBDA { scales[k] = hn::Div(one, e[k]); });
    if (formula == ScaleFormula::exponential_half) {
      each([&](std::size_t k) WEIR_INLINE_LAMBDA { scales[k] = hn::Mul(scales[k], scales[k]); });
    }
  }
  between(std::integral_constant<std::size_t, 6>());
  const auto quantum = hn::Set(df, constants::quantiser);
  each([&](std::size_t k) WEIR_INLINE_LAMBDA { scales[k] = hn::Sub(hn::Add(scales[k], quantum), quantum); });
  between(std::integral_constant<std::size_t, 7>());
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#endif
