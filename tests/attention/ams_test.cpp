#include "weir/attention/ams.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "attention/heads.hpp"
#include "support/message_of.hpp"
#include "weir/attention/comparison.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::frobenius_distance;
using testing_support::gaussian;
using testing_support::largest_difference;
using testing_support::rows_of;

constexpr std::uint64_t no_limit = std::uint64_t{1} << 40U;
constexpr std::array<PsiKind, 2> kinds{PsiKind::ams, PsiKind::one_nonzero};

std::vector<std::uint64_t> numbers(std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> out(count);
  std::iota(out.begin(), out.end(), first);
  return out;
}

double distance(std::span<const float> a, std::span<const float> b) {
  double difference = 0;
  double size = 0;
  for (std::size_t t = 0; t < a.size(); ++t) {
    difference += std::pow(static_cast<double>(a[t]) - static_cast<double>(b[t]), 2);
    size += std::pow(static_cast<double>(b[t]), 2);
  }
  return std::sqrt(difference / size);
}

struct Head {
  static constexpr std::uint64_t rows = 700;
  static constexpr std::uint64_t d = 4;
  static constexpr std::uint64_t dv = 3;
  DenseMatrix q = gaussian(rows, d, 0.5, 1);
  DenseMatrix k = gaussian(rows, d, 0.5, 2);
  DenseMatrix v = gaussian(rows, dv, 1, 3);
  PolynomialConfig config{.dimension = d, .degree = 4, .centres = {{0.1, 0, -0.1, 0}, {0, 0.1, 0, 0.1}}};

  [[nodiscard]] SketchedKeysValues sketched(Psi psi) const {
    SketchedKeysValues out(config, dv, std::move(psi), no_limit);
    out.add_values(numbers(0, rows), v);
    out.add_keys(numbers(0, rows), k);
    return out;
  }
};

TEST(Psi, NamesAreParsed) {
  for (const PsiKind kind : kinds) EXPECT_EQ(parse_psi_kind(to_string(kind)), kind);
  expect_error<UsageError>([] { (void)parse_psi_kind("gaussian"); }, {"'gaussian'", "ams", "one_nonzero"});
}

TEST(Psi, ColumnsNextToEachOtherAreTheColumns) {
  for (const std::uint64_t m2 : {1U, 32U, 33U, 60U, 61U, 150U}) {
    const Psi psi(PsiKind::ams, m2, 7);
    std::vector<std::uint64_t> rows = numbers(5, 17);
    rows.back() = (std::uint64_t{1} << 61U) - 2;
    constexpr std::size_t stride = 32;
    std::vector<float> together(m2 * stride, 5);
    psi.rows_of_columns(rows, together, stride);
    std::vector<float> column(m2);
    for (std::size_t t = 0; t < stride; ++t) {
      if (t < rows.size()) {
        psi.column(rows[t], column);
      } else {
        std::ranges::fill(column, 0.0F);
      }
      for (std::size_t i = 0; i < m2; ++i) EXPECT_EQ(together[i * stride + t], column[i]) << i << ' ' << t;
    }
    expect_error<UsageError>([&] { psi.rows_of_columns(rows, together, 16); }, {"stride", "16"});
    expect_error<UsageError>([&] { psi.rows_of_columns(rows, std::span(together).first(16), stride); }, {"out.size()"});
    rows.back() += 1;
    expect_error<UsageError>([&] { psi.rows_of_columns(rows, together, stride); }, {"row"});
  }
  std::vector<float> out(32);
  const Psi sparse(PsiKind::one_nonzero, 1, 7);
  expect_error<UsageError>([&] { sparse.rows_of_columns(numbers(0, 2), out, 16); }, {"one_nonzero"});
}

