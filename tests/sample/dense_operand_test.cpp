#include "weir/sample/dense_operand.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::message_of;

// Family-wise significance 1e-3 over the tests of this file.
constexpr double significance = 1e-4;
constexpr double infinity = std::numeric_limits<double>::infinity();

using Indices = std::vector<std::uint64_t>;
using Values = std::vector<double>;

DenseOperand operand_of(std::uint64_t rows, std::uint64_t columns, const Values& values) {
  DenseOperand a(rows, columns, "A");
  std::copy(values.begin(), values.end(), a.table().begin());
  return a;
}

DenseOperand random_operand(std::uint64_t rows, std::uint64_t columns) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  Values values(rows * columns);
  for (double& value : values) value = normal(random);
  return operand_of(rows, columns, values);
}

TEST(DenseOperand, SumsEntriesAndRows) {
  DenseOperand a(3, 2, "A1");
  EXPECT_EQ(a.name(), "A1");
  a.update(Indices{0, 0, 2, 0}, Indices{0, 1, 1, 0}, Values{5, -1, 4, 2});
  a.update_rows(Indices{1, 2, 1}, Values{1, -1, 1}, Values{7, 8, 1, 2, 1, 1});
  EXPECT_EQ(a.matrix(), (DenseMatrix{3, 2, {7, -1, 8, 9, -1, 2}}));
  EXPECT_EQ(Values(a.row(1).begin(), a.row(1).end()), (Values{8, 9}));
}

TEST(DenseOperand, GramMatrixIsThatOfItsRows) {
  // More rows than are multiplied at a time; whole numbers, so that every order of the sums is exact.
  DenseOperand a(700, 3, "A");
  DenseMatrix expected{3, 3, Values(9)};
  for (std::uint64_t i = 0; i < 700; ++i) {
    const Values row{static_cast<double>(i % 7) - 3, static_cast<double>(i % 5), static_cast<double>(i % 11) - 5};
    a.update_rows(Indices{i}, Values{1}, row);
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 3; ++k) expected.values[3 * j + k] += row[j] * row[k];
  }
  EXPECT_EQ(a.gram(), expected);
}

TEST(DenseOperand, RefusesWhatIsOutsideAndChangesNothing) {
  DenseOperand a(3, 2, "A2");
  const auto entries = [&](const Indices& rows, const Indices& columns, const Values& deltas) {
    return message_of<InputError>([&] { a.update(rows, columns, deltas); });
  };
  const auto rows = [&](const Indices& indices, const Values& weights, const Values& values) {
    return message_of<InputError>([&] { a.update_rows(indices, weights, values); });
  };
  EXPECT_EQ(entries({0, 3}, {0, 0}, {1, 1}), "update 1: entry (3, 0) is outside A2 of 3 x 2");
  EXPECT_EQ(entries({0, 1}, {0, 2}, {1, 1}), "update 1: entry (1, 2) is outside A2 of 3 x 2");
  EXPECT_EQ(entries({0, 1}, {0, 1}, {1, infinity}), "update 1: delta is inf, not finite");
  EXPECT_EQ(rows({0, 3}, {1, 1}, {1, 1, 1, 1}), "update 1: row 3 is outside A2 of 3 rows");
  EXPECT_EQ(rows({0, 1}, {1, 1}, {1, 1, 1, std::nan("")}), "update 1: entry 1 of the row is nan, not finite");
  EXPECT_EQ(rows({0, 1}, {1, infinity}, {1, 1, 1, 1}), "update 1: entry 0 of the row is inf, not finite");
  EXPECT_EQ(a.matrix().values, Values(6));
}

TEST(DenseOperand, RefusesImpossibleShapes) {
  EXPECT_THROW(DenseOperand(0, 1, "A"), UsageError);
  EXPECT_THROW(DenseOperand(1, 0, "A"), UsageError);
  EXPECT_THROW(DenseOperand(std::uint64_t{1} << 40, std::uint64_t{1} << 30, "A"), UsageError);
}

