#include "weir/stream/generate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

constexpr std::uint64_t largest_n = std::uint64_t{1} << 63;

EventBatch generated(const EventGenerator& generator, std::uint64_t first, std::size_t count) {
  EventBatch batch;
  batch.resize(count);
  generator.fill(first, batch);
  return batch;
}

std::map<std::uint64_t, double> sums(const EventBatch& batch) {
  std::map<std::uint64_t, double> y;
  for (std::size_t t = 0; t < batch.size(); ++t) {
    if ((y[batch.i[t]] += batch.delta[t]) == 0) y.erase(batch.i[t]);
  }
  return y;
}

TEST(EventGenerator, AnEventDependsOnSeedAndNumberAlone) {
  for (const StreamKind kind :
       {StreamKind::flat, StreamKind::zipf, StreamKind::planted, StreamKind::insert_delete, StreamKind::structured}) {
    for (const std::uint64_t n : {std::uint64_t{1000}, largest_n}) {
      for (const DeltaLaw deltas : {DeltaLaw::one, DeltaLaw::sign, DeltaLaw::real}) {
        GeneratorOptions options{.kind = kind, .n = n, .events = 1000, .seed = 3, .deltas = deltas};
        const EventGenerator generator(options);
        const EventBatch all = generated(generator, 0, 1000);
        const EventBatch part = generated(EventGenerator(options), 337, 100);
        for (std::size_t t = 0; t < 100; ++t) ASSERT_EQ(part[t], all[337 + t]);
        for (std::size_t t = 0; t < 1000; ++t) ASSERT_LT(all.i[t], n);
        options.seed = 4;
        EXPECT_EQ(generated(EventGenerator(options), 0, 1000).i == all.i, kind == StreamKind::structured);
      }
    }
  }
}

TEST(EventGenerator, TheFinalVectorIsKnown) {
  for (const std::uint64_t events : {1u, 2u, 3u, 10u, 31u, 32u, 33u, 1000u, 9999u}) {
    for (const std::uint64_t n : {1u, 7u, 1000000u}) {
      const EventGenerator generator({.kind = StreamKind::insert_delete, .n = n, .events = events, .seed = 9});
      const EventBatch final_vector = generator.final_vector();
      EXPECT_EQ(sums(generated(generator, 0, events)), sums(final_vector)) << events << " " << n;
      EXPECT_LE(final_vector.size(), 16u);
    }
  }
  const EventGenerator nothing(
      {.kind = StreamKind::insert_delete, .n = 100, .events = 2000, .seed = 9, .survivors = 0});
  EXPECT_TRUE(sums(generated(nothing, 0, 2000)).empty());
  EXPECT_FALSE(sums(generated(nothing, 0, 1000)).empty());
  const EventGenerator most(
      {.kind = StreamKind::insert_delete, .n = 1000, .events = 1000, .seed = 9, .survivors = 700});
  EXPECT_EQ(sums(generated(most, 0, 1000)), sums(most.final_vector()));
  EXPECT_EQ(most.final_vector().size(), 700u);
}

/// Pearson's statistic is below this with probability 1 - 1e-6 (Wilson and Hilferty's cube-root approximation; 4.7534
/// is that quantile of the normal law).
double critical_value(double degrees) {
  return degrees * std::pow(1 - 2 / (9 * degrees) + 4.7534 * std::sqrt(2 / (9 * degrees)), 3);
}

double chi_squared(const std::vector<double>& observed, const std::vector<double>& expected) {
  double sum = 0;
  for (std::size_t cell = 0; cell < observed.size(); ++cell)
    sum += std::pow(observed[cell] - expected[cell], 2) / expected[cell];
  return sum;
}

TEST(EventGenerator, FlatIsUniform) {
  constexpr std::size_t count = 200000;
  for (const std::uint64_t n : {std::uint64_t{100}, largest_n}) {
    const EventBatch batch = generated(EventGenerator({.kind = StreamKind::flat, .n = n, .events = count}), 0, count);
    std::vector<double> observed(100);
    for (const std::uint64_t i : batch.i) ++observed[std::min<std::uint64_t>(i / (n / 100), 99)];
    EXPECT_LT(chi_squared(observed, std::vector<double>(100, count / 100.0)), critical_value(99));
  }
}

TEST(EventGenerator, ZipfHasItsLaw) {
  constexpr std::size_t count = 200000;
  for (const double exponent : {0.5, 1.0, 1.1, 2.0}) {
    for (const std::uint64_t n : {1u, 2u, 50u, 1000u}) {
      const EventBatch batch = generated(
          EventGenerator({.kind = StreamKind::zipf, .n = n, .events = count, .exponent = exponent}), 0, count);
      std::vector<double> expected;
      double total = 0;
      for (std::uint64_t k = 1; k <= n; ++k) total += std::pow(static_cast<double>(k), -exponent);
      std::vector<std::size_t> cell_of;
      // Neighbours share a cell until it expects 20.
      for (std::uint64_t k = 1; k <= n; ++k) {
        if (expected.empty() || expected.back() >= 20) expected.push_back(0);
        expected.back() += count * std::pow(static_cast<double>(k), -exponent) / total;
        cell_of.push_back(expected.size() - 1);
      }
      std::vector<double> observed(expected.size());
      for (const std::uint64_t i : batch.i) ++observed[cell_of.at(i)];
      if (n == 1) {
        EXPECT_EQ(observed[0], count);
      } else {
        EXPECT_LT(chi_squared(observed, expected), critical_value(static_cast<double>(expected.size() - 1)))
            << exponent << " " << n;
      }
    }
  }
}

