#pragma once

// Statistical tests for the tests: p-values, distances between laws, exact binomial tails. Header only.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <numeric>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace weir::statistics {

/// Q(a, x) = Gamma(a, x) / Gamma(a), the regularised upper incomplete gamma function; a > 0, x >= 0. Series below a +
/// 1, Lentz's continued fraction above (Numerical Recipes, 6.2), relative error about 1e-12.
[[nodiscard]] inline double regularised_gamma_upper(double a, double x) {
  if (!(a > 0) || !(x >= 0)) throw std::invalid_argument("regularised_gamma_upper: a > 0 and x >= 0 expected");
  if (x == 0) return 1;
  const double front = std::exp(-x + a * std::log(x) - std::lgamma(a));
  constexpr int iterations = 100000;
  if (x < a + 1) {
    double term = 1 / a;
    double sum = term;
    for (int k = 1; k < iterations && term > sum * 1e-17; ++k) {
      term *= x / (a + k);
      sum += term;
    }
    return std::max(0.0, 1 - front * sum);
  }
  constexpr double tiny = 1e-300;
  double b = x + 1 - a;
  double c = 1 / tiny;
  double d = 1 / b;
  double h = d;
  for (int k = 1; k < iterations; ++k) {
    const double numerator = -k * (k - a);
    b += 2;
    d = numerator * d + b;
    d = 1 / (std::abs(d) < tiny ? tiny : d);
    c = b + numerator / c;
    if (std::abs(c) < tiny) c = tiny;
    h *= d * c;
    if (std::abs(d * c - 1) < 1e-16) break;
  }
  return front * h;
}

/// P[chi-squared with `degrees` degrees of freedom >= statistic].
[[nodiscard]] inline double chi_squared_survival(double statistic, double degrees) {
  return regularised_gamma_upper(degrees / 2, statistic / 2);
}

/// P[N(0,1) >= z].
[[nodiscard]] inline double normal_survival(double z) { return 0.5 * std::erfc(z / std::numbers::sqrt2); }

/// Two-sided p-value of a standard normal statistic.
[[nodiscard]] inline double normal_p_value(double z) { return std::erfc(std::abs(z) / std::numbers::sqrt2); }

/// P[X = k], X ~ Binomial(trials, probability).
[[nodiscard]] inline double binomial_probability(std::uint64_t trials, double probability, std::uint64_t k) {
  if (k > trials) return 0;
  if (probability <= 0) return k == 0 ? 1 : 0;
  if (probability >= 1) return k == trials ? 1 : 0;
  const auto n = static_cast<double>(trials);
  const auto x = static_cast<double>(k);
  return std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) + x * std::log(probability) +
                  (n - x) * std::log1p(-probability));
}

/// P[X >= k], X ~ Binomial(trials, probability), by summing the smaller side.
[[nodiscard]] inline double binomial_survival(std::uint64_t trials, double probability, std::uint64_t k) {
  if (k == 0) return 1;
  double below = 0;
  double above = 0;
  if (static_cast<double>(k) > probability * static_cast<double>(trials)) {
    for (std::uint64_t x = k; x <= trials; ++x) above += binomial_probability(trials, probability, x);
    return std::min(1.0, above);
  }
  for (std::uint64_t x = 0; x < k; ++x) below += binomial_probability(trials, probability, x);
  return std::max(0.0, 1 - below);
}

struct ChiSquared {
  double statistic = 0;
  double degrees = 0;
  double p_value = 1;
};

namespace detail {
[[nodiscard]] inline ChiSquared finish(double statistic, double degrees) {
  return {statistic, degrees, degrees > 0 ? chi_squared_survival(statistic, degrees) : 1.0};
}
}  // namespace detail

