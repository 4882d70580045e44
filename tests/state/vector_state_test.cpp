#include "weir/state/vector_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/setting/setting.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr double infinity = std::numeric_limits<double>::infinity();
const SketchConfig config{.dimension = 100, .buckets = 32, .lanes = 8, .seed = 1};

EventBatch batch_of(std::initializer_list<Event> events) {
  EventBatch batch;
  for (const Event& event : events) batch.push_back(event);
  return batch;
}

EventBatch row_of(Operand operand, std::uint64_t i, double weight, const std::vector<double>& values) {
  EventBatch batch;
  batch.rows.push_back(operand, i, weight, values);
  return batch;
}

std::map<std::uint64_t, double> sums(const Updates& updates) {
  std::map<std::uint64_t, double> y;
  for (std::size_t t = 0; t < updates.keys.size(); ++t) y[updates.keys[t]] += updates.deltas[t];
  return y;
}

ProductUpdates updates_with(const std::vector<double>& x) {
  ProductUpdates updates(x.size());
  updates.set_x(Operand::x, {x.size(), 1, x});
  return updates;
}

VectorSketch sketch_of(const std::vector<std::uint64_t>& keys, const std::vector<double>& deltas) {
  VectorSketch sketch(config);
  sketch.update(keys, deltas);
  return sketch;
}

TEST(UpdatesOfY, AreTheColumnsOfTheBatch) {
  const EventBatch batch = batch_of({{Operand::y, 3, 0, 1.5}, {Operand::y, 9, 0, -2.0}, {Operand::y, 3, 0, 0.0}});
  const Updates updates = updates_of_y(batch);
  EXPECT_EQ(updates.keys.data(), batch.i.data());
  EXPECT_EQ(updates.deltas.data(), batch.delta.data());
  EXPECT_EQ(updates.keys.size(), 3U);
  EXPECT_EQ(updates.deltas.size(), 3U);
}

TEST(UpdatesOfY, HaveNoRows) {
  EXPECT_EQ(message_of<InputError>([] {
              std::ignore = updates_of_y(row_of(Operand::A, 3, 1, {1, 2}));
            }),
            "row 3 of A: y is a vector and has no rows");
}

TEST(ProductUpdates, MultiplyAndCoalesceConsecutiveRows) {
  ProductUpdates updates_of = updates_with({2, -1, 0.5});
  const Updates updates = updates_of(batch_of({{Operand::A, 7, 0, 1},
                                               {Operand::A, 7, 1, 4},
                                               {Operand::A, 7, 2, 8},
                                               {Operand::A, 0, 2, 3},
                                               {Operand::A, 7, 0, 10}}));
  EXPECT_EQ(std::vector(updates.keys.begin(), updates.keys.end()), (std::vector<std::uint64_t>{7, 0, 7}));
  EXPECT_EQ(std::vector(updates.deltas.begin(), updates.deltas.end()), (std::vector<double>{2, 1.5, 20}));
}

TEST(ProductUpdates, WholeRowsAreInnerProducts) {
  ProductUpdates updates_of = updates_with({2, -1, 0.5});
  EventBatch batch = batch_of({{Operand::A, 7, 0, 1}});
  batch.rows.push_back(Operand::A, 7, 1, std::vector<double>{1, 4, 8});
  batch.rows.push_back(Operand::A, 99, -1, std::vector<double>{3, 0, 2});
  batch.rows.push_back(Operand::A, 5, 1, std::vector<double>{1, 2, 0});  // orthogonal to x
  batch.rows.push_back(Operand::A, 0, 1, std::vector<double>{0, 0, -1});
  const Updates updates = updates_of(batch);
  EXPECT_EQ(std::vector(updates.keys.begin(), updates.keys.end()), (std::vector<std::uint64_t>{7, 7, 99, 0}));
  EXPECT_EQ(std::vector(updates.deltas.begin(), updates.deltas.end()), (std::vector<double>{2, 2, -7, -0.5}));
}

TEST(ProductUpdates, WholeRowsAgreeWithTheirEntries) {
  // Small whole numbers: every order of summation is exact.
  std::mt19937_64 random(2);
  for (std::size_t columns = 1; columns <= 64; columns += columns < 9 ? 1 : 11) {
    std::vector<double> x(columns);
    for (double& entry : x) entry = static_cast<double>(random() % 21) - 10;
    ProductUpdates updates_of = updates_with(x);
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
    std::map<std::uint64_t, double> from_rows = sums(updates_of(rows));
    std::map<std::uint64_t, double> from_entries = sums(updates_of(entries));
    for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(from_rows[i], from_entries[i]) << columns;
  }
}

