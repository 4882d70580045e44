#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/sample/dense.hpp"
#include "weir/sample/dense_operand.hpp"

namespace weir {

/// The operands of y = A x themselves, (n + 1) d doubles: the exact reference of a ProductSketch. Linear: sum `x`
/// over the ranks, then times() of it. Integer-valued streams sum exactly below 2^53.
struct DenseProduct {
  /// A = 0 with `rows` rows and `columns` columns, x = 0. Throws as DenseOperand does.
  DenseProduct(std::uint64_t rows, std::uint64_t columns);

  DenseOperand a;
  std::vector<double> x;

  /// A times `factor`, which is x once all ranks' parts of x are summed. The result is this rank's share of y, as this
  /// rank's A is. Throws UsageError unless `factor` has an entry for each column of A.
  [[nodiscard]] DenseVector times(std::span<const double> factor) const;
};

}  // namespace weir
