#include "weir/io/npy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "io/compression.hpp"
#include "io/input.hpp"
#include "io/npy_dictionary.hpp"
#include "io/pick.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/text.hpp"

namespace weir {
namespace {

constexpr std::size_t longest_header = std::size_t{1} << 16;

/// Parser of the Python literal {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::size_t first_byte, const std::string& name)
      : text_(text), first_byte_(first_byte), name_(name) {}

  NpyDictionary parse() {
    std::optional<std::string> descr;
    std::optional<bool> fortran_order;
    std::optional<std::vector<std::uint64_t>> shape;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !descr) {
        descr = string();
      } else if (key == "fortran_order" && !fortran_order) {
        fortran_order = boolean();
      } else if (key == "shape" && !shape) {
        shape = tuple();
      } else {
        fail("each of 'descr', 'fortran_order' and 'shape' once");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_blanks();
    if (position_ != text_.size()) fail("the end of the header");
    if (!descr || !fortran_order || !shape) fail("'descr', 'fortran_order' and 'shape'");
    return {.descr = *descr, .is_fortran_order = *fortran_order, .shape = *shape};
  }

 private:
  [[noreturn]] void fail(std::string_view expected) const {
    throw InputError(fmt::format("{}: header, byte {}: expected {}, found {}", name_, first_byte_ + position_, expected,
                                 quoted_excerpt(text_.substr(position_))));
  }
  void skip_blanks() { position_ = std::min(text_.find_first_not_of(" \t\n", position_), text_.size()); }
  bool accept(char c) {
    skip_blanks();
    if (position_ == text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("'{}'", c));
  }
  std::string string() {
    skip_blanks();
    const char quote = accept('"') ? '"' : '\'';
    if (quote == '\'' && !accept('\'')) fail("a string (an array of records is not supported)");
    const std::size_t end = text_.find(quote, position_);
    if (end == std::string_view::npos) fail("a closing quote");
    std::string value(text_.substr(position_, end - position_));
    position_ = end + 1;
    return value;
  }
  bool boolean() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      if (text_.substr(position_).starts_with(word)) {
        position_ += word.size();
        return value;
      }
    }
    fail("True or False");
  }
  std::vector<std::uint64_t> tuple() {
    std::vector<std::uint64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      std::uint64_t value = 0;
      const auto [end, status] = std::from_chars(text_.data() + position_, text_.data() + text_.size(), value);
      if (status != std::errc() || value >> 63 != 0) fail("a length from 0 to 2^63 - 1");
      position_ = static_cast<std::size_t>(end - text_.data());
      values.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  std::string_view text_;
  std::size_t first_byte_;
  const std::string& name_;
  std::size_t position_ = 0;
};

/// True when a double equals `value`: its significant bits are 53 at most.
template <class Integer>
bool is_exact(Integer value) noexcept {
  auto magnitude = static_cast<std::uint64_t>(value);
  if (value < Integer{0}) magnitude = 0 - magnitude;
  return magnitude >> 53 == 0 || (magnitude >> std::countr_zero(magnitude)) >> 53 == 0;
}

/// A float of 16 bits (IEEE 754 binary16), as its bits.
struct Half {
  std::uint16_t bits;

  explicit operator double() const noexcept {
    const int sign = bits >> 15, exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude = 0;
    if (exponent == 31) {
      magnitude = fraction == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
    } else {
      magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    }
    return sign != 0 ? -magnitude : magnitude;
  }
};

/// bfloat16: the upper half of a float.
struct UpperHalf {
  std::uint16_t bits;

  explicit operator double() const noexcept {
    return static_cast<double>(std::bit_cast<float>(std::uint32_t{bits} << 16));
  }
};

/// NumPy's bool.
struct Truth {
  std::uint8_t bits;

  explicit operator double() const noexcept { return bits != 0 ? 1 : 0; }
};

