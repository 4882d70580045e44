#include "weir/sample/dense_tensor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::message_of;

// Family-wise significance 1e-3 over the laws of this file.
constexpr double significance = 1e-4;

using Sides = std::vector<std::uint64_t>;

/// Whole numbers of -4 to 4, so that y, too, is exact.
DenseTensor random_tensor(const Sides& rows, const Sides& columns, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto fill = [&](std::span<double> values) {
    for (double& value : values) value = static_cast<double>(random() % 9) - 4;
  };
  DenseTensor operands(rows, columns);
  for (DenseOperand& a : operands.factors) fill(a.table());
  fill(operands.x);
  operands.x_events = 1;
  return operands;
}

std::vector<double> kronecker_product(const std::vector<double>& a, std::uint64_t a_rows, std::uint64_t a_columns,
                                      const DenseMatrix& b) {
  const std::uint64_t columns = a_columns * b.columns;
  std::vector<double> product(a_rows * b.rows * columns);
  for (std::uint64_t i = 0; i < a_rows; ++i)
    for (std::uint64_t k = 0; k < b.rows; ++k)
      for (std::uint64_t j = 0; j < a_columns; ++j)
        for (std::uint64_t l = 0; l < b.columns; ++l)
          product[(i * b.rows + k) * columns + j * b.columns + l] = a[i * a_columns + j] * b.values[k * b.columns + l];
  return product;
}

/// y by its definition: the Kronecker product itself, times vec X.
std::vector<double> brute_force(const DenseTensor& operands) {
  std::vector<double> product{1};
  std::uint64_t rows = 1, columns = 1;
  for (const DenseOperand& a : operands.factors) {
    product = kronecker_product(product, rows, columns, a.matrix());
    rows *= a.rows();
    columns *= a.columns();
  }
  const std::vector<double> core = operands.core();
  std::vector<double> y(rows);
  for (std::uint64_t i = 0; i < rows; ++i)
    for (std::uint64_t j = 0; j < columns; ++j) y[i] += product[i * columns + j] * core[j];
  return y;
}

/// Number of an entry in y.
std::uint64_t place(const DenseTensor& operands, std::span<const std::uint64_t> indices) {
  std::uint64_t result = 0;
  for (std::size_t q = 0; q < indices.size(); ++q) result = result * operands.factors[q].rows() + indices[q];
  return result;
}

Sides indices_of(const DenseTensor& operands, std::uint64_t number) {
  Sides indices(operands.factors.size());
  for (std::size_t q = indices.size(); q-- > 0; number /= operands.factors[q].rows())
    indices[q] = number % operands.factors[q].rows();
  return indices;
}

/// Values, norm, and the joint law of the indices, which implies their marginals, all against the definition.
void expect_exact(const DenseTensor& operands, std::uint32_t samples = 50000) {
  const std::vector<double> y = brute_force(operands);
  double total = 0;
  for (const double value : y) total += value * value;
  const TensorSampler sampler(operands);
  EXPECT_NEAR(sampler.norm(), std::sqrt(total), 1e-13 * std::sqrt(total));
  std::vector<double> law(y.size());
  for (std::uint64_t i = 0; i < y.size(); ++i) {
    law[i] = total > 0 ? y[i] * y[i] / total : 0;
    ASSERT_EQ(sampler.value(indices_of(operands, i)), y[i]);
  }
  const std::vector<TensorDraw> draws = sampler.draw(samples, 11);
  if (total == 0) {
    EXPECT_TRUE(draws.empty());
    return;
  }
  ASSERT_EQ(draws.size(), samples);
  std::vector<std::uint64_t> counts(y.size());
  for (const TensorDraw& draw : draws) {
    const std::uint64_t i = place(operands, draw.indices);
    ++counts.at(i);
    ASSERT_EQ(draw.value, y[i]);
    ASSERT_NEAR(draw.probability, law[i], 1e-12 * law[i]);
  }
  EXPECT_GT(statistics::chi_squared_fit(counts, law).p_value, significance);
  EXPECT_LT(statistics::total_variation(counts, law), statistics::total_variation_bound(law, samples, significance));
  // Mistakes that average out over the pairs show in a single index, where every cell has many draws.
  for (std::size_t q = 0; q < operands.factors.size(); ++q) {
    std::vector<double> marginal(operands.factors[q].rows());
    std::vector<std::uint64_t> marginal_counts(marginal.size());
    for (std::uint64_t i = 0; i < y.size(); ++i) marginal[indices_of(operands, i)[q]] += law[i];
    for (const TensorDraw& draw : draws) ++marginal_counts[draw.indices[q]];
    EXPECT_GT(statistics::chi_squared_fit(marginal_counts, marginal).p_value, significance) << q;
  }
}

