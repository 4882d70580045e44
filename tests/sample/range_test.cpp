#include "weir/sample/range.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/precision.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/two_stage.hpp"
#include "weir/sketch/product_sketch.hpp"

namespace weir {
namespace {

using testing_support::expect_error;

using Keys = std::vector<std::uint64_t>;
using Numbers = std::vector<double>;

constexpr double infinity = std::numeric_limits<double>::infinity();

VectorSketch sketch_of(double value, const SketchConfig& config = {.dimension = 100, .buckets = 64, .seed = 1}) {
  VectorSketch sketch(config);
  sketch.update(Keys{42}, Numbers{value});
  return sketch;
}

/// With one row, (value, 0, -value).
RowsSketch rows_of(double value) {
  RowsSketch rows({.dimension = 20, .buckets = 64, .seed = 3}, 3, {.buckets = 64});
  rows.update_rows(Keys{7}, Numbers{1}, Numbers{value, 0, -value});
  return rows;
}

/// With one entry, a1 x a2.
KroneckerSketch pairs_of(double a1, double a2, double x) {
  KroneckerSketch sketch({.n1 = 20, .n2 = 20, .d1 = 1, .d2 = 1}, {.dimension = 1, .buckets = 64, .seed = 5},
                         {.buckets = 64});
  sketch.a1.update(Keys{3}, Keys{0}, Numbers{a1});
  sketch.a2.update(Keys{4}, Keys{0}, Numbers{a2});
  sketch.x[0] = x;
  sketch.x_events = 1;
  return sketch;
}

TEST(Range, IsThatOfTheVectorAlone) {
  VectorSketch sketch = sketch_of(0);
  EXPECT_EQ(describe_range_problem(sketch), "");
  sketch.update(Keys{42}, Numbers{1e-100});
  EXPECT_EQ(describe_range_problem(sketch), "");
  sketch.scale(1e-100);
  EXPECT_NE(describe_range_problem(sketch).find("too small"), std::string::npos);
  sketch.scale(0);
  EXPECT_EQ(describe_range_problem(sketch), "");
  sketch.update(Keys{42}, Numbers{1e200});
  EXPECT_NE(describe_range_problem(sketch).find("too large"), std::string::npos);
}

TEST(Range, OfAVectorDrawnFrom) {
  const SketchConfig for_precision{.dimension = 100, .buckets = 64, .law = ScaleLaw::uniform, .seed = 1};
  for (const auto& [value, problem] : {std::pair{1e-200, "too small"}, {1e200, "too large"}}) {
    const VectorSketch y = sketch_of(value);
    for (const double threshold : {0.0, 1.0})
      expect_error([&] { std::ignore = draw_with_replacement(y, {.threshold = threshold}); }, {problem});
    expect_error([&] { std::ignore = draw_without_replacement(y, {}); }, {problem});
    expect_error([&] { std::ignore = heavy_coordinates(y, 5); }, {problem});
    expect_error([&, value = value] { std::ignore = draw_by_precision_sampling(sketch_of(value, for_precision), {}); },
                 {problem});
  }
  for (const double value : {1e-150, 1e150}) {
    const SampleResult result = draw_with_replacement(sketch_of(value), {.threshold = 0});
    ASSERT_FALSE(result.draws.empty());
    EXPECT_EQ(result.draws[0].index, 42u);
    EXPECT_NEAR(result.draws[0].value / value, 1, 1e-12);
    EXPECT_NEAR(result.norm / value, 1, 1e-12);
  }
}

TEST(Range, OfADenseVectorIsThatOfItsNorm) {
  for (const double value : {5e-324, 1e-200, 1e200}) {
    DenseVector y(10);
    y.update(Keys{3, 7}, Numbers{value, -value});
    for (const SampleResult& result : {draw_with_replacement(y, {.samples = 50}), draw_without_replacement(y, {})}) {
      EXPECT_FALSE(result.zero_vector);
      ASSERT_FALSE(result.draws.empty());
      for (const Draw& draw : result.draws) {
        EXPECT_EQ(draw.value, draw.index == 3 ? value : -value);
        EXPECT_EQ(draw.probability, 0.5);
      }
    }
  }
  for (const Numbers& values : {Numbers{1.5e308, 1.5e308}, Numbers{infinity, 1}, Numbers{std::nan(""), 1}}) {
    DenseVector y(2);
    std::copy(values.begin(), values.end(), y.table().begin());
    expect_error([&] { std::ignore = draw_with_replacement(y, {}); }, {"too large"});
    expect_error([&] { std::ignore = draw_without_replacement(y, {}); }, {"too large"});
  }
}

// 1e80 squared can be measured, its square, of which p = 4 draws, cannot.
TEST(Range, OfAProductIsThatOfItsSquaresToo) {
  for (const double value : {1e60, 1e80}) {
    ProductSketch operands({.dimension = 10, .buckets = 64, .seed = 2}, 1, 2);
    operands.a.update_rows(Keys{3}, Numbers{1}, Numbers{value, value * value});
    operands.x[0] = 1;
    EXPECT_EQ(describe_range_problem(operands.y()), "");
    EXPECT_EQ(describe_range_problem(operands.squares()).find("the values are too large") == 0, value > 1e70) << value;
  }
}

TEST(Range, OfRowsIsThatOfTheirMasses) {
  const auto draw = [](const RowsSketch& rows, const Metric& metric) {
    return draw_rows(rows.draws, metric, {metric.total(rows.gram())}, {.threshold = 0});
  };
  EXPECT_NE(describe_range_problem(rows_of(1e-200)).find("too small"), std::string::npos);
  expect_error([&] { std::ignore = draw(rows_of(1e-200), Metric::norm(3)); }, {"too small"});
  expect_error([&] { std::ignore = draw(rows_of(1e200), Metric::norm(3)); }, {"inf"});
  // The metric makes them too small, or large enough.
  const auto times_identity = [](double scale) {
    return Metric::of({3, 3, {scale, 0, 0, 0, scale, 0, 0, 0, scale}}, "M");
  };
  expect_error([&] { std::ignore = draw(rows_of(1e-50), times_identity(1e-250)); }, {"too small"});
  const SampleResult result = draw(rows_of(1e-150), times_identity(1e250));
  ASSERT_FALSE(result.draws.empty());
  EXPECT_NEAR(result.norm / 1e-25, std::sqrt(2.0), 1e-9);
  // M does not see the row: no mass, and no problem.
  EXPECT_TRUE(draw(rows_of(1), Metric::of({3, 3, {0, 0, 0, 0, 1, 0, 0, 0, 0}}, "M")).zero_vector);

  RowsSketch broken = rows_of(1);
  broken.draws.table()[0] = infinity;
  expect_error([&] { std::ignore = draw(broken, Metric::norm(3)); }, {"too large"});
}

TEST(Range, OfPairsIsThatOfTheirProducts) {
  const auto draw = [](double a1, double a2, double x) { return draw_pairs(pairs_of(a1, a2, x), {.threshold = 0}); };
  for (const auto& [a1, a2, x] : {std::tuple{1e-200, 1.0, 1.0},
                                  {1.0, 1e-200, 1.0},
                                  {1.0, 1.0, 1e-200},
                                  {1e-100, 1e-100, 1.0},
                                  {1.0, 1e-100, 1e-100},
                                  {1e-100, 1.0, 1e-100}}) {
    expect_error([&, a1 = a1, a2 = a2, x = x] { std::ignore = draw(a1, a2, x); }, {"scale", "up"});
  }
  for (const auto& [a1, a2, x] : {std::tuple{1e200, 1.0, 1.0}, {1.0, 1e200, 1.0}, {1.0, 1.0, 1e200}, {1e80, 1e80, 1.0}})
    EXPECT_THROW((std::ignore = draw(a1, a2, x)), InputError) << a1 << " " << a2 << " " << x;
  // A1 makes up for the others, as long as the metric that they are holds squares of theirs.
  expect_error([&] { std::ignore = draw(1e140, 1e-100, 1e-100); }, {"scale", "up"});
  const SampleResult result = draw(1e80, 1e-70, 1e-70);
  ASSERT_FALSE(result.draws.empty());
  EXPECT_EQ(result.draws[0].index, 3u);
  EXPECT_EQ(result.draws[0].column, 4u);
  EXPECT_NEAR(result.draws[0].value / 1e-60, 1, 1e-9);
  EXPECT_NEAR(result.norm / 1e-60, 1, 1e-9);
  EXPECT_TRUE(draw(1, 1, 0).zero_vector);
}

}  // namespace
}  // namespace weir
