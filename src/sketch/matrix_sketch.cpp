#include "weir/sketch/matrix_sketch.hpp"

#include <fmt/format.h>
#include <hwy/cache_control.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "matrix_view.hpp"
#include "random/argument_checks.hpp"
#include "sketch/kernels.hpp"
#include "sketch/matrix_kernels.hpp"
#include "weir/error.hpp"

namespace weir {

namespace {

/// Shorter rows are not looked for among entries: there is little to gain.
constexpr std::size_t least_columns_of_whole_rows = 8;

kernels::MatrixShape shape_of(const MatrixSketch& sketch) {
  return {.columns = static_cast<std::size_t>(sketch.columns()), .lanes = sketch.config().lanes};
}

/// Calls work(first lane, lanes) for the blocks of lanes that kernels take at a time.
template <class Work>
void for_each_lane_block(std::uint32_t lanes, const Work& work) {
  for (std::uint32_t lane = 0; lane < lanes; lane += PhiColumns::lane_block) {
    work(lane, std::min(PhiColumns::lane_block, lanes - lane));
  }
}

/// Values of whole rows that the second-level cache holds beside the rest: 512 KiB.
constexpr std::size_t cached_values = 65536;
/// Most whole rows worked on at a time, which bounds the scratch.
constexpr std::size_t most_rows = 8192;

/// Whole rows to work on at a time: those that the cache holds when they are eight a bucket or more, so that the table
/// goes through memory once for all of them; otherwise as many as there may be, block by block of their columns.
std::size_t row_chunk(std::uint64_t buckets, std::size_t columns) {
  const std::size_t cached = std::min(cached_values / columns, most_rows);
  return cached >= 8 * buckets ? cached : most_rows;
}

/// Orders positions so that equal buckets are neighbours, each in the order they came in (counting sort), or leaves
/// them as they are when there are so many buckets that few are equal. `order` is as long as `buckets`; `starts` is
/// scratch.
void sort_by_bucket(std::span<const std::uint32_t> buckets, std::uint64_t number_of_buckets,
                    std::vector<std::uint32_t>& starts, std::uint32_t* order) {
  if (number_of_buckets / 4 > buckets.size()) {
    std::iota(order, order + buckets.size(), 0U);
    return;
  }
  starts.assign(static_cast<std::size_t>(number_of_buckets) + 1, 0);
  for (const std::uint32_t bucket : buckets) ++starts[bucket + 1];
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  for (std::uint32_t t = 0; t < buckets.size(); ++t) order[starts[buckets[t]]++] = t;
}

/// The runs of equal buckets in `order`: each bucket, and where its run ends. Returns their number.
std::size_t find_groups(std::span<const std::uint32_t> buckets, const std::uint32_t* order,
                        std::uint32_t* group_buckets, std::uint32_t* group_ends) {
  std::size_t groups = 0;
  for (std::uint32_t k = 0; k < buckets.size(); ++k) {
    const std::uint32_t bucket = buckets[order[k]];
    if (k == 0 || bucket != group_buckets[groups - 1]) group_buckets[groups++] = bucket;
    group_ends[groups - 1] = k + 1;
  }
  return groups;
}

}  // namespace

std::size_t MatrixSketch::table_size(const SketchConfig& config, std::uint64_t columns) {
  config.validate();
  if (columns == 0) throw UsageError("a matrix of 0 columns: expected at least 1");
  if (columns > std::numeric_limits<std::uint32_t>::max() / config.lanes) {
    throw UsageError(fmt::format("{} columns of {} lanes: expected less than 2^32 together", columns, config.lanes));
  }
  const std::size_t column_size = config.table_size();
  if (columns > std::numeric_limits<std::size_t>::max() / 32 / column_size) {
    throw UsageError("the table is too large for this machine");
  }
  return column_size * static_cast<std::size_t>(columns);
}

MatrixSketch::MatrixSketch(const SketchConfig& config, std::uint64_t columns)
    : columns_(columns),
      table_(table_size(config, columns)),  // first, as it checks the sizes
      phi_(config, columns * config.lanes),
      phi_columns_(config) {}

void MatrixSketch::update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
                          std::span<const double> deltas) {
  require_equal({"MatrixSketch::update", "columns.size()", "rows.size()"}, columns.size(), rows.size());
  require_equal({"MatrixSketch::update", "deltas.size()", "rows.size()"}, deltas.size(), rows.size());
  const SketchConfig& config = phi_.config();
  std::uint64_t largest_column = 0;
  for (const std::uint64_t column : columns) largest_column = std::max(largest_column, column);
  if (largest_column >= columns_ || !kernels::all_valid(rows.data(), deltas.data(), rows.size(), config.dimension)) {
    for (std::size_t t = 0; t < rows.size(); ++t) {
      if (rows[t] >= config.dimension) {
        throw InputError(
            fmt::format("update {} of the batch: row {} is not below the dimension {}", t, rows[t], config.dimension));
      }
      if (columns[t] >= columns_) {
        throw InputError(fmt::format("update {} of the batch: column {} is not below the number of columns {}", t,
                                     columns[t], columns_));
      }
      if (!std::isfinite(deltas[t])) throw InputError(fmt::format("update {} of the batch: delta is {}", t, deltas[t]));
    }
  }

  // Stretches of whole rows are taken out; what lies between them is taken entry by entry.
  const auto d = static_cast<std::size_t>(columns_);
  const auto row_at = [&](std::size_t first) {
    if (d < least_columns_of_whole_rows || columns[first] != 0 || d > rows.size() - first) return false;
    for (std::size_t j = 1; j < d; ++j) {
      if (columns[first + j] != j || rows[first + j] != rows[first]) return false;
    }
    return true;
  };
  std::vector<std::uint64_t> whole_rows;
  std::vector<double> weights;
  for (std::size_t first = 0; first < rows.size();) {
    std::size_t end = first;
    while (end < rows.size() && !row_at(end)) ++end;
    update_entries(rows.subspan(first, end - first), columns.subspan(first, end - first),
                   deltas.subspan(first, end - first));
    whole_rows.clear();
    for (first = end; first < rows.size() && row_at(first); first += d) whole_rows.push_back(rows[first]);
    weights.resize(std::max(weights.size(), whole_rows.size()), 1.0);
    update_whole_rows(whole_rows, std::span(weights).first(whole_rows.size()), deltas.data() + end);
  }
}

