#include "sample/joint_fit.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace weir {

namespace {

/// The median of |x| for a normal x of variance 1, inverted.
constexpr double deviations_a_median = 1.4826;
/// Least noise of a row of the table, in units of that of the lanes.
constexpr double least_row_noise = 0.7;
constexpr int reweightings = 6;
/// A fit is made for every candidate of every lane.
constexpr std::uint32_t most_fitted_lanes = 64;
/// Information of a Student law with 3 degrees of freedom about its centre, in units of that of a normal law: (nu + 1) /
/// (nu + 3).
constexpr double information = 2.0 / 3;

/// The middle one; of an even number the upper one.
double median_in_place(std::span<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

double rounding_error(double value) noexcept {
  return value == std::trunc(value) ? 0.0 : rounding_of_sums * std::abs(value);
}

bool has_joint_fit(const SketchConfig& config) noexcept {
  return config.lanes > 1 && config.law == ScaleLaw::exponential && config.p == 2.0;
}

LaneGroup lane_group(std::uint32_t lanes, std::uint32_t lane) noexcept {
  constexpr std::uint32_t scaled = most_fitted_lanes - 1;
  if (lanes <= most_fitted_lanes) return {.first = 1, .size = lanes};
  const std::uint32_t first = 1 + (lane == 0 ? 0 : (lane - 1) / scaled * scaled);
  return {.first = std::min(first, lanes - scaled), .size = most_fitted_lanes};
}

JointFit::JointFit(const VectorSketch& sketch)
    : sketch_(sketch),
      phi_(sketch.config()),
      columns_(sketch.config()),
      noise_of_lane_(sketch.config().lanes, -1.0),
      magnitudes_(std::size_t{sketch.config().rows} * sketch.config().buckets) {
  assert(has_joint_fit(sketch.config()));
  const SketchConfig& config = sketch.config();
  const std::size_t lanes = std::min(config.lanes, most_fitted_lanes);
  double largest = 0;
  for (std::size_t cell = 0; cell < magnitudes_.size(); ++cell)
    largest = std::max(largest, std::abs(sketch.items()[cell * config.lanes]));
  if (largest > 0) unit_ = std::ldexp(1.0, std::ilogb(largest));
  noise_.resize(lanes);
  inverse_noise_.resize(lanes);
  scales_.resize(lanes);
  factors_.resize(lanes);
  residuals_.resize(lanes);
  cells_.resize(config.rows * lanes);
  ratios_.reserve(config.rows * lanes);
}

double JointFit::noise_of(std::uint32_t lane) {
  double& noise = noise_of_lane_[lane];
  if (noise >= 0) return noise;
  const std::span<const double> items = sketch_.items();
  const std::size_t stride = sketch_.config().lanes;
  const double common = lane == 0 ? 0.0 : mean_scale;
  double squares = 0;
  for (std::size_t cell = 0; cell < magnitudes_.size(); ++cell) {
    const double value = items[cell * stride + lane] / unit_;
    squares += value * value;
    magnitudes_[cell] = std::abs(value - common * (items[cell * stride] / unit_));
  }
  const double root_mean_square = std::sqrt(squares / static_cast<double>(magnitudes_.size()));
  noise = std::max(deviations_a_median * median_in_place(magnitudes_), least_joint_noise * root_mean_square);
  return noise;
}

void JointFit::choose(std::uint32_t first) {
  if (first == first_) return;
  first_ = first;
  for (std::uint32_t k = 0; k < noise_.size(); ++k) {
    noise_[k] = noise_of(k == 0 ? 0 : first + k - 1);
    // A lane without noise, which is an empty one, says nothing.
    inverse_noise_[k] = noise_[k] > 0 ? 1 / noise_[k] : 0.0;
  }
}

std::uint32_t JointFit::read(std::uint64_t key) {
  const SketchConfig& config = sketch_.config();
  const std::size_t lanes = noise_.size();
  phi_.locate(0, std::span(&key, 1), columns_);
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    scales_[lane] = static_cast<double>(phi_.scales()(key, lane == 0 ? 0 : first_ + lane - 1));
    factors_[lane] = lane == 0 ? 1.0 : scales_[lane] - mean_scale;
  }
  std::uint32_t exact = config.rows;
  for (std::uint32_t row = config.rows; row-- > 0;) {
    const double sign = columns_.signs[row * PhiColumns::capacity] / unit_;
    const auto cell = sketch_.items().subspan(columns_.cells[row * PhiColumns::capacity], sketch_.config().lanes);
    const double common = sign * cell[0];
    const auto out = std::span(cells_).subspan(row * lanes, lanes);
    bool alone = true;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const double value = sign * cell[lane == 0 ? 0 : first_ + lane - 1];
      const double of_entry = scales_[lane] * common;
      alone = alone && std::abs(value - of_entry) <= rounding_of_sums * std::abs(of_entry);
      out[lane] = lane == 0 ? value : value - mean_scale * common;
    }
    if (alone) exact = row;
  }
  return exact;
}

