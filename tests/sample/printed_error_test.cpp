// Errors that are printed with draws: bounds hold at their rate and half of them does not, and corrections take off what the
// theory of second order says. Decisions about rates are at significance 1e-5. Draws of one sketch share its noise, so that
// every count has sketches enough.

#include "sample/printed_error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "sample/error_bar.hpp"
#include "sample/horvitz_thompson.hpp"
#include "support/law.hpp"
#include "support/statistics.hpp"
#include "weir/sample/sampler.hpp"

namespace weir {
namespace {

using testing_support::law_significance;
using testing_support::make_keys;
using testing_support::make_vector;
using testing_support::sketch_of;
using testing_support::SparseVector;

/// Integral of f over [0, end], by Simpson's rule in the variable E = end u^4, which bends what is steep at 0.
template <class Function>
double integral(const Function& f, double end) {
  constexpr int steps = 2000;
  double sum = 0;
  for (int k = 0; k <= steps; ++k) {
    const double u = static_cast<double>(k) / steps;
    const double weight = k == 0 || k == steps ? 1 : k % 2 == 1 ? 4 : 2;
    sum += weight * f(end * u * u * u * u) * 4 * end * u * u * u;
  }
  return sum / (3 * steps);
}

TEST(PrintedError, QuantilesOfGamma) {
  // Of chi-squared with 16 and 128 degrees, from tables: 5.142 and 34.267; 90.6 and 171.8 within 0.1%.
  EXPECT_NEAR(gamma_quantile(8, -2.5758), 5.142 / 16, 0.005);
  EXPECT_NEAR(gamma_quantile(8, 2.5758), 34.267 / 16, 0.005);
  EXPECT_NEAR(statistics::regularised_gamma_upper(64, 64 * gamma_quantile(64, 2.5758)), 0.005, 0.0002);
  EXPECT_EQ(gamma_quantile(0.5, -2.5758), 0);
}

TEST(PrintedError, SelectionBiasHasTheMeanOfTheTheory) {
  for (const double p : {2.0, 1.0, 0.5}) {
    EXPECT_NEAR(selection_bias(1e-9, p), p + 2, 1e-6);
    EXPECT_EQ(selection_bias(std::numeric_limits<double>::infinity(), p), 0);
    for (const double x : {0.01, 0.5, 3.0, 12.0}) {
      const double mean =
          integral([&](double e) { return std::exp(-e) * std::pow(e / x, 2 / p) * selection_bias(x, p); }, x);
      EXPECT_NEAR(mean, p * x * std::exp(-x), 1e-6) << "p = " << p << ", x = " << x;
    }
  }
}

// Of an entry v = 1 with noise of +-sigma in its scaled value, drawn when that is above tau: the mean of the term that is
// added when it is drawn, over both signs and the scale E^(-1/p), less 1. The noise alone gives up to 12 (sigma / tau)^2; what
// the corrections leave is of fourth order.
TEST(PrintedError, HorvitzThompsonTermsHaveNoBiasOfSecondOrder) {
  constexpr double relative = 0.03;
  for (const double p : {2.0, 1.0, 0.5}) {
    for (const double q : {0.5, 1.0, 2.0, 4.0}) {
      for (const double x : {0.05, 0.5, 2.0, 6.0}) {
        const double tau = std::pow(x, -1 / p);
        const double sigma = relative * tau;
        double corrected = 0, plain = 0;
        for (const double noise : {-sigma, sigma}) {
          const double end = std::pow(tau - noise, -p);
          const auto scaled = [&](double e) { return 1 + noise * std::pow(e, 1 / p); };
          plain += 0.5 * integral(
                             [&](double e) {
                               const double value = scaled(e);
                               return std::exp(-e) * std::pow(value, q) / -std::expm1(-std::pow(value / tau, p));
                             },
                             end);
          corrected += 0.5 * integral(
                                 [&](double e) {
                                   const double bar = deviations_of_bar * sigma * std::pow(e, 1 / p);
                                   const double value =
                                       without_selection_bias(scaled(e), std::pow(scaled(e) / tau, p), bar, p);
                                   HorvitzThompsonSum sum(q, p);
                                   sum.add(value, -std::expm1(-std::pow(value / tau, p)), bar);
                                   return std::exp(-e) * sum.value();
                                 },
                                 end);
        }
        const std::string what =
            "p = " + std::to_string(p) + ", q = " + std::to_string(q) + ", x = " + std::to_string(x);
        EXPECT_LT(std::abs(corrected - 1), 3e-4) << what << ", without corrections " << plain - 1;
        if (q == p && x < 1) {
          EXPECT_NEAR(plain - 1, 0.5 * p * (p + 1) * relative * relative, 0.6 * p * relative * relative) << what;
        }
      }
    }
  }
}

struct Misses {
  std::uint64_t draws = 0;
  std::uint64_t values = 0, values_by_half = 0;
  std::uint64_t probabilities = 0, probabilities_by_half = 0;
  std::uint64_t norms = 0, norms_by_half = 0;
  std::vector<double> moment_errors;  ///< norm_p^p, relative.

