// .npy files as streams of rows.

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <limits>
#include <random>

#include "io/npy_bytes.hpp"
#include "io/zip_bytes.hpp"
#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

const ReadOptions any_matrix{.default_operand = Operand::A};
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

ReadOptions shaped(Operand operand, std::uint64_t rows, std::uint64_t columns = 1) {
  return {.shapes = {{operand, rows, columns}}, .default_operand = operand};
}

/// The stream of an array with these rows.
RowBatch rows_of(const std::vector<std::vector<double>>& rows) {
  RowBatch batch;
  for (std::size_t i = 0; i < rows.size(); ++i) batch.push_back(Operand::A, i, 1, rows[i]);
  return batch;
}

/// The bytes of `rows` as elements of type Value.
template <class Value>
std::string array(const std::string& code, const std::vector<std::vector<double>>& rows, bool fortran, bool big) {
  std::vector<Value> elements;
  const std::size_t columns = rows[0].size();
  for (std::size_t k = 0; k < rows.size() * columns; ++k) {
    elements.push_back(
        static_cast<Value>(fortran ? rows[k % rows.size()][k / rows.size()] : rows[k / columns][k % columns]));
  }
  return npy(
      dictionary((big ? ">" : "<") + code, fortran ? "True" : "False", fmt::format("({}, {})", rows.size(), columns)),
      raw(elements, big ? std::endian::big : std::endian::little));
}

TEST(NpyEvents, EveryElementTypeOrderAndSlice) {
  const std::vector<std::vector<double>> rows = {{1, 2, 3}, {0, 0, 0}, {100, 0, 7}, {4, 5, 6}, {127, 1, 1}};
  const auto check = [&]<class Value>(const std::string& code, Value) {
    for (const bool fortran : {false, true}) {
      for (const bool big : {false, true}) {
        const std::string bytes = array<Value>(code, rows, fortran, big);
        for (std::uint32_t slices = 1; slices <= 7; ++slices) {
          for (const ReadOptions& options : {any_matrix, shaped(Operand::A, 5, 3), shaped(Operand::A, 9, 3)}) {
            const Delivered delivered = deliver(bytes, options, slices);
            EXPECT_EQ(delivered.rows, rows_of(rows)) << code << fortran << big << slices;
            EXPECT_TRUE(delivered.entries.empty());
          }
        }
      }
    }
  };
  check("f4", float{});
  check("f8", double{});
  check("i1", std::int8_t{});
  check("i2", std::int16_t{});
  check("i4", std::int32_t{});
  check("i8", std::int64_t{});
  check("u1", std::uint8_t{});
  check("u2", std::uint16_t{});
  check("u4", std::uint32_t{});
  check("u8", std::uint64_t{});
}

RC_GTEST_PROP(NpyEvents, SlicesPartitionTheRows, ()) {
  const auto n = *rc::gen::inRange<std::size_t>(1, 60);
  const auto d = *rc::gen::inRange<std::size_t>(1, 9);
  std::vector<std::vector<double>> rows(n, std::vector<double>(d));
  for (std::vector<double>& row : rows) {
    for (double& value : row) value = *rc::gen::inRange(-1000, 1000) / 8.0;
  }
  const std::string bytes = array<double>("f8", rows, *rc::gen::arbitrary<bool>(), *rc::gen::arbitrary<bool>());
  ReadOptions options = any_matrix;
  options.batch = *rc::gen::inRange<std::size_t>(1, 20);
  for (std::uint32_t count = 1; count <= 7; ++count) RC_ASSERT(deliver(bytes, options, count).rows == rows_of(rows));
}

TEST(NpyEvents, LongerThanABlock) {
  // Several blocks in either order, and rows wider than one.
  std::mt19937_64 random(5);
  for (const auto& [n, d] : {std::pair<std::size_t, std::size_t>{3000, 500}, {300000, 5}, {4, 300000}}) {
    std::vector<std::vector<double>> rows(n, std::vector<double>(d));
    for (std::vector<double>& row : rows) {
      for (double& value : row) value = static_cast<double>(random() % 65536) - 32768;
    }
    const RowBatch expected = rows_of(rows);
    for (const bool fortran : {false, true}) {
      const std::string bytes = array<std::int16_t>("i2", rows, fortran, false);
      for (const std::uint32_t slices : {1u, 3u}) {
        EXPECT_TRUE(deliver(bytes, any_matrix, slices).rows == expected) << n << fortran << slices;
      }
    }
  }
}

