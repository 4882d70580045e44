#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "weir/sketch/tensor_sketch.hpp"

namespace weir {

/// Rows of a factor, at most: all are scanned.
inline constexpr std::uint64_t longest_scanned_factor = std::uint64_t{1} << 32U;

struct HeavyEntry {
  std::uint64_t index = 0;   ///< i1: the row of A1.
  std::uint64_t column = 0;  ///< i2: the row of A2.
  Estimate estimate;         ///< y(i1, i2); |value - truth| <= bound except with probability 0.01.
};

struct HeavyEntries {
  std::vector<HeavyEntry> entries;  ///< The largest |estimates| first; then by index and column.
  double f2 = 0;  ///< Estimate of ||y||_2^2: tr(X G2 X^T G1), G_q the mean of the sketches' Gram matrices.
  /// Any one entry of larger magnitude has its row and its column among the candidates, and so was considered, except
  /// with probability 0.02. 0 when all rows and columns with anything in their buckets were candidates.
  double complete_above = 0;
};

/// The `count` entries of y = (A1 (x) A2) vec X, as the matrix A1 X A2^T, with the largest |estimates|, from the state
/// of a stream of all three.
///
/// An entry with |y(i1, i2)| >= phi ||y|| lies in a row and in a column of y of norm phi ||y|| at least, and of either
/// there are no more than 1 / phi^2. So the `candidates` rows and columns of the largest norms are looked for, and then
/// all pairs of them. The row i1 of y has the norm |a_i1|_M, M = X G2 X^T. In a repetition the cell of i1, c = +-a_i1 +
/// what collides, has |c|_M within |rest|_M of it, and E |rest|_M^2 <= ||y||^2 / B; the median over the repetitions of
/// the first block is the score. Signs do not matter to it, so that the norms of the cells are all that is scanned: a
/// look-up for each row and repetition, whatever d. Columns likewise, with X^T G1 X.
///
/// The estimate of a pair is (sign c1)^T X (sign c2), c1 the cell of i1 and c2 that of i2: mean over the blocks, median
/// over the repetitions. Only what shares the row or the column with the entry leaks into it in first order: its
/// variance in a repetition is at most
///
///     ((||y(i1, .)||^2 + ||y(., i2)||^2 - 2 y(i1, i2)^2) / B + ||y||^2 / B^2) / s,
///
/// where TensorImage::point has (||y||^2 - y(i1, i2)^2) / (s B), which is not less but for the last term and often far
/// more, and takes the transforms of the image first. The bound is Chebyshev's of that on a repetition, then the
/// median's, without the third term, and with the scores in place of the norms.
///
/// Cost: O((n1 + n2) R + B R s (d1^2 + d2^2) + candidates^2 R s d1), and candidates R s d1 doubles of scratch. Throws
/// UsageError when the sketch has other than two factors, a dimension is above longest_scanned_factor, when count or
/// candidates are 0, or candidates above 8192; InputError when a product of the operands overflows.
[[nodiscard]] HeavyEntries heavy_entries(const TensorSketch& sketch, std::size_t count, std::size_t candidates = 256);

/// y(i1, i2) for each pair of indices, by the estimate that heavy_entries() makes of a pair: far better than
/// TensorImage::point where the row and the column hold little of ||y||. Throws UsageError when the sketch has other than
/// two factors or an index is out of range, InputError when a product of the operands overflows.
[[nodiscard]] std::vector<Estimate> estimate_entries(const TensorSketch& sketch,
                                                     std::span<const std::array<std::uint64_t, 2>> indices);

}  // namespace weir
