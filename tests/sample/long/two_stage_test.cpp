// Rows and pairs again, with the shapes that weir suggests, more draws and more seeds.
//
// Each decision is at significance 1e-5, fewer than 50 of them. Seeds are fixed.

#include "weir/sample/two_stage.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/law.hpp"
#include "support/row_law.hpp"
#include "support/statistics.hpp"
#include "weir/sample/sizing.hpp"

namespace weir {
namespace {

using testing_support::count_pairs;
using testing_support::count_rows;
using testing_support::expect_law;
using testing_support::first_keys;
using testing_support::gram_of;
using testing_support::law_of_rows;
using testing_support::LawCounts;
using testing_support::Pairs;
using testing_support::random_keys;
using testing_support::random_rows;
using testing_support::sketch_of;
using testing_support::SparseRows;
using testing_support::with_dominant_row;

const DenseMatrix three_by_four{3, 4, {1, -2, 0, 3, 2, 1, -1, 0, 0, 1, 1, -1}};

std::vector<Pairs> operands() {
  const SparseRows a1 = random_rows(3, first_keys(200), 1);
  const SparseRows a2 = random_rows(4, first_keys(150), 2);
  return {{a1, a2, three_by_four}, {with_dominant_row(a1), with_dominant_row(a2), three_by_four}};
}

/// sum (q - P)^2 / P over the cells, less what sampling explains, is below epsilon^2.
TEST(LongPairs, SuggestedShapesKeepTheDistortionBelowEpsilon) {
  for (const Pairs& pairs : operands()) {
    for (const double epsilon : {0.1, 0.03}) {
      const PairsConfig suggested =
          suggest_pairs_config({.dimension = 200, .samples = 8, .epsilon = epsilon}, 150, false);
      const LawCounts drawn = count_pairs(suggested.sketch, 200, 150, pairs, suggested.gram, 1500);
      EXPECT_EQ(drawn.strangers, 0U);
      const statistics::ChiSquared test = statistics::chi_squared_fit(drawn.counts, pairs.law());
      const auto draws = static_cast<double>(drawn.draws());
      EXPECT_LT((test.statistic - test.degrees) / draws, epsilon * epsilon + 5 * std::sqrt(2 * test.degrees) / draws)
          << epsilon;
    }
  }
}

/// Sizes for which the rounding of the lanes to a multiple of eight leaves much of the promise used: the failures of two
/// independent binomials, neither significantly more often than promised nor less than half as often as these.
TEST(LongPairs, FailAsOftenAsPromised) {
  const Pairs pairs{random_rows(3, first_keys(60), 3), random_rows(4, first_keys(50), 4), three_by_four};
  struct Size {
    double failure;
    double threshold;
    std::uint32_t samples;
  };
  for (const auto& [failure, threshold, samples] :
       {Size{0.2, 1, 21}, Size{0.2, 1, 35}, Size{0.2, 3, 1}, Size{0.02, 0.5, 4}, Size{0.02, 3, 1}}) {
    for (const bool exact : {false, true}) {
      PairsConfig suggested = suggest_pairs_config(
          {.dimension = 60, .samples = samples, .failure = failure, .threshold = threshold}, 50, exact);
      constexpr std::uint64_t trials = 2000;
      std::uint64_t failed = 0;
      for (std::uint64_t seed = 1; seed <= trials; ++seed) {
        suggested.sketch.seed = seed;
        const KroneckerSketch sketch = sketch_of(pairs, 60, 50, suggested.sketch, suggested.gram);
        failed += draw_pairs(sketch, {.samples = samples, .threshold = threshold}).draws.size() < samples;
      }
      const double accept = -std::expm1(-1 / threshold);
      const double both = std::pow(statistics::binomial_survival(suggested.sketch.lanes - 1, accept, samples), 2);
      EXPECT_GT(1 - both, 0.6 * failure) << "not a size where the promise is nearly used up";
      EXPECT_GT(statistics::binomial_survival(trials, failure, failed), testing_support::law_significance)
          << failed << " of " << trials << " for " << samples << " samples, failure " << failure;
      EXPECT_GT(1 - statistics::binomial_survival(trials, (1 - both) / 2, failed + 1),
                testing_support::law_significance)
          << failed << " of " << trials << " for " << samples << " samples, failure " << failure;
    }
  }
}

TEST(LongRows, LeverageScoresOfAManyFoldSketch) {
  const SparseRows rows = random_rows(8, first_keys(2000), 5);
  const Metric metric = Metric::leverage(gram_of(rows));
  expect_law(count_rows({.dimension = 2000, .buckets = 512}, rows, metric, 600), law_of_rows(rows, metric.matrix()));
}

/// n1 n2 = 2^126. Their law is that of smaller n; here all draws are of pairs that there are, with their values: errors
/// have a standard deviation of about sqrt(0.25 ln(n) / B) = 0.1.
TEST(LongPairs, OfTwoTo63RowsAndColumns) {
  constexpr std::uint64_t n = std::uint64_t{1} << 63U;
  const Pairs pairs{random_rows(3, random_keys(30, 63), 6), random_rows(4, random_keys(20, 63), 7), three_by_four};
  const std::vector<double> y = pairs.y();
  const testing_support::Positions first(pairs.a1);
  const testing_support::Positions second(pairs.a2);
  std::size_t draws = 0;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const SketchConfig config{.dimension = n, .buckets = 1024, .levels = 3, .seed = seed};
    const KroneckerSketch sketch = sketch_of(pairs, n, n, config, {.buckets = 256});
    for (const Draw& draw : draw_pairs(sketch, {.samples = 16}).draws) {
      const std::int64_t t1 = first(draw.index);
      const std::int64_t t2 = second(draw.column.value());
      ASSERT_GE(t1, 0);
      ASSERT_GE(t2, 0);
      const double truth = y[static_cast<std::size_t>(t1) * 20 + static_cast<std::size_t>(t2)];
      EXPECT_NEAR(draw.value, truth, 0.6 * std::abs(truth));
      ++draws;
    }
  }
  EXPECT_GT(draws, 15U);  // 33 on average
}

}  // namespace
}  // namespace weir
