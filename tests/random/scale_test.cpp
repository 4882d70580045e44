#include "weir/random/scale.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "support/simd_targets.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

struct Law {
  ScaleLaw law;
  double p;
};
constexpr std::array<Law, 4> laws = {{{ScaleLaw::exponential, 2.0},
                                      {ScaleLaw::exponential, 1.0},
                                      {ScaleLaw::exponential, 0.5},
                                      {ScaleLaw::uniform, 2.0}}};

// From a separate implementation of the text in scale.hpp that rounds to binary32 after each operation.
TEST(Scale, MatchesItsGoldenVectors) {
  struct Golden {
    std::uint64_t word;
    std::array<float, 4> scales;  // in the order of `laws`
  };
  constexpr std::array<Golden, 14> golden = {{
      {0x0, {0x1.000038p+31F, 0x1.00006ep+62F, 0x1.0000dcp+124F, 0x1.6a09e4p+30F}},
      {0x1, {0x1.000038p+31F, 0x1.00006ep+62F, 0x1.0000dcp+124F, 0x1.6a09e4p+30F}},
      {0xffffffffffffffff, {0x1.337dp+0F, 0x1.7155p+0F, 0x1.0a6bp+1F, 0x1p+0F}},
      {0x8000000000000000, {0x1.dd4ap+0F, 0x1.bcefp+1F, 0x1.82a6ap+3F, 0x1.6a0ap+0F}},
      {0x123456789abcdef, {0x1.53393p+4F, 0x1.c1807cp+8F, 0x1.8aa1fap+17F, 0x1.ep+3F}},
      {0xfedcba9876543210, {0x1.347ap+0F, 0x1.73b6p+0F, 0x1.0ddcp+1F, 0x1.0092p+0F}},
      {0x400000000, {0x1.337dp+0F, 0x1.7154p+0F, 0x1.0a6a8p+1F, 0x1p+15F}},
      {0x4000000000000000, {0x1.5e488p+1F, 0x1.df4a8p+2F, 0x1.c0acp+5F, 0x1p+1F}},
      {0x5555555555555555, {0x1.2bc6p+1F, 0x1.5f078p+2F, 0x1.e155bp+4F, 0x1.bb68p+0F}},
      {0x3, {0x1.000038p+31F, 0x1.00006ep+62F, 0x1.0000dcp+124F, 0x1.6a09e4p+30F}},
      {0xfffffffc, {0x1.c12p-3F, 0x1.8ap-5F, 0x1.3p-9F, 0x1p+15F}},
      {0x7, {0x1.337dp+0F, 0x1.7154p+0F, 0x1.0a6a8p+1F, 0x1.a20bd6p+29F}},
      {0x400000004, {0x1.6a0a32p+15F, 0x1.00006ep+31F, 0x1.0000dcp+62F, 0x1p+15F}},
      {0x800000001234567f, {0x1.0846p-1F, 0x1.10dp-2F, 0x1.22cp-4F, 0x1.6a0ap+0F}},
  }};
  for (const Golden& g : golden) {
    for (std::size_t k = 0; k < laws.size(); ++k) {
      EXPECT_EQ(scale_from_word(g.word, laws[k].law, laws[k].p), g.scales[k]) << std::hex << g.word << ' ' << k;
    }
  }
}

TEST(Scale, LanesOfMixMatchTheirGoldenVectors) {
  const ScaleFunction function(Randomness::mix, 0x0123456789ABCDEF, 4, ScaleLaw::exponential, 2.0, 16);
  constexpr std::array<std::uint64_t, 4> keys = {0, 1, 12345, 0x7fffffffffffffff};
  constexpr std::array<float, 4> lane1 = {0x1.7bbfp+0F, 0x1.f69fp+0F, 0x1.28b1p+0F, 0x1.3efep-1F};
  constexpr std::array<float, 4> lane7 = {0x1.e0c4p-1F, 0x1.b55p-1F, 0x1.c621p+0F, 0x1.1ebe8p+1F};
  constexpr std::array<float, 4> lane15 = {0x1.95e8p-1F, 0x1.92c2p-1F, 0x1.55ap-1F, 0x1.1237p+0F};
  for (std::size_t t = 0; t < keys.size(); ++t) {
    EXPECT_EQ(function(keys[t], 0), 1.0F);
    EXPECT_EQ(function(keys[t], 1), lane1[t]);
    EXPECT_EQ(function(keys[t], 7), lane7[t]);
    EXPECT_EQ(function(keys[t], 15), lane15[t]);
  }
}

