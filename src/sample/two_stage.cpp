#include "weir/sample/two_stage.hpp"

#include <cmath>
#include <optional>
#include <span>

#include "matrix_view.hpp"
#include "sample/power.hpp"
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
    std::uint64_t column = 0;
    double value = 0;
  };
  /// Draws from the row A2 v of y, whose squared norm is `mass`, with the lanes that are left, one after the other, until
  /// one accepts.
  [[nodiscard]] std::optional<Entry> draw(std::span<const double> v, double mass) {
    const double floor = std::sqrt(threshold_ * mass) * (1 - 1e-9);
    while (next_lane_ < sketch_.config().lanes) {
      const std::uint32_t lane = next_lane_++;
      const VectorSketch row = sketch_.product(v, lane);
      const LaneMaximum maximum = maximum_of_lane(row, 0, floor);
      if (maximum.value == 0 || power_of_magnitude(maximum.value, 2) < threshold_ * mass) continue;
      if (threshold_ > 0 && maximum.supporting < rows_required(row.config().rows)) continue;
      return Entry{maximum.key, maximum.value / sketch_.scale_of(maximum.key, lane)};
    }
    return std::nullopt;
  }

 private:
  const MatrixSketch& sketch_;
  double threshold_;
  std::uint32_t next_lane_ = 1;
};

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
  const double total = metric.total(sketch.a1.checked_gram());
  // All lanes, as some of their rows may find no column.
  DrawOptions all_lanes = options;
  all_lanes.samples = sketch.config().lanes;
  SampleResult rows = draw_rows(sketch.a1.draws, metric, total, all_lanes);
  SampleResult result;
  result.norm = rows.norm;
  result.mass = rows.mass;
  result.zero_vector = rows.zero_vector;

  ColumnDraws columns(sketch.a2.draws, options.threshold);
  auto failed = rows.failed.cbegin();
  for (const Draw& row : rows.draws) {
    if (result.draws.size() == options.samples) break;
    for (; failed != rows.failed.cend() && failed->lane < row.lane; ++failed) result.failed.push_back(*failed);
    const RowMajorMatrix v = matrix_view(row.row, 1, row.row.size()) * matrix_view(core);
    const auto entry = columns.draw({v.data(), static_cast<std::size_t>(v.size())}, row.value * row.value);
    if (!entry) {
      result.failed.push_back({row.lane, FailReason::second_stage});
      continue;
    }
    result.draws.push_back({.lane = row.lane,
                            .index = row.index,
                            .value = entry->value,
                            .probability = share_of_moment(entry->value, 2, total),
                            .inclusion = std::nullopt,
                            .column = entry->column,
                            .row = {}});
  }
  if (result.draws.size() < options.samples) result.failed.insert(result.failed.end(), failed, rows.failed.cend());
  return result;
}

}  // namespace weir
