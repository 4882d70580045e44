#include "weir/attention/anisotropic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "attention/anisotropic_features.hpp"
#include "attention/anisotropic_kernels.hpp"
#include "attention/anisotropic_map.hpp"
#include "attention/anisotropic_rows.hpp"
#include "random/argument_checks.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {

namespace {

/// So many rows of a sample are few.
constexpr double few_rows = 8;
/// Sums of tilts do not grow beyond it.
constexpr double largest_gross = 1e300;
constexpr double infinity = std::numeric_limits<double>::infinity();
/// Queries that are answered together.
constexpr std::size_t query_block = 64;
/// The normaliser must reach that much of its lower bound; the rest is for rounding.
constexpr double guard_slack = 0.98;
constexpr double guard_shrink = 0.8;
constexpr int guard_steps = 8;
/// Clusters with less than that of the normaliser do not count as fallbacks.
constexpr double fallback_share = 0.01;
/// Clusters whose share of the normaliser is below exp of minus that are left out.
constexpr double negligible_exponent = 18;

WordFunction words_of_sample(std::uint64_t seed) {
  // The draws of exact references have the numbers from 0; this one is far from them.
  return WordFunction(Randomness::mix, seed, Purpose::draw, 0xA77E0000U, 2);
}

/// Priority sampling (Duffield, Lund and Thorup 2007): of weights divided by uniform numbers the largest are kept. A row
/// of weight w stands for max(1, t / w) rows, where t is the largest priority that was not kept.
std::uint64_t sample_priority(double weight, std::uint64_t word) {
  return std::bit_cast<std::uint64_t>(weight / ((static_cast<double>(word) + 1) * 0x1p-64));
}
/// True where that priority is below `floor` for sure, at the cost of a product.
bool is_below(double weight, std::uint64_t word, double floor) {
  return weight * (1 + 1e-12) < floor * (static_cast<double>(static_cast<std::int64_t>(word >> 1U)) * 0x1p-63);
}

/// Floats of 0 and more are ordered as their bits are.
std::uint64_t priority_of(float radius) { return std::bit_cast<std::uint32_t>(radius); }

std::span<const float> row_of(std::span<const float> rows, std::size_t j, std::size_t columns) {
  return rows.subspan(j * columns, columns);
}

}  // namespace

// ------------------------------------------------------------------------------------------------ the state

struct AnisotropicState::Implementation {
  explicit Implementation(AnisotropicCalibration with)
      : calibration(std::move(with)),
        exact(calibration.exact_rows(), calibration.d() + calibration.dv()),
        sample(calibration.map().content.sample_rows, calibration.d() + calibration.dv()),
        features(calibration.clusters() * calibration.features() * (calibration.dv() + 1), 0.0F),
        lost(features.size(), 0.0F),
        low(calibration.dv(), std::numeric_limits<float>::infinity()),
        high(calibration.dv(), -std::numeric_limits<float>::infinity()),
        gross(calibration.clusters(), 0.0),
        words(words_of_sample(calibration.seed())) {}

  AnisotropicCalibration calibration;
  AnisotropicRows exact;
  AnisotropicRows sample;
  AlignedVector<float> features;
  /// What rounding took from the features: a million rows would lose 1e-6 of them. No part of the state that is told to others.
  AlignedVector<float> lost;
  std::vector<float> low;  ///< dv: the range of the values.
  std::vector<float> high;
  std::int64_t rows = 0;
  /// C: the tilts of all rows that were ever added to the features or taken out of them. Sums are rounded to their share of
  /// this, which stays when heavy rows leave.
  std::vector<double> gross;
  WordFunction words;

  /// Rows that dropped out of the exact list, or did not get into it, and are not in the features yet.
  struct Pending {
    std::vector<double> keys;
    std::vector<double> values;
    std::vector<double> weights;

    void add(std::span<const float> row, std::size_t d, double weight) {
      const auto middle = row.begin() + static_cast<std::ptrdiff_t>(d);
      keys.insert(keys.end(), row.begin(), middle);
      values.insert(values.end(), middle, row.end());
      weights.push_back(weight);
    }
    void clear() {
      keys.clear();
      values.clear();
      weights.clear();
    }
  };
  /// Scratch, made when it is needed first and not copied.
  struct Scratch {
    explicit Scratch(const AnisotropicMap& map) : block(map) {}
    KeyBlock block;
    Pending pending;
    std::vector<std::uint64_t> words;  ///< Of the rows of a block.
    std::vector<float> row;            ///< d + dv.
  };
  std::unique_ptr<Scratch> scratch;

  Scratch& with_scratch() {
    if (!scratch) {
      scratch = std::make_unique<Scratch>(calibration.map());
      scratch->words.resize(scratch->block.capacity());
      scratch->row.resize(exact.numbers());
    }
    return *scratch;
  }

  /// Gives row j of a block its weight in the features.
  void weigh(KeyBlock& block, std::size_t j, double weight) {
    block.set_weight(j, weight);
    double& sum = gross[block.cluster(j)];
    sum = std::min(sum + std::abs(weight) * block.tilt(j), largest_gross);
  }
  /// Adds the rows that are pending to the features. They were added before, so that their numbers are in range.
  void add_pending(Scratch& with) {
    Pending& pending = with.pending;
    const std::size_t d = calibration.d();
    const std::size_t dv = calibration.dv();
    for (std::size_t first = 0; first < pending.weights.size(); first += with.block.capacity()) {
      const std::size_t count = std::min(with.block.capacity(), pending.weights.size() - first);
      if (!with.block.load(pending.keys.data() + first * d, pending.values.data() + first * dv, count)) continue;
      for (std::size_t j = 0; j < count; ++j) weigh(with.block, j, pending.weights[first + j]);
      with.block.add_to(features, lost);
    }
    pending.clear();
  }
  void take_dropped(Scratch& with) {
    std::int64_t weight = 0;
    while (exact.drop_next(with.row, weight)) with.pending.add(with.row, calibration.d(), static_cast<double>(weight));
  }
  /// Where no other rows are in the block.
  void add_pending_if_many(Scratch& with) {
    if (with.pending.weights.size() >= with.block.capacity()) add_pending(with);
  }
  void drop_of_sample(Scratch& with) {
    std::int64_t weight = 0;
    while (sample.drop_next(with.row, weight)) {
    }
  }
};

