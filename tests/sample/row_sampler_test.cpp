// Draws of rows. Each decision about a law is at significance 1e-5, fewer than 50 of them. Seeds are fixed.

#include "weir/sample/row_sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "sample/row_recovery.hpp"
#include "support/law.hpp"
#include "support/message_of.hpp"
#include "support/row_law.hpp"
#include "weir/error.hpp"
#include "weir/sketch/rows_sketch.hpp"

namespace weir {
namespace {

using testing_support::add_rows;
using testing_support::count_rows;
using testing_support::expect_law;
using testing_support::first_keys;
using testing_support::gram_of;
using testing_support::law_of_rows;
using testing_support::LawCounts;
using testing_support::message_of;
using testing_support::random_keys;
using testing_support::random_rows;
using testing_support::SparseRows;

SparseRows with_dominant_row(SparseRows rows) {
  const DenseMatrix gram = gram_of(rows);
  double trace = 0;
  for (std::size_t j = 0; j < rows.d; ++j) trace += gram.values[j * rows.d + j];
  for (double& entry : rows.row(3)) entry = std::round(std::sqrt(trace / static_cast<double>(rows.d)));
  return rows;
}

SparseRows with_duplicates(SparseRows rows) {
  for (std::size_t t = 1; t < rows.count(); t += 3) std::ranges::copy(rows.row(t - 1), rows.row(t).begin());
  return rows;
}

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
  std::uint64_t trials = 1000;
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
          {"many_columns", random_rows(40, first_keys(60), 3), Metric::norm(40), config, 300},
          {"dominant", with_dominant_row(plain), Metric::norm(4), config},
          {"duplicates", with_duplicates(plain), Metric::norm(4), config},
          {"leverage", plain, Metric::leverage(gram_of(plain)), config},
          {"leverage_of_dependent_columns", dependent, Metric::leverage(gram_of(dependent)), config},
          {"leverage_of_nearly_dependent_columns", nearly, Metric::leverage(gram_of(nearly)), config},
          {"any_matrix", plain, Metric::of(m, "M"), config},
          {"rank_1", plain, Metric::of({4, 4, {1, 2, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, "M"), config},
          {"two_levels", random_rows(4, random_keys(200, 16), 4), Metric::norm(4), two_levels},
          {"consecutive_two_levels", random_rows(4, first_keys(200), 5), Metric::norm(4), two_levels},
          {"three_levels", random_rows(4, random_keys(50, 40), 6), Metric::norm(4), three_levels, 200},
          {"one_row", random_rows(4, {0}, 7), Metric::norm(4), {.dimension = 1, .buckets = 16}, 150},
          {"kwise", plain, Metric::norm(4), {.dimension = 128, .buckets = 256, .randomness = Randomness::kwise}, 300}};
}

class LawOfRows : public ::testing::TestWithParam<RowsCase> {};

TEST_P(LawOfRows, WithDeletionsAndSigns) {
  const RowsCase& tested = GetParam();
  expect_law(count_rows(tested.config, tested.rows, tested.metric, tested.trials),
             law_of_rows(tested.rows, tested.metric.matrix()));
}

INSTANTIATE_TEST_SUITE_P(Rows, LawOfRows, ::testing::ValuesIn(rows_cases()),
                         [](const ::testing::TestParamInfo<RowsCase>& tested) { return tested.param.name; });

}  // namespace
}  // namespace weir
