#include "weir/sample/range.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>

#include "sketch/matrix_kernels.hpp"

namespace weir {
namespace {

using kernels::all_finite;

/// Of every `stride`-th value.
double largest_magnitude(std::span<const double> values, std::size_t stride = 1) {
  double largest = 0;
  for (std::size_t k = 0; k < values.size(); k += stride) largest = std::max(largest, std::abs(values[k]));
  return largest;
}

double sum_of_squares(std::span<const double> values) {
  return std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
}

std::string describe_problem(bool finite, double largest) {
  if (!finite) return "the values are too large: their sums or squares overflow a double; scale them down";
  if (largest > 0 && largest * largest < std::numeric_limits<double>::min())
    return "the values are too small: their squares underflow; scale them up";
  return {};
}

}  // namespace

std::string describe_range_problem(const VectorSketch& y) {
  // Lane 0 holds y itself.
  return describe_problem(all_finite(y.table()) && std::isfinite(y.f2().value),
                          largest_magnitude(y.items(), y.config().lanes));
}

std::string describe_range_problem(const MatrixSketch& a) { return describe_problem(all_finite(a.table()), 0); }

std::string describe_range_problem(const RowsSketch& a) {
  const std::span<const double> cells = a.wide.table();
  return describe_problem(
      all_finite(a.draws.table()) && all_finite(a.exact_gram) && std::isfinite(sum_of_squares(cells)),
      largest_magnitude(cells));
}

std::string describe_range_problem(const KroneckerSketch& operands) {
  for (const RowsSketch* factor : {&operands.a1, &operands.a2})
    if (std::string problem = describe_range_problem(*factor); !problem.empty()) return problem;
  return describe_problem(all_finite(operands.x) && std::isfinite(operands.f2()), largest_magnitude(operands.x));
}

std::string describe_range_problem(const DenseVector& y) {
  return describe_problem(all_finite(y.table()) && std::isfinite(y.moment(2)), largest_magnitude(y.table()));
}

std::string describe_range_problem(const DenseOperand& a) {
  return describe_problem(std::isfinite(sum_of_squares(a.table())), largest_magnitude(a.table()));
}

std::string describe_range_problem(const DenseTensor& operands) {
  return describe_problem(std::isfinite(TensorSampler(operands).norm()), 0);
}

}  // namespace weir
