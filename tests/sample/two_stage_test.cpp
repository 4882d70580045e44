// Draws of pairs. Each decision about a law is at significance 1e-5, fewer than 50 of them. Seeds are fixed.

#include "weir/sample/two_stage.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "support/coverage.hpp"
#include "support/law.hpp"
#include "support/message_of.hpp"
#include "support/row_law.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::count_pairs;
using testing_support::Coverage;
using testing_support::expect_law;
using testing_support::first_keys;
using testing_support::LawCounts;
using testing_support::message_of;
using testing_support::Pairs;
using testing_support::random_keys;
using testing_support::random_rows;
using testing_support::sketch_of;
using testing_support::SparseRows;
using testing_support::with_duplicates;

constexpr GramConfig exact{.buckets = 2, .exact = true};

DenseMatrix identity(std::uint64_t d) {
  DenseMatrix matrix{d, d, std::vector<double>(d * d)};
  for (std::size_t j = 0; j < d; ++j) matrix.values[j * d + j] = 1;
  return matrix;
}

struct PairsCase {
  std::string name;
  std::uint64_t n1;
  std::uint64_t n2;
  Pairs pairs;
  SketchConfig config;
  std::uint64_t trials = 600;
};

SparseRows with_row(SparseRows rows, std::size_t t, std::vector<double> row) {
  std::ranges::copy(row, rows.row(t).begin());
  return rows;
}

std::vector<PairsCase> pairs_cases() {
  const SketchConfig config{.dimension = 1, .buckets = 256};
  const SketchConfig three_levels{.dimension = 1, .buckets = 256, .levels = 3};
  const auto rows = [](std::uint64_t d, std::size_t count, std::uint64_t seed) {
    return random_rows(d, first_keys(count), seed);
  };
  const SparseRows three = rows(3, 20, 1);
  const SparseRows other = rows(3, 20, 2);
  const DenseMatrix oblong{2, 4, {1, -2, 0, 3, 2, 1, -1, 0}};
  const DenseMatrix rank_1{3, 3, {2, 0, -2, 1, 0, -1, 4, 0, -4}};
  const DenseMatrix rank_2{3, 3, {1, 0, 1, 2, 1, 1, 3, 1, 2}};
  constexpr std::uint64_t huge = std::uint64_t{1} << 40U;
  // The same structured indices in both factors.
  std::vector<std::uint64_t> powers, strides;
  for (std::uint64_t k = 0; k < 20; ++k) {
    powers.push_back(std::uint64_t{1} << k);
    strides.push_back(k << 32U);
  }
  return {{"square", 20, 20, {three, other, identity(3)}, config},
          {"oblong", 30, 12, {rows(2, 30, 3), rows(4, 12, 4), oblong}, config},
          {"rank_1", 20, 20, {three, other, rank_1}, config},
          {"rank_2", 20, 20, {three, other, rank_2}, config},
          {"duplicates", 20, 20, {with_duplicates(three), with_duplicates(other), identity(3)}, config},
          {"dominant_row", 20, 20, {with_row(three, 7, {60, -50, 40}), other, identity(3)}, config},
          {"dominant_column", 20, 20, {three, with_row(other, 7, {60, -50, 40}), identity(3)}, config},
          {"dominant_entry",
           20,
           20,
           {with_row(three, 7, {60, -50, 40}), with_row(other, 3, {60, -50, 40}), identity(3)},
           config},
          {"one_row", 1, 40, {rows(3, 1, 5), rows(3, 40, 6), identity(3)}, config, 200},
          {"one_column", 40, 1, {rows(3, 40, 7), rows(3, 1, 8), identity(3)}, config, 460},
          {"one_entry", 1, 1, {rows(2, 1, 9), rows(2, 1, 10), identity(2)}, config, 150},
          {"vectors", 25, 15, {rows(1, 25, 11), rows(1, 15, 12), {1, 1, {-3}}}, config},
          {"many_columns",
           12,
           12,
           {rows(24, 12, 13), rows(24, 12, 14), identity(24)},
           {.dimension = 1, .buckets = 64},
           460},
          {"two_levels",
           1U << 20U,
           1U << 14U,
           {random_rows(3, random_keys(25, 20), 15), random_rows(3, random_keys(20, 14), 16), identity(3)},
           {.dimension = 1, .buckets = 256, .levels = 2},
           500},
          {"three_levels",
           huge,
           huge,
           {random_rows(3, random_keys(20, 40), 17), random_rows(3, random_keys(20, 40), 18), identity(3)},
           three_levels,
           460},
          {"powers_of_two",
           1U << 20U,
           1U << 20U,
           {random_rows(3, powers, 19), random_rows(3, powers, 20), identity(3)},
           {.dimension = 1, .buckets = 256, .levels = 2},
           500},
          {"times_2_to_32",
           huge,
           huge,
           {random_rows(3, strides, 21), random_rows(3, strides, 22), identity(3)},
           three_levels,
           460},
          {"kwise",
           20,
           20,
           {three, other, identity(3)},
           {.dimension = 1, .buckets = 256, .randomness = Randomness::kwise},
           460}};
}

