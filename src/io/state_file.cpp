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
constexpr std::array<std::string_view, 2> models{"vector", "product"};
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

void require_finite(std::span<const double> table, const std::string& name) {
  const auto bad = std::find_if(table.begin(), table.end(), [](double cell) { return !std::isfinite(cell); });
  if (bad != table.end()) {
    throw InputError(
        fmt::format("{}: expected finite cells in the table, found {} in cell {}", name, *bad, bad - table.begin()));
  }
}

void write_payload(const State& state, const WriteNext& write) {
  WritingBuffer buffer(write);
  std::ostream stream(&buffer);
  cereal::PortableBinaryOutputArchive archive(stream, cereal::PortableBinaryOutputArchive::Options::LittleEndian());
  const StateDescription& description = state.description;
  const std::span<const double> table = state.sketch.table();
  archive(static_cast<std::uint32_t>(description.model.size()),
          cereal::binary_data(description.model.data(), description.model.size()), description.updates,
          description.ranks);
  archive_config(archive, state.sketch.config());
  archive(state.sketch.config().fingerprint(), cereal::binary_data(table.data(), table.size_bytes()));
}

State read_payload(const ReadAt& read, std::uint64_t length, const std::string& name) {
  ReadingBuffer buffer(read, header_size, length);
  std::istream stream(&buffer);
  try {
    cereal::PortableBinaryInputArchive archive(stream);
    std::uint32_t model_length = 0;
    archive(model_length);
    if (model_length > longest_model) {
      throw InputError(
          fmt::format("{}: expected a model name of at most {} bytes, found {}", name, longest_model, model_length));
    }
    StateDescription description;
    description.model.resize(model_length);
    archive(cereal::binary_data(description.model.data(), description.model.size()), description.updates,
            description.ranks);
    if (!is_known_model(description.model)) {
      throw InputError(fmt::format("{}: unknown model {}; this build reads {}", name, quoted_excerpt(description.model),
                                   fmt::join(models, ", ")));
    }

    SketchConfig config;
    archive_config(archive, config);
    try {
      config.validate();
    } catch (const UsageError& error) {
      throw InputError(fmt::format("{}: not a sketch: {}", name, error.what()));
    }
    std::uint64_t fingerprint = 0;
    archive(fingerprint);
    if (fingerprint != config.fingerprint()) {
      throw InputError(
          fmt::format("{}: the state was made with another construction of the hashes than this build's", name));
    }
    const std::uint64_t cells = config.table_size();
    if (buffer.remaining() % sizeof(double) != 0 || buffer.remaining() / sizeof(double) != cells) {
      throw InputError(
          fmt::format("{}: expected a table of {} cells, found {} bytes", name, cells, buffer.remaining()));
    }
    State state{std::move(description), VectorSketch(config)};
    const std::span<double> table = state.sketch.table();
    archive(cereal::binary_data(table.data(), table.size_bytes()));
    require_finite(table, name);
    return state;
  } catch (const cereal::Exception&) {
    throw InputError(fmt::format("{}: the payload of {} bytes is too short for a state", name, length));
  }
}

Header make_header(std::uint64_t payload_length, std::uint64_t payload_checksum) {
  Header header{};
  std::memcpy(header.data(), magic.data(), magic.size());
  put(header, 8, state_format_version);
  put(header, 12, static_cast<std::uint32_t>(header_size));
  put(header, 16, kind_vector_sketch);
  put(header, 24, payload_length);
  put(header, 32, payload_checksum);
  put(header, 40, header_checksum(header));
  return header;
}

/// Everything that can be known before the payload is looked at. Returns its length.
std::uint64_t verify(const ReadAt& read, std::uint64_t size, const std::string& name) {
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
  if (const auto kind = get<std::uint32_t>(header, 16); kind != kind_vector_sketch) {
    throw InputError(
        fmt::format("{}: unknown kind of state {}; this build reads kind {}", name, kind, kind_vector_sketch));
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
  return length;
}

void require_writable(const State& state, const std::string& name) {
  if (!is_known_model(state.description.model)) {
    throw UsageError(
        fmt::format("cannot write the state of an unknown model {}", quoted_excerpt(state.description.model)));
  }
  require_finite(state.sketch.table(), name);
}

}  // namespace

std::vector<std::byte> serialise(const State& state) {
  require_writable(state, "state");
  std::vector<std::byte> bytes;
  bytes.reserve(state.sketch.table().size_bytes() + 1024);
  bytes.resize(header_size);
  write_payload(state,
                [&](std::span<const std::byte> piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
  Checksum checksum;
  checksum.add(std::span(bytes).subspan(header_size));
  const Header header = make_header(bytes.size() - header_size, checksum.value());
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
  file.write(make_header(length, checksum.value()));
  write_payload(state, [&](std::span<const std::byte> piece) { file.write(piece); });
  file.commit();
}

State load_state(const std::string& path) {
  const InputFile file(path);
  const ReadAt read = [&](std::uint64_t offset, std::span<std::byte> out) { file.read_exactly_at(offset, out); };
  return read_payload(read, verify(read, file.size(), path), path);
}

}  // namespace weir