double JointFit::weighted_median(std::size_t left_out) {
  const std::size_t lanes = factors_.size();
  ratios_.clear();
  double total = 0;
  for (std::size_t k = 0; k < cells_.size(); ++k) {
    const std::size_t lane = k % lanes;
    if (lane == left_out || !(noise_[lane] > 0) || factors_[lane] == 0) continue;
    const double weight = std::abs(factors_[lane]) / noise_[lane];
    ratios_.push_back({cells_[k] / factors_[lane], weight});
    total += weight;
  }
  if (ratios_.empty()) return 0;
  std::ranges::sort(ratios_, {}, &Ratio::value);
  double below = 0;
  for (const Ratio& ratio : ratios_) {
    below += ratio.weight;
    if (2 * below >= total) return ratio.value;
  }
  return ratios_.back().value;
}

double JointFit::row_noise(std::uint32_t row, double y, std::size_t left_out) {
  const std::size_t lanes = factors_.size();
  std::size_t used = 0;
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    if (lane == left_out || !(noise_[lane] > 0)) continue;
    residuals_[used++] = std::abs(cells_[row * lanes + lane] - y * factors_[lane]) * inverse_noise_[lane];
  }
  if (used == 0) return least_row_noise;
  return std::max(least_row_noise, deviations_a_median * median_in_place(std::span(residuals_).first(used)));
}

FittedEntry JointFit::operator()(std::uint64_t key, std::uint32_t lane) {
  choose(lane_group(sketch_.config().lanes, lane).first);
  return fit(key, noise_.size());
}

FittedEntry JointFit::without_lane_0(std::uint64_t key) {
  choose(1);
  return fit(key, 0);
}

FittedEntry JointFit::fit(std::uint64_t key, std::size_t left_out) {
  const std::size_t lanes = factors_.size();
  const auto rows = static_cast<std::uint32_t>(cells_.size() / lanes);
  // In every lane the cell is the scaled entry: anything else in it has other scales, and would show.
  if (const std::uint32_t exact = read(key); exact < rows) {
    const double value = cells_[exact * lanes] * unit_;
    return {value, rounding_error(value)};
  }
  double y = weighted_median(left_out);
  double precision = 0;
  for (int step = 0; step < reweightings; ++step) {
    double product = 0, weight_sum = 0;
    precision = 0;
    for (std::uint32_t row = 0; row < rows; ++row) {
      const double inverse_v = 1 / row_noise(row, y, left_out);
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        if (lane == left_out) continue;
        const double inverse = inverse_noise_[lane] * inverse_v;
        const double u = (cells_[row * lanes + lane] - y * factors_[lane]) * inverse;
        const double x = factors_[lane] * inverse;
        const double weight = 4 / (3 + u * u);
        product += weight * x * cells_[row * lanes + lane] * inverse;
        weight_sum += weight * x * x;
        precision += information * x * x;
      }
    }
    if (!(weight_sum > 0)) break;
    y = product / weight_sum;
  }
  return {y * unit_, precision > 0 ? unit_ / std::sqrt(precision) : 0.0};
}

}  // namespace weir
