#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

const ReadOptions matrix{.default_operand = Operand::A};
const std::string banner = "%%MatrixMarket matrix coordinate ";
const std::string array = "%%MatrixMarket matrix array real ";

Event entry(std::uint64_t i, std::uint64_t j, double value) { return {Operand::A, i, j, value}; }

TEST(MatrixMarketEvents, FieldsAndSymmetries) {
  EXPECT_EQ(read_text(banner + "real general\n% note\n3 4 2\n1 4 -2.5\n\n  3\t1  1e3\r\n", matrix),
            (std::vector{entry(0, 3, -2.5), entry(2, 0, 1000)}));
  EXPECT_EQ(read_text(banner + "pattern symmetric\n3 3 2\n2 2\n3 1\n", matrix),
            (std::vector{entry(1, 1, 1), entry(2, 0, 1), entry(0, 2, 1)}));
  EXPECT_EQ(read_text(banner + "integer skew-symmetric\n3 3 1\n3 1 7", matrix),
            (std::vector{entry(2, 0, 7), entry(0, 2, -7)}));
  EXPECT_EQ(read_text(banner + "real general\n3 1 1\n3 1 7"), (std::vector{Event{Operand::y, 2, 0, 7}}));
  ReadOptions one_at_a_time = matrix;
  one_at_a_time.batch = 1;
  EXPECT_EQ(read_text(banner + "pattern symmetric\n3 3 2\n2 1\n3 1\n", one_at_a_time),
            (std::vector{entry(1, 0, 1), entry(0, 1, 1), entry(2, 0, 1), entry(0, 2, 1)}));
}

TEST(MatrixMarketEvents, TrianglesAndDiagonals) {
  // The same matrix, from either triangle; a hermitian one of real numbers is symmetric.
  for (const std::string kind :
       {"real symmetric", "real hermitian", "integer Hermitian", "unsigned-integer symmetric"}) {
    for (std::uint32_t slices = 1; slices <= 4; ++slices) {
      EXPECT_EQ(read_slices(banner + kind + "\n3 3 4\n1 1 5\n2 2 6\n1 3 7\n2 3 8\n", matrix, slices),
                (std::vector{entry(0, 0, 5), entry(1, 1, 6), entry(0, 2, 7), entry(2, 0, 7), entry(1, 2, 8),
                             entry(2, 1, 8)}));
      EXPECT_EQ(read_slices(banner + kind + "\n3 3 2\n1 1 5\n3 1 7\n", matrix, slices),
                (std::vector{entry(0, 0, 5), entry(2, 0, 7), entry(0, 2, 7)}));
    }
  }
  EXPECT_EQ(read_text(banner + "real skew-symmetric\n3 3 3\n1 1 0\n1 3 7\n3 3 -0.0\n", matrix),
            (std::vector{entry(0, 0, 0), entry(0, 2, 7), entry(2, 0, -7), entry(2, 2, 0)}));
  EXPECT_EQ(read_text(banner + "real skew-symmetric\n1 1 1\n1 1 0\n", matrix), (std::vector{entry(0, 0, 0)}));
}

TEST(MatrixMarketEvents, OneTriangleIsAskedForBehindALongDiagonal) {
  // More diagonal than a reader looks at in one piece.
  const int n = 150000;
  std::string text = fmt::format("{}pattern symmetric\n{} {} {}\n", banner, n, n, n + 2);
  for (int i = 1; i <= n; ++i) text += fmt::format("{} {}\n", i, i);
  ASSERT_GT(text.size(), std::size_t{1} << 20);
  for (std::uint32_t slices = 1; slices <= 3; ++slices) {
    EXPECT_EQ(read_slices(text + "1 2\n1 3\n", matrix, slices).size(), n + 4u);
    EXPECT_NE(input_error([&] { (void)read_slices(text + "1 2\n3 1\n", matrix, slices); }), "");
  }
}

