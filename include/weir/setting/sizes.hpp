#pragma once

#include <cstdint>
#include <optional>

#include "weir/random/source.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/state/problem.hpp"

namespace weir {

/// What a user wants of a sketch, and the sizes that the user has set. A setting chooses the SketchConfig from it.
struct SizeRequest {
  // Draws.
  std::uint32_t samples = 8;
  double failure = 0.05;  ///< Probability that fewer come out, in (0, 1).
  double epsilon = 0.1;   ///< Relative distortion of the law; of point answers their error as a share of the norm.
  bool without_replacement = false;
  double p = 2;  ///< The law |y_i|^p: 0.5, 1, 2, or 4 of lifted rows.
  double threshold = 1;
  bool leverage = false;  ///< Rows are drawn by leverage scores, which need a larger Gram sketch.
  std::optional<PrecisionTarget> precision = {};  ///< The sketch is for Algorithm 2.

  // Answers in place of draws: norm, points, top entries; and moments, which are estimated through draws.
  bool for_answers = false;
  bool with_top = false;
  bool with_moments = false;

  // Overrides of what the above would choose.
  std::optional<std::uint32_t> rows = {};  ///< Of the sketch.
  std::optional<std::uint64_t> buckets = {};
  std::optional<std::uint32_t> lanes = {};
  std::optional<std::uint32_t> levels = {};
  std::optional<std::uint64_t> gram_buckets = {};
  std::optional<bool> exact_gram = {};
  Randomness randomness = Randomness::mix;
  std::uint64_t seed = 0;

  /// 2 for the law |y_i|^4, which lifts rows; else 1.
  [[nodiscard]] std::uint32_t degree() const noexcept { return p == 4.0 ? 2 : 1; }
};

/// The number of rows where nobody has counted them: as many as the hash functions tell apart, 2^63 at most.
[[nodiscard]] std::uint64_t most_keys(const SizeRequest& request) noexcept;

/// A sketch of a y of length `dimension`. Throws UsageError when it is impossible.
[[nodiscard]] SketchConfig vector_config(SizeRequest request, std::uint64_t dimension);
/// The same for a y seen as a matrix of `rows` rows of `columns` entries, whose groups are its rows.
[[nodiscard]] SketchConfig matrix_config(const SizeRequest& request, std::uint64_t rows, std::uint64_t columns);
/// The sketches of operands whose factors have n1 and n2 rows, for pairs.
[[nodiscard]] PairsConfig pairs_config(const SizeRequest& request, std::uint64_t n1, std::uint64_t n2);
/// The sketch of an A of n rows of d columns, of which rows are drawn.
[[nodiscard]] PairsConfig rows_config(const SizeRequest& request, std::uint64_t n, std::uint64_t d);

}  // namespace weir
