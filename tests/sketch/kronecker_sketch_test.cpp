#include "weir/sketch/kronecker_sketch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr KroneckerShape shape{.n1 = 30, .n2 = 50, .d1 = 3, .d2 = 2};

SketchConfig small_config() {
  SketchConfig config{.dimension = 1, .buckets = 32, .lanes = 8};
  config.seed = 7;
  return config;
}

KroneckerSketch empty(bool exact = false) { return {shape, small_config(), {.buckets = 64, .exact = exact}}; }

double small_integer(std::uint64_t seed) { return static_cast<double>(finalise(seed) % 9) - 4; }

/// Rows [first, last) of a factor whose entry k is small_integer(seed + k).
void add_rows(RowsSketch& sketch, std::uint64_t seed, std::uint64_t first, std::uint64_t last) {
  std::vector<std::uint64_t> indices(last - first);
  std::iota(indices.begin(), indices.end(), first);
  std::vector<double> values;
  for (std::uint64_t k = first * sketch.columns(); k < last * sketch.columns(); ++k) {
    values.push_back(small_integer(seed + k));
  }
  sketch.update_rows(indices, std::vector<double>(indices.size(), 1.0), values);
}

/// Events [part of two] of all the operands.
void add_half(KroneckerSketch& sketch, std::uint64_t half) {
  add_rows(sketch.a1, 100, half * 15, half * 15 + 15);
  add_rows(sketch.a2, 900, half * 20, half == 0 ? 20 : 50);
  for (std::size_t k = half * 3; k < half * 3 + 3; ++k) sketch.x[k] += small_integer(2000 + k);
  sketch.x_events += 3;
}

bool equal(const KroneckerSketch& a, const KroneckerSketch& b) {
  const auto same = [](const RowsSketch& x, const RowsSketch& y) {
    return std::ranges::equal(x.draws.table(), y.draws.table()) && std::ranges::equal(x.wide.table(), y.wide.table()) &&
           x.exact_gram == y.exact_gram;
  };
  return same(a.a1, b.a1) && same(a.a2, b.a2) && a.x == b.x;
}

TEST(KroneckerSketch, FactorsHaveTheirSidesAndSeedsOfTheirOwn) {
  const KroneckerSketch sketch = empty();
  EXPECT_EQ(sketch.config().dimension, shape.n1);
  EXPECT_EQ(sketch.config().seed, 7U);
  const RowsSketch* factors[] = {&sketch.a1, &sketch.a2};
  for (std::uint32_t q = 0; q < 2; ++q) {
    SketchConfig expected = small_config();
    expected.dimension = q == 0 ? shape.n1 : shape.n2;
    expected.seed = subkey(7, Purpose::operand, q, 0);
    EXPECT_EQ(factors[q]->config(), expected);
    EXPECT_EQ(factors[q]->columns(), q == 0 ? shape.d1 : shape.d2);
    EXPECT_EQ(factors[q]->wide.config().seed, subkey(expected.seed, Purpose::operand, 0, 1));
  }
}

TEST(KroneckerSketch, TheCoreIsTheIdentityUntilAnEventOfX) {
  EXPECT_EQ(message_of<InputError>([] { (void)empty().core(); }),
            "no entry of X: expected some, as X is 3 x 2 and cannot be the identity");
  KroneckerSketch square({.n1 = 5, .n2 = 6, .d1 = 2, .d2 = 2}, small_config(), {.buckets = 64});
  EXPECT_EQ(square.core(), (DenseMatrix{2, 2, {1, 0, 0, 1}}));
  square.x_events = 1;
  square.x[1] = 4;
  EXPECT_EQ(square.core(), (DenseMatrix{2, 2, {0, 4, 0, 0}}));
  KroneckerSketch taken_back = square;
  taken_back.add(square, -1.0);
  EXPECT_EQ(taken_back.core(), (DenseMatrix{2, 2, {0, 0, 0, 0}}));
}

TEST(KroneckerSketch, F2OfExactGramMatricesIsThatOfY) {
  KroneckerSketch sketch = empty(true);
  add_half(sketch, 0);
  add_half(sketch, 1);
  double f2 = 0;
  for (std::uint64_t i1 = 0; i1 < shape.n1; ++i1) {
    for (std::uint64_t i2 = 0; i2 < shape.n2; ++i2) {
      double y = 0;
      for (std::uint64_t j = 0; j < shape.d1; ++j) {
        for (std::uint64_t k = 0; k < shape.d2; ++k) {
          y += small_integer(100 + i1 * shape.d1 + j) * sketch.x[j * shape.d2 + k] *
               small_integer(900 + i2 * shape.d2 + k);
        }
      }
      f2 += y * y;
    }
  }
  EXPECT_EQ(sketch.f2(), f2);
}

TEST(KroneckerSketch, F2ThatOverflowsIsNotZero) {
  // Terms of both signs: their sum is no number.
  KroneckerSketch sketch({.n1 = 4, .n2 = 4, .d1 = 2, .d2 = 2}, small_config(), {.buckets = 64, .exact = true});
  const std::vector<std::uint64_t> row{1};
  const std::vector<double> comes{1};
  sketch.a1.update_rows(row, comes, std::vector<double>{1e90, 1e90});
  sketch.a2.update_rows(row, comes, std::vector<double>{1e90, -5e89});
  EXPECT_FALSE(std::isfinite(sketch.f2()));
}

