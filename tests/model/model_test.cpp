#include "weir/model/model.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::message_of;

EventBatch batch_of(std::initializer_list<Event> events) {
  EventBatch batch;
  for (const Event& event : events) batch.push_back(event);
  return batch;
}

/// Of the models whose events are changes of y.
Updates updates_of(Model& model, const EventBatch& batch) {
  if (auto* product = std::get_if<ProductModel>(&model)) return product->updates(batch);
  return std::get<VectorModel>(model).updates(batch);
}

std::map<std::uint64_t, double> sums(const Updates& updates) {
  std::map<std::uint64_t, double> y;
  for (std::size_t t = 0; t < updates.keys.size(); ++t) y[updates.keys[t]] += updates.deltas[t];
  return y;
}

EventBatch row_of(Operand operand, std::uint64_t i, double weight, const std::vector<double>& values) {
  EventBatch batch;
  batch.rows.push_back(operand, i, weight, values);
  return batch;
}

constexpr std::uint64_t beyond = (std::uint64_t{1} << 63) + 1;

TEST(VectorModel, PassesTheColumnsOfTheBatchThrough) {
  Model model = VectorModel(10);
  const EventBatch batch = batch_of({{Operand::y, 3, 0, 1.5}, {Operand::y, 9, 0, -2.0}, {Operand::y, 3, 0, 0.0}});
  const Updates updates = updates_of(model, batch);
  EXPECT_EQ(updates.keys.data(), batch.i.data());
  EXPECT_EQ(updates.deltas.data(), batch.delta.data());
  EXPECT_EQ(updates.keys.size(), 3u);
  EXPECT_EQ(updates.deltas.size(), 3u);
}

TEST(VectorModel, HasNoRows) {
  const VectorModel model(10);
  const std::string message = message_of<InputError>([&] {
    std::ignore = model.updates(row_of(Operand::A, 3, 1, {1, 2}));
  });
  EXPECT_NE(message.find("row 3 of A"), std::string::npos) << message;
}

TEST(VectorModel, SaysWhatItTakes) {
  const Model model = VectorModel(10);
  EXPECT_EQ(dimension(model), 10u);
  EXPECT_EQ(streamed_operand(model), Operand::y);
  const auto shapes = operand_shapes(model);
  ASSERT_EQ(shapes.size(), 1u);
  EXPECT_EQ(shapes[0].operand, Operand::y);
  EXPECT_EQ(shapes[0].rows, 10u);
  EXPECT_EQ(shapes[0].columns, 1u);
}

TEST(VectorModel, RefusesImpossibleLengths) {
  EXPECT_THROW(VectorModel(0), UsageError);
  EXPECT_THROW(VectorModel{beyond}, UsageError);
  EXPECT_EQ(VectorModel(beyond - 1).dimension(), beyond - 1);
}

TEST(ProductModel, SaysWhatItTakes) {
  const Model model = ProductModel(1000, {1, 2, 3});
  EXPECT_EQ(dimension(model), 1000u);
  EXPECT_EQ(streamed_operand(model), Operand::A);
  const auto shapes = operand_shapes(model);
  ASSERT_EQ(shapes.size(), 1u);
  EXPECT_EQ(shapes[0].operand, Operand::A);
  EXPECT_EQ(shapes[0].rows, 1000u);
  EXPECT_EQ(shapes[0].columns, 3u);
}

TEST(ProductModel, MultipliesAndCoalescesConsecutiveRows) {
  ProductModel model(100, {2, -1, 0.5});
  const Updates updates = model.updates(batch_of({{Operand::A, 7, 0, 1},
                                                  {Operand::A, 7, 1, 4},
                                                  {Operand::A, 7, 2, 8},
                                                  {Operand::A, 0, 2, 3},
                                                  {Operand::A, 7, 0, 10}}));
  ASSERT_EQ(updates.keys.size(), 3u);
  EXPECT_EQ(updates.keys[0], 7u);
  EXPECT_EQ(updates.deltas[0], 2.0 - 4.0 + 4.0);
  EXPECT_EQ(updates.keys[1], 0u);
  EXPECT_EQ(updates.deltas[1], 1.5);
  EXPECT_EQ(updates.keys[2], 7u);
  EXPECT_EQ(updates.deltas[2], 20.0);
}

TEST(ProductModel, WholeRowsAreInnerProducts) {
  ProductModel model(100, {2, -1, 0.5});
  EventBatch batch = batch_of({{Operand::A, 7, 0, 1}});
  batch.rows.push_back(Operand::A, 7, 1, std::vector<double>{1, 4, 8});
  batch.rows.push_back(Operand::A, 99, -1, std::vector<double>{3, 0, 2});
  batch.rows.push_back(Operand::A, 5, 1, std::vector<double>{1, 2, 0});  // orthogonal to x
  batch.rows.push_back(Operand::A, 0, 1, std::vector<double>{0, 0, -1});
  const Updates updates = model.updates(batch);
  EXPECT_EQ(std::vector(updates.keys.begin(), updates.keys.end()), (std::vector<std::uint64_t>{7, 7, 99, 0}));
  EXPECT_EQ(std::vector(updates.deltas.begin(), updates.deltas.end()), (std::vector<double>{2, 2, -7, -0.5}));
}

