#include "weir/io/state_file.hpp"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <variant>
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

SketchConfig small_config() {
  SketchConfig config;
  config.dimension = 1000;
  config.rows = 1;
  config.buckets = 2;
  config.lanes = 2;
  config.p = 0.5;
  config.randomness = Randomness::kwise;
  config.independence = 7;
  config.seed = 0xFEDC'BA98'7654'3210;
  return config;
}

State small_state() {
  VectorSketch sketch(small_config());
  sketch.update(std::vector<std::uint64_t>{3, 999}, std::vector<double>{1, -2.5});
  return {{"product", 12345678901, 4}, std::move(sketch)};
}

State small_product_state(std::uint32_t degree = 2) {
  ProductSketch sketch(small_config(), 2, degree);  // five columns, or two
  sketch.a.update_rows(
      std::vector<std::uint64_t>{3, 999}, std::vector<double>{1, -1},
      degree == 2 ? std::vector<double>{1, -2.5, 1, -2.5, 6.25, 3, 0, 9, 0, 0} : std::vector<double>{1, -2.5, 3, 0});
  sketch.x = {0.5, -3};
  return {{"product", 12345678901, 4}, std::move(sketch)};
}

VectorSketch& vector_in(State& state) { return std::get<VectorSketch>(state.sketch); }
std::span<const double> table_of(const State& state) {
  const auto* product = std::get_if<ProductSketch>(&state.sketch);
  return product != nullptr ? product->a.table() : std::get<VectorSketch>(state.sketch).table();
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

bool same_bits(std::span<const double> a, std::span<const double> b) {
  return std::ranges::equal(
      a, b, [](double x, double y) { return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y); });
}

void expect_same(const State& a, const State& b) {
  EXPECT_EQ(a.description, b.description);
  EXPECT_EQ(describe_difference(a, b), "");
  EXPECT_TRUE(same_bits(table_of(a), table_of(b)));
  if (const auto* product = std::get_if<ProductSketch>(&a.sketch)) {
    EXPECT_TRUE(same_bits(product->x, std::get<ProductSketch>(b.sketch).x));
  }
}

TEST(StateFile, BytesRoundTrip) {
  for (const State& state : {small_state(), small_product_state()}) {
    expect_same(deserialise(serialise(state), "bytes"), state);
  }
}

TEST(StateFile, FileRoundTripHoldsTheSerialisedBytes) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("state.weir");
  for (const State& state : {small_state(), small_product_state()}) {
    save_state(path, state);
    EXPECT_EQ(directory.entries(), 1U);
    const Bytes bytes = serialise(state);
    EXPECT_EQ(contents_of(path), std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    expect_same(load_state(path), state);
  }
}

TEST(StateFile, TableLargerThanAPieceOfTheChecksum) {
  const TemporaryDirectory directory;
  SketchConfig config;
  config.dimension = 1 << 20;
  config.buckets = 4096;
  config.lanes = 8;
  State state{StateDescription(), VectorSketch(config)};
  const std::span<double> table = vector_in(state).table();
  for (std::size_t k = 0; k < table.size(); ++k) table[k] = static_cast<double>(k) - 0.5;
  ASSERT_GT(table.size_bytes(), std::size_t{1} << 20);
  save_state(directory.file("large.weir"), state);
  expect_same(load_state(directory.file("large.weir")), state);
}

