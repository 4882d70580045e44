#pragma once

#include <cmath>

namespace weir {

/// |x|^p for p = 2, 1, 0.5, by correctly rounded operations only: the same bits everywhere.
[[nodiscard]] inline double power_of_magnitude(double x, double p) noexcept {
  const double magnitude = std::abs(x);
  return p == 2.0 ? magnitude * magnitude : p == 1.0 ? magnitude : std::sqrt(magnitude);
}

}  // namespace weir
