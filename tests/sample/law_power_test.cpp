// Whether the tests of laws see what they are for: samplers that multiply the weights of half of the mass by 1.05. And
// tests that see far less, as they know the draws that a sampler must make where nothing collides.
//
// Each decision about a right law is at significance 1e-5, fewer than 50 of them; a sampler that is wrong is to be rejected
// with probability 0.9999 each time. Seeds are fixed.

#include "support/law_power.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "support/law.hpp"
#include "support/row_law.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/two_stage.hpp"

namespace weir {
namespace {

using statistics::draws_to_reject;
using statistics::Half;
using statistics::halves_of;
using statistics::judge_law;
using statistics::judge_matches;
using statistics::Verdict;
using testing_support::count_draws_of;
using testing_support::distorted;
using testing_support::exact_winners;
using testing_support::first_keys;
using testing_support::law_of;
using testing_support::law_significance;
using testing_support::LawCounts;
using testing_support::make_vector;
using testing_support::Pairs;
using testing_support::random_rows;
using testing_support::sketch_of;
using testing_support::SparseRows;
using testing_support::SparseVector;

constexpr double distortion = 0.05;
/// Probability with which each wrong sampler is rejected.
constexpr double power = 0.9999;
/// Of one of the four tests of judge_law(): all categories, and three halves.
constexpr double significance_of_a_test = law_significance / 4;

SparseVector consecutive(const std::string& shape, std::size_t count) { return make_vector(shape, first_keys(count)); }

TEST(LawPower, QuantilesAndNumbersOfDraws) {
  EXPECT_NEAR(statistics::normal_quantile(0.5), 0, 1e-12);
  EXPECT_NEAR(statistics::normal_quantile(0.025), 1.959963985, 1e-9);
  EXPECT_NEAR(statistics::normal_quantile(1e-5), 4.264890794, 1e-9);
  EXPECT_NEAR(statistics::distorted_share(0.5, 0.05), 1.05 / 2.05, 1e-15);
  // (1.96 + 1.645)^2 (1/4) / (1.05 / 2.05 - 1/2)^2 but for the variance under the distortion.
  EXPECT_NEAR(draws_to_reject(0.5, 0.05, 0.05, 0.95), 21845, 10);
  EXPECT_NEAR(draws_to_reject(0.5, 0.05, significance_of_a_test, 0.99), 82700, 2000);
}

TEST(LawPower, OfMatches) {
  // Without noise 20 draws that cross one way are as rare as 2 * 2^-20 = 1.9e-6, and 19 are not below 3.3e-6.
  const double third = law_significance / 3;
  EXPECT_EQ(statistics::power_of_matches(2700, 0, 0.5, 0.05, third), 0);
  EXPECT_EQ(statistics::power_of_matches(2800, 0, 0.5, 0.05, third), 1);
  EXPECT_LT(statistics::power_of_matches(2800, 0.01, 0.5, 0.05, third), 0.9);
  EXPECT_GT(statistics::power_of_matches(9500, 0.01, 0.5, 0.05, third), 0.99);
}

TEST(LawPower, HalvesHoldAboutHalf) {
  for (const char* shape : {"flat", "zipf", "heavy", "tied"}) {
    const std::vector<double> law = law_of(consecutive(shape, 128), 2);
    const std::vector<Half> halves = halves_of(law);
    ASSERT_EQ(halves.size(), 3U) << shape;
    for (const Half& half : halves) {
      EXPECT_GT(half.share, 0.2) << shape << ": " << half.name;
      EXPECT_LT(half.share, 0.8) << shape << ": " << half.name;
    }
  }
  EXPECT_TRUE(halves_of(std::vector<double>{1}).empty());
}

// A sampler without noise, right and wrong.
TEST(LawPower, CountsRejectADistortionOf5Percent) {
  for (const char* shape : {"flat", "zipf"}) {
    const SparseVector y = consecutive(shape, 128);
    const std::vector<double> law = law_of(y, 2);
    const auto verdict_of = [&](const SparseVector& drawn_from, std::uint32_t samples, std::uint64_t seed) {
      DenseVector dense(128);
      dense.update(drawn_from.keys, drawn_from.values);
      std::vector<std::uint64_t> counts(128);
      for (const Draw& draw : draw_with_replacement(dense, {.samples = samples, .seed = seed}).draws) {
        ++counts[draw.index];
      }
      return judge_law(counts, law);
    };
    for (const Half& half : halves_of(law)) {
      const auto samples =
          static_cast<std::uint32_t>(draws_to_reject(half.share, distortion, significance_of_a_test, power));
      for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        EXPECT_LT(verdict_of(distorted(y, half, 1 + distortion, 2), samples, seed).p_value, law_significance)
            << shape << ", " << half.name << ", " << samples << " draws";
      }
      const Verdict right = verdict_of(y, samples, 4);
      EXPECT_GT(right.p_value, law_significance) << right.test;
    }
  }
}

// A sketch of a wrong vector, in a table where many draws go astray.
TEST(LawPower, MatchesRejectADistortionOf5Percent) {
  const SketchConfig config{.dimension = 256, .buckets = 256, .lanes = 64};
  const auto sampler = [&](const VectorSketch& sketch) {
    return draw_with_replacement(sketch, {.samples = config.lanes});
  };
  for (const char* shape : {"flat", "zipf"}) {
    const SparseVector y = consecutive(shape, 128);
    const std::vector<double> law = law_of(y, 2);
    constexpr std::uint64_t trials = 320;
    const LawCounts right = count_draws_of(sampler, config, y, y, trials);
    const Verdict verdict = judge_matches(right.matches, law);
    EXPECT_GT(verdict.p_value, law_significance) << verdict.test;
    for (const Half& half : halves_of(law)) {
      const LawCounts wrong = count_draws_of(sampler, config, y, distorted(y, half, 1 + distortion, 2), trials, 1000);
      const Verdict of_wrong = judge_matches(wrong.matches, law);
      EXPECT_LT(of_wrong.p_value, law_significance) << shape << ", " << half.name << ": " << of_wrong.test;
    }
  }
}

// The other half of the argument: the draws without noise, of the scales alone, have the law.
TEST(LawPower, ScalesAloneHaveTheLaw) {
  for (const double p : {2.0, 1.0, 0.5}) {
    for (const char* shape : {"flat", "zipf", "heavy"}) {
      const SparseVector y = consecutive(shape, 128);
      const std::vector<double> law = law_of(y, p);
      std::vector<std::uint64_t> counts(128);
      std::uint64_t draws = 0;
      for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const SketchConfig config{.dimension = 128, .lanes = 4096, .p = p, .seed = seed};
        for (const std::size_t winner : exact_winners(config, y)) ++counts[winner];
        draws += config.lanes - 1;
      }
      for (const Half& half : halves_of(law)) {
        EXPECT_GE(static_cast<double>(draws), draws_to_reject(half.share, distortion, significance_of_a_test, power))
            << half.name;
      }
      const Verdict verdict = judge_law(counts, law);
      EXPECT_GT(verdict.p_value, law_significance) << shape << ", p = " << p << ": " << verdict.test;
    }
  }
}