TEST(ProductUpdates, AgreeWithTheDenseProductOnRandomBatches) {
  std::mt19937_64 random(1);
  const std::uint64_t rows = 50, columns = 8;
  std::vector<double> x(columns);
  for (double& entry : x) entry = static_cast<double>(random() % 21) - 10;
  ProductUpdates updates_of = updates_with(x);
  std::map<std::uint64_t, double> found;
  std::vector<std::vector<double>> a(rows, std::vector<double>(columns));
  for (int round = 0; round < 20; ++round) {
    EventBatch batch;
    for (std::size_t count = 1 + random() % 200; count > 0; --count) {
      const Event event{Operand::A, (random() % rows) / 10 * 10, random() % columns,
                        static_cast<double>(random() % 9) - 4};
      a[event.i][event.j] += event.delta;
      batch.push_back(event);
    }
    for (const auto& [key, delta] : sums(updates_of(batch))) found[key] += delta;
  }
  for (std::uint64_t i = 0; i < rows; ++i) {
    double y = 0;
    for (std::uint64_t j = 0; j < columns; ++j) y += a[i][j] * x[j];
    EXPECT_EQ(found.contains(i) ? found[i] : 0.0, y) << i;
  }
}

TEST(ProductUpdates, LeaveOutWhatDoesNotChangeY) {
  ProductUpdates updates_of = updates_with({0, 1});
  const Updates updates = updates_of(
      batch_of({{Operand::A, 1, 0, 5}, {Operand::A, 2, 1, 3}, {Operand::A, 2, 1, -3}, {Operand::A, 3, 1, 1}}));
  ASSERT_EQ(updates.keys.size(), 1U);
  EXPECT_EQ(updates.keys[0], 3U);
  EXPECT_TRUE(updates_of(EventBatch{}).keys.empty());
}

TEST(ProductUpdates, DoNotAllocateOnceWarm) {
  ProductUpdates updates_of = updates_with({1, 1});
  const EventBatch batch = batch_of({{Operand::A, 1, 0, 1}, {Operand::A, 2, 1, 1}, {Operand::A, 3, 0, 1}});
  const auto* keys = updates_of(batch).keys.data();
  const auto* deltas = updates_of(batch).deltas.data();
  EXPECT_EQ(updates_of(batch).keys.data(), keys);
  EXPECT_EQ(updates_of(batch).deltas.data(), deltas);
}

