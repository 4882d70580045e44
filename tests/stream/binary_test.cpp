#include "weir/stream/binary.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <xxhash.h>

#include <cstring>
#include <limits>
#include <thread>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

std::string binary_of(const std::vector<Event>& events) {
  const TemporaryDirectory directory;
  write_events(directory / "events", events, EventFormat::binary);
  return contents_of(directory / "events");
}

/// The bytes as they come out of a pipe, where nothing can be looked up ahead.
std::vector<Event> read_piped(std::string_view bytes, const ReadOptions& options = {}) {
  int ends[2];
  if (::pipe(ends) != 0) throw Error("cannot create a pipe");
  std::thread writer([&] {
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t count = ::write(ends[1], bytes.data() + done, bytes.size() - done);
      if (count < 0) break;
      done += static_cast<std::size_t>(count);
    }
    ::close(ends[1]);
  });
  struct Join {
    std::thread& thread;
    int end;
    ~Join() {
      char rest[4096];
      while (::read(end, rest, sizeof rest) > 0) continue;
      thread.join();
      ::close(end);
    }
  } const join{writer, ends[0]};
  return read_file(fmt::format("/dev/fd/{}", ends[0]), options);
}

TEST(BinaryEvents, LayoutIsPinned) {
  const std::string bytes = binary_of({{Operand::y, 5, 0, 2}, {Operand::y, 7, 0, 2}});
  // Header 24, block head 32, bases 16, two u8 offsets padded to 8, one f64; index 16 + 16 + 32.
  ASSERT_EQ(bytes.size(), 24u + 32 + 16 + 8 + 8 + 64);
  const auto number = [&]<class Value>(std::size_t offset, Value value) {
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  };
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x89WEV\r\n\x1a\n"));
  EXPECT_EQ(number(8, std::uint32_t{}), 1u);
  EXPECT_EQ(number(16, std::uint64_t{}), XXH3_64bits(bytes.data(), 16));
  EXPECT_EQ(number(24, std::uint64_t{}), XXH3_64bits(bytes.data() + 32, 56));
  EXPECT_EQ(bytes.substr(32, 4), "EVTS");
  EXPECT_EQ(number(36, std::uint32_t{}), 2u);
  EXPECT_EQ(number(40, std::uint64_t{}), 0u);
  EXPECT_EQ(number(48, std::uint32_t{}), 32u);
  EXPECT_EQ(bytes.substr(52, 4), std::string("\0\1\0\0", 4));
  EXPECT_EQ(number(56, std::uint64_t{}), 5u);
  EXPECT_EQ(number(64, std::uint64_t{}), 0u);
  EXPECT_EQ(bytes.substr(72, 8), std::string("\0\2\0\0\0\0\0\0", 8));
  EXPECT_EQ(number(80, 0.0), 2.0);
  EXPECT_EQ(number(88, std::uint64_t{}), XXH3_64bits(bytes.data() + 96, 56));
  EXPECT_EQ(bytes.substr(96, 4), "INDX");
  EXPECT_EQ(number(104, std::uint64_t{}), 24u);
  EXPECT_EQ(number(120, std::uint64_t{}), 1u);
  EXPECT_EQ(number(128, std::uint64_t{}), 2u);
  EXPECT_EQ(number(136, std::uint64_t{}), 88u);
  EXPECT_EQ(bytes.substr(144), "WEVEND\r\n");
}

