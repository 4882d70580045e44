#include "weir/sample/sampler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sample/fitted_draws.hpp"
#include "sample/joint_fit.hpp"
#include "sample/power.hpp"
#include "sample/pursuit.hpp"
#include "sample/search.hpp"
#include "sketch/gram.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"

namespace weir {

namespace {

void require_recoverable(const VectorSketch& sketch, std::size_t count, std::string_view what) {
  if (count >= sketch.config().buckets) {
    throw UsageError(fmt::format("{} {} from a sketch of {} buckets: expected fewer than buckets", count, what,
                                 sketch.config().buckets));
  }
}

/// The acceptance test of the lanes, p < 2.
class Acceptance {
 public:
  Acceptance(const SketchConfig& config, double threshold, std::span<const LaneMaximum> maxima)
      : p_(config.p), threshold_(threshold) {
    // 1 / max^p of a lane is Exp(1) / sum |y|^p, independently from lane to lane. So K others sum to Gamma(K) / sum
    // |y|^p, and the lane's own is at most c times their sum with probability 1 - (1 + c)^-K, which c = exp(1 / (T K))
    // - 1 makes 1 - exp(-1/T).
    for (const LaneMaximum& maximum : maxima) {
      if (maximum.value == 0) continue;
      inverse_sum_ += 1 / power_of_magnitude(maximum.value, p_);
      lanes_ += 1;
    }
    if (lanes_ > 0) moment_ = std::max(1.0, lanes_ - 1) / inverse_sum_;
  }

  [[nodiscard]] bool operator()(const LaneMaximum& maximum) const {
    if (threshold_ == 0) return true;
    const double power = power_of_magnitude(maximum.value, p_);
    const double others = std::max(1.0, lanes_ - 1);
    return 1 / power <= std::expm1(1 / (threshold_ * others)) * (inverse_sum_ - 1 / power);
  }

  /// Estimate of sum |y|^p.
  [[nodiscard]] double moment() const noexcept { return moment_; }

 private:
  double p_;
  double threshold_;
  double moment_ = 0;
  double inverse_sum_ = 0;
  double lanes_ = 0;
};

/// Rows of a table from which negative squares are told from noise.
constexpr std::uint32_t rows_to_be_sure = 5;

/// Whether all rows of the table, and not too few, show that a drawn square is negative: in its lane all estimates have
/// this sign, with at least a third of the magnitude of their median. Where the square is 0 or more, all R rows must hold
/// something else of that size, of the wrong sign. Of an accepted draw (T = 1) at most 9 items are expected to be that
/// large, 1 as large as the draw itself, so for R = 5 that has probability 10 (1 / 2B)^3 (9 / 2B)^2 for each key scored:
/// 2e-5 in all for B = 256, n = 2^20, and such a key seldom is the largest of its lane. Fewer rows cannot tell.
bool is_surely_negative(const VectorSketch& squares, const Draw& draw) {
  const std::uint32_t rows = squares.config().rows;
  if (!(draw.value < 0) || rows < rows_to_be_sure) return false;
  const RowVote vote = vote_of_rows(squares, draw.index, draw.lane);
  return vote.median < 0 && vote.supporting == rows;
}

}  // namespace

SampleResult draw_with_replacement(const VectorSketch& sketch, const DrawOptions& options) {
  const SketchConfig& config = sketch.config();
  require_scaled_lane(sketch.config());
  if (config.law == ScaleLaw::uniform) {
    throw UsageError("a sketch with the law of scales 'uniform' is for the sampler 'precision'");
  }
  require_threshold(options.threshold);
  if (config.p < 2 && options.threshold > 0 && config.lanes < 3) {
    throw UsageError(fmt::format("the sketch has {} lanes: p = {} with a threshold needs at least 8, or threshold 0",
                                 config.lanes, config.p));
  }
  require_range(sketch);
  const double f2 = sketch.f2().value;
  SampleResult result{.norm = std::sqrt(f2), .zero_vector = sketch.is_zero(), .draws = {}, .failed = {}};
  if (result.zero_vector) return result;
  if (config.p == 2.0) return draw_by_joint_fit(sketch, options);

  const std::vector<LaneMaximum> maxima = maxima_of_scaled_lanes(sketch, 0);
  const Acceptance accepted(config, options.threshold, maxima);
  result.mass.value = accepted.moment();
  for (std::uint32_t lane = 1; lane < config.lanes && result.draws.size() < options.samples; ++lane) {
    const LaneMaximum& maximum = maxima[lane - 1];
    if (maximum.value == 0 || f2 == 0) {
      result.failed.push_back({lane, FailReason::no_candidate});
    } else if (!accepted(maximum)) {
      result.failed.push_back({lane, FailReason::below_threshold});
    } else if (options.threshold > 0 && maximum.supporting < rows_required(config.rows)) {
      result.failed.push_back({lane, FailReason::no_candidate});
    } else {
      const double value = maximum.value / sketch.scale_of(maximum.key, lane);
      result.draws.push_back({.lane = lane,
                              .index = maximum.key,
                              .value = value,
                              .probability = share_of_moment(value, config.p, accepted.moment()),
                              .inclusion = std::nullopt});
    }
  }
  return result;
}

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
  result.mass.value = moment;
  for (Draw& draw : result.draws) draw.probability = share_of_moment(draw.value, config.p, moment);
  return result;
}