TEST(MatrixMarketEvents, Arrays) {
  // By columns.
  const std::string general = array + "general\n% note\n2 3\n1\n2\n\n3\n% note\n0\n-5\n1e-400\n";
  const std::vector<Event> expected{entry(0, 0, 1), entry(1, 0, 2),  entry(0, 1, 3),
                                    entry(1, 1, 0), entry(0, 2, -5), entry(1, 2, 0)};
  const TemporaryDirectory directory;
  const std::string plain = directory.write("a.mtx", general), compressed = directory.write("a.gz", gzip(general));
  for (std::uint32_t slices = 1; slices <= 4; ++slices) {
    EXPECT_EQ(read_slices(general, matrix, slices), expected);
    std::vector<Event> events;
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
      EventReader reader({plain, compressed}, {.slice = slice, .slice_count = slices, .default_operand = Operand::A});
      for (const Event& event : drain(reader)) events.push_back(event);
    }
    EXPECT_EQ(events.size(), 2 * expected.size());
  }
  EXPECT_EQ(read_text(array + "symmetric\n3 3\n1\n2\n3\n4\n5\n6\n", matrix),
            (std::vector{entry(0, 0, 1), entry(1, 0, 2), entry(0, 1, 2), entry(2, 0, 3), entry(0, 2, 3), entry(1, 1, 4),
                         entry(2, 1, 5), entry(1, 2, 5), entry(2, 2, 6)}));
  EXPECT_EQ(
      read_text(array + "skew-symmetric\n3 3\n1\n2\n3\n", matrix),
      (std::vector{entry(1, 0, 1), entry(0, 1, -1), entry(2, 0, 2), entry(0, 2, -2), entry(2, 1, 3), entry(1, 2, -3)}));
  EXPECT_EQ(read_text(array + "general\n3 1\n7\n8\n9\n"),
            (std::vector<Event>{{Operand::y, 0, 0, 7}, {Operand::y, 1, 0, 8}, {Operand::y, 2, 0, 9}}));
  // A bad value has a place, too.
  ReadOptions skip = matrix;
  skip.on_error = OnError::skip;
  EXPECT_EQ(read_text(array + "general\n2 2\n1\nx\n3\n4\n", skip),
            (std::vector{entry(0, 0, 1), entry(0, 1, 3), entry(1, 1, 4)}));
  // Reading goes on where it stopped.
  ReadOptions part = matrix;
  part.ranges = {{{1, 2}, {4, 6}}};
  EXPECT_EQ(read_text(general, part), (std::vector{entry(1, 0, 2), entry(0, 2, -5), entry(1, 2, 0)}));
  part.ranges = {{{3, 5}}};
  EXPECT_EQ(read_text(array + "symmetric\n3 3\n1\n2\n3\n4\n5\n6\n", part),
            (std::vector{entry(1, 1, 4), entry(2, 1, 5), entry(1, 2, 5)}));
}

TEST(MatrixMarketEvents, BannersAsTheyAreFound) {
  const std::string rest = "MatrixMarket matrix coordinate real general\n3 4 1\n1 4 2\n";
  const std::string bom = "\xEF\xBB\xBF";
  for (const std::string beginning : {"%%", "%", " %%", "\t %", "\n\n%%", "\r\n  %%", "%% ", "% "}) {
    for (const std::string& text : {beginning + rest, bom + beginning + rest}) {
      for (std::uint32_t slices = 1; slices <= 3; ++slices)
        EXPECT_EQ(read_slices(text, matrix, slices), (std::vector{entry(0, 3, 2)})) << text;
      const TemporaryDirectory directory;
      EXPECT_EQ(read_file(directory.write("m.gz", gzip(text)), matrix), (std::vector{entry(0, 3, 2)})) << text;
      EXPECT_EQ(stream_format(directory.write("m", text)), StreamFormat::matrix_market);
    }
  }
  const std::string error =
      ":3: expected the Matrix Market field real, double, integer, unsigned-integer, pattern, found "
      "'complex'";
  EXPECT_EQ(
      input_error([] { (void)read_text("\n\n %MatrixMarket matrix coordinate complex general\n1 1 1\n", matrix); }),
      "events" + error);
  EXPECT_EQ(input_error([] { (void)read_text("%%MatrixMarketmatrix coordinate real general\n1 1 1\n", matrix); }),
            "events:1: expected '%%MatrixMarket matrix ...'");
}

