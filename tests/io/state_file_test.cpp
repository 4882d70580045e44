#include "weir/io/state_file.hpp"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "io/temporary_directory.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing::contents_of;
using testing::expect_error;
using testing::TemporaryDirectory;

using Bytes = std::vector<std::byte>;

constexpr std::size_t header_size = 48;

State small_state() {
  SketchConfig config;
  config.dimension = 1000;
  config.rows = 1;
  config.buckets = 2;
  config.lanes = 2;
  config.p = 0.5;
  config.randomness = Randomness::kwise;
  config.independence = 7;
  config.seed = 0xFEDC'BA98'7654'3210;
  State state{{"product", 12345678901, 4}, VectorSketch(config)};
  const std::vector<std::uint64_t> keys{3, 999};
  const std::vector<double> deltas{1, -2.5};
  state.sketch.update(keys, deltas);
  return state;
}

template <class Value>
void patch(Bytes& bytes, std::size_t offset, Value value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

/// Makes both checksums right again, as a forger would.
void seal(Bytes& bytes) {
  patch(bytes, 32, XXH64(bytes.data() + header_size, bytes.size() - header_size, state_checksum_seed));
  patch(bytes, 40, XXH64(bytes.data(), 40, state_checksum_seed));
}

void seal_with_length(Bytes& bytes) {
  patch(bytes, 24, std::uint64_t{bytes.size() - header_size});
  seal(bytes);
}

void expect_same(const State& a, const State& b) {
  EXPECT_EQ(a.description, b.description);
  EXPECT_EQ(a.sketch.config(), b.sketch.config());
  EXPECT_TRUE(std::ranges::equal(a.sketch.table(), b.sketch.table(), [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
  }));
}

TEST(StateFile, BytesRoundTrip) {
  const State state = small_state();
  expect_same(deserialise(serialise(state), "bytes"), state);
}

TEST(StateFile, FileRoundTripHoldsTheSerialisedBytes) {
  const TemporaryDirectory directory;
  const State state = small_state();
  const std::string path = directory.file("state.weir");
  save_state(path, state);
  EXPECT_EQ(directory.entries(), 1U);
  const Bytes bytes = serialise(state);
  EXPECT_EQ(contents_of(path), std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  expect_same(load_state(path), state);
}

TEST(StateFile, TableLargerThanAPieceOfTheChecksum) {
  const TemporaryDirectory directory;
  SketchConfig config;
  config.dimension = 1 << 20;
  config.buckets = 4096;
  config.lanes = 8;
  State state{StateDescription(), VectorSketch(config)};
  const std::span<double> table = state.sketch.table();
  for (std::size_t k = 0; k < table.size(); ++k) table[k] = static_cast<double>(k) - 0.5;
  ASSERT_GT(table.size_bytes(), std::size_t{1} << 20);
  save_state(directory.file("large.weir"), state);
  expect_same(load_state(directory.file("large.weir")), state);
}

// The layout that the header file draws, byte by byte.
TEST(StateFile, LayoutIsAsDocumented) {
  const State state = small_state();
  const Bytes bytes = serialise(state);
  const auto at = [&]<class Value>(std::size_t offset, Value) {
    Value value;
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
    return value;
  };
  constexpr std::uint8_t u8 = 0;
  constexpr std::uint32_t u32 = 0;
  constexpr std::uint64_t u64 = 0;
  EXPECT_EQ(std::memcmp(bytes.data(), "\x89WEIR\r\n\x1a", 8), 0);
  EXPECT_EQ(at(8, u32), 1U);
  EXPECT_EQ(at(12, u32), 48U);
  EXPECT_EQ(at(16, u32), 1U);
  EXPECT_EQ(at(20, u32), 0U);
  EXPECT_EQ(at(24, u64), bytes.size() - 48);
  EXPECT_EQ(at(32, u64), XXH64(bytes.data() + 48, bytes.size() - 48, state_checksum_seed));
  EXPECT_EQ(at(40, u64), XXH64(bytes.data(), 40, state_checksum_seed));

  const std::size_t payload = 48;
  const std::size_t m = 7;
  EXPECT_EQ(at(payload, u8), 1);
  EXPECT_EQ(at(payload + 1, u32), m);
  EXPECT_EQ(std::memcmp(bytes.data() + payload + 5, "product", m), 0);
  EXPECT_EQ(at(payload + m + 5, u64), 12345678901U);
  EXPECT_EQ(at(payload + m + 13, u64), 4U);
  EXPECT_EQ(at(payload + m + 21, u64), 1000U);
  EXPECT_EQ(at(payload + m + 29, u32), 1U);
  EXPECT_EQ(at(payload + m + 33, u64), 2U);
  EXPECT_EQ(at(payload + m + 41, u32), 2U);
  EXPECT_EQ(at(payload + m + 45, u32), 1U);
  EXPECT_EQ(at(payload + m + 49, u8), 0);
  EXPECT_EQ(at(payload + m + 50, 0.0), 0.5);
  EXPECT_EQ(at(payload + m + 58, u8), 1);
  EXPECT_EQ(at(payload + m + 59, u32), 7U);
  EXPECT_EQ(at(payload + m + 63, u64), 0xFEDC'BA98'7654'3210U);
  EXPECT_EQ(at(payload + m + 71, u64), state.sketch.config().fingerprint());
  EXPECT_EQ(bytes.size(), payload + m + 79 + state.sketch.table().size_bytes());
  EXPECT_EQ(
      std::memcmp(bytes.data() + payload + m + 79, state.sketch.table().data(), state.sketch.table().size_bytes()), 0);
}

TEST(StateFile, TruncationAtEveryByteIsRefused) {
  const Bytes bytes = serialise(small_state());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THROW((void)deserialise(std::span(bytes).first(length), "cut"), InputError) << "at " << length;
  }
}

TEST(StateFile, EveryFlippedBitIsRefused) {
  Bytes bytes = serialise(small_state());
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    const std::byte mask{static_cast<unsigned char>(1U << (bit % 8))};
    bytes[bit / 8] ^= mask;
    EXPECT_THROW((void)deserialise(bytes, "flipped"), InputError) << "bit " << bit;
    bytes[bit / 8] ^= mask;
  }
  EXPECT_NO_THROW((void)deserialise(bytes, "whole"));
}

TEST(StateFile, TruncatedAndDamagedFilesAreRefused) {
  const TemporaryDirectory directory;
  const Bytes bytes = serialise(small_state());
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (std::size_t k = 0; k < text.size(); ++k) {
    const std::string cut = directory.write("cut.weir", std::string_view(text).substr(0, k));
    EXPECT_THROW((void)load_state(cut), InputError) << k;
    std::string damaged = text;
    damaged[k] = static_cast<char>(damaged[k] ^ 0x10);
    EXPECT_THROW((void)load_state(directory.write("damaged.weir", damaged)), InputError) << k;
  }
  expect_error([&] { (void)load_state(directory.write("long.weir", text + "x")); }, {"long.weir", "trailing bytes"});
}

TEST(StateFile, SaysWhatIsWrongWithTheFile) {
  const TemporaryDirectory directory;
  expect_error([&] { (void)load_state(directory.file("none.weir")); }, {"none.weir", "No such file"});
  expect_error([&] { (void)load_state(directory.path().string()); }, {"directory"});
  expect_error([&] { (void)load_state(directory.write("empty.weir", "")); }, {"empty.weir", "empty"});
  expect_error([&] { (void)load_state(directory.write("text.csv", "1,2\n3,4\n")); }, {"text.csv", "not a weir state"});
}

TEST(StateFile, OtherVersionsAndKindsAreRefused) {
  const Bytes good = serialise(small_state());
  Bytes bytes = good;
  patch(bytes, 8, std::uint32_t{3});
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "new.weir"); },
               {"new.weir: state format version 3; this build reads up to 1"});
  patch(bytes, 8, std::uint32_t{0});
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "old"); }, {"state format version 0"});
  for (const auto& [offset, part] : {std::pair<std::size_t, std::string_view>{12, "header of 48 bytes"},
                                     {16, "unknown kind of state"},
                                     {20, "expected 0 at byte 20"}}) {
    bytes = good;
    patch(bytes, offset, std::uint32_t{77});
    seal(bytes);
    expect_error([&] { (void)deserialise(bytes, "forged"); }, {"forged", part, "77"});
  }
}

