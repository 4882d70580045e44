#pragma once

#include "weir/sample/draw.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace weir {

/// One draw for each lane 1 .. L-1, in lane order, until `samples` of them have accepted: row i of A with probability
/// a_i^T M a_i / `total`, up to the distortion that the buckets allow; the scaled rows s_i a_i have their largest M-norm
/// at i with exactly that probability. `total` is tr(M A^T A), or an estimate of it, and a lane accepts when the squared
/// M-norm of its largest row is at least T times that.
///
/// Each draw holds the row as its lane's cells show it, `value` = its M-norm and `probability` = value^2 / total. `norm`
/// is sqrt(total). Cost: as draw_with_replacement, plus O(R B L d r) once, r the rank of M.
///
/// Throws UsageError as draw_with_replacement does, and when the metric is not of the rows' length.
[[nodiscard]] SampleResult draw_rows(const MatrixSketch& sketch, const Metric& metric, double total,
                                     const DrawOptions& options);

}  // namespace weir
