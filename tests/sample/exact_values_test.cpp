#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "weir/sample/moment.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {
namespace {

Draw draw_of(std::uint64_t index, double value, double scale) {
  return {.lane = 1, .index = index, .value = value, .inclusion = 0.5, .scale = scale};
}

/// The smallest scaled magnitude is the threshold, whichever the estimates had taken.
TEST(ExactValues, ChooseTheThreshold) {
  for (const auto& [p, scale_power] : {std::pair(2.0, 2.0), {1.0, 1.0}, {0.5, 0.5}, {4.0, 2.0}}) {
    // Scaled magnitudes, before the powers: of p = 4 the sketch holds squares.
    const auto scaled = [&, p = p](double value, double scale) {
      return p == 4 ? value * value * scale : std::abs(value) * scale;
    };
    SampleResult result;
    result.draws = {draw_of(0, 10, 1), draw_of(1, -2, 2), draw_of(2, 3, 4)};
    result.next = draw_of(3, 5, 3);
    follow_exact_values(result, p, scale_power);
    ASSERT_EQ(result.draws.size(), 3U);
    ASSERT_TRUE(result.next);
    EXPECT_EQ(result.next->index, 1U);
    const double threshold = scaled(-2, 2);
    for (const Draw& draw : result.draws) {
      EXPECT_NE(draw.index, 1U);
      // 1 - exp(-(|y| / tau)^p), tau and y unscaled.
      const double unscaled = p == 4 ? draw.value * draw.value : std::abs(draw.value);
      EXPECT_NEAR(*draw.inclusion, 1 - std::exp(-std::pow(unscaled / threshold, scale_power)), 1e-12) << p;
    }
    EXPECT_EQ(result.norm_p.has_value(), p < 2);
  }
}

TEST(ExactValues, OfAllEntriesAreIncluded) {
  SampleResult result;
  result.draws = {draw_of(0, 10, 1), draw_of(1, -2, 2)};
  follow_exact_values(result, 1, 1);
  for (const Draw& draw : result.draws) EXPECT_EQ(draw.inclusion, 1);
  ASSERT_TRUE(result.norm_p);
  EXPECT_NEAR(result.norm_p->value, 12, 1e-12);
  EXPECT_NEAR(result.draws[0].probability, 10.0 / 12, 1e-12);
  // One that was made up is no threshold: then the last draw is.
  result.next = draw_of(5, 0, 7);
  follow_exact_values(result, 1, 1);
  ASSERT_EQ(result.draws.size(), 1U);
  EXPECT_EQ(result.next->index, 1U);
}

/// A moment near the law of the draws, from exact values, has the error of the sampling alone.
TEST(ExactValues, TakeTheNoiseOffMoments) {
  constexpr std::uint64_t n = 3000;
  std::vector<double> y(n);
  for (std::uint64_t i = 0; i < n; ++i) y[i] = 100.0 / static_cast<double>(i + 1);
  std::vector<std::uint64_t> keys(n);
  std::iota(keys.begin(), keys.end(), 0);
  const double truth = std::inner_product(y.begin(), y.end(), y.begin(), 0.0);
  double estimated = 0, exact = 0;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    VectorSketch sketch({.dimension = n, .buckets = 256, .lanes = 2, .seed = seed});
    sketch.update(keys, y);
    SampleResult result = draw_without_replacement(sketch, {.samples = 40});
    const auto error = [&] { return std::pow(horvitz_thompson_moment(result.draws, 2) / truth - 1, 2); };
    estimated += error();
    for (Draw& draw : result.draws) draw.value = y[draw.index];
    ASSERT_TRUE(result.next);
    result.next->value = y[result.next->index];
    follow_exact_values(result, 2, 2);
    exact += error();
  }
  EXPECT_LT(exact, 0.75 * estimated);
  // Of 40 draws with p = q a relative standard deviation of at most 1 / sqrt(38).
  EXPECT_LT(std::sqrt(exact / 30), 1 / std::sqrt(38.0));
}

}  // namespace
}  // namespace weir
