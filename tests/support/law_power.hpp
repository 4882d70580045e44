#pragma once

// Tests of a law that are known to see small distortions. They need neither gtest nor a sampler of the library: give them
// the counts of draws from anywhere, a program or a session, and the exact probabilities.
//
// A chi-squared test over k categories looks in k - 1 directions at once, and so sees little in any of them. What a sampler
// gets wrong, if it does, is rather a whole class of items: the heavy ones, the late ones, the negative ones. So the tests
// here compare, besides, the share of the draws that falls into a half of the categories with the mass of that half, for the
// few halves of halves_of(). To reject, with probability 0.99 and at significance 1e-5, weights that are multiplied by 1.05
// on half of the mass, such a test needs draws_to_reject(0.5, 0.05, 1e-5 / 4, 0.99) = 81,200 draws; the chi-squared test with
// 128 categories needs 240,000.
//
// Where the draws that the sampler would make without noise are known, because its random numbers are, judge_matches()
// compares draw by draw, and needs 3,000 to 10,000 draws.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "support/statistics.hpp"

namespace weir::statistics {

/// z with P[N(0,1) >= z] = probability, for a probability in (0, 0.5].
[[nodiscard]] inline double normal_quantile(double probability) {
  double low = 0;
  double high = 40;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (normal_survival(middle) > probability ? low : high) = middle;
  }
  return low;
}

/// A set of the categories of a law, about half of its mass where it can be.
struct Half {
  std::string name;
  std::vector<bool> contains;  ///< By category.
  double share = 0;            ///< Of the mass.
};

/// Three halves of a law: its heaviest categories, its first ones, and every other one (in the tests of this library these
/// are the ones with positive values). Those that would hold nothing or everything are left out.
[[nodiscard]] inline std::vector<Half> halves_of(std::span<const double> law) {
  std::vector<std::size_t> in_order(law.size());
  std::iota(in_order.begin(), in_order.end(), std::size_t{0});
  std::vector<std::size_t> heaviest = in_order;
  std::ranges::stable_sort(heaviest, [&](std::size_t a, std::size_t b) { return law[a] > law[b]; });
  std::vector<Half> halves;
  const auto keep = [&](Half half) {
    for (std::size_t k = 0; k < law.size(); ++k) half.share += half.contains[k] ? law[k] : 0;
    if (half.share > 1e-3 && half.share < 1 - 1e-3) halves.push_back(std::move(half));
  };
  const auto first_of = [&](const std::vector<std::size_t>& order, const std::string& name) {
    Half half{name, std::vector<bool>(law.size()), 0};
    double mass = 0;
    for (std::size_t k = 0; k < order.size() && mass < 0.5; ++k) {
      // The category that crosses the middle goes where it leaves the halves more alike.
      if (k > 0 && mass + law[order[k]] - 0.5 > 0.5 - mass) break;
      mass += law[order[k]];
      half.contains[order[k]] = true;
    }
    return half;
  };
  keep(first_of(heaviest, "the heaviest"));
  keep(first_of(in_order, "the first"));
  Half other{"every other one", std::vector<bool>(law.size()), 0};
  for (std::size_t k = 0; k < law.size(); k += 2) other.contains[k] = true;
  keep(std::move(other));
  return halves;
}

/// The share of a half after its weights have been multiplied by 1 + distortion.
[[nodiscard]] inline double distorted_share(double share, double distortion) {
  return (1 + distortion) * share / (1 + distortion * share);
}

/// The draws with which a two-sided test, at the given significance, of the share of a half rejects with probability `power`
/// weights that are multiplied by 1 + distortion on it.
[[nodiscard]] inline double draws_to_reject(double share, double distortion, double significance, double power) {
  const double distorted = distorted_share(share, distortion);
  const double deviations = normal_quantile(significance / 2) * std::sqrt(share * (1 - share)) +
                            normal_quantile(1 - power) * std::sqrt(distorted * (1 - distorted));
  return std::pow(deviations / (distorted - share), 2);
}

