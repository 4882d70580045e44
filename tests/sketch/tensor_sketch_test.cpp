#include "weir/sketch/tensor_sketch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "support/bounds.hpp"
#include "support/message_of.hpp"
#include "support/simd_targets.hpp"
#include "weir/error.hpp"
#include "weir/sketch/tensor_features.hpp"

namespace weir {
namespace {

using testing_support::message_of;

/// The bucket and the sign of a key, from the definition of the construction (source.hpp, operator.hpp).
struct Place {
  std::uint64_t bucket;
  double sign;
};

Place place_of(const SketchConfig& config, std::uint32_t row, std::uint64_t key) {
  const auto bits = static_cast<std::uint32_t>(std::bit_width(config.buckets));
  const std::uint32_t rows_of_a_word = 60 / bits;
  const WordFunction word(config.randomness, config.seed, Purpose::row, row / rows_of_a_word, config.independence);
  const std::uint64_t field = word(key) << (bits * (row % rows_of_a_word)) >> (64 - bits);
  return {field & (config.buckets - 1), (field & config.buckets) != 0 ? -1.0 : 1.0};
}

/// Definition 3.1, with the repetitions one after the other: S applied to a tensor whose coordinate (i1, .., ip) stands
/// at (ids[0][i1], .., ids[p-1][ip]); the last index is fastest.
std::vector<double> apply_definition(const TensorSketchConfig& config,
                                     const std::vector<std::vector<std::uint64_t>>& ids, std::span<const double> y) {
  std::vector<double> out(config.rows * config.sparsity * config.buckets);
  std::vector<std::size_t> index(ids.size());
  for (const double value : y) {
    for (std::uint32_t row = 0; row < config.rows; ++row) {
      for (std::uint32_t k = 0; k < config.sparsity; ++k) {
        std::uint64_t bucket = 0;
        double sign = 1;
        for (std::size_t q = 0; q < ids.size(); ++q) {
          const std::uint64_t seed = subkey(subkey(config.seed, Purpose::operand, static_cast<std::uint32_t>(q), 0),
                                            Purpose::operand, 0, k + 1);
          SketchConfig factor{.dimension = config.dimensions[q], .rows = config.rows, .buckets = config.buckets};
          factor.randomness = config.randomness;
          factor.independence = config.independence;
          factor.seed = seed;
          const Place place = place_of(factor, row, ids[q][index[q]]);
          bucket = (bucket + place.bucket) % config.buckets;
          sign *= place.sign;
        }
        out[(row * config.sparsity + k) * config.buckets + bucket] += sign * value / std::sqrt(config.sparsity);
      }
    }
    for (std::size_t q = ids.size(); q-- > 0;) {
      if (++index[q] < ids[q].size()) break;
      index[q] = 0;
    }
  }
  return out;
}

std::vector<std::uint64_t> first_ids(std::size_t count) {
  std::vector<std::uint64_t> ids(count);
  std::iota(ids.begin(), ids.end(), std::uint64_t{0});
  return ids;
}

double real_number(std::uint64_t seed) {
  return static_cast<double>(static_cast<std::int64_t>(finalise(seed) >> 11U)) * 0x1p-52 - 1;
}
double small_integer(std::uint64_t seed) { return static_cast<double>(finalise(seed) % 7) - 3; }

std::vector<double> numbers(std::size_t count, std::uint64_t seed, double (*number)(std::uint64_t)) {
  std::vector<double> out;
  for (std::size_t t = 0; t < count; ++t) out.push_back(number(seed * 1000003 + t));
  return out;
}

/// Dense operands, factor q of n[q] x d[q].
struct Operands {
  std::vector<std::size_t> n;
  std::vector<std::size_t> d;
  std::vector<std::vector<double>> factors;
  std::vector<double> core;

  Operands(std::vector<std::size_t> rows, std::vector<std::size_t> columns, std::uint64_t seed,
           double (*number)(std::uint64_t) = real_number)
      : n(std::move(rows)), d(std::move(columns)) {
    std::size_t size = 1;
    for (std::size_t q = 0; q < n.size(); ++q) {
      factors.push_back(numbers(n[q] * d[q], seed + q, number));
      size *= d[q];
    }
    core = numbers(size, seed + 100, number);
  }