/// For X = (Psi a).(Psi b) with 4-wise independent signs: E X = a.b, and Var X = (|a|^2 |b|^2 + (a.b)^2 - 2 sum a_i^2
/// b_i^2) / m2, for both kinds. The variance of a sample variance is at most (kurtosis - 1) Var^2 / seeds; the kurtosis
/// is below 30 in the tests below.
void expect_moments(const std::vector<std::uint64_t>& keys, const std::vector<double>& a, const std::vector<double>& b,
                    int seeds) {
  double aa = 0;
  double bb = 0;
  double ab = 0;
  double fourth = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    aa += a[i] * a[i];
    bb += b[i] * b[i];
    ab += a[i] * b[i];
    fourth += std::pow(a[i] * b[i], 2);
  }
  for (const PsiKind kind : kinds)
    for (const std::uint64_t m2 : {1U, 7U, 64U, 130U}) {
      const double variance = (aa * bb + ab * ab - 2 * fourth) / static_cast<double>(m2);
      double sum = 0;
      double squares = 0;
      std::vector<float> column(m2);
      for (int seed = 0; seed < seeds; ++seed) {
        const Psi psi(kind, m2, static_cast<std::uint64_t>(seed));
        std::vector<double> of_a(m2);
        std::vector<double> of_b(m2);
        for (std::size_t i = 0; i < keys.size(); ++i) {
          psi.column(keys[i], column);
          for (std::size_t s = 0; s < m2; ++s) {
            of_a[s] += static_cast<double>(column[s]) * a[i];
            of_b[s] += static_cast<double>(column[s]) * b[i];
          }
        }
        const double x = std::inner_product(of_a.begin(), of_a.end(), of_b.begin(), 0.0);
        sum += x / seeds;
        squares += (x - ab) * (x - ab) / seeds;
      }
      EXPECT_NEAR(sum, ab, 4.5 * std::sqrt(variance / seeds)) << to_string(kind) << ' ' << m2;
      EXPECT_NEAR(squares / variance, 1, 4.5 * std::sqrt(30.0 / seeds)) << to_string(kind) << ' ' << m2;
    }
}

TEST(Psi, HasTheMomentsOfFourWiseSigns) {
  // Keys are structured, as weak hashes show there.
  std::vector<std::uint64_t> keys;
  for (std::uint64_t i = 0; i < 8; ++i) {
    keys.push_back(i);
    keys.push_back((i + 1) << 32U);
    keys.push_back(1000 + (std::uint64_t{1} << i));
  }
  expect_moments(keys, gaussian(keys.size(), 1, 1, 4).values, gaussian(keys.size(), 1, 1, 5).values, 20000);
}

TEST(Psi, HasTheMomentsOfFourWiseSignsForOnes) {
  // Equal numbers at consecutive keys: signs that are only pairwise independent, linear in the key, have another
  // variance here.
  expect_moments(numbers(0, 64), std::vector<double>(64, 1.0), std::vector<double>(64, 1.0), 6000);
}

TEST(Psi, ColumnsAreWhatTheKindSays) {
  const Psi ams(PsiKind::ams, 100, 6);
  const Psi sparse(PsiKind::one_nonzero, 100, 6);
  std::vector<float> column(100);
  for (std::uint64_t row = 0; row < 1000; ++row) {
    ams.column(row, column);
    for (const float x : column) EXPECT_FLOAT_EQ(std::abs(x), 0.1F);
    sparse.column(row, column);
    const Psi::Entry entry = sparse.entry(row);
    EXPECT_EQ(column[entry.place], entry.sign);
    EXPECT_EQ(std::count(column.begin(), column.end(), 0.0F), 99);
  }
  expect_error<UsageError>([&] { (void)ams.entry(1); }, {"no zeros"});
  expect_error<UsageError>([&] { ams.column(~std::uint64_t{0}, column); }, {"row"});
  expect_error<UsageError>([&] { ams.column(0, std::span(column).first(3)); }, {"out.size()"});
  expect_error<UsageError>([] { (void)Psi(PsiKind::ams, 0, 1); }, {"m2"});
  expect_error<UsageError>([] { (void)Psi(PsiKind::ams, Psi::largest + 1, 1); }, {"m2"});
}

TEST(Psi, SizeIsTheFormula) {
  EXPECT_EQ(psi_rows(0.1, 1000), 691U);  // 6.9078 / .01
  EXPECT_EQ(psi_rows(10, 1000), 1U);
  EXPECT_EQ(psi_rows(1, 1), 2U);  // ln 3
  expect_error<UsageError>([] { (void)psi_rows(0, 10); }, {"eps2 is 0"});
  expect_error<UsageError>([] { (void)psi_rows(1e-5, 10); }, {"eps2 = 1e-05", "2^24"});
}

