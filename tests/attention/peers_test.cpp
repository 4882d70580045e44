#include "weir/attention/peers.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "attention/heads.hpp"
#include "support/message_of.hpp"
#include "weir/attention/comparison.hpp"
#include "weir/attention/exact.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::gaussian;
using testing_support::largest_difference;
using testing_support::naive_attention;
using testing_support::rows_of;

constexpr std::uint64_t rows = 600;
constexpr std::uint64_t d = 4;
constexpr std::uint64_t dv = 3;
constexpr std::uint64_t bytes_of_row = (d + dv) * sizeof(float);

struct Head {
  DenseMatrix q = gaussian(rows, d, 0.7, 1);
  DenseMatrix k = gaussian(rows, d, 0.7, 2);
  DenseMatrix v = gaussian(rows, dv, 1, 3);
};

TEST(Peers, NamesAreParsed) {
  EXPECT_EQ(all_peers().size(), 5U);
  for (const Peer peer : all_peers()) EXPECT_EQ(parse_peer(to_string(peer)), peer);
  expect_error<UsageError>([] { (void)parse_peer("oracle"); }, {"unknown peer 'oracle'", "uniform", "balance"});
}

TEST(Peers, ThatKeepRowsAreExactWhereAllRowsFit) {
  const Head head;
  for (const Peer peer : {Peer::uniform, Peer::value_norm, Peer::window, Peer::balance})
    for (const bool causal : {false, true}) {
      const PeerAnswer answer =
          answer_by_peer(peer, head.q, head.k, head.v, {.budget = rows * bytes_of_row, .causal = causal});
      EXPECT_LT(largest_difference(answer.outputs, naive_attention(head.q, head.k, head.v, causal)), 1e-12)
          << to_string(peer);
      EXPECT_EQ(answer.kept, rows);
      EXPECT_EQ(answer.bytes, rows * bytes_of_row);
    }
}

TEST(Peers, StayWithinTheirBudget) {
  const Head head;
  for (const Peer peer : all_peers())
    for (const std::uint64_t budget : {3000U, 5001U, 10000U})
      for (const bool causal : {false, true}) {
        const PeerAnswer answer = answer_by_peer(peer, head.q, head.k, head.v, {.budget = budget, .causal = causal});
        EXPECT_LE(answer.bytes, budget);
        for (const double output : answer.outputs.values) EXPECT_TRUE(std::isfinite(output));
      }
}

TEST(Peers, AreDeterministicGivenTheSeed) {
  const Head head;
  for (const Peer peer : all_peers()) {
    const auto outputs = [&](std::uint64_t seed) {
      return answer_by_peer(peer, head.q, head.k, head.v, {.budget = 4000, .seed = seed}).outputs;
    };
    EXPECT_EQ(outputs(5), outputs(5));
    if (peer != Peer::window && peer != Peer::balance) {
      EXPECT_NE(outputs(5), outputs(6));
    }
  }
}

TEST(Peers, CausalOutputsAreThoseOfTheRowsSoFar) {
  // Query t of a causal run is the same query after a stream of t + 1 rows. (Random features and balance are centred on
  // all rows; value_norm's floor is of all rows and does not matter here.)
  const Head head;
  for (const Peer peer : {Peer::uniform, Peer::value_norm, Peer::window}) {
    const PeerOptions options{.budget = 60 * bytes_of_row, .seed = 9};
    PeerOptions causal = options;
    causal.causal = true;
    const DenseMatrix all = answer_by_peer(peer, head.q, head.k, head.v, causal).outputs;
    for (const std::uint64_t t : {0U, 40U, 58U, 60U, 61U, 300U, 599U}) {
      const DenseMatrix one =
          answer_by_peer(peer, rows_of(head.q, t, 1), rows_of(head.k, 0, t + 1), rows_of(head.v, 0, t + 1), options)
              .outputs;
      EXPECT_LT(largest_difference(one, rows_of(all, t, 1)), 1e-12) << to_string(peer) << ' ' << t;
    }
  }
}

