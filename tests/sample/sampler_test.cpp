// What a sampler finds, refuses and reports, other than the law of its draws.

#include "weir/sample/sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "sample/law_support.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"
#include "weir/sample/dense.hpp"

namespace weir {
namespace {

using testing_support::make_keys;
using testing_support::make_vector;
using testing_support::random_keys;
using testing_support::SparseVector;

VectorSketch sketch_of(const SketchConfig& config, const SparseVector& y) {
  VectorSketch sketch(config);
  sketch.update(y.keys, y.values);
  return sketch;
}

/// For each lane, the key with the largest median estimate of all keys, every one of which is estimated.
std::vector<std::uint64_t> exhaustive_argmax(const VectorSketch& sketch) {
  const std::uint32_t lanes = sketch.config().lanes;
  const std::vector<std::uint64_t> keys = make_keys(sketch.config().dimension, [](std::uint64_t t) { return t; });
  std::vector<double> estimates(keys.size() * lanes);
  sketch.estimate(keys, estimates);
  std::vector<std::uint64_t> argmax(lanes, 0);
  for (const std::uint64_t key : keys) {
    for (std::uint32_t lane = 0; lane < lanes; ++lane) {
      if (std::abs(estimates[key * lanes + lane]) > std::abs(estimates[argmax[lane] * lanes + lane]))
        argmax[lane] = key;
    }
  }
  return argmax;
}

TEST(Sampler, NamesOfReasons) {
  EXPECT_EQ(to_string(FailReason::below_threshold), "below_threshold");
  EXPECT_EQ(to_string(FailReason::no_candidate), "no_candidate");
}

TEST(Sampler, ZeroVector) {
  for (const std::uint32_t levels : {1U, 2U, 3U}) {
    VectorSketch sketch({.dimension = 1000, .buckets = 64, .levels = levels, .seed = 3});
    const std::vector<std::uint64_t> keys{7, 999, 7, 999};
    sketch.update(keys, std::vector<double>{5, -2, -5, 2});
    for (const SampleResult& result : {draw_with_replacement(sketch, {}), draw_without_replacement(sketch, {})}) {
      EXPECT_TRUE(result.zero_vector);
      EXPECT_TRUE(result.draws.empty());
      EXPECT_TRUE(result.failed.empty());
      EXPECT_EQ(result.norm, 0);
    }
    EXPECT_TRUE(heavy_coordinates(sketch, 5).empty());
  }
}

TEST(Sampler, OneCoordinateIsAlwaysDrawn) {
  for (const double p : {2.0, 1.0, 0.5}) {
    for (const std::uint32_t levels : {1U, 2U, 3U}) {
      const VectorSketch sketch =
          sketch_of({.dimension = 50000, .buckets = 64, .levels = levels, .p = p, .seed = 11}, {{31337}, {-12}});
      const SampleResult result = draw_with_replacement(sketch, {.samples = 100, .threshold = 0});
      ASSERT_EQ(result.draws.size(), 15U);
      EXPECT_DOUBLE_EQ(result.norm, 12);
      for (std::uint32_t t = 0; t < 15; ++t) {
        EXPECT_EQ(result.draws[t].lane, t + 1);
        EXPECT_EQ(result.draws[t].index, 31337U);
        EXPECT_DOUBLE_EQ(result.draws[t].value, -12);
        EXPECT_FALSE(result.draws[t].inclusion.has_value());
        if (p == 2) {
          EXPECT_DOUBLE_EQ(result.draws[t].probability, 1);
        }
      }
    }
  }
}

TEST(Sampler, StopsAtTheSamplesWantedAndAccountsForEveryLaneTried) {
  const VectorSketch sketch = sketch_of({.dimension = 256, .buckets = 256, .lanes = 64, .seed = 5},
                                        make_vector("zipf", make_keys(256, [](auto t) { return t; })));
  const SampleResult all = draw_with_replacement(sketch, {.samples = 1000});
  EXPECT_EQ(all.draws.size() + all.failed.size(), 63U);
  ASSERT_GT(all.failed.size(), 0U);  // 1 - 0.632^63 of all seeds
  const SampleResult some = draw_with_replacement(sketch, {.samples = 5});
  ASSERT_EQ(some.draws.size(), 5U);
  for (std::size_t t = 0; t < 5; ++t) EXPECT_EQ(some.draws[t].lane, all.draws[t].lane);
  EXPECT_EQ(some.draws.size() + some.failed.size(), some.draws.back().lane);
  for (const FailedLane& failed : all.failed) EXPECT_EQ(failed.reason, FailReason::below_threshold);
  EXPECT_TRUE(draw_with_replacement(sketch, {.samples = 0}).draws.empty());
}

TEST(Sampler, AcceptanceFollowsTheThreshold) {
  // P[accept] = 1 - exp(-1/T); F2 of the sketch has a spread of 3% of its own at B = 1024, second order here.
  const SparseVector y = make_vector("flat", make_keys(64, [](auto t) { return t; }));
  for (const double p : {2.0, 1.0, 0.5}) {
    for (const double threshold : {0.5, 1.0, 2.0}) {
      const auto counts =
          testing_support::count_draws({.dimension = 64, .buckets = 1024, .p = p}, y, y, 400, threshold);
      const double expected = 1 - std::exp(-1 / threshold);
      const auto tried = static_cast<double>(counts.lanes_tried);
      const double z =
          (static_cast<double>(counts.draws()) - tried * expected) / std::sqrt(tried * expected * (1 - expected));
      EXPECT_GT(statistics::normal_p_value(z), 1e-4) << "p = " << p << ", T = " << threshold;
    }
  }
}

TEST(Sampler, SearchAgreesWithScoringEveryKey) {
  std::size_t compared = 0;
  for (const std::uint32_t levels : {1U, 2U, 3U}) {
    for (const double p : {2.0, 1.0, 0.5}) {
      for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        const VectorSketch sketch =
            sketch_of({.dimension = 1U << 16U, .buckets = 512, .levels = levels, .p = p, .seed = seed},
                      make_vector(seed % 2 == 0 ? "flat" : "zipf", random_keys(2000, 16)));
        const std::vector<std::uint64_t> argmax = exhaustive_argmax(sketch);
        for (const double threshold : {0.0, 1.0}) {
          for (const Draw& draw : draw_with_replacement(sketch, {.samples = 15, .threshold = threshold}).draws) {
            EXPECT_EQ(draw.index, argmax[draw.lane]) << levels << " levels, p = " << p << ", seed " << seed;
            ++compared;
          }
        }
      }
    }
  }
  EXPECT_GT(compared, 1000U);
}

TEST(Sampler, ValuesAreWithinTheTheory) {
  // A row has noise of variance at most the second moment of the scaled vector over B; the median of five has 0.29 of
  // it where the noise is normal. Over many draws the mean of error^2 B / moment stays below 0.5, and is above 0.
  const SparseVector y = make_vector("flat", make_keys(4096, [](auto t) { return t; }));
  double ratio = 0;
  std::size_t draws = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const VectorSketch sketch = sketch_of({.dimension = 4096, .buckets = 256, .seed = seed}, y);
    for (const Draw& draw : draw_with_replacement(sketch, {.samples = 15}).draws) {
      const double scale = sketch.scale_of(draw.index, draw.lane);
      const double largest = y.values[draw.index] * scale;
      const double others = sketch.lane_f2(draw.lane) - largest * largest;
      ratio += std::pow((draw.value - y.values[draw.index]) * scale, 2) * 256 / std::max(others, largest * largest);
      ++draws;
    }
  }
  EXPECT_GT(draws, 150U);
  EXPECT_LT(ratio / static_cast<double>(draws), 0.5);
  EXPECT_GT(ratio, 0);
}

