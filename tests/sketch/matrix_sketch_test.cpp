#include "weir/sketch/matrix_sketch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "support/simd_targets.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::message_of;

struct Entries {
  std::vector<std::uint64_t> rows;
  std::vector<std::uint64_t> columns;
  std::vector<double> deltas;

  void push_back(std::uint64_t row, std::uint64_t column, double delta) {
    rows.push_back(row);
    columns.push_back(column);
    deltas.push_back(delta);
  }
};

struct Rows {
  std::vector<std::uint64_t> rows;
  std::vector<double> weights;
  std::vector<double> values;
};

double small_integer(std::uint64_t seed) { return static_cast<double>(finalise(seed) % 15) - 7; }

/// Integers in random places; some runs of a row, and some whole rows one entry after the other.
Entries integer_entries(std::size_t length, std::uint64_t dimension, std::uint64_t columns, std::uint64_t seed) {
  Entries entries;
  while (entries.rows.size() < length) {
    const std::uint64_t word = finalise(seed * 1000003 + entries.rows.size());
    const std::uint64_t row = (word >> 8U) % dimension;
    const std::uint64_t run = word % 4 == 0 ? 1 + word % 7 : word % 16 == 1 ? columns : 1;
    for (std::uint64_t k = 0; k < run; ++k) {
      const std::uint64_t column = run == columns ? k : finalise(word + k) % columns;
      entries.push_back(row, column, small_integer(word + k));
    }
  }
  return entries;
}

Rows integer_rows(std::size_t count, std::uint64_t dimension, std::uint64_t columns, std::uint64_t seed) {
  Rows batch;
  for (std::size_t t = 0; t < count; ++t) {
    batch.rows.push_back(finalise(seed + 31 * t) % dimension);
    batch.weights.push_back(std::array{1.0, -1.0, 3.0, -2.0}[t % 4]);
    for (std::uint64_t j = 0; j < columns; ++j) batch.values.push_back(small_integer(seed + t * columns + j));
  }
  return batch;
}

MatrixSketch sketch_of(const SketchConfig& config, std::uint64_t columns, const Entries& entries) {
  MatrixSketch sketch(config, columns);
  sketch.update(entries.rows, entries.columns, entries.deltas);
  return sketch;
}

MatrixSketch sketch_of(const SketchConfig& config, std::uint64_t columns, const Rows& batch) {
  MatrixSketch sketch(config, columns);
  sketch.update_rows(batch.rows, batch.weights, batch.values);
  return sketch;
}

/// What the whole rows are, entry by entry.
Entries entries_of(const Rows& batch, std::uint64_t columns) {
  Entries entries;
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    for (std::uint64_t j = 0; j < columns; ++j) {
      entries.push_back(batch.rows[t], j, batch.weights[t] * batch.values[t * columns + j]);
    }
  }
  return entries;
}

/// The sketch of A x for the A of the entries, by its definition.
VectorSketch vector_of(const SketchConfig& config, const Entries& entries, std::span<const double> x) {
  std::vector<double> deltas;
  for (std::size_t t = 0; t < entries.rows.size(); ++t) {
    deltas.push_back(entries.deltas[t] * x[static_cast<std::size_t>(entries.columns[t])]);
  }
  VectorSketch sketch(config);
  sketch.update(entries.rows, deltas);
  return sketch;
}

bool same_bits(std::span<const double> a, std::span<const double> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
  });
}

std::vector<double> integer_vector(std::uint64_t size, std::uint64_t seed) {
  std::vector<double> x;
  for (std::uint64_t j = 0; j < size; ++j) x.push_back(small_integer(seed + j));
  return x;
}

SketchConfig configured(std::uint64_t n, std::uint32_t rows, std::uint64_t buckets, std::uint32_t lanes,
                        std::uint32_t levels, Randomness randomness = Randomness::mix) {
  SketchConfig config{.dimension = n, .seed = 42};
  config.rows = rows;
  config.buckets = buckets;
  config.lanes = lanes;
  config.levels = levels;
  config.randomness = randomness;
  return config;
}

struct Shape {
  std::uint64_t columns;
  SketchConfig config;
};

