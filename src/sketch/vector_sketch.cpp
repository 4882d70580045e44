#include "weir/sketch/vector_sketch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "random/argument_checks.hpp"
#include "sketch/kernels.hpp"
#include "sketch/matrix_kernels.hpp"
#include "weir/error.hpp"

namespace weir {

namespace {

/// Throws InputError when the key or the delta of update number t is not valid.
void require_valid_update(std::size_t t, std::uint64_t key, double delta, std::uint64_t dimension) {
  if (key >= dimension)
    throw InputError(fmt::format("update {} of the batch: key {} is not below the dimension {}", t, key, dimension));
  if (!std::isfinite(delta)) throw InputError(fmt::format("update {} of the batch: delta is {}", t, delta));
}

/// Median over the rows of level 0 of the inner products of two lanes.
double median_inner_product(const SketchConfig& config, std::span<const double> a, std::span<const double> b,
                            std::uint32_t lane) {
  std::array<double, 15> sums{};
  const std::size_t row_size = static_cast<std::size_t>(config.buckets) * config.lanes;
  for (std::uint32_t row = 0; row < config.rows; ++row) {
    const std::size_t first = row * row_size + lane;
    double sum = 0;
    for (std::size_t cell = first; cell < first - lane + row_size; cell += config.lanes) sum += a[cell] * b[cell];
    sums[row] = sum;
  }
  return median_of(std::span(sums).first(config.rows));
}

}  // namespace

VectorSketch::VectorSketch(const SketchConfig& config) : phi_(config), table_(config.table_size()), columns_(config) {}

void VectorSketch::update(std::span<const std::uint64_t> keys, std::span<const double> deltas) {
  require_equal({"VectorSketch::update", "deltas.size()", "keys.size()"}, deltas.size(), keys.size());
  for (std::size_t first = 0; first < keys.size(); first += PhiColumns::capacity) {
    const std::size_t count = std::min(PhiColumns::capacity, keys.size() - first);
    const auto chunk_keys = keys.subspan(first, count);
    const auto chunk_deltas = deltas.subspan(first, count);
    // Chunk by chunk, so that a batch goes through memory once; what was added is taken back, which sketches can.
    if (!kernels::all_valid(chunk_keys.data(), chunk_deltas.data(), count, config().dimension)) {
      subtract(keys.first(first), deltas.first(first));
      for (std::size_t t = first; t < first + count; ++t) {
        require_valid_update(t, keys[t], deltas[t], config().dimension);
      }
    }
    update_chunk(chunk_keys, chunk_deltas, keys.subspan(first));
  }
}

void VectorSketch::subtract(std::span<const std::uint64_t> keys, std::span<const double> deltas) {
  std::array<double, PhiColumns::capacity> negated;
  for (std::size_t first = 0; first < keys.size(); first += PhiColumns::capacity) {
    const std::size_t count = std::min(PhiColumns::capacity, keys.size() - first);
    std::ranges::transform(deltas.subspan(first, count), negated.begin(), std::negate());
    update_chunk(keys.subspan(first, count), std::span(negated).first(count), {});
  }
}

void VectorSketch::update_chunk(std::span<const std::uint64_t> keys, std::span<const double> deltas,
                                std::span<const std::uint64_t> batch_keys) {
  phi_.locate_groups(keys, columns_);
  add_grouped(keys, deltas, batch_keys, false);
}

void VectorSketch::add_grouped(std::span<const std::uint64_t> keys, std::span<const double> deltas,
                               std::span<const std::uint64_t> batch_keys, bool in_one_group) {
  const SketchConfig& shape = config();
  std::optional<RowBits> rows = phi_.hash(0, keys, columns_);
  for (std::uint32_t lane = 0; lane < shape.lanes; lane += PhiColumns::lane_block) {
    const std::uint32_t block = std::min(PhiColumns::lane_block, shape.lanes - lane);
    kernels::accumulate(table_.data() + lane, columns_,
                        {.deltas = deltas.data(),
                         .count = keys.size(),
                         .batch_keys = batch_keys,
                         .columns = 1,
                         .in_one_group = in_one_group,
                         .rows = rows,
                         .lanes = phi_.prepare_scales(keys, lane, block, columns_)},
                        shape, block);
    rows.reset();  // the other blocks find them located, and the batch fetched
    batch_keys = {};
  }
}

void VectorSketch::update_run(std::uint64_t first_key, std::span<const double> deltas) {
  const SketchConfig& shape = config();
  const std::uint64_t keys_left = first_key < shape.dimension ? shape.dimension - first_key : 0;
  if (deltas.size() > keys_left || !kernels::all_finite(deltas)) {
    for (std::size_t t = 0; t < deltas.size(); ++t) require_valid_update(t, first_key + t, deltas[t], shape.dimension);
  }
  // A group that is too small for a run of its own is no gain.
  constexpr std::uint64_t least_group = 16;
  const std::uint64_t group_size = shape.levels == 1 ? shape.dimension : shape.group_size(1);
  const bool in_groups = group_size >= least_group;
  std::array<std::uint64_t, PhiColumns::capacity> keys;
  std::size_t count = 0;
  for (std::size_t first = 0; first < deltas.size(); first += count) {
    const std::uint64_t key = first_key + first;
    count = std::min(PhiColumns::capacity, deltas.size() - first);
    if (in_groups) count = static_cast<std::size_t>(std::min<std::uint64_t>(count, group_size - key % group_size));
    const auto chunk = std::span(keys).first(count);
    kernels::fill_consecutive(key, chunk);
    if (!in_groups) {
      update_chunk(chunk, deltas.subspan(first, count), {});
      continue;
    }
    for (std::uint32_t level = 1; level < shape.levels; ++level) {
      const std::uint64_t group = key / shape.group_size(level);
      phi_.locate(level, std::span(&group, 1), columns_);
    }
    add_grouped(chunk, deltas.subspan(first, count), {}, true);
  }
}

void VectorSketch::add(const VectorSketch& other, double coefficient) {
  if (const std::string difference = describe_difference(config(), other.config()); !difference.empty()) {
    throw InputError("the sketches do not combine: " + difference);
  }
  if (&other == this) return scale(1.0 + coefficient);
  kernels::add_scaled(table_.data(), other.table_.data(), coefficient, table_.size());
}

void VectorSketch::scale(double coefficient) noexcept {
  for (double& cell : table_) cell *= coefficient;
}

bool VectorSketch::is_zero() const noexcept {
  const std::span<const double> cells = items();
  for (std::size_t cell = 0; cell < cells.size(); cell += config().lanes) {
    if (cells[cell] != 0.0) return false;
  }
  return true;
}

Estimate VectorSketch::f2() const {
  const double value = lane_f2(0);
  return {value, median_deviations(config().rows) * std::sqrt(2.0 / static_cast<double>(config().buckets)) * value};
}

double VectorSketch::lane_f2(std::uint32_t lane) const {
  require_below({"VectorSketch::lane_f2", "lane", "the number of lanes"}, lane, config().lanes);
  return median_inner_product(config(), table_, table_, lane);
}

Estimate VectorSketch::point(std::uint64_t key) const {
  std::array<double, 15> rows{};
  const auto used = std::span(rows).first(config().rows);
  row_estimates(key, 0, used);
  const double deviation = std::sqrt(lane_f2(0) / static_cast<double>(config().buckets));
  return {median_of(used), median_deviations(config().rows) * deviation};
}

Estimate VectorSketch::inner_product(const VectorSketch& other) const {
  if (const std::string difference = describe_difference(config(), other.config()); !difference.empty()) {
    throw InputError("the sketches have no inner product: " + difference);
  }
  const double deviation = std::sqrt(2.0 * lane_f2(0) * other.lane_f2(0) / static_cast<double>(config().buckets));
  return {median_inner_product(config(), table_, other.table_, 0), median_deviations(config().rows) * deviation};
}

void VectorSketch::estimate(std::span<const std::uint64_t> keys, std::span<double> out) const {
  const SketchConfig& shape = config();
  require_equal({"VectorSketch::estimate", "out.size()", "keys.size() * lanes"}, out.size(), keys.size() * shape.lanes);
  PhiColumns columns(shape);
  for (std::size_t first = 0; first < keys.size(); first += PhiColumns::capacity) {
    const std::size_t count = std::min(PhiColumns::capacity, keys.size() - first);
    phi_.locate(0, keys.subspan(first, count), columns);
    kernels::estimate(table_.data(), columns, count, shape, out.data() + first * shape.lanes);
  }
}

void VectorSketch::row_estimates(std::uint64_t key, std::uint32_t lane, std::span<double> out) const {
  require_equal({"VectorSketch::row_estimates", "out.size()", "the number of rows of the table"}, out.size(),
                config().rows);
  require_below({"VectorSketch::row_estimates", "lane", "the number of lanes"}, lane, config().lanes);
  PhiColumns columns(config());
  phi_.locate(0, std::span(&key, 1), columns);
  for (std::size_t row = 0; row < out.size(); ++row) {
    out[row] = columns.signs[row * PhiColumns::capacity] * table_[columns.cells[row * PhiColumns::capacity] + lane];
  }
}

void VectorSketch::scan(std::uint32_t level, std::uint64_t first, std::uint64_t count,
                        std::span<const double> thresholds, std::vector<ScanHit>& hits, CellScore items) const {
  const SketchConfig& shape = config();
  const CellScore score = level > 0 ? CellScore::magnitude : items;
  require_below({"VectorSketch::scan", "level", "the number of levels"}, level, shape.levels);
  require_equal({"VectorSketch::scan", "thresholds.size()", "the number of lanes"}, thresholds.size(), shape.lanes);
  PhiColumns columns(shape);
  std::array<std::uint64_t, PhiColumns::capacity> keys;
  for (std::uint64_t done = 0; done < count; done += PhiColumns::capacity) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(PhiColumns::capacity, count - done));
    const auto chunk = std::span(keys).first(size);
    kernels::fill_consecutive(first + done, chunk);
    phi_.locate(level, chunk, columns);
    kernels::scan(table_.data(), columns, size, shape, level, score, thresholds.data(), first + done, hits);
  }
}

double VectorSketch::scale_of(std::uint64_t key, std::uint32_t lane) const {
  require_below({"VectorSketch::scale_of", "lane", "the number of lanes"}, lane, config().lanes);
  return static_cast<double>(phi_.scales()(key, lane));
}

}  // namespace weir
