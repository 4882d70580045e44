// Rows that leave without having come: squares of y and exact Gram matrices that cannot be right are refused by queries,
// and by nothing else, as the parts of a stream may hold them.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "support/law.hpp"
#include "support/message_of.hpp"
#include "support/row_law.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/two_stage.hpp"
#include "weir/sketch/lift.hpp"
#include "weir/sketch/product_sketch.hpp"
#include "weir/sketch/rows_sketch.hpp"

namespace weir {
namespace {

using testing_support::add_rows;
using testing_support::expect_error;
using testing_support::first_keys;
using testing_support::make_keys;
using testing_support::random_rows;
using testing_support::SparseRows;
using testing_support::SparseVector;

constexpr std::string_view reason = "a row must have left that had not come";

template <class Sketch>
void change_row(Sketch& sketch, std::uint64_t key, double weight, const std::vector<double>& values) {
  sketch.update_rows(std::span(&key, 1), std::span(&weight, 1), values);
}

/// Rows of A and their lifted forms.
void change_lifted_row(ProductSketch& sketch, std::uint64_t key, double weight, std::vector<double> values) {
  std::vector<double> lifted(lifted_size(values.size()));
  lift_row(values, lifted);
  values.insert(values.end(), lifted.begin(), lifted.end());
  change_row(sketch.a, key, weight, values);
}

SampleResult draw_roots(const ProductSketch& sketch, bool with_replacement = true) {
  const VectorSketch squares = sketch.squares();
  return draws_of_roots(with_replacement ? draw_with_replacement(squares, {.samples = 8})
                                         : draw_without_replacement(squares, {.samples = 8}),
                        squares, sketch.y());
}

TEST(UnmatchedRows, OfNegativeSquaresAreRefused) {
  // Row 7 comes once and leaves twice: with x = (1, 1) its square is -900, the others sum to 40.
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    for (const std::uint32_t lanes : {16U, 2U}) {
      ProductSketch sketch({.dimension = 100, .buckets = 128, .lanes = lanes, .seed = seed}, 2, 2);
      sketch.x = {1, 1};
      for (std::uint64_t i = 0; i < 40; ++i) change_lifted_row(sketch, i, 1, {1, i % 2 == 0 ? -2.0 : 0.0});
      change_lifted_row(sketch, 7, -1, {1, 0});
      change_lifted_row(sketch, 7, 1, {10, 20});
      EXPECT_NO_THROW(std::ignore = draw_roots(sketch, lanes > 2));
      change_lifted_row(sketch, 7, -1, {10, 20});
      EXPECT_NO_THROW(std::ignore = draw_roots(sketch, lanes > 2));
      change_lifted_row(sketch, 7, -1, {10, 20});
      expect_error<InputError>([&] { std::ignore = draw_roots(sketch, lanes > 2); },
                               {"the square of y[7] is estimated as -", "below 0", reason});
    }
  }
}

TEST(UnmatchedRows, AmongManyAlikeAreRefusedWhenOneIsDrawn) {
  // Each draw is of one of the 100 negative squares of 1000 with probability 1/10: of 160 draws none is with 5e-8.
  std::uint64_t refused = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const SketchConfig config{.dimension = 1000, .buckets = 1024, .lanes = 24, .seed = seed};
    SparseVector squares{first_keys(1000), std::vector<double>(1000, 4.0)};
    const SparseVector y{first_keys(1000), std::vector<double>(1000, 2.0)};
    for (std::size_t i = 0; i < 1000; i += 10) squares.values[i] = -4;
    const VectorSketch of_squares = testing_support::sketch_of(config, squares);
    const SampleResult draws = draw_with_replacement(of_squares, {.samples = 8});
    try {
      std::ignore = draws_of_roots(draws, of_squares, testing_support::sketch_of(config, y));
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 0U);
}

TEST(UnmatchedRows, AreNotSeenInNoise) {
  // Squares that are right, in the smallest tables that are suggested: no draw of 20,000 is refused.
  SparseVector squares{make_keys(5000, [](std::uint64_t t) { return 200 * t; }), {}};
  SparseVector y = squares;
  for (std::size_t t = 0; t < squares.keys.size(); ++t) {
    y.values.push_back(std::round(100 / std::sqrt(1.0 + static_cast<double>(t))));
    squares.values.push_back(y.values.back() * y.values.back());
  }
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const SketchConfig config{.dimension = 1000000, .buckets = 128, .lanes = 200, .levels = 2, .seed = seed};
    const VectorSketch of_squares = testing_support::sketch_of(config, squares);
    const VectorSketch of_y = testing_support::sketch_of(config, y);
    for (const double threshold : {1.0, 0.0}) {
      const SampleResult draws = draw_with_replacement(of_squares, {.samples = 200, .threshold = threshold});
      EXPECT_NO_THROW(std::ignore = draws_of_roots(draws, of_squares, of_y)) << seed << ' ' << threshold;
    }
  }
}

// A Gram matrix 100 (1, 1)^T (1, 1) - (1, -1)^T (1, -1) / 4, of a row (1/2, -1/2) that left without having come: no entry of
// its diagonal is negative.
const DenseMatrix indefinite{2, 2, {99.75, 100.25, 100.25, 99.75}};

