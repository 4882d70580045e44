#include "weir/sample/heavy_entries.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>
#include <vector>

#include "support/bounds.hpp"
#include "support/message_of.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::message_of;

/// Of a test that fails though all is well.
constexpr double significance = 1e-4;

constexpr std::size_t n1 = 700;
constexpr std::size_t n2 = 500;
constexpr std::size_t d1 = 5;
constexpr std::size_t d2 = 7;

double small_integer(std::uint64_t seed) { return static_cast<double>(finalise(seed) % 7) - 3; }

TensorSketchConfig config_for(std::uint64_t buckets, std::uint32_t sparsity, std::uint64_t seed) {
  TensorSketchConfig config{.dimensions = {n1, n2}, .rows = 5};
  config.buckets = buckets;
  config.sparsity = sparsity;
  config.seed = seed;
  return config;
}

/// Operands of which most rows are small, and y.
struct Tensor {
  std::vector<double> a1, a2, x;

  explicit Tensor(std::uint64_t seed, double noise = 1.0) {
    for (std::size_t t = 0; t < n1 * d1; ++t) a1.push_back(noise * small_integer(seed + t));
    for (std::size_t t = 0; t < n2 * d2; ++t) a2.push_back(noise * small_integer(seed + 10000 + t));
    for (std::size_t t = 0; t < d1 * d2; ++t) x.push_back(small_integer(seed + 20000 + t));
  }

  void plant(std::size_t i1, std::size_t i2, double size) {
    for (std::size_t j = 0; j < d1; ++j) a1[i1 * d1 + j] *= size;
    for (std::size_t j = 0; j < d2; ++j) a2[i2 * d2 + j] *= size;
  }

  /// A1 X A2^T, n1 x n2.
  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> out(n1 * n2);
    for (std::size_t i = 0; i < n1; ++i) {
      std::vector<double> row(d2);
      for (std::size_t j = 0; j < d1; ++j) {
        for (std::size_t k = 0; k < d2; ++k) row[k] += a1[i * d1 + j] * x[j * d2 + k];
      }
      for (std::size_t l = 0; l < n2; ++l) {
        for (std::size_t k = 0; k < d2; ++k) out[i * n2 + l] += row[k] * a2[l * d2 + k];
      }
    }
    return out;
  }

  [[nodiscard]] TensorSketch sketch(const TensorSketchConfig& config) const {
    TensorSketch out(config, std::vector<std::uint64_t>{d1, d2});
    const auto add = [&](std::size_t q, std::size_t n, const std::vector<double>& values) {
      std::vector<std::uint64_t> rows(n);
      std::iota(rows.begin(), rows.end(), std::uint64_t{0});
      out.update_rows(q, rows, std::vector<double>(n, 1.0), values);
    };
    add(0, n1, a1);
    add(1, n2, a2);
    out.core = x;
    return out;
  }
};

double square_sum(std::span<const double> y) { return std::inner_product(y.begin(), y.end(), y.begin(), 0.0); }

/// The positions of the largest |entries|, largest first.
std::vector<std::size_t> largest_of(std::span<const double> y, std::size_t count) {
  std::vector<std::size_t> order(y.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return std::abs(y[a]) > std::abs(y[b]); });
  order.resize(count);
  return order;
}

TEST(HeavyEntries, AreFoundInOrder) {
  Tensor tensor(1);
  tensor.plant(17, 401, 9);
  tensor.plant(650, 3, 7);
  tensor.plant(0, 499, 5);
  const std::vector<double> y = tensor.y();
  const std::vector<std::size_t> largest = largest_of(y, 4);
  for (const std::uint32_t sparsity : {1U, 2U, 3U}) {
    const HeavyEntries found = heavy_entries(tensor.sketch(config_for(4096, sparsity, 3)), 4);
    ASSERT_EQ(found.entries.size(), 4U);
    for (std::size_t k = 0; k < 4; ++k) {
      const HeavyEntry& entry = found.entries[k];
      EXPECT_EQ(entry.index * n2 + entry.column, largest[k]) << k;
      EXPECT_NEAR(entry.estimate.value, y[largest[k]], entry.estimate.bound);
      // The bound that the norms themselves give; their estimates are within 10% at 4096 buckets.
      double line = 0;
      for (std::size_t i = 0; i < n1; ++i) line += std::pow(y[i * n2 + entry.column], 2);
      for (std::size_t l = 0; l < n2; ++l) line += std::pow(y[entry.index * n2 + l], 2);
      const double bound = median_deviations(5) * std::sqrt((line / 4096 + square_sum(y) / (4096 * 4096)) / sparsity);
      EXPECT_NEAR(entry.estimate.bound, bound, 0.2 * bound);
    }
    EXPECT_NEAR(found.f2, square_sum(y), 0.07 * square_sum(y));  // 5 deviations sqrt(4 / (R B))
  }
}

