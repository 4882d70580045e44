#include "weir/sketch/estimate.hpp"

#include <algorithm>
#include <cmath>

#include "log_gamma.hpp"
#include "weir/error.hpp"

namespace weir {

double median_deviations(std::size_t repetitions) {
  const auto all = static_cast<double>(repetitions);
  const std::size_t majority = (repetitions + 1) / 2;
  const auto half = static_cast<double>(majority);
  const double log_ways = log_gamma(all + 1) - log_gamma(half + 1) - log_gamma(all - half + 1);
  return std::exp((log_ways - std::log(0.01)) / (2 * half));
}

double median_of(std::span<double> values) {
  if (values.empty()) throw UsageError("median_of: values.size() is 0, expected at least 1");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace weir
