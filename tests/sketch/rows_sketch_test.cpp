#include "weir/sketch/rows_sketch.hpp"

#include <gtest/gtest.h>

#include <Eigen/Eigenvalues>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr std::uint64_t n = 60;
constexpr std::uint64_t d = 4;

SketchConfig small_config(std::uint64_t seed = 5) {
  SketchConfig config{.dimension = n, .buckets = 32, .lanes = 8, .levels = 2};
  config.seed = seed;
  return config;
}

double small_integer(std::uint64_t seed) { return static_cast<double>(finalise(seed) % 9) - 4; }

/// Rows first .. last - 1 of a matrix of small integers.
struct Rows {
  std::vector<std::uint64_t> indices;
  std::vector<double> values;

  Rows(std::uint64_t first, std::uint64_t last) : indices(last - first), values((last - first) * d) {
    std::iota(indices.begin(), indices.end(), first);
    for (std::size_t k = 0; k < values.size(); ++k) values[k] = small_integer(first * d + k);
  }

  void add_to(RowsSketch& sketch, double weight = 1.0) const {
    sketch.update_rows(indices, std::vector<double>(indices.size(), weight), values);
  }
  [[nodiscard]] std::vector<double> gram() const {
    std::vector<double> sum(d * d);
    for (std::size_t t = 0; t < indices.size(); ++t) {
      for (std::size_t j = 0; j < d; ++j) {
        for (std::size_t k = 0; k < d; ++k) sum[j * d + k] += values[t * d + j] * values[t * d + k];
      }
    }
    return sum;
  }
};

bool equal(const RowsSketch& a, const RowsSketch& b) {
  return std::ranges::equal(a.draws.table(), b.draws.table()) && std::ranges::equal(a.wide.table(), b.wide.table()) &&
         a.exact_gram == b.exact_gram;
}

TEST(RowsSketch, HoldsTheRowsInLanesAndInAWideSketchOfItsOwnHashFunctions) {
  RowsSketch sketch(small_config(), d, {.buckets = 64});
  const Rows rows(0, n);
  rows.add_to(sketch);
  const SketchConfig wide{.dimension = n,
                          .buckets = 64,
                          .lanes = 1,
                          .levels = 1,
                          .seed = subkey(small_config().seed, Purpose::operand, 0, 1)};
  EXPECT_EQ(sketch.wide.config(), wide);
  MatrixSketch in_lanes(small_config(), d);
  MatrixSketch in_one(wide, d);
  for (MatrixSketch* expected : {&in_lanes, &in_one}) {
    expected->update_rows(rows.indices, std::vector<double>(n, 1.0), rows.values);
  }
  EXPECT_TRUE(std::ranges::equal(sketch.draws.table(), in_lanes.table()));
  EXPECT_TRUE(std::ranges::equal(sketch.wide.table(), in_one.table()));
  EXPECT_TRUE(sketch.exact_gram.empty());
}

TEST(RowsSketch, TakesEntriesAsRows) {
  RowsSketch by_rows(small_config(), d, {.buckets = 64});
  RowsSketch by_entries = by_rows;
  const Rows rows(0, n);
  rows.add_to(by_rows);
  std::vector<std::uint64_t> indices;
  std::vector<std::uint64_t> columns;
  for (std::size_t k = 0; k < n * d; ++k) {
    indices.push_back(k / d);
    columns.push_back(k % d);
  }
  by_entries.update(indices, columns, rows.values);
  EXPECT_TRUE(equal(by_rows, by_entries));
}

TEST(RowsSketch, KeepsTheExactGramMatrixOfRowsThatComeAndGo) {
  RowsSketch sketch(small_config(), d, {.buckets = 64, .exact = true});
  Rows(0, 30).add_to(sketch);
  Rows(30, n).add_to(sketch);
  EXPECT_EQ(sketch.gram(), (DenseMatrix{d, d, Rows(0, n).gram()}));
  Rows(10, 20).add_to(sketch, -1.0);
  RowsSketch rest(small_config(), d, {.buckets = 64, .exact = true});
  Rows(0, 10).add_to(rest);
  Rows(20, n).add_to(rest);
  EXPECT_TRUE(equal(sketch, rest));
  Rows(0, 10).add_to(sketch, -1.0);
  Rows(20, n).add_to(sketch, -1.0);
  EXPECT_EQ(sketch.gram().values, std::vector<double>(d * d, 0.0));
  EXPECT_TRUE(sketch.is_zero());
}