template <class Value>
void convert(const std::byte* elements, bool is_big_endian, std::span<double> out) {
  const bool is_foreign = is_big_endian != (std::endian::native == std::endian::big);
  for (double& value : out) {
    std::array<std::byte, sizeof(Value)> copy;
    std::memcpy(copy.data(), elements, sizeof(Value));
    if (is_foreign) std::reverse(copy.begin(), copy.end());
    const auto element = std::bit_cast<Value>(copy);
    value = static_cast<double>(element);
    if constexpr (std::is_integral_v<Value> && sizeof(Value) == 8) {
      if (!is_exact(element)) value = std::numeric_limits<double>::quiet_NaN();
    }
    elements += sizeof(Value);
  }
}

struct ElementType {
  std::string_view code;
  std::size_t size;
  void (*convert)(const std::byte*, bool, std::span<double>);
};

constexpr std::array<ElementType, 13> element_types{{{"f2", 2, &convert<Half>},
                                                     {npy_bfloat16.substr(1), 2, &convert<UpperHalf>},
                                                     {"b1", 1, &convert<Truth>},
                                                     {"f4", 4, &convert<float>},
                                                     {"f8", 8, &convert<double>},
                                                     {"i1", 1, &convert<std::int8_t>},
                                                     {"i2", 2, &convert<std::int16_t>},
                                                     {"i4", 4, &convert<std::int32_t>},
                                                     {"i8", 8, &convert<std::int64_t>},
                                                     {"u1", 1, &convert<std::uint8_t>},
                                                     {"u2", 2, &convert<std::uint16_t>},
                                                     {"u4", 4, &convert<std::uint32_t>},
                                                     {"u8", 8, &convert<std::uint64_t>}}};

const ElementType& find_element_type(const std::string& descr, const std::string& name) {
  const bool has_order = !descr.empty() && std::string_view("<>|").find(descr.front()) != std::string_view::npos;
  const std::string_view code = std::string_view(descr).substr(has_order ? 1 : 0);
  const auto* type = std::find_if(element_types.begin(), element_types.end(),
                                  [&](const ElementType& candidate) { return candidate.code == code; });
  if (!has_order || type == element_types.end() || (descr.front() == '|' && type->size > 1)) {
    throw InputError(
        fmt::format("{}: expected dtype f2, f4, f8, b1, i1 to i8 or u1 to u8 with byte order '<' or '>', found {}{}",
                    name, quoted_excerpt(descr),
                    code == "V2" ? "; if it is bfloat16, write [bfloat16] behind the name of the file" : ""));
  }
  return *type;
}

}  // namespace

bool looks_like_npy(std::string_view text) noexcept { return text.starts_with(npy_magic); }

bool NpyHeader::fits(std::uint64_t bytes) const noexcept {
  if (rows == 0 || columns == 0) return bytes == 0;
  // Multiplying could wrap; dividing tells as well whether rows * columns is exactly `count`.
  const std::uint64_t count = bytes / element_size;
  return bytes % element_size == 0 && count % columns == 0 && count / columns == rows;
}

std::size_t npy_header_length(std::string_view prefix, const std::string& name) {
  if (!looks_like_npy(prefix)) {
    throw InputError(
        fmt::format("{}: not a .npy file (its first {} bytes are not \\x93NUMPY)", name, npy_magic.size()));
  }
  if (prefix.size() < npy_prefix) {
    throw InputError(
        fmt::format("{}: expected the header of a .npy file, but the file ends at byte {}", name, prefix.size()));
  }
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(prefix[k]); };
  const unsigned major = byte(6);
  const unsigned minor = byte(7);
  if (major < 1 || major > 3 || minor != 0) {
    throw InputError(
        fmt::format("{}: byte 6: .npy format version {}.{}; expected 1.0, 2.0 or 3.0", name, major, minor));
  }
  const std::size_t length_size = major == 1 ? 2 : 4;
  std::size_t length = 0;
  for (std::size_t k = 0; k < length_size; ++k) length |= std::size_t{byte(8 + k)} << (8 * k);
  if (length > longest_header) {
    throw InputError(
        fmt::format("{}: byte 8: expected a header of at most {} bytes, found {}", name, longest_header, length));
  }
  return 8 + length_size + length;
}