TEST(Sampler, ProbabilityOfADrawIsThatOfItsLaw) {
  const SparseVector y = make_vector("zipf", make_keys(100, [](auto t) { return 3 * t; }));
  for (const double p : {2.0, 1.0}) {
    const std::vector<double> law = testing_support::law_of(y, p);
    const VectorSketch sketch = sketch_of({.dimension = 300, .buckets = 4096, .lanes = 512, .p = p, .seed = 8}, y);
    const SampleResult result = draw_with_replacement(sketch, {.samples = 511});
    // p = 2: F2 of 4096 buckets, standard deviation sqrt(2/4096) of a row. p = 1: 511 lanes, 1/sqrt(509). Five
    // deviations.
    const double tolerance = 5 * (p == 2 ? std::sqrt(2.0 / 4096) : 1 / std::sqrt(509.0));
    for (const Draw& draw : result.draws) {
      EXPECT_NEAR(draw.probability / law[draw.index / 3], 1, tolerance);
      EXPECT_LE(draw.probability, 1);
    }
  }
}

TEST(Sampler, WithoutReplacementAgreesWithTheDenseReference) {
  // Same scales, so without noise the same indices in the same order; integers in a sparse table are recovered exactly.
  const SparseVector y = make_vector("zipf", make_keys(500, [](auto t) { return t; }));
  DenseVector dense(500);
  dense.update(y.keys, y.values);
  for (const double p : {2.0, 1.0, 0.5}) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const SampleResult expected = draw_without_replacement(dense, {.samples = 40, .p = p, .seed = seed});
      const SampleResult result = draw_without_replacement(
          sketch_of({.dimension = 500, .buckets = 65536, .lanes = 2, .p = p, .seed = seed}, y), {.samples = 40});
      ASSERT_EQ(result.draws.size(), 40U);
      for (std::size_t t = 0; t < 40; ++t) {
        EXPECT_EQ(result.draws[t].index, expected.draws[t].index);
        EXPECT_EQ(result.draws[t].value, expected.draws[t].value);
        EXPECT_NEAR(result.draws[t].inclusion.value_or(0), expected.draws[t].inclusion.value_or(1), 1e-9);
      }
    }
  }
}