AnisotropicState::AnisotropicState(AnisotropicCalibration calibration)
    : implementation_(std::make_unique<Implementation>(std::move(calibration))) {}
AnisotropicState::AnisotropicState(const AnisotropicState& other)
    : implementation_(std::make_unique<Implementation>(other.calibration())) {
  *this = other;
}
AnisotropicState& AnisotropicState::operator=(const AnisotropicState& other) {
  if (this == &other) return *this;
  const Implementation& from = *other.implementation_;
  auto made = std::make_unique<Implementation>(from.calibration);
  made->exact = from.exact;
  made->sample = from.sample;
  made->features = from.features;
  made->lost = from.lost;
  made->low = from.low;
  made->high = from.high;
  made->rows = from.rows;
  implementation_ = std::move(made);
  return *this;
}
AnisotropicState::AnisotropicState(AnisotropicState&&) noexcept = default;
AnisotropicState& AnisotropicState::operator=(AnisotropicState&&) noexcept = default;
AnisotropicState::~AnisotropicState() = default;

const AnisotropicCalibration& AnisotropicState::calibration() const noexcept { return implementation_->calibration; }
std::span<float> AnisotropicState::features() noexcept { return implementation_->features; }
std::span<const float> AnisotropicState::features() const noexcept { return implementation_->features; }
std::int64_t AnisotropicState::rows() const noexcept { return implementation_->rows; }
std::uint64_t AnisotropicState::exact_rows() const noexcept { return implementation_->exact.size(); }
std::uint64_t AnisotropicState::sampled_rows() const noexcept { return implementation_->sample.size(); }

void AnisotropicState::add(const AttentionRows& rows) {
  Implementation& state = *implementation_;
  const AnisotropicMap& map = state.calibration.map();
  const std::size_t d = map.content.d;
  const std::size_t dv = map.content.dv;
  const std::size_t count = rows.tokens.size();
  require_equal({"AnisotropicState::add", "keys.size()", "tokens.size() * d"}, rows.keys.size(), count * d);
  require_equal({"AnisotropicState::add", "values.size()", "tokens.size() * dv"}, rows.values.size(), count * dv);
  if (!rows.weights.empty()) {
    require_equal({"AnisotropicState::add", "weights.size()", "tokens.size()"}, rows.weights.size(), count);
    for (const std::int8_t weight : rows.weights) {
      if (weight != 1 && weight != -1) {
        throw UsageError(fmt::format("AnisotropicState::add: a weight is {}, expected 1 or -1", weight));
      }
    }
  }
  const auto refuse_numbers = [&](std::span<const double> numbers, std::size_t columns, const char* name) {
    for (std::size_t t = 0; t < numbers.size(); ++t) {
      if (!(std::abs(numbers[t]) <= largest_number)) {
        throw InputError(fmt::format("row {} (token {}): {}[{}] is {}, expected a number of at most {} in magnitude",
                                     t / columns, rows.tokens[t / columns], name, t % columns, numbers[t],
                                     largest_number));
      }
    }
  };
  const auto refuse = [&] {
    refuse_numbers(rows.keys, d, "key");
    refuse_numbers(rows.values, dv, "value");
  };

  Implementation::Scratch& with = state.with_scratch();
  KeyBlock& block = with.block;
  // A block that is all there is is checked while it is loaded.
  if (count > block.capacity() && !(kernels::all_within(rows.keys.data(), rows.keys.size(), largest_number) &&
                                    kernels::all_within(rows.values.data(), rows.values.size(), largest_number))) {
    refuse();
  }
  for (std::size_t first = 0; first < count; first += block.capacity()) {
    const std::size_t length = std::min(block.capacity(), count - first);
    const double* keys = rows.keys.data() + first * d;
    const double* values = rows.values.data() + first * dv;
    if (!block.load(keys, values, length)) refuse();
    for (std::size_t c = 0; c < dv; ++c) {
      state.low[c] = std::min(state.low[c], block.low()[c]);
      state.high[c] = std::max(state.high[c], block.high()[c]);
    }
    state.words.fill(rows.tokens.subspan(first, length), std::span(with.words).first(length));
    const auto take_row = [&](std::size_t j) {
      // Rows that are equal have equal bits, as -0 becomes 0.
      for (std::size_t e = 0; e < d; ++e) with.row[e] = static_cast<float>(keys[j * d + e]) + 0.0F;
      for (std::size_t c = 0; c < dv; ++c) with.row[d + c] = static_cast<float>(values[j * dv + c]) + 0.0F;
    };
    for (std::size_t j = 0; j < length; ++j) {
      const std::uint64_t token = rows.tokens[first + j];
      const std::int64_t weight = rows.weights.empty() ? 1 : rows.weights[first + j];
      state.rows += weight;
      const double sample_weight = block.sample_weight(j);
      const double sample_floor =
          state.sample.floor() ? std::bit_cast<double>(state.sample.floor()->priority) : -infinity;
      if (!is_below(sample_weight, with.words[j], sample_floor)) {
        const AnisotropicRows::Rank hashed{sample_priority(sample_weight, with.words[j]), token};
        if (state.sample.admits(hashed)) {
          take_row(j);
          state.sample.add(hashed, with.row, weight);
          state.drop_of_sample(with);
        }
      }
      const AnisotropicRows::Rank rank{priority_of(block.radius(j)), token};
      if (state.exact.admits(rank)) {
        take_row(j);
        state.exact.add(rank, with.row, weight);
        state.take_dropped(with);
      } else {
        state.weigh(block, j, static_cast<double>(weight));
      }
    }
    block.add_to(state.features, state.lost);
    state.add_pending(with);
  }
}

