#include "sample/error_bar.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "weir/sample/sizing.hpp"

namespace weir {

double share_beyond_bar(std::uint32_t rows) {
  double low = 0, high = 1;
  for (int step = 0; step < 50; ++step) {
    const double h = 0.5 * (low + high);
    (2 * (1 - binomial_lower_tail(rows, h / 2, (rows + 1) / 2)) < 0.01 ? low : high) = h;
  }
  return low;
}

double error_bar(const VectorSketch& sketch, std::uint32_t lane, double occupied) {
  const std::size_t lanes = sketch.config().lanes;
  const auto cells = sketch.items();
  std::vector<double> magnitudes(cells.size() / lanes);
  for (std::size_t cell = 0; cell < magnitudes.size(); ++cell) magnitudes[cell] = std::abs(cells[cell * lanes + lane]);
  const auto count = static_cast<double>(magnitudes.size());
  const double beyond = share_beyond_bar(sketch.config().rows) * (1 - std::min(1.0, occupied));
  const auto rank = static_cast<std::ptrdiff_t>((1 - beyond) * count);
  const auto at = magnitudes.begin() + std::min(rank, static_cast<std::ptrdiff_t>(magnitudes.size()) - 1);
  std::nth_element(magnitudes.begin(), at, magnitudes.end());
  return *at;
}

double selection_bias(double x, double p) {
  if (x > 50) return 0;  // p e^-50 x^(1 + 2/p)
  // gamma(m + 1, x) = x^(m + 1) e^-x / (m + 1) * (1 + x / (m + 2) + x^2 / ((m + 2)(m + 3)) + ...), m = 2 / p.
  const double m = 2 / p;
  double sum = 1, term = 1;
  for (int k = 2; k < 300 && term > 1e-12 * sum; ++k) {
    term *= x / (m + k);
    sum += term;
  }
  return (p + 2) / sum;
}

double gamma_quantile(double shape, double z) {
  const double root = 1 - 1 / (9 * shape) + z / (3 * std::sqrt(shape));
  return root > 0 ? root * root * root : 0;
}

}  // namespace weir
