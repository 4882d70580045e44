#pragma once

// Vectors with a known law, streams that end in them, and counts of what sketches of those streams draw.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "support/law_power.hpp"
#include "support/statistics.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"

namespace weir::testing_support {

/// Of each decision about a law.
constexpr double law_significance = 1e-5;

/// A sparse vector: y[keys[t]] = values[t], all keys different.
struct SparseVector {
  std::vector<std::uint64_t> keys;
  std::vector<double> values;
};

/// |value|^p / sum of the |values|^p.
inline std::vector<double> law_of(const SparseVector& y, double p) {
  std::vector<double> law;
  double total = 0;
  for (const double value : y.values) {
    law.push_back(std::pow(std::abs(value), p));
    total += law.back();
  }
  for (double& probability : law) probability /= total;
  return law;
}

inline VectorSketch sketch_of(const SketchConfig& config, const SparseVector& y) {
  VectorSketch sketch(config);
  sketch.update(y.keys, y.values);
  return sketch;
}

/// Values of `shape` ("flat", "zipf", "heavy", "tied") for the given keys, with alternating signs, integers.
inline SparseVector make_vector(const std::string& shape, std::vector<std::uint64_t> keys) {
  SparseVector y{std::move(keys), {}};
  const auto count = static_cast<double>(y.keys.size());
  for (std::size_t t = 0; t < y.keys.size(); ++t) {
    const auto rank = static_cast<double>(t);
    double value = 10;                                                          // flat
    if (shape == "zipf") value = std::round(5000 / (rank + 1));                 //
    if (shape == "heavy" && t == 0) value = std::round(10 * std::sqrt(count));  // half of the mass for p = 2
    if (shape == "tied" && t < 2) value = t == 0 ? 300 : 303;  // two alike, 2% apart in probability, far above the rest
    y.values.push_back(t % 2 == 0 ? value : -value);
  }
  return y;
}

inline std::vector<std::uint64_t> make_keys(std::size_t count, const std::function<std::uint64_t(std::uint64_t)>& key) {
  std::vector<std::uint64_t> keys(count);
  for (std::size_t t = 0; t < count; ++t) keys[t] = key(t);
  return keys;
}

/// `count` different keys below 2^bits, in random order.
inline std::vector<std::uint64_t> random_keys(std::size_t count, std::uint32_t bits) {
  const WordFunction words(Randomness::mix, 20261122, Purpose::draw, 7, 2);
  std::vector<std::uint64_t> keys;
  for (std::uint64_t t = 0; keys.size() < count; ++t) {
    const std::uint64_t key = words(t) >> (64 - bits);
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  }
  return keys;
}

/// A turnstile stream that ends in `y`: each coordinate goes too far and comes back, and as many other keys again come
/// and go.
inline SparseVector with_deletions(const SparseVector& y, std::uint64_t dimension) {
  SparseVector updates;
  const auto push = [&](std::uint64_t key, double delta) {
    updates.keys.push_back(key);
    updates.values.push_back(delta);
  };
  for (std::size_t t = 0; t < y.keys.size(); ++t) {
    push(y.keys[t], 3 * y.values[t] + 1);
    push((y.keys[t] + dimension / 2 + 1) % dimension, 1000);
  }
  for (std::size_t t = y.keys.size(); t-- > 0;) {
    push((y.keys[t] + dimension / 2 + 1) % dimension, -1000);
    push(y.keys[t], -2 * y.values[t] - 1);
  }
  return updates;
}

struct LawCounts {
  std::vector<std::uint64_t> counts;  ///< By position in the vector's keys.
  std::uint64_t strangers = 0;        ///< Draws of keys that are not in the vector.
  std::uint64_t lanes_tried = 0;
  std::vector<std::vector<std::int64_t>> lane_draws;  ///< [trial][lane - 1]: position drawn, -1 for none.
  /// Each draw beside the position that its lane would have drawn without noise, where that is known.
  std::vector<statistics::Match> matches;
  std::vector<double> law_of_matches;  ///< Where they are matched by something else than the position.

