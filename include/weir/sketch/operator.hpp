#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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
  static constexpr std::size_t capacity = 128;
  /// Lanes are worked on in blocks of at most this many, so that the scales of a chunk stay in the first-level cache.
  static constexpr std::uint32_t lane_block = 16;

  /// Deltas that make the signed deltas the signs.
  static constexpr std::array<double, capacity> ones = [] {
    std::array<double, capacity> filled{};
    filled.fill(1.0);
    return filled;
  }();

  explicit PhiColumns(const SketchConfig& config);

  AlignedVector<std::uint64_t> cells;   ///< [level][row][t], `capacity` for t: number of the cell times its size.
  AlignedVector<double> signed_deltas;  ///< [row][t]: the key's delta times its sign in that row.
  AlignedVector<float> scales;          ///< [t][lane of the block].
  AlignedVector<std::uint64_t> words;   ///< Scratch for the hashing.
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

  /// Cells of keys (at level 0) or of groups (above), and at level 0 the signed deltas; keys.size() <=
  /// PhiColumns::capacity. At levels above 0, `keys` are group numbers and `deltas` is not looked at.
  void locate(std::uint32_t level, std::span<const std::uint64_t> keys, std::span<const double> deltas,
              PhiColumns& columns) const;
  /// Cells of keys at level 0 and of their groups at all levels above, and the signed deltas.
  void locate_all(std::span<const std::uint64_t> keys, std::span<const double> deltas, PhiColumns& columns) const;

 private:
  SketchConfig config_;
  std::uint64_t cell_size_;
  std::uint32_t field_bits_;                          // bits of a word that a row takes
  std::uint32_t fields_per_word_;                     // rows that share a word
  std::vector<std::vector<WordFunction>> row_words_;  // [level][word]
  ScaleFunction scales_;
};

}  // namespace weir