TEST(UnmatchedRows, MakeMetricsThatAreRefused) {
  expect_error<InputError>([] { std::ignore = Metric::leverage(indefinite); },
                           {"the Gram matrix of the rows has a negative eigenvalue, -0.0025 of the largest", reason});
  expect_error<InputError>(
      [] {
        std::ignore = Metric::leverage({2, 2, {4, 0, 0, -1}});
      },
      {"the Gram matrix of the rows has the entry -1 on its diagonal", reason});
  expect_error<InputError>([] { std::ignore = Metric::leverage({1, 1, {-4}}); }, {"the entry -4", reason});
  expect_error<InputError>(
      [] {
        std::ignore = metric_through({2, 2, {1, 0, 0, 1}}, indefinite);
      },
      {"a metric has a negative eigenvalue", reason});
  const Metric difference = Metric::of({2, 2, {1, -1, -1, 1}}, "M");
  expect_error<InputError>([&] { std::ignore = difference.total(indefinite); },
                           {"the sum of the masses of the rows is -1, below 0", reason});
  // What rounding leaves below zero is zero.
  EXPECT_EQ(difference.total({2, 2, {100, 100 + 1e-12, 100 + 1e-12, 100}}), 0);
  EXPECT_EQ(Metric::leverage({2, 2, {4, 0, 0, -1e-15}}).factor().columns, 1U);
  EXPECT_EQ(metric_through({2, 2, {1, 0, 0, 1}}, {2, 2, {1, 1 + 1e-14, 1 + 1e-14, 1}}).factor().columns, 1U);
}

TEST(UnmatchedRows, AreRefusedByDrawsOfRowsInAnExactGramMatrix) {
  const SketchConfig config{.dimension = 20, .buckets = 64, .lanes = 8, .seed = 3};
  for (const bool exact : {true, false}) {
    RowsSketch sketch(config, 2, {.buckets = 64, .exact = exact});
    add_rows(sketch, random_rows(2, first_keys(10), 1));
    const auto draw = [&] {
      const DenseMatrix gram = sketch.checked_gram();
      const Metric metric = Metric::leverage(gram);
      return draw_rows(sketch.draws, metric, {metric.total(gram)}, {.samples = 3});
    };
    EXPECT_NO_THROW(std::ignore = draw());
    for (int leave = 0; leave < 2; ++leave) change_row(sketch, 12, -1, {100, 1});
    if (exact) {
      expect_error<InputError>(draw, {"the sum of the squares of column 0 of the rows is -", reason});
      EXPECT_LT(sketch.gram().values[0], 0);  // as it may be of a part of a stream
    } else {
      EXPECT_NO_THROW(std::ignore = draw());  // of A itself, whose row 12 is now (-200, -2)
    }
    for (int come = 0; come < 2; ++come) change_row(sketch, 12, 1, {100, 1});
    EXPECT_NO_THROW(std::ignore = draw());
  }
  // Smaller than the rows that are there, in a direction of its own.
  RowsSketch sketch(config, 2, {.buckets = 64, .exact = true});
  for (std::uint64_t i = 0; i < 10; ++i) change_row(sketch, i, 1, {10, 10});
  for (int leave = 0; leave < 2; ++leave) change_row(sketch, 12, -1, {1, -1});
  EXPECT_NO_THROW(std::ignore = sketch.checked_gram());
  expect_error<InputError>([&] { std::ignore = Metric::leverage(sketch.checked_gram()); }, {reason});
  const Metric difference = Metric::of({2, 2, {1, -1, -1, 1}}, "M");
  expect_error<InputError>([&] { std::ignore = difference.total(sketch.checked_gram()); }, {reason});
  expect_error<InputError>([&] { std::ignore = draw_rows(sketch.draws, difference, {-1}, {}); },
                           {"the sum of the masses of the rows is -1, below 0", reason});
}

TEST(UnmatchedRows, AreRefusedByDrawsOfPairsInExactGramMatrices) {
  const SketchConfig config{.dimension = 1, .buckets = 64, .lanes = 8, .seed = 3};
  for (const bool of_first : {true, false}) {
    for (const double size : {100.0, 0.5}) {
      KroneckerSketch sketch({.n1 = 20, .n2 = 20, .d1 = 2, .d2 = 2}, config, {.buckets = 64, .exact = true});
      for (std::uint64_t i = 0; i < 10; ++i) {
        change_row(sketch.a1, i, 1, {10, 10});
        change_row(sketch.a2, i, 1, {10, 10});
      }
      testing_support::set_core(sketch, {2, 2, {1, 0, 0, 1}});
      EXPECT_NO_THROW(std::ignore = draw_pairs(sketch, {.samples = 2}));
      RowsSketch& factor = of_first ? sketch.a1 : sketch.a2;
      for (int leave = 0; leave < 2; ++leave) change_row(factor, 12, -1, {size, -size});
      if (of_first && size < 1) {
        // G1 enters through the sum of the masses alone, which stays positive: nothing can be seen.
        EXPECT_NO_THROW(std::ignore = draw_pairs(sketch, {.samples = 2}));
      } else {
        expect_error<InputError>([&] { std::ignore = draw_pairs(sketch, {.samples = 2}); }, {reason});
      }
      for (int come = 0; come < 2; ++come) change_row(factor, 12, 1, {size, -size});
      EXPECT_NO_THROW(std::ignore = draw_pairs(sketch, {.samples = 2}));
    }
  }
}

}  // namespace
}  // namespace weir
