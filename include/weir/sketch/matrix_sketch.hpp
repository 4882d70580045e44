#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/sketch/aligned.hpp"
#include "weir/sketch/config.hpp"
#include "weir/sketch/operator.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// Phi A, for A with n = config.dimension rows and `columns` columns (Lemma 5.7 of the paper): the VectorSketch of
/// every column, a cell being [column][lane].
///
///     table[level][row][bucket_row(i / group_size(level))][j][lane] += sign_row(i) * delta * scale(i, lane)
///
/// A value type, linear in A as VectorSketch is in y. The bits of the table do not depend on how the updates are cut into
/// batches, because every cell takes its additions in the order of the updates. With integer updates they do not depend on
/// the order either, while every cell stays below 2^37 in magnitude.
class MatrixSketch {
 public:
  /// The zero matrix. Throws UsageError when `config` is not valid, when `columns` is 0 or columns * lanes is 2^32 or
  /// more, and when the table would not fit in memory addresses; std::bad_alloc when there is no memory.
  MatrixSketch(const SketchConfig& config, std::uint64_t columns);

  [[nodiscard]] const SketchConfig& config() const noexcept { return phi_.config(); }
  /// d: columns are 0 .. d-1.
  [[nodiscard]] std::uint64_t columns() const noexcept { return columns_; }
  /// Number of doubles of the table of (config, columns). Throws as the constructor does, and allocates nothing.
  [[nodiscard]] static std::size_t table_size(const SketchConfig& config, std::uint64_t columns);
  /// The cells, [level][row][bucket][column][lane]. Writable, for reductions and for reading a state back.
  [[nodiscard]] std::span<double> table() noexcept { return {table_.data(), table_.size()}; }
  [[nodiscard]] std::span<const double> table() const noexcept { return {table_.data(), table_.size()}; }

  /// A[rows[t]][columns[t]] += deltas[t] for all t. Entries of one row that follow each other share its hashes and
  /// scales; runs of all columns from 0 to d-1 are taken as whole rows. Throws UsageError unless the spans are equally
  /// long, and InputError when an index is out of range or a delta is not finite; nothing is changed then.
  void update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
              std::span<const double> deltas);
  /// A[rows[t]][:] += weights[t] * (values[t * d] .. values[t * d + d - 1]) for all t: a rank-1 update of the cells of
  /// a row. Batches of several times as many rows as there are buckets are fastest. Throws UsageError unless there are
  /// as many weights as rows and d values for each, and InputError when a row is out of range, or a weight or a value is
  /// not finite; nothing is changed then.
  void update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                   std::span<const double> values);

  /// *this += coefficient * other. Throws InputError naming what differs when the shapes do. `other` may be *this.
  void add(const MatrixSketch& other, double coefficient = 1.0);
  /// *this *= coefficient.
  void scale(double coefficient) noexcept;
  /// True when lane 0 of all columns is exactly zero; see VectorSketch::is_zero.
  [[nodiscard]] bool is_zero() const noexcept;

  /// Phi (A x), summed over the columns in their order. Where A and x hold integers it has the bits of the VectorSketch
  /// of A x. Throws InputError when x.size() is not the number of columns or an entry is not finite.
  [[nodiscard]] VectorSketch product(std::span<const double> x) const;
  /// The same with x zero outside of first_column .. first_column + coefficients.size() - 1. Throws InputError when the
  /// block does not lie within the columns or a coefficient is not finite.
  [[nodiscard]] VectorSketch product(std::uint64_t first_column, std::span<const double> coefficients) const;

  /// The same, of one lane alone: the coordinates of A x times their scales in that lane, in a sketch of one unscaled
  /// lane that has the same buckets and signs. It reads a cache line of the table for every column of every cell. Throws
  /// UsageError unless x has an entry for each column, or when there is no such lane.
  [[nodiscard]] VectorSketch product(std::span<const double> x, std::uint32_t lane) const;

  /// For every cell and lane the M-norm of the vector of its columns, ||F^T cell[:][lane]||_2, for M = F F^T and a
  /// `factor` F of d rows. The result has the shape of a VectorSketch, but is not linear, and its cells have no signs. Its
  /// lane_f2() estimates the sum of the squared M-norms of all rows of A in that lane. Costs r multiplications for each number
  /// of the table of *this, r the columns of F. Throws InputError when F has another number of rows than d.
  [[nodiscard]] VectorSketch cell_norms(const DenseMatrix& factor) const;
  /// For one row i and lane, the estimates by each row of the table, out[row][column], sign_r * cell_r: of A[i][:]
  /// times the scale of i in that lane. Throws UsageError unless out.size() == rows * columns(), or when there is no such
  /// row or lane.
  void row_estimates(std::uint64_t i, std::uint32_t lane, std::span<double> out) const;
  /// As VectorSketch::scale_of.
  [[nodiscard]] double scale_of(std::uint64_t i, std::uint32_t lane) const;
  /// A[i][:] from lane 0: for each column the median over rows, whose variance is at most F2(column) / B.
  /// Throws UsageError unless out.size() == columns(), or when there is no such row.
  void estimate_row(std::uint64_t i, std::span<double> out) const;

  /// 64-bit digest of configuration and columns: equal on ranks that may merge.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept;

 private:
  /// What is known of a chunk of whole rows. Kept from batch to batch: about 2 MiB, at most 16 (15 rows, 3 levels).
  struct RowChunk {
    std::vector<std::uint32_t> buckets;        // [table row][t]
    std::vector<std::uint32_t> order;          // [table row][k]: the k-th of the rows to be taken
    std::vector<std::uint32_t> group_buckets;  // [table row][g]
    std::vector<std::uint32_t> group_ends;     // [table row][g]: where in the order the rows of the bucket end
    std::vector<std::size_t> groups;           // [table row]: their number
    std::vector<double> signed_weights;        // [row][t]
    AlignedVector<float> scales;               // [t][lane of the block]
    AlignedVector<double> values;              // [t][column of the block]
    std::vector<std::uint32_t> bucket_starts;  // for sorting
  };

  void update_entries(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
                      std::span<const double> deltas);
  /// Fills phi_columns_ with the cells and signs of the entries of a chunk; run_rows[run_of[t]] is the row of entry t.
  void locate_entries(std::span<const std::uint64_t> run_rows, std::span<const std::uint32_t> run_of,
                      std::span<const std::uint64_t> columns);
  void update_whole_rows(std::span<const std::uint64_t> rows, std::span<const double> weights, const double* values);

  std::uint64_t columns_;
  AlignedVector<double> table_;  // [level][row][bucket][column][lane]
  SketchOperator phi_;
  PhiColumns phi_columns_;  // scratch
  RowChunk chunk_;          // scratch
};

/// Human-readable account of the first thing in which two matrix sketches differ that must be equal for them to
/// combine; empty when they do combine.
[[nodiscard]] std::string describe_difference(const MatrixSketch& a, const MatrixSketch& b);

}  // namespace weir
