#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "sample/error_bar.hpp"
#include "sample/horvitz_thompson.hpp"
#include "sample/power.hpp"
#include "sample/printed_error.hpp"
#include "sample/pursuit.hpp"
#include "sample/search.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"
#include "weir/sample/sampler.hpp"

namespace weir {

namespace {

/// Bars by which lane 0 must differ from a value before it is not believed. They are 99% bars: of entries that are there
/// practically none is lost. It must differ by half of the value besides.
constexpr double bars_of_contradiction = 3;

/// Leaves out what lane 0 contradicts. An entry that cells of others have made up has a small scale, and so a value far above
/// its own: the cells of lane 0, from which that value has been subtracted too, are left with it.
void erase_contradicted(std::vector<Recovered>& items, const VectorSketch& residual, std::uint32_t lane, double bar) {
  const double unscaled_bar = error_bar(residual, 0);
  std::erase_if(items, [&](const Recovered& item) {
    const double scale = residual.scale_of(item.key, lane);
    const double left = std::abs(vote_of_rows(residual, item.key, 0).median);
    const double rounding = 0x1p-30 * std::abs(item.value) / scale;
    // Where few cells hold anything the bar is that of most entries, and not of those that others collide with.
    const double most = std::abs(item.value) / scale / 2;
    return left > std::max(most, bars_of_contradiction * (bar / scale + unscaled_bar) + rounding);
  });
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
  const double occupied = static_cast<double>(largest.size()) / static_cast<double>(config.buckets);
  const double bar = error_bar(pursuit.residual(), lane, occupied);
  const bool has_threshold = largest.size() > samples;
  erase_contradicted(largest, pursuit.residual(), lane, bar);
  double tau = 0;
  if (has_threshold && !largest.empty()) {
    largest.resize(std::min(largest.size(), samples + 1));
    const Recovered& next = largest.back();
    tau = std::abs(next.value);
    const double scale = sketch.scale_of(next.key, lane);
    result.next = {.lane = lane, .index = next.key, .value = next.value / scale, .inclusion = {}, .scale = scale};
    largest.pop_back();
  }
  if (largest.empty() && samples > 0) result.failed.push_back({lane, FailReason::no_candidate});
  HorvitzThompsonSum moment(config.p, config.p);
  double fourth = 0;
  for (const Recovered& item : largest) {
    const double scale = sketch.scale_of(item.key, lane);
    const double scaled = item.value / scale;
    const double value =
        tau > 0 ? without_selection_bias(scaled, ratio_of_powers(scaled, tau, config.p), bar / scale, config.p)
                : scaled;
    const double inclusion = tau > 0 ? -std::expm1(-ratio_of_powers(value, tau, config.p)) : 1.0;
    moment.add(value, inclusion, bar / scale);
    fourth += std::pow(value, 4) / inclusion;
    result.draws.push_back({.lane = lane,
                            .index = item.key,
                            .value = value,
                            .probability = 0,
                            .value_bound = widening_of_draws * bar / scale,
                            .inclusion = inclusion,
                            .scale = scale});
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
  // |y|^p s^p', as the scaled entries are compared.
  const auto power = [&](const Draw& draw) {
    return std::pow(std::abs(draw.value), p) * std::pow(draw.scale, scale_power);
  };
  double threshold = 0;
  if (result.next) {
    if (result.next->value != 0) result.draws.push_back(*result.next);
    std::ranges::stable_sort(result.draws, std::greater(), power);
    if (!result.draws.empty()) {
      result.next = result.draws.back();
      threshold = power(*result.next);
      result.draws.pop_back();
    }
  }
  HorvitzThompsonSum moment(p, p);
  for (Draw& draw : result.draws) {
    draw.inclusion = threshold > 0 ? -std::expm1(-std::pow(std::abs(draw.value), p) / threshold) : 1.0;
    moment.add(draw.value, *draw.inclusion, 0);
  }
  if (p >= 2) return;
  const Normaliser normaliser = normaliser_of(moment, 1);
  result.norm_p = norm_of_moment(moment, 1, p);
  result.mass = mass_of(normaliser);
  for (Draw& draw : result.draws) set_probability(draw, p, normaliser);
}

}  // namespace weir
