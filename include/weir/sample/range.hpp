#pragma once

#include <string>

#include "weir/error.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/dense_operand.hpp"
#include "weir/sample/dense_tensor.hpp"
#include "weir/sketch/kronecker_sketch.hpp"
#include "weir/sketch/rows_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

// What makes a vector, or the operands that it is a product of, too large or too small to be measured; empty when nothing
// does. Too large: a cell or an entry, or ||y||_2^2, is not a finite double. Too small: y, or an operand, is not zero, but
// its squares underflow.

[[nodiscard]] std::string describe_range_problem(const VectorSketch& y);
/// Of the cells alone, without squares, which are a matter of the metric.
[[nodiscard]] std::string describe_range_problem(const MatrixSketch& a);
[[nodiscard]] std::string describe_range_problem(const RowsSketch& a);
[[nodiscard]] std::string describe_range_problem(const KroneckerSketch& operands);
[[nodiscard]] std::string describe_range_problem(const DenseVector& y);
[[nodiscard]] std::string describe_range_problem(const DenseOperand& a);
[[nodiscard]] std::string describe_range_problem(const DenseTensor& operands);

/// Throws the problem, if there is one, as InputError.
template <class Measured>
void require_range(const Measured& measured) {
  if (const std::string problem = describe_range_problem(measured); !problem.empty()) throw InputError(problem);
}

}  // namespace weir
