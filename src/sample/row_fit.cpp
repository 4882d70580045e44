#include "sample/row_fit.hpp"

#include <algorithm>
#include <cmath>

namespace weir {

namespace {

constexpr int reweightings = 6;
/// Of the noise of a lane, in parts of the cells: what is left when that of lane 0 is taken off may be little by chance.
constexpr double least_part = 0.25;
/// Least noise of a row of the table, in units of that of the lanes.
constexpr double least_row_noise = 0.7;

/// The root mean square of the length of a normal vector of `rank` equal parts, in units of its median (Wilson and Hilferty
/// 1931).
double deviations_a_median(std::uint64_t rank) {
  const double root = 1 - 2.0 / (9 * static_cast<double>(std::max<std::uint64_t>(rank, 1)));
  return 1 / std::sqrt(root * root * root);
}

double upper_median(std::span<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

RowFit::RowFit(const MatrixSketch& sketch, const Metric& metric, const VectorSketch& norms)
    : sketch_(sketch),
      metric_(metric),
      norms_(norms),
      columns_(sketch.config()),
      phi_(sketch.config(), sketch.columns() * sketch.config().lanes),
      noise_of_lane_(sketch.config().lanes, -1.0),
      magnitudes_(std::size_t{sketch.config().rows} * sketch.config().buckets) {}

double RowFit::noise_of(std::uint32_t lane) {
  double& noise = noise_of_lane_[lane];
  if (noise >= 0) return noise;
  const std::size_t stride = sketch_.config().lanes;
  for (std::size_t cell = 0; cell < magnitudes_.size(); ++cell)
    magnitudes_[cell] = norms_.items()[cell * stride + lane];
  double sum = 0;
  for (const double magnitude : magnitudes_) sum += magnitude;
  // Where most cells are empty the median is 0, but the noise in those that are not empty is not.
  const double least = least_joint_noise * sum / static_cast<double>(magnitudes_.size());
  noise = upper_median(magnitudes_);
  if (lane > 0) {
    const double of_lane_0 = mean_scale * noise_of(0) / deviations_a_median(metric_.rank()) / std::max(noise, least);
    noise *= std::sqrt(std::max(least_part, 1 - of_lane_0 * of_lane_0));
  }
  noise = std::max(deviations_a_median(metric_.rank()) * noise, least);
  return noise;
}

FittedRow RowFit::operator()(std::uint64_t key, std::uint32_t lane, std::span<const double> start) {
  const SketchConfig& config = sketch_.config();
  const auto d = static_cast<Eigen::Index>(sketch_.columns());
  const LaneGroup group = lane_group(config.lanes, lane);
  const auto lanes = static_cast<Eigen::Index>(group.size);
  const auto rows = static_cast<Eigen::Index>(config.rows);
  phi_.locate(0, std::span(&key, 1), columns_);

  Eigen::VectorXd scales(lanes), factors(lanes), inverse_noise(lanes);
  for (Eigen::Index k = 0; k < lanes; ++k) {
    const std::uint32_t at = group.lane(static_cast<std::uint32_t>(k));
    scales[k] = static_cast<double>(phi_.scales()(key, at));
    factors[k] = k == 0 ? 1.0 : scales[k] - mean_scale;
    const double noise = noise_of(at);
    inverse_noise[k] = noise > 0 ? 1 / noise : 0.0;
  }

  FittedRow result{.row = std::vector<double>(static_cast<std::size_t>(d))};
  Eigen::Map<Eigen::RowVectorXd> row(result.row.data(), d);
  cells_.resize(rows * lanes, d);
  for (Eigen::Index r = 0; r < rows; ++r) {
    const double sign = columns_.signs[static_cast<std::size_t>(r) * PhiColumns::capacity];
    const double* cell = sketch_.table().data() + columns_.cells[static_cast<std::size_t>(r) * PhiColumns::capacity];
    // In every lane the cell is the scaled row: anything else in it has other scales, and would show.
    bool alone = true;
    for (Eigen::Index j = 0; j < d; ++j, cell += config.lanes) {
      const double common = sign * cell[0];
      for (Eigen::Index k = 0; k < lanes; ++k) {
        const double value = sign * cell[group.lane(static_cast<std::uint32_t>(k))];
        alone = alone && std::abs(value - scales[k] * common) <= rounding_of_sums * std::abs(scales[k] * common);
        cells_(r * lanes + k, j) = k == 0 ? value : value - mean_scale * common;
      }
    }
    if (alone) {
      row = cells_.row(r * lanes);
      result.norm = std::sqrt(metric_.of_row(result.row));
      result.is_exact = true;
      return result;
    }
  }

  const MatrixView factor = matrix_view(metric_.factor());
  images_.noalias() = cells_ * factor;
  Eigen::RowVectorXd image = matrix_view(start, 1, start.size()) * factor;
  const double unit = image.norm();  // so that squares neither overflow nor underflow
  if (!(unit > 0) || !std::isfinite(unit)) return {};
  images_ /= unit;
  image /= unit;
  inverse_noise *= unit;

  Eigen::VectorXd weights(rows * lanes);
  Eigen::VectorXd row_weights(rows);
  RowMajorMatrix sums(rows, image.cols());
  std::vector<double> residuals(static_cast<std::size_t>(lanes));
  const double deviations = deviations_a_median(metric_.rank());
  for (int step = 0; step < reweightings; ++step) {
    for (Eigen::Index r = 0; r < rows; ++r) {
      const auto of_row = images_.middleRows(r * lanes, lanes);
      const Eigen::VectorXd off =
          (of_row - factors * image).rowwise().norm().cwiseProduct(inverse_noise);  // in units of the noise
      std::copy(off.begin(), off.end(), residuals.begin());
      const double v = std::max(least_row_noise, deviations * upper_median(residuals));
      auto of_lanes = weights.segment(r * lanes, lanes);
      of_lanes = factors.array() * (inverse_noise.array() / v).square() * 4 / (3 + (off.array() / v).square());
      row_weights[r] = of_lanes.dot(factors);
      sums.row(r) = of_lanes.transpose() * of_row;
    }
    if (!(row_weights.sum() > 0)) return {};
    image = sums.colwise().sum() / row_weights.sum();
  }
  row = weights.transpose() * cells_ / row_weights.sum();
  const double square = image.squaredNorm();
  double without_noise = square;
  if (rows > 1) {
    const double sum = row_weights.sum();
    without_noise = (square * sum * sum - sums.squaredNorm()) / (sum * sum - row_weights.squaredNorm());
  }
  if (!(without_noise > 0)) return {};
  result.norm = std::sqrt(without_noise) * unit;
  result.noise = std::sqrt(std::max(0.0, square - without_noise)) * unit;
  return result;
}

VectorSketch product_of_group(const MatrixSketch& sketch, std::span<const double> x, std::uint32_t lane) {
  const SketchConfig& config = sketch.config();
  const LaneGroup group = lane_group(config.lanes, lane);
  VectorSketch y(config);
  const std::size_t cells = std::size_t{config.rows} * config.buckets;
  for (std::size_t cell = 0; cell < cells; ++cell) {
    const double* from = sketch.table().data() + cell * x.size() * config.lanes;
    double* to = y.table().data() + cell * config.lanes;
    for (const double coefficient : x) {
      to[0] += coefficient * from[0];
      for (std::uint32_t k = group.first; k < group.first + group.size - 1; ++k) to[k] += coefficient * from[k];
      from += config.lanes;
    }
  }
  return y;
}

FittedEntry fit_product(const MatrixSketch& sketch, std::span<const double> x, std::uint64_t key, std::uint32_t lane) {
  const VectorSketch y = product_of_group(sketch, x, lane);
  return JointFit(y)(key, lane);
}

}  // namespace weir
