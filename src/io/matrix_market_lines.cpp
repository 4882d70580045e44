#include "io/matrix_market_lines.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "io/fields.hpp"
#include "weir/error.hpp"
#include "weir/io/text.hpp"

namespace weir {

bool MatrixMarketLines::is_nothing(std::string_view line) noexcept {
  if (is_comment(line)) return return_complaint(line).empty();
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

bool MatrixMarketLines::is_comment(std::string_view beginning) noexcept {
  const std::size_t first = beginning.find_first_not_of(" \t\r");
  return first != std::string_view::npos && beginning[first] == '%';
}

bool MatrixMarketLines::parse(std::string_view line, std::uint64_t number, Entry& entry, std::string& reason) {
  reason = return_complaint(line);
  if (!reason.empty()) return false;
  const bool is_array = header_.format == MatrixMarketFormat::array;
  const bool has_value = header_.field != MatrixMarketField::pattern;
  const std::size_t wanted = (is_array ? 0u : 2u) + (has_value ? 1u : 0u);
  std::array<std::string_view, 3> words;
  std::size_t count = 0;
  for (std::string_view word = take_word(line); !word.empty(); word = take_word(line)) {
    if (count < words.size()) words[count] = word;
    ++count;
  }
  if (count != wanted) {
    reason =
        fmt::format("{} field: found {}, expected {} as in '{}'", count < wanted ? "missing" : "extra", count, wanted,
                    is_array    ? "value"
                    : has_value ? "row column value"
                                : "row column");
    return false;
  }
  if (is_array && number >= header_.entries) {
    reason = fmt::format("one value more than the {} of the size line", header_.entries);
    return false;
  }
  if (is_array) {
    find_place(number, entry);
  } else if (!parse_place(words[0], words[1], entry, reason)) {
    return false;
  }
  entry.value = 1;
  const auto fits_diagonal = [&] {
    if (header_.symmetry != MatrixMarketSymmetry::skew_symmetric || entry.row != entry.column || entry.value == 0)
      return true;
    reason = fmt::format("entry ({}, {}) is on the diagonal of a skew-symmetric matrix: expected 0 there, or no entry",
                         entry.row + 1, entry.column + 1);
    return false;
  };
  if (!has_value) return fits_diagonal();
  const std::string_view value = words[wanted - 1];
  if (!parse_number(value, "value", entry.value, reason)) return false;
  if (header_.field == MatrixMarketField::integer && entry.value != std::trunc(entry.value)) {
    reason = fmt::format("value = {} is not whole: the field of the matrix is 'integer'", quoted_excerpt(value));
    return false;
  }
  return fits_diagonal();
}

void MatrixMarketLines::find_place(std::uint64_t number, Entry& entry) noexcept {
  if (header_.symmetry == MatrixMarketSymmetry::general) {
    entry.row = number % header_.rows;
    entry.column = number / header_.rows;
    return;
  }
  if (number < column_begin_) column_ = column_begin_ = 0;
  const auto first_row = [&] { return column_ + (header_.symmetry == MatrixMarketSymmetry::skew_symmetric ? 1 : 0); };
  while (number - column_begin_ >= header_.rows - first_row()) {
    column_begin_ += header_.rows - first_row();
    ++column_;
  }
  entry.row = first_row() + (number - column_begin_);
  entry.column = column_;
}

bool MatrixMarketLines::parse_place(std::string_view row, std::string_view column, Entry& entry, std::string& reason) {
  if (!parse_index(row, "row", entry.row, reason, 1) || !parse_index(column, "column", entry.column, reason, 1))
    return false;
  if (entry.row == 0 || entry.column == 0 || entry.row > header_.rows || entry.column > header_.columns) {
    reason = fmt::format("entry ({}, {}) is outside the matrix, which is {} x {}, counted from 1", entry.row,
                         entry.column, header_.rows, header_.columns);
    return false;
  }
  --entry.row;
  --entry.column;
  if (header_.symmetry == MatrixMarketSymmetry::general || entry.row == entry.column) return true;
  const bool is_upper = entry.row < entry.column;
  if (!upper_) upper_ = is_upper;
  if (*upper_ != is_upper) {
    reason = fmt::format(
        "entry ({}, {}) is in the {} triangle, but the first one beside the diagonal in the {}: expected one triangle, "
        "as "
        "the matrix is {}",
        entry.row + 1, entry.column + 1, is_upper ? "upper" : "lower", is_upper ? "lower" : "upper",
        header_.symmetry == MatrixMarketSymmetry::symmetric ? "symmetric" : "skew-symmetric");
    return false;
  }
  return true;
}

void MatrixMarketLines::require_data(const MatrixMarketHeader& header, const std::string& name, std::uint64_t bytes) {
  // Fields of one character, with one behind each, which only the last may lack.
  const std::uint64_t shortest = header.format == MatrixMarketFormat::array   ? 2
                                 : header.field == MatrixMarketField::pattern ? 4
                                                                              : 6;
  const std::uint64_t most = bytes / shortest + (bytes % shortest + 1 == shortest ? 1 : 0);
  if (header.entries > most)
    throw InputError(fmt::format("{}:{}: expected {} entries, but the {} bytes that follow cannot hold more than {}",
                                 name, header.size_line, header.entries, bytes, most));
}

std::string MatrixMarketLines::count_complaint(const std::string& name, std::uint64_t found) const {
  return header_.format == MatrixMarketFormat::array
             ? fmt::format("{}:{}: the size line means {} entries, the file has {}", name, header_.size_line,
                           header_.entries, found)
             : fmt::format("{}:{}: the size line promises {} entries, the file has {}", name, header_.size_line,
                           header_.entries, found);
}

}  // namespace weir
