#pragma once

#include "weir/sample/draw.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/estimate.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace weir {

/// One draw for each lane 1 .. L-1, in lane order, until `samples` of them have accepted: row i of A with probability
/// a_i^T M a_i / `total`, up to the distortion that the buckets allow; the scaled rows s_i a_i have their largest M-norm
/// at i with exactly that probability. `total` is tr(M A^T A), or an estimate of it with its 99% bound, and a lane accepts when
/// the squared M-norm of its largest row is at least T times that.
///
/// A lane proposes rows by what its cells hold (their geometric median in the M-norm), and all lanes together decide: a
/// robust regression gives the row, its M-norm without what the noise in the row adds to it, and the error of both. Where M is
/// singular, the part of the row that M does not see is no better than a cell. Each draw holds the `row`, `value` = its M-norm,
/// and `probability` = value^2 / total, at most 1, with 99% bounds; these cover the error of an estimated M
/// (Metric::relative_deviation) and of the total. `norm` is sqrt(total). When all masses are zero, as A is or `total` is, nothing
/// can be drawn, and `zero_vector` is set. Cost: as draw_with_replacement, plus O(R B L d r) once, r the rank of M, O(R d r) for
/// each of 16 candidates a lane, O(R L d r) for up to 4 of them and O(R B L d) for one or two, L at most 64 in these.
///
/// Throws UsageError as draw_with_replacement does, when the law of the scales is not exponential with p = 2, and when
/// the metric is not of the rows' length; InputError when `total` is negative or not finite, and when masses are too large
/// for a double, or so small that they underflow where the rows do not.
[[nodiscard]] SampleResult draw_rows(const MatrixSketch& sketch, const Metric& metric, const Estimate& total,
                                     const DrawOptions& options);

/// The `samples` distinct rows with the largest scaled M-norms of lane 1, largest first: successive weighted sampling without
/// replacement by the p-th powers of the M-norms, p = 2, 1 or 0.5 as the sketch has it (bottom-k; see
/// draw_without_replacement). Each draw has its inclusion probability 1 - exp(-||a_i||_M^p / tau^p), tau the scaled M-norm of
/// `next`, the row that comes after them; 1 where no row is left.
///
/// Rows are taken out of a copy of the lane, the largest first, so that none is hidden by the collisions of larger ones, or made up
/// from them; then each is estimated once more without the others. What is printed of a row is the geometric median of its cells
/// in the M-norm; `value` is its M-norm without what noise adds to it. For p = 2 probabilities are shares of `total`, for p < 2
/// of the Horvitz-Thompson sum of the draws, and `norm_p` is its root. options.threshold is not used. Cost: O(R B d r) for r the
/// rank of M, the search of draw_with_replacement for one lane, and O(R d r) for each of about 1.3 `samples` rows three times.
/// Memory: R B d numbers besides the sketch.
///
/// Throws as draw_rows(), but p = 1 and 0.5 are good; UsageError when min(samples, n) is not below the number of buckets.
[[nodiscard]] SampleResult draw_rows_without_replacement(const MatrixSketch& sketch, const Metric& metric,
                                                         const Estimate& total, const DrawOptions& options);

}  // namespace weir
