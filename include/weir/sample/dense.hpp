#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/sample/draw.hpp"
#include "weir/sample/sampler.hpp"

namespace weir {

/// y itself, n doubles: the exact reference behind the same results as a VectorSketch, and what to use when n doubles a
/// rank are affordable. Linear like a sketch: sum the tables of the ranks. Integer-valued streams sum exactly below
/// 2^53.
class DenseVector {
 public:
  /// The zero vector of `dimension` coordinates. Throws UsageError when dimension is 0 or its bytes overflow,
  /// std::bad_alloc when there is no memory.
  explicit DenseVector(std::uint64_t dimension);

  [[nodiscard]] std::uint64_t dimension() const noexcept { return values_.size(); }
  /// The coordinates. Writable, for reductions.
  [[nodiscard]] std::span<double> table() noexcept { return values_; }
  [[nodiscard]] std::span<const double> table() const noexcept { return values_; }

  /// y[keys[t]] += deltas[t] for all t. Throws UsageError unless the spans are equally long, and InputError when a key is
  /// not below the dimension or a delta is not finite; nothing is changed then.
  void update(std::span<const std::uint64_t> keys, std::span<const double> deltas);

  /// sum over i of |y_i|^p; p is 4, 2, 1 or 0.5.
  [[nodiscard]] double moment(double p) const;
  /// ||y||_2.
  [[nodiscard]] double norm() const;
  /// |y_i|^p / sum |y|^p; 0 for the zero vector. Throws UsageError when index is not below the dimension.
  [[nodiscard]] double probability(std::uint64_t index, double p) const;

 private:
  std::vector<double> values_;
};

/// What an exact draw depends on, besides y.
struct DenseDrawOptions {
  std::uint32_t samples = 8;
  double p = 2;            ///< 4, 2, 1 or 0.5; UsageError otherwise.
  std::uint64_t seed = 0;  ///< Same seed, same y: same draws on every machine.
};

/// `samples` independent exact draws from |y_i|^p / sum |y|^p, by inversion of the running sum; draw t is "lane" t + 1.
/// No draw fails. Values and probabilities are exact, however small y is. Throws UsageError for another p, InputError when
/// ||y|| overflows a double.
[[nodiscard]] SampleResult draw_with_replacement(const DenseVector& y, const DenseDrawOptions& options);

/// Exact successive sampling: the `samples` largest |y_i| scale(i) (for p = 4, y_i^2 scale(i)), with the scales that
/// lane 1 of a sketch of the same seed (Randomness::mix) has, so that a sketch without noise would draw the same
/// indices. Inclusion probabilities are conditional on the (samples + 1)-th magnitude; all are 1 when y has no more
/// than `samples` non-zero coordinates. Throws as draw_with_replacement().
[[nodiscard]] SampleResult draw_without_replacement(const DenseVector& y, const DenseDrawOptions& options);

}  // namespace weir
