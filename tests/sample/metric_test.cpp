#include "weir/sample/metric.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "sketch/gram.hpp"
#include "support/message_of.hpp"
#include "support/row_law.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"
#include "weir/sketch/rows_sketch.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::message_of;

DenseMatrix random_matrix(std::uint64_t rows, std::uint64_t columns, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  DenseMatrix matrix{rows, columns, std::vector<double>(rows * columns)};
  for (double& value : matrix.values) value = normal(random);
  return matrix;
}

DenseMatrix times(const DenseMatrix& a, const DenseMatrix& b) {
  DenseMatrix product{a.rows, b.columns, std::vector<double>(a.rows * b.columns)};
  for (std::uint64_t i = 0; i < a.rows; ++i)
    for (std::uint64_t k = 0; k < a.columns; ++k)
      for (std::uint64_t j = 0; j < b.columns; ++j)
        product.values[i * b.columns + j] += a.values[i * a.columns + k] * b.values[k * b.columns + j];
  return product;
}

DenseMatrix transposed(const DenseMatrix& a) {
  DenseMatrix result{a.columns, a.rows, std::vector<double>(a.values.size())};
  for (std::uint64_t i = 0; i < a.rows; ++i)
    for (std::uint64_t j = 0; j < a.columns; ++j) result.values[j * a.rows + i] = a.values[i * a.columns + j];
  return result;
}

void expect_near(const DenseMatrix& a, const DenseMatrix& b, double tolerance) {
  ASSERT_EQ(a.rows, b.rows);
  ASSERT_EQ(a.columns, b.columns);
  for (std::size_t k = 0; k < a.values.size(); ++k) EXPECT_NEAR(a.values[k], b.values[k], tolerance) << k;
}

/// a^T M a by its definition.
double quadratic_form(const DenseMatrix& m, std::span<const double> a) {
  double sum = 0;
  for (std::uint64_t i = 0; i < m.rows; ++i)
    for (std::uint64_t j = 0; j < m.columns; ++j) sum += a[i] * m.values[i * m.columns + j] * a[j];
  return sum;
}

std::span<const double> row(const DenseMatrix& a, std::uint64_t i) {
  return std::span(a.values).subspan(i * a.columns, a.columns);
}

TEST(Metric, NormIsTheSquaredLength) {
  const Metric metric = Metric::norm(3);
  EXPECT_EQ(metric.dimension(), 3u);
  EXPECT_EQ(metric.of_row(std::vector<double>{3, -4, 12}), 169);
  EXPECT_EQ(metric.total({3, 3, {1, 9, 9, 9, 2, 9, 9, 9, 4}}), 7);
  EXPECT_EQ(metric.factor(), metric.matrix());
}

TEST(Metric, IsWhatWasGiven) {
  const DenseMatrix root = random_matrix(5, 5, 1);
  const DenseMatrix m = times(root, transposed(root));
  const Metric metric = Metric::of(m, "M");
  expect_near(metric.matrix(), m, 1e-12);
  EXPECT_EQ(metric.factor().columns, 5u);
  expect_near(times(metric.factor(), transposed(metric.factor())), m, 1e-12);
  const DenseMatrix a = random_matrix(20, 5, 2);
  double total = 0;
  for (std::uint64_t i = 0; i < a.rows; ++i) {
    EXPECT_NEAR(metric.of_row(row(a, i)), quadratic_form(m, row(a, i)), 1e-11);
    total += quadratic_form(m, row(a, i));
  }
  EXPECT_NEAR(metric.total(times(transposed(a), a)), total, 1e-11 * total);
}

TEST(Metric, HasTheRankOfItsMatrix) {
  const DenseMatrix root = random_matrix(6, 2, 3);
  const Metric metric = Metric::of(times(root, transposed(root)), "M");
  EXPECT_EQ(metric.factor().rows, 6u);
  EXPECT_EQ(metric.factor().columns, 2u);
  expect_near(times(metric.factor(), transposed(metric.factor())), times(root, transposed(root)), 1e-13);
}

