#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {
namespace {

VectorSketch sketch_of(const std::vector<double>& y, std::uint64_t buckets, std::uint32_t rows, std::uint64_t seed) {
  VectorSketch sketch({.dimension = y.size(), .rows = rows, .buckets = buckets, .lanes = 1, .seed = seed});
  std::vector<std::uint64_t> keys(y.size());
  std::iota(keys.begin(), keys.end(), 0);
  sketch.update(keys, y);
  return sketch;
}

/// The bound of F2 is missed by 1% at most, and half of it by far more: 1.35 standard errors by 18% of a normal law.
TEST(EstimateF2, TheBoundHoldsAndHalfOfItDoesNot) {
  constexpr int trials = 1500;
  for (const auto& [buckets, rows] : {std::pair<std::uint64_t, std::uint32_t>{128, 5}, {64, 3}, {256, 7}}) {
    const std::vector<double> flat(3000, 1.0);
    std::vector<double> zipf(3000);
    for (std::size_t i = 0; i < zipf.size(); ++i) zipf[i] = std::pow(static_cast<double>(i + 1), -0.4);
    for (const std::vector<double>* y : {&flat, static_cast<const std::vector<double>*>(&zipf)}) {
      const double truth = std::inner_product(y->begin(), y->end(), y->begin(), 0.0);
      std::uint64_t missed = 0, missed_by_half = 0;
      for (std::uint64_t seed = 0; seed < trials; ++seed) {
        const Estimate f2 = estimate_f2(sketch_of(*y, buckets, rows, seed));
        missed += std::abs(f2.value - truth) > f2.bound;
        missed_by_half += std::abs(f2.value - truth) > f2.bound / 2;
      }
      // At a significance of 1e-5 more misses than 1% of the trials explain; 10% of misses pass with less than 1e-9.
      EXPECT_GT(binomial_lower_tail(trials, 0.99, trials - missed + 1), 1e-5) << buckets << " " << missed;
      EXPECT_LT(binomial_lower_tail(trials, 0.99, trials - missed_by_half + 1), 1e-9)
          << buckets << " " << missed_by_half;
    }
  }
}

TEST(EstimateF2, IsExactWhereNothingCollides) {
  const Estimate alone = estimate_f2(sketch_of({0, 3, 0, -4}, 1 << 16, 5, 1));
  EXPECT_EQ(alone.value, 25);
  EXPECT_EQ(alone.bound, 0);
  const Estimate zero = estimate_f2(sketch_of({0, 0}, 128, 5, 1));
  EXPECT_EQ(zero.value, 0);
  EXPECT_EQ(zero.bound, 0);
  // Two entries that cancel where they meet: rows in which they do not show that y is not zero.
  bool has_cancelled = false;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const VectorSketch sketch = sketch_of({1, 1}, 2, 5, seed);
    const Estimate f2 = estimate_f2(sketch);
    has_cancelled = has_cancelled || (f2.value == 0 && !sketch.is_zero());
    EXPECT_TRUE(f2.value > 0 || sketch.is_zero() || f2.bound >= 2) << seed;
  }
  EXPECT_TRUE(has_cancelled);
  // Three rows may agree by chance.
  EXPECT_GT(estimate_f2(sketch_of({0, 3, 0, -4}, 1 << 16, 3, 1)).bound, 0);
}

}  // namespace
}  // namespace weir
