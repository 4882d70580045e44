#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "weir/sketch/matrix_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// S: R^(n1 ... np) -> R^m, TensorSketch (Pham and Pagh 2013) and TensorSparse(s) (Definition 3.1 of the paper), in
/// independent repetitions over which medians are taken. A repetition has s blocks of B buckets. In block k the
/// coordinate (i1, ..., ip) has the sign prod_q sigma_qk(i_q) and the bucket sum_q h_qk(i_q) modulo B, where sigma_qk
/// and h_qk are those of a CountSketch of the factor q: its row of that repetition.
struct TensorSketchConfig {
  std::vector<std::uint64_t> dimensions;  ///< n1 .. np: p is 1 to 8, each dimension 1 to 2^63.
  std::uint32_t rows = 5;                 ///< R: repetitions; odd, 1 to 15.
  std::uint64_t buckets = 2048;  ///< B: buckets of a block; a power of two, 2 to 2^31. m = s B in a repetition.
  std::uint32_t sparsity = 1;    ///< s, 1 to 64: blocks, each with weight 1/sqrt(s). 1 is TensorSketch.
  Randomness randomness = Randomness::mix;
  std::uint32_t independence = 4;  ///< k of Randomness::kwise.
  std::uint64_t seed = 0;

  bool operator==(const TensorSketchConfig&) const = default;
  void validate() const;
  /// The CountSketch of factor q (from 0) in block k: one lane, one level, and a seed of its own,
  /// subkey(subkey(seed, Purpose::operand, q, 0), Purpose::operand, 0, k + 1).
  [[nodiscard]] SketchConfig factor(std::size_t q, std::uint32_t k) const;
};

/// S y: R s B doubles, [repetition][block][bucket]. A value type, linear in y.
class TensorImage {
 public:
  /// S 0. Throws UsageError when `config` is not valid, std::bad_alloc when there is no memory.
  explicit TensorImage(const TensorSketchConfig& config);

  [[nodiscard]] const TensorSketchConfig& config() const noexcept { return config_; }
  [[nodiscard]] std::span<double> table() noexcept { return table_; }
  [[nodiscard]] std::span<const double> table() const noexcept { return table_; }

  /// ||y||_2^2: median over the repetitions of the squared norm. (State the variance of a repetition, for p factors, and
  /// its source; bounds as in VectorSketch: except with probability 0.01.)
  [[nodiscard]] Estimate f2() const;
  /// y(i1, ..., ip).
  [[nodiscard]] Estimate point(std::span<const std::uint64_t> indices) const;
  /// <y, z>. Throws InputError when the configurations differ.
  [[nodiscard]] Estimate inner_product(const TensorImage& other) const;

 private:
  TensorSketchConfig config_;
  std::vector<double> table_;
};

/// The operands of y = (A1 (x) ... (x) Ap) vec X, all of which may stream, in O(R s B (d1 + ... + dp)) space: the
/// CountSketches of the columns of the factors, and X. Each is linear in its own operand, and merged by itself.
struct TensorSketch {
  /// Zero factors with columns[q] columns, X = 0. Throws UsageError.
  TensorSketch(const TensorSketchConfig& config, std::span<const std::uint64_t> columns);

  TensorSketchConfig config;
  std::vector<std::vector<MatrixSketch>> factors;  ///< [q][k], of configuration config.factor(q, k).
  std::vector<double> core;                        ///< X: d1 ... dp entries, the last index fastest.

  /// A_q[rows[t]][columns[t]] += deltas[t], q from 0. Throws InputError as MatrixSketch::update.
  void update(std::size_t q, std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
              std::span<const double> deltas);
  void update_rows(std::size_t q, std::span<const std::uint64_t> rows, std::span<const double> weights,
                   std::span<const double> values);

  /// S y: the transforms of the columns, multiplied and summed with the weights of X, transformed back. (State the cost.)
  [[nodiscard]] TensorImage image() const;
};

}  // namespace weir
