#pragma once

#include "matrix_view.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace weir {

/// The end of messages about squares that are negative. A Gram matrix, and squares of y, are sums over rows that come and
/// leave whole: +1 and -1 times the same products.
inline constexpr const char* unmatched_row =
    "a row must have left that had not come, or with other values than it came with";

/// A^T A, d x d, symmetric and positive semi-definite, from a sketch of A with one lane and one level: the mean over the
/// rows of the table of the Gram matrices of their buckets. Its rank is at most that of A.
[[nodiscard]] inline DenseMatrix gram_of(const MatrixSketch& sketch) {
  const std::uint64_t d = sketch.columns();
  DenseMatrix gram{d, d, std::vector<double>(static_cast<std::size_t>(d * d))};
  const MatrixView cells = matrix_view(sketch.table(), sketch.table().size() / d, d);
  auto sum = matrix_view(gram);
  sum.selfadjointView<Eigen::Lower>().rankUpdate(cells.transpose(), 1.0 / sketch.config().rows);
  sum.triangularView<Eigen::StrictlyUpper>() = sum.transpose();
  return gram;
}

}  // namespace weir
