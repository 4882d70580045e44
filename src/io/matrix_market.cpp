#include "weir/io/matrix_market.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/text.hpp"

namespace weir {
namespace {

constexpr std::string_view magic = "%%MatrixMarket";

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t k = 0; k < a.size(); ++k) {
    if (lower(a[k]) != lower(b[k])) return false;
  }
  return true;
}

template <class Value, std::size_t Count>
Value choose(std::string_view word, const std::array<std::pair<std::string_view, Value>, Count>& choices,
             std::string_view what, const std::string& name) {
  std::vector<std::string_view> known;
  for (const auto& [text, value] : choices) {
    if (equal_ignoring_case(word, text)) return value;
    known.push_back(text);
  }
  throw InputError(fmt::format("{}: line 1: expected the Matrix Market {} {}, found {}", name, what,
                               fmt::join(known, ", "), quoted_excerpt(word)));
}

/// One entry line: "i j value", "i j" (pattern) or "value" (array).
class EntryLines {
 public:
  EntryLines(std::string_view text, const MatrixMarketHeader& header, const std::string& name)
      : lines_(text.substr(header.data_offset)), header_(header), name_(name) {}

  [[nodiscard]] std::uint64_t number() const noexcept { return header_.size_line + lines_.number(); }

  /// Goes to the next line that is not blank. False at the end.
  bool next() {
    while (const auto line = lines_.next()) {
      rest_ = *line;
      word_ = take_word(rest_);
      if (!word_.empty()) return true;
    }
    return false;
  }

  /// The next word as an index: 1-based in the file, 0-based as returned.
  std::uint64_t index(std::uint64_t limit, std::string_view what) {
    std::uint64_t value = 0;
    const auto [end, status] = std::from_chars(word_.data(), word_.data() + word_.size(), value);
    if (status != std::errc() || end != word_.data() + word_.size() || value < 1 || value > limit) {
      throw InputError(fmt::format("{}: line {}: expected a {} number from 1 to {}, found {}", name_, number(), what,
                                   limit, quoted_excerpt(word_)));
    }
    word_ = take_word(rest_);
    return value - 1;
  }

  double value() {
    if (header_.field == MatrixMarketField::pattern) return 1;
    const auto value = parse_finite(word_);
    const bool is_integer = header_.field == MatrixMarketField::integer;
    if (!value || (is_integer && *value != std::trunc(*value))) {
      throw InputError(fmt::format("{}: line {}: expected {}, found {}", name_, number(),
                                   is_integer ? "an integer" : "a finite number", quoted_excerpt(word_)));
    }
    word_ = take_word(rest_);
    return *value;
  }

  void end_of_line() const {
    if (!word_.empty()) {
      throw InputError(
          fmt::format("{}: line {}: expected the end of the line, found {}", name_, number(), quoted_excerpt(word_)));
    }
  }

 private:
  TextLines lines_;
  const MatrixMarketHeader& header_;
  const std::string& name_;
  std::string_view rest_;
  std::string_view word_;
};

}  // namespace

bool looks_like_matrix_market(std::string_view text) noexcept {
  return equal_ignoring_case(text.substr(0, magic.size()), magic);
}