TEST(DenseTensor, TwoFactorsOfUnequalSides) {
  expect_exact(random_tensor({9, 14}, {3, 5}, 1));
  expect_exact(random_tensor({14, 9}, {5, 3}, 2));
  expect_exact(random_tensor({30, 2}, {4, 4}, 3));
}

TEST(DenseTensor, ThreeFactors) {
  expect_exact(random_tensor({5, 7, 6}, {2, 3, 4}, 4));
  expect_exact(random_tensor({6, 3, 8}, {4, 1, 2}, 5));
}

TEST(DenseTensor, OneFactorIsAProduct) {
  const DenseTensor operands = random_tensor({40}, {3}, 6);
  expect_exact(operands);
  // ... with the draws of the vector y itself.
  const std::vector<double> values = brute_force(operands);
  DenseVector y(40);
  std::copy(values.begin(), values.end(), y.table().begin());
  const SampleResult expected = draw_with_replacement(y, {.samples = 100, .seed = 7});
  const std::vector<TensorDraw> draws = TensorSampler(operands).draw(100, 7);
  for (std::size_t t = 0; t < 100; ++t) EXPECT_EQ(draws[t].indices[0], expected.draws[t].index);
}

TEST(DenseTensor, UpToEightFactors) {
  expect_exact(random_tensor({2, 1, 3, 2, 1, 2, 2, 3}, {2, 2, 1, 1, 3, 2, 1, 2}, 8));
}

TEST(DenseTensor, SingleRows) {
  expect_exact(random_tensor({1, 12}, {2, 3}, 9));
  expect_exact(random_tensor({12, 1}, {2, 3}, 10));
  expect_exact(random_tensor({1, 1}, {1, 1}, 11), 10);
}

TEST(DenseTensor, CoresOfAnyRank) {
  for (const std::uint64_t rank : {1u, 2u}) {
    DenseTensor operands = random_tensor({9, 8}, {4, 3}, 12);
    for (std::uint64_t j = 0; j < 4; ++j)
      for (std::uint64_t k = 0; k < 3; ++k)
        operands.x[3 * j + k] = static_cast<double>((j + 1) * (2 * k + 1)) - (rank == 2 && j == 2 ? 5.0 : 0.0);
    expect_exact(operands);
  }
}

TEST(DenseTensor, FactorsOfLowRank) {
  DenseTensor operands = random_tensor({20, 15}, {4, 4}, 13);
  for (DenseOperand& a : operands.factors)
    for (std::uint64_t i = 0; i < a.rows(); ++i) {
      a.table()[4 * i + 2] = a.row(i)[0] + a.row(i)[1];
      a.table()[4 * i + 3] = -a.row(i)[0];
    }
  expect_exact(operands);
}

TEST(DenseTensor, RowsThatRepeatDominateOrVanish) {
  DenseTensor operands = random_tensor({12, 10}, {3, 3}, 14);
  const auto row = [](DenseOperand& a, std::uint64_t i) { return a.table().subspan(3 * i, 3); };
  for (DenseOperand& a : operands.factors) {
    std::ranges::copy(row(a, 2), row(a, 5).begin());
    std::ranges::fill(row(a, a.rows() - 1), 0.0);  // the last may not be drawn, whatever is rounded
  }
  expect_exact(operands);
  for (double& value : row(operands.factors[0], 3)) value *= 1e6;
  for (double& value : row(operands.factors[1], 4)) value *= 1e3;
  expect_exact(operands);
}

TEST(DenseTensor, UnitsOfColumnsDoNotMatter) {
  DenseTensor operands = random_tensor({12, 10}, {3, 3}, 16);
  for (std::uint64_t i = 0; i < 12; ++i) operands.factors[0].table()[3 * i] *= 0x1p40;
  for (double& entry : std::span(operands.x).first(3)) entry *= 0x1p-40;
  expect_exact(operands);
}

