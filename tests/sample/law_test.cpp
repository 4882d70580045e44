// The law of the draws against the exact one.
//
// Each test below makes one decision at significance 1e-5, and there are fewer than 100 decisions in this file: if all
// laws are right, the probability that a new set of seeds fails any of them is below 1e-3. Seeds are fixed.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/law.hpp"
#include "support/statistics.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/sizing.hpp"

namespace weir {
namespace {

using testing_support::count_draws;
using testing_support::expect_law;
using testing_support::expect_power;
using testing_support::law_of;
using testing_support::LawCounts;
using testing_support::make_keys;
using testing_support::make_vector;
using testing_support::random_keys;
using testing_support::sketch_of;
using testing_support::SparseVector;
using testing_support::with_deletions;

constexpr double significance = testing_support::law_significance;

struct ShapeCase {
  std::string shape;
  double p;
};

std::string name_of_shape(const ::testing::TestParamInfo<ShapeCase>& tested) {
  return tested.param.shape + (tested.param.p == 2 ? "_p2" : tested.param.p == 1 ? "_p1" : "_p05");
}

std::vector<ShapeCase> shape_cases() {
  std::vector<ShapeCase> cases;
  for (const double p : {2.0, 1.0, 0.5}) {
    for (const char* shape : {"flat", "zipf", "heavy", "tied"}) cases.push_back({shape, p});
  }
  return cases;
}

class LawOfShapes : public ::testing::TestWithParam<ShapeCase> {};

TEST_P(LawOfShapes, WithDeletionsAndSigns) {
  const auto& [shape, p] = GetParam();
  const SparseVector y = make_vector(shape, make_keys(128, [](std::uint64_t t) { return t; }));
  const SketchConfig config{.dimension = 256, .buckets = 256, .p = p};
  const LawCounts drawn = count_draws(config, y, with_deletions(y, 256), 3000);
  expect_law(drawn, y, p);
  expect_power(drawn, law_of(y, p));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LawOfShapes, ::testing::ValuesIn(shape_cases()), name_of_shape);

struct KeyCase {
  std::string name;
  std::vector<std::uint64_t> keys;
  std::uint32_t dimension_bits;
  std::uint32_t levels;
  std::uint64_t trials;
};

std::string name_of_keys(const ::testing::TestParamInfo<KeyCase>& tested) { return tested.param.name; }

std::vector<KeyCase> key_cases() {
  const auto spaced = [](std::size_t count, std::uint64_t stride) {
    return make_keys(count, [stride](std::uint64_t t) { return t * stride; });
  };
  const auto powers = make_keys(40, [](std::uint64_t t) { return std::uint64_t{1} << t; });
  return {{"consecutive_2_levels", spaced(200, 1), 12, 2, 1000},
          {"consecutive_3_levels", spaced(200, 1), 12, 3, 1000},
          {"random_1_level", random_keys(200, 12), 12, 1, 1000},
          {"random_2_levels", random_keys(200, 16), 16, 2, 1000},
          {"random_3_levels", random_keys(200, 30), 30, 3, 500},
          {"stride_64", spaced(64, 64), 12, 2, 1000},
          {"stride_4096", spaced(200, 4096), 20, 3, 1000},
          {"powers_of_two", powers, 40, 3, 500},
          {"times_2_to_32", spaced(200, std::uint64_t{1} << 32U), 40, 3, 500}};
}

class LawOfKeys : public ::testing::TestWithParam<KeyCase> {};

TEST_P(LawOfKeys, StructuredOrRandom) {
  const KeyCase& keys = GetParam();
  const SparseVector y = make_vector("zipf", keys.keys);
  const SketchConfig config{
      .dimension = std::uint64_t{1} << keys.dimension_bits, .buckets = 256, .levels = keys.levels};
  const LawCounts drawn = count_draws(config, y, y, keys.trials);
  expect_law(drawn, y, 2);
  expect_power(drawn, law_of(y, 2));
}

INSTANTIATE_TEST_SUITE_P(Keys, LawOfKeys, ::testing::ValuesIn(key_cases()), name_of_keys);

struct MatrixCase {
  std::string name;
  std::uint64_t n1;
  std::uint64_t n2;
  SparseVector y;
  std::uint64_t trials;
  Randomness randomness = Randomness::mix;
};

std::string name_of_matrix(const ::testing::TestParamInfo<MatrixCase>& tested) { return tested.param.name; }

std::vector<MatrixCase> matrix_cases() {
  const auto filled = [](std::uint64_t n1, std::uint64_t n2) {
    return make_vector("zipf", make_keys(n1 * n2, [](std::uint64_t t) { return t; }));
  };
  const auto scattered = [](std::size_t count, std::uint32_t bits) {
    return make_vector("zipf", random_keys(count, bits));
  };
  // A row of many coordinates with nine tenths of the mass, the rest in rows of their own.
  SparseVector one_row = make_vector("flat", make_keys(400, [](std::uint64_t t) { return 500 * 700 + t; }));
  for (std::uint64_t row = 0; row < 40; ++row) {
    one_row.keys.push_back(row * 7 * 700 + row);
    one_row.values.push_back(row % 2 == 0 ? 11 : -11);
  }
  return {{"wide", 7, 60, filled(7, 60), 1000},
          {"tall", 60, 7, filled(60, 7), 1000},
          {"one_row", 1, 300, filled(1, 300), 1000},
          {"one_column", 300, 1, filled(300, 1), 1000},
          {"one_entry", 1, 1, {{0}, {-3}}, 100},
          {"scattered_wide", 77, 1001, scattered(200, 16), 1000},
          {"scattered_tall", 100003, 11, scattered(200, 20), 500},
          {"one_heavy_row", 1000, 700, one_row, 1000},
          {"kwise", 13, 50, filled(13, 50), 520, Randomness::kwise},
          {"nisan", 13, 50, filled(13, 50), 520, Randomness::nisan}};
}

class LawOfMatrices : public ::testing::TestWithParam<MatrixCase> {};

/// A group is a row of the matrix.
TEST_P(LawOfMatrices, WithRowsAsGroups) {
  const MatrixCase& matrix = GetParam();
  const SketchConfig config{.dimension = matrix.n1 * matrix.n2,
                            .buckets = 256,
                            .levels = 2,
                            .randomness = matrix.randomness,
                            .row_length = matrix.n2};
  const LawCounts drawn = count_draws(config, matrix.y, with_deletions(matrix.y, config.dimension), matrix.trials);
  expect_law(drawn, matrix.y, 2);
  expect_power(drawn, law_of(matrix.y, 2));
}

INSTANTIATE_TEST_SUITE_P(Matrices, LawOfMatrices, ::testing::ValuesIn(matrix_cases()), name_of_matrix);

/// The counterpart of the tests above: a table that is far too small does bend the law, and they see it.
TEST(Law, TestsSeeATableThatIsTooSmall) {
  const SparseVector y = make_vector("heavy", make_keys(128, [](std::uint64_t t) { return t; }));
  // (With 8 buckets the joint fit of all lanes gets by.)
  const LawCounts drawn = count_draws({.dimension = 128, .buckets = 2}, y, y, 4000);
  EXPECT_LT(statistics::chi_squared_fit(drawn.counts, testing_support::law_of(y, 2)).p_value, significance);
}

TEST(Law, OtherRandomness) {
  const SparseVector y = make_vector("zipf", make_keys(100, [](std::uint64_t t) { return t; }));
  for (const Randomness randomness : {Randomness::kwise, Randomness::nisan})
    for (const double p : {2.0, 1.0}) {
      const SketchConfig config{.dimension = 128, .buckets = 256, .p = p, .randomness = randomness};
      expect_law(count_draws(config, y, y, 400), y, p);
    }
}

TEST(Law, WithoutAThresholdIsTheSame) {
  const SparseVector y = make_vector("heavy", make_keys(64, [](std::uint64_t t) { return t; }));
  const LawCounts drawn = count_draws({.dimension = 64, .buckets = 1024}, y, y, 800, 0.0);
  EXPECT_EQ(drawn.draws(), drawn.lanes_tried);
  expect_law(drawn, y, 2);
}

struct LanesCase {
  std::string name;
  SketchConfig config;
  std::uint64_t trials;
  double threshold;
};

class PairsOfLanes : public ::testing::TestWithParam<LanesCase> {};

/// For p < 2 the lanes judge each other, so that what they draw is independent and whether they accept is not: there the
/// threshold is 0.
TEST_P(PairsOfLanes, AreIndependent) {
  const LanesCase& tested = GetParam();
  SparseVector y = make_vector("flat", make_keys(64, [](std::uint64_t t) { return t; }));
  y.values[0] = 80;  // p = 2: half of the mass
  y.values[1] = 57;  // p = 2: a quarter
  const LawCounts drawn = count_draws(tested.config, y, y, tested.trials, tested.threshold, 1000000);
  testing_support::expect_independent_lanes(drawn, tested.threshold > 0);
}

INSTANTIATE_TEST_SUITE_P(
    Lanes, PairsOfLanes,
    ::testing::Values(LanesCase{"mix", {.dimension = 64, .buckets = 256}, 10000, 1},
                      LanesCase{"mix_2_levels", {.dimension = 64, .buckets = 256, .levels = 2}, 4000, 1},
                      LanesCase{"mix_p1", {.dimension = 64, .buckets = 256, .p = 1}, 4000, 0},
                      LanesCase{"kwise", {.dimension = 64, .buckets = 256, .randomness = Randomness::kwise}, 4000, 1},
                      LanesCase{"kwise_2_levels_p1",
                                {.dimension = 64, .buckets = 256, .levels = 2, .p = 1, .randomness = Randomness::kwise},
                                4000,
                                0}),
    [](const ::testing::TestParamInfo<LanesCase>& tested) { return tested.param.name; });

/// The law of the first two of k draws without replacement is that of successive sampling.
TEST(Law, WithoutReplacementIsSuccessiveSampling) {
  const SparseVector y{{3, 50, 51, 700, 900, 901}, {1, -2, 3, 4, 2, -1}};
  struct Shape {
    double p;
    std::uint32_t levels = 1;
    std::uint64_t row_length = 0;
  };
  for (const auto& [p, levels, row_length] : {Shape{2}, Shape{1}, Shape{0.5}, Shape{2, 2, 40}}) {
    const std::vector<double> first = testing_support::law_of(y, p);
    std::vector<double> expected(36);
    for (std::size_t a = 0; a < 6; ++a) {
      for (std::size_t b = 0; b < 6; ++b) {
        if (a != b) expected[6 * a + b] = first[a] * first[b] / (1 - first[a]);
      }
    }
    std::vector<std::uint64_t> counts(36);
    for (std::uint64_t seed = 1; seed <= 6000; ++seed) {
      const VectorSketch sketch = sketch_of({.dimension = 1000,
                                             .buckets = 128,
                                             .lanes = 2,
                                             .levels = levels,
                                             .p = p,
                                             .seed = seed,
                                             .row_length = row_length},
                                            y);
      const SampleResult result = draw_without_replacement(sketch, {.samples = 2});
      ASSERT_EQ(result.draws.size(), 2U);
      const auto place = [&](std::size_t t) {
        const auto found = std::find(y.keys.begin(), y.keys.end(), result.draws[t].index);
        return static_cast<std::size_t>(found - y.keys.begin());
      };
      ASSERT_LT(place(0), 6U);
      ASSERT_LT(place(1), 6U);
      ++counts[6 * place(0) + place(1)];
    }
    EXPECT_GT(statistics::chi_squared_fit(counts, expected).p_value, significance)
        << p << ", row length " << row_length;
  }
}

/// Horvitz-Thompson sums of sketched draws: unbiased, and an index is drawn as often as its inclusion probabilities
/// say.
TEST(Law, HorvitzThompsonSumsAndInclusions) {
  const SparseVector y = make_vector("zipf", make_keys(300, [](std::uint64_t t) { return 7 * t; }));
  for (const double p : {2.0, 1.0}) {
    double moment = 0;
    for (const double value : y.values) moment += std::pow(std::abs(value), p);
    std::vector<double> errors;
    std::vector<double> count_errors;  // number of non-zero coordinates, as the sum of 1 / inclusion
    for (std::uint64_t seed = 1; seed <= 500; ++seed) {
      const VectorSketch sketch = sketch_of({.dimension = 2100, .buckets = 4096, .lanes = 2, .p = p, .seed = seed}, y);
      const SampleResult result = draw_without_replacement(sketch, {.samples = 30});
      errors.push_back(horvitz_thompson_moment(result.draws, p) / moment - 1);
      double count = 0;
      for (const Draw& draw : result.draws) count += 1 / draw.inclusion.value_or(0);
      count_errors.push_back(count / 300 - 1);
    }
    for (const auto& sample : {errors, count_errors}) {
      const statistics::Moments m = statistics::moments(sample);
      EXPECT_GT(statistics::normal_p_value(m.mean / m.standard_error), significance) << p;
    }
  }
}

/// Fewer draws than asked for come out no more often than promised, and about as often where the promise is tight.
TEST(Law, FailuresAreAsRareAsPromised) {
  const SparseVector y = make_vector("zipf", make_keys(64, [](std::uint64_t t) { return t; }));
  for (const auto& [failure, threshold, samples] : testing_support::tight_sizes) {
    const SamplingRequest request{.dimension = 64, .samples = samples, .failure = failure, .threshold = threshold};
    testing_support::expect_failures_as_promised(request, y, 3000, true);
  }
}

/// For p < 2 the lanes judge each other, and the number that accept varies less than a binomial one.
TEST(Law, FailuresOfOtherPowersAreAsRareAsPromised) {
  const SparseVector y = make_vector("zipf", make_keys(64, [](std::uint64_t t) { return t; }));
  for (const double p : {1.0, 0.5}) {
    for (const std::uint32_t samples : {8U, 21U}) {
      testing_support::expect_failures_as_promised({.dimension = 64, .samples = samples, .failure = 0.1, .p = p}, y,
                                                   1000, false);
    }
  }
}

/// Without a threshold every lane draws, also where noise is most likely to be the largest.
TEST(Law, WithoutAThresholdNothingFails) {
  constexpr std::uint64_t n = 1U << 13U;
  const SparseVector y = make_vector("flat", make_keys(n, [](std::uint64_t t) { return t; }));
  for (const double epsilon : {0.1, 0.5}) {
    for (const std::uint32_t samples : {7U, 15U}) {
      SketchConfig config = suggest_config({.dimension = n, .samples = samples, .epsilon = epsilon, .threshold = 0});
      ASSERT_EQ(config.lanes, samples + 1);
      for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        config.seed = seed;
        const SampleResult result = draw_with_replacement(sketch_of(config, y), {.samples = samples, .threshold = 0});
        ASSERT_EQ(result.draws.size(), samples) << "epsilon " << epsilon << ", seed " << seed;
        ASSERT_TRUE(result.failed.empty());
      }
    }
  }
}

}  // namespace
}  // namespace weir