  void add(const SampleResult& result, const SparseVector& y, const std::vector<double>& law, double p) {
    for (const Draw& draw : result.draws) {
      ++draws;
      const double off = std::abs(draw.value - y.values[draw.index]);
      values += off > draw.value_bound.value();
      // For p = 1/2 single large entries make up the noise: most values are far better than the bar.
      values_by_half += off > draw.value_bound.value() / (p < 1 ? 4 : 2);
      const double missed = std::abs(draw.probability - law[draw.index]);
      probabilities += missed > draw.probability_bound.value();
      probabilities_by_half += missed > draw.probability_bound.value() / 2;
    }
    if (!result.norm_p) return;
    double moment = 0;
    for (const double value : y.values) moment += std::pow(std::abs(value), p);
    const double norm = std::pow(moment, 1 / p);
    // The bound of a square of a sum is that of the side on which it moves more.
    norms += std::abs(result.norm_p->value - norm) > result.norm_p->bound;
    norms_by_half += std::abs(result.norm_p->value - norm) > result.norm_p->bound / (p < 1 ? 3 : 2);
    moment_errors.push_back(std::pow(result.norm_p->value / norm, p) - 1);
  }
};

void expect_rate(std::uint64_t missed, std::uint64_t by_half, std::uint64_t trials, const std::string& what) {
  EXPECT_GT(statistics::binomial_survival(trials, 0.01, missed), law_significance) << what << ": " << missed;
  EXPECT_LT(statistics::binomial_survival(trials, 0.01, by_half), law_significance) << what << ", half: " << by_half;
}

TEST(PrintedError, BoundsOfDrawsWithoutReplacement) {
  const SparseVector y = make_vector("flat", make_keys(2048, [](auto t) { return t; }));
  for (const double p : {2.0, 1.0, 0.5}) {
    const std::vector<double> law = testing_support::law_of(y, p);
    Misses misses;
    for (std::uint64_t seed = 1; seed <= 250; ++seed) {
      const VectorSketch sketch = sketch_of({.dimension = 2048, .buckets = 512, .lanes = 2, .p = p, .seed = seed}, y);
      misses.add(draw_without_replacement(sketch, {.samples = 8}), y, law, p);
    }
    const std::string what = "p = " + std::to_string(p);
    expect_rate(misses.values, misses.values_by_half, misses.draws, what + ", values");
    expect_rate(misses.probabilities, misses.probabilities_by_half, misses.draws, what + ", probabilities");
    if (p < 2) {
      EXPECT_GT(statistics::binomial_survival(250, 0.01, misses.norms), law_significance) << what;
    }
  }
}

TEST(PrintedError, BoundsOfDrawsWithReplacementBelowTwo) {
  for (const std::string shape : {"flat", "zipf"}) {
    const SparseVector y = make_vector(shape, make_keys(1024, [](auto t) { return t; }));
    for (const double p : {1.0, 0.5}) {
      const std::vector<double> law = testing_support::law_of(y, p);
      Misses misses;
      for (std::uint64_t seed = 1; seed <= 120; ++seed) {
        const VectorSketch sketch =
            sketch_of({.dimension = 1024, .buckets = 128, .lanes = 24, .p = p, .seed = seed}, y);
        misses.add(draw_with_replacement(sketch, {.samples = 8}), y, law, p);
      }
      const std::string what = shape + ", p = " + std::to_string(p);
      expect_rate(misses.values, misses.values_by_half, misses.draws, what + ", values");
      expect_rate(misses.norms, misses.norms_by_half, 120, what + ", norms");
      // 5 entries of each of 23 lanes: 1 / sqrt(115) = 0.093. With the maxima alone it is 0.21, and 0.05 the bias.
      const statistics::Moments of_moments = statistics::moments(misses.moment_errors);
      EXPECT_LT(std::sqrt(of_moments.variance), 0.12) << what;
      EXPECT_LT(std::abs(of_moments.mean), 5 * of_moments.standard_error) << what;
    }
  }
}

}  // namespace
}  // namespace weir
