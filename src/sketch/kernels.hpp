#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "weir/sketch/vector_sketch.hpp"

/// The vector loops of the sketch layer. Highway chooses the instruction set at run time; results are the same bits on
/// all.
namespace weir::kernels {

/// Where rows find their bits in a word they share: each takes `bits`, its sign above its bucket, the first row
/// uppermost.
struct RowFields {
  std::size_t rows;          ///< Rows in this word.
  int bits;                  ///< 1 + log2 of the number of buckets.
  std::uint64_t cell_size;   ///< Below 2^32.
  std::uint64_t first_cell;  ///< Of the first of these rows in the table: its number times the size.
};

/// For each of the rows, cells[row][t] = number times size of the cell that words[t] names, and unless `deltas` is null
/// signed_deltas[row][t] = deltas[t], negated when the row's sign bit is set; the rows of both are PhiColumns::capacity
/// apart.
void locate_rows(const std::uint64_t* words, std::size_t count, const RowFields& fields, const double* deltas,
                 std::uint64_t* cells, double* signed_deltas);
/// True when all keys are below `dimension` and all deltas are finite.
[[nodiscard]] bool all_valid(const std::uint64_t* keys, const double* deltas, std::size_t count,
                             std::uint64_t dimension);

// The loops below walk the tables of a sketch of shape `config` and use items 0 .. count-1 of `columns`.

/// table[cells[level][row][t] + lane] += signed_deltas[row][t] * scales[t][lane] for all t, levels, rows, and the
/// `lanes` lanes of a block: 1, 2, 8 or 16. `table` is advanced to the first lane of the block.
void accumulate(double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
                std::size_t lanes);

/// The same for items that are in one group at every level above 0, whose signs are columns.signed_deltas: adds
/// deltas[t] * scales[t][lane] with the sign of the row to the cells of level 0, and the sums of these over t to the
/// cells of the group, cells[level][row][0].
void accumulate_run(double* table, const PhiColumns& columns, const double* deltas, std::size_t count,
                    const SketchConfig& config, std::size_t lanes);

/// out[t][lane] = median over rows of sign * cell at level 0; the signs are columns.signed_deltas.
void estimate(const double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
              double* out);

/// Appends a hit for every t and lane whose |median of sign * cell|, or median of |cell|, is above its threshold.
void scan(const double* table, const PhiColumns& columns, std::size_t count, const SketchConfig& config,
          std::uint32_t level, CellScore score, const double* thresholds, std::uint64_t first_key,
          std::vector<ScanHit>& hits);

/// target[t] += coefficient * source[t].
void add_scaled(double* target, const double* source, double coefficient, std::size_t count);

}  // namespace weir::kernels