// ------------------------------------------------------------------------------------------------ the bounded part

namespace {

constexpr std::uint64_t bounded_magic = 0x3250415257454957U;  // "WIEWRAP2": rows of anisotropic attention, version 2
/// Version 1 ends after the lists: nobody counted what left.
constexpr std::uint64_t bounded_magic_without_gross = 0x3150415257454957U;

class ByteWriter {
 public:
  explicit ByteWriter(std::size_t size) { bytes_.reserve(size); }
  template <class T>
  void put(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  template <class T>
  void put_all(std::span<const T> values) {
    const auto bytes = std::as_bytes(values);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// Of bytes whose size was checked.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  T take() {
    T value;
    take_all(std::span(&value, 1));
    return value;
  }
  template <class T>
  void take_all(std::span<T> values) {
    std::memcpy(values.data(), bytes_.data(), values.size_bytes());
    bytes_ = bytes_.subspan(values.size_bytes());
  }

 private:
  std::span<const std::byte> bytes_;
};

constexpr std::size_t list_header_bytes = 4 * sizeof(std::uint64_t);
constexpr std::size_t bounded_header_bytes = 4 * sizeof(std::uint64_t);

std::size_t entry_bytes(std::size_t numbers) { return 3 * sizeof(std::uint64_t) + numbers * sizeof(float); }

void write_list(ByteWriter& out, const AnisotropicRows& list) {
  const AnisotropicRows::Rank floor = list.floor().value_or(AnisotropicRows::Rank{});
  out.put(static_cast<std::uint64_t>(list.size()));
  out.put(std::uint64_t{list.floor().has_value()});
  out.put(floor.priority);
  out.put(floor.token);
  for (const AnisotropicRows::Entry& entry : list.entries()) {
    out.put(entry.rank.priority);
    out.put(entry.rank.token);
    out.put(entry.weight);
    out.put_all(list.row(entry));
  }
}

[[noreturn]] void refuse_bounded(const std::string& what) { throw InputError("exact rows of attention: " + what); }

/// Rows of a list as they lie in bytes.
struct ListBytes {
  std::vector<AnisotropicRows::Rank> ranks;
  std::vector<std::int64_t> weights;
  std::vector<float> rows;
  std::optional<AnisotropicRows::Rank> floor;
};

/// Reads what write_list() wrote, from bytes that are at least as long as a header.
ListBytes read_list(ByteReader& in, std::size_t& left, const AnisotropicRows& like) {
  const std::size_t numbers = like.numbers();
  if (left < list_header_bytes) refuse_bounded(fmt::format("they end {} bytes into a list", left));
  left -= list_header_bytes;
  const auto count = in.take<std::uint64_t>();
  const auto has_floor = in.take<std::uint64_t>();
  const auto priority = in.take<std::uint64_t>();
  const auto token = in.take<std::uint64_t>();
  if (count > like.capacity()) {
    refuse_bounded(fmt::format("{} rows in a list, expected at most {}", count, like.capacity()));
  }
  if (has_floor > 1) refuse_bounded(fmt::format("a flag is {}, expected 0 or 1", has_floor));
  if (left < count * entry_bytes(numbers)) {
    refuse_bounded(fmt::format("{} bytes are left for {} rows of {} bytes", left, count, entry_bytes(numbers)));
  }
  left -= count * entry_bytes(numbers);
  ListBytes list;
  if (has_floor == 1) list.floor = AnisotropicRows::Rank{priority, token};
  list.rows.resize(count * numbers);
  for (std::size_t t = 0; t < count; ++t) {
    AnisotropicRows::Rank rank{};
    rank.priority = in.take<std::uint64_t>();
    rank.token = in.take<std::uint64_t>();
    const auto weight = in.take<std::int64_t>();
    const std::span<float> row = std::span(list.rows).subspan(t * numbers, numbers);
    in.take_all(row);
    if (weight == 0 || std::abs(static_cast<double>(weight)) > 0x1p40) {
      refuse_bounded(fmt::format("the row of token {} has the weight {}", rank.token, weight));
    }
    if (list.floor && rank <= *list.floor) {
      refuse_bounded(fmt::format("the row of token {} should have dropped out", rank.token));
    }
    if (t > 0 && rank > list.ranks.back()) {
      refuse_bounded(fmt::format("the row of token {} is out of order", rank.token));
    }
    for (float& number : row) {
      if (!(std::abs(static_cast<double>(number)) <= largest_number)) {
        refuse_bounded(fmt::format("the row of token {} holds {}", rank.token, number));
      }
      number += 0.0F;
    }
    list.ranks.push_back(rank);
    list.weights.push_back(weight);
  }
  return list;
}

}  // namespace

std::vector<std::byte> AnisotropicState::bounded_part() const {
  const Implementation& state = *implementation_;
  const std::size_t rows = state.exact.size() + state.sample.size();
  ByteWriter out(bounded_header_bytes + 2 * state.low.size() * sizeof(float) + 2 * list_header_bytes +
                 rows * entry_bytes(state.exact.numbers()) + state.gross.size() * sizeof(double));
  out.put(bounded_magic);
  out.put(state.calibration.d());
  out.put(state.calibration.dv());
  out.put(state.rows);
  out.put_all(std::span<const float>(state.low));
  out.put_all(std::span<const float>(state.high));
  write_list(out, state.exact);
  write_list(out, state.sample);
  out.put_all(std::span<const double>(state.gross));
  return std::move(out).take();
}

void AnisotropicState::merge(std::span<const std::byte> bounded_part, int sign) {
  if (sign != 1 && sign != -1) {
    throw UsageError(fmt::format("AnisotropicState::merge: the sign is {}, expected 1 or -1", sign));
  }
  Implementation& state = *implementation_;
  const AnisotropicMap& map = state.calibration.map();
  const std::size_t dv = map.content.dv;
  const std::size_t header = bounded_header_bytes + 2 * dv * sizeof(float);
  if (bounded_part.size() < header) {
    refuse_bounded(fmt::format("{} bytes, expected {} or more", bounded_part.size(), header));
  }
  std::size_t left = bounded_part.size() - header;
  ByteReader in(bounded_part);
  const auto magic = in.take<std::uint64_t>();
  if (magic != bounded_magic && magic != bounded_magic_without_gross)
    refuse_bounded("they do not begin as such rows do");
  const auto other_d = in.take<std::uint64_t>();
  const auto other_dv = in.take<std::uint64_t>();
  if (other_d != map.content.d || other_dv != dv) {
    refuse_bounded(
        fmt::format("keys of {} and values of {} numbers, expected {} and {}", other_d, other_dv, map.content.d, dv));
  }
  const auto other_rows = in.take<std::int64_t>();
  const double all_rows = static_cast<double>(state.rows) + sign * static_cast<double>(other_rows);
  if (std::abs(static_cast<double>(other_rows)) > 0x1p60 || std::abs(all_rows) > 0x1p60) {
    refuse_bounded(fmt::format("they count {} rows, and {} were there", other_rows, state.rows));
  }
  std::vector<float> low(dv);
  std::vector<float> high(dv);
  in.take_all(std::span(low));
  in.take_all(std::span(high));
  for (std::size_t c = 0; c < dv; ++c) {
    const bool is_empty = low[c] == std::numeric_limits<float>::infinity() && high[c] == -low[c];
    const bool is_range = low[c] <= high[c] && std::isfinite(low[c]) && std::isfinite(high[c]);
    if (!is_empty && !is_range) {
      refuse_bounded(fmt::format("values of column {} range from {} to {}", c, low[c], high[c]));
    }
  }
  const ListBytes exact = read_list(in, left, state.exact);
  const ListBytes sample = read_list(in, left, state.sample);
  std::vector<double> gross(state.gross.size(), 0.0);
  if (magic == bounded_magic) {
    if (left < gross.size() * sizeof(double))
      refuse_bounded(fmt::format("{} bytes after the last row, expected {}", left, gross.size() * sizeof(double)));
    in.take_all(std::span(gross));
    left -= gross.size() * sizeof(double);
  }
  for (const double sum : gross)
    if (!(sum >= 0 && sum <= largest_gross)) refuse_bounded(fmt::format("the tilts of all rows come to {}", sum));
  if (left != 0) refuse_bounded(fmt::format("{} bytes follow the last row", left));

  Implementation::Scratch& with = state.with_scratch();
  state.rows += sign * other_rows;
  for (std::size_t c = 0; c < gross.size(); ++c) state.gross[c] = std::min(state.gross[c] + gross[c], largest_gross);
  for (std::size_t c = 0; c < dv; ++c) {
    state.low[c] = std::min(state.low[c], low[c]);
    state.high[c] = std::max(state.high[c], high[c]);
  }
  const std::size_t numbers = state.exact.numbers();
  state.exact.raise_floor(exact.floor);
  state.take_dropped(with);
  state.add_pending_if_many(with);
  for (std::size_t t = 0; t < exact.ranks.size(); ++t) {
    const std::span<const float> row = row_of(exact.rows, t, numbers);
    const std::int64_t weight = sign * exact.weights[t];
    if (state.exact.admits(exact.ranks[t])) {
      state.exact.add(exact.ranks[t], row, weight);
      state.take_dropped(with);
    } else {
      with.pending.add(row, map.content.d, static_cast<double>(weight));
    }
    state.add_pending_if_many(with);
  }
  state.add_pending(with);
  state.sample.raise_floor(sample.floor);
  state.drop_of_sample(with);
  for (std::size_t t = 0; t < sample.ranks.size(); ++t) {
    if (!state.sample.admits(sample.ranks[t])) continue;
    state.sample.add(sample.ranks[t], row_of(sample.rows, t, numbers), sign * sample.weights[t]);
    state.drop_of_sample(with);
  }
}

void AnisotropicState::clear_bounded_part() {
  Implementation& state = *implementation_;
  state.exact.clear();
  state.sample.clear();
  std::fill(state.low.begin(), state.low.end(), std::numeric_limits<float>::infinity());
  std::fill(state.high.begin(), state.high.end(), -std::numeric_limits<float>::infinity());
  std::fill(state.gross.begin(), state.gross.end(), 0.0);
  state.rows = 0;
}

void AnisotropicState::clear() {
  clear_bounded_part();
  std::fill(implementation_->features.begin(), implementation_->features.end(), 0.0F);
  std::fill(implementation_->lost.begin(), implementation_->lost.end(), 0.0F);
}

// ------------------------------------------------------------------------------------------------ answers

void AttentionSums::add(std::uint64_t i, double score, std::span<const double> value, double weight) {
  require_below({"AttentionSums::add", "the query", "count"}, i, count);
  require_equal({"AttentionSums::add", "value.size()", "dv"}, value.size(), dv);
  double factor = weight;
  double* sums = numerators.data() + i * dv;
  if (score > references[i]) {
    const double down = std::exp(references[i] - score);
    references[i] = score;
    denominators[i] *= down;
    for (std::size_t c = 0; c < dv; ++c) sums[c] *= down;
  } else {
    factor *= std::exp(score - references[i]);
  }
  denominators[i] += factor;
  for (std::size_t c = 0; c < dv; ++c) sums[c] += factor * value[c];
}

namespace {

AttentionSums no_sums(std::size_t count, std::size_t dv) {
  return {count,
          dv,
          std::vector<double>(count, -infinity),
          std::vector<double>(count, 0),
          std::vector<double>(count * dv, 0),
          std::vector<double>(count, -infinity)};
}

/// Adds exp(reference) times sign times [1, value sums] to query i.
template <class T>
void add_sums(AttentionSums& to, std::size_t i, double reference, const T* denominator_and_numerators,
              double sign = 1) {
  double factor = sign;
  double* sums = to.numerators.data() + i * to.dv;
  if (reference > to.references[i]) {
    const double down = std::exp(to.references[i] - reference);
    to.references[i] = reference;
    to.denominators[i] *= down;
    for (std::size_t c = 0; c < to.dv; ++c) sums[c] *= down;
  } else {
    factor *= std::exp(reference - to.references[i]);
  }
  to.denominators[i] += factor * static_cast<double>(denominator_and_numerators[0]);
  for (std::size_t c = 0; c < to.dv; ++c) sums[c] += factor * static_cast<double>(denominator_and_numerators[c + 1]);
}

/// Rows that are summed exactly.
struct HeldRows {
  HeldRows() = default;
  /// Rows of the list, but for those whose tokens are in `except`, which rises, times `weights_of_list`.
  HeldRows(const AnisotropicRows& list, std::size_t d, std::size_t dv, std::span<const std::uint64_t> except,
           std::span<const double> weights_of_list) {
    std::vector<const AnisotropicRows::Entry*> chosen;
    for (const AnisotropicRows::Entry& entry : list.entries()) {
      if (!std::binary_search(except.begin(), except.end(), entry.rank.token)) chosen.push_back(&entry);
    }
    count = chosen.size();
    pitch = (count + 15) / 16 * 16;
    keys.assign(d * pitch, 0);
    values.resize(count * dv);
    weights.assign(pitch, 0);
    powers.assign(pitch, 0);
    sums.assign(dv + 1, 0);
    for (std::size_t j = 0; j < count; ++j) {
      const std::span<const float> row = list.row(*chosen[j]);
      for (std::size_t e = 0; e < d; ++e) keys[e * pitch + j] = row[e];
      std::copy_n(row.begin() + static_cast<std::ptrdiff_t>(d), dv,
                  values.begin() + static_cast<std::ptrdiff_t>(j * dv));
      weights[j] = weights_of_list[static_cast<std::size_t>(chosen[j] - list.entries().data())];
    }
  }