std::vector<Shape> shapes() {
  return {{1, configured(50000, 5, 64, 16, 1)},
          {3, configured(50000, 5, 64, 16, 2)},
          {15, configured(4096, 5, 32, 8, 1)},
          {17, configured(std::uint64_t{1} << 40U, 3, 16, 24, 3)},
          {40, configured(300, 1, 4, 1, 1)},
          {9, configured(300, 7, 16, 1, 2)},
          {13, configured(1000, 5, 16, 2, 2)},
          {5, configured(1, 5, 2, 8, 3)},
          {64, configured(100000, 5, 8, 16, 1)},
          {33, configured(1000, 15, 4, 40, 2)},
          {6, configured(50000, 5, 8192, 2, 1)},
          {10, configured(5000, 5, 64, 8, 2, Randomness::kwise)},
          {4, configured(5000, 3, 64, 1, 1, Randomness::kwise)}};
}

std::string text(const Shape& shape) {
  return "d " + std::to_string(shape.columns) + " R " + std::to_string(shape.config.rows) + " L " +
         std::to_string(shape.config.lanes) + " levels " + std::to_string(shape.config.levels);
}

// VectorSketch is checked against its definition elsewhere.
TEST(MatrixSketch, HoldsTheVectorSketchOfEveryColumnOnEveryTarget) {
  for (const Shape& shape : shapes()) {
    const SketchConfig& config = shape.config;
    const std::uint64_t columns = shape.columns;
    const Entries entries = integer_entries(700, config.dimension, columns, 1);
    std::vector<VectorSketch> expected;
    std::vector<double> unit(columns);
    for (std::size_t j = 0; j < columns; ++j) {
      unit[j] = 1;
      expected.push_back(vector_of(config, entries, unit));
      unit[j] = 0;
    }
    testing::for_each_simd_target([&](const std::string& target) {
      const MatrixSketch sketch = sketch_of(config, columns, entries);
      const std::size_t lanes = config.lanes;
      for (std::size_t j = 0; j < columns; ++j) {
        std::vector<double> cells;
        for (std::size_t cell = 0; cell < config.table_size() / lanes; ++cell) {
          const auto column = sketch.table().subspan((cell * columns + j) * lanes, lanes);
          cells.insert(cells.end(), column.begin(), column.end());
        }
        EXPECT_TRUE(same_bits(cells, expected[j].table())) << target << " " << text(shape) << " column " << j;
        unit[j] = 1;
        EXPECT_TRUE(same_bits(sketch.product(unit).table(), expected[j].table())) << target << " column " << j;
        unit[j] = 0;
      }
    });
  }
}

TEST(MatrixSketch, ProductIsTheSketchOfTheProductOnEveryTarget) {
  for (const Shape& shape : shapes()) {
    const SketchConfig& config = shape.config;
    const std::uint64_t columns = shape.columns;
    const Entries entries = integer_entries(700, config.dimension, columns, 2);
    const std::vector<double> x = integer_vector(columns, 3);
    const VectorSketch expected = vector_of(config, entries, x);
    const std::size_t first = columns / 3;
    const std::size_t count = (columns - first + 1) / 2;
    std::vector<double> block(columns);
    std::copy_n(x.begin(), count, block.begin() + static_cast<std::ptrdiff_t>(first));
    const VectorSketch expected_of_block = vector_of(config, entries, block);
    testing::for_each_simd_target([&](const std::string& target) {
      const MatrixSketch sketch = sketch_of(config, columns, entries);
      EXPECT_TRUE(same_bits(sketch.product(x).table(), expected.table())) << target << " " << text(shape);
      EXPECT_TRUE(same_bits(sketch.product(first, std::span(x).first(count)).table(), expected_of_block.table()))
          << target << " " << text(shape);
      EXPECT_EQ(sketch.product(x).config(), config);
      EXPECT_TRUE(sketch.product(columns, {}).is_zero());
    });
  }
}

// 1100 rows: batches that are sorted by bucket, and at B = 8192 batches that are not.
TEST(MatrixSketch, WholeRowsAreTheirEntriesOnEveryTarget) {
  for (const Shape& shape : shapes()) {
    const SketchConfig& config = shape.config;
    const std::uint64_t columns = shape.columns;
    const Rows batch = integer_rows(1100, config.dimension, columns, 4);
    const Entries entries = entries_of(batch, columns);
    std::vector<double> expected;
    testing::for_each_simd_target([&](const std::string& target) {
      if (expected.empty()) {  // entries one at a time, so that nothing is found to be a whole row
        MatrixSketch sketch(config, columns);
        for (std::size_t t = 0; t < entries.rows.size(); ++t) {
          sketch.update(std::span(entries.rows).subspan(t, 1), std::span(entries.columns).subspan(t, 1),
                        std::span(entries.deltas).subspan(t, 1));
        }
        expected.assign(sketch.table().begin(), sketch.table().end());
      }
      EXPECT_TRUE(same_bits(sketch_of(config, columns, batch).table(), expected)) << target << " " << text(shape);
      EXPECT_TRUE(same_bits(sketch_of(config, columns, entries).table(), expected)) << target << " " << text(shape);
    });
  }
}

