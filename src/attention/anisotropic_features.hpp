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

/// Rows of keys and values that are worked on together, and what places them among the centres. Coordinates lie in lanes:
/// number j of a lane belongs to row j. What is worked out for a row does not depend on the other rows of the block.
/// The map must outlive it.
class KeyBlock {
 public:
  explicit KeyBlock(const AnisotropicMap& map);
  /// Rows that it takes at most.
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  /// Takes `count` rows, at most capacity(), with the weight 0: keys, count x d, and values, count x dv, which are rounded
  /// to floats, -0 to 0. False where a number is not finite or above largest_number in magnitude; then it holds nothing
  /// of use. O(count (R d + C R + d)), nothing is allocated.
  [[nodiscard]] bool load(const double* keys, const double* values, std::size_t count);
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  /// sum s_i (k'_i)^2 of row j about the centre of its cluster, the nearest: the mean square of its scores. At most 1e38.
  [[nodiscard]] float radius(std::size_t j) const { return radii_[j]; }
  [[nodiscard]] std::uint32_t cluster(std::size_t j) const { return clusters_[j]; }
  /// exp of q_c.(k - k_c) minus the reference of the cluster: what the row counts in the features.
  [[nodiscard]] double tilt(std::size_t j) const { return std::min(tilts_[j], largest_tilt_); }
  /// How much more likely than others the row is to be in the sample. Rows far from their centre are rare, and truncation
  /// is worst for them; rows with large tilts count most.
  [[nodiscard]] double sample_weight(std::size_t j) const {
    constexpr double least_tilt = 0.05;
    const double distance = static_cast<double>(radii_[j]) * inverse_spread_;
    return (1 + std::min(1e6, distance * distance * distance)) * (least_tilt + std::min(tilts_[j], largest_sampled_));
  }
  /// Least and largest value of each column: dv each.
  [[nodiscard]] std::span<const float> low() const noexcept { return low_; }
  [[nodiscard]] std::span<const float> high() const noexcept { return high_; }

  void set_weight(std::size_t j, double weight) { weights_[j] = weight; }
  /// Adds the rows times their weights to the features of all clusters, C x r x (dv + 1). `lost` has the same size, and
  /// holds what rounding took from them; it may be empty. O(count r (dv + 2)), nothing is allocated.
  void add_to(std::span<float> features, std::span<float> lost);

 private:
  /// Adds rows whose coordinates and values lie in lanes and panels already. `order` says which rows they are.
  void add_lanes(std::size_t cluster, const std::uint32_t* order, std::size_t count, const double* coordinates,
                 std::size_t pitch, const kernels::RightFactor& values, std::span<float> features,
                 std::span<float> lost);
  void gather(const std::uint32_t* order, std::size_t count);

  const AnisotropicMap* map_;
  std::size_t capacity_;
  std::size_t part_;          ///< Rows whose features are worked out together, a multiple of 16.
  std::size_t pitch_;         ///< Of coordinates_.
  bool after_one_;            ///< True where the panels have a column of ones; otherwise weights are summed apart.
  std::size_t value_panels_;  ///< Panels of a row.
  double inverse_spread_;
  double largest_tilt_;     ///< Of features.
  double largest_sampled_;  ///< Of weights of the sample.
  std::size_t count_ = 0;
  AlignedVector<double> keys_;         ///< Of some rows: d each.
  AlignedVector<double> projections_;  ///< Of these rows: width each.
  AlignedVector<double> coordinates_;  ///< [direction][row]: to_keys k.
  AlignedVector<float> values_;        ///< Panels of `capacity_` rows.
  std::vector<float> low_;
  std::vector<float> high_;
  std::vector<std::uint32_t> clusters_;  ///< Of each row.
  std::vector<float> radii_;
  std::vector<double> exponents_;
  std::vector<double> tilts_;  ///< Their limit is the larger one of the two above.
  std::vector<double> weights_;
  std::vector<std::uint32_t> order_;  ///< Rows with weights, by their clusters.
  std::vector<std::size_t> ends_;
  AlignedVector<double> gathered_coordinates_;  ///< [direction][row of a part].
  AlignedVector<float> gathered_values_;        ///< Panels of `part_` rows.
  AlignedVector<float> factors_;
  AlignedVector<float> lanes_;
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
  /// Works out what evaluate_about() needs of `count` queries; projection(i, r) is coordinate r of query i before the
  /// query centre of a cluster is subtracted. False for one cluster, and where coordinates are so large that powers would underflow.
  template <class Projection>
  [[nodiscard]] bool load(std::size_t count, const Projection& projection) {
    if (map_->content.clusters == 1) return false;
    const std::size_t pitch = (count + 15) / 16 * 16;
    for (std::size_t r = 0; r < map_->content.directions; ++r) {
      double* lane = coordinates_.data() + r * pitch;
      for (std::size_t i = 0; i < count; ++i) lane[i] = projection(i, r);
      for (std::size_t i = count; i < pitch; ++i) lane[i] = 0;
    }
    return load_lanes(pitch);
  }
  /// As evaluate() for the coordinates about a cluster, of all queries that were loaded, without exponentials. False,
  /// and nothing is done, where the query centre is too far.
  [[nodiscard]] bool evaluate_about(std::size_t cluster);
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
  [[nodiscard]] bool load_lanes(std::size_t pitch);
  void finish_lanes();

  const AnisotropicMap* map_;
  std::size_t pitch_ = 0;
  std::size_t loaded_pitch_ = 0;
  AlignedVector<double> powers_;       ///< [direction][node][query], of queries that are loaded; empty for one cluster.
  AlignedVector<double> shifts_;       ///< [direction][query].
  std::vector<double> centre_powers_;  ///< [cluster][direction][node]: of minus the query centres.
  std::vector<double> centre_shifts_;  ///< [cluster][direction].
  std::vector<bool> is_near_;          ///< Of each query centre.
  AlignedVector<double> coordinates_;
  AlignedVector<double> logs_;
  AlignedVector<double> energies_;
  AlignedVector<float> norms_;
  AlignedVector<float> factors_;
  AlignedVector<float> lanes_;
};

}  // namespace weir