  /// The sums for one query; returns their reference.
  double add(std::span<const double> query, std::size_t dv) {
    kernels::scores(keys.data(), pitch, query.size(), query.data(), powers.data());
    const double reference = kernels::largest(powers.data(), count);
    kernels::exponentials(powers.data(), pitch, reference);
    std::fill(sums.begin(), sums.end(), 0);
    // In places without a row there may be anything.
    std::fill(powers.begin() + static_cast<std::ptrdiff_t>(count), powers.end(), 0);
    sums[0] = kernels::weigh(powers.data(), weights.data(), pitch);
    kernels::add_weighted(powers.data(), values.data(), count, dv, sums.data() + 1);
    return reference;
  }

  std::size_t count = 0;
  std::size_t pitch = 0;
  AlignedVector<float> keys;  ///< d lanes of `pitch`.
  std::vector<float> values;  ///< count x dv.
  std::vector<double> weights;
  std::vector<double> powers;
  std::vector<double> sums;  ///< Of [1, value].
};

/// Panels of `rows` x `columns` numbers.
void pack(std::span<const float> from, std::size_t rows, std::size_t columns, float* panels) {
  for (std::size_t t = 0; t < rows; ++t) {
    for (std::size_t c = 0; c < columns; ++c) {
      const std::size_t panel = c / kernels::panel_width;
      panels[(panel * rows + t) * kernels::panel_width + c % kernels::panel_width] = from[t * columns + c];
    }
  }
}

}  // namespace

struct AnisotropicReader::Implementation {
  /// What is known of a query and a cluster without any features.
  struct Outlook {
    double base = 0;        ///< q.k_c and the reference of the cluster.
    double mean_score = 0;  ///< q'.m, with the mean m of the coordinates of the keys.
    double most = 0;        ///< ln of about what the normaliser of the cluster can be.
    double residue = 0;     ///< ln of about what rounding can have left in it of rows that went.
  };