class LawOfPairs : public ::testing::TestWithParam<PairsCase> {};

TEST_P(LawOfPairs, WithExactGramMatrices) {
  const PairsCase& tested = GetParam();
  const LawCounts drawn = count_pairs(tested.config, tested.n1, tested.n2, tested.pairs, exact, tested.trials);
  expect_law(drawn, tested.pairs.law());
  testing_support::expect_power(drawn, tested.pairs.law());
}

INSTANTIATE_TEST_SUITE_P(Pairs, LawOfPairs, ::testing::ValuesIn(pairs_cases()),
                         [](const ::testing::TestParamInfo<PairsCase>& tested) { return tested.param.name; });

/// The counterpart of the tests above.
TEST(PairLaw, TestsSeeATableThatIsTooSmall) {
  const Pairs pairs{random_rows(3, first_keys(20), 1), random_rows(3, first_keys(20), 2), identity(3)};
  const LawCounts drawn = count_pairs({.dimension = 1, .rows = 3, .buckets = 2}, 20, 20, pairs, exact, 600);
  EXPECT_LT(statistics::chi_squared_fit(drawn.counts, pairs.law()).p_value, testing_support::law_significance);
}

TEST(PairLaw, WithSketchedGramMatricesOfManySeeds) {
  const Pairs pairs{random_rows(3, first_keys(20), 1), random_rows(3, first_keys(20), 2), identity(3)};
  expect_law(count_pairs({.dimension = 1, .buckets = 256}, 20, 20, pairs, {.buckets = 2048}, 1000), pairs.law());
}

// Without a threshold every lane of both stages draws, and no lane of A2 is needed by another row.
TEST(PairLaw, LanesAreIndependent) {
  SparseRows first = random_rows(2, first_keys(16), 3);
  std::ranges::fill(first.values, 10.0);
  first = with_row(with_row(first, 0, {60, 5}), 1, {-5, 50});
  SparseRows second = random_rows(2, first_keys(8), 4);
  second = with_row(second, 0, {40, 40});
  Pairs pairs{first, second, identity(2)};
  LawCounts drawn = count_pairs({.dimension = 1, .buckets = 256}, 16, 8, pairs, exact, 800, 0.0);
  EXPECT_EQ(drawn.draws(), drawn.lanes_tried);
  for (auto& trial : drawn.lane_draws) {
    for (std::int64_t& position : trial) position = position == 0 ? 0 : position == 8 ? 1 : 2;
  }
  testing_support::expect_independent_lanes(drawn, false);
}

