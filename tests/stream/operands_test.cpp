#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstring>

#include "stream_testing.hpp"
#include "weir/stream/binary.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

// Operands that are registered, not listed. Some of their names begin like those of listed ones.
const Operand Q = operand_named("Q", true);
const Operand A12 = operand_named("A12", true);
const Operand yes = operand_named("yes", false);
const Operand v = operand_named("v", false);

const std::vector<Event> events = {{Q, 3, 1, 0.5},        {Operand::y, 1, 0, 2}, {A12, 7, 8, -1}, {yes, 4, 0, 1e300},
                                   {Operand::A, 5, 6, 1}, {v, 9, 0, 3},          {Q, 0, 0, 4}};

TEST(RegisteredOperands, AreReadAndWrittenAsText) {
  EXPECT_EQ(read_text("Q,3,1,0.5\n1,2\nA12 7 8 -1\nyes,4,1e300\n A,5,6,1\nv\t9\t3\r\nQ, 0, 0, 4"), events);
  const TemporaryDirectory directory;
  for (const char* name : {"e.csv", "e.tsv"}) {
    write_events(directory / name, events, EventFormat::text);
    EXPECT_EQ(read_file(directory / name), events);
  }
}

TEST(RegisteredOperands, WholeRows) {
  Delivered expected;
  expected.rows.push_back(Q, 3, 1, std::vector<double>{1, 2.5});
  expected.rows.push_back(A12, 4, -1, std::vector<double>{-1});
  expected.entries.push_back({Q, 1, 1, 7});
  const std::string text = "Q,3,*,1,2.5\nA12,4,-*,-1\nQ,1,1,7\n";
  EXPECT_EQ(deliver(text), expected);
  EXPECT_EQ(deliver(text, {}, 3), expected);
  const TemporaryDirectory directory;
  EventWriter writer(directory / "rows.csv", EventFormat::text);
  EventBatch batch = batch_of(expected.entries);
  batch.rows = expected.rows;
  writer.write(batch);
  writer.close();
  EXPECT_EQ(deliver(contents_of(directory / "rows.csv")), expected);
  EXPECT_EQ(input_error([] { (void)deliver("yes,1,*,1\n"); }), "events:1: yes is a vector: only matrices have rows");
}

TEST(RegisteredOperands, ErrorsNameThem) {
  const ReadOptions options{.shapes = {{Q, 10, 4}, {v, 5, 1}}, .default_operand = Q, .advice = "some advice"};
  const auto message = [&](std::string_view text) { return input_error([&] { (void)read_text(text, options); }); };
  EXPECT_EQ(message("Q,10,0,1\n"), "events:1: i = 10 is too large: Q is 10 x 4, counted from 0");
  EXPECT_EQ(message("v,5,1\n"), "events:1: i = 5 is too large: v has 5 entries, counted from 0");
  EXPECT_EQ(message("Q,1,1\n"), "events:1: missing field: found 3, expected 4 as in Q,i,j,delta");
  EXPECT_EQ(message("v,1,1,1\n"), "events:1: extra field: found 4, expected 3 as in v,i,delta");
  EXPECT_EQ(message("K,1,1,1\n"), "events:1: unknown operand 'K': expected Q,i,j,delta or v,i,delta");
  EXPECT_EQ(message("A12,1,1,1\n"), "events:1: A12 is not an operand of this model, which takes Q, v; some advice");
  EXPECT_EQ(message("Q,1,*,1,2\n"), "events:1: missing value: found 2, expected the 4 columns of Q");
}

TEST(RegisteredOperands, AreWhatOtherFormatsMeanByDefault) {
  EXPECT_EQ(read_text("%%MatrixMarket matrix coordinate real general\n5 5 1\n2 3 4\n", {.default_operand = Q}),
            (std::vector<Event>{{Q, 1, 2, 4}}));
  EXPECT_EQ(read_text("7,2\n", {.default_operand = v}), (std::vector<Event>{{v, 7, 0, 2}}));
  std::string npy("\x93NUMPY\x01\0", 8);
  const std::string header = "{'descr': '|i1', 'fortran_order': False, 'shape': (1, 2)}\n";
  npy += static_cast<char>(header.size());
  npy += '\0';
  npy += header + "\x05\xff";
  Delivered expected;
  expected.rows.push_back(Q, 0, 1, std::vector<double>{5, -1});
  EXPECT_EQ(deliver(npy, {.default_operand = Q}), expected);
  npy.replace(npy.find("(1, 2)"), 6, "(2, 1)");
  EXPECT_EQ(read_text(npy, {.default_operand = v}), (std::vector<Event>{{v, 0, 0, 5}, {v, 1, 0, -1}}));
}

TEST(RegisteredOperands, BinaryFilesNameThem) {
  const TemporaryDirectory directory;
  std::vector<Event> many;
  for (std::size_t t = 0; t < 3000; ++t) many.push_back(t < 1024 ? Event{Q, t, 1, 1} : events[t % events.size()]);
  write_events(directory / "e", many, EventFormat::binary);
  EXPECT_EQ(summarise_binary(directory / "e").version, 2u);
  const std::string bytes = contents_of(directory / "e");
  for (const std::uint32_t slices : {1u, 3u}) EXPECT_EQ(read_slices(bytes, {}, slices), many);
  // Files that need no name are those of version 1.
  write_events(directory / "y", {{Operand::y, 1, 0, 2}}, EventFormat::binary);
  EXPECT_EQ(summarise_binary(directory / "y").version, 1u);
}

TEST(RegisteredOperands, BinaryPipesNameThem) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EventReader reader({fmt::format("/dev/fd/{}", ends[0])}, {});
  {
    EventWriter writer(fmt::format("/dev/fd/{}", ends[1]), EventFormat::binary);
    writer.write(batch_of(events));
    writer.close();
  }
  ::close(ends[1]);
  EXPECT_EQ(drain(reader), events);
  ::close(ends[0]);
}

TEST(RegisteredOperands, BinaryNamesThatDoNotFitAreRefused) {
  const TemporaryDirectory directory;
  write_events(directory / "e", {{Q, 1, 2, 1}}, EventFormat::binary);
  const std::string bytes = contents_of(directory / "e");
  const std::size_t name = bytes.find("Q");
  ASSERT_NE(name, std::string::npos);
  const auto changed = [&](std::size_t at, char to) {
    std::string copy = bytes;
    copy[at] = to;
    const std::size_t end = bytes.size() - 64;  // an index of one entry follows the only block
    const std::uint64_t checksum = XXH3_64bits(copy.data() + 32, end - 32);
    std::memcpy(copy.data() + 24, &checksum, sizeof checksum);
    return input_error([&] { (void)read_text(copy); });
  };
  EXPECT_EQ(changed(name, 'Z'), "events: byte 24: the block has events of operand 'Z', which is not known here");
  EXPECT_EQ(changed(name, 'v'), "events: byte 24: operand v has 2 indices in the block; expected 1");
  EXPECT_EQ(changed(name - 8, '\7'),
            "events: byte 24: event 0 (of the block that begins here): operand code 7 does not exist; expected 0 to 6");
  EXPECT_EQ(changed(24 + 28, '\xFD'), "events: byte 24: the head of the block is damaged");
  EXPECT_EQ(changed(24 + 28, '\xFF'), "events: byte 24: the head of the block is damaged");
  EXPECT_EQ(changed(24 + 24, static_cast<char>(bytes[24 + 24] - 32)),
            "events: byte 24: the head of the block is damaged");
}

}  // namespace
}  // namespace weir
