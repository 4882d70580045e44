#include "weir/state/streamed_factor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "support/simd_targets.hpp"
#include "weir/error.hpp"
#include "weir/share.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Whole numbers of -4 to 4: every sum is exact.
DenseMatrix random_matrix(std::uint64_t rows, std::uint64_t columns, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  DenseMatrix matrix{rows, columns, std::vector<double>(rows * columns)};
  for (double& value : matrix.values) value = static_cast<double>(random() % 9) - 4;
  return matrix;
}

std::span<const double> row_of(const DenseMatrix& matrix, std::uint64_t i) {
  return std::span(matrix.values).subspan(i * matrix.columns, matrix.columns);
}

/// All rows of an operand, as whole rows or entry by entry.
EventBatch rows_of(Operand operand, const DenseMatrix& matrix) {
  EventBatch batch;
  for (std::uint64_t i = 0; i < matrix.rows; ++i) batch.rows.push_back(operand, i, 1, row_of(matrix, i));
  return batch;
}

EventBatch entries_of(Operand operand, const DenseMatrix& matrix) {
  EventBatch batch;
  for (std::uint64_t i = 0; i < matrix.rows; ++i)
    for (std::uint64_t j = 0; j < matrix.columns; ++j)
      batch.push_back({operand, i, j, matrix.values[i * matrix.columns + j]});
  return batch;
}

/// The operands of a y, the streamed factor as a stream of batches.
struct Operands {
  KroneckerShape shape;
  Operand streamed;
  DenseMatrix x, fixed, factor;
  std::vector<EventBatch> stream = {};

  [[nodiscard]] std::uint64_t n() const { return factor.rows; }
  [[nodiscard]] std::uint64_t m() const { return fixed.rows; }
  [[nodiscard]] SketchConfig config(std::uint32_t lanes = 8) const {
    return {.dimension = n() * m(), .buckets = 64, .lanes = lanes, .levels = 2, .seed = 5, .row_length = m()};
  }
  /// y by its definition, as the matrix that is sketched.
  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> result(n() * m());
    for (std::uint64_t i = 0; i < n(); ++i)
      for (std::uint64_t k = 0; k < m(); ++k)
        for (std::uint64_t j1 = 0; j1 < shape.d1; ++j1)
          for (std::uint64_t j2 = 0; j2 < shape.d2; ++j2) {
            const bool a1_streams = streamed == Operand::A1;
            result[i * m() + k] +=
                row_of(factor, i)[a1_streams ? j1 : j2] * row_of(x, j1)[j2] * row_of(fixed, k)[a1_streams ? j2 : j1];
          }
    return result;
  }
  [[nodiscard]] VectorSketch expected(std::uint32_t lanes = 8) const {
    VectorSketch sketch(config(lanes));
    std::vector<std::uint64_t> keys(n() * m());
    std::iota(keys.begin(), keys.end(), 0U);
    sketch.update(keys, y());
    return sketch;
  }
  [[nodiscard]] StreamedFactor party(std::uint32_t number, std::uint32_t count) const {
    StreamedFactor model(shape, streamed, x, {number, count});
    model.add_fixed(rows_of(model.fixed(), fixed));
    model.multiply();
    return model;
  }
  /// Every party has seen the whole stream.
  [[nodiscard]] std::vector<StreamedFactor> parties(std::uint32_t count, VectorSketch& sum) const {
    std::vector<StreamedFactor> models;
    for (std::uint32_t r = 0; r < count; ++r) {
      models.push_back(party(r, count));
      VectorSketch part(sum.config());
      for (const EventBatch& batch : stream) models.back().add_events(batch, part);
      sum.add(part);
    }
    return models;
  }
};

