#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/sample/dense_operand.hpp"

namespace weir {

/// The operands of y = (A1 (x) ... (x) Ap) vec X themselves, O(n d) doubles instead of the n1 ... np of y: the exact
/// method, and the reference of all others. Linear in each operand: sum the tables over the ranks, then ask.
struct DenseTensor {
  /// Zero operands: A_q is rows[q] x columns[q]; p is 1 to 8. Throws UsageError, std::bad_alloc.
  DenseTensor(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns);

  std::vector<DenseOperand> factors;
  std::vector<double> x;  ///< d1 ... dp entries, the last index fastest.
  double x_events = 0;    ///< Events of X so far; while 0, and with two factors of d1 = d2, X is the identity.

  /// X, or the identity. Throws InputError when there was no event of X and it cannot be the identity.
  [[nodiscard]] std::vector<double> core() const;
};

/// One drawn entry of y.
struct TensorDraw {
  std::vector<std::uint64_t> indices;  ///< i1 .. ip.
  double value = 0;
  double probability = 0;  ///< value^2 / ||y||^2.
};

/// Exact draws from y_(i1..ip)^2 / ||y||^2: i1 by the masses of the slices of y, a_i1^T M a_i1 with M from X and the Gram
/// matrices of the others; then, X contracted with a_i1, the next index likewise. O(sum n_q d_q^2 + ...) once and
/// O(sum_{q > 1} n_q d_q^2 ..) a draw (to be stated). The result does not depend on how the operands came.
class TensorSampler {
 public:
  explicit TensorSampler(const DenseTensor& operands);

  [[nodiscard]] double norm() const noexcept;  ///< ||y||_2, exact.
  [[nodiscard]] double value(std::span<const std::uint64_t> indices) const;
  [[nodiscard]] std::vector<TensorDraw> draw(std::uint32_t samples, std::uint64_t seed) const;
};

/// The same as a SampleResult, for two factors: [index, column]. `options.p` must be 2 (UsageError).
[[nodiscard]] SampleResult draw_pairs(const DenseTensor& operands, const DenseDrawOptions& options);

}  // namespace weir
