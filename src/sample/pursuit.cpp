#include "sample/pursuit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <tuple>
#include <utility>

#include "weir/error.hpp"

namespace weir {

namespace {

/// Lanes whose groups a search in lane 0 opens: enough that a group that is invisible in one shows in another.
constexpr std::size_t lanes_that_open_groups = 8;
/// Searches of what is left of a lane, at most: one is enough unless the table is far too small.
constexpr int most_rounds = 8;

}  // namespace

struct Pursuit::Estimated {
  double magnitude;
  std::uint32_t supporting;
  std::uint64_t key;
  double value;
  bool operator<(const Estimated& other) const noexcept {
    return std::tie(magnitude, supporting, other.key) < std::tie(other.magnitude, other.supporting, key);
  }
};

Pursuit::Pursuit(VectorSketch sketch, std::uint32_t lane) : residual_(std::move(sketch)), lane_(lane) {}

std::vector<Recovered> Pursuit::run(std::size_t count) {
  const std::size_t target = count + count / 4 + 8;  // a margin for those whose rank the noise changes
  std::vector<double> floors(residual_.config().lanes, std::numeric_limits<double>::infinity());
  floors[lane_] = 0;
  // In a group the items of lane 0 meet with signs alone, so that two equal neighbours hide each other in every second
  // row. In a scaled lane they cannot: let such lanes open groups too. What is opened is scored for every lane.
  if (lane_ == 0 && residual_.config().levels > 1) {
    std::fill_n(floors.begin(), std::min<std::size_t>(floors.size(), lanes_that_open_groups), 0.0);
  }
  // Where every key is scored, lane 0 is scored with them.
  if (lane_ != 0 && residual_.config().levels == 1) floors[0] = 0;
  const Search search{.floors = floors, .wanted = count, .kept = 4 * count + 64};
  bool demanding = true;
  for (int round = 0; round < most_rounds && found_.size() < target; ++round) {
    const auto hits = search_largest(residual_, search);
    const std::vector<ScanHit>& candidates = hits[lane_];
    for (const ScanHit& hit : hits[lane_]) candidates_.push_back(hit.key);
    if (lane_ != 0)
      for (const ScanHit& hit : hits[0]) candidates_.push_back(hit.key);
    // Below the smallest of a full list there may be others, crowded out by ghosts that the next search no longer
    // sees.
    const bool full = candidates.size() >= search.kept;
    const std::size_t before = found_.size();
    const bool refused = take(candidates, full ? std::abs(candidates.back().value) : 0.0, demanding, target);
    if (full && found_.size() > before) continue;
    if (!refused) break;
    demanding = false;
  }
  refine();
  return std::move(found_);
}

Pursuit::Estimated Pursuit::estimate(std::uint64_t key) const {
  const RowVote vote = vote_of_rows(residual_, key, lane_);
  return {std::abs(vote.median), vote.supporting, key, vote.median};
}

void Pursuit::subtract(std::uint64_t key, double scaled) {
  const double delta = -scaled / residual_.scale_of(key, lane_);
  residual_.update(std::span(&key, 1), std::span(&delta, 1));
}

bool Pursuit::take(std::span<const ScanHit> candidates, double cutoff, bool demanding, std::size_t target) {
  const std::uint32_t required = demanding ? rows_required(residual_.config().rows) : 0;
  bool refused = false;
  std::priority_queue<Estimated> queue;
  for (const ScanHit& hit : candidates) queue.push(estimate(hit.key));
  while (!queue.empty() && found_.size() < target && queue.top().magnitude >= cutoff) {
    const std::uint64_t key = queue.top().key;
    queue.pop();
    const Estimated current = estimate(key);
    if (!(current.magnitude > relative_zero * largest_)) continue;
    if (!queue.empty() && current < queue.top()) {  // it owed its place to what has been subtracted since
      queue.push(current);
      continue;
    }
    if (current.magnitude < cutoff) continue;
    if (current.supporting < required) {
      refused = true;
      continue;
    }
    largest_ = std::max(largest_, current.magnitude);
    const auto [place, is_new] = places_.try_emplace(key, found_.size());
    if (is_new) found_.push_back({key, 0});
    found_[place->second].value += current.value;
    subtract(key, current.value);
  }
  return refused;
}

void Pursuit::refine() {
  for (int pass = 0; pass < 2; ++pass) {
    for (Recovered& item : found_) {
      const double correction = estimate(item.key).value;
      item.value += correction;
      subtract(item.key, correction);
    }
  }
  std::erase_if(found_, [&](const Recovered& item) { return !(std::abs(item.value) > relative_zero * largest_); });
  std::sort(found_.begin(), found_.end(), [](const Recovered& a, const Recovered& b) {
    return std::abs(a.value) > std::abs(b.value) || (std::abs(a.value) == std::abs(b.value) && a.key < b.key);
  });
}

void require_recoverable(const VectorSketch& sketch, std::size_t count, std::string_view what) {
  if (count >= sketch.config().buckets) {
    throw UsageError(fmt::format("{} {} from a sketch of {} buckets: expected fewer than buckets", count, what,
                                 sketch.config().buckets));
  }
}

VectorSketch sketch_of_lane(const VectorSketch& sketch, std::uint32_t lane) {
  SketchConfig config = sketch.config();
  const std::size_t lanes = config.lanes;
  config.lanes = 1;
  VectorSketch single(config);
  const auto cells = single.table();
  for (std::size_t cell = 0; cell < cells.size(); ++cell) cells[cell] = sketch.table()[cell * lanes + lane];
  return single;
}

double tail_f2(const VectorSketch& sketch, std::uint32_t lane, std::size_t count) {
  VectorSketch single = sketch_of_lane(sketch, lane);
  if (count == 0) return single.lane_f2(0);
  Pursuit pursuit(std::move(single), 0);
  const std::vector<Recovered> found = pursuit.run(count);
  double sum = pursuit.residual().lane_f2(0);
  for (std::size_t rank = count; rank < found.size(); ++rank) sum += found[rank].value * found[rank].value;
  return sum;
}

}  // namespace weir