TEST(NpyEvents, BatchesAreBounded) {
  const std::vector<std::vector<double>> rows(100, std::vector<double>(20000, 1));
  const std::string bytes = array<std::int8_t>("i1", rows, false, false);
  const auto sizes = [&](std::size_t most) {
    ReadOptions options = any_matrix;
    options.batch = most;
    EventReader reader(as_bytes(bytes), "events", options);
    std::vector<std::size_t> events;
    for (EventBatch batch; reader.next(batch);) events.push_back(batch.events());
    return events;
  };
  // 14 rows are the first to hold 2^18 values.
  EXPECT_EQ(sizes(8192), (std::vector<std::size_t>{14, 14, 14, 14, 14, 14, 14, 2}));
  EXPECT_EQ(sizes(30), (std::vector<std::size_t>{14, 14, 14, 14, 14, 14, 14, 2}));
  EXPECT_EQ(sizes(9).front(), 9u);
}

TEST(NpyEvents, OneDimensionIsOneColumnOfAMatrix) {
  const std::string bytes = npy(dictionary("<f8", "True", "(3,)"), raw<double>({1, 0, -2}));
  EXPECT_EQ(deliver(bytes, shaped(Operand::A, 3, 1), 2).rows, rows_of({{1}, {0}, {-2}}));
  EXPECT_EQ(deliver(npy(dictionary("<f8", "False", "()"), raw<double>({7})), any_matrix).rows, rows_of({{7}}));
}

TEST(NpyEvents, VectorsAreEntriesWithoutTheZeros) {
  for (const std::string shape : {"(4,)", "(4, 1)", "(1, 4)"}) {
    for (const std::string fortran : {"True", "False"}) {
      const std::string bytes = npy(dictionary("<f8", fortran, shape), raw<double>({5, 0, -2, 0.5}));
      for (const Operand operand : {Operand::y, Operand::x}) {
        const std::vector<Event> expected = {{operand, 0, 0, 5}, {operand, 2, 0, -2}, {operand, 3, 0, 0.5}};
        for (std::uint32_t slices = 1; slices <= 7; ++slices) {
          const Delivered delivered = deliver(bytes, shaped(operand, 4), slices);
          EXPECT_EQ(delivered.entries, expected) << shape << slices;
          EXPECT_TRUE(delivered.rows.empty());
        }
        EXPECT_EQ(deliver(bytes, {.default_operand = operand}).entries, expected);
      }
    }
  }
  EXPECT_TRUE(deliver(npy(dictionary("|i1", "False", "(3,)"), std::string(3, '\0'))).entries.empty());
}

TEST(NpyEvents, ShapesMustAgree) {
  const std::string bytes = npy(dictionary("|i1", "False", "(3, 4)"), std::string(12, '\1'));
  const auto message = [](const std::string& array, const ReadOptions& options) {
    for (std::uint32_t slices = 2; slices <= 3; ++slices)
      EXPECT_NE(input_error([&] { (void)deliver(array, options, slices); }), "");
    return input_error([&] { (void)deliver(array, options); });
  };
  EXPECT_EQ(message(bytes, shaped(Operand::A, 2, 4)), "events: the array is 3 x 4, but A is 2 x 4");
  EXPECT_EQ(message(bytes, shaped(Operand::A1, 3, 5)), "events: the array is 3 x 4, but A1 is 3 x 5");
  EXPECT_EQ(message(bytes, shaped(Operand::X, 3, 3)), "events: the array is 3 x 4, but X is 3 x 3");
  EXPECT_EQ(message(bytes, shaped(Operand::A, 2, std::uint64_t{1} << 63)),
            "events: the array is 3 x 4, but A has 2 rows");
  EXPECT_EQ(message(bytes, shaped(Operand::y, 100)), "events: the array is 3 x 4, but y is a vector of 100 entries");
  EXPECT_EQ(message(npy(dictionary("|i1", "False", "(3,)"), "abc"), shaped(Operand::x, 2)),
            "events: the array is 3 x 1, but x is a vector of 2 entries");
  ReadOptions other = shaped(Operand::A, 3, 4);
  other.default_operand = Operand::X;
  EXPECT_EQ(message(bytes, other), "events: X is not an operand of this model, which takes A");
  EXPECT_EQ(message(npy(dictionary("|i1", "False", "(0, 4)"), ""), any_matrix),
            "events: contains no events: the array is 0 x 4");
  EXPECT_EQ(message(npy(dictionary("|i1", "False", "(4, 0)"), ""), any_matrix),
            "events: contains no events: the array is 4 x 0");
  const std::string wide = npy(dictionary("|i1", "False", "(1, 1048577)"), std::string(1048577, '\1'));
  EXPECT_EQ(message(wide, any_matrix), "events: extra value: found 1048577, expected at most 1048576");
}