TEST(HeavyEntries, BoundsAndCompletenessHold) {
  // A bound is broken with probability 0.01 at most: of 300 more than 13 are with probability 1.2e-5. An entry above
  // complete_above is missed with probability 0.02: of 60 or more, over all seeds, none but few may be.
  int entries = 0;
  int broken = 0;
  int heavy = 0;
  int missed = 0;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Tensor tensor(100 + seed);
    for (std::size_t k = 0; k < 3; ++k) tensor.plant((seed * 31 + k * 101) % n1, (seed * 17 + k * 57) % n2, 20);
    const std::vector<double> y = tensor.y();
    const std::size_t candidates = 40;
    const HeavyEntries found =
        heavy_entries(tensor.sketch(config_for(1024, 1, seed)), candidates * candidates, candidates);
    ASSERT_LE(found.entries.size(), candidates * candidates);
    std::set<std::size_t> considered;
    for (const HeavyEntry& entry : found.entries) considered.insert(entry.index * n2 + entry.column);
    for (std::size_t k = 0; k < 10; ++k) {
      const HeavyEntry& entry = found.entries[k];
      ++entries;
      if (std::abs(entry.estimate.value - y[entry.index * n2 + entry.column]) > entry.estimate.bound) ++broken;
    }
    EXPECT_GT(found.complete_above, 0);
    // The first norm that is no candidate's, and the deviations that both it and one that is overlooked may have.
    std::vector<double> row_squares(n1), column_squares(n2);
    for (std::size_t t = 0; t < y.size(); ++t) {
      row_squares[t / n2] += y[t] * y[t];
      column_squares[t % n2] += y[t] * y[t];
    }
    std::ranges::sort(row_squares, std::greater());
    std::ranges::sort(column_squares, std::greater());
    const double deviations = std::sqrt(10.0 * square_sum(y) / 1024);
    EXPECT_LE(found.complete_above,
              std::sqrt(std::max(row_squares[candidates], column_squares[candidates])) + 2 * deviations);
    EXPECT_GE(found.complete_above, deviations);
    for (std::size_t t = 0; t < y.size(); ++t) {
      if (std::abs(y[t]) <= found.complete_above) continue;
      ++heavy;
      if (!considered.contains(t)) ++missed;
    }
  }
  EXPECT_EQ(entries, 300);
  EXPECT_LE(broken, 13);
  EXPECT_GE(heavy, 60);
  EXPECT_LE(missed, heavy / 20);
}

TEST(HeavyEntries, AreBetterEstimatedThanByTheImage) {
  // Of an entry in a row and a column of little mass: the estimate from the rows errs by less than half of what the
  // image does, in the mean over seeds.
  Tensor tensor(5);
  tensor.plant(17, 401, 4);
  const std::vector<double> y = tensor.y();
  const std::size_t place = largest_of(y, 1).front();
  double by_rows = 0;
  double by_image = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const TensorSketch sketch = tensor.sketch(config_for(2048, 1, seed));
    const HeavyEntries found = heavy_entries(sketch, 1000);
    const auto entry = std::find_if(found.entries.begin(), found.entries.end(),
                                    [&](const HeavyEntry& one) { return one.index * n2 + one.column == place; });
    ASSERT_NE(entry, found.entries.end());
    const double truth = y[place];
    by_rows += std::pow(entry->estimate.value - truth, 2);
    const std::vector<std::uint64_t> indices{place / n2, place % n2};
    by_image += std::pow(sketch.image().point(indices).value - truth, 2);
  }
  EXPECT_LT(by_rows, by_image / 4);
}

