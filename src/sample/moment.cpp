#include "weir/sample/moment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "sample/horvitz_thompson.hpp"
#include "weir/error.hpp"

namespace weir {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

void require_positive(const char* name, double value) {
  if (!(value > 0) || std::isinf(value))
    throw UsageError(fmt::format("{} is {}: expected a finite number above 0", name, value));
}

/// Random terms that Hill's estimate needs.
constexpr std::size_t fewest_random_terms = 8;

/// Of the largest random terms. From 1/2 on their variance is infinite; the estimate below is noisy and chosen by being low.
constexpr double most_tail_index = 0.35;

/// Whether the tail index may be that large: Hill's estimate over the upper half, and two of its standard deviations.
bool has_heavy_tail(std::vector<double> terms) {
  std::sort(terms.begin(), terms.end(), std::greater<>());
  const std::size_t count = terms.size() / 2;
  double sum = 0;
  for (std::size_t k = 0; k < count; ++k) sum += std::log(terms[k] / terms[count]);
  const double index = sum / static_cast<double>(count);
  return index * (1 + 2 / std::sqrt(static_cast<double>(count))) > most_tail_index;
}

}  // namespace

double horvitz_thompson_moment(std::span<const Draw> draws, double q) {
  double sum = 0;
  for (const Draw& draw : draws) sum += std::pow(std::abs(draw.value), q) / inclusion_of(draw);
  return sum;
}

MomentEstimate moment_through_samples(std::span<const Draw> draws, double q, double p) {
  require_positive("q", q);
  require_positive("p", p);
  HorvitzThompsonSum sum(q, p);
  std::vector<double> random_terms;
  double threshold = 0;  // tau^p, from the inclusion that is best for it
  double clearest = infinity;
  for (const Draw& draw : draws) {
    const double inclusion = inclusion_of(draw);
    sum.add(draw.value, inclusion, draw.value_bound.value_or(0), deviation_of(draw));
    if (inclusion < 0.9 && draw.value != 0) random_terms.push_back(std::pow(std::abs(draw.value), q) / inclusion);
    const double x = -std::log1p(-inclusion);
    if (x > 0 && x < 30 && std::abs(std::log(x)) < clearest) {
      clearest = std::abs(std::log(x));
      threshold = std::pow(std::abs(draw.value), p) / x;
    }
  }
  MomentEstimate result{.value = sum.value(), .standard_error = sum.standard_error(), .bound = sum.bound()};
  if (threshold == 0 || q == p) return result;  // all entries are there, or x weighs as much as it is likely
  if (q > p) {
    const double unseen = std::pow(threshold * std::log(200.0), q / p);
    result.bound = unseen < result.value ? std::hypot(result.bound, unseen) : infinity;
  } else if (random_terms.size() < fewest_random_terms || has_heavy_tail(random_terms)) {
    result.bound = infinity;
  }
  return result;
}

}  // namespace weir
