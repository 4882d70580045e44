#include "weir/setting/sizes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "weir/error.hpp"
#include "weir/sample/precision.hpp"

namespace weir {
namespace {

/// Draws through which a moment is estimated.
constexpr std::uint32_t moment_draws = 64;

/// With them a point estimate is within epsilon ||y||, 3.16 sqrt(F2/B), of the truth except with probability 0.01, the
/// median of five rows of the sketch.
std::uint64_t buckets_for(double epsilon) {
  const double buckets = std::ceil(10 / (epsilon * epsilon));
  if (buckets > 0x1p32)
    throw UsageError(
        fmt::format("epsilon {}: a point estimate with so small an error needs more than 2^32 buckets; "
                    "expected 0.00005 or more",
                    epsilon));
  return std::bit_ceil(static_cast<std::uint64_t>(buckets));
}

SamplingRequest sampling(const SizeRequest& request, std::uint64_t dimension) {
  return {.dimension = dimension,
          .samples = request.samples,
          .failure = request.failure,
          .epsilon = request.epsilon,
          .p = request.p / request.degree(),
          .threshold = request.threshold,
          .without_replacement = request.without_replacement};
}

SketchConfig with_overrides(const SizeRequest& request, SketchConfig config) {
  config.rows = request.rows.value_or(config.rows);
  config.buckets = request.buckets.value_or(config.buckets);
  config.lanes = request.lanes.value_or(config.lanes);
  config.levels = request.levels.value_or(config.levels);
  config.randomness = request.randomness;
  config.seed = request.seed;
  config.validate();
  require_answerable(config);
  // A state that is loaded may take longer.
  constexpr std::uint64_t longest_scan_of_new = std::uint64_t{1} << 36;
  if (config.groups(config.levels - 1) > longest_scan_of_new)
    throw UsageError(fmt::format(
        "levels is {} for a sketch of {} entries: a query would look at more than 2^36 items one by one, for "
        "minutes; expected more levels, which is the default, or fewer entries",
        config.levels, config.dimension));
  return config;
}

SketchConfig for_draws(const SizeRequest& request, std::uint64_t dimension) {
  if (!request.precision) return with_overrides(request, suggest_config(sampling(request, dimension)));
  return with_overrides(request, suggest_precision_config({.dimension = dimension,
                                                           .samples = request.samples,
                                                           .failure = request.failure,
                                                           .epsilon = request.precision->epsilon,
                                                           .constant = request.precision->constant}));
}

/// Operands are asked through their wide sketches; those that draw are kept small.
SizeRequest for_operands(SizeRequest request) {
  if (!request.for_answers) return request;
  if (!request.gram_buckets) request.gram_buckets = std::max(GramConfig().buckets, buckets_for(request.epsilon));
  if (!request.buckets) request.buckets = 2;
  if (!request.lanes) request.lanes = 1;
  request.epsilon = SizeRequest().epsilon;  // it has sized the wide sketches
  return request;
}

/// What answers need that draws do not, given what draws would suggest.
template <class Suggest>
SizeRequest for_answers(SizeRequest request, const Suggest& suggest) {
  const double epsilon = request.epsilon;
  request.for_answers = false;
  request.epsilon = SizeRequest().epsilon;
  if (request.with_moments) {
    request.without_replacement = true;
    request.samples = moment_draws;
    if (!request.buckets) request.buckets = std::max(buckets_for(epsilon), suggest(request).buckets);
    if (!request.lanes) request.lanes = 8;  // the wide lane that draws, and others for top entries
    return request;
  }
  if (!request.buckets) request.buckets = buckets_for(epsilon);
  if (request.lanes) return request;
  request.lanes = 1;
  // Equal neighbours cancel in their group in lane 0, where only signs tell them apart. In scaled lanes they do not, and
  // the search for the largest looks into groups there too.
  if (request.with_top && suggest(request).levels > 1) request.lanes = 8;
  return request;
}

}  // namespace

std::uint64_t most_keys(const SizeRequest& request) noexcept {
  return std::min(std::uint64_t{1} << 63, key_limit(request.randomness));
}

SketchConfig vector_config(SizeRequest request, std::uint64_t dimension) {
  if (request.for_answers)
    request = for_answers(request, [&](const SizeRequest& with) { return for_draws(with, dimension); });
  return for_draws(request, dimension);
}

SketchConfig matrix_config(const SizeRequest& request, std::uint64_t rows, std::uint64_t columns) {
  const auto of_matrix = [&](SizeRequest with) {
    if (!with.levels) {
      const std::uint32_t suggested = for_draws(with, rows * columns).levels;
      // Groups of one entry, or one group of all, find nothing.
      with.levels = rows == 1 || columns == 1 ? 1 : std::min<std::uint32_t>(suggested, 2);
    }
    SketchConfig config = for_draws(with, rows * columns);
    config.row_length = columns;
    config.validate();
    return config;
  };
  return of_matrix(request.for_answers ? for_answers(request, of_matrix) : request);
}

PairsConfig pairs_config(const SizeRequest& given, std::uint64_t n1, std::uint64_t n2) {
  const SizeRequest request = for_operands(given);
  const bool exact = request.exact_gram.value_or(false);
  PairsConfig sizes = suggest_pairs_config(sampling(request, n1), n2, exact);
  sizes.gram.exact = exact;
  sizes.gram.buckets = request.gram_buckets.value_or(sizes.gram.buckets);
  // Both factors are searched alike.
  sizes.sketch.dimension = std::max(n1, n2);
  sizes.sketch = with_overrides(request, sizes.sketch);
  sizes.sketch.dimension = n1;
  return sizes;
}

PairsConfig rows_config(const SizeRequest& given, std::uint64_t n, std::uint64_t d) {
  const SizeRequest request = for_operands(given);
  PairsConfig sizes;
  sizes.sketch = for_draws(request, n);
  sizes.gram.exact = request.exact_gram.value_or(false);
  if (request.gram_buckets) {
    sizes.gram.buckets = *request.gram_buckets;
  } else if (request.leverage && !sizes.gram.exact) {
    sizes.gram.buckets = suggest_leverage_buckets(request.epsilon, d);
  } else {
    sizes.gram.buckets = suggest_gram_buckets(request.epsilon);
  }
  return sizes;
}

}  // namespace weir
