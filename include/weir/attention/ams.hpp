#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "weir/attention/polynomial.hpp"
#include "weir/attention/recovery.hpp"
#include "weir/attention/rows_view.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/random/source.hpp"
#include "weir/sketch/aligned.hpp"

namespace weir {

/// Psi, the sketch over the rows of K and V.
enum class PsiKind : std::uint8_t {
  /// Alon, Matias, Szegedy: every entry is a sign divided by sqrt(m2). Signs of a row of Psi are 4-wise independent.
  /// O(m2) a row of the stream and column.
  ams,
  /// One non-zero sign in each column of Psi (a CountSketch of one row), 4-wise independent; the same variance. O(1).
  one_nonzero,
};
/// "ams", "one_nonzero".
[[nodiscard]] std::string_view to_string(PsiKind kind) noexcept;
/// Inverse of to_string. Throws UsageError that lists the known names.
[[nodiscard]] PsiKind parse_psi_kind(std::string_view name);

/// Psi itself, m2 rows, one column for each row of the stream (any number below 2^61 - 1).
class Psi {
 public:
  /// Throws UsageError unless m2 is 1 to 2^24.
  Psi(PsiKind kind, std::uint64_t m2, std::uint64_t seed);
  static constexpr std::uint64_t largest = std::uint64_t{1} << 24U;

  [[nodiscard]] PsiKind kind() const noexcept { return kind_; }
  [[nodiscard]] std::uint64_t m2() const noexcept { return m2_; }
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
  /// Writes column `row` of Psi into out (m2 numbers). Throws UsageError for another size, or a row out of range.
  void column(std::uint64_t row, std::span<float> out) const;
  /// For ams: writes the columns rows[t] next to each other, row i of Psi to out[i * stride] and the numbers after it;
  /// zeros follow up to the stride, which is a multiple of 16. O(m2 stride), and m2 / 60 polynomials for each column.
  /// Throws UsageError as column() does, for one_nonzero, and for a stride or an `out` that is too small.
  void rows_of_columns(std::span<const std::uint64_t> rows, std::span<float> out, std::size_t stride) const;
  /// For one_nonzero: where the column's entry is, and its sign.
  struct Entry {
    std::uint64_t place;
    float sign;
  };
  [[nodiscard]] Entry entry(std::uint64_t row) const;

 private:
  PsiKind kind_;
  std::uint64_t m2_;
  std::uint64_t seed_;
  std::vector<WordFunction> words_;
};

/// m2 = ceil(ln(n) / eps2^2), at least 1 (n below 3 counts as 3). Throws UsageError unless eps2 > 0 and m2 <= 2^24.
[[nodiscard]] std::uint64_t psi_rows(double eps2, std::uint64_t n);

/// The paper's states over V and K: skV = Psi V (m2 x dv), skU2 = Psi U2 (m2 x r), prod = U2^T 1 (r). V comes before K;
/// both are linear. V changes by entries, K by whole rows.
class SketchedKeysValues {
 public:
  /// Throws UsageError as PolynomialState does; the bytes are 4 (m2 (dv + r + 1) + r + dv).
  SketchedKeysValues(PolynomialConfig config, std::uint64_t value_columns, Psi psi, std::uint64_t most_bytes);

  [[nodiscard]] const PolynomialConfig& config() const noexcept { return features_.config(); }
  [[nodiscard]] const Psi& psi() const noexcept { return psi_; }
  [[nodiscard]] std::uint64_t features() const noexcept { return features_.count(); }
  [[nodiscard]] std::uint64_t value_columns() const noexcept { return value_columns_; }

  // The arrays: all are sums over rows, to be reduced, saved, cleared.
  [[nodiscard]] std::span<float> sk_v() noexcept { return sk_v_; }           ///< m2 x dv.
  [[nodiscard]] std::span<float> sum_v() noexcept { return sum_v_; }         ///< dv: the sum of the rows of V.
  [[nodiscard]] std::span<float> sk_u2() noexcept { return sk_u2_; }         ///< m2 x r.
  [[nodiscard]] std::span<float> prod() noexcept { return prod_; }           ///< r. All-reduce it between K and Q.
  [[nodiscard]] std::span<float> sk_ones() noexcept { return sk_ones_; }     ///< m2: Psi 1 over the rows of K.
  [[nodiscard]] std::span<double> count() noexcept { return {&count_, 1}; }  ///< Rows of K.

