#include "weir/sample/row_sampler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "matrix_view.hpp"
#include "sample/drawable_rows.hpp"
#include "sample/error_bar.hpp"
#include "sample/fitted_candidates.hpp"
#include "sample/fitted_rows.hpp"
#include "sample/power.hpp"
#include "sample/row_fit.hpp"
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
/// Of these, so many of the largest are fitted in all lanes, and none that is below this part of the largest.
constexpr std::size_t fitted = 4;
constexpr double fitted_part = 0.7;
/// Above this part of the best score a candidate may still win when its noise is known.
constexpr double rival_part = 0.85;

/// A row that may be the largest of a lane.
struct RowCandidate {
  std::uint64_t key = 0;
  double scale = 0;
  std::uint32_t supporting = 0;
  FittedRow fit = {};
  double score = 0;              ///< The scaled M-norm; 0 where there is no candidate.
  double standard_error = 0;     ///< Of fit.norm.
  double relative_variance = 0;  ///< Of fit.norm, at most 0.1.
};

class RowCandidates {
 public:
  RowCandidates(const MatrixSketch& sketch, const Metric& metric, const VectorSketch& norms)
      : sketch_(sketch), metric_(metric), fit_(sketch, metric, norms) {}

  /// The largest of the candidates of a lane, those first that enough table rows support. As for numbers a score is lowered by
  /// what noise would add to the rate of light rows: the M-norm without its noise is w + e - e^2 / 2w for an error e along the row,
  /// and E[(1 - e/w + e^2 / 2w^2)^-2] = 1 + 2 r^2.
  [[nodiscard]] RowCandidate winner(std::uint32_t lane, std::span<const ScanHit> hits) {
    const std::uint32_t required = rows_required(sketch_.config().rows);
    std::vector<RecoveredRow> rows;
    for (const ScanHit& hit : hits) {
      RecoveredRow row = recover_row(sketch_, metric_, hit.key, lane);
      if (std::isfinite(row.norm) && row.norm > 0) rows.push_back(std::move(row));  // scaled, it may overflow
    }
    std::ranges::stable_sort(rows, [&](const RecoveredRow& a, const RecoveredRow& b) {
      const bool a_supported = a.supporting >= required, b_supported = b.supporting >= required;
      return a_supported != b_supported ? a_supported : a.norm > b.norm;
    });
    std::vector<RowCandidate> candidates;
    double best = 0;
    for (const RecoveredRow& row : rows) {
      const bool as_supported = (row.supporting >= required) == (rows.front().supporting >= required);
      if (candidates.size() == fitted || !as_supported || row.norm < fitted_part * rows.front().norm) break;
      RowCandidate candidate{
          .key = row.index, .scale = sketch_.scale_of(row.index, lane), .supporting = row.supporting};
      std::vector<double> start = row.scaled;
      for (double& entry : start) entry /= candidate.scale;
      candidate.fit = fit_(row.index, lane, start);
      candidate.score = candidate.fit.norm * candidate.scale;
      best = std::max(best, candidate.score);
      candidates.push_back(std::move(candidate));
    }
    RowCandidate winner;
    for (RowCandidate& candidate : candidates) {
      if (candidate.score < rival_part * best) continue;
      set_error(candidate, lane);
      candidate.score *= 1 - candidate.relative_variance;
      if (candidate.score > winner.score) winner = std::move(candidate);
    }
    return winner;
  }

 private:
  void set_error(RowCandidate& candidate, std::uint32_t lane) {
    const double norm = candidate.fit.norm;
    if (!(norm > 0)) return;
    if (!candidate.fit.is_exact) {
      // The error of a norm is that along the row.
      const RowMajorMatrix direction =
          matrix_view(candidate.fit.row, 1, candidate.fit.row.size()) * matrix_view(metric_.matrix()) / norm;
      candidate.standard_error =
          fit_product(sketch_, {direction.data(), static_cast<std::size_t>(direction.size())}, candidate.key, lane)
              .standard_error;
    }
    candidate.standard_error = std::max(candidate.standard_error, rounding_of_sums * norm);
    const double r = candidate.standard_error / norm;
    candidate.relative_variance = std::min(largest_relative_square, r * r);
  }

  const MatrixSketch& sketch_;
  const Metric& metric_;
  RowFit fit_;
};