  /// (A1 (x) ... (x) Ap) vec X, from the Kronecker product itself.
  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> kronecker{1.0};
    std::size_t rows = 1;
    std::size_t columns = 1;
    for (std::size_t q = 0; q < n.size(); ++q) {
      std::vector<double> larger(kronecker.size() * n[q] * d[q]);
      for (std::size_t i = 0; i < rows * n[q]; ++i) {
        for (std::size_t j = 0; j < columns * d[q]; ++j) {
          larger[i * columns * d[q] + j] =
              kronecker[i / n[q] * columns + j / d[q]] * factors[q][i % n[q] * d[q] + j % d[q]];
        }
      }
      kronecker = std::move(larger);
      rows *= n[q];
      columns *= d[q];
    }
    std::vector<double> out(rows);
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < columns; ++j) out[i] += kronecker[i * columns + j] * core[j];
    }
    return out;
  }

  /// Factor q in whole rows at the given ids, or entry by entry.
  void stream(TensorSketch& sketch, std::size_t q, std::span<const std::uint64_t> ids, bool by_rows) const {
    if (by_rows) return sketch.update_rows(q, ids, std::vector<double>(ids.size(), 1.0), factors[q]);
    std::vector<std::uint64_t> rows;
    std::vector<std::uint64_t> columns;
    for (std::size_t t = 0; t < factors[q].size(); ++t) {
      rows.push_back(ids[t / d[q]]);
      columns.push_back(t % d[q]);
    }
    sketch.update(q, rows, columns, factors[q]);
  }

  [[nodiscard]] TensorSketch sketch(const TensorSketchConfig& config) const {
    TensorSketch out(config, std::vector<std::uint64_t>(d.begin(), d.end()));
    for (std::size_t q = 0; q < n.size(); ++q) stream(out, q, first_ids(n[q]), q % 2 == 0);
    out.core = core;
    return out;
  }
};

TensorSketchConfig config_for(std::span<const std::size_t> n, std::uint32_t rows, std::uint64_t buckets,
                              std::uint32_t sparsity, std::uint64_t seed) {
  TensorSketchConfig config{.dimensions = std::vector<std::uint64_t>(n.begin(), n.end()), .rows = rows};
  config.buckets = buckets;
  config.sparsity = sparsity;
  config.seed = seed;
  return config;
}

double inner(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// Equal to rounding: to 1e-13 of the norm of what is expected.
void expect_same(std::span<const double> found, std::span<const double> expected, const std::string& name = {}) {
  ASSERT_EQ(found.size(), expected.size()) << name;
  const double tolerance = 1e-13 * std::sqrt(inner(expected, expected));
  for (std::size_t cell = 0; cell < found.size(); ++cell) {
    ASSERT_NEAR(found[cell], expected[cell], tolerance) << name << " cell " << cell;
  }
}

bool same_bits(std::span<const double> a, std::span<const double> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) {
    return std::bit_cast<std::uint64_t>(x) == std::bit_cast<std::uint64_t>(y);
  });
}

struct Shape {
  std::vector<std::size_t> n;
  std::vector<std::size_t> d;
};

const std::vector<Shape> shapes = {
    {{17}, {3}},       {{23, 14}, {3, 11}},    {{1, 9}, {2, 1}},
    {{40, 5}, {1, 1}}, {{7, 9, 5}, {2, 3, 4}}, {{2, 3, 2, 3}, {2, 1, 2, 3}},
};

TEST(TensorSketch, EqualsTheExplicitOperatorOnTheExplicitKroneckerProduct) {
  for (const Shape& shape : shapes) {
    const Operands operands(shape.n, shape.d, 7);
    std::vector<std::vector<std::uint64_t>> ids;
    for (const std::size_t n : shape.n) ids.push_back(first_ids(n));
    for (const std::uint32_t sparsity : {1U, 2U, 3U, 4U}) {
      for (const std::uint64_t buckets : {2U, 4U, 32U, 1024U}) {
        for (const Randomness randomness : {Randomness::mix, Randomness::kwise}) {
          TensorSketchConfig config = config_for(shape.n, 3, buckets, sparsity, 5 + buckets);
          config.randomness = randomness;
          expect_same(operands.sketch(config).image().table(), apply_definition(config, ids, operands.y()),
                      std::to_string(shape.n.size()) + " factors, s = " + std::to_string(sparsity) +
                          ", B = " + std::to_string(buckets));
        }
      }
    }
  }
}

TEST(TensorSketch, OfVectorsIsTheConvolutionOfTheirCountSketches) {
  // Pham and Pagh: of a rank-one tensor.
  const Operands operands({31, 12, 20}, {1, 1, 1}, 3);
  const TensorSketchConfig config = config_for(operands.n, 1, 64, 1, 9);
  std::vector<double> convolution(64);
  convolution[0] = operands.core[0];
  for (std::size_t q = 0; q < 3; ++q) {
    VectorSketch factor(config.factor(q, 0));
    factor.update(first_ids(operands.n[q]), operands.factors[q]);
    std::vector<double> longer(64);
    for (std::size_t a = 0; a < 64; ++a) {
      for (std::size_t b = 0; b < 64; ++b) longer[(a + b) % 64] += convolution[a] * factor.table()[b];
    }
    convolution = longer;
  }
  expect_same(operands.sketch(config).image().table(), convolution);
}