TEST(EventGenerator, ZipfOverTheLargestRange) {
  // With exponent 1 the logarithm of the index is uniform, so each half of its range holds half of the events (up to
  // the first few indices: the harmonic number H(2^31) is (31 ln 2 + 0.5772) of 63 ln 2 + 0.5772).
  constexpr std::size_t count = 100000;
  const EventBatch batch =
      generated(EventGenerator({.kind = StreamKind::zipf, .n = largest_n, .events = count, .exponent = 1}), 0, count);
  double low = 0;
  bool odd = false;
  for (const std::uint64_t i : batch.i) {
    if (i < std::uint64_t{1} << 31) ++low;
    if (i > std::uint64_t{1} << 60 && i % 2 == 1) odd = true;
  }
  const double p = (31 * std::log(2) + 0.57721566490153286) / (63 * std::log(2) + 0.57721566490153286);
  EXPECT_NEAR(low, count * p, 5 * std::sqrt(count * p * (1 - p)));
  EXPECT_TRUE(odd);
}

TEST(EventGenerator, PlantedIndicesTakeTheirShare) {
  constexpr std::size_t count = 100000;
  const EventGenerator generator(
      {.kind = StreamKind::planted, .n = largest_n, .events = count, .heavy = 5, .heavy_share = 0.3});
  const std::set<std::uint64_t> heavy(generator.special_indices().begin(), generator.special_indices().end());
  ASSERT_EQ(heavy.size(), 5u);
  std::map<std::uint64_t, double> hits;
  const EventBatch batch = generated(generator, 0, count);
  for (const std::uint64_t i : batch.i) {
    if (heavy.contains(i)) ++hits[i];
  }
  for (const std::uint64_t i : heavy) EXPECT_NEAR(hits[i], count * 0.06, 5 * std::sqrt(count * 0.06 * 0.94));
}

TEST(EventGenerator, StructuredPatterns) {
  const auto indices = [](GeneratorOptions options) {
    options.kind = StreamKind::structured;
    options.events = 5;
    return generated(EventGenerator(options), 0, 5).i;
  };
  using Indices = std::vector<std::uint64_t>;
  EXPECT_EQ(indices({.n = 3}), (Indices{0, 1, 2, 0, 1}));
  EXPECT_EQ(indices({.n = 25, .pattern = IndexPattern::stride, .stride = 12}), (Indices{0, 12, 24, 0, 12}));
  EXPECT_EQ(indices({.n = 9, .pattern = IndexPattern::powers}), (Indices{1, 2, 4, 8, 1}));
  EXPECT_EQ(indices({.n = 8, .pattern = IndexPattern::powers}), (Indices{1, 2, 4, 1, 2}));
  EXPECT_EQ(indices({.n = (std::uint64_t{3} << 32) + 1, .pattern = IndexPattern::high}),
            (Indices{0, std::uint64_t{1} << 32, std::uint64_t{2} << 32, std::uint64_t{3} << 32, 0}));
}

/// The matrix that events make, without its zeros.
std::map<std::pair<std::uint64_t, std::uint64_t>, double> matrix_of(const EventBatch& batch) {
  std::map<std::pair<std::uint64_t, std::uint64_t>, double> matrix;
  for (std::size_t t = 0; t < batch.size(); ++t) matrix[{batch.i[t], batch.j[t]}] += batch.delta[t];
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    const std::span<const double> row = batch.rows.row(t);
    for (std::size_t j = 0; j < row.size(); ++j) matrix[{batch.rows.i[t], j}] += batch.rows.weights[t] * row[j];
  }
  std::erase_if(matrix, [](const auto& entry) { return entry.second == 0; });
  return matrix;
}

EventBatch generated_rows(const EventGenerator& generator, std::uint64_t first, std::size_t count) {
  EventBatch batch;
  generator.append_rows(first, count, batch.rows);
  return batch;
}

