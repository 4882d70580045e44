#include "weir/io/state_file.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "state/every_kind.hpp"
#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/random/key_hash.hpp"
#include "weir/setting/setting.hpp"

namespace weir {
namespace {

using testing_support::contents_of;
using testing_support::every_kind;
using testing_support::expect_error;
using testing_support::Kind;
using testing_support::message_of;
using testing_support::numbers_of;
using testing_support::state_of;
using testing_support::TemporaryDirectory;
using Json = nlohmann::json;
using Bytes = std::vector<std::byte>;

constexpr std::size_t header_size = 48;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// A state of every kind, as small as it can be.
std::vector<std::pair<std::string, State>> small_states() {
  std::vector<std::pair<std::string, State>> states;
  for (const Kind& kind : every_kind({.rows = 1, .buckets = 2, .lanes = 2, .gram_buckets = 2, .seed = 5})) {
    State state = state_of(kind.problem);
    state.updates = 12345678901;
    state.ranks = 4;
    states.emplace_back(kind.name, std::move(state));
  }
  return states;
}

State small_state(const std::string& name) {
  for (auto& [other, state] : small_states())
    if (other == name) return std::move(state);
  throw std::logic_error("there is no kind of state " + name);
}

template <class Value>
void patch(Bytes& bytes, std::size_t offset, Value value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

/// Makes both checksums right again, as a forger would, and the length.
void seal(Bytes& bytes) {
  patch(bytes, 24, std::uint64_t{bytes.size() - header_size});
  patch(bytes, 32, XXH64(bytes.data() + header_size, bytes.size() - header_size, state_checksum_seed));
  patch(bytes, 40, XXH64(bytes.data(), 40, state_checksum_seed));
}

/// A file of version 3 as the header file draws it, read and written byte by byte, without the library.
struct File {
  struct Array {
    std::string name, operand;
    std::uint64_t size = 0;
  };

  std::string problem;
  std::uint64_t updates = 0, ranks = 0, fingerprint = 0;
  std::vector<Array> arrays;
  std::uint64_t other_length = 0;
  std::vector<double> numbers;
  Bytes other;

  [[nodiscard]] static File read(std::span<const std::byte> bytes);
  [[nodiscard]] Bytes write() const;
  /// The numbers of an array, wherever it is.
  [[nodiscard]] std::span<double> array(const std::string& name) {
    std::size_t first = 0;
    for (const Array& array : arrays) {
      if (array.name == name) return std::span(numbers).subspan(first, array.size);
      first += array.size;
    }
    throw std::logic_error("there is no array " + name);
  }
  /// Changes the problem.
  template <class Change>
  void change(const Change& change_json) {
    Json json = Json::parse(problem);
    change_json(json);
    problem = json.dump();
  }
};

File File::read(std::span<const std::byte> bytes) {
  std::size_t at = 0;
  const auto take = [&](void* out, std::size_t count) {
    if (count > bytes.size() - at) throw std::logic_error("the file is too short");
    if (count > 0) std::memcpy(out, bytes.data() + at, count);
    at += count;
  };
  const auto u32 = [&] {
    std::uint32_t value = 0;
    take(&value, 4);
    return value;
  };
  const auto u64 = [&] {
    std::uint64_t value = 0;
    take(&value, 8);
    return value;
  };
  const auto text = [&] {
    std::string value(u32(), '\0');
    take(value.data(), value.size());
    return value;
  };
  EXPECT_EQ(std::memcmp(bytes.data(), "\x89WEIR\r\n\x1a", 8), 0);
  at = 8;
  EXPECT_EQ(u32(), 3U);
  EXPECT_EQ(u32(), 48U);
  EXPECT_EQ(u64(), 0U);
  EXPECT_EQ(u64(), bytes.size() - header_size);
  EXPECT_EQ(u64(), XXH64(bytes.data() + header_size, bytes.size() - header_size, state_checksum_seed));
  EXPECT_EQ(u64(), XXH64(bytes.data(), 40, state_checksum_seed));
  std::uint8_t little_endian = 0;
  take(&little_endian, 1);
  EXPECT_EQ(little_endian, 1);
  File file;
  file.problem = text();
  file.updates = u64();
  file.ranks = u64();
  file.fingerprint = u64();
  file.arrays.resize(u32());
  std::uint64_t numbers = 0;
  for (Array& array : file.arrays) {
    array.name = text();
    array.operand = text();
    array.size = u64();
    numbers += array.size;
  }
  file.other_length = u64();
  EXPECT_EQ(bytes.size() - at, 8 * numbers + file.other_length);
  file.numbers.resize(numbers);
  take(file.numbers.data(), 8 * numbers);
  file.other.resize(file.other_length);
  take(file.other.data(), file.other.size());
  return file;
}

Bytes File::write() const {
  Bytes bytes(header_size);
  const auto put = [&](const void* from, std::size_t count) {
    const auto* const first = static_cast<const std::byte*>(from);
    bytes.insert(bytes.end(), first, first + count);
  };
  const auto put_text = [&](const std::string& text) {
    const auto length = static_cast<std::uint32_t>(text.size());
    put(&length, 4);
    put(text.data(), text.size());
  };
  const std::uint8_t little_endian = 1;
  put(&little_endian, 1);
  put_text(problem);
  for (const std::uint64_t* field : {&updates, &ranks, &fingerprint}) put(field, 8);
  const auto count = static_cast<std::uint32_t>(arrays.size());
  put(&count, 4);
  for (const Array& array : arrays) {
    put_text(array.name);
    put_text(array.operand);
    put(&array.size, 8);
  }
  put(&other_length, 8);
  put(numbers.data(), 8 * numbers.size());
  put(other.data(), other.size());
  std::memcpy(bytes.data(), "\x89WEIR\r\n\x1a\3\0\0\0\x30\0\0\0\0\0\0\0\0\0\0\0", 24);
  seal(bytes);
  return bytes;
}

File file_of(const State& state) { return File::read(serialise(state)); }

/// A whole, sealed file that is not a state.
void expect_refused(const File& file, std::initializer_list<std::string_view> parts) {
  expect_error([&] { std::ignore = deserialise(file.write(), "forged.weir"); }, parts);
  expect_error([&] { std::ignore = deserialise(file.write(), "forged.weir"); }, {"forged.weir: "});
}

bool same_bits(std::span<const double> a, std::span<const double> b) {
  return std::ranges::equal(std::as_bytes(a), std::as_bytes(b));
}

void expect_same(const State& a, const State& b) {
  EXPECT_EQ(a.problem(), b.problem());
  EXPECT_EQ(a.updates, b.updates);
  EXPECT_EQ(a.ranks, b.ranks);
  EXPECT_EQ(describe_difference(a, b), "");
  EXPECT_TRUE(same_bits(numbers_of(a), numbers_of(b)));
}

std::string text_of(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

Bytes bytes_of(const std::string& path) {
  const std::string text = contents_of(path);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST(StateFile, BytesRoundTrip) {
  for (const auto& [name, state] : small_states()) {
    SCOPED_TRACE(name);
    const Bytes bytes = serialise(state);
    const State again = deserialise(bytes, "bytes");
    expect_same(again, state);
    EXPECT_EQ(serialise(again), bytes);
  }
}

TEST(StateFile, FileRoundTripHoldsTheSerialisedBytes) {
  const TemporaryDirectory directory;
  const std::string path = directory / "state.weir";
  for (const auto& [name, state] : small_states()) {
    SCOPED_TRACE(name);
    save_state(path, state);
    EXPECT_EQ(directory.entries(), 1U);
    EXPECT_EQ(contents_of(path), text_of(serialise(state)));
    expect_same(load_state(path), state);
    EXPECT_EQ(state_version(path), 3U);
    EXPECT_TRUE(looks_like_state(path));
  }
}

TEST(StateFile, LayoutIsAsDocumented) {
  for (const auto& [name, state] : small_states()) {
    SCOPED_TRACE(name);
    const Bytes bytes = serialise(state);
    const File file = File::read(bytes);
    EXPECT_EQ(file.problem, to_text(state.problem()));
    EXPECT_EQ(file.updates, 12345678901U);
    EXPECT_EQ(file.ranks, 4U);
    EXPECT_EQ(file.fingerprint, state.problem().sketch.fingerprint());
    ASSERT_EQ(file.arrays.size(), state.layout().size());
    for (std::size_t k = 0; k < file.arrays.size(); ++k) {
      EXPECT_EQ(file.arrays[k].name, state.layout()[k].name);
      EXPECT_EQ(file.arrays[k].operand, to_string(state.layout()[k].operand));
      EXPECT_EQ(file.arrays[k].size, state.layout()[k].size);
    }
    EXPECT_TRUE(same_bits(file.numbers, numbers_of(state)));
    EXPECT_EQ(file.other_length, 0U);
    EXPECT_EQ(file.write(), bytes);
  }
}

TEST(StateFile, ArraysLargerThanAPieceOfTheChecksum) {
  const TemporaryDirectory directory;
  Problem problem;
  problem.sides["n"] = 1 << 20;
  problem.roles[Operand::y] = Role::streams;
  problem.sketch = {.dimension = 1 << 20, .buckets = 4096, .lanes = 8};
  const State state = create_state(problem);
  const std::span<double> table = state.array("cells of y");
  for (std::size_t k = 0; k < table.size(); ++k) table[k] = static_cast<double>(k) - 0.5;
  ASSERT_GT(table.size_bytes(), std::size_t{1} << 20);
  save_state(directory / "large.weir", state);
  expect_same(load_state(directory / "large.weir"), state);
}

TEST(StateFile, ArraysThatComeInPieces) {
  const TemporaryDirectory directory;
  const State state = small_state("streaming_a1");
  std::size_t calls = 0;
  save_state(directory / "pieces.weir", state, [&](std::size_t array, const auto& take) {
    ++calls;
    const std::span<const double> numbers = state.arrays()[array].numbers.doubles();
    for (std::size_t k = 0; k < numbers.size(); k += 3)
      take(std::as_bytes(numbers.subspan(k, std::min<std::size_t>(3, numbers.size() - k))));
  });
  EXPECT_EQ(calls, 2 * state.layout().size());
  EXPECT_EQ(contents_of(directory / "pieces.weir"), text_of(serialise(state)));
  // The numbers that are saved are those of the pieces.
  expect_error(
      [&] {
        save_state(directory / "bad.weir", state, [&](std::size_t array, const auto& take) {
          std::vector<double> numbers(state.arrays()[array].numbers.doubles().size());
          if (array == 2) numbers.back() = infinity;
          take(std::as_bytes(std::span(numbers)));
        });
      },
      {"bad.weir: expected finite numbers, found inf among 'A2'"});
  EXPECT_EQ(directory.entries(), 1U);
}

TEST(StateFile, ALoadedStateGoesOn) {
  // What follows from fixed operands is worked out again.
  for (const Kind& kind : every_kind()) {
    if (!testing_support::takes_events(kind.problem)) continue;
    SCOPED_TRACE(kind.name);
    State whole = state_of(kind.problem, 1);
    State loaded = deserialise(serialise(whole), "bytes");
    const EventBatch more = testing_support::stream_of(kind.problem, 2);
    whole.add(more);
    loaded.add(more);
    EXPECT_TRUE(same_bits(numbers_of(loaded), numbers_of(whole)));
  }
}

TEST(StateFile, TruncationAtEveryByteIsRefused) {
  for (const auto& [name, state] : small_states()) {
    const Bytes bytes = serialise(state);
    for (std::size_t length = 0; length < bytes.size(); ++length)
      EXPECT_THROW(std::ignore = deserialise(std::span(bytes).first(length), "cut"), InputError) << name << length;
    // Also where the lengths and the checksums say that it is whole.
    for (std::size_t length = header_size; length < bytes.size(); ++length) {
      Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
      seal(cut);
      EXPECT_THROW(std::ignore = deserialise(cut, "cut"), InputError) << name << length;
    }
    for (const std::size_t more : {1U, 8U}) {
      Bytes longer = bytes;
      longer.resize(bytes.size() + more);
      expect_error([&] { std::ignore = deserialise(longer, "long"); }, {"long: trailing bytes"});
      seal(longer);
      expect_error([&] { std::ignore = deserialise(longer, "long"); },
                   {"long: expected ", " numbers and 0 bytes more"});
    }
  }
}

TEST(StateFile, EveryFlippedBitIsRefused) {
  for (const auto& [name, state] : small_states()) {
    Bytes bytes = serialise(state);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      const std::byte mask{static_cast<unsigned char>(1U << (bit % 8))};
      bytes[bit / 8] ^= mask;
      EXPECT_THROW(std::ignore = deserialise(bytes, "flipped"), InputError) << name << " bit " << bit;
      bytes[bit / 8] ^= mask;
    }
    EXPECT_NO_THROW(std::ignore = deserialise(bytes, "whole"));
  }
}

TEST(StateFile, EveryByteThatIsForgedIsReadSafely) {
  // The checksums are right: what is read is a state, or an InputError, and never anything else.
  for (const auto& [name, state] : small_states()) {
    const Bytes good = serialise(state);
    const std::size_t end_of_names = good.size() - 8 * numbers_of(state).size();
    for (std::size_t k = header_size; k < end_of_names; ++k) {
      for (const int value : {0, 0x39, 0xFF}) {
        Bytes bytes = good;
        bytes[k] = static_cast<std::byte>(value);
        seal(bytes);
        try {
          const State read = deserialise(bytes, "forged");
          expect_same(deserialise(serialise(read), "again"), read);
        } catch (const InputError& error) {
          EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string::npos) << error.what();
        }
      }
    }
  }
}

TEST(StateFile, TruncatedAndDamagedFilesAreRefused) {
  const TemporaryDirectory directory;
  const std::string text = text_of(serialise(small_state("vector")));
  for (std::size_t k = 0; k < text.size(); ++k) {
    const std::string cut = directory.write("cut.weir", std::string_view(text).substr(0, k));
    EXPECT_THROW(std::ignore = load_state(cut), InputError) << k;
    EXPECT_THROW(std::ignore = state_version(cut), InputError) << k;
    std::string damaged = text;
    damaged[k] = static_cast<char>(damaged[k] ^ 0x10);
    EXPECT_THROW(std::ignore = load_state(directory.write("damaged.weir", damaged)), InputError) << k;
  }
  expect_error([&] { std::ignore = load_state(directory.write("long.weir", text + "x")); },
               {"long.weir", "trailing bytes"});
}

TEST(StateFile, SaysWhatIsWrongWithTheFile) {
  const TemporaryDirectory directory;
  expect_error([&] { std::ignore = load_state(directory / "none.weir"); }, {"none.weir", "No such file"});
  expect_error([&] { std::ignore = load_state(directory.path().string()); }, {"directory"});
  expect_error([&] { std::ignore = load_state(directory.write("empty.weir", "")); }, {"empty.weir", "empty"});
  const std::string text = directory.write("text.csv", "1,2\n3,4\n");
  expect_error([&] { std::ignore = load_state(text); }, {"text.csv", "not a weir state"});
  EXPECT_FALSE(looks_like_state(text));
  EXPECT_FALSE(looks_like_state(directory / "empty.weir"));
  EXPECT_TRUE(looks_like_state(directory.write("magic.weir", "\x89WEIR\n")));
  expect_error([&] { std::ignore = looks_like_state(directory / "none.weir"); }, {"none.weir", "No such file"});
  const Bytes good = serialise(small_state("vector"));
  Bytes bytes = good;
  bytes[25] ^= std::byte{1};
  expect_error([&] { std::ignore = deserialise(bytes, "x"); },
               {"x: damaged: the checksum of the header (bytes 0 to 47)"});
  bytes = good;
  bytes.back() ^= std::byte{1};
  expect_error(
      [&] { std::ignore = deserialise(bytes, "x"); },
      {fmt::format("x: damaged: the checksum of the payload (bytes 48 to {}) does not match", good.size() - 1)});
  expect_error([&] { std::ignore = deserialise(std::span(good).first(47), "x"); },
               {"x: expected a header of 48 bytes, but the file ends at byte 47"});
  expect_error([&] { std::ignore = deserialise(std::span(good).first(90), "x"); },
               {fmt::format("x: truncated: expected {} bytes after the header, found 42", good.size() - 48)});
}

TEST(StateFile, NamesAreKept) {
  State state = small_state("vector");
  const Bytes without = serialise(state);
  EXPECT_EQ(without[8], std::byte{3});  // programs before this one read it
  state.names.merge({{.index = 7, .priority = 2, .name = "ann"}, {.index = 3, .priority = 1, .name = ""}});
  const Bytes with = serialise(state);
  EXPECT_EQ(with[8], std::byte{4});
  const State read = deserialise(with, "x.weir");
  EXPECT_EQ(read.names, state.names);
  EXPECT_EQ(read.names.entries().size(), 2U);
  EXPECT_EQ(serialise(read), with);
  for (std::size_t length = with.size() - 40; length < with.size(); ++length)
    EXPECT_THROW(std::ignore = deserialise(std::span(with).first(length), "x.weir"), InputError);
  // A sum has the names of both, whatever the signs.
  State other = small_state("vector");
  other.names.merge({{.index = 9, .priority = 5, .name = "bob"}});
  state.add(other, -1);
  EXPECT_EQ(state.names.entries().size(), 3U);
  ASSERT_NE(state.names.find(9), nullptr);
  EXPECT_EQ(*state.names.find(9), "bob");
  state.clear();
  EXPECT_TRUE(state.names.empty());
}

TEST(StateFile, OtherVersionsAreRefused) {
  const Bytes good = serialise(small_state("vector"));
  const auto with_version = [&](std::uint32_t version) {
    Bytes bytes = good;
    patch(bytes, 8, version);
    seal(bytes);
    return message_of<InputError>([&] { std::ignore = deserialise(bytes, "x.weir"); });
  };
  EXPECT_EQ(with_version(5), "x.weir: state format version 5; this build reads 2 to 4");
  // A file of version 4 says how long its names are.
  EXPECT_NE(with_version(4), "");
  EXPECT_EQ(with_version(0), "x.weir: state format version 0; this build reads 2 to 4");
  EXPECT_EQ(with_version(1),
            "x.weir: state format version 1, made with another construction of the random scales than this build's: "
            "make the state again from its stream");
  for (const auto& [offset, part] : {std::pair<std::size_t, std::string_view>{12, "expected a header of 48 bytes"},
                                     {16, "expected 0 at byte 16"},
                                     {20, "expected 0 at byte 20"}}) {
    Bytes bytes = good;
    patch(bytes, offset, std::uint32_t{77});
    seal(bytes);
    expect_error([&] { std::ignore = deserialise(bytes, "forged"); }, {"forged", part, "77"});
  }
}

TEST(StateFile, ForgedProblemsAreRefused) {
  const auto refused = [](const std::string& kind, const std::string& pointer, const Json& value,
                          std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(pointer + " = " + value.dump());
    File file = file_of(small_state(kind));
    file.change([&](Json& json) { json[Json::json_pointer(pointer)] = value; });
    expect_refused(file, parts);
  };
  refused("vector", "/setting", "tensor", {"not a state: unknown setting 'tensor': this build knows vector"});
  refused("vector", "/setting", "two\nlines\xC3\xA9", {"not a state: unknown setting 'two?lines?"});
  refused("vector", "/sides/two\nlines", 5, {"not a state: --model vector has no side two?lines"});
  refused("vector", "/setting", 7, {"'setting' is 7, expected a text"});
  refused("vector", "/operands/W", "streams", {"\"W\", which no setting of this build has"});
  refused("vector", "/operands/A", "streams", {"not a state: --model vector has no operand A"});
  refused("vector", "/operands/y", "fixed", {"not a state: the operand y of --model vector cannot be fixed"});
  refused("vector", "/sides/m", 5, {"not a state: --model vector has no side m"});
  refused("vector", "/sides/n", 0, {"not a state: the length of y n is 0"});
  refused("vector", "/sides/n", 14, {"not a state: the dimension of the sketch is 13, and n is 14"});
  refused("vector", "/sides/n", std::uint64_t{1} << 63, {"not a state: the dimension of the sketch is 13"});
  refused("product", "/sides/n", 12, {"not a state: the dimension of the sketch is 13, and n is 12"});
  refused("rows", "/sides/n", 12, {"not a state: the dimension of the sketch is 13, and n is 12"});
  refused("pairs", "/sides/n1", 8, {"not a state: the dimension of the sketch is 7, and n1 is 8"});
  refused("streaming_a1", "/sides/n1", 8, {"not a state: the sketch is not that of a matrix of these sides"});
  refused("streaming_a1", "/sketch/row_length", 7, {"not a state: the sketch is not that of a matrix of these sides"});
  refused("vector", "/degree", 2, {"not a state: --model vector lifts no rows"});
  refused("vector", "/degree", 3, {"not a state: degree is 3"});
  refused("pairs", "/degree", 2, {"not a state: --model kronecker --method two-stage lifts no rows"});
  refused("rows", "/degree", 0, {"not a state: degree is 0"});
  refused("product_precision", "/degree", 2, {"not a state: the sampler precision draws by |y|^2"});
  refused("vector", "/sketch/buckets", 3, {"not a state: buckets is 3"});
  refused("vector", "/sketch/dimension", 0, {"not a state: dimension is 0"});
  refused("vector", "/sketch/p", 3, {"not a state: --model vector does not draw by |y|^3"});
  refused("vector", "/sketch/law", "uniform", {"not a state: there is no epsilon and C of the sampler precision"});
  refused("vector", "/precision", Json{{"epsilon", 0.5}, {"constant", 1}},
          {"not a state: there are epsilon and C of the sampler precision, and the law of the scales is exponential"});
  for (const double epsilon : {0.0, -0.25, 1.0})
    refused("vector_precision", "/precision/epsilon", epsilon, {"of the sampler precision: expected numbers between"});
  refused("vector_precision", "/precision/constant", 0, {"of the sampler precision: expected numbers between"});
  refused("vector", "/sketch/seed", 6, {"made with another construction of the hashes than this build's"});
  refused("vector", "/sketch/buckets", 4, {"made with another construction"});
  refused("exact_vector", "/keeps", "sketch",
          {"expected the array 'cells of y' of y with 40960 numbers, found 'y' of 'y' with 13"});
  refused("vector", "/keeps", "exact",
          {"expected the array 'y' of y with 13 numbers, found 'cells of y' of 'y' with 4"});
  refused("streaming_a1", "/keeps", "exact", {"not a state: exact states of pairs"});
  refused("streaming_a1", "/operands/A1", "fixed", {"A1 and A2 are both fixed"});
  refused("streaming_a1", "/operands/A2", "streams", {"one factor streams and the other is fixed"});
  refused("streaming_a1", "/operands/A1", "forgotten", {"expected 3 arrays for its problem, found 4"});
  refused("rows", "/gram/exact", true, {"expected 3 arrays for its problem, found 2"});
  refused("rows", "/gram/buckets", 3, {"not a state: buckets of the Gram sketch are 3"});
  refused("rows", "/sides/d", 1 << 16, {"not a state: d is 65536: --model rows keeps Gram matrices"});
  refused("product", "/sides/d", 4, {"expected the array 'x' of x with 4 numbers, found 'x' of 'x' with 3"});
  refused("product", "/sides/d", std::uint64_t{1} << 40, {"not a state: "});
  refused("product_x_fixed", "/operands/x", "streams",
          {"expected the array 'x' of x with 3 numbers, found 'cells of y'"});
  refused("product", "/more", 1, {"has members that this build does not know"});

  File file = file_of(small_state("vector"));
  file.problem = "{" + file.problem;
  expect_refused(file, {"the description of the problem is no JSON object"});
  file.problem = std::string((std::size_t{1} << 20) + 1, ' ');
  expect_refused(file, {"expected at most 1048576 bytes of the problem, found 1048577"});
  file = file_of(small_state("vector"));
  file.fingerprint ^= 1;
  expect_refused(file, {"made with another construction of the hashes"});
}

TEST(StateFile, ForgedSketchesThatCannotBeQueriedAreRefused) {
  // A query would scan 2^50 items, or 2^50 rows of a matrix, one by one.
  const std::uint64_t many = std::uint64_t{1} << 50;
  const auto refused = [&](const std::string& kind, const auto& change) {
    SCOPED_TRACE(kind);
    File file = file_of(small_state(kind));
    file.change(change);
    SketchConfig sketch = problem_of_text(file.problem, "test").sketch;
    file.fingerprint = sketch.fingerprint();
    expect_refused(file, {"not a state: levels is 1 for a sketch of ", "a query would scan more than 2^40 items"});
  };
  const auto change_n = [&](Json& json) { json["sides"]["n"] = json["sketch"]["dimension"] = many; };
  for (const char* kind : {"vector", "product", "product_x_fixed", "product_p4", "rows"}) refused(kind, change_n);
  refused("pairs", [&](Json& json) { json["sides"]["n1"] = json["sketch"]["dimension"] = many; });
  refused("pairs", [&](Json& json) { json["sides"]["n2"] = many; });
  for (const char* kind : {"streaming_a1", "streaming_without_operands"})
    refused(kind, [&](Json& json) {
      json["sides"]["n1"] = many / 8;
      json["sides"]["n2"] = json["sketch"]["row_length"] = 8;
      json["sketch"]["dimension"] = many;
    });
}

TEST(StateFile, ForgedArraysAreRefused) {
  const File good = file_of(small_state("pairs_exact_gram"));
  const auto refused = [&](const auto& change, std::initializer_list<std::string_view> parts) {
    File file = good;
    change(file);
    expect_refused(file, parts);
  };
  refused([](File& file) { std::swap(file.arrays[0], file.arrays[1]); },
          {"expected the array 'events of X' of X with 1 numbers, found 'X' of 'X' with 6"});
  refused([](File& file) { file.arrays[1].name = "Y"; }, {"expected the array 'X' of X", "found 'Y' of 'X' with 6"});
  refused([](File& file) { file.arrays[1].operand = "A1"; }, {"expected the array 'X' of X", "found 'X' of 'A1' with"});
  refused([](File& file) { file.arrays[1].operand = "nothing known"; }, {"found 'X' of 'nothing known'"});
  refused([](File& file) { ++file.arrays[1].size; }, {"with 6 numbers, found 'X' of 'X' with 7"});
  refused([](File& file) { file.arrays[1].size = std::numeric_limits<std::uint64_t>::max(); },
          {"with 6 numbers, found 'X' of 'X' with 18446744073709551615"});
  refused([](File& file) { file.arrays.pop_back(); }, {"expected 8 arrays for its problem, found 7"});
  refused([](File& file) { file.arrays.clear(); }, {"expected 8 arrays for its problem, found 0"});
  refused([](File& file) { file.arrays.resize(1025); }, {"expected at most 1024 arrays, found 1025"});
  refused([](File& file) { file.arrays[1].name = std::string(257, 'x'); },
          {"expected at most 256 bytes of the name of an array, found 257"});
  refused([](File& file) { file.arrays[1].operand = std::string(257, 'x'); },
          {"expected at most 256 bytes of the name of an operand, found 257"});
  refused([](File& file) { file.numbers.pop_back(); }, {"expected ", " numbers and 0 bytes more, found "});
  refused([](File& file) { file.numbers.push_back(0); }, {"expected ", " numbers and 0 bytes more, found "});
  // A part that is no sum, of a state that has none.
  refused(
      [](File& file) {
        file.other.resize(5);
        file.other_length = 5;
      },
      {"5 bytes that are no sum, of which a state of A1, A2 and X has none"});
  for (const std::uint64_t length :
       {std::uint64_t{1}, std::uint64_t{8}, std::uint64_t{1} << 40, std::numeric_limits<std::uint64_t>::max()})
    refused([&](File& file) { file.other_length = length; },
            {fmt::format(" numbers and {} bytes more, found {} bytes", length, 8 * good.numbers.size())});
}

TEST(StateFile, ForgedNumbersAreRefused) {
  for (const auto& [name, state] : small_states()) {
    const File good = file_of(state);
    for (const File::Array& array : good.arrays) {
      for (const double bad : {infinity, -infinity, std::numeric_limits<double>::quiet_NaN()}) {
        File file = good;
        file.array(array.name).back() = bad;
        expect_refused(file, {fmt::format("expected finite numbers, found number {} of '{}', which is not",
                                          array.size - 1, array.name)});
      }
    }
  }
  for (const char* kind : {"pairs", "exact_pairs"})
    for (const double count : {-1.0, 0.5, 1e-300}) {
      File file = file_of(small_state(kind));
      file.array("events of X")[0] = count;
      expect_refused(file, {fmt::format("expected a whole number of events of X, found {}", count)});
    }
  // Operands whose product overflows: the state is whole, and is refused an event, for which they are multiplied.
  File file = file_of(small_state("streaming_a1"));
  std::ranges::fill(file.array("A2"), 1e200);
  std::ranges::fill(file.array("X"), 1e200);
  State loaded = deserialise(file.write(), "test");
  EventBatch batch;
  batch.push_back({Operand::A1, 0, 0, 1});
  expect_error<InputError>([&] { loaded.add(batch); }, {"of A2: its product with X overflows a double"});
}

TEST(StateFile, ForgedSizesAllocateNothing) {
  // Terabytes that a file of some hundred bytes promises, in all that say so: the problem, the arrays, the other part.
  const auto promised = [](const std::string& kind, const auto& change) {
    SCOPED_TRACE(kind);
    File file = file_of(small_state(kind));
    file.change(change);
    const Problem problem = problem_of_text(file.problem, "test");
    file.fingerprint = problem.sketch.fingerprint();
    const std::vector<ArrayLayout> layout = setting_of(problem).layout(problem);
    file.arrays.clear();
    for (const ArrayLayout& array : layout)
      file.arrays.push_back({array.name, std::string(to_string(array.operand)), array.size});
    ASSERT_GT(doubles_of(layout, {}), std::uint64_t{1} << 40);
    expect_refused(file, {"expected ", " numbers and 0 bytes more, found "});
  };
  const auto large_sketch = [](Json& json) {
    json["sketch"]["buckets"] = std::uint64_t{1} << 32;
    json["sketch"]["lanes"] = 4096;
  };
  for (const char* kind : {"vector", "product", "product_p4", "product_x_fixed", "rows", "pairs", "streaming_a1"})
    promised(kind, large_sketch);
  promised("product_x_fixed", [](Json& json) { json["sides"]["d"] = std::uint64_t{1} << 62; });
  promised("exact_product_x_fixed", [](Json& json) { json["sides"]["d"] = std::uint64_t{1} << 63; });
  promised("exact_product_a_fixed", [](Json& json) { json["sides"]["d"] = std::uint64_t{1} << 63; });
  promised("exact_product", [](Json& json) { json["sides"]["d"] = std::uint64_t{1} << 63; });
  promised("exact_rows", [](Json& json) { json["sides"]["d"] = std::uint64_t{1} << 63; });
  promised("exact_pairs", [](Json& json) { json["sides"]["d1"] = json["sides"]["d2"] = std::uint64_t{1} << 32; });
  promised("streaming_a1", [](Json& json) { json["sides"]["d1"] = std::uint64_t{1} << 45; });
}

TEST(StateFile, WillNotWriteWhatItWouldNotRead) {
  const TemporaryDirectory directory;
  for (const auto& [name, state] : small_states()) {
    for (const StateArray& array : state.arrays()) {
      for (const double bad : {infinity, std::numeric_limits<double>::quiet_NaN()}) {
        const double before = std::exchange(array.numbers.doubles().back(), bad);
        expect_error([&] { save_state(directory / "x.weir", state); },
                     {"x.weir: expected finite numbers, found ", fmt::format("among '{}'", array.layout->name)});
        expect_error([&] { std::ignore = serialise(state); }, {"expected finite numbers"});
        array.numbers.doubles().back() = before;
      }
    }
  }
  EXPECT_EQ(directory.entries(), 0U);
}

TEST(StateFile, AFailedSaveLeavesNothingBehind) {
  const TemporaryDirectory directory;
  const State state = small_state("vector");
  expect_error([&] { save_state(directory / "missing/x.weir", state); }, {"missing/x.weir", "No such file"});
  expect_error([&] { save_state("/dev/full", state); }, {"/dev/full", "No space left"});
  EXPECT_EQ(directory.entries(), 0U);
  // Pieces that fail between the two passes: the file that was there stays as it is.
  save_state(directory / "x.weir", state);
  const std::string before = contents_of(directory / "x.weir");
  int calls = 0;
  EXPECT_THROW(save_state(directory / "x.weir", state,
                          [&](std::size_t array, const auto& take) {
                            if (++calls == 2) throw InputError("a part that did not come");
                            take(std::as_bytes(state.arrays()[array].numbers.doubles()));
                          }),
               InputError);
  EXPECT_EQ(directory.entries(), 1U);
  EXPECT_EQ(contents_of(directory / "x.weir"), before);
}

/// tests/data/NAME.
std::string data(const std::string& name) { return std::string(WEIR_TEST_DATA) + "/" + name; }

std::vector<std::filesystem::path> files_in(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(data(folder)))
    if (entry.path().extension() == ".weir") files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

std::string digest_of(std::span<const double> numbers) {
  return fmt::format("{:016x}", XXH64(numbers.data(), numbers.size_bytes(), 0));
}

// Files of version 3 are read for ever. They are states of every_kind(), seed 1, as the first build that wrote the version
// made them; states.json says what is in them. Neither is ever made again. (exact_pairs_shared came later: its numbers are
// those of exact_pairs.)
TEST(StateFile, FilesOfVersion3AreReadForEver) {
  const Json table = Json::parse(contents_of(data("states-v3/states.json")));
  const std::vector<std::filesystem::path> files = files_in("states-v3");
  EXPECT_EQ(files.size(), table.size());
  std::uintmax_t bytes_of_all = 0;
  for (const std::filesystem::path& path : files) {
    SCOPED_TRACE(path.stem());
    const Json& expected = table.at(path.stem().string());
    const State state = load_state(path);
    EXPECT_EQ(state_version(path), 3U);
    EXPECT_EQ(Json::parse(to_text(state.problem())), expected.at("problem"));
    EXPECT_EQ(state.updates, expected.at("updates"));
    EXPECT_EQ(state.ranks, expected.at("ranks"));
    Json arrays = Json::object();
    for (const StateArray& array : state.arrays())
      arrays[array.layout->name] = {{"numbers", array.numbers.doubles().size()},
                                    {"xxh64", digest_of(array.numbers.doubles())}};
    EXPECT_EQ(arrays, expected.at("arrays"));
    EXPECT_EQ(serialise(state), bytes_of(path));
    bytes_of_all += std::filesystem::file_size(path);
  }
  EXPECT_LT(bytes_of_all, 200U * 1024);
  for (const Kind& kind : every_kind()) EXPECT_TRUE(table.contains(kind.name)) << kind.name;
}

// Version 4 is version 3 with names. keyed.weir was made by the first build that wrote it, from the lines ann,3 bob,-1
// 10.0.0.1,7 12,5 ann,2 with seed 7; keyed.json has its names as a program that shares no code with weir found them.
TEST(StateFile, FilesOfVersion4AreReadForEver) {
  const Json expected = Json::parse(contents_of(data("states-v4/keyed.json")));
  const std::string path = data("states-v4/keyed.weir");
  const State state = load_state(path);
  EXPECT_EQ(state_version(path), 4U);
  EXPECT_EQ(state.updates, expected.at("updates"));
  EXPECT_EQ(state.ranks, expected.at("ranks"));
  EXPECT_EQ(state.names.capacity(), expected.at("capacity"));
  Json names = Json::object();
  for (const KeyName& name : state.names.entries()) {
    names[fmt::to_string(name.index)] = name.name;
    EXPECT_EQ(name.index, key_of_text(7, name.name));
  }
  EXPECT_EQ(names, expected.at("names"));
  EXPECT_EQ(serialise(state), bytes_of(path));
}

/// The names of arrays in version 3 by those in the tables of version 2.
std::string name_of_array(const std::string& old, const Problem& problem) {
  if (problem.setting == "kronecker-two-stage" || problem.setting == "rows") {
    const std::size_t dot = old.find('.');
    const std::string operand = dot == std::string::npos ? "A" : old.substr(0, dot);
    const std::string part = old.substr(dot == std::string::npos ? 0 : dot + 1);
    if (part == "draws") return "cells of " + operand;
    if (part == "wide") return "cells of the Gram sketch of " + operand;
    if (part == "gram") return "Gram matrix of " + operand;
    return old;  // X
  }
  if (old == "x") return "x";
  if (problem.setting == "product" && problem.role(Operand::x) == Role::streams) return "cells of A";
  return problem.degree == 2 ? "cells of y and its squares" : "cells of y";
}

TEST(StateFile, FilesOfVersion2AreReadForEver) {
  const TemporaryDirectory directory;
  const std::vector<std::filesystem::path> files = files_in("states-v2");
  EXPECT_EQ(files.size(), 32U);
  for (const std::filesystem::path& path : files) {
    SCOPED_TRACE(path.stem());
    std::filesystem::path table = path;
    const Json expected = Json::parse(contents_of(table.replace_extension(".json").string())).at("state");
    const int kind = expected.at("kind");
    EXPECT_EQ(state_version(path), 2U);
    const State state = load_state(path);
    const Problem& problem = state.problem();
    EXPECT_EQ(state.updates, expected.at("updates"));
    EXPECT_EQ(state.ranks, expected.at("ranks"));

    const std::string model = expected.at("model");
    EXPECT_EQ(problem.setting, model != "kronecker" ? model
                               : kind == 3          ? "kronecker-streaming"
                                                    : "kronecker-two-stage");
    EXPECT_EQ(setting_of(problem).traits().model, model);
    EXPECT_EQ(problem.keeps, Keeps::sketch);
    EXPECT_EQ(problem.degree, expected.value("degree", 1));
    const Json sketch = Json::parse(to_text(problem)).at("sketch");
    for (const auto& [name, value] : sketch.items())
      if (name != "dimension") {
        EXPECT_EQ(value, expected.value(name, Json(0))) << name;
      }
    EXPECT_EQ(problem.sketch.dimension, expected.at("n"));
    EXPECT_EQ(problem.precision.value_or(PrecisionTarget()),
              (PrecisionTarget{expected.at("epsilon"), expected.at("constant")}));

    std::map<std::string, std::uint64_t, std::less<>> sides;
    std::map<Operand, Role> roles;
    OperandSet fixed;
    for (const std::string name : expected.at("fixed")) fixed.insert(*find_operand(name));
    const auto role = [&](Operand operand) { return fixed.contains(operand) ? Role::fixed : Role::streams; };
    if (kind == 3) {
      const bool transposed = expected.at("transposed");
      const std::uint64_t length = expected.at("row_length"), others = problem.sketch.dimension / length;
      sides = {{"n1", transposed ? length : others}, {"n2", transposed ? others : length}};
      roles = {{Operand::A1, transposed ? Role::absent : Role::forgotten},
               {Operand::A2, transposed ? Role::forgotten : Role::absent},
               {Operand::X, Role::absent}};
    } else if (kind == 5) {
      for (const char* side : {"n2", "d1", "d2"}) sides[side] = expected.at(side);
      sides["n1"] = expected.at("n");
      for (const Operand operand : {Operand::A1, Operand::A2, Operand::X}) roles[operand] = role(operand);
    } else {
      sides["n"] = expected.at("n");
      if (kind == 2 && !fixed.contains(Operand::x)) sides["d"] = expected.at("d");
      if (kind == 4) sides["d"] = expected.at("d");
      if (model == "vector") roles = {{Operand::y, Role::streams}};
      if (model == "rows") roles = {{Operand::A, Role::streams}};
      if (model == "product")
        roles = {{Operand::A, role(Operand::A)},
                 {Operand::x, kind == 1 || fixed.contains(Operand::x) ? Role::absent : Role::streams}};
    }
    EXPECT_EQ(problem.sides, sides);
    EXPECT_EQ(problem.roles, roles);
    if (kind >= 4) {
      EXPECT_EQ(problem.gram, (GramConfig{expected.at("gram_buckets"), expected.at("gram_exact")}));
    }

    std::size_t arrays = 0;
    for (const auto& [name, array] : expected.at("arrays").items()) {
      if (array.at("numbers") == 0) continue;
      if (kind == 2 && name == "x" && fixed.contains(Operand::x)) continue;  // 1 stands in its place
      const std::span<const double> numbers = state.array(name_of_array(name, problem));
      EXPECT_EQ(numbers.size(), array.at("numbers")) << name;
      EXPECT_EQ(digest_of(numbers), array.at("xxh64")) << name;
      ++arrays;
    }
    if (kind == 5) {
      EXPECT_EQ(state.array("events of X")[0], expected.at("x_events"));
      ++arrays;
    }
    EXPECT_EQ(arrays, state.layout().size());

    save_state(directory / "again.weir", state);
    EXPECT_EQ(state_version(directory / "again.weir"), 3U);
    expect_same(load_state(directory / "again.weir"), state);
  }
}

TEST(StateFile, DamagedFilesOfVersion2AreRefused) {
  for (const std::filesystem::path& path : files_in("states-v2")) {
    SCOPED_TRACE(path.stem());
    const Bytes good = bytes_of(path);
    for (std::size_t length = 0; length < good.size(); length += 7)
      EXPECT_THROW(std::ignore = deserialise(std::span(good).first(length), "cut"), InputError) << length;
    Bytes bytes = good;
    for (std::size_t k = 0; k < good.size(); k += 5) {
      bytes[k] ^= std::byte{4};
      EXPECT_THROW(std::ignore = deserialise(bytes, "damaged"), InputError) << k;
      bytes[k] ^= std::byte{4};
    }
    // Checksums are right.
    for (const std::size_t less : {1U, 7U, 8U, 16U}) {
      Bytes cut(good.begin(), good.end() - static_cast<std::ptrdiff_t>(less));
      seal(cut);
      EXPECT_THROW(std::ignore = deserialise(cut, "cut"), InputError) << less;
    }
    for (std::size_t length = header_size; length < header_size + 180; ++length) {
      Bytes cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length));
      seal(cut);
      EXPECT_THROW(std::ignore = deserialise(cut, "cut"), InputError) << length;
    }
    bytes.resize(good.size() + 8);
    seal(bytes);
    expect_error([&] { std::ignore = deserialise(bytes, "long"); }, {"long: expected ", " numbers, found "});
    for (std::size_t k = header_size; k < header_size + 180; ++k) {
      for (const int value : {0, 2, 0x7F}) {
        bytes = good;
        bytes[k] = static_cast<std::byte>(value);
        seal(bytes);
        try {
          std::ignore = deserialise(bytes, "forged");
        } catch (const InputError& error) {
          EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string::npos) << error.what();
        }
      }
    }
  }
}