TEST(TensorSketch, OfOneFactorIsItsCountSketch) {
  const Operands operands({50}, {4}, 12);
  const TensorSketchConfig config = config_for(operands.n, 5, 16, 1, 2);
  VectorSketch y(config.factor(0, 0));
  y.update(first_ids(50), operands.y());
  expect_same(operands.sketch(config).image().table(), y.table());
}

TEST(TensorSketch, StreamsAndForgets) {
  // Everything comes late and in two parts, with rows in between that leave again.
  const Operands operands({12, 9}, {3, 4}, 21, small_integer);
  const Operands others({12, 9}, {3, 4}, 22, small_integer);
  const TensorSketchConfig config = config_for(operands.n, 3, 32, 2, 4);
  TensorSketch sketch(config, std::vector<std::uint64_t>{3, 4});
  for (const std::size_t q : {1U, 0U}) others.stream(sketch, q, first_ids(others.n[q]), true);
  sketch.core = operands.core;
  operands.stream(sketch, 0, first_ids(12), false);
  for (const std::size_t q : {0U, 1U}) {
    const auto ids = first_ids(others.n[q]);
    sketch.update_rows(q, ids, std::vector<double>(ids.size(), -1.0), others.factors[q]);
  }
  operands.stream(sketch, 1, first_ids(9), false);
  EXPECT_TRUE(same_bits(sketch.image().table(), operands.sketch(config).image().table()));
}

TEST(TensorSketch, PartsOfAStreamAddUpToTheWhole) {
  const Operands operands({20, 11, 6}, {2, 3, 2}, 31, small_integer);
  const TensorSketchConfig config = config_for(operands.n, 3, 16, 2, 77);
  const std::vector<std::uint64_t> columns{2, 3, 2};
  for (const std::size_t parts : {2U, 3U, 4U}) {
    TensorSketch merged(config, columns);
    for (std::size_t part = 0; part < parts; ++part) {
      TensorSketch some(config, columns);
      for (std::size_t q = 0; q < 3; ++q) {
        for (std::size_t i = (part + q) % parts; i < operands.n[q]; i += parts) {
          const std::vector<std::uint64_t> row{i};
          some.update_rows(q, row, std::vector<double>{1.0},
                           std::span(operands.factors[q]).subspan(i * columns[q], columns[q]));
        }
      }
      for (std::size_t j = part; j < operands.core.size(); j += parts) some.core[j] = operands.core[j];
      EXPECT_EQ(some.fingerprint(), merged.fingerprint());
      merged.add(some);
    }
    EXPECT_TRUE(same_bits(merged.image().table(), operands.sketch(config).image().table()));
    merged.add(merged, -1.0);
    EXPECT_EQ(merged.image().f2().value, 0);
  }
}

TEST(TensorSketch, ImageHasTheSameBitsOnAllInstructionSets) {
  const Operands operands({20, 11, 6}, {2, 3, 2}, 31);
  const TensorSketchConfig config = config_for(operands.n, 3, 64, 2, 77);
  const TensorImage image = operands.sketch(config).image();
  testing::for_each_simd_target([&](const std::string& name) {
    EXPECT_TRUE(same_bits(operands.sketch(config).image().table(), image.table())) << name;
  });
}

TEST(TensorSketch, NeedsNoProductOfDimensions) {
  // 2^63 * 2^63 * 2^63 coordinates, few of which are not zero, at structured places.
  const std::uint64_t n = std::uint64_t{1} << 63U;
  TensorSketchConfig config{.dimensions = {n, n, n}, .rows = 3, .buckets = 256, .sparsity = 2};
  const Operands operands({6, 6, 6}, {2, 3, 2}, 17);
  std::vector<std::vector<std::uint64_t>> ids(3);
  for (std::uint64_t i = 0; i < 6; ++i) {
    ids[0].push_back(n - 1 - i);
    ids[1].push_back(std::uint64_t{1} << (57 + i));
    ids[2].push_back(i << 32U);
  }
  TensorSketch sketch(config, std::vector<std::uint64_t>{2, 3, 2});
  for (std::size_t q = 0; q < 3; ++q) operands.stream(sketch, q, ids[q], true);
  sketch.core = operands.core;
  expect_same(sketch.image().table(), apply_definition(config, ids, operands.y()));
}

TEST(TensorSketch, IsZeroOfAnyZeroOperand) {
  const Operands operands({5, 6}, {2, 3}, 1);
  const TensorSketchConfig config = config_for(operands.n, 3, 16, 1, 1);
  TensorSketch sketch = operands.sketch(config);
  std::fill(sketch.core.begin(), sketch.core.end(), 0.0);
  const TensorImage image = sketch.image();
  EXPECT_EQ(image.f2().value, 0);
  EXPECT_EQ(image.f2().bound, 0);
  EXPECT_EQ(image.point(std::vector<std::uint64_t>{1, 1}).value, 0);
  sketch = operands.sketch(config);
  sketch.factors[1][0].scale(0);
  EXPECT_EQ(sketch.image().f2().value, 0);
}