TEST(MatrixSketch, IntegersGiveTheSameBitsInAnyOrderAndPartition) {
  for (const Shape& shape : shapes()) {
    const SketchConfig& config = shape.config;
    const std::uint64_t columns = shape.columns;
    const Entries entries = integer_entries(900, config.dimension, columns, 5);
    const MatrixSketch whole = sketch_of(config, columns, entries);
    std::vector<std::size_t> order(entries.rows.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t t = order.size() - 1; t > 0; --t) std::swap(order[t], order[finalise(t) % (t + 1)]);
    for (const std::size_t parts : {std::size_t{1}, std::size_t{3}}) {
      MatrixSketch sum(config, columns);
      for (std::size_t part = 0; part < parts; ++part) {
        Entries slice;
        for (std::size_t t = part; t < order.size(); t += parts) {
          slice.push_back(entries.rows[order[t]], entries.columns[order[t]], entries.deltas[order[t]]);
        }
        sum.add(sketch_of(config, columns, slice));
      }
      EXPECT_TRUE(same_bits(sum.table(), whole.table())) << text(shape) << " in " << parts;
    }
  }
}

// Each cell takes its additions in the order of the batch, so real values too do not depend on how batches are cut.
// 20,000 rows: more than are worked on at a time.
TEST(MatrixSketch, RealRowsGiveTheSameBitsHoweverTheyAreBatched) {
  const SketchConfig config = configured(5000, 5, 32, 8, 1);
  constexpr std::uint64_t columns = 10;
  Rows batch = integer_rows(20000, config.dimension, columns, 6);
  for (double& value : batch.values) value = value / 3 + 0.1;
  for (double& weight : batch.weights) weight = std::copysign(1.0, weight);
  std::vector<double> expected;
  testing::for_each_simd_target([&](const std::string& target) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{7}, std::size_t{20000}}) {
      MatrixSketch sketch(config, columns);
      for (std::size_t first = 0; first < batch.rows.size(); first += size) {
        const std::size_t count = std::min(size, batch.rows.size() - first);
        sketch.update_rows(std::span(batch.rows).subspan(first, count), std::span(batch.weights).subspan(first, count),
                           std::span(batch.values).subspan(first * columns, count * columns));
      }
      if (expected.empty()) expected.assign(sketch.table().begin(), sketch.table().end());
      EXPECT_TRUE(same_bits(sketch.table(), expected)) << target << " batches of " << size;
    }
    EXPECT_TRUE(same_bits(sketch_of(config, columns, entries_of(batch, columns)).table(), expected)) << target;
  });
}

TEST(MatrixSketch, DeletingEverythingLeavesExactZeros) {
  const SketchConfig config = configured(std::uint64_t{1} << 63U, 5, 64, 16, 3);
  const Rows batch = integer_rows(2000, config.dimension, 12, 7);
  MatrixSketch sketch = sketch_of(config, 12, batch);
  EXPECT_FALSE(sketch.is_zero());
  Entries opposite = entries_of(batch, 12);
  for (double& delta : opposite.deltas) delta = -delta;
  std::reverse(opposite.rows.begin(), opposite.rows.end());
  std::reverse(opposite.columns.begin(), opposite.columns.end());
  std::reverse(opposite.deltas.begin(), opposite.deltas.end());
  sketch.update(opposite.rows, opposite.columns, opposite.deltas);
  EXPECT_TRUE(sketch.is_zero());
  EXPECT_TRUE(sketch.product(integer_vector(12, 8)).is_zero());
  const std::uint64_t row = 5;
  const std::uint64_t last_column = 11;
  const double delta = 1;
  sketch.update(std::span(&row, 1), std::span(&last_column, 1), std::span(&delta, 1));
  EXPECT_FALSE(sketch.is_zero());
}

