#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

/// The vector loops of the state layer. Highway chooses the instruction set at run time; results are the same bits on
/// all where the operands are whole numbers, and agree up to rounding where they are not: sums are fused where the
/// machine can. On one machine a sum has the same bits in whatever company it is computed.
namespace weir::kernels {

/// Columns of a panel. B, d x m, is kept panel after panel, so that what a product reads comes in the order of memory;
/// B[j][k] is entry [j][k % panel_width] of panel k / panel_width, each row of a panel as long as panel_columns says.
constexpr std::size_t panel_width = 32;
/// Columns come in cache lines: with zeros at the end, B has a multiple of so many.
constexpr std::size_t line_width = 8;
/// Rows that are multiplied at once, so that a number of B is loaded once for all.
constexpr std::size_t rows_at_once = 4;

/// `columns` and the zeros after them, which make them whole lines.
[[nodiscard]] constexpr std::size_t padded(std::size_t columns) noexcept {
  return (columns + line_width - 1) / line_width * line_width;
}
/// Columns of the panel that begins at column `first` of `columns`, with its zeros.
[[nodiscard]] constexpr std::size_t panel_columns(std::size_t first, std::size_t columns) noexcept {
  return std::min(panel_width, padded(columns) - first);
}

/// Rows of d coefficients, padded(d) apart, with zeros after them. They begin at a cache line.
struct CoefficientRows {
  const double* values;
  std::size_t rows;
  std::size_t d;
  /// For each rows_at_once rows the columns, ascending, where they are not all zero.
  std::span<const std::span<const std::uint64_t>> groups;
};

/// Writes the columns where the first `rows` of such rows are not all zero, ascending, and returns how many. There is
/// room for padded(d) of them.
std::size_t find_nonzero(const double* coefficients, std::size_t rows, std::size_t d, std::uint64_t* columns);

/// out[t * out_stride + k] = sum over j, ascending, of coefficients[t][j] * B[j][k], for all rows t and all k <
/// padded(columns). `columns` are all that B has from the panel at `panels` on, or a multiple of panel_width of them.
/// `panels` and `out` begin at cache lines, and out_stride is a multiple of one.
void multiply_panels(const double* panels, std::size_t columns, const CoefficientRows& coefficients, double* out,
                     std::size_t out_stride);

}  // namespace weir::kernels