template <class Value>
Value read_at(const Bytes& bytes, std::size_t offset) {
  Value value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

constexpr std::size_t m = 7;  // length of "product"

/// The layout that the header file draws, byte by byte, up to the fingerprint.
void expect_preamble_as_documented(const Bytes& bytes, std::uint32_t kind) {
  const auto u32 = [&](std::size_t offset) { return read_at<std::uint32_t>(bytes, offset); };
  const auto u64 = [&](std::size_t offset) { return read_at<std::uint64_t>(bytes, offset); };
  EXPECT_EQ(std::memcmp(bytes.data(), "\x89WEIR\r\n\x1a", 8), 0);
  EXPECT_EQ(u32(8), 1U);
  EXPECT_EQ(u32(12), 48U);
  EXPECT_EQ(u32(16), kind);
  EXPECT_EQ(u32(20), 0U);
  EXPECT_EQ(u64(24), bytes.size() - 48);
  EXPECT_EQ(u64(32), XXH64(bytes.data() + 48, bytes.size() - 48, state_checksum_seed));
  EXPECT_EQ(u64(40), XXH64(bytes.data(), 40, state_checksum_seed));

  const std::size_t payload = 48;
  EXPECT_EQ(read_at<std::uint8_t>(bytes, payload), 1);
  EXPECT_EQ(u32(payload + 1), m);
  EXPECT_EQ(std::memcmp(bytes.data() + payload + 5, "product", m), 0);
  EXPECT_EQ(u64(payload + m + 5), 12345678901U);
  EXPECT_EQ(u64(payload + m + 13), 4U);
  EXPECT_EQ(u64(payload + m + 21), 1000U);
  EXPECT_EQ(u32(payload + m + 29), 1U);
  EXPECT_EQ(u64(payload + m + 33), 2U);
  EXPECT_EQ(u32(payload + m + 41), 2U);
  EXPECT_EQ(u32(payload + m + 45), 1U);
  EXPECT_EQ(read_at<std::uint8_t>(bytes, payload + m + 49), 0);
  EXPECT_EQ(read_at<double>(bytes, payload + m + 50), 0.5);
  EXPECT_EQ(read_at<std::uint8_t>(bytes, payload + m + 58), 1);
  EXPECT_EQ(u32(payload + m + 59), 7U);
  EXPECT_EQ(u64(payload + m + 63), 0xFEDC'BA98'7654'3210U);
  EXPECT_EQ(u64(payload + m + 71), small_config().fingerprint());
}

void expect_doubles_at(const Bytes& bytes, std::size_t offset, std::span<const double> expected) {
  ASSERT_GE(bytes.size(), offset + expected.size_bytes());
  EXPECT_EQ(std::memcmp(bytes.data() + offset, expected.data(), expected.size_bytes()), 0);
}

TEST(StateFile, LayoutIsAsDocumented) {
  const State state = small_state();
  const Bytes bytes = serialise(state);
  expect_preamble_as_documented(bytes, 1);
  EXPECT_EQ(bytes.size(), 48 + m + 79 + table_of(state).size_bytes());
  expect_doubles_at(bytes, 48 + m + 79, table_of(state));
}

TEST(StateFile, LayoutOfAProductIsAsDocumented) {
  const State state = small_product_state();
  const Bytes bytes = serialise(state);
  expect_preamble_as_documented(bytes, 2);
  EXPECT_EQ(read_at<std::uint64_t>(bytes, 48 + m + 79), 2U);
  EXPECT_EQ(read_at<std::uint32_t>(bytes, 48 + m + 87), 2U);
  expect_doubles_at(bytes, 48 + m + 91, std::vector<double>{0.5, -3});
  EXPECT_EQ(bytes.size(), 48 + m + 91 + 8 * 2 + 8 * 4 * 5);  // R B L = 4
  expect_doubles_at(bytes, 48 + m + 91 + 8 * 2, table_of(state));
}

TEST(StateFile, TruncationAtEveryByteIsRefused) {
  for (const State& state : {small_state(), small_product_state()}) {
    const Bytes bytes = serialise(state);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_THROW((void)deserialise(std::span(bytes).first(length), "cut"), InputError) << "at " << length;
    }
  }
}

TEST(StateFile, EveryFlippedBitIsRefused) {
  for (const State& state : {small_state(), small_product_state()}) {
    Bytes bytes = serialise(state);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      const std::byte mask{static_cast<unsigned char>(1U << (bit % 8))};
      bytes[bit / 8] ^= mask;
      EXPECT_THROW((void)deserialise(bytes, "flipped"), InputError) << "bit " << bit;
      bytes[bit / 8] ^= mask;
    }
    EXPECT_NO_THROW((void)deserialise(bytes, "whole"));
  }
}