Operands make_operands(const KroneckerShape& shape, Operand streamed, std::uint64_t seed) {
  const DenseMatrix a1 = random_matrix(shape.n1, shape.d1, seed), a2 = random_matrix(shape.n2, shape.d2, seed + 1);
  const bool a1_streams = streamed == Operand::A1;
  Operands operands{shape, streamed, random_matrix(shape.d1, shape.d2, seed + 2), a1_streams ? a2 : a1,
                    a1_streams ? a1 : a2};
  operands.stream.push_back(rows_of(streamed, operands.factor));
  return operands;
}

void expect_sketch(const Operands& operands, std::uint32_t parties, std::uint32_t lanes = 8) {
  VectorSketch sum(operands.config(lanes));
  std::ignore = operands.parties(parties, sum);
  EXPECT_TRUE(std::ranges::equal(sum.table(), operands.expected(lanes).table())) << parties << " parties";
}

/// The same stream, `rows` rows to a batch.
void cut_stream(Operands& operands, std::size_t rows) {
  operands.stream.clear();
  for (std::uint64_t i = 0; i < operands.n(); ++i) {
    if (i % rows == 0) operands.stream.emplace_back();
    operands.stream.back().rows.push_back(operands.streamed, i, 1, row_of(operands.factor, i));
  }
}

/// The same factor, in a mixture of entries and rows that come, change and leave, in batches that cut through rows.
void shuffle_stream(Operands& operands, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const DenseMatrix& a = operands.factor;
  const DenseMatrix other = random_matrix(a.rows, a.columns, seed + 1);
  std::vector<EventBatch> pieces;
  const auto add_row = [&](std::uint64_t i, double weight, std::span<const double> values) {
    pieces.emplace_back().rows.push_back(operands.streamed, i, weight, values);
  };
  const auto add_entry = [&](std::uint64_t i, std::uint64_t j, double delta) {
    pieces.emplace_back().push_back({operands.streamed, i, j, delta});
  };
  for (std::uint64_t i = 0; i < a.rows; ++i) {
    if (i % 3 == 0) {  // a row that leaves again
      add_row(i, 1, row_of(other, i));
      add_row(i, -1, row_of(other, i));
    }
    if (i % 2 == 0) {
      add_row(i, 1, row_of(a, i));
      continue;
    }
    for (std::uint64_t j = 0; j < a.columns; ++j) {
      add_entry(i, j, row_of(a, i)[j] + row_of(other, i)[j]);
      add_entry(i, j, -row_of(other, i)[j]);
    }
  }
  std::ranges::shuffle(pieces, random);
  operands.stream.assign(1, {});
  for (const EventBatch& piece : pieces) {
    if (random() % 40 == 0) operands.stream.emplace_back();
    if (piece.size() > 0) operands.stream.back().push_back(piece[0]);
    if (!piece.rows.empty())
      operands.stream.back().rows.push_back(operands.streamed, piece.rows.i[0], piece.rows.weights[0],
                                            piece.rows.row(0));
  }
}

TEST(StreamedFactor, SketchesYForAnyNumberOfParties) {
  // Sides that are no multiples of panels or of parties, and more rows than are taken together (64).
  const KroneckerShape shape{.n1 = 69, .n2 = 75, .d1 = 3, .d2 = 5};
  for (const Operand streamed : {Operand::A1, Operand::A2})
    for (const std::uint32_t parties : {1u, 2u, 3u, 4u, 7u}) expect_sketch(make_operands(shape, streamed, 1), parties);
}

TEST(StreamedFactor, TakesEntriesAndRowsInAnyMixture) {
  const KroneckerShape shape{.n1 = 73, .n2 = 69, .d1 = 6, .d2 = 2};
  for (const Operand streamed : {Operand::A1, Operand::A2}) {
    Operands operands = make_operands(shape, streamed, 2);
    for (const std::uint64_t seed : {3u, 4u}) {
      shuffle_stream(operands, seed);
      ASSERT_GT(operands.stream.size(), 1u);
      for (const std::uint32_t parties : {1u, 3u}) expect_sketch(operands, parties);
    }
    operands.stream = {entries_of(streamed, operands.factor)};
    expect_sketch(operands, 2);
  }
}

