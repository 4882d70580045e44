#include "weir/sample/sizing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>

#include "weir/error.hpp"
#include "weir/sample/precision.hpp"

namespace weir {

namespace {

constexpr std::uint32_t suggested_rows = 5;
constexpr std::uint64_t fewest_buckets = 128;
/// The total of the masses, tr(M G1), has the errors of two Gram matrices: with 256 buckets of 5 rows each a standard
/// error of at most sqrt(4 / 1280) = 0.056, where that of F2 in `fewest_buckets` buckets, which lanes_for() allows for,
/// is 0.068.
constexpr std::uint64_t fewest_gram_buckets = 256;
constexpr std::uint32_t most_lanes = 4096;
constexpr double most_bytes = 0x1p40;
/// B epsilon^2 of precision sampling, before it is rounded up to a power of two: from there on 0.2% of all entries
/// are off by more than epsilon ||z||_2, 1% where y is skewed; with half of it 2% and 7% are
/// (apps/experiments/README.md).
constexpr double precision_buckets = 6;

/// Of a sketch for p < 2, for each entry of a lane through which sum |y|^p is estimated.
constexpr std::uint64_t buckets_an_entry = 24;
/// Where there are groups: each entry takes a search, and opens fewer groups the more buckets there are.
constexpr std::uint64_t most_entries_of_groups = 3;
constexpr std::uint64_t buckets_an_entry_of_groups = 64;

void require(bool good, const std::string& message) {
  if (!good) throw UsageError(message);
}

void require_probability(std::string_view field, double value) {
  require(value > 0 && value < 1, fmt::format("{} is {}: expected a number between 0 and 1", field, value));
}

void require_dimension(std::uint64_t dimension) {
  require(dimension >= 1 && dimension <= (std::uint64_t{1} << 63U),
          fmt::format("dimension is {}: expected 1 to 2^63", dimension));
}

/// Throws UsageError when the table of `config` would be larger than is sensible; `wish` says what asked for it.
void require_sensible_size(const SketchConfig& config, const std::string& wish) {
  config.validate();
  const double bytes = 8.0 * static_cast<double>(config.table_size());
  require(bytes <= most_bytes, fmt::format("{} need a table of {:.3g} bytes: at most 2^40 are sensible", wish, bytes));
}

/// The probability that a lane accepts, for three errors of F2 in the test.
struct AcceptanceOfErrors {
  std::array<double, 3> probability{};

  /// accept(e) is the probability when F2 is estimated as (1 + e) F2. The errors are the nodes of a Gauss-Hermite rule;
  /// their standard deviation is about 0.54 sqrt(2/B), taken for the fewest buckets.
  template <class Accept>
  explicit AcceptanceOfErrors(const Accept& accept) {
    const double step = std::sqrt(3.0) * 0.54 * std::sqrt(2.0 / fewest_buckets);
    probability = {accept(-step), accept(0.0), accept(step)};
  }