TEST(StateFile, TruncatedAndDamagedFilesAreRefused) {
  const TemporaryDirectory directory;
  for (const State& state : {small_state(), small_product_state()}) {
    const Bytes bytes = serialise(state);
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
  SketchConfig huge = small_config();
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

TEST(StateFile, ForgedProductsAreRefused) {
  const Bytes good = serialise(small_product_state());
  const std::size_t shape = header_size + m + 79;
  const auto forged = [&](std::size_t offset, auto value, std::initializer_list<std::string_view> parts) {
    Bytes bytes = good;
    patch(bytes, offset, value);
    seal(bytes);
    expect_error([&] { (void)deserialise(bytes, "forged"); }, parts);
  };
  forged(16, std::uint32_t{1}, {"expected a table of 4 cells, found 188 bytes"});  // read as a vector sketch
  forged(shape, std::uint64_t{0}, {"forged: not a sketch: ", "0 columns"});
  forged(shape, std::uint64_t{3}, {"expected an x of 3 entries and a table of 36 cells, found 176 bytes"});
  forged(shape, std::uint64_t{1} << 30, {"not a sketch", "2^32"});
  forged(shape, std::uint64_t{1} << 32, {"not a sketch", "2^32"});
  forged(shape, std::numeric_limits<std::uint64_t>::max(), {"not a sketch", "2^32"});
  forged(shape + 8, std::uint32_t{0}, {"not a sketch: degree is 0"});
  forged(shape + 8, std::uint32_t{3}, {"not a sketch: degree is 3"});
  forged(shape + 8, std::uint32_t{1}, {"expected an x of 2 entries and a table of 8 cells, found 176 bytes"});
  forged(shape + 12, std::numeric_limits<double>::quiet_NaN(), {"finite entries of x", "entry 0"});
  forged(shape + 20, -std::numeric_limits<double>::infinity(), {"finite entries of x", "entry 1"});
  forged(good.size() - 8, std::numeric_limits<double>::infinity(), {"finite cells in the table", "cell 19"});

  // Many gigabytes promised by a file of some hundred bytes: refused before anything is allocated.
  Bytes bytes = good;
  patch(bytes, shape, std::uint64_t{2147483647});
  patch(bytes, shape + 8, std::uint32_t{1});
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "huge"); },
               {"expected an x of 2147483647 entries and a table of 8589934588 cells, found 176 bytes"});

  for (const std::size_t length :
       {good.size() - 8, good.size() - 1, shape + 28, shape + 12, shape + 11, shape + 3, shape}) {
    bytes = good;
    bytes.resize(length);
    seal_with_length(bytes);
    EXPECT_THROW((void)deserialise(bytes, "short"), InputError) << length;
  }
  bytes = good;
  bytes.resize(good.size() + 8);
  seal_with_length(bytes);
  expect_error([&] { (void)deserialise(bytes, "long"); }, {"found 184 bytes"});

  bytes = good;
  bytes.erase(bytes.begin() + header_size + 5);  // "product", one byte shorter
  patch(bytes, header_size + 1, std::uint32_t{6});
  std::memcpy(bytes.data() + header_size + 5, "vector", 6);
  seal_with_length(bytes);
  expect_error([&] { (void)deserialise(bytes, "mixed"); },
               {"mixed: expected the model product with A and x, found vector"});
}

TEST(StateFile, ProductsAreMultipliedOut) {
  State vector = small_state();
  State product = small_product_state();
  const VectorSketch y = std::get<ProductSketch>(product.sketch).y();
  multiply_out(product);
  EXPECT_TRUE(same_bits(std::get<VectorSketch>(product.sketch).table(), y.table()));
  multiply_out(vector);
  expect_same(vector, small_state());
}