TEST(StreamedFactor, TilesTogetherMakeTheRow) {
  // A row of y longer than a tile, and lanes of every kind.
  const Operands operands = make_operands({.n1 = 3, .n2 = 1200, .d1 = 2, .d2 = 2}, Operand::A1, 6);
  for (const std::uint32_t lanes : {1u, 2u, 8u, 24u}) expect_sketch(operands, 1, lanes);
  expect_sketch(operands, 2);
}

TEST(StreamedFactor, NarrowSlicesAndSingleRowsOnEveryTarget) {
  testing::for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    // On both sides of the width where rows become runs, of a cache line and of a panel.
    for (const std::uint64_t m : {1u, 5u, 8u, 9u, 15u, 16u, 33u, 65u}) {
      Operands operands = make_operands({.n1 = 69, .n2 = m, .d1 = 9, .d2 = 2}, Operand::A1, m);
      for (const std::size_t rows : {1u, 3u, 69u}) {
        cut_stream(operands, rows);
        expect_sketch(operands, 1);
        expect_sketch(operands, 2);
      }
    }
  });
}

TEST(StreamedFactor, BatchesOfRealNumbersMakeTheSameBits) {
  testing::for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    for (const std::uint64_t m : {5u, 40u, 100u}) {
      Operands operands = make_operands({.n1 = 21, .n2 = m, .d1 = 9, .d2 = 3}, Operand::A1, 19);
      for (DenseMatrix* matrix : {&operands.x, &operands.fixed, &operands.factor})
        for (double& value : matrix->values) value = std::sin(value + 0.3);
      cut_stream(operands, operands.n());
      VectorSketch expected(operands.config());
      std::ignore = operands.parties(1, expected);
      for (const std::size_t rows : {1u, 2u, 5u}) {
        cut_stream(operands, rows);
        VectorSketch y(operands.config());
        std::ignore = operands.parties(1, y);
        EXPECT_TRUE(std::ranges::equal(y.table(), expected.table())) << m << " columns, " << rows << " rows";
      }
    }
  });
}

TEST(StreamedFactor, MorePartiesThanRows) {
  expect_sketch(make_operands({.n1 = 2, .n2 = 3, .d1 = 2, .d2 = 4}, Operand::A1, 7), 9);
  expect_sketch(make_operands({.n1 = 1, .n2 = 1, .d1 = 1, .d2 = 1}, Operand::A2, 8), 4);
}

TEST(StreamedFactor, CoresOfAnyRank) {
  Operands operands = make_operands({.n1 = 12, .n2 = 10, .d1 = 4, .d2 = 3}, Operand::A1, 9);
  for (std::uint64_t j = 0; j < 4; ++j)
    for (std::uint64_t k = 0; k < 3; ++k)
      operands.x.values[3 * j + k] = static_cast<double>(j) * (static_cast<double>(k) - 1);
  expect_sketch(operands, 2);
  std::ranges::fill(operands.x.values, 0.0);
  expect_sketch(operands, 2);
}

TEST(StreamedFactor, WhatCancelsLeavesNothing) {
  Operands operands = make_operands({.n1 = 20, .n2 = 15, .d1 = 3, .d2 = 3}, Operand::A1, 10);
  EventBatch leave = operands.stream[0];
  std::ranges::fill(leave.rows.weights, -1.0);
  operands.stream.push_back(leave);
  VectorSketch sum(operands.config());
  const std::vector<StreamedFactor> models = operands.parties(2, sum);
  EXPECT_TRUE(std::ranges::all_of(sum.table(), [](double cell) { return cell == 0; }));
  EXPECT_EQ(models[0].mass_part(models[0].metric_part()), 0);
}

