#include "weir/attention/polynomial.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

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

constexpr std::uint64_t no_limit = std::uint64_t{1} << 40U;

std::vector<double> column_means(const DenseMatrix& matrix) {
  std::vector<double> means(matrix.columns);
  for (std::size_t t = 0; t < matrix.values.size(); ++t)
    means[t % matrix.columns] += matrix.values[t] / static_cast<double>(matrix.rows);
  return means;
}

double largest_magnitude(const DenseMatrix& matrix) {
  double largest = 0;
  for (const double x : matrix.values) largest = std::max(largest, std::abs(x));
  return largest;
}

/// phi(q).phi(k) exp(q0.(k - k0)) for all pairs: keys x queries.
std::vector<std::vector<double>> kernel_of(PolynomialFeatures& features, const DenseMatrix& q, const DenseMatrix& k) {
  std::vector<std::vector<double>> out(k.rows, std::vector<double>(q.rows));
  std::vector<std::vector<float>> of_keys;
  features.of_keys(k, {}, 0, [&](const PolynomialFeatures::Piece& piece) {
    EXPECT_EQ(piece.first, of_keys.size());
    for (std::size_t f = 0; f < piece.count; ++f)
      of_keys.emplace_back(piece.numbers + f * piece.stride, piece.numbers + f * piece.stride + k.rows);
  });
  EXPECT_EQ(of_keys.size(), features.count());
  features.of_queries(q, {}, 0, [&](const PolynomialFeatures::Piece& piece) {
    for (std::size_t f = 0; f < piece.count; ++f)
      for (std::size_t j = 0; j < k.rows; ++j)
        for (std::size_t i = 0; i < q.rows; ++i)
          out[j][i] += static_cast<double>(of_keys[piece.first + f][j]) *
                       static_cast<double>(piece.numbers[f * piece.stride + i]);
  });
  return out;
}

double taylor(double z, std::uint32_t degree) {
  double sum = 0;
  double term = 1;
  for (std::uint32_t m = 0; m <= degree; ++m) {
    sum += term;
    term *= z / (m + 1);
  }
  return sum;
}

TEST(PolynomialFeatures, CountsAreBinomial) {
  // Pascal's triangle.
  EXPECT_EQ(polynomial_feature_count(1, 5), 6U);
  EXPECT_EQ(polynomial_feature_count(16, 2), 153U);
  EXPECT_EQ(polynomial_feature_count(16, 4), 4845U);
  EXPECT_EQ(polynomial_feature_count(64, 2), 2145U);
  EXPECT_EQ(polynomial_feature_count(64, 4), 814385U);
  EXPECT_EQ(polynomial_feature_count(7, 0), 1U);
  EXPECT_EQ(polynomial_feature_count(33, 33), 7219428434016265740U);  // C(66, 33), below 2^63
  expect_error<UsageError>([] { (void)polynomial_feature_count(34, 34); }, {"34 dimensions and degree 34", "2^63"});
  expect_error<UsageError>([] { (void)polynomial_feature_count(~std::uint64_t{0}, 1); }, {"2^63"});
  expect_error<UsageError>([] { (void)polynomial_feature_count(std::uint64_t{1} << 40U, 3); }, {"2^63"});
  expect_error<UsageError>([] { (void)polynomial_feature_count(0, 3); }, {"dimension"});
}

TEST(PolynomialFeatures, RefusalShowsWhatWouldFit) {
  // S is r x (dv + 1) floats: 153 * 17 * 4 and 4845 * 17 * 4 bytes.
  const std::string table = polynomial_size_table(16, 16);
  EXPECT_NE(table.find("g = 2: r = 153, 10404 bytes"), std::string::npos) << table;
  EXPECT_NE(table.find("g = 4: r = 4845, 329460 bytes"), std::string::npos) << table;
  EXPECT_NE(polynomial_size_table(std::uint64_t{1} << 40U, 16).find("too many to count"), std::string::npos);
  EXPECT_NO_THROW(require_polynomial_fits(16, 4, 16, 329460));
  expect_error<UsageError>([] { require_polynomial_fits(16, 4, 16, 329459); },
                           {"degree 4", "329460 bytes", "329459", "g = 2: r = 153, 10404 bytes"});
  // Refused before anything is allocated: these would be exabytes, or overflow.
  expect_error<UsageError>([] { (void)PolynomialState({.dimension = 64, .degree = 16}, 64, no_limit); }, {"g = 4"});
  expect_error<UsageError>([] { (void)PolynomialState({.dimension = 64, .degree = 64}, 64, no_limit); }, {"2^63"});
  expect_error<UsageError>([] { (void)PolynomialState({.dimension = 4, .degree = 2}, ~std::uint64_t{0}, no_limit); },
                           {"2^63 or more"});
}