TEST(NpyEvents, NonFiniteEntriesAreNamedOrTheirRowsSkipped) {
  for (const bool fortran : {false, true}) {
    const std::string bytes = array<double>("f8", {{1, 2}, {3, nan}, {5, 6}, {-infinity, 8}}, fortran, false);
    const std::size_t first = bytes.size() - 8 * 8;
    for (std::uint32_t slices = 1; slices <= 4; ++slices) {
      EXPECT_EQ(input_error([&] { (void)deliver(bytes, any_matrix, slices); }),
                fmt::format("events: expected finite entries, found nan at row 1, column 1 (byte {}), counted from 0",
                            first + 8 * (fortran ? 5 : 3)));
    }
    ReadOptions skip = any_matrix;
    skip.on_error = OnError::skip;
    EventReader reader(as_bytes(bytes), "events", skip);
    Delivered delivered;
    delivered.add(reader);
    EXPECT_EQ(delivered.rows.i, (std::vector<std::uint64_t>{0, 2}));
    EXPECT_EQ(delivered.rows.values, (std::vector<double>{1, 2, 5, 6}));
    EXPECT_EQ(reader.skipped(), 2u);
  }
  EXPECT_NE(input_error([&] {
              (void)deliver(npy(dictionary("<f8", "False", "(3,)"), raw<double>({1, 2, nan})));
            }).find("found nan at row 2, column 0"),
            std::string::npos);
}

TEST(NpyEvents, TruncationAtEveryByteAndTrailingBytesAreRefused) {
  const TemporaryDirectory directory;
  const std::string whole = array<double>("f8", {{1, 2}, {3, 4}}, false, false);
  ReadOptions skip = any_matrix;
  skip.on_error = OnError::skip;
  for (std::size_t length = 6; length < whole.size(); ++length) {
    EXPECT_NE(input_error([&] { (void)deliver(whole.substr(0, length), skip, 2); }), "") << length;
    const std::string path = directory.write("cut.gz", gzip(whole.substr(0, length)));
    EXPECT_TRUE(input_error([&] { (void)read_file(path, skip); }).starts_with(path)) << length;
  }
  EXPECT_EQ(input_error([&] { (void)deliver(whole + "x", skip); }),
            "events: expected 2 x 2 entries of 8 bytes from byte 128 on, found 33 bytes");
  const std::string path = directory.write("long.gz", gzip(whole + "x"));
  EXPECT_EQ(input_error([&] {
              EventReader reader({path}, skip);
              Delivered().add(reader);
            }),
            path + ": expected 2 x 2 entries of 8 bytes from byte 128 on, found more bytes");
}

TEST(NpyEvents, HostileHeadersAreRefused) {
  const TemporaryDirectory directory;
  const std::string data = raw<double>({1, 2});
  const auto refuse = [&](const std::string& bytes, std::string_view part) {
    const std::string path = directory.write("a.gz", gzip(bytes));
    for (const std::string& message : {input_error([&] { (void)deliver(bytes, any_matrix, 2); }),
                                       input_error([&] { (void)read_file(path, any_matrix); })}) {
      EXPECT_NE(message.find(part), std::string::npos) << message;
    }
  };
  refuse(npy(dictionary("<f8", "False", "(2,)"), data, 4), "byte 6: .npy format version 4.0");
  refuse(npy(dictionary("<c16", "False", "(2,)"), data), "expected dtype");
  refuse(npy(dictionary("|O", "False", "(2,)"), data), "expected dtype");
  refuse(npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,)}", data), "records");
  refuse(npy(dictionary("<f8", "Maybe", "(2,)"), data), "expected True or False");
  refuse(npy(dictionary("<f8", "False", "(2, 1, 1)"), data), "at most 2 dimensions, found 3");
  refuse(npy(dictionary("<f8", "False", "(9223372036854775808,)"), data), "a length");
  refuse("\x93NUMPY\x02" + std::string(1, '\0') + "\xff\xff\xff\xff" + data, "at most 65536 bytes, found 4294967295");
  // Products that wrap to what is there, and promises that only the end of a pipe belies.
  refuse(npy(dictionary("<f8", "False", "(4611686018427387904, 4)"), ""), "4611686018427387904 x 4 entries");
  refuse(npy(dictionary("<f8", "False", "(2305843009213693954,)"), data),
         "x 1 entries of 8 bytes from byte 128 on, found ");
  refuse(npy(dictionary("<f8", "False", "(9223372036854775807, 1048576)"), data),
         "x 1048576 entries of 8 bytes from byte 128 on, found ");
  refuse(npy(dictionary("<f8", "False", "(9223372036854775807, 9223372036854775807)"), data), "9223372036854775807");
}

