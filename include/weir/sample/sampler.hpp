#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "weir/sample/draw.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

struct DrawOptions {
  std::uint32_t samples = 8;  ///< At most this many draws; with replacement also at most lanes - 1.
  /// T of draw_with_replacement: finite, not negative; 0 accepts every lane that found anything.
  double threshold = 1.0;
};

/// One draw for each lane 1 .. L-1, in lane order, until `samples` of them have accepted: index i with probability
/// |y_i|^p / sum |y|^p up to the distortion that the number of buckets allows (weir/sample/sizing.hpp). Lanes share
/// buckets and signs but not scales, and their draws are independent up to the same distortion.
///
/// A lane accepts when the p-th power of its largest scaled estimate is at least T times sum |y|^p. It does so with
/// probability 1 - exp(-1/T), whichever index is the largest, so that accepting does not bias the law. For p = 2
/// the sum is
/// F2 of lane 0; for p < 2 it is estimated from the maxima of the other lanes (and probabilities are divided by an
/// estimate
/// from more entries of each lane, entries_of_lane() of weir/sample/sizing.hpp; `norm_p` is its root). Every lane
/// that was tried and did not accept
/// is in `failed`.
///
/// For p = 2 an entry is judged by all lanes together, not only by the lane that draws it: a joint fit chooses the
/// largest
/// entry of a lane among those that its cells propose, and gives values and probabilities with their bounds. (Among
/// many
/// keys some lane shows a large entry that is not there; the other lanes contradict it.)
///
/// Cost: O(n) cells with one level, O(sqrt n) with two, O(n^(1/3)) with three, times the groups worth opening (a few a
/// lane). Throws UsageError when the sketch has no scaled lane or the law `uniform` (weir/sample/precision.hpp is for
/// that), when T is out of range, and when p < 2 and T > 0 with fewer than two scaled lanes; InputError when values are
/// too large or too small to be measured (weir/sample/range.hpp).
[[nodiscard]] SampleResult draw_with_replacement(const VectorSketch& sketch, const DrawOptions& options);

/// The `samples` distinct indices with the largest scaled magnitudes of lane 1, largest first: successive weighted
/// sampling without replacement (bottom-k, ppswor; Cohen 1997). Each draw carries its inclusion probability 1 -
/// exp(-|y_i|^p / tau^p), tau the (samples + 1)-th magnitude. When y has no more non-zero coordinates than `samples`,
/// all of them are drawn, with inclusion 1, if there are as many buckets as sizing.hpp suggests. So more samples
/// than the
/// dimension are as many as the dimension. Magnitudes below 2^-34 of the largest count as zero. `threshold` is not
/// used.
///
/// The largest estimate is subtracted from a copy of the sketch before the next one is taken, so that no item is hidden
/// by, or made up from, the collisions of larger ones. What lane 0 then contradicts is left out. Values come from lane 0 and
/// lane 1 together, weighted by what noise they hold at the scale of the entry. Values and probabilities
/// have 99% bounds, and the bias of second order that they have because of being drawn is taken off; for p < 2
/// `norm_p` is
/// (sum |y|^p)^(1/p). Bounds are for tables of the size that sizing.hpp suggests: with B less than 5 times the draws too many
/// values miss them (4% at 2.5 times). Throws UsageError when the sketch has no scaled lane or not the
/// exponential law, or when min(samples, n) is not below the number of buckets; InputError as draw_with_replacement().
[[nodiscard]] SampleResult draw_without_replacement(const VectorSketch& sketch, const DrawOptions& options);

/// Works out once more what follows from the values of draws without replacement by |y_i|^p, after they have become exact:
/// inclusions, and for p < 2 the p-norm and probabilities. The draws are those whose scaled estimates have passed
/// result.threshold. So with an exact value an inclusion is P[s |y| + e > threshold], s the random scale and e the noise of
/// estimates, which is taken as normal of standard deviation result.threshold_noise: exact values alone would pass another
/// threshold than the draws did, and sums would come out too small. `scale_power` is the p of the sketch, which is p / 2 where
/// rows are lifted. Values are not zero.
void follow_exact_values(SampleResult& result, double p, double scale_power);

/// Turns draws from `squares`, the sketch of z with z_i = y_i^2, into draws with the law |y_i|^4. Values become
/// their roots,
/// with the signs that the sketch of y shows, bounds of values the bounds of the roots, and the norm becomes that of y;
/// `norm_p` is ||y||_4. Probabilities, their bounds and inclusions stay. Both
/// sketches have the same configuration.
///
/// Throws InputError when the table has 5 rows or more and all of them agree that the square of a draw is negative:
/// then a
/// row of A has left that had not come. A square that noise makes negative counts as 0.
[[nodiscard]] SampleResult draws_of_roots(SampleResult draws, const VectorSketch& squares, const VectorSketch& y);

/// ||y||_2^2 as VectorSketch::f2(), with a bound that holds with probability 0.99 and is not far from the least
/// that does:
/// a row of the table is nearly normal with variance 2 F2^2 / B, and the median of R of them has pi / 2R of that; 3
/// standard errors, as sums of squares in few buckets are skewed. Where a few entries hold most of F2 the variance is
/// smaller, and the bound too wide. It is 0 where 5 rows or more agree, as nothing collides then.
[[nodiscard]] Estimate estimate_f2(const VectorSketch& sketch);

/// y[key] for each of `keys`, chosen without looking at the sketch; a bound holds with probability 0.99.
///
/// With scaled lanes of the exponential law and p = 2, all lanes together estimate the entry (a robust regression,
/// bound 3.2
/// standard errors). Otherwise it is the median over the rows of the table in lane 0, and the bound is the quantile
/// of the
/// |cells| of lane 0 that a majority of the rows exceeds with probability 0.01. Where nothing collides the bound is
/// 0 for a whole number, and 2^-36 of any other value, for the rounding of sums. Both are far below the bound of
/// VectorSketch::point. Cost: O(R B L) once, O(R L) for each key.
/// Throws InputError as draw_with_replacement().
[[nodiscard]] std::vector<Estimate> estimate_entries(const VectorSketch& sketch, std::span<const std::uint64_t> keys);

struct HeavyCoordinate {
  std::uint64_t index = 0;  ///< Where y is a matrix and `column` is set, the row i1.
  /// As estimate_entries() gives it, but from the scaled lanes alone, where there are at least 8 of p = 2; otherwise as
  /// VectorSketch::point.
  Estimate estimate;
  std::optional<std::uint64_t> column = {};  ///< i2, where y is a matrix.
};

/// The `count` keys with the largest |estimate|, largest first; fewer when y has fewer non-zero coordinates. They
/// are found in
/// lane 0 as draw_without_replacement() finds its draws, and some more than `count`. A sketch of more than one
/// level should have 8 lanes or more: in
/// the groups of lane 0 equal neighbours may cancel each other, and a sketch of one lane misses them for half of
/// the seeds. Throws UsageError when
/// count is not below the number of buckets: no more can stand out; InputError as draw_with_replacement().
[[nodiscard]] std::vector<HeavyCoordinate> heavy_coordinates(const VectorSketch& sketch, std::size_t count);

}  // namespace weir
