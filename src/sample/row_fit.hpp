#pragma once

#include <Eigen/Core>

#include <cstdint>
#include <span>
#include <vector>

#include "matrix_view.hpp"
#include "sample/joint_fit.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sketch/matrix_sketch.hpp"
#include "weir/sketch/operator.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// A row of A as many lanes together show it.
struct FittedRow {
  std::vector<double> row;
  double norm = 0;   ///< Its M-norm, without what the noise in `row` adds to it; 0 where `row` is nothing but noise.
  double noise = 0;  ///< Estimate of the root mean square M-norm of the noise in `row`.
  bool is_exact = false;  ///< The cells of a row of the table hold nothing else.
};

/// Estimates of rows of A from the lanes of a group, as JointFit has them: the cells of lane l, with lane 0 subtracted mu times,
/// hold (s_il - mu) a_i and noise that is nearly uncorrelated from lane to lane. A regression on all of them estimates a_i.
/// Weights follow from how far the cells are off in the M-norm, so that directions that rows of A have not, the estimate has
/// not either (see recover_row()).
///
/// The squared M-norm of the estimate would be too large by that of its noise, which has as many parts as M has directions. The
/// noises of different rows of the table are independent, so products of their estimates are without bias: with A_r the weighted
/// sums of the rows of the table and W_r their weights, |a|^2 is estimated by sum over r != q of <A_r, A_q> over that of W_r W_q.
class RowFit {
 public:
  /// `norms` is sketch.cell_norms(metric.factor()). All three must outlive the object and stay as they are. Requires
  /// has_joint_fit(sketch.config()).
  RowFit(const MatrixSketch& sketch, const Metric& metric, const VectorSketch& norms);

  /// Row `key` from the group of `lane`, starting from the estimate `start`. O(R L d (r + 1)), L at most 64, r the rank of M.
  [[nodiscard]] FittedRow operator()(std::uint64_t key, std::uint32_t lane, std::span<const double> start);

 private:
  [[nodiscard]] double noise_of(std::uint32_t lane);

  const MatrixSketch& sketch_;
  const Metric& metric_;
  const VectorSketch& norms_;
  PhiColumns columns_;
  SketchOperator phi_;
  std::vector<double>
      noise_of_lane_;  ///< Typical M-norm of what is in a cell besides lane 0; below 0 where not known yet.
  // Scratch.
  std::vector<double> magnitudes_;
  RowMajorMatrix cells_;   ///< [row][lane of the group]: a cell with its sign, without the part of lane 0.
  RowMajorMatrix images_;  ///< The same times the factor of M.
};

/// <a_i, x> for the row `key` of A from the group of `lane`, by the joint fit of A x. O(R B L d), L at most 64.
[[nodiscard]] FittedEntry fit_product(const MatrixSketch& sketch, std::span<const double> x, std::uint64_t key,
                                      std::uint32_t lane);

/// Phi (A x) as MatrixSketch::product(), but only level 0 of the lanes that JointFit takes for `lane`; the others are 0.
[[nodiscard]] VectorSketch product_of_group(const MatrixSketch& sketch, std::span<const double> x, std::uint32_t lane);

}  // namespace weir
