#include "sample/fitted_candidates.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "sample/error_of_f2.hpp"

namespace weir {

namespace {

/// Those are not fitted whose lane median is below this part of the largest.
constexpr double fitted_part = 0.5;
constexpr double most_relative_variance = 0.1;
/// Share of F2 from which an entry may be set apart in the error of F2.
constexpr double large_share = 0.01;

}  // namespace

FittedCandidates::FittedCandidates(const VectorSketch& sketch, double f2)
    : sketch_(sketch), f2_(f2), fit_(sketch), phi_(sketch.config()), columns_(sketch.config()) {}

Candidate FittedCandidates::winner(std::span<const ScanHit> hits) {
  of_lane_.clear();
  for (const ScanHit& hit : hits) {
    if (std::abs(hit.value) < fitted_part * std::abs(hits.front().value)) break;
    of_lane_.push_back(candidate(hit));
  }
  Candidate winner;
  for (const Candidate& candidate : of_lane_)
    if (candidate.score > winner.score && !is_shadow(candidate)) winner = candidate;
  return winner;
}

Candidate FittedCandidates::candidate(const ScanHit& hit) {
  // Neighbouring lanes are fitted together, and come one after the other.
  if (const std::uint32_t group = lane_group(sketch_.config().lanes, hit.lane).first; group != group_) {
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

bool FittedCandidates::is_shadow(const Candidate& candidate) {
  const int support = std::popcount(candidate.supporting);
  if (support == static_cast<int>(sketch_.config().rows)) return false;
  return std::ranges::any_of(of_lane_, [&](const Candidate& other) {
    const int its_support = std::popcount(other.supporting);
    const bool is_better = its_support > support || (its_support == support && other.scale > candidate.scale);
    return other.score > candidate.score / 2 && is_better &&
           2 * std::popcount(candidate.supporting & shared_rows(candidate.key, other.key)) >= support;
  });
}

ErrorOfF2 FittedCandidates::error_of_f2() {
  const SketchConfig& config = sketch_.config();
  std::vector<double> rows = row_sums({});
  if (show_no_collision(rows)) return {};
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
  const auto buckets = static_cast<double>(config.buckets);
  const double variance = relative_variance_of_median(config.rows) * 2 * (2 * large + rest) * rest / buckets;
  // The median of one row is its mean.
  const double below_mean = config.rows > 2 ? 2 * rest * rest / buckets / 3 : 0.0;
  return {.relative = std::sqrt(variance), .bias_of_inverse = variance + below_mean};
}

std::uint32_t FittedCandidates::shared_rows(std::uint64_t a, std::uint64_t b) {
  const std::array<std::uint64_t, 2> keys{a, b};
  phi_.locate(0, keys, columns_);
  std::uint32_t shared = 0;
  for (std::uint32_t row = 0; row < sketch_.config().rows; ++row) {
    const auto* cells = columns_.cells.data() + row * PhiColumns::capacity;
    if (cells[0] == cells[1]) shared |= 1U << row;
  }
  return shared;
}

std::vector<double> FittedCandidates::row_sums(std::span<const std::uint64_t> keys) {
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

}  // namespace weir
