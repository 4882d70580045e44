#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "weir/random/scale.hpp"
#include "weir/random/source.hpp"
#include "weir/sketch/aligned.hpp"
#include "weir/sketch/config.hpp"

namespace weir {

/// The non-zeros of Phi for a chunk of at most `capacity` keys: for each row a cell and a sign, and for each lane a
/// scale. Scratch, to be reused from chunk to chunk.
struct PhiColumns {
  static constexpr std::size_t capacity = 256;
  /// Lanes are worked on in blocks of at most this many, so that the scales of a chunk stay in the first-level cache.
  static constexpr std::uint32_t lane_block = 16;

  explicit PhiColumns(const SketchConfig& config);

  AlignedVector<std::uint64_t> cells;  ///< [level][row][t], `capacity` for t: number of the cell times its size.
  AlignedVector<double> signs;         ///< [row][t]: 1 or -1.
  AlignedVector<float> scales;         ///< [t][lane of the block].
  AlignedVector<std::uint64_t> bases;  ///< [t]: the word that the key's lanes share (ScaleFunction::fill_bases).
  AlignedVector<std::uint64_t> words;  ///< [word][t]: the hashes that rows share, of the level hashed last.
};

/// Where the rows of a level find their bits in PhiColumns::words: each row takes `of_row` of them, its sign above its
/// bucket; the first row of a word is uppermost.
struct RowBits {
  std::uint32_t first_row;     ///< Of the level, among the rows of all levels.
  std::uint32_t rows;          ///< Of the level.
  std::uint32_t rows_of_word;  ///< Rows that share a word.
  int of_row;                  ///< 1 + log2 of the number of buckets.
  std::uint64_t buckets;
  std::uint64_t cell_size;  ///< Below 2^32.
};

/// Phi itself: the random functions behind a configuration. Rows share words where their bits fit: a row takes 1 + log2
/// B bits of the upper 60 of a word, first row uppermost, its sign above its bucket; level k takes words number 16 k,
/// 16 k + 1, ... of the group key / group_size(k), as many as its rows need, and uses their bucket bits only: signs
/// are always those of the item, row by row.
class SketchOperator {
 public:
  /// For tables whose cells are `lanes` doubles: PhiColumns::cells are offsets into the table.
  explicit SketchOperator(const SketchConfig& config) : SketchOperator(config, config.lanes) {}
  /// For tables whose cells have another size, below 2^32; with size 1, PhiColumns::cells are the numbers of the cells.
  SketchOperator(const SketchConfig& config, std::uint64_t cell_size);

  [[nodiscard]] const SketchConfig& config() const noexcept { return config_; }
  [[nodiscard]] const ScaleFunction& scales() const noexcept { return scales_; }

  /// The random bits that Phi is a function of, as they are stored. They follow from the seed, a 64-bit number.
  [[nodiscard]] std::uint64_t stored_random_bits() const noexcept;

  // All of these throw UsageError for more than PhiColumns::capacity keys. `columns` must be of this configuration.

  /// The first half of locate(): fills columns.words.
  [[nodiscard]] RowBits hash(std::uint32_t level, std::span<const std::uint64_t> keys, PhiColumns& columns) const;
  /// Cells and signs of keys (at level 0), or cells of groups, of which `keys` are the numbers (above).
  void locate(std::uint32_t level, std::span<const std::uint64_t> keys, PhiColumns& columns) const;
  /// Cells and signs of keys at level 0, and cells of their groups at all levels above.
  void locate_all(std::span<const std::uint64_t> keys, PhiColumns& columns) const;
  /// Cells of the groups of keys at all levels above 0.
  void locate_groups(std::span<const std::uint64_t> keys, PhiColumns& columns) const;
  /// Makes the scales of keys ready for the block of `count` lanes that begins at
  /// `first`; blocks are prepared in order, from lane 0 on. Where a value is returned, columns.bases are filled and
  /// loops compute the scales from them in passing, which hides most of their cost; else columns.scales are.
  [[nodiscard]] std::optional<MixedLanes> prepare_scales(std::span<const std::uint64_t> keys, std::uint32_t first,
                                                         std::uint32_t count, PhiColumns& columns) const;

 private:
  SketchConfig config_;
  std::uint64_t cell_size_;
  std::uint32_t field_bits_;                          // bits of a word that a row takes
  std::uint32_t fields_per_word_;                     // rows that share a word
  std::vector<std::vector<WordFunction>> row_words_;  // [level][word]
  ScaleFunction scales_;
};

}  // namespace weir
