#pragma once

#include <algorithm>
#include <cmath>

namespace weir {

/// |x|^p for p = 4, 2, 1, 0.5, by correctly rounded operations only: the same bits everywhere.
[[nodiscard]] inline double power_of_magnitude(double x, double p) noexcept {
  const double magnitude = std::abs(x);
  if (p == 4.0) return (magnitude * magnitude) * (magnitude * magnitude);
  return p == 2.0 ? magnitude * magnitude : p == 1.0 ? magnitude : std::sqrt(magnitude);
}

/// |x|^p / moment, at most 1; 0 when there is no moment.
[[nodiscard]] inline double share_of_moment(double x, double p, double moment) noexcept {
  return moment > 0 ? std::min(1.0, power_of_magnitude(x, p) / moment) : 0.0;
}

}  // namespace weir
