// Draws of pairs. Each decision about a law is at significance 1e-5, fewer than 50 of them. Seeds are fixed.

#include "weir/sample/two_stage.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "support/law.hpp"
#include "support/message_of.hpp"
#include "support/row_law.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::count_pairs;
using testing_support::expect_law;
using testing_support::first_keys;
using testing_support::LawCounts;
using testing_support::Pairs;
using testing_support::random_keys;
using testing_support::random_rows;
using testing_support::SparseRows;

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
  std::uint64_t trials = 1000;
};

std::vector<PairsCase> pairs_cases() {
  const SketchConfig config{.dimension = 1, .buckets = 256};
  const Pairs square{random_rows(3, first_keys(20), 1), random_rows(3, first_keys(20), 2), identity(3)};
  const Pairs oblong{
      random_rows(2, first_keys(30), 3), random_rows(4, first_keys(12), 4), {2, 4, {1, -2, 0, 3, 2, 1, -1, 0}}};
  return {
      {"square", 20, 20, square, config},
      {"oblong", 30, 12, oblong, config},
  };
}

class LawOfPairs : public ::testing::TestWithParam<PairsCase> {};

TEST_P(LawOfPairs, WithExactGramMatrices) {
  const PairsCase& tested = GetParam();
  expect_law(count_pairs(tested.config, tested.n1, tested.n2, tested.pairs, exact, tested.trials), tested.pairs.law());
}

INSTANTIATE_TEST_SUITE_P(Pairs, LawOfPairs, ::testing::ValuesIn(pairs_cases()),
                         [](const ::testing::TestParamInfo<PairsCase>& tested) { return tested.param.name; });

}  // namespace
}  // namespace weir
