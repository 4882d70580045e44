#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "weir/sketch/tensor_sketch.hpp"

namespace weir {

/// The feature map of the polynomial kernel of degree p (Pham and Pagh 2013): a -> S (a (x) ... (x) a), m = s B
/// numbers, whose inner products <S a^p, S b^p> are unbiased estimates of <a, b>^p, with the variance that is given at
/// TensorImage: about 2 (2^p - 1) / m times ||a||^(2p) ||b||^(2p).
///
/// A feature is the sum of the products of p coordinates that fall into its bucket. If there are few products (d^p against
/// B log B), apply() adds them one by one, for eight rows at a time. Otherwise it transforms the p CountSketches of a row,
/// multiplies the spectra, and transforms the product back (FFTW). Both compute S up to rounding. Which of them is used
/// depends on the configuration alone.
class TensorFeatures {
 public:
  /// The rows have d = config.dimensions[0] entries, p = config.dimensions.size(), and all dimensions are equal.
  /// Buckets and signs of the coordinates are kept: O(p s d). Throws UsageError when `config` is not valid, the
  /// dimensions differ, d is above 2^32 or there is more than one repetition, as medians have no place in features;
  /// std::bad_alloc.
  explicit TensorFeatures(const TensorSketchConfig& config);
  ~TensorFeatures();
  TensorFeatures(TensorFeatures&&) noexcept;
  TensorFeatures& operator=(TensorFeatures&&) noexcept;

  [[nodiscard]] const TensorSketchConfig& config() const noexcept;
  /// m = s B: numbers of a row of features, [block][bucket].
  [[nodiscard]] std::size_t size() const noexcept;

  /// The features of the rows of a matrix, n x d, row by row: out is n x m. Allocates nothing; not for several threads
  /// at once, as there is scratch. Throws UsageError unless `rows` holds whole rows and `out` m numbers for each, and InputError when
  /// a value is not finite; nothing is written then.
  void apply(std::span<const double> rows, std::span<double> out);

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir
