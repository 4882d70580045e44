#pragma once

#include <span>

#include "weir/sample/draw.hpp"

namespace weir {

/// Horvitz-Thompson estimate of sum over i of |y_i|^p from draws without replacement: sum |value|^p / inclusion,
/// unbiased up to the noise of the values. p is any positive number. Throws UsageError for a draw without an inclusion
/// probability.
[[nodiscard]] double horvitz_thompson_moment(std::span<const Draw> draws, double p);

struct MomentEstimate {
  double value = 0;           ///< As horvitz_thompson_moment.
  double standard_error = 0;  ///< Of the sampling; 0 when every draw has inclusion 1.
  double bound = 0;  ///< 10 standard errors: |value - truth| exceeds them with probability at most 0.01 (Chebyshev).
};

/// sum over i of |y_i|^p, p any positive number, from draws without replacement, whatever law they were drawn by. Given
/// the threshold, inclusions pi_i are those of independent trials, and the terms of the sum are uncorrelated also when
/// it is not given (rank conditioning: Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches"; for priority
/// samples Duffield, Lund and Thorup 2007). So sum |value|^(2p) (1 - pi) / pi^2 over the draws is an unbiased estimate
/// of the variance, of which the standard error is the root. With one sample the variance is infinite: ask for two at
/// least.
///
/// The nearer p is to the exponent of the draws, the smaller the error. For p far below it small coordinates, seldom
/// drawn, carry the sum, and the standard error is itself uncertain. The noise of the values comes on top
/// (weir/sample/sizing.hpp). Throws UsageError for p not above 0 or not finite, and for a draw without an inclusion
/// probability.
[[nodiscard]] MomentEstimate moment_through_samples(std::span<const Draw> draws, double p);

}  // namespace weir
