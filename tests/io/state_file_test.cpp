#include "weir/io/state_file.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::contents_of;
using testing_support::expect_error;
using testing_support::TemporaryDirectory;

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

/// As Algorithm 2 has it.
SketchConfig precision_config() {
  SketchConfig config = small_config();
  config.law = ScaleLaw::uniform;
  config.p = 2;
  return config;
}

State small_precision_state() {
  VectorSketch sketch(precision_config());
  sketch.update(std::vector<std::uint64_t>{3, 999}, std::vector<double>{1, -2.5});
  return {{.model = "product", .updates = 12345678901, .ranks = 4, .precision = {{0.25, 1.5}}}, std::move(sketch)};
}

State small_product_state(std::uint32_t degree = 2, OperandSet fixed = {}) {
  ProductSketch sketch(small_config(), 2, degree);  // five columns, or two
  sketch.a.update_rows(
      std::vector<std::uint64_t>{3, 999}, std::vector<double>{1, -1},
      degree == 2 ? std::vector<double>{1, -2.5, 1, -2.5, 6.25, 3, 0, 9, 0, 0} : std::vector<double>{1, -2.5, 3, 0});
  sketch.x = {0.5, -3};
  return {{.model = "product", .updates = 12345678901, .ranks = 4, .fixed = fixed}, std::move(sketch)};
}

/// For the law |y_i|^4 with x fixed: rows of one number, and 1 in the place of x.
State small_lifted_state() {
  ProductSketch sketch(small_config(), 1, 2);
  sketch.a.update_rows(std::vector<std::uint64_t>{3, 999}, std::vector<double>{1, 1},
                       std::vector<double>{-2, 4, 5, 25});
  sketch.x = {1};
  return {{.model = "product", .updates = 12345678901, .ranks = 4, .fixed = {Operand::x}}, std::move(sketch)};
}

SketchConfig matrix_config() {
  SketchConfig config = small_config();
  config.levels = 2;
  config.row_length = 8;
  return config;
}

State small_matrix_state() {
  VectorSketch sketch(matrix_config());
  sketch.update(std::vector<std::uint64_t>{3, 999}, std::vector<double>{1, -2.5});
  return {{"kronecker", 12345678901, 4, true}, std::move(sketch)};
}

State small_rows_state(bool exact = true) {
  RowsSketch sketch(small_config(), 2, {.buckets = 4, .exact = exact});
  sketch.update_rows(std::vector<std::uint64_t>{3, 999}, std::vector<double>{1, -1},
                     std::vector<double>{1, -2.5, 3, 0});
  return {{"rows", 12345678901, 4}, std::move(sketch)};
}

constexpr KroneckerShape small_shape{.n1 = 1000, .n2 = std::uint64_t{1} << 60, .d1 = 2, .d2 = 3};

State small_kronecker_state(bool exact = true, OperandSet fixed = {}) {
  KroneckerSketch sketch(small_shape, small_config(), {.buckets = 4, .exact = exact});
  sketch.a1.update_rows(std::vector<std::uint64_t>{3, 999}, std::vector<double>{1, -1},
                        std::vector<double>{1, -2.5, 3, 0});
  sketch.a2.update_rows(std::vector<std::uint64_t>{0, (std::uint64_t{1} << 60) - 1}, std::vector<double>{1, 1},
                        std::vector<double>{0.5, 0, -1, 7, 8, 9});
  sketch.x = {1, 2, 3, -4, -5, 0.125};
  sketch.x_events = 7;
  return {{.model = "kronecker", .updates = 12345678901, .ranks = 4, .fixed = fixed}, std::move(sketch)};
}

/// One of every kind, and of every variety of a kind.
std::vector<State> all_states() {
  return {small_state(),
          small_precision_state(),
          small_product_state(1, {Operand::A}),
          small_product_state(2),
          small_lifted_state(),
          small_matrix_state(),
          small_rows_state(true),
          small_rows_state(false),
          small_kronecker_state(true),
          small_kronecker_state(false, {Operand::A1, Operand::X})};
}

VectorSketch& vector_in(State& state) { return std::get<VectorSketch>(state.sketch); }
RowsSketch& rows_in(State& state) { return std::get<RowsSketch>(state.sketch); }
KroneckerSketch& kronecker_in(State& state) { return std::get<KroneckerSketch>(state.sketch); }

std::span<const double> table_of(const State& state) {
  const auto* product = std::get_if<ProductSketch>(&state.sketch);
  return product != nullptr ? product->a.table() : std::get<VectorSketch>(state.sketch).table();
}

/// All numbers of a state, in the order of the format.
std::vector<double> numbers_of(const State& state) {
  std::vector<double> numbers;
  const auto append = [&](std::span<const double> more) { numbers.insert(numbers.end(), more.begin(), more.end()); };
  const auto append_rows = [&](const RowsSketch& rows) {
    append(rows.draws.table());
    append(rows.wide.table());
    append(rows.exact_gram);
  };
  if (const auto* rows = std::get_if<RowsSketch>(&state.sketch)) {
    append_rows(*rows);
  } else if (const auto* kronecker = std::get_if<KroneckerSketch>(&state.sketch)) {
    numbers.push_back(kronecker->x_events);
    append(kronecker->x);
    append_rows(kronecker->a1);
    append_rows(kronecker->a2);
  } else {
    if (const auto* product = std::get_if<ProductSketch>(&state.sketch)) append(product->x);
    append(table_of(state));
  }
  return numbers;
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
  EXPECT_TRUE(same_bits(numbers_of(a), numbers_of(b)));
}

