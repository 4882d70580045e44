#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weir/event.hpp"
#include "weir/sketch/matrix_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// What has to be kept of y = A x while both operands stream (Lemma 5.7 of the paper): Phi A and x. Each is merged by
/// itself, and only then are they multiplied: (sum_r A_r) (sum_r x_r), never sum_r A_r x_r.
///
/// Of degree 2, `a` holds the lifted rows too: d columns of A, then d (d + 1) / 2 of the products of its entries (see
/// lift.hpp). These are linear in whole rows that come and go, not in changes of single entries.
struct ProductSketch {
  /// Zero operands, A with d columns. Throws UsageError for another degree than 1 and 2, and as MatrixSketch does.
  ProductSketch(const SketchConfig& config, std::uint64_t d, std::uint32_t degree = 1);
  /// Columns of `a`: d, or d + lifted_size(d) where the degree is 2. Throws UsageError for another degree than 1 and 2,
  /// and when it overflows.
  [[nodiscard]] static std::uint64_t columns(std::uint64_t d, std::uint32_t degree);

  MatrixSketch a;         ///< columns(x.size(), degree) columns.
  std::vector<double> x;  ///< d entries.
  std::uint32_t degree;   ///< 1 or 2.

  [[nodiscard]] const SketchConfig& config() const noexcept { return a.config(); }

  /// Phi y, y = A x. Throws InputError when an entry of x is not finite.
  [[nodiscard]] VectorSketch y() const;
  /// Phi z, z_i = y_i^2. Throws UsageError unless the degree is 2, InputError when a product of entries of x is not
  /// finite.
  [[nodiscard]] VectorSketch squares() const;
  [[nodiscard]] bool x_is_zero() const noexcept;

  /// Adds the operands of `other`, each times the coefficient: right for parts of one stream, which hold parts of both
  /// operands. An operand that is `fixed`, the same in both, stays as it is; y is linear in the other. Throws InputError
  /// naming what differs when the shapes do, and, of degree 2 unless A is fixed, for another coefficient than 1 (rows of
  /// `other` come) and -1 (they leave): squares of multiples are not multiples of squares. `other` may be *this.
  void add(const ProductSketch& other, double coefficient = 1.0, OperandSet fixed = {});
  /// Multiplies each operand that is not fixed by the coefficient: y by its square, or by itself where one is fixed.
  /// Throws InputError when the degree is 2, A is not fixed and the coefficient is not 1.
  void scale(double coefficient, OperandSet fixed = {});

  /// 64-bit digest of configuration, d and degree: equal on ranks that may merge.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept;
};

/// Human-readable account of the first thing in which two product sketches differ that must be equal for them to
/// combine; empty when they do combine.
[[nodiscard]] std::string describe_difference(const ProductSketch& a, const ProductSketch& b);

}  // namespace weir
