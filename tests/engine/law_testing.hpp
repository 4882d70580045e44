#pragma once

// Draws of sessions beside the draws that their lanes would make without noise, for expect_law() and expect_power() of
// support/law.hpp. These reject, at a significance of 1e-5 and with power 0.98, a sampler that takes half of the law for 5%
// heavier than it is; expect_power() fails where a test has too few draws for that.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/law.hpp"
#include "weir/sample/draw.hpp"

namespace weir::engine {

/// y[keys[t]] = y[t] for every key, as the law tests of sketches have it.
inline testing_support::SparseVector all_entries(std::span<const double> y) {
  testing_support::SparseVector vector{{}, {y.begin(), y.end()}};
  for (std::uint64_t i = 0; i < y.size(); ++i) vector.keys.push_back(i);
  return vector;
}

/// Counts the draws of one sketch. `category` is that of a draw, and category / width that which its lane would draw, without
/// noise, by `winners`.
template <class Category>
void count_draws_of_session(const SampleResult& result, const std::vector<std::size_t>& winners, std::size_t width,
                            const Category& category, testing_support::LawCounts& drawn) {
  for (const Draw& draw : result.draws) {
    const std::size_t at = category(draw);
    ++drawn.counts.at(at);
    drawn.matches.push_back({at / width, winners.at(draw.lane - 1)});
  }
  drawn.lanes_tried += winners.size();
}

}  // namespace weir::engine
