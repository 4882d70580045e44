// Causal and sliding attention against exact attention.

#include "weir/attention/causal.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "weir/attention/comparison.hpp"
#include "weir/attention/exact.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::uint64_t n = 300, d = 3, dv = 2, block = CausalAttention::block;

class Causal : public testing::Test {
 protected:
  Causal() : q_(normal(n, d, 0.6, 1)), k_(normal(n, d, 0.6, 2)), v_(normal(n, dv, 1, 3)) {}

  static DenseMatrix normal(std::uint64_t rows, std::uint64_t columns, double deviation, unsigned seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> law(0, deviation);
    DenseMatrix matrix{rows, columns, std::vector<double>(rows * columns)};
    std::ranges::generate(matrix.values, [&] { return law(random); });
    return matrix;
  }
  static std::span<const double> part(const DenseMatrix& matrix, std::uint64_t first, std::uint64_t end) {
    return std::span(matrix.values).subspan(first * matrix.columns, (end - first) * matrix.columns);
  }
  [[nodiscard]] TokenRows rows(std::uint64_t first, std::uint64_t end) const {
    end = std::max(first, end);
    return {.first = first, .keys = part(k_, first, end), .values = part(v_, first, end)};
  }
  /// With so many features that truncation is far below the rounding of floats times the number of rows.
  [[nodiscard]] AnisotropicState empty() const {
    const AnisotropicOptions options{
        .d = d, .dv = dv, .budget = 16384, .clusters = 1, .exact_rows = 8, .automatic = false};
    return AnisotropicState(AnisotropicCalibration::fit(options, q_.values, k_.values, v_.values));
  }
  void add(std::uint64_t first, std::uint64_t end, AnisotropicState& state) const {
    if (first >= end) return;
    std::vector<std::uint64_t> tokens(end - first);
    std::iota(tokens.begin(), tokens.end(), first);
    state.add({.keys = part(k_, first, end), .values = part(v_, first, end), .tokens = tokens});
  }
  /// Where a party that begins at token `first` has its state, first rows and window.
  [[nodiscard]] CausalAttention from(std::uint64_t first, const CausalOptions& options) const {
    const std::uint64_t sinks = std::min(options.sinks, first), window = std::min(options.window, first - sinks);
    AnisotropicState state = empty();
    const std::uint64_t oldest = options.sliding > 0 && first + 1 > options.sliding ? first + 1 - options.sliding : 0;
    add(std::max(sinks, oldest), first - window, state);
    return {std::move(state), options, first, rows(0, sinks), rows(first - window, first)};
  }
  /// The outputs of tokens first .. end - 1.
  [[nodiscard]] DenseMatrix run(CausalAttention attention, std::uint64_t first, std::uint64_t end) const {
    DenseMatrix outputs{end - first, dv, {}};
    for (std::uint64_t token = first; token < end; token += block) {
      const std::uint64_t next = std::min(end, token + block);
      const auto gone = attention.leaving(next - token);
      const AnisotropicAnswers answers =
          attention.answer(part(q_, token, next), part(k_, token, next), part(v_, token, next),
                           rows(gone.first, gone.first + gone.count), true);
      EXPECT_EQ(answers.errors.size(), next - token);
      outputs.values.insert(outputs.values.end(), answers.outputs.values.begin(), answers.outputs.values.end());
    }
    return outputs;
  }
  [[nodiscard]] DenseMatrix exact(std::uint64_t sliding = 0) const {
    return exact_attention(q_, k_, v_, {.causal = true, .window = sliding});
  }

  DenseMatrix q_, k_, v_;
};

TEST_F(Causal, WithAllRowsInTheWindowItIsExact) {
  const DenseMatrix outputs = run(from(0, {.window = n, .sinks = 4}), 0, n);
  // Nothing but doubles is involved.
  EXPECT_LT(compare_outputs(exact(), outputs).largest, 1e-12);
}

TEST_F(Causal, StateWindowFirstRowsAndBlockMakeUpAllRows) {
  for (const std::uint64_t window : {0U, 1U, 64U, 100U})
    for (const std::uint64_t sinks : {0U, 4U, 70U}) {
      const DenseMatrix outputs = run(from(0, {.window = window, .sinks = sinks}), 0, n);
      // A row that is counted twice, or not at all, is off by 1/300 at least.
      EXPECT_LT(compare_outputs(exact(), outputs).largest, 1e-3) << window << ", " << sinks;
    }
}

TEST_F(Causal, ASlidingWindowForgets) {
  for (const std::uint64_t sliding : {1U, 30U, 64U, 65U, 100U, 299U, 300U, 1000U})
    for (const std::uint64_t window : {0U, 20U, 64U}) {
      const DenseMatrix outputs = run(from(0, {.window = window, .sinks = 0, .sliding = sliding}), 0, n);
      EXPECT_LT(compare_outputs(exact(sliding), outputs).largest, 2e-3) << sliding << ", " << window;
    }
}

TEST_F(Causal, APartOfTheTokensCanBeWorkedOnAlone) {
  for (const CausalOptions options : {CausalOptions{.window = 64, .sinks = 4}, CausalOptions{.window = 20, .sinks = 0},
                                      CausalOptions{.window = 20, .sinks = 0, .sliding = 90}}) {
    const DenseMatrix whole = run(from(0, options), 0, n);
    for (const std::uint64_t first : {block, 3 * block}) {
      const DenseMatrix alone = run(from(first, options), first, n);
      const DenseMatrix same{n - first, dv, {part(whole, first, n).begin(), part(whole, first, n).end()}};
      // Sums of 300 floats in another order: 300 times 2^-24 at most.
      EXPECT_LT(compare_outputs(same, alone).largest, 300 * 0x1p-24) << first;
    }
  }
}

TEST_F(Causal, WhatDoesNotFitIsRefused) {
  EXPECT_THROW((void)CausalAttention(empty(), {.window = 8, .sinks = 4, .sliding = 50}, 0, {}, {}), UsageError);
  EXPECT_THROW((void)CausalAttention(empty(), {.window = 8, .sinks = 0}, 10, {}, rows(2, 10)), UsageError);
  EXPECT_THROW((void)CausalAttention(empty(), {.window = 8, .sinks = 0}, block, {}, rows(0, 8)), UsageError);
  EXPECT_THROW((void)CausalAttention(empty(), {.window = 8, .sinks = 4}, block, rows(0, 3), rows(56, 64)), UsageError);
  const CausalOptions options{.window = 8, .sinks = 0, .sliding = 30};
  CausalAttention attention = from(block, options);
  EXPECT_THROW((void)attention.answer(part(q_, 64, 65), part(k_, 64, 66), part(v_, 64, 65), {}), UsageError);
  EXPECT_THROW((void)attention.answer(part(q_, 64, 129), part(k_, 64, 129), part(v_, 64, 129), {}), UsageError);
  // Rows leave the sliding window: they are asked for.
  ASSERT_GT(attention.leaving(block).count, 0U);
  EXPECT_THROW((void)attention.answer(part(q_, 64, 128), part(k_, 64, 128), part(v_, 64, 128), {}), UsageError);
  // After a short block there is none.
  CausalAttention short_block = from(0, options);
  (void)short_block.answer(part(q_, 0, 10), part(k_, 0, 10), part(v_, 0, 10), {});
  EXPECT_THROW((void)short_block.answer(part(q_, 10, 20), part(k_, 10, 20), part(v_, 10, 20), {}), UsageError);
}

}  // namespace
}  // namespace weir
