// What a sampler finds, refuses and reports, other than the law of its draws.

#include "weir/sample/sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/law.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/moment.hpp"

namespace weir {
namespace {

using testing_support::make_keys;
using testing_support::make_vector;
using testing_support::random_keys;
using testing_support::sketch_of;
using testing_support::SparseVector;

/// How keys are put into groups: by levels, or as the rows of a matrix.
struct Groups {
  std::uint32_t levels;
  std::uint64_t row_length = 0;
};

/// n is a little above 2^18.
constexpr std::uint64_t n = 300 * 900;
constexpr Groups all_groups[] = {{1}, {2}, {3}, {2, 300}, {2, 900}, {2, 1}, {2, n}};

/// The largest median estimate of all keys, for each lane: every key is estimated.
struct Exhaustive {
  std::vector<std::uint64_t> argmax;  ///< By lane.
  std::vector<double> maximum;        ///< By lane, magnitudes.

  explicit Exhaustive(const VectorSketch& sketch)
      : argmax(sketch.config().lanes), maximum(sketch.config().lanes), lanes_(sketch.config().lanes) {
    const std::vector<std::uint64_t> keys = make_keys(sketch.config().dimension, [](std::uint64_t t) { return t; });
    estimates_.resize(keys.size() * lanes_);
    sketch.estimate(keys, estimates_);
    for (const std::uint64_t key : keys) {
      for (std::size_t lane = 0; lane < lanes_; ++lane) {
        if (magnitude(key, lane) > maximum[lane]) {
          maximum[lane] = magnitude(key, lane);
          argmax[lane] = key;
        }
      }
    }
  }

  [[nodiscard]] double magnitude(std::uint64_t key, std::size_t lane) const {
    return std::abs(estimates_[key * lanes_ + lane]);
  }

  /// The acceptance test of draw_with_replacement for p < 2, for the exhaustive maxima: 1 / w^p, which is Exp(1) / sum
  /// |y|^p, against the sum of those of the K other lanes, Gamma(K) / sum |y|^p, so that P = 1 - (1 + c)^-K = 1 -
  /// exp(-1/T).
  [[nodiscard]] bool accepts(std::size_t lane, double p, double threshold) const {
    double others = 0;
    for (std::size_t other = 1; other < lanes_; ++other) {
      if (other != lane) others += std::pow(maximum[other], -p);
    }
    return std::pow(maximum[lane], -p) <= std::expm1(1 / (threshold * static_cast<double>(lanes_ - 2))) * others;
  }

