#include "model/panel_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/panel_kernels.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::panel_width;
using kernels::rows_at_once;

template <std::size_t kRows>
HWY_INLINE void multiply(const double* HWY_RESTRICT panels, std::size_t panel_count, std::size_t d,
                         std::span<const std::size_t> columns, const double* HWY_RESTRICT coefficients,
                         double* HWY_RESTRICT out, std::size_t out_stride) {
  const hn::CappedTag<double, panel_width / 2> tag;
  const std::size_t width = hn::Lanes(tag);
  using Vector = hn::Vec<decltype(tag)>;
  for (std::size_t p = 0; p < panel_count; ++p, panels += d * panel_width, out += panel_width) {
    for (std::size_t k = 0; k < panel_width; k += 2 * width) {
      Vector low[kRows], high[kRows];
      for (std::size_t t = 0; t < kRows; ++t) low[t] = high[t] = hn::Zero(tag);
      for (const std::size_t j : columns) {
        const Vector b_low = hn::Load(tag, panels + j * panel_width + k);
        const Vector b_high = hn::Load(tag, panels + j * panel_width + k + width);
        for (std::size_t t = 0; t < kRows; ++t) {
          const Vector coefficient = hn::Set(tag, coefficients[j * rows_at_once + t]);
          low[t] = hn::MulAdd(coefficient, b_low, low[t]);
          high[t] = hn::MulAdd(coefficient, b_high, high[t]);
        }
      }
      for (std::size_t t = 0; t < kRows; ++t) {
        hn::Store(low[t], tag, out + t * out_stride + k);
        hn::Store(high[t], tag, out + t * out_stride + k + width);
      }
    }
  }
}

void multiply_panels(const double* panels, std::size_t panel_count, std::size_t d, std::span<const std::size_t> columns,
                     const double* coefficients, std::size_t rows, double* out, std::size_t out_stride) {
  switch (rows) {
    case 1:
      return multiply<1>(panels, panel_count, d, columns, coefficients, out, out_stride);
    case 2:
      return multiply<2>(panels, panel_count, d, columns, coefficients, out, out_stride);
    case 3:
      return multiply<3>(panels, panel_count, d, columns, coefficients, out, out_stride);
    default:
      return multiply<rows_at_once>(panels, panel_count, d, columns, coefficients, out, out_stride);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(multiply_panels);

namespace kernels {

void multiply_panels(const double* panels, std::size_t panel_count, std::size_t d, std::span<const std::size_t> columns,
                     const double* coefficients, std::size_t rows, double* out, std::size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(multiply_panels)(panels, panel_count, d, columns, coefficients, rows, out, out_stride);
}

}  // namespace kernels
}  // namespace weir
#endif