TEST(Sampler, WithoutReplacementGivesAllOfASparseVector) {
  for (const std::uint32_t levels : {1U, 2U, 3U}) {
    const SparseVector y = make_vector("zipf", random_keys(30, 18));
    const SampleResult result = draw_without_replacement(
        sketch_of({.dimension = 1U << 18U, .buckets = 1024, .lanes = 2, .levels = levels, .seed = 4}, y),
        {.samples = 50});
    std::map<std::uint64_t, double> drawn;
    for (const Draw& draw : result.draws) {
      EXPECT_EQ(draw.inclusion, 1.0);
      drawn[draw.index] = draw.value;
    }
    std::map<std::uint64_t, double> expected;
    for (std::size_t t = 0; t < y.keys.size(); ++t) expected[y.keys[t]] = y.values[t];
    EXPECT_EQ(drawn, expected);  // bit for bit: integers
    double moment = 0;
    for (const double value : y.values) moment += value * value;
    EXPECT_DOUBLE_EQ(horvitz_thompson_moment(result.draws, 2), moment);
  }
}

TEST(Sampler, WithoutReplacementOfRealValuesDoesNotDrawRounding) {
  SparseVector y = make_vector("zipf", random_keys(20, 16));
  for (double& value : y.values) value *= 0.1 + 1.0 / 3;
  const SampleResult result = draw_without_replacement(
      sketch_of({.dimension = 1U << 16U, .buckets = 1024, .lanes = 2, .seed = 6}, y), {.samples = 40});
  EXPECT_EQ(result.draws.size(), 20U);
}

TEST(Sampler, GhostsOfManyCoordinatesAreRemoved) {
  // With k = 200 coordinates in B = 512 buckets about 2.5 n (k/B)^3 = 40,000 of 2^18 keys have a median that is not
  // zero.
  const SparseVector y = make_vector("flat", random_keys(200, 18));
  const std::set<std::uint64_t> keys(y.keys.begin(), y.keys.end());
  const SampleResult result = draw_without_replacement(
      sketch_of({.dimension = 1U << 18U, .buckets = 1024, .lanes = 2, .seed = 2}, y), {.samples = 100});
  ASSERT_EQ(result.draws.size(), 100U);
  for (const Draw& draw : result.draws) EXPECT_TRUE(keys.contains(draw.index)) << draw.index;
}

