#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/anisotropic_kernels.hpp"
#include "attention/anisotropic_map.hpp"
#include "weir/sketch/aligned.hpp"

namespace weir {

/// Where a key lies among the centres.
struct Place {
  std::size_t cluster = 0;  ///< Of the nearest centre, the first of equals.
  float radius = 0;         ///< sum s_i (k'_i)^2 about it: the mean square of its scores. Finite.
  double exponent = 0;      ///< Of its tilt: q_c.(k - k_c) minus the reference of the cluster. Finite.
};
/// Of a key of d numbers whose projection (map.width numbers, to_keys k) is given. O(C R + d).
[[nodiscard]] Place place_of(const AnisotropicMap& map, const float* key, const double* projection);

/// Rows that wait to be added to features.
class KeyStaging {
 public:
  static constexpr std::size_t capacity = 1024;

  explicit KeyStaging(const AnisotropicMap& map);
  [[nodiscard]] bool is_full() const noexcept { return count_ == capacity; }
  /// `row` is key and value, d + dv numbers. Not when it is full.
  void add(std::span<const float> row, const double* projection, const Place& place, double weight);
  void clear() noexcept { count_ = 0; }

  /// Calls visit(cluster, rows) for the rows of each cluster.
  template <class Visit>
  void for_each_block(const Visit& visit) {
    sort();
    std::size_t first = 0;
    for (std::size_t c = 0; c < ends_.size(); ++c) {
      if (ends_[c] > first) visit(c, std::span<const std::size_t>(order_).subspan(first, ends_[c] - first));
      first = ends_[c];
    }
  }

  [[nodiscard]] std::span<const float> row(std::size_t j) const {
    return std::span(rows_).subspan(j * numbers_, numbers_);
  }
  [[nodiscard]] const double* projection(std::size_t j) const { return projections_.data() + j * width_; }
  [[nodiscard]] double weight(std::size_t j) const { return weights_[j]; }
  [[nodiscard]] const Place& place(std::size_t j) const { return places_[j]; }

 private:
  void sort();

  std::size_t numbers_;
  std::size_t width_;
  std::size_t count_ = 0;
  std::vector<float> rows_;
  std::vector<double> projections_;
  std::vector<double> weights_;
  std::vector<Place> places_;
  std::vector<std::size_t> order_;
  std::vector<std::size_t> ends_;
};

/// Adds blocks of keys to features. The map must outlive it.
class KeyFeatures {
 public:
  explicit KeyFeatures(const AnisotropicMap& map);
  /// Adds rows of one cluster of `staging` to the features of all clusters, C x r x (dv + 1). `lost` has the same size, and
  /// holds what rounding took from them; it may be empty. Allocates nothing.
  void add(const KeyStaging& staging, std::size_t cluster, std::span<const std::size_t> rows, std::span<float> features,
           std::span<float> lost = {});

 private:
  const AnisotropicMap* map_;
  std::size_t pitch_;  ///< Rows that are worked on together.
  AlignedVector<double> coordinates_;
  AlignedVector<float> factors_;
  AlignedVector<float> lanes_;
  AlignedVector<float> panels_;
};

/// Features of queries: products of coefficients, each divided by the one of degree 0. The map must outlive it.
class QueryFeatures {
 public:
  QueryFeatures(const AnisotropicMap& map, std::size_t largest_count);

  /// For coordinate(i, r), the coordinates of query i < count.
  template <class Coordinate>
  void evaluate(std::size_t count, const Coordinate& coordinate) {
    const std::size_t pitch = (count + 15) / 16 * 16;
    for (std::size_t r = 0; r < map_->content.directions; ++r) {
      double* lane = coordinates_.data() + r * pitch;
      for (std::size_t i = 0; i < count; ++i) lane[i] = coordinate(i, r);
      for (std::size_t i = count; i < pitch; ++i) lane[i] = 0;
    }
    evaluate_lanes(pitch);
  }
  [[nodiscard]] kernels::LeftFactor left_factor() const noexcept { return {lanes_.data(), 1, pitch_}; }
  /// ln of what the features of query i are to be multiplied by.
  [[nodiscard]] double log_scale(std::size_t i) const { return logs_[i]; }
  /// The share of the squared norm of exp(q'.x) under the law of independent coordinates that the features hold, 0 to 1.
  /// Where it is small, what is left out is larger than what is there.
  [[nodiscard]] double captured(std::size_t i) const {
    return static_cast<double>(norms_[i]) * std::exp(-std::min(energies_[i], 700.0));
  }

 private:
  void evaluate_lanes(std::size_t pitch);

  const AnisotropicMap* map_;
  std::size_t pitch_ = 0;
  AlignedVector<double> coordinates_;
  AlignedVector<double> logs_;
  AlignedVector<double> energies_;
  AlignedVector<float> norms_;
  AlignedVector<float> factors_;
  AlignedVector<float> lanes_;
};

}  // namespace weir
