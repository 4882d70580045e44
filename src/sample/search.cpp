#include "sample/search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "weir/error.hpp"
#include "weir/sample/scan_team.hpp"
#include "weir/share.hpp"

namespace weir {

namespace {

// Ghosts. A key that is not in the stream meets the largest item of a lane in h = (R + 1) / 2 rows, with one relative
// sign, with probability g = 2 C(R, h) / (2B)^h: 2.5 / B^3 for R = 5. So among the n = 2^30 keys of a lane with B = 512
// there are twenty whose median estimate is a cell of that item. They do little harm to a maximum: unless something as
// large meets the ghost in yet another row (a further factor of about 1/B), its median is the least of the h cells that
// it shares with the item, and the item's own median is the least of the h largest of its R cells, hence no smaller.
// They are equal when the shared cells are those h, one time in C(R, h), and then the number of supporting rows
// decides, again in favour of the item but for a factor of about 1/B. A wrong key wins with probability about n g / B:
// 0.04 at n = 2^30, B = 512 if all keys were scored, a thousandth of that with groups, as only the members of a few
// are. The k largest of a wide lane have n g k^h ghosts; taking the largest estimate and subtracting it, again and
// again, removes the ghosts of an item with the item.

/// Keys scored in one call of the kernel: small first, so that the thresholds have risen before many hits are written.
constexpr std::uint64_t first_chunk = 256;
constexpr std::uint64_t largest_chunk = std::uint64_t{1} << 16U;

/// Standard deviations of a median of rows by which the score of a group may fall short of its best item.
constexpr double slack_deviations = 3.5;

bool larger(const ScanHit& a, const ScanHit& b) noexcept {
  const double x = std::abs(a.value);
  const double y = std::abs(b.value);
  return x > y || (x == y && a.key < b.key);
}

/// The best hits of every lane so far.
class Best {
 public:
  Best(std::span<const double> floors, std::size_t kept)
      : kept_(kept), thresholds_(floors.begin(), floors.end()), lanes_(floors.size()) {}

  /// |estimate| above which a hit can still be among the best: rises as hits come in.
  [[nodiscard]] std::span<const double> thresholds() const noexcept { return thresholds_; }

  void add(std::span<const ScanHit> hits) {
    for (const ScanHit& hit : hits) {
      auto& best = lanes_[hit.lane];
      if (!(std::abs(hit.value) > thresholds_[hit.lane])) continue;
      best.push_back(hit);
      if (best.size() >= 2 * kept_) trim(hit.lane);
    }
  }

  /// The best of `lane`, largest first.
  [[nodiscard]] const std::vector<ScanHit>& sorted(std::size_t lane) {
    if (lanes_[lane].size() > kept_) trim(lane);
    std::sort(lanes_[lane].begin(), lanes_[lane].end(), larger);
    return lanes_[lane];
  }

  /// Keeps no more than the best, and knows the least of them: what comes later is judged alike, however they came.
  void settle() {
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane)
      if (lanes_[lane].size() >= kept_) trim(lane);
  }

  /// Magnitude of the `rank`-th best of `lane` (from 1); 0 while there are fewer.
  [[nodiscard]] double magnitude(std::size_t lane, std::size_t rank) {
    auto& best = lanes_[lane];
    if (best.size() < rank) return 0;
    std::nth_element(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(rank - 1), best.end(), larger);
    return std::abs(best[rank - 1].value);
  }

 private:
  void trim(std::size_t lane) {
    auto& best = lanes_[lane];
    thresholds_[lane] = std::max(thresholds_[lane], magnitude(lane, kept_));
    best.resize(kept_);
  }

  std::size_t kept_;
  std::vector<double> thresholds_;
  std::vector<std::vector<ScanHit>> lanes_;
};

class Searcher {
 public:
  Searcher(const VectorSketch& sketch, const Search& search)
      : sketch_(sketch),
        config_(sketch.config()),
        search_(search),
        deviations_(config_.lanes),
        phi_(config_),
        columns_(config_) {
    for (std::uint32_t lane = 0; lane < config_.lanes; ++lane) {
      if (!std::isinf(search.floors[lane])) deviations_[lane] = std::sqrt(sketch.lane_f2(lane));
    }
  }

