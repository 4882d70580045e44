#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "matrix_view.hpp"
#include "sample/drawable_rows.hpp"
#include "sample/error_bar.hpp"
#include "sample/horvitz_thompson.hpp"
#include "sample/joint_fit.hpp"
#include "sample/power.hpp"
#include "sample/printed_error.hpp"
#include "sample/pursuit.hpp"
#include "sample/search.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sketch/operator.hpp"

namespace weir {

namespace {

/// What a value is granted beyond its 99% bar, as the noise is a part of what draws are chosen by.
constexpr double widening = 1.16;
/// Rows that are taken out of the sketch for each one that is wanted: the noise decides which of those near the threshold are
/// the largest, and all of them are noise to each other.
constexpr double taken_for_each_wanted = 1.3;
/// Searches of what is left. The first finds nearly all; the others what larger rows have hidden, or kept from being seen among
/// the ghosts that they make.
constexpr int searches = 3;
/// A row that a later search finds is taken when it is this part of the smallest of those that are wanted.
constexpr double part_of_smallest = 0.8;

/// Weights of the geometric median of points, from their Gram matrix: Weiszfeld's iteration, in O(R^2) a step. Points whose
/// weight is far below that of the others get none, so that the median is exact where the majority of points are equal.
Eigen::VectorXd weights_of_median(const Eigen::MatrixXd& gram) {
  constexpr int most_steps = 100;
  constexpr double tolerance = 1e-7;
  const double least_square = 1e-24 * gram.trace();
  Eigen::VectorXd weights = Eigen::VectorXd::Constant(gram.rows(), 1 / static_cast<double>(gram.rows()));
  if (!(gram.trace() > 0)) return weights;
  for (int step = 0; step < most_steps; ++step) {
    const Eigen::VectorXd product = gram * weights;
    const double square = weights.dot(product);
    Eigen::VectorXd next = (gram.diagonal() - 2 * product).array() + square;
    next = next.cwiseMax(least_square).cwiseSqrt().cwiseInverse();
    next /= next.sum();
    const double change = (next - weights).cwiseAbs().maxCoeff();
    weights = next;
    if (change < tolerance) break;
  }
  const double least = 1e-6 * weights.maxCoeff();
  weights = (weights.array() < least).select(0.0, weights);
  return weights / weights.sum();
}

/// A row of the scaled matrix of a lane.
struct ScaledRow {
  std::uint64_t key = 0;
  Eigen::RowVectorXd row;
  double norm = 0;  ///< Its M-norm, without what noise adds to it.
  double along =
      0;  ///< Standard deviation of the noise along the row, in units of that of a cell; 0 where it is exact.
  std::uint32_t supporting = 0;
};

/// Takes the rows of the largest M-norms in one lane out of a sketch.
class RowPursuit {
 public:
  RowPursuit(const MatrixSketch& sketch, const Metric& metric, std::uint32_t lane)
      : metric_(metric), phi_(single_lane(sketch.config()), 1), columns_(phi_.config()), norms_(phi_.config()) {
    const SketchConfig& config = sketch.config();
    const auto d = static_cast<Eigen::Index>(sketch.columns());
    const auto all_cells = static_cast<Eigen::Index>(norms_.table().size());
    const auto cells = static_cast<Eigen::Index>(config.rows * config.buckets);
    // Of every level the norms, of the items the cells themselves.
    residual_.resize(cells, d);
    constexpr Eigen::Index block = 4096;
    RowMajorMatrix of_block(block, d);
    for (Eigen::Index first = 0; first < all_cells; first += block) {
      const Eigen::Index count = std::min(block, all_cells - first);
      const double* from = sketch.table().data() + static_cast<std::size_t>(first * d) * config.lanes + lane;
      for (Eigen::Index cell = 0; cell < count; ++cell)
        for (Eigen::Index j = 0; j < d; ++j, from += config.lanes) of_block(cell, j) = *from;
      Eigen::Map<Eigen::VectorXd>(norms_.table().data() + first, count) =
          (of_block.topRows(count) * matrix_view(metric.factor())).rowwise().norm();
      const Eigen::Index kept = std::min(count, cells - first);
      if (kept > 0) residual_.middleRows(first, kept) = of_block.topRows(kept);
    }
  }

