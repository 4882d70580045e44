#pragma once

#include <math.h>  // lgamma_r is not one of <cmath>

namespace weir {

/// ln |Gamma(x)|, as std::lgamma, which also writes a variable that all threads share.
inline double log_gamma(double x) {
  int sign = 0;
  return ::lgamma_r(x, &sign);
}

}  // namespace weir