// The error of the Gram sketches does not average out over draws. Given those sketches, the law of i1 is that of the
// metric which they make, and the law of i2 given i1 does not feel it.
TEST(PairLaw, FollowsTheEstimatedMetricInTheRowsAndTheExactLawInTheColumns) {
  constexpr std::uint64_t n = 12;
  const Pairs pairs{random_rows(3, first_keys(n), 5), random_rows(3, first_keys(n), 6), identity(3)};
  const SketchConfig config{.dimension = 1, .buckets = 256, .seed = 77};
  const KroneckerSketch fixed = sketch_of(pairs, n, n, config, {.buckets = 4});
  const auto sampler = [&](std::uint64_t seed) {
    SketchConfig own = config;
    own.seed = seed;
    KroneckerSketch sketch = sketch_of(pairs, n, n, own, {.buckets = 4});
    sketch.a1.wide = fixed.a1.wide;
    sketch.a2.wide = fixed.a2.wide;
    return draw_pairs(sketch, {.samples = 4});
  };
  const auto position = [&](const Draw& draw) { return static_cast<std::int64_t>(draw.index * n + *draw.column); };
  const LawCounts drawn = testing_support::count_draws_by(sampler, position, n * n, config.lanes, 2000);
  const std::vector<double> rows = testing_support::law_of_rows(pairs.a1, fixed.a2.gram());
  const std::vector<double> y = pairs.y();
  std::vector<double> law;
  for (std::size_t k = 0; k < y.size(); ++k) {
    double row = 0;
    for (std::size_t i2 = 0; i2 < n; ++i2) row += std::pow(y[k / n * n + i2], 2);
    law.push_back(rows[k / n] * y[k] * y[k] / row);
  }
  expect_law(drawn, law);
  EXPECT_LT(statistics::chi_squared_fit(drawn.counts, pairs.law()).p_value, testing_support::law_significance);
}

// E|relative error of a mass| is at most sqrt(2 / pi) sqrt(2 / (R B)) where it is normal, and half of that, weighted
// with the law itself, bounds the expected total variation. Rows of A2 are many, so that the errors are about normal.
TEST(PairLaw, OfRowsIsOffByTheErrorOfTheGramSketch) {
  const SparseRows a1 = random_rows(4, first_keys(200), 7);
  const SparseRows a2 = random_rows(4, first_keys(3000), 8);
  const std::vector<double> law = testing_support::law_of_rows(a1, testing_support::gram_of(a2));
  for (const std::uint64_t buckets : {16U, 256U}) {
    constexpr int seeds = 200;
    std::vector<double> distances;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      RowsSketch sketch({.dimension = 3000, .buckets = 2, .lanes = 1, .seed = seed}, 4, {.buckets = buckets});
      testing_support::add_rows(sketch, a2);
      const std::vector<double> estimated = testing_support::law_of_rows(a1, sketch.gram());
      double distance = 0;
      for (std::size_t t = 0; t < law.size(); ++t) distance += std::abs(estimated[t] - law[t]) / 2;
      distances.push_back(distance);
    }
    const statistics::Moments moments = statistics::moments(distances);
    const double bound = 0.4 * std::sqrt(2.0 / (5.0 * static_cast<double>(buckets)));
    EXPECT_LT(moments.mean, bound + 4 * moments.standard_error) << buckets;
    EXPECT_GT(moments.mean, bound / 4) << buckets;
  }
}

