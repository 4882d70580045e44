#include "weir/sample/dense_operand.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "matrix_view.hpp"
#include "random/argument_checks.hpp"
#include "sample/row_norms.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

/// Rows that are multiplied at a time, so that products stay in the cache.
constexpr Eigen::Index block_rows = 256;

}  // namespace

DenseOperand::DenseOperand(std::uint64_t rows, std::uint64_t columns, std::string name) : name_(std::move(name)) {
  constexpr std::uint64_t most = std::numeric_limits<std::size_t>::max() / (2 * sizeof(double));
  if (rows == 0 || columns == 0 || rows > most / columns) {
    throw UsageError(fmt::format("{} is {} x {}: expected at least 1 x 1 and at most 2^59 entries of a dense matrix",
                                 name_, rows, columns));
  }
  matrix_ = {rows, columns, std::vector<double>(rows * columns)};
}

void DenseOperand::update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
                          std::span<const double> deltas) {
  require_equal({"DenseOperand::update", "columns.size()", "rows.size()"}, columns.size(), rows.size());
  require_equal({"DenseOperand::update", "deltas.size()", "rows.size()"}, deltas.size(), rows.size());
  const std::uint64_t width = matrix_.columns;
  for (std::size_t t = 0; t < deltas.size(); ++t) {
    if (rows[t] >= matrix_.rows || columns[t] >= width)
      throw InputError(fmt::format("update {}: entry ({}, {}) is outside {} of {} x {}", t, rows[t], columns[t], name_,
                                   matrix_.rows, width));
    if (!std::isfinite(deltas[t])) throw InputError(fmt::format("update {}: delta is {}, not finite", t, deltas[t]));
  }
  for (std::size_t t = 0; t < deltas.size(); ++t) matrix_.values[rows[t] * width + columns[t]] += deltas[t];
}

void DenseOperand::update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                               std::span<const double> values) {
  const std::uint64_t width = matrix_.columns;
  require_equal({"DenseOperand::update_rows", "weights.size()", "rows.size()"}, weights.size(), rows.size());
  require_equal({"DenseOperand::update_rows", "values.size()", "rows.size() times the number of columns"},
                values.size(), rows.size() * width);
  for (std::size_t t = 0; t < rows.size(); ++t) {
    if (rows[t] >= matrix_.rows)
      throw InputError(fmt::format("update {}: row {} is outside {} of {} rows", t, rows[t], name_, matrix_.rows));
    for (std::size_t j = 0; j < width; ++j) {
      const double change = weights[t] * values[t * width + j];
      if (!std::isfinite(change))
        throw InputError(fmt::format("update {}: entry {} of the row is {}, not finite", t, j, change));
    }
  }
  for (std::size_t t = 0; t < rows.size(); ++t) {
    for (std::size_t j = 0; j < width; ++j) matrix_.values[rows[t] * width + j] += weights[t] * values[t * width + j];
  }
}

DenseMatrix DenseOperand::gram() const { return scaled_gram(*this, 1); }

DenseMatrix scaled_gram(const DenseOperand& a, double scale) {
  const auto rows = matrix_view(a.matrix());
  RowMajorMatrix gram = RowMajorMatrix::Zero(rows.cols(), rows.cols());
  RowMajorMatrix block;
  for (Eigen::Index first = 0; first < rows.rows(); first += block_rows) {
    block = scale * rows.middleRows(first, std::min(block_rows, rows.rows() - first));
    gram.selfadjointView<Eigen::Lower>().rankUpdate(block.transpose());
  }
  return to_dense_matrix(RowMajorMatrix(gram.selfadjointView<Eigen::Lower>()));
}

void row_norms(const DenseOperand& a, const DenseMatrix& factor, std::span<double> norms) {
  assert(factor.rows == a.columns() && norms.size() == a.rows());
  const auto rows = matrix_view(a.matrix());
  const auto f = matrix_view(factor);
  RowMajorMatrix products;
  for (Eigen::Index first = 0; first < rows.rows(); first += block_rows) {
    products.noalias() = rows.middleRows(first, std::min(block_rows, rows.rows() - first)) * f;
    for (Eigen::Index i = 0; i < products.rows(); ++i)
      norms[static_cast<std::size_t>(first + i)] = products.row(i).stableNorm();
  }
}

SampleResult draw_rows(const DenseOperand& a, const Metric& metric, const DenseDrawOptions& options) {
  if (options.p != 2.0) throw UsageError(fmt::format("p is {}: rows are drawn by a^T M a, where it is 2", options.p));
  if (metric.dimension() != a.columns())
    throw UsageError(fmt::format("a metric of {} dimensions for rows of {} numbers", metric.dimension(), a.columns()));
  DenseVector norms(a.rows());
  row_norms(a, metric.factor(), norms.table());
  for (std::uint64_t i = 0; i < a.rows(); ++i)
    if (!std::isfinite(norms.table()[i]))
      throw InputError(fmt::format("row {} of {}: its norm overflows a double; scale the values down", i, a.name()));
  SampleResult result = draw_with_replacement(norms, options);
  for (Draw& draw : result.draws) draw.row.assign(a.row(draw.index).begin(), a.row(draw.index).end());
  return result;
}

}  // namespace weir