void MatrixSketch::update_entries(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
                                  std::span<const double> deltas) {
  const SketchConfig& config = phi_.config();
  std::array<std::uint64_t, PhiColumns::capacity> run_rows;
  std::array<std::uint32_t, PhiColumns::capacity> run_of;
  for (std::size_t first = 0; first < rows.size(); first += PhiColumns::capacity) {
    const std::size_t count = std::min(PhiColumns::capacity, rows.size() - first);
    std::uint32_t runs = 0;
    for (std::size_t t = 0; t < count; ++t) {
      if (t == 0 || rows[first + t] != rows[first + t - 1]) run_rows[runs++] = rows[first + t];
      run_of[t] = runs - 1;
    }
    const auto keys = std::span<const std::uint64_t>(run_rows).first(runs);
    locate_entries(keys, std::span(run_of).first(count), columns.subspan(first, count));
    for_each_lane_block(config.lanes, [&](std::uint32_t lane, std::uint32_t block) {
      std::optional<MixedLanes> lanes;
      if (runs == count) {
        lanes = phi_.prepare_scales(keys, lane, block, phi_columns_);
      } else {
        phi_.scales().fill(keys, lane, block, phi_columns_.scales);
        for (std::size_t t = count; t-- > 0;) {
          std::copy_n(&phi_columns_.scales[run_of[t] * block], block, &phi_columns_.scales[t * block]);
        }
      }
      kernels::accumulate(table_.data() + lane, phi_columns_,
                          {.deltas = deltas.data() + first,
                           .count = count,
                           .batch_keys = {},
                           .columns = static_cast<std::size_t>(columns_),
                           .in_one_group = false,
                           .rows = {},
                           .lanes = lanes},
                          config, block);
    });
  }
}

