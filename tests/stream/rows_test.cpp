// Whole rows in text, and as writers write them.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstdlib>
#include <limits>
#include <random>
#include <tuple>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

const ReadOptions product{.shapes = {{Operand::A, 10, 3}, {Operand::x, 3, 1}}, .default_operand = Operand::A};
constexpr std::uint64_t largest_index = (std::uint64_t{1} << 63) - 1;

RowBatch rows_of(const std::vector<std::tuple<Operand, std::uint64_t, double, std::vector<double>>>& rows) {
  RowBatch batch;
  for (const auto& [operand, i, weight, values] : rows) batch.push_back(operand, i, weight, values);
  return batch;
}

TEST(TextRows, AllForms) {
  const RowBatch expected = rows_of({{Operand::A, 1, 1, {1, -2.5, 0}},
                                     {Operand::A, 2, -1, {1e20, -0.001, 3}},
                                     {Operand::A1, largest_index, 1, {7}},
                                     {Operand::A2, 0, -1, {1, 2}},
                                     {Operand::X, 12345678, 1, {0, 0, 0, 0}}});
  for (const std::string text : {"A,1,*,1,-2.5,0\nA,2,-*,1e20,-0.001,3\nA1,9223372036854775807,*,7\nA2,0,-*,1,2\n"
                                 "X,12345678,*,0,0,0,0",
                                 "A\t1\t*\t1\t-2.5\t0\nA 2 -* 1e20 -1e-3 3\r\nA1 9223372036854775807  *  7\n"
                                 "  A2, 0 , -* , +1, 2.0  \r\n# note\n\nX 12345678 * 0 0 0 0\r\n"}) {
    const Delivered delivered = deliver(text);
    EXPECT_TRUE(delivered.entries.empty());
    EXPECT_EQ(delivered.rows, expected) << text;
  }
  EXPECT_EQ(deliver("\xEF\xBB\xBF"
                    "A,1,*,5\n")
                .rows,
            rows_of({{Operand::A, 1, 1, {5}}}));
}

TEST(TextRows, ComeAmongEntries) {
  const Delivered delivered = deliver("A,1,2,5\nA,1,*,1,2,3\nx,0,7\nA,9,-*,4,5,6\nA,0,0,1\n", product);
  EXPECT_EQ(delivered.entries,
            (std::vector<Event>{{Operand::A, 1, 2, 5}, {Operand::x, 0, 0, 7}, {Operand::A, 0, 0, 1}}));
  EXPECT_EQ(delivered.rows, rows_of({{Operand::A, 1, 1, {1, 2, 3}}, {Operand::A, 9, -1, {4, 5, 6}}}));
}

TEST(TextRows, ValuesAreTheNearestDoubles) {
  std::string text = "A,0,*";
  const std::vector<std::string> numbers = {"0",
                                            "-0.5",
                                            "0.1",
                                            "123456789012345",
                                            "9007199254740994",
                                            "3.14159265358979311",
                                            "-1.7976931348623157e308",
                                            "4.9e-324",
                                            ".5",
                                            "5.",
                                            "0." + std::string(70, '3'),
                                            "1" + std::string(100, '0') + ".5",
                                            "1e22"};
  for (const std::string& number : numbers) text += "," + number;
  const RowBatch rows = deliver(text).rows;
  ASSERT_EQ(rows.values.size(), numbers.size());
  for (std::size_t t = 0; t < numbers.size(); ++t)
    EXPECT_EQ(rows.values[t], std::strtod(numbers[t].c_str(), nullptr)) << numbers[t];
}

