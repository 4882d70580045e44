#include "weir/io/matrix_market.hpp"

#include <gtest/gtest.h>

#include <string>

#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::gzip;
using testing_support::TemporaryDirectory;

const std::string banner = "%%MatrixMarket matrix ";

void refuse_header(const std::string& text, std::initializer_list<std::string_view> parts) {
  expect_error([&] { (void)parse_matrix_market_header(text, "m.mtx"); }, parts);
  expect_error([&] { (void)parse_matrix_market_header(text, "m.mtx"); }, {"m.mtx"});
}

TEST(MatrixMarketHeader, BannerCommentsAndSize) {
  const std::string head = "%%matrixmarket MATRIX Coordinate Pattern Skew-Symmetric\r\n% a comment\n\n%\n 5 5\t3\r\n";
  const MatrixMarketHeader header = parse_matrix_market_header(head + "2 1\n3 1\n5 4\n", "m.mtx");
  EXPECT_EQ(header.format, MatrixMarketFormat::coordinate);
  EXPECT_EQ(header.field, MatrixMarketField::pattern);
  EXPECT_EQ(header.symmetry, MatrixMarketSymmetry::skew_symmetric);
  EXPECT_EQ(header.rows, 5U);
  EXPECT_EQ(header.columns, 5U);
  EXPECT_EQ(header.entries, 3U);
  EXPECT_EQ(header.size_line, 5U);
  EXPECT_EQ(header.data_offset, head.size());
}

TEST(MatrixMarketHeader, EntriesOfAnArray) {
  const auto entries = [](const std::string& symmetry, const std::string& size) {
    return parse_matrix_market_header(banner + "array real " + symmetry + "\n" + size + "\n", "m.mtx").entries;
  };
  EXPECT_EQ(entries("general", "4 3"), 12U);
  EXPECT_EQ(entries("symmetric", "4 4"), 10U);
  EXPECT_EQ(entries("skew-symmetric", "4 4"), 6U);
  EXPECT_EQ(entries("skew-symmetric", "0 0"), 0U);
}

TEST(MatrixMarketHeader, MalformedOnesAreRefused) {
  refuse_header("", {":1: ", "%%MatrixMarket"});
  refuse_header("1,2\n", {":1: ", "%%MatrixMarket"});
  refuse_header("%%MatrixMarket vector array real general\n", {"object matrix", "'vector'"});
  refuse_header(banner + "sparse real general\n", {"format array, coordinate", "'sparse'"});
  refuse_header(banner + "coordinate complex general\n", {"field", "'complex'"});
  refuse_header(banner + "coordinate complex hermitian\n", {"field", "'complex'"});
  refuse_header("%%%MatrixMarket matrix array real general\n1 1\n", {":1: ", "%%MatrixMarket"});
  refuse_header("\n1 %%MatrixMarket matrix array real general\n1 1\n", {":1: ", "%%MatrixMarket"});
  refuse_header(banner + "coordinate real\n", {"symmetry", "''"});
  refuse_header(banner + "coordinate real general x\n", {":1: ", "end of the line", "'x'"});
  refuse_header(banner + "array pattern general\n2 2\n", {"pattern"});
  refuse_header(banner + "coordinate real general\n% only\n", {":3: ", "size line", "end of the file"});
  refuse_header(banner + "coordinate real general\n2 2\n", {":2: ", "'rows columns entries'"});
  refuse_header(banner + "coordinate real general\n2 2 1 1\n", {":2: ", "end of the size line"});
  refuse_header(banner + "coordinate real general\n2 -2 1\n", {":2: ", "'-2'"});
  refuse_header(banner + "coordinate real general\n2 2.0 1\n", {":2: ", "'2.0'"});
  refuse_header(banner + "coordinate real general\n9223372036854775808 1 1\n", {"2^63 - 1"});
  refuse_header(banner + "coordinate real general\n0 2 1\n", {"1 entries do not fit a 0 x 2 matrix"});
  refuse_header(banner + "coordinate real symmetric\n2 3 1\n", {"square", "2 x 3"});
  refuse_header(banner + "array real general\n9223372036854775807 3\n", {"more than 2^63 - 1"});
  const std::string cut = banner + "coordinate real general\n%";
  refuse_header(cut + std::string(matrix_market_header_limit - cut.size() - 6, 'x') + "\n1 1 1000",
                {"within the first"});
  refuse_header(banner + "coordinate real general\n%" + std::string(matrix_market_header_limit, 'x'),
                {"within the first"});
}

class MatrixMarket : public ::testing::Test {
 protected:
  DenseMatrix load(const std::string& text) const {
    return load_matrix_market(directory_.write("m.mtx", banner + text));
  }
  void refuse(const std::string& text, std::initializer_list<std::string_view> parts) const {
    expect_error([&] { (void)load(text); }, parts);
    expect_error([&] { (void)load(text); }, {"m.mtx"});
  }
  TemporaryDirectory directory_;
};