  explicit Implementation(const AnisotropicState::Implementation& state)
      : calibration(state.calibration),
        features(calibration.map(), query_block),
        rows(state.rows),
        low(state.low.begin(), state.low.end()),
        high(state.high.begin(), state.high.end()) {
    const AnisotropicMap& map = calibration.map();
    const std::size_t d = map.content.d;
    const std::size_t dv = map.content.dv;
    const std::size_t clusters = map.content.clusters;
    const std::size_t count = map.content.features;
    const std::vector<std::uint64_t> exact_tokens = state.exact.tokens();
    std::vector<double> exact_weights;
    for (const AnisotropicRows::Entry& entry : state.exact.entries()) {
      exact_weights.push_back(static_cast<double>(entry.weight));
    }
    exact = HeldRows(state.exact, d, dv, {}, exact_weights);
    const double threshold = state.sample.floor() ? std::bit_cast<double>(state.sample.floor()->priority) : 0;
    // The features of the sample, as if it were a state of its own.
    AlignedVector<float> of_sample(state.features.size(), 0.0F);
    const std::vector<AnisotropicRows::Entry>& entries = state.sample.entries();
    std::vector<double> stands_for(entries.size());
    KeyBlock block(map);
    std::vector<double> keys(block.capacity() * d);
    std::vector<double> values(block.capacity() * dv);
    for (std::size_t first = 0; first < entries.size(); first += block.capacity()) {
      const std::size_t length = std::min(block.capacity(), entries.size() - first);
      for (std::size_t j = 0; j < length; ++j) {
        const std::span<const float> row = state.sample.row(entries[first + j]);
        std::copy_n(row.begin(), d, keys.begin() + static_cast<std::ptrdiff_t>(j * d));
        std::copy_n(row.begin() + static_cast<std::ptrdiff_t>(d), dv,
                    values.begin() + static_cast<std::ptrdiff_t>(j * dv));
      }
      if (!block.load(keys.data(), values.data(), length)) continue;  // they were added before, and are in range
      for (std::size_t j = 0; j < length; ++j) {
        const AnisotropicRows::Entry& entry = entries[first + j];
        const double weight = static_cast<double>(entry.weight) * std::max(1.0, threshold / block.sample_weight(j));
        stands_for[first + j] = weight;
        if (!std::binary_search(exact_tokens.begin(), exact_tokens.end(), entry.rank.token))
          block.set_weight(j, weight);
      }
      block.add_to(of_sample, {});
    }
    sample = HeldRows(state.sample, d, dv, exact_tokens, stands_for);
    // Where rows leave, the sample is not refilled, and a sum of few terms may miss what matters.
    if (threshold > 0) sample_doubt = 1 + few_rows / std::max<double>(1, static_cast<double>(entries.size()));

    panel_size = kernels::panels_of(dv + 1) * count * kernels::panel_width;
    panels.assign(clusters * panel_size, 0.0F);
    sample_panels.assign(clusters * panel_size, 0.0F);
    means =
        RowMajorMatrix::Zero(static_cast<Eigen::Index>(clusters), static_cast<Eigen::Index>(map.content.directions));
    for (std::size_t c = 0; c < clusters; ++c) {
      const std::size_t first = c * count * (dv + 1);
      const std::span<const float> part = std::span<const float>(state.features).subspan(first, count * (dv + 1));
      pack(part, count, dv + 1, panels.data() + c * panel_size);
      pack(std::span<const float>(of_sample).subspan(first, count * (dv + 1)), count, dv + 1,
           sample_panels.data() + c * panel_size);
      // P_1 gives the mean of a coordinate. Where it is not among the features, that of the calibration is taken.
      const double weight = static_cast<double>(part[0]);
      weights.push_back(weight);
      // Where nothing has left, all is there.
      const double gone = state.gross[c] - std::max(weight, 0.0);
      residues.push_back(gone > 1e-4 * state.gross[c] ? std::log(0x1p-23 * state.gross[c]) : -infinity);
      mean_values.emplace_back(dv + 1, 1.0);
      for (std::size_t e = 0; e < dv; ++e) {
        mean_values.back()[e + 1] = weight > 0 ? static_cast<double>(part[e + 1]) / weight : 0;
      }
      for (std::size_t i = 0; i < map.content.directions; ++i) {
        const Polynomials& law = map.content.laws[i];
        const std::uint32_t linear = map.linear_feature[i];
        double mean = law.alpha[0];
        if (linear != 0 && weight > 0) mean += law.beta[0] * static_cast<double>(part[linear * (dv + 1)]) / weight;
        means(static_cast<Eigen::Index>(c), static_cast<Eigen::Index>(i)) = std::clamp(mean, map.low[i], map.high[i]);
      }
    }
    query_rows.resize(query_block * d);
    projected.resize(query_block * map.width);
    outputs.resize(query_block * (dv + 1));
    sample_outputs.resize(query_block * (dv + 1));
    fired_share.resize(query_block);
    outlooks.resize(clusters * query_block);
    least.resize(query_block);
  }

