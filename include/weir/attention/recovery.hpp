#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "weir/attention/rows_view.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/sketch/aligned.hpp"
#include "weir/sketch/config.hpp"
#include "weir/sketch/operator.hpp"

namespace weir {

/// Phi, the sketch over the rows of Q (of the outputs): a CountSketch of `rows` rows of `buckets` buckets. m1 = rows *
/// buckets. Its hashes are those of the sketches of vectors, with one lane.
class Phi {
 public:
  /// For queries 0 .. n - 1. Throws UsageError for a number of rows (odd, 1 to 15) or buckets (a power of two, 2 to
  /// 2^32) out of range.
  Phi(std::uint64_t n, std::uint32_t rows, std::uint64_t buckets, std::uint64_t seed);

  [[nodiscard]] std::uint64_t n() const noexcept { return operator_.config().dimension; }
  [[nodiscard]] std::uint32_t rows() const noexcept { return operator_.config().rows; }
  [[nodiscard]] std::uint64_t buckets() const noexcept { return operator_.config().buckets; }
  [[nodiscard]] std::uint64_t m1() const noexcept { return rows() * buckets(); }
  [[nodiscard]] const SketchConfig& config() const noexcept { return operator_.config(); }
  /// Cells (below m1) and signs of at most PhiColumns::capacity queries; see SketchOperator. Throws UsageError.
  void locate(std::span<const std::uint64_t> queries, PhiColumns& columns) const;

 private:
  SketchOperator operator_;
};

/// Sizes for ||T_l - y_l|| <= (1 + eps1) times the best k-sparse error of a column.
struct PhiSize {
  std::uint32_t rows = 5;
  std::uint64_t buckets = 2;
};
/// buckets: the power of two from 4 k / eps1 and 8 k on (fewer break down, whatever is asked for); rows: odd, about log2(n) / 4 but 5 at least and 15 at most. Throws
/// UsageError unless 0 < eps1, k >= 1 and the buckets are at most 2^32.
[[nodiscard]] PhiSize phi_size(double eps1, std::uint64_t k, std::uint64_t n);

/// Z = Phi T, the sketch of the outputs T (n x dv): m1 x dv floats. Linear in the rows of T.
class OutputSketch {
 public:
  /// Throws UsageError for no columns, or more than `most_bytes` bytes.
  OutputSketch(Phi phi, std::uint64_t columns, std::uint64_t most_bytes = ~std::uint64_t{0});

  [[nodiscard]] const Phi& phi() const noexcept { return phi_; }
  [[nodiscard]] std::uint64_t columns() const noexcept { return columns_; }
  // The arrays, to be reduced, saved, cleared.
  [[nodiscard]] std::span<float> z() noexcept { return z_; }  ///< m1 x dv.
  [[nodiscard]] std::span<const float> z() const noexcept { return z_; }
  [[nodiscard]] std::span<float> sk_ones() noexcept { return sk_ones_; }  ///< m1: Phi 1 over the rows that were added.
  [[nodiscard]] std::span<const float> sk_ones() const noexcept { return sk_ones_; }
  [[nodiscard]] std::span<double> sums() noexcept {
    return sums_;
  }  ///< dv + 1: number of rows, and sum of the outputs.
  [[nodiscard]] std::span<const double> sums() const noexcept { return sums_; }

  /// Adds weight * outputs (n x dv) at rows[t]. Throws UsageError for shapes or rows out of range, InputError for
  /// numbers that are not finite.
  void add(std::span<const std::uint64_t> rows, RowsView outputs, double weight = 1);

 private:
  Phi phi_;
  std::uint64_t columns_;
  AlignedVector<float> z_, sk_ones_;
  std::vector<double> sums_;
  PhiColumns located_;  // scratch
};

struct RecoveryOptions {
  std::uint64_t k = 32;  ///< Non-zeros of a column, or rows.
  bool by_rows = false;  ///< Rank rows by the summed squares of their estimates; the k best are kept in all columns.
  /// Recover T less its mean row, and add that back: outputs then are the mean plus something sparse.
  bool mean_corrected = false;
  std::uint64_t first_row = 0;  ///< Look at queries first_row .. first_row + row_count - 1 only: a rank's share.
  std::uint64_t row_count = ~std::uint64_t{0};  ///< Cut at n.
};

struct SparseEntry {
  std::uint64_t row;
  double value;

  bool operator==(const SparseEntry&) const = default;
};

/// Sparse columns, with a mean that every row has besides.
struct SparseOutputs {
  std::uint64_t rows = 0;                         ///< n.
  std::vector<double> mean;                       ///< dv numbers; 0 where not corrected.
  std::vector<std::vector<SparseEntry>> columns;  ///< For each column its non-zeros, rows ascending.
};

/// The k entries of each column of T that are largest by their estimates, or the k rows: refine_candidates() of
/// recovery_candidates(). Ties go to the smaller row. Throws UsageError for k = 0 or a first row beyond n.
[[nodiscard]] SparseOutputs recover(const OutputSketch& sketch, const RecoveryOptions& options);

// The same in steps, for ranks that share the rows: candidates of each share, merged, then refined.

/// The 3 k entries of each column (or rows) of a share that are largest by their estimates: medians over the rows of
/// Phi. Costs row_count * rows * dv, and the medians; scratch is Z in doubles and O(k dv).
[[nodiscard]] SparseOutputs recovery_candidates(const OutputSketch& sketch, const RecoveryOptions& options);
/// The 3 k largest of two parts that are candidates of the same sketch with the same options, over disjoint rows.
[[nodiscard]] SparseOutputs merge_candidates(const SparseOutputs& a, const SparseOutputs& b,
                                             const RecoveryOptions& options);
/// Estimates each candidate again after all others were taken out of the sketch, a few times: that removes what only
/// shared cells with large entries. Keeps the k largest. O(k rows dv + m1 dv).
[[nodiscard]] SparseOutputs refine_candidates(const OutputSketch& sketch, const SparseOutputs& candidates,
                                              const RecoveryOptions& options);
/// The k largest entries of each column of outputs that are seen in full, or the k rows with the largest norms: the
/// exact T of mode `direct`, in O(k dv) memory, without Phi. Ties go to the smaller row.
class LargestOutputs {
 public:
  /// Of n rows. options.k and options.by_rows count; the rest is of no effect. Throws UsageError for k = 0.
  LargestOutputs(std::uint64_t n, std::uint64_t columns, const RecoveryOptions& options);
  ~LargestOutputs();
  LargestOutputs(LargestOutputs&&) noexcept;
  LargestOutputs& operator=(LargestOutputs&&) noexcept;

  /// Rows that were not added before; `rows` are below n. Throws UsageError for shapes and rows out of range.
  void add(std::span<const std::uint64_t> rows, RowsView outputs);
  /// Adds those of another rank, over other rows.
  void add(const SparseOutputs& others);
  [[nodiscard]] SparseOutputs outputs() const;

 private:
  class Parts;
  std::unique_ptr<Parts> parts_;
};

/// n x dv, for comparison. Throws UsageError where that is 2^40 numbers or more.
[[nodiscard]] DenseMatrix to_dense(const SparseOutputs& outputs);

}  // namespace weir
