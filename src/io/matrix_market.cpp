#include "weir/io/matrix_market.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "io/compression.hpp"
#include "io/fields.hpp"
#include "io/input.hpp"
#include "io/matrix_market_lines.hpp"
#include "io/pick.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/text.hpp"

namespace weir {

using namespace std::string_view_literals;

namespace {

constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t k = 0; k < a.size(); ++k) {
    if (lower(a[k]) != lower(b[k])) return false;
  }
  return true;
}

/// How far a text goes along with the beginning of a banner.
struct Banner {
  bool is_whole = false;  ///< There is all of "%%MatrixMarket", and `end` is the byte after it.
  bool is_cut = false;    ///< The text ended within it.
  std::size_t end = 0;
};

Banner find_banner(std::string_view text) noexcept {
  constexpr std::string_view word = "MatrixMarket";
  std::size_t at = 0;
  if (text.starts_with(byte_order_mark)) {
    at = byte_order_mark.size();
  } else if (byte_order_mark.starts_with(text)) {
    return {.is_cut = true};
  }
  const auto skip = [&](std::string_view characters) {
    at = std::min(text.find_first_not_of(characters, at), text.size());
  };
  skip(" \t\r\n");
  const std::size_t marks = at;
  while (at < text.size() && at < marks + 2 && text[at] == '%') ++at;
  if (at == text.size()) return {.is_cut = true};
  if (at == marks) return {};
  skip(" \t");
  const std::string_view found = text.substr(at, word.size());
  if (!equal_ignoring_case(found, word.substr(0, found.size()))) return {};
  return {.is_whole = found.size() == word.size(), .is_cut = found.size() < word.size(), .end = at + found.size()};
}

template <class Value, std::size_t Count>
Value choose(std::string_view word, const std::array<std::pair<std::string_view, Value>, Count>& choices,
             std::string_view what, const std::string& place) {
  std::vector<std::string_view> known;
  for (const auto& [text, value] : choices) {
    if (equal_ignoring_case(word, text)) return value;
    known.push_back(text);
  }
  throw InputError(fmt::format("{}: expected the Matrix Market {} {}, found {}", place, what, fmt::join(known, ", "),
                               quoted_excerpt(word)));
}

}  // namespace

bool looks_like_matrix_market(std::string_view text) noexcept {
  return find_banner(text.substr(0, matrix_market_banner_start)).is_whole;
}

bool may_become_matrix_market(std::string_view text) noexcept {
  return text.size() < matrix_market_banner_start && find_banner(text).is_cut;
}