  /// Adds weight * v to row rows[t] of V, for all t; `v` is n x dv. With rows that are zero but in one entry, that
  /// entry alone is changed. Throws UsageError for shapes, InputError for a number that is not finite, naming the row.
  void add_values(std::span<const std::uint64_t> rows, RowsView v, double weight = 1);
  /// Adds (weight 1) or removes (-1) the key rows `k` at rows[t].
  void add_keys(std::span<const std::uint64_t> rows, RowsView k, double weight = 1);

  /// M = skU2^T skV, r x (dv + 1), with `prod` as column 0: what answers and OutputSketch take. With `mean_corrected`,
  /// V less its mean is sketched instead, and prod times the mean is added back: the error then is that of V less its
  /// mean. O(m2 r dv).
  [[nodiscard]] std::vector<float> product(bool mean_corrected) const;

 private:
  /// sketch += Psi's columns of the block times the numbers in the panels: `count` rows of the stream, and as many
  /// columns of the sketch as there are columns in the panels.
  void add_by_columns(std::size_t count, std::size_t columns, float* sketch, std::size_t sketch_columns);

  PolynomialFeatures features_;
  Psi psi_;
  std::uint64_t value_columns_;
  AlignedVector<float> sk_v_, sum_v_, sk_u2_, prod_, sk_ones_;
  double count_ = 0;
  std::uint64_t block_ = 0;       // rows of the stream that are worked on together
  std::size_t stride_ = 0;        // of columns_
  AlignedVector<float> columns_;  // scratch: [m2][t] of Psi
  AlignedVector<float> panels_;   // scratch: what columns_ are multiplied with
};

/// Queries in factored form, for when M is not known before they come: skU1 = sum_i Phi_i phi(q_i)^T / D_i (m1 x r),
/// D_i = phi(q_i).prod. Needs prod.
class QuerySketch {
 public:
  /// Bytes are 4 (m1 (r + 1) + r). Throws UsageError as the others do.
  QuerySketch(PolynomialConfig config, Phi phi, std::uint64_t most_bytes);

  [[nodiscard]] const Phi& phi() const noexcept { return phi_; }
  [[nodiscard]] std::span<float> sk_u1() noexcept { return sk_u1_; }         ///< m1 x r.
  [[nodiscard]] std::span<float> sum_u1() noexcept { return sum_u1_; }       ///< r: sum_i phi(q_i) / D_i.
  [[nodiscard]] std::span<float> sk_ones() noexcept { return sk_ones_; }     ///< m1: Phi 1 over the queries.
  [[nodiscard]] std::span<double> count() noexcept { return {&count_, 1}; }  ///< Queries.

  /// Adds (weight 1) or removes (-1) queries `q` at rows[t]. `prod` has r numbers. Throws InputError that names a query
  /// whose denominator is not positive.
  void add(std::span<const std::uint64_t> rows, RowsView q, std::span<const float> prod, double weight = 1);
  /// Z = skU1 M, for M of r x (dv + 1) with prod as column 0: the sketch of the outputs.
  [[nodiscard]] OutputSketch product(std::span<const float> m, std::uint64_t value_columns) const;

 private:
  PolynomialFeatures features_;
  Phi phi_;
  AlignedVector<float> sk_u1_, sum_u1_, sk_ones_;
  double count_ = 0;
  PhiColumns located_;  // scratch
};

/// Mode `collapsed`: adds the queries' outputs from M to the sketch Z at once, m1 x dv instead of m1 x r numbers.
void add_collapsed(OutputSketch& z, PolynomialFeatures& features, std::span<const float> m, RowsView q,
                   std::span<const std::uint64_t> rows, double weight = 1);

}  // namespace weir
