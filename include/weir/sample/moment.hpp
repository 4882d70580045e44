#pragma once

#include <span>

#include "weir/sample/draw.hpp"

namespace weir {

/// Horvitz-Thompson estimate of sum over i of |y_i|^q from draws without replacement: sum |value|^q / inclusion, unbiased
/// for exact values. q is any positive number. Throws UsageError for a draw without an inclusion probability.
[[nodiscard]] double horvitz_thompson_moment(std::span<const Draw> draws, double q);

struct MomentEstimate {
  double value = 0;
  double standard_error = 0;  ///< Of the sampling and of the noise of the values; 0 when all is exact.
  /// |value - truth| is at most this except with probability 0.01. Infinite where these draws support no bound: draw with a p
  /// nearer to q.
  double bound = 0;
};

/// sum over i of |y_i|^q, q any positive number, from draws without replacement by |y_i|^p.
///
/// Given the threshold, inclusions pi_i are those of independent trials, and the terms t = |value|^q / pi are uncorrelated
/// also when it is not given (rank conditioning: Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches"; for
/// priority samples Duffield, Lund and Thorup 2007). So the sum of t^2 (1 - pi) over the draws is an unbiased estimate of the
/// variance of the sampling. With one sample the variance is infinite: ask for two at least.
///
/// A value that is off by a relative standard deviation r (value_bound / 2.576) moves its term by eta r,
/// eta = q - p x / (e^x - 1), x = -ln(1 - pi), and the variance has (eta r t)^2 for it. The bias of second order in
/// deviation / value, of the noise and of what is drawn because of it, is taken off. The bound includes the sum of what has
/// been taken off, as what is left of such a bias has the same sign in all terms.
///
/// The bound is not a multiple of the standard error alone. The random part of a sum that few terms carry has the quantiles
/// of a Gamma variable with as many degrees as terms, effectively. For q > p an entry that was not drawn may outweigh many
/// that were: one of x = ln 200, which is missed with probability 0.005, is added; where it would outweigh all that was
/// drawn there is no bound. For q < p entries that are seldom drawn carry the sum, and whether they do shows in the tail of
/// the terms: there is no bound where fewer than 8 terms are random, or their tail is so heavy (Hill's estimate) that the
/// variance may be infinite.
///
/// Throws UsageError for a q or p not above 0 or not finite, and for a draw without an inclusion probability.
[[nodiscard]] MomentEstimate moment_through_samples(std::span<const Draw> draws, double q, double p);

}  // namespace weir
