#include "weir/stream/generate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "weir/error.hpp"
#include "weir/stream/reader.hpp"

namespace weir {

namespace {

constexpr std::uint64_t golden = 0x9E3779B97F4A7C15;
constexpr std::uint64_t most_special = std::uint64_t{1} << 20;

/// What a word is used for; each purpose has a sequence of its own.
enum class Purpose : std::uint64_t { index, delta, choice, special, zipf, column };

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

double delta_of(DeltaLaw law, std::uint64_t random) noexcept {
  switch (law) {
    case DeltaLaw::one:
      break;
    case DeltaLaw::sign:
      return (random >> 63) != 0 ? -1.0 : 1.0;
    case DeltaLaw::real:
      return 2 * unit(random) - 1;
  }
  return 1;
}

/// What is inserted to be deleted again: a whole number from -16 to 16, not 0.
double transient_delta(std::uint64_t random) noexcept {
  return static_cast<double>(1 + (random & 15)) * ((random & 16) != 0 ? -1.0 : 1.0);
}

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
  require(options.columns >= 1 && options.columns <= std::uint64_t{1} << 63,
          fmt::format("{} columns: expected 1 to 2^63", options.columns));
  require(has_column(options.operand) || options.columns == 1,
          fmt::format("{} columns: {} is a vector", options.columns, to_string(options.operand)));
  if (options.whole_rows) {
    require(has_column(options.operand), fmt::format("whole rows: {} is a vector", to_string(options.operand)));
    require(options.columns <= longest_row,
            fmt::format("whole rows of {} columns: expected at most {}", options.columns, longest_row));
  }
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

EventGenerator::Change EventGenerator::change(std::uint64_t t) const noexcept {
  const std::uint64_t survivors = special_.size();
  if (t >= transient_ + survivors) {
    __extension__ using Wide = unsigned __int128;
    return {.leaves = true,
            .number = static_cast<std::uint64_t>(Wide{t - transient_ - survivors} * multiplier_ % transient_)};
  }
  // The survivors are the insertions at multiples of the spacing.
  const std::uint64_t before = survivors == 0 ? 0 : std::min((t + spacing_ - 1) / spacing_, survivors);
  if (before < survivors && t % spacing_ == 0) return {.stays = true, .number = before};
  return {.number = t - before};
}

std::uint64_t EventGenerator::index_of(const Change& change) const noexcept {
  return change.stays ? special_[change.number]
                      : below(options_.n, word(sequence(options_.seed, Purpose::index), change.number));
}

std::uint64_t EventGenerator::final_column(std::uint64_t number) const noexcept {
  return below(options_.columns, word(sequence(options_.seed, Purpose::column), ~number));
}

Event EventGenerator::insert_delete_event(std::uint64_t t) const noexcept {
  const Change change = this->change(t);
  const std::uint64_t number = change.number;
  if (change.stays) return {options_.operand, special_[number], final_column(number), static_cast<double>(number + 1)};
  const double delta = transient_delta(word(sequence(options_.seed, Purpose::delta), number));
  return {options_.operand, index_of(change),
          below(options_.columns, word(sequence(options_.seed, Purpose::column), number)),
          change.leaves ? -delta : delta};
}

void EventGenerator::fill_indices(std::uint64_t first, std::span<std::uint64_t> indices) const {
  const std::uint64_t n = options_.n;
  const std::uint64_t words = sequence(options_.seed, Purpose::index);
  switch (options_.kind) {
    case StreamKind::flat:
      for (std::size_t t = 0; t < indices.size(); ++t) indices[t] = below(n, word(words, first + t));
      break;
    case StreamKind::zipf:
      for (std::size_t t = 0; t < indices.size(); ++t) indices[t] = zipf_index(first + t);
      break;
    case StreamKind::planted: {
      const std::uint64_t choices = sequence(options_.seed, Purpose::choice);
      for (std::size_t t = 0; t < indices.size(); ++t) {
        const std::uint64_t random = word(words, first + t);
        const bool heavy = unit(word(choices, first + t)) < options_.heavy_share;
        indices[t] = heavy ? special_[below(special_.size(), random)] : below(n, random);
      }
      break;
    }
    case StreamKind::insert_delete:
      for (std::size_t t = 0; t < indices.size(); ++t) indices[t] = index_of(change(first + t));
      break;
    case StreamKind::structured:
      for (std::size_t t = 0; t < indices.size(); ++t) {
        const std::uint64_t step = (first + t) % period_;
        indices[t] = options_.pattern == IndexPattern::powers ? std::uint64_t{1} << step : step * options_.stride;
      }
      break;
  }
}

void EventGenerator::fill(std::uint64_t first, EventBatch& batch) const {
  const std::size_t count = batch.size();
  if (options_.kind == StreamKind::insert_delete) {
    for (std::size_t t = 0; t < count; ++t) {
      const Event event = insert_delete_event(first + t);
      batch.operands[t] = event.operand;
      batch.i[t] = event.i;
      batch.j[t] = event.j;
      batch.delta[t] = event.delta;
    }
    return;
  }
  std::fill(batch.operands.begin(), batch.operands.end(), options_.operand);
  fill_indices(first, batch.i);
  const std::uint64_t columns = sequence(options_.seed, Purpose::column);
  const std::uint64_t deltas = sequence(options_.seed, Purpose::delta);
  for (std::size_t t = 0; t < count; ++t) {
    batch.j[t] = options_.kind == StreamKind::structured ? (first + t) / period_ % options_.columns
                                                         : below(options_.columns, word(columns, first + t));
    batch.delta[t] = delta_of(options_.deltas, word(deltas, first + t));
  }
}

void EventGenerator::append_rows(std::uint64_t first, std::size_t count, RowBatch& rows) const {
  std::vector<std::uint64_t> indices(count);
  fill_indices(first, indices);
  const std::uint64_t deltas = sequence(options_.seed, Purpose::delta);
  for (std::size_t t = 0; t < count; ++t) {
    const bool is_change = options_.kind == StreamKind::insert_delete;
    const Change change = is_change ? this->change(first + t) : Change{.number = first + t};
    for (std::uint64_t j = 0; j < options_.columns; ++j) {
      const std::uint64_t random = word(deltas, change.number * options_.columns + j);
      rows.values.push_back(change.stays ? static_cast<double>(change.number + 1)
                            : is_change  ? transient_delta(random)
                                         : delta_of(options_.deltas, random));
    }
    rows.close_row(options_.operand, indices[t], change.leaves ? -1 : 1);
  }
}

EventBatch EventGenerator::final_vector() const {
  EventBatch batch;
  if (options_.kind != StreamKind::insert_delete) return batch;
  for (std::size_t f = 0; f < special_.size(); ++f) {
    const auto value = static_cast<double>(f + 1);
    if (options_.whole_rows) {
      const std::vector<double> row(static_cast<std::size_t>(options_.columns), value);
      batch.rows.push_back(options_.operand, special_[f], 1, row);
    } else {
      batch.push_back({options_.operand, special_[f], final_column(f), value});
    }
  }
  return batch;
}

}  // namespace weir
