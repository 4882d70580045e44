#include "weir/sample/sampler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "sample/power.hpp"
#include "sample/search.hpp"
#include "weir/error.hpp"

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
// are. The k largest of a wide lane have n g k^h ghosts;
// taking the largest estimate and subtracting it, again and again, removes the ghosts of an item with the item.

/// Candidates that a search keeps for each lane where one is wanted: room for ties.
constexpr std::size_t kept_for_one = 16;
/// Magnitudes below this share of the largest are rounding, not coordinates.
constexpr double relative_zero = 0x1p-34;
/// Lanes whose groups a search in lane 0 opens: enough that a group that is invisible in one shows in another.
constexpr std::size_t lanes_that_open_groups = 8;
/// Searches of what is left of a lane, at most: one is enough unless the table is far too small.
constexpr int most_rounds = 8;

/// Rows that must support a draw: one more than the majority that a median is, where there are rows to spare. Noise and
/// rounding seldom have them; a maximum of sqrt(F2) lacks them when two rows of five are off by two thirds of it, one
/// time in 200 for B = 128, n = 2^20, so that the law does not feel it.
std::uint32_t rows_required(std::uint32_t rows) noexcept { return std::min(rows, (rows + 3) / 2); }

struct LaneMaximum {
  std::uint64_t key = 0;
  double value = 0;  ///< Scaled estimate; 0 when there is none.
  std::uint32_t supporting = 0;
};

/// The largest of the candidates; of equals, the one that more rows support.
LaneMaximum maximum_of(const VectorSketch& sketch, std::span<const ScanHit> largest_first) {
  LaneMaximum best;
  for (const ScanHit& hit : largest_first) {
    if (std::abs(hit.value) < std::abs(best.value)) break;
    const RowVote vote = vote_of_rows(sketch, hit.key, hit.lane);
    if (best.value == 0 || vote.supporting > best.supporting) best = {hit.key, hit.value, vote.supporting};
  }
  return best;
}

void require_scaled_lane(const VectorSketch& sketch) {
  if (sketch.config().lanes < 2) throw UsageError("the sketch has 1 lane: draws need at least 2");
}

void require_recoverable(const VectorSketch& sketch, std::size_t count, std::string_view what) {
  if (count >= sketch.config().buckets) {
    throw UsageError(fmt::format("{} {} from a sketch of {} buckets: expected fewer than buckets", count, what,
                                 sketch.config().buckets));
  }
}

