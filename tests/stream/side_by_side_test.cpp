// Arrays that are read side by side.

#include "weir/stream/side_by_side.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "io/npy_bytes.hpp"
#include "stream_testing.hpp"
#include "support/message_of.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

/// A .npy file of rows x columns doubles, from `value(i, j)`.
template <class Value>
std::string array(std::uint64_t rows, std::uint64_t columns, const Value& value, bool fortran = false) {
  std::vector<double> numbers;
  for (std::uint64_t k = 0; k < rows * columns; ++k)
    numbers.push_back(fortran ? value(k % rows, k / rows) : value(k / columns, k % columns));
  return npy(dictionary("<f8", fortran ? "True" : "False", fmt::format("({}, {})", rows, columns)), raw(numbers));
}

double number(std::uint64_t i, std::uint64_t j) { return static_cast<double>(100 * i + j) + 0.5; }

class SideBySideArrays : public testing::Test {
 protected:
  static constexpr std::uint64_t rows = 23;

  SideBySideArrays() {
    keys_ = directory_.write("k.npy", array(rows, 3, number));
    values_ = directory_.write("v.npy", array(
                                            rows, 2, [](auto i, auto j) { return number(i, j + 3); }, true));
  }
  /// All rows of the slices, one slice after the other.
  [[nodiscard]] static RowBatch read(const SideBySide& arrays, std::uint32_t slices, const ReadOptions& options = {}) {
    RowBatch all;
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
      ReadOptions of_slice = options;
      of_slice.slice = slice;
      of_slice.slice_count = slices;
      SideBySideReader reader(arrays, Operand::A, rows, of_slice);
      EventBatch batch;
      while (reader.next(batch)) {
        EXPECT_EQ(batch.size(), 0U);
        EXPECT_LE(batch.rows.size(), options.batch);
        for (std::size_t t = 0; t < batch.rows.size(); ++t)
          all.push_back(batch.rows.operands[t], batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
      }
      EXPECT_TRUE(batch.empty());
    }
    return all;
  }
  [[nodiscard]] static RowBatch expected(const std::vector<std::uint64_t>& without = {}) {
    RowBatch all;
    for (std::uint64_t i = 0; i < rows; ++i) {
      if (std::ranges::find(without, i) != without.end()) continue;
      std::vector<double> row;
      for (std::uint64_t j = 0; j < 5; ++j) row.push_back(number(i, j));
      all.push_back(Operand::A, i, 1, row);
    }
    return all;
  }
  [[nodiscard]] SideBySide both() const { return {.paths = {keys_, values_}, .columns = {3, 2}}; }

  TemporaryDirectory directory_;
  std::string keys_, values_;
};

TEST_F(SideBySideArrays, EveryRowOnceWhateverTheSlicesAndBatches) {
  for (const std::uint32_t slices : {1U, 2U, 3U, 7U, 30U})
    for (const std::size_t batch : {1U, 4U, 100U})
      EXPECT_EQ(read(both(), slices, {.batch = batch}), expected()) << slices << ", " << batch;
}

TEST_F(SideBySideArrays, BadRowsAreLeftOutOfAllArrays) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto with_nan = [&](std::uint64_t bad, std::uint64_t from) {
    return [=](std::uint64_t i, std::uint64_t j) { return i == bad ? nan : number(i, j + from); };
  };
  directory_.write("k.npy", array(rows, 3, with_nan(4, 0)));
  directory_.write("v.npy", array(rows, 2, with_nan(22, 3)));
  expect_error([&] { (void)read(both(), 1); }, {"k.npy", "row 4"});
  for (const std::uint32_t slices : {1U, 3U}) {
    for (const std::size_t batch : {1U, 100U}) {
      const ReadOptions skip{.on_error = OnError::skip, .batch = batch};
      EXPECT_EQ(read(both(), slices, skip), expected({4, 22})) << slices;
    }
  }
  SideBySideReader reader(both(), Operand::A, rows, {.on_error = OnError::skip});
  EventBatch batch;
  while (reader.next(batch)) {
  }
  EXPECT_EQ(reader.skipped(), 2U);
  EXPECT_NE(reader.first_skipped().find("k.npy"), std::string::npos);
}

TEST_F(SideBySideArrays, OtherShapesAndOtherFilesAreRefused) {
  const std::string text = directory_.write("events.csv", "A,0,0,1\n");
  const std::string longer = directory_.write("longer.npy", array(rows + 1, 2, number));
  const auto refuse = [&](const SideBySide& arrays, std::initializer_list<std::string_view> parts) {
    expect_error([&] { (void)read(arrays, 1); }, parts);
  };
  refuse({.paths = {keys_, text}, .columns = {3, 2}}, {"events.csv", "expected a .npy file"});
  refuse({.paths = {keys_, longer}, .columns = {3, 2}}, {"longer.npy", "24 x 2", "expected 23 x 2"});
  refuse({.paths = {keys_, values_}, .columns = {3, 3}}, {"v.npy", "23 x 2", "expected 23 x 3"});
  refuse({.paths = {keys_, directory_ / "none.npy"}, .columns = {3, 2}}, {"none.npy"});
  EXPECT_THROW((void)read({.paths = {keys_}, .columns = {}}, 1), UsageError);
  EXPECT_THROW((void)read({}, 1), UsageError);
}

