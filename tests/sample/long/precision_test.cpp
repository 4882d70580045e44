// Algorithm 2 with the shapes that are suggested for it, and more draws. Each decision is at significance 1e-5, fewer
// than 20 of them. Seeds are fixed.

#include <gtest/gtest.h>

#include <string>

#include "support/law.hpp"
#include "support/precision.hpp"
#include "weir/sample/sizing.hpp"

namespace weir {
namespace {

using testing_support::make_keys;
using testing_support::make_vector;
using testing_support::SparseVector;

/// So many draws that they tell the law of the algorithm from y^2 / F2, which it has up to a factor 1 +- 1/(2T).
TEST(LongPrecision, SuggestedBucketsKeepTheLaw) {
  for (const std::string shape : {"flat", "zipf", "heavy", "tied"}) {
    const SparseVector y = make_vector(shape, make_keys(128, [](std::uint64_t t) { return t; }));
    for (const double epsilon : {0.5, 0.2}) {
      SketchConfig config = suggest_precision_config({.dimension = 256, .epsilon = epsilon});
      config.lanes = 512;
      const PrecisionOptions options{.samples = config.lanes, .epsilon = epsilon, .constant = 1};
      const testing_support::LawCounts drawn = testing_support::count_precision_draws(
          config, options, y, testing_support::with_deletions(y, 256), epsilon > 0.3 ? 600 : 1200);
      testing_support::expect_law(
          drawn, testing_support::precision_law(y, precision_threshold(256, epsilon, options.constant)));
    }
  }
}

TEST(LongPrecision, FailuresAreAsRareAsPromised) {
  const SparseVector y = make_vector("zipf", make_keys(256, [](std::uint64_t t) { return t; }));
  for (const auto& [samples, failure] : {std::pair{8U, 0.1}, std::pair{8U, 0.01}, std::pair{20U, 0.05}}) {
    testing_support::expect_precision_failures_as_promised(
        {.dimension = 256, .samples = samples, .failure = failure, .epsilon = 0.2}, y, 3000);
  }
}

}  // namespace
}  // namespace weir
