#include "weir/sketch/operator.hpp"

#include <algorithm>
#include <bit>

#include "random/argument_checks.hpp"
#include "sketch/kernels.hpp"

namespace weir {

namespace {

/// Bits of a word that rows may share: the top ones, all of them good in both sources.
constexpr std::uint32_t usable_bits = 60;

std::uint32_t field_bits(const SketchConfig& config) {
  return static_cast<std::uint32_t>(std::bit_width(config.buckets));
}

std::uint32_t fields_per_word(const SketchConfig& config) { return usable_bits / field_bits(config); }

/// Words that `rows` rows take.
std::uint32_t words_of(std::uint32_t rows, const SketchConfig& config) {
  return (rows + fields_per_word(config) - 1) / fields_per_word(config);
}

void require_at_most_capacity(std::span<const std::uint64_t> keys) {
  require_at_most({"SketchOperator", "keys.size()", "PhiColumns::capacity"}, keys.size(), PhiColumns::capacity);
}

const SketchConfig& validated(const SketchConfig& config) {
  config.validate();
  return config;
}

}  // namespace

PhiColumns::PhiColumns(const SketchConfig& config)
    : cells(config.rows_below(config.levels) * capacity),
      signs(config.rows * capacity),
      scales(capacity * std::min(config.lanes, lane_block)),
      bases(capacity),
      words(capacity * words_of(config.rows, config)) {}

SketchOperator::SketchOperator(const SketchConfig& config, std::uint64_t cell_size)
    : config_(validated(config)),
      cell_size_(cell_size),
      field_bits_(field_bits(config)),
      fields_per_word_(fields_per_word(config)),
      row_words_(config.levels),
      scales_(config.randomness, config.seed, config.independence, config.law, config.p, config.lanes) {
  for (std::uint32_t level = 0; level < config.levels; ++level) {
    for (std::uint32_t word = 0; word < words_of(config.rows_at(level), config); ++word) {
      row_words_[level].emplace_back(config.randomness, config.seed, Purpose::row, 16 * level + word,
                                     config.independence);
    }
  }
}

std::uint64_t SketchOperator::stored_random_bits() const noexcept {
  std::uint64_t bits = scales_.stored_bits();
  for (const std::vector<WordFunction>& words : row_words_)
    for (const WordFunction& word : words) bits += word.stored_bits();
  return bits;
}

RowBits SketchOperator::hash(std::uint32_t level, std::span<const std::uint64_t> keys, PhiColumns& columns) const {
  require_at_most_capacity(keys);
  std::span<std::uint64_t> words(columns.words);
  for (const WordFunction& word : row_words_[level]) {
    word.fill(keys, words.first(keys.size()));
    words = words.subspan(PhiColumns::capacity);
  }
  return {.first_row = config_.rows_below(level),
          .rows = config_.rows_at(level),
          .rows_of_word = fields_per_word_,
          .of_row = static_cast<int>(field_bits_),
          .buckets = config_.buckets,
          .cell_size = cell_size_};
}

void SketchOperator::locate(std::uint32_t level, std::span<const std::uint64_t> keys, PhiColumns& columns) const {
  kernels::locate_rows(hash(level, keys, columns), keys.size(), columns);
}

void SketchOperator::locate_all(std::span<const std::uint64_t> keys, PhiColumns& columns) const {
  locate(0, keys, columns);
  locate_groups(keys, columns);
}

void SketchOperator::locate_groups(std::span<const std::uint64_t> keys, PhiColumns& columns) const {
  require_at_most_capacity(keys);
  std::array<std::uint64_t, PhiColumns::capacity> groups;
  for (std::uint32_t level = 1; level < config_.levels; ++level) {
    const std::uint64_t size = config_.group_size(level);
    if (std::has_single_bit(size)) {
      const int shift = std::countr_zero(size);
      for (std::size_t t = 0; t < keys.size(); ++t) groups[t] = keys[t] >> shift;
    } else {
      for (std::size_t t = 0; t < keys.size(); ++t) groups[t] = keys[t] / size;
    }
    locate(level, std::span<const std::uint64_t>(groups).first(keys.size()), columns);
  }
}

std::optional<MixedLanes> SketchOperator::prepare_scales(std::span<const std::uint64_t> keys, std::uint32_t first,
                                                         std::uint32_t count, PhiColumns& columns) const {
  require_at_most_capacity(keys);
  if (!scales_.is_mix() || count == 1) {
    scales_.fill(keys, first, count, columns.scales);
    return std::nullopt;
  }
  if (first == 0) scales_.fill_bases(keys, std::span(columns.bases).first(keys.size()));
  return scales_.mixed_lanes(first);
}

}  // namespace weir
