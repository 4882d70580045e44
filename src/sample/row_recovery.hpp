#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/sample/metric.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace weir {

/// Weights that sum to 1 and make sum over r of weights[r] * points[r] the geometric median of the points, which
/// minimises the sum of the distances to them; points[r] are the `dimension` numbers from r * dimension on.
///
/// Exactly a point where one is the median, as when the majority are equal; otherwise Weiszfeld's iteration, to far
/// below the distances between the points (Vardi and Zhang 2000).
[[nodiscard]] std::vector<double> geometric_median(std::span<const double> points, std::size_t dimension);

/// A row of A as one lane shows it.
struct RecoveredRow {
  std::uint64_t index = 0;
  std::vector<double> scaled;    ///< The row times its scale in the lane.
  double norm = 0;               ///< The M-norm of that.
  std::uint32_t supporting = 0;  ///< Rows of the table that support it: see rows_required().
};

/// Row `index` of A from its cells in `lane`: their geometric median in the M-norm.
///
/// It is a combination of cells, each of which is a combination of rows of A. So what rows of A have in common, such as
/// columns that depend on each other or nearly so, the estimate has too, whatever the basis; medians of the single
/// columns lose it, and their error in the metric of leverage scores grows with the condition of A^T A. It withstands a
/// minority of cells with large collisions as they do (Minsker 2015, "Geometric median and robust estimation in Banach
/// spaces"). Where M is singular, the part of the row that M does not see has the error of single cells.
///
/// A table row supports the estimate a when <cell, a>_M >= ||a||_M^2 / 3: as RowVote for one column.
[[nodiscard]] RecoveredRow recover_row(const MatrixSketch& sketch, const Metric& metric, std::uint64_t index,
                                       std::uint32_t lane);

}  // namespace weir
