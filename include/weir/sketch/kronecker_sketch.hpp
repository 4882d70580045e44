#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weir/dense_matrix.hpp"
#include "weir/event.hpp"
#include "weir/sketch/rows_sketch.hpp"
#include "weir/sketch/tensor_sketch.hpp"

namespace weir {

/// The sides of y = (A1 (x) A2) vec X: A1 is n1 x d1, A2 n2 x d2, X d1 x d2, and y, as the matrix A1 X A2^T, n1 x n2. Each
/// 1 to 2^63; n1 * n2 need not fit into 64 bits.
struct KroneckerShape {
  std::uint64_t n1 = 0;
  std::uint64_t n2 = 0;
  std::uint64_t d1 = 0;
  std::uint64_t d2 = 0;

  bool operator==(const KroneckerShape&) const = default;
};

/// What has to be kept of y = (A1 (x) A2) vec X while all three stream, in O((d1 + d2) poly(1/epsilon, log n) + d1 d2)
/// space: a RowsSketch of each factor, and X. Each operand is linear in its own events and merged by itself; only then
/// are they multiplied.
struct KroneckerSketch {
  /// Zero factors. `config` serves both, with the numbers of their rows as dimension and a seed of its own for each,
  /// subkey(config.seed, Purpose::operand, 0 or 1, 0). Throws UsageError.
  KroneckerSketch(const KroneckerShape& shape, const SketchConfig& config, const GramConfig& gram);
  /// Doubles of all that a KroneckerSketch holds, at most 2^63. Throws as the constructor does, and allocates nothing.
  [[nodiscard]] static std::uint64_t size(const KroneckerShape& shape, const SketchConfig& config,
                                          const GramConfig& gram);

  KroneckerShape shape;
  SketchConfig common;  ///< The configuration it was made with; its dimension is n1.
  RowsSketch a1;
  RowsSketch a2;
  std::vector<double> x;  ///< d1 * d2 entries, row by row.
  double x_events = 0;    ///< Events of X so far: a count, in a double so that it is summed as the rest is.

  [[nodiscard]] const SketchConfig& config() const noexcept { return common; }
  /// X, d1 x d2: the sum of its events, or the identity while there was none. Throws InputError when there was none and
  /// d1 != d2.
  [[nodiscard]] DenseMatrix core() const;
  /// Whether there is an X: then core() does not throw.
  [[nodiscard]] bool has_core() const noexcept { return x_events > 0 || shape.d1 == shape.d2; }
  /// True when X had events that left nothing of it.
  [[nodiscard]] bool x_is_zero() const noexcept;
  /// tr(X G2 X^T G1), the estimate of ||y||_2^2, never negative; not finite where it overflows. Throws as core().
  [[nodiscard]] double f2() const;
  /// The same operands as a TensorSketch, whose CountSketches are the `wide` ones of the factors. Throws as core().
  [[nodiscard]] TensorSketch tensor() const;

  /// Adds the operands of `other`, each times the coefficient. This merges two parts of one stream. Operands in `fixed` are
  /// the same in both and stay as they are. The events of X are added up whatever the coefficient is: an X whose events were
  /// all taken back is zero, and not the identity. Throws InputError as RowsSketch::add. `other` may be *this.
  void add(const KroneckerSketch& other, double coefficient = 1.0, OperandSet fixed = {});
  /// Multiplies each operand that is not fixed by the coefficient. So y is multiplied by its cube when all three operands
  /// stream, and by its square while X is the identity. Throws as RowsSketch::scale.
  void scale(double coefficient, OperandSet fixed = {});
  [[nodiscard]] std::uint64_t fingerprint() const noexcept;
};

[[nodiscard]] std::string describe_difference(const KroneckerSketch& a, const KroneckerSketch& b);

}  // namespace weir