TEST(Peers, WindowKeepsFourTokensAndTheLastOnes) {
  const Head head;
  const WeightedRows kept = choose_rows(Peer::window, head.k, head.v, 10, 0);
  EXPECT_EQ(kept.rows, (std::vector<std::uint64_t>{0, 1, 2, 3, 594, 595, 596, 597, 598, 599}));
  EXPECT_EQ(kept.weights, std::vector<double>(10, 1.0));
}

TEST(Peers, UniformKeepsEveryRowEquallyOften) {
  // Of 2,000 samples of 30 of 600 rows each row is in 100, with variance 2000 * .05 * .95. Chi-squared over the rows
  // has 599 degrees of freedom, less its small negative covariances: z below 5 in its normal approximation (variance 2
  // * 599).
  const Head head;
  std::vector<double> counts(rows);
  for (std::uint64_t seed = 0; seed < 2000; ++seed)
    for (const std::uint64_t row : choose_rows(Peer::uniform, head.k, head.v, 30, seed).rows) ++counts[row];
  double chi_squared = 0;
  for (const double count : counts) chi_squared += (count - 100) * (count - 100) / 95;
  EXPECT_NEAR(chi_squared, 599, 5 * std::sqrt(2 * 599.0));
}

TEST(Peers, ValueNormIsUnbiased) {
  // Sums of exp(q.k) v and of exp(q.k) over a sample are, in the mean over 3,000 seeds, those over all rows, within 4.5
  // standard errors as the samples show them. Norms vary by a factor of 10, and 20 rows have no value at all.
  const Head head;
  DenseMatrix v = head.v;
  for (std::uint64_t j = 0; j < rows; ++j)
    for (std::uint64_t c = 0; c < dv; ++c)
      v.values[j * dv + c] *= j < 20 ? 0.0 : 0.1 + static_cast<double>(j % 10) / 10;
  const auto term = [&](std::uint64_t j, std::uint64_t c) {
    double score = 0;
    for (std::uint64_t i = 0; i < d; ++i) score += head.q.values[i] * head.k.values[j * d + i];
    return std::exp(score) * (c == dv ? 1.0 : v.values[j * dv + c]);
  };
  constexpr int seeds = 3000;
  for (std::uint64_t c = 0; c <= dv; ++c) {
    double whole = 0;
    double magnitudes = 0;
    for (std::uint64_t j = 0; j < rows; ++j) {
      whole += term(j, c);
      magnitudes += std::abs(term(j, c));
    }
    double sum = 0;
    double squares = 0;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      const WeightedRows kept = choose_rows(Peer::value_norm, head.k, v, 50, seed);
      EXPECT_EQ(kept.rows.size(), 50U);
      double estimate = 0;
      for (std::size_t t = 0; t < kept.rows.size(); ++t) estimate += kept.weights[t] * term(kept.rows[t], c);
      sum += estimate / seeds;
      squares += estimate * estimate / seeds;
    }
    const double standard_error = std::sqrt((squares - sum * sum) / seeds);
    EXPECT_NEAR(sum, whole, 4.5 * standard_error) << c;
    EXPECT_LT(standard_error, 0.01 * magnitudes);  // power: a bias of 5% of all terms is seen
  }
}

TEST(Peers, RandomFeaturesHaveTheKernelAsMean) {
  // exp(x.y) = E exp(w.x - |x|^2 / 2) exp(w.y - |y|^2 / 2). Every feature has that mean; orthogonal blocks of 4 with
  // different seeds are independent.
  const DenseMatrix x{2, 4, {0.3, -0.5, 0.2, 0.4, -0.2, 0.1, 0.6, 0.3}};
  const double kernel = std::exp(0.3 * -0.2 - 0.5 * 0.1 + 0.2 * 0.6 + 0.4 * 0.3);
  constexpr int seeds = 20000;
  double sum = 0;
  double squares = 0;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const DenseMatrix logs = random_feature_logs(x, 4, seed);
    double product = 0;
    for (std::size_t f = 0; f < 4; ++f) product += std::exp(logs.values[f] + logs.values[4 + f]) / 4;
    sum += product / seeds;
    squares += product * product / seeds;
  }
  const double standard_error = std::sqrt((squares - sum * sum) / seeds);
  EXPECT_NEAR(sum, kernel, 4.5 * standard_error);
  // Theory without orthogonality: the variance is k^2 (exp(|x + y|^2) - 1) / 4. Orthogonal directions make it smaller.
  double length = 0;
  for (std::size_t i = 0; i < 4; ++i) length += std::pow(x.values[i] + x.values[4 + i], 2);
  EXPECT_LT(standard_error, kernel * std::sqrt((std::exp(length) - 1) / 4 / seeds));
}