TEST(SketchedKeysValues, ProductHasTheErrorOfTheSketch) {
  // Query i's numerator in column l is estimated as (Psi w).(Psi v_l), with w_j = phi(q_i).phi(k_j) exp(q0.(k_j - k0)):
  // the moments above give its variance. Over 12 seeds, 40 queries and 3 columns, which share sketches, the mean of the
  // ratio is within a third of 1.
  const Head head;
  PolynomialState exact(head.config, Head::dv, no_limit);
  exact.add(head.k, head.v);
  const DenseMatrix q = rows_of(head.q, 0, 40);
  const DenseMatrix y = exact.answer(q);
  PolynomialState weights(head.config, Head::rows, no_limit);  // V = I: its outputs are the weights, divided by D
  DenseMatrix identity{Head::rows, Head::rows, std::vector<double>(Head::rows * Head::rows)};
  for (std::uint64_t i = 0; i < Head::rows; ++i) identity.values[i * (Head::rows + 1)] = 1;
  weights.add(head.k, identity);
  const DenseMatrix w = weights.answer(q);
  for (const PsiKind kind : kinds) {
    constexpr std::uint64_t m2 = 256;
    constexpr int seeds = 12;
    double ratio = 0;
    PolynomialFeatures features(head.config);
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      const DenseMatrix out =
          answer_from_product(features, head.sketched(Psi(kind, m2, seed)).product(false), Head::dv, q);
      for (std::uint64_t i = 0; i < q.rows; ++i)
        for (std::uint64_t l = 0; l < Head::dv; ++l) {
          double ww = 0;
          double vv = 0;
          double wv = 0;
          double fourth = 0;
          for (std::uint64_t j = 0; j < Head::rows; ++j) {
            const double a = w.values[i * Head::rows + j];
            const double b = head.v.values[j * Head::dv + l];
            ww += a * a;
            vv += b * b;
            wv += a * b;
            fourth += a * a * b * b;
          }
          const double variance = (ww * vv + wv * wv - 2 * fourth) / m2;
          ratio += std::pow(out.values[i * Head::dv + l] - y.values[i * Head::dv + l], 2) / variance /
                   static_cast<double>(seeds * q.rows * Head::dv);
        }
    }
    EXPECT_NEAR(ratio, 1, 1.0 / 3) << to_string(kind);
  }
}

TEST(SketchedKeysValues, MeanCorrectionRemovesWhatTheMeanAdds) {
  // Values far from 0: their mean is most of their norm. Constant values are exact, to rounding.
  Head head;
  for (double& x : head.v.values) x += 20;
  PolynomialState exact(head.config, Head::dv, no_limit);
  exact.add(head.k, head.v);
  const DenseMatrix y = exact.answer(head.q);
  PolynomialFeatures features(head.config);
  for (const PsiKind kind : kinds) {
    const SketchedKeysValues sketched = head.sketched(Psi(kind, 64, 7));
    const double plain =
        frobenius_distance(answer_from_product(features, sketched.product(false), Head::dv, head.q), y);
    const double corrected =
        frobenius_distance(answer_from_product(features, sketched.product(true), Head::dv, head.q), y);
    // Standard deviations of errors are as the norms of v and v less its mean, 20 to 1; a third of that is asked.
    EXPECT_LT(corrected, plain / 7) << to_string(kind);
    Head constant;
    std::fill(constant.v.values.begin(), constant.v.values.end(), -2.5);
    const DenseMatrix out =
        answer_from_product(features, constant.sketched(Psi(kind, 64, 7)).product(true), Head::dv, head.q);
    for (const double x : out.values) EXPECT_NEAR(x, -2.5, 2e-5);
  }
}