TEST(StateFile, BytesRoundTrip) {
  for (const State& state : all_states()) {
    expect_same(deserialise(serialise(state), "bytes"), state);
  }
}

TEST(StateFile, FileRoundTripHoldsTheSerialisedBytes) {
  const TemporaryDirectory directory;
  const std::string path = directory / "state.weir";
  for (const State& state : all_states()) {
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
  save_state(directory / "large.weir", state);
  expect_same(load_state(directory / "large.weir"), state);
}

template <class Value>
Value read_at(const Bytes& bytes, std::size_t offset) {
  Value value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

constexpr std::size_t m = 7;  // length of "product"

/// The layout that the header file draws, byte by byte, up to the seed. The rest is what was saved.
void expect_preamble_as_documented(const Bytes& bytes, std::uint32_t kind, const std::string& model = "product",
                                   const SketchConfig& config = small_config(), std::uint8_t fixed = 0,
                                   const PrecisionTarget& target = {}) {
  const auto u32 = [&](std::size_t offset) { return read_at<std::uint32_t>(bytes, offset); };
  const auto u64 = [&](std::size_t offset) { return read_at<std::uint64_t>(bytes, offset); };
  EXPECT_EQ(std::memcmp(bytes.data(), "\x89WEIR\r\n\x1a", 8), 0);
  EXPECT_EQ(u32(8), 2U);
  EXPECT_EQ(u32(12), 48U);
  EXPECT_EQ(u32(16), kind);
  EXPECT_EQ(u32(20), 0U);
  EXPECT_EQ(u64(24), bytes.size() - 48);
  EXPECT_EQ(u64(32), XXH64(bytes.data() + 48, bytes.size() - 48, state_checksum_seed));
  EXPECT_EQ(u64(40), XXH64(bytes.data(), 40, state_checksum_seed));

  const std::size_t payload = 48;
  const std::size_t M = model.size();
  EXPECT_EQ(read_at<std::uint8_t>(bytes, payload), 1);
  EXPECT_EQ(u32(payload + 1), M);
  EXPECT_EQ(std::memcmp(bytes.data() + payload + 5, model.data(), M), 0);
  EXPECT_EQ(u64(payload + M + 5), 12345678901U);
  EXPECT_EQ(u64(payload + M + 13), 4U);
  EXPECT_EQ(read_at<std::uint8_t>(bytes, payload + M + 21), fixed);
  EXPECT_EQ(read_at<double>(bytes, payload + M + 22), target.epsilon);
  EXPECT_EQ(read_at<double>(bytes, payload + M + 30), target.constant);
  EXPECT_EQ(u64(payload + M + 38), 1000U);
  EXPECT_EQ(u32(payload + M + 46), 1U);
  EXPECT_EQ(u64(payload + M + 50), 2U);
  EXPECT_EQ(u32(payload + M + 58), 2U);
  EXPECT_EQ(u32(payload + M + 62), config.levels);
  EXPECT_EQ(read_at<std::uint8_t>(bytes, payload + M + 66), config.law == ScaleLaw::uniform ? 1 : 0);
  EXPECT_EQ(read_at<double>(bytes, payload + M + 67), config.p);
  EXPECT_EQ(read_at<std::uint8_t>(bytes, payload + M + 75), 1);
  EXPECT_EQ(u32(payload + M + 76), 7U);
  EXPECT_EQ(u64(payload + M + 80), 0xFEDC'BA98'7654'3210U);
  if (config.row_length == 0) {
    EXPECT_EQ(u64(payload + M + 88), config.fingerprint());
  }
}

void expect_doubles_at(const Bytes& bytes, std::size_t offset, std::span<const double> expected) {
  ASSERT_GE(bytes.size(), offset + expected.size_bytes());
  EXPECT_TRUE(std::ranges::equal(std::span(bytes).subspan(offset, expected.size_bytes()), std::as_bytes(expected)));
}

TEST(StateFile, LayoutIsAsDocumented) {
  const State state = small_state();
  const Bytes bytes = serialise(state);
  expect_preamble_as_documented(bytes, 1);
  EXPECT_EQ(bytes.size(), 48 + m + 96 + table_of(state).size_bytes());
  expect_doubles_at(bytes, 48 + m + 96, table_of(state));
}

TEST(StateFile, LayoutOfAlgorithmTwoIsAsDocumented) {
  const State state = small_precision_state();
  const Bytes bytes = serialise(state);
  expect_preamble_as_documented(bytes, 1, "product", precision_config(), 0, {0.25, 1.5});
  expect_doubles_at(bytes, 48 + m + 96, table_of(state));
}

TEST(StateFile, LayoutOfFixedOperandsIsAsDocumented) {
  constexpr std::uint8_t x = 2, A = 4, A1 = 8, A2 = 16, X = 32;
  expect_preamble_as_documented(serialise(small_lifted_state()), 2, "product", small_config(), x);
  expect_preamble_as_documented(serialise(small_product_state(2, {Operand::A})), 2, "product", small_config(), A);
  for (const auto& [operands, bits] :
       {std::pair<OperandSet, std::uint8_t>{{Operand::A1}, A1}, {{Operand::A2, Operand::X}, A2 + X}})
    expect_preamble_as_documented(serialise(small_kronecker_state(true, operands)), 5, "kronecker", small_config(),
                                  bits);
}

TEST(StateFile, LayoutOfAProductIsAsDocumented) {
  const State state = small_product_state();
  const Bytes bytes = serialise(state);
  expect_preamble_as_documented(bytes, 2);
  EXPECT_EQ(read_at<std::uint64_t>(bytes, 48 + m + 96), 2U);
  EXPECT_EQ(read_at<std::uint32_t>(bytes, 48 + m + 104), 2U);
  expect_doubles_at(bytes, 48 + m + 108, std::vector<double>{0.5, -3});
  EXPECT_EQ(bytes.size(), 48 + m + 108 + 8 * 2 + 8 * 4 * 5);  // R B L = 4
  expect_doubles_at(bytes, 48 + m + 108 + 8 * 2, table_of(state));
}

TEST(StateFile, LayoutOfAMatrixIsAsDocumented) {
  const State state = small_matrix_state();
  const Bytes bytes = serialise(state);
  expect_preamble_as_documented(bytes, 3, "kronecker", matrix_config());
  const std::size_t end_of_seed = 48 + 9 + 88;
  EXPECT_EQ(read_at<std::uint64_t>(bytes, end_of_seed), 8U);
  EXPECT_EQ(read_at<std::uint8_t>(bytes, end_of_seed + 8), 1);
  EXPECT_EQ(read_at<std::uint64_t>(bytes, end_of_seed + 9), matrix_config().fingerprint());
  EXPECT_EQ(bytes.size(), end_of_seed + 17 + 8 * matrix_config().table_size());
  expect_doubles_at(bytes, end_of_seed + 17, table_of(state));
}

TEST(StateFile, LayoutOfRowsIsAsDocumented) {
  for (const bool exact : {true, false}) {
    State state = small_rows_state(exact);
    const Bytes bytes = serialise(state);
    expect_preamble_as_documented(bytes, 4, "rows");
    const std::size_t M = 48 + 4;
    EXPECT_EQ(read_at<std::uint64_t>(bytes, M + 96), 2U);
    EXPECT_EQ(read_at<std::uint64_t>(bytes, M + 104), 4U);
    EXPECT_EQ(read_at<std::uint8_t>(bytes, M + 112), exact ? 1 : 0);
    EXPECT_EQ(read_at<std::uint64_t>(bytes, M + 113), rows_in(state).fingerprint());
    expect_doubles_at(bytes, M + 121, rows_in(state).draws.table());         // m d = 4 * 2
    expect_doubles_at(bytes, M + 121 + 8 * 8, rows_in(state).wide.table());  // R G d = 1 * 4 * 2
    expect_doubles_at(bytes, M + 121 + 8 * 16, rows_in(state).exact_gram);
    EXPECT_EQ(bytes.size(), M + 121 + 8 * (exact ? 20 : 16));
  }
}

TEST(StateFile, LayoutOfATensorProductIsAsDocumented) {
  for (const bool exact : {true, false}) {
    State state = small_kronecker_state(exact);
    const KroneckerSketch& sketch = kronecker_in(state);
    const Bytes bytes = serialise(state);
    expect_preamble_as_documented(bytes, 5, "kronecker");
    const std::size_t M = 48 + 9;
    EXPECT_EQ(read_at<std::uint64_t>(bytes, M + 96), std::uint64_t{1} << 60);
    EXPECT_EQ(read_at<std::uint64_t>(bytes, M + 104), 2U);
    EXPECT_EQ(read_at<std::uint64_t>(bytes, M + 112), 3U);
    EXPECT_EQ(read_at<std::uint64_t>(bytes, M + 120), 4U);
    EXPECT_EQ(read_at<std::uint8_t>(bytes, M + 128), exact ? 1 : 0);
    EXPECT_EQ(read_at<std::uint64_t>(bytes, M + 129), sketch.fingerprint());
    EXPECT_EQ(read_at<double>(bytes, M + 137), 7.0);
    expect_doubles_at(bytes, M + 145, std::vector<double>{1, 2, 3, -4, -5, 0.125});
    std::size_t offset = M + 145 + 8 * 6;
    for (const RowsSketch* factor : {&sketch.a1, &sketch.a2}) {
      const std::size_t d = factor->columns();
      expect_doubles_at(bytes, offset, factor->draws.table());
      expect_doubles_at(bytes, offset + 8 * 4 * d, factor->wide.table());
      expect_doubles_at(bytes, offset + 8 * 8 * d, factor->exact_gram);
      offset += 8 * (8 * d + (exact ? d * d : 0));
    }
    EXPECT_EQ(bytes.size(), offset);
  }
}

TEST(StateFile, TruncationAtEveryByteIsRefused) {
  for (const State& state : all_states()) {
    const Bytes bytes = serialise(state);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_THROW((void)deserialise(std::span(bytes).first(length), "cut"), InputError) << "at " << length;
    }
  }
}

TEST(StateFile, EveryFlippedBitIsRefused) {
  for (const State& state : all_states()) {
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
  expect_error([&] { (void)load_state(directory / "none.weir"); }, {"none.weir", "No such file"});
  expect_error([&] { (void)load_state(directory.path().string()); }, {"directory"});
  expect_error([&] { (void)load_state(directory.write("empty.weir", "")); }, {"empty.weir", "empty"});
  expect_error([&] { (void)load_state(directory.write("text.csv", "1,2\n3,4\n")); }, {"text.csv", "not a weir state"});
}

TEST(StateFile, OtherVersionsAndKindsAreRefused) {
  const Bytes good = serialise(small_state());
  Bytes bytes = good;
  patch(bytes, 8, std::uint32_t{3});
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "new.weir"); }, {"new.weir: state format version 3; this build reads 2"});
  patch(bytes, 8, std::uint32_t{1});
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "old.weir"); },
               {"old.weir: state format version 1, made with another construction of the random scales",
                "make the state again from its stream"});
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
  const std::size_t config = header_size + 7 + 38;
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
  const std::size_t shape = header_size + m + 96;
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
               {"mixed: A and x of a product: not what a state of the model 'vector' holds"});
}