TEST(HeavyEntries, DoNotIncludeWhatWasDeleted) {
  Tensor tensor(7);
  const Tensor before = tensor;
  tensor.plant(30, 40, 30);
  TensorSketch sketch = tensor.sketch(config_for(2048, 1, 2));
  EXPECT_EQ(heavy_entries(sketch, 1).entries.front().index, 30U);
  const auto change = [&](std::size_t q, std::uint64_t row, std::size_t d, const std::vector<double>& from,
                          const std::vector<double>& to) {
    std::vector<double> difference(d);
    for (std::size_t j = 0; j < d; ++j) difference[j] = to[row * d + j] - from[row * d + j];
    sketch.update_rows(q, std::vector<std::uint64_t>{row}, std::vector<double>{1.0}, difference);
  };
  change(0, 30, d1, tensor.a1, before.a1);
  change(1, 40, d2, tensor.a2, before.a2);
  const HeavyEntries left = heavy_entries(sketch, 3);
  const HeavyEntries expected = heavy_entries(before.sketch(config_for(2048, 1, 2)), 3);
  for (std::size_t k = 0; k < 3; ++k) {
    EXPECT_EQ(left.entries[k].index, expected.entries[k].index);
    EXPECT_EQ(left.entries[k].column, expected.entries[k].column);
    EXPECT_EQ(left.entries[k].estimate.value, expected.entries[k].estimate.value);
  }
}

TEST(HeavyEntries, OfATensorWithFewEntriesAreAllOfThem) {
  // In 2^14 buckets six rows do not collide in three of five repetitions.
  TensorSketchConfig config{.dimensions = {1000, 50}, .rows = 5, .buckets = 1U << 14U, .seed = 1};
  TensorSketch sketch(config, std::vector<std::uint64_t>{1, 1});
  sketch.core = {2.0};
  sketch.update(0, std::vector<std::uint64_t>{5, 999, 20}, std::vector<std::uint64_t>{0, 0, 0},
                std::vector<double>{3, -1, 10});
  sketch.update(1, std::vector<std::uint64_t>{49, 0}, std::vector<std::uint64_t>{0, 0}, std::vector<double>{1, 4});
  const HeavyEntries found = heavy_entries(sketch, 100);
  EXPECT_EQ(found.complete_above, 0);
  ASSERT_EQ(found.entries.size(), 6U);
  const std::vector<std::vector<double>> expected = {{20, 0, 80},  {5, 0, 24}, {20, 49, 20},
                                                     {999, 0, -8}, {5, 49, 6}, {999, 49, -2}};
  for (std::size_t k = 0; k < 6; ++k) {
    EXPECT_EQ(static_cast<double>(found.entries[k].index), expected[k][0]);
    EXPECT_EQ(static_cast<double>(found.entries[k].column), expected[k][1]);
    EXPECT_DOUBLE_EQ(found.entries[k].estimate.value, expected[k][2]);
  }
}

TEST(HeavyEntries, OfZeroAreNone) {
  TensorSketch sketch(config_for(64, 1, 1), std::vector<std::uint64_t>{d1, d2});
  EXPECT_TRUE(heavy_entries(sketch, 5).entries.empty());
  sketch = Tensor(1).sketch(config_for(64, 1, 1));
  std::fill(sketch.core.begin(), sketch.core.end(), 0.0);
  const HeavyEntries none = heavy_entries(sketch, 5);
  EXPECT_TRUE(none.entries.empty());
  EXPECT_EQ(none.f2, 0);
  EXPECT_EQ(none.complete_above, 0);
}

TEST(HeavyEntries, SayWhatIsWrong) {
  const auto why = [](const std::vector<std::uint64_t>& dimensions, std::size_t count, std::size_t candidates) {
    const TensorSketchConfig config{.dimensions = dimensions, .rows = 3, .buckets = 16};
    const TensorSketch sketch(config, std::vector<std::uint64_t>(dimensions.size(), 2));
    return message_of<UsageError>([&] { (void)heavy_entries(sketch, count, candidates); });
  };
  EXPECT_EQ(why({4, 5, 6}, 1, 1), "a tensor of 3 factors: expected 2, of a matrix y");
  EXPECT_EQ(why({4}, 1, 1), "a tensor of 1 factors: expected 2, of a matrix y");
  EXPECT_EQ(why({4, (std::uint64_t{1} << 32U) + 1}, 1, 1),
            "heavy entries look at every row of the factors: 4294967297 are more than 2^32");
  EXPECT_EQ(why({4, 5}, 0, 1), "0 heavy entries: expected at least 1");
  EXPECT_EQ(why({4, 5}, 1, 0), "0 candidates for heavy entries: expected 1 to 8192");
  EXPECT_EQ(why({4, 5}, 1, 8193), "8193 candidates for heavy entries: expected 1 to 8192");
}

