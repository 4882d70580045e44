#include "weir/io/npy.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "io/npy_bytes.hpp"
#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::dictionary;
using testing_support::expect_error;
using testing_support::npy;
using testing_support::raw;
using testing_support::TemporaryDirectory;

class Npy : public ::testing::Test {
 protected:
  DenseMatrix load(const std::string& bytes) const { return load_npy(directory_.write("a.npy", bytes)); }
  void refuse(const std::string& bytes, std::initializer_list<std::string_view> parts) const {
    expect_error([&] { (void)load(bytes); }, parts);
    expect_error([&] { (void)load(bytes); }, {"a.npy"});
  }
  TemporaryDirectory directory_;
};

TEST_F(Npy, EveryElementTypeInBothByteOrders) {
  const auto check = [&]<class Value>(const std::string& code, const std::vector<Value>& values) {
    const DenseMatrix expected{3, 1, std::vector<double>(values.begin(), values.end())};
    EXPECT_EQ(load(npy(dictionary("<" + code, "False", "(3,)"), raw(values))), expected) << code;
    EXPECT_EQ(load(npy(dictionary(">" + code, "False", "(3,)"), raw(values, std::endian::big))), expected) << code;
  };
  check("f4", std::vector<float>{1.5F, -2.25F, 1e30F});
  check("f8", std::vector<double>{0.1, -1e300, 5e-324});
  check("i1", std::vector<std::int8_t>{-128, 0, 127});
  check("i2", std::vector<std::int16_t>{-32768, 1, 32767});
  check("i4", std::vector<std::int32_t>{-2147483647, 1, 2147483647});
  check("i8", std::vector<std::int64_t>{-(std::int64_t{1} << 53), 1, std::int64_t{1} << 62});
  check("u1", std::vector<std::uint8_t>{0, 128, 255});
  check("u2", std::vector<std::uint16_t>{0, 256, 65535});
  check("u4", std::vector<std::uint32_t>{0, 65536, 4294967295U});
  check("u8", std::vector<std::uint64_t>{0, 1, std::uint64_t{1} << 63});
  EXPECT_EQ(load(npy(dictionary("|u1", "False", "(2,)"), "\x01\xff")), (DenseMatrix{2, 1, {1, 255}}));
}

TEST_F(Npy, FloatsOf16Bits) {
  // IEEE 754 binary16: 1 bit of sign, 5 of the exponent with bias 15, 10 of the fraction.
  const std::vector<std::uint16_t> bits{0x3c00, 0xc000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x3555};
  const std::vector<double> values{1, -2, 0x1p-24, 1023 * 0x1p-24, 0x1p-14, 65504, 1365 * 0x1p-12};
  const DenseMatrix expected{7, 1, values};
  EXPECT_EQ(load(npy(dictionary("<f2", "False", "(7,)"), raw(bits))), expected);
  EXPECT_EQ(load(npy(dictionary(">f2", "False", "(7,)"), raw(bits, std::endian::big))), expected);
  for (const std::uint16_t bad : std::vector<std::uint16_t>{0x7c00, 0xfc00, 0x7e00})
    refuse(npy(dictionary("<f2", "False", "(1,)"), raw(std::vector<std::uint16_t>{bad})), {"row 0, column 0"});
}

TEST_F(Npy, IntegersAreNeverRounded) {
  const std::int64_t limit = std::int64_t{1} << 53;
  for (const std::int64_t bad : {limit + 1, -limit - 1, 2 * limit + 2 + 1, std::numeric_limits<std::int64_t>::max(),
                                 std::numeric_limits<std::int64_t>::min() + 1}) {
    refuse(npy(dictionary("<i8", "False", "(2, 2)"), raw(std::vector<std::int64_t>{1, 2, 3, bad})),
           {"integers that a double holds exactly", "row 1, column 1 (byte 152)"});
  }
  for (const std::uint64_t bad : {(std::uint64_t{1} << 53) + 1, std::numeric_limits<std::uint64_t>::max()}) {
    refuse(npy(dictionary(">u8", "True", "(2, 2)"), raw(std::vector<std::uint64_t>{1, bad, 3, 4}, std::endian::big)),
           {"integers that a double holds exactly", "row 1, column 0 (byte 136)"});
  }
  const std::vector<std::int64_t> good{limit, -limit, limit + 2, 4 * limit + 8,
                                       std::numeric_limits<std::int64_t>::min()};
  EXPECT_EQ(load(npy(dictionary("<i8", "False", "(5,)"), raw(good))),
            (DenseMatrix{5, 1, {0x1p53, -0x1p53, 0x1p53 + 2, 0x1p55 + 8, -0x1p63}}));
}