TEST(SketchedKeysValues, IsLinearInEntriesOfVAndRowsOfK) {
  const Head head;
  for (const PsiKind kind : kinds) {
    const Psi psi(kind, 90, 8);
    SketchedKeysValues expected = head.sketched(psi);
    SketchedKeysValues other(head.config, Head::dv, psi, no_limit);
    // Other rows come first and go again; entries of V come one by one and in another order.
    const DenseMatrix more_k = gaussian(200, Head::d, 0.5, 9);
    const DenseMatrix more_v = gaussian(200, Head::dv, 1, 10);
    const auto beyond = numbers(Head::rows, 200);
    other.add_values(beyond, more_v);
    for (std::uint64_t c = Head::dv; c-- > 0;)
      for (std::uint64_t j = 0; j < Head::rows; ++j) {
        DenseMatrix entry{1, Head::dv, std::vector<double>(Head::dv)};
        entry.values[c] = head.v.values[j * Head::dv + c] / 2;
        other.add_values(numbers(j, 1), entry, 2);
      }
    other.add_values(beyond, more_v, -1);
    other.add_keys(beyond, more_k);
    const std::uint64_t cut = 333;
    other.add_keys(numbers(cut, Head::rows - cut), rows_of(head.k, cut, Head::rows - cut));
    other.add_keys(beyond, more_k, -1);
    SketchedKeysValues part(head.config, Head::dv, psi, no_limit);
    part.add_keys(numbers(0, cut), rows_of(head.k, 0, cut));
    for (const auto& [to, from] :
         {std::pair{other.sk_u2(), part.sk_u2()}, {other.prod(), part.prod()}, {other.sk_ones(), part.sk_ones()}})
      for (std::size_t t = 0; t < to.size(); ++t) to[t] += from[t];
    other.count()[0] += part.count()[0];
    EXPECT_LT(distance(other.sk_v(), expected.sk_v()), 1e-6);
    EXPECT_LT(distance(other.sum_v(), expected.sum_v()), 1e-5);
    EXPECT_LT(distance(other.sk_u2(), expected.sk_u2()), 1e-6);
    EXPECT_LT(distance(other.prod(), expected.prod()), 1e-6);
    EXPECT_LT(distance(other.sk_ones(), expected.sk_ones()), 1e-6);
    EXPECT_EQ(other.count()[0], 700);
  }
}

TEST(QuerySketch, CollapsedIsPaperAndPairedIsDirect) {
  const Head head;
  const Phi phi(Head::rows, 5, 64, 11);
  PolynomialFeatures features(head.config);
  const auto rows = numbers(0, Head::rows);
  PolynomialState direct(head.config, Head::dv, no_limit);
  direct.add(head.k, head.v);
  std::vector<std::vector<float>> products{{direct.sums().begin(), direct.sums().end()}};
  for (const PsiKind kind : kinds) products.push_back(head.sketched(Psi(kind, 128, 12)).product(true));
  for (const std::vector<float>& m : products) {
    // Factored: Q is sketched with prod alone, and M comes later.
    std::vector<float> prod;
    for (std::size_t f = 0; f < features.count(); ++f) prod.push_back(m[f * (Head::dv + 1)]);
    QuerySketch queries(head.config, phi, no_limit);
    queries.add(rows, head.q, prod);
    OutputSketch factored = queries.product(m, Head::dv);
    OutputSketch collapsed(phi, Head::dv);
    add_collapsed(collapsed, features, m, head.q, rows);
    EXPECT_LT(distance(factored.z(), collapsed.z()), 1e-6);
    EXPECT_LT(distance(factored.sk_ones(), collapsed.sk_ones()), 1e-7);
    EXPECT_EQ(factored.sums()[0], 700);
    for (std::size_t c = 0; c <= Head::dv; ++c) EXPECT_NEAR(factored.sums()[c], collapsed.sums()[c], 1e-3);
    // The sketch of the outputs that are answered at once.
    OutputSketch outputs(phi, Head::dv);
    outputs.add(rows, answer_from_product(features, m, Head::dv, head.q));
    EXPECT_LT(distance(factored.z(), outputs.z()), 1e-6);
  }
}

