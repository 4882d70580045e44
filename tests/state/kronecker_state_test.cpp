#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/state/dense_state.hpp"
#include "weir/state/rows_state.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr KroneckerShape shape{.n1 = 7, .n2 = 5, .d1 = 2, .d2 = 3};
constexpr std::array<OperandShape, 3> shapes{{{Operand::A1, 7, 2}, {Operand::A2, 5, 3}, {Operand::X, 2, 3}}};
const SketchConfig config{.dimension = 7, .buckets = 32, .lanes = 8, .seed = 1};
const GramConfig gram{.buckets = 64};

// The arrays of a KroneckerState, and of a DenseKroneckerState.
enum Array : std::size_t { x_events = 0, x = 1, cells_of_a1 = 2, wide_of_a1 = 3, cells_of_a2 = 4, wide_of_a2 = 5 };
enum DenseArray : std::size_t { dense_a1 = 2, dense_a2 = 3 };

/// Entries and rows of all operands, in any order.
EventBatch random_batch(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto value = [&] { return static_cast<double>(random() % 9) - 4; };
  EventBatch batch;
  for (int t = 0; t < 60; ++t) {
    const OperandShape& operand = shapes.at(random() % 3);
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

double events_of_x(const EventBatch& batch) {
  return static_cast<double>(std::ranges::count(batch.operands, Operand::X) +
                             std::ranges::count(batch.rows.operands, Operand::X));
}

TEST(KroneckerState, KeepsTheOperandsApart) {
  const EventBatch batch = random_batch(1);
  DenseKroneckerState dense(shape, {});
  dense.add(batch);
  EXPECT_TRUE(std::ranges::equal(dense.arrays()[dense_a1].doubles(), sum_of(batch, shapes[0])));
  EXPECT_TRUE(std::ranges::equal(dense.arrays()[dense_a2].doubles(), sum_of(batch, shapes[1])));
  EXPECT_TRUE(std::ranges::equal(dense.arrays()[x].doubles(), sum_of(batch, shapes[2])));
  EXPECT_EQ(dense.arrays()[x_events].doubles()[0], events_of_x(batch));

  KroneckerState state(shape, config, gram);
  EXPECT_EQ(state.zero_operands(), (OperandSet{Operand::A1, Operand::A2}));  // X is the identity
  state.add(batch);
  EXPECT_TRUE(std::ranges::equal(state.arrays()[x].doubles(), dense.arrays()[x].doubles()));
  EXPECT_EQ(state.arrays()[x_events].doubles()[0], events_of_x(batch));
  KroneckerSketch expected(shape, config, gram);
  const std::vector<double> a1 = sum_of(batch, shapes[0]), a2 = sum_of(batch, shapes[1]);
  for (std::uint64_t i = 0; i < shape.n1; ++i)
    expected.a1.update_rows(std::vector{i}, std::vector<double>{1}, std::span(a1).subspan(i * shape.d1, shape.d1));
  for (std::uint64_t i = 0; i < shape.n2; ++i)
    expected.a2.update_rows(std::vector{i}, std::vector<double>{1}, std::span(a2).subspan(i * shape.d2, shape.d2));
  EXPECT_TRUE(std::ranges::equal(state.arrays()[cells_of_a1].doubles(), expected.a1.draws.table()));
  EXPECT_TRUE(std::ranges::equal(state.arrays()[wide_of_a1].doubles(), expected.a1.wide.table()));
  EXPECT_TRUE(std::ranges::equal(state.arrays()[cells_of_a2].doubles(), expected.a2.draws.table()));
  EXPECT_TRUE(std::ranges::equal(state.arrays()[wide_of_a2].doubles(), expected.a2.wide.table()));
}

TEST(KroneckerState, BatchesOfAnyKindAddUp) {
  KroneckerState whole(shape, config, gram), parts(shape, config, gram);
  DenseKroneckerState whole_dense(shape, {}), parts_dense(shape, {});
  const EventBatch batch = random_batch(2);
  whole.add(batch);
  whole_dense.add(batch);
  const auto add_part = [&](const EventBatch& part) {
    parts.add(part);
    parts_dense.add(part);
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
  const auto expect_equal = [](Kept& a, Kept& b) {
    const auto of_a = a.arrays(), of_b = b.arrays();
    ASSERT_EQ(of_a.size(), of_b.size());
    for (std::size_t k = 0; k < of_a.size(); ++k)
      EXPECT_TRUE(std::ranges::equal(of_a[k].doubles(), of_b[k].doubles())) << k;
  };
  expect_equal(whole, parts);
  expect_equal(whole_dense, parts_dense);
}

TEST(KroneckerState, AnXThatWasTakenBackIsZeroNotTheIdentity) {
  constexpr KroneckerShape square{.n1 = 3, .n2 = 3, .d1 = 2, .d2 = 2};
  DenseKroneckerState dense(square, {});
  KroneckerState state(square, {.dimension = 3, .buckets = 32, .lanes = 8}, gram);
  EventBatch factors;
  factors.push_back({Operand::A1, 0, 1, 2});
  factors.push_back({Operand::A2, 2, 1, 3});
  dense.add(factors);
  state.add(factors);
  const ExactQuestion entry{{{0, 2}}, {}};
  EXPECT_EQ(dense.answer({.exact = entry}, lone_party()).exact.at({0, 2}).value, 6);
  EXPECT_EQ(state.zero_operands(), OperandSet());
  EventBatch batch;
  batch.push_back({Operand::X, 0, 1, 2});
  batch.push_back({Operand::X, 0, 1, -2});
  dense.add(batch);
  state.add(batch);
  EXPECT_EQ(dense.answer({.exact = entry}, lone_party()).exact.at({0, 2}).value, 0);
  EXPECT_EQ(state.zero_operands(), OperandSet{Operand::X});
}

TEST(KroneckerState, RefusesWhatDoesNotFit) {
  KroneckerState sketch(shape, config, gram);
  DenseKroneckerState dense(shape, {});
  for (Kept* state : {static_cast<Kept*>(&sketch), static_cast<Kept*>(&dense)}) {
    const auto message = [&](std::initializer_list<Event> events) {
      EventBatch batch;
      for (const Event& event : events) batch.push_back(event);
      return message_of<InputError>([&] { state->add(batch); });
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
    EXPECT_EQ(message_of<InputError>([&] { state->add(row); }), "row 1 of X with 2 values: X is 2 x 3");
  }
  EXPECT_THROW(KroneckerState({.n1 = 0, .n2 = 1, .d1 = 1, .d2 = 1}, config, gram), UsageError);
  EXPECT_THROW(KroneckerState({.n1 = 1, .n2 = (std::uint64_t{1} << 63) + 1, .d1 = 1, .d2 = 1}, config, gram),
               UsageError);
  EXPECT_THROW(KroneckerState({.n1 = 1, .n2 = 1, .d1 = 1, .d2 = 0}, config, gram), UsageError);
}

}  // namespace
}  // namespace weir
