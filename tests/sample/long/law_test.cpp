// The law again, with the shapes of sketches that weir suggests, more draws, larger n and real data.
//
// Each decision is at significance 1e-5, fewer than 50 of them. Seeds are fixed.

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numbers>
#include <numeric>
#include <string>
#include <vector>

#include "support/law.hpp"
#include "support/statistics.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/sizing.hpp"

namespace weir {
namespace {

using testing_support::count_draws;
using testing_support::expect_law;
using testing_support::LawCounts;
using testing_support::make_keys;
using testing_support::make_vector;
using testing_support::sketch_of;
using testing_support::SparseVector;

constexpr double significance = testing_support::law_significance;

/// sum (q - P)^2 / P over the cells of a law, q the observed frequencies, less what sampling explains: an unbiased
/// estimate of the squared relative distortion, and the standard deviation that it has when there is none.
struct Distortion {
  double squared = 0;
  double deviation = 0;
};

Distortion distortion_of(const std::vector<std::uint64_t>& counts, const std::vector<double>& law) {
  const statistics::ChiSquared test = statistics::chi_squared_fit(counts, law);
  const auto draws = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  return {(test.statistic - test.degrees) / draws, std::sqrt(2 * test.degrees) / draws};
}

/// Suggested shapes keep the promise that epsilon makes: the root mean square relative distortion is below it.
TEST(LongLaw, SuggestedBucketsKeepTheDistortionBelowEpsilon) {
  for (const std::string shape : {"flat", "zipf", "heavy", "tied"}) {
    const SparseVector y = make_vector(shape, make_keys(1024, [](std::uint64_t t) { return t; }));
    for (const double p : {2.0, 1.0}) {
      const std::vector<double> law = testing_support::law_of(y, p);
      for (const double epsilon : {0.1, 0.02}) {
        SketchConfig config = suggest_config({.dimension = 1024, .epsilon = epsilon, .p = p});
        config.lanes = 16;
        // For p < 2 epsilon rules the error of probabilities as well, in larger tables and at more work for a query than the
        // law needs: there a few sketches must do.
        const LawCounts drawn = count_draws(config, y, y, config.buckets > 1024 ? 200 : 10000);
        EXPECT_EQ(drawn.strangers, 0U);
        const Distortion distortion = distortion_of(drawn.counts, law);
        EXPECT_LT(distortion.squared, epsilon * epsilon + 5 * distortion.deviation) << shape << ", p = " << p;
        EXPECT_LT(statistics::total_variation(drawn.counts, law),
                  epsilon / 2 + statistics::total_variation_bound(law, drawn.draws(), significance));
      }
    }
  }
}

/// n = 2^20 coordinates of the same size, where noise has the most keys to be mistaken for one: uniform over 64 cells
/// of keys, and values are right.
TEST(LongLaw, AMillionCoordinates) {
  constexpr std::uint64_t n = 1U << 20U;
  const SparseVector y{make_keys(n, [](std::uint64_t t) { return t; }), std::vector<double>(n, 1.0)};
  for (const std::uint32_t levels : {1U, 2U}) {
    SketchConfig config = suggest_config({.dimension = n});
    config.lanes = 16;
    config.levels = levels;
    std::vector<std::uint64_t> cells(64);
    std::uint64_t made_up = 0;
    for (std::uint64_t seed = 1; seed <= 250; ++seed) {
      config.seed = seed;
      for (const Draw& draw : draw_with_replacement(sketch_of(config, y), {.samples = 15}).draws) {
        ++cells[draw.index / (n / 64)];
        made_up += std::abs(draw.value - 1) > 0.75;
      }
    }
    const std::vector<double> uniform(64, 1.0 / 64);
    EXPECT_GT(statistics::chi_squared_fit(cells, uniform).p_value, significance);
    // At most epsilon / 10 of the draws may be made up by noise.
    const auto draws = std::accumulate(cells.begin(), cells.end(), std::uint64_t{0});
    EXPECT_GT(statistics::binomial_survival(draws, 0.01, made_up), significance) << made_up << " of " << draws;
  }
}

TEST(LongLaw, PowersOfTwoUpToTheLargestDimension) {
  const SparseVector y = make_vector("zipf", make_keys(63, [](std::uint64_t t) { return std::uint64_t{1} << t; }));
  // Of the 2^21 keys or more that are scanned for a lane, one shares cells and signs of the winner in three rows of five
  // with probability 20 (2 B)^-3 a key, 0.3 a lane for B = 256, and noise may be the fourth row that supports it: there
  // one lane of 1800 drew such a key. That is at least 8 times as rare with twice the buckets.
  const SketchConfig config{.dimension = std::uint64_t{1} << 63U, .buckets = 512, .levels = 3};
  expect_law(count_draws(config, y, y, 120), y, 2);
}

TEST(LongLaw, FailuresAreAsRareAsPromised) {
  const SparseVector y = make_vector("zipf", make_keys(256, [](std::uint64_t t) { return t; }));
  for (const auto& [failure, threshold, samples] : testing_support::tight_sizes) {
    testing_support::expect_failures_as_promised(
        {.dimension = 256, .samples = samples, .failure = failure, .threshold = threshold}, y, 10000, true);
  }
  for (const std::uint32_t samples : {4U, 8U, 30U}) {
    testing_support::expect_failures_as_promised({.dimension = 256, .samples = samples, .failure = 0.01}, y, 10000,
                                                 false);
  }
}

TEST(LongLaw, HeavyCoordinatesThatAreEqualNeighboursAmongManyKeys) {
  for (const std::uint32_t lanes : {8U, 16U}) testing_support::expect_equal_neighbours_found(40, 3, lanes);
}

/// Suggested wide tables: recall of the exact bottom-k, and Horvitz-Thompson sums, as the noise that sizing.cpp takes
/// its sizes from allows.
TEST(LongLaw, SuggestedWideTables) {
  constexpr std::uint64_t n = 1U << 16U;
  constexpr std::uint32_t samples = 32;
  constexpr std::uint64_t trials = 150;
  constexpr double epsilon = 0.05;
  for (const std::string shape : {"flat", "zipf", "heavy"}) {
    const SparseVector y = make_vector(shape, make_keys(n, [](std::uint64_t t) { return t; }));
    DenseVector dense(n);
    dense.update(y.keys, y.values);
    for (const double p : {2.0, 1.0}) {
      SketchConfig config =
          suggest_config({.dimension = n, .samples = samples, .epsilon = epsilon, .p = p, .without_replacement = true});
      std::vector<double> relative;
      std::vector<double> recalls;
      for (std::uint64_t seed = 1; seed <= trials; ++seed) {
        config.seed = seed;
        const SampleResult result = draw_without_replacement(sketch_of(config, y), {.samples = samples});
        const SampleResult exact = draw_without_replacement(dense, {.samples = samples, .p = p, .seed = seed});
        ASSERT_EQ(result.draws.size(), samples);
        const auto recalled = std::count_if(result.draws.begin(), result.draws.end(), [&](const Draw& draw) {
          return std::any_of(exact.draws.begin(), exact.draws.end(),
                             [&](const Draw& other) { return other.index == draw.index; });
        });
        recalls.push_back(static_cast<double>(recalled) / samples);
        relative.push_back(horvitz_thompson_moment(result.draws, p) / dense.moment(p) - 1);
      }
      // The magnitudes, scaled, have density k p tau^p t^(-p-1) around the last of the k. So those below it leave a
      // row with variance k tau^2 energy / B, energy = ln(n / k) for p = 2 and p / (2 - p) below; the median of five
      // has pi / 10 of it, (eta tau)^2. To first order k p E[max(0, eta N(0,1))] = k p eta / sqrt(2 pi) cross the
      // line.
      const double energy = p == 2 ? std::log(static_cast<double>(n) / samples) : p / (2 - p);
      const double inverse_load = samples / static_cast<double>(config.buckets);
      const double eta = std::sqrt(std::numbers::pi / 10 * inverse_load * energy);
      const statistics::Moments recall = statistics::moments(recalls);
      EXPECT_GT(recall.mean + 5 * recall.standard_error, 1 - p * eta / std::sqrt(2 * std::numbers::pi))
          << shape << ", p = " << p;
      // The distortion that sizing.cpp grants, m k energy / B with m = 1/2 (and energy = ln n for p = 2), is below
      // epsilon.
      const double granted = 0.5 * inverse_load * (p == 2 ? std::log(static_cast<double>(n)) : energy);
      ASSERT_LE(granted, epsilon);
      const statistics::Moments sum = statistics::moments(relative);
      EXPECT_LT(std::abs(sum.mean), granted + 5 * sum.standard_error) << shape << ", p = " << p;
    }
  }
}

// --- The dependency graph of a Linux distribution ---

struct Edges {
  std::vector<std::uint64_t> package;
  std::vector<std::uint64_t> section;
  std::vector<double> delta;
};

Edges read_dependencies() {
  const std::string path = std::string(WEIR_DEMO_DATA) + "/events.csv.gz";
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  Edges edges;
  char line[128];
  while (file != nullptr && gzgets(file.get(), line, sizeof line) != nullptr) {
    unsigned long package = 0;
    unsigned long section = 0;
    double delta = 0;
    if (std::sscanf(line, "A,%lu,%lu,%lf", &package, &section, &delta) != 3) continue;
    edges.package.push_back(package);
    edges.section.push_back(section);
    edges.delta.push_back(delta);
  }
  return edges;
}

TEST(LongLaw, DebianDependencies) {
  constexpr std::uint64_t packages = 50803;
  const Edges edges = read_dependencies();
  ASSERT_EQ(edges.delta.size(), 387564U) << "the dependency stream in " << WEIR_DEMO_DATA;
  ASSERT_EQ(std::count(edges.delta.begin(), edges.delta.end(), -1.0), 22808);

  // Everybody's interests alike, and those of someone who weighs sections differently.
  for (const bool weighted : {false, true}) {
    std::vector<double> deltas = edges.delta;
    if (weighted) {
      for (std::size_t t = 0; t < deltas.size(); ++t) deltas[t] *= static_cast<double>(1 + 7 * edges.section[t] % 10);
    }
    DenseVector dense(packages);
    dense.update(edges.package, deltas);
    if (!weighted) {
      EXPECT_EQ(dense.moment(2), 710644120);
    }
    SparseVector y;
    for (std::uint64_t i = 0; i < packages; ++i) {
      if (dense.table()[i] != 0) {
        y.keys.push_back(i);
        y.values.push_back(dense.table()[i]);
      }
    }
    for (const double p : {2.0, 1.0}) {
      SketchConfig config = suggest_config({.dimension = packages, .epsilon = 0.02, .p = p});
      config.lanes = 16;
      config.seed = 1;
      VectorSketch from_stream(config);
      VectorSketch from_vector(config);
      from_stream.update(edges.package, deltas);
      from_vector.update(y.keys, y.values);
      ASSERT_TRUE(std::equal(from_stream.table().begin(), from_stream.table().end(), from_vector.table().begin()));

      expect_law(count_draws(config, y, y, 1500), y, p);
    }
  }
}

}  // namespace
}  // namespace weir
