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

  /// X, or the identity. Throws InputError when there was no event of X and it cannot be the identity, and when a sum of
  /// its events has overflowed.
  [[nodiscard]] std::vector<double> core() const;
};

/// One drawn entry of y.
struct TensorDraw {
  std::vector<std::uint64_t> indices;  ///< i1 .. ip.
  double value = 0;
  double probability = 0;  ///< value^2 / ||y||^2.
};

/// Exact draws from y_(i1..ip)^2 / ||y||^2, index by index (the chain rule). Given i1 .. i_(q-1), X contracted with their
/// rows is a tensor Z of d_q ... dp entries, and the mass of i_q is a^T M a, a its row of A_q and M = Z_(q) (G_(q+1) (x)
/// ... (x) Gp) Z_(q)^T, where Z_(q) has Z as d_q rows and G_k = A_k^T A_k. For the last index it is <a, Z>^2. By
/// inversion of the running sums of masses, which are squares of lengths and so never negative.
///
/// Cost: once the Gram matrices, O(sum over q > 1 of n_q d_q^2), and the masses of the first index, O(n1 d1^2); then for
/// each distinct (i1 .. i_(q-1)) drawn O(n_q d_q^2), and O(np dp) for the last index; besides O(d1 ... dp max d_q) for
/// every contraction. So with two factors a draw costs O(n2 d2 + d1 d2), draws of one row i1 together.
class TensorSampler {
 public:
  /// `operands` must stay as they are. Throws InputError as DenseTensor::core does, when the sum of the changes of an
  /// entry has overflowed, and when ||y|| is too large for a double.
  explicit TensorSampler(const DenseTensor& operands);
  explicit TensorSampler(DenseTensor&&) = delete;

  /// ||y||_2, exact: no error but rounding.
  [[nodiscard]] double norm() const noexcept { return norm_; }
  /// y_(i1..ip), in O(d1 ... dp). Throws UsageError unless there are p indices in their ranges.
  [[nodiscard]] double value(std::span<const std::uint64_t> indices) const;
  /// `samples` independent draws, each of p uniform numbers of its own; none when y = 0. (A draw is left out where
  /// rounding has left mass on an index without any: of probability 2^-50 or so.)
  [[nodiscard]] std::vector<TensorDraw> draw(std::uint32_t samples, std::uint64_t seed) const;

 private:
  class Descent;

  [[nodiscard]] std::vector<double> contract(std::size_t q, std::span<const double> z, std::uint64_t i) const;
  [[nodiscard]] std::vector<double> lengths(std::size_t q, std::span<const double> z) const;

  const DenseTensor* operands_;
  std::vector<double> units_;  // 1 / (a power of two near the largest entry of A_q): all below is of A_q * units_[q]
  std::vector<DenseMatrix> grams_;  // G_q, empty for the first; none when y = 0
  std::vector<double> core_;        // X, times a power of two of its own
  int exponent_ = 0;                // log2 of what y is to be multiplied by, to undo them
  std::vector<double> lengths_;     // roots of the masses of i1; none when y = 0
  double norm_ = 0;
};

/// The same as a SampleResult, for two factors: [index, column]. Throws UsageError when `options.p` is not 2 or there are
/// not two factors, InputError as TensorSampler does.
[[nodiscard]] SampleResult draw_pairs(const DenseTensor& operands, const DenseDrawOptions& options);

}  // namespace weir