  /// The `count` rows of the largest norms and some more, largest first; fewer where there are fewer.
  [[nodiscard]] std::vector<ScaledRow> run(std::size_t count) {
    const double ghosts = 10 * std::pow(static_cast<double>(count) / static_cast<double>(phi_.config().buckets), 3) *
                          static_cast<double>(phi_.config().dimension);
    const auto kept = static_cast<std::size_t>(
        std::min(2.0 * static_cast<double>(count) + 64 + ghosts, 16.0 * static_cast<double>(count) + 64));
    const auto taken = static_cast<std::size_t>(taken_for_each_wanted * static_cast<double>(count)) + 16;
    const std::vector<double> floors{0.0};
    for (int search = 0; search < searches; ++search) {
      const auto hits =
          search_largest(norms_, {.floors = floors, .wanted = count, .kept = kept, .items = CellScore::magnitude});
      const std::size_t before = found_.size();
      const double least = found_.size() < count ? 0 : part_of_smallest * norm_of_place(count - 1);
      for (const ScanHit& hit : hits.front()) {
        if (found_.size() >= taken && least == 0) break;
        if (!known_.contains(hit.key)) take(hit.key, least);
      }
      if (found_.size() == before) break;
      refine();
    }
    refine();
    return std::move(found_);
  }

  /// The covariance of the noise of a cell in directions F^T a: what the cells still hold. r x r.
  [[nodiscard]] Eigen::MatrixXd noise() const {
    const Eigen::MatrixXd images =
        matrix_view(metric_.factor()).transpose() * (residual_.transpose() * residual_) * matrix_view(metric_.factor());
    return images / static_cast<double>(residual_.rows());
  }

 private:
  static SketchConfig single_lane(SketchConfig config) {
    config.lanes = 1;
    return config;
  }

  void locate(std::uint64_t key) { phi_.locate(0, std::span(&key, 1), columns_); }
  [[nodiscard]] Eigen::Index cell(std::uint32_t row) const {
    return static_cast<Eigen::Index>(columns_.cells[row * PhiColumns::capacity]);
  }
  [[nodiscard]] double sign(std::uint32_t row) const { return columns_.signs[row * PhiColumns::capacity]; }

  /// The M-norm of a located row as its cells show it now, with their noise: the median.
  [[nodiscard]] double score() const {
    const std::uint32_t rows = phi_.config().rows;
    std::array<double, 64> scores{};
    for (std::uint32_t row = 0; row < rows; ++row) scores[row] = norms_.table()[static_cast<std::size_t>(cell(row))];
    const auto middle = scores.begin() + rows / 2;
    std::nth_element(scores.begin(), middle, scores.begin() + rows);
    return *middle;
  }

  /// A located row from its cells: their geometric median in the M-norm, as in recover_row().
  [[nodiscard]] ScaledRow estimate(std::uint64_t key) const {
    const std::uint32_t rows = phi_.config().rows;
    RowMajorMatrix cells(rows, residual_.cols());
    for (std::uint32_t row = 0; row < rows; ++row) cells.row(row) = sign(row) * residual_.row(cell(row));
    const RowMajorMatrix images = cells * matrix_view(metric_.factor());
    const Eigen::MatrixXd gram = images * images.transpose();
    const Eigen::VectorXd weights = weights_of_median(gram);
    const Eigen::VectorXd along = gram * weights;
    const double square = weights.dot(along);
    ScaledRow result{.key = key, .row = weights.transpose() * cells};
    result.supporting = static_cast<std::uint32_t>((along.array() >= square / 3).count());
    // The noise of different table rows is independent: products of two different cells have none of it in their mean.
    const double squares = weights.squaredNorm();
    const double own = (weights.array().square() * gram.diagonal().array()).sum();
    result.norm = std::sqrt(std::max(0.0, squares < 0.7 ? (square - own) / (1 - squares) : square));
    result.along = std::sqrt(squares);
    return result;
  }

  /// Adds a multiple of `scaled`, a located row, to its cells.
  void add(const Eigen::RowVectorXd& scaled, double multiple) {
    for (std::uint32_t row = 0; row < phi_.config().rows; ++row)
      residual_.row(cell(row)) += multiple * sign(row) * scaled;
  }
  void update_norms() {
    for (std::uint32_t row = 0; row < phi_.config().rows; ++row)
      norms_.table()[static_cast<std::size_t>(cell(row))] =
          (residual_.row(cell(row)) * matrix_view(metric_.factor())).norm();
  }

  void take(std::uint64_t key, double least) {
    locate(key);
    if (const double now = score(); now < least || now <= relative_zero * largest_) return;
    ScaledRow row = estimate(key);
    if (row.supporting < rows_required(phi_.config().rows)) return;
    if (!std::isfinite(row.norm) || row.norm < least || row.norm <= relative_zero * largest_) return;
    largest_ = std::max(largest_, row.norm);
    add(row.row, -1);
    update_norms();
    known_.insert(key);
    found_.push_back(std::move(row));
  }

