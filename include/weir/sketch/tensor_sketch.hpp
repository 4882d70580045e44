#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "weir/sketch/estimate.hpp"
#include "weir/sketch/matrix_sketch.hpp"

namespace weir {

/// S: R^(n1 ... np) -> R^m, TensorSketch (Pham and Pagh 2013) and TensorSparse(s) (Definition 3.1 of the paper), in
/// independent repetitions over which medians are taken. A repetition has s blocks of B buckets. In block k the
/// coordinate (i1, ..., ip) has the sign prod_q sigma_qk(i_q) and the bucket sum_q h_qk(i_q) modulo B, where sigma_qk
/// and h_qk are those of a CountSketch of the factor q: its row of that repetition.
struct TensorSketchConfig {
  std::vector<std::uint64_t> dimensions;  ///< n1 .. np: p is 1 to 8, each dimension 1 to 2^63.
  std::uint32_t rows = 5;                 ///< R: repetitions; odd, 1 to 15.
  std::uint64_t buckets = 2048;  ///< B: buckets of a block; a power of two, 2 to 2^30. m = s B in a repetition.
  std::uint32_t sparsity = 1;    ///< s, 1 to 64: blocks, each with weight 1/sqrt(s). 1 is TensorSketch.
  Randomness randomness = Randomness::mix;
  std::uint32_t independence = 4;  ///< k of Randomness::kwise.
  std::uint64_t seed = 0;

  bool operator==(const TensorSketchConfig&) const = default;
  /// Throws UsageError that names the first field out of its range.
  void validate() const;
  /// The CountSketch of factor q (from 0) in block k: one lane, one level, and a seed of its own,
  /// subkey(subkey(seed, Purpose::operand, q, 0), Purpose::operand, 0, k + 1). Throws UsageError when there is no factor
  /// q.
  [[nodiscard]] SketchConfig factor(std::size_t q, std::uint32_t k) const;
  /// 64-bit digest of all fields: equal on ranks that may merge.
  [[nodiscard]] std::uint64_t fingerprint() const;
};

/// Human-readable account of the first field in which two configurations differ; empty when equal.
[[nodiscard]] std::string describe_difference(const TensorSketchConfig& a, const TensorSketchConfig& b);

/// S y: R s B doubles, [repetition][block][bucket]. A value type, linear in y.
///
/// The variance of a repetition. In one block <Sy, Sz> is the sum of y_i z_j sigma_i sigma_j [h_i = h_j] over pairs of
/// coordinates. In its second moment the indices (i_q, j_q, k_q, l_q) of two such pairs must be equal two and two in
/// every factor q: i_q = j_q and k_q = l_q, or i_q = k_q and j_q = l_q, or i_q = l_q and j_q = k_q. Where D is the set
/// of the factors in which i and j differ, t = |D| >= 1, k and l differ in D too, and that gives 2^t patterns. In two of
/// them, all of the second kind or all of the third, both pairs collide with probability 1/B, in the others with 2/B^2
/// at most (B is even). The coordinates of a pattern sum to at most ||y||^2 ||z||^2, as any contraction of four tensors
/// does (Cauchy and Schwarz). So, over all D and s independent blocks, with 4-wise independent words,
///
///     Var <Sy, Sz> <= (2 (2^p - 1) / (s B) + 2 (3^p - 2^(p+1) + 1) / (s B^2)) ||y||^2 ||z||^2,
///
/// which is 2 / m for p = 1, as for a CountSketch, about 6 / m for p = 2 and 14 / m for p = 3, and less than the (2 +
/// 3^p) / m of Avron, Nguyen and Woodruff (2014), which lets all patterns collide with probability 1/B. (The growth with
/// p is what Ahle et al. (2020) avoid, by sketching two factors at a time.) A point estimate is <Se_i, Sy>, where only
/// the terms with j = l remain: its variance is at most ||y||^2 / m, whatever p.
class TensorImage {
 public:
  /// S 0. Throws UsageError when `config` is not valid, std::bad_alloc when there is no memory.
  explicit TensorImage(const TensorSketchConfig& config);