/// Checksums are right, the value at the offset is not.
template <class Value>
void expect_refused(const Bytes& good, std::size_t offset, Value value, std::initializer_list<std::string_view> parts) {
  Bytes bytes = good;
  patch(bytes, offset, value);
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "forged"); }, parts);
}

/// Whole, but for numbers at the end that are missing or too many.
void expect_lengths_refused(const Bytes& good, std::size_t numbers) {
  for (std::size_t missing = 1; missing <= 8 * numbers; ++missing) {
    Bytes bytes = good;
    bytes.resize(good.size() - missing);
    seal_with_length(bytes);
    expect_error([&] { (void)deserialise(bytes, "short"); },
                 {"short: expected ", fmt::format("found {} bytes", 8 * numbers - missing)});
  }
  Bytes bytes = good;
  bytes.resize(good.size() + 8);
  seal_with_length(bytes);
  expect_error([&] { (void)deserialise(bytes, "long"); },
               {"long: expected ", fmt::format("found {} bytes", 8 * numbers + 8)});
}

TEST(StateFile, ForgedFixedOperandsAreRefused) {
  for (const auto& [state, kind] :
       {std::pair(small_state(), "a vector"), {small_rows_state(), "rows of A"}, {small_matrix_state(), "a matrix y"}})
    for (const int bits : {1, 2, 4, 8, 128})
      expect_refused(serialise(state), header_size + state.description.model.size() + 21,
                     static_cast<std::uint8_t>(bits),
                     {fmt::format("forged: fixed operands are {:#04x}: expected none for {}", bits, kind)});
  const std::size_t fixed = header_size + m + 21;
  for (const int bits : {1, 8, 12, 255})
    expect_refused(serialise(small_product_state()), fixed, static_cast<std::uint8_t>(bits),
                   {fmt::format("fixed operands are {:#04x}: expected bits of x, A for A and x of a product", bits)});
  expect_refused(serialise(small_kronecker_state()), fixed + 2, std::uint8_t{4},
                 {"fixed operands are 0x04: expected bits of A1, A2, X for A1, A2 and X"});
  // A fixed x has been multiplied into the rows.
  for (const std::uint32_t degree : {1U, 2U})
    expect_refused(serialise(small_product_state(degree)), fixed, std::uint8_t{2},
                   {"forged: expected 1 in the place of x, which was fixed"});
  expect_refused(serialise(small_lifted_state()), header_size + m + 108, 2.0, {"expected 1 in the place of x"});
}

