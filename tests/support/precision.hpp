#pragma once

// Algorithm 2 on a vector that is known: verdicts and laws without noise.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/law.hpp"
#include "weir/sample/precision.hpp"

namespace weir::testing_support {

/// P[lane draws y.keys[t]] for Algorithm 2 with the first test alone, at threshold^2 = T F2: with q = y^2 / F2, i draws
/// when u_i <= q_i / T and u_j > u_i q_j / q_i for all others. The integral over u_i of a polynomial that is nearly
/// linear, by Simpson's rule.
inline std::vector<double> precision_probabilities(const SparseVector& y, double threshold) {
  const std::vector<double> q = law_of(y, 2);
  std::vector<double> result;
  for (std::size_t i = 0; i < q.size(); ++i) {
    const double end = std::min(1.0, q[i] / threshold);
    constexpr int steps = 32;
    double sum = 0;
    for (int k = 0; k <= steps; ++k) {
      const double u = end * k / steps;
      double others_below = 1;
      for (std::size_t j = 0; j < q.size(); ++j) others_below *= j == i ? 1 : std::max(0.0, 1 - u * q[j] / q[i]);
      sum += others_below * (k == 0 || k == steps ? 1 : k % 2 == 1 ? 4 : 2);
    }
    result.push_back(sum * end / (3 * steps));
  }
  return result;
}

/// The same, given that the lane draws.
inline std::vector<double> precision_law(const SparseVector& y, double threshold) {
  std::vector<double> law = precision_probabilities(y, threshold);
  double total = 0;
  for (const double probability : law) total += probability;
  for (double& probability : law) probability /= total;
  return law;
}

inline LawCounts count_precision_draws(const SketchConfig& config, const PrecisionOptions& options,
                                       const SparseVector& y, const SparseVector& updates, std::uint64_t trials) {
  return count_draws_of([&](const VectorSketch& sketch) { return draw_by_precision_sampling(sketch, options); }, config,
                        y, updates, trials);
}

/// The suggested sketch for `request` gives fewer draws than asked for not significantly more often than promised, and
/// not significantly less often than half of what lanes fail with that accept by the first test alone.
inline void expect_precision_failures_as_promised(const PrecisionRequest& request, const SparseVector& y,
                                                  std::uint64_t trials) {
  SketchConfig config = suggest_precision_config(request);
  const double threshold = precision_threshold(request.dimension, request.epsilon, request.constant);
  std::uint64_t failed = 0;
  for (std::uint64_t seed = 1; seed <= trials; ++seed) {
    config.seed = seed;
    const SampleResult result = draw_by_precision_sampling(
        sketch_of(config, y), {.samples = request.samples, .epsilon = request.epsilon, .constant = request.constant});
    failed += result.draws.size() < request.samples;
  }
  double accept = 0;
  for (const double probability : precision_probabilities(y, threshold)) accept += probability;
  const double tail = 1 - statistics::binomial_survival(config.lanes - 1, accept, request.samples);
  const auto observed = [&] {
    return ::testing::Message() << failed << " of " << trials << " for " << request.samples << " samples, "
                                << config.lanes << " lanes, T = " << threshold << ", tail " << tail;
  };
  EXPECT_GT(statistics::binomial_survival(trials, request.failure, failed), law_significance) << observed();
  EXPECT_GT(tail, 0.5 * request.failure) << "not a size where the promise is nearly used up";
  EXPECT_GT(1 - statistics::binomial_survival(trials, tail / 2, failed + 1), law_significance) << observed();
}

}  // namespace weir::testing_support