TEST(Scale, BatchesGiveTheSameBitsOnEveryTarget) {
  std::vector<std::uint64_t> keys(300);
  for (std::size_t t = 0; t < keys.size(); ++t) keys[t] = finalise(t) >> 4U;
  for (const Randomness kind : {Randomness::mix, Randomness::kwise, Randomness::nisan}) {
    for (const Law& law : laws) {
      for (const std::uint32_t lanes : {1U, 2U, 8U, 16U, 24U, 40U}) {
        const ScaleFunction function(kind, 5, 4, law.law, law.p, lanes);
        testing::for_each_simd_target([&](const std::string& target) {
          for (const std::size_t count :
               {std::size_t{0}, std::size_t{1}, std::size_t{9}, std::size_t{130}, keys.size()}) {
            std::vector<float> out((count + 7) / 8 * 8 * lanes);
            function.fill(std::span(keys).first(count), 0, lanes, out);
            for (std::size_t t = 0; t < count; ++t) {
              for (std::uint32_t lane = 0; lane < lanes; ++lane) {
                ASSERT_EQ(out[t * lanes + lane], function(keys[t], lane))
                    << target << " lanes " << lanes << " lane " << lane;
              }
            }
          }
        });
      }
    }
  }
}

// Against the formulas in double precision: a relative error of 7e-6 of E (6.7e-6 for the fit with its roundings, and
// those of a sum), which is squared for p = 1/2, a few roundings, plus half a quantum.
TEST(Scale, IsThePowerOfAnExponential) {
  for (int shift = 0; shift <= 60; ++shift) {
    for (int k = 0; k < 200; ++k) {
      const std::uint64_t word = (finalise(static_cast<std::uint64_t>(k)) | (std::uint64_t{1} << 63U)) >> shift;
      const std::uint64_t upper = word >> 34U;
      const std::uint64_t lower = (word & 0xFFFFFFFFU) >> 2U;
      const double v = std::ldexp(static_cast<double>(upper), -30) + std::ldexp(static_cast<double>(lower) + 0.5, -60);
      int ones = 0;
      while ((((upper ^ lower) >> ones) & 1U) == 1) ++ones;
      const double e = ones * std::log(2.0) - std::log1p(-v / 2);
      const std::array<double, 4> expected = {1 / std::sqrt(e), 1 / e, 1 / (e * e), 1 / std::sqrt(v)};
      for (std::size_t law = 0; law < laws.size(); ++law) {
        const double scale = scale_from_word(word, laws[law].law, laws[law].p);
        ASSERT_NEAR(scale, expected[law], expected[law] * 1.45e-5 + 0x1p-17) << "v = " << v << " law " << law;
      }
    }
  }
}

TEST(Scale, IsAlwaysAPositiveMultipleOfTheQuantum) {
  for (std::uint64_t t = 0; t < 100000; ++t) {
    for (const Law& law : laws) {
      const auto scale = static_cast<double>(scale_from_word(finalise(t), law.law, law.p));
      ASSERT_GT(scale, 0);
      const double quanta = scale * 65536;
      ASSERT_EQ(quanta, std::floor(quanta));
    }
  }
}

/// Bins of equal probability for v = F(scale), from the law itself.
std::size_t bin_of(double scale, const Law& law, std::size_t bins) {
  double v = 0;
  if (law.law == ScaleLaw::uniform) {
    v = 1 / (scale * scale);
  } else {
    v = -std::expm1(-std::pow(scale, -law.p));
  }
  return std::min(bins - 1, static_cast<std::size_t>(v * static_cast<double>(bins)));
}