TEST(StateFile, ForgedTargetsOfAlgorithmTwoAreRefused) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const std::size_t epsilon = header_size + m + 22;
  for (const double value : {0.0, -0.25, 1.0, infinity, std::numeric_limits<double>::quiet_NaN()})
    expect_refused(serialise(small_precision_state()), epsilon, value,
                   {fmt::format("forged: epsilon {} and C = 1.5 of the sampler precision: expected", value)});
  for (const double value : {0.0, -1.5, infinity, std::numeric_limits<double>::quiet_NaN()})
    expect_refused(serialise(small_precision_state()), epsilon + 8, value, {fmt::format("C = {}", value)});
  for (const std::size_t offset : {epsilon, epsilon + 8})
    expect_refused(serialise(small_state()), offset, 0.25,
                   {"forged: there are epsilon and C of the sampler precision, and the law is exponential"});
  Bytes bytes = serialise(small_precision_state());
  patch(bytes, epsilon, 0.0);
  expect_refused(bytes, epsilon + 8, 0.0, {"there is no epsilon and C", "the law is uniform"});
}

TEST(StateFile, ForgedMatricesAreRefused) {
  const Bytes good = serialise(small_matrix_state());
  const std::size_t end_of_seed = header_size + 9 + 88;
  expect_refused(good, end_of_seed, std::uint64_t{0}, {"forged: expected the length of the rows of a matrix, found 0"});
  expect_refused(good, end_of_seed, std::uint64_t{7}, {"forged: not a sketch: row_length is 7"});
  expect_refused(good, end_of_seed, std::uint64_t{1001}, {"forged: not a sketch: row_length is 1001"});
  expect_refused(good, end_of_seed, std::uint64_t{10}, {"another construction"});
  expect_refused(good, end_of_seed + 8, std::uint8_t{2}, {"forged: expected 0 or 1 for transposed, found 2"});
  expect_refused(good, end_of_seed + 9, std::uint64_t{0}, {"another construction"});
  expect_refused(good, end_of_seed - 26, std::uint32_t{3}, {"forged: not a sketch: levels is 3"});
  expect_refused(good, good.size() - 8, std::numeric_limits<double>::infinity(),
                 {"finite cells in the table", "cell 7"});
  expect_refused(good, 16, std::uint32_t{1}, {"forged: a vector: not what a state of the model 'kronecker' holds"});
  expect_lengths_refused(good, matrix_config().table_size());
}