SampleResult draws_of_roots(SampleResult draws, const VectorSketch& squares, const VectorSketch& y) {
  draws.norm = std::sqrt(y.f2().value);
  for (Draw& draw : draws.draws) {
    if (is_surely_negative(squares, draw)) {
      throw InputError(fmt::format("the square of y[{}] is estimated as {:.6g}, below 0: {}", draw.index, draw.value,
                                   unmatched_row));
    }
    const double square = draw.value;
    const double root = std::sqrt(std::max(0.0, square));
    if (draw.value_bound) {
      const double below = root - std::sqrt(std::max(0.0, square - *draw.value_bound));
      const double above = std::sqrt(std::max(0.0, square + *draw.value_bound)) - root;
      draw.value_bound = std::max(below, above);
    }
    draw.value = std::copysign(root, y.point(draw.index).value);
  }
  return draws;
}

double horvitz_thompson_moment(std::span<const Draw> draws, double p) {
  double sum = 0;
  for (const Draw& draw : draws) {
    if (!draw.inclusion)
      throw UsageError("Horvitz-Thompson sums are for draws without replacement: no inclusion probability");
    sum += std::pow(std::abs(draw.value), p) / *draw.inclusion;
  }
  return sum;
}

MomentEstimate moment_through_samples(std::span<const Draw> draws, double p) {
  if (!(p > 0) || std::isinf(p)) throw UsageError(fmt::format("p is {}: expected a finite number above 0", p));
  const double value = horvitz_thompson_moment(draws, p);
  double variance = 0;
  for (const Draw& draw : draws) {
    const double term = std::pow(std::abs(draw.value), p) / *draw.inclusion;
    variance += (1 - *draw.inclusion) * term * term;
  }
  const double standard_error = std::sqrt(variance);
  return {.value = value, .standard_error = standard_error, .bound = 10 * standard_error};
}

std::vector<HeavyCoordinate> heavy_coordinates(const VectorSketch& sketch, std::size_t count) {
  count = static_cast<std::size_t>(std::min<std::uint64_t>(count, sketch.config().dimension));
  require_recoverable(sketch, count, "heavy coordinates");
  require_range(sketch);
  std::vector<HeavyCoordinate> heavy;
  std::vector<std::uint64_t> keys;
  for (const Recovered& item : Pursuit(sketch, 0).run(count)) keys.push_back(item.key);
  // They were chosen by what lane 0 shows, so that lane 0 shows them too large. The others together do not; one alone knows
  // too little.
  if (has_joint_fit(sketch.config()) && sketch.config().lanes > 2) {
    JointFit fit(sketch);
    for (const std::uint64_t key : keys) {
      const FittedEntry entry = fit(key, 0);
      heavy.push_back({key, {entry.value, fit_errors_of_point * entry.standard_error}});
    }
  } else {
    for (const std::uint64_t key : keys) heavy.push_back({key, sketch.point(key)});
  }
  std::erase_if(heavy, [](const HeavyCoordinate& item) { return item.estimate.value == 0; });
  std::sort(heavy.begin(), heavy.end(), [](const HeavyCoordinate& a, const HeavyCoordinate& b) {
    const double x = std::abs(a.estimate.value);
    const double y = std::abs(b.estimate.value);
    return x > y || (x == y && a.index < b.index);
  });
  if (heavy.size() > count) heavy.resize(count);
  return heavy;
}

}  // namespace weir
