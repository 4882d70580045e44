#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sample/power.hpp"
#include "sample/pursuit.hpp"
#include "sample/search.hpp"
#include "weir/error.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/range.hpp"
#include "weir/sample/sampler.hpp"

namespace weir {

SampleResult draw_without_replacement(const VectorSketch& sketch, const DrawOptions& options) {
  const SketchConfig& config = sketch.config();
  constexpr std::uint32_t lane = 1;
  require_scaled_lane(sketch.config());
  // Of n coordinates no more than n are drawn: then all come, and no magnitude is left to be the threshold.
  const auto samples = static_cast<std::size_t>(std::min<std::uint64_t>(options.samples, config.dimension));
  require_recoverable(sketch, samples, "samples without replacement");
  if (config.law != ScaleLaw::exponential)
    throw UsageError("draws without replacement need the exponential law of scales");
  require_range(sketch);
  const double f2 = sketch.f2().value;
  SampleResult result{.norm = std::sqrt(f2), .zero_vector = sketch.is_zero(), .draws = {}, .failed = {}};
  if (result.zero_vector) return result;
  if (f2 == 0) {  // in most rows of the table all that collides cancels
    result.failed.push_back({lane, FailReason::no_candidate});
    return result;
  }

  std::vector<Recovered> largest = Pursuit(sketch, lane).run(samples + 1);
  const double tau = largest.size() > samples ? std::abs(largest[samples].value) : 0.0;
  if (largest.size() > samples) largest.resize(samples);
  if (largest.empty() && samples > 0) result.failed.push_back({lane, FailReason::no_candidate});
  for (const Recovered& item : largest) {
    const double value = item.value / sketch.scale_of(item.key, lane);
    const double inclusion =
        tau > 0 ? -std::expm1(-power_of_magnitude(value, config.p) / power_of_magnitude(tau, config.p)) : 1.0;
    result.draws.push_back({.lane = lane, .index = item.key, .value = value, .probability = 0, .inclusion = inclusion});
  }
  const double moment = config.p == 2.0 ? f2 : horvitz_thompson_moment(result.draws, config.p);
  for (Draw& draw : result.draws) draw.probability = share_of_moment(draw.value, config.p, moment);
  return result;
}

}  // namespace weir
