#pragma once

// Whether bounds of estimates hold as often as they say, and are no wider than their theory makes them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/statistics.hpp"
#include "weir/sketch/estimate.hpp"

namespace weir::testing_support {

/// Estimates of known numbers, one for each seed, so that they are independent.
class BoundTrials {
 public:
  void add(const Estimate& estimate, double truth) {
    errors_.push_back(std::abs(estimate.value - truth));
    bounds_ += estimate.bound;
    outside_ += errors_.back() > estimate.bound ? 1U : 0U;
  }

  /// The mean bound over the 99% quantile of the errors. The theory is no tighter than Chebyshev's inequality: where the
  /// errors of a row of the table are normal, of the largest variance that is allowed, the bound is 10 / 2.576 = 3.9
  /// quantiles for one row, and 3.162 / (2.576 * 0.536) = 2.3 for five, whose median has 0.536 of the deviation.
  [[nodiscard]] double width() const {
    std::vector<double> sorted = errors_;
    const auto place = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() * 99 / 100);
    std::nth_element(sorted.begin(), place, sorted.end());
    return bounds_ / static_cast<double>(sorted.size()) / *place;
  }

  /// Expects the truth outside of the bounds no more often than 0.01 allows, by the binomial tail at significance 1e-6, and
  /// a width from `least` to `most`. The quantile of 2000 errors has a relative standard error of 3% where they are normal,
  /// so that a width 20% away from its expectation is 6 of them.
  void expect(double least, double most, const std::string& what) const {
    EXPECT_GT(statistics::binomial_survival(errors_.size(), 0.01, outside_), 1e-6) << what << ": " << outside_;
    EXPECT_GE(width(), least) << what;
    EXPECT_LE(width(), most) << what;
  }

 private:
  std::vector<double> errors_;
  double bounds_ = 0;
  std::uint64_t outside_ = 0;
};

}  // namespace weir::testing_support