TEST(TextRows, BadRowsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"A,1,*", "missing value: found 0, expected the 3 columns of A"},
      {"A,1,*,1,2", "missing value: found 2, expected the 3 columns of A"},
      {"A,1,*,1,2,3,4", "extra value: found 4, expected the 3 columns of A"},
      {"A,1,*,1,2,3,", "extra value: found 4, expected the 3 columns of A"},
      {"A,1,*,1,,3", "v1 is empty: expected a number"},
      {"A,1,*,1,2,x", "'x' is not a number: expected v2"},
      {"A,1,*,1,2 3,4", "'2 3' is not a number: expected v1"},
      {"A,1,-*,nan,2,3", "v0 = 'nan' is not finite"},
      {"A,1,*,1,-inf,3", "v1 = '-inf' is not finite"},
      {"A,1,*,1,2,1e999", "v2 = '1e999' is outside the range of a double"},
      {"A,10,*,1,2,3", "i = 10 is too large: A is 10 x 3, counted from 0"},
      {"A,-1,*,1,2,3", "i = '-1' is negative: indices count from 0"},
      {"A,*,*,1,2,3", "'*' is not an index: expected a whole number for i"},
      {"A,1,+*,1,2,3", "extra field: found 6, expected 4 as in A,i,j,delta"},
      {"A,1,**,1", "'**' is not an index: expected a whole number for j"},
      {"x,1,*,1", "x is a vector: only matrices have rows"},
      {"A1,1,*,1,2,3", "A1 is not an operand of this model, which takes x, A"},
      {"1,*,1,2,3", "the line names no operand: expected x,j,delta or A,i,j,delta"},
      {std::string("A,1,*,1,\0,3", 11), "the line contains a NUL byte; expected text"},
      {"A,1,*,1,2," + std::string(4096 + 3 * 32, '3'), "the line is longer than 4192 bytes"},
  };
  for (const auto& [line, reason] : cases) {
    const std::string text = "A,1,1,1\nA,7,*,1,2,3\n" + line + "\nA,2,-*,4,5,6\n";
    EXPECT_EQ(input_error([&] { (void)deliver(text, product); }), "events:3: " + reason) << line.substr(0, 50);
    for (std::uint32_t slices = 2; slices <= 4; ++slices)
      EXPECT_EQ(input_error([&] { (void)deliver(text, product, slices); }), "events:3: " + reason);
    ReadOptions skip = product;
    skip.on_error = OnError::skip;
    EventReader reader(as_bytes(text), "events", skip);
    Delivered delivered;
    delivered.add(reader);
    EXPECT_EQ(delivered.entries.size(), 1u);
    EXPECT_EQ(delivered.rows, rows_of({{Operand::A, 7, 1, {1, 2, 3}}, {Operand::A, 2, -1, {4, 5, 6}}})) << line;
    EXPECT_EQ(reader.skipped(), 1u);
  }
  EXPECT_EQ(input_error([&] { (void)deliver("y,1,*,1"); }), "events:1: y is a vector: only matrices have rows");
  EXPECT_EQ(input_error([&] { (void)deliver("A,1,*"); }), "events:1: missing value: found 0, expected at least 1");
  EXPECT_EQ(input_error([&] { (void)deliver("X,9223372036854775808,*,1"); }),
            "events:1: j = 9223372036854775808 is too large: indices lie below 2^63");
}

/// A row of `length` ones.
std::string row_of_ones(std::uint64_t i, std::size_t length) {
  std::string line = fmt::format("A,{},*", i);
  for (std::size_t k = 0; k < length; ++k) line += ",1";
  return line + "\n";
}

TEST(TextRows, LongestRow) {
  EXPECT_EQ(deliver(row_of_ones(0, longest_row)).rows.values.size(), longest_row);
  const std::string longer = row_of_ones(0, longest_row + 1);
  EXPECT_EQ(input_error([&] { (void)deliver(longer); }),
            "events:1: extra value: found 1048577, expected at most 1048576");
  EXPECT_EQ(input_error([&] {
              (void)deliver(longer, {.shapes = {{Operand::A, 10, longest_row + 1}}});
            }),
            "events:1: A has 1048577 columns, but a whole row at most 1048576 values");
}

TEST(TextRows, JunkWithoutEndIsCutOff) {
  const std::string junk(4096 + 32 * longest_row + (std::size_t{1} << 22), '7');
  EXPECT_EQ(input_error([&] { (void)deliver(junk); }), "events:1: the line is longer than 33558528 bytes");
  const std::string text = row_of_ones(1, 2) + junk + "\n" + row_of_ones(2, 2);
  for (std::uint32_t slices = 1; slices <= 3; ++slices) {
    EXPECT_EQ(deliver(text, {.on_error = OnError::skip}, slices).rows.i, (std::vector<std::uint64_t>{1, 2}));
  }
}

// A row of 200 values, all of them numbers, is too long when they have more digits than lines have room for: else it
// would depend on how the bytes arrive whether the row is taken whole, or cut in its last number.
TEST(TextRows, TheLengthOfALineCountsWhateverIsInIt) {
  constexpr std::size_t columns = 200;
  constexpr std::size_t longest = 4096 + 32 * columns;
  const ReadOptions options{.on_error = OnError::skip, .shapes = {{Operand::A, 10, columns}}};
  for (const std::size_t length : {longest - 1, longest, longest + 1, longest + 20}) {
    std::string line = "A,1,*";
    for (std::size_t k = 0; k < columns; ++k) {
      const std::size_t digits = (length - line.size()) / (columns - k) - 3;
      line += ",0." + std::string(digits, '3');
    }
    ASSERT_EQ(line.size(), length);
    for (std::uint32_t slices = 1; slices <= 3; ++slices) {
      const Delivered delivered = deliver("A,1,3,1\n" + line + "\nA,2,3,1\n", options, slices);
      EXPECT_EQ(delivered.entries.size(), 2u);
      EXPECT_EQ(delivered.rows.size(), length <= longest ? 1u : 0u) << length;
    }
  }
}

