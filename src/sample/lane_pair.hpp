#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// An entry of y, found in one lane or another.
struct FoundEntry {
  std::uint64_t key = 0;
  double value = 0;  ///< Of y, not scaled.
  double scale = 1;  ///< Of the entry in the scaled lane.
};

/// How far an estimated value is off, from what the cells hold when all that was found has been subtracted.
struct Spread {
  double bar = 0;        ///< 99% bar of the error.
  double deviation = 0;  ///< Standard deviation of the error.
};

/// Estimates entries of y from lane 0 and one scaled lane together.
///
/// A cell of an entry of scale s holds, but for its sign, y + n0 in lane 0 and s y + n1 in the scaled lane, where n0 and n1
/// are noise of what else is in the cell. So w0 (y + n0) + w1 (s y + n1) with w0 + s w1 = 1 estimates y, and the weights of
/// least variance follow from the variances v0, v1 and the covariance c of n0 and n1: w0 = (v1 - s c) / D and
/// w1 = (s v0 - c) / D, D = v1 - 2 s c + s^2 v0. (n0 and n1 are correlated, as the same entries make up both.) The estimate
/// is the median of this combination over the rows of the table. An entry of a large scale is read from the scaled lane,
/// whose noise is reduced by that part which lane 0 shows, and one of a small scale from lane 0.
///
/// The spread of an estimate is that of the median of R cells in the same combination, chosen at random from those that no
/// found entry is in: cells that hold one have lost a part of their noise with it. It needs no law of the noise.
class LanePair {
 public:
  /// Reads the noise off `residual`, a sketch from which all entries in `found` have been subtracted. O(R B).
  LanePair(const VectorSketch& residual, std::uint32_t lane, std::span<const FoundEntry> found);

  struct Weights {
    double unscaled = 0;
    double scaled = 1;
  };
  [[nodiscard]] Weights weights(double scale) const noexcept;
  /// The estimate from the cells of an entry in the rows of the table, with its sign: of lane 0 and of the scaled lane, which
  /// is overwritten. O(R).
  [[nodiscard]] double estimate(std::span<const double> unscaled, std::span<double> scaled, double scale) const;
  /// Of the estimate of an entry of this scale. O(1) on average over many; O(N log N) for each octave of scales, N at most 4096.
  [[nodiscard]] Spread spread(double scale);

 private:
  /// Variance of the combination in one cell, by the moments.
  [[nodiscard]] double variance(double scale) const noexcept;
  [[nodiscard]] Spread measure(double scale) const;

  std::uint32_t rows_;
  double occupied_ = 0;           ///< Share of the cells that something found is in.
  std::vector<double> unscaled_;  ///< Cells of lane 0 that no found entry is in, some of them.
  std::vector<double> scaled_;    ///< The same cells of the scaled lane.
  double v0_ = 0;
  double v1_ = 0;
  double c_ = 0;
  std::map<int, Spread> measured_;  ///< By octaves of the scale.
};

/// Takes those of the `candidates` that are large in lane 0 or in `lane`: subtracts them from `residual`, and appends them to
/// `found`, or adds to the value there. What collides with them has less noise then, and above all none that is as large as an
/// entry that is drawn. They count as large where noise alone makes about one of n. O(R B + R candidates), twice.
void take_large(VectorSketch& residual, std::uint32_t lane, std::span<const std::uint64_t> candidates,
                std::vector<FoundEntry>& found);

/// Improves the values in `found`, which have been subtracted from `residual`, by what lane 0 and `lane` together still show
/// of them, three times over. Of `residual` only these lanes of level 0 follow. O(R B + R found).
void refine(VectorSketch& residual, std::uint32_t lane, std::vector<FoundEntry>& found);

}  // namespace weir
