#include "sample/below_two.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "sample/contradiction.hpp"
#include "sample/error_bar.hpp"
#include "sample/horvitz_thompson.hpp"
#include "sample/power.hpp"
#include "sample/printed_error.hpp"
#include "sample/search.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sketch/operator.hpp"

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

/// The candidates of a lane that enough rows of the table support and lane 0 does not contradict, largest first.
std::vector<ScanHit> believed(const VectorSketch& sketch, std::span<const ScanHit> candidates, double bar_of_lane,
                              double bar_of_lane_0) {
  const std::uint32_t required = rows_required(sketch.config().rows);
  std::vector<ScanHit> kept;
  for (const ScanHit& hit : candidates) {
    if (vote_of_rows(sketch, hit.key, hit.lane).supporting < required) continue;
    const double scale = sketch.scale_of(hit.key, hit.lane);
    if (!is_contradicted(sketch, hit.key, hit.value / scale, bar_of_lane / scale, bar_of_lane_0)) kept.push_back(hit);
  }
  return kept;
}

/// Candidates to be kept of a lane, so that the `wanted` largest entries are among them. Keys that share 3 of 5 rows with some
/// of them, or a majority h of R, look as large if their signs agree: C(R, h) (wanted / B)^h of all keys, times 1/2 or less. They
/// may be more than the entries themselves.
std::size_t kept_of_lane(const SketchConfig& config, std::size_t wanted) {
  constexpr double most_ghosts = 4096;
  const double rows = config.rows, majority = std::floor(rows / 2) + 1;
  const double part = static_cast<double>(wanted) / static_cast<double>(config.buckets);
  const double choices = std::exp(std::lgamma(rows + 1) - std::lgamma(majority + 1) - std::lgamma(rows - majority + 1));
  const double ghosts = static_cast<double>(config.dimension) * choices * std::pow(part, majority) / 2;
  return 3 * wanted + 16 + static_cast<std::size_t>(std::min(2 * ghosts, most_ghosts));
}

/// What is known of the largest entries of the lanes.
struct LargestEntries {
  std::vector<std::vector<ScanHit>> of_lane;  ///< Largest first; none of lane 0.
  std::vector<double> bars;                   ///< [lane]: 99% bars of the scaled values.
};

/// The entries of all lanes by one search. It must look at all keys.
LargestEntries search_entries(const VectorSketch& sketch, std::span<const double> floors, std::size_t wanted) {
  const auto candidates =
      search_largest(sketch, {.floors = floors, .wanted = wanted, .kept = kept_of_lane(sketch.config(), wanted)});
  const double bar_of_lane_0 = error_bar(sketch, 0);
  LargestEntries result{.of_lane = {{}}, .bars = {bar_of_lane_0}};
  for (std::uint32_t lane = 1; lane < sketch.config().lanes; ++lane) {
    result.bars.push_back(error_bar(sketch, lane));
    result.of_lane.push_back(believed(sketch, candidates[lane], result.bars.back(), bar_of_lane_0));
  }
  return result;
}

/// The entries of all lanes where there are groups: the largest of each, one after the other, each taken out of its lane before
/// the next is looked for. For a search for several opens most groups: the largest entry of a lane is about as large as all
/// others together, and in 3 rows of the table, or fewer, too many groups share its cells. `wanted` searches.
LargestEntries pursue_entries(const VectorSketch& sketch, std::span<const double> floors, std::size_t wanted) {
  const SketchConfig& config = sketch.config();
  VectorSketch residual = sketch;
  const SketchOperator phi(config);
  PhiColumns columns(config);
  const auto subtract = [&](const ScanHit& hit) {
    phi.locate_all(std::span(&hit.key, 1), columns);
    for (std::uint32_t level = 0; level < config.levels; ++level) {
      for (std::uint32_t row = 0; row < config.rows_at(level); ++row) {
        const std::uint64_t cell = columns.cells[(config.rows_below(level) + row) * PhiColumns::capacity];
        residual.table()[cell + hit.lane] -= columns.signs[row * PhiColumns::capacity] * hit.value;
      }
    }
  };
  const double bar_of_lane_0 = error_bar(sketch, 0);
  LargestEntries result{.of_lane = std::vector<std::vector<ScanHit>>(config.lanes), .bars = {bar_of_lane_0}};
  for (std::size_t round = 0; round < wanted; ++round) {
    constexpr std::size_t kept = 16;
    const auto candidates = search_largest(residual, {.floors = floors, .wanted = 1, .kept = kept});
    for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
      for (const ScanHit& hit : candidates[lane]) {
        if (vote_of_rows(residual, hit.key, lane).supporting < rows_required(config.rows)) continue;
        const double scale = sketch.scale_of(hit.key, lane);
        if (is_contradicted(sketch, hit.key, hit.value / scale, error_bar(residual, lane) / scale, bar_of_lane_0))
          continue;
        result.of_lane[lane].push_back(hit);
        subtract(hit);
        break;
      }
    }
  }
  for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
    auto& found = result.of_lane[lane];
    result.bars.push_back(
        error_bar(residual, lane, static_cast<double>(found.size()) / static_cast<double>(config.buckets)));
    // What is left of an entry in its cells is its error, now that the others have gone.
    for (ScanHit& hit : found) hit.value += vote_of_rows(residual, hit.key, lane).median;
    std::ranges::stable_sort(found, std::greater(), [](const ScanHit& hit) { return std::abs(hit.value); });
  }
  return result;
}

}  // namespace

void draw_below_two(const VectorSketch& sketch, const DrawOptions& options, SampleResult& result) {
  const SketchConfig& config = sketch.config();
  const double p = config.p;
  const std::size_t entries = entries_of_lane(config);
  std::vector<double> floors(config.lanes, 0.0);
  floors[0] = std::numeric_limits<double>::infinity();
  const LargestEntries largest =
      config.levels == 1 ? search_entries(sketch, floors, entries + 1) : pursue_entries(sketch, floors, entries + 1);

  std::vector<LaneMaximum> maxima;
  std::vector<double> seconds;  // the threshold that the winner of a lane has passed
  HorvitzThompsonSum sum(p, p);
  double lanes = 0;
  for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
    const std::vector<ScanHit>& found = largest.of_lane[lane];
    const double bar_of_lane = largest.bars[lane];
    maxima.push_back(maximum_of(sketch, found));
    seconds.push_back(found.size() > 1 ? std::abs(found[1].value) : 0.0);
    if (found.empty()) continue;
    lanes += 1;
    const double tau = found.size() > entries ? std::abs(found[entries].value) : 0.0;
    for (std::size_t k = 0; k < std::min(entries, found.size()); ++k) {
      const double scale = sketch.scale_of(found[k].key, lane);
      const double scaled = found[k].value / scale, bar = bar_of_lane / scale;
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
      const double scaled = maximum.value / scale, bar = largest.bars[lane] / scale;
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