  AnisotropicCalibration calibration;
  QueryFeatures features;
  std::int64_t rows = 0;
  std::vector<double> low;
  std::vector<double> high;
  HeldRows exact;
  HeldRows sample;
  double sample_doubt = 1;  ///< Estimates of errors from the sample are multiplied by it.
  std::size_t panel_size = 0;
  AlignedVector<float> panels;  ///< Of the features of each cluster.
  AlignedVector<float> sample_panels;
  std::vector<double> weights;   ///< C: sums of the tilts.
  std::vector<double> residues;  ///< C: ln of what rounding can have left of tilts that went; -infinity for nothing.
  std::vector<std::vector<double>> mean_values;  ///< C times [1, mean value].
  RowMajorMatrix means;                          ///< C x R: mean coordinates of the keys.
  std::vector<double> query_rows;                ///< Rounded to floats.
  std::vector<double> projected;
  std::vector<float> outputs;
  std::vector<float> sample_outputs;
  std::vector<Outlook> outlooks;    ///< C x query_block.
  bool is_loaded = false;           ///< True where the queries are loaded into `features`.
  std::vector<double> least;        ///< ln of what the normaliser of each query is at least.
  std::vector<double> fired_share;  ///< ln of the normaliser of clusters that fell back, by query.

  void multiply(std::size_t count, const AlignedVector<float>& with, std::size_t cluster, std::vector<float>& out) {
    const std::size_t columns = calibration.dv() + 1;
    std::fill_n(out.begin(), count * columns, 0.0F);
    kernels::multiply_add(features.left_factor(), count, calibration.features(),
                          {with.data() + cluster * panel_size, calibration.features() * kernels::panel_width}, columns,
                          out.data(), columns);
  }

