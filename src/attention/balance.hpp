#pragma once

#include <cstdint>
#include <vector>

#include "matrix_view.hpp"
#include "weir/attention/rows_view.hpp"

namespace weir {

/// What the discrepancy of a halving is measured in. Rows i and j have the inner product
///
///     exp(temperature (k_i - k0).(k_j - k0) - shift) (value_floor + (v_i - v0).(v_j - v0)),
///
/// that of the numerators of softmax attention over queries of variance `temperature` in each direction; the constant
/// stands for the denominators.
struct BalanceKernel {
  Eigen::RowVectorXd k0;
  Eigen::RowVectorXd v0;
  double temperature = 1;
  double value_floor = 0;
};

/// The kernel for all of these rows. `temperature` as above.
[[nodiscard]] BalanceKernel balance_kernel(RowsView k, RowsView v, double temperature);

/// Half of the rows, whose number is even: of every two that follow each other one, chosen so that the kept and the
/// dropped ones differ by little. A self-balancing walk over the differences of pairs (Alweiss, Liu, Sawhney 2021) with
/// signs taken greedily: a positive inner product with the sum so far makes the sign negative. O(n^2 (d + dv)).
[[nodiscard]] std::vector<std::uint64_t> halve(RowsView k, RowsView v, const std::vector<std::uint64_t>& rows,
                                               const BalanceKernel& kernel);

}  // namespace weir
