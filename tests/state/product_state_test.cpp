#include "weir/state/product_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/state/dense_state.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr std::uint64_t n = 12, d = 3;
const SketchConfig config{.dimension = n, .buckets = 32, .lanes = 8, .seed = 1};

EventBatch mixed_batch() {
  EventBatch batch;
  batch.push_back({Operand::A, 3, 0, 5});
  batch.push_back({Operand::x, 1, 0, -2});
  batch.push_back({Operand::A, 3, 2, 1});
  batch.push_back({Operand::x, 0, 0, 7});
  batch.push_back({Operand::A, 11, 1, 4});
  batch.rows.push_back(Operand::A, 6, 1, std::vector<double>{1, 2, 3});
  batch.rows.push_back(Operand::A, 3, -1, std::vector<double>{5, 5, 5});
  return batch;
}
// A has (0, -5, -4) in row 3, (1, 2, 3) in row 6, (0, 4, 0) in row 11; x = (7, -2, 0).
const std::vector<std::uint64_t> keys{3, 6, 11};
const std::vector<double> y{10, 3, -8};

VectorSketch sketch_of(const std::vector<std::uint64_t>& of_keys, const std::vector<double>& values) {
  VectorSketch sketch(config);
  sketch.update(of_keys, values);
  return sketch;
}

TEST(ProductState, KeepsTheOperandsApart) {
  ProductState state(config, d, 1, {});
  EXPECT_EQ(state.zero_operands(), (OperandSet{Operand::x, Operand::y}));
  state.add(mixed_batch());
  EXPECT_TRUE(std::ranges::equal(state.arrays()[0].doubles(), std::vector<double>{7, -2, 0}));
  EXPECT_TRUE(std::ranges::equal(state.sketch_of_y()->table(), sketch_of(keys, y).table()));
  EXPECT_EQ(state.zero_operands(), OperandSet());

  DenseProductState dense(n, d, {}, {});
  dense.add(mixed_batch());
  EXPECT_TRUE(std::ranges::equal(dense.arrays()[0].doubles(), state.arrays()[0].doubles()));
  std::vector<double> a(n * d);
  std::ranges::copy(std::vector<double>{0, -5, -4}, a.begin() + 3 * d);
  std::ranges::copy(std::vector<double>{1, 2, 3}, a.begin() + 6 * d);
  a[11 * d + 1] = 4;
  EXPECT_TRUE(std::ranges::equal(dense.arrays()[1].doubles(), a));
}

TEST(ProductState, ProductFollowsEveryChange) {
  ProductState state(config, d, 1, {});
  state.add(mixed_batch());
  const double before = *state.norm();
  EventBatch more;
  more.push_back({Operand::x, 2, 0, 1});
  state.add(more);
  EXPECT_TRUE(std::ranges::equal(state.sketch_of_y()->table(), sketch_of(keys, {6, 6, -8}).table()));
  // Written to from outside, as a sum over the parties is.
  state.arrays()[0].doubles()[2] = 0;
  EXPECT_TRUE(std::ranges::equal(state.sketch_of_y()->table(), sketch_of(keys, y).table()));
  EXPECT_EQ(state.norm(), before);
}

TEST(ProductState, BatchesOfAnyKindAddUp) {
  ProductState whole(config, d, 1, {}), parts(config, d, 1, {});
  const EventBatch batch = mixed_batch();
  whole.add(batch);
  for (std::size_t t = 0; t < batch.size(); ++t) {
    EventBatch one;
    one.push_back(batch[t]);
    parts.add(one);
  }
  EventBatch rows;
  rows.rows = batch.rows;
  parts.add(rows);
  for (std::size_t k = 0; k < 2; ++k)
    EXPECT_TRUE(std::ranges::equal(whole.arrays()[k].doubles(), parts.arrays()[k].doubles()));
}

