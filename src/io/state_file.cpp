#include "weir/io/state_file.hpp"

#include <fmt/format.h>

#include <cereal/archives/portable_binary.hpp>
#include <cstring>
#include <istream>
#include <ostream>

#include "io/pick.hpp"
#include "io/state_file_parts.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/text.hpp"
#include "weir/setting/setting.hpp"

namespace weir {
namespace {

using namespace state_format;

constexpr std::size_t checksummed_header = 40;
/// Bytes of a problem, and of the name of an array, at most.
constexpr std::uint32_t longest_problem = std::uint32_t{1} << 20, longest_name = 256;
constexpr std::uint32_t most_arrays = 1024;

using Header = std::array<std::byte, header_size>;
using OutputArchive = cereal::PortableBinaryOutputArchive;
using InputArchive = cereal::PortableBinaryInputArchive;

// Versions that are written. The program before reads states without names.
constexpr std::uint32_t without_names = 3, with_names = state_format_version;

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

std::uint64_t header_checksum(const Header& header) {
  Checksum checksum;
  checksum.add(std::span(header).first(checksummed_header));
  return checksum.value();
}

/// Runs `work`; what is wrong with the numbers is the file's fault.
template <class Work>
void in_file(const std::string& name, const Work& work) {
  try {
    work();
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", name, error.what()));
  }
}

void write_text(OutputArchive& archive, std::string_view text) {
  archive(static_cast<std::uint32_t>(text.size()), cereal::binary_data(text.data(), text.size()));
}

std::string read_text(InputArchive& archive, std::uint32_t longest, std::string_view what, const std::string& name) {
  std::uint32_t length = 0;
  archive(length);
  if (length > longest)
    throw InputError(fmt::format("{}: expected at most {} bytes of {}, found {}", name, longest, what, length));
  std::string text(length, '\0');
  archive(cereal::binary_data(text.data(), text.size()));
  return text;
}

void write_payload(const State& state, const ArrayPieces& pieces, const WriteNext& write) {
  WritingBuffer buffer(write);
  std::ostream stream(&buffer);
  OutputArchive archive(stream, OutputArchive::Options::LittleEndian());
  write_text(archive, to_text(state.problem()));
  archive(state.updates, state.ranks, state.problem().sketch.fingerprint());
  archive(static_cast<std::uint32_t>(state.layout().size()));
  for (const ArrayLayout& layout : state.layout()) {
    write_text(archive, layout.name);
    write_text(archive, to_string(layout.operand));
    archive(layout.size);
  }
  const std::vector<std::byte> other = state.kept().other_part(), names = state.names.to_bytes();
  archive(static_cast<std::uint64_t>(other.size()));
  if (!names.empty()) archive(static_cast<std::uint64_t>(names.size()));
  for (std::size_t k = 0; k < state.layout().size(); ++k) pieces(k, write);
  if (!other.empty()) write(other);
  if (!names.empty()) write(names);
}

State read_payload(const ReadAt& read, std::uint32_t version, std::uint64_t length, const std::string& name) {
  ReadingBuffer buffer(read, header_size, length);
  std::istream stream(&buffer);
  InputArchive archive(stream);
  const Problem problem = problem_of_text(read_text(archive, longest_problem, "the problem", name), name);
  std::uint64_t updates = 0, ranks = 0, fingerprint = 0, other_size = 0;
  std::uint32_t arrays = 0;
  archive(updates, ranks, fingerprint, arrays);
  if (arrays > most_arrays)
    throw InputError(fmt::format("{}: expected at most {} arrays, found {}", name, most_arrays, arrays));
  std::vector<ArrayLayout> expected;
  try {
    const Setting& setting = setting_of(problem);
    setting.check(problem);
    expected = setting.layout(problem);
  } catch (const UsageError& error) {
    throw_not_a_state(error, name);
  }
  require_construction(fingerprint, problem, name);
  if (arrays != expected.size())
    throw InputError(fmt::format("{}: expected {} arrays for its problem, found {}", name, expected.size(), arrays));
  std::uint64_t numbers = 0, bytes = 0;
  for (const ArrayLayout& layout : expected) {
    const std::string array = read_text(archive, longest_name, "the name of an array", name);
    const std::string operand = read_text(archive, longest_name, "the name of an operand", name);
    std::uint64_t size = 0;
    archive(size);
    if (array != layout.name || operand != to_string(layout.operand) || size != layout.size)
      throw InputError(fmt::format("{}: expected the array '{}' of {} with {} numbers, found {} of {} with {}", name,
                                   layout.name, to_string(layout.operand), layout.size, quoted_excerpt(array),
                                   quoted_excerpt(operand), size));
    const std::uint64_t each = layout.is_single ? sizeof(float) : sizeof(double);
    bytes = size > (UINT64_MAX - bytes) / each ? UINT64_MAX : bytes + size * each;
    numbers += size;
  }
  archive(other_size);
  std::uint64_t names_size = 0;
  if (version == with_names) archive(names_size);
  const std::uint64_t besides = other_size > UINT64_MAX - names_size ? UINT64_MAX : other_size + names_size;
  if (buffer.remaining() < besides || buffer.remaining() - besides != bytes)
    throw InputError(fmt::format("{}: expected {} numbers and {} bytes more, found {} bytes", name, numbers, besides,
                                 buffer.remaining()));
  State state = state_for(problem, name);
  for (const StateArray& array : state.arrays())
    archive(cereal::binary_data(array.numbers.bytes().data(), array.numbers.bytes().size()));
  if (other_size > 0) {
    std::vector<std::byte> other(static_cast<std::size_t>(other_size));
    archive(cereal::binary_data(other.data(), other.size()));
    in_file(name, [&] { state.kept().merge_other_part(other, 1); });
  }
  if (names_size > 0) {
    std::vector<std::byte> names(static_cast<std::size_t>(names_size));
    archive(cereal::binary_data(names.data(), names.size()));
    in_file(name, [&] { state.names = NameTable::of_bytes(names); });
  }
  state.updates = updates;
  state.ranks = ranks;
  return state;
}

Header make_header(const State& state, std::uint64_t payload_length, std::uint64_t payload_checksum) {
  Header header{};
  std::memcpy(header.data(), magic.data(), magic.size());
  put(header, 8, state.names.empty() ? without_names : with_names);
  put(header, 12, static_cast<std::uint32_t>(header_size));
  put(header, 24, payload_length);
  put(header, 32, payload_checksum);
  put(header, 40, header_checksum(header));
  return header;
}

/// What the header says of the payload.
struct Payload {
  std::uint32_t version;
  std::uint32_t kind;  ///< Of version 2.
  std::uint64_t length;
};

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
  // The version comes before the checksum: another version may place the checksum elsewhere.
  const auto version = get<std::uint32_t>(header, 8);
  if (version == 1) {
    throw InputError(fmt::format(
        "{}: state format version 1, made with another construction of the random scales than this build's: "
        "make the state again from its stream",
        name));
  }
  if (version < 2 || version > state_format_version) {
    throw InputError(
        fmt::format("{}: state format version {}; this build reads 2 to {}", name, version, state_format_version));
  }
  if (get<std::uint64_t>(header, 40) != header_checksum(header)) {
    throw InputError(
        fmt::format("{}: damaged: the checksum of the header (bytes 0 to {}) does not match", name, header_size - 1));
  }
  if (const auto stated = get<std::uint32_t>(header, 12); stated != header_size) {
    throw InputError(fmt::format("{}: expected a header of {} bytes at byte 12, found {}", name, header_size, stated));
  }
  const auto kind = get<std::uint32_t>(header, 16);
  if (version > 2 && kind != 0) throw InputError(fmt::format("{}: expected 0 at byte 16, found {}", name, kind));
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
  return {version, kind, length};
}

State read_state(const ReadAt& read, std::uint64_t size, const std::string& name) {
  const Payload payload = verify(read, size, name);
  try {
    State state = payload.version == 2 ? read_payload_v2(read, payload.kind, payload.length, name)
                                       : read_payload(read, payload.version, payload.length, name);
    require_finite(state, name);
    in_file(name, [&] { state.kept().finish_fixed(); });
    return state;
  } catch (const cereal::Exception&) {
    throw InputError(fmt::format("{}: the payload of {} bytes is too short for a state", name, payload.length));
  }
}

/// The length and the checksum of what write_payload() writes.
std::pair<std::uint64_t, std::uint64_t> measure_payload(const State& state, const ArrayPieces& pieces,
                                                        const std::string& name) {
  Checksum checksum;
  std::uint64_t length = 0;
  const ArrayPieces checked = [&](std::size_t array, const auto& take) {
    const ArrayLayout& layout = state.layout()[array];
    const auto require_finite = [&]<class Number>(std::span<const std::byte> piece, const Number*) {
      const std::span numbers(reinterpret_cast<const Number*>(piece.data()), piece.size() / sizeof(Number));
      const auto bad = std::ranges::find_if(numbers, [](Number number) { return !std::isfinite(number); });
      if (bad != numbers.end())
        throw InputError(fmt::format("{}: expected finite numbers, found {} among '{}'", name, *bad, layout.name));
    };
    pieces(array, [&](std::span<const std::byte> piece) {
      if (layout.is_single) {
        require_finite(piece, static_cast<const float*>(nullptr));
      } else {
        require_finite(piece, static_cast<const double*>(nullptr));
      }
      take(piece);
    });
  };
  write_payload(state, checked, [&](std::span<const std::byte> piece) {
    checksum.add(piece);
    length += piece.size();
  });
  return {length, checksum.value()};
}

}  // namespace

