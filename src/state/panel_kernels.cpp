#include "state/panel_kernels.hpp"

#include <algorithm>
#include <bit>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "state/panel_kernels.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::CoefficientRows;
using kernels::line_width;
using kernels::padded;
using kernels::panel_columns;
using kernels::panel_width;
using kernels::rows_at_once;

/// Sums that are kept in registers, half of these: enough of them to hide the latency of an addition.
constexpr std::size_t tile_vectors = HWY_TARGET <= HWY_AVX3 ? 16 : 8;

/// kRows rows of coefficients times kVectors vectors of columns of a panel whose rows are `stride` apart. Where kFetch,
/// a line of each row of a panel to come is fetched meanwhile.
template <std::size_t kRows, std::size_t kVectors, bool kFetch, class D>
HWY_INLINE void multiply_tile(D tag, const double* HWY_RESTRICT panel, std::size_t stride,
                              const double* HWY_RESTRICT coefficients, std::size_t row_stride,
                              std::span<const std::uint64_t> columns, const double* next_line, double* HWY_RESTRICT out,
                              std::size_t out_stride) {
  const std::size_t width = hn::Lanes(tag);
  hn::Vec<D> sums[kRows][kVectors];
  for (std::size_t t = 0; t < kRows; ++t) {
    for (std::size_t v = 0; v < kVectors; ++v) sums[t][v] = hn::Zero(tag);
  }
  for (const std::uint64_t j : columns) {
    if constexpr (kFetch) hwy::Prefetch(next_line + j * stride);
    hn::Vec<D> b[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) b[v] = hn::Load(tag, panel + j * stride + v * width);
    for (std::size_t t = 0; t < kRows; ++t) {
      const auto coefficient = hn::Set(tag, coefficients[t * row_stride + j]);
      for (std::size_t v = 0; v < kVectors; ++v) sums[t][v] = hn::MulAdd(coefficient, b[v], sums[t][v]);
    }
  }
  for (std::size_t t = 0; t < kRows; ++t) {
    for (std::size_t v = 0; v < kVectors; ++v) hn::Store(sums[t][v], tag, out + t * out_stride + v * width);
  }
}

/// All `width` columns of a panel from `first` on: tiles of kVectors vectors as long as they fit, then smaller ones.
template <std::size_t kRows, std::size_t kVectors, bool kFetch, class D>
HWY_INLINE void multiply_tiles(D tag, const double* HWY_RESTRICT panel, std::size_t width, std::size_t first,
                               const double* HWY_RESTRICT coefficients, std::size_t row_stride,
                               std::span<const std::uint64_t> columns, const double* next_line,
                               double* HWY_RESTRICT out, std::size_t out_stride) {
  const std::size_t tile = kVectors * hn::Lanes(tag);
  for (; first + tile <= width; first += tile) {
    multiply_tile<kRows, kVectors, kFetch>(tag, panel + first, width, coefficients, row_stride, columns, next_line,
                                           out + first, out_stride);
  }
  if constexpr (kVectors > 1) {
    multiply_tiles<kRows, kVectors / 2, kFetch>(tag, panel, width, first, coefficients, row_stride, columns, next_line,
                                                out, out_stride);
  }
}

/// A panel times rows `row` and on: kRows at once as long as they fit, then fewer. Of the panel `next`, where there is
/// one, each of the first groups of rows fetches a line of every row.
template <std::size_t kRows>
HWY_INLINE void multiply_rows(const double* panel, std::size_t width, const double* next,
                              const CoefficientRows& coefficients, std::size_t row, double* out,
                              std::size_t out_stride) {
  const hn::CappedTag<double, line_width> tag;
  const std::size_t stride = padded(coefficients.d);
  constexpr std::size_t most = panel_width / hn::MaxLanes(hn::CappedTag<double, line_width>());
  constexpr std::size_t vectors = std::min(most, tile_vectors / std::bit_ceil(kRows));
  for (; row + kRows <= coefficients.rows; row += kRows) {
    const std::size_t group = row / rows_at_once, line = group * line_width;
    const double* const values = coefficients.values + row * stride;
    double* const target = out + row * out_stride;
    constexpr bool may_fetch = kRows == rows_at_once;
    if (may_fetch && next != nullptr && line < width) {
      multiply_tiles<kRows, vectors, may_fetch>(tag, panel, width, 0, values, stride, coefficients.groups[group],
                                                next + line, target, out_stride);
    } else {
      multiply_tiles<kRows, vectors, false>(tag, panel, width, 0, values, stride, coefficients.groups[group], nullptr,
                                            target, out_stride);
    }
  }
  if constexpr (kRows > 1) multiply_rows<kRows - 1>(panel, width, next, coefficients, row, out, out_stride);
}

void multiply_panels(const double* panels, std::size_t columns, const CoefficientRows& coefficients, double* out,
                     std::size_t out_stride) {
  for (std::size_t first = 0; first < columns; first += panel_width) {
    const double* const panel = panels + first * coefficients.d;
    // With fewer groups than a panel has lines, what the processor fetches by itself is faster.
    const bool fetch = coefficients.groups.size() * line_width >= panel_width && columns - first >= 2 * panel_width;
    multiply_rows<rows_at_once>(panel, panel_columns(first, columns),
                                fetch ? panel + panel_width * coefficients.d : nullptr, coefficients, 0, out + first,
                                out_stride);
  }
}

std::size_t find_nonzero(const double* HWY_RESTRICT coefficients, std::size_t rows, std::size_t d,
                         std::uint64_t* HWY_RESTRICT columns) {
  const hn::CappedTag<double, line_width> tag;
  const hn::RebindToUnsigned<decltype(tag)> index_tag;
  const std::size_t width = hn::Lanes(tag), stride = padded(d);
  const auto zero = hn::Zero(tag);
  auto indices = hn::Iota(index_tag, 0);
  std::size_t count = 0;
  for (std::size_t j = 0; j < d; j += width, indices = hn::Add(indices, hn::Set(index_tag, width))) {
    auto nonzero = hn::Ne(hn::Load(tag, coefficients + j), zero);
    for (std::size_t t = 1; t < rows; ++t) {
      nonzero = hn::Or(nonzero, hn::Ne(hn::Load(tag, coefficients + t * stride + j), zero));
    }
    if (hn::AllTrue(tag, nonzero)) {
      hn::StoreU(indices, index_tag, columns + count);
      count += width;
      continue;
    }
    std::uint8_t bits[8];
    hn::StoreMaskBits(tag, nonzero, bits);
    for (std::size_t k = 0; k < width; ++k) {
      columns[count] = j + k;
      count += (unsigned{bits[0]} >> k) & 1U;
    }
  }
  return count;
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(find_nonzero);
HWY_EXPORT(multiply_panels);

namespace kernels {

std::size_t find_nonzero(const double* coefficients, std::size_t rows, std::size_t d, std::uint64_t* columns) {
  return HWY_DYNAMIC_DISPATCH(find_nonzero)(coefficients, rows, d, columns);
}

void multiply_panels(const double* panels, std::size_t columns, const CoefficientRows& coefficients, double* out,
                     std::size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(multiply_panels)(panels, columns, coefficients, out, out_stride);
}

}  // namespace kernels
}  // namespace weir
#endif
