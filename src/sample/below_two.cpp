#include "sample/below_two.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "log_gamma.hpp"
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

/// Candidates to be kept of a lane, so that the `wanted` largest entries are among them. Keys that share 3 of 5 rows with some
/// of them, or a majority h of R, look as large if their signs agree: C(R, h) (wanted / B)^h of all keys, times 1/2 or less. They
/// may be more than the entries themselves.
std::size_t kept_of_lane(const SketchConfig& config, std::size_t wanted) {
  constexpr double most_ghosts = 4096;
  const double rows = config.rows, majority = std::floor(rows / 2) + 1;
  const double part = static_cast<double>(wanted) / static_cast<double>(config.buckets);
  const double choices = std::exp(log_gamma(rows + 1) - log_gamma(majority + 1) - log_gamma(rows - majority + 1));
  const double ghosts = static_cast<double>(config.dimension) * choices * std::pow(part, majority) / 2;
  return 3 * wanted + 16 + static_cast<std::size_t>(std::min(2 * ghosts, most_ghosts));
}

/// What is known of the largest entries of the lanes.
struct LargestEntries {
  std::vector<std::vector<ScanHit>> of_lane;  ///< Largest first; none of lane 0.
  std::vector<double> bars;                   ///< [lane]: 99% bars of the scaled values.
};

/// A key that a lane may hold, with what its cells show.
struct Candidate {
  std::uint64_t key = 0;
  RowVote vote;
  /// Whether its cells look as if they held it: the sum of their squares would fall to half, or further, if its median were
  /// taken out of them. Those of a key that shares 3 of 5 cells with a large entry do not.
  bool is_plain = false;

  [[nodiscard]] double size() const noexcept { return std::abs(vote.median); }
  bool operator<(const Candidate& other) const noexcept { return size() < other.size(); }
};

Candidate candidate_of(const VectorSketch& sketch, std::uint64_t key, std::uint32_t lane) {
  std::array<double, 15> storage{};  // the most rows that a configuration may have
  const std::span<double> rows = std::span(storage).first(sketch.config().rows);
  sketch.row_estimates(key, lane, rows);
  const RowVote vote = vote_of(rows);
  double before = 0, after = 0;
  for (const double row : rows) {
    before += row * row;
    after += (row - vote.median) * (row - vote.median);
  }
  return {key, vote, after <= before / 2};
}

/// Takes the largest entries of lanes out of a sketch, one after the other.
class PursuitOfLanes {
 public:
  explicit PursuitOfLanes(const VectorSketch& sketch)
      : sketch_(sketch),
        residual_(sketch),
        phi_(sketch.config()),
        columns_(sketch.config()),
        bar_of_lane_0_(error_bar(sketch, 0)) {}

  /// What is left of the sketch.
  [[nodiscard]] const VectorSketch& residual() const noexcept { return residual_; }
  [[nodiscard]] double bar_of_lane_0() const noexcept { return bar_of_lane_0_; }

  /// Takes the `wanted` largest of the candidates of one lane out, of those that enough rows of the table support and that lane
  /// 0 does not contradict. A candidate that may share its cells with a larger entry waits until the others have been taken.
  /// Then it may turn out to be nothing, or to be more than some of them, so that more than `wanted` are taken. Appends them to
  /// `found`.
  void take(std::uint32_t lane, std::span<const ScanHit> candidates, std::size_t wanted, std::vector<ScanHit>& found) {
    const double bar = error_bar(residual_, lane);
    std::vector<Candidate> heap, waiting;
    for (const ScanHit& hit : candidates) heap.push_back(candidate_of(residual_, hit.key, lane));
    std::make_heap(heap.begin(), heap.end());
    double smallest = 0;
    const auto try_largest = [&](bool may_wait) {
      std::pop_heap(heap.begin(), heap.end());
      // Its cells may have held an entry that has been taken since.
      const Candidate best = candidate_of(residual_, heap.back().key, lane);
      heap.pop_back();
      if (!heap.empty() && best < heap.front()) {
        heap.push_back(best);
        std::push_heap(heap.begin(), heap.end());
      } else if (may_wait && !best.is_plain) {
        waiting.push_back(best);
      } else if (is_believed(best, lane, bar)) {
        found.push_back({.key = best.key, .lane = lane, .value = best.vote.median});
        subtract(found.back());
        smallest = best.size();
        return true;
      }
      return false;
    };
    for (std::size_t taken = 0; taken < wanted && !heap.empty();) taken += try_largest(true);
    const double floor = heap.empty() ? 0 : smallest;
    heap = std::move(waiting);
    std::make_heap(heap.begin(), heap.end());
    while (!heap.empty() && heap.front().size() > floor) try_largest(false);
  }

