#pragma once

#include "weir/sample/metric.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace weir {

/// Throws UsageError when the sketch has no scaled lane or the law `uniform`, when T is out of range, and when the metric is not
/// of the rows' length; InputError when `total`, the sum of the masses of the rows, is negative or not finite.
void require_drawable(const MatrixSketch& sketch, const Metric& metric, double total, const DrawOptions& options);

/// Throws InputError when masses are zero, or nearly, because squares underflow, not because M does not see the rows.
void require_no_underflow(const MatrixSketch& sketch, const Metric& metric, double total);

}  // namespace weir
