#pragma once

#include <cstdint>
#include <vector>

#include "weir/attention/rows_view.hpp"
#include "weir/dense_matrix.hpp"

namespace weir {

// Exact softmax attention in doubles:
//
//     y_i = sum_j exp(q_i . k_j) v_j / sum_j exp(q_i . k_j)
//
// Queries come with their scale (1 / sqrt(d), say) multiplied in. Blocks of queries meet blocks of keys in matrix
// products. A running maximum of the scores (Milakov and Gimelshein 2018) keeps every exponential at most 1, so that no
// score that is finite overflows. Time O(n_q n_k (d + dv)), memory O(n_q dv) besides a block a thread.

struct ExactOptions {
  bool causal = false;  ///< Query at position t sees the keys at positions 0 .. t only.
  /// With `causal`: query t sees the `window` keys t - window + 1 .. t only. 0: no limit.
  std::uint64_t window = 0;
  std::uint64_t first_query = 0;  ///< The position of query 0 of the view; only differences to keys matter.
  std::uint64_t first_key = 0;    ///< The position of key 0 of the view.
  std::uint32_t threads = 1;      ///< 1 to 1024. The result does not depend on it.
};

/// Attention of queries over a part of the keys. Parts over disjoint keys are merged, in any order.
struct PartialAttention {
  std::vector<double> maxima;        ///< For each query the largest score; -infinity where it saw no key.
  std::vector<double> denominators;  ///< For each query sum_j exp(score_j - maximum); 0 where it saw no key.
  DenseMatrix numerators;            ///< queries x dv: sum_j exp(score_j - maximum) v_j.
};

/// Attention of `q` (n_q x d) over the keys `k` (n_k x d) and values `v` (n_k x dv). No keys are allowed. Throws
/// UsageError for shapes that do not fit, no columns, a window without `causal`, or a number of threads out of range.
/// Throws InputError that names the matrix and the row (its position) with a number that is not finite, and for a score
/// that is larger than doubles are.
[[nodiscard]] PartialAttention partial_attention(RowsView q, RowsView k, RowsView v, const ExactOptions& options = {});

/// Adds the keys of `other` to `part`. Throws UsageError when they are not of equally many queries and columns.
void merge(PartialAttention& part, const PartialAttention& other);

/// Expresses `part` relative to the given maxima, none of which may be smaller than the part's own. Parts relative to
/// the same maxima are merged by adding their denominators and numerators: for a reduction over ranks, take the largest
/// maxima over all ranks, rescale each part, then sum. Throws UsageError when there are other than one maximum for each
/// query, or one is too small.
void rescale(PartialAttention& part, const std::vector<double>& maxima);

/// The outputs, queries x dv. Throws InputError that names the first query that saw no key.
[[nodiscard]] DenseMatrix finish(const PartialAttention& part);

/// finish(partial_attention(...)).
[[nodiscard]] DenseMatrix exact_attention(RowsView q, RowsView k, RowsView v, const ExactOptions& options = {});

/// Throws InputError "NAME: row I, column J is NAN, expected a finite number" for the first number of `rows` that is
/// not finite, where I is numbers[i]; UsageError when the view's numbers are not rows * columns.
void require_finite_rows(RowsView rows, const char* name, const RowNumbers& numbers = {});

}  // namespace weir
