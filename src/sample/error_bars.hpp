#pragma once

#include <cstdint>

#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// The part h of the cells of a lane that may be larger than an error bar: 2 P[Bin(R, h / 2) >= (R + 1) / 2] = 0.01 for R
/// rows of the table; 0.1656 for R = 5.
[[nodiscard]] double part_beyond_bar(std::uint32_t rows);

/// The number that the median over the rows of sign * cell of a lane, the estimate of a scaled entry w, misses w by with
/// probability 0.01: the (1 - h) quantile of |cell| over the R B cells of the lane, h = part_beyond_bar(R). What collides
/// with the entry is distributed as a cell is, with a random sign. So it is beyond the bar on one side with probability
/// h / 2, and it takes (R + 1) / 2 such rows to move the median there. Holds for an entry that was chosen without looking at
/// the lane. 0 where so many cells are empty that the median is exact. O(R B). Throws UsageError when there is no such
/// lane.
[[nodiscard]] double error_bar_of_lane(const VectorSketch& sketch, std::uint32_t lane);

}  // namespace weir
