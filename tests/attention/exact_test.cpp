#include "weir/attention/exact.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "attention/heads.hpp"
#include "support/message_of.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::frobenius_distance;
using testing_support::gaussian;
using testing_support::largest_difference;
using testing_support::naive_attention;
using testing_support::rows_of;

// Expected outputs are those of a naive loop in long doubles. Sums of n positive terms in doubles are within n 2^-53 of
// them, and an error of a score's rounding, |score| 2^-53 d, is a relative error of its exponential.

TEST(ExactAttention, IsTheNaiveLoop) {
  const DenseMatrix q = gaussian(301, 7, 1, 1);
  const DenseMatrix k = gaussian(555, 7, 1, 2);
  const DenseMatrix v = gaussian(555, 5, 3, 3);
  EXPECT_LT(largest_difference(exact_attention(q, k, v), naive_attention(q, k, v)), 1e-13);
}

TEST(ExactAttention, IsTheNaiveLoopWhereCausalAndInAWindow) {
  const DenseMatrix q = gaussian(700, 4, 1, 4);
  const DenseMatrix k = gaussian(700, 4, 1, 5);
  const DenseMatrix v = gaussian(700, 3, 1, 6);
  EXPECT_LT(largest_difference(exact_attention(q, k, v, {.causal = true}), naive_attention(q, k, v, true)), 1e-13);
  for (const std::uint64_t window : {1U, 2U, 63U, 64U, 65U, 256U, 300U, 699U, 700U, 5000U})
    EXPECT_LT(largest_difference(exact_attention(q, k, v, {.causal = true, .window = window}),
                                 naive_attention(q, k, v, true, window)),
              1e-13)
        << window;
}

TEST(ExactAttention, LargeScoresDoNotOverflow) {
  // Scores up to some 1e5: exp() of them is far beyond doubles.
  const DenseMatrix q = gaussian(70, 5, 100, 7);
  const DenseMatrix k = gaussian(300, 5, 100, 8);
  const DenseMatrix v = gaussian(300, 4, 1, 9);
  EXPECT_LT(largest_difference(exact_attention(q, k, v), naive_attention(q, k, v)), 1e-9);
  // The largest score in the first block of keys, or in the last one; far apart, so that one key has all of the weight.
  for (const std::uint64_t key : {0U, 299U}) {
    DenseMatrix dominant = k;
    for (std::uint64_t c = 0; c < 5; ++c) dominant.values[key * 5 + c] = 1e6 * q.values[c];
    const DenseMatrix y = exact_attention(rows_of(q, 0, 1), dominant, v);
    for (std::uint64_t c = 0; c < 4; ++c) EXPECT_DOUBLE_EQ(y.values[c], v.values[key * 4 + c]);
  }
}

TEST(ExactAttention, DoesNotDependOnTheNumberOfThreads) {
  const DenseMatrix q = gaussian(1000, 6, 1, 10);
  const DenseMatrix v = gaussian(1000, 6, 1, 11);
  for (const bool causal : {false, true}) {
    const DenseMatrix one = exact_attention(q, q, v, {.causal = causal});
    for (const std::uint32_t threads : {2U, 3U, 40U})
      EXPECT_EQ(exact_attention(q, q, v, {.causal = causal, .threads = threads}), one);
  }
}

TEST(ExactAttention, PartsOverKeysMerge) {
  const DenseMatrix q = gaussian(600, 3, 2, 12);
  const DenseMatrix k = gaussian(600, 3, 2, 13);
  const DenseMatrix v = gaussian(600, 2, 1, 14);
  for (const ExactOptions options : {ExactOptions{}, {.causal = true}, {.causal = true, .window = 100}}) {
    const DenseMatrix expected = naive_attention(q, k, v, options.causal, options.window);
    std::vector<PartialAttention> parts;
    for (const auto& [first, count] : {std::pair{0U, 1U}, {1U, 349U}, {350U, 0U}, {350U, 250U}}) {
      ExactOptions of_part = options;
      of_part.first_key = first;
      parts.push_back(partial_attention(q, rows_of(k, first, count), rows_of(v, first, count), of_part));
    }
    for (const auto& order : {std::vector{0, 1, 2, 3}, {3, 1, 0, 2}, {2, 3, 1, 0}}) {
      PartialAttention sum = parts[static_cast<std::size_t>(order[0])];
      for (std::size_t t = 1; t < order.size(); ++t) merge(sum, parts[static_cast<std::size_t>(order[t])]);
      EXPECT_LT(largest_difference(finish(sum), expected), 1e-13);
    }
    // The way of a reduction: common maxima first, then plain sums.
    std::vector<double> maxima(q.rows, -std::numeric_limits<double>::infinity());
    for (const PartialAttention& part : parts)
      for (std::size_t i = 0; i < maxima.size(); ++i) maxima[i] = std::max(maxima[i], part.maxima[i]);
    PartialAttention sum = parts[0];
    rescale(sum, maxima);
    for (std::size_t t = 1; t < parts.size(); ++t) {
      rescale(parts[t], maxima);
      for (std::size_t i = 0; i < maxima.size(); ++i) sum.denominators[i] += parts[t].denominators[i];
      for (std::size_t i = 0; i < sum.numerators.values.size(); ++i)
        sum.numerators.values[i] += parts[t].numerators.values[i];
    }
    EXPECT_LT(largest_difference(finish(sum), expected), 1e-13);
  }
}

