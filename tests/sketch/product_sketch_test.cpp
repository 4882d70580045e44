#include "weir/sketch/product_sketch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "weir/error.hpp"
#include "weir/sketch/lift.hpp"

namespace weir {
namespace {

constexpr std::uint64_t n = 500;
constexpr std::size_t d = 5;

SketchConfig small_config() {
  SketchConfig config{.dimension = n, .levels = 2, .seed = 11};
  config.buckets = 32;
  config.lanes = 8;
  return config;
}

double small_integer(std::uint64_t seed) { return static_cast<double>(finalise(seed) % 7) - 3; }

/// A dense matrix and vector of small integers, and what the sketches of y = A x and of its squares must be.
struct Operands {
  std::vector<double> a;  ///< [i][j]
  std::vector<double> x;

  explicit Operands(std::uint64_t seed) {
    for (std::size_t k = 0; k < n * d; ++k) a.push_back(small_integer(seed + k));
    for (std::size_t j = 0; j < d; ++j) x.push_back(small_integer(seed + n * d + j));
  }

  [[nodiscard]] std::span<const double> row(std::size_t i) const { return std::span(a).subspan(i * d, d); }

  /// Sketch of y_i^power.
  [[nodiscard]] VectorSketch sketch_of_power(int power) const {
    std::vector<std::uint64_t> keys;
    std::vector<double> values;
    for (std::size_t i = 0; i < n; ++i) {
      double y = 0;
      for (std::size_t j = 0; j < d; ++j) y += row(i)[j] * x[j];
      keys.push_back(i);
      values.push_back(std::pow(y, power));
    }
    VectorSketch sketch(small_config());
    sketch.update(keys, values);
    return sketch;
  }
};

/// The sketch of the rows i with i % parts == part, and of the entries of x likewise.
ProductSketch part_of(const Operands& operands, std::uint32_t degree, std::size_t part, std::size_t parts) {
  ProductSketch sketch(small_config(), d, degree);
  std::vector<std::uint64_t> rows;
  std::vector<double> values;
  std::vector<double> lifted(lifted_size(d));
  for (std::size_t i = part; i < n; i += parts) {
    rows.push_back(i);
    const auto row = operands.row(i);
    values.insert(values.end(), row.begin(), row.end());
    if (degree == 2) {
      lift_row(row, lifted);
      values.insert(values.end(), lifted.begin(), lifted.end());
    }
  }
  sketch.a.update_rows(rows, std::vector<double>(rows.size(), 1.0), values);
  for (std::size_t j = part; j < d; j += parts) sketch.x[j] = operands.x[j];
  return sketch;
}

bool same_bits(std::span<const double> a, std::span<const double> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
  });
}

TEST(Lift, TurnsSquaresIntoInnerProducts) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{2}, std::size_t{7}}) {
    std::vector<double> a;
    std::vector<double> x;
    for (std::size_t j = 0; j < size; ++j) {
      a.push_back(small_integer(j));
      x.push_back(small_integer(100 + j));
    }
    std::vector<double> lifted_a(lifted_size(size));
    std::vector<double> lifted_x(lifted_size(size));
    lift_row(a, lifted_a);
    lift_vector(x, lifted_x);
    double inner = 0;
    double lifted_inner = 0;
    for (std::size_t j = 0; j < size; ++j) inner += a[j] * x[j];
    for (std::size_t k = 0; k < lifted_a.size(); ++k) lifted_inner += lifted_a[k] * lifted_x[k];
    EXPECT_EQ(lifted_inner, inner * inner);
  }
}

TEST(Lift, OrdersPairsAsDocumented) {
  std::vector<double> lifted(6);
  lift_row(std::vector<double>{2, 3, 5}, lifted);
  EXPECT_EQ(lifted, (std::vector<double>{4, 6, 10, 9, 15, 25}));
  lift_vector(std::vector<double>{2, 3, 5}, lifted);
  EXPECT_EQ(lifted, (std::vector<double>{4, 12, 20, 9, 30, 25}));
}

TEST(Lift, SizesDoNotWrap) {
  EXPECT_EQ(lifted_size(0), 0U);
  EXPECT_EQ(lifted_size(1), 1U);
  EXPECT_EQ(lifted_size(64), 2080U);
  EXPECT_EQ(lifted_size(0xFFFFFFFFU), 0x7FFFFFFF80000000U);
  EXPECT_THROW((void)lifted_size(std::uint64_t{1} << 32U), UsageError);
  EXPECT_THROW((void)lifted_size(std::numeric_limits<std::uint64_t>::max()), UsageError);
}

TEST(ProductSketch, IsTheSketchOfTheProductAndOfItsSquares) {
  const Operands operands(1);
  for (const std::uint32_t degree : {1U, 2U}) {
    const ProductSketch sketch = part_of(operands, degree, 0, 1);
    EXPECT_TRUE(same_bits(sketch.y().table(), operands.sketch_of_power(1).table())) << degree;
  }
  EXPECT_TRUE(same_bits(part_of(operands, 2, 0, 1).squares().table(), operands.sketch_of_power(2).table()));
}