TEST(NpyEvents, CompressedFilesAndPipesAreReadFrontToBack) {
  const TemporaryDirectory directory;
  const std::vector<std::vector<double>> rows = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  const auto deliver_file = [](const std::string& path, const ReadOptions& options) {
    EventReader reader({path}, options);
    Delivered delivered;
    delivered.add(reader);
    return delivered;
  };
  const std::string c_order = directory.write("c.npy.gz", gzip(array<float>("f4", rows, false, false)));
  EXPECT_EQ(stream_format(c_order), StreamFormat::gzip);
  EXPECT_EQ(content_format(c_order), StreamFormat::npy);
  EXPECT_EQ(stated_shape(c_order), (std::array<std::uint64_t, 2>{3, 3}));
  EXPECT_EQ(deliver_file(c_order, any_matrix).rows, rows_of(rows));
  const std::string fortran = directory.write("f.npy.gz", gzip(array<float>("f4", rows, true, false)));
  EXPECT_EQ(input_error([&] { (void)deliver_file(fortran, any_matrix); }),
            fortran + ": an array in Fortran order cannot be read from a pipe or a compressed file; expected C order");
  // Where there is one column the orders are one.
  const std::string column =
      directory.write("v.npy.gz", gzip(npy(dictionary("<f8", "True", "(2,)"), raw<double>({1, 2}))));
  EXPECT_EQ(deliver_file(column, {}).entries.size(), 2u);
  const std::string plain = directory.write("c.npy", array<float>("f4", rows, false, false));
  EXPECT_EQ(stream_format(plain), StreamFormat::npy);
  EXPECT_EQ(stated_shape(plain), (std::array<std::uint64_t, 2>{3, 3}));
  EXPECT_EQ(stated_shape(directory.write("t.csv", "1,2\n")), std::nullopt);
}

TEST(NpyEvents, StatedShapesAreThoseOfTheData) {
  const TemporaryDirectory directory;
  const std::string lie = npy(dictionary("<f8", "False", "(1000, 1000000)"), raw<double>({1, 2}));
  for (const std::string& path : {directory.write("lie.npy", lie), directory.write("lie.npy.gz", gzip(lie)),
                                  directory.write("lie.npz", zip({{"a.npy", lie, true}}))})
    for (const auto& read : {std::function<void()>([&] { (void)stated_shape(path); }),
                             std::function<void()>([&] { (void)read_file(path, any_matrix); })})
      EXPECT_NE(input_error(read).find(path + ": expected 1000 x 1000000 entries of 8 bytes from byte 128 on, found "),
                std::string::npos);
}

TEST(NpyEvents, AStoredMemberIsVerifiedByOneThatReadsItAll) {
  const TemporaryDirectory directory;
  const std::string array = npy(dictionary("<f8", "False", "(2, 2)"), raw<double>({1, 2, 3, 4}));
  std::string archive = zip({{"a.npy", array}});
  archive[archive.find(array) + array.size() - 8] ^= 1;
  const std::string path = directory.write("a.npz", archive);
  EXPECT_NE(input_error([&] { (void)read_file(path, any_matrix); }).find(path + ": its CRC-32 is "), std::string::npos);
}

