#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "weir/attention/rows_view.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/sketch/aligned.hpp"

namespace weir {

// Polynomial features: exp(q.k) by its Taylor polynomial of degree g,
//
//     sum_{m <= g} (q.k)^m / m! = sum_{|a| <= g} q^a k^a / a! = phi(q) . phi(k),    phi_a(x) = x^a / sqrt(a!),
//
// over all r = C(d + g, g) exponent vectors a of d entries. The coefficient 1 / a! is split evenly on both sides.

/// r = C(dimension + degree, degree). Throws UsageError for dimension 0, and where r is 2^63 or more.
[[nodiscard]] std::uint64_t polynomial_feature_count(std::uint64_t dimension, std::uint32_t degree);

/// For messages, which are one line: "g = 1: r = 17, 1156 bytes; g = 2: r = 153, 10404 bytes; ..." for the degrees 1 to
/// highest, with the bytes of the fp32 state S, r x (value_columns + 1). Ends where r or the bytes are too large to
/// count.
[[nodiscard]] std::string polynomial_size_table(std::uint64_t dimension, std::uint64_t value_columns,
                                                std::uint32_t highest = 8);

/// Throws UsageError with polynomial_size_table() when the state S of this size would have more than `bytes` bytes.
void require_polynomial_fits(std::uint64_t dimension, std::uint32_t degree, std::uint64_t value_columns,
                             std::uint64_t bytes);

/// delta = e^R R^(g+1) / (g+1)!: the Taylor polynomial of degree g is within delta exp(z) of exp(z) for |z| <= R. May
/// be infinite. Throws UsageError unless R >= 0.
[[nodiscard]] double taylor_relative_error(double range, std::uint32_t degree);
/// The largest error of an output entry that follows: 2 delta / (1 - delta) times the largest |v|; infinite for delta
/// >= 1.
[[nodiscard]] double attention_error_bound(double range, std::uint32_t degree, double largest_value);
/// R of the bound: the largest ||q_i - q0|| times the largest ||k_j - k0||, which no |(q_i - q0).(k_j - k0)| exceeds.
/// Empty centres are 0. O((n_q + n_k) d).
[[nodiscard]] double score_range(RowsView q, RowsView k, std::span<const double> q0, std::span<const double> k0);

/// Two-sided centring, exact for any fixed q0 and k0: q.k = (q - q0).(k - k0) + q0.(k - k0) + q.k0. The features are of
/// q - q0 and k - k0. Row j of the keys is multiplied by exp(q0.(k_j - k0)). The last term is of q alone and cancels.
struct Centres {
  std::vector<double> q0;  ///< d numbers, or none for 0.
  std::vector<double> k0;  ///< d numbers, or none for 0.

  bool operator==(const Centres&) const = default;
};

/// What determines the features. States can be added when theirs are equal.
struct PolynomialConfig {
  std::uint64_t dimension = 0;  ///< d, 1 or more.
  std::uint32_t degree = 2;     ///< g, 0 to 64. An even one keeps denominators positive.
  Centres centres = {};

  bool operator==(const PolynomialConfig&) const = default;
  /// r. Throws UsageError as polynomial_feature_count() does.
  [[nodiscard]] std::uint64_t features() const { return polynomial_feature_count(dimension, degree); }
  /// Throws UsageError that names the first field out of range.
  void validate() const;
};

/// Makes features of blocks of rows. They are ordered by degree; feature 0 is 1. Each is its parent, of one degree
/// less, times one coordinate, for all rows of the block at once. Features of the highest degree are made in pieces, so
/// that they are used while they are in the cache. Scratch is at most 16 MiB, or 64 bytes for each feature below the
/// highest degree where that is more, and 512 KiB; see scratch_bytes().
class PolynomialFeatures {
 public:
  static constexpr std::size_t largest_block = 256;
  static constexpr std::size_t piece = 256;  ///< Features of a piece, at most.

  /// Throws UsageError where config.validate() does, and std::bad_alloc.
  explicit PolynomialFeatures(PolynomialConfig config);

  [[nodiscard]] const PolynomialConfig& config() const noexcept { return config_; }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Rows of a block, at most: 16 to 256, fewer where there are many features.
  [[nodiscard]] std::size_t block() const noexcept { return block_; }
  /// Bytes that an object of this configuration allocates. Throws UsageError as features() does.
  [[nodiscard]] static std::uint64_t scratch_bytes(const PolynomialConfig& config);

