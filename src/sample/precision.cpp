#include "weir/sample/precision.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <vector>

#include "sample/contradiction.hpp"
#include "sample/error_bar.hpp"
#include "sample/power.hpp"
#include "sample/printed_error.hpp"
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

/// What is known of sum y^4: the entries that were drawn, each once.
double fourth_powers(std::span<const Draw> draws) {
  std::map<std::uint64_t, double> powers;
  for (const Draw& draw : draws) powers[draw.index] = power_of_magnitude(draw.value, 4);
  double sum = 0;
  for (const auto& [index, power] : powers) sum += power;
  return sum;
}

/// Candidates of a lane among which the largest that lane 0 does not contradict is taken.
constexpr std::size_t candidates_of_lane = 4;
struct Maximum {
  std::uint64_t key = 0;
  double scaled = 0;  ///< 0 when there is none.
  double value = 0;
  double bar = 0;  ///< 99% bar of the value.
};

/// The largest of the hits of a lane that lane 0 does not contradict.
Maximum maximum_of(const VectorSketch& sketch, std::uint32_t lane, std::span<const ScanHit> hits, double bar_of_lane,
                   double bar_of_lane_0) {
  for (const ScanHit& hit : hits) {
    const double scale = sketch.scale_of(hit.key, lane);
    const Maximum maximum{hit.key, hit.value, hit.value / scale, bar_of_lane / scale};
    if (!is_contradicted(sketch, hit.key, maximum.value, maximum.bar, bar_of_lane_0)) return maximum;
  }
  return {};
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

  // What cannot pass the first test need not be looked for.
  std::vector<double> floors(config.lanes, std::sqrt(threshold) * (1 - 1e-9));
  floors[0] = std::numeric_limits<double>::infinity();
  const auto found = search_largest(sketch, {.floors = floors, .wanted = 1, .kept = candidates_of_lane});
  const double bar_of_lane_0 = error_bar(sketch, 0);
  const std::size_t largest = largest_entries(config, options.epsilon);
  for (std::uint32_t lane = 1; lane < config.lanes && result.draws.size() < options.samples; ++lane) {
    if (f2 == 0) {  // in most rows of the table all that collides cancels
      result.failed.push_back({lane, FailReason::no_candidate});
      continue;
    }
    const Maximum maximum =
        found[lane].empty() ? Maximum() : maximum_of(sketch, lane, found[lane], error_bar(sketch, lane), bar_of_lane_0);
    if (maximum.scaled * maximum.scaled < threshold) {
      result.failed.push_back({lane, FailReason::below_threshold});
    } else if (tail_f2(sketch, lane, largest) > threshold) {
      result.failed.push_back({lane, FailReason::heavy_tail});
    } else {
      Draw draw;
      draw.lane = lane;
      draw.index = maximum.key;
      draw.value = maximum.value;
      draw.value_bound = widening_of_draws * maximum.bar;
      result.draws.push_back(draw);
    }
  }
  const Normaliser normaliser = normaliser_of_f2(config, f2, fourth_powers(result.draws));
  result.mass = mass_of(normaliser);
  for (Draw& draw : result.draws) set_probability(draw, config.p, normaliser);
  return result;
}

}  // namespace weir