  /// P[fewer than `samples` of `trials` lanes accept]; the lanes share the error.
  [[nodiscard]] double failure(std::uint64_t trials, std::uint32_t samples) const {
    const auto tail = [&](std::size_t node) { return binomial_lower_tail(trials, probability[node], samples); };
    return (tail(0) + 4 * tail(1) + tail(2)) / 6;
  }
};

/// The smallest number of lanes, lane 0 included, a multiple of 8, of which fewer than `samples` accept with
/// probability at most `failure`; nothing above most_lanes.
std::optional<std::uint32_t> lanes_for(std::uint32_t samples, double failure, const AcceptanceOfErrors& accept) {
  std::uint64_t trials = samples;
  while (trials < most_lanes && accept.failure(trials, samples) > failure) ++trials;
  if (trials >= most_lanes) return std::nullopt;
  return static_cast<std::uint32_t>((trials + 1 + 7) / 8 * 8);
}

/// P[a scaled maximum passes the test] = 1 - exp(-1/T), for uniform scales at least that.
double acceptance(double threshold) { return threshold == 0 ? 1.0 : -std::expm1(-1 / threshold); }

/// What collides with an item of magnitude tau, per bucket and in units of k tau^2, where k coordinates are expected
/// above tau: E[sum of the squares of those below], from the density k p tau^p t^(-p-1) of the magnitudes. In the limit
/// p = 2 it is ln n, as the smallest of n coordinates ends the integral.
double energy_below(double dimension, double p) { return p == 2.0 ? std::max(1.0, std::log(dimension)) : p / (2 - p); }

/// What sized a sketch, for messages; a value epsilon of 1 asks for nothing.
std::string wish_text(const SamplingRequest& request) {
  const std::string values =
      request.value_epsilon == 1 ? "" : fmt::format(" and value epsilon {}", request.value_epsilon);
  return fmt::format("{} samples with epsilon {}{}", request.samples, request.epsilon, values);
}

/// The buckets that a request needs. Let tau be the magnitude that decides (the threshold; without replacement the last
/// one drawn) and k the number of coordinates expected above it. A row estimate has noise of variance sigma^2 = k tau^2
/// energy / B, the median of five about 0.314 of it. Four things may go wrong:
///
/// - The law is bent, to second order in the noise. With m = E[tau^2 / magnitude^2] over the draws (0.42 for T = 1, 1
///   for T = 0), root mean square relative distortions of 0.25 energy / B = 0.6 m energy / B (T = 1) and 0.3 m energy /
///   B (T = 0) were observed at worst, with half of the mass in one coordinate (apps/experiments/README.md); m k energy
///   / B is granted.
/// - Values are off, to first order: value_epsilon^2 >= E[(median noise / magnitude)^2].
/// - Among all keys that are scored the noise alone makes up one above tau: three rows exceed x = tau / sigma with one
///   sign, 20 scored Q(x)^3 <= 2.5 scored exp(-1.5 x^2) times a key. At most k epsilon / 10 are allowed.
/// - Ghosts (see search.cpp): a maximum is lost to one with probability about 2.5 scored / B^4, at most epsilon / 10;
///   the k ghosts that 2.5 scored (k / B)^3 <= k / 2 allows leave room for the items in the list of candidates.
/// - With replacement and p < 2, probabilities share the error of sum |y|^p: see entries_of_lane().
std::uint64_t suggest_buckets(const SamplingRequest& request, std::uint32_t levels, std::uint32_t lanes) {
  constexpr double median_variance = 0.314;  // pi / (2 R)
  const double n = static_cast<double>(request.dimension);
  const double energy = energy_below(n, request.p);

  double k = std::min(static_cast<double>(request.samples), n);  // without replacement no more than n can be drawn
  double mean_inverse_square = 0.5;  // E[tau^2 / magnitude^2] over the draws, p = 2: the mean of U(0,1)
  double opened = 4 * k + 64;        // groups whose members are scored
  if (!request.without_replacement) {
    // Of E ~ Exp(1), given E < 1/T, in units of 1/T. Without a threshold E = 3 is exceeded by one lane in twenty.
    k = request.threshold > 0 ? std::min(3.0, 1 / request.threshold) : 3.0;
    const double limit = request.threshold > 0 ? 1 / request.threshold : 700.0;
    mean_inverse_square = (1 - (1 + limit) * std::exp(-limit)) / -std::expm1(-limit) / k;
    opened = 16;
  }
  const double scored = levels == 1 ? n : opened * std::pow(n, 1.0 / levels);

  const double noise = k * energy * mean_inverse_square;
  const double law = noise / request.epsilon;
  const double values = median_variance * noise / (request.value_epsilon * request.value_epsilon);
  const double x_squared = std::max(1.0, std::log(25 * scored / (k * request.epsilon)) / 1.5);
  const double made_up = k * energy * x_squared;
  const double ghosts =
      request.without_replacement ? k * std::cbrt(5 * scored / k) : std::pow(25 * scored / request.epsilon, 0.25);
  double normaliser = 0;
  if (request.p < 2 && !request.without_replacement) {
    double entries = std::ceil(1 / (request.epsilon * request.epsilon * (lanes - 1)));
    if (levels > 1) entries = std::min(entries, static_cast<double>(most_entries_of_groups));
    normaliser = entries * static_cast<double>(levels > 1 ? buckets_an_entry_of_groups : buckets_an_entry);
    // Of n keys 5 (k / B)^4 / 8 are in 4 of 5 cells with one of the k largest, their signs with them. Lane 0 contradicts most, and
    // 0.3 of them in a lane are allowed. With groups each entry is taken out before the next is looked for.
    if (levels == 1) normaliser = std::max(normaliser, (entries + 1) * std::pow(5.0 / 8 / 0.3 * n, 0.25));
  }
  const double needed = std::max({law, values, made_up, ghosts, normaliser, static_cast<double>(fewest_buckets)});
  require(needed <= 0x1p32,
          fmt::format("{} need {:.3g} buckets: at most 2^32 are possible", wish_text(request), needed));
  return std::bit_ceil(static_cast<std::uint64_t>(std::ceil(needed)));
}

/// B' of a Gram sketch that has at least so many cells.
std::uint64_t gram_buckets_of(double cells, double epsilon) {
  const double needed = cells / suggested_rows;
  require(
      needed <= 0x1p32,
      fmt::format("epsilon {} needs {:.3g} buckets for the Gram matrix: at most 2^32 are possible", epsilon, needed));
  return std::max(fewest_gram_buckets, std::bit_ceil(static_cast<std::uint64_t>(std::ceil(needed))));
}

/// Upper bound of the probability that the tail of a lane of Algorithm 2 fails the test, ||z||^2 > 0.8 T F2, given that
/// its maximum passes: the other scaled entries are independent of it, and z lacks the k - 1 largest of them, k =
/// 1/epsilon^2. (The 0.8 is for the error of the estimate.) In units of F2, w_i^2 > s for a Poisson-binomial number of
/// entries with mean at most 1/s, hence for more than k - 1 with a Chernoff bound. Otherwise ||z||^2 is at most the sum
/// of the squares below s: terms in [0, s] with mean y_i^2 ln(s / y_i^2), in sum at most ln(s n) (all alike) or 1, and
/// variance at most s, which Bernstein's inequality bounds. The best s of some.
double heavy_tail_probability(std::uint64_t dimension, double epsilon, double threshold) {
  const double others = std::ceil(1 / (epsilon * epsilon)) - 1;
  if (others >= static_cast<double>(dimension)) return 0;
  double best = 1;
  for (double s = 16; s > 0x1p-40; s /= 1.25) {
    const double excess = 0.8 * threshold - std::max(1.0, std::log(s * static_cast<double>(dimension)));
    const double more = others + 1;
    if (!(excess > 0) || more * s <= 1) continue;
    const double above = std::exp(more - 1 / s - more * std::log(more * s));
    best = std::min(best, above + std::exp(-excess * excess / (2 * (s + s * excess / 3))));
  }
  return best;
}

}  // namespace

std::size_t entries_of_lane(const SketchConfig& config) noexcept {
  const std::uint64_t entries = std::max<std::uint64_t>(1, config.buckets / buckets_an_entry);
  return static_cast<std::size_t>(config.levels == 1 ? entries : std::min(entries, most_entries_of_groups));
}

double binomial_lower_tail(std::uint64_t trials, double success, std::uint64_t wanted) {
  if (wanted > trials) return 1;
  if (wanted == 0 || success >= 1) return 0;
  const auto n = static_cast<double>(trials);
  const double log_odds = std::log(success) - std::log1p(-success);
  double log_term = n * std::log1p(-success);  // of P[X = 0]; the sum stays in range where the first terms underflow
  double sum = 0;
  for (std::uint64_t x = 0; x < wanted; ++x) {
    sum += std::exp(log_term);
    const auto k = static_cast<double>(x);
    log_term += std::log((n - k) / (k + 1)) + log_odds;
  }
  return std::min(1.0, sum);
}

std::uint32_t suggest_lanes(std::uint32_t samples, double failure, double threshold) {
  require(samples >= 1, "samples is 0: expected at least 1");
  require_probability("failure", failure);
  require(threshold >= 0 && std::isfinite(threshold), fmt::format("threshold is {}: expected 0 or more", threshold));
  const AcceptanceOfErrors accept([=](double error) { return acceptance(threshold * (1 + error)); });
  const auto lanes = lanes_for(samples, failure, accept);
  require(lanes.has_value(),
          fmt::format("{} samples with failure {} need more than {} lanes: draw fewer, allow more failures, or draw "
                      "without replacement",
                      samples, failure, most_lanes));
  return *lanes;
}

std::uint32_t suggest_levels(std::uint64_t dimension) noexcept {
  if (dimension <= (std::uint64_t{1} << 20U)) return 1;
  return dimension < (std::uint64_t{1} << 36U) ? 2 : 3;
}

SketchConfig suggest_config(const SamplingRequest& request) {
  require_dimension(request.dimension);
  require(request.samples >= 1, "samples is 0: expected at least 1");
  require_probability("epsilon", request.epsilon);
  require_probability("failure", request.failure);
  require(request.value_epsilon > 0 && request.value_epsilon <= 1,
          fmt::format("value epsilon is {}: expected a number above 0, at most 1", request.value_epsilon));
  require(request.threshold >= 0 && std::isfinite(request.threshold),
          fmt::format("threshold is {}: expected 0 or more", request.threshold));
  require(request.p == 2.0 || request.p == 1.0 || request.p == 0.5,
          fmt::format("p is {}: expected 2, 1 or 0.5", request.p));

  SketchConfig config;
  config.dimension = request.dimension;
  config.rows = suggested_rows;
  config.p = request.p;
  config.levels = suggest_levels(request.dimension);
  config.lanes = request.without_replacement ? 2 : suggest_lanes(request.samples, request.failure, request.threshold);
  config.buckets = suggest_buckets(request, config.levels, config.lanes);
  require_sensible_size(config, wish_text(request));
  return config;
}

std::uint64_t suggest_gram_buckets(double epsilon) {
  require_probability("epsilon", epsilon);
  return gram_buckets_of(2 / (epsilon * epsilon), epsilon);
}

std::uint64_t suggest_leverage_buckets(double epsilon, std::uint64_t d) {
  require_probability("epsilon", epsilon);
  require_dimension(d);
  const auto columns = static_cast<double>(d);
  const double spread = std::max(2.0, columns / (suggested_rows * suggested_rows));
  return gram_buckets_of(columns + spread / (epsilon * epsilon), epsilon);
}

PairsConfig suggest_pairs_config(const SamplingRequest& request, std::uint64_t n2, bool exact_gram) {
  require(request.p == 2.0 && !request.without_replacement, "pairs are drawn with replacement and p = 2");
  require_dimension(request.dimension);
  require_dimension(n2);
  require_probability("epsilon", request.epsilon);
  require_probability("failure", request.failure);
  // Observed distortions are 0.25 ln(n)/B for each stage (see suggest_buckets), and the recovered row adds 0.12 ln(n)/B:
  // together less than twice the 0.42 ln(n)/B that is granted to one.
  SamplingRequest stage = request;
  stage.dimension = std::max(request.dimension, n2);
  stage.failure = request.failure / 2;
  stage.epsilon = request.epsilon / (exact_gram ? 2 : 4);
  stage.value_epsilon = request.value_epsilon / std::sqrt(2.0);
  PairsConfig suggested{.sketch = suggest_config(stage), .gram = {.exact = exact_gram}};
  suggested.sketch.dimension = request.dimension;
  suggested.gram.buckets = exact_gram ? fewest_gram_buckets : suggest_gram_buckets(request.epsilon / 2);
  return suggested;
}

SketchConfig suggest_precision_config(const PrecisionRequest& request) {
  require_dimension(request.dimension);
  require(request.samples >= 1, "samples is 0: expected at least 1");
  require_probability("failure", request.failure);
  const double threshold = precision_threshold(request.dimension, request.epsilon, request.constant);

  SketchConfig config;
  config.dimension = request.dimension;
  config.law = ScaleLaw::uniform;
  config.rows = suggested_rows;
  config.levels = suggest_levels(request.dimension);
  const double additive_error = precision_buckets / (request.epsilon * request.epsilon);
  require(additive_error <= 0x1p32,
          fmt::format("epsilon {} needs {:.3g} buckets: at most 2^32 are possible", request.epsilon, additive_error));
  // Entries that noise or ghosts make up are as much a danger to this argmax as to the other one.
  const SamplingRequest same_threshold{
      .dimension = request.dimension, .samples = request.samples, .epsilon = request.epsilon, .threshold = threshold};
  config.buckets = std::max(suggest_buckets(same_threshold, config.levels, 2),
                            std::bit_ceil(static_cast<std::uint64_t>(std::ceil(additive_error))));
  const AcceptanceOfErrors accept([&](double error) {
    const double test = threshold * (1 + error);
    return std::max(0.0, acceptance(test) - heavy_tail_probability(request.dimension, request.epsilon, test) / test);
  });
  const auto lanes = lanes_for(request.samples, request.failure, accept);
  require(lanes.has_value(),
          fmt::format(
              "{} samples with failure {}, epsilon {} and C = {} need more than {} lanes, as one in {:.0f} accepts: "
              "draw fewer, allow more failures, change epsilon or C, or take the sampler 'perfect'",
              request.samples, request.failure, request.epsilon, request.constant, most_lanes, threshold));
  config.lanes = *lanes;
  require_sensible_size(config, fmt::format("{} samples with epsilon {}", request.samples, request.epsilon));
  return config;
}

}  // namespace weir