TEST(MatrixSketch, IsLinear) {
  const SketchConfig config = configured(10000, 5, 64, 16, 2);
  const Entries a = integer_entries(1000, config.dimension, 7, 9);
  const Entries b = integer_entries(1000, config.dimension, 7, 10);
  Entries both = a;
  for (std::size_t t = 0; t < b.rows.size(); ++t) both.push_back(b.rows[t], b.columns[t], -3 * b.deltas[t]);
  const MatrixSketch expected = sketch_of(config, 7, both);
  MatrixSketch sum = sketch_of(config, 7, a);
  sum.add(sketch_of(config, 7, b), -3);
  EXPECT_TRUE(same_bits(sum.table(), expected.table()));
  sum.scale(0.5);
  sum.add(sum);  // twice itself
  EXPECT_TRUE(same_bits(sum.table(), expected.table()));
  sum.add(sum, -1);
  EXPECT_TRUE(sum.is_zero());
}

// With more buckets than rows almost nothing collides: five rows of the table then know every row exactly.
TEST(MatrixSketch, WideSketchesRecoverRows) {
  const SketchConfig config = configured(std::uint64_t{1} << 63U, 5, 1U << 14U, 2, 1);
  Rows batch = integer_rows(20, config.dimension, 6, 11);
  const MatrixSketch sketch = sketch_of(config, 6, batch);
  std::vector<double> row(6);
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    sketch.estimate_row(batch.rows[t], row);
    for (std::size_t j = 0; j < 6; ++j) EXPECT_EQ(row[j], batch.weights[t] * batch.values[t * 6 + j]);
  }
}

TEST(MatrixSketch, EstimatesOfARowAreThePointEstimatesOfItsColumns) {
  const SketchConfig config = configured(500, 5, 16, 8, 2);
  const MatrixSketch sketch = sketch_of(config, 9, integer_entries(3000, 500, 9, 12));
  std::vector<double> row(9);
  for (const std::uint64_t i : {0U, 17U, 499U}) {
    sketch.estimate_row(i, row);
    for (std::size_t j = 0; j < 9; ++j) {
      std::vector<double> unit(9);
      unit[j] = 1;
      EXPECT_EQ(row[j], sketch.product(unit).point(i).value);
    }
  }
}

TEST(MatrixSketch, RowEstimatesAreThoseOfEveryColumnAndLane) {
  const SketchConfig config = configured(500, 5, 16, 8, 2);
  const MatrixSketch sketch = sketch_of(config, 3, integer_entries(3000, 500, 3, 13));
  std::vector<double> estimates(5 * 3);
  std::vector<double> expected(5);
  for (const std::uint64_t i : {0U, 17U, 499U}) {
    for (const std::uint32_t lane : {0U, 1U, 7U}) {
      sketch.row_estimates(i, lane, estimates);
      for (std::size_t j = 0; j < 3; ++j) {
        std::vector<double> unit(3);
        unit[j] = 1;
        const VectorSketch column = sketch.product(unit);
        column.row_estimates(i, lane, expected);
        for (std::size_t row = 0; row < 5; ++row) EXPECT_EQ(estimates[row * 3 + j], expected[row]);
        EXPECT_EQ(sketch.scale_of(i, lane), column.scale_of(i, lane));
      }
    }
  }
}

TEST(MatrixSketch, TheProductOfALaneIsThatLaneOfTheProduct) {
  for (const auto& [columns, config] : shapes()) {
    const MatrixSketch sketch = sketch_of(config, columns, integer_entries(1000, config.dimension, columns, 14));
    const std::vector<double> x = integer_vector(columns, 15);
    const VectorSketch all = sketch.product(x);
    for (const std::uint32_t lane : {0U, config.lanes - 1}) {
      const VectorSketch one = sketch.product(x, lane);
      SketchConfig single = config;
      single.lanes = 1;
      ASSERT_EQ(one.config(), single);
      for (std::size_t cell = 0; cell < one.table().size(); ++cell) {
        ASSERT_EQ(one.table()[cell], all.table()[cell * config.lanes + lane]);
      }
    }
  }
}

