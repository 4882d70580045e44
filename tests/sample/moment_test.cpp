// Moments through samples, against exact ones: no bias, an unbiased variance, and bounds that hold as often as they
// say. Each decision is at significance 1e-5, fewer than 60 of them.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/law.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/moment.hpp"
#include "weir/sample/sampler.hpp"

namespace weir {
namespace {

constexpr double significance = testing_support::law_significance;

double exact_moment(const testing_support::SparseVector& y, double p) {
  double sum = 0;
  for (const double value : y.values) sum += std::pow(std::abs(value), p);
  return sum;
}

struct Coverage {
  std::vector<double> errors;  ///< value - truth, over the truth.
  std::vector<double> excess;  ///< error^2 - standard error^2, the same.
  std::uint64_t outside = 0;
};

/// Of moment p over `trials` samples by |y|^law that `draws_of(seed)` gives.
template <class DrawsOf>
Coverage coverage_of(const DrawsOf& draws_of, double p, double law, double truth, std::uint64_t trials) {
  Coverage result;
  for (std::uint64_t seed = 1; seed <= trials; ++seed) {
    const MomentEstimate estimate = moment_through_samples(draws_of(seed), p, law);
    const double error = estimate.value / truth - 1;
    const double standard_error = estimate.standard_error / truth;
    result.errors.push_back(error);
    result.excess.push_back(error * error - standard_error * standard_error);
    result.outside += std::abs(estimate.value - truth) > estimate.bound;
  }
  return result;
}

void expect_no_bias(const std::vector<double>& values, const std::string& what) {
  const statistics::Moments m = statistics::moments(values);
  EXPECT_GT(statistics::normal_p_value(m.mean / m.standard_error), significance) << what << ": " << m.mean;
}

// Squares of errors have a skewness of 5 to 40 on zipf: with fewer trials the mean of their excess falls below a normal
// quantile of 1e-5 several times as often as that.
TEST(Moments, ThroughExactSamples) {
  constexpr std::uint64_t trials = 6000;
  for (const std::string shape : {"flat", "zipf"}) {
    const auto y = testing_support::make_vector(shape, testing_support::make_keys(500, [](auto t) { return t; }));
    DenseVector dense(500);
    dense.update(y.keys, y.values);
    for (const double law : {2.0, 1.0}) {
      const auto draws_of = [&](std::uint64_t seed) {
        return draw_without_replacement(dense, {.samples = 60, .p = law, .seed = seed}).draws;
      };
      for (const double p : {0.5, 1.0, 2.0, 3.0}) {
        const Coverage coverage = coverage_of(draws_of, p, law, exact_moment(y, p), trials);
        const std::string what = shape + ", p = " + std::to_string(p) + ", drawn with " + std::to_string(law);
        expect_no_bias(coverage.errors, what + ", value");
        expect_no_bias(coverage.excess, what + ", variance");
        EXPECT_GT(statistics::binomial_survival(trials, 0.01, coverage.outside), significance) << what;
      }
    }
  }
}

/// The values of a wide sketch are off by sqrt(0.3 k ln(n) / B) at the threshold, 0.1 here, and less above it: well
/// within bounds of ten standard errors, which are 0.1 or more each.
TEST(Moments, ThroughASketch) {
  for (const std::string shape : {"flat", "zipf"}) {
    const auto y = testing_support::make_vector(shape, testing_support::make_keys(500, [](auto t) { return 3 * t; }));
    const auto draws_of = [&](std::uint64_t seed) {
      const VectorSketch sketch =
          testing_support::sketch_of({.dimension = 1500, .buckets = 8192, .lanes = 2, .seed = seed}, y);
      return draw_without_replacement(sketch, {.samples = 60}).draws;
    };
    for (const double p : {0.5, 1.0, 2.0, 3.0}) {
      const Coverage coverage = coverage_of(draws_of, p, 2, exact_moment(y, p), 100);
      EXPECT_GT(statistics::binomial_survival(100, 0.01, coverage.outside), significance) << shape << ", p = " << p;
    }
  }
}

TEST(Moments, OfGivenDraws) {
  // 2^3 + 3^3 / 0.5, variance 27^2 * 0.5 / 0.25.
  const std::vector<Draw> draws{{.lane = 1, .index = 4, .value = 2, .probability = 0.1, .inclusion = 1.0},
                                {.lane = 1, .index = 9, .value = -3, .probability = 0.1, .inclusion = 0.5}};
  const MomentEstimate estimate = moment_through_samples(draws, 3, 3);
  EXPECT_DOUBLE_EQ(estimate.value, 62);
  EXPECT_DOUBLE_EQ(estimate.standard_error, std::sqrt(1458.0));
  EXPECT_DOUBLE_EQ(estimate.bound, 10 * std::sqrt(1458.0));
  const MomentEstimate certain = moment_through_samples(std::span(draws).first(1), 3, 2);
  EXPECT_EQ(certain.value, 8);
  EXPECT_EQ(certain.standard_error, 0);
  EXPECT_EQ(moment_through_samples({}, 2, 2).value, 0);
}

TEST(Moments, RefuseWhatMakesNoSense) {
  const std::vector<Draw> draws{{.lane = 1, .index = 4, .value = 2, .probability = 0.1, .inclusion = 0.5}};
  for (const double bad :
       {0.0, -1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW((void)moment_through_samples(draws, bad, 2), UsageError) << bad;
  }
  const std::vector<Draw> with_replacement{
      {.lane = 1, .index = 1, .value = 1, .probability = 1, .inclusion = std::nullopt}};
  EXPECT_THROW((void)moment_through_samples(with_replacement, 2, 2), UsageError);
}

}  // namespace
}  // namespace weir
