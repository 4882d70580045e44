#include "weir/setting/selection.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "state/every_kind.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using namespace testing_support;

Problem of_kind(const std::string& name) {
  for (const Kind& kind : every_kind())
    if (kind.name == name) return kind.problem;
  throw UsageError("no kind " + name);
}

/// Selected entries have the exact values that they have in the whole, whatever streams.
TEST(RowSelection, KeepsTheValuesOfItsEntries) {
  for (const char* name : {"vector", "vector_p1", "product", "product_x_fixed", "product_a_fixed", "product_p4", "rows",
                           "pairs", "pairs_a1_fixed", "pairs_factors_fixed"}) {
    const Problem problem = of_kind(name);
    const std::vector<std::uint64_t> shape = setting_of(problem).shape_of_y(problem);
    std::vector<EntryIndex> entries;
    for (const std::uint64_t i : {4U, 0U, 6U, 4U})
      entries.push_back(shape.size() == 1 ? EntryIndex{i} : EntryIndex{i, (i * 3 + 1) % shape[1]});
    RowSelection selection(problem, entries);
    EXPECT_EQ(setting_of(problem).shape_of_y(selection.problem())[0], 3U) << name;

    State whole = create_state(exact_problem(problem, Keeps::exact)), selected = create_state(selection.problem());
    const EventBatch fixed = events_of(problem, {Role::fixed}, 1), streamed = stream_of(problem, 2);
    for (const EventBatch* batch : {&fixed, &streamed}) {
      // x of a product is no event where it is fixed.
      EventBatch events = *batch;
      if (problem.role(Operand::x) == Role::fixed && batch == &fixed) {
        const DenseMatrix x{events.delta.size(), 1, events.delta};
        whole.kept().set_fixed(Operand::x, x);
        selected.kept().set_fixed(Operand::x, x);
        continue;
      }
      // A fixed A is not kept by an exact state: it is read again. Here it streams.
      if (std::string(name) == "product_a_fixed" && batch == &fixed) continue;
      whole.add(events);
      selected.add(selection.select(events));
    }
    if (std::string(name) == "product_a_fixed") {
      Problem both = problem;
      both.roles[Operand::A] = Role::streams;
      whole = create_state(exact_problem(both, Keeps::exact));
      whole.add(fixed);
      whole.add(streamed);
      selected.add(selection.select(fixed));
    }
    ExactQuestion of_whole, of_selected;
    for (const EntryIndex& entry : entries) {
      of_whole.entries.push_back(entry);
      of_selected.entries.push_back(selection.place_of(entry));
    }
    const Answer truth = whole.answer({.exact = of_whole}), answer = selected.answer({.exact = of_selected});
    for (const EntryIndex& entry : entries) {
      const ExactEntry &expected = truth.exact.at(entry), &found = answer.exact.at(selection.place_of(entry));
      EXPECT_EQ(found.value, expected.value) << name;
      EXPECT_EQ(found.row, expected.row) << name;
    }
  }
}

TEST(RowSelection, LeavesOutWhatItDoesNotConcern) {
  Problem problem = of_kind("vector");
  problem.sides["n"] = problem.sketch.dimension = 1 << 20;
  // Rows that share their bit of the filter with selected ones, among others.
  std::vector<EntryIndex> entries{{5}, {5 + 4096}, {1000}};
  RowSelection selection(problem, entries);
  EventBatch batch;
  for (const std::uint64_t i : {5U, 5U + 2 * 4096, 999U, 1000U, 5U + 4096, 4096U, 5U})
    batch.push_back({Operand::y, i, 0, static_cast<double>(i)});
  const EventBatch& selected = selection.select(batch);
  EXPECT_EQ(selected.i, (std::vector<std::uint64_t>{0, 1, 2, 0}));
  EXPECT_EQ(selected.delta, (std::vector<double>{5, 1000, 4101, 5}));
  EXPECT_TRUE(selection.select({}).empty());
}

TEST(RowSelection, RefusesWhatItCannotKeep) {
  const auto complaint = [](const std::string& kind, const std::vector<EntryIndex>& entries) {
    return message_of<UsageError>([&] { RowSelection(of_kind(kind), entries); });
  };
  EXPECT_EQ(complaint("vector", {}), "no entries of y can be selected in --model vector");
  EXPECT_EQ(complaint("vector", {{13}}), "entry 13 of y is outside of it");
  EXPECT_EQ(complaint("vector", {{1, 1}}), "entry 1 of y is outside of it");
  EXPECT_EQ(complaint("pairs", {{1}}), "entry 1 of y is outside of it");
  EXPECT_EQ(complaint("pairs", {{1, 5}}), "entry 1 of y is outside of it");
  EXPECT_EQ(complaint("streaming_a1", {{1, 1}}), "--model kronecker --method streaming has no exact states");
}

}  // namespace
}  // namespace weir
