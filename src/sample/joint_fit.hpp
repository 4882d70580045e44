#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/sketch/operator.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// An entry of y as all lanes together show it.
struct FittedEntry {
  double value = 0;
  /// Of `value`. rounding_error() where the cells of a row of the table show the entry and nothing else.
  double standard_error = 0;
};

/// Cells that agree to this are equal but for the rounding of sums.
inline constexpr double rounding_of_sums = 0x1p-36;

/// Bound of the error of an entry that is exact but for the rounding of sums: 2^-36 of it, and 0 for a whole number, as sums
/// of whole numbers are exact.
[[nodiscard]] double rounding_error(double value) noexcept;

/// Whether JointFit can be used: there is a scaled lane, and the law is exponential with p = 2.
[[nodiscard]] bool has_joint_fit(const SketchConfig& config) noexcept;

/// E[s] = E[E^(-1/2)] = Gamma(1/2) = sqrt(pi) of the scales s. Their rounding to 2^-16 moves it by less than 1e-6, and their
/// bound by less than 1e-9.
inline constexpr double mean_scale = 1.7724538509055160273;

/// Least noise of a lane, in units of a typical cell. Where most cells are empty the median is 0, but the noise in those that
/// are not empty is not.
inline constexpr double least_joint_noise = 0.02;

/// Lanes that are fitted together, in the order lane 0, first, first + 1, ...: `size` in all, at least 2.
struct LaneGroup {
  std::uint32_t first = 1;
  std::uint32_t size = 0;
  [[nodiscard]] std::uint32_t lane(std::uint32_t k) const noexcept { return k == 0 ? 0 : first + k - 1; }
};
/// The group of `lane` out of `lanes`, at least 2: all where there are at most 64, otherwise lane 0 and 63 neighbours with
/// `lane` among them. More would hardly add to what so many know. The last group overlaps the one before where lanes - 1 is not
/// a multiple of 63. Of lane 0 it is the first.
[[nodiscard]] LaneGroup lane_group(std::uint32_t lanes, std::uint32_t lane) noexcept;

/// Standard errors of the fit that hold its error with probability 0.99; the noise has somewhat heavier tails than the
/// normal law, whose number is 2.6.
inline constexpr double fit_errors_of_point = 3.2;

/// Estimates of entries of y from all lanes of a sketch, or from lane 0 and 63 others where there are more than 64.
///
/// Every lane holds the entry i at another scale s_il, and other entries collide with it in the same cells, at other
/// scales. What collides with i in row r of the table is noise n_r in lane 0 and mu n_r + something that is nearly
/// independent of it in lane l, mu = E[s] = Gamma(1/2). So with lane 0 subtracted mu times, the cells of lane l hold
/// y_i (s_il - mu) and noise that is nearly uncorrelated from lane to lane; lane 0 itself holds y_i and noise. A
/// regression of all these cells on their factors estimates y_i. The noise has heavy tails, as scales have, so the
/// regression reweights by a Student law with 3 degrees of freedom. A large entry in a cell of i disturbs all lanes
/// of that row, so each row has a noise scale of its own.
///
/// The sketch must outlive the object and stay as it is. Magnitudes are relative to the largest cell of lane 0, so nothing
/// overflows that require_range() lets pass.
class JointFit {
 public:
  /// Requires has_joint_fit().
  explicit JointFit(const VectorSketch& sketch);

  /// Entry `key` from the lanes of `lane`'s group, `lane` among them: that is where a light entry that `lane` draws is seen.
  /// O(R L), and O(R B L) for the first of a group, L at most 64. The result does not depend on earlier calls.
  [[nodiscard]] FittedEntry operator()(std::uint64_t key, std::uint32_t lane = 1);
  /// The same without lane 0. An entry that was chosen by what lane 0 shows is estimated by the others without bias. Where its
  /// cells show that it is exact, lane 0 is not left out.
  [[nodiscard]] FittedEntry without_lane_0(std::uint64_t key);

 private:
  /// Takes the lanes 0 and `first`, first + 1, ...
  void choose(std::uint32_t first);
  [[nodiscard]] FittedEntry fit(std::uint64_t key, std::size_t left_out);
  /// Reads the cells and factors of `key` into the scratch. Returns the first row of the table that shows nothing but
  /// the entry, or the number of rows.
  [[nodiscard]] std::uint32_t read(std::uint64_t key);
  [[nodiscard]] double weighted_median(std::size_t left_out);
  /// Noise of row `row` of the table in units of that of the lanes, given y.
  [[nodiscard]] double row_noise(std::uint32_t row, double y, std::size_t left_out);
  [[nodiscard]] double noise_of(std::uint32_t lane);

  const VectorSketch& sketch_;
  SketchOperator phi_;
  PhiColumns columns_;
  double unit_ = 1;                    ///< A power of two: magnitude of the largest cells of lane 0.
  std::vector<double> noise_of_lane_;  ///< Without its part of lane 0, in units of unit_; below 0 where not known yet.
  std::vector<double> magnitudes_;     ///< Scratch.
  // The group. The first of its lanes is lane 0.
  std::uint32_t first_ = 0;  ///< The second; 0 before the first fit.
  std::vector<double> noise_;
  std::vector<double> inverse_noise_;
  // Scratch of a fit. [lane] counts the lanes of the group.
  std::vector<double> scales_;
  std::vector<double> factors_;  ///< [lane]: s_il - mu; 1 in lane 0.
  std::vector<double> cells_;    ///< [row][lane]: of the entry, with its sign, without the part of lane 0.
  std::vector<double> residuals_;
  struct Ratio {
    double value;
    double weight;
  };
  std::vector<Ratio> ratios_;
};

}  // namespace weir
