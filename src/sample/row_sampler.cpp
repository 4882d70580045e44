#include "weir/sample/row_sampler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "matrix_view.hpp"
#include "sample/power.hpp"
#include "sample/row_recovery.hpp"
#include "sample/search.hpp"
#include "sketch/gram.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"

namespace weir {

namespace {

// The search of sample/search.cpp finds the largest of |w_i|; here of ||s_i a_i||_M, from a table of the M-norms of the
// cells. What it relies on holds for norms too:
//
// - The noise. A cell of an item is w + e, e the sum of what collides. ||w + e|| is at least <w + e, w> / ||w||, and
//   the noise of that has a variance of at most F2 / B, F2 the sum of the squared M-norms in the lane: so the slack by
//   which a score may fall short is no larger than for numbers. lane_f2() of the table of norms is that F2, with the
//   variance 2 F2^2 / B, as the norms are those of CountSketches of the columns of A F.
// - The bias. E||w + e||^2 = ||w||^2 + F2 / B: scores are too large, alike for all items but for those in the same cell,
//   so that it does not change who is the largest. The rows recovered from the signed cells have less of it, about 0.2
//   F2 / B with 5 rows, and decide.
// - Ghosts. Without signs a key meets the largest item in h = (R + 1) / 2 rows 2^(h - 1) times as often: 10 / B^3 for R
//   = 5. They take places among the candidates; where their signs do not agree, what is recovered is no large row. The
//   others have h rows that support them, one fewer than rows_required(), and are passed over. A true maximum lacks the
//   support less often than a number does: only the part of the noise along w counts.

/// Candidates of a lane whose rows are recovered.
constexpr std::size_t recovered = 16;

/// The largest of the candidates, those first that enough table rows support.
RecoveredRow largest_row(const MatrixSketch& sketch, const Metric& metric, std::uint32_t lane,
                         std::span<const ScanHit> candidates) {
  const std::uint32_t required = rows_required(sketch.config().rows);
  RecoveredRow best;
  for (const ScanHit& candidate : candidates) {
    RecoveredRow row = recover_row(sketch, metric, candidate.key, lane);
    if (!std::isfinite(row.norm)) continue;  // scaled, it overflows
    const bool supported = row.supporting >= required;
    const bool best_supported = best.supporting >= required;
    if (supported != best_supported ? supported : row.norm > best.norm) best = std::move(row);
  }
  return best;
}

void require_drawable(const MatrixSketch& sketch, const Metric& metric, double total, const DrawOptions& options) {
  const SketchConfig& config = sketch.config();
  require_scaled_lane(config);
  if (config.law == ScaleLaw::uniform || config.p != 2.0) {
    throw UsageError(fmt::format("rows are drawn with the law 'exponential' and p = 2: the sketch has '{}' and p = {}",
                                 to_string(config.law), config.p));
  }
  require_threshold(options.threshold);
  if (metric.dimension() != sketch.columns()) {
    throw UsageError(fmt::format("the metric is {} x {}: expected {} x {}, as rows have {} columns", metric.dimension(),
                                 metric.dimension(), sketch.columns(), sketch.columns(), sketch.columns()));
  }
  if (total < 0) {
    throw InputError(fmt::format("the sum of the masses of the rows is {:.6g}, below 0: {}", total, unmatched_row));
  }
  if (std::isnan(total) || std::isinf(total)) {
    throw InputError(fmt::format("the sum of the masses of the rows is {}: expected a finite number", total));
  }
}

/// Throws InputError when masses are zero, or nearly, because squares underflow, not because M does not see the rows.
void require_no_underflow(const MatrixSketch& sketch, const Metric& metric, double total) {
  if (total >= std::numeric_limits<double>::min()) return;
  const RowMajorMatrix directions = matrix_view(metric.factor()).transpose();
  for (Eigen::Index k = 0; k < directions.rows(); ++k) {
    const auto direction = directions.row(k);
    require_range(sketch.product({direction.data(), static_cast<std::size_t>(direction.size())}, 0));
  }
}

}  // namespace

SampleResult draw_rows(const MatrixSketch& sketch, const Metric& metric, double total, const DrawOptions& options) {
  require_drawable(sketch, metric, total, options);
  const SketchConfig& config = sketch.config();
  require_range(sketch);
  require_no_underflow(sketch, metric, total);
  SampleResult result;
  result.zero_vector = total == 0 || sketch.is_zero();
  if (result.zero_vector) return result;
  result.norm = std::sqrt(total);
  result.mass.value = total;

  const VectorSketch norms = sketch.cell_norms(metric.factor());
  const double floor = std::sqrt(options.threshold * total) * (1 - 1e-9);
  std::vector<double> floors(config.lanes, floor);
  floors[0] = std::numeric_limits<double>::infinity();
  const auto candidates =
      search_largest(norms, {.floors = floors, .wanted = 1, .kept = recovered, .items = CellScore::magnitude});

  for (std::uint32_t lane = 1; lane < config.lanes && result.draws.size() < options.samples; ++lane) {
    const RecoveredRow largest = largest_row(sketch, metric, lane, candidates[lane]);
    if (largest.norm == 0) {
      result.failed.push_back({lane, floor > 0 ? FailReason::below_threshold : FailReason::no_candidate});
    } else if (power_of_magnitude(largest.norm, 2) < options.threshold * total) {
      result.failed.push_back({lane, FailReason::below_threshold});
    } else if (options.threshold > 0 && largest.supporting < rows_required(config.rows)) {
      result.failed.push_back({lane, FailReason::no_candidate});
    } else {
      const double scale = sketch.scale_of(largest.index, lane);
      Draw draw;
      draw.lane = lane;
      draw.index = largest.index;
      draw.value = largest.norm / scale;
      draw.probability = share_of_moment(draw.value, 2, total);
      draw.row = largest.scaled;
      for (double& entry : draw.row) entry /= scale;
      result.draws.push_back(std::move(draw));
    }
  }
  return result;
}

}  // namespace weir
