#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstdlib>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

const ReadOptions vector_of_ten{.shapes = {{Operand::y, 10, 1}}};
const ReadOptions product{.shapes = {{Operand::A, 10, 4}, {Operand::x, 4, 1}}, .default_operand = Operand::A};

TEST(TextEvents, AllForms) {
  const std::vector<Event> expected = {{Operand::y, 1, 0, 2},     {Operand::y, 3, 0, -4},    {Operand::x, 5, 0, 0.5},
                                       {Operand::A, 6, 7, -1.25}, {Operand::A1, 8, 9, 1e20}, {Operand::A2, 0, 1, 3},
                                       {Operand::X, 2, 3, 4}};
  EXPECT_EQ(read_text("1,2\ny,3,-4\nx,5,0.5\nA,6,7,-1.25\nA1,8,9,1e20\nA2,0,1,3\nX,2,3,4\n"), expected);
  EXPECT_EQ(
      read_text(
          "1\t2\ny\t3\t-4\nx 5 0.5\nA  6   7 -1.25\nA1, 8, 9, +1E20\n  A2,0,1,3  \r\n# note\n\n% note\n \t\r\nX,2,3,4",
          {.edges = Edges::none}),
      expected);
  EXPECT_EQ(read_text("\xEF\xBB\xBF"
                      "1,2\n"),
            (std::vector<Event>{{Operand::y, 1, 0, 2}}));
}

TEST(TextEvents, NumbersAreTheNearestDoubles) {
  for (const char* number : {"0", "-0.5", "0.1", "123456789012345", "1234567890123456", "9007199254740994",
                             "0.123456789012345", "12345678.9012345", "3.14159265358979311", "4.9e-324",
                             "1.7976931348623157e308", ".5", "5.", "00012", "0000000000000000000001.5"}) {
    const auto events = read_text(fmt::format("7,{}\n", number));
    ASSERT_EQ(events.size(), 1u) << number;
    EXPECT_EQ(events[0].delta, std::strtod(number, nullptr)) << number;
  }
  // Below half of the smallest double.
  for (const std::string& number :
       std::vector<std::string>{"1e-400", "0.0001e-399", "1e-99999999999999999999", "2e-324", "-1e-400",
                                "0." + std::string(400, '0') + "1", "123456789e-350"}) {
    for (const std::string& line : {"7," + number, "y 7  " + number + "\r"}) {
      const auto events = read_text(line + "\n");
      ASSERT_EQ(events.size(), 1u) << line;
      EXPECT_EQ(events[0].delta, 0) << line;
      EXPECT_EQ(std::signbit(events[0].delta), number[0] == '-') << line;
    }
    EXPECT_EQ(deliver("A,0,*,1," + number + ",+" + number.substr(number[0] == '-' ? 1 : 0) + "\n").rows.values,
              (std::vector<double>{1, 0, 0}));
  }
  for (const std::string& number :
       std::vector<std::string>{"1e400", "-1e99999999999999999999", "1" + std::string(400, '0'), "0.001e320"})
    EXPECT_EQ(input_error([&] { (void)read_text("7," + number + "\n"); }),
              fmt::format("events:1: delta = '{}'{} is outside the range of a double", number.substr(0, 40),
                          number.size() > 40 ? "..." : ""));
  EXPECT_EQ(read_text("9223372036854775807,1\n")[0].i, 9223372036854775807u);
  EXPECT_EQ(read_text("12345678,1\n")[0].i, 12345678u);
  EXPECT_EQ(read_text("123456781234567,1\n")[0].i, 123456781234567u);
}