TEST(StateFile, ForgedRowsAreRefused) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const Bytes good = serialise(small_rows_state());
  const std::size_t sizes = header_size + 4 + 96;
  for (const std::uint64_t d : {std::uint64_t{0}, (std::uint64_t{1} << 15) + 1, std::uint64_t{1} << 32,
                                std::numeric_limits<std::uint64_t>::max()})
    expect_refused(good, sizes, d, {fmt::format("forged: not a sketch: rows of {} columns", d)});
  expect_refused(good, sizes, std::uint64_t{3}, {"forged: expected 33 numbers of rows of 3 columns, found 160 bytes"});
  for (const std::uint64_t buckets : {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{1} << 63})
    expect_refused(good, sizes + 8, buckets, {fmt::format("not a sketch: buckets of the Gram sketch are {}", buckets)});
  expect_refused(good, sizes + 8, std::uint64_t{2}, {"expected 16 numbers of rows of 2 columns, found 160 bytes"});
  expect_refused(good, sizes + 16, std::uint8_t{0}, {"expected 16 numbers of rows of 2 columns, found 160 bytes"});
  expect_refused(good, sizes + 16, std::uint8_t{255}, {"expected 0 or 1 for an exact Gram matrix, found 255"});
  expect_refused(good, sizes + 17, std::uint64_t{1}, {"another construction"});
  expect_refused(good, sizes + 25 + 8 * 7, infinity, {"finite cells in the table, found inf in cell 7"});
  expect_refused(good, sizes + 25 + 8 * 8, infinity, {"finite cells in the Gram sketch, found inf in cell 0"});
  expect_refused(good, good.size() - 8, -infinity, {"finite entries of the Gram matrix, found -inf in entry 3"});
  expect_refused(good, 16, std::uint32_t{5}, {"forged: A1, A2 and X: not what a state of the model 'rows' holds"});
  expect_lengths_refused(good, 20);

  // Terabytes promised by a file of some hundred bytes: refused before anything is allocated.
  Bytes bytes = good;
  patch(bytes, sizes, std::uint64_t{1} << 15);
  patch(bytes, sizes + 8, std::uint64_t{1} << 32);
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "huge"); },
               {"expected 140738562228224 numbers of rows of 32768 columns, found 160 bytes"});
}

TEST(StateFile, ForgedTensorProductsAreRefused) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const Bytes good = serialise(small_kronecker_state());
  const std::size_t sizes = header_size + 9 + 96;
  const std::size_t numbers = 1 + 6 + (8 * 2 + 4) + (8 * 3 + 9);
  expect_refused(good, sizes, std::uint64_t{0}, {"forged: not a sketch: dimension is 0"});
  expect_refused(good, sizes, most, {"forged: not a sketch: dimension is 18446744073709551615"});
  expect_refused(good, sizes, (std::uint64_t{1} << 60) + 1, {"another construction"});
  for (const std::size_t d : {sizes + 8, sizes + 16}) {
    expect_refused(good, d, std::uint64_t{0}, {"forged: not a sketch: rows of 0 columns"});
    expect_refused(good, d, most, {"forged: not a sketch: rows of 18446744073709551615 columns"});
    expect_refused(good, d, std::uint64_t{1} << 32, {"forged: not a sketch: rows of 4294967296 columns"});
    expect_refused(good, d, std::uint64_t{1}, {"forged: expected ", " numbers of X", "found 480 bytes"});
  }
  // Another shape of as many numbers: X and the factors change places.
  Bytes swapped = good;
  patch(swapped, sizes + 8, std::uint64_t{3});
  patch(swapped, sizes + 16, std::uint64_t{2});
  seal(swapped);
  expect_error([&] { (void)deserialise(swapped, "swapped"); }, {"another construction"});
  expect_refused(good, sizes + 24, std::uint64_t{6}, {"not a sketch: buckets of the Gram sketch are 6"});
  expect_refused(good, sizes + 32, std::uint8_t{2}, {"expected 0 or 1 for exact Gram matrices, found 2"});
  expect_refused(good, sizes + 33, std::uint64_t{1}, {"another construction"});
  expect_refused(good, sizes + 41, infinity, {"finite counts of events of X"});
  expect_refused(good, sizes + 41, -1.0, {"expected a whole number of events of X, found -1"});
  expect_refused(good, sizes + 41, 0.5, {"expected a whole number of events of X, found 0.5"});
  expect_refused(good, sizes + 49, infinity, {"finite entries of X, found inf in entry 0"});
  expect_refused(good, sizes + 49 + 8 * 6, infinity, {"finite cells in the table of A1, found inf in cell 0"});
  expect_refused(good, sizes + 49 + 8 * 14, infinity, {"finite cells in the Gram sketch of A1, found inf in cell 0"});
  expect_refused(good, sizes + 49 + 8 * 22, infinity, {"entries of the Gram matrix of A1, found inf in entry 0"});
  expect_refused(good, sizes + 49 + 8 * 26, infinity, {"finite cells in the table of A2, found inf in cell 0"});
  expect_refused(good, good.size() - 8, infinity, {"entries of the Gram matrix of A2, found inf in entry 8"});
  expect_refused(good, 16, std::uint32_t{4}, {"forged: rows of A: not what a state of the model 'kronecker' holds"});
  ASSERT_EQ(good.size(), sizes + 41 + 8 * numbers);
  expect_lengths_refused(good, numbers);

  Bytes bytes = good;
  for (const std::size_t d : {sizes + 8, sizes + 16}) patch(bytes, d, std::uint64_t{1} << 15);
  patch(bytes, sizes + 24, std::uint64_t{1} << 32);
  seal(bytes);
  expect_error([&] { (void)deserialise(bytes, "huge"); },
               {"numbers of X, 32768 x 32768, and its factors, found 480 bytes"});
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