TEST(StreamedFactor, FixedFactorsComeAsEntriesToo) {
  const Operands operands = make_operands({.n1 = 5, .n2 = 9, .d1 = 2, .d2 = 3}, Operand::A1, 11);
  VectorSketch sum(operands.config());
  for (std::uint32_t r = 0; r < 2; ++r) {
    StreamedFactor model(operands.shape, operands.streamed, operands.x, {r, 2});
    DenseMatrix half = operands.fixed;
    for (double& value : half.values) value /= 2;
    model.add_fixed(rows_of(Operand::A2, half));
    model.add_fixed(entries_of(Operand::A2, half));
    model.multiply();
    VectorSketch part(operands.config());
    model.add_events(operands.stream[0], part);
    sum.add(part);
  }
  EXPECT_TRUE(std::ranges::equal(sum.table(), operands.expected().table()));
}

TEST(StreamedFactor, RealNumbersAgreeToRounding) {
  Operands operands = make_operands({.n1 = 30, .n2 = 50, .d1 = 5, .d2 = 4}, Operand::A2, 12);
  for (DenseMatrix* matrix : {&operands.x, &operands.fixed, &operands.factor})
    for (double& value : matrix->values) value = std::sin(value + 0.3);
  shuffle_stream(operands, 13);
  const VectorSketch expected = operands.expected();
  const double scale = std::sqrt(expected.lane_f2(0));
  VectorSketch sum(operands.config());
  std::ignore = operands.parties(3, sum);
  for (std::size_t cell = 0; cell < sum.items().size(); cell += 8)  // lane 0
    ASSERT_NEAR(sum.items()[cell], expected.items()[cell], 1e-12 * scale);
}

TEST(StreamedFactor, VerifiesEntriesExactly) {
  for (const Operand streamed : {Operand::A1, Operand::A2}) {
    Operands operands = make_operands({.n1 = 14, .n2 = 11, .d1 = 3, .d2 = 4}, streamed, 14);
    shuffle_stream(operands, 15);
    const std::vector<double> y = operands.y();
    for (const std::uint32_t count : {1u, 3u, 20u}) {
      VectorSketch sum(operands.config());
      const std::vector<StreamedFactor> models = operands.parties(count, sum);
      std::vector<std::uint64_t> rows, columns;
      for (std::uint64_t key = 0; key < y.size(); ++key) {
        rows.push_back(key / operands.m());
        columns.push_back(key % operands.m());
      }
      // In two sums over the parties.
      std::vector<double> row_values(rows.size() * operands.factor.columns), values(rows.size());
      DenseMatrix metric{operands.factor.columns, operands.factor.columns,
                         std::vector<double>(operands.factor.columns * operands.factor.columns)};
      const auto add = [](std::vector<double>& to, const std::vector<double>& part) {
        ASSERT_EQ(to.size(), part.size());
        std::ranges::transform(to, part, to.begin(), std::plus());
      };
      for (std::uint32_t r = 0; r < count; ++r) {
        const std::vector<double> part = models[r].rows_of_streamed(rows);
        for (std::size_t t = 0; t < rows.size(); ++t) {
          const bool is_kept = rows[t] >= share(operands.n(), r, count) && rows[t] < share(operands.n(), r + 1, count);
          for (std::size_t j = 0; j < operands.factor.columns; ++j)
            ASSERT_EQ(part[t * operands.factor.columns + j], is_kept ? row_of(operands.factor, rows[t])[j] : 0);
        }
        add(row_values, part);
        add(metric.values, models[r].metric_part().values);
      }
      double mass = 0;
      for (const StreamedFactor& model : models) {
        add(values, model.entries(row_values, columns));
        mass += model.mass_part(metric);
      }
      EXPECT_EQ(values, y);
      EXPECT_EQ(mass, std::inner_product(y.begin(), y.end(), y.begin(), 0.0));
    }
  }
}

