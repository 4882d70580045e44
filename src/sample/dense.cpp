#include "weir/sample/dense.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "random/argument_checks.hpp"
#include "sample/power.hpp"
#include "sample/running_sum.hpp"
#include "weir/error.hpp"
#include "weir/random/scale.hpp"
#include "weir/random/source.hpp"

namespace weir {

namespace {

void require_exponent(double p) {
  if (p != 4.0 && p != 2.0 && p != 1.0 && p != 0.5)
    throw UsageError(fmt::format("p is {}: expected 4, 2, 1 or 0.5", p));
}

RunningSum weights_of(const DenseVector& y, double p) {
  require_exponent(p);
  return {y.table(), p};
}

/// A result without draws. Throws InputError when ||y||, or a coordinate, is not finite.
SampleResult empty_result(const DenseVector& y) {
  SampleResult result;
  result.norm = y.norm();
  if (!std::isfinite(result.norm))
    throw InputError("the values are too large: ||y|| overflows a double; scale them down");
  result.zero_vector = result.norm == 0;
  return result;
}

}  // namespace

DenseVector::DenseVector(std::uint64_t dimension) {
  if (dimension == 0 || dimension > std::numeric_limits<std::size_t>::max() / (2 * sizeof(double))) {
    throw UsageError(fmt::format("dimension is {}: expected 1 to 2^59 for a dense vector", dimension));
  }
  values_.resize(dimension);
}

void DenseVector::update(std::span<const std::uint64_t> keys, std::span<const double> deltas) {
  require_equal({"DenseVector::update", "deltas.size()", "keys.size()"}, deltas.size(), keys.size());
  for (std::size_t t = 0; t < keys.size(); ++t) {
    if (keys[t] >= values_.size()) {
      throw InputError(fmt::format("update {}: key {} is not below the dimension {}", t, keys[t], values_.size()));
    }
    if (!std::isfinite(deltas[t])) throw InputError(fmt::format("update {}: delta is {}, not finite", t, deltas[t]));
  }
  for (std::size_t t = 0; t < keys.size(); ++t) values_[keys[t]] += deltas[t];
}

double DenseVector::moment(double p) const {
  const RunningSum weights = weights_of(*this, p);
  return weights.total() * std::exp2(weights.exponent() * p);
}

double DenseVector::norm() const {
  const RunningSum weights = weights_of(*this, 2);
  return std::ldexp(std::sqrt(weights.total()), weights.exponent());
}

double DenseVector::probability(std::uint64_t index, double p) const {
  require_below({"DenseVector::probability", "index", "the dimension"}, index, dimension());
  const RunningSum weights = weights_of(*this, p);
  return weights.total() > 0 ? weights[index] / weights.total() : 0.0;
}

SampleResult draw_with_replacement(const DenseVector& y, const DenseDrawOptions& options) {
  const RunningSum weights = weights_of(y, options.p);
  SampleResult result = empty_result(y);
  if (result.zero_vector) return result;
  const Uniforms uniforms(options.seed);
  for (std::uint32_t t = 0; t < options.samples; ++t) {
    const std::size_t index = weights.invert(uniforms(t) * weights.total());
    result.draws.push_back({.lane = t + 1,
                            .index = index,
                            .value = y.table()[index],
                            .probability = weights[index] / weights.total(),
                            .value_bound = 0.0,
                            .probability_bound = 0.0,
                            .inclusion = std::nullopt});
  }
  return result;
}

SampleResult draw_without_replacement(const DenseVector& y, const DenseDrawOptions& options) {
  const RunningSum weights = weights_of(y, options.p);
  SampleResult result = empty_result(y);
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
                            .value_bound = 0.0,
                            .probability_bound = 0.0,
                            .inclusion = threshold > 0 ? -std::expm1(-weight / threshold) : 1.0});
  }
  return result;
}

}  // namespace weir