TEST(Metric, MayBeZero) {
  const Metric metric = Metric::of({2, 2, {0, 0, 0, 0}}, "M");
  EXPECT_EQ(metric.factor(), (DenseMatrix{2, 1, {0, 0}}));
  EXPECT_EQ(metric.of_row(std::vector<double>{5, 7}), 0);
  EXPECT_EQ(metric.total({2, 2, {1, 0, 0, 1}}), 0);
  EXPECT_EQ(Metric::leverage({2, 2, {0, 0, 0, 0}}).of_row(std::vector<double>{5, 7}), 0);
}

TEST(Metric, TakesAnyScaleOfNumbers) {
  for (const double unit : {1e-300, 1e300}) {
    const Metric metric = Metric::of({2, 2, {2 * unit, unit, unit, 2 * unit}}, "M");
    EXPECT_EQ(metric.factor().columns, 2u);
    EXPECT_NEAR(metric.of_row(std::vector<double>{1, 1}) / unit, 6, 1e-14 * 6);
  }
}

TEST(Metric, KeepsDirectionsOfSmallUnits) {
  // D C D for a C that is easily inverted and units D from 2^-300 to 2^300: (D^-1 a)^T D C D (D^-1 a) = a^T C a.
  const DenseMatrix c{4, 4, {2, 1, 0, -1, 1, 3, 1, 0, 0, 1, 2, 1, -1, 0, 1, 3}};
  const double units[] = {0x1p300, 1, 0x1p-90, 0x1p-300};
  DenseMatrix m = c;
  for (std::size_t k = 0; k < m.values.size(); ++k) m.values[k] *= units[k / 4] * units[k % 4];
  const Metric metric = Metric::of(m, "M");
  EXPECT_EQ(metric.factor().columns, 4u);
  const DenseMatrix rows = random_matrix(20, 4, 12);
  for (std::uint64_t i = 0; i < rows.rows; ++i) {
    std::vector<double> a(row(rows, i).begin(), row(rows, i).end());
    const double expected = quadratic_form(c, a);
    for (std::size_t j = 0; j < 4; ++j) a[j] /= units[j];
    EXPECT_NEAR(metric.of_row(a), expected, 1e-13 * expected);
  }
  for (std::size_t j = 0; j < 4; ++j) {
    std::vector<double> a(4);
    a[j] = 1 / units[j];
    EXPECT_NEAR(metric.of_row(a), c.values[5 * j], 1e-13 * c.values[5 * j]);
  }
  // Of diagonal matrices every entry counts, next to zeros that are none.
  EXPECT_EQ(Metric::of({3, 3, {1e20, 0, 0, 0, 0, 0, 0, 0, 1e-20}}, "M").factor().columns, 2u);
}

TEST(Metric, HasItsRankInAnyUnits) {
  // v v^T, whose entries are rounded.
  const std::vector<double> v{3e9, 0.7, -1.1e-13, 1e-30};
  DenseMatrix m{4, 4, std::vector<double>(16)};
  for (std::size_t k = 0; k < 16; ++k) m.values[k] = v[k / 4] * v[k % 4];
  const Metric metric = Metric::of(m, "M");
  EXPECT_EQ(metric.factor().columns, 1u);
  for (std::size_t j = 0; j < 4; ++j) {
    std::vector<double> a(4);
    a[j] = 1;
    EXPECT_NEAR(metric.of_row(a) / (v[j] * v[j]), 1, 1e-13);
  }
}

TEST(Metric, ForgivesRoundingOfItsLargestEntries) {
  // In units of their own the small rows would have a correlation of 1000, or a negative square.
  for (const DenseMatrix& m : {DenseMatrix{2, 2, {1, 1e-17, 1e-17, 1e-40}}, DenseMatrix{2, 2, {1, 0, 0, -1e-17}},
                               DenseMatrix{2, 2, {1, 1e-17, 1e-17, 0}}}) {
    const Metric metric = Metric::of(m, "M");
    EXPECT_EQ(metric.factor().columns, 1u);
    EXPECT_NEAR(metric.of_row(std::vector<double>{1, 0}), 1, 1e-15);
    EXPECT_LT(metric.of_row(std::vector<double>{0, 1}), 1e-30);
  }
}