  [[nodiscard]] std::vector<std::vector<ScanHit>> run() {
    std::uint32_t level = config_.levels - 1;
    const std::vector<double> top_floors = floors_of(level);
    Best best(top_floors, search_.kept);
    scan(level, 0, config_.groups(level), best);
    while (level > 0) {
      const std::vector<double> member_floors = floors_of(level - 1);
      Best below(member_floors, search_.kept);
      open_groups(level, best, below);
      best = std::move(below);
      --level;
    }
    std::vector<std::vector<ScanHit>> result;
    for (std::uint32_t lane = 0; lane < config_.lanes; ++lane) result.push_back(best.sorted(lane));
    return result;
  }

 private:
  /// What the score of a group of `level` may lack of its best item. A cell holds besides the item what collides with
  /// its group, of variance F2 / B, and the rest of the group, of variance F2 over the number of groups where they are
  /// alike (a heavier group shows all the more). The median of the R rows of the level has a standard deviation of
  /// about sqrt(pi / 2R) times that of one (0.67 for R = 3, where this gives 0.72).
  [[nodiscard]] double slack(std::uint32_t level, std::uint32_t lane) const noexcept {
    const double rows = config_.rows_at(level);
    const double parts = 1 / static_cast<double>(config_.buckets) + 1 / static_cast<double>(config_.groups(level));
    return slack_deviations * std::min(1.0, std::sqrt(1.5708 / rows)) * deviations_[lane] * std::sqrt(parts);
  }

  [[nodiscard]] std::vector<double> floors_of(std::uint32_t level) const {
    std::vector<double> floors(search_.floors.begin(), search_.floors.end());
    for (std::uint32_t lane = 0; level > 0 && lane < config_.lanes; ++lane) {
      if (!std::isinf(floors[lane])) floors[lane] = std::max(0.0, floors[lane] - slack(level, lane));
    }
    return floors;
  }

  /// Long scans are shared with the team of the thread, where there is one. Keys come in ascending order in either case, so that
  /// of equal ones the same are kept.
  void scan(std::uint32_t level, std::uint64_t first, std::uint64_t end, Best& best) {
    const std::uint64_t count = end - first;
    if (count < 2 * least_keys_of_member) return scan_alone(level, first, end, best);
    if (ScanTeam* const team = SharedScans::team(); team == nullptr) {
      scan_alone(level, first, end, best);
    } else {
      const std::uint64_t members = std::min<std::uint64_t>(team->size(), count / least_keys_of_member);
      const std::uint64_t number = std::min<std::uint64_t>(team->number(), members);
      Best own(best.thresholds(), search_.kept);
      scan_alone(level, first + share(count, number, members),
                 first + share(count, std::min(number + 1, members), members), own);
      std::vector<ScanHit> found;
      for (std::uint32_t lane = 0; lane < config_.lanes; ++lane) {
        const std::vector<ScanHit>& of_lane = own.sorted(lane);
        found.insert(found.end(), of_lane.begin(), of_lane.end());
      }
      for (const std::vector<ScanHit>& of_member : team->exchange(name_of_scan(level, first, end), found))
        best.add(of_member);
    }
    best.settle();
  }

  /// A name for a scan, by which members notice that they have parted.
  [[nodiscard]] std::uint64_t name_of_scan(std::uint32_t level, std::uint64_t first, std::uint64_t end) {
    return ++scans_ * 0x9E37'79B9'7F4A'7C15U ^ first * 0xC2B2'AE3D'27D4'EB4FU ^ end << 3U ^ level;
  }

  void scan_alone(std::uint32_t level, std::uint64_t first, std::uint64_t end, Best& best) {
    for (std::uint64_t chunk = first_chunk; first < end; chunk = std::min(2 * chunk, largest_chunk)) {
      const std::uint64_t count = std::min(chunk, end - first);
      hits_.clear();
      sketch_.scan(level, first, count, best.thresholds(), hits_, search_.items);
      best.add(hits_);
      first += count;
    }
  }

  /// Whether a group of level 1 owes its score to items already found: others, about as large, are in its cells in a
  /// majority of the rows. A large member of its own beside them would be a coincidence. (Smaller ones may be noise of
  /// the members of groups that look like this one; they explain nothing.)
  [[nodiscard]] bool is_explained(const ScanHit& group, const std::vector<ScanHit>& found) {
    const std::uint32_t rows = config_.rows_at(1);
    std::array<bool, 15> explained{};
    std::array<std::uint64_t, PhiColumns::capacity> groups{group.key};
    std::size_t count = 1;
    for (const ScanHit& item : found) {
      if (count == groups.size() || std::abs(item.value) < 0.75 * std::abs(group.value)) break;
      groups[count++] = item.key / config_.group_size(1);
    }
    phi_.locate(1, std::span(groups).first(count), columns_);
    for (std::uint32_t row = 0; row < rows; ++row) {
      const auto cells = std::span(columns_.cells).subspan((config_.rows_below(1) + row) * PhiColumns::capacity, count);
      explained[row] = std::find(cells.begin() + 1, cells.end(), cells[0]) != cells.end();
    }
    return 2 * std::count(explained.begin(), explained.begin() + rows, true) > rows;
  }

