#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace weir {

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

  /// A[rows[t]][columns[t]] += deltas[t]. Throws InputError, with nothing changed, as MatrixSketch does, and when the
  /// Gram matrix is exact.
  void update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
              std::span<const double> deltas);
  /// A[rows[t]][:] += weights[t] * (values[t * d] .. values[t * d + d - 1]). Throws InputError, with nothing changed, as
  /// MatrixSketch does, and when the Gram matrix is exact for another weight than 1 (the row comes) and -1 (it leaves).
  void update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                   std::span<const double> values);

  /// A^T A, d x d, symmetric and positive semi-definite: exact, or the mean over the rows of `wide` of the Gram matrices
  /// of its buckets, sum over b of c_b c_b^T. Unbiased: u^T (A^T A) v has a variance of at most 2 |A u|^2 |A v|^2 / (R B),
  /// and its rank is at most that of A. O(R B d^2).
  [[nodiscard]] DenseMatrix gram() const;
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