  /// Fills `outlooks` and `least` for the `count` queries whose rows and projections are there.
  void look_out(std::size_t count) {
    const AnisotropicMap& map = calibration.map();
    const std::size_t d = map.content.d;
    const std::size_t directions = map.content.directions;
    std::fill(least.begin(), least.end(), -infinity);
    for (std::size_t c = 0; c < map.content.clusters; ++c) {
      if (!(weights[c] > 0) && std::isinf(residues[c])) continue;
      const auto at = static_cast<Eigen::Index>(c);
      const double log_weight = weights[c] > 0 ? std::log(weights[c]) : -infinity;
      const double* centre = map.content.centres.data() + c * d;
      const double* query_centre = map.query_centre_coordinates.data() + c * directions;
      const double* mean = means.data() + c * directions;
      for (std::size_t i = 0; i < count; ++i) {
        Outlook outlook;
        outlook.base = map.content.references[at];
        for (std::size_t e = 0; e < d; ++e) outlook.base += query_rows[i * d + e] * centre[e];
        double of_normal_law = 0;
        double of_range = 0;
        for (std::size_t r = 0; r < directions; ++r) {
          const double q = projected[i * map.width + r] - query_centre[r];
          const Polynomials& law = map.content.laws[r];
          outlook.mean_score += q * mean[r];
          of_normal_law += q * mean[r] + q * q * law.beta[0] * law.beta[0] / 2;
          of_range += std::max(q * law.low, q * law.high);
        }
        const double reach = outlook.base + std::max(outlook.mean_score, std::min(of_normal_law, of_range));
        outlook.most = reach + log_weight;
        outlook.residue = reach + residues[c];
        outlooks[c * query_block + i] = outlook;
        least[i] = std::max(least[i], outlook.base + log_weight + outlook.mean_score);
      }
    }
  }

  /// Adds the sums of a cluster, for queries that it can matter to.
  void add_cluster(std::size_t cluster, std::size_t first, std::size_t count, AttentionSums& to,
                   AttentionSums* residuals) {
    const AnisotropicMap& map = calibration.map();
    const std::size_t directions = map.content.directions;
    const std::size_t columns = map.content.dv + 1;
    const Outlook* outlook = outlooks.data() + cluster * query_block;
    const double* query_centre = map.query_centre_coordinates.data() + cluster * directions;
    std::array<std::size_t, query_block> open{};
    std::size_t open_count = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (outlook[i].most >= least[i] - negligible_exponent) open[open_count++] = i;
    }
    if (open_count == 0) return;
    const auto coordinate = [&](std::size_t i, std::size_t r) {
      return projected[i * map.width + r] - query_centre[r];
    };
    const double log_weight = std::log(weights[cluster]);
    const auto reaches_bound = [&](float denominator, double log_scale, double mean) {
      return static_cast<double>(denominator) >= guard_slack * std::exp(std::min(log_weight + mean - log_scale, 700.0));
    };
    const auto add_query = [&](std::size_t i, double reference, std::size_t row) {
      add_sums(to, first + i, reference, outputs.data() + row * columns);
      if (residuals != nullptr) add_sums(*residuals, first + i, reference, sample_outputs.data() + row * columns, -1);
    };
    const auto note_fallback = [&](std::size_t i, double log_denominator) {
      fired_share[i] = std::max(fired_share[i], log_denominator);
    };

    // By Jensen's inequality the normaliser is at least weight exp(mean score). The guard shrinks q' until its truncation
    // respects that and little of the kernel is left out, and makes up for the rest by the bound.
    double shrink = 1;
    for (int step = 0; step <= guard_steps && open_count > 0; ++step) {
      // Where most queries are open all of them are evaluated, from what all clusters have in common.
      const bool all = step == 0 && is_loaded && 4 * open_count >= count && features.evaluate_about(cluster);
      if (!all) {
        features.evaluate(open_count, [&](std::size_t t, std::size_t r) { return shrink * coordinate(open[t], r); });
      }
      const std::size_t evaluated = all ? count : open_count;
      multiply(evaluated, panels, cluster, outputs);
      if (residuals != nullptr) multiply(evaluated, sample_panels, cluster, sample_outputs);
      std::size_t still_open = 0;
      for (std::size_t place = 0; place < open_count; ++place) {
        const std::size_t i = open[place];
        const std::size_t t = all ? i : place;
        const double log_scale = features.log_scale(t);
        const double mean_score = outlook[i].mean_score;
        if (features.captured(t) >= map.content.least_captured &&
            reaches_bound(outputs[t * columns], log_scale, shrink * mean_score)) {
          const double reference = outlook[i].base + log_scale + (1 - shrink) * mean_score;
          add_query(i, reference, t);
          if (step > 0) note_fallback(i, reference + std::log(static_cast<double>(outputs[t * columns])));
        } else {
          open[still_open++] = i;
        }
      }
      open_count = still_open;
      shrink *= guard_shrink;
    }
    for (std::size_t t = 0; t < open_count; ++t) {
      const std::size_t i = open[t];
      const double reference = outlook[i].base + outlook[i].mean_score + log_weight;
      add_sums(to, first + i, reference, mean_values[cluster].data());
      if (residuals != nullptr) add_sums(*residuals, first + i, reference, mean_values[cluster].data(), -1);
      note_fallback(i, reference);
    }
  }
};

AnisotropicReader::AnisotropicReader(const AnisotropicState& state)
    : implementation_(std::make_unique<Implementation>(*state.implementation_)) {}
AnisotropicReader::AnisotropicReader(AnisotropicReader&&) noexcept = default;
AnisotropicReader& AnisotropicReader::operator=(AnisotropicReader&&) noexcept = default;
AnisotropicReader::~AnisotropicReader() = default;

