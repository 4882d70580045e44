// Draws of rows. Each decision about a law is at significance 1e-5, fewer than 50 of them. Seeds are fixed.

#include "weir/sample/row_sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "sample/row_fit.hpp"
#include "sample/row_recovery.hpp"
#include "support/coverage.hpp"
#include "support/law.hpp"
#include "support/message_of.hpp"
#include "support/row_law.hpp"
#include "weir/error.hpp"
#include "weir/sketch/rows_sketch.hpp"

namespace weir {
namespace {

using testing_support::add_rows;
using testing_support::count_rows;
using testing_support::Coverage;
using testing_support::expect_law;
using testing_support::first_keys;
using testing_support::gram_of;
using testing_support::law_of_rows;
using testing_support::LawCounts;
using testing_support::message_of;
using testing_support::random_keys;
using testing_support::random_rows;
using testing_support::SparseRows;
using testing_support::with_dominant_row;
using testing_support::with_duplicates;

/// The last column is a combination of the others; nearly so when `off` is not 0.
SparseRows with_dependent_column(SparseRows rows, double off = 0) {
  for (std::size_t t = 0; t < rows.count(); ++t) {
    rows.row(t).back() = 2 * rows.row(t)[0] - rows.row(t)[1] + off * (t % 2 == 0 ? 1 : -1);
  }
  return rows;
}

struct RowsCase {
  std::string name;
  SparseRows rows;
  Metric metric;
  SketchConfig config;
  std::uint64_t trials = 600;
};

std::vector<RowsCase> rows_cases() {
  const SparseRows plain = random_rows(4, first_keys(100), 1);
  const SketchConfig config{.dimension = 128, .buckets = 256};
  const SketchConfig two_levels{.dimension = 1U << 16U, .buckets = 256, .levels = 2};
  const SketchConfig three_levels{.dimension = std::uint64_t{1} << 40U, .buckets = 256, .levels = 3};
  const DenseMatrix m{4, 4, {9, 2, 0, -1, 2, 3, 1, 0, 0, 1, 4, 1, -1, 0, 1, 2}};
  const SparseRows dependent = with_dependent_column(plain);
  const SparseRows nearly = with_dependent_column(plain, 0x1p-10);
  return {{"norm", plain, Metric::norm(4), config},
          {"one_column", random_rows(1, first_keys(100), 2), Metric::norm(1), config},
          {"many_columns", random_rows(40, first_keys(60), 3), Metric::norm(40), config, 460},
          {"dominant", with_dominant_row(plain), Metric::norm(4), config},
          {"duplicates", with_duplicates(plain), Metric::norm(4), config},
          {"leverage", plain, Metric::leverage(gram_of(plain)), config},
          {"leverage_of_dependent_columns", dependent, Metric::leverage(gram_of(dependent)), config},
          {"leverage_of_nearly_dependent_columns", nearly, Metric::leverage(gram_of(nearly)), config},
          {"any_matrix", plain, Metric::of(m, "M"), config},
          {"rank_1", plain, Metric::of({4, 4, {1, 2, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, "M"), config},
          {"two_levels", random_rows(4, random_keys(200, 16), 4), Metric::norm(4), two_levels},
          {"consecutive_two_levels", random_rows(4, first_keys(200), 5), Metric::norm(4), two_levels},
          {"three_levels", random_rows(4, random_keys(50, 40), 6), Metric::norm(4), three_levels, 460},
          {"one_row", random_rows(4, {0}, 7), Metric::norm(4), {.dimension = 1, .buckets = 16}, 150},
          {"kwise", plain, Metric::norm(4), {.dimension = 128, .buckets = 256, .randomness = Randomness::kwise}, 460}};
}

class LawOfRows : public ::testing::TestWithParam<RowsCase> {};

TEST_P(LawOfRows, WithDeletionsAndSigns) {
  const RowsCase& tested = GetParam();
  const LawCounts drawn = count_rows(tested.config, tested.rows, tested.metric, tested.trials);
  const std::vector<double> law = law_of_rows(tested.rows, tested.metric.matrix());
  expect_law(drawn, law);
  testing_support::expect_power(drawn, law);
}

INSTANTIATE_TEST_SUITE_P(Rows, LawOfRows, ::testing::ValuesIn(rows_cases()),
                         [](const ::testing::TestParamInfo<RowsCase>& tested) { return tested.param.name; });

/// The counterpart of the tests above: a table that is far too small does bend the law, and they see it.
TEST(RowLaw, TestsSeeATableThatIsTooSmall) {
  const SparseRows rows = with_dominant_row(random_rows(1, first_keys(100), 1));
  const LawCounts drawn = count_rows({.dimension = 128, .rows = 3, .buckets = 2}, rows, Metric::norm(1), 600);
  const std::vector<double> law = law_of_rows(rows, Metric::norm(1).matrix());
  EXPECT_LT(statistics::chi_squared_fit(drawn.counts, law).p_value, testing_support::law_significance);
}

TEST(RowLaw, WithoutAThresholdIsTheSame) {
  const SparseRows rows = random_rows(3, first_keys(64), 8);
  const LawCounts drawn = count_rows({.dimension = 64, .buckets = 1024}, rows, Metric::norm(3), 300, 0.0);
  EXPECT_EQ(drawn.draws(), drawn.lanes_tried);
  expect_law(drawn, law_of_rows(rows, Metric::norm(3).matrix()));
}

TEST(RowLaw, LanesAreIndependent) {
  SparseRows rows = random_rows(2, first_keys(64), 9);
  std::ranges::fill(rows.values, 10.0);
  std::ranges::copy(std::vector<double>{80, 5}, rows.row(0).begin());   // about a third of the mass
  std::ranges::copy(std::vector<double>{-9, 70}, rows.row(1).begin());  // about a quarter
  testing_support::expect_independent_lanes(count_rows({.dimension = 64, .buckets = 256}, rows, Metric::norm(2), 2500),
                                            true);
}

// A lane accepts with probability 1 - exp(-1/T), whatever the rows are.
TEST(RowSampler, LanesAcceptAsOftenAsTheExponentialLawSays) {
  const SparseRows rows = random_rows(4, first_keys(100), 10);
  for (const double threshold : {0.5, 1.0, 3.0}) {
    const LawCounts drawn = count_rows({.dimension = 128, .buckets = 1024}, rows, Metric::norm(4), 100, threshold);
    const double accept = -std::expm1(-1 / threshold);
    const auto trials = static_cast<double>(drawn.lanes_tried);
    const double z = (static_cast<double>(drawn.draws()) - accept * trials) / std::sqrt(trials * accept * (1 - accept));
    EXPECT_GT(statistics::normal_p_value(z), 1e-4) << threshold;
  }
}

// In the inverse of an estimate of few cells (N = 5 * 16, r = 40: 2.05 times too large on average) lanes accept with
// probability 1 - 1/e, and probabilities have no bias: what they are too large by for rows that have few rows between them
// and the estimate is within the tolerance. Without the correction lanes would accept with 1 - exp(-2.05) = 0.87.
TEST(RowSampler, LeverageFromAnEstimateOfFewCells) {
  const SparseRows rows = random_rows(40, first_keys(400), 17);
  const std::vector<double> law = law_of_rows(rows, Metric::leverage(gram_of(rows)).matrix());
  std::uint64_t drawn = 0;
  std::uint64_t tried = 0;
  std::vector<double> ratios;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    RowsSketch sketch({.dimension = 400, .buckets = 1024, .lanes = 16, .seed = seed}, 40, {.buckets = 16});
    sketch.update_rows(rows.keys, std::vector<double>(rows.count(), 1.0), rows.values);
    const Metric metric = Metric::leverage_of_estimate(sketch.gram(), 80, 5);
    const SampleResult result = draw_rows(sketch.draws, metric, {static_cast<double>(metric.rank())}, {.samples = 16});
    drawn += result.draws.size();
    tried += 15;
    double sum = 0;
    // Over the law of the draws the mean of 1 / ratio is the sum of the true probabilities over the sum of those printed.
    for (const Draw& draw : result.draws) sum += law[draw.index] / draw.probability;
    if (!result.draws.empty()) ratios.push_back(sum / static_cast<double>(result.draws.size()));
  }
  const double accept = -std::expm1(-1.0);
  const auto trials = static_cast<double>(tried);
  EXPECT_NEAR(static_cast<double>(drawn) / trials, accept, 5 * std::sqrt(accept * (1 - accept) / trials));
  EXPECT_NEAR(statistics::moments(ratios).mean, 1, 0.1);
}

MatrixSketch sketch_of(const SketchConfig& config, const SparseRows& rows) {
  MatrixSketch sketch(config, rows.d);
  add_rows(sketch, rows);
  return sketch;
}

/// E1(x), x > 0.
double exponential_integral(double x) { return -std::expint(-x); }

// A cell of the row that a lane draws holds besides it, given that its scaled squared norm is t times the total, noise of
// the mean square v = sum over the others of m_j E[1/E; m_j / E < t total] / B = sum m_j E1(m_j / (t total)) / B. The
// median of 5 normal values has 0.287 of the variance of one, and the mean 0.2; the fit of all lanes is better than the median.
TEST(RowSampler, RecoversRowsUpToTheNoiseOfTheirCells) {
  for (const std::uint64_t d : {1U, 6U}) {
    const SparseRows rows = random_rows(d, first_keys(2048), 11);
    const DenseMatrix gram = gram_of(rows);
    for (const Metric& metric : {Metric::norm(d), Metric::leverage(gram)}) {
      const double total = metric.total(gram);
      std::vector<double> masses;
      for (std::size_t t = 0; t < rows.count(); ++t) masses.push_back(metric.of_row(rows.row(t)));
      double errors = 0;
      double noise = 0;
      for (std::uint64_t seed = 1; seed <= 25; ++seed) {
        const SketchConfig config{.dimension = 2048, .buckets = 256, .seed = seed};
        const MatrixSketch sketch = sketch_of(config, rows);
        for (const Draw& draw : draw_rows(sketch, metric, {total}, {.samples = 16}).draws) {
          const auto drawn = static_cast<std::size_t>(draw.index);
          const double scale = sketch.scale_of(draw.index, draw.lane);
          const double largest = scale * scale * masses[drawn];
          std::vector<double> error(draw.row);
          for (std::size_t j = 0; j < d; ++j) error[j] -= rows.row(drawn)[j];
          errors += metric.of_row(error) * scale * scale / largest;
          double others = 0;
          for (std::size_t t = 0; t < masses.size(); ++t) {
            if (t != drawn && masses[t] > 0) others += masses[t] * exponential_integral(masses[t] / largest);
          }
          noise += others / 256 / largest;
        }
      }
      EXPECT_LT(errors, 0.2 * noise) << d << " columns";
      EXPECT_GT(errors, 0.03 * noise) << d << " columns";  // it does have noise
    }
  }
}

/// Of values and probabilities of draws, with Gram matrices that are exact and estimated. An estimate of 5 x 64 cells is off by
/// sqrt(2 / 320) = 8%, and so are all scores of a sketch together: most of the error of leverage scores is theirs.
TEST(RowSampler, BoundsOfDrawsHold) {
  constexpr std::uint64_t n = 600;
  for (const std::uint64_t d : {1U, 6U}) {
    const SparseRows plain = random_rows(d, first_keys(n), 21);
    for (const auto& [name, rows] : {std::pair{"alike", plain}, {"one heavy", with_dominant_row(plain)}}) {
      for (const bool exact : {true, false}) {
        for (const bool leverage : {false, true}) {
          const Metric truth = leverage ? Metric::leverage(gram_of(rows)) : Metric::norm(d);
          const double true_total = truth.total(gram_of(rows));
          Coverage values, probabilities;
          double value_errors = 0, draws = 0;
          for (std::uint64_t seed = 1; seed <= 145; ++seed) {
            RowsSketch sketch({.dimension = n, .buckets = 128, .lanes = 16, .seed = seed}, d,
                              {.buckets = 64, .exact = exact});
            sketch.update_rows(rows.keys, std::vector<double>(rows.count(), 1.0), rows.values);
            const DenseMatrix gram = sketch.gram();
            const Metric metric = !leverage ? Metric::norm(d)
                                  : exact   ? Metric::leverage(gram)
                                            : Metric::leverage_of_estimate(gram, 320, 5);
            const Estimate total = exact      ? Estimate{metric.total(gram), 0}
                                   : leverage ? Estimate{static_cast<double>(metric.rank()), 0}
                                              : metric.total_of_estimate(gram, 320);
            EXPECT_EQ(total.bound == 0, exact || leverage);
            std::uint64_t last = n;
            for (const Draw& draw : draw_rows(sketch.draws, metric, total, {.samples = 16}).draws) {
              ASSERT_TRUE(draw.value_bound && draw.probability_bound);
              const double mass = truth.of_row(rows.row(static_cast<std::size_t>(draw.index)));
              value_errors += draw.value / std::sqrt(mass) - 1;
              ++draws;
              if (draw.index == last) continue;  // the same numbers once more
              last = draw.index;
              values.add(draw.value - std::sqrt(mass), *draw.value_bound);
              probabilities.add(draw.probability - mass / true_total, *draw.probability_bound);
            }
          }
          const std::string what = std::string(name) + ", d = " + std::to_string(d) +
                                   (exact ? ", exact" : ", estimated") + (leverage ? " leverage" : " norm");
          values.expect_covered("values, " + what);
          probabilities.expect_covered("probabilities, " + what);
          // A heavy row is bound by what all rows share, which is rather a part of what the bound of the total allows.
          if (std::string(name) == "alike") values.expect_tight("values, " + what);
          if (std::string(name) == "alike") probabilities.expect_tight("probabilities, " + what);
          // Without a correction the noise in the row alone would add half of its square.
          EXPECT_NEAR(value_errors / draws, 0, 0.01) << what;
        }
      }
    }
  }
}

/// As of entries: a row that a lane draws is seen in that lane, which must be among those that are fitted.
TEST(RowSampler, DrawsOfManyLanesAreAsGoodAsThoseOfFew) {
  const SparseRows rows = random_rows(4, first_keys(4096), 22);
  const Metric metric = Metric::norm(4);
  const double total = metric.total(gram_of(rows));
  const MatrixSketch sketch = sketch_of({.dimension = 4096, .buckets = 128, .lanes = 136, .seed = 3}, rows);
  const SampleResult result = draw_rows(sketch, metric, {total}, {.samples = 136});
  EXPECT_GT(result.draws.size(), 63U);  // 1 - 1/e of 135, less 4 standard deviations
  for (const Draw& draw : result.draws) {
    const double truth = std::sqrt(metric.of_row(rows.row(static_cast<std::size_t>(draw.index))));
    EXPECT_NEAR(draw.value, truth, 0.4 * truth) << "lane " << draw.lane;
  }
}

TEST(RowSampler, RowsThatAreAloneInTheirCellsAreExact) {
  SparseRows rows = random_rows(3, {7, 1000, 4000000}, 23);
  const MatrixSketch sketch = sketch_of({.dimension = 1U << 22U, .buckets = 1024, .levels = 2, .seed = 4}, rows);
  const double total = Metric::norm(3).total(gram_of(rows));
  const SampleResult result = draw_rows(sketch, Metric::norm(3), {total}, {.samples = 16});
  ASSERT_FALSE(result.draws.empty());
  for (const Draw& draw : result.draws) {
    const auto t = static_cast<std::size_t>(std::ranges::find(rows.keys, draw.index) - rows.keys.begin());
    EXPECT_EQ(draw.row, std::vector<double>(rows.row(t).begin(), rows.row(t).end()));
    EXPECT_LT(*draw.value_bound, 1e-9 * draw.value);
    EXPECT_NEAR(draw.value, std::sqrt(Metric::norm(3).of_row(draw.row)), *draw.value_bound);
    EXPECT_LT(*draw.probability_bound, 1e-9);
  }
}

TEST(RowFit, ProductOfAGroupOfLanesHasTheBitsOfTheProduct) {
  const SparseRows rows = random_rows(3, first_keys(100), 24);
  const std::vector<double> x{2, 0, -3};
  for (const std::uint32_t lanes : {16U, 72U}) {
    const MatrixSketch sketch = sketch_of({.dimension = 100, .buckets = 32, .lanes = lanes, .seed = 5}, rows);
    const VectorSketch whole = sketch.product(x);
    const VectorSketch group = product_of_group(sketch, x, lanes - 1);
    for (std::size_t k = 0; k < whole.items().size(); ++k) {
      const std::size_t lane = k % lanes;
      EXPECT_EQ(group.items()[k], lane == 0 || lane + 63 >= lanes ? whole.items()[k] : 0.0);
    }
  }
}

TEST(RowSampler, EntriesRowsAndPartitionsGiveTheSameDraws) {
  const SparseRows rows = random_rows(4, random_keys(300, 16), 12);
  SketchConfig config{.dimension = 1U << 16U, .buckets = 128, .levels = 2};
  config.seed = 21;
  const MatrixSketch whole = sketch_of(config, rows);
  MatrixSketch by_entries(config, 4);
  MatrixSketch even(config, 4);
  MatrixSketch odd(config, 4);
  for (std::size_t k = rows.values.size(); k-- > 0;) {
    const std::uint64_t row = rows.keys[k / 4];
    const std::uint64_t column = k % 4;
    by_entries.update(std::span(&row, 1), std::span(&column, 1), std::span(&rows.values[k], 1));
    (k % 3 == 0 ? odd : even).update(std::span(&row, 1), std::span(&column, 1), std::span(&rows.values[k], 1));
  }
  even.add(odd);
  const Metric metric = Metric::leverage(gram_of(rows));
  const SampleResult expected = draw_rows(whole, metric, {4}, {.samples = 16});
  EXPECT_GT(expected.draws.size(), 4U);
  for (const MatrixSketch* sketch : {&by_entries, &even}) {
    const SampleResult result = draw_rows(*sketch, metric, {4}, {.samples = 16});
    ASSERT_EQ(result.draws.size(), expected.draws.size());
    for (std::size_t k = 0; k < expected.draws.size(); ++k) {
      EXPECT_EQ(result.draws[k].lane, expected.draws[k].lane);
      EXPECT_EQ(result.draws[k].index, expected.draws[k].index);
      EXPECT_EQ(result.draws[k].value, expected.draws[k].value);
      EXPECT_EQ(result.draws[k].row, expected.draws[k].row);
    }
  }
}

TEST(RowSampler, EveryLaneThatWasTriedIsAccountedFor) {
  const SparseRows rows = random_rows(4, first_keys(100), 13);
  const Metric metric = Metric::norm(4);
  const double total = metric.total(gram_of(rows));
  const MatrixSketch sketch = sketch_of({.dimension = 100, .buckets = 256, .lanes = 24, .seed = 2}, rows);
  const SampleResult all = draw_rows(sketch, metric, {total}, {.samples = 100});
  EXPECT_EQ(all.draws.size() + all.failed.size(), 23U);
  EXPECT_DOUBLE_EQ(all.norm, std::sqrt(total));
  ASSERT_GT(all.draws.size(), 4U);
  ASSERT_FALSE(all.failed.empty());
  for (const FailedLane& failed : all.failed) EXPECT_EQ(failed.reason, FailReason::below_threshold);
  const SampleResult few = draw_rows(sketch, metric, {total}, {.samples = 3});
  ASSERT_EQ(few.draws.size(), 3U);
  for (const FailedLane& failed : few.failed) EXPECT_LT(failed.lane, few.draws.back().lane);
  EXPECT_EQ(few.draws.size() + few.failed.size(), few.draws.back().lane);
  EXPECT_TRUE(draw_rows(sketch, metric, {total}, {.samples = 0}).draws.empty());
}

TEST(RowSampler, NothingIsDrawnWhereAllMassesAreZero) {
  const SparseRows rows = random_rows(3, first_keys(50), 14);
  const SketchConfig config{.dimension = 50, .buckets = 64, .seed = 3};
  MatrixSketch sketch = sketch_of(config, rows);
  const Metric nothing = Metric::of({3, 3, std::vector<double>(9)}, "M");
  for (const SampleResult& result :
       {draw_rows(sketch, nothing, {nothing.total(gram_of(rows))}, {}),
        draw_rows(MatrixSketch(config, 3), Metric::norm(3), {0}, {}), draw_rows(sketch, Metric::norm(3), {0}, {}),
        draw_rows(MatrixSketch(config, 3), Metric::norm(3), {1}, {})}) {
    EXPECT_TRUE(result.zero_vector);
    EXPECT_EQ(result.norm, 0);
    EXPECT_TRUE(result.draws.empty());
    EXPECT_TRUE(result.failed.empty());
  }
  sketch.update_rows(rows.keys, std::vector<double>(rows.count(), -1.0), rows.values);
  EXPECT_TRUE(draw_rows(sketch, Metric::norm(3), {1}, {}).zero_vector);
}

// Rows in the null space of M: what is left of tr(M G) is rounding, and no mass.
TEST(RowSampler, RowsThatTheMetricDoesNotSeeHaveNoMass) {
  SparseRows rows = random_rows(3, first_keys(50), 15);
  for (std::size_t t = 0; t < rows.count(); ++t) rows.row(t)[2] = rows.row(t)[0] / 3 + rows.row(t)[1] / 7;
  const double u[] = {1.0 / 3, 1.0 / 7, -1};
  DenseMatrix m{3, 3, {}};
  for (const double a : u) {
    for (const double b : u) m.values.push_back(a * b);
  }
  const Metric metric = Metric::of(m, "M");
  EXPECT_EQ(metric.total(gram_of(rows)), 0);
}

// Squares that a double just holds overflow in most lanes: these fail, and nothing infinite comes out.
TEST(RowSampler, LanesThatOverflowFail) {
  SparseRows rows = random_rows(3, first_keys(20), 16);
  for (double& entry : rows.values) entry *= 0x1p505;
  const Metric metric = Metric::norm(3);
  const double total = metric.total(gram_of(rows));
  ASSERT_TRUE(std::isfinite(total));
  const MatrixSketch sketch = sketch_of({.dimension = 20, .buckets = 64, .lanes = 512, .seed = 3}, rows);
  std::size_t failed = 0;
  for (const double threshold : {0.0, 1.0}) {
    const SampleResult result = draw_rows(sketch, metric, {total}, {.samples = 512, .threshold = threshold});
    EXPECT_EQ(result.draws.size() + result.failed.size(), 511U);
    for (const Draw& draw : result.draws) EXPECT_TRUE(std::isfinite(draw.value));
    failed += result.failed.size();
  }
  EXPECT_GT(failed, 0U);
}

TEST(RowSampler, RefusesWhatItCannotDraw) {
  const SketchConfig config{.dimension = 50, .buckets = 64, .seed = 3};
  const auto refusal = [](const SketchConfig& shape, const Metric& metric, const DrawOptions& options) {
    return message_of<UsageError>([&] { (void)draw_rows(MatrixSketch(shape, 3), metric, {1}, options); });
  };
  SketchConfig other = config;
  other.lanes = 1;
  EXPECT_EQ(refusal(other, Metric::norm(3), {}), "the sketch has 1 lane: draws need at least 2");
  other = config;
  other.p = 1;
  EXPECT_EQ(refusal(other, Metric::norm(3), {}), "rows are drawn with replacement by p = 2: the sketch has p = 1");
  other = config;
  other.law = ScaleLaw::uniform;
  EXPECT_EQ(refusal(other, Metric::norm(3), {}), "rows are drawn with the law 'exponential': the sketch has 'uniform'");
  EXPECT_EQ(refusal(config, Metric::norm(4), {}), "the metric is 4 x 4: expected 3 x 3, as rows have 3 columns");
  EXPECT_EQ(refusal(config, Metric::norm(3), {.threshold = -1}),
            "threshold is -1: expected a finite number, 0 or more");
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (const double total : {-1.0, infinity, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW((void)draw_rows(MatrixSketch(config, 3), Metric::norm(3), {total}, {}), InputError);
  }
}

using Points = std::vector<double>;

TEST(GeometricMedian, IsAPointWhereOneIsTheMedian) {
  EXPECT_EQ(geometric_median(Points{3, -1, 7, 100, 2}, 1), (Points{1, 0, 0, 0, 0}));
  EXPECT_EQ(geometric_median(Points{1, 2, 5, 5, 1, 2, -9, 0, 1, 2}, 2), (Points{1, 0, 0, 0, 0}));
  EXPECT_EQ(geometric_median(Points{0, 0, 4, 1, -4, 1}, 2), (Points{1, 0, 0}));  // an angle of more than 120 degrees
  EXPECT_EQ(geometric_median(Points{4, 4, 4}, 3), (Points{1}));
}

double sum_of_distances(const Points& points, const std::array<double, 3>& to) {
  double sum = 0;
  for (std::size_t k = 0; k < points.size(); k += 3) {
    sum += std::hypot(points[k] - to[0], points[k + 1] - to[1], points[k + 2] - to[2]);
  }
  return sum;
}

// The sum of the distances is convex: where it is larger all around a place, its minimum is within.
TEST(GeometricMedian, MinimisesTheSumOfTheDistances) {
  for (const double weight : geometric_median(Points{0, 0, 1, 0, 0.5, std::sqrt(3.0) / 2}, 2)) {
    EXPECT_NEAR(weight, 1.0 / 3, 1e-8);  // Fermat's point of a triangle with equal sides
  }
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Points points;
    for (std::size_t k = 0; k < 15; ++k) {
      points.push_back(static_cast<double>(finalise(seed * 100 + k) >> 11U) * 0x1p-53);
    }
    if (seed % 3 == 0) points[0] *= 1e6;  // an outlier
    const std::vector<double> weights = geometric_median(points, 3);
    EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1, 1e-12);
    std::array<double, 3> median{};
    for (std::size_t k = 0; k < points.size(); ++k) median[k % 3] += weights[k / 3] * points[k];
    const double least = sum_of_distances(points, median);
    constexpr double step = 1e-3;
    for (int direction = 0; direction < 27; ++direction) {
      if (direction == 13) continue;
      const std::array<double, 3> beside{median[0] + step * (direction % 3 - 1),
                                         median[1] + step * (direction / 3 % 3 - 1),
                                         median[2] + step * (direction / 9 - 1)};
      EXPECT_GT(sum_of_distances(points, beside), least) << seed;
    }
  }
}

}  // namespace
}  // namespace weir
