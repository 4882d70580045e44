// The random layer's vector code, included once for each Highway target. Mirrors the scalar definitions of source.hpp
// and scale.hpp operation by operation: both must give the same bits.
#include <cstddef>
#include <cstdint>

#if defined(WEIR_RANDOM_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WEIR_RANDOM_SIMD_INL_H_
#undef WEIR_RANDOM_SIMD_INL_H_
#else
#define WEIR_RANDOM_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include "random/constants.hpp"

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

#if HWY_TARGET != HWY_SCALAR
/// Scales from pairs of vectors of words: lanes of scales[k] are those of words[2 k] followed by those of words[2 k +
/// 1]. The chain of operations is long and each waits for the one before; several at a time, step by step, keep the
/// processor busy.
template <Formula formula, std::size_t kCount, class D64, class V64 = hn::Vec<D64>>
HWY_INLINE void scales_from_words(D64 /*d64*/, const V64 (&words)[2 * kCount],
                                  hn::Vec<hn::Repartition<float, D64>> (&scales)[kCount]) {
  const hn::Repartition<float, D64> df;
  const hn::Repartition<std::int32_t, D64> di;
  const hn::Repartition<std::uint32_t, D64> du;
  using F = hn::Vec<decltype(df)>;
  const auto one = hn::Set(df, 1.0F);
  const auto each = [](const auto& step) HWY_ATTR {
    for (std::size_t k = 0; k < kCount; ++k) step(k);
  };

  F v[kCount];
  F tail[kCount];
  each([&](std::size_t k) HWY_ATTR {
    const auto low = hn::BitCast(du, words[2 * k]);
    const auto high = hn::BitCast(du, words[2 * k + 1]);
    v[k] = hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<1>(hn::ConcatOdd(du, high, low))));
    tail[k] = hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<1>(hn::ConcatEven(du, high, low))));
  });
  each([&](std::size_t k) HWY_ATTR {
    tail[k] = hn::Mul(hn::Add(tail[k], hn::Set(df, 0.5F)), hn::Set(df, constants::two_to_minus_62));
    v[k] = hn::Add(hn::Mul(v[k], hn::Set(df, constants::two_to_minus_31)), tail[k]);
  });

  if constexpr (formula == Formula::uniform) {
    each([&](std::size_t k) HWY_ATTR { scales[k] = hn::Div(one, hn::Sqrt(v[k])); });
  } else {
    F f[kCount];
    F exponent_part[kCount];
    each([&](std::size_t k) HWY_ATTR {
      const auto t = hn::Max(hn::Sub(one, v[k]), hn::Set(df, constants::two_to_minus_25));
      const auto bits = hn::BitCast(di, t);
      const auto from_root = hn::Sub(bits, hn::Set(di, constants::bits_of_root_half));
      const auto exponent = hn::ShiftRight<23>(from_root);
      const auto m = hn::BitCast(df, hn::Sub(bits, hn::And(from_root, hn::Set(di, constants::exponent_mask))));
      const auto near_one = hn::RebindMask(df, hn::Eq(exponent, hn::Zero(di)));
      f[k] = hn::IfThenElse(near_one, hn::Neg(v[k]), hn::Sub(m, one));
      exponent_part[k] = hn::Mul(hn::ConvertTo(df, hn::Neg(exponent)), hn::Set(df, constants::ln2));
    });
    F squared[kCount];
    F q[kCount];
    F q_high[kCount];
    const auto linear = [&](std::size_t k, std::size_t c) HWY_ATTR {
      return hn::Add(hn::Set(df, constants::log_coefficients[c]),
                     hn::Mul(hn::Set(df, constants::log_coefficients[c + 1]), f[k]));
    };
    each([&](std::size_t k) HWY_ATTR {
      squared[k] = hn::Mul(f[k], f[k]);
      q[k] = hn::Add(linear(k, 0), hn::Mul(linear(k, 2), squared[k]));
      q_high[k] = hn::Add(linear(k, 4), hn::Mul(linear(k, 6), squared[k]));
    });
    each([&](std::size_t k) HWY_ATTR {
      q[k] = hn::Add(q[k], hn::Mul(q_high[k], hn::Mul(squared[k], squared[k])));
      const auto e = hn::Sub(exponent_part[k], hn::Mul(f[k], q[k]));
      if constexpr (formula == Formula::exponential_two) {
        scales[k] = hn::Div(one, hn::Sqrt(e));
      } else {
        scales[k] = hn::Div(one, e);
        if constexpr (formula == Formula::exponential_half) scales[k] = hn::Mul(scales[k], scales[k]);
      }
    });
  }
  const auto quantum = hn::Set(df, constants::quantiser);
  each([&](std::size_t k) HWY_ATTR { scales[k] = hn::Sub(hn::Add(scales[k], quantum), quantum); });
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#endif
