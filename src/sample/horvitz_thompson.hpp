#pragma once

#include <algorithm>
#include <cmath>

#include "sample/error_bar.hpp"
#include "weir/error.hpp"
#include "weir/sample/draw.hpp"

namespace weir {

/// Throws UsageError for a draw without an inclusion probability.
[[nodiscard]] inline double inclusion_of(const Draw& draw) {
  if (!draw.inclusion)
    throw UsageError("Horvitz-Thompson sums are for draws without replacement: no inclusion probability");
  return *draw.inclusion;
}

/// Standard deviation of the value; where only its bound is known, that of a normal error with this 99% bound.
[[nodiscard]] inline double deviation_of(const Draw& draw) {
  const double bound = draw.value_bound.value_or(0);
  return draw.deviation && bound > 0 ? *draw.deviation : bound / deviations_of_bar;
}

/// The estimate of sum |y|^q from entries drawn by |y|^p, with its errors: see moment_through_samples().
class HorvitzThompsonSum {
 public:
  HorvitzThompsonSum(double q, double p) : q_(q), p_(p) {}

  /// An entry that was drawn with probability `inclusion` = 1 - exp(-x) and has the value `value` up to `bar`, its 99% bar.
  void add(double value, double inclusion, double bar) { add(value, inclusion, bar, bar / deviations_of_bar); }
  /// The same where the standard deviation of the value is known besides.
  void add(double value, double inclusion, double bar, double standard_deviation) {
    const double magnitude = std::abs(value);
    if (magnitude == 0) return;
    const double term = std::pow(magnitude, q_) / inclusion;
    const double deviation = bar / deviations_of_bar / magnitude;
    const double relative = standard_deviation / magnitude;
    const double square = std::min(largest_relative_square, relative * relative);
    // eta is the derivative of ln(term) by ln(value), and g the second derivative of the term, relative to it.
    const double x = -std::log1p(-inclusion);
    const bool is_certain = !(x < 50);
    const double share = is_certain ? 0 : x > 0 ? x / std::expm1(x) : 1;
    const double eta = q_ - p_ * share;
    const double change = is_certain || x == 0 ? 0 : x * (std::expm1(x) - x * std::exp(x)) / std::pow(std::expm1(x), 2);
    const double g = eta * (eta - 1) - p_ * p_ * change;
    // Of the bias that is left when that of the value has been taken off: the threshold is passed by noise as well.
    const double at_threshold = is_certain ? 0 : (p_ + 1 - p_ * x) * selection_bias(x, p_);
    const double correction = std::clamp(0.5 * square * (at_threshold + g), -0.5, 0.5);
    sum_ += term * (1 - correction);
    sampling_ += (1 - inclusion) * term * term;
    random_ += (1 - inclusion) * term;
    corrected_ += std::abs(correction * term);
    noise_ += std::pow(eta * deviation * term, 2) + std::pow(0.5 * correction * term, 2);
  }

  [[nodiscard]] double value() const noexcept { return sum_; }
  [[nodiscard]] double standard_error() const noexcept { return std::sqrt(sampling_ + noise_); }
  /// Terms that are random, effectively; infinite when none is.
  [[nodiscard]] double random_terms() const noexcept { return random_ * random_ / sampling_; }
  /// The 99% bound of what is random: the truth may be as far above the estimate as a Gamma variable falls below its mean. At
  /// most the 10 standard errors of Chebyshev's inequality.
  [[nodiscard]] double bound() const noexcept {
    double deviations = deviations_of_bar;
    if (sampling_ > 0) {
      const double terms = random_terms();
      const double low = gamma_quantile(terms, -deviations_of_bar);
      deviations = low > 0 ? std::min(10.0, std::sqrt(terms) * (1 / low - 1)) : 10.0;
    }
    // What a correction leaves behind has the same sign in all terms.
    return std::hypot(deviations * std::sqrt(sampling_), deviations_of_bar * std::sqrt(noise_), corrected_);
  }

 private:
  double q_;
  double p_;
  double sum_ = 0;
  double sampling_ = 0;
  double random_ = 0;
  double noise_ = 0;
  double corrected_ = 0;
};

}  // namespace weir
