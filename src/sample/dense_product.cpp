#include "weir/sample/dense_product.hpp"

#include <numeric>

#include "random/argument_checks.hpp"

namespace weir {

DenseProduct::DenseProduct(std::uint64_t rows, std::uint64_t columns) : a(rows, columns, "A"), x(columns) {}

DenseVector DenseProduct::times(std::span<const double> factor) const {
  require_equal({"DenseProduct::times", "factor.size()", "the number of columns"}, factor.size(), a.columns());
  DenseVector y(a.rows());
  for (std::uint64_t i = 0; i < a.rows(); ++i)
    y.table()[i] = std::inner_product(factor.begin(), factor.end(), a.row(i).begin(), 0.0);
  return y;
}

}  // namespace weir