/// Refuses a file of version 2 with `value` at `offset`, checksums made right.
template <class Value>
void refuse_v2(const std::string& name, std::size_t offset, Value value,
               std::initializer_list<std::string_view> parts) {
  SCOPED_TRACE(fmt::format("{} at {}", name, offset));
  Bytes bytes = bytes_of(data("states-v2/" + name + ".weir"));
  patch(bytes, offset, value);
  seal(bytes);
  expect_error([&] { std::ignore = deserialise(bytes, "forged"); }, parts);
  expect_error([&] { std::ignore = deserialise(bytes, "forged"); }, {"forged: "});
}

/// The payload ends with the numbers; what describes them ends before.
std::size_t end_of(const std::string& name) { return bytes_of(data("states-v2/" + name + ".weir")).size(); }

TEST(StateFile, ForgedFilesOfVersion2AreRefused) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  // Offsets by the drawing in src/io/state_file_v2.cpp.
  const std::size_t vector = header_size + 6, product = header_size + 7, pairs = header_size + 9,
                    rows = header_size + 4;
  refuse_v2("vector", 16, std::uint32_t{0}, {"unknown kind of state 0"});
  refuse_v2("vector", 16, std::uint32_t{6}, {"unknown kind of state 6"});
  for (const std::uint32_t kind : {2U, 3U, 4U, 5U})
    refuse_v2("vector", 16, kind, {fmt::format("the model 'vector' does not go with a payload of kind {}", kind)});
  refuse_v2("product", 16, std::uint32_t{1}, {"forged"});
  refuse_v2("vector", header_size + 1, std::uint32_t{65}, {"expected a model name of at most 64 bytes, found 65"});
  refuse_v2("vector", header_size + 1, std::uint32_t{5}, {"the model 'vecto' does not go"});
  refuse_v2("vector", vector + 21, std::uint8_t{1}, {"fixed operands are 0x01: expected bits of 0x00"});
  refuse_v2("product", product + 21, std::uint8_t{9}, {"fixed operands are 0x09: expected bits of 0x06"});
  refuse_v2("two-stage-sketch-identity", pairs + 21, std::uint8_t{4},
            {"fixed operands are 0x04: expected bits of 0x38"});
  refuse_v2("vector", vector + 22, 0.5, {"there are epsilon and C of the sampler precision"});
  for (const double epsilon : {-0.5, 1.0, infinity, std::numeric_limits<double>::quiet_NaN()})
    refuse_v2("vector-uniform", vector + 22, epsilon, {"of the sampler precision: expected numbers between 0 and 1"});
  refuse_v2("vector", vector + 38, std::uint64_t{0}, {"not a sketch: dimension is 0"});
  refuse_v2("vector", vector + 50, std::uint64_t{1} << 32, {"another construction"});
  refuse_v2("vector", vector + 66, std::uint8_t{9}, {"not a sketch: the law"});
  refuse_v2("vector", vector + 67, std::numeric_limits<double>::quiet_NaN(), {"not a sketch: p is nan"});
  refuse_v2("vector", vector + 75, std::uint8_t{9}, {"not a sketch: the source of randomness"});
  refuse_v2("vector", vector + 88, std::uint64_t{1}, {"another construction"});
  for (const char* name : {"vector", "product", "rows-exact", "kronecker-streaming-a1", "two-stage-exact-identity"}) {
    refuse_v2(name, end_of(name) - 8, infinity, {"expected finite numbers"});
    refuse_v2(name, end_of(name) - 8, std::numeric_limits<double>::quiet_NaN(), {"expected finite numbers"});
  }

  for (const std::uint64_t d : {std::uint64_t{0}, std::uint64_t{1} << 32, std::uint64_t{1} << 62, most})
    refuse_v2("product", product + 96, d, {"not a state: "});
  refuse_v2("product", product + 96, std::uint64_t{4}, {"expected 388 numbers, found "});
  refuse_v2("product", product + 104, std::uint32_t{3}, {"not a state: ", "degree"});
  refuse_v2("product", product + 21, std::uint8_t{2}, {"d is 3 and the degree 1 where x was fixed, expected 1 and 2"});
  refuse_v2("product-p4-x-fixed", product + 108, 2.0, {"expected 1 in the place of x, which was fixed"});

  refuse_v2("kronecker-streaming-a1", pairs + 88, std::uint64_t{0}, {"the length of the rows of a matrix, found 0"});
  refuse_v2("kronecker-streaming-a1", pairs + 88, std::uint64_t{7}, {"not a sketch: row_length is 7"});
  refuse_v2("kronecker-streaming-a1", pairs + 88, std::uint64_t{6}, {"another construction"});
  refuse_v2("kronecker-streaming-a1", pairs + 96, std::uint8_t{2}, {"expected 0 or 1 for transposed, found 2"});

  for (const std::uint64_t d : {std::uint64_t{0}, (std::uint64_t{1} << 15) + 1, most})
    refuse_v2("rows-exact", rows + 96, d, {"not a state: "});
  refuse_v2("rows-exact", rows + 96, std::uint64_t{4}, {"expected ", " numbers, found "});
  refuse_v2("rows-exact", rows + 104, std::uint64_t{3}, {"not a state: buckets of the Gram sketch are 3"});
  refuse_v2("rows-exact", rows + 104, std::uint64_t{1} << 32, {"expected ", " numbers, found "});
  refuse_v2("rows-exact", rows + 112, std::uint8_t{0}, {"expected 360 numbers, found "});
  refuse_v2("rows-exact", rows + 112, std::uint8_t{255}, {"expected 0 or 1 for an exact Gram matrix, found 255"});

  const std::string identity = "two-stage-exact-identity";
  for (const std::size_t side : {96U, 104U, 112U})
    for (const std::uint64_t length : {std::uint64_t{0}, most})
      refuse_v2(identity, pairs + side, length, {"not a state: "});
  refuse_v2(identity, pairs + 104, std::uint64_t{3}, {"expected ", " numbers, found "});
  refuse_v2(identity, pairs + 128, std::uint8_t{2}, {"expected 0 or 1 for an exact Gram matrix, found 2"});
  refuse_v2(identity, pairs + 137, infinity, {"expected finite numbers, found number 0 of 'events of X'"});
  refuse_v2(identity, pairs + 137, -1.0, {"expected a whole number of events of X, found -1"});
  refuse_v2(identity, pairs + 137, 0.5, {"expected a whole number of events of X, found 0.5"});
  refuse_v2(identity, pairs + 96, std::uint64_t{1} << 50, {"not a state: levels is 1", "more than 2^40 items"});

  // Sketches that cannot be queried: a fingerprint that fits, and as many numbers.
  Bytes bytes = bytes_of(data("states-v2/vector.weir"));
  SketchConfig config = load_state(data("states-v2/vector.weir")).problem().sketch;
  config.dimension = std::uint64_t{1} << 50;
  patch(bytes, vector + 38, config.dimension);
  patch(bytes, vector + 88, config.fingerprint());
  seal(bytes);
  expect_error([&] { std::ignore = deserialise(bytes, "forged"); },
               {"not a state: levels is 1", "more than 2^40 items"});
  bytes = bytes_of(data("states-v2/kronecker-streaming-a1.weir"));
  config = load_state(data("states-v2/kronecker-streaming-a1.weir")).problem().sketch;
  ASSERT_EQ(config.levels, 1U);
  config.dimension = std::uint64_t{5} << 50;
  patch(bytes, pairs + 38, config.dimension);
  patch(bytes, pairs + 97, config.fingerprint());
  seal(bytes);
  expect_error([&] { std::ignore = deserialise(bytes, "forged"); },
               {"not a state: levels is 1", "more than 2^40 items"});
  // Gigabytes that a file of some kilobytes promises.
  config = load_state(data("states-v2/vector.weir")).problem().sketch;
  config.buckets = std::uint64_t{1} << 32;
  bytes = bytes_of(data("states-v2/vector.weir"));
  patch(bytes, vector + 50, config.buckets);
  patch(bytes, vector + 88, config.fingerprint());
  seal(bytes);
  expect_error([&] { std::ignore = deserialise(bytes, "huge"); },
               {"huge: expected 103079215104 numbers, found 1536 bytes"});
}

}  // namespace
}  // namespace weir
