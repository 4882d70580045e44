#include "weir/attention/recovery.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "attention/heads.hpp"
#include "support/message_of.hpp"
#include "weir/attention/ams.hpp"
#include "weir/attention/comparison.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::frobenius_distance;
using testing_support::gaussian;
using testing_support::rows_of;

constexpr std::uint64_t no_limit = std::uint64_t{1} << 40U;

std::vector<std::uint64_t> numbers(std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> out(count);
  std::iota(out.begin(), out.end(), first);
  return out;
}

OutputSketch sketch_of(const DenseMatrix& outputs, const Phi& phi) {
  OutputSketch sketch(phi, outputs.columns);
  sketch.add(numbers(0, outputs.rows), outputs);
  return sketch;
}

/// Noise with 32 large entries in each column, in rows of its own.
DenseMatrix planted(std::uint64_t rows, std::uint64_t columns, std::uint64_t k, std::uint64_t seed) {
  DenseMatrix outputs = gaussian(rows, columns, 0.05, seed);
  for (std::uint64_t c = 0; c < columns; ++c)
    for (std::uint64_t t = 0; t < k; ++t)
      outputs.values[((t * 97 + c * 1009) % rows) * columns + c] +=
          (t % 2 == 0 ? 1 : -1) * (1 + static_cast<double>(t) / 8);
  return outputs;
}

TEST(Phi, HasTheMomentsOfACountSketch) {
  // With one row, sign * cell is an estimate of T_i with mean T_i and variance (|T|^2 - T_i^2) / B.
  const DenseMatrix t = gaussian(60, 1, 1, 1);
  double squares = 0;
  for (const double x : t.values) squares += x * x;
  constexpr int seeds = 20000;
  double sum = 0;
  double variance = 0;
  const double expected = (squares - t.values[7] * t.values[7]) / 16;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const Phi phi(60, 1, 16, seed);
    const DenseMatrix all = to_dense(recovery_candidates(sketch_of(t, phi), {.k = 60}));
    sum += all.values[7] / seeds;
    variance += std::pow(all.values[7] - t.values[7], 2) / seeds;
  }
  EXPECT_NEAR(sum, t.values[7], 4.5 * std::sqrt(expected / seeds));
  EXPECT_NEAR(variance / expected, 1, 4.5 * std::sqrt(20.0 / seeds));  // kurtosis below 20
}

TEST(Recovery, OfPlantedEntriesIsNearlyTheBest) {
  // B = 1024, k = 32. The estimates of the k entries that are kept have variance about .31 |tail|^2 / B each (a median
  // of 5), so that the squared error is 1 + 32 * .31 / 1024 times the best one: 1.005 in the norm. 1.02 is promised.
  constexpr std::uint64_t k = 32;
  for (const std::uint64_t seed : {2U, 3U, 4U, 5U, 6U}) {
    const DenseMatrix outputs = planted(20000, 4, k, seed);
    const SparseOutputs sparse = recover(sketch_of(outputs, Phi(20000, 5, 1024, seed)), {.k = k});
    const DenseMatrix dense = to_dense(sparse);
    const std::vector<double> best = best_sparse_errors(outputs, k);
    const std::vector<double> errors = column_errors(outputs, dense);
    for (std::size_t c = 0; c < 4; ++c) {
      EXPECT_EQ(sparse.columns[c].size(), k);
      EXPECT_GE(errors[c], best[c]);
      EXPECT_LT(errors[c], 1.02 * best[c]);
    }
  }
}

TEST(Recovery, OfPlantedAttentionIsNearlyTheBest) {
  // The whole way: 32 of 4,096 queries look at the one key with a large value. d = 8, g = 6, B = 1024.
  constexpr std::uint64_t n = 4096;
  constexpr std::uint64_t d = 8;
  DenseMatrix q = gaussian(n, d, 0.2, 7);
  DenseMatrix keys = gaussian(n, d, 0.2, 8);
  DenseMatrix v = gaussian(n, 2, 1, 9);
  for (std::uint64_t t = 0; t < 32; ++t) q.values[(t * 101 + 5) * d] += 2.5;
  keys.values[1234 * d] += 2;
  v.values[2 * 1234] = 300;
  v.values[2 * 1234 + 1] = -200;
  const PolynomialConfig config{.dimension = d, .degree = 6};
  PolynomialState state(config, 2, no_limit);
  state.add(keys, v);
  const DenseMatrix outputs = state.answer(q);
  PolynomialFeatures features(config);
  OutputSketch z(Phi(n, 5, 1024, 10), 2);
  add_collapsed(z, features, state.sums(), q, numbers(0, n));
  for (const bool by_rows : {false, true}) {
    const DenseMatrix dense = to_dense(recover(z, {.k = 32, .by_rows = by_rows}));
    for (std::size_t c = 0; c < 2; ++c)
      EXPECT_LT(column_errors(outputs, dense)[c], 1.02 * best_sparse_errors(outputs, 32)[c]);
  }
}