/// The most significant of several tests.
struct Verdict {
  double p_value = 1;  ///< Already multiplied by the number of tests: compare it with the significance of the decision.
  std::string test;    ///< Which one.

  void consider(double p, const std::string& name) {
    if (p < p_value) *this = {p, name};
  }
};

/// Whether `counts` are of draws from `law`: Pearson's test over all categories, and the shares of the halves. A draw of a
/// category without mass gives p = 0.
[[nodiscard]] inline Verdict judge_law(std::span<const std::uint64_t> counts, std::span<const double> law) {
  const auto draws = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  const std::vector<Half> halves = halves_of(law);
  const auto tests = static_cast<double>(1 + halves.size());
  Verdict verdict;
  verdict.consider(tests * chi_squared_fit(counts, law).p_value, "chi-squared of all categories");
  for (const Half& half : halves) {
    double inside = 0;
    for (std::size_t k = 0; k < counts.size(); ++k) inside += half.contains[k] ? static_cast<double>(counts[k]) : 0;
    const double z = (inside - draws * half.share) / std::sqrt(draws * half.share * (1 - half.share));
    verdict.consider(tests * normal_p_value(z), "share of " + half.name + ": " + std::to_string(inside / draws) +
                                                    " instead of " + std::to_string(half.share));
  }
  return verdict;
}

/// A draw, and the one that the sampler would have made without noise: categories.
using Match = std::array<std::size_t, 2>;

/// Whether draws go astray from the ones without noise as often into each half of the law as out of it (McNemar's test, by
/// the exact binomial tail): see power_of_matches(). That the draws without noise have the law is another test: judge_law()
/// of them.
[[nodiscard]] inline Verdict judge_matches(std::span<const Match> matches, std::span<const double> law) {
  const std::vector<Half> halves = halves_of(law);
  Verdict verdict;
  for (const Half& half : halves) {
    std::uint64_t into = 0;
    std::uint64_t out_of = 0;
    for (const auto& [drawn, exact] : matches) {
      into += half.contains[drawn] && !half.contains[exact] ? 1U : 0U;
      out_of += !half.contains[drawn] && half.contains[exact] ? 1U : 0U;
    }
    const double p = std::min(1.0, 2 * binomial_survival(into + out_of, 0.5, std::max(into, out_of)));
    verdict.consider(static_cast<double>(halves.size()) * p, "matches of " + half.name + ": " + std::to_string(into) +
                                                                 " draws go astray into it, " + std::to_string(out_of) +
                                                                 " out of it, of " + std::to_string(matches.size()));
  }
  return verdict;
}

/// The probability with which the test of one half in judge_matches() rejects, at the given significance, weights that are
/// multiplied by 1 + distortion on a half of this share, when noise moves the share `crossing` of the draws into it or out
/// of it. The number of draws that cross is taken at its 1% quantile, so that this is a lower bound but for 0.01. Without
/// noise 2,800 draws are enough for a power of 0.99 and a distortion of 5% of half of the mass, as 20 that cross one way are.
[[nodiscard]] inline double power_of_matches(std::size_t draws, double crossing, double share, double distortion,
                                             double significance) {
  const double shift = std::abs(distorted_share(share, distortion) - share);
  const double expected = static_cast<double>(draws) * (crossing + shift);
  const auto crossings =
      static_cast<std::uint64_t>(std::max(0.0, expected - normal_quantile(0.01) * std::sqrt(expected)));
  std::uint64_t rejected = crossings / 2 + 1;
  while (rejected <= crossings && 2 * binomial_survival(crossings, 0.5, rejected) >= significance) ++rejected;
  return rejected > crossings ? 0 : binomial_survival(crossings, (crossing / 2 + shift) / (crossing + shift), rejected);
}

}  // namespace weir::statistics