// The number of draws is the smaller of the numbers of lanes that accept in the two stages: independent binomials.
TEST(TwoStage, DrawsUntilTheLanesOfEitherStageAreUsedUp) {
  const Pairs pairs{random_rows(3, first_keys(20), 1), random_rows(3, first_keys(20), 2), identity(3)};
  constexpr std::uint64_t lanes = 7;
  constexpr std::uint64_t trials = 2000;
  const double accept = -std::expm1(-1.0);
  std::vector<std::uint64_t> counts(lanes + 1);
  std::uint64_t second_stage = 0;
  for (std::uint64_t seed = 1; seed <= trials; ++seed) {
    const SketchConfig config{.dimension = 1, .buckets = 512, .lanes = 8, .seed = seed};
    const SampleResult result = draw_pairs(sketch_of(pairs, 20, 20, config, exact), {.samples = 100});
    ++counts[result.draws.size()];
    EXPECT_EQ(result.draws.size() + result.failed.size(), lanes);
    std::vector<bool> seen(lanes + 1);
    for (const Draw& draw : result.draws) seen[draw.lane] = true;
    for (const FailedLane& failed : result.failed) {
      EXPECT_FALSE(seen[failed.lane]);
      second_stage += failed.reason == FailReason::second_stage;
    }
    EXPECT_TRUE(std::ranges::is_sorted(result.draws, {}, &Draw::lane));
    EXPECT_TRUE(std::ranges::is_sorted(result.failed, {}, &FailedLane::lane));
  }
  std::vector<double> law;
  for (std::uint64_t k = 0; k <= lanes; ++k) {
    law.push_back(std::pow(statistics::binomial_survival(lanes, accept, k), 2) -
                  std::pow(statistics::binomial_survival(lanes, accept, k + 1), 2));
  }
  EXPECT_GT(statistics::chi_squared_fit(counts, law).p_value, testing_support::law_significance);
  EXPECT_GT(second_stage, 0U);
}

TEST(TwoStage, StopsWhenItHasTheDrawsAskedFor) {
  const Pairs pairs{random_rows(3, first_keys(20), 1), random_rows(3, first_keys(20), 2), identity(3)};
  const KroneckerSketch sketch =
      sketch_of(pairs, 20, 20, {.dimension = 1, .buckets = 256, .lanes = 32, .seed = 4}, exact);
  const SampleResult few = draw_pairs(sketch, {.samples = 3});
  ASSERT_EQ(few.draws.size(), 3U);
  EXPECT_EQ(few.draws.size() + few.failed.size(), few.draws.back().lane);
  const SampleResult all = draw_pairs(sketch, {.samples = 100});
  for (std::size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(few.draws[k].index, all.draws[k].index);
    EXPECT_EQ(few.draws[k].column, all.draws[k].column);
  }
  EXPECT_TRUE(draw_pairs(sketch, {.samples = 0}).draws.empty());
}

// Relative squared errors of values add up over the stages; in each they are at most 0.287 (the median of 5) times 0.42
// (the mean of ||y||^2 / w^2 over accepted draws) times (ln n + 1) / B: the sum of the other masses times E1(x), of n
// equal ones at most ln(n) + 1, and less of others.
TEST(TwoStage, ValuesAndProbabilitiesAreThoseOfY) {
  constexpr std::uint64_t n = 400;
  constexpr std::uint64_t buckets = 256;
  const Pairs pairs{random_rows(4, first_keys(n), 9), random_rows(4, first_keys(n), 10), identity(4)};
  const std::vector<double> y = pairs.y();
  const double f2 = pairs.f2();
  double squares = 0;
  double errors = 0;
  double draws = 0;
  Coverage values, probabilities;
  for (std::uint64_t seed = 1; seed <= 120; ++seed) {
    const SketchConfig config{.dimension = 1, .buckets = buckets, .seed = seed};
    const SampleResult result = draw_pairs(sketch_of(pairs, n, n, config, exact), {.samples = 16});
    EXPECT_NEAR(result.norm, std::sqrt(f2), 1e-9 * result.norm);
    for (const Draw& draw : result.draws) {
      const double truth = y[draw.index * n + *draw.column];
      squares += std::pow(draw.value / truth - 1, 2);
      draws += 1;
      EXPECT_NEAR(draw.probability, draw.value * draw.value / f2, 0.1 * draw.probability);
      ASSERT_TRUE(draw.value_bound && draw.probability_bound);
      values.add(draw.value - truth, *draw.value_bound);
      probabilities.add(draw.probability - truth * truth / f2, *draw.probability_bound);
      errors += draw.value / truth - 1;
      EXPECT_TRUE(draw.row.empty());
    }
  }
  EXPECT_LT(squares / draws, 2 * 0.287 * 0.42 * (std::log(n) + 1) / buckets);
  values.expect("values");
  probabilities.expect("probabilities");
  EXPECT_NEAR(errors / draws, 0, 0.01);
}

