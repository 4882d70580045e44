#include "sketch/fourier.hpp"

#include <fftw3.h>

#include <bit>
#include <cassert>
#include <mutex>
#include <new>

namespace weir {

namespace {

/// FFTW may execute plans, but neither make nor destroy them, in several threads at once.
std::mutex& planner() {
  static std::mutex mutex;
  return mutex;
}

fftw_complex* complex(double* spectrum) { return reinterpret_cast<fftw_complex*>(spectrum); }

}  // namespace

RealTransform::RealTransform(std::size_t size, double* values, double* spectrum) {
  assert(std::has_single_bit(size) && size >= 2 && size <= (std::size_t{1} << 30U));
  constexpr unsigned flags = FFTW_ESTIMATE | FFTW_DESTROY_INPUT;
  const auto n = static_cast<int>(size);
  fftw_plan forward = nullptr;
  fftw_plan inverse = nullptr;
  {
    const std::lock_guard lock(planner());
    forward = fftw_plan_dft_r2c_1d(n, values, complex(spectrum), flags);
    inverse = fftw_plan_dft_c2r_1d(n, complex(spectrum), values, flags);
  }
  forward_.reset(forward);
  inverse_.reset(inverse);
  if (forward_ == nullptr || inverse_ == nullptr) throw std::bad_alloc();
}

void RealTransform::forward(double* values, double* spectrum) const {
  fftw_execute_dft_r2c(static_cast<fftw_plan>(forward_.get()), values, complex(spectrum));
}

void RealTransform::inverse(double* spectrum, double* values) const {
  fftw_execute_dft_c2r(static_cast<fftw_plan>(inverse_.get()), complex(spectrum), values);
}

void RealTransform::Destroy::operator()(void* plan) const noexcept {
  const std::lock_guard lock(planner());
  fftw_destroy_plan(static_cast<fftw_plan>(plan));
}

}  // namespace weir