TEST(ExactAttention, QueriesMayComeInParts) {
  const DenseMatrix q = gaussian(500, 3, 1, 15);
  const DenseMatrix v = gaussian(500, 2, 1, 16);
  const DenseMatrix whole = exact_attention(q, q, v, {.causal = true, .window = 37});
  for (const auto& [first, count] : {std::pair{0U, 100U}, {100U, 333U}, {433U, 67U}})
    EXPECT_LT(largest_difference(
                  exact_attention(rows_of(q, first, count), q, v, {.causal = true, .window = 37, .first_query = first}),
                  rows_of(whole, first, count)),
              1e-13);
}

TEST(ExactAttention, EdgesAreWhatTheDefinitionSays) {
  const DenseMatrix one{1, 1, {0.7}};
  EXPECT_DOUBLE_EQ(exact_attention(one, one, DenseMatrix{1, 2, {5, -3}}).values[1], -3);
  // Equal keys, or queries that are zero: the mean of the values.
  const DenseMatrix v = gaussian(40, 1, 1, 17);
  double mean = 0;
  for (const double x : v.values) mean += x / 40;
  const DenseMatrix equal{40, 2, std::vector<double>(80, 1.5)};
  EXPECT_NEAR(exact_attention(DenseMatrix{1, 2, {3, 4}}, equal, v).values[0], mean, 1e-14);
  EXPECT_NEAR(exact_attention(DenseMatrix{1, 2, {0, 0}}, gaussian(40, 2, 1, 18), v).values[0], mean, 1e-14);
  // Constant values: that constant.
  const DenseMatrix constant{40, 1, std::vector<double>(40, -2.5)};
  EXPECT_NEAR(exact_attention(DenseMatrix{1, 2, {3, 4}}, gaussian(40, 2, 1, 19), constant).values[0], -2.5, 1e-14);
}

TEST(ExactAttention, NamesTheRowThatIsNotFinite) {
  const DenseMatrix fine = gaussian(10, 2, 1, 20);
  DenseMatrix bad = fine;
  bad.values[7] = std::nan("");
  expect_error([&] { (void)exact_attention(bad, fine, fine, {.first_query = 100}); },
               {"queries: row 103, column 1 is nan", "expected a finite number"});
  bad.values[7] = -std::numeric_limits<double>::infinity();
  expect_error([&] { (void)exact_attention(fine, bad, fine, {.first_key = 50}); }, {"keys: row 53, column 1 is -inf"});
  expect_error([&] { (void)exact_attention(fine, fine, bad); }, {"values: row 3, column 1 is -inf"});
  const DenseMatrix huge{10, 2, std::vector<double>(20, 1e200)};
  expect_error([&] { (void)exact_attention(huge, huge, fine); }, {"queries: row 0", "larger than doubles"});
}

TEST(ExactAttention, RefusesWhatDoesNotFit) {
  const DenseMatrix a = gaussian(10, 2, 1, 21);
  const DenseMatrix b = gaussian(10, 3, 1, 22);
  const DenseMatrix c = gaussian(9, 2, 1, 23);
  expect_error<UsageError>([&] { (void)exact_attention(a, b, a); }, {"k.columns", "3", "2"});
  expect_error<UsageError>([&] { (void)exact_attention(a, a, c); }, {"v.rows", "9", "10"});
  expect_error<UsageError>([&] { (void)exact_attention(a, a, a, {.window = 5}); }, {"window", "causal"});
  expect_error<UsageError>([&] { (void)exact_attention(a, a, a, {.threads = 0}); }, {"threads"});
  expect_error<UsageError>(
      [&] {
        (void)exact_attention(RowsView({a.values.data(), 3}, 2, 2), a, a);
      },
      {"values.size()"});
  expect_error<UsageError>([&] { (void)exact_attention(DenseMatrix{}, a, a); }, {"q.columns"});
  expect_error([&] { (void)exact_attention(a, a, a, {.causal = true, .first_key = 3}); }, {"query 0 sees no key"});
  PartialAttention part = partial_attention(a, a, a);
  expect_error<UsageError>([&] { rescale(part, std::vector<double>(10, -1e9)); }, {"query 0", "at least its own"});
  expect_error<UsageError>([&] { merge(part, partial_attention(c, a, a)); }, {"number of queries"});
  expect_error<UsageError>([&] { merge(part, partial_attention(a, a, b)); }, {"number of columns"});
}

}  // namespace
}  // namespace weir