TEST(ProductModel, WholeRowsAgreeWithTheirEntries) {
  // Small whole numbers: every order of summation is exact.
  std::mt19937_64 random(2);
  for (std::size_t columns = 1; columns <= 64; columns += columns < 9 ? 1 : 11) {
    std::vector<double> x(columns);
    for (double& entry : x) entry = static_cast<double>(random() % 21) - 10;
    ProductModel model(50, x);
    EventBatch rows, entries;
    for (int row = 0; row < 30; ++row) {
      const std::uint64_t i = random() % 50;
      const double weight = random() % 2 == 0 ? 1 : -1;
      std::vector<double> values(columns);
      for (std::size_t j = 0; j < columns; ++j) {
        values[j] = static_cast<double>(random() % 9) - 4;
        entries.push_back({Operand::A, i, j, weight * values[j]});
      }
      rows.rows.push_back(Operand::A, i, weight, values);
    }
    std::map<std::uint64_t, double> from_rows = sums(model.updates(rows));
    std::map<std::uint64_t, double> from_entries = sums(model.updates(entries));
    for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(from_rows[i], from_entries[i]) << columns;
  }
}

TEST(ProductModel, RowsThatDoNotFitAreInputErrors) {
  ProductModel model(100, {1e200, 1});
  const auto message = [&](const EventBatch& batch) {
    return message_of<InputError>([&] { std::ignore = model.updates(batch); });
  };
  EXPECT_EQ(message(row_of(Operand::A, 5, 1, {1})),
            "row 5 of A has 1 values, expected a row of A with 2, the length of x");
  EXPECT_EQ(message(row_of(Operand::A, 5, 1, {1, 2, 3})),
            "row 5 of A has 3 values, expected a row of A with 2, the length of x");
  EXPECT_EQ(message(row_of(Operand::X, 5, 1, {1, 2})),
            "row 5 of X has 2 values, expected a row of A with 2, the length of x");
  EXPECT_EQ(message(row_of(Operand::A, 12, -1, {1e150, 0})),
            "row 12 of A times x makes an update of y[12] that overflows a double");
}

TEST(ProductModel, LeavesOutWhatDoesNotChangeY) {
  ProductModel model(10, {0, 1});
  const Updates updates = model.updates(
      batch_of({{Operand::A, 1, 0, 5}, {Operand::A, 2, 1, 3}, {Operand::A, 2, 1, -3}, {Operand::A, 3, 1, 1}}));
  ASSERT_EQ(updates.keys.size(), 1u);
  EXPECT_EQ(updates.keys[0], 3u);
}

TEST(ProductModel, EmptyBatchGivesNoUpdates) {
  ProductModel model(10, {1});
  EXPECT_TRUE(model.updates(EventBatch{}).keys.empty());
}

TEST(ProductModel, AgreesWithTheDenseProductOnRandomBatches) {
  std::mt19937_64 random(1);
  const std::uint64_t rows = 50, columns = 8;
  std::vector<double> x(columns);
  for (double& entry : x) entry = static_cast<double>(random() % 21) - 10;
  ProductModel model(rows, x);
  std::map<std::uint64_t, double> expected, found;
  std::vector<std::vector<double>> a(rows, std::vector<double>(columns));
  for (int round = 0; round < 20; ++round) {
    EventBatch batch;
    for (std::size_t count = 1 + random() % 200; count > 0; --count) {
      const Event event{Operand::A, (random() % rows) / 10 * 10, random() % columns,
                        static_cast<double>(random() % 9) - 4};
      a[event.i][event.j] += event.delta;
      batch.push_back(event);
    }
    for (const auto& [key, delta] : sums(model.updates(batch))) found[key] += delta;
  }
  for (std::uint64_t i = 0; i < rows; ++i) {
    double y = 0;
    for (std::uint64_t j = 0; j < columns; ++j) y += a[i][j] * x[j];
    EXPECT_EQ(found.contains(i) ? found[i] : 0.0, y) << i;
  }
}

TEST(ProductModel, DoesNotAllocateOnceWarm) {
  ProductModel model(10, {1, 1});
  const EventBatch batch = batch_of({{Operand::A, 1, 0, 1}, {Operand::A, 2, 1, 1}, {Operand::A, 3, 0, 1}});
  const auto* keys = model.updates(batch).keys.data();
  const auto* deltas = model.updates(batch).deltas.data();
  EXPECT_EQ(model.updates(batch).keys.data(), keys);
  EXPECT_EQ(model.updates(batch).deltas.data(), deltas);
}

TEST(ProductModel, OverflowIsAnInputErrorThatNamesTheEvent) {
  ProductModel model(100, {1e200, 1});
  const std::string product = message_of<InputError>([&] {
    std::ignore = model.updates(batch_of({{Operand::A, 5, 1, 1}, {Operand::A, 12, 0, 1e150}}));
  });
  EXPECT_NE(product.find("A,12,0,1e+150"), std::string::npos) << product;
  const std::string sum = message_of<InputError>([&] {
    std::ignore = model.updates(batch_of({{Operand::A, 5, 1, 1.7e308}, {Operand::A, 5, 1, 1.7e308}}));
  });
  EXPECT_NE(sum.find("A,5,1,1.7e+308"), std::string::npos) << sum;
}

TEST(ProductModel, ColumnOutsideOfXIsAnInputError) {
  ProductModel model(100, {1, 2});
  const std::string message = message_of<InputError>([&] {
    std::ignore = model.updates(batch_of({{Operand::A, 5, 2, 1}}));
  });
  EXPECT_NE(message.find("column 2"), std::string::npos) << message;
}

TEST(ProductModel, RefusesImpossibleOperands) {
  EXPECT_THROW(ProductModel(0, {1}), UsageError);
  EXPECT_THROW(ProductModel(beyond, {1}), UsageError);
  EXPECT_THROW(ProductModel(1, {}), UsageError);
  EXPECT_THROW(ProductModel(1, {1, std::numeric_limits<double>::infinity()}), InputError);
  EXPECT_THROW(ProductModel(1, {std::numeric_limits<double>::quiet_NaN()}), InputError);
}

}  // namespace
}  // namespace weir
