#include "weir/model/kronecker.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/model/model.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr KroneckerShape shape{.n1 = 7, .n2 = 5, .d1 = 2, .d2 = 3};
const SketchConfig config{.dimension = 7, .buckets = 32, .lanes = 8, .seed = 1};

/// Entries and rows of all operands, in any order.
EventBatch random_batch(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto value = [&] { return static_cast<double>(random() % 9) - 4; };
  const std::vector<OperandShape> shapes = KroneckerModel(shape).shapes();
  EventBatch batch;
  for (int t = 0; t < 60; ++t) {
    const OperandShape& operand = shapes[random() % 3];
    const std::uint64_t i = random() % operand.rows;
    if (random() % 2 == 0) {
      batch.push_back({operand.operand, i, random() % operand.columns, value()});
    } else {
      std::vector<double> row(operand.columns);
      std::ranges::generate(row, value);
      batch.rows.push_back(operand.operand, i, random() % 2 == 0 ? 1 : -1, row);
    }
  }
  return batch;
}

/// The entries of one operand, by the definition of events.
std::vector<double> sum_of(const EventBatch& batch, const OperandShape& operand) {
  std::vector<double> sum(operand.rows * operand.columns);
  for (std::size_t t = 0; t < batch.size(); ++t)
    if (batch.operands[t] == operand.operand) sum[batch.i[t] * operand.columns + batch.j[t]] += batch.delta[t];
  for (std::size_t t = 0; t < batch.rows.size(); ++t)
    for (std::size_t j = 0; batch.rows.operands[t] == operand.operand && j < operand.columns; ++j)
      sum[batch.rows.i[t] * operand.columns + j] += batch.rows.weights[t] * batch.rows.row(t)[j];
  return sum;
}

std::uint64_t events_of(const EventBatch& batch, Operand operand) {
  return static_cast<std::uint64_t>(std::ranges::count(batch.operands, operand) +
                                    std::ranges::count(batch.rows.operands, operand));
}

TEST(KroneckerModel, KeepsTheOperandsApart) {
  KroneckerModel model(shape);
  const std::vector<OperandShape> shapes = model.shapes();
  const EventBatch batch = random_batch(1);
  DenseTensor dense = model.dense();
  model.ingest(batch, dense);
  EXPECT_EQ(dense.factors[0].matrix().values, sum_of(batch, shapes[0]));
  EXPECT_EQ(dense.factors[1].matrix().values, sum_of(batch, shapes[1]));
  EXPECT_EQ(dense.x, sum_of(batch, shapes[2]));
  EXPECT_EQ(dense.x_events, static_cast<double>(events_of(batch, Operand::X)));

  KroneckerSketch sketch = model.sketch(config);
  model.ingest(batch, sketch);
  EXPECT_EQ(sketch.x, dense.x);
  EXPECT_EQ(sketch.x_events, dense.x_events);
  KroneckerSketch expected = model.sketch(config);
  for (std::uint64_t i = 0; i < shape.n1; ++i)
    expected.a1.update_rows(std::vector{i}, std::vector<double>{1}, dense.factors[0].row(i));
  for (std::uint64_t i = 0; i < shape.n2; ++i)
    expected.a2.update_rows(std::vector{i}, std::vector<double>{1}, dense.factors[1].row(i));
  EXPECT_TRUE(std::ranges::equal(sketch.a1.draws.table(), expected.a1.draws.table()));
  EXPECT_TRUE(std::ranges::equal(sketch.a2.draws.table(), expected.a2.draws.table()));
  EXPECT_TRUE(std::ranges::equal(sketch.a2.wide.table(), expected.a2.wide.table()));
}

TEST(KroneckerModel, BatchesOfAnyKindAddUp) {
  Model model = KroneckerModel(shape);
  SketchState whole = empty_sketch(model, config, true), parts = empty_sketch(model, config, false);
  DenseState whole_dense = empty_dense(model), parts_dense = empty_dense(model);
  const EventBatch batch = random_batch(2);
  add_events(model, batch, whole);
  add_events(model, batch, whole_dense);
  const auto add_part = [&](const EventBatch& part) {
    add_events(model, part, parts);
    add_events(model, part, parts_dense);
  };
  for (std::size_t t = 0; t < batch.size(); ++t) {
    EventBatch one;
    one.push_back(batch[t]);
    add_part(one);
  }
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    EventBatch one;
    one.rows.push_back(batch.rows.operands[t], batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
    add_part(one);
  }
  const auto& a = std::get<KroneckerSketch>(whole);
  const auto& b = std::get<KroneckerSketch>(parts);
  EXPECT_TRUE(std::ranges::equal(a.a1.draws.table(), b.a1.draws.table()));
  EXPECT_TRUE(std::ranges::equal(a.a2.draws.table(), b.a2.draws.table()));
  EXPECT_TRUE(std::ranges::equal(a.a1.wide.table(), b.a1.wide.table()));
  EXPECT_EQ(a.x, b.x);
  EXPECT_EQ(a.x_events, b.x_events);
  const auto& c = std::get<DenseTensor>(whole_dense);
  const auto& e = std::get<DenseTensor>(parts_dense);
  EXPECT_EQ(c.factors[0].matrix(), e.factors[0].matrix());
  EXPECT_EQ(c.factors[1].matrix(), e.factors[1].matrix());
  EXPECT_EQ(c.x_events, e.x_events);
}