TEST(RowsSketch, AnExactGramMatrixRefusesWhatItIsNotLinearIn) {
  RowsSketch sketch(small_config(), d, {.buckets = 64, .exact = true});
  Rows(0, n).add_to(sketch);
  const RowsSketch before = sketch;
  const std::vector<std::uint64_t> at{3};
  const std::vector<std::uint64_t> column{2};
  const std::vector<double> one{1.0};
  EXPECT_EQ(message_of<InputError>([&] { sketch.update(at, column, one); }),
            "a change of entry (3, 2): expected whole rows, as the Gram matrix is kept exactly");
  EXPECT_EQ(message_of<InputError>([&] { Rows(0, 1).add_to(sketch, 2.0); }),
            "row update 0 of the batch: weight is 2, expected 1 or -1, as the Gram matrix of rows that come and go is "
            "kept exactly");
  EXPECT_EQ(message_of<InputError>([&] { sketch.add(before, 0.5); }),
            "rows and their exact Gram matrix are added or subtracted, not multiplied by 0.5");
  EXPECT_EQ(message_of<InputError>([&] { sketch.scale(0.5); }),
            "rows and their exact Gram matrix cannot both be multiplied by 0.5");
  EXPECT_TRUE(equal(sketch, before));
  sketch.scale(1.0);
  EXPECT_TRUE(equal(sketch, before));
}

TEST(RowsSketch, RefusesBadUpdatesWithNothingChanged) {
  for (const bool exact : {false, true}) {
    RowsSketch sketch(small_config(), d, {.buckets = 64, .exact = exact});
    const std::vector<std::uint64_t> rows{1, n};
    const std::vector<double> weights{1, 1};
    const std::vector<double> values(2 * d, 1.0);
    EXPECT_EQ(message_of<InputError>([&] { sketch.update_rows(rows, weights, values); }),
              "row update 1 of the batch: row 60 is not below the dimension 60");
    EXPECT_TRUE(equal(sketch, RowsSketch(small_config(), d, {.buckets = 64, .exact = exact})));
  }
}

TEST(RowsSketch, RefusesBadShapes) {
  const auto make = [](std::uint64_t columns, std::uint64_t buckets) {
    return message_of<UsageError>([&] { RowsSketch(small_config(), columns, {.buckets = buckets}); });
  };
  EXPECT_EQ(make(0, 64), "rows of 0 columns: expected 1 to 32768, as their Gram matrix is kept");
  EXPECT_EQ(make(32769, 64), "rows of 32769 columns: expected 1 to 32768, as their Gram matrix is kept");
  EXPECT_EQ(make(4, 48), "buckets of the Gram sketch are 48: expected a power of two, 2 to 2^32");
  EXPECT_EQ(make(4, 1), "buckets of the Gram sketch are 1: expected a power of two, 2 to 2^32");
}

TEST(RowsSketch, IsLinear) {
  for (const bool exact : {false, true}) {
    const GramConfig gram{.buckets = 64, .exact = exact};
    RowsSketch whole(small_config(), d, gram);
    RowsSketch first = whole;
    RowsSketch second = whole;
    Rows(0, n).add_to(whole);
    Rows(0, 25).add_to(first);
    Rows(25, n).add_to(second);
    RowsSketch sum = first;
    sum.add(second);
    EXPECT_TRUE(equal(sum, whole));
    sum.add(second, -1.0);
    EXPECT_TRUE(equal(sum, first));
    sum.add(sum, -1.0);
    EXPECT_TRUE(sum.is_zero());
  }
  RowsSketch sketch(small_config(), d, {.buckets = 64});
  Rows(0, n).add_to(sketch);
  RowsSketch twice = sketch;
  twice.scale(2.0);
  sketch.add(sketch);
  EXPECT_TRUE(equal(sketch, twice));
}