TEST(NpyEvents, ALiveFeedIsDeliveredRowByRow) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::string bytes = array<double>("f8", {{1, 2}, {3, 4}, {5, 6}}, false, false);
  EventReader reader({fmt::format("/dev/fd/{}", ends[0])}, any_matrix);
  const std::size_t cut = bytes.size() - 20;  // in the second row
  ASSERT_EQ(::write(ends[1], bytes.data(), cut), static_cast<ssize_t>(cut));
  EventBatch batch;
  ASSERT_TRUE(reader.next(batch));
  EXPECT_EQ(batch.rows, rows_of({{1, 2}}));
  ASSERT_EQ(::write(ends[1], bytes.data() + cut, 20), 20);
  ::close(ends[1]);
  RowBatch rest;
  while (reader.next(batch)) {
    for (std::size_t t = 0; t < batch.rows.size(); ++t)
      rest.push_back(Operand::A, batch.rows.i[t], 1, batch.rows.row(t));
  }
  EXPECT_EQ(rest.i, (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(rest.values, (std::vector<double>{3, 4, 5, 6}));
  ::close(ends[0]);
}

TEST(NpyEvents, IntegersAreNeverRounded) {
  const std::int64_t bad = (std::int64_t{1} << 53) + 1;
  const std::string bytes =
      npy(dictionary("<i8", "False", "(3, 2)"), raw(std::vector<std::int64_t>{1, 2, 3, bad, 5, 6}));
  const std::size_t place = bytes.size() - 3 * 8;
  const std::string message = fmt::format(
      "events: expected integers that a double holds exactly, as it does all up to 2^53, found another at "
      "row 1, column 1 (byte {}), counted from 0",
      place);
  EXPECT_EQ(input_error([&] { (void)deliver(bytes, {.default_operand = Operand::A}); }), message);
  EventReader reader(as_bytes(bytes), "events", {.on_error = OnError::skip, .default_operand = Operand::A});
  Delivered delivered;
  delivered.add(reader);
  EXPECT_EQ(delivered.rows.i, (std::vector<std::uint64_t>{0, 2}));
  EXPECT_EQ(reader.first_skipped(), message);
}

TEST(NpyEvents, PicksAreReadAsFilesOfTheirOwn) {
  const TemporaryDirectory directory;
  const std::string heads = npy(dictionary("<f4", "False", "(2, 5, 2)"),
                                raw<float>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}));
  const std::string plain = directory.write("h.npy", heads);
  const std::string archive = directory.write("h.npz", zip({{"s.npy", heads}, {"d.npy", heads, true}}));
  for (const std::string& name : {plain + "[1]", archive + "[s][1]", archive + "[d][1]"}) {
    EXPECT_EQ(stated_shape(name), (std::array<std::uint64_t, 2>{5, 2}));
    EXPECT_EQ(content_format(name), StreamFormat::npy);
    for (std::uint32_t slices = 1; slices <= 6; ++slices) {
      Delivered all;
      for (std::uint32_t slice = 0; slice < slices; ++slice) {
        EventReader reader({name}, {.slice = slice, .slice_count = slices, .default_operand = Operand::A});
        all.add(reader);
      }
      EXPECT_EQ(all.rows.i, (std::vector<std::uint64_t>{0, 1, 2, 3, 4})) << name;
      EXPECT_EQ(all.rows.values, (std::vector<double>{10, 11, 12, 13, 14, 15, 16, 17, 18, 19})) << name;
    }
    // Looked at once, and read up to somewhere.
    ReadOptions agreed{.default_operand = Operand::A, .sources = {look_at(name)}};
    EventReader reader({name}, agreed);
    EventBatch batch;
    ASSERT_TRUE(reader.next(batch, 2));
    agreed.ranges = reader.unread();
    EventReader later({name}, agreed);
    Delivered rest;
    rest.add(later);
    EXPECT_EQ(rest.rows.i, (std::vector<std::uint64_t>{2, 3, 4})) << name;
  }
  EXPECT_EQ(stream_format(plain + "[1]"), StreamFormat::npy);
  EXPECT_EQ(stream_format(archive + "[s][1]"), StreamFormat::npy);
  EXPECT_EQ(stream_format(archive + "[d]"), StreamFormat::compressed);
  const std::string missing = plain + "x[1]";
  EXPECT_EQ(input_error([&] { EventReader({missing}, {}); }), missing + ": cannot open: No such file or directory");
  EXPECT_NE(input_error([&] {
              EventReader reader({plain}, {.default_operand = Operand::A});
              Delivered none;
              none.add(reader);
            }).find("found 3 (2 x 5 x 2)"),
            std::string::npos);
}

}  // namespace
}  // namespace weir
