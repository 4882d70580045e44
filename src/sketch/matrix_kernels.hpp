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

/// A block of columns of whole rows, as one row of the table takes them.
struct WholeRows {
  const std::uint32_t* order;          ///< In which rows are taken: those of a bucket follow each other.
  std::size_t groups;                  ///< Number of buckets.
  const std::uint32_t* group_buckets;  ///< The buckets as their rows come.
  const std::uint32_t* group_ends;     ///< Where in the order the rows of each end.
  const double* signed_weights;
  const float* scales;   ///< [t][lane of the block].
  const double* values;  ///< [t][column of the block].
  std::size_t columns;   ///< Of the block.
};

/// cells[bucket of t][column][lane] += signed_weights[t] * scales[t][lane] * values[t][column] for all rows t, the
/// columns of a block, and the `lanes` lanes of a block: 1, 2, 8 or 16. `cells` is the row of the table, advanced to
/// the first column and lane.
void accumulate_rows(double* cells, const WholeRows& rows, const MatrixShape& shape, std::size_t lanes);

/// out[cell][lane] = sum over k, in this order, of coefficients[k] * table[cell][columns[k]][lane] for all cells and
/// lanes.
void multiply(const double* table, std::size_t cells, const MatrixShape& shape, std::span<const std::size_t> columns,
              const double* coefficients, double* out);

/// out[cell][lane] = sqrt(sum over k < count of (sum over j of directions[k][j] * table[cell][j][lane])^2).
void norms(const double* table, std::size_t cells, const MatrixShape& shape, const double* directions,
           std::size_t count, double* out);

/// True when all values are finite.
[[nodiscard]] bool all_finite(std::span<const double> values);

}  // namespace weir::kernels
