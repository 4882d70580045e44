#include "sample/fitted_draws.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "sample/error_of_f2.hpp"
#include "sample/fitted_candidates.hpp"
#include "sample/power.hpp"
#include "sample/search.hpp"

namespace weir {

namespace {

Draw draw_of(const Candidate& winner, std::uint32_t lane, double f2, const ErrorOfF2& error_of_f2) {
  Draw draw;
  draw.lane = lane;
  draw.index = winner.key;
  draw.value = winner.value();
  draw.probability = std::min(
      1.0, share_of_moment(draw.value, 2, f2) * (1 - winner.relative_variance) / (1 + error_of_f2.bias_of_inverse));
  draw.value_bound = errors_of_value * winner.entry.standard_error;
  const double of_value = *draw.value_bound / std::abs(draw.value);
  const double bound = draw.probability * std::hypot((2 + of_value) * of_value, errors_of_f2 * error_of_f2.relative);
  draw.probability_bound = std::min(bound, std::max(draw.probability, 1 - draw.probability));
  return draw;
}

}  // namespace

SampleResult draw_by_joint_fit(const VectorSketch& sketch, const DrawOptions& options) {
  const SketchConfig& config = sketch.config();
  const double f2 = sketch.f2().value;
  const double least = std::sqrt(options.threshold * f2) * (1 - 1e-9);
  SampleResult result{.norm = std::sqrt(f2), .zero_vector = false, .draws = {}, .failed = {}};
  const FailReason nothing_found = least > 0 ? FailReason::below_threshold : FailReason::no_candidate;
  if (f2 == 0) {  // in most rows of the table all that collides cancels
    for (std::uint32_t lane = 1; lane < config.lanes && options.samples > 0; ++lane)
      result.failed.push_back({lane, nothing_found});
    return result;
  }

  std::vector<double> floors(config.lanes, candidate_floor * least);
  floors[0] = std::numeric_limits<double>::infinity();
  const auto found = search_largest(sketch, {.floors = floors, .wanted = 1, .kept = fitted_a_lane});
  FittedCandidates candidates(sketch, f2);
  std::vector<Candidate> winners;
  for (std::uint32_t lane = 1; lane < config.lanes; ++lane) winners.push_back(candidates.winner(found[lane]));
  const ErrorOfF2 error = candidates.error_of_f2();
  result.mass = {f2, errors_of_f2 * error.relative * f2};
  for (std::uint32_t lane = 1; lane < config.lanes && result.draws.size() < options.samples; ++lane) {
    const Candidate& winner = winners[lane - 1];
    if (winner.score == 0) {
      result.failed.push_back({lane, nothing_found});
    } else if (winner.score < least) {
      result.failed.push_back({lane, FailReason::below_threshold});
    } else {
      result.draws.push_back(draw_of(winner, lane, f2, error));
    }
  }
  return result;
}

}  // namespace weir