TEST(TensorImage, EstimatesAreThoseOfTheDefinition) {
  const Operands operands({9, 7}, {2, 3}, 41);
  const Operands others({9, 7}, {2, 3}, 43);
  const TensorSketchConfig config = config_for(operands.n, 5, 32, 3, 8);
  const TensorImage image = operands.sketch(config).image();
  const TensorImage other = others.sketch(config).image();
  const std::size_t size = 3 * 32;
  const auto median = [&](const auto& value_of_row) {
    std::vector<double> values;
    for (std::size_t row = 0; row < 5; ++row) values.push_back(value_of_row(row));
    std::sort(values.begin(), values.end());
    return values[2];
  };
  const auto row_of = [&](std::span<const double> table, std::size_t row) { return table.subspan(row * size, size); };
  EXPECT_DOUBLE_EQ(image.f2().value, median([&](std::size_t row) {
                     return inner(row_of(image.table(), row), row_of(image.table(), row));
                   }));
  EXPECT_NEAR(image.inner_product(other).value,
              median([&](std::size_t row) { return inner(row_of(image.table(), row), row_of(other.table(), row)); }),
              1e-12 * image.f2().value);
  for (std::size_t i = 0; i < 9; ++i) {
    for (std::size_t j = 0; j < 7; ++j) {
      std::vector<double> unit(63);
      unit[i * 7 + j] = 1;
      const std::vector<double> column = apply_definition(config, {first_ids(9), first_ids(7)}, unit);
      EXPECT_NEAR(image.point(std::vector<std::uint64_t>{i, j}).value,
                  median([&](std::size_t row) { return inner(row_of(image.table(), row), row_of(column, row)); }),
                  1e-12 * std::sqrt(image.f2().value));
    }
  }
}

/// Mean and variance of `count` values, each with its standard error.
struct Moments {
  double mean = 0;
  double mean_error = 0;
  double variance = 0;
  double variance_error = 0;

  explicit Moments(std::span<const double> values) {
    const auto count = static_cast<double>(values.size());
    mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
    double fourth = 0;
    for (const double value : values) {
      const double square = (value - mean) * (value - mean);
      variance += square / count;
      fourth += square * square / count;
    }
    mean_error = std::sqrt(variance / count);
    variance_error = std::sqrt((fourth - variance * variance) / count);
  }
};

/// Standard errors that a correct estimate strays with probability 6e-6, two-sided.
constexpr double allowed_errors = 4.5;

/// f2 of one repetition of y = u1 (x) ... (x) up, where the entries of u_q are +-1 at ids[q], over seeds.
Moments moments_of_flat_norms(std::span<const std::vector<std::uint64_t>> ids, std::uint64_t buckets,
                              std::uint32_t sparsity, Randomness randomness, std::uint64_t seeds) {
  std::vector<double> values;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    TensorSketchConfig config{.dimensions = std::vector<std::uint64_t>(ids.size(), std::uint64_t{1} << 60U), .rows = 1};
    config.buckets = buckets;
    config.sparsity = sparsity;
    config.randomness = randomness;
    config.seed = seed;
    TensorSketch sketch(config, std::vector<std::uint64_t>(ids.size(), 1));
    for (std::size_t q = 0; q < ids.size(); ++q) {
      std::vector<double> signs;
      for (const std::uint64_t id : ids[q]) signs.push_back(finalise(id) % 2 == 0 ? 1 : -1);
      sketch.update_rows(q, ids[q], std::vector<double>(ids[q].size(), 1.0), signs);
    }
    sketch.core = {1.0};
    values.push_back(sketch.image().f2().value);
  }
  return Moments(values);
}

/// The variance of such a norm, relative to its square: every pattern of TensorImage counts fully, but for the pairs
/// with equal indices. Exact for hashes that are 4-wise independent.
double exact_flat_variance(std::span<const std::vector<std::uint64_t>> ids, std::uint64_t the_buckets,
                           std::uint32_t sparsity) {
  const auto buckets = static_cast<double>(the_buckets);
  double sum = 0;
  for (std::uint32_t differing = 1; differing < (1U << ids.size()); ++differing) {
    double share = 1;
    for (std::size_t q = 0; q < ids.size(); ++q) {
      if ((differing >> q & 1U) != 0) share *= 1 - 1 / static_cast<double>(ids[q].size());
    }
    const double patterns = std::exp2(std::popcount(differing));
    sum += share * (2 / buckets + (patterns - 2) * 2 / (buckets * buckets));
  }
  return sum / sparsity;
}