// One chi-squared for each law and each of three lanes on sequential ids, significance 1e-4 each: 24 tests, 0.0024
// together. 64 bins of probability 1/64 are wide against the quantum 2^-16 everywhere but in the last bin of p = 1/2,
// whose edge moves by 1e-3 of a bin.
TEST(Scale, HasItsLawOnSequentialIds) {
  constexpr std::size_t count = 40000;
  constexpr std::size_t bins = 64;
  std::vector<std::uint64_t> keys(count);
  for (std::size_t t = 0; t < count; ++t) keys[t] = t;
  for (const Randomness kind : {Randomness::mix, Randomness::kwise, Randomness::nisan}) {
    for (const Law& law : laws) {
      const ScaleFunction function(kind, 3, 4, law.law, law.p, 8);
      std::vector<float> scales(count * 8);
      function.fill(keys, 0, 8, scales);
      for (const std::size_t lane : {std::size_t{1}, std::size_t{4}, std::size_t{7}}) {
        std::vector<std::uint64_t> counts(bins);
        for (std::size_t t = 0; t < count; ++t) ++counts[bin_of(scales[t * 8 + lane], law, bins)];
        const std::vector<double> uniform(bins, 1.0 / bins);
        EXPECT_GT(statistics::chi_squared_fit(counts, uniform).p_value, 1e-4)
            << to_string(kind) << " p " << law.p << " lane " << lane;
      }
    }
  }
}

// Lanes share one mixed word under one multiplication each, so all pairs of 16 lanes are tested for independence on a
// 16 x 16 grid, with sequential ids: 105 tests of significance 1e-5, 0.00105 together. The grid is uneven on purpose:
// cells near v = 0 are where draws are decided.
TEST(Scale, LanesAreIndependentInPairs) {
  constexpr std::size_t count = 200000;
  constexpr std::size_t lanes = 16;
  const ScaleFunction function(Randomness::mix, 17, 4, ScaleLaw::exponential, 2.0, lanes);
  std::vector<std::uint64_t> keys(count);
  for (std::size_t t = 0; t < count; ++t) keys[t] = t;
  std::vector<float> scales(count * lanes);
  function.fill(keys, 0, lanes, scales);
  constexpr std::array<double, 15> edges = {0.004, 0.008, 0.016, 0.03, 0.06, 0.12, 0.2, 0.3,
                                            0.4,   0.5,   0.6,   0.7,  0.8,  0.9,  0.97};
  const auto cell = [&](double scale) {
    const double v = -std::expm1(-1 / (scale * scale));
    std::size_t k = 0;
    while (k < edges.size() && v > edges[k]) ++k;
    return k;
  };
  std::vector<std::size_t> cells(count * lanes);
  for (std::size_t t = 0; t < cells.size(); ++t) cells[t] = cell(scales[t]);
  for (std::size_t a = 1; a < lanes; ++a) {
    for (std::size_t b = a + 1; b < lanes; ++b) {
      std::vector<std::uint64_t> table(16 * 16);
      for (std::size_t t = 0; t < count; ++t) ++table[cells[t * lanes + a] * 16 + cells[t * lanes + b]];
      EXPECT_GT(statistics::chi_squared_independence(table, 16).p_value, 1e-5) << a << " and " << b;
    }
  }
}

