#pragma once

#include <cstddef>
#include <span>

/// The vector loops of the model layer. Highway chooses the instruction set at run time; results are the same bits on
/// all where the operands are whole numbers, and agree up to rounding where they are not: sums are fused where the
/// machine can.
namespace weir::kernels {

/// Columns of a panel: B, d x m, is kept as [k / panel_width][j][k % panel_width], so that what a product reads comes
/// in the order of memory.
constexpr std::size_t panel_width = 16;
/// Rows that are multiplied at once, so that a number of B is loaded once for all.
constexpr std::size_t rows_at_once = 4;

/// out[t * out_stride + k] = sum over j of coefficients[j * rows_at_once + t] * B[j][k], for t < rows, at most
/// rows_at_once, and k < panel_count * panel_width. Only the j in `columns` are looked at, in that order. `panels` and
/// `out` begin at cache lines, and out_stride is a multiple of one.
void multiply_panels(const double* panels, std::size_t panel_count, std::size_t d, std::span<const std::size_t> columns,
                     const double* coefficients, std::size_t rows, double* out, std::size_t out_stride);

}  // namespace weir::kernels
