// Distinct rows from one lane of a sketch. Each decision about a law is at significance 1e-5, fewer than 20 of them. Seeds are fixed.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "support/coverage.hpp"
#include "support/law.hpp"
#include "support/message_of.hpp"
#include "support/row_law.hpp"
#include "weir/error.hpp"
#include "weir/sample/row_sampler.hpp"

namespace weir {
namespace {

using testing_support::add_rows;
using testing_support::add_with_deletions;
using testing_support::first_keys;
using testing_support::gram_of;
using testing_support::message_of;
using testing_support::normalised;
using testing_support::norms_of;
using testing_support::random_keys;
using testing_support::random_rows;
using testing_support::SparseRows;

SampleResult draw(SketchConfig config, const SparseRows& rows, const Metric& metric, std::uint32_t samples) {
  config.lanes = 2;
  MatrixSketch sketch(config, rows.d);
  add_with_deletions(sketch, rows, config.dimension);
  return draw_rows_without_replacement(sketch, metric, {metric.total(gram_of(rows))}, {.samples = samples});
}

/// sum over rows of norm^q
double moment_of(const std::vector<double>& norms, double q) {
  double sum = 0;
  for (const double norm : norms) sum += std::pow(norm, q);
  return sum;
}

// The first draw is the largest scaled row, and so has the law of draws with replacement: ||a||^p over the sum. The tests compare
// it with the row that is the largest without noise, and so see small distortions.
TEST(RowsWithoutReplacement, TheFirstHasTheLawOfThePower) {
  const SparseRows rows = random_rows(4, first_keys(60), 1);
  const Metric metric = Metric::leverage(gram_of(rows));
  const testing_support::Positions position(rows);
  const testing_support::SparseVector norms{rows.keys, norms_of(rows, metric.matrix())};
  for (const double p : {2.0, 1.0, 0.5}) {
    SketchConfig config{.dimension = 128, .buckets = 256, .lanes = 2, .p = p};
    const auto matcher = [&](std::uint64_t seed) {
      config.seed = seed;
      return [winners = testing_support::exact_winners(config, norms)](const Draw& drawn,
                                                                       std::int64_t at) -> statistics::Match {
        return {static_cast<std::size_t>(at), winners[drawn.lane - 1]};
      };
    };
    const auto sampler = [&](std::uint64_t seed) {
      config.seed = seed;
      return draw(config, rows, metric, 1);
    };
    const testing_support::LawCounts drawn = testing_support::count_draws_by(
        sampler, [&](const Draw& of) { return position(of.index); }, rows.count(), 2, 5000, 1, matcher);
    EXPECT_EQ(drawn.draws(), 5000U);
    std::vector<double> law = norms.values;
    for (double& mass : law) mass = std::pow(mass, p);
    law = normalised(std::move(law));
    testing_support::expect_law(drawn, law);
    testing_support::expect_power(drawn, law);
  }
}

// The sum of 1 / inclusion estimates the number of rows, and that of norm^2 / inclusion the total, without bias; their spread over
// seeds is what a z-test is made of. A tenth of the rows is far larger than the others, so that inclusions differ.
TEST(RowsWithoutReplacement, HorvitzThompsonSumsHaveNoBias) {
  SparseRows rows = random_rows(6, random_keys(2000, 12), 2);
  for (std::size_t t = 0; t < rows.count(); t += 10)
    for (double& value : rows.row(t)) value *= 12;
  const Metric metric = Metric::leverage(gram_of(rows));
  const std::vector<double> norms = norms_of(rows, metric.matrix());
  for (const double p : {2.0, 1.0}) {
    std::vector<double> counts, totals;
    testing_support::Coverage values;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      const SampleResult result = draw({.dimension = 4096, .buckets = 1024, .p = p, .seed = seed}, rows, metric, 100);
      ASSERT_EQ(result.draws.size(), 100U);
      std::set<std::uint64_t> distinct;
      double count = 0, total = 0;
      for (const Draw& drawn : result.draws) {
        distinct.insert(drawn.index);
        count += 1 / *drawn.inclusion;
        total += drawn.value * drawn.value / *drawn.inclusion;
        const auto found = std::ranges::find(rows.keys, drawn.index);
        ASSERT_NE(found, rows.keys.end());
        values.add(drawn.value - norms[static_cast<std::size_t>(found - rows.keys.begin())], *drawn.value_bound);
      }
      EXPECT_EQ(distinct.size(), 100U);
      counts.push_back(count);
      totals.push_back(total);
    }
    const auto z = [](const std::vector<double>& sums, double truth) {
      double mean = 0, square = 0;
      const auto n = static_cast<double>(sums.size());
      for (const double sum : sums) mean += sum / n;
      for (const double sum : sums) square += (sum - mean) * (sum - mean) / (n - 1);
      return (mean - truth) / std::sqrt(square / n);
    };
    EXPECT_LT(std::abs(z(counts, 2000)), 4.4) << p;
    EXPECT_LT(std::abs(z(totals, moment_of(norms, 2))), 4.4) << p;
    values.expect_covered("values");
  }
}

// In a table of few buckets the noise of the cells adds some hundredths to the M-norm of what is recovered. Products of different
// table rows lack it: without them the second mean would be 0.014, of 800 draws whose mean has a standard error of about 0.004.
TEST(RowsWithoutReplacement, ValuesLackWhatNoiseAdds) {
  const SparseRows rows = random_rows(12, random_keys(2000, 12), 7);
  const Metric metric = Metric::leverage(gram_of(rows));
  const std::vector<double> norms = norms_of(rows, metric.matrix());
  double recovered = 0, corrected = 0, draws = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    for (const Draw& drawn : draw({.dimension = 4096, .buckets = 128, .seed = seed}, rows, metric, 20).draws) {
      const auto t = static_cast<std::size_t>(std::ranges::find(rows.keys, drawn.index) - rows.keys.begin());
      if (t == rows.count()) continue;
      recovered += std::sqrt(metric.of_row(drawn.row)) / norms[t] - 1;
      corrected += drawn.value / norms[t] - 1;
      ++draws;
    }
  }
  EXPECT_GT(draws, 780);
  EXPECT_GT(recovered / draws, 0.02);
  EXPECT_LT(std::abs(corrected / draws), 0.01);
}