TEST(QuerySketch, QueriesLeave) {
  const Head head;
  const Phi phi(Head::rows, 3, 32, 13);
  PolynomialFeatures features(head.config);
  PolynomialState state(head.config, Head::dv, no_limit);
  state.add(head.k, head.v);
  std::vector<float> prod;
  for (std::size_t f = 0; f < features.count(); ++f) prod.push_back(state.sums()[f * (Head::dv + 1)]);
  const std::uint64_t cut = 300;
  const auto first = numbers(0, cut);
  const auto rest = numbers(cut, Head::rows - cut);
  QuerySketch expected(head.config, phi, no_limit);
  expected.add(first, rows_of(head.q, 0, cut), prod);
  QuerySketch less(head.config, phi, no_limit);
  less.add(numbers(0, Head::rows), head.q, prod);
  less.add(rest, rows_of(head.q, cut, Head::rows - cut), prod, -1);
  EXPECT_LT(distance(less.sk_u1(), expected.sk_u1()), 1e-6);
  EXPECT_LT(distance(less.sum_u1(), expected.sum_u1()), 1e-5);
  EXPECT_EQ(less.count()[0], 300);
  OutputSketch of_first(phi, Head::dv);
  add_collapsed(of_first, features, state.sums(), rows_of(head.q, 0, cut), first);
  OutputSketch of_less(phi, Head::dv);
  add_collapsed(of_less, features, state.sums(), head.q, numbers(0, Head::rows));
  add_collapsed(of_less, features, state.sums(), rows_of(head.q, cut, Head::rows - cut), rest, -1);
  EXPECT_LT(distance(of_less.z(), of_first.z()), 1e-6);
}

TEST(Sketches, NameTheRowAndRefuseWhatDoesNotFit) {
  const Head head;
  const Psi psi(PsiKind::ams, 16, 1);
  SketchedKeysValues sketched(head.config, Head::dv, psi, no_limit);
  const std::vector<std::uint64_t> rows{17, 5, 900};
  DenseMatrix k = rows_of(head.k, 0, 3);
  k.values[2 * Head::d + 1] = std::nan("");
  expect_error([&] { sketched.add_keys(rows, k); }, {"keys: row 900, column 1 is nan"});
  k.values[2 * Head::d + 1] = 1e12;
  expect_error([&] { sketched.add_keys(rows, k); }, {"keys: row 900", "32-bit"});
  DenseMatrix v = rows_of(head.v, 0, 3);
  v.values[3] = -std::numeric_limits<double>::infinity();
  expect_error([&] { sketched.add_values(rows, v); }, {"values: row 5, column 0 is -inf"});
  expect_error<UsageError>([&] { sketched.add_values(numbers(0, 2), v); }, {"rows.size()"});
  // 16 x (70 + 3 + 1) floats and a line more; the number of bytes is refused before anything is allocated.
  expect_error<UsageError>([&] { (void)SketchedKeysValues(head.config, Head::dv, psi, 16 * 74 * 4); },
                           {"4736 bytes", "g = 2: r = 15"});
  EXPECT_NO_THROW((void)SketchedKeysValues(head.config, Head::dv, psi, 17 * 74 * 4));
  expect_error<UsageError>([&] { (void)SketchedKeysValues({.dimension = 64, .degree = 12}, 64, psi, no_limit); },
                           {"g = 4"});
  const Phi phi(Head::rows, 3, 32, 2);
  expect_error<UsageError>([&] { (void)QuerySketch(head.config, phi, 1000); }, {"1000 bytes"});
  QuerySketch queries(head.config, phi, no_limit);
  const std::vector<float> zeros(70);
  expect_error(
      [&] {
        queries.add(std::vector<std::uint64_t>{4, 2}, rows_of(head.q, 0, 2), zeros);
      },
      {"queries: row 4", "denominator is 0"});
  expect_error<UsageError>([&] { queries.add(numbers(700, 1), rows_of(head.q, 0, 1), zeros); }, {"a row"});
  expect_error<UsageError>([&] { queries.add(numbers(0, 1), rows_of(head.q, 0, 1), std::span(zeros).first(3)); },
                           {"prod.size()"});
}

}  // namespace
}  // namespace weir