TEST(Recovery, ByRowsNeedsFewerBucketsWhereColumnsShareRows) {
  // 32 rows are large in all of 16 columns, and too faint for one column alone: each is about 2 standard deviations of
  // its estimates.
  const std::uint64_t n = 4096;
  DenseMatrix outputs = gaussian(n, 16, 1, 11);
  for (std::uint64_t t = 0; t < 32; ++t)
    for (std::uint64_t c = 0; c < 16; ++c) outputs.values[(t * 111 + 3) * 16 + c] += 6;
  const OutputSketch sketch = sketch_of(outputs, Phi(n, 5, 256, 12));
  const auto hits = [&](bool by_rows) {
    std::uint64_t found = 0;
    for (const auto& column : recover(sketch, {.k = 32, .by_rows = by_rows}).columns)
      for (const SparseEntry& entry : column) found += entry.row % 111 == 3 ? 1 : 0;
    return static_cast<double>(found) / (32 * 16);
  };
  EXPECT_GT(hits(true), 0.9);
  EXPECT_LT(hits(false), 0.75);
  const SparseOutputs rows = recover(sketch, {.k = 32, .by_rows = true});
  for (const auto& column : rows.columns)
    for (std::size_t t = 0; t < 32; ++t) EXPECT_EQ(column[t].row, rows.columns[0][t].row);
}

TEST(Recovery, MeanIsTakenOutAndAddedBack) {
  // Outputs near a mean of 5 are not sparse; less their mean they are.
  DenseMatrix outputs = planted(5000, 3, 20, 13);
  const DenseMatrix plain = outputs;
  for (double& x : outputs.values) x += 5;
  const OutputSketch sketch = sketch_of(outputs, Phi(5000, 5, 1024, 14));
  const double corrected = frobenius_distance(to_dense(recover(sketch, {.k = 20, .mean_corrected = true})), outputs);
  // What is left is nearly the best 20-sparse error of the outputs without the mean: relative to 5 in every entry.
  double size = 0;
  double size_of_plain = 0;
  for (std::size_t t = 0; t < plain.values.size(); ++t) {
    size += outputs.values[t] * outputs.values[t];
    size_of_plain += plain.values[t] * plain.values[t];
  }
  const double best = best_sparse_error(plain, 20) * std::sqrt(size_of_plain / size);
  EXPECT_LT(corrected, 1.03 * best);
  EXPECT_GT(frobenius_distance(to_dense(recover(sketch, {.k = 20})), outputs), 0.9);
}

TEST(Recovery, SharesOfRowsMerge) {
  const DenseMatrix outputs = planted(3000, 3, 10, 15);
  const OutputSketch sketch = sketch_of(outputs, Phi(3000, 3, 128, 16));
  for (const bool by_rows : {false, true}) {
    const RecoveryOptions options{.k = 25, .by_rows = by_rows, .mean_corrected = true};
    const SparseOutputs whole = recover(sketch, options);
    std::vector<SparseOutputs> parts;
    for (const auto& [first, count] : {std::pair{0U, 10U}, {10U, 1990U}, {2000U, 0U}, {2000U, 100000U}}) {
      RecoveryOptions of_part = options;
      of_part.first_row = first;
      of_part.row_count = count;
      parts.push_back(recovery_candidates(sketch, of_part));
    }
    const SparseOutputs merged =
        refine_candidates(sketch,
                          merge_candidates(merge_candidates(parts[3], parts[0], options),
                                           merge_candidates(parts[2], parts[1], options), options),
                          options);
    EXPECT_EQ(merged.mean, whole.mean);
    EXPECT_EQ(merged.columns, whole.columns);
  }
}

TEST(Recovery, LinearAndExactWhereFewRowsAreNonZero) {
  // Three rows in 1,024 buckets of 5 rows: medians are exact unless two of three collide in 3 of 5 rows.
  const Phi phi(1000000, 5, 1024, 17);
  OutputSketch sketch(phi, 2);
  const DenseMatrix outputs{3, 2, {1, -2, 3, 4, 0.5, 8}};
  const std::vector<std::uint64_t> rows{999999, 0, 31337};
  sketch.add(rows, outputs);
  sketch.add(std::vector<std::uint64_t>{5, 6}, DenseMatrix{2, 2, {9, 9, 9, 9}});
  sketch.add(std::vector<std::uint64_t>{6, 5}, DenseMatrix{2, 2, {9, 9, 9, 9}}, -1);
  const SparseOutputs sparse = recover(sketch, {.k = 3});
  EXPECT_EQ(sparse.columns[0], (std::vector<SparseEntry>{{0, 3}, {31337, 0.5}, {999999, 1}}));
  EXPECT_EQ(sparse.columns[1], (std::vector<SparseEntry>{{0, 4}, {31337, 8}, {999999, -2}}));
  EXPECT_EQ(recover(sketch, {.k = 1}).columns[0], (std::vector<SparseEntry>{{0, 3}}));
  // k > n, n = 1, and nothing at all: ties go to the smaller rows.
  OutputSketch small(Phi(1, 1, 2, 18), 1);
  small.add(std::vector<std::uint64_t>{0}, DenseMatrix{1, 1, {7}});
  EXPECT_EQ(to_dense(recover(small, {.k = 100})).values, std::vector<double>{7});
  EXPECT_EQ(recover(OutputSketch(Phi(50, 3, 8, 19), 1), {.k = 2}).columns[0],
            (std::vector<SparseEntry>{{0, 0}, {1, 0}}));
}

