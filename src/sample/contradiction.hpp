#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "sample/search.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// 99% bars by which two lanes must differ before a value is not believed: practically none that is there is lost.
inline constexpr double bars_of_contradiction = 3;

/// Whether a value is not believed that lane 0 shows to be off by `off`: see below.
[[nodiscard]] inline bool is_contradicted(double off, double value, double bar, double bar_of_lane_0) {
  const double rounding = 0x1p-30 * std::abs(value);
  return std::abs(off) > std::max(std::abs(value) / 2, bars_of_contradiction * (bar + bar_of_lane_0)) + rounding;
}

/// Whether lane 0 contradicts the value of an entry that another lane shows, up to its 99% bar; `bar_of_lane_0` is that of an
/// entry in lane 0. Among many keys there are some that share most cells with a large entry of the other lane. They look as
/// large there, but their scale is an ordinary one, so that they would have to be far larger in lane 0. It must differ by half
/// of the value besides: where few cells hold anything the bars are those of most entries, and not of those that others collide
/// with.
[[nodiscard]] inline bool is_contradicted(const VectorSketch& sketch, std::uint64_t key, double value, double bar,
                                          double bar_of_lane_0) {
  return is_contradicted(vote_of_rows(sketch, key, 0).median - value, value, bar, bar_of_lane_0);
}

}  // namespace weir