 private:
  std::size_t lanes_;
  std::vector<double> estimates_;
};

/// The lanes in which two results of 15 lanes are not the same.
std::uint64_t different_lanes(const SampleResult& a, const SampleResult& b) {
  std::map<std::uint32_t, std::uint64_t> drawn;
  for (const Draw& draw : a.draws) drawn[draw.lane] = draw.index;
  std::uint64_t same = 0, both_failed = 15 - a.draws.size();
  for (const Draw& draw : b.draws) {
    const auto found = drawn.find(draw.lane);
    same += found != drawn.end() && found->second == draw.index;
    both_failed -= found == drawn.end();
  }
  return 15 - same - both_failed;
}

TEST(Sampler, NamesOfReasons) {
  EXPECT_EQ(to_string(FailReason::below_threshold), "below_threshold");
  EXPECT_EQ(to_string(FailReason::no_candidate), "no_candidate");
  EXPECT_EQ(to_string(FailReason::heavy_tail), "heavy_tail");
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

/// Draws of p < 2 are the argmax of all keys and pass the test, but where the scaled value that is truly larger is that of
/// the draw: the entries of a lane are taken out of each other's cells. The lanes that fail have an argmax that does not pass,
/// or that fewer than four of the five rows support. Those of p = 2, which a fit chooses among what the search finds, are the
/// draws of the same items without groups, where every key is scored. With groups, one that falls short of its best item by
/// more than 3.5 deviations of its score is not opened, with probability Q(3.5) = 2.3e-4 for each step from groups to
/// members.
TEST(Sampler, SearchAgreesWithScoringEveryKey) {
  const std::vector<SparseVector> vectors{make_vector("flat", random_keys(2000, 16)),
                                          make_vector("zipf", random_keys(2000, 16)),
                                          make_vector("flat", make_keys(2000, [](auto t) { return 700 + t; }))};
  std::size_t drawn = 0;
  std::size_t failed = 0;
  constexpr std::uint64_t length = 73 * 900;  // of y: a little above 2^16
  for (const auto& [levels, row_length] :
       {Groups{1}, Groups{2}, Groups{3}, Groups{2, 73}, Groups{2, 900}, Groups{2, length}}) {
    std::uint64_t tried = 0;
    std::uint64_t missed = 0;
    for (const double p : {2.0, 1.0, 0.5}) {
      for (std::size_t v = 0; v < vectors.size(); ++v) {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
          SCOPED_TRACE(::testing::Message() << levels << " levels, row length " << row_length << ", p = " << p
                                            << ", vector " << v << ", seed " << seed);
          const VectorSketch sketch = sketch_of(
              {.dimension = length, .buckets = 512, .levels = levels, .p = p, .seed = seed, .row_length = row_length},
              vectors[v]);
          const Exhaustive all(sketch);
          const auto scaled = [&](std::uint64_t key, std::uint32_t lane) {
            const auto found = std::ranges::find(vectors[v].keys, key);
            return found == vectors[v].keys.end()
                       ? 0.0
                       : std::abs(vectors[v].values[static_cast<std::size_t>(found - vectors[v].keys.begin())]) *
                             sketch.scale_of(key, lane);
          };
          const VectorSketch ungrouped =
              sketch_of({.dimension = length, .buckets = 512, .p = p, .seed = seed}, vectors[v]);
          for (const double threshold : {0.0, 1.0}) {
            const SampleResult result = draw_with_replacement(sketch, {.samples = 15, .threshold = threshold});
            ASSERT_EQ(result.draws.size() + result.failed.size(), 15U);
            if (p == 2) {
              missed +=
                  different_lanes(result, draw_with_replacement(ungrouped, {.samples = 15, .threshold = threshold}));
              tried += 15;
              drawn += result.draws.size();
              failed += result.failed.size();
              continue;
            }
            for (const Draw& draw : result.draws) {
              missed += all.magnitude(draw.index, draw.lane) != all.maximum[draw.lane] &&
                        scaled(draw.index, draw.lane) < scaled(all.argmax[draw.lane], draw.lane);
              EXPECT_TRUE(threshold == 0 || all.accepts(draw.lane, p, threshold));
            }
            for (const FailedLane& lane : result.failed) {
              if (lane.reason == FailReason::below_threshold) {
                missed += all.accepts(lane.lane, p, threshold);
              } else {
                std::vector<double> rows(5);
                sketch.row_estimates(all.argmax[lane.lane], lane.lane, rows);
                std::sort(rows.begin(), rows.end());
                EXPECT_LT(std::count_if(rows.begin(), rows.end(), [&](double row) { return row / rows[2] >= 1.0 / 3; }),
                          4)
                    << "lane " << lane.lane;
              }
            }
            tried += 15;
            drawn += result.draws.size();
            failed += result.failed.size();
          }
        }
      }
    }
    EXPECT_GT(statistics::binomial_survival(tried, (levels - 1) * statistics::normal_survival(3.5), missed), 1e-5)
        << missed << " of " << tried << " lanes missed with " << levels << " levels, row length " << row_length;
  }
  EXPECT_GT(drawn, 1500U);
  EXPECT_GT(failed, 300U);
}

TEST(Sampler, ValuesAreWithinTheTheory) {
  // Relative to the threshold tau the noise of a row has variance ln n / B at most, the median of five normal ones pi /
  // 10 of it, and the mean of (tau / magnitude)^2 over the draws is 0.42 at T = 1, 1 at T = 0 with tau = ||y||: mean
  // squares of 0.13 ln n / B and 0.31 ln n / B. Draws of a sketch share its buckets, so that a sketch is one
  // observation.
  const SparseVector y = make_vector("flat", make_keys(4096, [](auto t) { return t; }));
  constexpr std::uint64_t buckets = 256;
  for (const double threshold : {1.0, 0.0}) {
    std::vector<double> mean_squares;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      const VectorSketch sketch = sketch_of({.dimension = 4096, .buckets = buckets, .seed = seed}, y);
      const SampleResult result = draw_with_replacement(sketch, {.samples = 15, .threshold = threshold});
      double sum = 0;
      for (const Draw& draw : result.draws) sum += std::pow(draw.value / y.values[draw.index] - 1, 2);
      mean_squares.push_back(sum / static_cast<double>(std::max<std::size_t>(1, result.draws.size())));
    }
    const statistics::Moments m = statistics::moments(mean_squares);
    EXPECT_LT(m.mean - 5 * m.standard_error, (threshold > 0 ? 0.13 : 0.31) * std::log(4096.0) / buckets)
        << "T = " << threshold << ", root mean square " << std::sqrt(m.mean);
  }
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
  for (const auto& [levels, row_length] : all_groups) {
    const SparseVector y = make_vector("zipf", random_keys(30, 18));
    const SampleResult result = draw_without_replacement(
        sketch_of({.dimension = n, .buckets = 1024, .lanes = 2, .levels = levels, .seed = 4, .row_length = row_length},
                  y),
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
  for (const auto& [levels, row_length] : all_groups) {
    SparseVector y = make_vector("flat", random_keys(3000, 18));
    for (std::size_t t = 0; t < 12; ++t) y.values[t] *= static_cast<double>(12 + t);  // |10| elsewhere
    const VectorSketch sketch =
        sketch_of({.dimension = n, .buckets = 1024, .levels = levels, .seed = 9, .row_length = row_length}, y);
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

TEST(Sampler, HeavyCoordinatesThatAreEqualNeighbours) {
  for (const std::uint32_t levels : {2U, 3U}) {
    for (const std::uint32_t lanes : {8U, 16U}) testing_support::expect_equal_neighbours_found(28, levels, lanes);
  }
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
  EXPECT_THROW((void)draw_with_replacement(uniform, {}), UsageError);
  EXPECT_THROW((void)draw_without_replacement(uniform, {}), UsageError);
  const std::vector<Draw> with_replacement{
      {.lane = 1, .index = 1, .value = 1, .probability = 1, .inclusion = std::nullopt}};
  EXPECT_THROW((void)horvitz_thompson_moment(with_replacement, 2), UsageError);
}

TEST(Sampler, ResiduesOfRoundingAreNotDrawn) {
  // Scales of p = 1/2 reach far beyond 2^53 / 2^37, so that the scaled lanes round; the unscaled one does not.
  constexpr std::size_t count = 200000;
  VectorSketch sketch({.dimension = 1U << 20U, .buckets = 64, .levels = 2, .p = 0.5, .seed = 1});
  const std::vector<std::uint64_t> keys = make_keys(count, [](std::uint64_t t) { return 5 * t; });
  std::vector<double> deltas(count);
  for (std::size_t t = 0; t < count; ++t) deltas[t] = static_cast<double>(t % 1000) - 300;
  sketch.update(keys, deltas);
  for (double& delta : deltas) delta = -delta;
  sketch.update(keys, deltas);
  ASSERT_TRUE(std::any_of(sketch.table().begin(), sketch.table().end(), [](double cell) { return cell != 0; }))
      << "nothing was rounded";
  for (const SampleResult& result :
       {draw_with_replacement(sketch, {.threshold = 0}), draw_with_replacement(sketch, {.threshold = 1}),
        draw_without_replacement(sketch, {})}) {
    EXPECT_TRUE(result.zero_vector);
    EXPECT_TRUE(result.draws.empty());
    EXPECT_TRUE(result.failed.empty());
    EXPECT_EQ(result.norm, 0);
  }
  EXPECT_TRUE(heavy_coordinates(sketch, 5).empty());
}

TEST(Sampler, WithoutReplacementMoreSamplesThanCoordinatesGiveThemAll) {
  for (const std::uint64_t dimension : {std::uint64_t{1}, std::uint64_t{1000}}) {
    const SparseVector y = make_vector("zipf", make_keys(dimension, [](auto t) { return t; }));
    for (const std::uint32_t samples : {1000U, 100000U, 4000000000U}) {
      SketchConfig config = suggest_config({.dimension = dimension, .samples = samples, .without_replacement = true});
      config.seed = 8;
      EXPECT_LE(config.table_size(), std::size_t{1} << 20U);
      const SampleResult result = draw_without_replacement(sketch_of(config, y), {.samples = samples});
      ASSERT_EQ(result.draws.size(), dimension) << samples;
      std::set<std::uint64_t> drawn;
      for (const Draw& draw : result.draws) {
        EXPECT_EQ(draw.inclusion, 1.0);
        drawn.insert(draw.index);
      }
      EXPECT_EQ(drawn.size(), dimension);
    }
  }
  // Of fewer non-zero coordinates than samples, in a large space, all come too, and the search ends.
  const SparseVector sparse = make_vector("flat", random_keys(10, 40));
  const VectorSketch sketch = sketch_of(
      {.dimension = std::uint64_t{1} << 40U, .buckets = 1U << 16U, .lanes = 2, .levels = 3, .seed = 8}, sparse);
  EXPECT_EQ(draw_without_replacement(sketch, {.samples = 60000}).draws.size(), 10U);
}

}  // namespace
}  // namespace weir
