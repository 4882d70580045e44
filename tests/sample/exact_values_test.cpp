#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "support/statistics.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {
namespace {

Draw draw_of(std::uint64_t index, double value, double scale) {
  return {.lane = 1, .index = index, .value = value, .inclusion = 0.5, .scale = scale, .deviation = 0.1};
}

/// Draws have passed the threshold as it was estimated: exact values do not change that.
TEST(ExactValues, KeepTheThreshold) {
  for (const auto& [p, scale_power] : {std::pair(2.0, 2.0), {1.0, 1.0}, {0.5, 0.5}, {4.0, 2.0}}) {
    SampleResult result;
    result.draws = {draw_of(0, 10, 1), draw_of(1, -2, 2), draw_of(2, 3, 4)};
    result.threshold = 5;
    follow_exact_values(result, p, scale_power);
    ASSERT_EQ(result.draws.size(), 3U);
    for (const Draw& draw : result.draws) {
      // Of p = 4 the sketch holds squares.
      const double unscaled = p == 4 ? draw.value * draw.value : std::abs(draw.value);
      EXPECT_NEAR(*draw.inclusion, 1 - std::exp(-std::pow(unscaled / 5, scale_power)), 1e-12) << p;
      EXPECT_EQ(draw.deviation, 0);
    }
    EXPECT_EQ(result.norm_p.has_value(), p < 2);
  }
}

/// An inclusion is the probability that the scaled magnitude passes the threshold together with its noise.
TEST(ExactValues, AreIncludedThroughNoiseToo) {
  constexpr int trials = 200'000;
  constexpr double threshold = 5, noise = 1;
  std::mt19937_64 random(7);
  for (const double p : {2.0, 1.0}) {
    for (const double value : {0.01, 1.0, 4.0}) {
      int passed = 0;
      for (int trial = 0; trial < trials; ++trial) {
        const double scale = std::pow(std::exponential_distribution()(random), -1 / p);
        passed += scale * value + std::normal_distribution(0.0, noise)(random) > threshold ? 1 : 0;
      }
      SampleResult result;
      result.draws = {draw_of(0, value, 1)};
      result.threshold = threshold;
      result.threshold_noise = noise;
      follow_exact_values(result, p, p);
      const double expected = result.draws.front().inclusion.value();
      EXPECT_NEAR(passed / static_cast<double>(trials), expected, 5 * std::sqrt(expected / trials))
          << p << ", " << value;
    }
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
}

/// Noise lifts more entries over the threshold than it keeps below, but not the sums: of the same scales they are as exact
/// draws make them. (With the threshold at the smallest exact magnitude of the draws they were 5 to 9% too small.)
TEST(ExactValues, MakeUnbiasedSums) {
  constexpr std::uint64_t n = 2000, seeds = 60;
  constexpr std::uint32_t samples = 48;
  const std::vector<double> y(n, 10.0);
  std::vector<std::uint64_t> keys(n);
  std::iota(keys.begin(), keys.end(), 0);
  DenseVector dense(n);
  dense.update(keys, y);
  for (const double p : {2.0, 1.0}) {
    const double truth = static_cast<double>(n) * std::pow(10.0, p);
    std::vector<double> differences;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      SketchConfig config = suggest_config({.dimension = n, .samples = samples, .p = p, .without_replacement = true});
      config.seed = seed;
      VectorSketch sketch(config);
      sketch.update(keys, y);
      SampleResult result = draw_without_replacement(sketch, {.samples = samples});
      for (Draw& draw : result.draws) draw.value = y[draw.index];
      follow_exact_values(result, p, p);
      const SampleResult exact = draw_without_replacement(dense, {.samples = samples, .p = p, .seed = seed});
      differences.push_back((horvitz_thompson_moment(result.draws, p) - horvitz_thompson_moment(exact.draws, p)) /
                            truth);
    }
    const statistics::Moments m = statistics::moments(differences);
    EXPECT_GT(statistics::normal_p_value(m.mean / m.standard_error), 1e-4) << p << ": " << m.mean;
    EXPECT_LT(m.standard_error, 0.01) << p;  // a bias of 5% would show
  }
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
    follow_exact_values(result, 2, 2);
    exact += error();
  }
  EXPECT_LT(exact, 0.75 * estimated);
  // Of 40 draws with p = q a relative standard deviation of at most 1 / sqrt(38).
  EXPECT_LT(std::sqrt(exact / 30), 1 / std::sqrt(38.0));
}

}  // namespace
}  // namespace weir