NpyDictionary parse_npy_dictionary(std::string_view header, const std::string& name) {
  const std::size_t length = npy_header_length(header.substr(0, npy_prefix), name);
  if (header.size() < length) {
    throw InputError(
        fmt::format("{}: expected a header of {} bytes, but the file ends at byte {}", name, length, header.size()));
  }
  const std::size_t first = header[6] == 1 ? 10 : 12;
  NpyDictionary dictionary = HeaderParser(header.substr(first, length - first), first, name).parse();
  dictionary.length = length;
  return dictionary;
}

std::size_t npy_element_size(const std::string& descr, const std::string& name) {
  return find_element_type(descr, name).size;
}

NpyHeader parse_npy_header(std::string_view header, const std::string& name) {
  const NpyDictionary dictionary = parse_npy_dictionary(header, name);
  const ElementType& type = find_element_type(dictionary.descr, name);
  const std::vector<std::uint64_t>& shape = dictionary.shape;
  if (shape.size() > 2) {
    throw InputError(fmt::format(
        "{0}: expected an array of at most 2 dimensions, found {1} ({2}): indices in brackets behind the name of the "
        "file, as in [0{3}], pick a part",
        name, shape.size(), shape_text(shape), shape.size() == 3 ? "" : ",0"));
  }
  return {.rows = shape.empty() ? 1 : shape[0],
          .columns = shape.size() < 2 ? 1 : shape[1],
          .is_fortran_order = dictionary.is_fortran_order,
          .is_big_endian = dictionary.descr.front() == '>',
          .is_integer = type.code.front() == 'i' || type.code.front() == 'u',
          .element_size = type.size,
          .data_offset = dictionary.length,
          .convert = type.convert};
}

std::string npy_size_complaint(const NpyHeader& header, const std::string& name, std::string_view found) {
  return fmt::format("{}: expected {} x {} entries of {} bytes from byte {} on, found {} bytes", name, header.rows,
                     header.columns, header.element_size, header.data_offset, found);
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  constexpr std::size_t most = 8;
  return fmt::format("{}{}", fmt::join(shape.first(std::min(shape.size(), most)), " x "),
                     shape.size() > most ? " x ..." : "");
}

void require_data(const NpyHeader& header, const Input& input) {
  const auto most = input.most();
  if (!most) return;
  const bool is_exact = input.size().has_value();
  const std::uint64_t bytes = *most - std::min(*most, header.data_offset);
  // Rows and columns are below 2^63 each, an element has 8 bytes at most.
  const unsigned __int128 entries = static_cast<unsigned __int128>(header.rows) * header.columns;
  if (is_exact ? header.fits(bytes) : entries <= bytes / header.element_size) return;
  throw InputError(npy_size_complaint(header, input.name(), fmt::format("{}{}", is_exact ? "" : "at most ", bytes)));
}

std::string npy_entry_complaint(const NpyHeader& header, const std::string& name, std::uint64_t i, std::uint64_t j,
                                double value) {
  if (header.is_integer) {
    return fmt::format(
        "{}: expected integers that a double holds exactly, as it does all up to 2^53, found another at row {}, column "
        "{} (byte {}), counted from 0",
        name, i, j, header.offset_of(i, j));
  }
  return fmt::format("{}: expected finite entries, found {} at row {}, column {} (byte {}), counted from 0", name,
                     value, i, j, header.offset_of(i, j));
}