RC_GTEST_PROP(BinaryEvents, RoundTrip, ()) {
  const auto count = *rc::gen::inRange<std::size_t>(1, 5000);
  const auto i_bits = *rc::gen::inRange(1, 64);
  const auto delta_kind = *rc::gen::inRange(0, 6);
  const bool mixed = *rc::gen::arbitrary<bool>();
  const auto operand = static_cast<Operand>(*rc::gen::inRange(0, 6));
  auto state = *rc::gen::arbitrary<std::uint64_t>();
  const auto random = [&] { return XXH3_64bits_withSeed(&state, sizeof state, state++); };
  std::vector<Event> events;
  for (std::size_t t = 0; t < count; ++t) {
    Event event;
    event.operand = mixed ? static_cast<Operand>(random() % 6) : operand;
    event.i = random() >> (64 - i_bits);
    if (has_column(event.operand)) event.j = random() % 300;
    const auto word = static_cast<std::int64_t>(random());
    switch (delta_kind) {
      case 0:
        event.delta = -3.5;
        break;
      case 1:
        event.delta = static_cast<double>(word % 128);
        break;
      case 2:
        event.delta = static_cast<double>(word % 32768);
        break;
      case 3:
        event.delta = static_cast<double>(word % 2147483648);
        break;
      case 4:
        event.delta = static_cast<double>(word) / 7;
        break;
      default:
        event.delta = word % 2 == 0 ? 0.0 : -0.0;
        break;
    }
    events.push_back(event);
  }
  const std::string bytes = binary_of(events);
  ReadOptions options;
  options.batch = *rc::gen::inRange<std::size_t>(1, 3000);
  for (std::uint32_t slices = 1; slices <= 7; ++slices) {
    const auto read = read_slices(bytes, options, slices);
    RC_ASSERT(read == events);
    for (std::size_t t = 0; t < count; ++t) RC_ASSERT(std::signbit(read[t].delta) == std::signbit(events[t].delta));
  }
  RC_ASSERT(read_piped(bytes, options) == events);
}

TEST(BinaryEvents, SlicesAreBalanced) {
  std::vector<Event> events;
  for (std::uint64_t t = 0; t < 300000; ++t) events.push_back({Operand::y, t, 0, 1});
  const std::string bytes = binary_of(events);
  ReadOptions options{.slice_count = 4};
  std::vector<Event> all;
  for (options.slice = 0; options.slice < 4; ++options.slice) {
    const auto part = read_text(bytes, options);
    // A slice begins with the first block in its share, and no block is longer than 1/64 of what comes before it, or
    // 1024.
    EXPECT_NEAR(static_cast<double>(part.size()), 75000, 300000.0 / 64);
    all.insert(all.end(), part.begin(), part.end());
  }
  EXPECT_EQ(all, events);
}

std::vector<Event> sample_events() {
  return {{Operand::y, 5, 0, 1}, {Operand::A, 6, 300, 2.5}, {Operand::x, 7, 0, -1}, {Operand::X, 1, 1, 1}};
}

TEST(BinaryEvents, TruncationAnywhereIsFound) {
  for (const auto& events : {sample_events(), std::vector<Event>(3000, {Operand::y, 1, 0, 1})}) {
    const std::string bytes = binary_of(events);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const std::string_view part = std::string_view(bytes).substr(0, length);
      for (const OnError on_error : {OnError::stop, OnError::skip}) {
        const ReadOptions options{.on_error = on_error};
        EXPECT_NE(input_error([&] { (void)read_text(part, options); }), "") << length;
        EXPECT_NE(input_error([&] { (void)read_slices(part, options, 3); }), "") << length;
        EXPECT_NE(input_error([&] { (void)read_piped(part, options); }), "") << length;
      }
    }
    EXPECT_NE(input_error([&] { (void)read_text(bytes + "x"); }), "");
    EXPECT_NE(input_error([&] { (void)read_piped(bytes + "x"); }), "");
  }
}

TEST(BinaryEvents, EveryFlippedBitIsFound) {
  std::string bytes = binary_of(sample_events());
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      for (const OnError on_error : {OnError::stop, OnError::skip}) {
        const ReadOptions options{.on_error = on_error};
        EXPECT_NE(input_error([&] { (void)read_text(bytes, options); }), "") << at;
        EXPECT_NE(input_error([&] { (void)read_slices(bytes, options, 2); }), "") << at;
      }
      if (bit == 0) {
        EXPECT_NE(input_error([&] { (void)read_piped(bytes); }), "") << at;
      }
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
    }
  }
}

