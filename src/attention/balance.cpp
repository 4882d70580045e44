#include "attention/balance.hpp"

#include <algorithm>
#include <cmath>

#include "attention/views.hpp"

namespace weir {

BalanceKernel balance_kernel(RowsView k, RowsView v, double temperature) {
  BalanceKernel kernel;
  kernel.k0 = matrix_view(k).colwise().mean();
  kernel.v0 = matrix_view(v).colwise().mean();
  kernel.temperature = temperature;
  // A tenth of the mean square of the values: of the constants from .025 to 1 the one that did best on real heads.
  kernel.value_floor = 0.1 * (matrix_view(v).rowwise() - kernel.v0).squaredNorm() /
                       static_cast<double>(std::max<std::uint64_t>(v.rows, 1));
  if (!(kernel.value_floor > 0)) kernel.value_floor = 1;  // values that are all equal: only the denominators matter
  return kernel;
}

std::vector<std::uint64_t> halve(RowsView k, RowsView v, const std::vector<std::uint64_t>& rows,
                                 const BalanceKernel& kernel) {
  const std::size_t pairs = rows.size() / 2;
  const auto count = to_index(rows.size());
  RowMajorMatrix keys(count, to_index(k.columns));
  RowMajorMatrix values(count, to_index(v.columns));
  for (Eigen::Index t = 0; t < count; ++t) {
    const std::uint64_t row = rows[static_cast<std::size_t>(t)];
    keys.row(t) = matrix_view(k).row(to_index(row)) - kernel.k0;
    values.row(t) = matrix_view(v).row(to_index(row)) - kernel.v0;
  }
  // The shift keeps the exponentials at most 1; a common factor changes no sign.
  const double shift = kernel.temperature * (count == 0 ? 0.0 : keys.rowwise().squaredNorm().maxCoeff());
  RowMajorMatrix products = kernel.temperature * (keys * keys.transpose());
  RowMajorMatrix gram = (values * values.transpose()).array() + kernel.value_floor;
  gram.array() *= (products.array() - shift).exp();

  std::vector<std::uint64_t> kept;
  Eigen::VectorXd sum = Eigen::VectorXd::Zero(count);  // of the signed rows so far, by its inner products with all rows
  for (std::size_t p = 0; p < pairs; ++p) {
    const auto first = to_index(2 * p);
    const bool keep_first = sum[first] - sum[first + 1] <= 0;
    kept.push_back(rows[2 * p + (keep_first ? 0 : 1)]);
    const auto rest = count - first;
    const double sign = keep_first ? 1.0 : -1.0;
    sum.tail(rest) += sign * (gram.row(first) - gram.row(first + 1)).tail(rest).transpose();
  }
  return kept;
}

}  // namespace weir
