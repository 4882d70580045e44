#pragma once

#include "weir/sample/sampler.hpp"

namespace weir {

/// draw_with_replacement() for p < 2, of a sketch that is not zero. Results are added to `result`.
///
/// Probabilities are divided by an estimate of Z = sum |y|^p from the k + 1 largest scaled magnitudes of every lane, k =
/// entries_of_lane(): in each lane the k largest are draws without replacement, whose Horvitz-Thompson sum estimates Z, and
/// the mean over the lanes has a relative standard error of about 1 / sqrt(k (L - 1)), or less where few entries hold Z.
void draw_below_two(const VectorSketch& sketch, const DrawOptions& options, SampleResult& result);

}  // namespace weir