TEST(StreamedFactor, SaysWhatItTakes) {
  const Operands operands = make_operands({.n1 = 5, .n2 = 9, .d1 = 2, .d2 = 3}, Operand::A2, 16);
  const StreamedFactor model = operands.party(0, 1);
  EXPECT_EQ(model.streamed(), Operand::A2);
  EXPECT_EQ(model.fixed(), Operand::A1);
  EXPECT_EQ(model.streamed_shape().operand, Operand::A2);
  EXPECT_EQ(model.streamed_shape().rows, 9u);
  EXPECT_EQ(model.streamed_shape().columns, 3u);
  EXPECT_EQ(model.fixed_shape().operand, Operand::A1);
  EXPECT_EQ(model.fixed_shape().rows, 5u);
  EXPECT_EQ(model.fixed_shape().columns, 2u);
}

TEST(StreamedFactor, RefusesImpossibleSettings) {
  const auto usage = [](const KroneckerShape& shape, Operand streamed, DenseMatrix x, Party party) {
    return message_of<UsageError>([&] { StreamedFactor(shape, streamed, x, party); });
  };
  const KroneckerShape shape{.n1 = 2, .n2 = 3, .d1 = 1, .d2 = 2};
  const DenseMatrix x{1, 2, {1, 2}};
  EXPECT_EQ(usage({.n1 = 0, .n2 = 3, .d1 = 1, .d2 = 2}, Operand::A1, x, {}),
            "the number n1 of rows of A1 is 0, expected 1 to 9223372036854775808");
  EXPECT_EQ(usage(shape, Operand::X, x, {}), "X cannot be the factor that streams, expected A1 or A2");
  EXPECT_EQ(usage(shape, Operand::A1, {2, 1, {1, 2}}, {}), "X is 2 x 1, expected 1 x 2");
  EXPECT_EQ(usage(shape, Operand::A1, x, {2, 2}), "party 2 of 2: expected a number below the count");
  EXPECT_EQ(
      usage({.n1 = (std::uint64_t{1} << 61) + 1, .n2 = 4, .d1 = 1, .d2 = 2}, Operand::A1, x, {}),
      "y has n1 n2 = 2305843009213693953 x 4 entries, more than 2^63: no 64-bit index for each, which the two-stage "
      "method does not need");
  EXPECT_EQ(usage({.n1 = std::uint64_t{1} << 61, .n2 = 4, .d1 = 1, .d2 = 2}, Operand::A1, x, {}),
            "2305843009213693952 rows of 1 numbers of A1 are too many to be kept in memory");
  EXPECT_EQ(message_of<InputError>([&] {
              StreamedFactor(shape, Operand::A1, {1, 2, {1, -infinity}}, {});
            }),
            "entry (0, 1) of X is -inf, expected a finite number");
}

TEST(StreamedFactor, KeepsTheOrderOfItsSteps) {
  const Operands operands = make_operands({.n1 = 4, .n2 = 3, .d1 = 2, .d2 = 2}, Operand::A1, 17);
  StreamedFactor model(operands.shape, operands.streamed, operands.x, {});
  VectorSketch y(operands.config());
  EXPECT_EQ(message_of<UsageError>([&] { model.add_events(operands.stream[0], y); }),
            "the fixed factor has to be multiplied before the other one streams");
  model.multiply();
  EXPECT_EQ(message_of<UsageError>([&] { model.multiply(); }), "the fixed factor has been multiplied already");
  EXPECT_EQ(message_of<UsageError>([&] { model.add_fixed(rows_of(Operand::A2, operands.fixed)); }),
            "the fixed factor has been multiplied, and takes no more events");
  VectorSketch other({.dimension = 13, .buckets = 64, .lanes = 8});
  EXPECT_EQ(message_of<UsageError>([&] { model.add_events(operands.stream[0], other); }),
            "a sketch of 13 coordinates for a y of 12");
}

