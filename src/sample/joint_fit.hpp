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

/// Bound of the error of an entry that is exact but for the rounding of sums: 2^-36 of it, and 0 for a whole number, as sums
/// of whole numbers are exact.
[[nodiscard]] double rounding_error(double value) noexcept;

/// Whether JointFit can be used: there is a scaled lane, and the law is exponential with p = 2.
[[nodiscard]] bool has_joint_fit(const SketchConfig& config) noexcept;

/// Standard errors of the fit that hold its error with probability 0.99; the noise has somewhat heavier tails than the
/// normal law, whose number is 2.6.
inline constexpr double fit_errors_of_point = 3.2;

/// Estimates of entries of y from all lanes of a sketch, or from the first 64 where there are more.
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
  /// Requires has_joint_fit(). Estimates the noise of each lane: O(R B L).
  explicit JointFit(const VectorSketch& sketch);

  /// Entry `key` from all these lanes but `without`: O(R L). The result does not depend on earlier calls. An entry that was
  /// chosen by what one lane shows is estimated without bias from the others. Where its cells show that it is exact, that lane
  /// is not left out.
  [[nodiscard]] FittedEntry operator()(std::uint64_t key, std::uint32_t without = no_lane);
  static constexpr std::uint32_t no_lane = 0xFFFFFFFF;

 private:
  /// Reads the cells and factors of `key` into the scratch. Returns the first row of the table that shows nothing but
  /// the entry, or the number of rows.
  [[nodiscard]] std::uint32_t read(std::uint64_t key);
  [[nodiscard]] double weighted_median(std::size_t without);
  /// Noise of row `row` of the table in units of that of the lanes, given y.
  [[nodiscard]] double row_noise(std::uint32_t row, double y, std::size_t without);

  const VectorSketch& sketch_;
  SketchOperator phi_;
  PhiColumns columns_;
  double unit_ = 1;            ///< A power of two: magnitude of the largest cells of lane 0.
  std::vector<double> noise_;  ///< Of each lane without its part of lane 0, in units of unit_.
  std::vector<double> inverse_noise_;
  // Scratch of a fit.
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
