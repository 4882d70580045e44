#include "sample/lane_pair.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <unordered_map>

#include "log_gamma.hpp"
#include "sample/error_bar.hpp"
#include "sample/search.hpp"
#include "weir/sketch/operator.hpp"

namespace weir {

namespace {

/// Cells from which spreads are measured, at most; others are passed over evenly.
constexpr std::size_t most_cells = 4096;
constexpr int rounds_of_large = 2;
constexpr int passes = 3;

double square(double x) noexcept { return x * x; }

/// The variance of the median of `rows` values whose magnitudes have these sorted quantiles and whose signs are even: the
/// rank of the median has a Beta law.
double variance_of_median(std::span<const double> sorted, std::uint32_t rows) {
  const auto count = static_cast<double>(sorted.size());
  double sum = 0;
  double weights = 0;
  for (std::size_t place = 0; place < sorted.size(); ++place) {
    const double rank = (static_cast<double>(place) + 0.5) / count;
    double weight = 1;
    for (std::uint32_t k = 1; k < rows; k += 2) weight *= 1 - rank * rank;
    sum += weight * square(sorted[place]);
    weights += weight;
  }
  return sum / weights;
}

/// 99% bars above which an entry is not noise: about one of `keys` medians of `rows` normal values is beyond. Of h = (R + 1) / 2
/// values of one sign that has probability 2 C(R, h) Q(t)^h, and Q(t) < exp(-t^2 / 2) / 2.
double bars_of_large(double keys, std::uint32_t rows) {
  const double h = (rows + 1.0) / 2;  // rows is odd
  const double log_choices = log_gamma(rows + 1.0) - log_gamma(h + 1) - log_gamma(rows - h + 1);
  const double deviations =
      std::sqrt(std::max(0.0, 2 * ((1 - h) * std::numbers::ln2 + log_choices + std::log(keys)) / h));
  double low = 0, high = 5;  // the bar of normal values
  for (int step = 0; step < 50; ++step) {
    const double middle = 0.5 * (low + high);
    (std::erfc(middle / std::numbers::sqrt2) > share_beyond_bar(rows) ? low : high) = middle;
  }
  return std::max(1.0, deviations / low);
}

/// Which cells of level 0 nothing in `found` is in, by their numbers.
std::vector<bool> free_cells(const SketchConfig& config, std::span<const FoundEntry> found) {
  std::vector<bool> is_free(config.rows * config.buckets, true);
  const SketchOperator phi(config, 1);
  PhiColumns columns(config);
  for (const FoundEntry& entry : found) {
    phi.locate(0, std::span(&entry.key, 1), columns);
    for (std::uint32_t row = 0; row < config.rows; ++row) is_free[columns.cells[row * PhiColumns::capacity]] = false;
  }
  return is_free;
}

/// Of `count` sorted magnitudes, the place of the quantile that a median of `rows` of them is beyond with probability 0.01.
std::ptrdiff_t rank_of_bar(std::size_t count, std::uint32_t rows) {
  const auto rank = static_cast<std::ptrdiff_t>((1 - share_beyond_bar(rows)) * static_cast<double>(count));
  return std::min(rank, static_cast<std::ptrdiff_t>(count) - 1);
}

}  // namespace

LanePair::LanePair(const VectorSketch& residual, std::uint32_t lane, std::span<const FoundEntry> found)
    : rows_(residual.config().rows) {
  const std::size_t lanes = residual.config().lanes;
  const auto cells = residual.items();
  const std::size_t count = cells.size() / lanes;
  std::vector<bool> is_free = free_cells(residual.config(), found);
  auto free = static_cast<std::size_t>(std::ranges::count(is_free, true));
  occupied_ = 1 - static_cast<double>(free) / static_cast<double>(count);
  if (free == 0) {
    is_free.assign(count, true);
    free = count;
  }
  const std::size_t step = (free + most_cells - 1) / most_cells;
  std::size_t place = 0;
  for (std::size_t cell = 0; cell < count; ++cell) {
    if (!is_free[cell] || place++ % step != 0) continue;
    unscaled_.push_back(cells[cell * lanes]);
    scaled_.push_back(cells[cell * lanes + lane]);
  }
  // A median does not feel how far the largest cells are out, so the moments should not either.
  const auto limit_of = [&](std::vector<double> values) {
    for (double& value : values) value = std::abs(value);
    const auto at = values.begin() + rank_of_bar(values.size(), rows_);
    std::nth_element(values.begin(), at, values.end());
    return *at;
  };
  const double limit0 = limit_of(unscaled_);
  const double limit1 = limit_of(scaled_);
  for (std::size_t k = 0; k < unscaled_.size(); ++k) {
    const double n0 = std::clamp(unscaled_[k], -limit0, limit0);
    const double n1 = std::clamp(scaled_[k], -limit1, limit1);
    v0_ += n0 * n0;
    v1_ += n1 * n1;
    c_ += n0 * n1;
  }
  const auto measured = static_cast<double>(unscaled_.size());
  v0_ /= measured;
  v1_ /= measured;
  c_ /= measured;
}

LanePair::Weights LanePair::weights(double scale) const noexcept {
  if (v0_ == 0) return {1, 0};  // whole numbers are exact in lane 0
  const double d = v1_ - 2 * scale * c_ + scale * scale * v0_;
  if (!(d > 1e-9 * (v1_ + scale * scale * v0_))) return {0, 1 / scale};
  return {(v1_ - scale * c_) / d, (scale * v0_ - c_) / d};
}

double LanePair::estimate(std::span<const double> unscaled, std::span<double> scaled, double scale) const {
  const Weights w = weights(scale);
  for (std::size_t row = 0; row < scaled.size(); ++row)
    scaled[row] = w.unscaled * unscaled[row] + w.scaled * scaled[row];
  return median_of(scaled);
}

double LanePair::variance(double scale) const noexcept {
  const Weights w = weights(scale);
  return square(w.unscaled) * v0_ + 2 * w.unscaled * w.scaled * c_ + square(w.scaled) * v1_;
}

Spread LanePair::measure(double scale) const {
  const Weights w = weights(scale);
  std::vector<double> magnitudes(unscaled_.size());
  for (std::size_t k = 0; k < magnitudes.size(); ++k)
    magnitudes[k] = std::abs(w.unscaled * unscaled_[k] + w.scaled * scaled_[k]);
  std::sort(magnitudes.begin(), magnitudes.end());
  const double bar = magnitudes[static_cast<std::size_t>(rank_of_bar(magnitudes.size(), rows_))];
  if (bar == 0) return {};  // what little there is does not reach medians
  double squares = 0;
  for (const double magnitude : magnitudes) squares += square(magnitude);
  // The cells of an entry hold the errors of other found entries too, which are those of medians.
  const double of_median = variance_of_median(magnitudes, rows_);
  const double crowding = std::sqrt(1 + occupied_ * of_median * static_cast<double>(magnitudes.size()) / squares);
  return {crowding * bar, crowding * std::sqrt(of_median)};
}

Spread LanePair::spread(double scale) {
  const int step = static_cast<int>(std::lround(std::log2(scale)));
  const double near = std::exp2(step);
  auto found = measured_.find(step);
  if (found == measured_.end()) found = measured_.emplace(step, measure(near)).first;
  const double of_near = variance(near);
  const double factor = of_near > 0 ? std::sqrt(variance(scale) / of_near) : near / scale;
  return {factor * found->second.bar, factor * found->second.deviation};
}

void take_large(VectorSketch& residual, std::uint32_t lane, std::span<const std::uint64_t> candidates,
                std::vector<FoundEntry>& found) {
  std::unordered_map<std::uint64_t, std::size_t> places;
  for (std::size_t k = 0; k < found.size(); ++k) places.emplace(found[k].key, k);
  const std::uint32_t required = rows_required(residual.config().rows);
  const double bars = bars_of_large(static_cast<double>(residual.config().dimension), residual.config().rows);
  for (int round = 0; round < rounds_of_large; ++round) {
    bool has_taken = false;
    for (const std::uint32_t searched : {0U, lane}) {
      const double floor = bars * error_bar(residual, searched);
      if (floor == 0) continue;
      for (const std::uint64_t key : candidates) {
        const RowVote vote = vote_of_rows(residual, key, searched);
        if (!(std::abs(vote.median) > floor) || vote.supporting < required) continue;
        const auto [place, is_new] = places.try_emplace(key, found.size());
        if (is_new) found.push_back({key, 0, residual.scale_of(key, lane)});
        const double value = vote.median / (searched == 0 ? 1.0 : found[place->second].scale);
        found[place->second].value += value;
        const double delta = -value;
        residual.update(std::span(&key, 1), std::span(&delta, 1));
        has_taken = true;
      }
    }
    if (!has_taken) return;
  }
}

void refine(VectorSketch& residual, std::uint32_t lane, std::vector<FoundEntry>& found) {
  const std::size_t rows = residual.config().rows;
  const SketchOperator phi(residual.config());
  PhiColumns columns(residual.config());
  std::vector<std::uint64_t> places;  // [entry][row]
  std::vector<double> signs;
  for (const FoundEntry& entry : found) {
    phi.locate(0, std::span(&entry.key, 1), columns);
    for (std::size_t row = 0; row < rows; ++row) {
      places.push_back(columns.cells[row * PhiColumns::capacity]);
      signs.push_back(columns.signs[row * PhiColumns::capacity]);
    }
  }
  const auto cells = residual.table();
  std::vector<double> unscaled(rows);
  std::vector<double> scaled(rows);
  for (int pass = 0; pass < passes; ++pass) {
    const LanePair pair(residual, lane, found);
    for (std::size_t k = 0; k < found.size(); ++k) {
      FoundEntry& entry = found[k];
      for (std::size_t row = 0; row < rows; ++row) {
        const std::uint64_t cell = places[k * rows + row];
        unscaled[row] = signs[k * rows + row] * cells[cell];
        scaled[row] = signs[k * rows + row] * cells[cell + lane];
      }
      const double correction = pair.estimate(unscaled, scaled, entry.scale);
      entry.value += correction;
      for (std::size_t row = 0; row < rows; ++row) {
        const std::uint64_t cell = places[k * rows + row];
        const double change = signs[k * rows + row] * correction;
        cells[cell] -= change;
        cells[cell + lane] -= change * entry.scale;
      }
    }
  }
}

}  // namespace weir