AttentionSums AnisotropicReader::sums(std::span<const double> queries, AttentionSums* residuals,
                                      std::uint64_t* fallbacks) {
  Implementation& with = *implementation_;
  const AnisotropicMap& map = with.calibration.map();
  const std::size_t d = map.content.d;
  const std::size_t dv = map.content.dv;
  if (queries.size() % d != 0) {
    throw UsageError(fmt::format("AnisotropicReader: {} numbers are no whole rows of {}", queries.size(), d));
  }
  for (std::size_t t = 0; t < queries.size(); ++t) {
    if (!(std::abs(queries[t]) <= largest_number)) {
      throw InputError(fmt::format("query {}: number {} is {}, expected at most {} in magnitude", t / d, t % d,
                                   queries[t], largest_number));
    }
  }
  const std::size_t count = queries.size() / d;
  AttentionSums sums = no_sums(count, dv);
  if (residuals != nullptr) *residuals = no_sums(count, dv);
  std::uint64_t fired = 0;
  for (std::size_t first = 0; first < count; first += query_block) {
    const std::size_t length = std::min(query_block, count - first);
    for (std::size_t t = 0; t < length * d; ++t) {
      with.query_rows[t] = static_cast<double>(static_cast<float>(queries[first * d + t]));
    }
    kernels::project(with.query_rows.data(), (length + 3) / 4 * 4, d, map.query_map.data(), map.width,
                     with.projected.data());
    std::fill(with.fired_share.begin(), with.fired_share.end(), -infinity);
    with.look_out(length);
    with.is_loaded =
        with.features.load(length, [&](std::size_t i, std::size_t r) { return with.projected[i * map.width + r]; });
    for (std::size_t c = 0; c < map.content.clusters; ++c) {
      if (!std::isinf(with.residues[c])) {
        for (std::size_t i = 0; i < length; ++i) {
          double& residue = sums.residues[first + i];
          residue = std::max(residue, with.outlooks[c * query_block + i].residue);
        }
      }
      // No key, or what rounding left of keys that went.
      if (with.weights[c] > 0) with.add_cluster(c, first, length, sums, residuals);
    }
    for (std::size_t i = 0; i < length; ++i) {
      const std::span<const double> query = std::span<const double>(with.query_rows).subspan(i * d, d);
      if (with.exact.count > 0) {
        const double reference = with.exact.add(query, dv);
        add_sums(sums, first + i, reference, with.exact.sums.data());
      }
      if (residuals != nullptr && with.sample.count > 0) {
        const double reference = with.sample.add(query, dv);
        add_sums(*residuals, first + i, reference, with.sample.sums.data());
      }
      const double denominator = sums.denominators[first + i];
      if (with.fired_share[i] - sums.references[first + i] > std::log(fallback_share * denominator)) ++fired;
    }
  }
  if (fallbacks != nullptr) *fallbacks = fired;
  return sums;
}

void AnisotropicReader::widen_range(std::span<const double> value) {
  Implementation& with = *implementation_;
  require_equal({"AnisotropicReader::widen_range", "value.size()", "dv"}, value.size(), with.low.size());
  for (std::size_t c = 0; c < value.size(); ++c) {
    with.low[c] = std::min(with.low[c], value[c]);
    with.high[c] = std::max(with.high[c], value[c]);
  }
}

AnisotropicAnswers AnisotropicReader::finish(const AttentionSums& sums, const AttentionSums* residuals) const {
  const Implementation& with = *implementation_;
  const std::size_t dv = with.low.size();
  require_equal({"AnisotropicReader::finish", "sums.dv", "dv"}, sums.dv, dv);
  if (residuals != nullptr) {
    require_equal({"AnisotropicReader::finish", "residuals->count", "sums.count"}, residuals->count, sums.count);
  }
  const double error_floor = with.calibration.map().content.error_floor;
  AnisotropicAnswers answers;
  answers.outputs = {sums.count, dv, std::vector<double>(sums.count * dv, 0)};
  if (residuals != nullptr) answers.errors.assign(sums.count, 0);
  for (std::size_t i = 0; i < sums.count; ++i) {
    const double denominator = sums.denominators[i];
    if (!(denominator > 0) || !std::isfinite(sums.references[i])) continue;
    double* output = answers.outputs.values.data() + i * dv;
    double norm = 0;
    for (std::size_t c = 0; c < dv; ++c) {
      const double average = sums.numerators[i * dv + c] / denominator;
      output[c] = with.low[c] <= with.high[c] ? std::clamp(average, with.low[c], with.high[c]) : average;
      norm += output[c] * output[c];
    }
    if (residuals == nullptr) continue;
    const double scale = with.sample_doubt * std::exp(residuals->references[i] - sums.references[i]) / denominator;
    double error = 0;
    for (std::size_t c = 0; c < dv; ++c) {
      const double part = scale * (residuals->numerators[i * dv + c] - output[c] * residuals->denominators[i]);
      error += part * part;
    }
    // Rows are kept as floats: scores are off by the rounding of their terms, also where no row is in the features.
    double rounding = 0x1p-23 * (1 + std::abs(sums.references[i]));
    rounding += std::exp(std::min(sums.residues[i] - sums.references[i], 700.0)) / denominator;
    if (norm > 0) {
      answers.errors[i] = std::sqrt(error / norm + error_floor * error_floor + rounding * rounding);
    } else if (error > 0) {
      answers.errors[i] = infinity;
    }
  }
  return answers;
}

AnisotropicAnswers AnisotropicReader::answer(std::span<const double> queries, bool with_errors) {
  AttentionSums residuals;
  std::uint64_t fallbacks = 0;
  const AttentionSums sums = this->sums(queries, with_errors ? &residuals : nullptr, &fallbacks);
  AnisotropicAnswers answers = finish(sums, with_errors ? &residuals : nullptr);
  answers.fallbacks = fallbacks;
  return answers;
}

}  // namespace weir