TEST(Sampler, HeavyCoordinates) {
  for (const std::uint32_t levels : {1U, 2U, 3U}) {
    SparseVector y = make_vector("flat", random_keys(3000, 18));
    for (std::size_t t = 0; t < 12; ++t) y.values[t] *= static_cast<double>(12 + t);  // |10| elsewhere
    const VectorSketch sketch = sketch_of({.dimension = 1U << 18U, .buckets = 1024, .levels = levels, .seed = 9}, y);
    const std::vector<HeavyCoordinate> heavy = heavy_coordinates(sketch, 12);
    ASSERT_EQ(heavy.size(), 12U);
    std::set<std::uint64_t> expected(y.keys.begin(), y.keys.begin() + 12);
    for (std::size_t t = 0; t < 12; ++t) {
      EXPECT_TRUE(expected.contains(heavy[t].index));
      const auto place = std::find(y.keys.begin(), y.keys.end(), heavy[t].index) - y.keys.begin();
      EXPECT_LE(std::abs(heavy[t].estimate.value - y.values[static_cast<std::size_t>(place)]), heavy[t].estimate.bound);
      if (t > 0) {
        EXPECT_LE(std::abs(heavy[t].estimate.value), std::abs(heavy[t - 1].estimate.value));
      }
    }
  }
  const VectorSketch small = sketch_of({.dimension = 10, .buckets = 64}, {{2, 5}, {1, -3}});
  EXPECT_EQ(heavy_coordinates(small, 1000).size(), 2U);
  EXPECT_TRUE(heavy_coordinates(small, 0).empty());
}

TEST(Sampler, LanesThatAreNotScaledDoNotDraw) {
  const VectorSketch plain = sketch_of({.dimension = 100, .lanes = 1}, {{1}, {1}});
  EXPECT_THROW((void)draw_with_replacement(plain, {}), UsageError);
  EXPECT_THROW((void)draw_without_replacement(plain, {}), UsageError);
  EXPECT_EQ(heavy_coordinates(plain, 1).front().index, 1U);
}

TEST(Sampler, RefusesWhatMakesNoSense) {
  const VectorSketch sketch = sketch_of({.dimension = 1000, .buckets = 64}, {{1}, {1}});
  for (const double bad : {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW((void)draw_with_replacement(sketch, {.threshold = bad}), UsageError);
  }
  EXPECT_THROW((void)draw_without_replacement(sketch, {.samples = 64}), UsageError);
  EXPECT_THROW((void)heavy_coordinates(sketch, 64), UsageError);
  const VectorSketch narrow = sketch_of({.dimension = 1000, .buckets = 64, .lanes = 2, .p = 1}, {{1}, {1}});
  EXPECT_THROW((void)draw_with_replacement(narrow, {}), UsageError);
  EXPECT_EQ(draw_with_replacement(narrow, {.threshold = 0}).draws.size(), 1U);
  const VectorSketch uniform = sketch_of({.dimension = 1000, .buckets = 64, .law = ScaleLaw::uniform}, {{1}, {1}});
  EXPECT_THROW((void)draw_without_replacement(uniform, {}), UsageError);
  const std::vector<Draw> with_replacement{
      {.lane = 1, .index = 1, .value = 1, .probability = 1, .inclusion = std::nullopt}};
  EXPECT_THROW((void)horvitz_thompson_moment(with_replacement, 2), UsageError);
}

TEST(Sampler, UniformLawAcceptsAboveItsThreshold) {
  // w^2 = y^2 / u >= T F2 means u <= y^2 / (T F2): for a single coordinate with probability 1/T.
  constexpr double threshold = 10;
  std::uint64_t accepted = 0;
  constexpr std::uint64_t trials = 400;
  for (std::uint64_t seed = 1; seed <= trials; ++seed) {
    const VectorSketch sketch =
        sketch_of({.dimension = 100, .buckets = 64, .law = ScaleLaw::uniform, .seed = seed}, {{42}, {3}});
    const SampleResult result = draw_with_replacement(sketch, {.samples = 15, .threshold = threshold});
    accepted += result.draws.size();
    for (const Draw& draw : result.draws) EXPECT_EQ(draw.index, 42U);
  }
  const double expected = 15.0 * trials / threshold;
  const double z = (static_cast<double>(accepted) - expected) / std::sqrt(expected * (1 - 1 / threshold));
  EXPECT_GT(statistics::normal_p_value(z), 1e-4);
}

TEST(Sampler, ResiduesOfRoundingAreNotDrawn) {
  VectorSketch sketch({.dimension = 100, .buckets = 64, .seed = 1});
  sketch.table()[1] = 1e-17;  // one cell of lane 1; lane 0 is exactly zero
  const SampleResult result = draw_with_replacement(sketch, {.threshold = 0});
  EXPECT_TRUE(result.zero_vector);
  EXPECT_TRUE(result.draws.empty());
}

}  // namespace
}  // namespace weir
