#include "weir/io/state_file.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cereal/archives/portable_binary.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <istream>
#include <memory>
#include <ostream>
#include <streambuf>
#include <type_traits>
#include <utility>

#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/text.hpp"

namespace weir {
namespace {

constexpr std::array<unsigned char, 8> magic{0x89, 'W', 'E', 'I', 'R', '\r', '\n', 0x1a};
constexpr std::size_t header_size = 48;
constexpr std::size_t checksummed_header = 40;
constexpr std::uint32_t kind_vector_sketch = 1;
constexpr std::uint32_t kind_product_sketch = 2;
constexpr std::string_view product_model = "product";
constexpr std::array<std::string_view, 2> models{"vector", product_model};
constexpr std::size_t longest_model = 64;

using Header = std::array<std::byte, header_size>;
/// Fills the span with the bytes from the offset on; throws InputError when there are fewer.
using ReadAt = std::function<void(std::uint64_t, std::span<std::byte>)>;
using WriteNext = std::function<void(std::span<const std::byte>)>;

template <class Integer>
void put(Header& header, std::size_t offset, Integer value) {
  for (std::size_t k = 0; k < sizeof(Integer); ++k)
    header[offset + k] = static_cast<std::byte>(value >> (8 * k) & 0xff);
}

template <class Integer>
Integer get(const Header& header, std::size_t offset) {
  Integer value = 0;
  for (std::size_t k = 0; k < sizeof(Integer); ++k) value |= std::to_integer<Integer>(header[offset + k]) << (8 * k);
  return value;
}

/// XXH64 of bytes that come in pieces.
class Checksum {
 public:
  Checksum() : state_(XXH64_createState(), &XXH64_freeState) {
    if (!state_) throw std::bad_alloc();
    XXH64_reset(state_.get(), state_checksum_seed);
  }
  void add(std::span<const std::byte> bytes) { XXH64_update(state_.get(), bytes.data(), bytes.size()); }
  [[nodiscard]] std::uint64_t value() const { return XXH64_digest(state_.get()); }

 private:
  std::unique_ptr<XXH64_state_t, decltype(&XXH64_freeState)> state_;
};

std::uint64_t header_checksum(const Header& header) {
  Checksum checksum;
  checksum.add(std::span(header).first(checksummed_header));
  return checksum.value();
}

/// Lets cereal write through a function, straight from the table.
class WritingBuffer : public std::streambuf {
 public:
  explicit WritingBuffer(WriteNext write) : write_(std::move(write)) {}

 protected:
  std::streamsize xsputn(const char* data, std::streamsize count) override {
    write_(std::as_bytes(std::span(data, static_cast<std::size_t>(count))));
    return count;
  }

 private:
  WriteNext write_;
};

/// Lets cereal read through a function, straight into the table. Nothing beyond `size` bytes is asked for.
class ReadingBuffer : public std::streambuf {
 public:
  ReadingBuffer(ReadAt read, std::uint64_t first, std::uint64_t size)
      : read_(std::move(read)), position_(first), remaining_(size) {}

  [[nodiscard]] std::uint64_t remaining() const noexcept { return remaining_; }

 protected:
  std::streamsize xsgetn(char* data, std::streamsize count) override {
    const auto wanted = static_cast<std::size_t>(count);
    if (wanted > remaining_) return 0;
    read_(position_, std::as_writable_bytes(std::span(data, wanted)));
    position_ += wanted;
    remaining_ -= wanted;
    return count;
  }