TEST(KroneckerSketch, IsLinearInEachOperandAndMultipliesAfterwards) {
  for (const bool exact : {false, true}) {
    KroneckerSketch whole = empty(exact);
    add_half(whole, 0);
    add_half(whole, 1);
    KroneckerSketch first = empty(exact);
    add_half(first, 0);
    KroneckerSketch second = empty(exact);
    add_half(second, 1);
    KroneckerSketch sum = first;
    sum.add(second);
    EXPECT_TRUE(equal(sum, whole));
    EXPECT_EQ(sum.x_events, 6);
    EXPECT_EQ(sum.f2(), whole.f2());
    EXPECT_NE(sum.f2(), first.f2() + second.f2());
    sum.add(sum, -1.0);
    EXPECT_TRUE(equal(sum, empty(exact)));
  }
  KroneckerSketch whole = empty();
  add_half(whole, 0);
  KroneckerSketch twice = whole;
  twice.scale(2.0);
  EXPECT_EQ(twice.f2(), 64 * whole.f2());
}

TEST(KroneckerSketch, IsLinearInOneOperandWhileTheOthersAreFixed) {
  KroneckerSketch whole = empty(true);
  add_half(whole, 0);
  add_half(whole, 1);
  KroneckerSketch sum = whole;
  sum.add(whole, 2, {Operand::A1, Operand::A2});  // 3 X
  EXPECT_EQ(sum.f2(), 9 * whole.f2());
  sum.scale(2, {Operand::A1, Operand::A2});
  EXPECT_EQ(sum.f2(), 36 * whole.f2());
  sum = whole;
  sum.add(whole, 1, {Operand::A1, Operand::X});
  EXPECT_EQ(sum.x_events, whole.x_events);
  EXPECT_EQ(sum.tensor().image().table().front(), 2 * whole.tensor().image().table().front());
  const KroneckerSketch before = sum;
  EXPECT_THROW(sum.add(whole, 2, {Operand::A1, Operand::X}), InputError);
  EXPECT_THROW(sum.scale(2, {Operand::A2}), InputError);
  EXPECT_TRUE(equal(sum, before));
}

TEST(KroneckerSketch, SaysWhatDiffers) {
  const auto with = [](auto change) {
    KroneckerShape other_shape = shape;
    SketchConfig config = small_config();
    GramConfig gram{.buckets = 64};
    change(other_shape, config, gram);
    return KroneckerSketch(other_shape, config, gram);
  };
  using Shape = KroneckerShape;
  using Config = SketchConfig;
  const std::vector<std::pair<KroneckerSketch, std::string>> others{
      {with([](Shape&, Config& config, GramConfig&) { config.seed = 8; }), "seed: 7 against 8"},
      {with([](Shape& sides, Config&, GramConfig&) { sides.n1 = 31; }), "dimension: 30 against 31"},
      {with([](Shape& sides, Config&, GramConfig&) { sides.n2 = 51; }), "A2: dimension: 50 against 51"},
      {with([](Shape& sides, Config&, GramConfig&) { sides.d1 = 4; }), "A1: columns: 3 against 4"},
      {with([](Shape& sides, Config&, GramConfig&) { sides.d2 = 3; }), "A2: columns: 2 against 3"},
      {with([](Shape&, Config&, GramConfig& gram) { gram.exact = true; }),
       "A1: exact Gram matrix: false against true"}};
  for (const auto& [other, difference] : others) {
    EXPECT_EQ(describe_difference(empty(), other), difference);
    EXPECT_NE(empty().fingerprint(), other.fingerprint());
    EXPECT_EQ(message_of<InputError>([&, &o = other] { empty().add(o); }),
              "the sketches do not combine: " + difference);
  }
  EXPECT_EQ(describe_difference(empty(), empty()), "");
  EXPECT_EQ(empty().fingerprint(), empty().fingerprint());
}

TEST(KroneckerSketch, AnExactGramMatrixRefusesMultiplesWithNothingChanged) {
  KroneckerSketch sketch = empty(true);
  add_half(sketch, 0);
  const KroneckerSketch before = sketch;
  EXPECT_THROW(sketch.add(before, 2.0), InputError);
  EXPECT_THROW(sketch.scale(2.0), InputError);
  EXPECT_TRUE(equal(sketch, before));
}

TEST(KroneckerSketch, TheTensorSketchIsOfItsWideSketches) {
  KroneckerSketch sketch = empty();
  add_half(sketch, 0);
  add_half(sketch, 1);
  const TensorSketch tensor = sketch.tensor();
  EXPECT_EQ(tensor.config.dimensions, (std::vector{shape.n1, shape.n2}));
  EXPECT_EQ(tensor.config.seed, 7U);
  const RowsSketch* factors[] = {&sketch.a1, &sketch.a2};
  for (std::size_t q = 0; q < 2; ++q) {
    EXPECT_EQ(tensor.config.factor(q, 0), factors[q]->wide.config());
    EXPECT_TRUE(std::ranges::equal(tensor.factors[q][0].table(), factors[q]->wide.table()));
  }
  EXPECT_EQ(tensor.core, sketch.x);
}

TEST(KroneckerSketch, ProductsOfSidesMayExceed64Bits) {
  constexpr std::uint64_t n = std::uint64_t{1} << 63U;
  const KroneckerSketch sketch({.n1 = n, .n2 = n, .d1 = 2, .d2 = 2}, small_config(), {.buckets = 64});
  EXPECT_EQ(sketch.f2(), 0);
}

}  // namespace
}  // namespace weir
