#pragma once

#include "weir/sample/draw.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/kronecker_sketch.hpp"

namespace weir {

/// Pairs (i1, i2) with probability y_(i1,i2)^2 / ||y||^2, y = (A1 (x) A2) vec X, all of whose operands may have streamed.
/// (To be completed: the argument for the law, what is exact, where 1 +- epsilon enters, what can fail.)
[[nodiscard]] SampleResult draw_pairs(const KroneckerSketch& sketch, const DrawOptions& options);

}  // namespace weir
