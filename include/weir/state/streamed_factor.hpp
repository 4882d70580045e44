#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/event.hpp"
#include "weir/sketch/aligned.hpp"
#include "weir/sketch/kronecker_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/state/parties.hpp"

namespace weir {

/// y = (A1 (x) A2) vec X while one factor streams and the other and X are fixed: Algorithm 1 and Theorem 7.6 of the paper,
/// cut among parties by the index of the fixed factor. Party r keeps its slice, [share(m, r, P), share(m, r + 1, P)) of
/// the m rows of the fixed factor, as columns of B = X A2^T (of X^T A1^T when A2 streams): O(m d / P) doubles. An event
/// changes a whole row of y (column, when A2 streams), of which each party sketches its slice; so every party is given
/// every event of the streamed factor. It keeps the factors too, O((n + m) d / P), so that entries of y can be verified and
/// the stream can go on elsewhere.
///
/// The sketched vector is y as a matrix whose rows belong to the streamed factor, its entry (i, k) at i * m + k: y
/// itself when A1 streams, its transpose when A2 does. With integer operands the sum of the parties' sketches is the same
/// bits for every number of parties and however the stream is cut into batches, within the range that VectorSketch states.
class StreamedFactor {
 public:
  /// `streamed` is A1 or A2; `core` is X, d1 x d2. Throws UsageError when a side is 0 or too long, n1 n2 is more than
  /// 2^63, `core` has another shape, or there is no such operand or party; InputError when an entry of X is not finite.
  StreamedFactor(const KroneckerShape& shape, Operand streamed, DenseMatrix core, Party party);

  [[nodiscard]] const KroneckerShape& shape() const noexcept { return shape_; }
  [[nodiscard]] Operand streamed() const noexcept { return streamed_; }
  [[nodiscard]] Operand fixed() const noexcept { return streamed_ == Operand::A1 ? Operand::A2 : Operand::A1; }
  [[nodiscard]] OperandShape streamed_shape() const noexcept { return shape_of(streamed_); }  ///< n x d
  [[nodiscard]] OperandShape fixed_shape() const noexcept { return shape_of(fixed()); }       ///< m x d'

  /// Adds events of the fixed factor; those of other parties' rows are left out. Only before multiply() (UsageError).
  /// Throws InputError for an event of another operand or outside of the factor, and when an entry overflows.
  void add_fixed(const EventBatch& batch);
  /// Puts another X, d1 x d2, in the place of `core`. Only before multiply(). Throws as the constructor.
  void set_core(DenseMatrix core);
  /// Multiplies the slice of the fixed factor by X. Throws InputError when a product is not finite.
  void multiply();

  /// The rows of the factors that this party keeps, row after row. Those of the fixed one may be written before multiply().
  [[nodiscard]] std::span<double> streamed_rows() noexcept { return streamed_slice_.matrix.values; }
  [[nodiscard]] std::span<double> fixed_rows() noexcept { return fixed_slice_.matrix.values; }
  [[nodiscard]] const DenseMatrix& streamed_slice() const noexcept { return streamed_slice_.matrix; }
  [[nodiscard]] const DenseMatrix& fixed_slice() const noexcept { return fixed_slice_.matrix; }
  /// The numbers of the first of these rows.
  [[nodiscard]] std::uint64_t first_streamed_row() const noexcept { return streamed_slice_.first; }
  [[nodiscard]] std::uint64_t first_fixed_row() const noexcept { return fixed_slice_.first; }

  /// Adds events of the streamed factor to this party's share of Phi y, whose dimension is n m and row_length m. Entries
  /// and rows of one row of the factor in a batch are taken together: every row costs one pass over the slice, O(m / P (d +
  /// R L)), and less with fewer non-zeros. Only after multiply(), and to a sketch of that dimension (UsageError). Throws
  /// InputError for an event of another operand or outside of the factor, when an entry overflows, and when changes of y
  /// may.
  void add_events(const EventBatch& batch, VectorSketch& y);

  // To verify entries of y exactly, in two sums over the parties.
  /// For each of the given rows of the streamed factor, d values: its entries on the party that keeps it, the one whose
  /// [share(n, r, P), share(n, r + 1, P)) it is in, else 0.
  [[nodiscard]] std::vector<double> rows_of_streamed(std::span<const std::uint64_t> rows) const;
  /// For each t <a_t, column[t] of B>, where the column is this party's, else 0. `rows` holds the d entries of each a_t.
  [[nodiscard]] std::vector<double> entries(std::span<const double> rows, std::span<const std::uint64_t> columns) const;
  /// This party's part of B B^T, d x d: summed over the parties, the metric M whose a_i^T M a_i are the masses of rows of y.
  [[nodiscard]] DenseMatrix metric_part() const;
  /// Sum of a_i^T M a_i over the rows that this party keeps: summed over the parties, ||y||_2^2.
  [[nodiscard]] double mass_part(const DenseMatrix& metric) const;

 private:
  /// A stretch of the rows of an operand, dense.
  struct Slice {
    Slice(const OperandShape& shape, Party party);

    [[nodiscard]] bool holds(std::uint64_t row) const noexcept { return row >= first && row - first < matrix.rows; }
    [[nodiscard]] std::span<double> row(std::uint64_t i) noexcept;

    std::uint64_t first;
    DenseMatrix matrix;
  };
  /// A change of one row of the streamed factor in a batch: event number `event`, whole rows after the entries.
  struct Change {
    std::uint64_t row;
    std::size_t event;
  };

  [[nodiscard]] OperandShape shape_of(Operand factor) const noexcept;
  [[nodiscard]] std::span<double> coefficients_of(std::size_t token) noexcept;
  void add_to_coefficients(const EventBatch& batch, std::size_t event, std::span<double> coefficients);
  [[nodiscard]] bool finish_token(std::uint64_t row, std::span<const double> coefficients);
  void sketch_tokens(VectorSketch& y);

  KroneckerShape shape_;
  Operand streamed_;
  DenseMatrix core_;  // X or its transpose: d x d'
  std::uint64_t d_;
  Slice streamed_slice_;
  Slice fixed_slice_;
  AlignedVector<double> b_;      // B, in panels (see panel_kernels.hpp)
  std::vector<double> largest_;  // magnitude in each row of B
  bool is_multiplied_ = false;

  // Scratch of add_events: changed rows of the streamed factor, "tokens", a block of them at a time.
  std::vector<Change> changes_;
  std::vector<std::uint64_t> token_rows_;
  AlignedVector<double> coefficients_;          // [token][j], with zeros after each d of them
  std::vector<std::uint64_t> nonzero_columns_;  // of groups of tokens
  AlignedVector<double> deltas_;                // [token][k of the tile]
  std::vector<std::uint64_t> keys_;             // of deltas_, for slices of few columns
};

}  // namespace weir
