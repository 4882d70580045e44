#include "weir/setting/sizes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <tuple>

#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::expect_error;

constexpr std::uint64_t n = std::uint64_t{1} << 30;

TEST(Sizes, OfDrawsAreWhatIsSuggested) {
  for (const bool without_replacement : {false, true})
    for (const double p : {0.5, 1.0, 2.0, 4.0})
      for (const double epsilon : {0.1, 0.01}) {
        SamplingRequest suggested{.dimension = n,
                                  .samples = 20,
                                  .failure = 0.01,
                                  .epsilon = epsilon,
                                  .p = p == 4 ? 2 : p,  // of lifted rows
                                  .threshold = 2,
                                  .without_replacement = without_replacement};
        const SizeRequest request{.samples = 20,
                                  .failure = 0.01,
                                  .epsilon = epsilon,
                                  .without_replacement = without_replacement,
                                  .p = p,
                                  .threshold = 2};
        SketchConfig expected = suggest_config(suggested);
        EXPECT_EQ(vector_config(request, n), expected);
        expected.row_length = 1 << 10;
        EXPECT_EQ(matrix_config(request, 1 << 20, 1 << 10), expected);
      }
}

TEST(Sizes, OfAlgorithmTwoAreWhatIsSuggested) {
  const SizeRequest request{.samples = 3, .failure = 0.1, .precision = {{0.25, 0.5}}};
  const PrecisionRequest suggested{.dimension = 1000, .samples = 3, .failure = 0.1, .epsilon = 0.25, .constant = 0.5};
  EXPECT_EQ(vector_config(request, 1000), suggest_precision_config(suggested));
}

TEST(Sizes, OverridesTakeTheirPlace) {
  const SizeRequest request{.rows = 7,
                            .buckets = 64,
                            .lanes = 24,
                            .levels = 2,
                            .gram_buckets = 128,
                            .exact_gram = true,
                            .randomness = Randomness::kwise,
                            .seed = 5};
  for (const SketchConfig& config : {vector_config(request, n), matrix_config(request, 1 << 20, 1 << 10),
                                     rows_config(request, n, 8).sketch, pairs_config(request, n, 100).sketch}) {
    EXPECT_EQ(config.dimension, n);
    EXPECT_EQ(config.rows, 7U);
    EXPECT_EQ(config.buckets, 64U);
    EXPECT_EQ(config.lanes, 24U);
    EXPECT_EQ(config.levels, 2U);
    EXPECT_EQ(config.randomness, Randomness::kwise);
    EXPECT_EQ(config.seed, 5U);
  }
  for (const GramConfig& gram : {rows_config(request, n, 8).gram, pairs_config(request, n, 100).gram})
    EXPECT_EQ(gram, (GramConfig{.buckets = 128, .exact = true}));
  for (const SizeRequest& bad : {SizeRequest{.rows = 2}, {.buckets = 3}, {.lanes = 3}, {.levels = 4}}) {
    EXPECT_THROW(std::ignore = vector_config(bad, n), UsageError);
    EXPECT_THROW(std::ignore = matrix_config(bad, 1 << 20, 1 << 10), UsageError);
    EXPECT_THROW(std::ignore = rows_config(bad, n, 8), UsageError);
    EXPECT_THROW(std::ignore = pairs_config(bad, n, n), UsageError);
  }
}

TEST(Sizes, SketchesThatCannotBeQueriedAreRefused) {
  const std::uint64_t many = std::uint64_t{1} << 50;
  const SizeRequest request{.levels = 1};
  const auto refused = [](const auto& work) {
    expect_error<UsageError>(work, {"a query would scan more than 2^40 items"});
  };
  refused([&] { std::ignore = vector_config(request, many); });
  refused([&] { std::ignore = matrix_config(request, many / 8, 8); });
  refused([&] { std::ignore = rows_config(request, many, 8); });
  refused([&] { std::ignore = pairs_config(request, many, 5); });
  refused([&] { std::ignore = pairs_config(request, 5, many); });
  // A new sketch is refused before that: a query of it would take minutes.
  expect_error<UsageError>([&] { std::ignore = vector_config(request, std::uint64_t{1} << 37); },
                           {"a query would look at more than 2^36 items"});
  EXPECT_NO_THROW(std::ignore = vector_config(request, std::uint64_t{1} << 36));
  EXPECT_NO_THROW(std::ignore = vector_config({}, many));
}

TEST(Sizes, OfMatricesHaveRowsAsGroups) {
  // Groups of one entry, or one of all, would find nothing.
  EXPECT_EQ(matrix_config({}, 1, n).levels, 1U);
  EXPECT_EQ(matrix_config({}, n, 1).levels, 1U);
  EXPECT_EQ(matrix_config({}, 100, 100).levels, 1U);  // so few entries are looked at one by one
  EXPECT_EQ(matrix_config({}, 1 << 15, 1 << 15).levels, 2U);
  EXPECT_EQ(matrix_config({}, std::uint64_t{1} << 31, std::uint64_t{1} << 31).levels, 2U);  // never 3
  EXPECT_EQ(matrix_config({}, 30, 20).row_length, 20U);
  EXPECT_EQ(matrix_config({}, 30, 20).dimension, 600U);
  EXPECT_EQ(matrix_config({.levels = 2}, 100, 100).levels, 2U);
  EXPECT_THROW(std::ignore = matrix_config({.levels = 3}, 100, 100), UsageError);
}