TEST(TextEvents, WholeNumbersAreNeverRounded) {
  const std::string expected =
      " would be rounded: expected a whole number that a double holds exactly, as it does all up to 2^53";
  for (const std::string number :
       {"9007199254740993", "-9007199254740993", "+9007199254740993", "00009007199254740993", "9007199254740993.0",
        "9007199254740993.", "18014398509481987", "123456789012345678901234567890"}) {
    for (const char* line : {"7,{}\n", "y 7 {}\r\n", "y,7,  {}"}) {
      EXPECT_EQ(input_error([&] { (void)read_text(fmt::format(fmt::runtime(line), number)); }),
                "events:1: delta = '" + number + "'" + expected);
    }
    for (const char* line : {"A,1,*,1,{}\n", "A 1 *  1 {}\n"}) {
      EXPECT_EQ(input_error([&] { (void)deliver(fmt::format(fmt::runtime(line), number)); }),
                "events:1: v1 = '" + number + "'" + expected);
    }
  }
  // Those that a double holds, and what is not written as a whole number.
  for (const char* number :
       {"9007199254740992", "-9007199254740992", "9007199254740994", "9007199254740994.000", "1180591620717411303424",
        "9007199254740992.5", "9007199254740993e0", "1e23", "0.1234567890123456789", "123456789.01234567890123"}) {
    const auto events = read_text(fmt::format("7,{}\n", number));
    ASSERT_EQ(events.size(), 1u) << number;
    EXPECT_EQ(events[0].delta, std::strtod(number, nullptr)) << number;
  }
}

TEST(TextEvents, LargeWholeNumbersThatAreWrittenReadBack) {
  const TemporaryDirectory directory;
  std::vector<Event> events;
  for (int exponent = 50; exponent < 1024; ++exponent) {
    for (const double significand : {1.0, 1.0 + 0x1p-52, 2.0 - 0x1p-52, 1.1})
      events.push_back({Operand::y, 1, 0, std::ldexp(significand, exponent)});
  }
  write_events(directory / "e.csv", events, EventFormat::text);
  EXPECT_EQ(read_file(directory / "e.csv"), events);
}

struct BadLine {
  std::string line;
  std::string reason;
};