TEST(PolynomialFeatures, ProductsAreTheTaylorPolynomial) {
  for (const auto& [d, degree] :
       {std::pair{1U, 0U}, {1U, 1U}, {1U, 9U}, {2U, 5U}, {5U, 4U}, {7U, 3U}, {20U, 2U}, {300U, 1U}, {9U, 0U}}) {
    const DenseMatrix q = gaussian(5, d, 1 / std::sqrt(d), d);
    const DenseMatrix k = gaussian(17, d, 1, d + 100);
    PolynomialFeatures features({.dimension = d, .degree = degree});
    const auto kernel = kernel_of(features, q, k);
    for (std::size_t j = 0; j < k.rows; ++j)
      for (std::size_t i = 0; i < q.rows; ++i) {
        double score = 0;
        double bound = 0;  // the same sum of magnitudes: what floats are rounded relative to
        for (std::size_t c = 0; c < d; ++c) {
          score += q.values[i * d + c] * k.values[j * d + c];
          bound += std::abs(q.values[i * d + c] * k.values[j * d + c]);
        }
        EXPECT_NEAR(kernel[j][i], taylor(score, degree), 2e-6 * taylor(bound, degree)) << d << ' ' << degree;
      }
  }
}

TEST(PolynomialFeatures, EveryMonomialIsThereOnce) {
  // Features are told apart by their values: the features of x = (1.3, 3.1, 5.7) all differ.
  PolynomialFeatures features({.dimension = 3, .degree = 4});
  std::map<int, int> seen;
  features.of_queries(DenseMatrix{1, 3, {1.3, 3.1, 5.7}}, {}, 0, [&](const PolynomialFeatures::Piece& piece) {
    for (std::size_t f = 0; f < piece.count; ++f) {
      // phi^2 a! is the square of the monomial; find the one exponent vector that fits.
      for (int a = 0, fits = 0; a <= 4; ++a)
        for (int b = 0; a + b <= 4; ++b)
          for (int c = 0; a + b + c <= 4; ++c) {
            const double expected = std::pow(1.3, a) * std::pow(3.1, b) * std::pow(5.7, c) /
                                    std::sqrt(std::tgamma(a + 1) * std::tgamma(b + 1) * std::tgamma(c + 1));
            if (std::abs(static_cast<double>(piece.numbers[f * piece.stride]) / expected - 1) < 1e-5) {
              ++seen[100 * a + 10 * b + c];
              EXPECT_EQ(++fits, 1);
            }
          }
    }
  });
  EXPECT_EQ(seen.size(), 35U);  // C(7, 4)
  for (const auto& [exponents, count] : seen) EXPECT_EQ(count, 1) << exponents;
}

TEST(PolynomialFeatures, BoundsAreThoseOfTheFormula) {
  EXPECT_DOUBLE_EQ(taylor_relative_error(1, 2), std::exp(1) / 6);
  EXPECT_NEAR(taylor_relative_error(0.5, 4), std::exp(0.5) * std::pow(0.5, 5) / 120, 1e-17);
  EXPECT_EQ(taylor_relative_error(0, 0), 0);
  EXPECT_EQ(taylor_relative_error(1e6, 2), std::numeric_limits<double>::infinity());
  const double delta = std::exp(0.5) / 8 / 6;
  EXPECT_DOUBLE_EQ(attention_error_bound(0.5, 2, 3), 2 * delta / (1 - delta) * 3);
  EXPECT_EQ(attention_error_bound(10, 2, 3), std::numeric_limits<double>::infinity());
  expect_error<UsageError>([] { (void)taylor_relative_error(-1, 2); }, {"range is -1"});
  expect_error<UsageError>([] { (void)taylor_relative_error(std::nan(""), 2); }, {"range is nan"});
  // It is a bound of the relative error for both signs, and not ten times wider where z = -R.
  for (const double range : {0.1, 0.5, 1.0, 2.0})
    for (std::uint32_t degree = 0; degree < 9; ++degree) {
      for (const double z : {-range, -range / 2, range / 2, range})
        EXPECT_LE(std::abs(taylor(z, degree) / std::exp(z) - 1), taylor_relative_error(range, degree) + 1e-15);
      if (degree < 6 && range > 0.1) {
        EXPECT_GE(10 * std::abs(taylor(-range, degree) / std::exp(-range) - 1), taylor_relative_error(range, degree));
      }
    }
  EXPECT_DOUBLE_EQ(score_range(DenseMatrix{2, 2, {3, 4, 0, 1}}, DenseMatrix{1, 2, {0, 2}}, {}, {}), 10);
  EXPECT_DOUBLE_EQ(
      score_range(DenseMatrix{1, 2, {3, 4}}, DenseMatrix{1, 2, {0, 2}}, std::vector{0.0, 4.0}, std::vector{0.0, 1.0}),
      3);
}