void MatrixSketch::locate_entries(std::span<const std::uint64_t> run_rows, std::span<const std::uint32_t> run_of,
                                  std::span<const std::uint64_t> columns) {
  const std::size_t count = columns.size();
  const std::size_t lanes = config().lanes;
  const std::uint32_t table_rows = config().rows_below(config().levels);
  const auto row_of = [](auto& vector, std::uint32_t row) { return vector.data() + row * PhiColumns::capacity; };
  if (run_rows.size() == count) {
    phi_.locate_all(run_rows, phi_columns_);
    for (std::uint32_t row = 0; row < table_rows; ++row) {
      std::uint64_t* cells = row_of(phi_columns_.cells, row);
      for (std::size_t t = 0; t < count; ++t) cells[t] += columns[t] * lanes;
    }
    return;
  }
  // What is known of the runs is spread over their entries, in place: from the back, as run_of[t] <= t.
  phi_.locate_all(run_rows, phi_columns_);
  for (std::uint32_t row = 0; row < table_rows; ++row) {
    std::uint64_t* cells = row_of(phi_columns_.cells, row);
    for (std::size_t t = count; t-- > 0;) cells[t] = cells[run_of[t]] + columns[t] * lanes;
  }
  for (std::uint32_t row = 0; row < config().rows; ++row) {
    double* signs = row_of(phi_columns_.signs, row);
    for (std::size_t t = count; t-- > 0;) signs[t] = signs[run_of[t]];
  }
}

void MatrixSketch::update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                               std::span<const double> values) {
  require_equal({"MatrixSketch::update_rows", "weights.size()", "rows.size()"}, weights.size(), rows.size());
  require_equal({"MatrixSketch::update_rows", "values.size()", "rows.size() times the number of columns"},
                values.size(), rows.size() * columns_);
  const auto columns = static_cast<std::size_t>(columns_);
  if (!kernels::all_valid(rows.data(), weights.data(), rows.size(), config().dimension) ||
      !kernels::all_finite(values)) {
    for (std::size_t t = 0; t < rows.size(); ++t) {
      if (rows[t] >= config().dimension) {
        throw InputError(fmt::format("row update {} of the batch: row {} is not below the dimension {}", t, rows[t],
                                     config().dimension));
      }
      if (!std::isfinite(weights[t])) {
        throw InputError(fmt::format("row update {} of the batch: weight is {}", t, weights[t]));
      }
      for (std::size_t j = 0; j < columns; ++j) {
        if (const double value = values[t * columns + j]; !std::isfinite(value)) {
          throw InputError(fmt::format("row update {} of the batch: the value of column {} is {}", t, j, value));
        }
      }
    }
  }
  update_whole_rows(rows, weights, values.data());
}