TEST(TwoStage, PartitionsOfTheEventsGiveTheSameDraws) {
  const Pairs pairs{
      random_rows(3, first_keys(30), 11), random_rows(2, first_keys(50), 12), {3, 2, {1, 2, -1, 0, 3, 1}}};
  const SketchConfig config{.dimension = 1, .buckets = 128, .seed = 9};
  const GramConfig gram{.buckets = 256};
  const KroneckerShape shape{.n1 = 30, .n2 = 50, .d1 = 3, .d2 = 2};
  const KroneckerSketch whole = sketch_of(pairs, 30, 50, config, gram);
  std::vector<KroneckerSketch> parts(3, KroneckerSketch(shape, config, gram));
  const auto scatter = [&](const SparseRows& rows, RowsSketch KroneckerSketch::*factor) {
    for (std::size_t k = 0; k < rows.values.size(); ++k) {
      const std::uint64_t row = rows.keys[k / rows.d];
      const std::uint64_t column = k % rows.d;
      const double delta = rows.values[k];
      (parts[k % 3].*factor).update(std::span(&row, 1), std::span(&column, 1), std::span(&delta, 1));
    }
  };
  scatter(pairs.a1, &KroneckerSketch::a1);
  scatter(pairs.a2, &KroneckerSketch::a2);
  for (std::size_t k = 0; k < pairs.x.values.size(); ++k) {
    parts[k % 2].x[k] += pairs.x.values[k];
    parts[k % 2].x_events += 1;
  }
  parts[0].add(parts[1]);
  parts[0].add(parts[2]);
  const SampleResult expected = draw_pairs(whole, {.samples = 16});
  const SampleResult merged = draw_pairs(parts[0], {.samples = 16});
  EXPECT_EQ(merged.norm, expected.norm);
  ASSERT_GT(expected.draws.size(), 4U);
  ASSERT_EQ(merged.draws.size(), expected.draws.size());
  for (std::size_t k = 0; k < expected.draws.size(); ++k) {
    EXPECT_EQ(merged.draws[k].index, expected.draws[k].index);
    EXPECT_EQ(merged.draws[k].column, expected.draws[k].column);
    EXPECT_EQ(merged.draws[k].value, expected.draws[k].value);
  }
}

TEST(TwoStage, ARowThatIsCancelledIsNeverDrawn) {
  const Pairs pairs{with_row(random_rows(3, first_keys(20), 1), 7, {600, -500, 400}),
                    with_row(random_rows(3, first_keys(20), 2), 5, {600, -500, 400}), identity(3)};
  const std::vector<double> leaves{-1.0};
  const std::vector<std::uint64_t> seventh{7};
  const std::vector<std::uint64_t> fifth{5};
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    KroneckerSketch sketch = sketch_of(pairs, 20, 20, {.dimension = 1, .buckets = 256, .seed = seed}, exact);
    sketch.a1.update_rows(seventh, leaves, pairs.a1.row(7));
    sketch.a2.update_rows(fifth, leaves, pairs.a2.row(5));
    const SampleResult result = draw_pairs(sketch, {.samples = 16});
    EXPECT_GT(result.draws.size(), 1U);
    for (const Draw& draw : result.draws) {
      EXPECT_NE(draw.index, 7U);
      EXPECT_NE(draw.column, 5U);
    }
  }
}