TEST(KroneckerModel, AnXThatWasTakenBackIsZeroNotTheIdentity) {
  constexpr KroneckerShape square{.n1 = 3, .n2 = 3, .d1 = 2, .d2 = 2};
  KroneckerModel model(square);
  DenseTensor dense = model.dense();
  EXPECT_EQ(dense.core(), (std::vector<double>{1, 0, 0, 1}));
  EventBatch batch;
  batch.push_back({Operand::X, 0, 1, 2});
  batch.push_back({Operand::X, 0, 1, -2});
  model.ingest(batch, dense);
  EXPECT_EQ(dense.core(), std::vector<double>(4));
}

TEST(KroneckerModel, RefusesWhatDoesNotFit) {
  KroneckerModel model(shape);
  DenseTensor dense = model.dense();
  const auto message = [&](std::initializer_list<Event> events) {
    EventBatch batch;
    for (const Event& event : events) batch.push_back(event);
    return message_of<InputError>([&] { model.ingest(batch, dense); });
  };
  EXPECT_EQ(message({{Operand::A1, 7, 0, 1}}), "event A1,7,0,1: A1 is 7 x 2");
  EXPECT_EQ(message({{Operand::A2, 0, 3, 1}}), "event A2,0,3,1: A2 is 5 x 3");
  EXPECT_EQ(message({{Operand::X, 2, 0, 1}}), "event X,2,0,1: X is 2 x 3");
  EXPECT_EQ(message({{Operand::A1, 0, 0, 1}, {Operand::y, 4, 0, 1}}),
            "event y,4,1: expected a change of A1 or A2 or X");
  EXPECT_EQ(message({{Operand::X, 1, 2, 1e308}, {Operand::X, 1, 2, 1e308}}),
            "event X,1,2,1e+308: the sum of the changes of X[1][2] overflows a double");
  EventBatch row;
  row.rows.push_back(Operand::X, 1, 1, std::vector<double>{1, 2});
  EXPECT_EQ(message_of<InputError>([&] { model.ingest(row, dense); }), "row 1 of X with 2 values: X is 2 x 3");
  EXPECT_THROW(KroneckerModel({.n1 = 0, .n2 = 1, .d1 = 1, .d2 = 1}), UsageError);
  EXPECT_THROW(KroneckerModel({.n1 = 1, .n2 = (std::uint64_t{1} << 63) + 1, .d1 = 1, .d2 = 1}), UsageError);
  EXPECT_EQ(message_of<UsageError>([] { KroneckerModel({.n1 = 1, .n2 = 1, .d1 = 1, .d2 = 0}); }),
            "the number d2 of columns of A2 is 0, expected 1 to 9223372036854775808");
}

TEST(KroneckerModel, SaysWhatItTakes) {
  const KroneckerModel kronecker(shape, {.buckets = 64});
  const Model model = kronecker;
  EXPECT_EQ(dimension(model), 7u);
  EXPECT_EQ(streamed_operand(model), Operand::A1);
  EXPECT_EQ(sketch_columns(model), 5u);
  const auto shapes = operand_shapes(model);
  ASSERT_EQ(shapes.size(), 3u);
  EXPECT_EQ(shapes[1].operand, Operand::A2);
  EXPECT_EQ(shapes[2].rows, 2u);
  EXPECT_EQ(shapes[2].columns, 3u);
  const KroneckerSketch sketch = kronecker.sketch(config);
  EXPECT_EQ(kronecker.sketch_bytes(config),
            8 * (sketch.a1.draws.table().size() + sketch.a1.wide.table().size() + sketch.a2.draws.table().size() +
                 sketch.a2.wide.table().size() + sketch.x.size() + 1));
}

}  // namespace
}  // namespace weir
