#include "sample/joint_fit.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace weir {

namespace {

/// E[s] = E[E^(-1/2)] = Gamma(1/2) = sqrt(pi). The rounding of scales to 2^-16 moves it by less than 1e-6, and their
/// bound by less than 1e-9.
constexpr double mean_scale = 1.7724538509055160273;
/// The median of |x| for a normal x of variance 1, inverted.
constexpr double deviations_a_median = 1.4826;
/// Least noise of a lane, in root mean squares of its cells. Where most cells are empty the median is 0, but the noise in those
/// that are not empty is not.
constexpr double least_noise = 0.02;
/// Least noise of a row of the table, in units of that of the lanes.
constexpr double least_row_noise = 0.7;
constexpr int reweightings = 6;
/// More lanes would hardly add to what so many know, and a fit is made for every candidate of every lane.
constexpr std::size_t most_fitted_lanes = 64;
/// Information of a Student law with 3 degrees of freedom about its centre, in units of that of a normal law: (nu + 1) /
/// (nu + 3).
constexpr double information = 2.0 / 3;
/// Cells that agree to this are equal but for the rounding of sums.
constexpr double rounding = 0x1p-36;

/// The middle one; of an even number the upper one.
double median_in_place(std::span<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

double rounding_error(double value) noexcept { return value == std::trunc(value) ? 0.0 : rounding * std::abs(value); }

bool has_joint_fit(const SketchConfig& config) noexcept {
  return config.lanes > 1 && config.law == ScaleLaw::exponential && config.p == 2.0;
}

JointFit::JointFit(const VectorSketch& sketch)
    : sketch_(sketch),
      phi_(sketch.config()),
      columns_(sketch.config()),
      noise_(std::min<std::size_t>(sketch.config().lanes, most_fitted_lanes)) {
  assert(has_joint_fit(sketch.config()));
  const SketchConfig& config = sketch.config();
  const std::size_t stride = config.lanes, lanes = noise_.size();
  const std::size_t count = std::size_t{config.rows} * config.buckets;
  const std::span<const double> items = sketch.items();
  double largest = 0;
  for (std::size_t cell = 0; cell < count; ++cell) largest = std::max(largest, std::abs(items[cell * stride]));
  if (largest > 0) unit_ = std::ldexp(1.0, std::ilogb(largest));

  std::vector<double> magnitudes(count);
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    const double common = lane == 0 ? 0.0 : mean_scale;
    double squares = 0;
    for (std::size_t cell = 0; cell < count; ++cell) {
      const double value = items[cell * stride + lane] / unit_;
      squares += value * value;
      magnitudes[cell] = std::abs(value - common * (items[cell * stride] / unit_));
    }
    noise_[lane] = std::max(deviations_a_median * median_in_place(magnitudes),
                            least_noise * std::sqrt(squares / static_cast<double>(count)));
  }
  // A lane without noise, which is an empty one, says nothing.
  for (const double noise : noise_) inverse_noise_.push_back(noise > 0 ? 1 / noise : 0.0);
  scales_.resize(lanes);
  factors_.resize(lanes);
  residuals_.resize(lanes);
  cells_.resize(config.rows * lanes);
  ratios_.reserve(config.rows * lanes);
}

std::uint32_t JointFit::read(std::uint64_t key) {
  const SketchConfig& config = sketch_.config();
  const std::size_t lanes = noise_.size();
  phi_.locate(0, std::span(&key, 1), columns_);
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    scales_[lane] = static_cast<double>(phi_.scales()(key, lane));
    factors_[lane] = lane == 0 ? 1.0 : scales_[lane] - mean_scale;
  }
  std::uint32_t exact = config.rows;
  for (std::uint32_t row = config.rows; row-- > 0;) {
    const double sign = columns_.signs[row * PhiColumns::capacity] / unit_;
    const auto cell = sketch_.items().subspan(columns_.cells[row * PhiColumns::capacity], lanes);
    const double common = sign * cell[0];
    const auto out = std::span(cells_).subspan(row * lanes, lanes);
    bool alone = true;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const double value = sign * cell[lane];
      const double of_entry = scales_[lane] * common;
      alone = alone && std::abs(value - of_entry) <= rounding * std::abs(of_entry);
      out[lane] = lane == 0 ? value : value - mean_scale * common;
    }
    if (alone) exact = row;
  }
  return exact;
}

double JointFit::weighted_median(std::size_t without) {
  const std::size_t lanes = factors_.size();
  ratios_.clear();
  double total = 0;
  for (std::size_t k = 0; k < cells_.size(); ++k) {
    const std::size_t lane = k % lanes;
    if (lane == without || !(noise_[lane] > 0) || factors_[lane] == 0) continue;
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

double JointFit::row_noise(std::uint32_t row, double y, std::size_t without) {
  const std::size_t lanes = factors_.size();
  std::size_t used = 0;
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    if (lane == without || !(noise_[lane] > 0)) continue;
    residuals_[used++] = std::abs(cells_[row * lanes + lane] - y * factors_[lane]) * inverse_noise_[lane];
  }
  if (used == 0) return least_row_noise;
  return std::max(least_row_noise, deviations_a_median * median_in_place(std::span(residuals_).first(used)));
}

FittedEntry JointFit::operator()(std::uint64_t key, std::uint32_t without) {
  const std::size_t lanes = factors_.size();
  const auto rows = static_cast<std::uint32_t>(cells_.size() / lanes);
  // In every lane the cell is the scaled entry: anything else in it has other scales, and would show.
  if (const std::uint32_t exact = read(key); exact < rows) {
    const double value = cells_[exact * lanes] * unit_;
    return {value, rounding_error(value)};
  }
  double y = weighted_median(without);
  double precision = 0;
  for (int step = 0; step < reweightings; ++step) {
    double product = 0, weight_sum = 0;
    precision = 0;
    for (std::uint32_t row = 0; row < rows; ++row) {
      const double inverse_v = 1 / row_noise(row, y, without);
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        if (lane == without) continue;
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