  /// Scans the members of the best groups of `level` in rounds. In each, every lane that could still gain opens its
  /// next groups.
  void open_groups(std::uint32_t level, Best& groups, Best& members) {
    const std::uint64_t members_of_group = config_.group_size(level) / config_.group_size(level - 1);
    const std::uint64_t member_count = config_.groups(level - 1);
    const std::size_t groups_a_round = (search_.wanted + 7) / 8;
    std::vector<std::size_t> next(config_.lanes, 0);
    std::set<std::uint64_t> opened;
    std::vector<std::uint64_t> round;
    do {
      round.clear();
      for (std::uint32_t lane = 0; lane < config_.lanes; ++lane) {
        const auto& ranked = groups.sorted(lane);
        // Where the members are groups themselves, both scores are noisy.
        const double to_beat =
            members.magnitude(lane, search_.wanted) - slack(level, lane) - (level > 1 ? slack(level - 1, lane) : 0.0);
        for (std::size_t taken = 0; taken < groups_a_round && next[lane] < ranked.size(); ++next[lane]) {
          if (std::abs(ranked[next[lane]].value) < to_beat) {
            next[lane] = ranked.size();
            break;
          }
          if (level == 1 && is_explained(ranked[next[lane]], members.sorted(lane))) continue;
          if (opened.insert(ranked[next[lane]].key).second) {
            round.push_back(ranked[next[lane]].key);
            ++taken;
          }
        }
      }
      std::sort(round.begin(), round.end());
      for (const std::uint64_t group : round) {
        const std::uint64_t first = group * members_of_group;
        scan(level - 1, first, std::min(first + members_of_group, member_count), members);
      }
    } while (!round.empty());
  }

  const VectorSketch& sketch_;
  const SketchConfig& config_;
  const Search& search_;
  std::vector<double> deviations_;  // sqrt(F2) of the lanes searched
  SketchOperator phi_;
  PhiColumns columns_;  // scratch
  std::vector<ScanHit> hits_;
  std::uint64_t scans_ = 0;  // that were shared
};

}  // namespace

std::vector<std::vector<ScanHit>> search_largest(const VectorSketch& sketch, const Search& search) {
  return Searcher(sketch, search).run();
}

RowVote vote_of(std::span<double> rows) noexcept {
  RowVote vote{.median = median_of(rows), .supporting = 0};
  for (const double row : rows) vote.supporting += row * vote.median > 0 && std::abs(row) >= std::abs(vote.median) / 3;
  return vote;
}

RowVote vote_of_rows(const VectorSketch& sketch, std::uint64_t key, std::uint32_t lane) {
  std::array<double, 15> storage{};  // the most rows that a configuration may have
  const std::span<double> rows = std::span(storage).first(sketch.config().rows);
  sketch.row_estimates(key, lane, rows);
  return vote_of(rows);
}

std::uint32_t rows_required(std::uint32_t rows) noexcept { return std::min(rows, (rows + 3) / 2); }

LaneMaximum maximum_of(const VectorSketch& sketch, std::span<const ScanHit> largest_first) {
  LaneMaximum best;
  for (const ScanHit& hit : largest_first) {
    if (std::abs(hit.value) < std::abs(best.value)) break;
    const RowVote vote = vote_of_rows(sketch, hit.key, hit.lane);
    if (best.value == 0 || vote.supporting > best.supporting) best = {hit.key, hit.value, vote.supporting};
  }
  return best;
}

void require_scaled_lane(const SketchConfig& config) {
  if (config.lanes < 2) throw UsageError("the sketch has 1 lane: draws need at least 2");
}

void require_threshold(double threshold) {
  if (!(threshold >= 0) || std::isinf(threshold)) {
    throw UsageError(fmt::format("threshold is {}: expected a finite number, 0 or more", threshold));
  }
}

}  // namespace weir