/// Factors of two columns more than the tile of the kernel, the identity, and one column of zeros.
TEST(MatrixSketch, CellNormsAreThoseOfTheColumnsOfEveryCellOnEveryTarget) {
  for (const auto& [columns, config] : shapes()) {
    const MatrixSketch sketch = sketch_of(config, columns, integer_entries(1000, config.dimension, columns, 16));
    DenseMatrix general{columns, 6, integer_vector(columns * 6, 17)};
    DenseMatrix identity{columns, columns, std::vector<double>(columns * columns)};
    for (std::size_t j = 0; j < columns; ++j) identity.values[j * columns + j] = 1;
    for (const DenseMatrix& factor : {general, identity, DenseMatrix{columns, 1, std::vector<double>(columns)}}) {
      std::vector<double> squares(sketch.table().size() / columns);
      for (std::size_t k = 0; k < factor.columns; ++k) {
        std::vector<double> direction;
        for (std::size_t j = 0; j < columns; ++j) direction.push_back(factor.values[j * factor.columns + k]);
        const VectorSketch image = sketch.product(direction);
        for (std::size_t cell = 0; cell < squares.size(); ++cell) squares[cell] += std::pow(image.table()[cell], 2);
      }
      std::vector<double> first;
      testing::for_each_simd_target([&](const std::string& target) {
        const VectorSketch norms = sketch.cell_norms(factor);
        ASSERT_EQ(norms.config(), config);
        for (std::size_t cell = 0; cell < squares.size(); ++cell) {
          ASSERT_NEAR(norms.table()[cell], std::sqrt(squares[cell]), 1e-12 * std::sqrt(squares[cell])) << target;
        }
        if (first.empty()) first.assign(norms.table().begin(), norms.table().end());
        EXPECT_TRUE(same_bits(norms.table(), first)) << target;
      });
    }
  }
}

TEST(MatrixSketch, RefusesAMetricOfAnotherSize) {
  const MatrixSketch sketch(configured(500, 5, 16, 8, 2), 3);
  EXPECT_EQ(message_of<InputError>([&] {
              (void)sketch.cell_norms({4, 1, {1, 2, 3, 4}});
            }),
            "a metric for rows of 4 columns, but A has 3 columns");
}

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

TEST(MatrixSketch, RefusesBadEntriesAndKeepsItsState) {
  const SketchConfig config = configured(1000, 5, 16, 8, 1);
  MatrixSketch sketch = sketch_of(config, 4, integer_entries(100, 1000, 4, 3));
  const std::vector<double> before(sketch.table().begin(), sketch.table().end());
  for (const std::size_t at : {std::size_t{0}, std::size_t{5}, std::size_t{299}}) {
    const auto refused = [&](const auto& spoil) {
      Entries entries = integer_entries(300, 1000, 4, 4);
      spoil(entries);
      const std::string message =
          message_of<InputError>([&] { sketch.update(entries.rows, entries.columns, entries.deltas); });
      EXPECT_EQ(message.find("update " + std::to_string(at) + " of the batch: "), 0U) << message;
      return message;
    };
    for (const double bad : {nan, infinity, -infinity}) {
      EXPECT_NE(refused([&](Entries& entries) { entries.deltas[at] = bad; }).find("delta is"), std::string::npos);
    }
    for (const std::uint64_t bad : {std::uint64_t{1000}, std::numeric_limits<std::uint64_t>::max()}) {
      EXPECT_NE(refused([&](Entries& entries) { entries.rows[at] = bad; }).find("row "), std::string::npos);
    }
    for (const std::uint64_t bad : {std::uint64_t{4}, std::numeric_limits<std::uint64_t>::max()}) {
      EXPECT_NE(refused([&](Entries& entries) { entries.columns[at] = bad; }).find("column "), std::string::npos);
    }
  }
  EXPECT_TRUE(same_bits(sketch.table(), before));
}

TEST(MatrixSketch, RefusesBadRowsAndKeepsItsState) {
  const SketchConfig config = configured(1000, 5, 16, 8, 1);
  MatrixSketch sketch = sketch_of(config, 4, integer_entries(100, 1000, 4, 3));
  const std::vector<double> before(sketch.table().begin(), sketch.table().end());
  for (const std::size_t at : {std::size_t{0}, std::size_t{299}}) {
    const auto refused = [&](const auto& spoil, const std::string& expected) {
      Rows batch = integer_rows(300, 1000, 4, 4);
      spoil(batch);
      EXPECT_EQ(message_of<InputError>([&] { sketch.update_rows(batch.rows, batch.weights, batch.values); }),
                "row update " + std::to_string(at) + " of the batch: " + expected);
    };
    refused([&](Rows& batch) { batch.rows[at] = 1000; }, "row 1000 is not below the dimension 1000");
    refused([&](Rows& batch) { batch.weights[at] = infinity; }, "weight is inf");
    refused([&](Rows& batch) { batch.values[at * 4 + 3] = nan; }, "the value of column 3 is nan");
    refused([&](Rows& batch) { batch.values[at * 4] = -infinity; }, "the value of column 0 is -inf");
  }
  EXPECT_TRUE(same_bits(sketch.table(), before));
}

