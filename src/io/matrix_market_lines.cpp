#include "io/matrix_market_lines.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "io/fields.hpp"
#include "weir/io/text.hpp"

namespace weir {

bool MatrixMarketLines::is_nothing(std::string_view line) noexcept {
  const std::size_t first = line.find_first_not_of(" \t\r");
  return first == std::string_view::npos || line[first] == '%';
}

bool MatrixMarketLines::parse(std::string_view line, Entry& entry, std::string& reason) const {
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
  if (!is_array && !parse_place(words[0], words[1], entry, reason)) return false;
  entry.value = 1;
  if (!has_value) return true;
  const std::string_view value = words[wanted - 1];
  if (!parse_number(value, "value", entry.value, reason)) return false;
  if (header_.field == MatrixMarketField::integer && entry.value != std::trunc(entry.value)) {
    reason = fmt::format("value = {} is not whole: the field of the matrix is 'integer'", quoted_excerpt(value));
    return false;
  }
  return true;
}

bool MatrixMarketLines::parse_place(std::string_view row, std::string_view column, Entry& entry,
                                    std::string& reason) const {
  if (!parse_index(row, "row", entry.row, reason, 1) || !parse_index(column, "column", entry.column, reason, 1))
    return false;
  if (entry.row == 0 || entry.column == 0 || entry.row > header_.rows || entry.column > header_.columns) {
    reason = fmt::format("entry ({}, {}) is outside the matrix, which is {} x {}, counted from 1", entry.row,
                         entry.column, header_.rows, header_.columns);
    return false;
  }
  --entry.row;
  --entry.column;
  if (!belongs(entry.row, entry.column)) {
    const bool is_symmetric = header_.symmetry == MatrixMarketSymmetry::symmetric;
    reason = fmt::format("entry ({}, {}) has no place in a {} matrix, which stores {}", entry.row + 1, entry.column + 1,
                         is_symmetric ? "symmetric" : "skew-symmetric",
                         is_symmetric ? "its lower triangle" : "its strictly lower triangle");
    return false;
  }
  return true;
}

std::string MatrixMarketLines::count_complaint(const std::string& name, std::uint64_t found) const {
  return header_.format == MatrixMarketFormat::array
             ? fmt::format("{}:{}: the size line means {} entries, the file has {}", name, header_.size_line,
                           header_.entries, found)
             : fmt::format("{}:{}: the size line promises {} entries, the file has {}", name, header_.size_line,
                           header_.entries, found);
}

}  // namespace weir