MatrixMarketHeader parse_matrix_market_header(std::string_view text, const std::string& name) {
  TextLines lines(text);
  const Banner found = find_banner(text.substr(0, matrix_market_banner_start));
  std::string_view banner = lines.next().value_or("");
  // Lines before the banner are blank.
  while (found.is_whole && lines.offset() < found.end) banner = lines.next().value_or("");
  const std::uint64_t number = std::max<std::uint64_t>(lines.number(), 1);
  const std::size_t begin = lines.offset() - banner.size() - (text.substr(0, lines.offset()).ends_with('\n') ? 1 : 0);
  if (!found.is_whole || found.end > begin + banner.size() ||
      (found.end < begin + banner.size() &&
       std::string_view(" \t\r").find(text[found.end]) == std::string_view::npos)) {
    throw InputError(fmt::format("{}:{}: expected '%%MatrixMarket matrix ...'", name, number));
  }
  if (const std::string reason = return_complaint(banner); !reason.empty())
    throw InputError(fmt::format("{}:{}: {}", name, number, reason));
  banner.remove_prefix(found.end - begin);
  const auto choose = [&]<class Value, std::size_t Count>(
                          const std::array<std::pair<std::string_view, Value>, Count>& choices, std::string_view what) {
    return weir::choose(take_word(banner), choices, what, fmt::format("{}:{}", name, number));
  };
  choose(std::array{std::pair{"matrix"sv, 0}}, "object");

  MatrixMarketHeader header;
  header.format = choose(std::array{std::pair{"array"sv, MatrixMarketFormat::array},
                                    std::pair{"coordinate"sv, MatrixMarketFormat::coordinate}},
                         "format");
  header.field =
      choose(std::array{std::pair{"real"sv, MatrixMarketField::real}, std::pair{"double"sv, MatrixMarketField::real},
                        std::pair{"integer"sv, MatrixMarketField::integer},
                        std::pair{"unsigned-integer"sv, MatrixMarketField::integer},
                        std::pair{"pattern"sv, MatrixMarketField::pattern}},
             "field");
  header.symmetry = choose(std::array{std::pair{"general"sv, MatrixMarketSymmetry::general},
                                      std::pair{"symmetric"sv, MatrixMarketSymmetry::symmetric},
                                      std::pair{"skew-symmetric"sv, MatrixMarketSymmetry::skew_symmetric},
                                      std::pair{"hermitian"sv, MatrixMarketSymmetry::symmetric}},
                           "symmetry");
  if (const std::string_view extra = take_word(banner); !extra.empty()) {
    throw InputError(fmt::format("{}:{}: expected the end of the line after the symmetry, found {}", name, number,
                                 quoted_excerpt(extra)));
  }
  const bool is_array = header.format == MatrixMarketFormat::array;
  if (is_array && header.field == MatrixMarketField::pattern) {
    throw InputError(fmt::format("{}:{}: a pattern matrix must be in coordinate format", name, number));
  }

  std::string_view size_line;
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
    if (const std::string reason = return_complaint(size_line); !reason.empty())
      throw InputError(fmt::format("{}:{}: {}", name, lines.number(), reason));
  } while (MatrixMarketLines::is_nothing(size_line));
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

  // Entries that the shape allows: all, or one triangle. Of a skew-symmetric array the diagonal is left out.
  using Wide = unsigned __int128;
  const Wide rows = header.rows;
  const Wide most = header.symmetry == MatrixMarketSymmetry::general ? rows * header.columns
                    : is_array && header.symmetry == MatrixMarketSymmetry::skew_symmetric
                        ? rows * (rows - (rows > 0 ? 1 : 0)) / 2
                        : rows * (rows + 1) / 2;
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
  const InputFile file(file_of(path));  // refuses what is no file
  const std::unique_ptr<Input> input = content_of(open_input(path));
  const std::string text = read_all(*input);
  const MatrixMarketHeader header =
      parse_matrix_market_header(std::string_view(text).substr(0, matrix_market_header_limit), path);
  const bool is_array = header.format == MatrixMarketFormat::array;

  if (is_array) MatrixMarketLines::require_data(header, path, text.size() - header.data_offset);
  if (!is_array && header.columns != 0 && header.rows > matrix_market_dense_limit / header.columns) {
    throw InputError(fmt::format("{}:{}: a {} x {} matrix has more than the {} entries that an operand may have", path,
                                 header.size_line, header.rows, header.columns, matrix_market_dense_limit));
  }
  DenseMatrix matrix{header.rows, header.columns,
                     std::vector<double>(static_cast<std::size_t>(header.rows * header.columns))};
  MatrixMarketLines rules(header);
  MatrixMarketLines::Entry entry;
  std::uint64_t found = 0;
  TextLines lines(std::string_view(text).substr(header.data_offset));
  while (const auto line = lines.next()) {
    std::string reason;
    if (line->size() > MatrixMarketLines::longest) {
      if (MatrixMarketLines::is_comment(*line)) continue;
      reason = overlong_complaint(MatrixMarketLines::longest, *line);
    } else if (MatrixMarketLines::is_nothing(*line)) {
      continue;
    } else if (reason = nul_complaint(*line); reason.empty() && found < header.entries) {
      (void)rules.parse(*line, found, entry, reason);
    }
    if (!reason.empty()) throw InputError(fmt::format("{}:{}: {}", path, header.size_line + lines.number(), reason));
    if (++found > header.entries) continue;  // counted for the message
    matrix.values[static_cast<std::size_t>(entry.row * header.columns + entry.column)] += entry.value;
    if (rules.is_mirrored(entry.row, entry.column)) {
      matrix.values[static_cast<std::size_t>(entry.column * header.columns + entry.row)] += rules.mirrored(entry.value);
    }
  }
  if (found != header.entries) throw InputError(rules.count_complaint(path, found));
  return matrix;
}

}  // namespace weir
