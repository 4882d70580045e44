#include "weir/sample/moment.hpp"

#include <fmt/format.h>

#include <cmath>

#include "weir/error.hpp"

namespace weir {

double horvitz_thompson_moment(std::span<const Draw> draws, double p) {
  double sum = 0;
  for (const Draw& draw : draws) {
    if (!draw.inclusion)
      throw UsageError("Horvitz-Thompson sums are for draws without replacement: no inclusion probability");
    sum += std::pow(std::abs(draw.value), p) / *draw.inclusion;
  }
  return sum;
}

MomentEstimate moment_through_samples(std::span<const Draw> draws, double p) {
  if (!(p > 0) || std::isinf(p)) throw UsageError(fmt::format("p is {}: expected a finite number above 0", p));
  const double value = horvitz_thompson_moment(draws, p);
  double variance = 0;
  for (const Draw& draw : draws) {
    const double term = std::pow(std::abs(draw.value), p) / *draw.inclusion;
    variance += (1 - *draw.inclusion) * term * term;
  }
  const double standard_error = std::sqrt(variance);
  return {.value = value, .standard_error = standard_error, .bound = 10 * standard_error};
}

}  // namespace weir