TEST(Recovery, OfMoreEntriesThanBucketsDoesNotGrow) {
  // Nothing can be recovered from 3 rows of 16 buckets for 500 entries. What comes out is no larger than what the
  // estimates are: their variance is |T|^2 / B each, so that all 500 together are sqrt(500 / 16) = 5.6 times as large
  // as T.
  const DenseMatrix outputs = gaussian(500, 2, 1, 21);
  for (const std::uint64_t k : {10U, 100U, 500U}) {
    const DenseMatrix dense = to_dense(recover(sketch_of(outputs, Phi(500, 3, 16, 22)), {.k = k}));
    EXPECT_LT(frobenius_distance(dense, outputs), 6.6);
  }
}

TEST(LargestOutputs, AreTheBestSparseApproximation) {
  // Their error is that of the best approximation, which is worked out in another way; parts of the rows add.
  const DenseMatrix outputs = planted(700, 3, 20, 23);
  for (const bool by_rows : {false, true})
    for (const std::uint64_t k : {1U, 20U, 700U, 1000U}) {
      const RecoveryOptions options{.k = k, .by_rows = by_rows};
      LargestOutputs largest(700, 3, options);
      LargestOutputs others(700, 3, options);
      others.add(numbers(0, 250), rows_of(outputs, 0, 250));
      largest.add(numbers(250, 450), rows_of(outputs, 250, 450));
      largest.add(others.outputs());
      const DenseMatrix dense = to_dense(largest.outputs());
      const double best = by_rows ? best_rows_error(outputs, k) : best_sparse_error(outputs, k);
      EXPECT_NEAR(frobenius_distance(dense, outputs), best, 1e-12);
    }
  LargestOutputs largest(700, 3, {.k = 1});
  expect_error<UsageError>([&] { largest.add(numbers(700, 1), rows_of(outputs, 0, 1)); }, {"a row"});
  expect_error<UsageError>([] { (void)LargestOutputs(1, 1, {.k = 0}); }, {"k"});
}

TEST(Recovery, SizesAreTheFormulas) {
  EXPECT_EQ(phi_size(0.125, 32, 4096).buckets, 1024U);  // 4 * 32 / .125
  EXPECT_EQ(phi_size(0.1, 32, 4096).buckets, 2048U);
  EXPECT_EQ(phi_size(100, 1, 10).buckets, 8U);
  EXPECT_EQ(phi_size(1, 32, 4096).buckets, 256U);
  EXPECT_EQ(phi_size(1, 1, 1000).rows, 5U);
  EXPECT_EQ(phi_size(1, 1, std::uint64_t{1} << 40U).rows, 11U);  // 40 / 4 = 10, made odd
  EXPECT_EQ(phi_size(1, 1, std::uint64_t{1} << 63U).rows, 15U);
  expect_error<UsageError>([] { (void)phi_size(0, 1, 10); }, {"eps1 is 0"});
  expect_error<UsageError>([] { (void)phi_size(1e-9, 32, 10); }, {"2^32"});
  expect_error<UsageError>([] { (void)phi_size(1, 0, 10); }, {"k"});
}

TEST(Recovery, RefusesWhatCannotBe) {
  const Phi phi(100, 3, 8, 20);
  expect_error<UsageError>([&] { (void)OutputSketch(phi, 2, 24 * 3 * 4 - 1); }, {"24 x 3", "287 bytes"});
  expect_error<UsageError>([&] { (void)OutputSketch(phi, 0); }, {"columns"});
  expect_error<UsageError>([] { (void)Phi(100, 4, 8, 0); }, {"rows"});
  expect_error<UsageError>([] { (void)Phi(100, 3, 9, 0); }, {"buckets"});
  OutputSketch sketch(phi, 1);
  expect_error<UsageError>([&] { (void)recover(sketch, {.k = 0}); }, {"k"});
  expect_error<UsageError>([&] { (void)recover(sketch, {.k = 1, .first_row = 101}); }, {"first_row"});
  expect_error<UsageError>([&] { sketch.add(std::vector<std::uint64_t>{100}, DenseMatrix{1, 1, {1}}); }, {"a row"});
  expect_error<UsageError>(
      [&] {
        sketch.add(std::vector<std::uint64_t>{1}, DenseMatrix{2, 1, {1, 2}});
      },
      {"rows.size()"});
  expect_error(
      [&] {
        sketch.add(std::vector<std::uint64_t>{42}, DenseMatrix{1, 1, {std::nan("")}});
      },
      {"outputs: row 42, column 0 is nan"});
}

}  // namespace
}  // namespace weir
