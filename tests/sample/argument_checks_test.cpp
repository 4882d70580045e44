// Public functions of sample/ check the lengths of their spans and the shapes of their matrices, in release builds too.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/dense_operand.hpp"
#include "weir/sample/dense_product.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/softmax.hpp"

namespace weir {
namespace {

using testing_support::expect_error;

const std::vector<std::uint64_t> keys{3, 1, 4};
const std::vector<std::uint64_t> two_keys{0, 1};
const std::vector<double> deltas{1, 2, 3};
const std::vector<double> two_deltas{1, 2};

bool is_zero(std::span<const double> table) {
  return std::ranges::all_of(table, [](double cell) { return cell == 0; });
}

TEST(ArgumentChecks, OfDenseVector) {
  DenseVector y(10);
  expect_error<UsageError>([&] { y.update(keys, two_deltas); },
                           {"DenseVector::update", "deltas.size() is 2", "expected 3, which is keys.size()"});
  expect_error<UsageError>([&] { y.update(two_keys, deltas); }, {"deltas.size() is 3", "expected 2"});
  EXPECT_TRUE(is_zero(y.table()));
  expect_error<UsageError>([&] { std::ignore = y.probability(10, 2); },
                           {"DenseVector::probability", "index is 10", "less than 10"});
}

TEST(ArgumentChecks, OfDenseOperand) {
  DenseOperand a(10, 2, "A");
  expect_error<UsageError>([&] { a.update(keys, two_keys, deltas); },
                           {"DenseOperand::update", "columns.size() is 2", "expected 3"});
  expect_error<UsageError>([&] { a.update(two_keys, two_keys, deltas); }, {"deltas.size() is 3", "expected 2"});
  expect_error<UsageError>([&] { a.update_rows(keys, two_deltas, std::vector<double>(6)); },
                           {"DenseOperand::update_rows", "weights.size() is 2", "expected 3"});
  expect_error<UsageError>([&] { a.update_rows(keys, deltas, std::vector<double>(5)); },
                           {"values.size() is 5", "expected 6"});
  EXPECT_TRUE(is_zero(a.table()));
}

TEST(ArgumentChecks, OfDenseProduct) {
  const DenseProduct product(10, 2);
  expect_error<UsageError>([&] { std::ignore = product.times(deltas); },
                           {"DenseProduct::times", "factor.size() is 3", "expected 2"});
}

TEST(ArgumentChecks, OfMetrics) {
  const DenseMatrix square{2, 2, {1, 0, 0, 1}};
  const DenseMatrix oblong{2, 3, std::vector<double>(6)};
  const DenseMatrix short_of_values{2, 2, {1, 0, 0}};
  const Metric metric = Metric::norm(2);
  expect_error<UsageError>([&] { std::ignore = Metric::leverage(oblong); }, {"Metric::leverage", "3", "expected 2"});
  expect_error<UsageError>([&] { std::ignore = Metric::leverage(short_of_values); }, {"is 3", "expected 4"});
  expect_error<UsageError>([&] { std::ignore = Metric::leverage({}); }, {"Metric::leverage", "0 x 0"});
  expect_error<UsageError>([&] { std::ignore = Metric::of(short_of_values, "M"); }, {"Metric::of", "is 3"});
  expect_error<UsageError>([&] { std::ignore = Metric::of_sums(oblong, two_deltas); }, {"Metric::of_sums", "is 3"});
  expect_error<UsageError>([&] { std::ignore = Metric::of_sums(short_of_values, two_deltas); }, {"expected 4"});
  expect_error<UsageError>([&] { std::ignore = Metric::of_sums(square, deltas); }, {"terms.size() is 3", "expected 2"});
  expect_error<UsageError>([&] { std::ignore = metric.of_row(deltas); },
                           {"Metric::of_row", "a.size() is 3", "expected 2"});
  expect_error<UsageError>([&] { std::ignore = metric.total(oblong); }, {"Metric::total", "is 3", "expected 2"});
  expect_error<UsageError>([&] { std::ignore = metric.total(short_of_values); }, {"is 3", "expected 4"});
  expect_error<UsageError>([&] { std::ignore = metric_through(oblong, square); }, {"metric_through", "is 3"});
  expect_error<UsageError>([&] { std::ignore = metric_through(square, oblong); }, {"metric_through", "is 3"});
  expect_error<UsageError>([&] { std::ignore = metric_through(short_of_values, square); }, {"is 3", "expected 4"});
  expect_error<UsageError>([&] { std::ignore = metric_through(square, short_of_values); }, {"is 3", "expected 4"});
}

TEST(ArgumentChecks, OfPartsOfTheSoftmax) {
  const SoftmaxOptions three{.samples = 3};
  const SoftmaxOptions two{.samples = 2};
  const SoftmaxRange range = softmax_range(0, deltas);
  SoftmaxPart part = softmax_part(0, deltas, range, three);
  const SoftmaxPart other = softmax_part(3, deltas, range, two);
  expect_error<UsageError>([&] { part.merge(other, three); },
                           {"SoftmaxPart::merge", "other.largest.size() is 2", "expected 3"});
}

}  // namespace
}  // namespace weir
