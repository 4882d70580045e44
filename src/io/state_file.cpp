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
constexpr std::size_t longest_model = 64;
constexpr std::array<std::string_view, 4> models{"vector", "product", "rows", "kronecker"};

/// What a payload holds; the value is that of the format.
enum class Kind : std::uint32_t { vector = 1, product = 2, matrix = 3, rows = 4, kronecker = 5 };

constexpr std::uint32_t last_kind = 5;

Kind kind_of(const SketchState& sketch) {
  if (std::holds_alternative<ProductSketch>(sketch)) return Kind::product;
  if (std::holds_alternative<RowsSketch>(sketch)) return Kind::rows;
  if (std::holds_alternative<KroneckerSketch>(sketch)) return Kind::kronecker;
  return config_of(sketch).row_length == 0 ? Kind::vector : Kind::matrix;
}

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::vector:
      return "a vector";
    case Kind::product:
      return "A and x of a product";
    case Kind::matrix:
      return "a matrix y";
    case Kind::rows:
      return "rows of A";
    case Kind::kronecker:
      return "A1, A2 and X";
  }
  return "";
}

/// The operands in it that may have been fixed.
OperandSet fixable(Kind kind) {
  switch (kind) {
    case Kind::product:
      return {Operand::A, Operand::x};
    case Kind::kronecker:
      return {Operand::A1, Operand::A2, Operand::X};
    case Kind::vector:
    case Kind::matrix:
    case Kind::rows:
      break;
  }
  return {};
}

/// Whether states of that model may hold that.
bool belongs_to(Kind kind, std::string_view model) {
  switch (kind) {
    case Kind::vector:
      return model == "vector" || model == "product";
    case Kind::product:
      return model == "product";
    case Kind::rows:
      return model == "rows";
    case Kind::matrix:
    case Kind::kronecker:
      return model == "kronecker";
  }
  return false;
}

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

template <class S, class Sketch>
concept SketchOf = std::is_same_v<std::remove_const_t<S>, Sketch>;

// Calls use(numbers, plural, singular) for each array of a sketch, in the order of the format; the names are for
// messages.

template <class Use>
void for_each_array(SketchOf<VectorSketch> auto& sketch, const Use& use) {
  use(sketch.table(), "cells in the table", "cell");
}

template <class Use>
void for_each_array(SketchOf<ProductSketch> auto& sketch, const Use& use) {
  use(std::span(sketch.x), "entries of x", "entry");
  use(sketch.a.table(), "cells in the table", "cell");
}

template <class Use>
void for_each_array(SketchOf<RowsSketch> auto& sketch, const Use& use, const std::string& of = "") {
  use(sketch.draws.table(), "cells in the table" + of, "cell");
  use(sketch.wide.table(), "cells in the Gram sketch" + of, "cell");
  use(std::span(sketch.exact_gram), "entries of the Gram matrix" + of, "entry");
}

template <class Use>
void for_each_array(SketchOf<KroneckerSketch> auto& sketch, const Use& use) {
  use(std::span(&sketch.x_events, 1), "counts of events of X", "count");
  use(std::span(sketch.x), "entries of X", "entry");
  for_each_array(sketch.a1, use, " of A1");
  for_each_array(sketch.a2, use, " of A2");
}

void require_sound_numbers(const State& state, const std::string& name) {
  std::visit(
      [&](const auto& sketch) {
        for_each_array(sketch, [&](std::span<const double> numbers, std::string_view plural,
                                   std::string_view singular) { require_finite(numbers, plural, singular, name); });
      },
      state.sketch);
  if (const auto* kronecker = std::get_if<KroneckerSketch>(&state.sketch)) {
    const double events = kronecker->x_events;
    if (events < 0 || events != std::trunc(events))
      throw InputError(fmt::format("{}: expected a whole number of events of X, found {}", name, events));
  }
  if (const auto* product = std::get_if<ProductSketch>(&state.sketch);
      product != nullptr && state.description.fixed.contains(Operand::x) && product->x != std::vector<double>{1})
    throw InputError(
        fmt::format("{}: expected 1 in the place of x, which was fixed and is multiplied into the rows", name));
}