namespace state_format {

void throw_not_a_state(const UsageError& error, const std::string& name) {
  constexpr std::size_t longest_message = 400;
  std::string message = std::string(error.what()).substr(0, longest_message);
  for (char& character : message)
    if (character < ' ' || character > '~') character = '?';
  throw InputError(fmt::format("{}: not a state: {}", name, message));
}

State state_for(const Problem& problem, const std::string& name) {
  try {
    return create_state(problem);
  } catch (const UsageError& error) {
    throw_not_a_state(error, name);
  }
}

void require_construction(std::uint64_t stated, const Problem& problem, const std::string& name) {
  if (stated != problem.sketch.fingerprint())
    throw InputError(
        fmt::format("{}: the state was made with another construction of the hashes than this build's", name));
}

void require_finite(const State& state, const std::string& name) {
  if (const auto bad = find_not_finite(state))
    throw InputError(fmt::format("{}: expected finite numbers, found number {} of '{}', which is not", name,
                                 bad->second, bad->first));
  for (const StateArray& array : state.arrays())
    if (array.layout->is_count)
      for (const double count : array.numbers.doubles())
        if (count < 0 || count != std::trunc(count))
          throw InputError(fmt::format("{}: expected a whole number of {}, found {}", name, array.layout->name, count));
}

}  // namespace state_format