TEST(StateFile, RowsAndTensorProductsHaveNoSketchOfY) {
  for (State state : {small_rows_state(), small_kronecker_state()}) {
    const State before = state;
    expect_error<UsageError>([&] { multiply_out(state); }, {"operands"});
    expect_same(state, before);
  }
}

/// The numbers of a + c b, where all sums are exact.
std::vector<double> combination(const State& a, double c, const State& b) {
  std::vector<double> sum = numbers_of(a);
  const std::vector<double> other = numbers_of(b);
  for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += c * other[k];
  return sum;
}

TEST(StateFile, MatricesAndOperandsCombine) {
  State matrix = small_matrix_state();
  add(matrix, small_matrix_state(), -0.5);
  EXPECT_EQ(matrix.description, (StateDescription{"kronecker", 2 * 12345678901, 4, true}));
  EXPECT_EQ(numbers_of(matrix), combination(small_matrix_state(), -0.5, small_matrix_state()));
  scale(matrix, 0);
  EXPECT_TRUE(vector_in(matrix).is_zero());

  State rows = small_rows_state(false);
  add(rows, small_rows_state(false), -0.5);
  EXPECT_EQ(rows.description.updates, 2 * 12345678901U);
  EXPECT_EQ(numbers_of(rows), combination(small_rows_state(false), -0.5, small_rows_state(false)));
  scale(rows, 2);
  EXPECT_EQ(numbers_of(rows), numbers_of(small_rows_state(false)));

  State other = small_kronecker_state(false);
  kronecker_in(other).x[0] = 100;
  kronecker_in(other).a2.scale(8);
  State tensor = small_kronecker_state(false);
  add(tensor, other, -0.5);
  EXPECT_EQ(tensor.description.updates, 2 * 12345678901U);
  std::vector<double> expected = combination(small_kronecker_state(false), -0.5, other);
  expected[0] = 14;  // events of X are counted, whatever the coefficient
  EXPECT_EQ(numbers_of(tensor), expected);
  scale(tensor, 2);
  EXPECT_EQ(kronecker_in(tensor).x[0], -98);
  EXPECT_EQ(kronecker_in(tensor).x_events, 14);
}

/// `table` of a + c b.
std::vector<double> combination(std::span<const double> a, double c, std::span<const double> b) {
  std::vector<double> sum(a.begin(), a.end());
  for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += c * b[k];
  return sum;
}

TEST(StateFile, AFixedOperandIsKeptOnce) {
  // y is linear in the other: to any coefficient, and with squares of rows too.
  for (const std::uint32_t degree : {1U, 2U}) {
    State first = small_product_state(degree, {Operand::A});
    State second = first;
    ProductSketch& other = std::get<ProductSketch>(second.sketch);
    other.x = {2, 1};
    const std::vector<double> y =
        combination(std::get<ProductSketch>(first.sketch).y().table(), -0.5, other.y().table());
    add(first, second, -0.5);
    const ProductSketch& sum = std::get<ProductSketch>(first.sketch);
    EXPECT_EQ(sum.x, (std::vector<double>{-0.5, -3.5}));
    EXPECT_TRUE(same_bits(sum.a.table(), other.a.table()));
    EXPECT_TRUE(same_bits(sum.y().table(), y));
    EXPECT_EQ(first.description.updates, 2 * 12345678901U);
    scale(first, 4);
    EXPECT_EQ(sum.x, (std::vector<double>{-2, -14}));
    EXPECT_TRUE(same_bits(sum.a.table(), other.a.table()));
    multiply_out(first);
    EXPECT_EQ(first.description.fixed, OperandSet());
  }

  State lifted = small_lifted_state();
  add(lifted, small_lifted_state(), 1);
  EXPECT_EQ(std::get<ProductSketch>(lifted.sketch).x, std::vector<double>{1});
  EXPECT_TRUE(
      same_bits(table_of(lifted), combination(table_of(small_lifted_state()), 1, table_of(small_lifted_state()))));
  expect_error([&] { add(lifted, small_lifted_state(), 2); }, {"rows and their squares", "not multiplied by 2"});
  expect_error([&] { scale(lifted, 2); }, {"rows and their squares"});
}