TEST(TextRows, BatchesEndWithEventsOrValues) {
  std::string text;
  for (std::uint64_t i = 0; i < 20; ++i) text += row_of_ones(i, 50000) + fmt::format("A,{},0,1\n", i);
  const auto sizes = [&](std::size_t most) {
    EventReader reader(as_bytes(text), "events", {.batch = most});
    std::vector<std::size_t> events;
    for (EventBatch batch; reader.next(batch);) {
      EXPECT_LT(batch.rows.values.size(), (std::size_t{1} << 18) + 50000);
      EXPECT_LE(batch.events(), most);
      events.push_back(batch.events());
    }
    return events;
  };
  // Six rows are the first to hold 2^18 values.
  EXPECT_EQ(sizes(100), (std::vector<std::size_t>{11, 12, 12, 5}));
  EXPECT_EQ(sizes(15).front(), 11u);
  EXPECT_EQ(sizes(7).front(), 7u);
  EXPECT_EQ(sizes(1), std::vector<std::size_t>(40, 1));
}

TEST(TextRows, LinesFarLongerThanTheBuffer) {
  // A piece of the buffer is 2^18 bytes; slices are cut in the middle of lines, several in one line.
  std::mt19937_64 random(3);
  RowBatch expected;
  std::string text;
  for (std::uint64_t i = 0; i < 8; ++i) {
    const std::size_t length = i % 3 == 1 ? 5 : 60000 + random() % 100000;
    std::vector<double> values(length);
    text += fmt::format("A,{},{}", i, i % 2 == 0 ? "*" : "-*");
    for (double& value : values) {
      value = static_cast<double>(random() % 2000001) / 1024 - 1000;
      text += fmt::format(",{}", value);
    }
    text += "\n";
    expected.push_back(Operand::A, i, i % 2 == 0 ? 1 : -1, values);
  }
  for (const std::uint32_t slices : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 40u}) {
    const Delivered delivered = deliver(text, {}, slices);
    EXPECT_TRUE(delivered.rows == expected) << slices;
  }
}

TEST(WrittenRows, TextKeepsThem) {
  EventBatch batch = batch_of({{Operand::A, 3, 4, 0.5}, {Operand::x, 1, 0, 2}});
  batch.rows = rows_of({{Operand::A, 7, 1, {1, -0.0, 100000, 0.1}},
                        {Operand::A2, largest_index, -1, {5e-324}},
                        {Operand::X, 0, 1, std::vector<double>(40000, -1.7976931348623157e308)}});
  const TemporaryDirectory directory;
  for (const char* name : {"rows.csv", "rows.tsv"}) {
    const std::string path = directory / name;
    EventWriter writer(path, EventFormat::text);
    writer.write(batch);
    EXPECT_EQ(writer.events(), 5u);
    writer.close();
    const char separator = path.ends_with(".tsv") ? '\t' : ',';
    const std::string line =
        fmt::format("\nA{0}7{0}*{0}1{0}-0{0}100000{0}0.1\nA2{0}9223372036854775807{0}-*{0}5e-324\n", separator);
    EXPECT_NE(contents_of(path).find(line), std::string::npos);
    EXPECT_EQ(deliver(contents_of(path)).rows, batch.rows);
    EXPECT_EQ(deliver(contents_of(path)).entries.size(), 2u);
  }
}

// What a stream of the operands of y = (A1 (x) A2) vec X may hold: each operand has sides of its own.
const ReadOptions kronecker{
    .shapes = {{Operand::A1, largest_index, 2}, {Operand::A2, 10, 3}, {Operand::X, 2, 3}},
    .default_operand = Operand::A1,
};
constexpr std::string_view kronecker_text =
    "A1,5,*,1,-2.5\nA2,9,-*,0,7,1e-3\nA1,3,1,4\nX,1,*,1,0,-1\nX,0,2,0.5\nA1,9223372036854775806,-*,0,3\nA2,0,1,-2\n"
    "X,1,-*,1,0,-1\n";