TEST(ProductUpdates, RefuseRowsThatDoNotFit) {
  ProductUpdates updates_of = updates_with({1e200, 1});
  const auto message = [&](const EventBatch& batch) {
    return message_of<InputError>([&] { std::ignore = updates_of(batch); });
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

TEST(ProductUpdates, NameTheEventThatOverflows) {
  ProductUpdates updates_of = updates_with({1e200, 1});
  const auto message = [&](const EventBatch& batch) {
    return message_of<InputError>([&] { std::ignore = updates_of(batch); });
  };
  const std::string product = message(batch_of({{Operand::A, 5, 1, 1}, {Operand::A, 12, 0, 1e150}}));
  EXPECT_NE(product.find("A,12,0,1e+150"), std::string::npos) << product;
  const std::string sum = message(batch_of({{Operand::A, 5, 1, 1.7e308}, {Operand::A, 5, 1, 1.7e308}}));
  EXPECT_NE(sum.find("A,5,1,1.7e+308"), std::string::npos) << sum;
  EXPECT_EQ(message(batch_of({{Operand::A, 5, 2, 1}})), "event A,5,2,1: column 2 is outside x of length 2");
}

TEST(ProductUpdates, TakeAnXOfItsLength) {
  ProductUpdates updates_of(2);
  EXPECT_EQ(message_of<UsageError>([&] {
              updates_of.set_x(Operand::A, {2, 1, {1, 2}});
            }),
            "A is no vector that y = A x has");
  EXPECT_EQ(message_of<UsageError>([&] {
              updates_of.set_x(Operand::x, {3, 1, {1, 2, 3}});
            }),
            "x has 3 entries, expected 2");
  for (const double bad : {infinity, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THROW(updates_of.set_x(Operand::x, {2, 1, {1, bad}}), InputError);
  updates_of.x()[1] = infinity;  // as a file might say
  EXPECT_EQ(message_of<InputError>([&] { updates_of.check(); }),
            "entry 1 of the fixed operand x is inf, expected a finite number");
  // Not known.
  ProductUpdates of_old_file(0);
  EXPECT_THROW(std::ignore = of_old_file(batch_of({{Operand::A, 0, 0, 1}})), InputError);
}

TEST(VectorState, SketchesItsEvents) {
  VectorState state(config, {});
  EXPECT_EQ(state.zero_operands(), OperandSet{Operand::y});
  state.add(batch_of({{Operand::y, 3, 0, 1.5}, {Operand::y, 99, 0, -2}, {Operand::y, 3, 0, 1}}));
  EXPECT_EQ(state.zero_operands(), OperandSet());
  const VectorSketch expected = sketch_of({3, 99}, {2.5, -2});
  EXPECT_TRUE(std::ranges::equal(state.arrays()[0].doubles(), expected.table()));
  EXPECT_EQ(state.norm(), std::sqrt(expected.f2().value));
  EXPECT_THROW(state.add(row_of(Operand::A, 3, 1, {1, 2})), InputError);
  EXPECT_THROW(state.add(batch_of({{Operand::y, 100, 0, 1}})), InputError);
}

TEST(FixedProductState, SketchesAx) {
  FixedProductState state(config, 3, {});
  EXPECT_THROW(state.set_fixed(Operand::A, {3, 1, {1, 2, 3}}), UsageError);
  EXPECT_THROW(state.set_fixed(Operand::x, {2, 1, {1, 2}}), UsageError);
  state.set_fixed(Operand::x, {3, 1, {2, -1, 0.5}});
  state.finish_fixed();
  EventBatch batch = batch_of({{Operand::A, 7, 0, 1}, {Operand::A, 7, 2, 8}, {Operand::A, 0, 1, 3}});
  batch.rows.push_back(Operand::A, 99, -1, std::vector<double>{3, 0, 2});
  state.add(batch);
  EXPECT_TRUE(std::ranges::equal(state.arrays()[0].doubles(), sketch_of({7, 0, 99}, {6, -3, -7}).table()));
  EXPECT_TRUE(std::ranges::equal(state.arrays()[1].doubles(), std::vector<double>{2, -1, 0.5}));
  // As of a file that does not hold x.
  FixedProductState old(config, 0, {});
  EXPECT_EQ(old.arrays().size(), 1U);
  EXPECT_THROW(old.add(batch), InputError);
  // What a file says of x is checked.
  state.arrays()[1].doubles()[2] = infinity;
  EXPECT_THROW(state.finish_fixed(), InputError);
}

TEST(SquaredProductState, SketchesYAndItsSquares) {
  SquaredProductState state(config, 2);
  state.set_fixed(Operand::x, {2, 1, {3, -1}});
  EventBatch batch;
  batch.rows.push_back(Operand::A, 4, 1, std::vector<double>{1, 5});   // y = -2
  batch.rows.push_back(Operand::A, 99, 1, std::vector<double>{2, 0});  // y = 6
  batch.rows.push_back(Operand::A, 50, 1, std::vector<double>{9, 1});  // comes and leaves: its square goes too
  batch.rows.push_back(Operand::A, 50, -1, std::vector<double>{9, 1});
  state.add(batch);
  EXPECT_TRUE(std::ranges::equal(state.sketch_of_y()->table(), sketch_of({4, 99}, {-2, 6}).table()));
  MatrixSketch pairs(config, 2);
  pairs.update_rows(std::vector<std::uint64_t>{4, 99}, std::vector<double>{1, 1}, std::vector<double>{-2, 4, 6, 36});
  EXPECT_TRUE(std::ranges::equal(state.arrays()[0].doubles(), pairs.table()));
  EXPECT_EQ(message_of<InputError>([&] {
              state.add(batch_of({{Operand::A, 4, 1, 0.5}}));
            }),
            "event A,4,1,0.5: for the law |y_i|^4 rows of A come and go whole, as in A,i,*,v0,v1,... and "
            "A,i,-*,v0,v1,...");
  EXPECT_THROW(state.add(row_of(Operand::A, 4, 1, {1, 2, 3})), InputError);
  EXPECT_THROW(state.add(row_of(Operand::A, 4, 1, {1e308, -1e308})), InputError);
}

}  // namespace
}  // namespace weir
