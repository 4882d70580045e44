#pragma once

#include <cstddef>

namespace weir::products {

// Products of blocks of features, for the processor that the program runs on. Features are [feature][row of the stream], `stride`
// rows, a multiple of padding; rows past the end of the block are 0.

/// Strides, and the columns of `values` below, are multiples of this many floats: the widest vector.
inline constexpr std::size_t padding = 16;

[[nodiscard]] constexpr std::size_t padded(std::size_t count) { return (count + padding - 1) / padding * padding; }

/// out[t] = a[t] * b[t], t < count, a multiple of padding.
void multiply(const float* a, const float* b, std::size_t count, float* out);

/// Adds the products of `count` features with [1, v] to sums, [feature][1 + columns]:
///
///     sums[f][0] += sum_t features[f][t],    sums[f][1 + c] += sum_t features[f][t] values[t][c].
///
/// `values` is [row][padded(columns)].
void add_key_products(const float* features, std::size_t count, std::size_t stride, const float* values,
                      std::size_t columns, float* sums);

/// Adds the products of `count` features with m, [feature][columns], to out, [column][row]:
///
///     out[c][t] += sum_f m[f][c] features[f][t],
///
/// the sum over these features in floats, added in doubles.
void add_query_products(const float* features, std::size_t count, std::size_t stride, const float* m,
                        std::size_t columns, double* out);

}  // namespace weir::products