TEST(TensorImage, NormIsUnbiasedWithTheVarianceOfTheTheory) {
  struct Case {
    std::vector<std::size_t> n;
    std::uint64_t buckets;
    std::uint32_t sparsity;
    Randomness randomness;
  };
  for (const Case& one : {Case{{40}, 16, 1, Randomness::mix}, Case{{16, 24}, 16, 1, Randomness::mix},
                          Case{{16, 24}, 16, 3, Randomness::mix}, Case{{16, 24}, 4, 1, Randomness::kwise},
                          Case{{8, 9, 10}, 16, 1, Randomness::mix}, Case{{8, 9, 10}, 8, 2, Randomness::kwise}}) {
    std::vector<std::vector<std::uint64_t>> ids;
    double f2 = 1;
    for (const std::size_t n : one.n) {
      ids.push_back(first_ids(n));
      f2 *= static_cast<double>(n);
    }
    const Moments moments = moments_of_flat_norms(ids, one.buckets, one.sparsity, one.randomness, 4000);
    const double exact = exact_flat_variance(ids, one.buckets, one.sparsity) * f2 * f2;
    EXPECT_NEAR(moments.mean, f2, allowed_errors * moments.mean_error);
    EXPECT_NEAR(moments.variance, exact, allowed_errors * moments.variance_error);

    // The bound that is given, of one repetition: 10 of the deviations that the theory allows.
    TensorImage image(config_for(one.n, 1, one.buckets, one.sparsity, 0));
    image.table()[0] = 1;
    EXPECT_GE(image.f2().bound, 10 * std::sqrt(exact) / f2);
    EXPECT_LE(image.f2().bound, 1.2 * 10 * std::sqrt(exact) / f2);
  }
}

TEST(TensorImage, StructuredIdsAreAsGoodAsOthers) {
  std::vector<std::uint64_t> strided, powers, high;
  for (std::uint64_t i = 0; i < 20; ++i) {
    strided.push_back(i * 4096);
    powers.push_back(std::uint64_t{1} << (i + 35));
    high.push_back(i << 32U);
  }
  const std::vector<std::uint64_t> first = first_ids(20);
  for (const auto& ids :
       {std::vector{first, first}, std::vector{strided, high}, std::vector{powers, first}, std::vector{high, powers}}) {
    const Moments moments = moments_of_flat_norms(ids, 32, 1, Randomness::mix, 3000);
    EXPECT_NEAR(moments.mean, 400, allowed_errors * moments.mean_error);
    EXPECT_NEAR(moments.variance, 160000 * exact_flat_variance(ids, 32, 1), allowed_errors * moments.variance_error);
  }
}

TEST(TensorImage, EstimatesAreUnbiasedAndWithinTheirVariances) {
  // Of two attention matrices, over seeds: a repetition has the truth as its mean, and no more than the variance that
  // the bound is made of. Chebyshev would allow more than what is asked for here: a mean within 4.5 standard errors.
  const Operands first({14, 10}, {3, 3}, 51);
  Operands second({14, 10}, {3, 3}, 52);
  second.factors[0] = first.factors[0];  // one set of queries, two of keys
  const std::vector<double> y = first.y();
  const std::vector<double> z = second.y();
  const double f2 = inner(y, y);
  for (const std::uint32_t sparsity : {1U, 2U}) {
    std::vector<double> norms, points, products;
    for (std::uint64_t seed = 0; seed < 3000; ++seed) {
      const TensorSketchConfig config = config_for(first.n, 1, 16, sparsity, seed);
      const TensorImage image = first.sketch(config).image();
      norms.push_back(image.f2().value);
      points.push_back(image.point(std::vector<std::uint64_t>{3, 7}).value);
      products.push_back(image.inner_product(second.sketch(config).image()).value);
    }
    const double m = 16 * sparsity;
    const double relative = (6 + 4.0 / 16) / m;  // 2 (2^2 - 1), 2 (3^2 - 2^3 + 1)
    const auto check = [](std::span<const double> values, double truth, double variance) {
      const Moments moments(values);
      EXPECT_NEAR(moments.mean, truth, allowed_errors * moments.mean_error);
      EXPECT_LE(moments.variance - allowed_errors * moments.variance_error, variance);
      EXPECT_GE(moments.variance, variance / 20);
    };
    check(norms, f2, relative * f2 * f2);
    check(products, inner(y, z), relative * f2 * inner(z, z));
    check(points, y[3 * 10 + 7], f2 / m);
  }
}