MatrixMarketHeader parse_matrix_market_header(std::string_view text, const std::string& name) {
  TextLines lines(text);
  std::string_view banner = lines.next().value_or("");
  if (!equal_ignoring_case(take_word(banner), magic)) {
    throw InputError(fmt::format("{}: line 1: expected '%%MatrixMarket matrix ...'", name));
  }
  choose<int, 1>(take_word(banner), {{{"matrix", 0}}}, "object", name);

  MatrixMarketHeader header;
  header.format = choose<MatrixMarketFormat, 2>(
      take_word(banner), {{{"array", MatrixMarketFormat::array}, {"coordinate", MatrixMarketFormat::coordinate}}},
      "format", name);
  header.field = choose<MatrixMarketField, 4>(take_word(banner),
                                              {{{"real", MatrixMarketField::real},
                                                {"double", MatrixMarketField::real},
                                                {"integer", MatrixMarketField::integer},
                                                {"pattern", MatrixMarketField::pattern}}},
                                              "field", name);
  header.symmetry = choose<MatrixMarketSymmetry, 3>(take_word(banner),
                                                    {{{"general", MatrixMarketSymmetry::general},
                                                      {"symmetric", MatrixMarketSymmetry::symmetric},
                                                      {"skew-symmetric", MatrixMarketSymmetry::skew_symmetric}}},
                                                    "symmetry", name);
  if (const std::string_view extra = take_word(banner); !extra.empty()) {
    throw InputError(fmt::format("{}: line 1: expected the end of the line after the symmetry, found {}", name,
                                 quoted_excerpt(extra)));
  }
  const bool is_array = header.format == MatrixMarketFormat::array;
  if (is_array && header.field == MatrixMarketField::pattern) {
    throw InputError(fmt::format("{}: line 1: a pattern matrix must be in coordinate format", name));
  }

  std::string_view size_line;
  bool is_blank = false;
  do {
    const auto line = lines.next();
    if (!line) {
      throw InputError(
          text.size() < matrix_market_header_limit
              ? fmt::format("{}: line {}: expected the size line, found the end of the file", name, lines.number() + 1)
              : fmt::format("{}: expected the size line within the first {} bytes", name, matrix_market_header_limit));
    }
    size_line = *line;
    is_blank = std::string_view(size_line).find_first_not_of(" \t\r") == std::string_view::npos;
  } while (is_blank || size_line.starts_with('%'));
  header.size_line = lines.number();
  header.data_offset = lines.offset();

  const std::string_view expected = is_array ? "'rows columns'" : "'rows columns entries'";
  std::array<std::uint64_t, 3> sizes{};
  const std::size_t size_count = is_array ? 2 : 3;
  std::string_view rest = size_line;
  for (std::size_t k = 0; k < size_count; ++k) {
    const std::string_view word = take_word(rest);
    const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), sizes[k]);
    if (word.empty() || status != std::errc() || end != word.data() + word.size() || sizes[k] >> 63 != 0) {
      throw InputError(fmt::format("{}: line {}: expected the size line {} (integers from 0 to 2^63 - 1), found {}",
                                   name, lines.number(), expected, quoted_excerpt(word)));
    }
  }
  if (const std::string_view extra = take_word(rest); !extra.empty()) {
    throw InputError(fmt::format("{}: line {}: expected the end of the size line {}, found {}", name, lines.number(),
                                 expected, quoted_excerpt(extra)));
  }
  header.rows = sizes[0];
  header.columns = sizes[1];
  if (header.symmetry != MatrixMarketSymmetry::general && header.rows != header.columns) {
    throw InputError(fmt::format("{}: line {}: a symmetric matrix must be square, found {} x {}", name, lines.number(),
                                 header.rows, header.columns));
  }

  // Entries that the shape allows: all, or the lower triangle with or without its diagonal.
  using Wide = unsigned __int128;
  const Wide rows = header.rows;
  const Wide most = header.symmetry == MatrixMarketSymmetry::general     ? rows * header.columns
                    : header.symmetry == MatrixMarketSymmetry::symmetric ? rows * (rows + 1) / 2
                                                                         : rows * (rows - (rows > 0 ? 1 : 0)) / 2;
  if (is_array) {
    if (most >> 63 != 0) {
      throw InputError(fmt::format("{}: line {}: {} x {} entries are more than 2^63 - 1", name, lines.number(),
                                   header.rows, header.columns));
    }
    header.entries = static_cast<std::uint64_t>(most);
  } else {
    header.entries = sizes[2];
    if (header.entries > 0 && most == 0) {
      throw InputError(fmt::format("{}: line {}: {} entries do not fit a {} x {} matrix", name, lines.number(),
                                   header.entries, header.rows, header.columns));
    }
  }
  return header;
}

DenseMatrix load_matrix_market(const std::string& path) {
  const InputFile file(path);
  const std::string text = read_whole_file(file);
  const MatrixMarketHeader header = parse_matrix_market_header(text, path);
  const bool is_array = header.format == MatrixMarketFormat::array;
  const bool is_skew = header.symmetry == MatrixMarketSymmetry::skew_symmetric;
  const bool is_general = header.symmetry == MatrixMarketSymmetry::general;

  // An entry takes at least one digit and a newline, which only the last one may lack.
  const std::uint64_t fitting = (text.size() - header.data_offset + 1) / 2;
  if (header.entries > fitting) {
    throw InputError(
        fmt::format("{}: line {}: expected {} entries, but the {} bytes that follow cannot hold more than {}", path,
                    header.size_line, header.entries, text.size() - header.data_offset, fitting));
  }
  if (!is_array && header.columns != 0 && header.rows > matrix_market_dense_limit / header.columns) {
    throw InputError(fmt::format("{}: line {}: a {} x {} matrix has more than the {} entries that an operand may have",
                                 path, header.size_line, header.rows, header.columns, matrix_market_dense_limit));
  }
  DenseMatrix matrix{header.rows, header.columns,
                     std::vector<double>(static_cast<std::size_t>(header.rows * header.columns))};
  const auto add = [&](std::uint64_t i, std::uint64_t j, double value) {
    matrix.values[static_cast<std::size_t>(i * header.columns + j)] += value;
    if (!is_general && i != j)
      matrix.values[static_cast<std::size_t>(j * header.columns + i)] += is_skew ? -value : value;
  };

  EntryLines lines(text, header, path);
  std::uint64_t array_row = is_skew ? 1 : 0;  // of the next entry of an array, which is stored by columns
  std::uint64_t array_column = 0;
  for (std::uint64_t entry = 0; entry < header.entries; ++entry) {
    if (!lines.next()) {
      throw InputError(fmt::format("{}: expected {} entries, but the file ends after {}", path, header.entries, entry));
    }
    std::uint64_t i = array_row;
    std::uint64_t j = array_column;
    if (is_array) {
      if (++array_row == header.rows) {
        ++array_column;
        array_row = is_general ? 0 : array_column + (is_skew ? 1 : 0);
      }
    } else {
      i = lines.index(header.rows, "row");
      j = lines.index(header.columns, "column");
      if (!is_general && (i < j || (is_skew && i == j))) {
        throw InputError(fmt::format("{}: line {}: expected an entry below {}the diagonal, found row {}, column {}",
                                     path, lines.number(), is_skew ? "" : "or on ", i + 1, j + 1));
      }
    }
    add(i, j, lines.value());
    lines.end_of_line();
  }
  if (lines.next()) {
    throw InputError(fmt::format("{}: line {}: expected the end of the file after {} entries", path, lines.number(),
                                 header.entries));
  }
  return matrix;
}

}  // namespace weir