TEST(StateFile, ProductsCombineOperandByOperandOrByTheirY) {
  // Two queries x against one A: states of the same rows.
  State first = small_product_state(1);
  State second = small_product_state(1);
  std::get<ProductSketch>(second.sketch).x = {2, 1};
  const ProductSketch a = std::get<ProductSketch>(first.sketch);
  const ProductSketch b = std::get<ProductSketch>(second.sketch);

  State operands = first;
  add(operands, second, 3);
  EXPECT_EQ(operands.description.updates, 2 * 12345678901U);
  const ProductSketch& sum = std::get<ProductSketch>(operands.sketch);
  EXPECT_EQ(sum.x, (std::vector<double>{6.5, 0}));
  MatrixSketch rows = a.a;
  rows.add(b.a, 3);
  EXPECT_TRUE(same_bits(sum.a.table(), rows.table()));
  scale(operands, 2);
  EXPECT_EQ(std::get<ProductSketch>(operands.sketch).x, (std::vector<double>{13, 0}));

  // A (x - x') is a difference of vectors, not of operands: there A - A would be zero.
  multiply_out(first);
  multiply_out(second);
  add(first, second, -1);
  ProductSketch difference = a;
  for (std::size_t j = 0; j < 2; ++j) difference.x[j] -= b.x[j];
  EXPECT_FALSE(difference.y().is_zero());
  EXPECT_TRUE(same_bits(std::get<VectorSketch>(first.sketch).table(), difference.y().table()));
}

TEST(StateFile, RowsWithTheirSquaresAreAddedAndSubtractedOnly) {
  State state = small_product_state();
  expect_error([&] { scale(state, 2); }, {"rows and their squares cannot both be multiplied by 2"});
  expect_error([&] { scale(state, -1); }, {"multiplied by -1"});
  expect_error([&] { add(state, small_product_state(), 0.5); }, {"added or subtracted, not multiplied by 0.5"});
  expect_same(state, small_product_state());
  scale(state, 1);
  add(state, small_product_state(), 1);
  add(state, small_product_state(), -1);
  EXPECT_TRUE(same_bits(table_of(state), table_of(small_product_state())));
}

TEST(StateFile, StatesOfOtherKindsAndShapesDoNotCombine) {
  State vector = small_state();
  State product = small_product_state();
  expect_error([&] { add(vector, product, 1); }, {"what they hold: a vector against A and x of a product"});
  expect_error([&] { add(product, vector, 1); }, {"what they hold: A and x of a product against a vector"});
  expect_error([&] { add(product, {{}, ProductSketch(small_config(), 5)}, 1); }, {"degree: 2 against 1"});
  expect_error([&] { add(product, {{}, ProductSketch(small_config(), 3, 2)}, 1); }, {"columns: 2 against 3"});
  SketchConfig other = small_config();
  other.seed = 1;
  expect_error([&] { add(vector, {{}, VectorSketch(other)}, 1); }, {"seed"});
  expect_error([&] { add(product, {{}, ProductSketch(other, 2, 2)}, 1); }, {"seed"});
  expect_same(vector, small_state());
  expect_same(product, small_product_state());
  multiply_out(product);
  EXPECT_NO_THROW(add(product, vector, 1));
}

TEST(StateFile, WillNotWriteWhatItWouldNotRead) {
  const TemporaryDirectory directory;
  State state = small_state();
  state.description.model = "tensor";
  expect_error<UsageError>([&] { (void)serialise(state); }, {"unknown model 'tensor'"});
  state = small_product_state();
  state.description.model = "vector";
  expect_error<UsageError>([&] { (void)serialise(state); }, {"cannot write A and x as a state of the model vector"});
  state = small_state();
  vector_in(state).table()[1] = std::numeric_limits<double>::infinity();
  expect_error([&] { save_state(directory.file("x.weir"), state); }, {"x.weir", "cell 1"});
  state = small_product_state();
  std::get<ProductSketch>(state.sketch).x[1] = std::numeric_limits<double>::quiet_NaN();
  expect_error([&] { save_state(directory.file("x.weir"), state); }, {"x.weir", "finite entries of x", "entry 1"});
  state = small_product_state();
  std::get<ProductSketch>(state.sketch).a.table()[7] = std::numeric_limits<double>::quiet_NaN();
  expect_error([&] { save_state(directory.file("x.weir"), state); }, {"x.weir", "cell 7"});
  EXPECT_EQ(directory.entries(), 0U);
  expect_error([&] { save_state(directory.file("missing/x.weir"), small_state()); },
               {"missing/x.weir", "No such file"});
  expect_error([] { save_state("/dev/full", small_state()); }, {"/dev/full", "No space left"});
}

}  // namespace
}  // namespace weir