/// What is wrong with the part of a description that depends on what is described; empty when nothing is.
std::string describe_problem(const StateDescription& description, Kind kind, ScaleLaw law) {
  if (const OperandSet possible = fixable(kind); !(description.fixed - possible).empty()) {
    return fmt::format("fixed operands are {:#04x}: expected {} for {}", description.fixed.bits,
                       possible.empty() ? "none" : "bits of " + to_string(possible), name_of(kind));
  }
  if (description.precision.has_value() != (law == ScaleLaw::uniform))
    return fmt::format("{} epsilon and C of the sampler precision, and the law is {}",
                       description.precision ? "there are" : "there is no", to_string(law));
  if (!description.precision) return {};
  const auto [epsilon, constant] = *description.precision;
  if (!(epsilon > 0 && epsilon < 1) || !(constant > 0) || !std::isfinite(constant))
    return fmt::format("epsilon {} and C = {} of the sampler precision: expected numbers between 0 and 1, and above 0",
                       epsilon, constant);
  return {};
}

std::uint64_t size_of(const State& state) {
  std::uint64_t bytes = 0;
  std::visit(
      [&](const auto& sketch) {
        for_each_array(sketch, [&](std::span<const double> numbers, auto...) { bytes += numbers.size_bytes(); });
      },
      state.sketch);
  return bytes;
}

// A flag takes a byte.

constexpr std::uint8_t flag_byte(bool flag) { return flag ? 1 : 0; }

bool read_flag(cereal::PortableBinaryInputArchive& archive, std::string_view what, const std::string& name) {
  std::uint8_t byte = 0;
  archive(byte);
  if (byte > 1) throw InputError(fmt::format("{}: expected 0 or 1 for {}, found {}", name, what, byte));
  return byte == 1;
}

using OutputArchive = cereal::PortableBinaryOutputArchive;
using InputArchive = cereal::PortableBinaryInputArchive;

// What stands between the fingerprint of the configuration and the arrays.

void write_sizes(OutputArchive&, const VectorSketch&) {}

void write_sizes(OutputArchive& archive, const ProductSketch& sketch) {
  archive(static_cast<std::uint64_t>(sketch.x.size()), sketch.degree);
}

void write_sizes(OutputArchive& archive, const RowsSketch& sketch) {
  const GramConfig gram = sketch.gram_config();
  archive(sketch.columns(), gram.buckets, flag_byte(gram.exact), sketch.fingerprint());
}

void write_sizes(OutputArchive& archive, const KroneckerSketch& sketch) {
  const GramConfig gram = sketch.a1.gram_config();
  archive(sketch.shape.n2, sketch.shape.d1, sketch.shape.d2, gram.buckets, flag_byte(gram.exact), sketch.fingerprint());
}

void write_payload(const State& state, const WriteNext& write) {
  WritingBuffer buffer(write);
  std::ostream stream(&buffer);
  OutputArchive archive(stream, OutputArchive::Options::LittleEndian());
  const StateDescription& description = state.description;
  const SketchConfig& config = config_of(state.sketch);
  archive(static_cast<std::uint32_t>(description.model.size()),
          cereal::binary_data(description.model.data(), description.model.size()), description.updates,
          description.ranks, static_cast<std::uint8_t>(description.fixed.bits));
  const PrecisionTarget target = description.precision.value_or(PrecisionTarget());
  archive(target.epsilon, target.constant);
  archive_config(archive, config);
  if (kind_of(state.sketch) == Kind::matrix) archive(config.row_length, flag_byte(description.transposed));
  archive(config.fingerprint());
  std::visit(
      [&](const auto& sketch) {
        write_sizes(archive, sketch);
        for_each_array(sketch, [&](std::span<const double> numbers, auto...) {
          archive(cereal::binary_data(numbers.data(), numbers.size_bytes()));
        });
      },
      state.sketch);
}

/// A description and a configuration, as all kinds begin.
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

/// The file's fingerprint of what it holds, and this build's.
void require_construction(std::uint64_t stated, std::uint64_t own, const std::string& name) {
  if (stated != own) {
    throw InputError(
        fmt::format("{}: the state was made with another construction of the hashes than this build's", name));
  }
}