TEST_F(Npy, OrdersShapesAndVersions) {
  const std::vector<double> numbers{1, 2, 3, 4, 5, 6};
  for (const char major : {'\1', '\2', '\3'}) {
    EXPECT_EQ(load(npy(dictionary("<f8", "False", "(2, 3)"), raw(numbers), major)),
              (DenseMatrix{2, 3, {1, 2, 3, 4, 5, 6}}));
    EXPECT_EQ(load(npy(dictionary("<f8", "True", "(2, 3)"), raw(numbers), major)),
              (DenseMatrix{2, 3, {1, 3, 5, 2, 4, 6}}));
  }
  EXPECT_EQ(load(npy(dictionary("<f8", "True", "(6,)"), raw(numbers))), (DenseMatrix{6, 1, numbers}));
  EXPECT_EQ(load(npy(dictionary("<f8", "False", "()"), raw<double>({7}))), (DenseMatrix{1, 1, {7}}));
  EXPECT_EQ(load(npy(dictionary("<f8", "False", "(0, 4)"), "")), (DenseMatrix{0, 4, {}}));
  EXPECT_EQ(load(npy(R"({"shape":(1,),"fortran_order":False,"descr":"<f8"})", raw<double>({7}))),
            (DenseMatrix{1, 1, {7}}));
}

TEST_F(Npy, LongerThanOnePiece) {
  std::vector<float> values(1000 * 700);
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>(k);
  const DenseMatrix matrix = load(npy(dictionary("<f4", "True", "(1000, 700)"), raw(values)));
  for (const std::size_t i : {0U, 1U, 523U, 999U}) {
    for (const std::size_t j : {0U, 262U, 699U})
      EXPECT_EQ(matrix.values[i * 700 + j], static_cast<double>(j * 1000 + i));
  }
}

TEST_F(Npy, TruncationAtEveryByteAndTrailingBytesAreRefused) {
  const std::string whole = npy(dictionary("<f8", "False", "(2,)"), raw<double>({1, 2}));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW((void)load(whole.substr(0, length)), InputError) << length;
  }
  refuse(whole + "x", {"expected 2 x 1 entries of 8 bytes", "found 17 bytes"});
  refuse(npy(dictionary("<f8", "False", "(0,)"), "x"), {"found 1 bytes"});
}

TEST_F(Npy, HostileHeadersAreRefused) {
  const std::string data = raw<double>({1, 2});
  refuse("PK\x03\x04 and so on", {"not a whole ZIP archive"});
  refuse("1,2\n", {"not a .npy file"});
  refuse(npy(dictionary("<f8", "False", "(2,)"), data, 4), {"format version 4.0"});
  for (const std::string descr : {"<c16", "|O", "<U8", "f8", "", "|f8", "=f8", "<i3"}) {
    refuse(npy(dictionary(descr, "False", "(2,)"), data), {"expected dtype"});
  }
  refuse(npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,)}", data), {"records"});
  refuse(npy(dictionary("<f8", "Maybe", "(2,)"), data), {"expected True or False"});
  refuse(npy(dictionary("<f8", "False", "(2, 1, 1)"), data), {"at most 2 dimensions, found 3"});
  refuse(npy(dictionary("<f8", "False", "(-2,)"), data), {"a length"});
  refuse(npy(dictionary("<f8", "False", "(9223372036854775808,)"), data), {"a length"});
  refuse(npy(dictionary("<f8", "False", "(99999999999999999999999,)"), data), {"a length"});
  refuse(npy(dictionary("<f8", "False", "(2"), data), {"expected"});
  refuse(npy("{'descr': '<f8', 'shape': (2,)}", data), {"'fortran_order'"});
  refuse(npy("{'descr': '<f8', 'descr': '<f8', 'shape': (2,)}", data), {"once"});
  refuse(npy("{'descr': '<f8', 'colour': 'red'}", data), {"once"});
  refuse(npy(dictionary("<f8", "False", "(2,)") + " 1", data), {"end of the header"});
  refuse(npy("{'descr': '<f8", data), {"closing quote"});
  refuse(npy("", data), {"'{'"});
  refuse("\x93NUMPY\x02" + std::string(1, '\0') + "\xff\xff\xff\xff" + data, {"at most 65536 bytes, found 4294967295"});
  // Products that wrap to the two entries that are there: 2^63 * 2 = 0, (2^62 + 1) * 8 bytes = 8, (2^32 + ...)^2.
  refuse(npy(dictionary("<f8", "False", "(4611686018427387904, 4)"), ""), {"4611686018427387904 x 4 entries"});
  refuse(npy(dictionary("<f8", "False", "(2305843009213693954,)"), data), {"found 16 bytes"});
  refuse(npy(dictionary("<f8", "False", "(2, 9223372036854775807)"), data), {"found 16 bytes"});
}

TEST_F(Npy, NonFiniteEntriesAreNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  refuse(npy(dictionary("<f8", "False", "(2, 2)"), raw<double>({1, 2, nan, 4})), {"nan at row 1, column 0"});
  refuse(npy(dictionary("<f8", "True", "(2, 2)"), raw<double>({1, 2, -infinity, 4})), {"-inf at row 0, column 1"});
}

TEST_F(Npy, MissingFileAndDirectory) {
  expect_error([&] { (void)load_npy(directory_ / "none.npy"); }, {"none.npy", "No such file"});
  expect_error([&] { (void)load_npy(directory_.path().string()); }, {"directory"});
}

}  // namespace
}  // namespace weir
