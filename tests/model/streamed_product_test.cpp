#include "weir/model/streamed_product.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "weir/error.hpp"
#include "weir/model/model.hpp"

namespace weir {
namespace {

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

TEST(StreamedProductModel, KeepsTheOperandsApart) {
  StreamedProductModel model(n, d);
  ProductSketch sketch = model.sketch(config);
  model.ingest(mixed_batch(), sketch);
  EXPECT_EQ(sketch.x, (std::vector<double>{7, -2, 0}));
  VectorSketch expected(config);
  expected.update(keys, y);
  EXPECT_TRUE(std::ranges::equal(sketch.y().table(), expected.table()));

  DenseProduct dense = model.dense();
  model.ingest(mixed_batch(), dense);
  EXPECT_EQ(dense.x, sketch.x);
  const DenseVector product = dense.times(dense.x);
  for (std::size_t k = 0; k < keys.size(); ++k) EXPECT_EQ(product.table()[keys[k]], y[k]);
  EXPECT_EQ(product.moment(1), 21);
}

TEST(StreamedProductModel, BatchesOfAnyKindAddUp) {
  StreamedProductModel model(n, d);
  ProductSketch whole = model.sketch(config), parts = model.sketch(config);
  const EventBatch batch = mixed_batch();
  model.ingest(batch, whole);
  for (std::size_t t = 0; t < batch.size(); ++t) {
    EventBatch one;
    one.push_back(batch[t]);
    model.ingest(one, parts);
  }
  EventBatch rows;
  rows.rows = batch.rows;
  model.ingest(rows, parts);
  EXPECT_TRUE(std::ranges::equal(whole.a.table(), parts.a.table()));
  EXPECT_EQ(whole.x, parts.x);
}

TEST(StreamedProductModel, LiftedRowsGiveSquares) {
  StreamedProductModel model(n, d, 2);
  ProductSketch sketch = model.sketch(config);
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
  model.ingest(batch, sketch);
  VectorSketch expected_squares(config), expected(config);
  expected_squares.update(all, squares);
  expected.update(all, values);
  EXPECT_TRUE(std::ranges::equal(sketch.squares().table(), expected_squares.table()));
  EXPECT_TRUE(std::ranges::equal(sketch.y().table(), expected.table()));

  // The same with x fixed, where one column stands for the whole row.
  Model fixed = ProductModel(n, x, 2);
  SketchState state = empty_sketch(fixed, config, true);
  EventBatch rows_only;
  for (std::uint64_t i = 0; i < n; ++i)
    rows_only.rows.push_back(Operand::A, i, 1, std::vector<double>{values[i] / 2, 0, 0});
  add_events(fixed, rows_only, state);
  EXPECT_EQ(sketch_columns(fixed), 2u);
  EXPECT_EQ(std::get<ProductSketch>(state).x, std::vector<double>{1});
  EXPECT_TRUE(std::ranges::equal(std::get<ProductSketch>(state).squares().table(), expected_squares.table()));
  EXPECT_TRUE(std::ranges::equal(std::get<ProductSketch>(state).y().table(), expected.table()));
}

TEST(StreamedProductModel, RefusesWhatDoesNotFit) {
  StreamedProductModel model(n, d);
  ProductSketch sketch = model.sketch(config);
  const auto refuse = [&](const Event& event) {
    EventBatch batch;
    batch.push_back(event);
    EXPECT_THROW(model.ingest(batch, sketch), InputError) << to_string(event.operand) << event.i << "," << event.j;
  };
  refuse({Operand::A, n, 0, 1});
  refuse({Operand::A, 0, d, 1});
  refuse({Operand::x, d, 0, 1});
  refuse({Operand::y, 0, 0, 1});
  const auto refuse_row = [&](Operand operand, std::uint64_t i, std::size_t length) {
    EventBatch batch;
    batch.rows.push_back(operand, i, 1, std::vector<double>(length, 1.0));
    EXPECT_THROW(model.ingest(batch, sketch), InputError) << to_string(operand) << i << " of " << length;
  };
  refuse_row(Operand::A, n, d);
  refuse_row(Operand::A, 0, d - 1);
  refuse_row(Operand::A1, 0, d);
  EventBatch overflow;
  overflow.push_back({Operand::x, 0, 0, 1e308});
  overflow.push_back({Operand::x, 0, 0, 1e308});
  EXPECT_THROW(model.ingest(overflow, sketch), InputError);

  StreamedProductModel lifted(n, d, 2);
  ProductSketch squares = lifted.sketch(config);
  EventBatch entry;
  entry.push_back({Operand::A, 1, 1, 1});
  EXPECT_THROW(lifted.ingest(entry, squares), InputError);
}

TEST(StreamedProductModel, RefusesImpossibleShapes) {
  EXPECT_THROW(StreamedProductModel(0, 1), UsageError);
  EXPECT_THROW(StreamedProductModel(1, 0), UsageError);
  EXPECT_THROW(StreamedProductModel((std::uint64_t{1} << 63) + 1, 1), UsageError);
  EXPECT_THROW(StreamedProductModel(1, 1, 3), UsageError);
  EXPECT_NO_THROW(StreamedProductModel(1, std::uint64_t{1} << 32));
  EXPECT_THROW(StreamedProductModel(1, std::uint64_t{1} << 32, 2), UsageError);
}

TEST(StreamedProductModel, SaysWhatItTakes) {
  const Model model = StreamedProductModel(n, d);
  EXPECT_EQ(dimension(model), n);
  EXPECT_EQ(streamed_operand(model), Operand::A);
  EXPECT_EQ(sketch_columns(model), d);
  const auto shapes = operand_shapes(model);
  ASSERT_EQ(shapes.size(), 2u);
  EXPECT_EQ(shapes[0].operand, Operand::A);
  EXPECT_EQ(shapes[0].rows, n);
  EXPECT_EQ(shapes[0].columns, d);
  EXPECT_EQ(shapes[1].operand, Operand::x);
  EXPECT_EQ(shapes[1].rows, d);
}

}  // namespace
}  // namespace weir