Preamble read_preamble(InputArchive& archive, Kind kind, const std::string& name) {
  Preamble preamble;
  std::string& model = preamble.description.model;
  std::uint32_t model_length = 0;
  archive(model_length);
  if (model_length > longest_model) {
    throw InputError(
        fmt::format("{}: expected a model name of at most {} bytes, found {}", name, longest_model, model_length));
  }
  model.resize(model_length);
  PrecisionTarget target;
  std::uint8_t fixed = 0;
  archive(cereal::binary_data(model.data(), model.size()), preamble.description.updates, preamble.description.ranks,
          fixed, target.epsilon, target.constant);
  preamble.description.fixed.bits = fixed;
  if (!is_known_model(model)) {
    throw InputError(
        fmt::format("{}: unknown model {}; this build reads {}", name, quoted_excerpt(model), fmt::join(models, ", ")));
  }
  if (!belongs_to(kind, model)) {
    throw InputError(
        fmt::format("{}: {}: not what a state of the model {} holds", name, name_of(kind), quoted_excerpt(model)));
  }
  archive_config(archive, preamble.config);
  if (kind == Kind::matrix) {
    archive(preamble.config.row_length);
    if (preamble.config.row_length == 0)
      throw InputError(fmt::format("{}: expected the length of the rows of a matrix, found 0", name));
    preamble.description.transposed = read_flag(archive, "transposed", name);
  }
  made_from_file(name, [&] { preamble.config.validate(); });
  if (target != PrecisionTarget()) preamble.description.precision = target;
  const std::string problem = describe_problem(preamble.description, kind, preamble.config.law);
  if (!problem.empty()) throw InputError(fmt::format("{}: {}", name, problem));
  std::uint64_t fingerprint = 0;
  archive(fingerprint);
  require_construction(fingerprint, preamble.config.fingerprint(), name);
  return preamble;
}

/// Throws InputError unless what is left of the payload is as many numbers; `what` names them.
void require_size(const ReadingBuffer& buffer, std::uint64_t numbers, const std::string& what,
                  const std::string& name) {
  const std::uint64_t bytes = buffer.remaining();
  if (bytes % sizeof(double) != 0 || bytes / sizeof(double) != numbers)
    throw InputError(fmt::format("{}: expected {}, found {} bytes", name, what, bytes));
}

// The sketch of zero that the payload has the numbers for, and no less: nothing is allocated before that is known.

VectorSketch zero_vector(const ReadingBuffer& buffer, const SketchConfig& config, const std::string& name) {
  const std::uint64_t cells = config.table_size();
  require_size(buffer, cells, fmt::format("a table of {} cells", cells), name);
  return VectorSketch(config);
}

ProductSketch zero_product(InputArchive& archive, const ReadingBuffer& buffer, const SketchConfig& config,
                           const std::string& name) {
  std::uint64_t d = 0;
  std::uint32_t degree = 0;
  archive(d, degree);
  const std::uint64_t cells =
      made_from_file(name, [&] { return MatrixSketch::table_size(config, ProductSketch::columns(d, degree)); });
  // There are no fewer columns than d: neither number is near 2^63.
  require_size(buffer, d + cells, fmt::format("an x of {} entries and a table of {} cells", d, cells), name);
  return ProductSketch(config, d, degree);
}

RowsSketch zero_rows(InputArchive& archive, const ReadingBuffer& buffer, const SketchConfig& config,
                     const std::string& name) {
  std::uint64_t d = 0;
  GramConfig gram;
  archive(d, gram.buckets);
  gram.exact = read_flag(archive, "an exact Gram matrix", name);
  std::uint64_t fingerprint = 0;
  archive(fingerprint);
  const std::uint64_t size = made_from_file(name, [&] { return RowsSketch::size(config, d, gram); });
  require_size(buffer, size, fmt::format("{} numbers of rows of {} columns", size, d), name);
  RowsSketch sketch(config, d, gram);
  require_construction(fingerprint, sketch.fingerprint(), name);
  return sketch;
}

KroneckerSketch zero_kronecker(InputArchive& archive, const ReadingBuffer& buffer, const SketchConfig& config,
                               const std::string& name) {
  KroneckerShape shape{.n1 = config.dimension};
  GramConfig gram;
  archive(shape.n2, shape.d1, shape.d2, gram.buckets);
  gram.exact = read_flag(archive, "exact Gram matrices", name);
  std::uint64_t fingerprint = 0;
  archive(fingerprint);
  const std::uint64_t size = made_from_file(name, [&] { return KroneckerSketch::size(shape, config, gram); });
  require_size(buffer, size, fmt::format("{} numbers of X, {} x {}, and its factors", size, shape.d1, shape.d2), name);
  KroneckerSketch sketch(shape, config, gram);
  require_construction(fingerprint, sketch.fingerprint(), name);
  return sketch;
}

SketchState zero_sketch(Kind kind, InputArchive& archive, const ReadingBuffer& buffer, const SketchConfig& config,
                        const std::string& name) {
  switch (kind) {
    case Kind::product:
      return zero_product(archive, buffer, config, name);
    case Kind::rows:
      return zero_rows(archive, buffer, config, name);
    case Kind::kronecker:
      return zero_kronecker(archive, buffer, config, name);
    case Kind::vector:
    case Kind::matrix:
      break;
  }
  return zero_vector(buffer, config, name);
}