TEST(StreamedFactor, TakesAnXUntilItMultiplies) {
  const Operands operands = make_operands({.n1 = 6, .n2 = 5, .d1 = 2, .d2 = 3}, Operand::A1, 21);
  StreamedFactor model(operands.shape, operands.streamed, random_matrix(2, 3, 99), {});
  model.add_fixed(rows_of(Operand::A2, operands.fixed));
  EXPECT_EQ(message_of<UsageError>([&] {
              model.set_core({3, 2, std::vector<double>(6)});
            }),
            "X is 3 x 2, expected 2 x 3");
  EXPECT_EQ(message_of<InputError>([&] {
              model.set_core({2, 3, {1, 2, 3, 4, infinity, 6}});
            }),
            "entry (1, 1) of X is inf, expected a finite number");
  model.set_core(operands.x);
  model.multiply();
  EXPECT_EQ(message_of<UsageError>([&] { model.set_core(operands.x); }),
            "the fixed factor has been multiplied, and X can no longer be changed");
  VectorSketch y(operands.config());
  model.add_events(operands.stream[0], y);
  EXPECT_TRUE(std::ranges::equal(y.table(), operands.expected().table()));
  // The slices are still there.
  EXPECT_TRUE(std::ranges::equal(model.fixed_rows(), operands.fixed.values));
  EXPECT_TRUE(std::ranges::equal(model.streamed_rows(), operands.factor.values));
}

TEST(StreamedFactor, RowsThatAreWrittenAreRowsThatWereRead) {
  // As a state file is loaded: the rows of the slices, not their events.
  for (const Operand streamed : {Operand::A1, Operand::A2}) {
    const Operands operands = make_operands({.n1 = 7, .n2 = 9, .d1 = 2, .d2 = 3}, streamed, 22);
    const std::vector<std::uint64_t> rows{0, 6, 3}, columns{4, 6, 0};
    for (std::uint32_t r = 0; r < 3; ++r) {
      StreamedFactor read = operands.party(r, 3), written(operands.shape, streamed, operands.x, {r, 3});
      VectorSketch y(operands.config()), again(operands.config());
      read.add_events(operands.stream[0], y);
      std::ranges::copy(read.fixed_rows(), written.fixed_rows().begin());
      std::ranges::copy(read.streamed_rows(), written.streamed_rows().begin());
      written.multiply();
      EXPECT_EQ(written.rows_of_streamed(rows), read.rows_of_streamed(rows));
      EXPECT_EQ(written.metric_part(), read.metric_part());
      EXPECT_EQ(written.mass_part(read.metric_part()), read.mass_part(read.metric_part()));
      EXPECT_EQ(written.entries(std::vector<double>(3 * read.streamed_shape().columns, 1.0), columns),
                read.entries(std::vector<double>(3 * read.streamed_shape().columns, 1.0), columns));
      written.add_events(operands.stream[0], again);
      EXPECT_TRUE(std::ranges::equal(again.table(), y.table()));
    }
  }
}

