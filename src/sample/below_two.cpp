#include "sample/below_two.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "sample/error_bar.hpp"
#include "sample/horvitz_thompson.hpp"
#include "sample/power.hpp"
#include "sample/printed_error.hpp"
#include "sample/search.hpp"
#include "weir/sample/sizing.hpp"

namespace weir {

namespace {

/// The acceptance test of the lanes. 1 / max^p of a lane is Exp(1) / sum |y|^p, independently from lane to lane. So K others
/// sum to Gamma(K) / sum |y|^p, and the lane's own is at most c times their sum with probability 1 - (1 + c)^-K, which
/// c = exp(1 / (T K)) - 1 makes 1 - exp(-1/T), exactly. An estimate of the sum from more entries would be better but has no
/// law that is known.
class Acceptance {
 public:
  Acceptance(double p, double threshold, std::span<const LaneMaximum> maxima) : p_(p), threshold_(threshold) {
    for (const LaneMaximum& maximum : maxima) {
      if (maximum.value == 0) continue;
      inverse_sum_ += 1 / power_of_magnitude(maximum.value, p_);
      lanes_ += 1;
    }
  }

  [[nodiscard]] bool operator()(const LaneMaximum& maximum) const {
    if (threshold_ == 0) return true;
    const double inverse = 1 / power_of_magnitude(maximum.value, p_);
    return inverse <= std::expm1(1 / (threshold_ * std::max(1.0, lanes_ - 1))) * (inverse_sum_ - inverse);
  }

 private:
  double p_;
  double threshold_;
  double inverse_sum_ = 0;
  double lanes_ = 0;
};

/// The candidates of a lane that enough rows of the table support, largest first. Ghosts, which three rows of five support, are
/// as many as the entries themselves: see suggest_buckets().
std::vector<ScanHit> supported(const VectorSketch& sketch, std::span<const ScanHit> candidates) {
  const std::uint32_t required = rows_required(sketch.config().rows);
  std::vector<ScanHit> kept;
  for (const ScanHit& hit : candidates) {
    if (vote_of_rows(sketch, hit.key, hit.lane).supporting >= required) kept.push_back(hit);
  }
  return kept;
}

}  // namespace

void draw_below_two(const VectorSketch& sketch, const DrawOptions& options, SampleResult& result) {
  const SketchConfig& config = sketch.config();
  const double p = config.p;
  const std::size_t entries = entries_of_lane(config);
  std::vector<double> floors(config.lanes, 0.0);
  floors[0] = std::numeric_limits<double>::infinity();
  const auto candidates = search_largest(sketch, {.floors = floors, .wanted = entries + 1, .kept = 3 * entries + 16});

  std::vector<LaneMaximum> maxima;
  std::vector<double> bars;
  std::vector<double> seconds;  // the threshold that the winner of a lane has passed
  HorvitzThompsonSum sum(p, p);
  double lanes = 0;
  for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
    maxima.push_back(maximum_of(sketch, candidates[lane]));
    bars.push_back(error_bar(sketch, lane));
    const std::vector<ScanHit> found = supported(sketch, candidates[lane]);
    seconds.push_back(found.size() > 1 ? std::abs(found[1].value) : 0.0);
    if (found.empty()) continue;
    lanes += 1;
    const double tau = found.size() > entries ? std::abs(found[entries].value) : 0.0;
    for (std::size_t k = 0; k < std::min(entries, found.size()); ++k) {
      const double scale = sketch.scale_of(found[k].key, lane);
      const double scaled = found[k].value / scale, bar = bars.back() / scale;
      if (tau == 0) {
        sum.add(scaled, 1, bar);
        continue;
      }
      const double value = without_selection_bias(scaled, ratio_of_powers(scaled, tau, p), bar, p);
      sum.add(value, -std::expm1(-ratio_of_powers(value, tau, p)), bar);
    }
  }
  const Normaliser normaliser = normaliser_of(sum, lanes);
  if (lanes > 0) result.norm_p = norm_of_moment(sum, lanes, p);
  result.mass = mass_of(normaliser);

  const Acceptance accepted(p, options.threshold, maxima);
  for (std::uint32_t lane = 1; lane < config.lanes && result.draws.size() < options.samples; ++lane) {
    const LaneMaximum& maximum = maxima[lane - 1];
    if (maximum.value == 0 || result.norm == 0) {
      result.failed.push_back({lane, FailReason::no_candidate});
    } else if (!accepted(maximum)) {
      result.failed.push_back({lane, FailReason::below_threshold});
    } else if (options.threshold > 0 && maximum.supporting < rows_required(config.rows)) {
      result.failed.push_back({lane, FailReason::no_candidate});
    } else {
      const double scale = sketch.scale_of(maximum.key, lane), second = seconds[lane - 1];
      const double scaled = maximum.value / scale, bar = bars[lane - 1] / scale;
      Draw draw;
      draw.lane = lane;
      draw.index = maximum.key;
      draw.value = second > 0 && second < std::abs(maximum.value)
                       ? without_selection_bias(scaled, ratio_of_powers(scaled, second, p), bar, p)
                       : scaled;
      draw.value_bound = widening_of_draws * bar;
      set_probability(draw, p, normaliser);
      result.draws.push_back(draw);
    }
  }
}

}  // namespace weir
