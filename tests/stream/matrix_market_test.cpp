#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

const ReadOptions matrix{.default_operand = Operand::A};
const std::string banner = "%%MatrixMarket matrix coordinate ";

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

TEST(MatrixMarketEvents, BadFilesAreNamed) {
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
      {banner + "real symmetric\n3 3 1\n1 2 1\n",
       "events:3: entry (1, 2) has no place in a symmetric matrix, which stores its lower triangle"},
      {banner + "real skew-symmetric\n3 3 1\n2 2 1\n",
       "events:3: entry (2, 2) has no place in a skew-symmetric matrix, which stores its strictly lower triangle"},
      {"%%MatrixMarket matrix array real general\n3 4\n", "events:1: the format is 'array', expected 'coordinate'"},
  };
  for (const auto& [text, message] : cases) {
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