TEST(Metric, SymmetrisesRounding) {
  const Metric metric = Metric::of({2, 2, {4, 1 + 1e-10, 1 - 1e-10, 4}}, "M");
  EXPECT_NEAR(metric.matrix().values[1], 1, 1e-14);
  EXPECT_NEAR(metric.matrix().values[2], 1, 1e-14);
  // A Gram matrix less a bit of rounding.
  EXPECT_EQ(Metric::of({2, 2, {1, 1, 1, 1 - 1e-10}}, "M").factor().columns, 1u);
}

TEST(Metric, RefusesWhatIsNoMetric) {
  const auto message = [](const DenseMatrix& matrix) {
    return message_of<InputError>([&] { std::ignore = Metric::of(matrix, "m.npy"); });
  };
  EXPECT_EQ(message({2, 3, {1, 2, 3, 4, 5, 6}}), "m.npy is 2 x 3, expected a square matrix");
  EXPECT_EQ(message({0, 0, {}}), "m.npy is 0 x 0, expected a square matrix");
  EXPECT_EQ(message({2, 2, {1, 0, std::nan(""), 1}}), "m.npy: entry (1, 0) is nan, expected a finite number");
  EXPECT_EQ(message({2, 2, {1, 0.5, 0.25, 1}}),
            "m.npy: entry (1, 0) is 0.25 and entry (0, 1) is 0.5, expected a symmetric matrix");
  EXPECT_EQ(message({2, 2, {1, 2, 2, 1}}), "m.npy has the eigenvalue -1, expected a positive semi-definite matrix");
  EXPECT_EQ(message({1, 1, {-2}}), "m.npy has the eigenvalue -2, expected a positive semi-definite matrix");
}

TEST(Metric, LeverageScoresSumToTheRank) {
  // Full rank 4; rank 2, where columns repeat; and columns of very different size.
  DenseMatrix full = random_matrix(30, 4, 4);
  DenseMatrix deficient = full, uneven = full;
  for (std::uint64_t i = 0; i < 30; ++i) {
    deficient.values[4 * i + 2] = deficient.values[4 * i];
    deficient.values[4 * i + 3] = deficient.values[4 * i] - 2 * deficient.values[4 * i + 1];
    uneven.values[4 * i + 1] *= 1e-3;
  }
  const auto expect_scores = [](const DenseMatrix& a, double rank) {
    const DenseMatrix gram = times(transposed(a), a);
    const Metric metric = Metric::leverage(gram);
    EXPECT_EQ(metric.factor().columns, static_cast<std::uint64_t>(rank));
    EXPECT_NEAR(metric.total(gram), rank, 1e-9);
    // They are the diagonal of the projector A G^+ A^T, which is its own square.
    const DenseMatrix projector = times(times(a, metric.matrix()), transposed(a));
    expect_near(times(projector, projector), projector, 1e-9);
    expect_near(times(projector, a), a, 1e-9);
    for (std::uint64_t i = 0; i < a.rows; ++i)
      EXPECT_NEAR(metric.of_row(row(a, i)), projector.values[i * a.rows + i], 1e-9);
  };
  expect_scores(full, 4);
  expect_scores(deficient, 2);
  expect_scores(uneven, 4);
}

TEST(Metric, Rank) {
  EXPECT_EQ(Metric::norm(3).rank(), 3U);
  EXPECT_EQ(Metric::leverage({2, 2, {9, 12, 12, 16}}).rank(), 1U);
  EXPECT_EQ(Metric::leverage({2, 2, {0, 0, 0, 0}}).rank(), 0U);
}

