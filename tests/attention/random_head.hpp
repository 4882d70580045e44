#pragma once

// Rows to test attention with, and exact attention as a plain loop.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "weir/attention/anisotropic.hpp"

namespace weir::test {

struct Head {
  std::size_t d = 0;
  std::size_t dv = 0;
  std::vector<double> queries;
  std::vector<double> keys;
  std::vector<double> values;
  std::vector<std::uint64_t> tokens;

  [[nodiscard]] std::size_t rows() const { return tokens.size(); }
  /// Rows first to first + count - 1 of keys and values.
  [[nodiscard]] AttentionRows part(std::size_t first, std::size_t count) const {
    return {std::span(keys).subspan(first * d, count * d), std::span(values).subspan(first * dv, count * dv),
            std::span(tokens).subspan(first, count)};
  }
  [[nodiscard]] AttentionRows all() const { return part(0, rows()); }
};

/// Independent normal coordinates whose deviations fall by half from one to the next, from `deviation` on; all numbers are
/// floats.
inline Head random_head(std::size_t n, std::size_t d, std::size_t dv, double deviation, unsigned seed) {
  std::mt19937 words(seed);
  std::normal_distribution<double> normal;
  const auto rounded = [](double x) { return static_cast<double>(static_cast<float>(x)); };
  Head head{d,
            dv,
            std::vector<double>(n * d),
            std::vector<double>(n * d),
            std::vector<double>(n * dv),
            std::vector<std::uint64_t>(n)};
  for (std::size_t t = 0; t < n * d; ++t) {
    const double scale = deviation * std::pow(0.5, static_cast<double>(t % d));
    head.queries[t] = rounded(0.3 + std::sqrt(scale) * normal(words));
    head.keys[t] = rounded(-0.2 + std::sqrt(scale) * normal(words));
  }
  for (double& value : head.values) value = rounded(1 + normal(words));
  std::iota(head.tokens.begin(), head.tokens.end(), 0U);
  return head;
}

/// (sum over j of exp(q.k_j) v_j) / (sum over j of exp(q.k_j)) for each query.
inline std::vector<double> exact_attention(const Head& head, std::span<const double> queries) {
  const std::size_t count = queries.size() / head.d;
  std::vector<double> out(count * head.dv, 0);
  std::vector<double> scores(head.rows());
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < head.rows(); ++j) {
      scores[j] = 0;
      for (std::size_t e = 0; e < head.d; ++e) scores[j] += queries[i * head.d + e] * head.keys[j * head.d + e];
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (std::size_t j = 0; j < head.rows(); ++j) {
      const double power = std::exp(scores[j] - largest);
      total += power;
      for (std::size_t c = 0; c < head.dv; ++c) out[i * head.dv + c] += power * head.values[j * head.dv + c];
    }
    for (std::size_t c = 0; c < head.dv; ++c) out[i * head.dv + c] /= total;
  }
  return out;
}

/// ||a - b|| / ||b||.
inline double relative_error(std::span<const double> a, std::span<const double> b) {
  double error = 0;
  double norm = 0;
  for (std::size_t t = 0; t < b.size(); ++t) {
    error += (a[t] - b[t]) * (a[t] - b[t]);
    norm += b[t] * b[t];
  }
  return std::sqrt(error / norm);
}

inline AnisotropicCalibration fit(const AnisotropicOptions& options, const Head& head) {
  return AnisotropicCalibration::fit(options, head.queries, head.keys, head.values);
}

}  // namespace weir::test