/// Pearson's test that `counts` were drawn from `probabilities` (which sum to 1). Cells are pooled, smallest
/// expectation first, until each expects at least `minimum_expected`. A count where the probability is zero gives
/// p_value 0.
[[nodiscard]] inline ChiSquared chi_squared_fit(std::span<const std::uint64_t> counts,
                                                std::span<const double> probabilities, double minimum_expected = 5) {
  if (counts.size() != probabilities.size()) throw std::invalid_argument("chi_squared_fit: sizes differ");
  const auto total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  std::vector<std::size_t> order(counts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return probabilities[a] < probabilities[b]; });
  std::vector<double> observed;
  std::vector<double> expected;
  double pool_observed = 0;
  double pool_expected = 0;
  for (const std::size_t cell : order) {
    if (!(probabilities[cell] > 0)) {
      if (counts[cell] != 0) return {std::numeric_limits<double>::infinity(), 1, 0};
      continue;
    }
    pool_observed += static_cast<double>(counts[cell]);
    pool_expected += total * probabilities[cell];
    if (pool_expected >= minimum_expected) {
      observed.push_back(std::exchange(pool_observed, 0));
      expected.push_back(std::exchange(pool_expected, 0));
    }
  }
  if (pool_expected > 0) {  // too small for a cell of its own
    if (expected.empty()) return {};
    observed.back() += pool_observed;
    expected.back() += pool_expected;
  }
  double statistic = 0;
  for (std::size_t k = 0; k < observed.size(); ++k) {
    statistic += (observed[k] - expected[k]) * (observed[k] - expected[k]) / expected[k];
  }
  return detail::finish(statistic, static_cast<double>(observed.size()) - 1);
}

/// Pearson's test that the rows and columns of a contingency table (`columns` counts a row) are independent. Choose the
/// categories so that every expectation is at least about 5; empty rows and columns do not count.
[[nodiscard]] inline ChiSquared chi_squared_independence(std::span<const std::uint64_t> table, std::size_t columns) {
  const std::size_t rows = table.size() / columns;
  std::vector<double> row_sum(rows);
  std::vector<double> column_sum(columns);
  double total = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      const auto count = static_cast<double>(table[i * columns + j]);
      row_sum[i] += count;
      column_sum[j] += count;
      total += count;
    }
  }
  double statistic = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      const double expected = row_sum[i] * column_sum[j] / total;
      if (expected > 0) {
        const double difference = static_cast<double>(table[i * columns + j]) - expected;
        statistic += difference * difference / expected;
      }
    }
  }
  const auto used = [](const std::vector<double>& sums) {
    return static_cast<double>(std::count_if(sums.begin(), sums.end(), [](double sum) { return sum > 0; }));
  };
  return detail::finish(statistic, (used(row_sum) - 1) * (used(column_sum) - 1));
}

/// 1/2 sum |counts/total - probability|.
[[nodiscard]] inline double total_variation(std::span<const std::uint64_t> counts,
                                            std::span<const double> probabilities) {
  const auto total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  double sum = 0;
  for (std::size_t k = 0; k < counts.size(); ++k) {
    sum += std::abs(static_cast<double>(counts[k]) / total - probabilities[k]);
  }
  return sum / 2;
}

/// What total_variation is on average for `draws` draws from `probabilities` itself: De Moivre's mean absolute
/// deviation of the binomial, E|X - Np| = 2 m (1 - p) P[X = m], m = floor(Np) + 1.
[[nodiscard]] inline double expected_total_variation(std::span<const double> probabilities, std::uint64_t draws) {
  const auto total = static_cast<double>(draws);
  double sum = 0;
  for (const double p : probabilities) {
    if (p <= 0 || p >= 1) continue;
    const double m = std::floor(total * p) + 1;
    sum += 2 * m * (1 - p) * binomial_probability(draws, p, static_cast<std::uint64_t>(m)) / total;
  }
  return sum / 2;
}

/// Total variation that draws from the right law exceed with probability at most `significance`: one draw changes it by
/// at most 1/N, so that McDiarmid's inequality gives mean + sqrt(ln(1/significance) / (2N)).
[[nodiscard]] inline double total_variation_bound(std::span<const double> probabilities, std::uint64_t draws,
                                                  double significance) {
  return expected_total_variation(probabilities, draws) +
         std::sqrt(-std::log(significance) / (2 * static_cast<double>(draws)));
}

struct Moments {
  double mean = 0;
  double variance = 0;  ///< Unbiased.
  double standard_error = 0;
};

[[nodiscard]] inline Moments moments(std::span<const double> values) {
  Moments result;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) result.mean += v / n;
  for (const double v : values) result.variance += (v - result.mean) * (v - result.mean) / (n - 1);
  result.standard_error = std::sqrt(result.variance / n);
  return result;
}

}  // namespace weir::statistics
