#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "weir/dense_matrix.hpp"
#include "weir/sketch/estimate.hpp"

namespace weir {

/// A symmetric positive semi-definite matrix M, d x d, by which rows are weighed: a^T M a.
class Metric {
 public:
  /// M = I: squared norms of rows.
  [[nodiscard]] static Metric norm(std::uint64_t d);
  /// The metric of leverage scores: a_i^T M a_i is the leverage score of row i of A, and tr(M G) is the rank of A, for the
  /// Gram matrix G = A^T A. M is the inverse of G. Where G has no inverse it is the pseudo-inverse, taken after all columns
  /// have been scaled to about the same length, so that the scores do not depend on the units of the columns. Then
  /// eigenvalues below d * 2^-40 of the largest count as zero, and so do columns shorter than 2^-40 of the longest. Throws UsageError unless G is a square matrix of at least one entry, and InputError when an entry is not
  /// finite, when G has an eigenvalue or an entry of its diagonal below -1e-9 of the largest (a row has left that had not
  /// come), or when G is not zero but so small that the inverse overflows.
  [[nodiscard]] static Metric leverage(const DenseMatrix& gram);
  /// leverage() of an estimate of G: the mean over the R = `rows` rows of the table of a sketch with N = `cells` = R B' buckets
  /// in all (RowsSketch::gram). The inverse of an estimate is too large on average, by N / (N - r - 1) to second order in 1 / N,
  /// r the rank of G (exactly so for a Wishart matrix), and is divided by that. So a_i^T M a_i has no bias to this order,
  /// and the sum of the scores is rank(), not tr(M G) of the estimate. The scores that remain are off by a relative standard
  /// deviation of about sqrt(2 / (N - r)), and of sqrt(r / (N - r)) / R where single rows span directions of their own (the
  /// identity): the larger of them is relative_deviation(). Throws as leverage(), and UsageError unless N > r + 1.
  [[nodiscard]] static Metric leverage_of_estimate(const DenseMatrix& gram, std::uint64_t cells, std::uint32_t rows);
  /// M as given, without what is rounding: eigenvalues below d * 2^-52 of the largest count as zero. They are computed after M
  /// has been scaled so that all M_jj are about 1, so that directions in small units are kept. If M is not positive
  /// semi-definite then, because its small entries are rounding errors of large ones, they are computed without the scaling.
  /// `name` is used in messages. Throws
  /// InputError when it is empty, not square, not finite, not symmetric to 1e-9 of its largest entry, or has an eigenvalue
  /// below -1e-9 of the largest magnitude.
  [[nodiscard]] static Metric of(DenseMatrix matrix, const std::string& name);

  /// M = `matrix` * 4^exponent, for a matrix that was computed as a sum of products: symmetrised, and without rounding errors.
  /// terms[j] is the sum of the magnitudes of the terms whose sum is matrix_jj. Eigenvalues below d * 2^-52 of the sum of all
  /// terms count as zero, after scaling that makes each of the terms about 1. So small rows of M are kept, and what has
  /// cancelled is removed. Throws UsageError
  /// unless the matrix is square, with a term for each row, and InputError when it overflows, when it underflows where
  /// it is not zero, and when it has an eigenvalue below -1e-9 of the sum of the terms (a row has left that had not come).
  [[nodiscard]] static Metric of_sums(const DenseMatrix& matrix, std::span<const double> terms, int exponent = 0);

  [[nodiscard]] std::uint64_t dimension() const noexcept { return matrix_.rows; }
  [[nodiscard]] const DenseMatrix& matrix() const noexcept { return matrix_; }
  /// F, d x r, M = F F^T, r the rank of M (1 column of zeros when M = 0). So a^T M a = ||F^T a||^2.
  [[nodiscard]] const DenseMatrix& factor() const noexcept { return factor_; }

  /// r: 0 when M = 0.
  [[nodiscard]] std::uint64_t rank() const noexcept;

  /// a^T M a, never negative, in O(d r); infinite when it overflows. Throws UsageError unless
  /// a.size() == dimension().
  [[nodiscard]] double of_row(std::span<const double> a) const;
  /// tr(M G), the sum of a_i^T M a_i over the rows of an A whose Gram matrix is G; 0 where it cancels to rounding,
  /// infinite where it overflows. Throws UsageError unless G is as large as M, and InputError when the sum is
  /// below -1e-9 of the sum of the magnitudes of its terms (a row has left that had not come).
  [[nodiscard]] double total(const DenseMatrix& gram) const;
  /// total() of an estimate of G as leverage_of_estimate() describes it. For a fixed M the estimate of tr(M G) is the mean of R
  /// sums over rows i, j that meet, and has a variance of at most 2 ||F^T G F||_F^2 / N: where no row is much of A the bound is
  /// 2.7 standard errors, otherwise it is too wide. Costs O(d^2 r). Throws as total().
  static constexpr double deviations_of_total = 2.7;
  [[nodiscard]] Estimate total_of_estimate(const DenseMatrix& gram, std::uint64_t cells) const;

  /// Relative standard deviation of a^T M a, for the metric of leverage scores that was estimated; 0 of all others.
  [[nodiscard]] double relative_deviation() const noexcept { return relative_deviation_; }

 private:
  Metric(DenseMatrix matrix, DenseMatrix factor);
  /// F F^T.
  explicit Metric(DenseMatrix factor);

  DenseMatrix matrix_;
  DenseMatrix factor_;
  double relative_deviation_ = 0;
};

/// X G X^T, symmetrised: the metric in which rows a of A1 are weighed as rows X^T a of y, G = A2^T A2 positive
/// semi-definite. Where its terms cancel to rounding it is zero. Throws UsageError unless X has as many columns as G has
/// rows and columns, and InputError as Metric::of_sums.
[[nodiscard]] Metric metric_through(const DenseMatrix& x, const DenseMatrix& gram);

}  // namespace weir
