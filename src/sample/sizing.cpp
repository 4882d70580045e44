#include "weir/sample/sizing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "weir/error.hpp"

namespace weir {

namespace {

constexpr std::uint32_t suggested_rows = 5;
constexpr std::uint64_t fewest_buckets = 128;
constexpr std::uint32_t most_lanes = 4096;
constexpr double most_bytes = 0x1p40;

void require(bool good, const std::string& message) {
  if (!good) throw UsageError(message);
}

void require_probability(std::string_view field, double value) {
  require(value > 0 && value < 1, fmt::format("{} is {}: expected a number between 0 and 1", field, value));
}

/// P[fewer than `samples` of `trials` lanes accept], averaged over the error of F2 in the test, which all lanes share:
/// its relative standard deviation is about 0.54 sqrt(2/B), taken for the fewest buckets (three-point Gauss-Hermite
/// rule).
double failure_probability(std::uint64_t trials, std::uint32_t samples, double threshold) {
  if (threshold == 0) return binomial_lower_tail(trials, 1.0, samples);
  const double step = std::sqrt(3.0) * 0.54 * std::sqrt(2.0 / fewest_buckets);
  const auto tail = [&](double error) {
    return binomial_lower_tail(trials, -std::expm1(-1 / (threshold * (1 + error))), samples);
  };
  return (tail(-step) + 4 * tail(0) + tail(step)) / 6;
}

/// What collides with an item of magnitude tau, per bucket and in units of k tau^2, where k coordinates are expected
/// above tau: E[sum of the squares of those below], from the density k p tau^p t^(-p-1) of the magnitudes. In the limit
/// p = 2 it is ln n, as the smallest of n coordinates ends the integral.
double energy_below(double dimension, double p) { return p == 2.0 ? std::max(1.0, std::log(dimension)) : p / (2 - p); }

/// The buckets that a request needs. Let tau be the magnitude that decides (the threshold; without replacement the last
/// one drawn) and k the number of coordinates expected above it. A row estimate has noise of variance sigma^2 = k tau^2
/// energy / B, the median of five about 0.314 of it. Four things may go wrong:
///
/// - The law is bent, to second order in the noise. With m = E[tau^2 / magnitude^2] over the draws (0.42 for T = 1, 1 for
///   T = 0), root mean square relative distortions of 0.25 energy / B = 0.6 m energy / B (T = 1) and 0.3 m energy / B (T = 0) were observed
///   at worst, with half of the mass in one coordinate (apps/experiments/README.md); m k energy / B is granted.
/// - Values are off, to first order: value_epsilon^2 >= E[(median noise / magnitude)^2].
/// - Among all keys that are scored the noise alone makes up one above tau: three rows exceed x = tau / sigma with one
///   sign, 20 scored Q(x)^3 <= 2.5 scored exp(-1.5 x^2) times a key. At most k epsilon / 10 are allowed.
/// - Ghosts (see sampler.cpp): a maximum is lost to one with probability about 2.5 scored / B^4, at most epsilon / 10; the
///   k ghosts that 2.5 scored (k / B)^3 <= k / 2 allows leave room for the items in the list of candidates.
std::uint64_t suggest_buckets(const SamplingRequest& request, std::uint32_t levels) {
  constexpr double median_variance = 0.314;  // pi / (2 R)
  const double n = static_cast<double>(request.dimension);
  const double energy = energy_below(n, request.p);

  double k = request.samples;
  double mean_inverse_square = 0.5;  // E[tau^2 / magnitude^2] over the draws, p = 2: the mean of U(0,1)
  double opened = 4 * k + 64;        // groups whose members are scored
  if (!request.without_replacement) {
    // Of E ~ Exp(1), given E < 1/T, in units of 1/T. Without a threshold E = 3 is exceeded by one lane in twenty.
    k = request.threshold > 0 ? std::min(3.0, 1 / request.threshold) : 3.0;
    const double limit = request.threshold > 0 ? 1 / request.threshold : 700.0;
    mean_inverse_square = (1 - (1 + limit) * std::exp(-limit)) / -std::expm1(-limit) / k;
    opened = 16;
  }
  const double scored = levels == 1 ? n : opened * std::pow(n, 1.0 / levels);

  const double noise = k * energy * mean_inverse_square;
  const double law = noise / request.epsilon;
  const double values = median_variance * noise / (request.value_epsilon * request.value_epsilon);
  const double x_squared = std::max(1.0, std::log(25 * scored / (k * request.epsilon)) / 1.5);
  const double made_up = k * energy * x_squared;
  const double ghosts =
      request.without_replacement ? k * std::cbrt(5 * scored / k) : std::pow(25 * scored / request.epsilon, 0.25);
  const double needed = std::max({law, values, made_up, ghosts, static_cast<double>(fewest_buckets)});
  require(needed <= 0x1p32,
          fmt::format("{} samples with epsilon {} and value epsilon {} need {:.3g} buckets: at most 2^32 are "
                      "possible",
                      request.samples, request.epsilon, request.value_epsilon, needed));
  return std::bit_ceil(static_cast<std::uint64_t>(std::ceil(needed)));
}

}  // namespace

double binomial_lower_tail(std::uint64_t trials, double success, std::uint64_t wanted) {
  if (wanted > trials) return 1;
  if (wanted == 0 || success >= 1) return 0;
  const auto n = static_cast<double>(trials);
  const double log_odds = std::log(success) - std::log1p(-success);
  double log_term = n * std::log1p(-success);  // of P[X = 0]; the sum stays in range where the first terms underflow
  double sum = 0;
  for (std::uint64_t x = 0; x < wanted; ++x) {
    sum += std::exp(log_term);
    const auto k = static_cast<double>(x);
    log_term += std::log((n - k) / (k + 1)) + log_odds;
  }
  return std::min(1.0, sum);
}

std::uint32_t suggest_lanes(std::uint32_t samples, double failure, double threshold) {
  require(samples >= 1, "samples is 0: expected at least 1");
  require_probability("failure", failure);
  require(threshold >= 0 && std::isfinite(threshold), fmt::format("threshold is {}: expected 0 or more", threshold));
  std::uint64_t trials = samples;
  while (trials < most_lanes && failure_probability(trials, samples, threshold) > failure) ++trials;
  require(trials < most_lanes,
          fmt::format("{} samples with failure {} need more than {} lanes: draw fewer, allow more failures, or draw "
                      "without replacement",
                      samples, failure, most_lanes));
  return static_cast<std::uint32_t>((trials + 1 + 7) / 8 * 8);
}

std::uint32_t suggest_levels(std::uint64_t dimension) noexcept {
  if (dimension <= (std::uint64_t{1} << 20U)) return 1;
  return dimension < (std::uint64_t{1} << 36U) ? 2 : 3;
}

SketchConfig suggest_config(const SamplingRequest& request) {
  require(request.dimension >= 1 && request.dimension <= (std::uint64_t{1} << 63U),
          fmt::format("dimension is {}: expected 1 to 2^63", request.dimension));
  require(request.samples >= 1, "samples is 0: expected at least 1");
  require_probability("epsilon", request.epsilon);
  require_probability("failure", request.failure);
  require(request.value_epsilon > 0 && request.value_epsilon <= 1,
          fmt::format("value epsilon is {}: expected a number above 0, at most 1", request.value_epsilon));
  require(request.threshold >= 0 && std::isfinite(request.threshold),
          fmt::format("threshold is {}: expected 0 or more", request.threshold));
  require(request.p == 2.0 || request.p == 1.0 || request.p == 0.5,
          fmt::format("p is {}: expected 2, 1 or 0.5", request.p));

  SketchConfig config;
  config.dimension = request.dimension;
  config.rows = suggested_rows;
  config.p = request.p;
  config.levels = suggest_levels(request.dimension);
  config.buckets = suggest_buckets(request, config.levels);
  config.lanes = request.without_replacement ? 2 : suggest_lanes(request.samples, request.failure, request.threshold);
  config.validate();
  const double bytes = 8.0 * static_cast<double>(config.table_size());
  require(bytes <= most_bytes,
          fmt::format("{} samples with epsilon {} and value epsilon {} need a table of {:.3g} bytes: at "
                      "most 2^40 are sensible",
                      request.samples, request.epsilon, request.value_epsilon, bytes));
  return config;
}

}  // namespace weir