TEST(EventGenerator, OperandsHaveColumns) {
  constexpr std::size_t count = 10000;
  const GeneratorOptions flat{.operand = Operand::A2, .n = 1000, .columns = 10, .events = count};
  const EventBatch batch = generated(EventGenerator(flat), 0, count);
  EXPECT_EQ(batch.operands, std::vector<Operand>(count, Operand::A2));
  std::vector<double> observed(100);  // pairs of a tenth of the indices and a column
  for (std::size_t t = 0; t < count; ++t) ++observed.at(batch.i[t] / 100 * 10 + batch.j[t]);
  EXPECT_LT(chi_squared(observed, std::vector<double>(100, count / 100.0)), critical_value(99));

  const GeneratorOptions turns{
      .kind = StreamKind::structured, .operand = Operand::X, .n = 2, .columns = 3, .events = 8};
  EXPECT_EQ(generated(EventGenerator(turns), 0, 8).j, (std::vector<std::uint64_t>{0, 0, 1, 1, 2, 2, 0, 0}));

  for (const std::uint64_t columns : {std::uint64_t{1}, std::uint64_t{7}, largest_n}) {
    const EventGenerator generator({.kind = StreamKind::insert_delete,
                                    .operand = Operand::A1,
                                    .n = 50,
                                    .columns = columns,
                                    .events = 999,
                                    .seed = 5});
    EXPECT_EQ(generator.final_vector().size(), 15u);
    EXPECT_EQ(matrix_of(generated(generator, 0, 999)), matrix_of(generator.final_vector())) << columns;
    EXPECT_EQ(matrix_of(generated(generator, 0, 999)).size(), 15u);
  }
}

TEST(EventGenerator, WholeRowsComeAndLeave) {
  GeneratorOptions options{.kind = StreamKind::insert_delete,
                           .operand = Operand::A1,
                           .n = 40,
                           .columns = 6,
                           .whole_rows = true,
                           .events = 501,
                           .seed = 5};
  const EventGenerator generator(options);
  const EventBatch all = generated_rows(generator, 0, 501);
  EXPECT_EQ(all.rows.size(), 501u);
  EXPECT_EQ(all.rows.operands, std::vector<Operand>(501, Operand::A1));
  EXPECT_EQ(std::count(all.rows.weights.begin(), all.rows.weights.end(), -1.0), (501 - 15) / 2);
  EXPECT_EQ(matrix_of(all), matrix_of(generator.final_vector()));
  EXPECT_EQ(matrix_of(all).size(), 15u * 6);
  // Every row that leaves is one that came, to the bit.
  std::multiset<std::vector<double>> present;
  for (std::size_t t = 0; t < 501; ++t) {
    std::vector<double> row(all.rows.row(t).begin(), all.rows.row(t).end());
    row.push_back(static_cast<double>(all.rows.i[t]));
    if (all.rows.weights[t] > 0) {
      present.insert(row);
    } else {
      const auto same = present.find(row);
      ASSERT_NE(same, present.end()) << t;
      present.erase(same);
    }
  }
  EXPECT_EQ(present.size(), 15u);

  for (const StreamKind kind : {StreamKind::flat, StreamKind::zipf, StreamKind::planted, StreamKind::insert_delete}) {
    options.kind = kind;
    options.deltas = DeltaLaw::real;
    const EventBatch whole = generated_rows(EventGenerator(options), 0, 100);
    const EventBatch part = generated_rows(EventGenerator(options), 33, 10);
    for (std::size_t t = 0; t < 10; ++t) {
      EXPECT_EQ(part.rows.i[t], whole.rows.i[33 + t]);
      EXPECT_LT(part.rows.i[t], 40u);
      EXPECT_TRUE(std::ranges::equal(part.rows.row(t), whole.rows.row(33 + t)));
      EXPECT_FALSE(std::ranges::equal(part.rows.row(t), whole.rows.row(34 + t)));
    }
  }
}

TEST(EventGenerator, ImpossibleOptionsAreRefused) {
  const std::vector<GeneratorOptions> cases = {
      {.n = 0, .events = 1},
      {.n = largest_n + 1, .events = 1},
      {.n = 1, .events = 0},
      {.kind = StreamKind::zipf, .n = 9, .events = 1, .exponent = 0},
      {.kind = StreamKind::zipf, .n = 9, .events = 1, .exponent = std::nan("")},
      {.kind = StreamKind::planted, .n = 9, .events = 1, .heavy = 10},
      {.kind = StreamKind::planted, .n = 9, .events = 1, .heavy = 0},
      {.kind = StreamKind::planted, .n = 9, .events = 1, .heavy_share = 1.5},
      {.kind = StreamKind::insert_delete, .n = 9, .events = 100, .survivors = 10},
      {.kind = StreamKind::insert_delete, .n = 9, .events = 100, .survivors = 3},
      {.kind = StreamKind::structured, .n = 9, .events = 1, .pattern = IndexPattern::stride, .stride = 0},
      {.kind = StreamKind::structured, .n = 9, .events = 1, .pattern = IndexPattern::high},
      {.kind = StreamKind::structured, .n = 1, .events = 1, .pattern = IndexPattern::powers},
      {.n = 9, .columns = 2, .events = 1},
      {.operand = Operand::x, .n = 9, .columns = 2, .events = 1},
      {.operand = Operand::A, .n = 9, .columns = 0, .events = 1},
      {.operand = Operand::A, .n = 9, .columns = largest_n + 1, .events = 1},
      {.n = 9, .whole_rows = true, .events = 1},
      {.operand = Operand::X, .n = 9, .columns = longest_row + 1, .whole_rows = true, .events = 1},
  };
  for (const GeneratorOptions& options : cases) EXPECT_THROW(EventGenerator{options}, UsageError);
}

}  // namespace
}  // namespace weir
