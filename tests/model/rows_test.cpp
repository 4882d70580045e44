#include "weir/model/rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/model/model.hpp"

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

TEST(RowsModel, SumsEntriesAndRows) {
  RowsModel model(n, d);
  DenseOperand dense = model.dense();
  model.ingest(mixed_batch(), dense);
  DenseMatrix expected{n, d, std::vector<double>(n * d)};
  std::ranges::copy(std::vector<double>{0, -5, -4}, expected.values.begin() + 9);
  std::ranges::copy(std::vector<double>{1, 2, 3}, expected.values.begin() + 18);
  expected.values[34] = 4;
  EXPECT_EQ(dense.matrix(), expected);

  // The same in entries, in two batches, through the variant.
  Model any = model;
  SketchState state = empty_sketch(any, config, false);
  RowsSketch sketch = model.sketch(config);
  model.ingest(mixed_batch(), sketch);
  for (const std::uint64_t first : {0u, 5u}) {
    EventBatch batch;
    for (std::uint64_t i = first; i < (first == 0 ? 5 : n); ++i)
      for (std::uint64_t j = 0; j < d; ++j) batch.push_back({Operand::A, i, j, expected.values[i * d + j]});
    add_events(any, batch, state);
  }
  const auto& parts = std::get<RowsSketch>(state);
  EXPECT_TRUE(std::ranges::equal(parts.draws.table(), sketch.draws.table()));
  EXPECT_TRUE(std::ranges::equal(parts.wide.table(), sketch.wide.table()));
  DenseState exact = empty_dense(any);
  add_events(any, mixed_batch(), exact);
  EXPECT_EQ(std::get<DenseOperand>(exact).matrix(), expected);
}

TEST(RowsModel, MayKeepTheGramMatrixItself) {
  RowsModel model(n, d, {.buckets = 64, .exact = true});
  RowsSketch sketch = model.sketch(config);
  EventBatch rows;
  rows.rows = mixed_batch().rows;
  rows.rows.weights[1] = 1;
  model.ingest(rows, sketch);
  EXPECT_EQ(sketch.gram().values, (std::vector<double>{26, 27, 28, 27, 29, 31, 28, 31, 34}));
  EXPECT_THROW(model.ingest(mixed_batch(), sketch), InputError);
  EXPECT_EQ(model.sketch_bytes(config), 8 * (sketch.draws.table().size() + sketch.wide.table().size() + 9));
}

TEST(RowsModel, RefusesWhatDoesNotFit) {
  RowsModel model(n, d);
  RowsSketch sketch = model.sketch(config);
  const auto message = [&](const Event& event) {
    EventBatch batch;
    batch.push_back(event);
    return message_of<InputError>([&] { model.ingest(batch, sketch); });
  };
  EXPECT_EQ(message({Operand::A, n, 0, 1}), "event A,12,0,1: A is 12 x 3");
  EXPECT_EQ(message({Operand::A, 0, d, 0.5}), "event A,0,3,0.5: A is 12 x 3");
  EXPECT_EQ(message({Operand::x, 1, 0, 1}), "event x,1,1: expected a change of A");
  const auto row_message = [&](Operand operand, std::uint64_t i, std::size_t length) {
    EventBatch batch;
    batch.rows.push_back(operand, i, 1, std::vector<double>(length, 1.0));
    return message_of<InputError>([&] { model.ingest(batch, sketch); });
  };
  EXPECT_EQ(row_message(Operand::A, n, d), "row 12 of A with 3 values: A is 12 x 3");
  EXPECT_EQ(row_message(Operand::A, 0, 2), "row 0 of A with 2 values: A is 12 x 3");
  EXPECT_EQ(row_message(Operand::X, 0, d), "row 0 of X: expected a change of A");
  EXPECT_TRUE(sketch.is_zero());
}

TEST(RowsModel, SaysWhatItTakes) {
  const Model model = RowsModel(n, d);
  EXPECT_EQ(dimension(model), n);
  EXPECT_EQ(streamed_operand(model), Operand::A);
  EXPECT_EQ(sketch_columns(model), d);
  ASSERT_EQ(operand_shapes(model).size(), 1u);
  EXPECT_EQ(operand_shapes(model)[0].columns, d);
  EXPECT_THROW(RowsModel(0, 1), UsageError);
  EXPECT_THROW(RowsModel(1, 0), UsageError);
  EXPECT_THROW(RowsModel((std::uint64_t{1} << 63) + 1, 1), UsageError);
}

}  // namespace
}  // namespace weir
