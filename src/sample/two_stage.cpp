#include "weir/sample/two_stage.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <span>
#include <vector>

#include "matrix_view.hpp"
#include "sample/error_bar.hpp"
#include "sample/fitted_candidates.hpp"
#include "sample/fitted_rows.hpp"
#include "sample/power.hpp"
#include "sample/row_fit.hpp"
#include "sample/row_recovery.hpp"
#include "sample/search.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/range.hpp"
#include "weir/sample/row_sampler.hpp"

namespace weir {

namespace {

/// Whether an operand, and so y, is exactly zero, while X is finite. Then the O(d^3) decomposition of the metric is not
/// needed.
bool is_zero_product(const KroneckerSketch& sketch, const DenseMatrix& core) {
  if (!matrix_view(core).allFinite()) return false;
  return sketch.a1.is_zero() || sketch.a2.is_zero() || matrix_view(core).isZero(0);
}

/// The lanes of the sketch of A2, each of which draws from one row of y at most.
class ColumnDraws {
 public:
  ColumnDraws(const MatrixSketch& sketch, double threshold) : sketch_(sketch), threshold_(threshold) {}

  struct Entry {
    Candidate candidate;
    std::uint32_t lane = 0;
  };
  /// Draws from the row A2 v of y, whose squared norm is `mass`, with the lanes that are left, one after the other, until
  /// one accepts. A lane proposes entries, and all lanes together decide, as in draw_by_joint_fit().
  [[nodiscard]] std::optional<Entry> draw(std::span<const double> v, double mass) {
    const double floor = std::sqrt(threshold_ * mass) * (1 - 1e-9);
    const std::uint32_t lanes = sketch_.config().lanes;
    std::optional<VectorSketch> row;
    std::optional<FittedCandidates> candidates;
    std::uint32_t group = 0;
    while (next_lane_ < lanes) {
      const std::uint32_t lane = next_lane_++;
      const double lane_floor = candidate_floor * floor;
      std::vector<ScanHit> hits = search_largest(
          sketch_.product(v, lane), {.floors = std::span(&lane_floor, 1), .wanted = 1, .kept = fitted_a_lane})[0];
      if (hits.empty()) continue;
      for (ScanHit& hit : hits) hit.lane = lane;
      if (const std::uint32_t first = lane_group(lanes, lane).first; first != group) {
        group = first;
        candidates.reset();
        row.emplace(product_of_group(sketch_, v, lane));
        candidates.emplace(*row, mass);
      }
      const Candidate winner = candidates->winner(hits);
      if (winner.score > 0 && winner.score >= floor) return Entry{winner, lane};
    }
    return std::nullopt;
  }

 private:
  const MatrixSketch& sketch_;
  double threshold_;
  std::uint32_t next_lane_ = 1;
};

/// tr(X G2 X^T G1) with its 99% bound: that of a fixed metric, and as much again for the error of G2, as the variance is
/// the same with A1 and A2 exchanged.
Estimate total_of(const KroneckerSketch& sketch, const Metric& metric) {
  const DenseMatrix gram = sketch.a1.checked_gram();
  if (!sketch.a1.exact_gram.empty()) return {metric.total(gram), 0};
  const SketchConfig& wide = sketch.a1.wide.config();
  const Estimate total = metric.total_of_estimate(gram, wide.rows * wide.buckets);
  return {total.value, std::numbers::sqrt2 * total.bound};
}

/// The standard error of y_(i1, i2) = <a_i1, X b_i2> that comes from the error of row i1 of A1, as all lanes show it. The row of
/// A2 is that of the lane that drew it.
double error_of_row(const KroneckerSketch& sketch, const DenseMatrix& core, const Draw& row,
                    const ColumnDraws::Entry& entry) {
  const MatrixSketch& a2 = sketch.a2.draws;
  const std::vector<double> b = recover_row(a2, Metric::norm(a2.columns()), entry.candidate.key, entry.lane).scaled;
  const RowMajorMatrix u = matrix_view(b, 1, b.size()) * matrix_view(core).transpose() / entry.candidate.scale;
  return fit_product(sketch.a1.draws, {u.data(), static_cast<std::size_t>(u.size())}, row.index, row.lane)
      .standard_error;
}

Draw draw_of(const KroneckerSketch& sketch, const DenseMatrix& core, const DrawnRows& rows, std::size_t t,
             const ColumnDraws::Entry& entry, const Estimate& total) {
  const Draw& row = rows.result.draws[t];
  const Candidate& winner = entry.candidate;
  const double of_row = rows.is_exact[t] ? 0.0 : error_of_row(sketch, core, row, entry);
  const double error = std::hypot(of_row, winner.entry.standard_error);
  Draw draw;
  draw.lane = row.lane;
  draw.index = row.index;
  draw.column = winner.key;
  // i2 is drawn from the row with its noise e, so that of (a + e) X b the part e X b is on average |e|^2 / |a|^2 of it.
  const double noise = std::min(largest_relative_square, rows.relative_noise[t] * rows.relative_noise[t]);
  draw.value = winner.value() * (1 - noise);
  const double relative = error / std::abs(draw.value);
  draw.value_bound = errors_of_value * error;
  draw.probability =
      share_of_moment(draw.value, 2, total.value) * (1 - std::min(largest_relative_square, relative * relative));
  const double of_value = errors_of_value * relative;
  const double bound = draw.probability * std::hypot((2 + of_value) * of_value, total.bound / total.value);
  draw.probability_bound = std::min(bound, std::max(draw.probability, 1 - draw.probability));
  return draw;
}

}  // namespace

SampleResult draw_pairs(const KroneckerSketch& sketch, const DrawOptions& options) {
  const DenseMatrix core = sketch.core();
  require_scaled_lane(sketch.config());
  require_threshold(options.threshold);
  // Of X, and of the products, that of the metric is.
  require_range(sketch.a1);
  require_range(sketch.a2);
  if (is_zero_product(sketch, core)) return {.norm = 0, .zero_vector = true, .draws = {}, .failed = {}};
  const Metric metric = metric_through(core, sketch.a2.checked_gram());
  const Estimate total = total_of(sketch, metric);
  // All lanes, as some of their rows may find no column.
  DrawOptions all_lanes = options;
  all_lanes.samples = sketch.config().lanes;
  const DrawnRows drawn = draw_fitted_rows(sketch.a1.draws, metric, total, all_lanes);
  const SampleResult& rows = drawn.result;
  SampleResult result;
  result.norm = rows.norm;
  result.mass = rows.mass;
  result.zero_vector = rows.zero_vector;

  ColumnDraws columns(sketch.a2.draws, options.threshold);
  auto failed = rows.failed.cbegin();
  for (std::size_t t = 0; t < rows.draws.size() && result.draws.size() < options.samples; ++t) {
    const Draw& row = rows.draws[t];
    for (; failed != rows.failed.cend() && failed->lane < row.lane; ++failed) result.failed.push_back(*failed);
    const RowMajorMatrix v = matrix_view(row.row, 1, row.row.size()) * matrix_view(core);
    // The norm of the row that was recovered, with the noise in it: that is the row from which i2 is drawn.
    const auto entry = columns.draw({v.data(), static_cast<std::size_t>(v.size())}, metric.of_row(row.row));
    if (entry) {
      result.draws.push_back(draw_of(sketch, core, drawn, t, *entry, total));
    } else {
      result.failed.push_back({row.lane, FailReason::second_stage});
    }
  }
  if (result.draws.size() < options.samples) result.failed.insert(result.failed.end(), failed, rows.failed.cend());
  return result;
}

}  // namespace weir
