#include "attention/products.hpp"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/products.cpp"
#include <hwy/foreach_target.h>
// The order matters: foreach_target.h re-includes this file once for each target.
#include <hwy/highway.h>
// Exp, for each target.
#include <hwy/contrib/math/math-inl.h>

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
constexpr std::size_t rows_at_once = 6;

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
    if (kFeatures <= features_at_once && columns - c > hn::Lanes(d)) {
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
  if (columns <= hn::Lanes(d))
    for (; f + 2 * features_at_once <= count; f += 2 * features_at_once)
      key_strip<2 * features_at_once>(d, features + f * stride, stride, values, columns, sums + f * (columns + 1));
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

void make_signs(const std::uint32_t* HWY_RESTRICT words, unsigned bit, std::size_t count, std::size_t stride,
                float size, float* HWY_RESTRICT out) {
  const Floats d;
  const hn::RebindToUnsigned<Floats> du;
  const auto sign = hn::Set(du, 0x80000000U);
  const auto magnitude = hn::BitCast(du, hn::Set(d, size));
  const int up = static_cast<int>(31 - bit);
  for (std::size_t t = 0; t < stride; t += hn::Lanes(d)) {
    const auto is_negative = hn::AndNot(hn::ShiftLeftSame(hn::LoadU(du, words + t), up), sign);
    hn::StoreU(hn::BitCast(d, hn::Or(magnitude, is_negative)), d, out + t);
  }
  for (std::size_t t = count; t < stride; ++t) out[t] = 0;
}

using Doubles = hn::CappedTag<double, 8>;
using DoubleVector = hn::Vec<Doubles>;

template <std::size_t kRows, std::size_t kVectors>
HWY_INLINE void product_tile(Doubles d, const double* HWY_RESTRICT a, std::size_t a_length,
                             const double* HWY_RESTRICT b, std::size_t b_length, std::size_t depth, std::size_t columns,
                             double* HWY_RESTRICT c, std::size_t c_length) {
  DoubleVector sum[kRows][kVectors];
  for (std::size_t i = 0; i < kRows; ++i)
    for (std::size_t v = 0; v < kVectors; ++v) sum[i][v] = hn::Zero(d);
  for (std::size_t t = 0; t < depth; ++t) {
    DoubleVector of_b[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) of_b[v] = hn::LoadU(d, b + t * b_length + v * hn::Lanes(d));
    for (std::size_t i = 0; i < kRows; ++i) {
      const auto of_a = hn::Set(d, a[i * a_length + t]);
      for (std::size_t v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(of_a, of_b[v], sum[i][v]);
    }
  }
  HWY_ALIGN double part[8];
  for (std::size_t i = 0; i < kRows; ++i)
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t first = v * hn::Lanes(d);
      if (first >= columns) continue;
      double* const to = c + i * c_length + first;
      if (columns - first >= hn::Lanes(d)) {
        hn::StoreU(hn::Add(hn::LoadU(d, to), sum[i][v]), d, to);
        continue;
      }
      hn::Store(sum[i][v], d, part);
      for (std::size_t j = 0; j < columns - first; ++j) to[j] += part[j];
    }
}

template <std::size_t kRows>
HWY_INLINE void product_strip(Doubles d, const double* a, std::size_t a_length, const double* b, std::size_t b_length,
                              std::size_t depth, std::size_t columns, double* c, std::size_t c_length) {
  for (std::size_t j = 0; j < columns; j += vectors_at_once * hn::Lanes(d)) {
    if (columns - j > hn::Lanes(d)) {
      product_tile<kRows, vectors_at_once>(d, a, a_length, b + j, b_length, depth, columns - j, c + j, c_length);
    } else {
      product_tile<kRows, 1>(d, a, a_length, b + j, b_length, depth, columns - j, c + j, c_length);
    }
  }
}

void add_matrix_product(products::ConstMatrix a, products::ConstMatrix b, std::size_t rows, std::size_t depth,
                        std::size_t columns, double* c, std::size_t c_length) {
  const Doubles d;
  std::size_t i = 0;
  for (; i + rows_at_once <= rows; i += rows_at_once)
    product_strip<rows_at_once>(d, a.numbers + i * a.length, a.length, b.numbers, b.length, depth, columns,
                                c + i * c_length, c_length);
  for (; i < rows; ++i)
    product_strip<1>(d, a.numbers + i * a.length, a.length, b.numbers, b.length, depth, columns, c + i * c_length,
                     c_length);
}

double to_exponentials(double* HWY_RESTRICT numbers, std::size_t count, double maximum) {
  const Doubles d;
  const auto least = hn::Set(d, -708.0);
  const auto shift = hn::Set(d, maximum);
  auto sum = hn::Zero(d);
  std::size_t t = 0;
  const auto exponential = [&](DoubleVector x) HWY_ATTR {
    const auto y = hn::Sub(x, shift);
    return hn::IfThenElseZero(hn::Ge(y, least), hn::Exp(d, hn::Max(y, least)));
  };
  for (; t + hn::Lanes(d) <= count; t += hn::Lanes(d)) {
    const auto e = exponential(hn::LoadU(d, numbers + t));
    hn::StoreU(e, d, numbers + t);
    sum = hn::Add(sum, e);
  }
  if (t < count) {
    // What is in the room behind the numbers may not come into the sum.
    const auto e = hn::IfThenElseZero(hn::FirstN(d, count - t), exponential(hn::LoadU(d, numbers + t)));
    hn::StoreU(e, d, numbers + t);
    sum = hn::Add(sum, e);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace HWY_NAMESPACE
}  // namespace weir
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace weir {

HWY_EXPORT(multiply_floats);
HWY_EXPORT(add_keys);
HWY_EXPORT(add_queries);
HWY_EXPORT(make_signs);
HWY_EXPORT(add_matrix_product);
HWY_EXPORT(to_exponentials);

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

void signs(const std::uint32_t* words, unsigned bit, std::size_t count, std::size_t stride, float size, float* out) {
  HWY_DYNAMIC_DISPATCH(make_signs)(words, bit, count, stride, size, out);
}

void add_product(ConstMatrix a, ConstMatrix b, std::size_t rows, std::size_t depth, std::size_t columns, double* c,
                 std::size_t c_length) {
  HWY_DYNAMIC_DISPATCH(add_matrix_product)(a, b, rows, depth, columns, c, c_length);
}

double exponentials(double* numbers, std::size_t count, double maximum) {
  return HWY_DYNAMIC_DISPATCH(to_exponentials)(numbers, count, maximum);
}

}  // namespace products
}  // namespace weir
#endif
