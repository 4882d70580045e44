#include "sketch/tensor_kernels.hpp"

#include <cassert>
#include <cstddef>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sketch/tensor_kernels.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::product_lanes;

/// Calls use(place, real, imaginary) with the products of a and b.
template <class Use>
HWY_INLINE void for_each_product(const double* a, const double* b, std::size_t count, const Use& use) {
  const hn::CappedTag<double, 8> d;
  const std::size_t step = 2 * hn::Lanes(d);
  for (std::size_t f = 0; f < count; f += step) {
    hn::Vec<decltype(d)> ar, ai, br, bi;
    hn::LoadInterleaved2(d, a + f, ar, ai);
    hn::LoadInterleaved2(d, b + f, br, bi);
    use(d, f, hn::Sub(hn::Mul(ar, br), hn::Mul(ai, bi)), hn::Add(hn::Mul(ar, bi), hn::Mul(ai, br)));
  }
}

void multiply_spectra(double* a, const double* b, std::size_t count) {
  for_each_product(a, b, count, [a](auto d, std::size_t f, auto real, auto imaginary) HWY_ATTR {
    hn::StoreInterleaved2(real, imaginary, d, a + f);
  });
}

void multiply_add_spectra(double* sum, const double* a, const double* b, std::size_t count) {
  for_each_product(a, b, count, [sum](auto d, std::size_t f, auto real, auto imaginary) HWY_ATTR {
    hn::Vec<decltype(d)> sum_real, sum_imaginary;
    hn::LoadInterleaved2(d, sum + f, sum_real, sum_imaginary);
    hn::StoreInterleaved2(hn::Add(sum_real, real), hn::Add(sum_imaginary, imaginary), d, sum + f);
  });
}

void accumulate_products(double* HWY_RESTRICT cells, std::size_t buckets, std::span<const std::uint32_t> first_buckets,
                         const double* HWY_RESTRICT products, std::span<const std::uint32_t> last_buckets,
                         const double* HWY_RESTRICT values) {
  const hn::CappedTag<double, product_lanes> d;
  constexpr std::size_t vectors = product_lanes / hn::MaxLanes(d);
  const std::size_t width = hn::Lanes(d);
  const std::size_t mask = buckets - 1;
  for (std::size_t e = 0; e < first_buckets.size(); ++e) {
    hn::Vec<decltype(d)> product[vectors];
    for (std::size_t v = 0; v < vectors; ++v) product[v] = hn::Load(d, products + e * product_lanes + v * width);
    for (std::size_t j = 0; j < last_buckets.size(); ++j) {
      double* HWY_RESTRICT cell = cells + ((first_buckets[e] + last_buckets[j]) & mask) * product_lanes;
      for (std::size_t v = 0; v < vectors; ++v) {
        const auto term = hn::Mul(product[v], hn::Load(d, values + j * product_lanes + v * width));
        hn::Store(hn::Add(hn::Load(d, cell + v * width), term), d, cell + v * width);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(multiply_spectra);
HWY_EXPORT(multiply_add_spectra);
HWY_EXPORT(accumulate_products);

namespace kernels {

void multiply_spectra(double* a, const double* b, std::size_t count) {
  assert(count % 16 == 0);
  HWY_DYNAMIC_DISPATCH(multiply_spectra)(a, b, count);
}

void multiply_add_spectra(double* sum, const double* a, const double* b, std::size_t count) {
  assert(count % 16 == 0);
  HWY_DYNAMIC_DISPATCH(multiply_add_spectra)(sum, a, b, count);
}

void accumulate_products(double* cells, std::size_t buckets, std::span<const std::uint32_t> first_buckets,
                         const double* products, std::span<const std::uint32_t> last_buckets, const double* values) {
  HWY_DYNAMIC_DISPATCH(accumulate_products)(cells, buckets, first_buckets, products, last_buckets, values);
}

}  // namespace kernels
}  // namespace weir
#endif
