#include "weir/stream/generate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "weir/error.hpp"

namespace weir {

namespace {

constexpr std::uint64_t golden = 0x9E3779B97F4A7C15;
constexpr std::uint64_t most_special = std::uint64_t{1} << 20;

/// What a word is used for; each purpose has a sequence of its own.
enum class Purpose : std::uint64_t { index, delta, choice, special, zipf };

constexpr std::uint64_t mix(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

/// Start of the sequence for a purpose.
constexpr std::uint64_t sequence(std::uint64_t seed, Purpose purpose) noexcept {
  return mix(mix(seed + golden) + (static_cast<std::uint64_t>(purpose) + 1) * golden);
}

/// Word number t of the sequence.
constexpr std::uint64_t word(std::uint64_t start, std::uint64_t t) noexcept { return mix(start + (t + 1) * golden); }

/// Uniform on [0, n).
constexpr std::uint64_t below(std::uint64_t n, std::uint64_t random) noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((Wide{random} * n) >> 64);
}

/// Uniform on [0, 1).
double unit(std::uint64_t random) noexcept { return static_cast<double>(random >> 11) * 0x1p-53; }

/// (exp(x) - 1) / x and log(1 + x) / x, which are smooth at 0.
double expm1_ratio(double x) noexcept { return std::abs(x) > 1e-8 ? std::expm1(x) / x : 1 + x / 2; }
double log1p_ratio(double x) noexcept { return std::abs(x) > 1e-8 ? std::log1p(x) / x : 1 - x / 2; }

/// Integral of t^-exponent from 1 to x, and its inverse.
double hat_integral(double x, double exponent) noexcept {
  const double logarithm = std::log(x);
  return expm1_ratio((1 - exponent) * logarithm) * logarithm;
}
double hat_inverse(double u, double exponent) noexcept {
  const double t = std::max(u * (1 - exponent), -1.0);
  return std::exp(log1p_ratio(t) * u);
}

double hat(double x, double exponent) noexcept { return std::exp(-exponent * std::log(x)); }

void require(bool good, const std::string& message) {
  if (!good) throw UsageError(message);
}

/// One index in each of `count` equal stretches of [0, n): distinct, ascending.
std::vector<std::uint64_t> spread_indices(std::uint64_t count, std::uint64_t n, std::uint64_t seed) {
  std::vector<std::uint64_t> indices(count);
  const std::uint64_t start = sequence(seed, Purpose::special);
  for (std::uint64_t f = 0; f < count; ++f) indices[f] = f * (n / count) + below(n / count, word(start, f));
  return indices;
}

}  // namespace

EventGenerator::EventGenerator(const GeneratorOptions& options) : options_(options) {
  const std::uint64_t n = options.n;
  require(n >= 1 && n <= std::uint64_t{1} << 63, fmt::format("n = {}: expected 1 to 2^63", n));
  require(options.events >= 1, "events = 0: expected at least 1");
  switch (options.kind) {
    case StreamKind::flat:
      break;
    case StreamKind::zipf:
      require(options.exponent > 0 && options.exponent <= 16,
              fmt::format("exponent = {}: expected more than 0, at most 16", options.exponent));
      hat_first_ = hat_integral(1.5, options.exponent) - 1;
      hat_last_ = hat_integral(static_cast<double>(n) + 0.5, options.exponent);
      sure_ = 2 - hat_inverse(hat_integral(2.5, options.exponent) - hat(2, options.exponent), options.exponent);
      break;
    case StreamKind::planted:
      require(options.heavy >= 1 && options.heavy <= std::min(n, most_special),
              fmt::format("{} heavy indices: expected 1 to {}", options.heavy, std::min(n, most_special)));
      require(options.heavy_share >= 0 && options.heavy_share <= 1,
              fmt::format("heavy share = {}: expected 0 to 1", options.heavy_share));
      special_ = spread_indices(options.heavy, n, options.seed);
      break;
    case StreamKind::insert_delete: {
      const std::uint64_t most = std::min({n, options.events, most_special});
      std::uint64_t survivors = options.survivors.value_or(std::min<std::uint64_t>(most, 16));
      if (!options.survivors && (options.events - survivors) % 2 == 1) --survivors;
      require(survivors <= most, fmt::format("{} survivors: expected at most {}", survivors, most));
      require(
          (options.events - survivors) % 2 == 0,
          fmt::format(
              "{} survivors of {} events: expected both even or both odd, as every other insertion has its deletion",
              survivors, options.events));
      if (survivors > 0) special_ = spread_indices(survivors, n, options.seed);
      transient_ = (options.events - survivors) / 2;
      spacing_ = survivors > 0 ? (transient_ + survivors) / survivors : 1;
      // A step near the golden section of the length, and coprime to it, visits every deletion once and far from its
      // neighbours.
      multiplier_ =
          std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(transient_) * 0.6180339887498949));
      while (std::gcd(multiplier_, transient_) > 1) ++multiplier_;
      break;
    }
    case StreamKind::structured:
      require(options.stride >= 1, "stride = 0: expected at least 1");
      if (options.pattern == IndexPattern::high) options_.stride = std::uint64_t{1} << 32;
      if (options.pattern == IndexPattern::sequential) options_.stride = 1;
      require(options.pattern != IndexPattern::high || n > options_.stride,
              fmt::format("n = {}: this pattern needs more than 2^32", n));
      require(options.pattern != IndexPattern::powers || n > 1, "n = 1: this pattern needs at least 2");
      period_ = options.pattern == IndexPattern::powers ? static_cast<std::uint64_t>(std::bit_width(n - 1))
                                                        : (n - 1) / options_.stride + 1;
      break;
  }
}