TEST(StateFile, FixedOperandsOfATensorProductAreKeptOnce) {
  // Where a factor alone streams its exact Gram matrix restricts the coefficients; where X alone does nothing does.
  struct Case {
    OperandSet fixed;
    bool exact;
    double coefficient;
  };
  for (const auto& [fixed, exact, coefficient] : {Case{{Operand::A1, Operand::X}, false, -0.5},
                                                  {{Operand::A1, Operand::X}, true, -1},
                                                  {{Operand::A2, Operand::X}, false, 3},
                                                  {{Operand::A1, Operand::A2}, true, 0.25},
                                                  {{Operand::X}, false, 2},
                                                  {{Operand::A1, Operand::A2, Operand::X}, true, 5}}) {
    SCOPED_TRACE(to_string(fixed));
    const State first = small_kronecker_state(exact, fixed);
    State second = first;
    KroneckerSketch& other = kronecker_in(second);
    if (!fixed.contains(Operand::A1)) other.a1.add(other.a1);
    if (!fixed.contains(Operand::A2)) other.a2.add(other.a2);
    if (!fixed.contains(Operand::X)) other.x = {0, 1, 0, 8, 0, 0};
    State sum = first;
    add(sum, second, coefficient);
    const std::vector<double> before = numbers_of(first), summed = combination(first, coefficient, second),
                              after = numbers_of(sum);
    const std::size_t rows_of_a1 = exact ? 20 : 16;
    for (std::size_t k = 1; k < after.size(); ++k) {
      const Operand operand = k < 7 ? Operand::X : k < 7 + rows_of_a1 ? Operand::A1 : Operand::A2;
      ASSERT_EQ(after[k], fixed.contains(operand) ? before[k] : summed[k]) << k;
    }
    EXPECT_EQ(after[0], fixed.contains(Operand::X) ? 7 : 14);
  }
  State sum = small_kronecker_state(true, {Operand::A1});
  expect_error([&] { add(sum, State(sum), 2); }, {"not multiplied by 2"});
  expect_error([&] { scale(sum, 2); }, {"multiplied by 2"});
  expect_same(sum, small_kronecker_state(true, {Operand::A1}));
  State core = small_kronecker_state(true, {Operand::A1, Operand::A2});
  const double f2 = kronecker_in(core).f2();
  scale(core, 2);
  EXPECT_EQ(kronecker_in(core).f2(), 4 * f2);
}

TEST(StateFile, SaysInWhatFixedOperandsDiffer) {
  const State product = small_product_state(1, {Operand::A});
  EXPECT_EQ(describe_difference(product, small_product_state(1)), "A: fixed against streamed");
  EXPECT_EQ(describe_difference(small_product_state(1), product), "A: streamed against fixed");
  State other = product;
  std::get<ProductSketch>(other.sketch).x = {7, 7};
  EXPECT_EQ(describe_difference(product, other), "");
  std::get<ProductSketch>(other.sketch).a.table()[5] += 1e-9;
  EXPECT_EQ(describe_difference(product, other), "A: fixed in both, and not the same to the bit");
  other.description.ranks = 5;
  EXPECT_EQ(describe_difference(product, other),
            "A: fixed in both, and not the same to the bit; sums of real numbers depend on the number of ranks");
  expect_error([&] { add(other, product, 1); }, {"the states do not combine: A: fixed in both"});

  const OperandSet all{Operand::A1, Operand::A2, Operand::X};
  const State tensor = small_kronecker_state(true, all);
  EXPECT_EQ(describe_difference(tensor, small_kronecker_state(true, {Operand::A1, Operand::X})),
            "A2: fixed against streamed");
  const auto difference = [&](const auto& change) {
    State changed = tensor;
    change(kronecker_in(changed));
    State streamed = changed;
    streamed.description.fixed = {};
    EXPECT_EQ(describe_difference(small_kronecker_state(true), streamed), "");
    return describe_difference(tensor, changed);
  };
  const auto differs = [](const char* operand) {
    return fmt::format("{}: fixed in both, and not the same to the bit", operand);
  };
  EXPECT_EQ(difference([](KroneckerSketch& sketch) { sketch.a1.draws.table()[7] = 0.5; }), differs("A1"));
  EXPECT_EQ(difference([](KroneckerSketch& sketch) { sketch.a1.wide.table()[7] = 0.5; }), differs("A1"));
  EXPECT_EQ(difference([](KroneckerSketch& sketch) { sketch.a2.exact_gram[8] = 0.5; }), differs("A2"));
  EXPECT_EQ(difference([](KroneckerSketch& sketch) { sketch.x[5] = 0.5; }), differs("X"));
  EXPECT_EQ(difference([](KroneckerSketch& sketch) { sketch.x_events = 0; }), differs("X"));
  // The same X in another number of events.
  EXPECT_EQ(difference([](KroneckerSketch& sketch) { sketch.x_events = 2; }), "");
}

TEST(StateFile, SaysInWhatTargetsOfAlgorithmTwoDiffer) {
  const State state = small_precision_state();
  State other = state;
  other.description.precision->constant = 2;
  EXPECT_EQ(describe_difference(state, other), "C of the sampler precision: 1.5 against 2");
  other.description.precision->epsilon = 0.5;
  EXPECT_EQ(describe_difference(state, other), "epsilon of the sampler precision: 0.25 against 0.5");
  expect_error([&] { add(other, state, 1); }, {"the states do not combine: epsilon"});
  EXPECT_EQ(describe_difference(state, {{}, VectorSketch(small_config())}), "law: uniform against exponential");
  State sum = state;
  add(sum, state, -1);
  EXPECT_TRUE(vector_in(sum).is_zero());
  EXPECT_EQ(sum.description.precision, state.description.precision);
}