TEST(DenseTensor, ZeroOperandsHaveNothingToDraw) {
  const DenseTensor whole = random_tensor({4, 5}, {2, 2}, 15);
  for (int zero = 0; zero < 3; ++zero) {
    DenseTensor operands = whole;
    std::ranges::fill(zero < 2 ? operands.factors[static_cast<std::size_t>(zero)].table() : std::span(operands.x), 0.0);
    expect_exact(operands);
    EXPECT_TRUE(draw_pairs(operands, {}).zero_vector);
  }
  // Operands whose product is zero, in numbers that are rounded.
  DenseTensor operands(Sides{2, 2}, Sides{2, 2});
  operands.factors[0].update(Sides{0, 0, 1}, Sides{0, 1, 0}, std::vector<double>{0.1, 0.7, 0.3});
  operands.factors[1].update_rows(Sides{0, 1}, std::vector<double>{1, 1}, std::vector<double>{0.1, 0.3, 0.2, 0.6});
  operands.x = {0.3, -0.1, -0.6, 0.2};
  operands.x_events = 4;
  EXPECT_EQ(TensorSampler(operands).norm(), 0);
  EXPECT_TRUE(TensorSampler(operands).draw(5, 1).empty());
}

TEST(DenseTensor, TheCoreIsTheIdentityUntilItChanges) {
  DenseTensor operands = random_tensor({6, 7}, {3, 3}, 16);
  operands.x_events = 0;
  std::ranges::fill(operands.x, 0.0);
  EXPECT_EQ(operands.core(), (std::vector<double>{1, 0, 0, 0, 1, 0, 0, 0, 1}));
  expect_exact(operands);
  operands.x_events = 2;  // of changes that cancel
  EXPECT_EQ(operands.core(), std::vector<double>(9));
  for (const Sides& columns : {Sides{3, 4}, Sides{2, 2, 2}, Sides{1}}) {
    const DenseTensor without(Sides(columns.size(), 2), columns);
    EXPECT_EQ(message_of<InputError>([&] { std::ignore = without.core(); }),
              "there was no event of X, and it cannot be the identity: expected events of X, or two factors of as many "
              "columns");
  }
}

TEST(DenseTensor, TakesAnyScaleOfNumbers) {
  const DenseTensor plain = random_tensor({5, 6}, {2, 3}, 17);
  const TensorSampler expected(plain);
  const int exponents[][3] = {{900, -1000, 950}, {-1000, 900, -850}, {700, 200, 90}, {-1020, 1000, 20}};
  for (const auto& exponent : exponents) {
    DenseTensor operands = plain;
    for (double& value : operands.factors[0].table()) value = std::ldexp(value, exponent[0]);
    for (double& value : operands.factors[1].table()) value = std::ldexp(value, exponent[1]);
    for (double& value : operands.x) value = std::ldexp(value, exponent[2]);
    const int total = exponent[0] + exponent[1] + exponent[2];
    const TensorSampler sampler(operands);
    EXPECT_EQ(sampler.norm(), std::ldexp(expected.norm(), total));
    const std::vector<TensorDraw> draws = sampler.draw(30, 2), expected_draws = expected.draw(30, 2);
    ASSERT_EQ(draws.size(), expected_draws.size());
    for (std::size_t t = 0; t < draws.size(); ++t) {
      EXPECT_EQ(draws[t].indices, expected_draws[t].indices);
      EXPECT_EQ(draws[t].value, std::ldexp(expected_draws[t].value, total));
      EXPECT_EQ(draws[t].probability, expected_draws[t].probability);
    }
  }
}

TEST(DenseTensor, RefusesWhatADoubleCannotHold) {
  const auto message = [](double a1, double a2, double x) {
    DenseTensor operands(Sides{2, 2}, Sides{1, 1});
    operands.factors[0].table()[1] = a1;
    operands.factors[1].table()[0] = a2;
    operands.x[0] = x;
    operands.x_events = 1;
    return message_of<InputError>([&] { std::ignore = TensorSampler(operands); });
  };
  constexpr double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(message(1e200, 1e200, 1), "the values are too large: ||y|| overflows a double; scale them down");
  EXPECT_EQ(message(1e-200, 1e-200, 1), "the values are too small: ||y|| underflows; scale them up");
  EXPECT_EQ(message(infinity, 1, 1), "the sum of the changes of entry (1, 0) of A1 overflows a double");
  EXPECT_EQ(message(1, -infinity, 1), "the sum of the changes of entry (0, 0) of A2 overflows a double");
  EXPECT_EQ(message(1, 1, std::nan("")), "the sum of the changes of entry (0, 0) of X overflows a double");
}