TEST(TwoStage, NothingIsDrawnFromAProductThatIsZero) {
  const Pairs pairs{random_rows(2, first_keys(10), 1), random_rows(2, first_keys(10), 2), identity(2)};
  const SketchConfig config{.dimension = 1, .buckets = 64, .seed = 5};
  const auto expect_zero = [](const KroneckerSketch& sketch, const std::string& which) {
    const SampleResult result = draw_pairs(sketch, {});
    EXPECT_TRUE(result.zero_vector) << which;
    EXPECT_TRUE(result.draws.empty()) << which;
    EXPECT_TRUE(result.failed.empty()) << which;
    EXPECT_EQ(result.norm, 0) << which;
  };
  for (const GramConfig& gram : {exact, GramConfig{.buckets = 64}}) {
    const KroneckerShape shape{.n1 = 10, .n2 = 10, .d1 = 2, .d2 = 2};
    KroneckerSketch sketch(shape, config, gram);
    expect_zero(sketch, "nothing");
    testing_support::add_rows(sketch.a1, pairs.a1);
    expect_zero(sketch, "A2");
    testing_support::add_rows(sketch.a2, pairs.a2);
    EXPECT_FALSE(draw_pairs(sketch, {}).zero_vector);
    testing_support::set_core(sketch, {2, 2, {0, 0, 0, 0}});
    expect_zero(sketch, "X");
    KroneckerSketch other(shape, config, gram);
    testing_support::add_rows(other.a2, pairs.a2);
    expect_zero(other, "A1");
    // Rows of A1 in the null space of X^T: y is zero, and no operand is.
    SparseRows orthogonal = pairs.a1;
    for (std::size_t t = 0; t < orthogonal.count(); ++t) orthogonal.row(t)[1] = -3 * orthogonal.row(t)[0];
    testing_support::add_rows(other.a1, orthogonal);
    testing_support::set_core(other, {2, 2, {3, 6, 1, 2}});
    expect_zero(other, "A1 X");
  }
}

TEST(TwoStage, RefusesWhatItCannotDraw) {
  const SketchConfig config{.dimension = 1, .buckets = 64, .seed = 5};
  const KroneckerSketch oblong({.n1 = 10, .n2 = 10, .d1 = 2, .d2 = 3}, config, exact);
  EXPECT_EQ(message_of<InputError>([&] { (void)draw_pairs(oblong, {}); }),
            "no entry of X: expected some, as X is 2 x 3 and cannot be the identity");
  const KroneckerSketch square({.n1 = 10, .n2 = 10, .d1 = 2, .d2 = 2}, config, exact);
  EXPECT_EQ(message_of<UsageError>([&] { (void)draw_pairs(square, {.threshold = -1}); }),
            "threshold is -1: expected a finite number, 0 or more");
  // The metric overflows, or with smaller numbers its product with G1: that y is zero would be a lie.
  for (const double value : {1e200, 1e80}) {
    KroneckerSketch large = square;
    const std::vector<double> values{value, value};
    const std::vector<std::uint64_t> row{3};
    large.a1.update_rows(row, std::vector<double>{1.0}, values);
    large.a2.update_rows(row, std::vector<double>{1.0}, values);
    EXPECT_THROW((void)draw_pairs(large, {}), InputError) << value;
  }
}

TEST(TwoStage, AZeroOperandIsKnownAtOnce) {
  // X has events, and A1 and A2, of 2^63 rows, have none. The eigenvalues of the metric, 4096 x 4096, would take minutes.
  constexpr std::uint64_t most = std::uint64_t{1} << 63U;
  const SketchConfig config{.dimension = most, .rows = 1, .buckets = 2, .lanes = 2, .seed = 5};
  KroneckerSketch sketch({.n1 = most, .n2 = most, .d1 = 4096, .d2 = 1}, config, {.buckets = 2});
  for (std::size_t j = 0; j < sketch.x.size(); ++j) sketch.x[j] = static_cast<double>(j % 7);
  sketch.x_events = 10;
  EXPECT_TRUE(draw_pairs(sketch, {}).zero_vector);
  // What is not a number times zero is not zero.
  sketch.x[3] = std::numeric_limits<double>::infinity();
  EXPECT_THROW(std::ignore = draw_pairs(sketch, {}), InputError);
}

}  // namespace
}  // namespace weir