TEST(StateFile, ExactGramMatricesAreAddedAndSubtractedOnly) {
  for (const State& good : {small_rows_state(), small_kronecker_state()}) {
    State state = good;
    expect_error([&] { scale(state, 2); }, {"multiplied by 2"});
    expect_error([&] { add(state, good, 0.5); }, {"not multiplied by 0.5"});
    expect_same(state, good);
    add(state, good, 1);
    add(state, good, -1);
    std::vector<double> expected = numbers_of(good);
    if (std::holds_alternative<KroneckerSketch>(good.sketch)) expected[0] = 21;  // events of X
    EXPECT_EQ(numbers_of(state), expected);
  }
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

TEST(StateFile, SaysInWhatMatricesAndOperandsDiffer) {
  const auto difference = [](const State& a, const State& b) { return describe_difference(a, b); };
  State matrix = small_matrix_state();
  EXPECT_EQ(difference(small_state(), matrix), "what they hold: a vector against a matrix y");
  EXPECT_EQ(difference(small_kronecker_state(), matrix), "what they hold: A1, A2 and X against a matrix y");
  EXPECT_EQ(difference(small_rows_state(), small_product_state()),
            "what they hold: rows of A against A and x of a product");
  State transposed = matrix;
  transposed.description.transposed = false;
  EXPECT_EQ(difference(matrix, transposed), "the factor that the rows of the matrix belong to: A2 against A1");
  expect_error([&] { add(matrix, transposed, 1); }, {"the factor that the rows of the matrix belong to"});
  expect_same(matrix, small_matrix_state());
  SketchConfig config = matrix_config();
  config.row_length = 10;
  EXPECT_EQ(difference(matrix, {{}, VectorSketch(config)}), "row_length: 8 against 10");

  EXPECT_EQ(difference(small_rows_state(), small_rows_state(false)), "exact Gram matrix: true against false");
  EXPECT_EQ(difference(small_rows_state(), {{}, RowsSketch(small_config(), 3, {.buckets = 4, .exact = true})}),
            "columns: 2 against 3");
  EXPECT_EQ(difference(small_rows_state(), {{}, RowsSketch(small_config(), 2, {.buckets = 8, .exact = true})}),
            "buckets of the Gram sketch: 4 against 8");

  config = small_config();
  config.seed = 1;
  const GramConfig gram{.buckets = 4, .exact = true};
  EXPECT_EQ(difference(small_kronecker_state(), {{}, KroneckerSketch(small_shape, config, gram)}),
            "seed: 18364758544493064720 against 1");
  KroneckerShape shape = small_shape;
  shape.n2 = 5;
  const State shorter{{}, KroneckerSketch(shape, small_config(), gram)};
  EXPECT_EQ(difference(small_kronecker_state(), shorter), "A2: dimension: 1152921504606846976 against 5");
  State sum = small_kronecker_state();
  expect_error([&] { add(sum, shorter, 1); }, {"A2: dimension"});
  expect_same(sum, small_kronecker_state());
}

TEST(StateFile, WillNotWriteWhatItWouldNotRead) {
  const TemporaryDirectory directory;
  State state = small_state();
  state.description.model = "tensor";
  expect_error<UsageError>([&] { (void)serialise(state); }, {"unknown model 'tensor'"});
  state = small_product_state();
  state.description.model = "vector";
  expect_error<UsageError>([&] { (void)serialise(state); },
                           {"cannot write A and x of a product as a state of the model vector"});
  for (State other : {small_matrix_state(), small_rows_state(), small_kronecker_state()}) {
    other.description.model = "product";
    expect_error<UsageError>([&] { (void)serialise(other); }, {"cannot write ", " as a state of the model product"});
  }
  state = small_kronecker_state();
  state.description.transposed = true;
  expect_error<UsageError>([&] { (void)serialise(state); }, {"cannot write A1, A2 and X, transposed"});
  state = small_rows_state();
  state.sketch = RowsSketch(matrix_config(), 2, {});
  expect_error<UsageError>([&] { (void)serialise(state); }, {"cannot write rows of A with a row_length"});
  state = small_state();
  state.description.fixed = {Operand::x};
  expect_error<UsageError>([&] { (void)serialise(state); }, {"cannot write the state: fixed operands are 0x02"});
  state = small_product_state(2, {Operand::x});
  expect_error([&] { (void)serialise(state); }, {"expected 1 in the place of x"});
  state = small_state();
  state.description.precision = {0.25, 1};
  expect_error<UsageError>([&] { (void)serialise(state); }, {"cannot write the state: there are epsilon and C"});
  state = small_precision_state();
  state.description.precision.reset();
  expect_error<UsageError>([&] { (void)serialise(state); }, {"there is no epsilon and C", "the law is uniform"});
  state.description.precision = {1, 1};
  expect_error<UsageError>([&] { (void)serialise(state); }, {"epsilon 1 and C = 1 of the sampler precision"});
  state = small_kronecker_state();
  kronecker_in(state).a2.draws.table()[1] = std::numeric_limits<double>::infinity();
  expect_error([&] { save_state(directory / "x.weir", state); }, {"x.weir", "table of A2", "cell 1"});
  state = small_state();
  vector_in(state).table()[1] = std::numeric_limits<double>::infinity();
  expect_error([&] { save_state(directory / "x.weir", state); }, {"x.weir", "cell 1"});
  state = small_product_state();
  std::get<ProductSketch>(state.sketch).x[1] = std::numeric_limits<double>::quiet_NaN();
  expect_error([&] { save_state(directory / "x.weir", state); }, {"x.weir", "finite entries of x", "entry 1"});
  state = small_product_state();
  std::get<ProductSketch>(state.sketch).a.table()[7] = std::numeric_limits<double>::quiet_NaN();
  expect_error([&] { save_state(directory / "x.weir", state); }, {"x.weir", "cell 7"});
  EXPECT_EQ(directory.entries(), 0U);
  expect_error([&] { save_state(directory / "missing/x.weir", small_state()); }, {"missing/x.weir", "No such file"});
  expect_error([] { save_state("/dev/full", small_state()); }, {"/dev/full", "No space left"});
}

}  // namespace
}  // namespace weir