TEST(TensorImage, TruthLiesWithinTheBounds) {
  // Each bound is broken with probability 0.01 at most, so that of 200 more than 10 are broken with probability 4e-6,
  // by the binomial tail.
  const Operands first({14, 10, 3}, {3, 2, 2}, 61);
  const Operands second({14, 10, 3}, {3, 2, 2}, 62);
  const std::vector<double> y = first.y();
  const double f2 = inner(y, y);
  const double product = inner(y, second.y());
  int norms = 0;
  int products = 0;
  int points = 0;
  const auto broken = [](const Estimate& estimate, double truth) {
    return std::abs(estimate.value - truth) > estimate.bound ? 1 : 0;
  };
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const TensorSketchConfig config = config_for(first.n, 5, 1024, 1, seed);
    const TensorImage image = first.sketch(config).image();
    norms += broken(image.f2(), f2);
    products += broken(image.inner_product(second.sketch(config).image()), product);
    points += broken(image.point(std::vector<std::uint64_t>{seed % 14, seed % 10, seed % 3}),
                     y[(seed % 14 * 10 + seed % 10) * 3 + seed % 3]);
  }
  EXPECT_LE(norms, 10);
  EXPECT_LE(products, 10);
  EXPECT_LE(points, 10);
}

TEST(TensorImage, IsLinear) {
  const Operands first({14, 10}, {3, 2}, 71);
  Operands second = first;
  second.core = numbers(6, 99, real_number);
  Operands difference = first;
  for (std::size_t j = 0; j < 6; ++j) difference.core[j] -= second.core[j];
  const TensorSketchConfig config = config_for(first.n, 3, 32, 1, 1);
  TensorImage image = first.sketch(config).image();
  image.add(second.sketch(config).image(), -1.0);
  expect_same(image.table(), difference.sketch(config).image().table());
  image.add(image, -1.0);
  EXPECT_EQ(image.f2().value, 0);
}

TEST(TensorSketch, SaysWhatIsWrong) {
  const auto why = [](const TensorSketchConfig& config) { return message_of<UsageError>([&] { config.validate(); }); };
  const TensorSketchConfig good{.dimensions = {10, 20}, .rows = 3, .buckets = 16};
  good.validate();
  TensorSketchConfig bad = good;
  bad.dimensions.clear();
  EXPECT_EQ(why(bad), "a tensor of 0 factors: expected 1 to 8");
  bad.dimensions.assign(9, 4);
  EXPECT_EQ(why(bad), "a tensor of 9 factors: expected 1 to 8");
  bad.dimensions = {3, 0};
  EXPECT_EQ(why(bad), "dimension is 0: expected 1 to 2^63");
  bad = good;
  bad.sparsity = 0;
  EXPECT_EQ(why(bad), "sparsity is 0: expected 1 to 64");
  bad.sparsity = 65;
  EXPECT_EQ(why(bad), "sparsity is 65: expected 1 to 64");
  bad = good;
  bad.rows = 4;
  EXPECT_EQ(why(bad), "rows is 4: expected an odd number, 1 to 15");
  bad = good;
  bad.buckets = std::uint64_t{1} << 31U;
  EXPECT_EQ(why(bad), "buckets is 2147483648: expected a power of two, 2 to 2^30");
  EXPECT_THROW(TensorImage{bad}, UsageError);
  bad.buckets = 24;
  EXPECT_THROW(bad.validate(), UsageError);

  const auto refused = [&](const std::vector<std::uint64_t>& columns) {
    return message_of<UsageError>([&] { const TensorSketch sketch(good, columns); });
  };
  EXPECT_EQ(refused({3}), "columns of 1 factors for a tensor of 2");
  EXPECT_EQ(refused({3, 0}), "a factor of 0 columns: expected at least 1");
  EXPECT_EQ(refused({std::uint64_t{1} << 31U, std::uint64_t{1} << 31U}), "X is too large for this machine");

  TensorSketch sketch(good, std::vector<std::uint64_t>{2, 3});
  const std::vector<std::uint64_t> one{1};
  const std::vector<std::uint64_t> too_large{20};
  const std::vector<double> nan{std::numeric_limits<double>::quiet_NaN()};
  EXPECT_THROW(sketch.update(1, too_large, one, std::vector<double>{1.0}), InputError);
  EXPECT_THROW(sketch.update(0, one, one, nan), InputError);
  EXPECT_THROW(sketch.update_rows(1, too_large, std::vector<double>{1.0}, std::vector<double>{1, 2, 3}), InputError);
  EXPECT_EQ(sketch.image().f2().value, 0);

  const TensorImage image(good);
  EXPECT_EQ(message_of<InputError>([&] { (void)image.point(one); }), "1 indices of a tensor of 2 factors");
  EXPECT_EQ(message_of<InputError>([&] {
              (void)image.point(std::vector<std::uint64_t>{9, 20});
            }),
            "index 20 of factor 2 is not below the dimension 20");
}