// The estimate of G from 32 buckets of 5 rows is close to a Wishart matrix of N = 160 where many rows of the matrix meet in
// each bucket, and G^-1 comes out N / (N - r - 1) times too large: 1.68 for r = 64, 1.25 for r = 31. For the identity (r
// rows, one or two a bucket) that holds to second order in r / N. The mean over the seeds of the sum of the scores, over r,
// has a standard error below 0.005 (observed), and each mean is within 0.02 of 1 or, for the identity of 64, within 0.06.
TEST(Metric, LeverageOfAnEstimateHasNoBias) {
  struct Case {
    std::string name;
    testing_support::SparseRows rows;
    double rank;
    double tolerance;
  };
  const auto identity = [](std::uint64_t d) {
    testing_support::SparseRows rows{d, testing_support::first_keys(d), std::vector<double>(d * d)};
    for (std::uint64_t i = 0; i < d; ++i) rows.row(i)[i] = i % 2 == 0 ? 1 : 30;
    return rows;
  };
  const auto repeated = [](testing_support::SparseRows rows, double off) {
    const std::uint64_t half = rows.d / 2;
    for (std::size_t t = 0; t < rows.count(); ++t) {
      for (std::uint64_t j = half; j < 2 * half; ++j) rows.row(t)[j] = rows.row(t)[j - half] + off * rows.row(t)[j];
    }
    return rows;
  };
  const testing_support::SparseRows plain = testing_support::random_rows(64, testing_support::first_keys(600), 3);
  const std::vector<Case> cases{{"random", plain, 64, 0.02},
                                {"nearly rank 32", repeated(plain, 0x1p-8), 64, 0.02},
                                {"rank 32", repeated(plain, 0), 32, 0.02},
                                {"identity of 16", identity(16), 16, 0.02},
                                {"identity of 64", identity(64), 64, 0.06}};
  for (const Case& tested : cases) {
    const std::uint64_t d = tested.rows.d;
    std::vector<double> sums;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      MatrixSketch wide(RowsSketch::wide_config({.dimension = 1024, .seed = seed}, 32), d);
      testing_support::add_rows(wide, tested.rows);
      const Metric metric = Metric::leverage_of_estimate(gram_of(wide), 160, 5);
      EXPECT_EQ(static_cast<double>(metric.rank()), tested.rank) << tested.name;
      double sum = 0;
      for (std::size_t t = 0; t < tested.rows.count(); ++t) sum += metric.of_row(tested.rows.row(t));
      sums.push_back(sum / tested.rank);
    }
    const statistics::Moments mean = statistics::moments(sums);
    EXPECT_LT(mean.standard_error, 0.01) << tested.name;
    EXPECT_NEAR(mean.mean, 1, tested.tolerance) << tested.name;
  }
}

TEST(Metric, LeverageOfAnEstimateNeedsMoreCellsThanTheRank) {
  const DenseMatrix gram{2, 2, {9, 12, 12, 160}};
  expect_error<UsageError>([&] { std::ignore = Metric::leverage_of_estimate(gram, 3, 1); },
                           {"rank 2", "more than 3 cells: it has 3"});
  const double exact = Metric::leverage(gram).of_row(std::vector<double>{3, 4});
  EXPECT_DOUBLE_EQ(Metric::leverage_of_estimate(gram, 4, 1).of_row(std::vector<double>{3, 4}), exact / 4);
}

TEST(Metric, LeverageScoresDoNotDependOnTheUnitsOfColumns) {
  const DenseMatrix a = random_matrix(30, 4, 9);
  const Metric plain = Metric::leverage(times(transposed(a), a));
  DenseMatrix scaled = a;
  const double units[] = {0x1p30, 1, 0x1p-8, 0x1p-5};
  for (std::size_t k = 0; k < scaled.values.size(); ++k) scaled.values[k] *= units[k % 4];
  const Metric metric = Metric::leverage(times(transposed(scaled), scaled));
  for (std::uint64_t i = 0; i < a.rows; ++i) EXPECT_EQ(metric.of_row(row(scaled, i)), plain.of_row(row(a, i)));

  // A line through points at times in seconds: 1/n + (t - mean)^2 / sum of such squares.
  constexpr std::uint64_t n = 31;
  DenseMatrix line{n, 2, {}};
  for (std::uint64_t t = 0; t < n; ++t)
    line.values.insert(line.values.end(), {1, 1.7e9 + 86400.0 * static_cast<double>(t)});
  const DenseMatrix gram = times(transposed(line), line);
  const Metric of_line = Metric::leverage(gram);
  EXPECT_NEAR(of_line.total(gram), 2, 1e-6);
  for (std::uint64_t t = 0; t < n; ++t) {
    const double from_mean = static_cast<double>(t) - 15;
    EXPECT_NEAR(of_line.of_row(row(line, t)), 1.0 / n + from_mean * from_mean / 2480, 1e-6) << t;
  }
}