// In the tail, jointly: among 2^22 sequential ids the number with v < 2^-10 in two lanes at once is Poisson with mean 4
// a pair, so its sum over 15 * 14 / 2 pairs has mean 420 and standard deviation 20.5 for independent lanes; 5
// deviations, 6e-7.
TEST(Scale, LanesAreIndependentInTheTail) {
  constexpr std::size_t lanes = 16;
  constexpr std::size_t chunk = 1 << 12U;
  const ScaleFunction function(Randomness::mix, 23, 4, ScaleLaw::exponential, 2.0, lanes);
  const double edge = 1 / std::sqrt(-std::log1p(-0x1p-10));
  std::vector<std::uint64_t> keys(chunk);
  std::vector<float> scales(chunk * lanes);
  std::uint64_t pairs = 0;
  for (std::uint64_t first = 0; first < (1U << 22U); first += chunk) {
    for (std::size_t t = 0; t < chunk; ++t) keys[t] = first + t;
    function.fill(keys, 0, lanes, scales);
    for (std::size_t t = 0; t < chunk; ++t) {
      std::uint64_t large = 0;
      for (std::size_t lane = 1; lane < lanes; ++lane) large += scales[t * lanes + lane] > edge ? 1U : 0U;
      pairs += large * (large - (large > 0 ? 1U : 0U)) / 2;
    }
  }
  EXPECT_NEAR(static_cast<double>(pairs), 420, 5 * 20.5);
}

// What makes a scale large in one lane must not tell of the others: of the keys with v < 2^-shift in lane a, found by
// inverting its multiplication, K in lane a and the scale in each other lane are tested together against their laws,
// which are known: P(K >= k) = 2^-k, and 1 - exp(-E) is uniform. 8 * 7 pairs x 4 shifts = 224 tests of significance
// 1e-6, 0.00023 together. The shift 0 is the joint law of two lanes; the shift 30 sees a K that depends on H alone.
TEST(Scale, LanesAreIndependentWhereOneIsLarge) {
  constexpr std::size_t count = 20000;
  constexpr std::size_t lanes = 8;
  constexpr Law law = laws.front();
  const ScaleFunction function(Randomness::mix, 29, 4, law.law, law.p, 16);
  const MixedLanes words = function.mixed_lanes(8);
  const auto scale_in = [&](std::uint64_t base, std::size_t lane) {
    return scale_from_word((base ^ words.lane_xor[lane]) * words.lane_multiply[lane], words.formula);
  };
  std::vector<double> expected(4 * 16);
  for (std::size_t cell = 0; cell < expected.size(); ++cell) {
    expected[cell] = std::ldexp(1.0 / 16, -static_cast<int>(std::min<std::size_t>(cell / 16 + 1, 3)));
  }
  for (const unsigned shift : {0U, 8U, 20U, 30U}) {
    for (std::size_t a = 0; a < lanes; ++a) {
      std::uint64_t inverse = 1;  // of the multiplier, modulo 2^64: each step of Newton's doubles the right bits
      for (int step = 0; step < 6; ++step) inverse *= 2 - words.lane_multiply[a] * inverse;
      std::array<std::vector<std::uint64_t>, lanes> counts;
      counts.fill(std::vector<std::uint64_t>(expected.size()));
      for (std::size_t t = 0; t < count; ++t) {
        const std::uint64_t base = ((finalise(t) >> shift) * inverse) ^ words.lane_xor[a];
        const double scale = scale_in(base, a);
        const double in_ln2 = 1 / (scale * scale) / std::log(2.0) + 1e-4;  // where v is small, K but for roundings
        const auto doublings = std::min<std::size_t>(3, static_cast<std::size_t>(in_ln2));
        for (std::size_t b = 0; b < lanes; ++b) ++counts[b][doublings * 16 + bin_of(scale_in(base, b), law, 16)];
      }
      for (std::size_t b = 0; b < lanes; ++b) {
        if (b == a) continue;
        EXPECT_GT(statistics::chi_squared_fit(counts[b], expected).p_value, 1e-6) << a << ", " << b << ", " << shift;
      }
    }
  }
}

TEST(Scale, RefusesLawsItDoesNotHave) {
  EXPECT_THROW(ScaleFunction(Randomness::mix, 0, 4, ScaleLaw::exponential, 3.0, 8), UsageError);
  EXPECT_THROW(ScaleFunction(Randomness::mix, 0, 4, ScaleLaw::uniform, 1.0, 8), UsageError);
}

}  // namespace
}  // namespace weir
