#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sample/power.hpp"
#include "weir/random/source.hpp"

namespace weir {

/// The running sum of |value|^p, and its inverse. In units of `unit`^p, where `unit` is a power of four near the largest
/// magnitude: no square overflows, no bit changes, and for p = 1/2 the root of the unit is exact too.
class RunningSum {
 public:
  /// `values` must stay as they are. p is 4, 2, 1 or 0.5.
  RunningSum(std::span<const double> values, double p) : values_(values), p_(p) {
    double largest = 0;
    for (const double value : values_) largest = std::max(largest, std::abs(value));
    if (largest > 0) exponent_ = std::clamp(2 * (std::ilogb(largest) / 2), -1000, 1000);
    inverse_unit_ = std::ldexp(1.0, -exponent_);
    prefix_.reserve(values_.size() / block + 1);
    for (std::size_t first = 0; first < values_.size(); first += block) {
      double sum = 0;
      for (std::size_t i = first; i < std::min(first + block, values_.size()); ++i) sum += (*this)[i];
      total_ += sum;
      prefix_.push_back(total_);
    }
  }

  /// |values[i]|^p.
  [[nodiscard]] double operator[](std::size_t i) const { return power_of_magnitude(values_[i] * inverse_unit_, p_); }
  [[nodiscard]] double total() const noexcept { return total_; }
  /// log2 of the unit.
  [[nodiscard]] int exponent() const noexcept { return exponent_; }

  /// The index in whose stretch of the running sum `target`, in [0, total), lies. Its value is not zero. Requires
  /// total() > 0.
  [[nodiscard]] std::size_t invert(double target) const {
    // The first block whose running sum exceeds the target has a positive weight, as total() does.
    const auto after = std::upper_bound(prefix_.begin(), prefix_.end(), std::min(target, std::nextafter(total_, 0.0)));
    const auto number = static_cast<std::size_t>(after - prefix_.begin());
    double rest = target - (number == 0 ? 0.0 : prefix_[number - 1]);
    std::size_t chosen = number * block;
    for (std::size_t i = chosen; i < std::min((number + 1) * block, values_.size()); ++i) {
      const double weight = (*this)[i];
      if (!(weight > 0)) continue;
      chosen = i;
      if (rest < weight) break;
      rest -= weight;
    }
    return chosen;
  }

 private:
  static constexpr std::size_t block = 1024;

  std::span<const double> values_;
  double p_;
  int exponent_ = 0;
  double inverse_unit_ = 1;
  double total_ = 0;
  std::vector<double> prefix_;  ///< Running sum at the end of each block.
};

/// The uniform numbers that running sums are inverted at, in [0, 1), by number of the draw.
class Uniforms {
 public:
  explicit Uniforms(std::uint64_t seed) : words_(Randomness::mix, seed, Purpose::draw, 0, 2) {}
  [[nodiscard]] double operator()(std::uint64_t draw) const {
    return static_cast<double>(words_(draw) >> 11U) * 0x1p-53;
  }

 private:
  WordFunction words_;
};

}  // namespace weir