TEST(DenseTensor, RefusesImpossibleShapesAndIndices) {
  EXPECT_THROW(DenseTensor(Sides{}, Sides{}), UsageError);
  EXPECT_THROW(DenseTensor(Sides(9, 1), Sides(9, 1)), UsageError);
  EXPECT_THROW(DenseTensor(Sides{1, 1}, Sides{1}), UsageError);
  EXPECT_THROW(DenseTensor(Sides{1, 0}, Sides{1, 1}), UsageError);
  EXPECT_EQ(message_of<UsageError>([] {
              DenseTensor(Sides{3, 0}, Sides{1, 2});
            }),
            "A2 is 0 x 2: expected at least 1 x 1 and at most 2^59 entries of a dense matrix");
  EXPECT_THROW(DenseTensor(Sides(8, 1), Sides(8, 256)), UsageError);
  const DenseTensor operands = random_tensor({2, 3}, {2, 2}, 18);
  const TensorSampler sampler(operands);
  EXPECT_EQ(message_of<UsageError>([&] { std::ignore = sampler.value(Sides{1}); }),
            "1 indices of an entry of y, expected 2");
  EXPECT_EQ(message_of<UsageError>([&] {
              std::ignore = sampler.value(Sides{1, 3});
            }),
            "index 3 is outside A2 of 3 rows");
}

TEST(DenseTensor, SameSeedSameDraws) {
  const DenseTensor operands = random_tensor({50, 60}, {3, 4}, 19);
  const TensorSampler sampler(operands);
  const auto pairs = [&](std::uint32_t samples, std::uint64_t seed) {
    std::vector<Sides> result;
    for (const TensorDraw& draw : sampler.draw(samples, seed)) result.push_back(draw.indices);
    return result;
  };
  const std::vector<Sides> many = pairs(200, 1);
  EXPECT_EQ(many, pairs(200, 1));
  EXPECT_NE(many, pairs(200, 2));
  // A draw does not depend on how many there are.
  EXPECT_EQ(pairs(20, 1), std::vector<Sides>(many.begin(), many.begin() + 20));
}

TEST(DensePairs, AreTheDrawsOfTheTensor) {
  const DenseTensor operands = random_tensor({8, 9}, {3, 2}, 20);
  const TensorSampler sampler(operands);
  const std::vector<TensorDraw> expected = sampler.draw(40, 3);
  const SampleResult result = draw_pairs(operands, {.samples = 40, .seed = 3});
  EXPECT_EQ(result.norm, sampler.norm());
  EXPECT_FALSE(result.zero_vector);
  ASSERT_EQ(result.draws.size(), 40u);
  for (std::size_t t = 0; t < 40; ++t) {
    EXPECT_EQ(result.draws[t].lane, t + 1);
    EXPECT_EQ((Sides{result.draws[t].index, result.draws[t].column.value()}), expected[t].indices);
    EXPECT_EQ(result.draws[t].value, expected[t].value);
    EXPECT_EQ(result.draws[t].probability, expected[t].probability);
  }
}

TEST(DensePairs, RefuseOtherLawsAndOtherNumbersOfFactors) {
  EXPECT_EQ(message_of<UsageError>([] {
              std::ignore = draw_pairs(DenseTensor(Sides{2, 2}, Sides{1, 1}), {.p = 1});
            }),
            "p is 1: entries of A1 X A2^T are drawn with p = 2");
  EXPECT_EQ(message_of<UsageError>([] { std::ignore = draw_pairs(DenseTensor(Sides(3, 2), Sides(3, 1)), {}); }),
            "pairs are drawn from 2 factors, not 3");
}

TEST(DenseTensor, AZeroOperandNeedsNoGramMatrix) {
  // The eigenvalues of the metric of the rows of A1, 4000 x 4000, would take minutes.
  DenseTensor operands(Sides{2, 2}, Sides{4000, 1});
  operands.x[7] = 1;
  operands.x_events = 1;
  EXPECT_TRUE(draw_pairs(operands, {}).zero_vector);
}

}  // namespace
}  // namespace weir
