#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "weir/dense_matrix.hpp"

namespace weir {

/// A matrix that belongs to someone else, row after row: what the functions of attention read queries, keys and values
/// from. Row i is values[i * columns] .. values[i * columns + columns - 1].
struct RowsView {
  std::span<const double> values;  ///< rows * columns of them. The functions that take a view throw UsageError if not.
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;

  RowsView() = default;
  RowsView(std::span<const double> numbers, std::uint64_t row_count, std::uint64_t column_count)
      : values(numbers), rows(row_count), columns(column_count) {}
  RowsView(const DenseMatrix& matrix)  // NOLINT(google-explicit-constructor): a matrix is a view of itself
      : values(matrix.values), rows(matrix.rows), columns(matrix.columns) {}

  [[nodiscard]] std::span<const double> row(std::uint64_t i) const { return values.subspan(i * columns, columns); }
  /// Rows first .. first + count - 1, which the view must have.
  [[nodiscard]] RowsView part(std::uint64_t first, std::uint64_t count) const {
    return {values.subspan(first * columns, count * columns), count, columns};
  }
};

/// What the rows of a view are called in messages: first, first + 1, ... or, where `rows` is not empty, by that list.
struct RowNumbers {
  std::uint64_t first = 0;
  std::span<const std::uint64_t> rows;

  RowNumbers(std::uint64_t first_row = 0) : first(first_row) {}          // NOLINT(google-explicit-constructor)
  RowNumbers(std::span<const std::uint64_t> numbers) : rows(numbers) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] std::uint64_t operator[](std::uint64_t t) const { return rows.empty() ? first + t : rows[t]; }
  /// Those from row t of the view on.
  [[nodiscard]] RowNumbers from(std::uint64_t t) const {
    return rows.empty() ? RowNumbers(first + t) : RowNumbers(rows.subspan(t));
  }
};

}  // namespace weir
