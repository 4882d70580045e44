#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace weir {

/// Most columns of a matrix whose Gram matrix is kept: a d x d matrix is decomposed before rows are drawn.
inline constexpr std::uint64_t most_gram_columns = std::uint64_t{1} << 15U;

/// How A^T A is kept.
struct GramConfig {
  /// B of the unscaled sketch: a fixed quadratic form of A^T A has a relative standard error of at most sqrt(2 / (R B)),
  /// which no number of draws averages out. A power of two, 2 to 2^32.
  std::uint64_t buckets = 2048;
  /// Keep A^T A itself as well, and answer from it. It is linear in rows that come and go whole, each at most once at a
  /// time; not in changes of single entries, nor in multiples of rows, which are then refused.
  bool exact = false;

  bool operator==(const GramConfig&) const = default;
};

/// What has to be kept of a streamed A, n x d, to draw its rows with probabilities a_i^T M a_i / tr(M A^T A), whatever
/// the metric M turns out to be: the rows in lanes of their own scales, and their Gram matrix. Linear in A.
struct RowsSketch {
  /// A = 0. Throws UsageError when a configuration is not valid or d is not 1 to 2^15: queries decompose a d x d matrix.
  RowsSketch(const SketchConfig& config, std::uint64_t d, const GramConfig& gram);
  /// The configuration of `wide`: one lane, one level, `buckets` buckets and hash functions of its own.
  [[nodiscard]] static SketchConfig wide_config(const SketchConfig& config, std::uint64_t buckets);
  /// Doubles of all that a RowsSketch holds, at most 2^61. Throws as the constructor does, and allocates nothing.
  [[nodiscard]] static std::uint64_t size(const SketchConfig& config, std::uint64_t d, const GramConfig& gram);

  MatrixSketch draws;              ///< Phi A, for the draws; see MatrixSketch.
  MatrixSketch wide;               ///< CountSketches of the columns of A: for A^T A, and for a TensorSketch.
  std::vector<double> exact_gram;  ///< A^T A, d * d entries; empty unless it is kept.

  [[nodiscard]] const SketchConfig& config() const noexcept { return draws.config(); }
  [[nodiscard]] std::uint64_t columns() const noexcept { return draws.columns(); }
  [[nodiscard]] GramConfig gram_config() const noexcept {
    return {.buckets = wide.config().buckets, .exact = !exact_gram.empty()};
  }

  /// A[rows[t]][columns[t]] += deltas[t]. Throws as MatrixSketch does, and InputError when the Gram matrix is exact;
  /// nothing is changed then.
  void update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
              std::span<const double> deltas);
  /// A[rows[t]][:] += weights[t] * (values[t * d] .. values[t * d + d - 1]). Throws as MatrixSketch does,
  /// and, when the Gram matrix is exact, InputError for any weight but 1 (the row comes) and -1 (it leaves); nothing is
  /// changed then.
  void update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                   std::span<const double> values);

  /// A^T A, d x d and symmetric: exact in O(d^2), or estimated in O(R B d^2).
  ///
  /// The estimate is the mean over the R rows of the table of `wide` of the sums of c c^T over their buckets c. It is
  /// unbiased and positive semi-definite, its rank is at most that of A, and the estimate of u^T (A^T A) v has a variance
  /// of at most 2 |A u|^2 |A v|^2 / (R B). The exact matrix of a part of a stream need not be positive semi-definite, as
  /// rows may leave in one part that come in another.
  [[nodiscard]] DenseMatrix gram() const;
  /// gram(), for queries of a whole stream. Throws InputError when the exact matrix has an entry on its diagonal, a sum of
  /// squares, below -1e-9 of the largest: then a row has left that had not come. Metric finds negative eigenvalues.
  [[nodiscard]] DenseMatrix checked_gram() const;
  [[nodiscard]] bool is_zero() const noexcept { return draws.is_zero() && wide.is_zero(); }

  /// Adds `other`, times the coefficient. Throws InputError naming what differs when the shapes do, and for another
  /// coefficient than 1 and -1 (rows of `other` come, or leave) when the Gram matrix is exact. `other` may be *this.
  void add(const RowsSketch& other, double coefficient = 1.0);
  /// Throws InputError when the Gram matrix is exact and the coefficient is not 1.
  void scale(double coefficient);
  /// 64-bit digest of all that must be equal for two of them to be added.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept;
};

/// Human-readable account of the first thing in which two of them differ that must be equal for them to combine; empty
/// when they do combine.
[[nodiscard]] std::string describe_difference(const RowsSketch& a, const RowsSketch& b);

}  // namespace weir
