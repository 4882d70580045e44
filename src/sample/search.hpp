#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// What to look for in a sketch.
struct Search {
  /// For each lane: only items with |estimate| above it matter; infinity leaves the lane out.
  std::span<const double> floors;
  std::size_t wanted = 1;  ///< How many of the largest items of a lane must be right.
  std::size_t kept = 16;   ///< Candidates (groups and items) kept for each lane, at least `wanted`.
  CellScore items = CellScore::value;
};

/// For each lane, up to `kept` keys with the largest |median estimates|, largest first.
///
/// With one level every key is scored. With more, all top groups are, and the best of each lane are opened in the order
/// of their scores, level by level, until none is left whose score, plus a slack for its noise, reaches the `wanted`-th
/// best found. What is scored for one lane is scored for all: the kernel is as wide as a cell.
[[nodiscard]] std::vector<std::vector<ScanHit>> search_largest(const VectorSketch& sketch, const Search& search);

/// Estimate of one key in one lane with the number of rows that support it: those with the sign of the median and at
/// least a third of its magnitude.
struct RowVote {
  double median = 0;
  std::uint32_t supporting = 0;
};
/// From the estimates of the rows, whose order changes.
[[nodiscard]] RowVote vote_of(std::span<double> rows) noexcept;
[[nodiscard]] RowVote vote_of_rows(const VectorSketch& sketch, std::uint64_t key, std::uint32_t lane);

/// Rows that must support a draw: one more than the majority that a median is, where there are rows to spare. Noise and
/// rounding seldom have them; a maximum of sqrt(F2) lacks them when two rows of five are off by two thirds of it, one
/// time in 200 for B = 128, n = 2^20, so that the law does not feel it.
[[nodiscard]] std::uint32_t rows_required(std::uint32_t rows) noexcept;

struct LaneMaximum {
  std::uint64_t key = 0;
  double value = 0;  ///< Scaled estimate; 0 when there is none.
  std::uint32_t supporting = 0;
};

/// The largest of the candidates of a lane, which are sorted; of equals, the one that more rows support.
[[nodiscard]] LaneMaximum maximum_of(const VectorSketch& sketch, std::span<const ScanHit> largest_first);

/// Throws UsageError when the sketch has lane 0 only.
void require_scaled_lane(const SketchConfig& config);
/// Throws UsageError when T is negative or not finite.
void require_threshold(double threshold);

}  // namespace weir
