// Public functions of sketch/ check the lengths of their spans, and the lanes, levels and factors that they are given,
// in release builds too.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/sketch/kronecker_sketch.hpp"
#include "weir/sketch/lift.hpp"
#include "weir/sketch/matrix_sketch.hpp"
#include "weir/sketch/operator.hpp"
#include "weir/sketch/rows_sketch.hpp"
#include "weir/sketch/tensor_features.hpp"
#include "weir/sketch/tensor_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {
namespace {

using testing_support::expect_error;

const SketchConfig config{.dimension = 100, .rows = 5, .buckets = 16, .lanes = 8, .levels = 1, .seed = 1};
const std::vector<std::uint64_t> keys{3, 1, 4};
const std::vector<std::uint64_t> two_keys{0, 1};
const std::vector<double> deltas{1, 2, 3};
const std::vector<double> two_deltas{1, 2};

bool is_zero(std::span<const double> table) {
  return std::ranges::all_of(table, [](double cell) { return cell == 0; });
}

TEST(ArgumentChecks, OfVectorSketch) {
  VectorSketch sketch(config);
  expect_error<UsageError>([&] { sketch.update(keys, two_deltas); },
                           {"VectorSketch::update", "deltas.size() is 2", "expected 3, which is keys.size()"});
  expect_error<UsageError>([&] { sketch.update(two_keys, deltas); }, {"deltas.size() is 3", "expected 2"});
  EXPECT_TRUE(is_zero(sketch.table()));
  std::vector<double> out(23);
  expect_error<UsageError>([&] { sketch.estimate(keys, out); },
                           {"VectorSketch::estimate", "out.size() is 23", "expected 24"});
  out.resize(6);
  expect_error<UsageError>([&] { sketch.row_estimates(3, 0, out); },
                           {"VectorSketch::row_estimates", "out.size() is 6", "expected 5"});
  out.resize(5);
  expect_error<UsageError>([&] { sketch.row_estimates(3, 8, out); }, {"lane is 8", "less than 8"});
  std::vector<ScanHit> hits;
  expect_error<UsageError>([&] { sketch.scan(0, 0, 100, std::vector<double>(7), hits); },
                           {"VectorSketch::scan", "thresholds.size() is 7", "expected 8"});
  expect_error<UsageError>([&] { sketch.scan(1, 0, 100, std::vector<double>(8), hits); },
                           {"level is 1", "less than 1"});
  expect_error<UsageError>([&] { std::ignore = sketch.lane_f2(8); }, {"VectorSketch::lane_f2", "lane is 8"});
  expect_error<UsageError>([&] { std::ignore = sketch.scale_of(3, 8); }, {"VectorSketch::scale_of", "lane is 8"});
}

TEST(ArgumentChecks, OfMatrixSketch) {
  MatrixSketch sketch(config, 2);
  const std::vector<std::uint64_t> columns{0, 1, 0};
  expect_error<UsageError>([&] { sketch.update(keys, columns, two_deltas); },
                           {"MatrixSketch::update", "deltas.size() is 2", "expected 3, which is rows.size()"});
  expect_error<UsageError>([&] { sketch.update(keys, two_keys, deltas); }, {"columns.size() is 2", "expected 3"});
  expect_error<UsageError>([&] { sketch.update(two_keys, columns, deltas); }, {"columns.size() is 3", "expected 2"});
  expect_error<UsageError>([&] { sketch.update_rows(keys, two_deltas, std::vector<double>(6)); },
                           {"MatrixSketch::update_rows", "weights.size() is 2", "expected 3"});
  expect_error<UsageError>([&] { sketch.update_rows(keys, deltas, std::vector<double>(5)); },
                           {"values.size() is 5", "expected 6"});
  EXPECT_TRUE(is_zero(sketch.table()));
  expect_error<UsageError>([&] { std::ignore = sketch.product(deltas, 0); },
                           {"MatrixSketch::product", "x.size() is 3", "expected 2"});
  expect_error<UsageError>([&] { std::ignore = sketch.product(two_deltas, 8); }, {"lane is 8"});
  expect_error<UsageError>(
      [&] {
        std::ignore = sketch.cell_norms({2, 2, {1, 2, 3}});
      },
      {"MatrixSketch::cell_norms", "is 3", "expected 4"});
  std::vector<double> out(9);
  expect_error<UsageError>([&] { sketch.row_estimates(3, 0, out); },
                           {"MatrixSketch::row_estimates", "out.size() is 9", "expected 10"});
  out.resize(10);
  expect_error<UsageError>([&] { sketch.row_estimates(100, 0, out); }, {"i is 100", "less than 100"});
  expect_error<UsageError>([&] { sketch.row_estimates(3, 8, out); }, {"lane is 8"});
  expect_error<UsageError>([&] { sketch.estimate_row(3, out); },
                           {"MatrixSketch::estimate_row", "out.size() is 10", "expected 2"});
  expect_error<UsageError>([&] { std::ignore = sketch.scale_of(3, 8); }, {"MatrixSketch::scale_of", "lane is 8"});
}

TEST(ArgumentChecks, OfRowsSketch) {
  for (const bool exact : {false, true}) {
    RowsSketch sketch(config, 2, {.buckets = 16, .exact = exact});
    expect_error<UsageError>([&] { sketch.update(keys, two_keys, deltas); }, {"columns.size() is 2", "expected 3"});
    expect_error<UsageError>([&] { sketch.update_rows(keys, std::vector<double>(2, 1.0), std::vector<double>(6)); },
                             {"weights.size() is 2", "expected 3"});
    expect_error<UsageError>([&] { sketch.update_rows(keys, std::vector<double>(3, 1.0), std::vector<double>(5)); },
                             {"values.size() is 5", "expected 6"});
    EXPECT_TRUE(sketch.is_zero());
    EXPECT_TRUE(is_zero(sketch.exact_gram));
  }
}

TEST(ArgumentChecks, OfTensorSketch) {
  const TensorSketchConfig tensor{.dimensions = {100, 50}, .rows = 3, .buckets = 16, .seed = 1};
  TensorSketch sketch(tensor, std::vector<std::uint64_t>{2, 2});
  expect_error<UsageError>([&] { sketch.update(0, keys, two_keys, deltas); }, {"columns.size() is 2", "expected 3"});
  expect_error<UsageError>([&] { sketch.update(2, two_keys, two_keys, two_deltas); },
                           {"TensorSketch::update", "q is 2", "less than 2"});
  expect_error<UsageError>([&] { sketch.update_rows(0, keys, deltas, deltas); }, {"values.size() is 3", "expected 6"});
  expect_error<UsageError>([&] { sketch.update_rows(2, {}, {}, {}); }, {"TensorSketch::update_rows", "q is 2"});
  expect_error<UsageError>([&] { std::ignore = tensor.factor(2, 0); }, {"TensorSketchConfig::factor", "q is 2"});
}

TEST(ArgumentChecks, OfTensorFeatures) {
  TensorFeatures features({.dimensions = {3, 3}, .rows = 1, .buckets = 16, .seed = 1});
  std::vector<double> out(16);
  expect_error<UsageError>([&] { features.apply(std::vector<double>(4), out); },
                           {"TensorFeatures::apply", "rows.size() is 4", "expected 3"});
  expect_error<UsageError>([&] { features.apply(std::vector<double>(6), out); }, {"out.size() is 16", "expected 32"});
}

TEST(ArgumentChecks, OfLifting) {
  std::vector<double> out(5);
  expect_error<UsageError>([&] { lift_row(deltas, out); }, {"lift_row", "out.size() is 5", "expected 6"});
  expect_error<UsageError>([&] { lift_vector(deltas, out); }, {"lift_vector", "out.size() is 5", "expected 6"});
}

TEST(ArgumentChecks, OfMedians) {
  expect_error<UsageError>([] { std::ignore = median_of({}); }, {"median_of", "values.size() is 0"});
}

TEST(ArgumentChecks, OfTheOperator) {
  const SketchOperator phi(config);
  PhiColumns columns(config);
  const std::vector<std::uint64_t> many(PhiColumns::capacity + 1, 7);
  const auto expect_refused = [](const auto& work) {
    expect_error<UsageError>(work, {"SketchOperator", "keys.size() is 257", "at most 256"});
  };
  expect_refused([&] { std::ignore = phi.hash(0, many, columns); });
  expect_refused([&] { phi.locate(0, many, columns); });
  expect_refused([&] { phi.locate_all(many, columns); });
  expect_refused([&] { phi.locate_groups(many, columns); });
  expect_refused([&] { std::ignore = phi.prepare_scales(many, 0, 8, columns); });
}

}  // namespace
}  // namespace weir