// Rows of A and entries of x lie on different parts: multiplying before merging would lose most of y.
TEST(ProductSketch, PartsAreMergedBeforeTheyAreMultiplied) {
  const Operands operands(2);
  ProductSketch sum = part_of(operands, 2, 0, 3);
  VectorSketch wrong = sum.y();
  for (const std::size_t part : {std::size_t{1}, std::size_t{2}}) {
    sum.add(part_of(operands, 2, part, 3));
    wrong.add(part_of(operands, 2, part, 3).y());
  }
  EXPECT_TRUE(same_bits(sum.y().table(), operands.sketch_of_power(1).table()));
  EXPECT_TRUE(same_bits(sum.squares().table(), operands.sketch_of_power(2).table()));
  EXPECT_FALSE(same_bits(wrong.table(), sum.y().table()));
}

TEST(ProductSketch, AddsAndScalesEachOperand) {
  const Operands operands(3);
  ProductSketch sketch = part_of(operands, 1, 0, 1);
  sketch.add(sketch);
  VectorSketch expected = operands.sketch_of_power(1);
  expected.scale(4);  // 2 A times 2 x
  EXPECT_TRUE(same_bits(sketch.y().table(), expected.table()));
  sketch.scale(0.5);
  EXPECT_TRUE(same_bits(sketch.y().table(), operands.sketch_of_power(1).table()));
  EXPECT_FALSE(sketch.x_is_zero());
  sketch.add(part_of(operands, 1, 0, 1), -1);
  EXPECT_TRUE(sketch.x_is_zero());
  EXPECT_TRUE(sketch.a.is_zero());
  EXPECT_TRUE(sketch.y().is_zero());
}

TEST(ProductSketch, IsLinearInOneOperandWhileTheOtherIsFixed) {
  const Operands first(4);
  Operands second = first, combined = first;
  second.x = Operands(5).x;
  for (std::size_t j = 0; j < d; ++j) combined.x[j] += -3 * second.x[j];
  for (const std::uint32_t degree : {1U, 2U}) {
    ProductSketch sum = part_of(first, degree, 0, 1);
    sum.add(part_of(second, degree, 0, 1), -3, {Operand::A});
    EXPECT_TRUE(same_bits(sum.y().table(), combined.sketch_of_power(1).table()));
    if (degree == 2) {
      EXPECT_TRUE(same_bits(sum.squares().table(), combined.sketch_of_power(2).table()));
    }
    VectorSketch twice = combined.sketch_of_power(1);
    twice.scale(2);
    sum.scale(2, {Operand::A});
    EXPECT_TRUE(same_bits(sum.y().table(), twice.table()));
  }

  // Rows come to those that are there.
  ProductSketch sum = part_of(first, 2, 0, 1);
  sum.add(part_of(first, 2, 0, 1), 1, {Operand::x});
  VectorSketch twice = first.sketch_of_power(1);
  twice.scale(2);
  EXPECT_TRUE(same_bits(sum.y().table(), twice.table()));
  const ProductSketch before = sum;
  EXPECT_THROW(sum.add(before, 2, {Operand::x}), InputError);
  EXPECT_THROW(sum.scale(2, {Operand::x}), InputError);
  EXPECT_TRUE(same_bits(sum.a.table(), before.a.table()));
}

TEST(ProductSketch, RefusesToCombineWithAnother) {
  const auto message = [](const ProductSketch& a, const ProductSketch& b) -> std::string {
    try {
      ProductSketch(a).add(b);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  const SketchConfig config = small_config();
  SketchConfig other = config;
  other.seed = 12;
  const ProductSketch sketch(config, 2, 2);  // five columns
  EXPECT_EQ(message(sketch, ProductSketch(config, 5)), "the sketches do not combine: degree: 2 against 1");
  EXPECT_EQ(message(sketch, ProductSketch(config, 3, 2)), "the sketches do not combine: columns: 2 against 3");
  EXPECT_EQ(message(sketch, ProductSketch(other, 2, 2)), "the sketches do not combine: seed: 11 against 12");
  EXPECT_EQ(message(sketch, ProductSketch(config, 2, 2)), "");
  EXPECT_EQ(sketch.fingerprint(), ProductSketch(config, 2, 2).fingerprint());
  for (const ProductSketch& different :
       {ProductSketch(config, 5), ProductSketch(config, 3, 2), ProductSketch(other, 2, 2)}) {
    EXPECT_NE(sketch.fingerprint(), different.fingerprint());
  }
}

TEST(ProductSketch, RefusesShapesThatCannotBe) {
  const SketchConfig config = small_config();
  EXPECT_THROW(ProductSketch(config, 0), UsageError);
  EXPECT_THROW(ProductSketch(config, 0, 2), UsageError);
  EXPECT_THROW(ProductSketch(config, 5, 0), UsageError);
  EXPECT_THROW(ProductSketch(config, 5, 3), UsageError);
  EXPECT_THROW(ProductSketch(config, std::uint64_t{1} << 32U), UsageError);
  EXPECT_THROW(ProductSketch(config, std::uint64_t{1} << 20U, 2), UsageError);
  EXPECT_THROW(ProductSketch(config, std::numeric_limits<std::uint64_t>::max(), 2), UsageError);
  EXPECT_THROW((void)ProductSketch(config, 5).squares(), UsageError);
  ProductSketch sketch(config, 2, 2);
  EXPECT_EQ(sketch.a.columns(), 5U);
  sketch.x[1] = std::numeric_limits<double>::infinity();
  EXPECT_THROW((void)sketch.y(), InputError);
  sketch.x[1] = 1e200;  // its square is not finite
  EXPECT_NO_THROW((void)sketch.y());
  EXPECT_THROW((void)sketch.squares(), InputError);
}

}  // namespace
}  // namespace weir
