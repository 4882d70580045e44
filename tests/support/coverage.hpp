#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>

#include "support/statistics.hpp"

namespace weir::testing_support {

/// Errors against bounds of 99%.
class Coverage {
 public:
  void add(double error, double bound) {
    ++all_;
    outside_ += std::abs(error) > bound ? 1U : 0U;
    outside_half_ += std::abs(error) > bound / 2 ? 1U : 0U;
  }
  /// The bound covers 0.99; significance 1e-6. A bound that covers 0.96 is rejected by 1,000 errors with probability 0.97.
  void expect_covered(const std::string& what) const {
    EXPECT_GE(all_, 1000U) << what;
    EXPECT_GT(statistics::binomial_survival(all_, 0.01, outside_), significance)
        << what << ": " << outside_ << " of " << all_;
  }
  /// Half of it does not cover 0.99; significance 1e-6. Of normal errors 20% are beyond half of their bound, 11% where it is 3.2
  /// standard errors.
  void expect_tight(const std::string& what) const {
    EXPECT_LT(statistics::binomial_survival(all_, 0.01, outside_half_), significance)
        << what << ", half the width: " << outside_half_ << " of " << all_;
  }
  void expect(const std::string& what) const {
    expect_covered(what);
    expect_tight(what);
  }

 private:
  static constexpr double significance = 1e-6;
  std::uint64_t all_ = 0, outside_ = 0, outside_half_ = 0;
};

}  // namespace weir::testing_support