 private:
  ReadAt read_;
  std::uint64_t position_;
  std::uint64_t remaining_;
};

/// The fields of a SketchConfig in the order of the format, for reading and for writing.
template <class Archive, class Config>
void archive_config(Archive& archive, Config& config) {
  archive(config.dimension, config.rows, config.buckets, config.lanes, config.levels, config.law, config.p,
          config.randomness, config.independence, config.seed);
}

bool is_known_model(std::string_view model) { return std::find(models.begin(), models.end(), model) != models.end(); }

/// `plural` and `singular` name the numbers.
void require_finite(std::span<const double> numbers, std::string_view plural, std::string_view singular,
                    const std::string& name) {
  const auto bad = std::find_if(numbers.begin(), numbers.end(), [](double number) { return !std::isfinite(number); });
  if (bad != numbers.end()) {
    throw InputError(
        fmt::format("{}: expected finite {}, found {} in {} {}", name, plural, *bad, singular, bad - numbers.begin()));
  }
}

std::span<const double> table_of(const State& state) {
  if (const auto* product = std::get_if<ProductSketch>(&state.sketch)) return product->a.table();
  return std::get<VectorSketch>(state.sketch).table();
}

void require_finite(const State& state, const std::string& name) {
  if (const auto* product = std::get_if<ProductSketch>(&state.sketch)) {
    require_finite(product->x, "entries of x", "entry", name);
  }
  require_finite(table_of(state), "cells in the table", "cell", name);
}

void write_payload(const State& state, const WriteNext& write) {
  WritingBuffer buffer(write);
  std::ostream stream(&buffer);
  cereal::PortableBinaryOutputArchive archive(stream, cereal::PortableBinaryOutputArchive::Options::LittleEndian());
  const StateDescription& description = state.description;
  const SketchConfig& config = config_of(state.sketch);
  archive(static_cast<std::uint32_t>(description.model.size()),
          cereal::binary_data(description.model.data(), description.model.size()), description.updates,
          description.ranks);
  archive_config(archive, config);
  archive(config.fingerprint());
  if (const auto* product = std::get_if<ProductSketch>(&state.sketch)) {
    archive(static_cast<std::uint64_t>(product->x.size()), product->degree,
            cereal::binary_data(product->x.data(), product->x.size() * sizeof(double)));
  }
  const std::span<const double> table = table_of(state);
  archive(cereal::binary_data(table.data(), table.size_bytes()));
}

/// A description and a configuration, as both kinds begin.
struct Preamble {
  StateDescription description;
  SketchConfig config;
};

/// What `make` returns; a sketch that cannot be is the file's fault.
template <class Make>
auto made_from_file(const std::string& name, const Make& make) {
  try {
    return make();
  } catch (const UsageError& error) {
    throw InputError(fmt::format("{}: not a sketch: {}", name, error.what()));
  }
}

Preamble read_preamble(cereal::PortableBinaryInputArchive& archive, const std::string& name) {
  Preamble preamble;
  std::string& model = preamble.description.model;
  std::uint32_t model_length = 0;
  archive(model_length);
  if (model_length > longest_model) {
    throw InputError(
        fmt::format("{}: expected a model name of at most {} bytes, found {}", name, longest_model, model_length));
  }
  model.resize(model_length);
  archive(cereal::binary_data(model.data(), model.size()), preamble.description.updates, preamble.description.ranks);
  if (!is_known_model(model)) {
    throw InputError(
        fmt::format("{}: unknown model {}; this build reads {}", name, quoted_excerpt(model), fmt::join(models, ", ")));
  }
  archive_config(archive, preamble.config);
  made_from_file(name, [&] { preamble.config.validate(); });
  std::uint64_t fingerprint = 0;
  archive(fingerprint);
  if (fingerprint != preamble.config.fingerprint()) {
    throw InputError(
        fmt::format("{}: the state was made with another construction of the hashes than this build's", name));
  }
  return preamble;
}

/// Whether `remaining` bytes are as many numbers.
bool is_size_of(std::uint64_t remaining, std::uint64_t numbers) {
  return remaining % sizeof(double) == 0 && remaining / sizeof(double) == numbers;
}

VectorSketch read_vector(cereal::PortableBinaryInputArchive& archive, const ReadingBuffer& buffer,
                         const SketchConfig& config, const std::string& name) {
  const std::uint64_t cells = config.table_size();
  if (!is_size_of(buffer.remaining(), cells)) {
    throw InputError(fmt::format("{}: expected a table of {} cells, found {} bytes", name, cells, buffer.remaining()));
  }
  VectorSketch sketch(config);
  archive(cereal::binary_data(sketch.table().data(), sketch.table().size_bytes()));
  return sketch;
}

ProductSketch read_product(cereal::PortableBinaryInputArchive& archive, const ReadingBuffer& buffer,
                           const SketchConfig& config, const std::string& name) {
  std::uint64_t d = 0;
  std::uint32_t degree = 0;
  archive(d, degree);
  const std::uint64_t cells =
      made_from_file(name, [&] { return MatrixSketch::table_size(config, ProductSketch::columns(d, degree)); });
  // There are no fewer columns than d: neither number is near 2^63.
  if (!is_size_of(buffer.remaining(), d + cells)) {
    throw InputError(fmt::format("{}: expected an x of {} entries and a table of {} cells, found {} bytes", name, d,
                                 cells, buffer.remaining()));
  }
  ProductSketch sketch(config, d, degree);
  archive(cereal::binary_data(sketch.x.data(), sketch.x.size() * sizeof(double)),
          cereal::binary_data(sketch.a.table().data(), sketch.a.table().size_bytes()));
  return sketch;
}

/// What the header says of the payload.
struct Payload {
  std::uint32_t kind;
  std::uint64_t length;
};

State read_payload(const ReadAt& read, const Payload& payload, const std::string& name) {
  ReadingBuffer buffer(read, header_size, payload.length);
  std::istream stream(&buffer);
  try {
    cereal::PortableBinaryInputArchive archive(stream);
    Preamble preamble = read_preamble(archive, name);
    if (payload.kind == kind_product_sketch && preamble.description.model != product_model) {
      throw InputError(fmt::format("{}: expected the model {} with A and x, found {}", name, product_model,
                                   preamble.description.model));
    }
    const auto with = [&](auto sketch) { return State{std::move(preamble.description), std::move(sketch)}; };
    State state = payload.kind == kind_product_sketch ? with(read_product(archive, buffer, preamble.config, name))
                                                      : with(read_vector(archive, buffer, preamble.config, name));
    require_finite(state, name);
    return state;
  } catch (const cereal::Exception&) {
    throw InputError(fmt::format("{}: the payload of {} bytes is too short for a state", name, payload.length));
  }
}

Header make_header(const State& state, std::uint64_t payload_length, std::uint64_t payload_checksum) {
  Header header{};
  std::memcpy(header.data(), magic.data(), magic.size());
  put(header, 8, state_format_version);
  put(header, 12, static_cast<std::uint32_t>(header_size));
  put(header, 16, std::holds_alternative<ProductSketch>(state.sketch) ? kind_product_sketch : kind_vector_sketch);
  put(header, 24, payload_length);
  put(header, 32, payload_checksum);
  put(header, 40, header_checksum(header));
  return header;
}

/// Everything that can be known before the payload is looked at.
Payload verify(const ReadAt& read, std::uint64_t size, const std::string& name) {
  if (size == 0) throw InputError(fmt::format("{}: expected a weir state, found an empty file", name));
  Header header{};
  read(0, std::span(header).first(static_cast<std::size_t>(std::min<std::uint64_t>(size, header_size))));
  const std::size_t comparable = static_cast<std::size_t>(std::min<std::uint64_t>(size, magic.size()));
  if (std::memcmp(header.data(), magic.data(), comparable) != 0) {
    throw InputError(
        fmt::format("{}: not a weir state (its first {} bytes are not the magic bytes)", name, magic.size()));
  }
  if (size < header_size) {
    throw InputError(
        fmt::format("{}: expected a header of {} bytes, but the file ends at byte {}", name, header_size, size));
  }
  // The version comes before the checksum: a later version may place the checksum elsewhere.
  if (const auto version = get<std::uint32_t>(header, 8); version == 0 || version > state_format_version) {
    throw InputError(
        fmt::format("{}: state format version {}; this build reads up to {}", name, version, state_format_version));
  }
  if (get<std::uint64_t>(header, 40) != header_checksum(header)) {
    throw InputError(
        fmt::format("{}: damaged: the checksum of the header (bytes 0 to {}) does not match", name, header_size - 1));
  }
  if (const auto stated = get<std::uint32_t>(header, 12); stated != header_size) {
    throw InputError(fmt::format("{}: expected a header of {} bytes at byte 12, found {}", name, header_size, stated));
  }
  const auto kind = get<std::uint32_t>(header, 16);
  if (kind != kind_vector_sketch && kind != kind_product_sketch) {
    throw InputError(fmt::format("{}: unknown kind of state {}; this build reads kinds {} and {}", name, kind,
                                 kind_vector_sketch, kind_product_sketch));
  }
  if (const auto zero = get<std::uint32_t>(header, 20); zero != 0) {
    throw InputError(fmt::format("{}: expected 0 at byte 20, found {}", name, zero));
  }
  const auto length = get<std::uint64_t>(header, 24);
  const std::uint64_t present = size - header_size;
  if (length != present) {
    throw InputError(fmt::format("{}: {}: expected {} bytes after the header, found {}", name,
                                 present < length ? "truncated" : "trailing bytes", length, present));
  }
  Checksum checksum;
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min<std::uint64_t>(length, std::uint64_t{1} << 20)));
  for (std::uint64_t done = 0; done < length; done += piece.size()) {
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(length - done, piece.size())));
    read(header_size + done, piece);
    checksum.add(piece);
  }
  if (get<std::uint64_t>(header, 32) != checksum.value()) {
    throw InputError(fmt::format("{}: damaged: the checksum of the payload (bytes {} to {}) does not match", name,
                                 header_size, size - 1));
  }
  return {kind, length};
}