TEST(MatrixMarketEvents, StatedShapesAreThoseOfTheData) {
  const TemporaryDirectory directory;
  const auto shape = [&](const std::string& text) { return stated_shape(directory.write("m.mtx", text)); };
  using Shape = std::optional<std::array<std::uint64_t, 2>>;
  for (const auto& [head, line] : std::vector<std::array<std::string, 2>>{{banner + "real general\n", "1 1 1"},
                                                                          {banner + "pattern general\n", "1 1"}}) {
    for (const std::string end : {"", "\n"})
      EXPECT_EQ(shape(head + "9 1000000 2\n" + line + "\n" + line + end), (Shape{{9, 1000000}}));
    for (const std::string count : {"3", "9000000"}) {
      const std::string text = head + "9 1000000 " + count + "\n" + line + "\n" + line + "\n";
      EXPECT_EQ(input_error([&] { (void)shape(text); }),
                fmt::format("{}:2: expected {} entries, but the {} bytes that follow cannot hold more than 2",
                            directory / "m.mtx", count, 2 * line.size() + 2));
      const std::string path = directory.write("m.mtx.gz", gzip(head + "9 1000000 9000000\n" + line + "\n"));
      EXPECT_NE(input_error([&] { (void)stated_shape(path); }).find(path + ":2: expected 9000000 entries, but the "),
                std::string::npos);
    }
  }
  EXPECT_EQ(shape(array + "general\n1 2\n1\n2"), (Shape{{1, 2}}));
  EXPECT_NE(
      input_error([&] { (void)shape(array + "general\n1000000 1000000\n1\n2\n"); }).find("cannot hold more than 2"),
      std::string::npos);
}

