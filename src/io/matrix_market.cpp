#include "weir/io/matrix_market.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "io/fields.hpp"
#include "io/matrix_market_lines.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/text.hpp"

namespace weir {
namespace {

constexpr std::string_view magic = "%%MatrixMarket";

std::string_view without_byte_order_mark(std::string_view text) noexcept {
  return text.starts_with("\xEF\xBB\xBF") ? text.substr(3) : text;
}

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
  throw InputError(fmt::format("{}:1: expected the Matrix Market {} {}, found {}", name, what, fmt::join(known, ", "),
                               quoted_excerpt(word)));
}

}  // namespace

bool looks_like_matrix_market(std::string_view text) noexcept {
  return equal_ignoring_case(without_byte_order_mark(text).substr(0, magic.size()), magic);
}

MatrixMarketHeader parse_matrix_market_header(std::string_view text, const std::string& name) {
  TextLines lines(text);
  std::string_view banner = without_byte_order_mark(lines.next().value_or(""));
  if (!equal_ignoring_case(take_word(banner), magic)) {
    throw InputError(fmt::format("{}:1: expected '%%MatrixMarket matrix ...'", name));
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
    throw InputError(
        fmt::format("{}:1: expected the end of the line after the symmetry, found {}", name, quoted_excerpt(extra)));
  }
  const bool is_array = header.format == MatrixMarketFormat::array;
  if (is_array && header.field == MatrixMarketField::pattern) {
    throw InputError(fmt::format("{}:1: a pattern matrix must be in coordinate format", name));
  }

  std::string_view size_line;
  bool is_blank = false;
  do {
    const auto line = lines.next();
    // Where a part of the file is given, its last line may be cut.
    const bool is_cut = text.size() >= matrix_market_header_limit && lines.offset() == text.size();
    if (!line || (is_cut && !text.ends_with('\n'))) {
      throw InputError(
          text.size() < matrix_market_header_limit
              ? fmt::format("{}:{}: expected the size line, found the end of the file", name, lines.number() + 1)
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
      throw InputError(fmt::format("{}:{}: expected the size line {} (integers from 0 to 2^63 - 1), found {}", name,
                                   lines.number(), expected, quoted_excerpt(word)));
    }
  }
  if (const std::string_view extra = take_word(rest); !extra.empty()) {
    throw InputError(fmt::format("{}:{}: expected the end of the size line {}, found {}", name, lines.number(),
                                 expected, quoted_excerpt(extra)));
  }
  header.rows = sizes[0];
  header.columns = sizes[1];
  if (header.symmetry != MatrixMarketSymmetry::general && header.rows != header.columns) {
    throw InputError(fmt::format("{}:{}: a symmetric matrix must be square, found {} x {}", name, lines.number(),
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
      throw InputError(fmt::format("{}:{}: {} x {} entries are more than 2^63 - 1", name, lines.number(), header.rows,
                                   header.columns));
    }
    header.entries = static_cast<std::uint64_t>(most);
  } else {
    header.entries = sizes[2];
    if (header.entries > 0 && most == 0) {
      throw InputError(fmt::format("{}:{}: {} entries do not fit a {} x {} matrix", name, lines.number(),
                                   header.entries, header.rows, header.columns));
    }
  }
  return header;
}

DenseMatrix load_matrix_market(const std::string& path) {
  const InputFile file(path);
  const std::string text = read_whole_file(file);
  const MatrixMarketHeader header =
      parse_matrix_market_header(std::string_view(text).substr(0, matrix_market_header_limit), path);
  const bool is_array = header.format == MatrixMarketFormat::array;
  const bool is_skew = header.symmetry == MatrixMarketSymmetry::skew_symmetric;
  const bool is_general = header.symmetry == MatrixMarketSymmetry::general;

  // An entry takes at least one digit and a newline, which only the last one may lack.
  const std::uint64_t fitting = (text.size() - header.data_offset + 1) / 2;
  if (is_array && header.entries > fitting) {
    throw InputError(fmt::format("{}:{}: expected {} entries, but the {} bytes that follow cannot hold more than {}",
                                 path, header.size_line, header.entries, text.size() - header.data_offset, fitting));
  }
  if (!is_array && header.columns != 0 && header.rows > matrix_market_dense_limit / header.columns) {
    throw InputError(fmt::format("{}:{}: a {} x {} matrix has more than the {} entries that an operand may have", path,
                                 header.size_line, header.rows, header.columns, matrix_market_dense_limit));
  }
  DenseMatrix matrix{header.rows, header.columns,
                     std::vector<double>(static_cast<std::size_t>(header.rows * header.columns))};
  const MatrixMarketLines rules(header);
  MatrixMarketLines::Entry entry;
  std::uint64_t found = 0;
  std::uint64_t array_row = is_skew ? 1 : 0;  // of the next entry of an array, which is stored by columns
  std::uint64_t array_column = 0;
  TextLines lines(std::string_view(text).substr(header.data_offset));
  while (const auto line = lines.next()) {
    std::string reason;
    if (line->size() > MatrixMarketLines::longest) {
      reason = overlong_complaint(MatrixMarketLines::longest);
    } else if (MatrixMarketLines::is_nothing(*line)) {
      continue;
    } else if (reason = nul_complaint(*line); reason.empty()) {
      (void)rules.parse(*line, entry, reason);
    }
    if (!reason.empty()) throw InputError(fmt::format("{}:{}: {}", path, header.size_line + lines.number(), reason));
    if (++found > header.entries) continue;  // counted for the message
    if (is_array) {
      entry.row = array_row;
      entry.column = array_column;
      if (++array_row == header.rows) {
        ++array_column;
        array_row = is_general ? 0 : array_column + (is_skew ? 1 : 0);
      }
    }
    matrix.values[static_cast<std::size_t>(entry.row * header.columns + entry.column)] += entry.value;
    if (rules.is_mirrored(entry.row, entry.column)) {
      matrix.values[static_cast<std::size_t>(entry.column * header.columns + entry.row)] += rules.mirrored(entry.value);
    }
  }
  if (found != header.entries) throw InputError(rules.count_complaint(path, found));
  return matrix;
}

}  // namespace weir