  /// Features first .. first + count - 1 of the rows of a block: feature first + f of row t is numbers[f * stride + t].
  /// Rows from the end of the block up to the stride are 0.
  struct Piece {
    std::uint64_t first;
    std::size_t count;
    std::size_t stride;
    const float* numbers;
  };
  using Take = std::function<void(const Piece&)>;

  /// Calls take() for all pieces, in order, of the features of q - q0 times `factors` (one a row, or none for 1).
  /// Throws UsageError for more than block() rows or shapes that do not fit, InputError that names the row (by
  /// `numbers`) with a number that is not finite or a feature that may be larger than floats are.
  void of_queries(RowsView q, std::span<const double> factors, const RowNumbers& numbers, const Take& take);
  /// The same of k - k0, times `factors` and times exp(q0.(k - k0)).
  void of_keys(RowsView k, std::span<const double> factors, const RowNumbers& numbers, const Take& take);

 private:
  void load(const char* name, RowsView rows, std::span<const double> centre, std::span<const double> tilt,
            std::span<const double> factors, const RowNumbers& numbers);
  void make(const Take& take);

  PolynomialConfig config_;
  std::uint64_t count_ = 0;
  std::size_t block_ = largest_block;
  std::size_t stride_ = 0;           // of the rows that are loaded
  std::vector<std::uint32_t> last_;  // [feature of degree below g]: its last coordinate; children have it or later ones
  std::vector<std::uint32_t> power_;  // [feature of degree below g]: the exponent of its last coordinate
  AlignedVector<float> coordinates_;  // [power][coordinate][t]: x / sqrt(power + 1)
  AlignedVector<float> kept_;         // [feature of degree below g][t]
  AlignedVector<float> piece_;        // [feature of the piece][t]
};

/// The outputs of queries (n x d) from a matrix M, r x (dv + 1), of which column 0 is prod: phi(q)^T M[:, 1:] /
/// phi(q)^T prod. n x dv, sums of pieces in doubles. Costs r (dv + 2) multiply-adds a query. Throws UsageError for
/// shapes, InputError that names the query (by `numbers`) with a number that is not finite, or whose denominator is not
/// positive.
[[nodiscard]] DenseMatrix answer_from_product(PolynomialFeatures& features, std::span<const float> m,
                                              std::uint64_t value_columns, RowsView q, const RowNumbers& numbers = {});

/// Modes `direct` and `paired`: S = sum_j weight_j phi(k_j) exp(q0.(k_j - k0)) [1, v_j], r x (dv + 1) floats. Column 0
/// is `prod` of the paper. Linear: rows are added with weight 1 and taken away with -1, states are summed.
class PolynomialState {
 public:
  /// Throws UsageError where config.validate() does, for dv = 0, and where the state would have more than `most_bytes`
  /// bytes: with the table of sizes, before anything is allocated.
  PolynomialState(PolynomialConfig config, std::uint64_t value_columns, std::uint64_t most_bytes);

  [[nodiscard]] const PolynomialConfig& config() const noexcept { return features_.config(); }
  [[nodiscard]] std::uint64_t features() const noexcept { return features_.count(); }
  [[nodiscard]] std::uint64_t value_columns() const noexcept { return value_columns_; }
  /// S, row after row: to be summed, saved, cleared.
  [[nodiscard]] std::span<float> sums() noexcept { return sums_; }
  [[nodiscard]] std::span<const float> sums() const noexcept { return sums_; }

  /// Adds rows with keys `k` (n x d) and values `v` (n x dv), times `weight`. `numbers` are for messages. Costs r (dv +
  /// 2) multiply-adds a row; nothing is allocated. Throws UsageError for shapes that do not fit. Throws InputError that
  /// names the row with a number that is not finite, or with features larger than floats are; whole blocks of 256 rows
  /// may have been added then.
  void add(RowsView k, RowsView v, double weight = 1, const RowNumbers& numbers = {});
  /// The outputs of the queries `q` (n x d): n x dv. Costs r (dv + 2) multiply-adds a query. Throws as add() does, and
  /// InputError that names the query where the denominator is not positive.
  [[nodiscard]] DenseMatrix answer(RowsView q, const RowNumbers& numbers = {});

 private:
  PolynomialFeatures features_;
  std::uint64_t value_columns_;
  AlignedVector<float> sums_;
  AlignedVector<float> values_;  // scratch: [t][v]
};

}  // namespace weir