TEST(TensorSketch, RefusesWhatDoesNotCombine) {
  const TensorSketchConfig config{.dimensions = {10, 20}, .rows = 3, .buckets = 16, .seed = 1};
  const auto difference = [&](TensorSketchConfig other) {
    TensorImage image(config);
    const TensorImage another(other);
    EXPECT_NE(config.fingerprint(), other.fingerprint());
    EXPECT_THROW((void)image.inner_product(another), InputError);
    return message_of<InputError>([&] { image.add(another); });
  };
  TensorSketchConfig other = config;
  other.dimensions = {10, 20, 1};
  EXPECT_EQ(difference(other), "the images do not combine: factors: 2 against 3");
  other.dimensions = {10, 21};
  EXPECT_EQ(difference(other), "the images do not combine: factor 2: dimension: 20 against 21");
  other = config;
  other.sparsity = 2;
  EXPECT_EQ(difference(other), "the images do not combine: sparsity: 1 against 2");
  other = config;
  other.seed = 2;
  EXPECT_EQ(difference(other), "the images do not combine: seed: 1 against 2");
  other = config;
  other.buckets = 32;
  EXPECT_EQ(difference(other), "the images do not combine: factor 1: buckets: 16 against 32");

  TensorSketch sketch(config, std::vector<std::uint64_t>{2, 3});
  const TensorSketch transposed(config, std::vector<std::uint64_t>{3, 2});
  EXPECT_NE(sketch.fingerprint(), transposed.fingerprint());
  EXPECT_EQ(message_of<InputError>([&] { sketch.add(transposed); }),
            "the sketches do not combine: columns of factor 1: 2 against 3");
}

TensorSketchConfig features_config(std::size_t d, std::size_t degree, std::uint64_t buckets, std::uint32_t sparsity) {
  return config_for(std::vector<std::size_t>(degree, d), 1, buckets, sparsity, 5);
}

TEST(TensorFeatures, AreTheTensorSketchesOfPowersOfRows) {
  struct Case {
    std::size_t d, degree;
    std::uint64_t buckets;
    std::uint32_t sparsity;
  };
  // With few coordinates for the buckets, whose products are added, and with many, which are transformed.
  for (const Case& one :
       {Case{6, 2, 64, 1}, Case{6, 2, 64, 3}, Case{40, 2, 16, 1}, Case{40, 2, 16, 4}, Case{5, 1, 8, 2},
        Case{200, 1, 2, 1}, Case{4, 3, 128, 2}, Case{9, 3, 4, 2}, Case{3, 4, 2, 1}, Case{150, 2, 256, 1}}) {
    const TensorSketchConfig config = features_config(one.d, one.degree, one.buckets, one.sparsity);
    TensorFeatures features(config);
    EXPECT_EQ(features.config(), config);
    ASSERT_EQ(features.size(), one.buckets * one.sparsity);
    constexpr std::size_t count = 19;  // not a multiple of what is worked on together
    const std::vector<double> rows = numbers(count * one.d, 3, real_number);
    std::vector<double> out(count * features.size());
    features.apply(rows, out);
    const auto ids = std::vector<std::vector<std::uint64_t>>(one.degree, first_ids(one.d));
    for (std::size_t i = 0; i < count; ++i) {
      const auto row = std::span(rows).subspan(i * one.d, one.d);
      std::vector<double> power{1.0};
      for (std::size_t q = 0; q < one.degree; ++q) {
        std::vector<double> longer;
        for (const double entry : power) {
          for (const double value : row) longer.push_back(entry * value);
        }
        power = longer;
      }
      expect_same(std::span(out).subspan(i * features.size(), features.size()), apply_definition(config, ids, power),
                  "d = " + std::to_string(one.d) + ", row " + std::to_string(i));
    }
  }
}

TEST(TensorFeatures, ProductsHaveTheSameBitsOnAllInstructionSets) {
  for (const std::size_t d : {6U, 40U}) {
    const std::vector<double> rows = numbers(11 * d, 3, real_number);
    const auto apply = [&] {
      TensorFeatures features(features_config(d, 2, 64, 1));
      std::vector<double> out(11 * 64);
      features.apply(rows, out);
      return out;
    };
    const std::vector<double> expected = apply();
    testing::for_each_simd_target([&](const std::string& name) { EXPECT_TRUE(same_bits(apply(), expected)) << name; });
  }
}

TEST(TensorFeatures, EstimateThePolynomialKernel) {
  const std::vector<double> a = numbers(8, 1, real_number);
  const std::vector<double> b = numbers(8, 2, real_number);
  std::vector<double> rows = a;
  rows.insert(rows.end(), b.begin(), b.end());
  for (const std::size_t degree : {2U, 3U}) {
    std::vector<double> kernels;
    for (std::uint64_t seed = 0; seed < 3000; ++seed) {
      TensorSketchConfig config = features_config(8, degree, 64, 1);
      config.seed = seed;
      TensorFeatures features(config);
      std::vector<double> out(2 * 64);
      features.apply(rows, out);
      kernels.push_back(inner(std::span(out).first(64), std::span(out).last(64)));
    }
    const auto p = static_cast<double>(degree);
    const Moments moments(kernels);
    EXPECT_NEAR(moments.mean, std::pow(inner(a, b), p), allowed_errors * moments.mean_error);
    const double patterns = 2 * (std::exp2(p) - 1) / 64 + 2 * (std::pow(3, p) - std::exp2(p + 1) + 1) / (64 * 64);
    EXPECT_LE(moments.variance - allowed_errors * moments.variance_error,
              patterns * std::pow(inner(a, a) * inner(b, b), p));
  }
}