TEST(Metric, LeverageDoesNotTakeWhatIsLeftOfAColumnForOne) {
  const Metric metric = Metric::leverage({2, 2, {4, 1e-16, 1e-16, 1e-31}});
  EXPECT_EQ(metric.factor().columns, 1u);
  EXPECT_EQ(metric.of_row(std::vector<double>{2, 3e-16}), 1);
}

TEST(Metric, ATotalThatOverflowsIsNotZero) {
  EXPECT_TRUE(std::isinf(Metric::norm(2).total({2, 2, {1e308, 0, 0, 1e308}})));
  const Metric metric = Metric::of({2, 2, {1e200, -9e199, -9e199, 1e200}}, "M");
  EXPECT_TRUE(std::isinf(metric.total({2, 2, {1e200, 1e200, 1e200, 1e200}})));
}

TEST(Metric, LeverageRefusesWhatCannotBeInverted) {
  const auto message = [](const DenseMatrix& gram) {
    return message_of<InputError>([&] { std::ignore = Metric::leverage(gram); });
  };
  EXPECT_EQ(message({1, 1, {std::numeric_limits<double>::infinity()}}),
            "the Gram matrix of the rows: entry (0, 0) is inf, expected a finite number");
  EXPECT_EQ(message({1, 1, {1e-310}}),
            "the Gram matrix of the rows is so small that its inverse overflows a double; scale the rows up");
}

TEST(MetricThrough, WeighsRowsAsRowsOfY) {
  // d1 below, equal to and above d2: a^T X G X^T a = ||A2 X^T a||^2.
  for (const std::uint64_t d1 : {2u, 4u, 7u}) {
    const DenseMatrix x = random_matrix(d1, 4, 5), a2 = random_matrix(9, 4, 6), a1 = random_matrix(10, d1, 7);
    const Metric metric = metric_through(x, times(transposed(a2), a2));
    EXPECT_EQ(metric.factor().columns, std::min<std::uint64_t>(d1, 4));
    const DenseMatrix y = times(times(a1, x), transposed(a2));
    for (std::uint64_t i = 0; i < a1.rows; ++i) {
      double mass = 0;
      for (const double value : row(y, i)) mass += value * value;
      EXPECT_NEAR(metric.of_row(row(a1, i)), mass, 1e-12 * mass);
    }
    for (std::uint64_t i = 0; i < d1; ++i)
      for (std::uint64_t j = 0; j < d1; ++j)
        EXPECT_EQ(metric.matrix().values[i * d1 + j], metric.matrix().values[j * d1 + i]);
  }
}

TEST(MetricThrough, IsZeroWhereItsTermsCancel) {
  // X takes differences of columns that are equal.
  const DenseMatrix column = random_matrix(20, 1, 8);
  const DenseMatrix a2 = times(column, {1, 3, {0.1, 0.3, 0.7}});
  const DenseMatrix x{2, 3, {0.3, -0.1, 0, 0, 0.7, -0.3}};
  const Metric metric = metric_through(x, times(transposed(a2), a2));
  EXPECT_EQ(metric.of_row(std::vector<double>{1, 1}), 0);
  EXPECT_EQ(metric.total({2, 2, {1, 0, 0, 1}}), 0);
}

TEST(MetricThrough, KeepsRowsOfYHoweverSmallTheyAreBesideOthers) {
  // A unit of a column of A1 that X makes up for: no row of y is small.
  const Metric metric = metric_through({2, 2, {0x1p-40, 0x1p-40, 0, 1}}, {2, 2, {2, 1, 1, 3}});
  EXPECT_EQ(metric.factor().columns, 2u);
  EXPECT_NEAR(metric.of_row(std::vector<double>{0x1p40, 0}), 7, 1e-13);
  EXPECT_NEAR(metric.of_row(std::vector<double>{0, 1}), 3, 1e-14);
  EXPECT_NEAR(metric.of_row(std::vector<double>{0x1p40, -2}), 3, 1e-13);  // (1, -1) G (1, -1)^T
}

TEST(MetricThrough, RefusesWhatOverflows) {
  EXPECT_EQ(message_of<InputError>([] {
              std::ignore = metric_through({1, 1, {1e200}}, {1, 1, {1}});
            }),
            "a metric overflows a double; scale the values down");
}

}  // namespace
}  // namespace weir
