#include "sample/fitted_draws.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sample/error_of_f2.hpp"
#include "sample/joint_fit.hpp"
#include "sample/power.hpp"
#include "sample/search.hpp"

namespace weir {

namespace {

/// Candidates of a lane: fits are costly, and an entry that is the largest of a lane is seldom far down its list.
constexpr std::size_t fitted_a_lane = 16;
/// Nor are those fitted whose lane median is below this part of the largest.
constexpr double fitted_part = 0.5;
/// Lane medians down to this part of the threshold may belong to entries that pass the test.
constexpr double candidate_floor = 0.85;
constexpr double most_relative_variance = 0.1;
/// Standard errors of the fit of a winner that hold its error with probability 0.99, with the bias of a winner.
constexpr double errors_of_value = 3;
/// Share of F2 from which an entry may be set apart in the error of F2.
constexpr double large_share = 0.01;

/// A candidate of a lane.
struct Candidate {
  std::uint64_t key = 0;
  FittedEntry entry;
  double scale = 0;              ///< In the lane.
  double relative_variance = 0;  ///< r^2
  double score = 0;              ///< |w|
  std::uint32_t supporting = 0;  ///< The set of table rows whose cell has the sign of w and a third of its magnitude.
};

class Candidates {
 public:
  Candidates(const VectorSketch& sketch, double f2)
      : sketch_(sketch), f2_(f2), fit_(sketch), phi_(sketch.config()), columns_(sketch.config()) {}

  [[nodiscard]] Candidate candidate(const ScanHit& hit) {
    // Neighbouring lanes are fitted together, and come one after the other.
    if (const std::uint32_t group = fit_.first_of_group(hit.lane); group != group_) {
      group_ = group;
      fits_.clear();
    }
    const auto [place, is_new] = fits_.try_emplace(hit.key);
    const FittedEntry& entry = place->second;
    if (is_new) {
      place->second = fit_(hit.key, hit.lane);
      const double share = entry.value * entry.value / f2_;
      if (share >= large_share && entry.standard_error < std::abs(entry.value) / 4) large_shares_[hit.key] = share;
    }
    Candidate result{.key = hit.key, .entry = entry};
    if (entry.value == 0) return result;
    const double r = entry.standard_error / entry.value;
    result.relative_variance = std::min(most_relative_variance, r * r);
    result.scale = sketch_.scale_of(hit.key, hit.lane);
    const double w = entry.value * result.scale;
    result.score = std::abs(w) * (1 - 1.5 * result.relative_variance);
    phi_.locate(0, std::span(&hit.key, 1), columns_);
    for (std::uint32_t row = 0; row < sketch_.config().rows; ++row) {
      const std::size_t at = row * PhiColumns::capacity;
      const double cell = columns_.signs[at] * sketch_.items()[columns_.cells[at] + hit.lane];
      if (cell * w > 0 && std::abs(cell) >= std::abs(w) / 3) result.supporting |= 1U << row;
    }
    return result;
  }

  /// Whether a candidate looks like a large entry because it shares cells with another, larger than half of it, which has
  /// more support. Of equal support the one of the larger scale is believed: the scale of the true one is large because it
  /// is the maximum of the lane, and that of a shadow is that of any key.
  [[nodiscard]] bool is_shadow(const Candidate& candidate, std::span<const Candidate> others) {
    const int support = std::popcount(candidate.supporting);
    if (support == static_cast<int>(sketch_.config().rows)) return false;
    return std::ranges::any_of(others, [&](const Candidate& other) {
      const int its_support = std::popcount(other.supporting);
      const bool is_better = its_support > support || (its_support == support && other.scale > candidate.scale);
      return other.score > candidate.score / 2 && is_better &&
             2 * std::popcount(candidate.supporting & shared_rows(candidate.key, other.key)) >= support;
    });
  }

