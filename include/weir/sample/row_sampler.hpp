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
/// Each draw holds the row as its lane's cells show it (their geometric median in the M-norm, whose squared error in it
/// is at most about 0.12 ln(n) / B of the row's own; where M is singular, the part of the row that M does not see is no better
/// than a cell), `value` = its M-norm, and `probability` = value^2 / total, at most 1. `norm` is sqrt(total). When all
/// masses are zero, as A is or `total` is, nothing can be drawn, and `zero_vector` is set. Cost: as
/// draw_with_replacement, plus O(R B L d r) once, r the rank of M, and O(R d r) for each of 16 candidates a lane.
///
/// Throws UsageError as draw_with_replacement does, when the law of the scales is not exponential with p = 2, and when
/// the metric is not of the rows' length; InputError when `total` is negative or not finite, and when masses are too large
/// for a double, or so small that they underflow where the rows do not.
[[nodiscard]] SampleResult draw_rows(const MatrixSketch& sketch, const Metric& metric, double total,
                                     const DrawOptions& options);

}  // namespace weir