ArrayPieces pieces_of(const State& state) {
  return [arrays = state.arrays()](std::size_t array, const auto& take) { take(arrays[array].numbers.bytes()); };
}

std::vector<std::byte> serialise(const State& state) {
  const ArrayPieces pieces = pieces_of(state);
  const auto [length, checksum] = measure_payload(state, pieces, "state");
  const Header header = make_header(state, length, checksum);
  std::vector<std::byte> bytes(header_size + static_cast<std::size_t>(length));
  std::size_t done = 0;
  const WriteNext append = [&](std::span<const std::byte> piece) {
    std::ranges::copy(piece, bytes.begin() + static_cast<std::ptrdiff_t>(done));
    done += piece.size();
  };
  append(header);
  write_payload(state, pieces, append);
  return bytes;
}

State deserialise(std::span<const std::byte> bytes, const std::string& name) {
  const ReadAt read = [&](std::uint64_t offset, std::span<std::byte> out) {
    const std::span<const std::byte> from = bytes.subspan(static_cast<std::size_t>(offset), out.size());
    std::copy(from.begin(), from.end(), out.begin());
  };
  return read_state(read, bytes.size(), name);
}

void save_state(const std::string& path, const State& state) { save_state(path, state, pieces_of(state)); }

void save_state(const std::string& path, const State& state, const ArrayPieces& pieces) {
  const auto [length, checksum] = measure_payload(state, pieces, path);
  OutputFile file(path);
  file.write(make_header(state, length, checksum));
  write_payload(state, pieces, [&](std::span<const std::byte> piece) { file.write(piece); });
  file.commit();
}

State load_state(const std::string& path) {
  const InputFile file(path);
  const ReadAt read = [&](std::uint64_t offset, std::span<std::byte> out) { file.read_exactly_at(offset, out); };
  return read_state(read, file.size(), path);
}

std::uint32_t state_version(const std::string& path) {
  const InputFile file(path);
  const ReadAt read = [&](std::uint64_t offset, std::span<std::byte> out) { file.read_exactly_at(offset, out); };
  return verify(read, file.size(), path).version;
}

std::uint64_t state_checksum(const std::string& path) {
  const InputFile file(path);
  Header header{};
  file.read_exactly_at(0, header);
  if (std::memcmp(header.data(), magic.data(), magic.size()) != 0)
    throw InputError(
        fmt::format("{}: not a weir state (its first {} bytes are not the magic bytes)", path, magic.size()));
  return get<std::uint64_t>(header, 32);
}

bool looks_like_state(const std::string& path) {
  constexpr std::size_t telling = 5;  // the rest of the magic bytes may be damaged
  const InputFile file(file_of(path));
  std::array<std::byte, telling> start{};
  return file.read_some_at(0, start) == start.size() && std::memcmp(start.data(), magic.data(), telling) == 0;
}

}  // namespace weir