TEST(PolynomialState, IsWithinTheBoundOfExactAttention) {
  for (const std::uint32_t degree : {0U, 1U, 2U, 3U, 4U, 6U})
    for (const double deviation : {0.1, 0.25, 0.4})
      for (const bool centred : {false, true}) {
        const std::uint64_t d = 3;
        DenseMatrix q = gaussian(50, d, deviation, 1);
        DenseMatrix k = gaussian(500, d, deviation, 2);
        for (double& x : q.values) x += 0.2;
        for (double& x : k.values) x -= 0.1;
        const DenseMatrix v = gaussian(500, 4, 1, 3);
        Centres centres;
        if (centred) centres = {column_means(q), column_means(k)};
        PolynomialState state({.dimension = d, .degree = degree, .centres = centres}, 4, no_limit);
        state.add(k, v);
        const double bound =
            attention_error_bound(score_range(q, k, centres.q0, centres.k0), degree, largest_magnitude(v));
        EXPECT_LE(largest_difference(state.answer(q), naive_attention(q, k, v)), bound + 1e-5)
            << degree << ' ' << deviation;
      }
}

TEST(PolynomialState, CentringIsExact) {
  // With a degree that makes truncation nothing, any centres give the same outputs; without, they would differ.
  const DenseMatrix q = gaussian(30, 2, 0.5, 4);
  const DenseMatrix k = gaussian(300, 2, 0.5, 5);
  const DenseMatrix v = gaussian(300, 3, 1, 6);
  const DenseMatrix y = naive_attention(q, k, v);
  for (const Centres& centres :
       {Centres{}, Centres{{0.3, -0.2}, {}}, Centres{{}, {0.5, 0.5}}, Centres{{-0.4, 0.4}, {0.3, -0.6}}}) {
    PolynomialState state({.dimension = 2, .degree = 16, .centres = centres}, 3, no_limit);
    state.add(k, v);
    EXPECT_LT(largest_difference(state.answer(q), y), 3e-6);
  }
  // A head far from the origin: without centring the range is above 100.
  DenseMatrix far_q = q;
  DenseMatrix far_k = k;
  for (double& x : far_q.values) x += 7;
  for (double& x : far_k.values) x -= 8;
  PolynomialState state({.dimension = 2, .degree = 12, .centres = {column_means(far_q), column_means(far_k)}}, 3,
                        no_limit);
  state.add(far_k, v);
  EXPECT_LT(largest_difference(state.answer(far_q), naive_attention(far_q, far_k, v)), 1e-5);
}

TEST(PolynomialState, RowsLeaveAndPartsAdd) {
  const DenseMatrix q = gaussian(40, 4, 0.5, 7);
  const DenseMatrix k = gaussian(1000, 4, 0.5, 8);
  const DenseMatrix v = gaussian(1000, 3, 1, 9);
  const PolynomialConfig config{.dimension = 4, .degree = 4, .centres = {{}, column_means(k)}};
  PolynomialState whole(config, 3, no_limit);
  whole.add(k, v);
  // Rows 400 .. 999 go: what stays is the state of the first 400, to the rounding of floats.
  PolynomialState first(config, 3, no_limit);
  first.add(rows_of(k, 0, 400), rows_of(v, 0, 400));
  PolynomialState less = whole;
  less.add(rows_of(k, 400, 600), rows_of(v, 400, 600), -1);
  EXPECT_LT(frobenius_distance(less.answer(q), first.answer(q)), 1e-5);
  EXPECT_GT(frobenius_distance(whole.answer(q), first.answer(q)), 1e-2);
  // Spans are summed.
  PolynomialState sum(config, 3, no_limit);
  sum.add(rows_of(k, 400, 600), rows_of(v, 400, 600));
  for (std::size_t t = 0; t < sum.sums().size(); ++t) sum.sums()[t] += first.sums()[t];
  EXPECT_LT(frobenius_distance(sum.answer(q), whole.answer(q)), 1e-6);
  // Batches of any size are the same stream.
  PolynomialState batches(config, 3, no_limit);
  for (std::uint64_t row = 0, count = 1; row < 1000;
       row += count, count = std::min<std::uint64_t>(count * 3 + 1, 1000 - row))
    batches.add(rows_of(k, row, std::min<std::uint64_t>(count, 1000 - row)),
                rows_of(v, row, std::min<std::uint64_t>(count, 1000 - row)));
  EXPECT_LT(frobenius_distance(batches.answer(q), whole.answer(q)), 1e-6);
}

