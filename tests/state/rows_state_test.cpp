#include "weir/state/rows_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/state/dense_state.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr std::uint64_t n = 12, d = 3;
const SketchConfig config{.dimension = n, .buckets = 32, .lanes = 8, .seed = 1};

EventBatch mixed_batch() {
  EventBatch batch;
  batch.push_back({Operand::A, 3, 0, 5});
  batch.push_back({Operand::A, 3, 2, 1});
  batch.push_back({Operand::A, 11, 1, 4});
  batch.rows.push_back(Operand::A, 6, 1, std::vector<double>{1, 2, 3});
  batch.rows.push_back(Operand::A, 3, -1, std::vector<double>{5, 5, 5});
  return batch;
}

TEST(RowsState, SumsEntriesAndRows) {
  DenseRowsState dense(n, d, {});
  dense.add(mixed_batch());
  std::vector<double> expected(n * d);
  std::ranges::copy(std::vector<double>{0, -5, -4}, expected.begin() + 9);
  std::ranges::copy(std::vector<double>{1, 2, 3}, expected.begin() + 18);
  expected[34] = 4;
  EXPECT_TRUE(std::ranges::equal(dense.arrays()[0].doubles(), expected));

  // The same in entries, in two batches.
  RowsState whole(config, d, {.buckets = 64}), parts(config, d, {.buckets = 64});
  EXPECT_EQ(whole.zero_operands(), OperandSet{Operand::A});
  whole.add(mixed_batch());
  for (const std::uint64_t first : {0U, 5U}) {
    EventBatch batch;
    for (std::uint64_t i = first; i < (first == 0 ? 5 : n); ++i)
      for (std::uint64_t j = 0; j < d; ++j) batch.push_back({Operand::A, i, j, expected[i * d + j]});
    parts.add(batch);
  }
  ASSERT_EQ(whole.arrays().size(), 2U);
  for (std::size_t k = 0; k < 2; ++k)
    EXPECT_TRUE(std::ranges::equal(whole.arrays()[k].doubles(), parts.arrays()[k].doubles()));
  EXPECT_EQ(whole.zero_operands(), OperandSet());

  RowsSketch sketch(config, d, {.buckets = 64});
  for (std::uint64_t i = 0; i < n; ++i)
    sketch.update_rows(std::vector{i}, std::vector<double>{1}, std::span(expected).subspan(i * d, d));
  EXPECT_TRUE(std::ranges::equal(whole.arrays()[0].doubles(), sketch.draws.table()));
  EXPECT_TRUE(std::ranges::equal(whole.arrays()[1].doubles(), sketch.wide.table()));
}

TEST(RowsState, MayKeepTheGramMatrixItself) {
  RowsState state(config, d, {.buckets = 64, .exact = true});
  EventBatch rows;
  rows.rows = mixed_batch().rows;
  rows.rows.weights[1] = 1;
  state.add(rows);
  EXPECT_TRUE(std::ranges::equal(state.arrays()[2].doubles(), std::vector<double>{26, 27, 28, 27, 29, 31, 28, 31, 34}));
  EXPECT_THROW(state.add(mixed_batch()), InputError);
  const std::vector<ArrayLayout> layout = RowsState::layout(config, d, {.buckets = 64, .exact = true});
  EXPECT_EQ(layout[2].size, d * d);
  EXPECT_EQ(*state.norm(), std::sqrt(26.0 + 29 + 34));
}

TEST(RowsState, RefusesWhatDoesNotFit) {
  RowsState sketch(config, d, {.buckets = 64});
  DenseRowsState dense(n, d, {});
  for (Kept* state : {static_cast<Kept*>(&sketch), static_cast<Kept*>(&dense)}) {
    const auto message = [&](const Event& event) {
      EventBatch batch;
      batch.push_back(event);
      return message_of<InputError>([&] { state->add(batch); });
    };
    EXPECT_EQ(message({Operand::A, n, 0, 1}), "event A,12,0,1: A is 12 x 3");
    EXPECT_EQ(message({Operand::A, 0, d, 0.5}), "event A,0,3,0.5: A is 12 x 3");
    EXPECT_EQ(message({Operand::x, 1, 0, 1}), "event x,1,1: expected a change of A");
    const auto row_message = [&](Operand operand, std::uint64_t i, std::size_t length) {
      EventBatch batch;
      batch.rows.push_back(operand, i, 1, std::vector<double>(length, 1.0));
      return message_of<InputError>([&] { state->add(batch); });
    };
    EXPECT_EQ(row_message(Operand::A, n, d), "row 12 of A with 3 values: A is 12 x 3");
    EXPECT_EQ(row_message(Operand::A, 0, 2), "row 0 of A with 2 values: A is 12 x 3");
    EXPECT_EQ(row_message(Operand::X, 0, d), "row 0 of X: expected a change of A");
    for (const Numbers& numbers : state->arrays())
      EXPECT_TRUE(std::ranges::all_of(numbers.doubles(), [](double number) { return number == 0; }));
  }
}

}  // namespace
}  // namespace weir
