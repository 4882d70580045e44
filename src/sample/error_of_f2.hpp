#pragma once

#include <algorithm>
#include <cstddef>
#include <numbers>
#include <span>

namespace weir {

/// Standard errors that hold that of F2 with probability 0.99. Sums of squares in few buckets are skewed, the more
/// so where few entries hold most of them: with a geometric series, 0.0185 of 6,910 sketches were off by more than 2.7.
inline constexpr double errors_of_f2 = 3;

/// Variance of the median of `rows` normal values, in units of theirs: pi / 2R for many.
[[nodiscard]] inline double relative_variance_of_median(double rows) noexcept {
  return std::numbers::pi / 2 / (rows + std::numbers::pi / 2 - 1);
}

/// Whether the sums of squares of the rows of a table show that nothing collides in any of them: 5 rows or more agree up to
/// rounding.
[[nodiscard]] inline bool show_no_collision(std::span<const double> sums) {
  constexpr std::size_t rows_that_tell = 5;
  constexpr double rounding = 0x1p-36;
  const auto [least, most] = std::ranges::minmax(sums);
  return sums.size() >= rows_that_tell && most - least <= rounding * most;
}

}  // namespace weir
