#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "weir/random/scale.hpp"
#include "weir/random/source.hpp"

namespace weir {

/// Everything that determines the linear operator Phi of a sketch, a matrix of m = table_size() rows and n columns. Two
/// sketches can be added, subtracted or compared if and only if their configurations are equal.
///
/// The sketch is a table of `rows` rows; each row has `buckets` buckets, and a bucket holds one cell of `lanes` numbers. An
/// item (a coordinate of y) is added to one cell of every row. Lane 0 of the cells holds y itself; in every other lane each
/// item is multiplied by a random scale of its own, and each such lane yields one draw. With more than one level there are
/// further tables, in which the items of a group share their cells, so that a search looks at groups before items.
struct SketchConfig {
  std::uint64_t dimension = 0;  ///< n: keys are 0 .. n-1; 1 to 2^63.
  std::uint32_t rows =
      5;  ///< R: rows of the table, independent repetitions; estimates are medians over them. Odd, 1 to 15.
  std::uint64_t buckets = 512;  ///< B: buckets of a row; a power of two, 2 to 2^32.
  std::uint32_t lanes = 16;     ///< L: numbers in a cell; 1, 2 or a multiple of 8, at most 4096.
  std::uint32_t levels = 1;  ///< 1: a query looks at all items. 2, 3: it looks at groups first, and is sublinear in n.
  ScaleLaw law = ScaleLaw::exponential;     ///< Law of the scales of lanes 1 .. L-1.
  double p = 2.0;                           ///< The exponent of the law of the draws: 2, 1 or 0.5.
  Randomness randomness = Randomness::mix;  ///< Where buckets, signs and scales come from.
  std::uint32_t independence = 4;           ///< k of Randomness::kwise, 4 to 64; ignored by the others.
  std::uint64_t seed = 0;                   ///< Any value.
  /// Where y is a matrix of n / n2 rows, with its entry (i1, i2) at key i1 * n2 + i2: n2. A group of items is then a row of
  /// that matrix, and there are 2 levels at most. Otherwise 0: the levels divide the bits of a key into about equal parts.
  std::uint64_t row_length = 0;

  bool operator==(const SketchConfig&) const = default;

  /// Throws UsageError that names the first field out of its range, or says that the table would not fit in memory
  /// addresses.
  void validate() const;
  /// Rows of the table at `level`. This is `rows`, except at the top level of groups when that has at most B^2 / 8 groups:
  /// there it is the majority of `rows`, made odd (3 of 5). Fewer rows are enough, as the top level only has to lead to the
  /// items. Of u groups about 3 u / B^2 collide with a heavy one in two rows of 3 and look like it, and a query opens each of
  /// them in vain.
  [[nodiscard]] std::uint32_t rows_at(std::uint32_t level) const noexcept;
  /// Rows of all tables below `level` together.
  [[nodiscard]] std::uint32_t rows_below(std::uint32_t level) const noexcept;
  /// Number of doubles of the table, laid out [level][row][bucket][lane], the levels one after the other. Requires a
  /// valid configuration.
  [[nodiscard]] std::size_t table_size() const noexcept;
  /// Items of a group at `level`: group k has the keys from k * group_size(level) on. 1 at level 0, row_length or a
  /// power of two above.
  [[nodiscard]] std::uint64_t group_size(std::uint32_t level) const noexcept;
  /// Number of groups at `level`; the dimension at level 0.
  [[nodiscard]] std::uint64_t groups(std::uint32_t level) const noexcept;
  /// 64-bit digest of all fields and of the version of the construction. Ranks whose digests differ must not merge.
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