TEST(EstimateEntries, AreThoseOfTheHeavyOnes) {
  for (const std::uint32_t sparsity : {1U, 3U}) {
    Tensor tensor(77);
    tensor.plant(30, 40, 25);
    const TensorSketch sketch = tensor.sketch(config_for(512, sparsity, 5));
    const HeavyEntries heavy = heavy_entries(sketch, 20);
    std::vector<std::array<std::uint64_t, 2>> places;
    for (const HeavyEntry& entry : heavy.entries) places.push_back({entry.index, entry.column});
    const std::vector<Estimate> same = estimate_entries(sketch, places);
    ASSERT_EQ(same.size(), heavy.entries.size());
    for (std::size_t t = 0; t < same.size(); ++t) {
      const Estimate& expected = heavy.entries[t].estimate;
      EXPECT_NEAR(same[t].value, expected.value, 1e-9 * std::abs(expected.value));
      EXPECT_NEAR(same[t].bound, expected.bound, 1e-9 * expected.bound);
    }
  }
}

// A bound holds with probability 0.99 at least, over the choice of the hash functions. So one entry for each seed, as those
// of one sketch stray together.
TEST(EstimateEntries, KeepTheirBounds) {
  constexpr std::uint64_t trials = 1000;
  Tensor tensor(77);
  tensor.plant(30, 40, 25);
  const std::vector<double> y = tensor.y();
  for (const std::uint32_t sparsity : {1U, 3U}) {
    std::uint64_t astray = 0;
    testing_support::BoundTrials heavy_row;
    testing_support::BoundTrials other_rows;
    for (std::uint64_t t = 0; t < trials; ++t) {
      // Every other one is in the row that holds most of y.
      const std::uint64_t i1 = t % 2 == 0 ? 30 : finalise(t) % n1;
      const std::uint64_t i2 = finalise(t + 5000) % n2;
      const TensorSketch sketch = tensor.sketch(config_for(64, sparsity, t));
      const Estimate estimate = estimate_entries(sketch, std::vector<std::array<std::uint64_t, 2>>{{i1, i2}}).front();
      astray += std::abs(estimate.value - y[i1 * n2 + i2]) > estimate.bound ? 1U : 0U;
      (t % 2 == 0 ? heavy_row : other_rows).add(estimate, y[i1 * n2 + i2]);
    }
    EXPECT_GT(statistics::binomial_survival(trials, 0.01, astray), significance) << astray << " of " << trials;
    // Wider than of a vector: the variance that is allowed is that of a row and a column whose other entries all leak in.
    heavy_row.expect(2.5, 6, "heavy row");
    other_rows.expect(2.5, 6, "other rows");
  }
}

TEST(EstimateEntries, RefusesEntriesThatAreNotThere) {
  const TensorSketch sketch = Tensor(3).sketch(config_for(64, 1, 1));
  using Places = std::vector<std::array<std::uint64_t, 2>>;
  EXPECT_NE(message_of<UsageError>([&] {
              (void)estimate_entries(sketch, Places{{0, 0}, {n1, 0}});
            }).find("(700, 0)"),
            std::string::npos);
  EXPECT_NE(message_of<UsageError>([&] {
              (void)estimate_entries(sketch, Places{{0, n2}});
            }).find("(0, 500)"),
            std::string::npos);
}

TEST(HeavyEntries, OfAnOverflowAreRefused) {
  TensorSketch sketch(config_for(64, 1, 1), std::vector<std::uint64_t>{1, 1});
  const std::vector<std::uint64_t> row{3};
  const std::vector<double> once{1};
  for (std::size_t q = 0; q < 2; ++q) sketch.update_rows(q, row, once, std::vector<double>{1e80});
  sketch.core = {1};
  EXPECT_EQ(message_of<InputError>([&] { (void)heavy_entries(sketch, 1); }),
            "||y||^2 overflows a double; scale the values down");
}

TEST(HeavyEntries, OfAZeroFactorAreKnownAtOnce) {
  // All 2^32 rows would be scanned otherwise, for minutes.
  const TensorSketchConfig config{.dimensions = {longest_scanned_factor, longest_scanned_factor}, .buckets = 16};
  for (const bool first_is_zero : {true, false}) {
    TensorSketch sketch(config, std::vector<std::uint64_t>{2, 2});
    sketch.core = {1, 2, 3, 4};
    const std::vector<std::uint64_t> rows{5, 1000};
    sketch.update_rows(first_is_zero ? 1 : 0, rows, std::vector<double>{1, 1}, std::vector<double>{1, 2, 3, 4});
    const HeavyEntries none = heavy_entries(sketch, 5);
    EXPECT_TRUE(none.entries.empty());
    EXPECT_EQ(none.f2, 0);
    EXPECT_EQ(none.complete_above, 0);
  }
}

}  // namespace
}  // namespace weir
