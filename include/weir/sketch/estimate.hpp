#pragma once

#include <cstddef>
#include <span>

namespace weir {

/// An estimate with its bound.
struct Estimate {
  double value = 0;
  /// |value - truth| <= bound except with probability 0.01: Chebyshev on each row, then the median, with the estimate
  /// of F2 in place of F2.
  double bound = 0;
};

/// The number k for which a median over `repetitions` of independent unbiased values strays further than k standard
/// deviations with probability at most 0.01: at least h = ceil(repetitions / 2) of them must stray, each with
/// probability at most 1/k^2 (Chebyshev), so the probability is at most C(repetitions, h) k^(-2h).
[[nodiscard]] double median_deviations(std::size_t repetitions);

/// The median of `values`; of an even number of them the upper one. Changes their order. Throws UsageError when there
/// are none.
[[nodiscard]] double median_of(std::span<double> values);

}  // namespace weir
