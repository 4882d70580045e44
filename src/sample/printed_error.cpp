#include "sample/printed_error.hpp"

#include <algorithm>
#include <cmath>

#include "sample/power.hpp"

namespace weir {

namespace {

/// (bar / 2.576 / |value|)^2, at most what corrections are made for.
double relative_square(double value, double bar) {
  if (value == 0) return 0;
  const double deviation = bar / deviations_of_bar / std::abs(value);
  return std::min(largest_relative_square, deviation * deviation);
}

}  // namespace

double ratio_of_powers(double x, double y, double p) { return power_of_magnitude(x, p) / power_of_magnitude(y, p); }

double without_selection_bias(double value, double x, double bar, double p) {
  return value * (1 - relative_square(value, bar) * selection_bias(x, p));
}

Normaliser normaliser_of(const HorvitzThompsonSum& sum, double lanes) {
  if (!(sum.value() > 0)) return {};
  const double relative = sum.standard_error() / sum.value();
  const double square = relative * relative;
  // Nearly a Gamma variable of 1 / square degrees. Its inverse is too large by 1 + square on average, and what is made of it
  // falls short of the truth by most where the estimate is far too large.
  const double above = square > 0 ? gamma_quantile(1 / square, deviations_of_bar) * (1 + square) - 1 : 0;
  // Where it is too small, few entries that are seldom drawn may be missing.
  const double below = sum.bound() / (sum.value() + sum.bound());
  const double bound = std::max(above, below);
  return {.inverse = lanes / sum.value() / (1 + square), .bound = bound};
}

Normaliser normaliser_of_f2(const SketchConfig& config, double f2, double fourth) {
  if (!(f2 > 0)) return {};
  constexpr double half_pi = 1.5707963267948966;
  const double left = std::clamp(1 - fourth / f2 / f2, 0.02, 1.0);
  const double variance = 2 * left / static_cast<double>(config.buckets) * std::min(1.0, half_pi / config.rows);
  return {.inverse = 1 / f2, .bound = deviations_of_bar * std::sqrt(variance)};
}

Estimate norm_of_moment(const HorvitzThompsonSum& sum, double lanes, double p) {
  if (!(sum.value() > 0)) return {};
  const double norm = std::pow(sum.value() / lanes, 1 / p);
  return {norm, norm * (std::pow(1 + sum.bound() / sum.value(), 1 / p) - 1)};
}

void set_probability(Draw& draw, double p, const Normaliser& normaliser) {
  const double bar = draw.value_bound.value_or(0);
  const double square = relative_square(draw.value, deviations_of_bar * deviation_of(draw));
  const double share = power_of_magnitude(draw.value, p) * (1 - 0.5 * p * (p - 1) * square) * normaliser.inverse;
  draw.probability = std::min(1.0, share);
  const double of_value = draw.value == 0 ? 1 : std::pow(1 + bar / std::abs(draw.value), p) - 1;
  draw.probability_bound = std::min(1.0, share * std::hypot(of_value, normaliser.bound));
}

}  // namespace weir
