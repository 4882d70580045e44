// The statistics that other tests rest on, against closed forms and tabulated values.

#include "support/statistics.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

namespace weir::statistics {
namespace {

TEST(Statistics, ChiSquaredCriticalValues) {
  // Abramowitz and Stegun, table 26.8: upper 5%, 1% and 0.1% points.
  EXPECT_NEAR(chi_squared_survival(3.841459, 1), 0.05, 1e-7);
  EXPECT_NEAR(chi_squared_survival(18.307038, 10), 0.05, 1e-7);
  EXPECT_NEAR(chi_squared_survival(135.806723, 100), 0.01, 1e-7);
  EXPECT_NEAR(chi_squared_survival(29.588298, 10), 0.001, 1e-8);
}

TEST(Statistics, IncompleteGammaClosedForms) {
  for (const double x : {0.01, 0.5, 1.0, 3.0, 10.0, 40.0}) {
    EXPECT_NEAR(regularised_gamma_upper(0.5, x) / std::erfc(std::sqrt(x)), 1, 1e-10) << x;
    EXPECT_NEAR(regularised_gamma_upper(1, x) / std::exp(-x), 1, 1e-10) << x;
    double term = std::exp(-x);  // Q(k, x) = e^-x sum of x^j / j!, j < k
    double sum = 0;
    for (int j = 0; j < 20; ++j) {
      sum += term;
      term *= x / (j + 1);
    }
    EXPECT_NEAR(regularised_gamma_upper(20, x) / sum, 1, 1e-10) << x;
  }
  EXPECT_EQ(regularised_gamma_upper(3, 0), 1);
  EXPECT_THROW((void)regularised_gamma_upper(0, 1), std::invalid_argument);
}

TEST(Statistics, BinomialTailsAgainstPascal) {
  constexpr std::size_t trials = 30;
  for (const double q : {0.05, 0.5, 0.632, 0.97}) {
    std::array<double, trials + 1> law{1};
    for (std::size_t t = 0; t < trials; ++t) {
      for (std::size_t k = t + 1; k > 0; --k) law[k] = law[k] * (1 - q) + law[k - 1] * q;
      law[0] *= 1 - q;
    }
    double survival = 0;
    for (std::size_t k = trials + 1; k-- > 0;) {
      survival += law[k];
      EXPECT_NEAR(binomial_probability(trials, q, k) / law[k], 1, 1e-11);
      EXPECT_NEAR(binomial_survival(trials, q, k), survival, 1e-12);
    }
  }
}

TEST(Statistics, ChiSquaredFit) {
  const std::vector<std::uint64_t> counts{10, 20, 30};
  const std::vector<double> thirds(3, 1.0 / 3);
  const ChiSquared test = chi_squared_fit(counts, thirds);
  EXPECT_NEAR(test.statistic, 10, 1e-12);
  EXPECT_EQ(test.degrees, 2);
  EXPECT_NEAR(test.p_value, std::exp(-5.0), 1e-12);
}

TEST(Statistics, ChiSquaredFitPoolsSmallCells) {
  // Expectations 1, 1, 2, 6, 90: the first three and the fourth make one cell of 10.
  const std::vector<std::uint64_t> counts{3, 0, 4, 8, 85};
  const std::vector<double> law{0.01, 0.01, 0.02, 0.06, 0.90};
  const ChiSquared test = chi_squared_fit(counts, law);
  EXPECT_EQ(test.degrees, 1);
  EXPECT_NEAR(test.statistic, 25.0 / 10 + 25.0 / 90, 1e-12);
}

TEST(Statistics, ChiSquaredFitRejectsTheImpossible) {
  EXPECT_EQ(chi_squared_fit(std::vector<std::uint64_t>{50, 50, 1}, std::vector<double>{0.5, 0.5, 0}).p_value, 0);
}

TEST(Statistics, ChiSquaredIndependence) {
  // 2 x 2: N (ad - bc)^2 over the product of the margins.
  const ChiSquared test = chi_squared_independence(std::vector<std::uint64_t>{10, 20, 30, 40}, 2);
  EXPECT_NEAR(test.statistic, 100.0 * 200 * 200 / (30.0 * 70 * 40 * 60), 1e-12);
  EXPECT_EQ(test.degrees, 1);
}

TEST(Statistics, ExpectedTotalVariation) {
  // 4 draws from (1/4, 3/4): E|X - 1| over Binomial(4, 1/4), by hand, both cells alike.
  double deviation = 0;
  for (std::uint64_t k = 0; k <= 4; ++k) {
    deviation += binomial_probability(4, 0.25, k) * std::abs(static_cast<double>(k) - 1) / 4;
  }
  const std::vector<double> law{0.25, 0.75};
  EXPECT_NEAR(expected_total_variation(law, 4), deviation, 1e-14);
  EXPECT_NEAR(total_variation(std::vector<std::uint64_t>{4, 0}, law), 0.75, 1e-15);
  EXPECT_NEAR(total_variation_bound(law, 4, std::exp(-8.0)), deviation + 1, 1e-14);
}

TEST(Statistics, Normal) {
  EXPECT_NEAR(normal_survival(1.959963985), 0.025, 1e-10);
  EXPECT_NEAR(normal_p_value(-2.575829304), 0.01, 1e-10);
  const Moments m = moments(std::vector<double>{1, 2, 3, 6});
  EXPECT_DOUBLE_EQ(m.mean, 3);
  EXPECT_DOUBLE_EQ(m.variance, 14.0 / 3);
  EXPECT_DOUBLE_EQ(m.standard_error, std::sqrt(14.0 / 12));
}

}  // namespace
}  // namespace weir::statistics