TEST(Sizes, OfPairsAreWhatIsSuggested) {
  for (const bool exact : {false, true}) {
    SizeRequest request{.samples = 5, .failure = 0.02, .epsilon = 0.05, .threshold = 1.5};
    request.exact_gram = exact;
    const SamplingRequest suggested{
        .dimension = 1000, .samples = 5, .failure = 0.02, .epsilon = 0.05, .threshold = 1.5};
    const PairsConfig expected = suggest_pairs_config(suggested, n, exact), sizes = pairs_config(request, 1000, n);
    EXPECT_EQ(sizes.sketch, expected.sketch);
    EXPECT_EQ(sizes.gram.buckets, expected.gram.buckets);
    EXPECT_EQ(sizes.gram.exact, exact);
    EXPECT_EQ(sizes.sketch.dimension, 1000U);
    // Both factors are searched alike: the longer one says how.
    EXPECT_EQ(pairs_config(request, n, 1000).sketch.levels, sizes.sketch.levels);
  }
}

TEST(Sizes, OfRowsAreThoseOfDrawsAndAGramMatrix) {
  const SizeRequest request{.samples = 5, .epsilon = 0.05};
  const SamplingRequest suggested{.dimension = n, .samples = 5, .epsilon = 0.05};
  const PairsConfig sizes = rows_config(request, n, 8);
  EXPECT_EQ(sizes.sketch, suggest_config(suggested));
  EXPECT_EQ(sizes.gram, (GramConfig{.buckets = suggest_gram_buckets(0.05), .exact = false}));
  EXPECT_EQ(rows_config({.leverage = true}, n, 1000).gram.buckets, 1024U);
  EXPECT_EQ(rows_config({.leverage = true, .gram_buckets = 64}, n, 1000).gram.buckets, 64U);
}

TEST(Sizes, OfAnswersFollowFromTheErrorOfAPoint) {
  for (const double epsilon : {0.5, 0.1, 0.01}) {
    const std::uint64_t buckets = std::bit_ceil(static_cast<std::uint64_t>(std::ceil(10 / (epsilon * epsilon))));
    const SizeRequest request{.epsilon = epsilon, .for_answers = true};
    EXPECT_EQ(vector_config(request, 1000).buckets, buckets);
    EXPECT_EQ(vector_config(request, 1000).lanes, 1U);  // answers draw nothing
    EXPECT_EQ(matrix_config(request, 100, 10).buckets, buckets);
    EXPECT_EQ(matrix_config(request, 100, 10).lanes, 1U);
    // Operands are asked through their wide sketches; those that draw are small.
    for (const PairsConfig& sizes : {pairs_config(request, 100, 10), rows_config(request, 100, 8)}) {
      EXPECT_EQ(sizes.gram.buckets, std::max<std::uint64_t>(GramConfig().buckets, buckets));
      EXPECT_EQ(sizes.sketch.buckets, 2U);
      EXPECT_EQ(sizes.sketch.lanes, 1U);
    }
  }
  const SizeRequest given{.for_answers = true, .buckets = 4, .lanes = 2, .gram_buckets = 16};
  EXPECT_EQ(vector_config(given, 1000).buckets, 4U);
  EXPECT_EQ(vector_config(given, 1000).lanes, 2U);
  EXPECT_EQ(rows_config(given, 100, 8).gram.buckets, 16U);
  EXPECT_EQ(rows_config(given, 100, 8).sketch.buckets, 4U);
  EXPECT_EQ(pairs_config(given, 100, 10).sketch.lanes, 2U);
}

TEST(Sizes, TopEntriesNeedScaledLanesWhereGroupsAreSearched) {
  EXPECT_EQ(vector_config({.for_answers = true, .with_top = true}, 1000).lanes, 1U);
  EXPECT_EQ(vector_config({.for_answers = true, .with_top = true}, n).lanes, 8U);
  EXPECT_EQ(vector_config({.for_answers = true}, n).lanes, 1U);
  EXPECT_EQ(vector_config({.for_answers = true, .with_top = true, .lanes = 1}, n).lanes, 1U);
  EXPECT_EQ(matrix_config({.for_answers = true, .with_top = true}, 1 << 15, 1 << 15).lanes, 8U);
}

TEST(Sizes, MomentsNeedALaneThatDraws) {
  SizeRequest request{.epsilon = 0.1, .for_answers = true, .with_moments = true};
  const SamplingRequest draws{.dimension = n, .samples = 64, .without_replacement = true};
  EXPECT_EQ(vector_config(request, n).lanes, 8U);
  EXPECT_EQ(vector_config(request, n).buckets, std::max<std::uint64_t>(1024, suggest_config(draws).buckets));
  EXPECT_EQ(vector_config(request, n).levels, suggest_config(draws).levels);
  request.epsilon = 0.001;
  EXPECT_EQ(vector_config(request, n).buckets, std::bit_ceil(std::uint64_t{10'000'000}));
  request.buckets = 16;
  request.lanes = 2;
  EXPECT_EQ(vector_config(request, n).buckets, 16U);
  EXPECT_EQ(vector_config(request, n).lanes, 2U);
}

}  // namespace
}  // namespace weir