// Checksums are right, contents are not: what a forger or a faulty writer could produce.
TEST(StateFile, ForgedPayloadsAreRefused) {
  const Bytes good = serialise(small_state());
  const std::size_t config = header_size + 7 + 21;
  const auto forged = [&](std::size_t offset, auto value, std::initializer_list<std::string_view> parts) {
    Bytes bytes = good;
    patch(bytes, offset, value);
    seal(bytes);
    expect_error([&] { (void)deserialise(bytes, "forged"); }, parts);
  };
  forged(header_size + 1, std::uint32_t{0xFFFFFFFF}, {"forged", "model name"});
  forged(header_size + 1, std::uint32_t{6}, {"unknown model 'produc'"});
  forged(config, std::uint64_t{0}, {"dimension is 0"});
  forged(config + 12, std::uint64_t{1} << 32, {"another construction"});
  forged(config + 28, std::uint8_t{9}, {"law"});
  forged(config + 29, std::numeric_limits<double>::quiet_NaN(), {"p is nan"});
  forged(config + 37, std::uint8_t{9}, {"randomness"});
  forged(config + 50, std::uint64_t{1}, {"another construction"});
  forged(good.size() - 8, std::numeric_limits<double>::infinity(), {"finite cells", "cell 3"});

  // A table of 2^32 buckets in a file of some hundred bytes must be refused before anything is allocated.
  SketchConfig huge = small_state().sketch.config();
  huge.buckets = std::uint64_t{1} << 32;
  Bytes bytes = good;
  patch(bytes, config + 12, huge.buckets);
  patch(bytes, config + 50, huge.fingerprint());
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "huge"); }, {"expected a table of 8589934592 cells, found 32 bytes"});

  for (const std::size_t length : {good.size() - 8, good.size() - 1, good.size() - 40, header_size + 3, header_size}) {
    bytes = good;
    bytes.resize(length);
    seal_with_length(bytes);
    EXPECT_THROW((void)deserialise(bytes, "short"), InputError) << length;
  }
  bytes = good;
  bytes.resize(good.size() + 8);
  seal_with_length(bytes);
  expect_error([&] { (void)deserialise(bytes, "long"); }, {"expected a table of 4 cells, found 40 bytes"});
}

TEST(StateFile, WillNotWriteWhatItWouldNotRead) {
  const TemporaryDirectory directory;
  State state = small_state();
  state.description.model = "tensor";
  expect_error<UsageError>([&] { (void)serialise(state); }, {"unknown model 'tensor'"});
  state = small_state();
  state.sketch.table()[1] = std::numeric_limits<double>::infinity();
  expect_error([&] { save_state(directory.file("x.weir"), state); }, {"x.weir", "cell 1"});
  EXPECT_EQ(directory.entries(), 0U);
  expect_error([&] { save_state(directory.file("missing/x.weir"), small_state()); },
               {"missing/x.weir", "No such file"});
  expect_error([] { save_state("/dev/full", small_state()); }, {"/dev/full", "No space left"});
}

}  // namespace
}  // namespace weir
