#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "sample/joint_fit.hpp"
#include "sample/search.hpp"
#include "weir/sketch/operator.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// An entry that may be the largest of a lane, as the joint fit has it.
struct Candidate {
  std::uint64_t key = 0;
  FittedEntry entry;
  double scale = 0;              ///< In the lane.
  double relative_variance = 0;  ///< r^2, r = standard error / value; at most 0.1.
  double score = 0;              ///< |w|, 0 where nothing is known of the entry.
  std::uint32_t supporting = 0;  ///< The set of table rows whose cell has the sign of w and a third of its magnitude.

  /// Estimate of y_i, given that the entry was accepted: E[s^2 | accepted] favours upward noise.
  [[nodiscard]] double value() const noexcept { return entry.value * (1 - 3 * relative_variance); }
};

/// Of the estimate of F2, a median over the rows of a table.
struct ErrorOfF2 {
  double relative = 0;         ///< Relative standard error.
  double bias_of_inverse = 0;  ///< E[F2 / estimate] - 1.
};

/// Standard errors of the fit of a winner that hold its error with probability 0.99, with the bias of a winner.
inline constexpr double errors_of_value = 3;
/// Lane medians down to this part of the threshold may belong to entries that pass the test.
inline constexpr double candidate_floor = 0.85;
/// Candidates of a lane: fits are costly, and an entry that is the largest of a lane is seldom far down its list.
inline constexpr std::size_t fitted_a_lane = 16;

/// Chooses the largest entries of lanes among those that their cells propose. See draw_by_joint_fit().
class FittedCandidates {
 public:
  /// `f2` is about ||y||^2. Requires has_joint_fit(); the sketch must outlive the object and stay as it is.
  FittedCandidates(const VectorSketch& sketch, double f2);

  /// The one of the largest score, of hits of one lane that come largest first. Its score is 0 when there is none. Lanes of one
  /// group should come one after the other, as fits are kept for one group.
  [[nodiscard]] Candidate winner(std::span<const ScanHit> hits);

  /// A row has the variance 2 (F2^2 - F4) / B, F4 the sum of y_i^4: an
  /// entry adds what it has with others. Of the largest, so few that two of them seldom meet, only what they have with the
  /// rest counts, as a median does not feel what happens in one row of five. They are taken from the fits, the rest from
  /// the cells without them. What the entries of the rest have with each other has the law of chi-squared about, so that its
  /// median is less than its mean by a third of its variance, 2 rest^2 / B; what the large ones have with others is symmetric.
  [[nodiscard]] ErrorOfF2 error_of_f2();

 private:
  [[nodiscard]] Candidate candidate(const ScanHit& hit);
  /// Whether a candidate looks like a large entry because it shares cells with another, larger than half of it, which has
  /// more support. Of equal support the one of the larger scale is believed: the scale of the true one is large because it
  /// is the maximum of the lane, and that of a shadow is that of any key.
  [[nodiscard]] bool is_shadow(const Candidate& candidate);
  [[nodiscard]] std::uint32_t shared_rows(std::uint64_t a, std::uint64_t b);
  /// F2 without `keys` by each row of the table, from the cells in which they are not.
  [[nodiscard]] std::vector<double> row_sums(std::span<const std::uint64_t> keys);

  const VectorSketch& sketch_;
  double f2_;
  JointFit fit_;
  SketchOperator phi_;
  PhiColumns columns_;  // scratch
  std::uint32_t group_ = 0;
  std::unordered_map<std::uint64_t, FittedEntry> fits_;     // of the group
  std::unordered_map<std::uint64_t, double> large_shares_;  // of F2, of candidates of all groups
  std::vector<Candidate> of_lane_;
};

}  // namespace weir
