#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::products {

// Products of blocks of features, for the processor that the program runs on. Features are [feature][row of the
// stream], `stride` rows, a multiple of padding; rows past the end of the block are 0.

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

/// out[t] = size where bit `bit` of words[t] is 1, -size where it is 0, for t < count; 0 for the others below `stride`, a
/// multiple of padding.
void signs(const std::uint32_t* words, unsigned bit, std::size_t count, std::size_t stride, float size, float* out);

// In doubles, for exact attention.

/// A matrix, row after row; `length` numbers from one row to the next.
struct ConstMatrix {
  const double* numbers;
  std::size_t length;
};

/// c[i][j] += sum_t a[i][t] b[t][j], i < rows, t < depth, j < columns; c has `c_length` numbers from one row to the
/// next. Rows of b can be read up to the next multiple of 8 numbers beyond `columns`.
void add_product(ConstMatrix a, ConstMatrix b, std::size_t rows, std::size_t depth, std::size_t columns, double* c,
                 std::size_t c_length);

/// Replaces the numbers by exp(number - maximum), which is at most 1, and 0 below e^-708. Returns their sum. There is
/// room for the next multiple of 8 numbers.
double exponentials(double* numbers, std::size_t count, double maximum);

}  // namespace weir::products
