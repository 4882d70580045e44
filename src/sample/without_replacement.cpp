#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "sample/contradiction.hpp"
#include "sample/error_bar.hpp"
#include "sample/horvitz_thompson.hpp"
#include "sample/lane_pair.hpp"
#include "sample/power.hpp"
#include "sample/printed_error.hpp"
#include "sample/pursuit.hpp"
#include "sample/search.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"
#include "weir/sample/sampler.hpp"

namespace weir {

namespace {

/// What a value is granted beyond its 99% bar, as noise is a part of what draws are chosen by. Of flat vectors at default sizes
/// 0.0100 of the draws miss a bar that is 1.12 times as wide, and 0.0088 one of 1.16.
constexpr double widening_of_values = 1.16;

/// What lane 0 does not contradict of `largest`, which has been subtracted from `residual`; the others are put back. An entry
/// that cells of others have made up has a small scale, and so a value far above its own: the cells of lane 0, from which that
/// value has been subtracted too, are left with it.
std::vector<FoundEntry> not_contradicted(const std::vector<Recovered>& largest, VectorSketch& residual,
                                         std::uint32_t lane) {
  const double occupied = static_cast<double>(largest.size()) / static_cast<double>(residual.config().buckets);
  const double bar = error_bar(residual, lane, occupied);
  const double unscaled_bar = error_bar(residual, 0);
  std::vector<FoundEntry> found;
  std::vector<FoundEntry> contradicted;
  for (const Recovered& item : largest) {
    const double scale = residual.scale_of(item.key, lane);
    const double value = item.value / scale;
    const double left = vote_of_rows(residual, item.key, 0).median;
    const bool is_false = is_contradicted(left, value, bar / scale, unscaled_bar);
    (is_false ? contradicted : found).push_back({item.key, value, scale});
  }
  for (const FoundEntry& entry : contradicted) residual.update(std::span(&entry.key, 1), std::span(&entry.value, 1));
  return found;
}

/// Largest first, without those that are zero but for rounding.
void sort_by_scaled_magnitude(std::vector<FoundEntry>& found) {
  const auto magnitude = [](const FoundEntry& entry) { return std::abs(entry.value) * entry.scale; };
  double largest = 0;
  for (const FoundEntry& entry : found) largest = std::max(largest, magnitude(entry));
  std::erase_if(found, [&](const FoundEntry& entry) { return !(magnitude(entry) > relative_zero * largest); });
  std::ranges::sort(found, [&](const FoundEntry& a, const FoundEntry& b) {
    return magnitude(a) > magnitude(b) || (magnitude(a) == magnitude(b) && a.key < b.key);
  });
}

/// P[s |y| + e > threshold] for the scale s of an entry and normal noise e of standard deviation `noise`, where
/// P[s |y| > t] = 1 - exp(-power / t^scale_power). Without noise alone it is exact; the noise is averaged over in steps.
double inclusion_through_noise(double power, double scale_power, double threshold, double noise) {
  if (threshold == 0) return 1;
  constexpr int steps = 40;
  constexpr double most_deviations = 4;
  double sum = 0, weights = 0;
  for (int step = -steps; step <= steps; ++step) {
    const double deviations = most_deviations * step / steps;
    const double weight = std::exp(-0.5 * deviations * deviations);
    const double left = threshold - noise * deviations;
    sum += weight * (left > 0 ? -std::expm1(-power / std::pow(left, scale_power)) : 1);
    weights += weight;
  }
  return sum / weights;
}

}  // namespace

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

  Pursuit pursuit(sketch, lane);
  std::vector<Recovered> largest = pursuit.run(samples + 1);
  const std::vector<std::uint64_t> candidates = pursuit.candidates();
  VectorSketch residual = std::move(pursuit).residual();
  std::vector<FoundEntry> found = not_contradicted(largest, residual, lane);
  take_large(residual, lane, candidates, found);
  refine(residual, lane, found);
  sort_by_scaled_magnitude(found);
  LanePair pair(residual, lane, found);

  // Also where the last of the draws is the threshold, as others were contradicted.
  const bool has_threshold = std::max(largest.size(), found.size()) > samples;
  if (found.size() > samples + 1) found.resize(samples + 1);
  if (has_threshold && !found.empty()) {
    const FoundEntry& next = found.back();
    result.threshold = std::abs(next.value) * next.scale;
    result.next = {.lane = lane,
                   .index = next.key,
                   .value = next.value,
                   .inclusion = {},
                   .scale = next.scale,
                   .deviation = pair.spread(next.scale).deviation};
    found.pop_back();
  }
  if (found.empty() && samples > 0) result.failed.push_back({lane, FailReason::no_candidate});
  HorvitzThompsonSum moment(config.p, config.p);
  double fourth = 0;
  const auto x_of = [&](double value) { return ratio_of_powers(value, result.threshold, config.p); };
  for (const FoundEntry& entry : found) {
    const Spread spread = pair.spread(entry.scale);
    double value = entry.value;
    double inclusion = 1;
    if (result.threshold > 0) {
      // The bias is one of the true value: that which is estimated has it, so it is worked out again for the corrected one.
      const double bar = deviations_of_bar * spread.deviation;
      const double once = without_selection_bias(value, x_of(value), bar, config.p);
      value *= without_selection_bias(once, x_of(once), bar, config.p) / once;
      inclusion = -std::expm1(-x_of(value));
      result.threshold_noise = std::max(result.threshold_noise, spread.deviation * entry.scale);
    }
    moment.add(value, inclusion, spread.bar, spread.deviation);
    fourth += std::pow(value, 4) / inclusion;
    result.draws.push_back({.lane = lane,
                            .index = entry.key,
                            .value = value,
                            .probability = 0,
                            .value_bound = widening_of_values * spread.bar,
                            .inclusion = inclusion,
                            .scale = entry.scale,
                            .deviation = spread.deviation});
  }
  Normaliser normaliser;
  if (config.p == 2.0) {
    normaliser = normaliser_of_f2(config, f2, fourth);
  } else {
    normaliser = normaliser_of(moment, 1);
    result.norm_p = norm_of_moment(moment, 1, config.p);
  }
  result.mass = mass_of(normaliser);
  for (Draw& draw : result.draws) set_probability(draw, config.p, normaliser);
  return result;
}

void follow_exact_values(SampleResult& result, double p, double scale_power) {
  HorvitzThompsonSum moment(p, p);
  for (Draw& draw : result.draws) {
    draw.deviation = 0;
    draw.inclusion = inclusion_through_noise(std::pow(std::abs(draw.value), p), scale_power, result.threshold,
                                             result.threshold_noise);
    moment.add(draw.value, *draw.inclusion, 0);
  }
  if (p >= 2) return;
  const Normaliser normaliser = normaliser_of(moment, 1);
  result.norm_p = norm_of_moment(moment, 1, p);
  result.mass = mass_of(normaliser);
  for (Draw& draw : result.draws) set_probability(draw, p, normaliser);
}

}  // namespace weir