void MatrixSketch::update_whole_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                                     const double* values) {
  const SketchConfig& config = phi_.config();
  const auto columns = static_cast<std::size_t>(columns_);
  const std::uint32_t table_rows = config.rows_below(config.levels);
  const std::size_t row_size = table_.size() / table_rows;
  const double inverse_cell_size = 1.0 / static_cast<double>(columns * config.lanes);
  RowChunk& chunk = chunk_;
  const std::size_t most = std::min(rows.size(), row_chunk(config.buckets, columns));
  const auto reserve = [](auto& vector, std::size_t size) {
    if (vector.size() < size) vector.resize(size);
  };
  for (auto* vector : {&chunk.buckets, &chunk.order, &chunk.group_buckets, &chunk.group_ends}) {
    reserve(*vector, table_rows * most);
  }
  reserve(chunk.groups, table_rows);
  reserve(chunk.signed_weights, config.rows * most);
  reserve(chunk.scales, (most + 7) / 8 * 8 * std::min(config.lanes, PhiColumns::lane_block));
  for (std::size_t first = 0; first < rows.size(); first += most) {
    const std::size_t count = std::min(most, rows.size() - first);
    for (std::size_t done = 0; done < count; done += PhiColumns::capacity) {
      const std::size_t size = std::min(PhiColumns::capacity, count - done);
      phi_.locate_all(rows.subspan(first + done, size), phi_columns_);
      for (std::uint32_t table_row = 0; table_row < table_rows; ++table_row) {
        const std::uint64_t* cells = phi_columns_.cells.data() + table_row * PhiColumns::capacity;
        std::uint32_t* buckets = chunk.buckets.data() + table_row * count + done;
        for (std::size_t t = 0; t < size; ++t) {
          // A division, made cheap: the quotient is below 2^32, and the error far below 1/2.
          const auto offset = static_cast<double>(static_cast<std::int64_t>(cells[t] - table_row * row_size));
          // NOLINTNEXTLINE(bugprone-incorrect-roundings): offsets are at least 0, and lround is a call
          buckets[t] = static_cast<std::uint32_t>(static_cast<std::int64_t>(offset * inverse_cell_size + 0.5));
        }
      }
      for (std::uint32_t row = 0; row < config.rows; ++row) {
        const double* signs = phi_columns_.signs.data() + row * PhiColumns::capacity;
        double* signed_weights = chunk.signed_weights.data() + row * count + done;
        for (std::size_t t = 0; t < size; ++t) signed_weights[t] = signs[t] * weights[first + done + t];
      }
    }
    for (std::uint32_t table_row = 0; table_row < table_rows; ++table_row) {
      const std::size_t at = table_row * count;
      const auto buckets = std::span<const std::uint32_t>(chunk.buckets).subspan(at, count);
      sort_by_bucket(buckets, config.buckets, chunk.bucket_starts, chunk.order.data() + at);
      chunk.groups[table_row] =
          find_groups(buckets, chunk.order.data() + at, chunk.group_buckets.data() + at, chunk.group_ends.data() + at);
    }

    const bool cached = count * columns <= cached_values;
    if (cached) {  // in order, which is faster than bucket by bucket
      for (std::size_t k = 0; k < count * columns; k += 8) hwy::Prefetch(values + first * columns + k);
    }
    for_each_lane_block(config.lanes, [&](std::uint32_t lane, std::uint32_t lanes) {
      phi_.scales().fill(rows.subspan(first, count), lane, lanes, chunk.scales);
      const std::size_t column_block = cached ? columns : 128 / lanes;
      for (std::size_t column = 0; column < columns; column += column_block) {
        const std::size_t width = std::min(column_block, columns - column);
        const double* block = values + first * columns;
        if (width < columns) {  // copied together: where they lie they would share few sets of the cache
          reserve(chunk.values, count * width);
          for (std::size_t t = 0; t < count; ++t) {
            constexpr std::size_t ahead = 16;
            hwy::Prefetch(block + std::min(t + ahead, count - 1) * columns + column);
            std::copy_n(block + t * columns + column, width, chunk.values.data() + t * width);
          }
          block = chunk.values.data();
        }
        std::size_t table_row = 0;
        for (std::uint32_t level = 0; level < config.levels; ++level) {
          for (std::uint32_t row = 0; row < config.rows_at(level); ++row, ++table_row) {
            kernels::accumulate_rows(table_.data() + table_row * row_size + column * config.lanes + lane,
                                     {.order = chunk.order.data() + table_row * count,
                                      .groups = chunk.groups[table_row],
                                      .group_buckets = chunk.group_buckets.data() + table_row * count,
                                      .group_ends = chunk.group_ends.data() + table_row * count,
                                      .signed_weights = chunk.signed_weights.data() + row * count,
                                      .scales = chunk.scales.data(),
                                      .values = block,
                                      .columns = width},
                                     shape_of(*this), lanes);
          }
        }
      }
    });
  }
}

void MatrixSketch::add(const MatrixSketch& other, double coefficient) {
  if (const std::string difference = describe_difference(*this, other); !difference.empty()) {
    throw InputError("the sketches do not combine: " + difference);
  }
  if (&other == this) return scale(1.0 + coefficient);
  kernels::add_scaled(table_.data(), other.table_.data(), coefficient, table_.size());
}

void MatrixSketch::scale(double coefficient) noexcept {
  for (double& cell : table_) cell *= coefficient;
}

bool MatrixSketch::is_zero() const noexcept {
  const std::size_t level_size =
      table_.size() / config().rows_below(config().levels) * static_cast<std::size_t>(config().rows_at(0));
  for (std::size_t cell = 0; cell < level_size; cell += config().lanes) {
    if (table_[cell] != 0.0) return false;
  }
  return true;
}

VectorSketch MatrixSketch::product(std::span<const double> x) const {
  if (x.size() != columns_) {
    throw InputError(fmt::format("x has {} entries, but A has {} columns", x.size(), columns_));
  }
  return product(0, x);
}