TEST(MatrixMarketEvents, BadFilesAreNamed) {
  const std::string of_return =
      "a carriage return in the middle of the line: expected lines that end with \\n or \\r\\n (tr '\\r' '\\n' changes "
      "lines that end with \\r)";
  const std::string general = banner + "real general\n";
  ReadOptions shaped = matrix;
  shaped.shapes = {{Operand::A, 3, 4}};
  const std::vector<std::pair<std::string, std::string>> cases = {
      {general + "3 4 1\n1 1\n", "events:3: missing field: found 2, expected 3 as in 'row column value'"},
      {general + "3 4 1\n1 1 1 1\n", "events:3: extra field: found 4, expected 3 as in 'row column value'"},
      {banner + "pattern general\n3 4 1\n1 1 1\n", "events:3: extra field: found 3, expected 2 as in 'row column'"},
      {general + "3 4 1\n0 1 1\n", "events:3: entry (0, 1) is outside the matrix, which is 3 x 4, counted from 1"},
      {general + "3 4 1\n1 5 1\n", "events:3: entry (1, 5) is outside the matrix, which is 3 x 4, counted from 1"},
      {general + "3 4 1\n-1 1 1\n", "events:3: row = '-1' is negative: rows and columns count from 1"},
      {general + "3 4 1\n% x\n1 b 1\n", "events:4: 'b' is not an index: expected a whole number for column"},
      {general + "3 4 1\n1 1 nan\n", "events:3: value = 'nan' is not finite"},
      {general + "3 4 1\n1 1 1e999\n", "events:3: value = '1e999' is outside the range of a double"},
      {general + "4 4 1\n1 1 1\n", "events:2: the matrix is 4 x 4, but A is 3 x 4"},
      {general + "3 5 1\n1 1 1\n", "events:2: the matrix is 3 x 5, but A is 3 x 4"},
      {general + "3 4 0\n", "events:2: contains no events: the matrix has no entries"},
      {general + "3 4 2\n1 1 1\n", "events:2: the size line promises 2 entries, the file has 1"},
      {general + "3 4 1\n1 1 1\n1 2 1\n", "events:2: the size line promises 1 entries, the file has 2"},
      {banner + "real symmetric\n3 3 4\n1 1 1\n1 2 1\n2 2 7\n3 2 1\n",
       "events:6: entry (3, 2) is in the lower triangle, but the first one beside the diagonal in the upper: expected "
       "one "
       "triangle, as the matrix is symmetric"},
      {banner + "pattern skew-symmetric\n3 3 3\n3 1\n3 2\n1 2\n",
       "events:5: entry (1, 2) is in the upper triangle, but the first one beside the diagonal in the lower: expected "
       "one "
       "triangle, as the matrix is skew-symmetric"},
      {banner + "real skew-symmetric\n3 3 2\n1 1 0\n2 2 1\n",
       "events:4: entry (2, 2) is on the diagonal of a skew-symmetric matrix: expected 0 there, or no entry"},
      {array + "general\n3 1\n1\n2\n", "events:2: the size line means 3 entries, the file has 2"},
      {array + "general\n3 1\n1\n2\n3\n4\n", "events:6: one value more than the 3 of the size line"},
      {array + "general\n3 1\n1\n2 2\n3\n", "events:4: extra field: found 2, expected 1 as in 'value'"},
      {array + "general\n0 4\n", "events:2: contains no events: the matrix has no entries"},
      {general + "3 4 1\r1 1 1\r", "events:2: " + of_return},
      {general + "% note\r3 4 1\r1 1 1\r", "events:2: " + of_return},
      {general + "3 4 1\n% note\r1 1 1\r", "events:3: " + of_return},
      {"%%MatrixMarket matrix coordinate real general\r3 4 1\r1 1 1\r", "events:1: " + of_return},
  };
  for (const auto& [file, message] : cases) {
    const std::string text = file;
    for (std::uint32_t slices = 1; slices <= 4; ++slices) {
      EXPECT_EQ(input_error([&] { (void)read_slices(text, shaped, slices); }), message) << text;
    }
    const TemporaryDirectory directory;
    const std::string path = directory.write("m.gz", gzip(text));
    EXPECT_EQ(input_error([&] { (void)read_file(path, shaped); }), path + message.substr(6)) << text;
  }
  EXPECT_EQ(input_error([&] {
              (void)read_text(general + "3 4 1\n1 1 1\n", {.shapes = {{Operand::y, 10, 1}}});
            }),
            "events:2: the matrix is 3 x 4, but y is a vector of 10 entries");
  EXPECT_NE(input_error([&] { (void)read_text(banner + "complex general\n3 4 1\n1 1 1 1\n", matrix); }), "");
}

RC_GTEST_PROP(MatrixMarketEvents, SlicesPartitionTheEntries, ()) {
  const auto entries = *rc::gen::inRange(1, 50);
  const bool symmetric = *rc::gen::arbitrary<bool>();
  std::string text =
      fmt::format("{}real {}\n% note\n1000000 1000000 {}\n", banner, symmetric ? "symmetric" : "general", entries);
  std::vector<Event> expected;
  for (int t = 0; t < entries; ++t) {
    const auto i = *rc::gen::inRange<std::uint64_t>(1, 1000001);
    const auto j = *rc::gen::inRange<std::uint64_t>(1, symmetric ? i + 1 : 1000001);
    const double value = *rc::gen::inRange(-100, 100) / 4.0;
    text += fmt::format("{} {} {}\n{}", i, j, value, *rc::gen::element<std::string>("", "", "\n", "% comment\n"));
    expected.push_back(entry(i - 1, j - 1, value));
    if (symmetric && i != j) expected.push_back(entry(j - 1, i - 1, value));
  }
  ReadOptions options = matrix;
  options.batch = *rc::gen::inRange<std::size_t>(1, 20);
  for (std::uint32_t slices = 1; slices <= 7; ++slices) RC_ASSERT(read_slices(text, options, slices) == expected);
}

}  // namespace
}  // namespace weir
