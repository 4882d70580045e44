#include "weir/sketch/operator.hpp"

#include <algorithm>
#include <bit>
#include <cassert>

#include "sketch/kernels.hpp"

namespace weir {

namespace {

/// Bits of a word that rows may share: the top ones, all of them good in both sources.
constexpr std::uint32_t usable_bits = 60;

const SketchConfig& validated(const SketchConfig& config) {
  config.validate();
  return config;
}

}  // namespace

PhiColumns::PhiColumns(const SketchConfig& config)
    : cells(config.levels * config.rows * capacity),
      signed_deltas(config.rows * capacity),
      scales(capacity * std::min(config.lanes, lane_block)),
      words(capacity) {}

SketchOperator::SketchOperator(const SketchConfig& config)
    : config_(validated(config)),
      field_bits_(static_cast<std::uint32_t>(std::bit_width(config.buckets))),
      fields_per_word_(usable_bits / field_bits_),
      words_((config.rows + fields_per_word_ - 1) / fields_per_word_),
      scales_(config.randomness, config.seed, config.independence, config.law, config.p, config.lanes) {
  for (std::uint32_t level = 0; level < config.levels; ++level) {
    for (std::uint32_t word = 0; word < words_; ++word) {
      row_words_.emplace_back(config.randomness, config.seed, Purpose::row, 16 * level + word, config.independence);
    }
  }
}

void SketchOperator::locate(std::uint32_t level, std::span<const std::uint64_t> keys, std::span<const double> deltas,
                            PhiColumns& columns) const {
  assert(keys.size() <= PhiColumns::capacity);
  const std::size_t count = keys.size();
  for (std::uint32_t row = 0; row < config_.rows; ++row) {
    const std::uint32_t field = row % fields_per_word_;
    if (field == 0) {
      row_words_[level * words_ + row / fields_per_word_].fill(keys, std::span(columns.words).first(count));
    }
    const auto below = static_cast<int>(64 - (field + 1) * field_bits_);
    kernels::cells_of_words(columns.words.data(), count,
                            {.shift = below,
                             .mask = config_.buckets - 1,
                             .lanes = config_.lanes,
                             .first = (level * config_.rows + row) * config_.buckets * config_.lanes},
                            columns.cells.data() + (level * config_.rows + row) * PhiColumns::capacity);
    if (level == 0) {
      kernels::sign_deltas(columns.words.data(), count, below + static_cast<int>(field_bits_) - 1, deltas.data(),
                           columns.signed_deltas.data() + row * PhiColumns::capacity);
    }
  }
}

}  // namespace weir
