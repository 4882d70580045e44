#pragma once

#include <cstdint>

#include "weir/attention/calibration.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/state/problem.hpp"

namespace weir {

/// The problem of attention in the mode `anisotropic`: `tokens` keys and values stream, scores are `scale` q.k. The
/// calibration is part of the problem by a digest, so that states of two calibrations do not combine. Throws UsageError for
/// a scale that is not finite.
[[nodiscard]] Problem attention_problem(std::uint64_t tokens, double scale, const AnisotropicCalibration& calibration);
/// What the calibration is as a fixed operand, attention_calibration(): engine::Sources::values has it.
[[nodiscard]] DenseMatrix as_operand(const AnisotropicCalibration& calibration);
/// Factor of the scores of a problem of attention. Throws UsageError for another problem.
[[nodiscard]] double attention_scale(const Problem& problem);

}  // namespace weir