TEST(TextRows, OperandsOfATensorProductHaveTheirOwnSides) {
  for (std::uint32_t slices = 1; slices <= 5; ++slices) {
    const Delivered delivered = deliver(kronecker_text, kronecker, slices);
    EXPECT_EQ(delivered.entries,
              (std::vector<Event>{{Operand::A1, 3, 1, 4}, {Operand::X, 0, 2, 0.5}, {Operand::A2, 0, 1, -2}}));
    EXPECT_EQ(delivered.rows, rows_of({{Operand::A1, 5, 1, {1, -2.5}},
                                       {Operand::A2, 9, -1, {0, 7, 1e-3}},
                                       {Operand::X, 1, 1, {1, 0, -1}},
                                       {Operand::A1, largest_index - 1, -1, {0, 3}},
                                       {Operand::X, 1, -1, {1, 0, -1}}}));
  }
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"A1,0,*,1,2,3", "extra value: found 3, expected the 2 columns of A1"},
      {"A1,9223372036854775807,*,1,2",
       "i = 9223372036854775807 is too large: A1 is 9223372036854775807 x 2, counted from 0"},
      {"A2,0,*,1,2", "missing value: found 2, expected the 3 columns of A2"},
      {"A2,10,-*,1,2,3", "i = 10 is too large: A2 is 10 x 3, counted from 0"},
      {"X,0,*,1,2", "missing value: found 2, expected the 3 columns of X"},
      {"X,2,*,1,2,3", "j = 2 is too large: X is 2 x 3, counted from 0"},
      {"X,-1,*,1,2,3", "j = '-1' is negative: indices count from 0"},
      {"X,2,0,1", "j = 2 is too large: X is 2 x 3, counted from 0"},
      {"X,1,3,1", "k = 3 is too large: X is 2 x 3, counted from 0"},
      {"X,1,k,1", "'k' is not an index: expected a whole number for k"},
      {"X,1,2", "missing field: found 3, expected 4 as in X,j,k,delta"},
      {"A1,1,2,1", "j = 2 is too large: A1 is 9223372036854775807 x 2, counted from 0"},
      {"A2,1,1,nan", "delta = 'nan' is not finite"},
      {"A,1,1,1", "A is not an operand of this model, which takes A1, A2, X"},
      {"A3,1,1,1", "unknown operand 'A3': expected A1,i,j,delta or A2,i,j,delta or X,j,k,delta"},
      {"1,1,1",
       "the line names no operand: expected A1,i,j,delta or A2,i,j,delta or X,j,k,delta; --edges out|in|both reads "
       "edges "
       "i,j and i,j,weight"},
  };
  for (const auto& [line, reason] : cases) {
    const std::string text = "X,0,0,1\n" + line + "\nA1,1,1,1\n";
    EXPECT_EQ(input_error([&] { (void)deliver(text, kronecker); }), "events:2: " + reason) << line;
  }
}

TEST(WrittenRows, OperandsOfATensorProductReadBack) {
  EventReader reader(as_bytes(kronecker_text), "events", kronecker);
  EventBatch batch;
  ASSERT_TRUE(reader.next(batch));
  const TemporaryDirectory directory;
  for (const char* name : {"events.csv", "events.tsv"}) {
    EventWriter writer(directory / name, EventFormat::text);
    writer.write(batch);
    writer.close();
    EXPECT_EQ(deliver(contents_of(directory / name), kronecker), deliver(kronecker_text, kronecker));
  }
  EventWriter writer(directory / "events.bin", EventFormat::binary);
  writer.write(batch);
  EXPECT_EQ(writer.events(), 12u);
  writer.close();
  EXPECT_EQ(read_file(directory / "events.bin", kronecker), (std::vector<Event>{{Operand::A1, 3, 1, 4},
                                                                                {Operand::X, 0, 2, 0.5},
                                                                                {Operand::A2, 0, 1, -2},
                                                                                {Operand::A1, 5, 0, 1},
                                                                                {Operand::A1, 5, 1, -2.5},
                                                                                {Operand::A2, 9, 1, -7},
                                                                                {Operand::A2, 9, 2, -1e-3},
                                                                                {Operand::X, 1, 0, 1},
                                                                                {Operand::X, 1, 2, -1},
                                                                                {Operand::A1, largest_index - 1, 1, -3},
                                                                                {Operand::X, 1, 0, -1},
                                                                                {Operand::X, 1, 2, 1}}));
  ReadOptions smaller = kronecker;
  smaller.shapes[2].columns = 2;
  EXPECT_EQ(input_error([&] { (void)read_file(directory / "events.bin", smaller); }),
            directory / "events.bin" +
                ": byte 24: event 1 (of the block that begins here): k = 2 is too large: X is 2 x "
                "2, counted from 0");
}

