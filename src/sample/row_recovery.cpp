#include "sample/row_recovery.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "matrix_view.hpp"

namespace weir {

namespace {

/// Weiszfeld's iteration converges linearly: mostly in 10 to 30 steps, more slowly where a point is close to the median,
/// which then is found at least to a thousandth of the distances.
constexpr int most_steps = 200;
constexpr double tolerance = 1e-9;

/// Whether the point r is the median: the directions to the others pull with no more than the number of points there.
bool is_median(const MatrixView& points, Eigen::Index r) {
  Eigen::RowVectorXd pull = Eigen::RowVectorXd::Zero(points.cols());
  double here = 0;
  for (Eigen::Index s = 0; s < points.rows(); ++s) {
    const Eigen::RowVectorXd towards = points.row(s) - points.row(r);
    const double distance = towards.norm();
    if (distance > 0) {
      pull += towards / distance;
    } else {
      ++here;
    }
  }
  return pull.norm() <= here * (1 + 1e-12);
}

}  // namespace

std::vector<double> geometric_median(std::span<const double> points, std::size_t dimension) {
  const MatrixView view = matrix_view(points, points.size() / dimension, dimension);
  const auto count = static_cast<std::size_t>(view.rows());
  std::vector<double> weights(count, 0.0);
  for (std::size_t r = 0; r < count; ++r) {
    if (!is_median(view, static_cast<Eigen::Index>(r))) continue;
    weights[r] = 1;
    return weights;
  }
  // Now the median is no point. A step that comes to lie on one is moved on by that point's large weight alone.
  std::fill(weights.begin(), weights.end(), 1 / static_cast<double>(count));
  for (int step = 0; step < most_steps; ++step) {
    const Eigen::RowVectorXd median = matrix_view(weights, 1, count) * view;
    std::vector<double> next(count);
    double sum = 0;
    for (std::size_t r = 0; r < count; ++r) {
      const double distance = (view.row(static_cast<Eigen::Index>(r)) - median).norm();
      next[r] = 1 / std::max(distance, std::numeric_limits<double>::min());
      sum += next[r];
    }
    double change = 0;
    for (std::size_t r = 0; r < count; ++r) {
      next[r] /= sum;
      change = std::max(change, std::abs(next[r] - weights[r]));
    }
    weights.swap(next);
    if (change < tolerance) break;
  }
  return weights;
}

RecoveredRow recover_row(const MatrixSketch& sketch, const Metric& metric, std::uint64_t index, std::uint32_t lane) {
  const std::uint64_t d = sketch.columns();
  const std::uint32_t rows = sketch.config().rows;
  std::vector<double> cells(static_cast<std::size_t>(rows * d));
  sketch.row_estimates(index, lane, cells);
  // With M = F F^T the M-norm is the length of F^T a.
  const RowMajorMatrix images = matrix_view(cells, rows, d) * matrix_view(metric.factor());
  const std::vector<double> weights = geometric_median({images.data(), static_cast<std::size_t>(images.size())},
                                                       static_cast<std::size_t>(images.cols()));
  const Eigen::RowVectorXd image = matrix_view(weights, 1, rows) * images;

  RecoveredRow row{.index = index, .scaled = std::vector<double>(static_cast<std::size_t>(d))};
  Eigen::Map<Eigen::RowVectorXd>(row.scaled.data(), static_cast<Eigen::Index>(d)) =
      matrix_view(weights, 1, rows) * matrix_view(cells, rows, d);
  row.norm = image.norm();
  const Eigen::VectorXd along = images * image.transpose();
  row.supporting = static_cast<std::uint32_t>((along.array() >= image.squaredNorm() / 3).count());
  return row;
}

}  // namespace weir
