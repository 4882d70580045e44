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

#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/text.hpp"

namespace weir {
namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t longest_header = std::size_t{1} << 16;

/// The three entries of the dictionary in the header.
struct NpyHeader {
  std::optional<std::string> descr;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::uint64_t>> shape;
};

/// Parser of the Python literal {'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::size_t first_byte, const std::string& name)
      : text_(text), first_byte_(first_byte), name_(name) {}

  NpyHeader parse() {
    NpyHeader header;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !header.descr) {
        header.descr = string();
      } else if (key == "fortran_order" && !header.fortran_order) {
        header.fortran_order = boolean();
      } else if (key == "shape" && !header.shape) {
        header.shape = tuple();
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
    if (!header.descr || !header.fortran_order || !header.shape) fail("'descr', 'fortran_order' and 'shape'");
    return header;
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
    const std::string value(text_.substr(position_, end - position_));
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

template <class Value>
double decode(const std::byte* bytes, bool is_big_endian) {
  std::array<std::byte, sizeof(Value)> copy;
  std::memcpy(copy.data(), bytes, sizeof(Value));
  if (is_big_endian != (std::endian::native == std::endian::big)) std::reverse(copy.begin(), copy.end());
  return static_cast<double>(std::bit_cast<Value>(copy));
}

struct ElementType {
  std::string_view code;
  std::size_t size;
  double (*decode)(const std::byte*, bool);
};

constexpr std::array<ElementType, 10> element_types{{{"f4", 4, &decode<float>},
                                                     {"f8", 8, &decode<double>},
                                                     {"i1", 1, &decode<std::int8_t>},
                                                     {"i2", 2, &decode<std::int16_t>},
                                                     {"i4", 4, &decode<std::int32_t>},
                                                     {"i8", 8, &decode<std::int64_t>},
                                                     {"u1", 1, &decode<std::uint8_t>},
                                                     {"u2", 2, &decode<std::uint16_t>},
                                                     {"u4", 4, &decode<std::uint32_t>},
                                                     {"u8", 8, &decode<std::uint64_t>}}};

const ElementType& find_element_type(const std::string& descr, const std::string& name) {
  const bool has_order = !descr.empty() && std::string_view("<>|").find(descr.front()) != std::string_view::npos;
  const std::string_view code = std::string_view(descr).substr(has_order ? 1 : 0);
  const auto* type = std::find_if(element_types.begin(), element_types.end(),
                                  [&](const ElementType& candidate) { return candidate.code == code; });
  if (!has_order || type == element_types.end() || (descr.front() == '|' && type->size > 1)) {
    throw InputError(fmt::format("{}: expected dtype f4, f8, i1 to i8 or u1 to u8 with byte order '<' or '>', found {}",
                                 name, quoted_excerpt(descr)));
  }
  return *type;
}

}  // namespace

bool looks_like_npy(std::string_view text) noexcept { return text.starts_with(magic); }

DenseMatrix load_npy(const std::string& path) {
  const InputFile file(path);
  std::array<std::byte, 12> prefix{};
  file.read_exactly_at(0, std::span(prefix).first(10));
  if (!looks_like_npy({reinterpret_cast<const char*>(prefix.data()), magic.size()})) {
    throw InputError(fmt::format("{}: not a .npy file (its first {} bytes are not \\x93NUMPY)", path, magic.size()));
  }
  const auto major = std::to_integer<unsigned>(prefix[6]);
  const auto minor = std::to_integer<unsigned>(prefix[7]);
  if (major < 1 || major > 3 || minor != 0) {
    throw InputError(fmt::format("{}: .npy format version {}.{}; expected 1.0, 2.0 or 3.0", path, major, minor));
  }
  const std::size_t length_size = major == 1 ? 2 : 4;
  file.read_exactly_at(8, std::span(prefix).subspan(8, length_size));
  std::size_t header_length = 0;
  for (std::size_t k = 0; k < length_size; ++k) header_length |= std::to_integer<std::size_t>(prefix[8 + k]) << (8 * k);
  if (header_length > longest_header) {
    throw InputError(
        fmt::format("{}: expected a header of at most {} bytes, found {}", path, longest_header, header_length));
  }
  std::string text(header_length, '\0');
  file.read_exactly_at(8 + length_size, std::as_writable_bytes(std::span(text)));
  const NpyHeader header = HeaderParser(text, 8 + length_size, path).parse();
  const ElementType& type = find_element_type(*header.descr, path);

  const std::vector<std::uint64_t>& shape = *header.shape;
  if (shape.size() > 2) {
    throw InputError(fmt::format("{}: expected an array of at most 2 dimensions, found {}", path, shape.size()));
  }
  DenseMatrix matrix{shape.empty() ? 1 : shape[0], shape.size() < 2 ? 1 : shape[1], {}};
  const std::uint64_t first = 8 + length_size + header_length;
  const std::uint64_t present = file.size() - first;
  const std::uint64_t count = present / type.size;
  // Multiplying could wrap; dividing tells as well whether rows * columns is exactly `count`.
  const bool is_empty = matrix.rows == 0 || matrix.columns == 0;
  const bool fits =
      is_empty ? present == 0
               : present % type.size == 0 && count % matrix.columns == 0 && count / matrix.columns == matrix.rows;
  if (!fits) {
    throw InputError(fmt::format("{}: expected {} x {} entries of {} bytes from byte {} on, found {} bytes", path,
                                 matrix.rows, matrix.columns, type.size, first, present));
  }
  if (is_empty) return matrix;

  matrix.values.resize(static_cast<std::size_t>(count));
  const bool is_big_endian = header.descr->front() == '>';
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min<std::uint64_t>(present, std::uint64_t{1} << 20)));
  for (std::uint64_t entry = 0; entry < count;) {
    const std::size_t in_piece =
        static_cast<std::size_t>(std::min<std::uint64_t>(count - entry, piece.size() / type.size));
    file.read_exactly_at(first + entry * type.size, std::span(piece).first(in_piece * type.size));
    for (std::size_t k = 0; k < in_piece; ++k, ++entry) {
      const double value = type.decode(piece.data() + k * type.size, is_big_endian);
      const std::uint64_t i = *header.fortran_order ? entry % matrix.rows : entry / matrix.columns;
      const std::uint64_t j = *header.fortran_order ? entry / matrix.rows : entry % matrix.columns;
      if (!std::isfinite(value)) {
        throw InputError(
            fmt::format("{}: expected finite entries, found {} at row {}, column {} (byte {}), counted from 0", path,
                        value, i, j, first + entry * type.size));
      }
      matrix.values[static_cast<std::size_t>(i * matrix.columns + j)] = value;
    }
  }
  return matrix;
}

}  // namespace weir