TEST(WrittenRows, BinaryHasTheirNonZeroEntries) {
  EventBatch batch = batch_of({{Operand::x, 1, 0, 2}});
  batch.rows = rows_of({{Operand::A, 7, 1, {1, 0, 3}}, {Operand::A, 8, -1, {0, 0.5, -0.0}}, {Operand::X, 9, 1, {0}}});
  const std::vector<Event> expected = {
      {Operand::x, 1, 0, 2}, {Operand::A, 7, 0, 1}, {Operand::A, 7, 2, 3}, {Operand::A, 8, 1, -0.5}};
  const TemporaryDirectory directory;
  const std::string path = directory / "rows.bin";
  EventWriter writer(path, EventFormat::binary);
  writer.write(batch);
  EXPECT_EQ(writer.events(), 4u);
  writer.close();
  EXPECT_EQ(read_file(path), expected);

  // More entries than a block holds.
  std::vector<double> ones(3000, 1);
  ones[1500] = 0;
  batch = {};
  for (std::uint64_t i = 0; i < 40; ++i) batch.rows.push_back(Operand::A, i, i % 2 == 0 ? 1 : -1, ones);
  EventWriter longer(path, EventFormat::binary);
  longer.write(batch);
  longer.write(batch_of({{Operand::A, 50, 0, 1}}));
  longer.close();
  const std::vector<Event> events = read_file(path);
  ASSERT_EQ(events.size(), 40u * 2999 + 1);
  for (std::size_t t = 0; t + 1 < events.size(); ++t) {
    const std::uint64_t i = t / 2999;
    const std::uint64_t j = t % 2999 + (t % 2999 < 1500 ? 0 : 1);
    ASSERT_EQ(events[t], (Event{Operand::A, i, j, i % 2 == 0 ? 1.0 : -1.0})) << t;
  }
}

TEST(WrittenRows, WhatNoReaderDeliversIsRefused) {
  const TemporaryDirectory directory;
  EventWriter writer(directory / "rows.csv", EventFormat::text);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const RowBatch& rows :
       {rows_of({{Operand::y, 0, 1, {1}}}), rows_of({{Operand::A, largest_index + 1, 1, {1}}}),
        rows_of({{Operand::A, 0, 2, {1}}}), rows_of({{Operand::A, 0, nan, {1}}}), rows_of({{Operand::A, 0, 1, {}}}),
        rows_of({{Operand::A, 0, 1, {1, nan}}}), rows_of({{Operand::A, 0, 1, std::vector<double>(longest_row + 1)}})}) {
    EventBatch batch;
    batch.rows = rows;
    EXPECT_THROW(writer.write(batch), UsageError);
  }
}

RC_GTEST_PROP(TextRows, SlicesPartitionTheEvents, ()) {
  std::string text = "X,0,*,1\n";
  Delivered expected;
  expected.rows.push_back(Operand::X, 0, 1, std::vector<double>{1});
  const auto lines = *rc::gen::inRange(0, 40);
  for (int line = 0; line < lines; ++line) {
    const int kind = *rc::gen::inRange(0, 4);
    const std::uint64_t i = *rc::gen::inRange<std::uint64_t>(0, std::uint64_t{1} << 63);
    if (kind == 0) {
      text += *rc::gen::element<std::string>("", " ", "# comment", "#,*,\t");
    } else if (kind == 1) {
      expected.entries.push_back({Operand::A, i, 3, 0.25});
      text += fmt::format("A,{},3,0.25", i);
    } else {
      const char separator = *rc::gen::element(',', '\t', ' ');
      const auto quarters = *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(-4000, 4000)));
      std::vector<double> values;
      text += fmt::format("X{0}{1}{0}{2}", separator, i, kind == 2 ? "*" : "-*");
      for (const int quarter : quarters) {
        values.push_back(quarter / 4.0);
        text += fmt::format("{}{}", separator, values.back());
      }
      expected.rows.push_back(Operand::X, i, kind == 2 ? 1 : -1, values);
    }
    text += *rc::gen::element<std::string>("\n", "\r\n");
  }
  ReadOptions options;
  options.batch = *rc::gen::inRange<std::size_t>(1, 20);
  for (std::uint32_t count = 1; count <= 7; ++count) RC_ASSERT(deliver(text, options, count) == expected);
}

}  // namespace
}  // namespace weir
