#include "stream/arriving_stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

struct Arrived {
  std::vector<Event> entries;
  RowBatch rows;
  std::uint64_t skipped = 0;
  std::uint64_t bad = 0;
  std::string first_skipped;
  bool over = false;  ///< Before the end.

  bool operator==(const Arrived&) const = default;
};

/// What comes out when `bytes` arrive in pieces that `next_length` gives the lengths of.
template <class Length>
Arrived arrive(std::string_view bytes, const ReadOptions& options, Length next_length) {
  const stream::TextRuns runs(options);
  stream::ArrivingStream stream("s", options, runs);
  std::vector<EventBatch> batches;
  while (!bytes.empty()) {
    const std::size_t length = std::min<std::size_t>(next_length(), bytes.size());
    stream.take(bytes.substr(0, length), batches);
    bytes.remove_prefix(length);
  }
  Arrived arrived;
  arrived.over = stream.is_over();
  stream.finish(batches);
  for (const EventBatch& batch : batches) {
    EXPECT_FALSE(batch.empty());
    for (std::size_t t = 0; t < batch.size(); ++t) arrived.entries.push_back(batch[t]);
    for (std::size_t t = 0; t < batch.rows.size(); ++t)
      arrived.rows.push_back(batch.rows.operands[t], batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
  }
  arrived.skipped = stream.skipped();
  arrived.bad = stream.bad();
  arrived.first_skipped = stream.first_skipped();
  EXPECT_LT(stream.held(), 64u) << "an ended stream holds nothing";
  return arrived;
}

Arrived arrive_whole(std::string_view bytes, const ReadOptions& options = {}) {
  return arrive(bytes, options, [&] { return bytes.size(); });
}

/// The same, after a check that the pieces make no difference.
Arrived arrive_anyhow(std::string_view bytes, const ReadOptions& options = {}) {
  const Arrived whole = arrive_whole(bytes, options);
  EXPECT_EQ(arrive(bytes, options, [] { return 1; }), whole);
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    EXPECT_EQ(arrive(bytes, options, [&] { return 1 + random() % (seed < 10 ? 7 : 300); }), whole) << seed;
  }
  return whole;
}

std::vector<Event> some_events(std::size_t count) {
  std::vector<Event> events;
  for (std::size_t t = 0; t < count; ++t)
    events.push_back(
        {t % 3 == 0 ? Operand::y : Operand::A, t, t % 3 == 0 ? 0 : t + 1, static_cast<double>(t % 100) + 1});
  return events;
}

std::string binary_of(const std::vector<Event>& events) {
  const TemporaryDirectory directory;
  write_events(directory / "e.weir", events, EventFormat::binary);
  return contents_of(directory / "e.weir");
}

TEST(ArrivingStreams, DeliverLinesHoweverTheyAreCut) {
  const Arrived arrived = arrive_anyhow("# first\r\n1,2\r\n\nbad\nA,*\ny,3,4\nA,5,*,1,2.5\nA,5,6,-7\n");
  EXPECT_EQ(arrived.entries,
            (std::vector<Event>{{Operand::y, 1, 0, 2}, {Operand::y, 3, 0, 4}, {Operand::A, 5, 6, -7}}));
  ASSERT_EQ(arrived.rows.size(), 1u);
  EXPECT_EQ(arrived.rows.values, (std::vector<double>{1, 2.5}));
  EXPECT_EQ(arrived.skipped, 2u);
  EXPECT_EQ(arrived.bad, 2u);
  EXPECT_TRUE(arrived.first_skipped.starts_with("s: line 4: ")) << arrived.first_skipped;
}

TEST(ArrivingStreams, DeliverALineAsSoonAsItEnds) {
  const ReadOptions options;
  const stream::TextRuns runs(options);
  stream::ArrivingStream stream("s", options, runs);
  std::vector<EventBatch> batches;
  stream.take("1,2\n3,", batches);
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0][0], (Event{Operand::y, 1, 0, 2}));
  stream.take("4\n", batches);
  ASSERT_EQ(batches.size(), 2u);
}

TEST(ArrivingStreams, AreNotBadWhereTheyAreEmpty) {
  for (const std::string& empty : {std::string(), std::string("# nothing\n"), std::string("\n"), binary_of({})}) {
    const Arrived arrived = arrive_anyhow(empty);
    EXPECT_TRUE(arrived.entries.empty());
    EXPECT_EQ(arrived.skipped, 0u) << arrived.first_skipped;
  }
}

TEST(ArrivingStreams, LeaveOutALineWithoutItsEnd) {
  const Arrived arrived = arrive_anyhow("1,2\n3,45");
  EXPECT_EQ(arrived.entries.size(), 1u);
  EXPECT_EQ(arrived.skipped, 1u);
  EXPECT_EQ(arrived.bad, 0u);
  EXPECT_TRUE(arrived.first_skipped.starts_with("s: line 2: the stream ended here, in the middle of a line"))
      << arrived.first_skipped;
}