TEST(DenseRows, AreDrawnByTheirMassInTheMetric) {
  const std::uint64_t n = 300, d = 4;
  DenseOperand a = random_operand(n, d);
  for (double& value : a.table().subspan(40, 4)) value = 0;            // row 10 has no mass,
  for (double& value : a.table().subspan(80, 4)) value *= 20;          // row 20 much,
  std::copy_n(a.table().begin(), 4, a.table().begin() + (n - 1) * d);  // the last is the first.
  const DenseMatrix m{4, 4, {2, 1, 0, 0, 1, 3, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1}};
  for (const Metric& metric : {Metric::norm(d), Metric::of(m, "M"), Metric::leverage(a.gram())}) {
    Values law(n);
    double total = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < d; ++j)
        for (std::size_t k = 0; k < d; ++k) law[i] += a.row(i)[j] * metric.matrix().values[d * j + k] * a.row(i)[k];
      law[i] = std::max(0.0, law[i]);
      total += law[i];
    }
    for (double& probability : law) probability /= total;
    const SampleResult result = draw_rows(a, metric, {.samples = 100000, .seed = 3});
    EXPECT_NEAR(result.norm, std::sqrt(total), 1e-12 * result.norm);
    std::vector<std::uint64_t> counts(n);
    for (const Draw& draw : result.draws) {
      ++counts[draw.index];
      ASSERT_EQ(draw.row, Values(a.row(draw.index).begin(), a.row(draw.index).end()));
      ASSERT_NEAR(draw.probability, law[draw.index], 1e-12);
      ASSERT_NEAR(draw.value, std::sqrt(law[draw.index] * total), 1e-11 * result.norm);
    }
    EXPECT_EQ(counts[10], 0u);
    EXPECT_GT(statistics::chi_squared_fit(counts, law).p_value, significance);
    EXPECT_LT(statistics::total_variation(counts, law),
              statistics::total_variation_bound(law, result.draws.size(), significance));
  }
}

TEST(DenseRows, OfOneColumnAreTheVectorsDraws) {
  const DenseOperand a = operand_of(5, 1, {1, -2, 0, 4, 3});
  DenseVector y(5);
  std::copy(a.table().begin(), a.table().end(), y.table().begin());
  const SampleResult rows = draw_rows(a, Metric::norm(1), {.samples = 50, .seed = 9});
  const SampleResult entries = draw_with_replacement(y, {.samples = 50, .seed = 9});
  EXPECT_EQ(rows.norm, entries.norm);
  for (std::size_t t = 0; t < 50; ++t) {
    EXPECT_EQ(rows.draws[t].index, entries.draws[t].index);
    EXPECT_EQ(rows.draws[t].lane, t + 1);
    EXPECT_EQ(rows.draws[t].row.front(), entries.draws[t].value);
    EXPECT_EQ(rows.draws[t].value, std::abs(entries.draws[t].value));
  }
}

TEST(DenseRows, OfNoMassAreNotDrawn) {
  const DenseOperand a = operand_of(2, 2, {0, 3, 0, -1});
  EXPECT_TRUE(draw_rows(DenseOperand(2, 2, "A"), Metric::norm(2), {}).zero_vector);
  const SampleResult result = draw_rows(a, Metric::of({2, 2, {1, 0, 0, 0}}, "M"), {});  // sees the first column alone
  EXPECT_TRUE(result.zero_vector);
  EXPECT_TRUE(result.draws.empty());
}

TEST(DenseRows, TakeAnyScaleOfNumbers) {
  for (const double unit : {1e-290, 1e290}) {
    const DenseOperand a = operand_of(2, 2, {3 * unit, 0, 0, 4 * unit});
    const SampleResult result = draw_rows(a, Metric::norm(2), {.samples = 20, .seed = 1});
    EXPECT_NEAR(result.norm / unit, 5, 1e-14 * 5);
    for (const Draw& draw : result.draws) EXPECT_NEAR(draw.probability, draw.index == 0 ? 0.36 : 0.64, 1e-14);
  }
}

TEST(DenseRows, RefuseWhatDoesNotFit) {
  const DenseOperand a = operand_of(2, 2, {1, 0, 0, 1e200});
  EXPECT_EQ(message_of<UsageError>([&] { std::ignore = draw_rows(a, Metric::norm(2), {.p = 1}); }),
            "p is 1: rows are drawn by a^T M a, where it is 2");
  EXPECT_EQ(message_of<UsageError>([&] { std::ignore = draw_rows(a, Metric::norm(3), {}); }),
            "a metric of 3 dimensions for rows of 2 numbers");
  EXPECT_EQ(message_of<InputError>([&] {
              std::ignore = draw_rows(a, Metric::of({2, 2, {1e300, 0, 0, 1e300}}, "M"), {});
            }),
            "row 1 of A: its norm overflows a double; scale the values down");
}

}  // namespace
}  // namespace weir
