#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/random/source.hpp"
#include "weir/sample/draw.hpp"

namespace weir {

// The exponential sampler of Definition 4.1 of the paper: index i with probability exp(s_i) / sum exp(s), where the score
// s_i is y_i, or y_i times a scale, less a shift that neighbours may have in common. Exact and offline, on y itself: by
// Theorem 4.4 a linear sketch that could do it needs Omega(n) space. y may be cut into stretches anywhere, and need not be
// in memory at once; the draws are the same to the bit (where exp and log are: the same mathematical library on all
// ranks).
//
// Gumbel-max (Gumbel 1954; Yellott 1977): with independent G_i = -ln(E_i), E_i ~ Exp(1), the largest s_i + G_i is at i
// with that probability, and the k largest are k draws without replacement (Gumbel-top-k, successive sampling). Draw s
// takes E_i = -ln(1 - v), v = (word + 1/2) 2^-64, from word i of the source mix(seed, draw, 1 + s); without replacement
// s = 0. Values may be as large as doubles are. Draws without replacement that reach coordinates more than about 1e15
// below the largest take those by value and index: rounding leaves nothing of their noise.

struct SoftmaxOptions {
  std::uint32_t samples = 8;
  bool without_replacement = false;  ///< The samples are distinct indices, with their inclusion probabilities.
  std::uint64_t seed = 0;            ///< Same seed, same y: same draws.
  double scale = 1;                  ///< Scores are this times y_i. Finite.
  std::uint64_t row_length = 0;      ///< Columns of y where it is a matrix, row after row; 0 where it is a vector.
};

/// Neighbouring coordinates: y[first + t] = values[t], with the score scale * values[t] - shift.
struct SoftmaxStretch {
  std::uint64_t first = 0;
  std::span<const double> values;
  double shift = 0;
};

/// What the exponentials of all coordinates are measured against, so that none overflows.
struct SoftmaxRange {
  double maximum = 0;    ///< Of the scores; -infinity when there are none.
  double magnitude = 0;  ///< Of the |y_i|.

  void merge(const SoftmaxRange& other) noexcept;
};

/// The range of y[first + t] = values[t], the scores being options.scale * values[t]. Throws InputError that names the
/// first index whose value, or score, is not finite.
[[nodiscard]] SoftmaxRange softmax_range(std::uint64_t first, std::span<const double> values,
                                         const SoftmaxOptions& options = {});

/// A sum of numbers from [0, 1], each rounded to a multiple of 2^-60: exact, so that it does not depend on the order.
/// Up to 2^63 terms.
struct UnitSum {
  std::uint64_t whole = 0;     ///< The sum, rounded down.
  std::uint64_t fraction = 0;  ///< The rest, in units of 2^-60; below 2^60.

  void add(double term) noexcept;
  void merge(const UnitSum& other) noexcept;
  [[nodiscard]] double value() const noexcept;
};

/// A coordinate with its noise.
struct Perturbed {
  double perturbed = 0;  ///< (s_i - maximum) + G_i.
  std::uint64_t index = 0;
  double value = 0;  ///< y_i.
  double score = 0;  ///< s_i.
};

/// All that the draws need to know of a part of y.
struct SoftmaxPart {
  UnitSum exponentials;  ///< sum exp(s_i - maximum).
  UnitSum squares;       ///< sum (y_i / magnitude)^2.
  /// With replacement: the largest of each draw, index 2^64 - 1 where the part is empty. Without: the samples + 1
  /// largest of the part, largest first. Ties go to the smaller index.
  std::vector<Perturbed> largest;

  /// Joins another part of the same y, with the same range and options. Throws UsageError when the parts hold different
  /// numbers of draws with replacement.
  void merge(const SoftmaxPart& other, const SoftmaxOptions& options);
};

/// Gathers a part of y, whose range, all of it, is `range`, stretch by stretch. Memory does not depend on n. One pass for
/// all draws: about 1 ns for a coordinate and draw, and 10 to 25 ns for a coordinate.
class SoftmaxScan {
 public:
  SoftmaxScan(const SoftmaxRange& range, const SoftmaxOptions& options);
  /// Adds coordinates that were not added before. The order does not matter.
  void add(const SoftmaxStretch& stretch);
  /// The part that consists of all stretches.
  [[nodiscard]] SoftmaxPart part() &&;

 private:
  void offer(const Perturbed& candidate);

  SoftmaxRange range_;
  SoftmaxOptions options_;
  std::vector<WordFunction> words_;  // of each draw; of the first alone without replacement
  SoftmaxPart part_;                 // without replacement `largest` is a heap, the last of the wanted in front
};

/// The part y[first + t] = values[t], in one stretch.
[[nodiscard]] SoftmaxPart softmax_part(std::uint64_t first, std::span<const double> values, const SoftmaxRange& range,
                                       const SoftmaxOptions& options);

/// The draws from `whole`, all parts merged. Index (and column, where y is a matrix) and value y_i are exact, and so is the
/// probability exp(s_i) / sum exp(s), to the rounding of the sum, at worst n 2^-61 (1e-9 for 2^31 coordinates); no draw
/// fails. "Lanes" are 1 .. samples. Without replacement the lane is 1, and inclusion is 1 - exp(-exp(s_i - kappa)), kappa
/// the (samples + 1)-th perturbed score, or 1 when y has no more than `samples` coordinates.
[[nodiscard]] SampleResult softmax_draws(const SoftmaxPart& whole, const SoftmaxRange& range,
                                         const SoftmaxOptions& options);

/// All of it for a y that is in one place. Throws UsageError when y is empty, InputError when a value is not finite.
[[nodiscard]] SampleResult draw_softmax(std::span<const double> y, const SoftmaxOptions& options);

}  // namespace weir