TEST_F(MatrixMarket, Coordinate) {
  EXPECT_EQ(load("coordinate real general\n2 3 3\n1 1 1.5\n2 3 -2e1\n\n1 2 +4\n"),
            (DenseMatrix{2, 3, {1.5, 4, 0, 0, 0, -20}}));
  EXPECT_EQ(load("coordinate integer symmetric\n2 2 2\n1 1 7\n2 1 3"), (DenseMatrix{2, 2, {7, 3, 3, 0}}));
  EXPECT_EQ(load("coordinate real skew-symmetric\n2 2 1\n2 1 3\n"), (DenseMatrix{2, 2, {0, -3, 3, 0}}));
  EXPECT_EQ(load("coordinate pattern general\n2 2 3\n1 2\n2 1\n1 2\n"), (DenseMatrix{2, 2, {0, 2, 1, 0}}));
}

TEST_F(MatrixMarket, ArrayIsStoredByColumns) {
  EXPECT_EQ(load("array integer general\n2 1\n% note\n3\n\n 4.0 \n"), (DenseMatrix{2, 1, {3, 4}}));
  EXPECT_EQ(load("array real general\n2 3\n1\n2\n3\n4\n5\n6\n"), (DenseMatrix{2, 3, {1, 3, 5, 2, 4, 6}}));
  EXPECT_EQ(load("array real symmetric\n3 3\n1\n2\n3\n4\n5\n6\n"), (DenseMatrix{3, 3, {1, 2, 3, 2, 4, 5, 3, 5, 6}}));
  EXPECT_EQ(load("array real skew-symmetric\n3 3\n1\n2\n3\n"), (DenseMatrix{3, 3, {0, -1, -2, 1, 0, -3, 2, 3, 0}}));
}

TEST_F(MatrixMarket, EitherTriangle) {
  const DenseMatrix expected{2, 2, {1, 7, 7, 0}};
  EXPECT_EQ(load("coordinate real symmetric\n2 2 2\n1 1 1\n1 2 7\n"), expected);
  EXPECT_EQ(load("coordinate real hermitian\n2 2 2\n1 1 1\n2 1 7\n"), expected);
  EXPECT_EQ(load("array real hermitian\n2 2\n1\n7\n0\n"), expected);
  EXPECT_EQ(load("coordinate real skew-symmetric\n2 2 3\n1 1 0\n1 2 7\n2 2 0\n"), (DenseMatrix{2, 2, {0, 7, -7, 0}}));
  refuse("coordinate real symmetric\n3 3 2\n1 2 1\n3 1 1\n",
         {":4: ", "(3, 1) is in the lower triangle", "one triangle"});
  refuse("coordinate real skew-symmetric\n2 2 1\n1 1 2\n", {":3: ", "on the diagonal"});
}

TEST_F(MatrixMarket, CompressedOnesAreRead) {
  EXPECT_EQ(load_matrix_market(directory_.write("m.mtx.gz", gzip(banner + "array real general\n2 1\n3\n4\n"))),
            (DenseMatrix{2, 1, {3, 4}}));
}

TEST_F(MatrixMarket, MalformedEntriesAreNamed) {
  const std::string head = "coordinate real general\n2 2 2\n1 1 1\n";
  refuse(head, {":2: ", "promises 2 entries, the file has 1"});
  refuse(head + "2 2 1\n1 2 1\n", {":2: ", "promises 2 entries, the file has 3"});
  refuse("array real general\n2 1\n1.5\n", {":2: ", "means 2 entries, the file has 1"});
  refuse("array real general\n2 1\n1\n2\n3\n", {":2: ", "means 2 entries, the file has 3"});
  refuse("array real general\n2 1\n1\n\x07\n", {":4: ", "'\\x07' is not a number"});
  refuse("array real general\n2 1\n1 2\n", {":3: ", "extra field: found 2, expected 1 as in 'value'"});
  refuse("array integer general\n2 1\n1\n2.5\n", {":4: ", "value = '2.5' is not whole"});
}

TEST_F(MatrixMarket, SmallFilesCannotAskForMuchMemory) {
  refuse("array real general\n1000000 1000000\n1\n",
         {":2: ", "expected 1000000000000 entries", "cannot hold more than"});
  refuse("coordinate real general\n1000000 1000000 1\n1 1 1\n", {":2: ", "more than the 134217728 entries"});
  refuse("coordinate real general\n9223372036854775807 9223372036854775807 1\n1 1 1\n",
         {"more than the 134217728 entries"});
  refuse("coordinate real general\n2 2 999999999\n1 1 1\n", {"promises 999999999 entries, the file has 1"});
}

}  // namespace
}  // namespace weir