// In a table of 16384 buckets a key among 128 meets others in three rows of five with probability 10 (127 / 16384)^3 = 5e-6.
// Otherwise every draw is that of the scales: 1500 draws are, and of a sampler that is 5% wrong about half of the mass at
// least 1.2% would not be, 18 of them.
TEST(LawPower, DrawsAreThoseOfTheScalesWhereNothingCollides) {
  struct Case {
    std::uint32_t levels;
    double p;
    double threshold;
    std::uint64_t trials;
  };
  const SparseVector y = consecutive("zipf", 128);
  const std::vector<Half> halves = halves_of(law_of(y, 2));
  for (const auto& [levels, p, threshold, trials] :
       {Case{1, 2, 1, 160}, Case{2, 2, 1, 160}, Case{3, 2, 1, 160}, Case{1, 1, 0, 100}, Case{1, 0.5, 0, 100}}) {
    const SketchConfig config{.dimension = 4096, .buckets = 16384, .levels = levels, .p = p};
    const auto sampler = [&, threshold = threshold](const VectorSketch& sketch) {
      return draw_with_replacement(sketch, {.samples = config.lanes, .threshold = threshold});
    };
    const auto astray = [](const LawCounts& drawn) {
      return std::ranges::count_if(drawn.matches, [](const statistics::Match& match) { return match[0] != match[1]; });
    };
    const LawCounts drawn = count_draws_of(sampler, config, y, y, trials);
    EXPECT_GE(drawn.matches.size(), 1300U);
    EXPECT_EQ(drawn.strangers, 0U);
    EXPECT_EQ(astray(drawn), 0) << levels << " levels, p = " << p;
    if (levels > 1) continue;
    EXPECT_GT(astray(count_draws_of(sampler, config, y, distorted(y, halves[0], 1 + distortion, p), trials)), 0);
  }
}

