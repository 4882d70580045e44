#include "weir/state/streamed_factor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "matrix_view.hpp"
#include "sketch/kernels.hpp"
#include "sketch/matrix_kernels.hpp"
#include "state/operand_events.hpp"
#include "state/panel_kernels.hpp"
#include "weir/error.hpp"
#include "weir/share.hpp"

namespace weir {
namespace {

using kernels::line_width;
using kernels::padded;
using kernels::panel_columns;
using kernels::panel_width;
using kernels::rows_at_once;

/// Changed rows that are multiplied and sketched together: B is read from memory once for all of them.
constexpr std::size_t block_tokens = 64;
/// Coordinates of y that are computed, and then sketched, at a time: with `block_tokens`, 128 KiB.
constexpr std::size_t tile_width = 256;
/// What is computed of a row is this far from that of the next, which begins in another set of the cache.
constexpr std::size_t tile_stride = tile_width + line_width;
/// Slices of fewer columns are sketched as updates of several rows together: each would be a short run.
constexpr std::size_t least_run = 16;
static_assert(tile_width % panel_width == 0 && least_run <= tile_width && block_tokens % rows_at_once == 0);

void require_core(const KroneckerShape& shape, const DenseMatrix& core) {
  if (core.rows != shape.d1 || core.columns != shape.d2)
    throw UsageError(fmt::format("X is {} x {}, expected {} x {}", core.rows, core.columns, shape.d1, shape.d2));
  for (std::size_t k = 0; k < core.values.size(); ++k)
    if (!std::isfinite(core.values[k]))
      throw InputError(fmt::format("entry ({}, {}) of X is {}, expected a finite number", k / core.columns,
                                   k % core.columns, core.values[k]));
}

/// As it is multiplied with the slice of the fixed factor: d x d'.
DenseMatrix oriented(DenseMatrix core, Operand streamed) {
  return streamed == Operand::A1 ? std::move(core) : to_dense_matrix(matrix_view(core).transpose());
}

const KroneckerShape& checked(const KroneckerShape& shape, Operand streamed, const DenseMatrix& core, Party party) {
  require_sides(shape);
  if (streamed != Operand::A1 && streamed != Operand::A2)
    throw UsageError(fmt::format("{} cannot be the factor that streams, expected A1 or A2", to_string(streamed)));
  if (shape.n1 > (std::uint64_t{1} << 63) / shape.n2)
    throw UsageError(
        fmt::format("y has n1 n2 = {} x {} entries, more than 2^63: no 64-bit index for each, which the "
                    "two-stage method does not need",
                    shape.n1, shape.n2));
  if (party.number >= party.count)
    throw UsageError(fmt::format("party {} of {}: expected a number below the count", party.number, party.count));
  require_core(shape, core);
  return shape;
}

void require_finite(double entry, Operand operand, std::uint64_t i, std::size_t j, const auto& change) {
  if (!std::isfinite(entry))
    throw InputError(fmt::format("{}: the sum of the changes of {}[{}][{}] is not a finite double", change(),
                                 to_string(operand), i, j));
}

/// Adds `delta` to an entry of `operand`, on behalf of `change`.
void add_to(double& entry, double delta, Operand operand, std::uint64_t i, std::size_t j, const auto& change) {
  require_finite(entry += delta, operand, i, j, change);
}

/// Adds `weight` times as many values to row i of `operand`.
void add_to_row(std::span<double> row, double weight, std::span<const double> values, Operand operand,
                std::uint64_t i) {
  kernels::add_scaled(row.data(), values.data(), weight, row.size());
  if (kernels::all_finite(row)) return;
  for (std::size_t j = 0; j < row.size(); ++j)
    require_finite(row[j], operand, i, j, [&] { return fmt::format("row {} of {}", i, to_string(operand)); });
}

}  // namespace

StreamedFactor::Slice::Slice(const OperandShape& shape, Party party)
    : first(share(shape.rows, party.number, party.count)) {
  const std::uint64_t rows = share(shape.rows, party.number + 1, party.count) - first;
  if (rows > std::numeric_limits<std::size_t>::max() / (2 * sizeof(double)) / shape.columns)
    throw UsageError(fmt::format("{} rows of {} numbers of {} are too many to be kept in memory", rows, shape.columns,
                                 to_string(shape.operand)));
  matrix = {rows, shape.columns, std::vector<double>(rows * shape.columns)};
}

std::span<double> StreamedFactor::Slice::row(std::uint64_t i) noexcept {
  return std::span(matrix.values).subspan((i - first) * matrix.columns, matrix.columns);
}

StreamedFactor::StreamedFactor(const KroneckerShape& shape, Operand streamed, DenseMatrix core, Party party)
    : shape_(checked(shape, streamed, core, party)),
      streamed_(streamed),
      core_(oriented(std::move(core), streamed)),
      d_(core_.rows),
      streamed_slice_(streamed_shape(), party),
      fixed_slice_(fixed_shape(), party),
      coefficients_(block_tokens * padded(d_)),
      nonzero_columns_(block_tokens / rows_at_once * padded(d_)),
      deltas_(block_tokens * tile_stride) {
  token_rows_.reserve(block_tokens);
}

OperandShape StreamedFactor::shape_of(Operand factor) const noexcept {
  return factor == Operand::A1 ? OperandShape{factor, shape_.n1, shape_.d1}
                               : OperandShape{factor, shape_.n2, shape_.d2};
}

void StreamedFactor::add_fixed(const EventBatch& batch) {
  if (is_multiplied_) throw UsageError("the fixed factor has been multiplied, and takes no more events");
  const OperandShape shape = fixed_shape();
  require_within(batch, std::span(&shape, 1));
  for (std::size_t t = 0; t < batch.size(); ++t) {
    const Event event = batch[t];
    if (fixed_slice_.holds(event.i))
      add_to(fixed_slice_.row(event.i)[event.j], event.delta, shape.operand, event.i, event.j,
             [&] { return "event " + describe(event); });
  }
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    const std::uint64_t i = batch.rows.i[t];
    if (fixed_slice_.holds(i))
      add_to_row(fixed_slice_.row(i), batch.rows.weights[t], batch.rows.row(t), shape.operand, i);
  }
}