TEST(BinaryEvents, MessagesNameTheByte) {
  const std::string bytes = binary_of({{Operand::y, 5, 0, 2}, {Operand::y, 7, 0, 2}});
  const auto message = [](std::string damaged, const ReadOptions& options = {}) {
    return input_error([&] { (void)read_text(damaged, options); });
  };
  const auto with = [&](std::size_t at, std::string_view text) {
    return std::string(bytes).replace(at, text.size(), text);
  };
  EXPECT_EQ(message(with(1, "X")),
            "events: byte 0: the first 8 bytes are damaged; expected the magic of a binary event file");
  EXPECT_EQ(message(with(8, "\2")), "events: byte 0: the header is damaged: wrong checksum");
  EXPECT_EQ(message(with(72, "\1")), "events: byte 24: the block is damaged: wrong checksum");
  EXPECT_EQ(message(with(36, "\x7f")), "events: byte 24: the head of the block is damaged");
  EXPECT_EQ(message(with(104, "\x19")), "events: byte 88: the index is damaged: wrong checksum");
  EXPECT_EQ(message(bytes.substr(0, 151)),
            "events: byte 151: expected the end mark before this byte; the file is truncated or continued");
  EXPECT_EQ(
      message(bytes, {.shapes = {{Operand::y, 7, 1}}}),
      "events: byte 24: event 1 (of the block that begins here): i = 7 is too large: y has 7 entries, counted from 0");
  EXPECT_EQ(
      message(bytes, {.shapes = {{Operand::x, 7, 1}}}),
      "events: byte 24: event 0 (of the block that begins here): y is not an operand of this model, which takes x");

  const auto seal = [](std::string& damaged, std::size_t begin, std::size_t end, std::size_t at) {
    const std::uint64_t checksum = XXH3_64bits(damaged.data() + begin, end - begin);
    std::memcpy(damaged.data() + at, &checksum, sizeof checksum);
  };
  std::string newer = with(8, "\3");
  seal(newer, 0, 16, 16);
  EXPECT_EQ(
      message(newer),
      "events: byte 8: binary event format version 3 is newer than version 2, the latest that this program reads");
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    std::string sealed = bytes;
    std::memcpy(sealed.data() + 80, &bad, sizeof bad);
    seal(sealed, 32, 88, 24);
    EXPECT_EQ(message(sealed),
              fmt::format("events: byte 24: event 0 (of the block that begins here): delta = {} is not finite", bad));
  }
  std::string vector_with_column = bytes;
  vector_with_column[64] = 1;
  seal(vector_with_column, 32, 88, 24);
  EXPECT_EQ(message(vector_with_column),
            "events: byte 24: event 0 (of the block that begins here): indices (5, 1) cannot belong to y");
}

TEST(BinaryEvents, NoEventsIsAnError) {
  const std::string bytes = binary_of({});
  EXPECT_EQ(input_error([&] { (void)read_text(bytes); }), "events: contains no events");
  EXPECT_TRUE(input_error([&] { (void)read_piped(bytes); }).ends_with(": contains no events"));
}

TEST(BinaryEvents, Summary) {
  const TemporaryDirectory directory;
  write_events(directory / "e", std::vector<Event>(2500, {Operand::y, 1, 0, 1}), EventFormat::binary);
  const BinarySummary summary = summarise_binary(directory / "e");
  EXPECT_EQ(summary.version, 1u);
  EXPECT_EQ(summary.blocks, 3u);
  EXPECT_EQ(summary.events, 2500u);
  EXPECT_EQ(summary.bytes, contents_of(directory / "e").size());
  EXPECT_NE(input_error([&] { (void)summarise_binary(directory.write("t", "1,2\n")); }), "");
}

TEST(EventWriter, RefusesWhatNoReaderTakes) {
  const TemporaryDirectory directory;
  for (const EventFormat format : {EventFormat::text, EventFormat::binary}) {
    EventWriter writer(directory / "e", format);
    EXPECT_THROW(writer.write(batch_of({{Operand::y, 0, 0, std::numeric_limits<double>::infinity()}})), UsageError);
    EXPECT_THROW(writer.write(batch_of({{Operand::y, std::uint64_t{1} << 63, 0, 1}})), UsageError);
    EXPECT_THROW(writer.write(batch_of({{Operand::x, 0, 1, 1}})), UsageError);
  }
  EXPECT_FALSE(std::filesystem::exists(directory / "e"));
  EXPECT_THROW(EventWriter((directory / "missing") + "/e", EventFormat::text), InputError);
}

}  // namespace
}  // namespace weir