  [[nodiscard]] const TensorSketchConfig& config() const noexcept { return config_; }
  [[nodiscard]] std::span<double> table() noexcept { return table_; }
  [[nodiscard]] std::span<const double> table() const noexcept { return table_; }

  /// *this += coefficient * other: with -1, the image of a difference of two tensors. Throws InputError naming the field
  /// when the configurations differ. `other` may be *this.
  void add(const TensorImage& other, double coefficient = 1.0);

  /// ||y||_2^2: median over the repetitions of the squared norm.
  [[nodiscard]] Estimate f2() const;
  /// y(i1, ..., ip): median over the repetitions of the mean over the blocks of sign * cell. Throws InputError when
  /// there are not p indices or one is not below its dimension.
  [[nodiscard]] Estimate point(std::span<const std::uint64_t> indices) const;
  /// <y, z>: median over the repetitions of the inner product. Throws InputError when the configurations differ.
  [[nodiscard]] Estimate inner_product(const TensorImage& other) const;

 private:
  TensorSketchConfig config_;
  std::vector<double> table_;
};

/// The operands of y = (A1 (x) ... (x) Ap) vec X, all of which may stream, in O(R s B (d1 + ... + dp)) space: the
/// CountSketches of the columns of the factors, and X. Each is linear in its own operand, and merged by itself.
struct TensorSketch {
  /// Zero factors with columns[q] columns, X = 0. Throws UsageError when `config` is not valid, when there is not one
  /// number of columns for each factor, and as MatrixSketch does; std::bad_alloc when there is no memory.
  TensorSketch(const TensorSketchConfig& config, std::span<const std::uint64_t> columns);

  TensorSketchConfig config;
  std::vector<std::vector<MatrixSketch>> factors;  ///< [q][k], of configuration config.factor(q, k).
  std::vector<double> core;                        ///< X: d1 ... dp entries, the last index fastest.

  /// d_q, q from 0.
  [[nodiscard]] std::uint64_t columns(std::size_t q) const noexcept { return factors[q].front().columns(); }

  /// A_q[rows[t]][columns[t]] += deltas[t], q from 0. Throws as MatrixSketch::update, and UsageError when there is no
  /// factor q.
  void update(std::size_t q, std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
              std::span<const double> deltas);
  /// A_q[rows[t]][:] += weights[t] * (values[t * d_q] ..). Throws as MatrixSketch::update_rows, and UsageError
  /// when there is no factor q.
  void update_rows(std::size_t q, std::span<const std::uint64_t> rows, std::span<const double> weights,
                   std::span<const double> values);

  /// Adds the operands of `other`, each times the coefficient: right for parts of one stream, which hold parts of all
  /// operands. Throws InputError naming what differs when the shapes do. `other` may be *this.
  void add(const TensorSketch& other, double coefficient = 1.0);

  /// S y, to rounding: in every block of every repetition the columns are transformed, their spectra multiplied and
  /// summed with the weights of X, factor by factor from the last to the first, and the sum is transformed back. d1 +
  /// ... + dp transforms of B real values and one inverse, B/2 times d1 ... dp multiplications of a complex by a real
  /// number for the last factor (zeros of X are free, so min(d1, d2) for the identity), d1 ... d(p-1) + ... + d1
  /// complex ones for the others; B (d1 + ... + dp) doubles of scratch. Throws std::bad_alloc.
  [[nodiscard]] TensorImage image() const;

  /// 64-bit digest of configuration and columns: equal on ranks that may merge.
  [[nodiscard]] std::uint64_t fingerprint() const;
};

/// Human-readable account of the first thing in which two tensor sketches differ that must be equal for them to
/// combine; empty when they do combine.
[[nodiscard]] std::string describe_difference(const TensorSketch& a, const TensorSketch& b);

}  // namespace weir