TEST(MatrixSketch, RefusesProductsThatDoNotExist) {
  const MatrixSketch sketch(configured(1000, 5, 16, 8, 1), 4);
  EXPECT_EQ(message_of<InputError>([&] { static_cast<void>(sketch.product(std::vector<double>(3))); }),
            "x has 3 entries, but A has 4 columns");
  EXPECT_EQ(message_of<InputError>([&] { static_cast<void>(sketch.product(std::vector<double>(5))); }),
            "x has 5 entries, but A has 4 columns");
  EXPECT_EQ(message_of<InputError>([&] {
              static_cast<void>(sketch.product(std::vector<double>{1, 2, nan, 0}));
            }),
            "entry 2 of x is nan");
  EXPECT_EQ(message_of<InputError>([&] { static_cast<void>(sketch.product(2, std::vector<double>(3))); }),
            "a block of 3 columns from 2 on, but A has 4 columns");
  EXPECT_EQ(message_of<InputError>([&] {
              static_cast<void>(sketch.product(std::numeric_limits<std::uint64_t>::max(), std::vector<double>(3)));
            }).find("a block of 3 columns from 18446744073709551615"),
            0U);
}

TEST(MatrixSketch, RefusesToCombineWithAnother) {
  const SketchConfig config = configured(1000, 5, 16, 8, 1);
  SketchConfig other_seed = config;
  other_seed.seed = 2;
  MatrixSketch a(config, 4);
  EXPECT_EQ(message_of<InputError>([&] { a.add(MatrixSketch(config, 5)); }),
            "the sketches do not combine: columns: 4 against 5");
  EXPECT_EQ(message_of<InputError>([&] { a.add(MatrixSketch(other_seed, 4)); }),
            "the sketches do not combine: seed: 42 against 2");
  EXPECT_EQ(describe_difference(a, MatrixSketch(config, 4)), "");
  EXPECT_EQ(a.fingerprint(), MatrixSketch(config, 4).fingerprint());
  EXPECT_NE(a.fingerprint(), MatrixSketch(config, 5).fingerprint());
  EXPECT_NE(a.fingerprint(), MatrixSketch(other_seed, 4).fingerprint());
}

TEST(MatrixSketch, RefusesShapesThatCannotBe) {
  const SketchConfig config = configured(1000, 5, 16, 8, 1);
  EXPECT_THROW(MatrixSketch(config, 0), UsageError);
  EXPECT_THROW(MatrixSketch(config, std::uint64_t{1} << 29U), UsageError);  // 8 lanes: 2^32
  EXPECT_THROW(MatrixSketch(config, std::numeric_limits<std::uint64_t>::max()), UsageError);
  EXPECT_EQ(MatrixSketch::table_size(config, (std::uint64_t{1} << 29U) - 1),
            ((std::size_t{1} << 29U) - 1) * 5 * 16 * 8);
  const SketchConfig widest = configured(1000, 15, std::uint64_t{1} << 32U, 8, 3);
  EXPECT_THROW(MatrixSketch(widest, (std::uint64_t{1} << 29U) - 1), UsageError);  // 2^71 bytes
  SketchConfig bad = config;
  bad.rows = 4;
  EXPECT_THROW(MatrixSketch(bad, 4), UsageError);
}

TEST(MatrixSketch, CopiesAreIndependent) {
  const SketchConfig config = configured(1000, 5, 16, 8, 1);
  const MatrixSketch original = sketch_of(config, 3, integer_entries(100, 1000, 3, 3));
  MatrixSketch copy = original;
  copy.scale(0);
  EXPECT_TRUE(copy.is_zero());
  EXPECT_FALSE(original.is_zero());
}

}  // namespace
}  // namespace weir
