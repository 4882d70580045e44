#include "weir/event.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "support/message_of.hpp"

namespace weir {
namespace {

TEST(OperandSet, HoldsWhatWasPutIn) {
  OperandSet set{Operand::X, Operand::A1};
  for (const Operand operand : known_operands())
    EXPECT_EQ(set.contains(operand), operand == Operand::X || operand == Operand::A1);
  EXPECT_EQ(set.size(), 2);
  set.insert(Operand::X);
  EXPECT_EQ(set.size(), 2);
  set.insert(Operand::y);
  EXPECT_EQ(set, (OperandSet{Operand::y, Operand::A1, Operand::X}));
  EXPECT_TRUE(OperandSet().empty());
  EXPECT_FALSE(set.empty());
}

TEST(OperandSet, IntersectsAndSubtracts) {
  const OperandSet a{Operand::A, Operand::x}, b{Operand::x, Operand::X};
  EXPECT_EQ(a & b, OperandSet{Operand::x});
  EXPECT_EQ(a - b, OperandSet{Operand::A});
  EXPECT_EQ(a - a, OperandSet());
}

TEST(OperandSet, IsNamedInTheOrderOfOperands) {
  EXPECT_EQ(to_string(OperandSet{Operand::X, Operand::x, Operand::A2}), "x, A2, X");
  EXPECT_EQ(to_string(OperandSet{Operand::A}), "A");
  EXPECT_EQ(to_string(OperandSet()), "");
}

// State files hold them.
TEST(OperandSet, BitsAreTheValuesOfOperands) {
  EXPECT_EQ((OperandSet{Operand::y, Operand::x}.bits), 3u);
  EXPECT_EQ((OperandSet{Operand::A, Operand::A1}.bits), 12u);
  EXPECT_EQ((OperandSet{Operand::A2, Operand::X}.bits), 48u);
}

TEST(OperandSet, HasRoomForAllThatCanBeKnown) {
  OperandSet set;
  for (unsigned v = 0; v < most_operands; ++v) set.insert(static_cast<Operand>(v));
  EXPECT_EQ(set.size(), 64);
  set = set - OperandSet{Operand::x, static_cast<Operand>(63)};
  EXPECT_EQ(set.size(), 62);
  EXPECT_FALSE(set.contains(static_cast<Operand>(63)));
  EXPECT_TRUE(set.contains(static_cast<Operand>(62)));
  EXPECT_EQ((set | OperandSet{static_cast<Operand>(63)}).size(), 63);
}

TEST(OperandSet, IsGoneThroughInOrder) {
  const OperandSet set{Operand::X, Operand::y, Operand::A1};
  EXPECT_EQ(std::vector<Operand>(set.begin(), set.end()), (std::vector{Operand::y, Operand::A1, Operand::X}));
  EXPECT_EQ(OperandSet().begin(), OperandSet().end());
}

using testing_support::expect_error;

TEST(Operands, ListedOnesAreKnown) {
  const auto known = known_operands();
  ASSERT_GE(known.size(), 6u);
  const std::vector<std::string_view> names = {"y", "x", "A", "A1", "A2", "X"};
  for (std::size_t v = 0; v < names.size(); ++v) {
    EXPECT_EQ(known[v], static_cast<Operand>(v));
    EXPECT_EQ(to_string(known[v]), names[v]);
    EXPECT_EQ(find_operand(names[v]), known[v]);
    EXPECT_EQ(has_column(known[v]), v >= 2);
    EXPECT_EQ(operand_named(names[v], v >= 2), known[v]);
  }
}

TEST(Operands, OthersAreRegisteredByName) {
  EXPECT_EQ(find_operand("Registered1"), std::nullopt);
  const Operand matrix = operand_named("Registered1", true);
  const Operand vector = operand_named("r2", false);
  EXPECT_NE(matrix, vector);
  EXPECT_GT(matrix, Operand::X);
  EXPECT_EQ(to_string(matrix), "Registered1");
  EXPECT_TRUE(has_column(matrix));
  EXPECT_FALSE(has_column(vector));
  EXPECT_EQ(find_operand("Registered1"), matrix);
  EXPECT_EQ(operand_named("Registered1", true), matrix);
  const auto known = known_operands();
  EXPECT_EQ(std::ranges::count(known, matrix), 1);
  EXPECT_EQ(to_string(OperandSet{vector, Operand::y, matrix}), "y, Registered1, r2");
}

TEST(Operands, WhatCannotBeRegisteredIsRefused) {
  for (const char* name : {"", "1", "-", "A-", "*", "a b", "\n", "\xC3\xA4"})
    expect_error<UsageError>([&] { operand_named(name, true); }, {"cannot be called", "expected a letter"});
  EXPECT_NO_THROW(operand_named(std::string(31, 'n'), true));
  expect_error<UsageError>([] { operand_named(std::string(32, 'n'), true); }, {"at most 31"});
  expect_error<UsageError>([] { operand_named("A", false); }, {"operand A has two indices", "with one index"});
  expect_error<UsageError>([] { operand_named("y", true); }, {"operand y has one index", "with two indices"});
}

TEST(Operands, ThreadsAgreeAndTheNumberIsLimited) {
  constexpr std::size_t threads = 4;
  std::vector<std::vector<Operand>> seen(threads);
  {
    std::vector<std::jthread> all;
    for (std::size_t t = 0; t < threads; ++t) {
      all.emplace_back([&, t] {
        for (int k = 0; k < 20; ++k) seen[t].push_back(operand_named(fmt::format("thread{}", k), k % 2 == 0));
      });
    }
  }
  for (std::size_t t = 1; t < threads; ++t) EXPECT_EQ(seen[t], seen[0]);
  for (int k = 0; known_operands().size() < most_operands; ++k) operand_named(fmt::format("more{}", k), false);
  expect_error<UsageError>([] { operand_named("last", true); }, {"last", "64 operands already"});
  EXPECT_EQ(find_operand("last"), std::nullopt);
  EXPECT_EQ(operand_named("thread4", true), seen[0][4]);  // what is known stays so
}

/// A batch with entries first, ..., first + entries - 1, and as many rows as said, of growing length.
EventBatch numbered(std::uint64_t first, std::uint64_t entries, std::uint64_t rows) {
  EventBatch batch;
  for (std::uint64_t k = first; k < first + entries; ++k)
    batch.push_back({Operand::A, k, k + 1, static_cast<double>(k)});
  for (std::uint64_t k = 0; k < rows; ++k) {
    const std::vector<double> values(k % 4 + 1, static_cast<double>(k));
    batch.rows.push_back(Operand::A1, k, k % 2 == 0 ? 1 : -1, values);
  }
  return batch;
}

void append(EventBatch& all, const EventBatch& part) {
  EXPECT_TRUE(part.operands.size() == part.size() && part.i.size() == part.size() && part.j.size() == part.size());
  for (std::size_t t = 0; t < part.size(); ++t) all.push_back(part[t]);
  for (std::size_t t = 0; t < part.rows.size(); ++t)
    all.rows.push_back(part.rows.operands[t], part.rows.i[t], part.rows.weights[t], part.rows.row(t));
}

void expect_equal(const EventBatch& found, const EventBatch& expected) {
  EXPECT_EQ(found.operands, expected.operands);
  EXPECT_EQ(found.i, expected.i);
  EXPECT_EQ(found.j, expected.j);
  EXPECT_EQ(found.delta, expected.delta);
  EXPECT_EQ(found.rows, expected.rows);
}

TEST(EventBatch, IsSplitBetweenAnyTwoEvents) {
  for (const auto& [entries, rows] : {std::pair{7U, 9U}, {0U, 5U}, {6U, 0U}, {0U, 0U}}) {
    const EventBatch whole = numbered(3, entries, rows);
    for (std::size_t most = 0; most <= entries + rows + 1; ++most) {
      EventBatch rest = whole, front = numbered(90, 2, 2), together;
      split_front(rest, most, front);
      EXPECT_EQ(front.events(), std::min<std::size_t>(most, entries + rows));
      EXPECT_EQ(front.size(), std::min<std::size_t>(most, entries));
      EXPECT_EQ(rest.events(), whole.events() - front.events());
      append(together, front);
      append(together, rest);
      expect_equal(together, whole);
    }
  }
}

TEST(EventQueue, HandsOnEveryEventInOrder) {
  for (const std::size_t step : {1U, 2U, 5U, 6U, 1000U}) {
    EventQueue queue;
    EventBatch front, expected, together;
    EXPECT_FALSE(queue.take(step, front));
    queue.push({});
    EXPECT_TRUE(queue.empty());
    for (const EventBatch& batch : {numbered(0, 5, 7), numbered(5, 6, 0), numbered(11, 0, 3)}) {
      queue.push(batch);
      append(expected, batch);
    }
    EXPECT_EQ(queue.events(), 21U);
    EXPECT_FALSE(queue.take(0, front));
    std::uint64_t left = 21;
    bool more = true;
    while (queue.take(step, front)) {
      ASSERT_FALSE(front.empty());
      ASSERT_LE(front.events(), step);
      left -= front.events();
      ASSERT_EQ(queue.events(), left);
      append(together, front);
      if (left <= 10 && more) {  // comes while others wait
        more = false;
        queue.push(numbered(11, 1, 0));
        append(expected, numbered(11, 1, 0));
        ++left;
      }
    }
    EXPECT_TRUE(front.empty());
    EXPECT_TRUE(queue.empty());
    expect_equal(together, expected);
  }
}

}  // namespace
}  // namespace weir
