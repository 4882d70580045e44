#pragma once

#include <cstddef>
#include <span>

namespace weir {

/// An estimate with its bound.
struct Estimate {
  double value = 0;
  /// |value - truth| <= bound with probability 0.99 or more. It follows from Chebyshev's inequality for each row of the table
  /// and from the median over the rows (median_deviations()). The variance is computed from the estimate of F2 = ||y||_2^2.
  double bound = 0;
};

/// The number k such that the median of R = `repetitions` independent unbiased values is off by more than k standard
/// deviations with probability at most 0.01. For the median to be off by that, at least h = ceil(R / 2) values must be, each
/// with probability at most 1/k^2 (Chebyshev). So the probability is at most C(R, h) k^(-2h).
[[nodiscard]] double median_deviations(std::size_t repetitions);

/// The median of `values`; of an even number of them the upper one. Changes their order. Throws UsageError when there
/// are none.
[[nodiscard]] double median_of(std::span<double> values);

}  // namespace weir