// Rows likewise, in the metric.
TEST(LawPower, RowsAreThoseOfTheScalesWhereNothingCollides) {
  const SparseRows rows = random_rows(3, first_keys(100), 1);
  const Metric metric = Metric::of({3, 3, {9, 2, 0, 2, 3, 1, 0, 1, 4}}, "M");
  const LawCounts drawn = testing_support::count_rows({.dimension = 128, .buckets = 16384}, rows, metric, 100);
  EXPECT_GE(drawn.matches.size(), 800U);
  for (const auto& [at, exact] : drawn.matches) EXPECT_EQ(at, exact);
}

// Both indices of pairs: the lanes of A2 are used in turn, each for one accepted row, until one accepts.
TEST(LawPower, PairsAreThoseOfTheScalesWhereNothingCollides) {
  const Pairs pairs{random_rows(3, first_keys(40), 1), random_rows(2, first_keys(30), 2), {3, 2, {1, 2, 0, -1, 3, 1}}};
  std::size_t draws = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const SketchConfig config{.dimension = 1, .buckets = 8192, .seed = seed};
    const KroneckerSketch sketch = testing_support::sketch_of(pairs, 40, 30, config, {.buckets = 2, .exact = true});
    const SampleResult result = draw_pairs(sketch, {.samples = 4});
    const std::vector<double> y = pairs.y();
    SparseVector norms{first_keys(40), std::vector<double>(40)};
    for (std::size_t t = 0; t < y.size(); ++t) norms.values[t / 30] += y[t] * y[t];
    for (double& norm : norms.values) norm = std::sqrt(norm);
    const std::vector<std::size_t> first = exact_winners(sketch.a1.config(), norms);
    const SketchConfig of_second = sketch.a2.config();
    const ScaleFunction scales(of_second.randomness, of_second.seed, of_second.independence, of_second.law, of_second.p,
                               of_second.lanes);
    std::uint32_t lane = 0;
    for (const Draw& draw : result.draws) {
      ASSERT_EQ(draw.index, first[draw.lane - 1]) << seed;
      const SparseVector row{first_keys(30),
                             {y.begin() + 30 * static_cast<std::ptrdiff_t>(draw.index),
                              y.begin() + 30 * static_cast<std::ptrdiff_t>(draw.index + 1)}};
      const std::vector<std::size_t> second = exact_winners(of_second, row);
      double scaled = 0;
      do {
        ASSERT_LT(++lane, of_second.lanes) << seed;
        const std::size_t column = second[lane - 1];
        scaled = std::abs(row.values[column]) * static_cast<double>(scales(column, lane));
      } while (scaled < norms.values[draw.index]);
      EXPECT_EQ(draw.column, second[lane - 1]) << seed;
      ++draws;
    }
  }
  EXPECT_GE(draws, 350U);
}

}  // namespace
}  // namespace weir