  /// Estimates each row once more, without the noise of the others; those that are no longer supported are put back. Sorts.
  void refine() {
    for (ScaledRow& row : found_) {
      locate(row.key);
      add(row.row, 1);
      row = estimate(row.key);
      if (row.supporting < rows_required(phi_.config().rows)) row.norm = 0;
      if (row.norm > 0) add(row.row, -1);
      update_norms();
    }
    std::erase_if(found_, [&](const ScaledRow& row) {
      const bool is_none = !(row.norm > relative_zero * largest_);
      if (is_none) known_.erase(row.key);
      return is_none;
    });
    std::ranges::sort(found_, [](const ScaledRow& a, const ScaledRow& b) {
      return a.norm > b.norm || (a.norm == b.norm && a.key < b.key);
    });
  }
  [[nodiscard]] double norm_of_place(std::size_t place) const { return found_[place].norm; }  // after refine()

  const Metric& metric_;
  SketchOperator phi_;
  PhiColumns columns_;       // of the located key
  RowMajorMatrix residual_;  // [table row][bucket][column]
  VectorSketch norms_;
  std::vector<ScaledRow> found_;
  std::unordered_set<std::uint64_t> known_;
  double largest_ = 0;
};

}  // namespace

SampleResult draw_rows_without_replacement(const MatrixSketch& sketch, const Metric& metric, const Estimate& total,
                                           const DrawOptions& options) {
  require_drawable(sketch, metric, total.value, options);
  const SketchConfig& config = sketch.config();
  constexpr std::uint32_t lane = 1;
  const auto samples = static_cast<std::size_t>(std::min<std::uint64_t>(options.samples, config.dimension));
  if (samples >= config.buckets)
    throw UsageError(fmt::format(
        "{} rows without replacement from {} buckets: expected fewer than there are buckets, as no more can "
        "stand out",
        samples, config.buckets));
  require_range(sketch);
  require_no_underflow(sketch, metric, total.value);
  SampleResult result{.norm = std::sqrt(total.value), .draws = {}, .failed = {}};
  result.zero_vector = total.value == 0 || sketch.is_zero();
  if (result.zero_vector) return result;

  RowPursuit pursuit(sketch, metric, lane);
  std::vector<ScaledRow> found = pursuit.run(samples + 1);
  const Eigen::MatrixXd noise = pursuit.noise();
  if (found.empty() && samples > 0) result.failed.push_back({lane, FailReason::no_candidate});

  const auto draw_of = [&](const ScaledRow& row) {
    const double scale = sketch.scale_of(row.key, lane);
    Eigen::RowVectorXd direction = row.row * matrix_view(metric.factor());
    direction /= direction.norm();
    const double deviation =
        std::max(row.along * std::sqrt((direction * noise).dot(direction)), rounding_of_sums * row.norm);
    const double value = row.norm / scale;
    // The squared M-norm is off by the error of M, the norm by half of it.
    const double of_metric = deviations_of_bar * metric.relative_deviation() / 2 * value;
    Draw draw{.lane = lane,
              .index = row.key,
              .value = value,
              .value_bound = std::hypot(widening * deviations_of_bar * deviation / scale, of_metric),
              .inclusion = 1,
              .scale = scale,
              .deviation = deviation / scale};
    const Eigen::RowVectorXd unscaled = row.row / scale;
    draw.row.assign(unscaled.begin(), unscaled.end());
    return draw;
  };
  if (found.size() > samples) {
    result.next = draw_of(found[samples]);
    result.threshold = found[samples].norm;
    found.resize(samples);
  }
  HorvitzThompsonSum moment(config.p, config.p);
  double fourth = 0;
  for (const ScaledRow& row : found) {
    Draw draw = draw_of(row);
    if (result.threshold > 0) {
      // The bias is one of the true value: that which is estimated has it, so it is worked out again for the corrected one.
      const double bar = deviations_of_bar * *draw.deviation;
      const auto x_of = [&](double value) { return ratio_of_powers(value, result.threshold, config.p); };
      const double once = without_selection_bias(draw.value, x_of(draw.value), bar, config.p);
      draw.value *= without_selection_bias(once, x_of(once), bar, config.p) / once;
      draw.inclusion = -std::expm1(-x_of(draw.value));
      result.threshold_noise = std::max(result.threshold_noise, *draw.deviation * draw.scale);
    }
    moment.add(draw.value, *draw.inclusion, *draw.value_bound, *draw.deviation);
    fourth += std::pow(draw.value, 4) / *draw.inclusion;
    result.draws.push_back(std::move(draw));
  }
  Normaliser normaliser;
  if (config.p == 2.0) {
    normaliser = {.inverse = 1 / total.value, .bound = total.bound / total.value};
  } else {
    normaliser = normaliser_of(moment, 1);
    result.norm_p = norm_of_moment(moment, 1, config.p);
  }
  result.mass = mass_of(normaliser);
  for (Draw& draw : result.draws) set_probability(draw, config.p, normaliser);
  return result;
}

}  // namespace weir
