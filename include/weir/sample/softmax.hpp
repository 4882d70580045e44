#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/sample/draw.hpp"

namespace weir {

// The exponential sampler of Definition 4.1 of the paper: index i with probability exp(y_i) / sum exp(y). Exact and
// offline, on y itself: by Theorem 4.4 a linear sketch that could do it needs Omega(n) space, so the n doubles are no
// waste. y may be cut into slices anywhere; the draws are the same to the bit (where exp and log are: the same
// mathematical library on all ranks).
//
// Gumbel-max (Gumbel 1954; Yellott 1977): with independent G_i = -ln(E_i), E_i ~ Exp(1), the largest y_i + G_i is at i
// with that probability, and the k largest are k draws without replacement (Gumbel-top-k, successive sampling). Draw s
// takes E_i = -ln(1 - v), v = (word + 1/2) 2^-64, from word i of the source mix(seed, draw, 1 + s); without replacement
// s = 0. Values may be as large as doubles are. Draws without replacement that reach coordinates more than about 1e15
// below the largest take those by value and index: rounding leaves nothing of their noise.

struct SoftmaxOptions {
  std::uint32_t samples = 8;
  bool without_replacement = false;  ///< The samples are distinct indices, with their inclusion probabilities.
  std::uint64_t seed = 0;            ///< Same seed, same y: same draws.
};

/// What the exponentials of all coordinates are measured against, so that none overflows.
struct SoftmaxRange {
  double maximum = 0;    ///< Of the y_i; -infinity when there are none.
  double magnitude = 0;  ///< Of the |y_i|.
};

/// The range of y[first + t] = values[t]. Throws InputError that names the first index whose value is not finite.
[[nodiscard]] SoftmaxRange softmax_range(std::uint64_t first, std::span<const double> values);

/// A sum of numbers from [0, 1], each rounded to a multiple of 2^-60: exact, so that it does not depend on the order.
/// Fewer than 2^34 terms.
struct UnitSum {
  std::uint64_t high = 0;  ///< In units of 2^-30.
  std::uint64_t low = 0;   ///< In units of 2^-60.

  void add(double term) noexcept;
  void merge(const UnitSum& other) noexcept;
  [[nodiscard]] double value() const noexcept;
};

/// A coordinate with its noise.
struct Perturbed {
  double perturbed = 0;  ///< (y_i - maximum) + G_i.
  std::uint64_t index = 0;
  double value = 0;  ///< y_i.
};

/// All that the draws need to know of a part of y.
struct SoftmaxPart {
  UnitSum exponentials;  ///< sum exp(y_i - maximum).
  UnitSum squares;       ///< sum (y_i / magnitude)^2.
  /// With replacement: the largest of each draw, index 2^64 - 1 where the part is empty. Without: the samples + 1
  /// largest of the part, largest first. Ties go to the smaller index.
  std::vector<Perturbed> largest;

  /// Joins another part of the same y, with the same range and options. Throws UsageError when the parts hold different
  /// numbers of draws with replacement.
  void merge(const SoftmaxPart& other, const SoftmaxOptions& options);
};

/// The part y[first + t] = values[t] of a y whose range, all of it, is `range`. One pass for all draws: about 1 ns for
/// a coordinate and draw, and 10 to 25 ns for a coordinate.
[[nodiscard]] SoftmaxPart softmax_part(std::uint64_t first, std::span<const double> values, const SoftmaxRange& range,
                                       const SoftmaxOptions& options);

/// The draws from `whole`, all parts merged. Index and value y_i are exact, and so is the probability exp(y_i) / sum
/// exp(y) (to 1e-9, the rounding of the sum at its worst); no draw fails. "Lanes" are 1 .. samples. Without replacement
/// the lane is 1, and inclusion is 1 - exp(-exp(y_i - kappa)), kappa the (samples + 1)-th perturbed value, or 1 when y
/// has no more than `samples` coordinates.
[[nodiscard]] SampleResult softmax_draws(const SoftmaxPart& whole, const SoftmaxRange& range,
                                         const SoftmaxOptions& options);

/// All of it for a y that is in one place. Throws UsageError when y is empty, InputError when a value is not finite.
[[nodiscard]] SampleResult draw_softmax(std::span<const double> y, const SoftmaxOptions& options);

}  // namespace weir
