#include <algorithm>
#include <array>
#include <cmath>

#include "sample/error_bar.hpp"
#include "sample/error_of_f2.hpp"
#include "sample/joint_fit.hpp"
#include "weir/sample/range.hpp"
#include "weir/sample/sampler.hpp"

namespace weir {

Estimate estimate_f2(const VectorSketch& sketch) {
  const SketchConfig& config = sketch.config();
  const double f2 = sketch.f2().value;
  std::array<double, 15> storage{};  // the most rows that a configuration may have
  const auto rows = std::span(storage).first(config.rows);
  const std::size_t row_size = sketch.items().size() / config.rows;
  for (std::uint32_t row = 0; row < config.rows; ++row)
    for (std::size_t cell = row * row_size; cell < (row + 1) * row_size; cell += config.lanes)
      rows[row] += sketch.items()[cell] * sketch.items()[cell];
  // In most rows all that collides cancels: the others know better.
  if (f2 == 0) return {0, *std::ranges::max_element(rows)};
  if (show_no_collision(rows)) return {f2, 0};
  return {f2, errors_of_f2 * f2 *
                  std::sqrt(relative_variance_of_median(config.rows) * 2 / static_cast<double>(config.buckets))};
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
  const double bound = error_bar(sketch, 0);
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