TEST(ArrivingStreams, LeaveOutLongLinesAndHoldLittleOfThem) {
  const ReadOptions options{.shapes = {{Operand::y, 1000}}};
  const std::string long_line(100'000, '7');
  const std::string text = "1,2\n" + long_line + "\n3,4\n" + long_line + "\n5,6\n";
  const Arrived arrived = arrive_anyhow(text, options);
  EXPECT_EQ(arrived.entries.size(), 3u);
  EXPECT_EQ(arrived.skipped, 2u);
  EXPECT_TRUE(arrived.first_skipped.starts_with("s: line 2: ")) << arrived.first_skipped;
  const stream::TextRuns runs(options);
  stream::ArrivingStream stream("s", options, runs);
  std::vector<EventBatch> batches;
  for (int t = 0; t < 10'000; ++t) {
    stream.take("1234567", batches);
    ASSERT_LE(stream.held(), 3 * 4096u);
  }
  // A line that is as long as it may be is taken.
  const std::string padded = "1," + std::string(4096 - 3, ' ') + "2\n";
  EXPECT_EQ(arrive_anyhow(padded, options).entries.size(), 1u);
  EXPECT_EQ(arrive_anyhow(" " + padded, options).entries.size(), 0u);
}

TEST(ArrivingStreams, DeliverBinaryEventsHoweverTheyAreCut) {
  const std::vector<Event> events = some_events(5000);  // several blocks
  const Arrived arrived = arrive_anyhow(binary_of(events));
  EXPECT_EQ(arrived.entries, events);
  EXPECT_EQ(arrived.skipped, 0u) << arrived.first_skipped;
  EXPECT_FALSE(arrived.over);
}

TEST(ArrivingStreams, CutAnywhereDeliverWholeBinaryBlocksOnly) {
  const std::vector<Event> events = some_events(3000);
  const std::string bytes = binary_of(events);
  std::size_t delivered = 0;
  for (std::size_t length = 0; length < bytes.size();
       length += length < 100 || length + 100 > bytes.size() ? 1u : 97u) {
    const Arrived arrived = arrive_whole(std::string_view(bytes).substr(0, length));
    ASSERT_GE(arrived.entries.size(), delivered);
    delivered = arrived.entries.size();
    ASSERT_TRUE(std::equal(arrived.entries.begin(), arrived.entries.end(), events.begin()));
    ASSERT_EQ(arrived.skipped, length == 0 ? 0u : 1u) << length << arrived.first_skipped;
    ASSERT_EQ(arrived.bad, 0u) << length << arrived.first_skipped;
  }
  EXPECT_EQ(delivered, events.size());
}

TEST(ArrivingStreams, EndAtDamage) {
  const std::vector<Event> events = some_events(3000);
  const std::string bytes = binary_of(events);
  for (std::size_t at = 0; at < bytes.size(); at += at < 100 || at + 100 > bytes.size() ? 1u : 89u) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    const Arrived arrived = arrive_whole(damaged);
    ASSERT_EQ(arrived.skipped, 1u) << at;
    ASSERT_TRUE(std::equal(arrived.entries.begin(), arrived.entries.end(), events.begin()));
    ASSERT_TRUE(arrived.first_skipped.starts_with("s: ")) << arrived.first_skipped;
  }
  const Arrived continued = arrive_anyhow(bytes + "1,2\n");
  EXPECT_EQ(continued.entries, events);
  EXPECT_EQ(continued.bad, 1u);
  EXPECT_TRUE(continued.over);
}

TEST(ArrivingStreams, RefuseOtherFormats) {
  for (const std::string& bytes : {gzip("1,2\n"), std::string("%%MatrixMarket matrix coordinate real general\n1 1 1\n"),
                                   std::string("\x93NUMPY\x01\x00 and so on and so on", 24)}) {
    const Arrived arrived = arrive_anyhow(bytes);
    EXPECT_TRUE(arrived.over);
    EXPECT_EQ(arrived.bad, 1u);
    EXPECT_NE(arrived.first_skipped.find("expected lines of text or binary events"), std::string::npos)
        << arrived.first_skipped;
  }
}

TEST(ArrivingStream, EdgesAndLongComments) {
  const std::string text = "% sym unweighted\n# " + std::string(10000, 'x') + "\n1 2\n3 3\ny,5,7\n";
  const Arrived edges = arrive_anyhow(text, {.edges = Edges::both});
  EXPECT_EQ(edges.entries, (std::vector<Event>{{Operand::y, 1, 0, 1},
                                               {Operand::y, 2, 0, 1},
                                               {Operand::y, 3, 0, 1},
                                               {Operand::y, 3, 0, 1},
                                               {Operand::y, 5, 0, 7}}));
  EXPECT_EQ(edges.skipped, 0u);
  const Arrived unsaid = arrive_anyhow(text);
  EXPECT_EQ(unsaid.entries, (std::vector<Event>{{Operand::y, 1, 0, 2}, {Operand::y, 3, 0, 3}, {Operand::y, 5, 0, 7}}));
  EXPECT_EQ(unsaid.skipped, 0u);
}

}  // namespace
}  // namespace weir