/// The M-norm of a row is chosen for its upward noise, as the value of an entry is, and lacks the part of e^2 / 2w.
constexpr double bias_of_norm = 2.5;
constexpr double bias_of_row = 3;

Draw draw_of(const RowCandidate& winner, std::uint32_t lane, const Metric& metric, const Estimate& total) {
  Draw draw;
  draw.lane = lane;
  draw.index = winner.key;
  draw.value = winner.fit.norm * (1 - bias_of_norm * winner.relative_variance);
  draw.probability = std::min(1.0, share_of_moment(draw.value, 2, total.value) * (1 - winner.relative_variance));
  // The squared M-norm is off by the error of M, the norm by half of it.
  draw.value_bound = std::hypot(errors_of_value * winner.standard_error,
                                draw.value * deviations_of_bar * metric.relative_deviation() / 2);
  const double of_value = *draw.value_bound / draw.value;
  const double bound = draw.probability * std::hypot((2 + of_value) * of_value, total.bound / total.value);
  draw.probability_bound = std::min(bound, std::max(draw.probability, 1 - draw.probability));
  draw.row = winner.fit.row;
  for (double& entry : draw.row) entry *= 1 - bias_of_row * winner.relative_variance;
  return draw;
}

}  // namespace

void require_drawable(const MatrixSketch& sketch, const Metric& metric, double total, const DrawOptions& options) {
  const SketchConfig& config = sketch.config();
  require_scaled_lane(config);
  if (config.law == ScaleLaw::uniform)
    throw UsageError(
        fmt::format("rows are drawn with the law 'exponential': the sketch has '{}'", to_string(config.law)));
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

void require_no_underflow(const MatrixSketch& sketch, const Metric& metric, double total) {
  if (total >= std::numeric_limits<double>::min()) return;
  const RowMajorMatrix directions = matrix_view(metric.factor()).transpose();
  for (Eigen::Index k = 0; k < directions.rows(); ++k) {
    const auto direction = directions.row(k);
    require_range(sketch.product({direction.data(), static_cast<std::size_t>(direction.size())}, 0));
  }
}

DrawnRows draw_fitted_rows(const MatrixSketch& sketch, const Metric& metric, const Estimate& total,
                           const DrawOptions& options) {
  require_drawable(sketch, metric, total.value, options);
  const SketchConfig& config = sketch.config();
  if (config.p != 2.0)
    throw UsageError(fmt::format("rows are drawn with replacement by p = 2: the sketch has p = {}", config.p));
  require_range(sketch);
  require_no_underflow(sketch, metric, total.value);
  DrawnRows rows;
  SampleResult& result = rows.result;
  result.zero_vector = total.value == 0 || sketch.is_zero();
  if (result.zero_vector) return rows;
  result.norm = std::sqrt(total.value);
  result.mass = total;

  const VectorSketch norms = sketch.cell_norms(metric.factor());
  const double floor = std::sqrt(options.threshold * total.value) * (1 - 1e-9);
  std::vector<double> floors(config.lanes, candidate_floor * floor);
  floors[0] = std::numeric_limits<double>::infinity();
  const auto hits =
      search_largest(norms, {.floors = floors, .wanted = 1, .kept = recovered, .items = CellScore::magnitude});
  RowCandidates candidates(sketch, metric, norms);
  for (std::uint32_t lane = 1; lane < config.lanes && result.draws.size() < options.samples; ++lane) {
    const RowCandidate winner = candidates.winner(lane, hits[lane]);
    if (winner.score == 0) {
      result.failed.push_back({lane, floor > 0 ? FailReason::below_threshold : FailReason::no_candidate});
    } else if (winner.score < floor) {
      result.failed.push_back({lane, FailReason::below_threshold});
    } else if (options.threshold > 0 && winner.supporting < rows_required(config.rows)) {
      result.failed.push_back({lane, FailReason::no_candidate});
    } else {
      result.draws.push_back(draw_of(winner, lane, metric, total));
      rows.relative_noise.push_back(winner.fit.noise / winner.fit.norm);
      rows.is_exact.push_back(winner.fit.is_exact);
    }
  }
  return rows;
}

SampleResult draw_rows(const MatrixSketch& sketch, const Metric& metric, const Estimate& total,
                       const DrawOptions& options) {
  return draw_fitted_rows(sketch, metric, total, options).result;
}

}  // namespace weir