std::uint64_t EventGenerator::zipf_index(std::uint64_t t) const noexcept {
  const double exponent = options_.exponent;
  std::uint64_t state = word(sequence(options_.seed, Purpose::zipf), t);
  while (true) {
    const double u = hat_last_ + unit(mix(state += golden)) * (hat_first_ - hat_last_);
    const double x = hat_inverse(u, exponent);
    const double k = std::clamp(std::floor(x + 0.5), 1.0, static_cast<double>(options_.n));
    if (k - x <= sure_ || u >= hat_integral(k + 0.5, exponent) - hat(k, exponent)) {
      auto index = static_cast<std::uint64_t>(k) - 1;
      // Doubles this large skip integers; the law is flat between them.
      if (k >= 0x1p53) index += mix(state += golden) & ((std::uint64_t{1} << (std::ilogb(k) - 52)) - 1);
      return std::min(index, options_.n - 1);
    }
  }
}

Event EventGenerator::insert_delete_event(std::uint64_t t) const noexcept {
  const std::uint64_t survivors = special_.size();
  std::uint64_t number = 0;  // of the insertion among those that are deleted
  const bool insertion = t < transient_ + survivors;
  if (insertion) {
    // The survivors are the insertions at multiples of the spacing.
    const std::uint64_t before = survivors == 0 ? 0 : std::min((t + spacing_ - 1) / spacing_, survivors);
    if (before < survivors && t % spacing_ == 0)
      return {Operand::y, special_[before], 0, static_cast<double>(before + 1)};
    number = t - before;
  } else {
    __extension__ using Wide = unsigned __int128;
    number = static_cast<std::uint64_t>(Wide{t - transient_ - survivors} * multiplier_ % transient_);
  }
  const std::uint64_t random = word(sequence(options_.seed, Purpose::delta), number);
  const double size = static_cast<double>(1 + (random & 15)) * ((random & 16) != 0 ? -1.0 : 1.0);
  return {Operand::y, below(options_.n, word(sequence(options_.seed, Purpose::index), number)), 0,
          insertion ? size : -size};
}

void EventGenerator::fill(std::uint64_t first, EventBatch& batch) const {
  const std::size_t count = batch.size();
  const std::uint64_t n = options_.n;
  std::fill(batch.operands.begin(), batch.operands.end(), Operand::y);
  std::fill(batch.j.begin(), batch.j.end(), 0);
  const std::uint64_t indices = sequence(options_.seed, Purpose::index);
  switch (options_.kind) {
    case StreamKind::flat:
      for (std::size_t t = 0; t < count; ++t) batch.i[t] = below(n, word(indices, first + t));
      break;
    case StreamKind::zipf:
      for (std::size_t t = 0; t < count; ++t) batch.i[t] = zipf_index(first + t);
      break;
    case StreamKind::planted: {
      const std::uint64_t choices = sequence(options_.seed, Purpose::choice);
      for (std::size_t t = 0; t < count; ++t) {
        const std::uint64_t random = word(indices, first + t);
        const bool heavy = unit(word(choices, first + t)) < options_.heavy_share;
        batch.i[t] = heavy ? special_[below(special_.size(), random)] : below(n, random);
      }
      break;
    }
    case StreamKind::insert_delete:
      for (std::size_t t = 0; t < count; ++t) {
        const Event event = insert_delete_event(first + t);
        batch.i[t] = event.i;
        batch.delta[t] = event.delta;
      }
      return;
    case StreamKind::structured:
      for (std::size_t t = 0; t < count; ++t) {
        const std::uint64_t step = (first + t) % period_;
        batch.i[t] = options_.pattern == IndexPattern::powers ? std::uint64_t{1} << step : step * options_.stride;
      }
      break;
  }
  const std::uint64_t deltas = sequence(options_.seed, Purpose::delta);
  switch (options_.deltas) {
    case DeltaLaw::one:
      std::fill(batch.delta.begin(), batch.delta.end(), 1.0);
      break;
    case DeltaLaw::sign:
      for (std::size_t t = 0; t < count; ++t) batch.delta[t] = (word(deltas, first + t) >> 63) != 0 ? -1.0 : 1.0;
      break;
    case DeltaLaw::real:
      for (std::size_t t = 0; t < count; ++t) batch.delta[t] = 2 * unit(word(deltas, first + t)) - 1;
      break;
  }
}

EventBatch EventGenerator::final_vector() const {
  EventBatch batch;
  if (options_.kind != StreamKind::insert_delete) return batch;
  for (std::size_t f = 0; f < special_.size(); ++f)
    batch.push_back({Operand::y, special_[f], 0, static_cast<double>(f + 1)});
  return batch;
}

}  // namespace weir