TEST(Peers, BalanceBeatsAUniformSample) {
  // Halving by discrepancy must have less error than random halves, else it is not the peer that it stands for.
  const DenseMatrix q = gaussian(4000, 2, 0.5, 11);
  const DenseMatrix k = gaussian(4000, 2, 1, 12);
  const DenseMatrix v = gaussian(4000, 1, 1, 13);
  const DenseMatrix y = exact_attention(q, k, v);
  const auto error = [&](Peer peer) {
    return compare_outputs(y, answer_by_peer(peer, q, k, v, {.budget = 400 * 3 * sizeof(float)}).outputs).frobenius;
  };
  EXPECT_LT(error(Peer::balance), 0.6 * error(Peer::uniform));
}

TEST(Peers, BalancedWeightsCountAllRows) {
  const Head head;
  for (const std::uint64_t count : {16U, 17U, 64U, 65U, 100U, 599U, 600U}) {
    const WeightedRows kept = choose_rows(Peer::balance, head.k, head.v, count, 0);
    EXPECT_LE(kept.rows.size(), count);
    EXPECT_NEAR(std::accumulate(kept.weights.begin(), kept.weights.end(), 0.0), 600, 1e-9) << count;
  }
}

TEST(Peers, EdgesAreAnswered) {
  // Values that are all equal are the output of every peer, whatever it keeps. So are equal keys with equal values.
  const Head head;
  const DenseMatrix constant{rows, 1, std::vector<double>(rows, -2.5)};
  const DenseMatrix equal{rows, d, std::vector<double>(rows * d, 0.5)};
  const DenseMatrix zero{rows, d, std::vector<double>(rows * d, 0.0)};
  for (const Peer peer : all_peers())
    for (const bool causal : {false, true})
      for (const auto& [q, k] : {std::pair{&head.q, &head.k}, {&head.q, &equal}, {&zero, &head.k}, {&zero, &zero}}) {
        const PeerAnswer answer = answer_by_peer(peer, *q, *k, constant, {.budget = 2000, .causal = causal});
        for (const double output : answer.outputs.values) EXPECT_NEAR(output, -2.5, 1e-9) << to_string(peer);
      }
  // One row.
  const DenseMatrix one{1, 1, {0.7}};
  for (const Peer peer : all_peers())
    EXPECT_NEAR(answer_by_peer(peer, one, one, DenseMatrix{1, 1, {3}}, {}).outputs.values[0], 3, 1e-12);
}

TEST(Peers, RefuseWhatCannotBe) {
  const Head head;
  for (const Peer peer : all_peers())
    expect_error<UsageError>([&] { (void)answer_by_peer(peer, head.q, head.k, head.v, {.budget = 20}); },
                             {"20 bytes do not hold"});
  DenseMatrix bad = head.k;
  bad.values[9] = std::nan("");
  expect_error([&] { (void)answer_by_peer(Peer::uniform, head.q, bad, head.v, {}); }, {"keys: row 2, column 1 is nan"});
  expect_error<UsageError>(
      [&] { (void)answer_by_peer(Peer::uniform, rows_of(head.q, 0, 5), head.k, head.v, {.causal = true}); },
      {"q.rows"});
  expect_error<UsageError>([&] { (void)answer_by_peer(Peer::uniform, head.q, head.k, rows_of(head.v, 0, 5), {}); },
                           {"v.rows"});
  expect_error<UsageError>([&] { (void)choose_rows(Peer::balance, head.k, head.v, 15, 0); }, {"count is 15"});
  expect_error<UsageError>([&] { (void)choose_rows(Peer::window, head.k, head.v, 4, 0); }, {"count is 4"});
  expect_error<UsageError>([&] { (void)choose_rows(Peer::random_features, head.k, head.v, 10, 0); }, {"keeps no rows"});
  expect_error<UsageError>([&] { (void)random_feature_logs(head.k, 0, 0); }, {"features"});
}

}  // namespace
}  // namespace weir
