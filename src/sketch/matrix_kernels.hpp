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

/// Whole rows of a matrix, for one row of the table.
struct WholeRows {
  std::span<const std::uint32_t> order;  ///< In which they are taken; neighbours in one bucket share its cell.
  const std::uint32_t* buckets;
  const double* signed_weights;
  const float* scales;   ///< [t][lane of the block].
  const double* values;  ///< [t][column].
};

/// cells[buckets[t]][column][lane] += signed_weights[t] * scales[t][lane] * values[t][column] for all rows t, columns, and
/// the `block` lanes of a block: 1, 2, 8 or 16. `cells` is the row of the table, advanced to the first lane of the block.
void accumulate_rows(double* cells, const WholeRows& rows, const MatrixShape& shape, std::size_t block);

/// out[cell][lane] = sum over k, in this order, of coefficients[k] * table[cell][columns[k]][lane] for all cells and
/// lanes.
void multiply(const double* table, std::size_t cells, const MatrixShape& shape, std::span<const std::size_t> columns,
              const double* coefficients, double* out);

/// True when all values are finite.
[[nodiscard]] bool all_finite(std::span<const double> values);

}  // namespace weir::kernels
