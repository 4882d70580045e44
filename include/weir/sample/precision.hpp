#pragma once

#include <cstdint>

#include "weir/sample/draw.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

struct PrecisionOptions {
  std::uint32_t samples = 8;  ///< At most this many draws; also at most lanes - 1.
  double epsilon = 0.1;       ///< In (0, 1): the threshold, and the 1/epsilon^2 entries that are not in the tail.
  double constant = 1;        ///< C of the threshold, above 0 and finite.
};

/// T = C ln(n) / epsilon, n of at least e: what w^2 must be in units of ||y||_2^2. Throws UsageError when epsilon or C
/// is out of its range.
[[nodiscard]] double precision_threshold(std::uint64_t dimension, double epsilon, double constant);

/// Algorithm 2 of the paper, precision sampling for p = 2 (Andoni, Krauthgamer, Onak 2011; Jowhari, Saglam, Tardos
/// 2011), as printed. The scales of the sketch have the law `uniform`: each lane holds w_i = y_i / sqrt(u_i). With tau
/// = sqrt(T) * Yhat, Yhat the estimate of ||y||_2, a lane whose largest estimate is w_i
///
/// - fails with `below_threshold` when |w_i| < tau;
/// - fails with `heavy_tail` when Zhat > tau, Zhat the estimate of ||z||_2, z being w without its largest
///   ceil(1/epsilon^2) entries (or B/4 where that is less: more cannot be told apart in B buckets, and leaving them in
///   fails more lanes, not fewer);
/// - draws i otherwise, with the value sqrt(u_i) w_i and the probability value^2 / Yhat^2, each with its 99% bound.
///
/// An estimate that lane 0 contradicts is made up by collisions, and the next largest takes its place.
///
/// One draw for each of the lanes 1 .. L-1, in lane order, until `samples` of them have accepted; every lane that was
/// tried and did not is in `failed`. P[i is drawn by a lane] = y_i^2 / (T ||y||^2) up to a factor 1 +- 1/(2T), by which
/// other coordinates pass too and are larger: a lane accepts about once in T. draw_with_replacement has the same law,
/// exactly where this one has it up to 1/(2T), from 1/50 of the lanes; take that one unless you study the algorithm.
///
/// Cost: as draw_with_replacement, plus O(n) cells of one lane (sublinear with more levels) for each lane that passes
/// the first test. Throws UsageError when the sketch has no scaled lane or not the law `uniform`, and when an option is
/// out of its range; InputError when values are too large or too small to be measured (weir/sample/range.hpp).
[[nodiscard]] SampleResult draw_by_precision_sampling(const VectorSketch& sketch, const PrecisionOptions& options);

}  // namespace weir