  /// Relative standard error of F2, a median of rows. A row has the variance 2 (F2^2 - F4) / B, F4 the sum of y_i^4: an
  /// entry adds what it has with others. Of the largest, so few that two of them seldom meet, only what they have with the
  /// rest counts, as a median does not feel what happens in one row of five. They are taken from the fits, the rest from
  /// the cells without them.
  [[nodiscard]] double error_of_f2() {
    const SketchConfig& config = sketch_.config();
    std::vector<double> rows = row_sums({});
    if (show_no_collision(rows)) return 0;
    std::vector<std::pair<double, std::uint64_t>> entries;
    for (const auto& [key, share] : large_shares_) entries.emplace_back(-share, key);
    std::ranges::sort(entries);
    std::vector<std::uint64_t> keys;
    double large = 0;
    for (const auto& [negative_share, key] : entries) {
      if (static_cast<double>(keys.size() * (keys.size() + 1)) > 0.2 * static_cast<double>(config.buckets)) break;
      keys.push_back(key);
      large -= negative_share;
    }
    rows = row_sums(keys);
    const double rest = median_of(rows) / f2_;
    return std::sqrt(relative_variance_of_median(config.rows) * 2 * (2 * large + rest) * rest /
                     static_cast<double>(config.buckets));
  }

 private:
  [[nodiscard]] std::uint32_t shared_rows(std::uint64_t a, std::uint64_t b) {
    const std::array<std::uint64_t, 2> keys{a, b};
    phi_.locate(0, keys, columns_);
    std::uint32_t shared = 0;
    for (std::uint32_t row = 0; row < sketch_.config().rows; ++row) {
      const auto* cells = columns_.cells.data() + row * PhiColumns::capacity;
      if (cells[0] == cells[1]) shared |= 1U << row;
    }
    return shared;
  }

  /// F2 without `keys` by each row of the table, from the cells in which they are not.
  [[nodiscard]] std::vector<double> row_sums(std::span<const std::uint64_t> keys) {
    const SketchConfig& config = sketch_.config();
    const std::size_t row_size = config.buckets * config.lanes;
    std::vector<std::size_t> taken;
    phi_.locate(0, keys, columns_);
    std::vector<double> sums;
    for (std::uint32_t row = 0; row < config.rows; ++row) {
      const auto* cells = columns_.cells.data() + row * PhiColumns::capacity;
      taken.assign(cells, cells + keys.size());
      std::ranges::sort(taken);
      taken.erase(std::unique(taken.begin(), taken.end()), taken.end());
      double sum = 0;
      for (std::size_t cell = row * row_size; cell < (row + 1) * row_size; cell += config.lanes) {
        if (!std::ranges::binary_search(taken, cell)) sum += sketch_.items()[cell] * sketch_.items()[cell];
      }
      const auto left = static_cast<double>(config.buckets) - static_cast<double>(taken.size());
      sums.push_back(left > 0 ? sum * static_cast<double>(config.buckets) / left : 0.0);
    }
    return sums;
  }

  const VectorSketch& sketch_;
  double f2_;
  JointFit fit_;
  SketchOperator phi_;
  PhiColumns columns_;  // scratch
  std::uint32_t group_ = 0;
  std::unordered_map<std::uint64_t, FittedEntry> fits_;     // of the group
  std::unordered_map<std::uint64_t, double> large_shares_;  // of F2, of candidates of all groups
};

Draw draw_of(const Candidate& winner, std::uint32_t lane, double f2, double error_of_f2) {
  Draw draw;
  draw.lane = lane;
  draw.index = winner.key;
  draw.value = winner.entry.value * (1 - 3 * winner.relative_variance);
  draw.probability = std::min(1.0, share_of_moment(draw.value, 2, f2) * (1 - winner.relative_variance));
  draw.value_bound = errors_of_value * winner.entry.standard_error;
  const double of_value = *draw.value_bound / std::abs(draw.value);
  const double bound = draw.probability * std::hypot((2 + of_value) * of_value, errors_of_f2 * error_of_f2);
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
  Candidates candidates(sketch, f2);
  std::vector<Candidate> of_lane, winners;
  for (std::uint32_t lane = 1; lane < config.lanes; ++lane) {
    of_lane.clear();
    for (const ScanHit& hit : found[lane]) {
      if (std::abs(hit.value) < fitted_part * std::abs(found[lane].front().value)) break;
      of_lane.push_back(candidates.candidate(hit));
    }
    Candidate winner;
    for (const Candidate& candidate : of_lane)
      if (candidate.score > winner.score && !candidates.is_shadow(candidate, of_lane)) winner = candidate;
    winners.push_back(winner);
  }
  const double error = candidates.error_of_f2();
  result.mass = {f2, errors_of_f2 * error * f2};
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
