#include "weir/sample/sampler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "sample/below_two.hpp"
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

/// Of sqrt(square), where the bound of the square is given.
double bound_of_root(double square, double bound) {
  const double root = std::sqrt(square);
  return std::max(std::sqrt(square + bound) - root, root - std::sqrt(std::max(0.0, square - bound)));
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
  SampleResult result{.norm = std::sqrt(sketch.f2().value), .zero_vector = sketch.is_zero(), .draws = {}, .failed = {}};
  if (result.zero_vector) return result;
  if (config.p == 2.0) return draw_by_joint_fit(sketch, options);
  draw_below_two(sketch, options, result);
  return result;
}

SampleResult draws_of_roots(SampleResult draws, const VectorSketch& squares, const VectorSketch& y) {
  draws.norm = std::sqrt(y.f2().value);
  // A light entry is seen in the lane that draws it, and not in lane 0.
  std::optional<JointFit> fit;
  if (has_joint_fit(y.config())) fit.emplace(y);
  for (Draw& draw : draws.draws) {
    if (is_surely_negative(squares, draw)) {
      throw InputError(fmt::format("the square of y[{}] is estimated as {:.6g}, below 0: {}", draw.index, draw.value,
                                   unmatched_row));
    }
    const double square = std::max(0.0, draw.value);
    if (draw.value_bound) draw.value_bound = bound_of_root(square, *draw.value_bound);
    if (draw.deviation) draw.deviation = square > 0 ? *draw.deviation / (2 * std::sqrt(square)) : 0.0;
    const FittedEntry root = fit ? (*fit)(draw.index, draw.lane) : FittedEntry{y.point(draw.index).value};
    draw.value = std::copysign(std::sqrt(square), root.value);
    // Where the sign is not known the truth may be on the other side of 0.
    if (draw.value_bound && std::abs(root.value) < fit_errors_of_point * root.standard_error)
      draw.value_bound = *draw.value_bound + 2 * std::abs(draw.value);
  }
  // The sum of the fourth powers is F2 of the squares.
  const Estimate fourth = squares.f2();
  const double norm = std::sqrt(std::sqrt(fourth.value));
  const double relative = fourth.value > 0 ? fourth.bound / fourth.value : 0.0;
  draws.norm_p = {norm,
                  norm * std::max(std::pow(1 + relative, 0.25) - 1, 1 - std::pow(std::max(0.0, 1 - relative), 0.25))};
  return draws;
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
    // Few lanes know little of the noise in the cells of entries that were chosen for it: of the 10 largest of flat vectors 0.05
    // were beyond 3.2 standard errors with 8 lanes, as of a Student law with 3 degrees of freedom, which has 5.8 for 0.01.
    const double errors = fit_errors_of_point * std::sqrt(std::max(1.0, 27.0 / sketch.config().lanes));
    for (const std::uint64_t key : keys) {
      const FittedEntry entry = fit.without_lane_0(key);
      heavy.push_back({key, {entry.value, errors * entry.standard_error}});
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
