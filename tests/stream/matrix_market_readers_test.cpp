#include <fmt/format.h>
#include <gtest/gtest.h>

#include "stream_testing.hpp"
#include "weir/io/operand.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;
using namespace std::string_literals;

// One format, two readers: of streams of entries, and of operands that are loaded whole.

const std::string banner = "%%MatrixMarket matrix coordinate ";

struct Outcome {
  DenseMatrix matrix;
  std::string message;
};

Outcome streamed(const std::string& path, std::uint32_t slices) {
  Outcome outcome{{3, 4, std::vector<double>(12)}, {}};
  outcome.message = input_error([&] {
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
      EventReader reader({path}, {.slice = slice, .slice_count = slices, .default_operand = Operand::A});
      for (const Event& event : drain(reader)) outcome.matrix.values.at(4 * event.i + event.j) += event.delta;
    }
  });
  return outcome;
}

Outcome loaded(const std::string& path) {
  Outcome outcome{{3, 4, std::vector<double>(12)}, {}};
  outcome.message = input_error([&] {
    const DenseMatrix matrix = load_operand(path);
    for (std::uint64_t i = 0; i < matrix.rows; ++i) {
      for (std::uint64_t j = 0; j < matrix.columns; ++j)
        outcome.matrix.values.at(4 * i + j) = matrix.values[i * matrix.columns + j];
    }
  });
  return outcome;
}

TEST(MatrixMarketReaders, TakeTheSameFiles) {
  const std::string bom = "\xEF\xBB\xBF";
  const TemporaryDirectory directory;
  for (const std::string& text :
       {banner + "real general\n3 4 2\n1 4 -2.5\n3 1 1e3\n", bom + banner + "real general\n3 4 1\n1 4 -2.5\n",
        banner + "real general\n% before\n3 4 2\n% among\n1 4 2\n  % the data\n\n3\t1  +7\r\n% after",
        banner + "integer general\n3 4 4\n1 1 9007199254740992\n1 1 -9007199254740994\n2 2 7.0\n3 3 1e3\n",
        banner + "real general\n3 4 2\n1 1 0.1234567890123456789\n2 1 1e300\n",
        banner + "real symmetric\n3 3 2\n2 2 1\n1 3 5\n", banner + "real skew-symmetric\n3 3 2\n2 2 0\n1 3 5\n",
        banner + "real hermitian\n3 3 2\n2 2 1\n3 1 5\n", " \n%matrixmarket matrix array real general\n1 3\n5\n6\n7\n"s,
        "%%MatrixMarket matrix array real symmetric\n3 3\n5\n6\n7\n8\n9\n1\n"s,
        "%%MatrixMarket matrix array integer skew-symmetric\n3 3\n5\n6\n7"s,
        banner + "real general\n3 4 1\n%" + std::string(5000, 'x') + "\n1 4 1e-400\n",
        banner + "pattern general\n3 4 3\n1 2\n2 1\n1 2\n", banner + "real symmetric\n3 3 2\n2 2 1\n3 1 5\n",
        banner + "integer skew-symmetric\n3 3 1\n3 1 5",
        "%%MATRIXMARKET MATRIX Coordinate Real General\n1 1 1\n1 1 1\n%" + std::string(4095, 'x') + "\n",
        banner + std::string("real general\n1 1 1\n% \0 in a comment\n1 1 1\n", 42)}) {
    const std::string path = directory.write("m.mtx", text);
    const Outcome whole = loaded(path);
    EXPECT_EQ(whole.message, "") << text;
    for (const std::uint32_t slices : {1u, 3u}) {
      const Outcome stream = streamed(path, slices);
      EXPECT_EQ(stream.message, "") << text;
      EXPECT_EQ(stream.matrix, whole.matrix) << text;
    }
  }
}

TEST(MatrixMarketReaders, RefuseTheSameFilesInTheSameWords) {
  const TemporaryDirectory directory;
  const std::string general = banner + "real general\n3 4 1\n";
  const std::string integer = banner + "integer general\n3 4 1\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {general + "1 1\n", ":3: missing field: found 2, expected 3 as in 'row column value'"},
      {general + "1 1 1 1\n", ":3: extra field: found 4, expected 3 as in 'row column value'"},
      {banner + "pattern general\n3 4 1\n1 1 1\n", ":3: extra field: found 3, expected 2 as in 'row column'"},
      {general + "0 1 1\n", ":3: entry (0, 1) is outside the matrix, which is 3 x 4, counted from 1"},
      {general + "% note\n1 5 1\n", ":4: entry (1, 5) is outside the matrix, which is 3 x 4, counted from 1"},
      {general + "-1 1 1\n", ":3: row = '-1' is negative: rows and columns count from 1"},
      {general + "1 -7 1\n", ":3: column = '-7' is negative: rows and columns count from 1"},
      {general + "1 b 1\n", ":3: 'b' is not an index: expected a whole number for column"},
      {general + "1 1 nan\n", ":3: value = 'nan' is not finite"},
      {general + "1 1 1e999\n", ":3: value = '1e999' is outside the range of a double"},
      {general + "1 1 x\n", ":3: 'x' is not a number: expected value"},
      {integer + "1 1 2.5\n", ":3: value = '2.5' is not whole: the field of the matrix is 'integer'"},
      {integer + "1 1 9007199254740993\n",
       ":3: value = '9007199254740993' would be rounded: expected a whole number that a double holds exactly, as it "
       "does "
       "all up to 2^53"},
      {general + "1 1 -9007199254740993\n",
       ":3: value = '-9007199254740993' would be rounded: expected a whole number that a double holds exactly, as it "
       "does all up to 2^53"},
      {banner + "real symmetric\n3 3 2\n1 2 1\n2 1 1\n",
       ":4: entry (2, 1) is in the lower triangle, but the first one beside the diagonal in the upper: expected one "
       "triangle, as the matrix is symmetric"},
      {banner + "real skew-symmetric\n3 3 1\n2 2 1\n",
       ":3: entry (2, 2) is on the diagonal of a skew-symmetric matrix: expected 0 there, or no entry"},
      {general, ":2: the size line promises 1 entries, the file has 0"},
      {general + "1 1 1\n1 2 1\n1 3 1\n", ":2: the size line promises 1 entries, the file has 3"},
      {general + "1 1 1" + std::string(5000, ' ') + "\n", ":3: the line is longer than 4096 bytes"},
      {general + std::string("1 1 1\0\n", 7), ":3: the line contains a NUL byte; expected text"},
      {banner + "real general\n3 4\n1 1 1\n",
       ":2: expected the size line 'rows columns entries' (integers from 0 to 2^63 - 1), found ''"},
      {banner + "complex general\n3 4 1\n1 1 1 1\n",
       ":1: expected the Matrix Market field real, double, integer, unsigned-integer, pattern, found 'complex'"},
  };
  for (const auto& [text, message] : cases) {
    const std::string path = directory.write("m.mtx", text);
    EXPECT_EQ(loaded(path).message, path + message) << text;
    for (const std::uint32_t slices : {1u, 3u}) EXPECT_EQ(streamed(path, slices).message, path + message) << text;
  }
}

}  // namespace
}  // namespace weir
