#pragma once

// What the experiments draw from, and how they count.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>
#include <numeric>
#include <string>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/random/source.hpp"

namespace weir::experiments {

struct Shape {
  std::string name;
  std::vector<double> y;  ///< keys 0 .. n-1
};

inline std::vector<double> make_vector(std::size_t n, const std::function<double(std::size_t)>& value) {
  std::vector<double> y(n);
  for (std::size_t i = 0; i < n; ++i) y[i] = (i % 3 == 1 ? -1.0 : 1.0) * value(i);
  return y;
}

/// Vectors whose coordinates are alike (flat), range widely (zipf), or in which 1, 2 or 8 coordinates hold half of the
/// mass.
inline std::vector<Shape> shapes(std::size_t n) {
  const auto planted = [n](std::size_t heavy) {
    const double height = std::sqrt(static_cast<double>(n - heavy) / static_cast<double>(heavy));
    return make_vector(n, [=](std::size_t i) { return i < heavy ? height : 1.0; });
  };
  return {{"flat", make_vector(n, [](std::size_t) { return 1.0; })},
          {"zipf", make_vector(n, [](std::size_t i) { return 1.0 / static_cast<double>(i + 1); })},
          {"heavy-1", planted(1)},
          {"heavy-8", planted(8)}};
}

/// Cells in which draws are counted: the largest coordinates one by one, the rest in 16 cells of about equal mass.
struct Cells {
  std::vector<std::uint32_t> of_key;
  std::vector<double> probability;
};

inline Cells make_cells(const std::vector<double>& y, double p) {
  constexpr std::size_t single = 8;
  constexpr std::size_t pooled = 16;
  std::vector<double> weight(y.size());
  std::transform(y.begin(), y.end(), weight.begin(), [p](double v) { return std::pow(std::abs(v), p); });
  const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
  std::vector<std::uint32_t> order(y.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return weight[a] > weight[b]; });
  Cells cells{std::vector<std::uint32_t>(y.size()), std::vector<double>(single + pooled)};
  double rest = 0;
  for (std::size_t rank = single; rank < order.size(); ++rank) rest += weight[order[rank]];
  double before = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    std::size_t cell = rank;
    if (rank >= single) {
      cell = single + std::min(pooled - 1, static_cast<std::size_t>(before / rest * pooled));
      before += weight[order[rank]];
    }
    cells.of_key[order[rank]] = static_cast<std::uint32_t>(cell);
    cells.probability[cell] += weight[order[rank]] / total;
  }
  return cells;
}

/// n x d values from the normal law.
inline DenseMatrix normal_matrix(std::uint64_t n, std::uint64_t d, std::uint64_t seed) {
  DenseMatrix matrix{n, d, {}};
  const auto uniform = [&](std::uint64_t k) {
    return (static_cast<double>(finalise(seed * 0x100000001 + k) >> 11U) + 0.5) * 0x1p-53;
  };
  for (std::uint64_t k = 0; k < n * d; ++k) {
    matrix.values.push_back(std::sqrt(-2 * std::log(uniform(2 * k))) *
                            std::cos(2 * std::numbers::pi * uniform(2 * k + 1)));
  }
  return matrix;
}

/// 1/2 sum |counts / draws - probability|.
inline double total_variation(const std::vector<double>& counts, const std::vector<double>& probability) {
  const double draws = std::accumulate(counts.begin(), counts.end(), 0.0);
  double sum = 0;
  for (std::size_t cell = 0; cell < counts.size(); ++cell)
    sum += std::abs(counts[cell] / draws - probability[cell]) / 2;
  return sum;
}

/// Seconds, from some origin.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace weir::experiments
