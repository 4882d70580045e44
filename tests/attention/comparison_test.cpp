#include "weir/attention/comparison.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/message_of.hpp"

namespace weir {
namespace {

using testing_support::expect_error;

constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(Comparison, OfASmallExampleByHand) {
  const DenseMatrix exact{3, 2, {3, 4, 0, 2, 1, 0}};
  const DenseMatrix approximate{3, 2, {3, 4.5, 1, 2, 1, 0}};
  // Differences 0.5, 1, 0; norms 5, 2, 1; squares 25 + 4 + 1.
  const std::vector<double> errors = query_errors(exact, approximate);
  EXPECT_DOUBLE_EQ(errors[0], 0.1);
  EXPECT_DOUBLE_EQ(errors[1], 0.5);
  EXPECT_DOUBLE_EQ(errors[2], 0);
  const OutputErrors all = compare_outputs(exact, approximate);
  EXPECT_DOUBLE_EQ(all.frobenius, std::sqrt(1.25 / 30));
  EXPECT_DOUBLE_EQ(all.median, 0.1);
  EXPECT_DOUBLE_EQ(all.percentile_99, 0.5);
  EXPECT_DOUBLE_EQ(all.largest, 0.5);
  // Columns (3, 0, 1) and (4, 2, 0): differences 1 and 0.5.
  EXPECT_DOUBLE_EQ(column_errors(exact, approximate)[0], 1 / std::sqrt(10));
  EXPECT_DOUBLE_EQ(column_errors(exact, approximate)[1], 0.5 / std::sqrt(20));
  // One non-zero a column leaves (0, 0, 1) and (0, 2, 0).
  EXPECT_DOUBLE_EQ(best_sparse_errors(exact, 1)[0], 1 / std::sqrt(10));
  EXPECT_DOUBLE_EQ(best_sparse_errors(exact, 1)[1], 2 / std::sqrt(20));
  EXPECT_DOUBLE_EQ(best_sparse_error(exact, 1), std::sqrt(5.0 / 30));
  EXPECT_DOUBLE_EQ(best_rows_error(exact, 1), std::sqrt(5.0 / 30));
  EXPECT_DOUBLE_EQ(best_rows_error(exact, 2), std::sqrt(1.0 / 30));
  for (const std::uint64_t k : {3U, 4U, 100U}) {
    EXPECT_EQ(best_sparse_error(exact, k), 0);
    EXPECT_EQ(best_rows_error(exact, k), 0);
  }
  EXPECT_DOUBLE_EQ(best_sparse_error(exact, 0), 1);
  // Means 4/3 and 2: squares of the differences are those of the entries less 3 times those of the means.
  EXPECT_NEAR(mean_only_error(exact), std::sqrt((30 - 3 * (16.0 / 9 + 4)) / 30), 1e-15);
}

TEST(Comparison, QuantilesAreRanksOfTheNumbers) {
  std::vector<double> numbers(200);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>((i * 77) % 200 + 1);
  EXPECT_EQ(quantile(numbers, 0), 1);
  EXPECT_EQ(quantile(numbers, 0.5), 100);
  EXPECT_EQ(quantile(numbers, 0.99), 198);
  EXPECT_EQ(quantile(numbers, 0.991), 199);
  EXPECT_EQ(quantile(numbers, 1), 200);
  EXPECT_EQ(quantile({7}, 0.99), 7);
  expect_error<UsageError>([] { (void)quantile({}, 0.5); }, {"numbers.size()"});
  expect_error<UsageError>([] { (void)quantile({1}, 1.5); }, {"share is 1.5"});
}

TEST(Comparison, ZerosAndNumbersThatAreNotFinite) {
  const DenseMatrix exact{3, 1, {0, 0, 1}};
  const std::vector<double> errors = query_errors(exact, DenseMatrix{3, 1, {0, 2, std::nan("")}});
  EXPECT_EQ(errors[0], 0);
  EXPECT_EQ(errors[1], infinity);
  EXPECT_EQ(errors[2], infinity);
  EXPECT_EQ(compare_outputs(exact, DenseMatrix{3, 1, {0, 2, std::nan("")}}).frobenius, infinity);
  EXPECT_EQ(best_sparse_errors(DenseMatrix{2, 1, {0, 0}}, 1)[0], 0);
  EXPECT_EQ(mean_only_error(DenseMatrix{2, 1, {0, 0}}), 0);
}

TEST(Comparison, RefusesShapesThatDiffer) {
  const DenseMatrix a{2, 1, {1, 2}};
  expect_error<UsageError>([&] { (void)query_errors(a, DenseMatrix{1, 1, {1}}); }, {"approximate.rows"});
  expect_error<UsageError>([&] { (void)column_errors(a, DenseMatrix{2, 2, {1, 1, 1, 1}}); }, {"approximate.columns"});
  expect_error<UsageError>(
      [&] {
        (void)compare_outputs(DenseMatrix{0, 1, {}}, DenseMatrix{0, 1, {}});
      },
      {"exact.rows"});
}

}  // namespace
}  // namespace weir
