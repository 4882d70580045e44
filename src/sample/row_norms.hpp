#pragma once

#include <span>

#include "weir/dense_matrix.hpp"
#include "weir/sample/dense_operand.hpp"

namespace weir {

/// norms[i] = ||F^T a_i||_2 for every row of A, which is its M-norm when M = F F^T; no square overflows or underflows.
/// O(n d r) for an F of d x r.
void row_norms(const DenseOperand& a, const DenseMatrix& factor, std::span<double> norms);

/// scale^2 A^T A, where a power of two for `scale` keeps squares in range. O(n d^2).
[[nodiscard]] DenseMatrix scaled_gram(const DenseOperand& a, double scale);

}  // namespace weir