TEST(StreamedFactor, RefusesWhatDoesNotFit) {
  const Operands operands = make_operands({.n1 = 4, .n2 = 3, .d1 = 2, .d2 = 2}, Operand::A1, 18);
  StreamedFactor model = operands.party(0, 1);
  VectorSketch y(operands.config());
  const auto message = [&](const EventBatch& batch) {
    return message_of<InputError>([&] { model.add_events(batch, y); });
  };
  const auto entry = [](Operand operand, std::uint64_t i, std::uint64_t j, double delta) {
    EventBatch batch;
    batch.push_back({operand, i, j, delta});
    return batch;
  };
  const auto row = [](Operand operand, std::uint64_t i, const std::vector<double>& values) {
    EventBatch batch;
    batch.rows.push_back(operand, i, 1, values);
    return batch;
  };
  EXPECT_EQ(message(entry(Operand::A1, 4, 0, 1)), "event A1,4,0,1: A1 is 4 x 2");
  EXPECT_EQ(message(entry(Operand::A1, 0, 2, 1)), "event A1,0,2,1: A1 is 4 x 2");
  EXPECT_EQ(message(entry(Operand::A2, 0, 0, 1)), "event A2,0,0,1: expected a change of A1");
  EXPECT_EQ(message(row(Operand::A1, 0, {1, 2, 3})), "row 0 of A1 with 3 values: A1 is 4 x 2");
  EXPECT_EQ(message(row(Operand::X, 0, {1, 2})), "row 0 of X: expected a change of A1");
  EXPECT_EQ(message(entry(Operand::A1, 1, 0, infinity)),
            "event A1,1,0,inf: the sum of the changes of A1[1][0] is not a finite double");
  EventBatch twice = entry(Operand::A1, 1, 1, 1.7e308);
  twice.push_back({Operand::A1, 1, 1, 1.6e308});
  EXPECT_EQ(message(twice), "event A1,1,1,1.6e+308: the sum of the changes of A1[1][1] is not a finite double");
  EXPECT_EQ(message(row(Operand::A1, 2, {1, std::nan("")})),
            "row 2 of A1: the sum of the changes of A1[2][1] is not a finite double");
  EXPECT_EQ(message(row(Operand::A1, 3, {1e308, 1e308})),
            "row 3 of A1: changes of y by it may overflow a double; scale the values down");
  EXPECT_TRUE(y.is_zero());

  // Batches that are each in range.
  StreamedFactor small(operands.shape, operands.streamed, {2, 2, {1, 0, 0, 1}}, {});
  small.add_fixed(entry(Operand::A2, 0, 0, 1));
  small.multiply();
  small.add_events(row(Operand::A1, 2, {1e308, 0}), y);
  EXPECT_EQ(message_of<InputError>([&] {
              small.add_events(row(Operand::A1, 2, {1e308, 0}), y);
            }),
            "row 2 of A1: the sum of the changes of A1[2][0] is not a finite double");

  StreamedFactor fixed(operands.shape, operands.streamed, {2, 2, {1e200, 0, 0, 1}}, {});
  EXPECT_EQ(message_of<InputError>([&] { fixed.add_fixed(entry(Operand::A2, 3, 0, 1)); }),
            "event A2,3,0,1: A2 is 3 x 2");
  EXPECT_EQ(message_of<InputError>([&] { fixed.add_fixed(entry(Operand::A1, 0, 0, 1)); }),
            "event A1,0,0,1: expected a change of A2");
  EXPECT_EQ(message_of<InputError>([&] { fixed.add_fixed(entry(Operand::A2, 0, 1, -infinity)); }),
            "event A2,0,1,-inf: the sum of the changes of A2[0][1] is not a finite double");
  EXPECT_EQ(message_of<InputError>([&] {
              fixed.add_fixed(row(Operand::A2, 0, {infinity, 1}));
            }),
            "row 0 of A2: the sum of the changes of A2[0][0] is not a finite double");
  StreamedFactor large(operands.shape, operands.streamed, {2, 2, {1e200, 0, 0, 1}}, {});
  large.add_fixed(row(Operand::A2, 1, {1e200, 0}));
  EXPECT_EQ(message_of<InputError>([&] { large.multiply(); }),
            "row 1 of A2: its product with X overflows a double; scale the values down");
}

TEST(StreamedFactor, OnlyThePartyThatKeepsARowSeesItOverflow) {
  // All entries of y stay finite, and so do those of the other parties.
  const KroneckerShape shape{.n1 = 4, .n2 = 4, .d1 = 1, .d2 = 1};
  EventBatch fixed, row;
  fixed.push_back({Operand::A2, 0, 0, 1});
  row.rows.push_back(Operand::A1, 3, 1, std::vector<double>{1e308});
  for (std::uint32_t r = 0; r < 2; ++r) {
    StreamedFactor model(shape, Operand::A1, {1, 1, {1e-10}}, {r, 2});
    model.add_fixed(fixed);
    model.multiply();
    VectorSketch y({.dimension = 16, .buckets = 8, .lanes = 8, .row_length = 4});
    model.add_events(row, y);
    if (r == 0)
      EXPECT_NO_THROW(model.add_events(row, y));
    else
      EXPECT_THROW(model.add_events(row, y), InputError);
  }
}

}  // namespace
}  // namespace weir
