#include "weir/sample/precision.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sample/power.hpp"
#include "sample/pursuit.hpp"
#include "sample/search.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"

namespace weir {

namespace {

/// Entries to be taken out of the tail.
std::size_t largest_entries(const SketchConfig& config, double epsilon) {
  const double most = std::min(static_cast<double>(config.dimension), static_cast<double>(config.buckets) / 4);
  return static_cast<std::size_t>(std::min(std::ceil(1 / (epsilon * epsilon)), most));
}

}  // namespace

double precision_threshold(std::uint64_t dimension, double epsilon, double constant) {
  if (!(epsilon > 0 && epsilon < 1)) {
    throw UsageError(fmt::format("epsilon is {}: expected a number between 0 and 1", epsilon));
  }
  if (!(constant > 0) || std::isinf(constant)) {
    throw UsageError(fmt::format("the constant C is {}: expected a finite number above 0", constant));
  }
  return constant * std::max(1.0, std::log(static_cast<double>(dimension))) / epsilon;
}

SampleResult draw_by_precision_sampling(const VectorSketch& sketch, const PrecisionOptions& options) {
  const SketchConfig& config = sketch.config();
  require_scaled_lane(sketch.config());
  if (config.law != ScaleLaw::uniform) {
    throw UsageError("the sampler 'precision' needs a sketch with the law of scales 'uniform', this one has '" +
                     std::string(to_string(config.law)) + "'");
  }
  require_range(sketch);
  const double f2 = sketch.f2().value;
  const double threshold = precision_threshold(config.dimension, options.epsilon, options.constant) * f2;
  SampleResult result{.norm = std::sqrt(f2), .zero_vector = sketch.is_zero(), .draws = {}, .failed = {}};
  if (result.zero_vector) return result;
  result.mass.value = f2;

  // What cannot pass the first test need not be looked for.
  const double floor = std::sqrt(threshold) * (1 - 1e-9);
  const std::vector<LaneMaximum> maxima = maxima_of_scaled_lanes(sketch, floor);
  const std::size_t largest = largest_entries(config, options.epsilon);
  for (std::uint32_t lane = 1; lane < config.lanes && result.draws.size() < options.samples; ++lane) {
    const LaneMaximum& maximum = maxima[lane - 1];
    if (f2 == 0) {  // in most rows of the table all that collides cancels
      result.failed.push_back({lane, FailReason::no_candidate});
    } else if (maximum.value * maximum.value < threshold) {
      result.failed.push_back({lane, FailReason::below_threshold});
    } else if (tail_f2(sketch, lane, largest) > threshold) {
      result.failed.push_back({lane, FailReason::heavy_tail});
    } else {
      const double value = maximum.value / sketch.scale_of(maximum.key, lane);
      result.draws.push_back({.lane = lane,
                              .index = maximum.key,
                              .value = value,
                              .probability = share_of_moment(value, config.p, f2),
                              .inclusion = std::nullopt});
    }
  }
  return result;
}

}  // namespace weir
