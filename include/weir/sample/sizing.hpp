#pragma once

#include <cstddef>
#include <cstdint>

#include "weir/sketch/config.hpp"
#include "weir/sketch/rows_sketch.hpp"

namespace weir {

/// What a user wants from a sketch.
struct SamplingRequest {
  std::uint64_t dimension = 0;  ///< n, 1 to 2^63.
  std::uint32_t samples = 8;    ///< Draws wanted, at least 1. Without replacement more than n count as n.
  double failure = 0.05;        ///< Probability that fewer come out (with replacement), in (0, 1).
  double epsilon = 0.1;         ///< Relative distortion of the law of the draws, in (0, 1).
  double value_epsilon = 1.0;   ///< Relative standard error of the values of the draws, in (0, 1]; 1 sets no limit.
  double p = 2;                 ///< 2, 1 or 0.5.
  double threshold = 1;         ///< T of the acceptance test; 0 accepts every lane that found anything.
  bool without_replacement = false;  ///< The samples are distinct indices, from one wide lane.
};

// What follows from the calibration in apps/experiments (p = 2, T = 1, 8 samples; B with replacement / without):
//
//     epsilon   n = 2^10        2^20            2^30            2^40            2^63
//     0.1       128 / 512       256 / 2048      512 / 2048      512 / 4096      1024 / 8192
//     0.01      512 / 4096      1024 / 8192     1024 / 16384    2048 / 16384    2048 / 32768
//     0.001     4096 / 32768    8192 / 65536    16384 / 131072  16384 / 131072  32768 / 262144

/// Shape of the smallest sketch that serves the request: dimension, rows, buckets, lanes, levels and p; the other
/// fields keep their defaults. Throws UsageError, in one line that names the field, when a field is out of its range or
/// the sketch would need more than 4096 lanes or 2^40 bytes.
[[nodiscard]] SketchConfig suggest_config(const SamplingRequest& request);

/// Buckets B' of the sketches from which a Gram matrix is estimated: a fixed quadratic form of it is off by a relative
/// standard error of at most epsilon = sqrt(2 / (R B')), R = 5, and that is the distortion of the law of rows drawn in a
/// metric made of it, in all draws of a sketch alike. At least 256, with which lanes accept as often as suggest_lanes()
/// allows for. Throws UsageError when epsilon is not in (0, 1), or needs more than 2^32.
[[nodiscard]] std::uint64_t suggest_gram_buckets(double epsilon);

/// suggest_gram_buckets() for leverage scores of rows of d columns, whose metric is the inverse of the estimate. With N = R B'
/// the law is off by a root mean square of sqrt(2 / (N - d)) for rows of any directions and of sqrt(d / (N - d)) / R where
/// rows span directions of their own, the identity being the worst (Metric::leverage_of_estimate). Both are at most epsilon:
/// with epsilon = 0.1 from d = 256 on B' is d, rounded up. Throws UsageError as suggest_gram_buckets().
[[nodiscard]] std::uint64_t suggest_leverage_buckets(double epsilon, std::uint64_t d);

/// Shape of a KroneckerSketch.
struct PairsConfig {
  SketchConfig sketch;  ///< Its dimension is n1.
  GramConfig gram;
};

/// Shape of the smallest KroneckerSketch with which draw_pairs() serves `request`, whose dimension is n1 and whose samples
/// are pairs. A pair has to come out of both stages, so each stage may fail with half of `failure`. Half of epsilon is for the
/// error of the Gram matrices, unless they are exact; the two stages share the rest. Each stage has the sketch that
/// suggest_config() gives for the longer side. The squared errors of values add up, so each stage has value_epsilon / sqrt(2). Throws UsageError as suggest_config, and for p other than 2 and draws without replacement.
[[nodiscard]] PairsConfig suggest_pairs_config(const SamplingRequest& request, std::uint64_t n2, bool exact_gram);

/// What a user wants from Algorithm 2 (weir/sample/precision.hpp).
struct PrecisionRequest {
  std::uint64_t dimension = 0;  ///< n, 1 to 2^63.
  std::uint32_t samples = 8;    ///< Draws wanted, at least 1.
  double failure = 0.05;        ///< Probability that fewer come out, in (0, 1).
  double epsilon = 0.1;         ///< In (0, 1): of the threshold, of the tail and of the additive error.
  double constant = 1;          ///< C of the threshold, above 0.
};

/// Shape of a sketch for draw_by_precision_sampling: the law `uniform`; 6 / epsilon^2 buckets or more, with which the
/// median of five rows is off by at most epsilon ||z||_2, as Lemma C.1 asks, for all but about 1% of the entries (as
/// observed); and as many lanes as `failure` asks for. A lane accepts with probability at least 1 - exp(-1/T), T = C
/// ln(n) / epsilon, less a bound of the probability that the tail is too heavy, which matters for epsilon above about
/// 0.4 only. Throws UsageError, in one line, when a field is out of its range, and when more than 4096 lanes would be
/// needed: so it is for 8 samples when T exceeds about 300.
[[nodiscard]] SketchConfig suggest_precision_config(const PrecisionRequest& request);

/// The number of lanes, lane 0 included, from which `samples` draws come with probability 1 - `failure` or more. Each of the
/// other lanes accepts with probability 1 - exp(-1/T), or always when T = 0; the error of F2 in their test is allowed for.
/// Rounded up to a multiple of 8, the SIMD width. Throws UsageError when more than 4096 are needed.
[[nodiscard]] std::uint32_t suggest_lanes(std::uint32_t samples, double failure, double threshold);

/// The number of levels: 1 up to n = 2^20, 2 below 2^36, 3 from there. A query looks at about n, n^(1/2) or n^(1/3) cells.
/// A level of groups has SketchConfig::rows_at() rows of the table, at most as many as the items have, and takes update time
/// in that proportion.
[[nodiscard]] std::uint32_t suggest_levels(std::uint64_t dimension) noexcept;

/// Draws with replacement for p < 2: k, the entries of each lane through which sum |y|^p is estimated, with a relative standard
/// error of about 1 / sqrt(k (L - 1)). With one level that is at most epsilon in the sketch that suggest_config() gives: one for
/// 24 buckets, with which the noise is a tenth of the least of them. Where there are groups it is at most 3, as each takes a
/// search of its own: 0.12 of 24 lanes.
[[nodiscard]] std::size_t entries_of_lane(const SketchConfig& config) noexcept;

/// P[X < wanted], X ~ Binomial(trials, success), summed exactly.
[[nodiscard]] double binomial_lower_tail(std::uint64_t trials, double success, std::uint64_t wanted);

}  // namespace weir
