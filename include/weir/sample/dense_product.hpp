#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/sample/dense.hpp"

namespace weir {

/// The operands of y = A x themselves, (n + 1) d doubles: the exact reference of a ProductSketch. Linear: sum `x`
/// over the ranks, then times() of it. Integer-valued streams sum exactly below 2^53.
class DenseProduct {
 public:
  /// A = 0 with `rows` rows and `columns` columns, x = 0. Throws UsageError when either is 0 or the bytes overflow,
  /// std::bad_alloc when there is no memory.
  DenseProduct(std::uint64_t rows, std::uint64_t columns);

  [[nodiscard]] std::uint64_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::uint64_t columns() const noexcept { return x.size(); }

  /// A[rows[t]][columns[t]] += deltas[t]. Throws InputError, with nothing changed, when an index is out of range or a
  /// delta is not finite.
  void update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
              std::span<const double> deltas);
  /// A[rows[t]][:] += weights[t] * values[t * columns() .. (t + 1) * columns()]. Throws likewise.
  void update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                   std::span<const double> values);

  /// A `factor`, of which this rank's A contributes this rank's share. `factor` is as long as x: x itself, once it is
  /// complete.
  [[nodiscard]] DenseVector times(std::span<const double> factor) const;

  std::vector<double> x;

 private:
  std::uint64_t rows_;
  std::vector<double> a_;
};

}  // namespace weir
