#pragma once

#include <Eigen/Core>

#include <cstdint>
#include <span>

#include "weir/dense_matrix.hpp"

namespace weir {

using RowMajorMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixView = Eigen::Map<const RowMajorMatrix>;

/// rows x columns numbers, row after row, as Eigen sees them.
[[nodiscard]] inline MatrixView matrix_view(std::span<const double> values, std::uint64_t rows, std::uint64_t columns) {
  return {values.data(), static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}
[[nodiscard]] inline MatrixView matrix_view(const DenseMatrix& matrix) {
  return matrix_view(matrix.values, matrix.rows, matrix.columns);
}
[[nodiscard]] inline Eigen::Map<RowMajorMatrix> matrix_view(DenseMatrix& matrix) {
  return {matrix.values.data(), static_cast<Eigen::Index>(matrix.rows), static_cast<Eigen::Index>(matrix.columns)};
}

/// An expression of Eigen's, evaluated.
template <class Expression>
[[nodiscard]] DenseMatrix to_dense_matrix(const Eigen::MatrixBase<Expression>& expression) {
  const auto rows = static_cast<std::uint64_t>(expression.rows());
  const auto columns = static_cast<std::uint64_t>(expression.cols());
  DenseMatrix matrix{rows, columns, std::vector<double>(rows * columns)};
  matrix_view(matrix) = expression;
  return matrix;
}

}  // namespace weir
