#pragma once

// Vectors with a known law, streams that end in them, and counts of what sketches of those streams draw.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "weir/random/source.hpp"
#include "weir/sample/sampler.hpp"

namespace weir::testing_support {

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

  [[nodiscard]] std::uint64_t draws() const {
    std::uint64_t sum = strangers;
    for (const std::uint64_t count : counts) sum += count;
    return sum;
  }
};

/// Draws with replacement from `trials` sketches with the seeds first_seed, first_seed + 1, ...
inline LawCounts count_draws(SketchConfig config, const SparseVector& y, const SparseVector& updates,
                             std::uint64_t trials, double threshold = 1.0, std::uint64_t first_seed = 1) {
  std::unordered_map<std::uint64_t, std::size_t> position;
  for (std::size_t t = 0; t < y.keys.size(); ++t) position[y.keys[t]] = t;
  LawCounts result;
  result.counts.resize(y.keys.size());
  for (std::uint64_t trial = 0; trial < trials; ++trial) {
    config.seed = first_seed + trial;
    VectorSketch sketch(config);
    sketch.update(updates.keys, updates.values);
    auto& row = result.lane_draws.emplace_back(config.lanes - 1, -1);
    for (const Draw& draw : draw_with_replacement(sketch, {.samples = config.lanes, .threshold = threshold}).draws) {
      const auto found = position.find(draw.index);
      if (found == position.end()) {
        ++result.strangers;
      } else {
        ++result.counts[found->second];
        row[draw.lane - 1] = static_cast<std::int64_t>(found->second);
      }
    }
    result.lanes_tried += config.lanes - 1;
  }
  return result;
}

}  // namespace weir::testing_support
