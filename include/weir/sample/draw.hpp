#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "weir/sketch/estimate.hpp"

namespace weir {

/// One drawn index.
struct Draw {
  std::uint32_t lane = 0;   ///< The lane that drew it (without replacement: the wide lane, 1).
  std::uint64_t index = 0;  ///< Where y is a matrix and `column` is set, the row i1.
  double value = 0;         ///< Estimate of y[index] (exact from the dense reference).
  double probability = 0;   ///< Estimate of |y_i|^p / sum |y|^p, at most 1.
  /// |value - y[index]| <= value_bound except with probability 0.01; 0 where the value is exact, nothing where the error is
  /// not known.
  std::optional<double> value_bound = {};
  std::optional<double> probability_bound = {};  ///< The same of the probability.
  /// Without replacement only: probability of being among the draws, given the threshold.
  std::optional<double> inclusion;
  double scale = 0;                          ///< Without replacement only: the factor of the entry in its lane.
  std::optional<double> deviation = {};      ///< Without replacement only: standard deviation of the value, if known.
  std::optional<std::uint64_t> column = {};  ///< i2, where y is a matrix.
  std::vector<double> row = {};              ///< Where rows are drawn: the entries of the row.
};

enum class FailReason : std::uint8_t {
  below_threshold,  ///< The largest scaled estimate did not stand out: w^2 < T * F2 (its p-norm analogue for p < 2).
  no_candidate,     ///< No key had consistent estimates across the rows.
  second_stage,     ///< Row i1 was drawn, but no lane of the other factor was left that drew i2.
  heavy_tail,       ///< Precision sampling: what is left without the largest entries is larger than the threshold.
};

/// Stable machine-readable names: "below_threshold", "no_candidate", "second_stage", "heavy_tail".
[[nodiscard]] std::string_view to_string(FailReason reason) noexcept;

/// A lane that did not draw.
struct FailedLane {
  std::uint32_t lane = 0;
  FailReason reason = FailReason::below_threshold;
};

struct SampleResult {
  double norm = 0;  ///< Estimate of ||y||_2.
  /// What probabilities are shares of: sum |y_i|^p, or the sum of a_i^T M a_i over the rows.
  Estimate mass = {};
  /// Where draws have the law |y_i|^p, p < 2, and from draws without replacement: (sum |y|^p)^(1/p).
  std::optional<Estimate> norm_p = {};
  bool zero_vector = false;  ///< y is exactly zero: nothing can be drawn.
  std::vector<Draw> draws;   ///< At most the number asked for.
  std::vector<FailedLane> failed;
  /// Without replacement: the scaled magnitude of the entry after the last draw, as estimated: the draws have passed it. 0 where
  /// all entries were drawn.
  double threshold = 0;
  double threshold_noise = 0;  ///< Standard deviation of the noise of scaled magnitudes near the threshold.
  /// Without replacement: the entry that comes after the last draw, whose scaled magnitude is the threshold of the
  /// inclusions. None where all entries were drawn.
  std::optional<Draw> next = {};
};

/// Draws whose values are known exactly and are zero were made up by collisions: their lanes have failed.
void fail_draws_of_zeros(SampleResult& result);

}  // namespace weir