TEST(RowsSketch, SaysWhatDiffers) {
  const auto made = [](std::uint64_t seed, std::uint64_t columns, const GramConfig& gram) {
    return RowsSketch(small_config(seed), columns, gram);
  };
  const RowsSketch sketch = made(5, d, {.buckets = 64});
  const std::vector<std::pair<RowsSketch, std::string>> others{
      {made(6, d, {.buckets = 64}), "seed: 5 against 6"},
      {made(5, d + 1, {.buckets = 64}), "columns: 4 against 5"},
      {made(5, d, {.buckets = 128}), "buckets of the Gram sketch: 64 against 128"},
      {made(5, d, {.buckets = 64, .exact = true}), "exact Gram matrix: false against true"}};
  for (const auto& [other, difference] : others) {
    EXPECT_EQ(describe_difference(sketch, other), difference);
    EXPECT_NE(sketch.fingerprint(), other.fingerprint());
    EXPECT_EQ(message_of<InputError>([&, &o = other] { RowsSketch(sketch).add(o); }),
              "the sketches do not combine: " + difference);
  }
  EXPECT_EQ(describe_difference(sketch, made(5, d, {.buckets = 64})), "");
  EXPECT_EQ(sketch.fingerprint(), made(5, d, {.buckets = 64}).fingerprint());
}

// Of rows of one column more than their rank: every estimate must keep the null space.
TEST(RowsSketch, EstimatesAGramMatrixThatIsPositiveAndOfTheRankOfA) {
  RowsSketch sketch(small_config(), d, {.buckets = 16});
  Rows rows(0, n);
  for (std::size_t t = 0; t < n; ++t) rows.values[t * d + 3] = rows.values[t * d] - 2 * rows.values[t * d + 1];
  rows.add_to(sketch);
  const DenseMatrix gram = sketch.gram();
  const Eigen::Map<const Eigen::MatrixXd> matrix(gram.values.data(), d, d);
  EXPECT_EQ(matrix, matrix.transpose());
  const Eigen::VectorXd eigenvalues = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(matrix).eigenvalues();
  EXPECT_GT(eigenvalues[1], 1e-3 * eigenvalues[3]);
  EXPECT_LT(std::abs(eigenvalues[0]), 1e-12 * eigenvalues[3]);
}

// E[u^T G v] = <Au, Av>, and its variance is (|Au|^2 |Av|^2 + <Au, Av>^2 - 2 sum_i (Au)_i^2 (Av)_i^2) / (R B): an
// AMS estimate in each of R B buckets.
TEST(RowsSketch, EstimatesTheGramMatrixWithoutBiasAndWithItsVariance) {
  const Rows rows(0, n);
  const std::vector<double> exact = rows.gram();
  constexpr int seeds = 2000;
  constexpr std::uint64_t buckets = 16;
  const std::size_t pairs[][2] = {{0, 0}, {1, 2}, {0, 3}};
  std::vector<std::vector<double>> estimates(3);
  for (int seed = 1; seed <= seeds; ++seed) {
    SketchConfig config = small_config(static_cast<std::uint64_t>(seed));
    config.buckets = 2;
    RowsSketch sketch(config, d, {.buckets = buckets});
    rows.add_to(sketch);
    const DenseMatrix gram = sketch.gram();
    for (std::size_t k = 0; k < 3; ++k) estimates[k].push_back(gram.values[pairs[k][0] * d + pairs[k][1]]);
  }
  for (std::size_t k = 0; k < 3; ++k) {
    const auto [i, j] = pairs[k];
    double fourth = 0;
    for (std::size_t t = 0; t < n; ++t) fourth += std::pow(rows.values[t * d + i] * rows.values[t * d + j], 2);
    const double variance =
        (exact[i * d + i] * exact[j * d + j] + exact[i * d + j] * exact[i * d + j] - 2 * fourth) / (5 * buckets);
    const statistics::Moments moments = statistics::moments(estimates[k]);
    const double z = (moments.mean - exact[i * d + j]) / std::sqrt(variance / seeds);
    EXPECT_GT(statistics::normal_p_value(z), 1e-4) << "entry " << i << ", " << j;
    // The standard error of a variance of 2000 values that are not far from normal is sqrt(2/2000) = 0.032 of it; 0.05
    // if their kurtosis were 6.
    EXPECT_NEAR(moments.variance / variance, 1.0, 0.2) << "entry " << i << ", " << j;
  }
}

}  // namespace
}  // namespace weir