TEST(TextEvents, BadLinesAreNamed) {
  const std::string of_return =
      "a carriage return in the middle of the line: expected lines that end with \\n or \\r\\n (tr '\\r' '\\n' changes "
      "lines that end with \\r)";
  const std::vector<BadLine> cases = {
      {"5", "missing field: found 1, expected 2 as in i,delta or y,i,delta"},
      {"y,5", "missing field: found 2, expected 3 as in y,i,delta"},
      {"5,", "missing field: field 2 is empty"},
      {",5", "missing field: field 1 is empty"},
      {"1,2,3",
       "extra field: found 3, expected 2 as in i,delta or y,i,delta; --edges out|in|both reads edges i,j,weight"},
      {"1,x,3", "extra field: found 3, expected 2 as in i,delta or y,i,delta"},
      {"y,1,2,3,4,5", "extra field: found 6, expected 3 as in y,i,delta"},
      {"i,delta", "'i' is not an index: expected a whole number for i"},
      {"1.5,2", "'1.5' is not an index: expected a whole number for i"},
      {"1,two", "'two' is not a number: expected delta"},
      {"1,2x", "'2x' is not a number: expected delta"},
      {"1,0x10", "'0x10' is not a number: expected delta"},
      {"1,+-2", "'+-2' is not a number: expected delta"},
      {"1,nan", "delta = 'nan' is not finite"},
      {"1,-inf", "delta = '-inf' is not finite"},
      {"1,1e999", "delta = '1e999' is outside the range of a double"},
      {"-1,2", "i = '-1' is negative: indices count from 0"},
      {"10,2", "i = 10 is too large: y has 10 entries, counted from 0"},
      {"y,10,2", "i = 10 is too large: y has 10 entries, counted from 0"},
      {"99999999999999999999999,2", "i = '99999999999999999999999' is too large: indices lie below 2^63"},
      {"B,1,2", "unknown operand 'B': expected i,delta or y,i,delta"},
      {"x,1,2", "x is not an operand of this model, which takes y"},
      {"A,1,2,3", "A is not an operand of this model, which takes y"},
      {"1," + std::string(4095, '0'), "the line is longer than 4096 bytes"},
      {std::string(4097, '1'), "the line is longer than 4096 bytes"},
      {std::string("1,\0 2", 5), "the line contains a NUL byte; expected text"},
      {"1;2", "'1;2' has semicolons: expected commas, tabs or blanks between fields, and points in numbers"},
      {"1;2,5", "'1;2,5' has semicolons: expected commas, tabs or blanks between fields, and points in numbers"},
      {"y;1;2", "'y;1;2' has semicolons: expected commas, tabs or blanks between fields, and points in numbers"},
      {"1,2\r3,4\r5,6", of_return},
      {"# note\r1,2\r3,4", of_return},
      {"% note\r1,2", of_return},
      {"#" + std::string(5000, 'x') + "\n1,1\r2,2", of_return},
      {"1,1\r" + std::string(5000, '1'), of_return},
      {"1 2 3",
       "extra field: found 3, expected 2 as in i,delta or y,i,delta; --edges out|in|both reads edges i,j,weight"},
  };
  for (const auto& [line, reason] : cases) {
    const std::string text = "1,1\n# comment\n" + line + "\n2,2\n";
    const std::string number = line.find('\n') == std::string::npos ? "3" : "4";
    EXPECT_EQ(input_error([&] { (void)read_text(text, vector_of_ten); }), "events:" + number + ": " + reason)
        << line.substr(0, 50);
    ReadOptions skip = vector_of_ten;
    skip.on_error = OnError::skip;
    EventReader reader(as_bytes(text), "events", skip);
    EXPECT_EQ(drain(reader), (std::vector<Event>{{Operand::y, 1, 0, 1}, {Operand::y, 2, 0, 2}}));
    EXPECT_EQ(reader.skipped(), 1u);
  }
  EXPECT_EQ(
      input_error([] { (void)read_text("3,4,1\n", product); }),
      "events:1: the line names no operand: expected x,j,delta or A,i,j,delta; --edges out|in|both reads edges i,j "
      "and i,j,weight");
  EXPECT_EQ(input_error([] { (void)read_text("x,4,1\n", product); }),
            "events:1: j = 4 is too large: x has 4 entries, counted from 0");
  EXPECT_EQ(input_error([] { (void)read_text("A,9,4,1", product); }),
            "events:1: j = 4 is too large: A is 10 x 4, counted from 0");
  EXPECT_EQ(input_error([] { (void)read_text("A,1,-1,1", product); }),
            "events:1: j = '-1' is negative: indices count from 0");
  EXPECT_EQ(input_error([] { (void)read_text("A,1,1"); }),
            "events:1: missing field: found 3, expected 4 as in A,i,j,delta");
  EXPECT_EQ(input_error([] { (void)read_text("9223372036854775808,1"); }),
            "events:1: i = 9223372036854775808 is too large: indices lie below 2^63");
}

TEST(TextEvents, TheLongestLineIsRead) {
  EXPECT_EQ(read_text("1," + std::string(4093, '0') + "7\n").at(0).delta, 7);
  const std::string text =
      "1,1\n" + std::string(300000, 'a') + "\n" + std::string(4097, 'b') + "\n2,2\n" + std::string(600000, 'c');
  ReadOptions skip{.on_error = OnError::skip};
  for (std::uint32_t slices = 1; slices <= 5; ++slices) EXPECT_EQ(read_slices(text, skip, slices).size(), 2u) << slices;
}

TEST(TextEvents, CommentsMayBeOfAnyLength) {
  const std::string text =
      "1,1\n#" + std::string(300000, 'a') + "\n % " + std::string(5000, 'b') + "\n2,2\n#" + std::string(600000, 'c');
  for (std::uint32_t slices = 1; slices <= 5; ++slices)
    EXPECT_EQ(read_slices(text, vector_of_ten, slices).size(), 2u) << slices;
  const TemporaryDirectory directory;
  EXPECT_EQ(read_file(directory.write("e.gz", gzip(text)), vector_of_ten).size(), 2u);
  // Blanks are no comment: what follows them may be an event.
  EXPECT_EQ(input_error([] { (void)read_text("1,1\n" + std::string(5000, ' ') + "2,2\n", vector_of_ten); }),
            "events:2: the line is longer than 4096 bytes");
}