VectorSketch MatrixSketch::product(std::uint64_t first_column, std::span<const double> coefficients) const {
  if (first_column > columns_ || coefficients.size() > columns_ - first_column) {
    throw InputError(fmt::format("a block of {} columns from {} on, but A has {} columns", coefficients.size(),
                                 first_column, columns_));
  }
  std::vector<std::size_t> used_columns;
  std::vector<double> used;
  for (std::size_t j = 0; j < coefficients.size(); ++j) {
    if (!std::isfinite(coefficients[j])) throw InputError(fmt::format("entry {} of x is {}", j, coefficients[j]));
    if (coefficients[j] == 0.0) continue;
    used_columns.push_back(static_cast<std::size_t>(first_column) + j);
    used.push_back(coefficients[j]);
  }
  VectorSketch y(config());
  kernels::multiply(table_.data(), y.table().size() / config().lanes, shape_of(*this), used_columns, used.data(),
                    y.table().data());
  return y;
}

VectorSketch MatrixSketch::product(std::span<const double> x, std::uint32_t lane) const {
  require_equal({"MatrixSketch::product", "x.size()", "the number of columns"}, x.size(), columns_);
  require_below({"MatrixSketch::product", "lane", "the number of lanes"}, lane, config().lanes);
  SketchConfig single = config();
  single.lanes = 1;
  VectorSketch y(single);
  const double* first = table_.data() + lane;
  for (double& cell : y.table()) {
    double sum = 0;
    for (const double coefficient : x) {
      sum += *first * coefficient;
      first += config().lanes;
    }
    cell = sum;
  }
  return y;
}

VectorSketch MatrixSketch::cell_norms(const DenseMatrix& factor) const {
  if (factor.rows != columns_) {
    throw InputError(fmt::format("a metric for rows of {} columns, but A has {} columns", factor.rows, columns_));
  }
  require_equal({"MatrixSketch::cell_norms", "factor.values.size()", "factor.rows * factor.columns"},
                factor.values.size(), factor.rows * factor.columns);
  const DenseMatrix directions = to_dense_matrix(matrix_view(factor).transpose());
  VectorSketch norms(config());
  kernels::norms(table_.data(), norms.table().size() / config().lanes, shape_of(*this), directions.values.data(),
                 static_cast<std::size_t>(directions.rows), norms.table().data());
  return norms;
}

void MatrixSketch::row_estimates(std::uint64_t i, std::uint32_t lane, std::span<double> out) const {
  require_below({"MatrixSketch::row_estimates", "i", "the dimension"}, i, config().dimension);
  require_below({"MatrixSketch::row_estimates", "lane", "the number of lanes"}, lane, config().lanes);
  require_equal({"MatrixSketch::row_estimates", "out.size()", "rows of the table times the number of columns"},
                out.size(), config().rows * columns_);
  PhiColumns phi(config());
  phi_.locate(0, std::span(&i, 1), phi);
  double* value = out.data();
  for (std::size_t row = 0; row < config().rows; ++row) {
    const double sign = phi.signs[row * PhiColumns::capacity];
    const double* cell = table_.data() + phi.cells[row * PhiColumns::capacity] + lane;
    for (std::size_t j = 0; j < columns_; ++j) *value++ = sign * cell[j * config().lanes];
  }
}

double MatrixSketch::scale_of(std::uint64_t i, std::uint32_t lane) const {
  require_below({"MatrixSketch::scale_of", "lane", "the number of lanes"}, lane, config().lanes);
  return static_cast<double>(phi_.scales()(i, lane));
}

void MatrixSketch::estimate_row(std::uint64_t i, std::span<double> out) const {
  require_equal({"MatrixSketch::estimate_row", "out.size()", "the number of columns"}, out.size(), columns_);
  std::vector<double> estimates(config().rows * out.size());
  row_estimates(i, 0, estimates);
  std::array<double, 15> storage{};
  const auto used = std::span(storage).first(config().rows);
  for (std::size_t j = 0; j < out.size(); ++j) {
    for (std::size_t row = 0; row < used.size(); ++row) used[row] = estimates[row * out.size() + j];
    out[j] = median_of(used);
  }
}

std::uint64_t MatrixSketch::fingerprint() const noexcept {
  return finalise(config().fingerprint() ^ finalise(columns_));
}

std::string describe_difference(const MatrixSketch& a, const MatrixSketch& b) {
  if (a.columns() != b.columns()) return fmt::format("columns: {} against {}", a.columns(), b.columns());
  return describe_difference(a.config(), b.config());
}

}  // namespace weir