TEST(RowsWithoutReplacement, AllRowsComeWhereThereAreNoMore) {
  const SparseRows rows = random_rows(5, random_keys(20, 30), 3);
  const Metric metric = Metric::leverage(gram_of(rows));
  for (const std::uint32_t levels : {2U, 3U}) {
    const SampleResult result =
        draw({.dimension = std::uint64_t{1} << 30U, .buckets = 1024, .levels = levels, .seed = 4}, rows, metric, 64);
    ASSERT_EQ(result.draws.size(), 20U);
    EXPECT_FALSE(result.next);
    double sum = 0;
    for (const Draw& drawn : result.draws) {
      EXPECT_EQ(*drawn.inclusion, 1);
      const auto t = static_cast<std::size_t>(std::ranges::find(rows.keys, drawn.index) - rows.keys.begin());
      ASSERT_LT(t, rows.count());
      for (std::size_t j = 0; j < rows.d; ++j) EXPECT_NEAR(drawn.row[j], rows.row(t)[j], 1e-6);
      sum += drawn.probability;
    }
    EXPECT_NEAR(sum, 1, 1e-6);
  }
}

// Rows that have left leave nothing: with whole deltas the table is the same to the bit, and so are the draws.
TEST(RowsWithoutReplacement, RowsThatHaveLeftAreNotThere) {
  const SparseRows rows = random_rows(3, first_keys(200), 5);
  const Metric metric = Metric::norm(3);
  const SketchConfig config{.dimension = 512, .buckets = 256, .lanes = 2, .seed = 6};
  MatrixSketch plain(config, 3);
  add_rows(plain, rows);
  const SampleResult without =
      draw_rows_without_replacement(plain, metric, {metric.total(gram_of(rows))}, {.samples = 30});
  const SampleResult with = draw(config, rows, metric, 30);
  ASSERT_EQ(with.draws.size(), without.draws.size());
  for (std::size_t k = 0; k < with.draws.size(); ++k) {
    EXPECT_EQ(with.draws[k].index, without.draws[k].index);
    EXPECT_EQ(with.draws[k].row, without.draws[k].row);
  }
}

TEST(RowsWithoutReplacement, ZeroAndRefusals) {
  const Metric metric = Metric::norm(2);
  const MatrixSketch zero({.dimension = 100, .buckets = 64, .lanes = 2}, 2);
  EXPECT_TRUE(draw_rows_without_replacement(zero, metric, {}, {.samples = 5}).zero_vector);
  EXPECT_EQ(
      message_of<UsageError>(
          [&] { std::ignore = draw_rows_without_replacement(zero, metric, {1.0}, {.samples = 64}); }),
      "64 rows without replacement from 64 buckets: expected fewer than there are buckets, as no more can stand out");
  EXPECT_THROW(std::ignore = draw_rows_without_replacement(zero, Metric::norm(3), {1.0}, {.samples = 5}), UsageError);
  const MatrixSketch one_lane({.dimension = 100, .buckets = 64, .lanes = 1}, 2);
  EXPECT_THROW(std::ignore = draw_rows_without_replacement(one_lane, metric, {1.0}, {.samples = 5}), UsageError);
}

}  // namespace
}  // namespace weir