TEST(TextEvents, TwoNumbersWithoutACommaAreEventsWhereTheyCannotBeEdges) {
  EXPECT_EQ(read_text("1 -2\n3\t0.5\n4 +7\n5 1e3\ny 6 1\n7,8\n"), (std::vector<Event>{{Operand::y, 1, 0, -2},
                                                                                      {Operand::y, 3, 0, 0.5},
                                                                                      {Operand::y, 4, 0, 7},
                                                                                      {Operand::y, 5, 0, 1000},
                                                                                      {Operand::y, 6, 0, 1},
                                                                                      {Operand::y, 7, 0, 8}}));
}

TEST(TextEvents, NoEventsIsAnError) {
  for (const std::string text : {"", "\n\n", "# nothing\n\r\n", "#"}) {
    EXPECT_EQ(input_error([&] { (void)read_text(text); }), "events: contains no events");
    EXPECT_EQ(input_error([&] { (void)read_slices(text, {}, 3); }), "events: contains no events");
  }
  const std::string late = std::string("# much to say before the first event\n") + "# more\n# and more\n1,1\n";
  EXPECT_EQ(read_slices(late, {}, 4).size(), 1u);
}

TEST(TextEvents, LineNumbersInLaterSlices) {
  std::string text;
  for (int line = 1; line <= 1000; ++line) text += line == 777 ? "5\n" : line % 10 == 0 ? "# comment\r\n" : "1,1\n";
  const ReadOptions options{.shapes = {{Operand::y, 10, 1}, {Operand::X, 10, 10}}};
  for (std::uint32_t count = 1; count <= 7; ++count) {
    EXPECT_EQ(input_error([&] { (void)read_slices(text, options, count); }),
              "events:777: missing field: found 1, expected 2 as in i,delta or y,i,delta or X,j,k,delta");
  }
}

RC_GTEST_PROP(TextEvents, SlicesPartitionTheEvents, ()) {
  std::string text;
  std::vector<Event> expected;
  const auto lines = *rc::gen::inRange(1, 60);
  for (int line = 0; line < lines; ++line) {
    const std::string end = *rc::gen::element<std::string>("\n", "\r\n");
    const int kind = *rc::gen::inRange(0, 6);
    if (kind == 0) text += *rc::gen::element<std::string>("", " ", "# comment", "#,,,\t");
    if (kind >= 1) {
      const Event event{kind < 4 ? Operand::y : Operand::A, *rc::gen::inRange<std::uint64_t>(0, std::uint64_t{1} << 63),
                        kind < 4 ? 0 : *rc::gen::inRange<std::uint64_t>(0, 1000), *rc::gen::inRange(-1000, 1000) / 8.0};
      expected.push_back(event);
      text += kind == 1  ? fmt::format("{},{}", event.i, event.delta)
              : kind < 4 ? fmt::format("y\t{}\t{}", event.i, event.delta)
                         : fmt::format("A {} {} {}", event.i, event.j, event.delta);
    }
    text += line + 1 < lines || *rc::gen::arbitrary<bool>() ? end : "";
  }
  RC_PRE(!expected.empty());
  ReadOptions options;
  options.batch = *rc::gen::inRange<std::size_t>(1, 20);
  for (std::uint32_t count = 1; count <= 7; ++count) RC_ASSERT(read_slices(text, options, count) == expected);
}

RC_GTEST_PROP(TextEvents, WhatIsWrittenReadsBack, (const std::vector<double>& deltas)) {
  std::vector<Event> events = {
      {Operand::X, 1, 2, -0.0}, {Operand::x, 7, 0, 1e15}, {Operand::A2, (std::uint64_t{1} << 63) - 1, 5, 100000}};
  for (const double delta : deltas) {
    if (std::isfinite(delta))
      events.push_back({Operand::y, *rc::gen::inRange<std::uint64_t>(0, std::uint64_t{1} << 63), 0, delta});
  }
  const TemporaryDirectory directory;
  for (const char* name : {"events.csv", "events.tsv"}) {
    write_events(directory / name, events, EventFormat::text);
    const auto read = read_file(directory / name);
    RC_ASSERT(read == events);
    RC_ASSERT(std::signbit(read[0].delta));
  }
}

}  // namespace
}  // namespace weir
