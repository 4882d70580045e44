#pragma once

#include "weir/sample/draw.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/kronecker_sketch.hpp"

namespace weir {

// The law of the two-stage draw. y_(i1,i2) = a_i1^T X b_i2, so with G2 = A2^T A2 and M = X G2 X^T the row i1 of y has the
// squared norm a_i1^T M a_i1, and P[i1] P[i2 | i1] = y_(i1,i2)^2 / ||y||^2.
//
// Exact, as long as cells are: i1 is where the exponentially scaled rows of A1 have their largest M-norm, i2 where the
// scaled entries of A2 (X^T a_i1) are largest. A1 and A2 have hash functions and scales of their own; every lane of A2
// serves one row at most; and whether a lane accepts does not depend on which index is its largest. So which lane of A2
// comes to serve which row says nothing of the indices, and draws are as independent as lanes are.
//
// Where 1 +- epsilon enters, R rows and B buckets:
//
// - G2 is estimated in B' buckets. Each mass is off by a relative standard error of at most sqrt(2 / (R B')), the same in
//   every draw: the law of i1 by an expected total variation of at most 0.4 sqrt(2 / (R B')), 0.0056 for R = 5, B' =
//   2048. That of i2 given i1 does not feel it, and with exact Gram matrices there is none. G1 enters ||y||^2 alone: the
//   rate at which lanes of A1 accept, and the probabilities reported. That of the lanes of A2 depends on the error of the
//   row's mass: rows with a low rate need more of them, which bends the law only where they run out.
// - The cells hold what collides, which moves the maxima of both stages as it does in draw_with_replacement: relatively
//   by about ln(n)/B.
// - The row a_i1 is recovered from the cells, up to an error whose squared M-norm is at most about 0.12 ln(n1)/B of the
//   row's own: the median of 5 cells has 0.29 of the variance of one (less in more than one dimension), and given
//   acceptance at T = 1, E[||y||^2 / w^2] = 0.42. A draw's i2 has the law of the row that was recovered: off to first
//   order, with a mean of 0, as signs are random. Over draws it is off by the square, ln(n1)/B again. Values are off to
//   first order by the same and by the noise of the second stage.
// - The formula of a scale has a relative error of at most 3.4 * 10^-6 (random/scale.hpp), multiples of 2^-16 less where
//   the largest decide.
//
// What can fail: a lane of A1 (below_threshold, no_candidate); or the lanes of A2 are used up by then (second_stage).
// Both happen with the binomial probabilities that suggest_pairs_config() takes the lanes from.

/// Pairs (i1, i2) with probability y_(i1,i2)^2 / ||y||^2, y = (A1 (x) A2) vec X, all of whose operands may have
/// streamed, up to the distortion that the numbers of buckets allow: see above. Both stages accept as draw_rows and
/// draw_with_replacement do, with the threshold T.
///
/// A draw holds i1 in `index`, i2 in `column`, the lane of A1, the estimate of y_(i1,i2), and its square over that of
/// ||y||^2; `norm` is sqrt(tr(X G2 X^T G1)). y is zero when that is. Cost: that of draw_rows, and for each lane of A2
/// used a product and a search of one lane.
///
/// Throws UsageError as draw_rows, InputError when X cannot be the identity that it is without events, and when products
/// of the operands overflow or underflow.
[[nodiscard]] SampleResult draw_pairs(const KroneckerSketch& sketch, const DrawOptions& options);

}  // namespace weir
