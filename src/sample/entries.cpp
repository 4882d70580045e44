#include <algorithm>
#include <array>
#include <cmath>

#include "random/argument_checks.hpp"
#include "sample/error_bars.hpp"
#include "sample/joint_fit.hpp"
#include "weir/sample/range.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"

namespace weir {

double part_beyond_bar(std::uint32_t rows) {
  double low = 0, high = 1;
  for (int step = 0; step < 60; ++step) {
    const double part = (low + high) / 2;
    const double miss = 2 * (1 - binomial_lower_tail(rows, part / 2, (rows + 1) / 2));
    (miss > 0.01 ? high : low) = part;
  }
  return low;
}

double error_bar_of_lane(const VectorSketch& sketch, std::uint32_t lane) {
  const SketchConfig& config = sketch.config();
  require_below({"error_bar_of_lane", "lane", "the number of lanes"}, lane, config.lanes);
  std::vector<double> magnitudes(std::size_t{config.rows} * config.buckets);
  for (std::size_t cell = 0; cell < magnitudes.size(); ++cell)
    magnitudes[cell] = std::abs(sketch.items()[cell * config.lanes + lane]);
  const auto beyond = static_cast<std::size_t>(part_beyond_bar(config.rows) * static_cast<double>(magnitudes.size()));
  const auto place = magnitudes.end() - 1 - static_cast<std::ptrdiff_t>(beyond);
  std::nth_element(magnitudes.begin(), place, magnitudes.end());
  return *place;
}

std::vector<Estimate> estimate_entries(const VectorSketch& sketch, std::span<const std::uint64_t> keys) {
  const SketchConfig& config = sketch.config();
  std::vector<Estimate> estimates;
  if (keys.empty()) return estimates;

  require_range(sketch);
  if (has_joint_fit(config)) {
    JointFit fit(sketch);
    for (const std::uint64_t key : keys) {
      const FittedEntry entry = fit(key);
      estimates.push_back({entry.value, fit_errors_of_point * entry.standard_error});
    }
    return estimates;
  }
  const double bound = error_bar_of_lane(sketch, 0);
  std::array<double, 15> storage{};
  for (const std::uint64_t key : keys) {
    const auto rows = std::span(storage).first(config.rows);
    sketch.row_estimates(key, 0, rows);
    const double value = median_of(rows);
    estimates.push_back({value, std::max(bound, rounding_error(value))});
  }
  return estimates;
}

}  // namespace weir
