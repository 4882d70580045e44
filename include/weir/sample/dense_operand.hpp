#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "weir/dense_matrix.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/draw.hpp"
#include "weir/sample/metric.hpp"

namespace weir {

/// A streamed matrix operand itself, n d doubles: what every exact reference keeps. Linear: sum the tables of the ranks.
/// Integer-valued streams sum exactly below 2^53.
class DenseOperand {
 public:
  /// Zero. `name` is used in messages. Throws UsageError when a side is 0 or the bytes overflow, std::bad_alloc when
  /// there is no memory.
  DenseOperand(std::uint64_t rows, std::uint64_t columns, std::string name);

  [[nodiscard]] std::uint64_t rows() const noexcept { return matrix_.rows; }
  [[nodiscard]] std::uint64_t columns() const noexcept { return matrix_.columns; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const DenseMatrix& matrix() const noexcept { return matrix_; }
  /// The entries, row by row. Writable, for reductions.
  [[nodiscard]] std::span<double> table() noexcept { return matrix_.values; }
  [[nodiscard]] std::span<const double> table() const noexcept { return matrix_.values; }
  [[nodiscard]] std::span<const double> row(std::uint64_t i) const noexcept {
    return table().subspan(static_cast<std::size_t>(i * columns()), static_cast<std::size_t>(columns()));
  }
  /// A^T A, d x d. O(n d^2).
  [[nodiscard]] DenseMatrix gram() const;

  /// Entry (rows[t], columns[t]) += deltas[t]. Throws UsageError unless the spans are equally long, and InputError when an
  /// index is out of range or a delta is not finite; nothing is changed then.
  void update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
              std::span<const double> deltas);
  /// Row rows[t] += weights[t] * values[t * columns() .. (t + 1) * columns()]. Throws UsageError unless there are as
  /// many weights as rows and columns() values for each, and InputError when a row is out of range or weight * value is
  /// not finite; nothing is changed then.
  void update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                   std::span<const double> values);

 private:
  DenseMatrix matrix_;
  std::string name_;
};

/// `samples` independent exact draws of rows from a_i^T M a_i / sum, by inversion of the running sum; as
/// draw_with_replacement of the vector of the rows' M-norms: `value` is that norm, `norm` the root of the sum, and each
/// draw holds its row. O(n d r), r the rank of M. Throws UsageError when p is not 2 or the metric is not of the rows'
/// length, InputError when a norm overflows.
[[nodiscard]] SampleResult draw_rows(const DenseOperand& a, const Metric& metric, const DenseDrawOptions& options);

}  // namespace weir
