#include "weir/sample/dense_product.hpp"

#include <cassert>
#include <numeric>

namespace weir {

DenseProduct::DenseProduct(std::uint64_t rows, std::uint64_t columns) : a(rows, columns, "A"), x(columns) {}

DenseVector DenseProduct::times(std::span<const double> factor) const {
  assert(factor.size() == x.size());
  DenseVector y(a.rows());
  for (std::uint64_t i = 0; i < a.rows(); ++i)
    y.table()[i] = std::inner_product(factor.begin(), factor.end(), a.row(i).begin(), 0.0);
  return y;
}

}  // namespace weir