TEST(ProductState, LiftedRowsGiveSquares) {
  ProductState state(config, d, 2, {});
  EventBatch batch;
  std::mt19937_64 random(2);
  std::vector<double> squares, values;
  std::vector<std::uint64_t> all;
  const std::vector<double> x{2, -1, 3};
  for (std::uint64_t i = 0; i < n; ++i) {
    std::vector<double> row(d);
    for (double& entry : row) entry = static_cast<double>(random() % 11) - 5;
    batch.rows.push_back(Operand::A, i, 1, row);
    values.push_back(row[0] * x[0] + row[1] * x[1] + row[2] * x[2]);
    squares.push_back(values.back() * values.back());
    all.push_back(i);
  }
  // A row that comes and leaves: its square goes too, though it is that of a negative row.
  batch.rows.push_back(Operand::A, 4, 1, std::vector<double>{9, 9, 9});
  batch.rows.push_back(Operand::A, 4, -1, std::vector<double>{9, 9, 9});
  for (std::uint64_t j = 0; j < d; ++j) batch.push_back({Operand::x, j, 0, x[j]});
  state.add(batch);
  EXPECT_TRUE(std::ranges::equal(state.sketch_of_y()->table(), sketch_of(all, values).table()));
  // The squares are what the lifted columns give; the operands are those of a ProductSketch.
  ProductSketch operands(config, d, 2);
  std::ranges::copy(state.arrays()[0].doubles(), operands.x.begin());
  ASSERT_EQ(operands.a.table().size(), state.arrays()[1].doubles().size());
  std::ranges::copy(state.arrays()[1].doubles(), operands.a.table().begin());
  EXPECT_TRUE(std::ranges::equal(operands.squares().table(), sketch_of(all, squares).table()));

  // The same with x fixed, where two columns stand for the whole row.
  SquaredProductState fixed(config, d);
  fixed.set_fixed(Operand::x, {d, 1, x});
  EventBatch rows;
  rows.rows = batch.rows;
  fixed.add(rows);
  MatrixSketch pairs(config, 2);
  for (std::uint64_t i = 0; i < n; ++i)
    pairs.update_rows(std::vector{i}, std::vector<double>{1}, std::vector{values[i], squares[i]});
  EXPECT_TRUE(std::ranges::equal(fixed.arrays()[0].doubles(), pairs.table()));
  EXPECT_TRUE(std::ranges::equal(fixed.sketch_of_y()->table(), state.sketch_of_y()->table()));
}

TEST(ProductState, LiftsManyRowsOfABatch) {
  // More than are lifted at a time.
  constexpr std::uint64_t width = 300, count = 12;
  const SketchConfig small{.dimension = n, .rows = 1, .buckets = 2, .lanes = 1};
  ProductState whole(small, width, 2, {}), parts(small, width, 2, {});
  EventBatch batch;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::vector<double> row(width);
    for (std::size_t j = 0; j < width; ++j) row[j] = static_cast<double>((i + 3 * j) % 5) - 2;
    batch.rows.push_back(Operand::A, i, 1, row);
    EventBatch one;
    one.rows.push_back(Operand::A, i, 1, row);
    parts.add(one);
  }
  whole.add(batch);
  EXPECT_TRUE(std::ranges::equal(whole.arrays()[1].doubles(), parts.arrays()[1].doubles()));
}

TEST(ProductState, RefusesWhatDoesNotFit) {
  ProductState sketch(config, d, 1, {});
  DenseProductState dense(n, d, {}, {});
  for (Kept* state : {static_cast<Kept*>(&sketch), static_cast<Kept*>(&dense)}) {
    const auto refuse = [&](const Event& event) {
      EventBatch batch;
      batch.push_back(event);
      EXPECT_THROW(state->add(batch), InputError) << to_string(event.operand) << event.i << "," << event.j;
    };
    refuse({Operand::A, n, 0, 1});
    refuse({Operand::A, 0, d, 1});
    refuse({Operand::x, d, 0, 1});
    refuse({Operand::y, 0, 0, 1});
    const auto refuse_row = [&](Operand operand, std::uint64_t i, std::size_t length) {
      EventBatch batch;
      batch.rows.push_back(operand, i, 1, std::vector<double>(length, 1.0));
      EXPECT_THROW(state->add(batch), InputError) << to_string(operand) << i << " of " << length;
    };
    refuse_row(Operand::A, n, d);
    refuse_row(Operand::A, 0, d - 1);
    refuse_row(Operand::A1, 0, d);
    EventBatch overflow;
    overflow.push_back({Operand::x, 0, 0, 1e308});
    overflow.push_back({Operand::x, 0, 0, 1e308});
    EXPECT_EQ(message_of<InputError>([&] { state->add(overflow); }),
              "event x,0,1e+308: the sum of the changes of x[0] overflows a double");
  }
  ProductState lifted(config, d, 2, {});
  EventBatch entry;
  entry.push_back({Operand::A, 1, 1, 1});
  EXPECT_THROW(lifted.add(entry), InputError);
}

TEST(ProductState, RefusesImpossibleShapes) {
  EXPECT_THROW(ProductState(config, 0, 1, {}), UsageError);
  EXPECT_THROW(ProductState(config, 1, 3, {}), UsageError);
  EXPECT_THROW(std::ignore = ProductState::layout(config, std::uint64_t{1} << 32, 2), UsageError);
  EXPECT_THROW(std::ignore = ProductState::layout(config, std::uint64_t{1} << 62, 1), UsageError);
  EXPECT_NO_THROW(std::ignore = ProductState::layout({.dimension = 1, .rows = 1, .buckets = 2, .lanes = 1},
                                                     std::uint64_t{1} << 31, 1));
}

}  // namespace
}  // namespace weir