void require_writable(const State& state, const std::string& name) {
  if (!is_known_model(state.description.model)) {
    throw UsageError(
        fmt::format("cannot write the state of an unknown model {}", quoted_excerpt(state.description.model)));
  }
  if (std::holds_alternative<ProductSketch>(state.sketch) && state.description.model != product_model) {
    throw UsageError(fmt::format("cannot write A and x as a state of the model {}", state.description.model));
  }
  require_finite(state, name);
}

std::string kind_name(const State& state) {
  return std::holds_alternative<ProductSketch>(state.sketch) ? "A and x of a product" : "a vector";
}

}  // namespace

void multiply_out(State& state) { state.sketch = sketch_of_y(std::move(state.sketch)); }

std::string describe_difference(const State& a, const State& b) {
  if (a.sketch.index() != b.sketch.index()) {
    return fmt::format("what they hold: {} against {}", kind_name(a), kind_name(b));
  }
  if (const auto* product = std::get_if<ProductSketch>(&a.sketch)) {
    return describe_difference(*product, std::get<ProductSketch>(b.sketch));
  }
  return describe_difference(config_of(a.sketch), config_of(b.sketch));
}

void add(State& sum, const State& other, double coefficient) {
  if (const std::string difference = describe_difference(sum, other); !difference.empty()) {
    throw InputError("the states do not combine: " + difference);
  }
  std::visit([&](auto& sketch) { sketch.add(std::get<std::decay_t<decltype(sketch)>>(other.sketch), coefficient); },
             sum.sketch);
  sum.description.updates += other.description.updates;
}

