#include "weir/sample/dense.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sample/power.hpp"
#include "weir/error.hpp"
#include "weir/random/scale.hpp"
#include "weir/random/source.hpp"

namespace weir {

namespace {

void require_exponent(double p) {
  if (p != 4.0 && p != 2.0 && p != 1.0 && p != 0.5)
    throw UsageError(fmt::format("p is {}: expected 4, 2, 1 or 0.5", p));
}

/// |y_i|^p in units of `unit`^p, where `unit` is a power of four near the largest magnitude: no square overflows, no
/// bit changes, and for p = 1/2 the root of the unit is exact too.
class Weights {
 public:
  Weights(const DenseVector& y, double p) : values_(y.table()), p_(p) {
    require_exponent(p);
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

  [[nodiscard]] double operator[](std::size_t i) const { return power_of_magnitude(values_[i] * inverse_unit_, p_); }
  [[nodiscard]] double total() const noexcept { return total_; }
  [[nodiscard]] int exponent() const noexcept { return exponent_; }

  /// The index in whose stretch of the running sum `target`, in [0, total), lies. Requires total() > 0.
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

}  // namespace

DenseVector::DenseVector(std::uint64_t dimension) {
  if (dimension == 0 || dimension > std::numeric_limits<std::size_t>::max() / (2 * sizeof(double))) {
    throw UsageError(fmt::format("dimension is {}: expected 1 to 2^59 for a dense vector", dimension));
  }
  values_.resize(dimension);
}

void DenseVector::update(std::span<const std::uint64_t> keys, std::span<const double> deltas) {
  for (std::size_t t = 0; t < keys.size(); ++t) {
    if (keys[t] >= values_.size()) {
      throw InputError(fmt::format("update {}: key {} is not below the dimension {}", t, keys[t], values_.size()));
    }
    if (!std::isfinite(deltas[t])) throw InputError(fmt::format("update {}: delta is {}, not finite", t, deltas[t]));
  }
  for (std::size_t t = 0; t < keys.size(); ++t) values_[keys[t]] += deltas[t];
}

double DenseVector::moment(double p) const {
  const Weights weights(*this, p);
  return weights.total() * std::exp2(weights.exponent() * p);
}

double DenseVector::norm() const {
  const Weights weights(*this, 2);
  return std::ldexp(std::sqrt(weights.total()), weights.exponent());
}

double DenseVector::probability(std::uint64_t index, double p) const {
  const Weights weights(*this, p);
  return weights.total() > 0 ? weights[index] / weights.total() : 0.0;
}

SampleResult draw_with_replacement(const DenseVector& y, const DenseDrawOptions& options) {
  const Weights weights(y, options.p);
  SampleResult result;
  result.norm = y.norm();
  result.zero_vector = !(weights.total() > 0);
  if (result.zero_vector) return result;
  const WordFunction words(Randomness::mix, options.seed, Purpose::draw, 0, 2);
  for (std::uint32_t t = 0; t < options.samples; ++t) {
    const double uniform = static_cast<double>(words(t) >> 11U) * 0x1p-53;
    const std::size_t index = weights.invert(uniform * weights.total());
    result.draws.push_back({.lane = t + 1,
                            .index = index,
                            .value = y.table()[index],
                            .probability = weights[index] / weights.total(),
                            .inclusion = std::nullopt});
  }
  return result;
}

SampleResult draw_without_replacement(const DenseVector& y, const DenseDrawOptions& options) {
  const Weights weights(y, options.p);
  SampleResult result;
  result.norm = y.norm();
  result.zero_vector = !(weights.total() > 0);
  if (result.zero_vector) return result;

  // (|y_i| scale)^p, largest first; the smallest of the kept ones is the threshold in the end.
  struct Scaled {
    double power;
    std::size_t index;
    bool operator<(const Scaled& other) const noexcept {
      return power > other.power || (power == other.power && index < other.index);
    }
  };
  // For p = 4 a sketch holds the squares, scaled for p = 2.
  const double scale_p = std::min(options.p, 2.0);
  const ScaleFunction scales(Randomness::mix, options.seed, 2, ScaleLaw::exponential, scale_p, 2);
  const std::size_t wanted = options.samples;
  std::vector<Scaled> best;
  for (std::size_t i = 0; i < y.dimension(); ++i) {
    if (!(weights[i] > 0)) continue;
    const Scaled item{weights[i] * power_of_magnitude(scales(i, 1), scale_p), i};
    if (best.size() == wanted + 1 && !(item < best.front())) continue;
    best.push_back(item);
    std::push_heap(best.begin(), best.end());
    if (best.size() > wanted + 1) {
      std::pop_heap(best.begin(), best.end());
      best.pop_back();
    }
  }
  std::sort(best.begin(), best.end());
  double threshold = 0;
  if (best.size() > wanted) {
    threshold = best.back().power;
    best.pop_back();
  }
  for (const Scaled& item : best) {
    const double weight = weights[item.index];
    result.draws.push_back({.lane = 1,
                            .index = item.index,
                            .value = y.table()[item.index],
                            .probability = weight / weights.total(),
                            .inclusion = threshold > 0 ? -std::expm1(-weight / threshold) : 1.0});
  }
  return result;
}

}  // namespace weir