/// Keys and values as events: rows come, and every fifth one leaves again.
class SideBySideEvents : public testing::Test {
 protected:
  static constexpr std::uint64_t tokens = 1000;

  SideBySideEvents() {
    for (std::uint64_t i = 0; i < tokens; ++i) {
      add(i, "*");
      if (i % 5 == 4) add(i, "-*");
    }
    k_ = directory_.write("k.csv", keys_);
    v_ = directory_.write("v.csv", values_);
  }
  void add(std::uint64_t i, const char* star) {
    keys_ += fmt::format("A1,{},{},{},{}\n", i, star, number(i, 0), number(i, 1));
    values_ += fmt::format("A2,{},{},{}\n", i, star, number(i, 2));
  }
  [[nodiscard]] SideBySide both() const {
    return {.paths = {k_, v_}, .columns = {2, 1}, .operands = {Operand::A1, Operand::A2}};
  }
  /// Rows of one slice.
  [[nodiscard]] static RowBatch read(const SideBySide& files, std::uint32_t slice, std::uint32_t slices) {
    SideBySideReader reader(files, Operand::A, tokens, {.slice = slice, .slice_count = slices, .batch = 100});
    RowBatch all;
    for (EventBatch batch; reader.next(batch);)
      for (std::size_t t = 0; t < batch.rows.size(); ++t)
        all.push_back(batch.rows.operands[t], batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
    return all;
  }

  TemporaryDirectory directory_;
  std::string keys_, values_, k_, v_;
};

TEST_F(SideBySideEvents, EveryRowComesAndGoesInOneSlice) {
  for (const std::uint32_t slices : {1U, 2U, 3U}) {
    std::vector<int> there(tokens);
    std::vector<int> events(tokens);
    std::size_t largest = 0, smallest = 2 * tokens;
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
      const RowBatch rows = read(both(), slice, slices);
      largest = std::max(largest, rows.size());
      smallest = std::min(smallest, rows.size());
      for (std::size_t t = 0; t < rows.size(); ++t) {
        const std::uint64_t i = rows.i[t];
        EXPECT_EQ(rows.operands[t], Operand::A);
        EXPECT_TRUE(std::ranges::equal(rows.row(t), std::vector{number(i, 0), number(i, 1), number(i, 2)}));
        there[i] += rows.weights[t] > 0 ? 1 : -1;
        ++events[i];
      }
    }
    for (std::uint64_t i = 0; i < tokens; ++i) {
      ASSERT_EQ(there[i], i % 5 == 4 ? 0 : 1) << i;
      ASSERT_EQ(events[i], i % 5 == 4 ? 2 : 1) << i;
    }
    EXPECT_LE(largest - smallest, 256U);
  }
}

TEST_F(SideBySideEvents, AnArrayMayStandBesideEvents) {
  std::string lines;
  for (std::uint64_t i = 0; i < tokens; ++i) lines += fmt::format("A2,{},*,{}\n", i, number(i, 2));
  const std::string v = directory_.write("all.csv", lines), k = directory_.write("k.npy", array(tokens, 2, number));
  const RowBatch rows = read({.paths = {k, v}, .columns = {2, 1}, .operands = {Operand::A1, Operand::A2}}, 0, 1);
  ASSERT_EQ(rows.size(), tokens);
  EXPECT_TRUE(std::ranges::equal(rows.row(7), std::vector{number(7, 0), number(7, 1), number(7, 2)}));
}

TEST_F(SideBySideEvents, OtherTokensAreRefused) {
  const auto refuse = [&](const std::string& keys, const std::string& values,
                          std::initializer_list<std::string_view> parts) {
    directory_.write("k.csv", keys);
    directory_.write("v.csv", values);
    expect_error([&] { (void)read(both(), 0, 1); }, parts);
  };
  refuse("A1,0,*,1,2\nA1,1,*,1,2\n", "A2,0,*,1\nA2,2,*,1\n", {"v.csv", "row 2 comes", "row 1 comes", "same order"});
  refuse("A1,0,*,1,2\nA1,0,-*,1,2\n", "A2,0,*,1\nA2,0,*,1\n", {"v.csv", "row 0 comes", "row 0 leaves"});
  refuse("A1,0,*,1,2\nA1,3,*,1,2\n", "A2,0,*,1\n", {"k.csv", "row 3 comes at the end", "v.csv has no more"});
  refuse("A1,0,*,1,2\n", "A2,0,*,1\nA2,1,-*,1\n", {"v.csv", "row 1 leaves at the end", "k.csv has no more"});
  refuse("A1,0,*,1,2\n", "A2,0,0,1\n", {"v.csv", "A2,0,0", "whole rows"});
  refuse("A1,0,*,1,2\n", "A1,0,*,1,2\n", {"v.csv:1", "A1 is not an operand"});
  refuse("A1,0,*,1,nan\n", "A2,0,*,1\n", {"k.csv:1", "not finite"});
}

}  // namespace
}  // namespace weir
