#include "attention/products.hpp"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/products.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace weir {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, products::padding>;
using Vector = hn::Vec<Floats>;

// Products are summed in registers: 12 sums, so that the latency of an addition is hidden and 16 registers are enough.
constexpr std::size_t features_at_once = 6;
constexpr std::size_t columns_at_once = 6;
constexpr std::size_t vectors_at_once = 2;

void multiply_floats(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, std::size_t count,
                     float* HWY_RESTRICT out) {
  const Floats d;
  for (std::size_t t = 0; t < count; t += hn::Lanes(d))
    hn::StoreU(hn::Mul(hn::LoadU(d, a + t), hn::LoadU(d, b + t)), d, out + t);
}

/// to[c] += sum[c], c < count, which may be less than a vector.
HWY_INLINE void add_part(Floats d, Vector sum, std::size_t count, float* HWY_RESTRICT to) {
  if (count >= hn::Lanes(d)) return hn::StoreU(hn::Add(hn::LoadU(d, to), sum), d, to);
  HWY_ALIGN float part[products::padding];
  hn::Store(sum, d, part);
  for (std::size_t c = 0; c < count; ++c) to[c] += part[c];
}

/// kFeatures features with kVectors vectors of columns, of which `columns` are there.
template <std::size_t kFeatures, std::size_t kVectors>
HWY_INLINE void key_tile(Floats d, const float* HWY_RESTRICT features, std::size_t stride,
                         const float* HWY_RESTRICT values, std::size_t row_length, std::size_t columns,
                         std::size_t sums_length, float* HWY_RESTRICT sums) {
  Vector sum[kFeatures][kVectors];
  for (std::size_t f = 0; f < kFeatures; ++f)
    for (std::size_t v = 0; v < kVectors; ++v) sum[f][v] = hn::Zero(d);
  for (std::size_t t = 0; t < stride; ++t) {
    Vector value[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) value[v] = hn::LoadU(d, values + t * row_length + v * hn::Lanes(d));
    for (std::size_t f = 0; f < kFeatures; ++f) {
      const auto feature = hn::Set(d, features[f * stride + t]);
      for (std::size_t v = 0; v < kVectors; ++v) sum[f][v] = hn::MulAdd(feature, value[v], sum[f][v]);
    }
  }
  for (std::size_t f = 0; f < kFeatures; ++f)
    for (std::size_t v = 0; v < kVectors; ++v)
      if (v * hn::Lanes(d) < columns)
        add_part(d, sum[f][v], columns - v * hn::Lanes(d), sums + f * sums_length + v * hn::Lanes(d));
}

template <std::size_t kFeatures>
HWY_INLINE void key_strip(Floats d, const float* HWY_RESTRICT features, std::size_t stride,
                          const float* HWY_RESTRICT values, std::size_t columns, float* HWY_RESTRICT sums) {
  const std::size_t row_length = products::padded(columns);
  const std::size_t width = vectors_at_once * hn::Lanes(d);
  for (std::size_t c = 0; c < columns; c += width) {
    if (columns - c > hn::Lanes(d)) {
      key_tile<kFeatures, vectors_at_once>(d, features, stride, values + c, row_length, columns - c, columns + 1,
                                           sums + 1 + c);
    } else {
      key_tile<kFeatures, 1>(d, features, stride, values + c, row_length, columns - c, columns + 1, sums + 1 + c);
    }
  }
  for (std::size_t f = 0; f < kFeatures; ++f) {
    auto sum = hn::Zero(d);
    for (std::size_t t = 0; t < stride; t += hn::Lanes(d)) sum = hn::Add(sum, hn::LoadU(d, features + f * stride + t));
    sums[f * (columns + 1)] += hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

void add_keys(const float* features, std::size_t count, std::size_t stride, const float* values, std::size_t columns,
              float* sums) {
  const Floats d;
  std::size_t f = 0;
  for (; f + features_at_once <= count; f += features_at_once)
    key_strip<features_at_once>(d, features + f * stride, stride, values, columns, sums + f * (columns + 1));
  for (; f < count; ++f) key_strip<1>(d, features + f * stride, stride, values, columns, sums + f * (columns + 1));
}

/// kColumns columns with kVectors vectors of rows.
template <std::size_t kColumns, std::size_t kVectors>
HWY_INLINE void query_tile(Floats d, const float* HWY_RESTRICT features, std::size_t count, std::size_t stride,
                           const float* HWY_RESTRICT m, std::size_t columns, double* HWY_RESTRICT out) {
  Vector sum[kColumns][kVectors];
  for (std::size_t c = 0; c < kColumns; ++c)
    for (std::size_t v = 0; v < kVectors; ++v) sum[c][v] = hn::Zero(d);
  for (std::size_t f = 0; f < count; ++f) {
    Vector feature[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) feature[v] = hn::LoadU(d, features + f * stride + v * hn::Lanes(d));
    for (std::size_t c = 0; c < kColumns; ++c) {
      const auto factor = hn::Set(d, m[f * columns + c]);
      for (std::size_t v = 0; v < kVectors; ++v) sum[c][v] = hn::MulAdd(factor, feature[v], sum[c][v]);
    }
  }
  HWY_ALIGN float part[products::padding];
  for (std::size_t c = 0; c < kColumns; ++c)
    for (std::size_t v = 0; v < kVectors; ++v) {
      hn::Store(sum[c][v], d, part);
      double* const to = out + c * stride + v * hn::Lanes(d);
      for (std::size_t t = 0; t < hn::Lanes(d); ++t) to[t] += static_cast<double>(part[t]);
    }
}

template <std::size_t kColumns>
HWY_INLINE void query_strip(Floats d, const float* features, std::size_t count, std::size_t stride, const float* m,
                            std::size_t columns, double* out) {
  const std::size_t width = vectors_at_once * hn::Lanes(d);
  std::size_t t = 0;
  for (; t + width <= stride; t += width)
    query_tile<kColumns, vectors_at_once>(d, features + t, count, stride, m, columns, out + t);
  for (; t < stride; t += hn::Lanes(d)) query_tile<kColumns, 1>(d, features + t, count, stride, m, columns, out + t);
}

void add_queries(const float* features, std::size_t count, std::size_t stride, const float* m, std::size_t columns,
                 double* out) {
  const Floats d;
  std::size_t c = 0;
  for (; c + columns_at_once <= columns; c += columns_at_once)
    query_strip<columns_at_once>(d, features, count, stride, m + c, columns, out + c * stride);
  // The rest, at most 5, in two strips.
  if (columns - c >= 3) {
    query_strip<3>(d, features, count, stride, m + c, columns, out + c * stride);
    c += 3;
  }
  if (columns - c == 2) query_strip<2>(d, features, count, stride, m + c, columns, out + c * stride);
  if (columns - c == 1) query_strip<1>(d, features, count, stride, m + c, columns, out + c * stride);
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(multiply_floats);
HWY_EXPORT(add_keys);
HWY_EXPORT(add_queries);

namespace products {

void multiply(const float* a, const float* b, std::size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(multiply_floats)(a, b, count, out);
}

void add_key_products(const float* features, std::size_t count, std::size_t stride, const float* values,
                      std::size_t columns, float* sums) {
  HWY_DYNAMIC_DISPATCH(add_keys)(features, count, stride, values, columns, sums);
}

void add_query_products(const float* features, std::size_t count, std::size_t stride, const float* m,
                        std::size_t columns, double* out) {
  HWY_DYNAMIC_DISPATCH(add_queries)(features, count, stride, m, columns, out);
}

}  // namespace products
}  // namespace weir
#endif
