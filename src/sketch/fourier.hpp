#pragma once

#include <cstddef>
#include <memory>

namespace weir {

/// The discrete Fourier transform of B doubles, and back, by FFTW. A spectrum is its first B/2 + 1 values, real and
/// imaginary parts in turn.
///
/// Plans are estimated, never timed, and for one alignment of the arrays: one machine gives the same bits every time.
class RealTransform {
 public:
  /// `size` is a power of two, 2 to 2^30: FFTW counts in int. The arrays are scratch at cache-line boundaries, of `size`
  /// and spectrum_stride(size) doubles; they are not written to. Throws std::bad_alloc.
  RealTransform(std::size_t size, double* values, double* spectrum);

  /// Doubles of a spectrum, rounded up to whole pairs of the widest vectors, so that spectra can follow each other and
  /// be worked on without remainders.
  [[nodiscard]] static constexpr std::size_t spectrum_stride(std::size_t size) { return (size + 2 + 15) / 16 * 16; }

  /// Destroys the values. Both arrays are at cache-line boundaries.
  void forward(double* values, double* spectrum) const;
  /// The inverse times B. Destroys the spectrum.
  void inverse(double* spectrum, double* values) const;

 private:
  struct Destroy {
    void operator()(void* plan) const noexcept;
  };
  using Plan = std::unique_ptr<void, Destroy>;  // an fftw_plan, which is a pointer

  Plan forward_;
  Plan inverse_;
};

}  // namespace weir