void StreamedFactor::set_core(DenseMatrix core) {
  if (is_multiplied_) throw UsageError("the fixed factor has been multiplied, and X can no longer be changed");
  require_core(shape_, core);
  core_ = oriented(std::move(core), streamed_);
}

void StreamedFactor::multiply() {
  if (is_multiplied_) throw UsageError("the fixed factor has been multiplied already");
  const std::size_t width = fixed_slice_.matrix.rows;
  b_.assign(padded(width) * d_, 0.0);
  largest_.assign(d_, 0.0);
  const MatrixView rows = matrix_view(std::as_const(fixed_slice_.matrix));
  for (std::size_t first = 0; first < width; first += panel_width) {
    const std::size_t count = std::min(panel_width, width - first);
    const std::size_t row_length = panel_columns(first, width);
    const RowMajorMatrix product =
        matrix_view(std::as_const(core_)) *
        rows.middleRows(static_cast<Eigen::Index>(first), static_cast<Eigen::Index>(count)).transpose();
    for (std::size_t j = 0; j < d_; ++j) {
      for (std::size_t k = 0; k < count; ++k) {
        const double value = product(static_cast<Eigen::Index>(j), static_cast<Eigen::Index>(k));
        if (!std::isfinite(value))
          throw InputError(fmt::format("row {} of {}: its product with X overflows a double; scale the values down",
                                       fixed_slice_.first + first + k, to_string(fixed())));
        b_[first * d_ + j * row_length + k] = value;
        largest_[j] = std::max(largest_[j], std::abs(value));
      }
    }
  }
  is_multiplied_ = true;
}

std::span<double> StreamedFactor::coefficients_of(std::size_t token) noexcept {
  return std::span(coefficients_).subspan(token * padded(d_), d_);
}

void StreamedFactor::add_events(const EventBatch& batch, VectorSketch& y) {
  const OperandShape shape = streamed_shape();
  if (!is_multiplied_) throw UsageError("the fixed factor has to be multiplied before the other one streams");
  if (y.config().dimension != shape_.n1 * shape_.n2)
    throw UsageError(
        fmt::format("a sketch of {} coordinates for a y of {}", y.config().dimension, shape_.n1 * shape_.n2));
  require_within(batch, std::span(&shape, 1));

  changes_.clear();
  for (std::size_t t = 0; t < batch.size(); ++t) changes_.push_back({batch.i[t], t});
  for (std::size_t t = 0; t < batch.rows.size(); ++t) changes_.push_back({batch.rows.i[t], batch.size() + t});
  std::ranges::sort(changes_, {}, [](const Change& change) { return std::pair(change.row, change.event); });

  token_rows_.clear();
  for (auto change = changes_.begin(); change != changes_.end();) {
    const std::uint64_t row = change->row;
    const std::span<double> coefficients = coefficients_of(token_rows_.size());
    std::ranges::fill(coefficients, 0.0);
    for (; change != changes_.end() && change->row == row; ++change)
      add_to_coefficients(batch, change->event, coefficients);
    if (finish_token(row, coefficients)) token_rows_.push_back(row);
    if (token_rows_.size() == block_tokens) sketch_tokens(y);
  }
  sketch_tokens(y);
}

void StreamedFactor::add_to_coefficients(const EventBatch& batch, std::size_t event, std::span<double> coefficients) {
  if (event < batch.size()) {
    const Event entry = batch[event];
    return add_to(coefficients[entry.j], entry.delta, streamed_, entry.i, entry.j,
                  [&] { return "event " + describe(entry); });
  }
  const std::size_t t = event - batch.size();
  add_to_row(coefficients, batch.rows.weights[t], batch.rows.row(t), streamed_, batch.rows.i[t]);
}

/// Adds the change to the row, where this party keeps it. True when it changes y.
bool StreamedFactor::finish_token(std::uint64_t row, std::span<const double> coefficients) {
  const double bound = matrix_view(coefficients, 1, d_).cwiseAbs().cwiseProduct(matrix_view(largest_, 1, d_)).sum();
  if (!std::isfinite(bound))
    throw InputError(fmt::format("row {} of {}: changes of y by it may overflow a double; scale the values down", row,
                                 to_string(streamed_)));
  if (streamed_slice_.holds(row)) add_to_row(streamed_slice_.row(row), 1, coefficients, streamed_, row);
  return bound > 0;
}

/// Phi y += the changes of y by the tokens so far, and forgets them.
void StreamedFactor::sketch_tokens(VectorSketch& y) {
  const std::size_t tokens = token_rows_.size();
  const std::size_t width = fixed_slice_.matrix.rows;
  if (tokens == 0 || width == 0) return token_rows_.clear();
  const std::uint64_t row_length = fixed_shape().rows;
  const auto key = [&](std::size_t token, std::size_t k) {
    return token_rows_[token] * row_length + fixed_slice_.first + k;
  };
  std::array<std::span<const std::uint64_t>, block_tokens / rows_at_once> groups;
  for (std::size_t token = 0; token < tokens; token += rows_at_once) {
    std::uint64_t* const columns = nonzero_columns_.data() + token / rows_at_once * padded(d_);
    const std::size_t rows = std::min(rows_at_once, tokens - token);
    groups[token / rows_at_once] = {columns, kernels::find_nonzero(coefficients_of(token).data(), rows, d_, columns)};
  }
  const kernels::CoefficientRows coefficients{coefficients_.data(), tokens, d_,
                                              std::span(groups).first((tokens + rows_at_once - 1) / rows_at_once)};
  if (width < least_run) {
    kernels::multiply_panels(b_.data(), width, coefficients, deltas_.data(), padded(width));
    keys_.resize(tokens * width);
    for (std::size_t token = 0; token < tokens; ++token) {
      // In place: what is compacted comes before what it is taken from.
      for (std::size_t k = 0; k < width; ++k) {
        keys_[token * width + k] = key(token, k);
        deltas_[token * width + k] = deltas_[token * padded(width) + k];
      }
    }
    y.update(keys_, std::span(deltas_).first(keys_.size()));
  } else {
    for (std::size_t first = 0; first < width; first += tile_width) {
      const std::size_t count = std::min(tile_width, width - first);
      kernels::multiply_panels(b_.data() + first * d_, count, coefficients, deltas_.data(), tile_stride);
      for (std::size_t token = 0; token < tokens; ++token)
        y.update_run(key(token, first), std::span(deltas_).subspan(token * tile_stride, count));
    }
  }
  token_rows_.clear();
}

std::vector<double> StreamedFactor::rows_of_streamed(std::span<const std::uint64_t> rows) const {
  std::vector<double> result(rows.size() * d_);
  for (std::size_t t = 0; t < rows.size(); ++t) {
    if (!streamed_slice_.holds(rows[t])) continue;
    const auto row =
        matrix_view(streamed_slice_.matrix).row(static_cast<Eigen::Index>(rows[t] - streamed_slice_.first));
    std::ranges::copy(row, result.begin() + static_cast<std::ptrdiff_t>(t * d_));
  }
  return result;
}

std::vector<double> StreamedFactor::entries(std::span<const double> rows,
                                            std::span<const std::uint64_t> columns) const {
  if (!is_multiplied_) throw UsageError("the fixed factor has to be multiplied before entries of y are asked for");
  if (rows.size() != columns.size() * d_)
    throw UsageError(
        fmt::format("{} numbers of rows for {} entries, expected {} for each", rows.size(), columns.size(), d_));
  std::vector<double> result(columns.size());
  for (std::size_t t = 0; t < columns.size(); ++t) {
    if (!fixed_slice_.holds(columns[t])) continue;
    const std::uint64_t k = columns[t] - fixed_slice_.first;
    const std::size_t first = k - k % panel_width, row_length = panel_columns(first, fixed_slice_.matrix.rows);
    const double* const column = b_.data() + first * d_ + k % panel_width;
    for (std::size_t j = 0; j < d_; ++j) result[t] += rows[t * d_ + j] * column[j * row_length];
  }
  return result;
}

DenseMatrix StreamedFactor::metric_part() const {
  const auto d = static_cast<Eigen::Index>(d_);
  RowMajorMatrix sum = RowMajorMatrix::Zero(d, d);
  const std::size_t width = fixed_slice_.matrix.rows;
  for (std::size_t first = 0; first < width; first += panel_width) {
    const std::size_t row_length = panel_columns(first, width);
    const auto panel = matrix_view(std::span(b_).subspan(first * d_, row_length * d_), d_, row_length);
    sum.noalias() += panel * panel.transpose();
  }
  return to_dense_matrix(sum);
}

double StreamedFactor::mass_part(const DenseMatrix& metric) const {
  if (metric.rows != d_ || metric.columns != d_)
    throw UsageError(fmt::format("a metric of {} x {}, expected {} x {}", metric.rows, metric.columns, d_, d_));
  const auto kept = matrix_view(streamed_slice_.matrix);
  return (kept.transpose() * kept).cwiseProduct(matrix_view(metric)).sum();
}

}  // namespace weir
