#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "weir/sketch/operator.hpp"

/// The vector loops of the matrix sketch; results are the same bits on all instruction sets.
namespace weir::kernels {

/// A cell is [column][lane].
struct MatrixShape {
  std::size_t columns;
  std::size_t lanes;
};

/// Whole rows that share a bucket: they come up to `end` in the order in which rows are taken.
struct RowGroup {
  std::uint32_t bucket;
  std::uint32_t end;
};

/// A block of columns of whole rows, as one row of the table takes them.
struct WholeRows {
  std::span<const RowGroup> groups;
  const std::uint32_t* order;  ///< In which rows are taken.
  const double* signed_weights;
  const float* scales;   ///< [t][lane of the block].
  const double* values;  ///< [t][column of the block].
  std::size_t columns;   ///< Of the block.
};

/// cells[bucket of t][column][lane] += signed_weights[t] * scales[t][lane] * values[t][column] for all rows t, the columns
/// of a block, and the `lanes` lanes of a block: 1, 2, 8 or 16. `cells` is the row of the table, advanced to the first
/// column and lane.
void accumulate_rows(double* cells, const WholeRows& rows, const MatrixShape& shape, std::size_t lanes);

/// out[cell][lane] = sum over k, in this order, of coefficients[k] * table[cell][columns[k]][lane] for all cells and
/// lanes.
void multiply(const double* table, std::size_t cells, const MatrixShape& shape, std::span<const std::size_t> columns,
              const double* coefficients, double* out);

/// True when all values are finite.
[[nodiscard]] bool all_finite(std::span<const double> values);

}  // namespace weir::kernels