NpyFile::NpyFile(const std::string& path) {
  const InputFile file(file_of(path));  // refuses what is no file
  input_ = content_of(open_input(path));
  const std::size_t length = npy_header_length(input_->peek(npy_prefix), path);
  header_ = parse_npy_header(input_->peek(length), path);
  require_data(header_, *input_);
  // What is compressed is held in memory, and of it no more than belongs to the array, and one byte.
  const unsigned __int128 promised = static_cast<unsigned __int128>(header_.rows) * header_.columns;
  constexpr std::uint64_t most = std::uint64_t{1} << 58;
  const std::uint64_t entries = promised > most ? most : static_cast<std::uint64_t>(promised);
  input_ = seekable(std::move(input_), length + entries * header_.element_size + 1);
  require_data(header_, *input_);
}

NpyFile::NpyFile(NpyFile&&) noexcept = default;
NpyFile& NpyFile::operator=(NpyFile&&) noexcept = default;
NpyFile::~NpyFile() = default;

DenseMatrix NpyFile::rows(std::uint64_t first, std::uint64_t count) const {
  if (first > header_.rows || count > header_.rows - first)
    throw UsageError(fmt::format("{}: rows {} to {} of an array of {} do not exist", input_->name(), first,
                                 first + count, header_.rows));
  DenseMatrix matrix{count, header_.columns, {}};
  const std::uint64_t entries = count * header_.columns;  // no more than the file has
  if (entries == 0) return matrix;
  matrix.values.resize(static_cast<std::size_t>(entries));
  // What lies together in the file: all of the rows, or of each column those that are wanted.
  const std::uint64_t runs = header_.is_fortran_order ? header_.columns : 1, length = entries / runs;
  constexpr std::uint64_t most_bytes = std::uint64_t{1} << 20;
  std::vector<std::byte> bytes(
      static_cast<std::size_t>(std::min(length, most_bytes / header_.element_size) * header_.element_size));
  std::vector<double> piece(bytes.size() / header_.element_size);
  for (std::uint64_t run = 0; run < runs; ++run) {
    const std::uint64_t start = header_.offset_of(first, run);
    for (std::uint64_t done = 0; done < length;) {
      const auto values =
          std::span(piece).first(static_cast<std::size_t>(std::min<std::uint64_t>(length - done, piece.size())));
      const auto of_values = std::span(bytes).first(values.size() * header_.element_size);
      input_->seek(start + done * header_.element_size);
      if (input_->read_fully(of_values) < of_values.size())
        throw InputError(input_->at_byte(input_->offset()) + ": the file ends here");
      header_.decode(of_values.data(), values);
      for (const double value : values) {
        const std::uint64_t i = header_.is_fortran_order ? done : done / header_.columns;
        const std::uint64_t j = header_.is_fortran_order ? run : done % header_.columns;
        if (!std::isfinite(value)) throw InputError(npy_entry_complaint(header_, input_->name(), first + i, j, value));
        matrix.values[static_cast<std::size_t>(i * header_.columns + j)] = value;
        ++done;
      }
    }
  }
  return matrix;
}

DenseMatrix load_npy(const std::string& path) {
  const NpyFile file(path);
  return file.rows(0, file.header().rows);
}

std::string npy_header(const NpyDictionary& array) {
  constexpr std::size_t alignment = 64, before_dictionary = 10;
  // A tuple of one has a comma.
  std::string dictionary = fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': ({}{}), }}", array.descr,
                                       array.is_fortran_order ? "True" : "False", fmt::join(array.shape, ", "),
                                       array.shape.size() == 1 ? "," : "");
  const std::size_t unpadded = before_dictionary + dictionary.size() + 1;
  dictionary.append((unpadded + alignment - 1) / alignment * alignment - unpadded, ' ');
  dictionary += '\n';
  std::string header(npy_magic);
  header += {'\1', '\0', static_cast<char>(dictionary.size() & 0xff), static_cast<char>(dictionary.size() >> 8)};
  return header + dictionary;
}

std::string npy_header(std::uint64_t rows, std::uint64_t columns) {
  static_assert(std::endian::native == std::endian::little);
  return npy_header(NpyDictionary{.descr = "<f8", .shape = {rows, columns}});
}

}  // namespace weir