/// The acceptance test of the lanes.
class Acceptance {
 public:
  Acceptance(const SketchConfig& config, double f2, double threshold, std::span<const LaneMaximum> maxima)
      : p_(config.p), threshold_(threshold) {
    if (p_ == 2.0) {
      moment_ = f2;
      return;
    }
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
    if (p_ == 2.0) return power >= threshold_ * moment_;
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

double share(double value, double p, double moment) {
  return moment > 0 ? std::min(1.0, power_of_magnitude(value, p) / moment) : 0.0;
}

/// A coordinate of the scaled vector of a lane, recovered.
struct Recovered {
  std::uint64_t key = 0;
  double value = 0;
};

/// Takes the largest coordinates of one lane out of a copy of a sketch, one after the other (matching pursuit).
class Pursuit {
 public:
  Pursuit(const VectorSketch& sketch, std::uint32_t lane) : residual_(sketch), lane_(lane) {}

  /// The `count` largest coordinates, fewer when there are fewer, largest first.
  [[nodiscard]] std::vector<Recovered> run(std::size_t count) {
    const std::size_t target = count + count / 4 + 8;  // a margin for those whose rank the noise changes
    std::vector<double> floors(residual_.config().lanes, std::numeric_limits<double>::infinity());
    floors[lane_] = 0;
    // In a group the items of lane 0 meet with signs alone, so that two equal neighbours hide each other in every second row. In a
    // scaled lane they cannot: let such lanes open groups too. What is opened is scored for every lane.
    if (lane_ == 0 && residual_.config().levels > 1) {
      std::fill_n(floors.begin(), std::min<std::size_t>(floors.size(), lanes_that_open_groups), 0.0);
    }
    const Search search{.floors = floors, .wanted = count, .kept = 4 * count + 64};
    bool demanding = true;
    for (int round = 0; round < most_rounds && found_.size() < target; ++round) {
      const std::vector<ScanHit> candidates = std::move(search_largest(residual_, search)[lane_]);
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

 private:
  struct Estimated {
    double magnitude;
    std::uint32_t supporting;
    std::uint64_t key;
    double value;
    bool operator<(const Estimated& other) const noexcept {
      return std::tie(magnitude, supporting, other.key) < std::tie(other.magnitude, other.supporting, key);
    }
  };

  [[nodiscard]] Estimated estimate(std::uint64_t key) const {
    const RowVote vote = vote_of_rows(residual_, key, lane_);
    return {std::abs(vote.median), vote.supporting, key, vote.median};
  }

  void subtract(std::uint64_t key, double scaled) {
    const double delta = -scaled / residual_.scale_of(key, lane_);
    residual_.update(std::span(&key, 1), std::span(&delta, 1));
  }

  /// Takes the candidates down to `cutoff`, the largest of what is left first. Being demanding refuses those that too
  /// few rows support, as a sum of noise looks like them; returns whether it did.
  bool take(std::span<const ScanHit> candidates, double cutoff, bool demanding, std::size_t target) {
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

  /// Corrects each value by what the residual still shows, and sorts.
  void refine() {
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

  VectorSketch residual_;
  std::uint32_t lane_;
  std::vector<Recovered> found_;
  std::unordered_map<std::uint64_t, std::size_t> places_;  ///< Of the keys in found_.
  double largest_ = 0;
};

}  // namespace

SampleResult draw_with_replacement(const VectorSketch& sketch, const DrawOptions& options) {
  const SketchConfig& config = sketch.config();
  require_scaled_lane(sketch);
  if (!(options.threshold >= 0) || std::isinf(options.threshold)) {
    throw UsageError(fmt::format("threshold is {}: expected a finite number, 0 or more", options.threshold));
  }
  if (config.p < 2 && options.threshold > 0 && config.lanes < 3) {
    throw UsageError(fmt::format("the sketch has {} lanes: p = {} with a threshold needs at least 8, or threshold 0",
                                 config.lanes, config.p));
  }
  const double f2 = sketch.f2().value;
  SampleResult result{.norm = std::sqrt(f2), .zero_vector = sketch.is_zero(), .draws = {}, .failed = {}};
  if (result.zero_vector) return result;

  // For p = 2 the test is known beforehand, and what cannot pass it need not be looked for.
  const double floor = config.p == 2.0 ? std::sqrt(options.threshold * f2) * (1 - 1e-9) : 0.0;
  std::vector<double> floors(config.lanes, floor);
  floors[0] = std::numeric_limits<double>::infinity();
  const auto candidates = search_largest(sketch, {.floors = floors, .wanted = 1, .kept = kept_for_one});
  std::vector<LaneMaximum> maxima;
  for (std::uint32_t lane = 1; lane < config.lanes; ++lane) maxima.push_back(maximum_of(sketch, candidates[lane]));

  const Acceptance accepted(config, f2, options.threshold, maxima);
  for (std::uint32_t lane = 1; lane < config.lanes && result.draws.size() < options.samples; ++lane) {
    const LaneMaximum& maximum = maxima[lane - 1];
    if (maximum.value == 0 || f2 == 0) {
      result.failed.push_back({lane, floor > 0 ? FailReason::below_threshold : FailReason::no_candidate});
    } else if (!accepted(maximum)) {
      result.failed.push_back({lane, FailReason::below_threshold});
    } else if (options.threshold > 0 && maximum.supporting < rows_required(config.rows)) {
      result.failed.push_back({lane, FailReason::no_candidate});
    } else {
      const double value = maximum.value / sketch.scale_of(maximum.key, lane);
      result.draws.push_back({.lane = lane,
                              .index = maximum.key,
                              .value = value,
                              .probability = share(value, config.p, accepted.moment()),
                              .inclusion = std::nullopt});
    }
  }
  return result;
}

SampleResult draw_without_replacement(const VectorSketch& sketch, const DrawOptions& options) {
  const SketchConfig& config = sketch.config();
  constexpr std::uint32_t lane = 1;
  require_scaled_lane(sketch);
  require_recoverable(sketch, options.samples, "samples without replacement");
  if (config.law != ScaleLaw::exponential)
    throw UsageError("draws without replacement need the exponential law of scales");
  const double f2 = sketch.f2().value;
  SampleResult result{.norm = std::sqrt(f2), .zero_vector = sketch.is_zero(), .draws = {}, .failed = {}};
  if (result.zero_vector) return result;
  if (f2 == 0) {  // squares that underflow: no coordinate can be told from rounding
    result.failed.push_back({lane, FailReason::no_candidate});
    return result;
  }

  std::vector<Recovered> largest = Pursuit(sketch, lane).run(options.samples + std::size_t{1});
  const double tau = largest.size() > options.samples ? std::abs(largest[options.samples].value) : 0.0;
  if (largest.size() > options.samples) largest.resize(options.samples);
  if (largest.empty() && options.samples > 0) result.failed.push_back({lane, FailReason::no_candidate});
  for (const Recovered& item : largest) {
    const double value = item.value / sketch.scale_of(item.key, lane);
    const double inclusion =
        tau > 0 ? -std::expm1(-power_of_magnitude(value, config.p) / power_of_magnitude(tau, config.p)) : 1.0;
    result.draws.push_back({.lane = lane, .index = item.key, .value = value, .probability = 0, .inclusion = inclusion});
  }
  const double moment = config.p == 2.0 ? f2 : horvitz_thompson_moment(result.draws, config.p);
  for (Draw& draw : result.draws) draw.probability = share(draw.value, config.p, moment);
  return result;
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

std::vector<HeavyCoordinate> heavy_coordinates(const VectorSketch& sketch, std::size_t count) {
  count = static_cast<std::size_t>(std::min<std::uint64_t>(count, sketch.config().dimension));
  require_recoverable(sketch, count, "heavy coordinates");
  std::vector<HeavyCoordinate> heavy;
  for (const Recovered& item : Pursuit(sketch, 0).run(count)) heavy.push_back({item.key, sketch.point(item.key)});
  std::sort(heavy.begin(), heavy.end(), [](const HeavyCoordinate& a, const HeavyCoordinate& b) {
    const double x = std::abs(a.estimate.value);
    const double y = std::abs(b.estimate.value);
    return x > y || (x == y && a.index < b.index);
  });
  if (heavy.size() > count) heavy.resize(count);
  return heavy;
}

}  // namespace weir