TEST(PolynomialState, EdgesAreAnswered) {
  const auto answer = [](const DenseMatrix& q, const DenseMatrix& k, const DenseMatrix& v, std::uint32_t degree) {
    PolynomialState state({.dimension = q.columns, .degree = degree}, v.columns, no_limit);
    state.add(k, v);
    return state.answer(q);
  };
  // n = 1, d = 1: the value itself.
  EXPECT_NEAR(answer({1, 1, {0.7}}, {1, 1, {-2}}, {1, 1, {3}}, 2).values[0], 3, 1e-6);
  // Constant values; equal keys and zero queries give the mean.
  const DenseMatrix k = gaussian(300, 3, 1, 10);
  const DenseMatrix v = gaussian(300, 1, 1, 11);
  const double mean = column_means(v)[0];
  const DenseMatrix equal{300, 3, std::vector<double>(900, 0.4)};
  const DenseMatrix constant{300, 1, std::vector<double>(300, -2.5)};
  EXPECT_NEAR(answer({1, 3, {1, -1, 0.5}}, k, constant, 4).values[0], -2.5, 1e-5);
  EXPECT_NEAR(answer({1, 3, {1, -1, 0.5}}, equal, v, 4).values[0], mean, 1e-5);
  EXPECT_NEAR(answer({1, 3, {0, 0, 0}}, k, v, 4).values[0], mean, 1e-5);
  // One dominant key, with the degree that its score of 8 needs.
  DenseMatrix dominant = gaussian(300, 1, 0.1, 12);
  dominant.values[77] = 4;
  EXPECT_LT(largest_difference(answer({1, 1, {2}}, dominant, v, 40), naive_attention({1, 1, {2}}, dominant, v)), 1e-4);
  // Even degrees keep denominators positive, however bad the approximation is.
  EXPECT_NO_THROW((void)answer(gaussian(100, 2, 10, 13), gaussian(300, 2, 10, 14), v, 4));
  // No rows and no queries.
  EXPECT_EQ(answer(DenseMatrix{0, 3, {}}, k, v, 2).rows, 0U);
  PolynomialState empty({.dimension = 3, .degree = 2}, 1, no_limit);
  empty.add(DenseMatrix{0, 3, {}}, DenseMatrix{0, 1, {}});
  expect_error(
      [&] {
        (void)empty.answer(DenseMatrix{1, 3, {1, 2, 3}}, 41);
      },
      {"queries: row 41: its denominator is 0"});
}

TEST(PolynomialState, NamesTheRowThatIsAtFault) {
  const DenseMatrix k = gaussian(600, 2, 1, 15);
  const DenseMatrix v = gaussian(600, 1, 1, 16);
  PolynomialState state({.dimension = 2, .degree = 4}, 1, no_limit);
  DenseMatrix bad = k;
  bad.values[1001] = std::nan("");
  expect_error([&] { state.add(bad, v, 1, 1000); }, {"keys: row 1500, column 1 is nan"});
  DenseMatrix bad_v = v;
  bad_v.values[10] = std::numeric_limits<double>::infinity();
  expect_error([&] { state.add(k, bad_v); }, {"values: row 10, column 0 is inf"});
  bad_v.values[10] = -1e38;
  expect_error([&] { state.add(k, bad_v, 1, 7); }, {"values: row 17, column 0", "32-bit"});
  bad.values[1001] = 1e12;  // its fourth power is beyond floats
  expect_error([&] { state.add(bad, v, 1, 1000); }, {"keys: row 1500", "degree 4", "32-bit"});
  expect_error<UsageError>([&] { state.add(k, rows_of(v, 0, 3)); }, {"v.rows"});
  expect_error<UsageError>([&] { state.add(v, v); }, {"k.columns"});
  expect_error<UsageError>([&] { state.add(k, k); }, {"v.columns"});
  expect_error<UsageError>([&] { state.add(k, v, std::nan("")); }, {"weight is nan"});
  expect_error<UsageError>([] { (void)PolynomialState({.dimension = 2, .degree = 65}, 1, no_limit); }, {"degree"});
  expect_error<UsageError>(
      [] {
        (void)PolynomialState({.dimension = 2, .degree = 2, .centres = {{1}, {}}}, 1, no_limit);
      },
      {"centres.q0.size()"});
  expect_error<UsageError>([] { (void)PolynomialState({.dimension = 2, .degree = 2}, 0, no_limit); },
                           {"value_columns"});
}

}  // namespace
}  // namespace weir
