#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "weir/random/scale.hpp"
#include "weir/random/source.hpp"

namespace weir {

/// Everything that determines the linear operator Phi (m x n, m = table_size()). Two sketches can
/// be added, subtracted or compared exactly when their configurations are equal.
struct SketchConfig {
  std::uint64_t dimension = 0;  ///< n: keys are 0 .. n-1; 1 to 2^63.
  std::uint32_t rows = 5;       ///< R: independent repetitions, medians are taken over them; odd, 1 to 15.
  std::uint64_t buckets = 512;  ///< B: buckets of a row; a power of two, 2 to 2^32.
  std::uint32_t lanes = 16;     ///< L: doubles of a cell, lane 0 unscaled; 1, 2 or a multiple of 8, at most 4096.
  std::uint32_t levels = 1;     ///< 1: items only; 2, 3: tables of groups of items on top, for sublinear search.
  ScaleLaw law = ScaleLaw::exponential;     ///< Law of the scales of lanes 1 .. L-1.
  double p = 2.0;                           ///< The exponent of the law of the draws: 2, 1 or 0.5.
  Randomness randomness = Randomness::mix;  ///< Where buckets, signs and scales come from.
  std::uint32_t independence = 4;           ///< k of Randomness::kwise, 4 to 64; ignored by mix.
  std::uint64_t seed = 0;                   ///< Any value.
  /// n2 where y is a matrix of n / n2 rows, its entry (i1, i2) at key i1 * n2 + i2: then a group is a row, and levels are
  /// 2 at most. 0 where y is no matrix: then the levels divide the bits of a key into about equal parts.
  std::uint64_t row_length = 0;

  bool operator==(const SketchConfig&) const = default;

  /// Throws UsageError that names the first field out of its range, or says that the table would not fit in memory
  /// addresses.
  void validate() const;
  /// Rows of the tables of `level`: `rows`, but at the top level of groups the majority of that, made odd (3 of 5),
  /// where it has at most B^2 / 8 groups: they need only lead to the items. Of u groups about 3 u / B^2 collide with a
  /// heavy one in two rows of 3 and look like it, and each of those costs a query as much as the right one.
  [[nodiscard]] std::uint32_t rows_at(std::uint32_t level) const noexcept;
  /// Rows of all levels below `level` together: the row of the table at which that level begins.
  [[nodiscard]] std::uint32_t rows_below(std::uint32_t level) const noexcept;
  /// Number of doubles of the table, laid out [level][row][bucket][lane], the levels one after the other. Requires a
  /// valid configuration.
  [[nodiscard]] std::size_t table_size() const noexcept;
  /// Items of a group at `level`: group k has the keys from k * group_size(level) on. 1 at level 0, row_length or a
  /// power of two above.
  [[nodiscard]] std::uint64_t group_size(std::uint32_t level) const noexcept;
  /// Number of groups at `level`; the dimension at level 0.
  [[nodiscard]] std::uint64_t groups(std::uint32_t level) const noexcept;
  /// 64-bit digest of all fields and of the version of the construction: equal on ranks that may merge.
  [[nodiscard]] std::uint64_t fingerprint() const noexcept;
};

/// Most items, or groups of items, that a query scans one by one: those of the top level.
inline constexpr std::uint64_t longest_scan = std::uint64_t{1} << 40U;

/// Throws UsageError when a query of a sketch of this (valid) configuration would never end: when its top level has more
/// than longest_scan items or groups. For whoever makes or loads a sketch that will be queried.
void require_answerable(const SketchConfig& config);

/// Human-readable account of the first field in which two configurations differ ("seed: 1 against 2"); empty when
/// equal.
[[nodiscard]] std::string describe_difference(const SketchConfig& a, const SketchConfig& b);

}  // namespace weir
