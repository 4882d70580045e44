#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "weir/sketch/vector_sketch.hpp"

/// The vector loops of the sketch layer. Highway chooses the instruction set at run time; results are the same bits on
/// all.
namespace weir::kernels {

/// Cells of the first `count` items of `columns` in the rows of a level, and at level 0 their signs, from
/// columns.words.
void locate_rows(const RowBits& bits, std::size_t count, PhiColumns& columns);
/// first, first + 1, ...
void fill_consecutive(std::uint64_t first, std::span<std::uint64_t> keys);
/// True when all keys are below `dimension` and all deltas are finite.
[[nodiscard]] bool all_valid(const std::uint64_t* keys, const double* deltas, std::size_t count,
                             std::uint64_t dimension);

// The loops below walk the tables of a sketch of shape `config` and use items 0 .. count-1 of `columns`.

/// What accumulate() adds: deltas[t] * scale(t, lane), in each row with its sign.
struct ItemsToAdd {
  const double* deltas;
  std::size_t count;
  /// The keys from the first item on to the end of the batch they are taken from, with deltas for as many: what comes
  /// after the items is fetched meanwhile. Empty where there is nothing to fetch.
  std::span<const std::uint64_t> batch_keys;
  /// Columns of a matrix sketch, 1 of a vector: the table is so many times as large.
  std::size_t columns;
  /// At every level above 0 all items are in the group whose cells are cells[level][row][0]: it gets their sum.
  bool in_one_group;
  /// What SketchOperator::hash said, where the items are still to be located at level 0: then that is done first, or in
  /// passing, and leaves their cells and signs in columns.
  std::optional<RowBits> rows;
  /// What SketchOperator::prepare_scales said of the block.
  std::optional<MixedLanes> lanes;
};

/// table[cells[level][row][t] + lane] += sign[row][t] * (deltas[t] * scale(t, lane)) for all t, levels, rows, and the
/// `lanes` lanes of a block: 1, 2, 8 or 16 (not 1 where items.lanes has a value). `table` is advanced to the first lane
/// of the block. May leave scales in columns; where it locates, leaves cells and signs there.
void accumulate(double* table, PhiColumns& columns, const ItemsToAdd& items, const SketchConfig& config,
                std::size_t lanes);

/// out[t][lane] = median over rows of sign * cell at level 0; the signs are columns.signs.
void estimate(const double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
              double* out);

/// Appends a hit for every t and lane whose |median of sign * cell|, or median of |cell|, is above its threshold.
void scan(const double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
          std::uint32_t level, CellScore score, const double* thresholds, std::uint64_t first_key,
          std::vector<ScanHit>& hits);

/// target[t] += coefficient * source[t].
void add_scaled(double* target, const double* source, double coefficient, std::size_t count);

}  // namespace weir::kernels
