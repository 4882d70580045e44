#pragma once

#include <vector>

#include "weir/sample/row_sampler.hpp"

namespace weir {

/// What draw_rows() draws, and what a further stage must know of the rows.
struct DrawnRows {
  SampleResult result;
  /// [draw]: root mean square M-norm of the noise in its row, in units of the M-norm of the row.
  std::vector<double> relative_noise;
  std::vector<bool> is_exact;  ///< [draw]: its row has no noise.
};
[[nodiscard]] DrawnRows draw_fitted_rows(const MatrixSketch& sketch, const Metric& metric, const Estimate& total,
                                         const DrawOptions& options);

}  // namespace weir