  [[nodiscard]] std::uint64_t draws() const {
    std::uint64_t sum = strangers;
    for (const std::uint64_t count : counts) sum += count;
    return sum;
  }
};

/// The position that each of the lanes 1 .. L-1 of a sketch of y draws where nothing collides: that of the largest |value|
/// times its scale.
inline std::vector<std::size_t> exact_winners(const SketchConfig& config, const SparseVector& y) {
  const ScaleFunction scales(config.randomness, config.seed, config.independence, config.law, config.p, config.lanes);
  std::vector<float> of_keys((y.keys.size() + 7) / 8 * 8 * config.lanes);
  scales.fill(y.keys, 0, config.lanes, of_keys);
  std::vector<std::size_t> winners(config.lanes - 1);
  std::vector<double> largest(config.lanes);
  for (std::size_t t = 0; t < y.keys.size(); ++t) {
    for (std::size_t lane = 1; lane < config.lanes; ++lane) {
      const double scaled = std::abs(y.values[t]) * static_cast<double>(of_keys[t * config.lanes + lane]);
      if (scaled > largest[lane]) {
        largest[lane] = scaled;
        winners[lane - 1] = t;
      }
    }
  }
  return winners;
}

/// Draws of `sampler`, a function of a sketch, from `trials` sketches with the seeds first_seed, first_seed + 1, ...
template <class Sampler>
LawCounts count_draws_of(const Sampler& sampler, SketchConfig config, const SparseVector& y,
                         const SparseVector& updates, std::uint64_t trials, std::uint64_t first_seed = 1) {
  std::unordered_map<std::uint64_t, std::size_t> position;
  for (std::size_t t = 0; t < y.keys.size(); ++t) position[y.keys[t]] = t;
  LawCounts result;
  result.counts.resize(y.keys.size());
  for (std::uint64_t trial = 0; trial < trials; ++trial) {
    config.seed = first_seed + trial;
    VectorSketch sketch(config);
    sketch.update(updates.keys, updates.values);
    const std::vector<std::size_t> winners = exact_winners(config, y);
    auto& row = result.lane_draws.emplace_back(config.lanes - 1, -1);
    for (const Draw& draw : sampler(sketch).draws) {
      const auto found = position.find(draw.index);
      if (found == position.end()) {
        ++result.strangers;
      } else {
        ++result.counts[found->second];
        row[draw.lane - 1] = static_cast<std::int64_t>(found->second);
        result.matches.push_back({found->second, winners[draw.lane - 1]});
      }
    }
    result.lanes_tried += config.lanes - 1;
  }
  return result;
}

/// `y` with the weights of the positions of a half, the |values|^p, multiplied by `factor`: what a sampler that is wrong
/// about that half takes y for.
inline SparseVector distorted(SparseVector y, const statistics::Half& half, double factor, double p) {
  for (std::size_t t = 0; t < y.values.size(); ++t) {
    if (half.contains[t]) y.values[t] *= std::pow(factor, 1 / p);
  }
  return y;
}

/// Draws with replacement, the same way.
inline LawCounts count_draws(const SketchConfig& config, const SparseVector& y, const SparseVector& updates,
                             std::uint64_t trials, double threshold = 1.0, std::uint64_t first_seed = 1) {
  const auto sampler = [&](const VectorSketch& sketch) {
    return draw_with_replacement(sketch, {.samples = config.lanes, .threshold = threshold});
  };
  return count_draws_of(sampler, config, y, updates, trials, first_seed);
}

/// No draw is of a key outside the vector, the others have the `law`, and they go astray from the draws without noise, where
/// these are known, in no direction.
inline void expect_law(const LawCounts& drawn, const std::vector<double>& law) {
  EXPECT_EQ(drawn.strangers, 0U);
  ASSERT_GT(drawn.draws(), 900U);
  const statistics::Verdict of_counts = statistics::judge_law(drawn.counts, law);
  EXPECT_GT(of_counts.p_value, law_significance) << of_counts.test;
  if (!drawn.matches.empty()) {
    const statistics::Verdict of_matches =
        statistics::judge_matches(drawn.matches, drawn.law_of_matches.empty() ? law : drawn.law_of_matches);
    EXPECT_GT(of_matches.p_value, law_significance) << of_matches.test;
  }
  EXPECT_LT(statistics::total_variation(drawn.counts, law),
            statistics::total_variation_bound(law, drawn.draws(), law_significance));
}

/// There are so many draws that expect_law() rejects, with probability 0.98 at least, a sampler which multiplies the weights
/// of a half of the law by 1.05, where a half holds 0.3 to 0.7 of the mass.
inline void expect_power(const LawCounts& drawn, const std::vector<double>& law) {
  const std::vector<statistics::Half> halves =
      statistics::halves_of(drawn.law_of_matches.empty() ? law : drawn.law_of_matches);
  for (const statistics::Half& half : halves) {
    if (half.share < 0.3 || half.share > 0.7) continue;
    const auto crossings = std::ranges::count_if(drawn.matches, [&](const statistics::Match& match) {
      return half.contains[match[0]] != half.contains[match[1]];
    });
    const double crossing = static_cast<double>(crossings) / static_cast<double>(drawn.matches.size());
    EXPECT_GE(statistics::power_of_matches(drawn.matches.size(), crossing, half.share, 0.05,
                                           law_significance / static_cast<double>(halves.size())),
              0.99)
        << half.name << ", share " << half.share << ": " << drawn.matches.size() << " draws, of which " << crossing
        << " cross";
  }
}

inline void expect_law(const LawCounts& drawn, const SparseVector& y, double p) { expect_law(drawn, law_of(y, p)); }

/// Draws of a pair of lanes of the same sketch are independent: contingency tables of (first position, second one, the
/// rest, no draw), for each pair of lanes and for all pairs together.
inline void expect_independent_lanes(const LawCounts& drawn, bool lanes_may_fail) {
  const auto category = [](std::int64_t position) -> std::size_t {
    return position < 0 ? 3 : static_cast<std::size_t>(std::min<std::int64_t>(position, 2));
  };
  constexpr std::size_t categories = 4;
  const double degrees = lanes_may_fail ? 9 : 4;
  const auto lanes = drawn.lane_draws.front().size();
  std::vector<double> statistics_of_pairs;
  double smallest = 1;
  for (std::size_t a = 0; a < lanes; ++a) {
    for (std::size_t b = a + 1; b < lanes; ++b) {
      std::vector<std::uint64_t> table(categories * categories);
      for (const auto& row : drawn.lane_draws) ++table[category(row[a]) * categories + category(row[b])];
      const statistics::ChiSquared test = statistics::chi_squared_independence(table, categories);
      ASSERT_EQ(test.degrees, degrees);
      statistics_of_pairs.push_back(test.statistic);
      smallest = std::min(smallest, test.p_value);
    }
  }
  const auto pairs = static_cast<double>(statistics_of_pairs.size());
  EXPECT_GT(smallest, law_significance / pairs);
  // The statistics of different pairs are uncorrelated under independence: their sum has mean `degrees` a pair,
  // variance twice that.
  const double sum = std::accumulate(statistics_of_pairs.begin(), statistics_of_pairs.end(), 0.0);
  EXPECT_LT((sum - degrees * pairs) / std::sqrt(2 * degrees * pairs), 6.0);
}

/// The suggested sketch for `request` gives fewer draws than asked for, in `trials` sketches of `y`, not significantly
/// more often than request.failure. With `two_sided` it also does not do so significantly less often than half of the
/// binomial tail, which is what independent lanes (p = 2) that accept with probability 1 - exp(-1/T) fail with.
inline void expect_failures_as_promised(const SamplingRequest& request, const SparseVector& y, std::uint64_t trials,
                                        bool two_sided) {
  SketchConfig config = suggest_config(request);
  std::uint64_t failed = 0;
  for (std::uint64_t seed = 1; seed <= trials; ++seed) {
    config.seed = seed;
    failed += draw_with_replacement(sketch_of(config, y), {.samples = request.samples, .threshold = request.threshold})
                  .draws.size() < request.samples;
  }
  const auto observed = [&] {
    return ::testing::Message() << failed << " of " << trials << " for " << request.samples << " samples, "
                                << config.lanes << " lanes, p = " << request.p << ", T = " << request.threshold;
  };
  EXPECT_GT(statistics::binomial_survival(trials, request.failure, failed), law_significance) << observed();
  if (two_sided) {
    const double accept = -std::expm1(-1 / request.threshold);
    const double tail = 1 - statistics::binomial_survival(config.lanes - 1, accept, request.samples);
    EXPECT_GT(tail, 0.6 * request.failure) << "not a size where the promise is nearly used up";
    EXPECT_GT(1 - statistics::binomial_survival(trials, tail / 2, failed + 1), law_significance) << observed();
  }
}

/// A number of samples for which the rounding of the lanes to a multiple of eight leaves little of the promise unused.
struct TightSize {
  double failure;
  double threshold;
  std::uint32_t samples;
};
// Binomial tails: 0.0855, 0.0834, 0.0806, 0.0970, 0.0949; 0.0083, 0.0067, 0.0066.
constexpr TightSize tight_sizes[] = {{0.1, 1, 21}, {0.1, 1, 35},   {0.1, 0.5, 18}, {0.1, 3, 1},
                                     {0.1, 5, 8},  {0.01, 0.5, 4}, {0.01, 3, 1},   {0.01, 5, 8}};

/// A pair and four neighbours, all equal, far above 2000 random keys. In the groups of lane 0 they cancel: the pair in
/// half of the rows, hence in three rows of five in every second sketch. In a scaled lane the pair shows with at least
/// V |s - s'|, s = E^(-1/2). The density of s, 2 s^-3 exp(-1 / s^2), is at most 0.82 (at s^2 = 2/3), and so is that of
/// any sum of such with signs: |s +- ...| <= d with probability at most 1.64 d, and in three rows of five with at most
/// 5/3 of that (Markov). V = 2^17 and d = 3 * 512 / V leave room for a competing group of size 512, with 512 of noise
/// on either: probability 1.64 d * 5/3 = 0.03. A small key reaches 512 with probability 2000 / 512^2 = 0.008; where
/// none does, the noise of a cell has variance 2000 ln(512^2) / 4096 < 7, and three rows of 512 do not happen. With the
/// collisions of the six with each other (a key hits three of their cells with one sign with probability 10 (6/4096)^3
/// / 4 = 8e-9, and less than 2e7 keys are scored: 0.2, but two such keys are needed to hide a group: 0.02) a lane
/// misses with less than 0.06, and all seven of the lanes that open groups with 3e-9: in 40 sketches not one may.
inline void expect_equal_neighbours_found(std::uint32_t bits, std::uint32_t levels, std::uint32_t lanes) {
  constexpr double large = 0x1p17;
  SparseVector y{random_keys(2000, bits), std::vector<double>(2000, 1.0)};
  std::set<std::uint64_t> expected;
  for (const std::uint64_t key : {0x5A5A5A0U, 0x5A5A5A1U, 0x9C3D2C4U, 0x9C3D2C5U, 0x9C3D2C6U, 0x9C3D2C7U}) {
    expected.insert(key);
    y.keys.push_back(key);
    y.values.push_back(large);
  }
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const VectorSketch sketch = sketch_of(
        {.dimension = std::uint64_t{1} << bits, .buckets = 4096, .lanes = lanes, .levels = levels, .seed = seed}, y);
    std::set<std::uint64_t> found;
    for (const HeavyCoordinate& heavy : heavy_coordinates(sketch, expected.size())) found.insert(heavy.index);
    EXPECT_EQ(found, expected) << bits << " bits, " << levels << " levels, " << lanes << " lanes, seed " << seed;
  }
}

}  // namespace weir::testing_support
