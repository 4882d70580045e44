#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "weir/sketch/aligned.hpp"
#include "weir/sketch/config.hpp"
#include "weir/sketch/estimate.hpp"
#include "weir/sketch/operator.hpp"

namespace weir {

/// A key whose estimate passed a threshold in one lane.
struct ScanHit {
  std::uint64_t key = 0;
  std::uint32_t lane = 0;
  double value = 0;  ///< Median estimate; its sign is meaningful at level 0 only.
};

/// How items are scored from their cells: `value` is the median over the rows of sign * cell, `magnitude` the median of
/// |cell|, for tables whose cells have no signs. Groups are always scored by the magnitude, as each of their members has its
/// own sign.
enum class CellScore : std::uint8_t { value, magnitude };

/// Phi y: a CountSketch whose cells hold `lanes` doubles each (Charikar, Chen, Farach-Colton 2004, with lanes).
///
///     table[level][row][bucket_row(key / group_size(level))][lane] += sign_row(key) * delta * scale(key, lane)
///
/// for the rows_at(level) rows of every level.
///
/// A value type. It is linear in the stream: adding two sketches merges their streams, subtracting one removes its stream, and
/// multiplying by a constant lets it decay. Integer deltas sum exactly while every cell stays below 2^37 in magnitude, because
/// scales are multiples of 2^-16. The table then does not depend on the order of the updates or on how they were split.
class VectorSketch {
 public:
  /// The zero vector. Throws UsageError when `config` is not valid, std::bad_alloc when there is no memory.
  explicit VectorSketch(const SketchConfig& config);

  [[nodiscard]] const SketchConfig& config() const noexcept { return phi_.config(); }
  /// The cells, [level][row][bucket][lane]. Writable, for reductions and for reading a state back.
  [[nodiscard]] std::span<double> table() noexcept { return {table_.data(), table_.size()}; }
  [[nodiscard]] std::span<const double> table() const noexcept { return {table_.data(), table_.size()}; }
  /// The cells of level 0.
  [[nodiscard]] std::span<const double> items() const noexcept {
    return table().first(std::size_t{config().rows} * config().buckets * config().lanes);
  }

  /// y[keys[t]] += deltas[t] for all t. Batches may have any length; those of a thousand or more are fastest.
  ///
  /// Throws UsageError unless the spans are equally long. Throws InputError when a key is not below n or a delta is not
  /// finite. The batch is then taken back: exactly while sums are exact, otherwise up to the rounding of the largest sum
  /// on the way. A sum that overflowed stays so.
  void update(std::span<const std::uint64_t> keys, std::span<const double> deltas);

  /// y[first_key + t] += deltas[t] for all t. Does what update() does for consecutive keys, but faster: up to
  /// PhiColumns::capacity items of one group are summed before they are added to the cells of the group. The bits of level 0
  /// are those of update(). The bits of the levels above are too when deltas are integers; others are summed in another
  /// order. Throws InputError as update() does, with nothing changed.
  void update_run(std::uint64_t first_key, std::span<const double> deltas);

  /// *this += coefficient * other. Throws InputError naming the field when the configurations differ. `other` may be
  /// *this.
  void add(const VectorSketch& other, double coefficient = 1.0);
  /// *this *= coefficient.
  void scale(double coefficient) noexcept;

  /// True when lane 0 is exactly zero. It is for the zero vector, if updates were integers and sums stayed below 2^53. (The
  /// other lanes are exact only up to 2^37, and may hold rounding errors after everything was deleted.) For a vector that is
  /// not zero the result is true with probability below (2B)^-R.
  [[nodiscard]] bool is_zero() const noexcept;

  /// ||y||_2^2 from lane 0: median over rows of the sum of squares. A row has variance at most 2 F2^2 / B.
  [[nodiscard]] Estimate f2() const;
  /// Second moment of the scaled vector of `lane`, the same way. Throws UsageError when there is no such lane.
  [[nodiscard]] double lane_f2(std::uint32_t lane) const;
  /// y[key] from lane 0: median over rows. A row has variance at most F2 / B.
  [[nodiscard]] Estimate point(std::uint64_t key) const;
  /// <y, z>: median over rows of the inner product of the rows. A row has variance at most 2 F2(y) F2(z) / B. Throws
  /// InputError when the configurations differ.
  [[nodiscard]] Estimate inner_product(const VectorSketch& other) const;

  /// Estimates of all lanes for each key at level 0: out[t * lanes + lane] is the median over rows of sign * cell. Throws
  /// UsageError unless out.size() == keys.size() * lanes.
  void estimate(std::span<const std::uint64_t> keys, std::span<double> out) const;
  /// out[r] = sign_r * cell_r, the estimate of one key in one lane by each row of the table (level 0). Shows how well the
  /// rows agree. Throws UsageError unless out.size() is the number of rows, or when there is no such lane.
  void row_estimates(std::uint64_t key, std::uint32_t lane, std::span<double> out) const;
  /// Appends to `hits` every key of [first, first + count) at `level` (items at level 0, group numbers above) and every
  /// lane whose |estimate| exceeds thresholds[lane]; `items` says what the estimate is at level 0. An infinite
  /// threshold skips its lane. Throws UsageError unless there is a threshold for each lane, or when there is no such
  /// level.
  void scan(std::uint32_t level, std::uint64_t first, std::uint64_t count, std::span<const double> thresholds,
            std::vector<ScanHit>& hits, CellScore items = CellScore::value) const;

  /// scale(key, lane): the factor the key has in that lane (1 in lane 0), a multiple of 2^-16. Throws UsageError when
  /// there is no such lane.
  [[nodiscard]] double scale_of(std::uint64_t key, std::uint32_t lane) const;

 private:
  /// Takes back valid updates.
  void subtract(std::span<const std::uint64_t> keys, std::span<const double> deltas);
  /// update() of at most PhiColumns::capacity valid updates. `batch_keys` as of kernels::ItemsToAdd.
  void update_chunk(std::span<const std::uint64_t> keys, std::span<const double> deltas,
                    std::span<const std::uint64_t> batch_keys);
  /// Adds keys whose cells above level 0 are in columns_: those of each key, or of the one group they are in.
  void add_grouped(std::span<const std::uint64_t> keys, std::span<const double> deltas,
                   std::span<const std::uint64_t> batch_keys, bool in_one_group);

  SketchOperator phi_;
  AlignedVector<double> table_;  // [level][row][bucket][lane]
  PhiColumns columns_;           // scratch of update
};

}  // namespace weir