void scale(State& state, double coefficient) {
  std::visit([&](auto& sketch) { sketch.scale(coefficient); }, state.sketch);
}

std::vector<std::byte> serialise(const State& state) {
  require_writable(state, "state");
  std::vector<std::byte> bytes;
  bytes.reserve(table_of(state).size_bytes() + 1024);
  bytes.resize(header_size);
  write_payload(state,
                [&](std::span<const std::byte> piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
  Checksum checksum;
  checksum.add(std::span(bytes).subspan(header_size));
  const Header header = make_header(state, bytes.size() - header_size, checksum.value());
  std::copy(header.begin(), header.end(), bytes.begin());
  return bytes;
}

State deserialise(std::span<const std::byte> bytes, const std::string& name) {
  const ReadAt read = [&](std::uint64_t offset, std::span<std::byte> out) {
    const std::span<const std::byte> from = bytes.subspan(static_cast<std::size_t>(offset), out.size());
    std::copy(from.begin(), from.end(), out.begin());
  };
  return read_payload(read, verify(read, bytes.size(), name), name);
}

void save_state(const std::string& path, const State& state) {
  require_writable(state, path);
  Checksum checksum;
  std::uint64_t length = 0;
  write_payload(state, [&](std::span<const std::byte> piece) {
    checksum.add(piece);
    length += piece.size();
  });
  OutputFile file(path);
  file.write(make_header(state, length, checksum.value()));
  write_payload(state, [&](std::span<const std::byte> piece) { file.write(piece); });
  file.commit();
}

State load_state(const std::string& path) {
  const InputFile file(path);
  const ReadAt read = [&](std::uint64_t offset, std::span<std::byte> out) { file.read_exactly_at(offset, out); };
  return read_payload(read, verify(read, file.size(), path), path);
}

}  // namespace weir