/// What the header says of the payload.
struct Payload {
  Kind kind;
  std::uint64_t length;
};

State read_payload(const ReadAt& read, const Payload& payload, const std::string& name) {
  ReadingBuffer buffer(read, header_size, payload.length);
  std::istream stream(&buffer);
  try {
    InputArchive archive(stream);
    Preamble preamble = read_preamble(archive, payload.kind, name);
    State state{std::move(preamble.description), zero_sketch(payload.kind, archive, buffer, preamble.config, name)};
    std::visit(
        [&](auto& sketch) {
          for_each_array(sketch, [&](std::span<double> numbers, auto...) {
            archive(cereal::binary_data(numbers.data(), numbers.size_bytes()));
          });
        },
        state.sketch);
    require_sound_numbers(state, name);
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
  put(header, 16, static_cast<std::uint32_t>(kind_of(state.sketch)));
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
  // The version comes before the checksum: another version may place the checksum elsewhere.
  const auto version = get<std::uint32_t>(header, 8);
  if (version == 1) {
    throw InputError(fmt::format(
        "{}: state format version 1, made with another construction of the random scales than this build's: "
        "make the state again from its stream",
        name));
  }
  if (version != state_format_version) {
    throw InputError(
        fmt::format("{}: state format version {}; this build reads {}", name, version, state_format_version));
  }
  if (get<std::uint64_t>(header, 40) != header_checksum(header)) {
    throw InputError(
        fmt::format("{}: damaged: the checksum of the header (bytes 0 to {}) does not match", name, header_size - 1));
  }
  if (const auto stated = get<std::uint32_t>(header, 12); stated != header_size) {
    throw InputError(fmt::format("{}: expected a header of {} bytes at byte 12, found {}", name, header_size, stated));
  }
  const auto kind = get<std::uint32_t>(header, 16);
  if (kind == 0 || kind > last_kind)
    throw InputError(fmt::format("{}: unknown kind of state {}; this build reads 1 to {}", name, kind, last_kind));
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
  return {static_cast<Kind>(kind), length};
}

void require_writable(const State& state, const std::string& name) {
  if (!is_known_model(state.description.model)) {
    throw UsageError(
        fmt::format("cannot write the state of an unknown model {}", quoted_excerpt(state.description.model)));
  }
  const Kind kind = kind_of(state.sketch);
  if (!belongs_to(kind, state.description.model)) {
    throw UsageError(fmt::format("cannot write {} as a state of the model {}", name_of(kind), state.description.model));
  }
  if (state.description.transposed && kind != Kind::matrix)
    throw UsageError(fmt::format("cannot write {}, transposed: only the sketch of a matrix y is", name_of(kind)));
  if (config_of(state.sketch).row_length != 0 && kind != Kind::matrix)
    throw UsageError(
        fmt::format("cannot write {} with a row_length: only the sketch of a matrix y has one", name_of(kind)));
  const std::string problem = describe_problem(state.description, kind, config_of(state.sketch).law);
  if (!problem.empty()) throw UsageError("cannot write the state: " + problem);
  require_sound_numbers(state, name);
}

}  // namespace

std::optional<KroneckerShape> shape_of(const State& state) {
  if (const auto* kronecker = std::get_if<KroneckerSketch>(&state.sketch)) return kronecker->shape;
  const SketchConfig& config = config_of(state.sketch);
  if (config.row_length == 0) return std::nullopt;
  KroneckerShape shape{.n1 = config.dimension / config.row_length, .n2 = config.row_length};
  if (state.description.transposed) std::swap(shape.n1, shape.n2);
  return shape;
}

void multiply_out(State& state) {
  if (const auto* product = std::get_if<ProductSketch>(&state.sketch)) {
    state.sketch = product->y();
    state.description.fixed = {};
  } else if (!std::holds_alternative<VectorSketch>(state.sketch)) {
    throw UsageError(fmt::format("{}: operands without a sketch of y", name_of(kind_of(state.sketch))));
  }
}