TEST(TensorFeatures, SayWhatIsWrong) {
  const auto why = [](const TensorSketchConfig& config) {
    return message_of<UsageError>([&] { const TensorFeatures features(config); });
  };
  TensorSketchConfig config = features_config(5, 2, 16, 1);
  config.rows = 3;
  EXPECT_EQ(why(config), "rows is 3: features have 1 repetition");
  config = features_config(5, 2, 16, 1);
  config.dimensions[1] = 6;
  EXPECT_EQ(why(config), "factors of dimensions 5 and 6: features need equal ones");
  config.dimensions = {std::uint64_t{1} << 33U};
  EXPECT_EQ(why(config), "dimension is 8589934592: features take at most 2^32");
  config.dimensions.clear();
  EXPECT_EQ(why(config), "a tensor of 0 factors: expected 1 to 8");

  TensorFeatures features(features_config(5, 2, 16, 1));
  std::vector<double> rows(15, 1.0);
  rows[7] = std::numeric_limits<double>::infinity();
  std::vector<double> out(3 * 16, 42.0);
  EXPECT_EQ(message_of<InputError>([&] { features.apply(rows, out); }), "the value of row 1, column 2 is inf");
  EXPECT_EQ(out, std::vector<double>(3 * 16, 42.0));
  features.apply({}, {});
}

TEST(TensorImage, BoundsAreThoseOfTheTheory) {
  for (const std::size_t factors : {std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
    const Operands first(std::vector<std::size_t>(factors, 7), std::vector<std::size_t>(factors, 2), 81);
    Operands second = first;
    second.core = numbers(second.core.size(), 99, real_number);
    const TensorSketchConfig config = config_for(first.n, 5, 16, 3, 4);
    const TensorImage image = first.sketch(config).image();
    const TensorImage other = second.sketch(config).image();
    // 2 (2^p - 1) and 2 (3^p - 2^(p + 1) + 1).
    const double pure = factors == 1 ? 2 : factors == 2 ? 6 : 14;
    const double mixed = factors == 1 ? 0 : factors == 2 ? 4 : 24;
    const double relative = (pure / 16 + mixed / 256) / 3;
    const double f2 = image.f2().value;
    const auto expect_bound = [](const Estimate& estimate, double variance) {
      EXPECT_NEAR(estimate.bound, std::sqrt(10 * variance), 1e-9 * estimate.bound);
    };
    expect_bound(image.f2(), relative * f2 * f2);
    expect_bound(image.inner_product(other), relative * f2 * other.f2().value);
    expect_bound(image.point(std::vector<std::uint64_t>(factors, 3)), f2 / 48);
  }
}

// For y = u (x) v with entries +-1 every pattern of the variance counts fully. The errors of norms have heavier tails than
// normal ones, of products of two sketches; those of points have not.
TEST(TensorImage, BoundsAreNotNeedlesslyWide) {
  constexpr std::size_t n = 40;
  const auto sign = [](std::uint64_t id) { return finalise(id) % 2 == 0 ? 1.0 : -1.0; };
  std::vector<double> u;
  std::vector<double> v;
  for (std::uint64_t i = 0; i < n; ++i) {
    u.push_back(sign(i));
    v.push_back(sign(i + 1000));
  }
  testing_support::BoundTrials norms;
  testing_support::BoundTrials points;
  testing_support::BoundTrials products;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    TensorSketch sketch({.dimensions = {n, n}, .rows = 5, .buckets = 64, .seed = seed},
                        std::vector<std::uint64_t>{1, 1});
    const std::vector<double> ones(n, 1.0);
    sketch.update_rows(0, first_ids(n), ones, u);
    sketch.update_rows(1, first_ids(n), ones, v);
    sketch.core = {1.0};
    const TensorImage image = sketch.image();
    sketch.core = {2.0};
    const std::uint64_t i = seed % n;
    const std::uint64_t j = seed / n % n;
    norms.add(image.f2(), n * n);
    points.add(image.point(std::vector<std::uint64_t>{i, j}), u[i] * v[j]);
    products.add(image.inner_product(sketch.image()), 2 * n * n);
  }
  norms.expect(1.5, 2.8, "norm");
  points.expect(1.8, 2.8, "point");
  products.expect(1.5, 2.8, "inner product");
}

}  // namespace
}  // namespace weir