 private:
  [[nodiscard]] bool is_believed(const Candidate& candidate, std::uint32_t lane, double bar) const {
    if (candidate.vote.supporting < rows_required(sketch_.config().rows)) return false;
    const double scale = sketch_.scale_of(candidate.key, lane);
    return !is_contradicted(sketch_, candidate.key, candidate.vote.median / scale, bar / scale, bar_of_lane_0_);
  }

  void subtract(const ScanHit& hit) {
    const SketchConfig& config = sketch_.config();
    phi_.locate_all(std::span(&hit.key, 1), columns_);
    for (std::uint32_t level = 0; level < config.levels; ++level) {
      for (std::uint32_t row = 0; row < config.rows_at(level); ++row) {
        const std::uint64_t cell = columns_.cells[(config.rows_below(level) + row) * PhiColumns::capacity];
        residual_.table()[cell + hit.lane] -= columns_.signs[row * PhiColumns::capacity] * hit.value;
      }
    }
  }

  const VectorSketch& sketch_;
  VectorSketch residual_;
  SketchOperator phi_;
  PhiColumns columns_;
  double bar_of_lane_0_;
};

/// The `wanted` largest entries of each scaled lane. With one level one search finds the candidates of all. With groups there
/// is a search for each: one for several opens most groups, as the largest entry of a lane is about as large as all others
/// together, and in 3 rows of the table, or fewer, too many groups share its cells.
LargestEntries largest_entries(const VectorSketch& sketch, std::span<const double> floors, std::size_t wanted) {
  const SketchConfig& config = sketch.config();
  constexpr std::size_t kept_of_search = 16;
  const bool has_groups = config.levels > 1;
  const std::size_t at_once = has_groups ? 1 : wanted;
  const std::size_t kept = has_groups ? kept_of_search : kept_of_lane(config, wanted);
  PursuitOfLanes pursuit(sketch);
  LargestEntries result{.of_lane = std::vector<std::vector<ScanHit>>(config.lanes), .bars = {pursuit.bar_of_lane_0()}};
  for (std::size_t taken = 0; taken < wanted; taken += at_once) {
    const auto candidates = search_largest(pursuit.residual(), {.floors = floors, .wanted = at_once, .kept = kept});
    for (std::uint32_t lane = 1; lane < config.lanes; ++lane)
      pursuit.take(lane, candidates[lane], at_once, result.of_lane[lane]);
  }
  for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
    auto& found = result.of_lane[lane];
    result.bars.push_back(
        error_bar(pursuit.residual(), lane, static_cast<double>(found.size()) / static_cast<double>(config.buckets)));
    // What is left of an entry in its cells is its error, now that the others have gone.
    for (ScanHit& hit : found) hit.value += vote_of_rows(pursuit.residual(), hit.key, lane).median;
    std::ranges::stable_sort(found, std::greater(), [](const ScanHit& hit) { return std::abs(hit.value); });
    if (found.size() > wanted) found.resize(wanted);
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
  const LargestEntries largest = largest_entries(sketch, floors, entries + 1);

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
