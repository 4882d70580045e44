#pragma once

#include "weir/sample/draw.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// draw_with_replacement() for p = 2 from a sketch of a y that is not zero.
///
/// In each lane the candidates are the entries whose lane median is at least 0.85 sqrt(T F2). Lane medians alone cannot
/// choose: among n keys some median is made up by collisions, and the largest of many noisy numbers is too large. So
/// candidates are scored by |w| = s |y| (1 - 1.5 r^2), y and its relative standard error r from the joint fit of all lanes
/// (sample/joint_fit.hpp). The factor takes away what light entries would gain from having more noise. The largest is
/// accepted if w^2 >= T F2; otherwise the lane fails, for if the next one were taken more lanes would accept than 1 -
/// exp(-1/T).
///
/// The value of a winner is y (1 - 3 r^2) and its probability value^2 (1 - r^2) / F2: E[s^2 | accepted] favours upward
/// noise, and the square adds its variance. Bounds are 3 standard errors of the fit; that of a probability has the spread
/// of F2 besides. r^2 counts as 0.1 at most.
[[nodiscard]] SampleResult draw_by_joint_fit(const VectorSketch& sketch, const DrawOptions& options);

}  // namespace weir