namespace {

bool is_same(std::span<const double> a, std::span<const double> b) { return std::ranges::equal(a, b); }

bool is_same(const RowsSketch& a, const RowsSketch& b) {
  return is_same(a.draws.table(), b.draws.table()) && is_same(a.wide.table(), b.wide.table()) &&
         is_same(a.exact_gram, b.exact_gram);
}

// Whether two sketches of one configuration hold the same operand.

bool is_same(Operand operand, const ProductSketch& a, const ProductSketch& b) {
  return operand == Operand::A ? is_same(a.a.table(), b.a.table()) : is_same(a.x, b.x);
}

bool is_same(Operand operand, const KroneckerSketch& a, const KroneckerSketch& b) {
  if (operand == Operand::A1) return is_same(a.a1, b.a1);
  if (operand == Operand::A2) return is_same(a.a2, b.a2);
  return is_same(a.x, b.x) && (a.x_events > 0) == (b.x_events > 0);
}

/// Sketches of more than one operand, each of which may be fixed.
template <class Sketch>
constexpr bool has_operands = std::is_same_v<Sketch, ProductSketch> || std::is_same_v<Sketch, KroneckerSketch>;

std::string describe_fixed_difference(const State& a, const State& b) {
  const OperandSet fixed = a.description.fixed;
  for (const Operand operand : known_operands()) {
    const auto role = [&](const State& state) {
      return state.description.fixed.contains(operand) ? "fixed" : "streamed";
    };
    if (fixed.contains(operand) != b.description.fixed.contains(operand))
      return fmt::format("{}: {} against {}", to_string(operand), role(a), role(b));
  }
  return std::visit(
      [&]<class Sketch>(const Sketch& sketch) -> std::string {
        if constexpr (has_operands<Sketch>) {
          for (const Operand operand : known_operands())
            if (fixed.contains(operand) && !is_same(operand, sketch, std::get<Sketch>(b.sketch)))
              return fmt::format("{}: fixed in both, and not the same to the bit{}", to_string(operand),
                                 a.description.ranks == b.description.ranks
                                     ? ""
                                     : "; sums of real numbers depend on the number of ranks");
        }
        return {};
      },
      a.sketch);
}

std::string describe_difference(const std::optional<PrecisionTarget>& a, const std::optional<PrecisionTarget>& b) {
  if (!a || !b) return {};  // another law, which is told of first
  if (a->epsilon != b->epsilon)
    return fmt::format("epsilon of the sampler precision: {} against {}", a->epsilon, b->epsilon);
  if (a->constant != b->constant)
    return fmt::format("C of the sampler precision: {} against {}", a->constant, b->constant);
  return {};
}

}  // namespace

std::string describe_difference(const State& a, const State& b) {
  if (const Kind x = kind_of(a.sketch), y = kind_of(b.sketch); x != y)
    return fmt::format("what they hold: {} against {}", name_of(x), name_of(y));
  std::string difference = std::visit(
      [&](const auto& sketch) {
        const auto& other = std::get<std::decay_t<decltype(sketch)>>(b.sketch);
        if constexpr (std::is_same_v<std::decay_t<decltype(sketch)>, VectorSketch>)
          return describe_difference(sketch.config(), other.config());
        else
          return describe_difference(sketch, other);
      },
      a.sketch);
  if (difference.empty() && a.description.transposed != b.description.transposed) {
    const auto factor = [](const State& state) { return state.description.transposed ? "A2" : "A1"; };
    difference = fmt::format("the factor that the rows of the matrix belong to: {} against {}", factor(a), factor(b));
  }
  if (difference.empty()) difference = describe_difference(a.description.precision, b.description.precision);
  if (difference.empty()) difference = describe_fixed_difference(a, b);
  return difference;
}

void add(State& sum, const State& other, double coefficient) {
  if (const std::string difference = describe_difference(sum, other); !difference.empty()) {
    throw InputError("the states do not combine: " + difference);
  }
  std::visit(
      [&]<class Sketch>(Sketch& sketch) {
        const Sketch& more = std::get<Sketch>(other.sketch);
        if constexpr (has_operands<Sketch>)
          sketch.add(more, coefficient, sum.description.fixed);
        else
          sketch.add(more, coefficient);
      },
      sum.sketch);
  sum.description.updates += other.description.updates;
}

void scale(State& state, double coefficient) {
  std::visit(
      [&]<class Sketch>(Sketch& sketch) {
        if constexpr (has_operands<Sketch>)
          sketch.scale(coefficient, state.description.fixed);
        else
          sketch.scale(coefficient);
      },
      state.sketch);
}

std::vector<std::byte> serialise(const State& state) {
  require_writable(state, "state");
  std::vector<std::byte> bytes;
  bytes.reserve(size_of(state) + 1024);
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
