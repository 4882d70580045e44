#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/attention/rows_view.hpp"

namespace weir {

/// How far approximate outputs are from exact ones.
struct OutputErrors {
  double frobenius = 0;           ///< ||approximate - exact||_F / ||exact||_F.
  double median = 0;              ///< Of the relative errors of the queries.
  double percentile_99 = 0;       ///< Of them: at least 99% are not larger.
  double largest = 0;             ///< Of them.
  std::vector<double> each = {};  ///< The relative errors of the queries, in their order.
};

/// For each row (query) ||approximate_i - exact_i||_2 / ||exact_i||_2: 0 where both norms are 0, infinity where only
/// the lower one is, or where an output is not finite. Throws UsageError when the shapes differ.
[[nodiscard]] std::vector<double> query_errors(RowsView exact, RowsView approximate);
/// For each column ||approximate - exact||_2 / ||exact||_2, with the same conventions: what the guarantee of sparse
/// outputs is about.
[[nodiscard]] std::vector<double> column_errors(RowsView exact, RowsView approximate);
/// The value that a share of `share` (0 to 1) of the numbers do not exceed: number ceil(share * size) of them in
/// ascending order, the first where that is 0. Throws UsageError for no numbers, or a share out of range.
[[nodiscard]] double quantile(std::vector<double> numbers, double share);
/// All of them. Throws UsageError when the shapes differ, or for no rows.
[[nodiscard]] OutputErrors compare_outputs(RowsView exact, RowsView approximate);

/// For each column ||y - y_k||_2 / ||y||_2, with y_k the best approximation by k non-zeros: the k entries that are
/// largest in magnitude. No k-sparse output can have a smaller error. 0 where the column is 0 or k >= rows.
[[nodiscard]] std::vector<double> best_sparse_errors(RowsView exact, std::uint64_t k);
/// The same for whole rows: relative Frobenius error of the k rows with the largest norms.
[[nodiscard]] double best_rows_error(RowsView exact, std::uint64_t k);
/// Relative Frobenius error of best_sparse_errors' approximations of all columns together.
[[nodiscard]] double best_sparse_error(RowsView exact, std::uint64_t k);
/// Relative Frobenius error of answering every query by the mean output: what knowing nothing of queries costs.
[[nodiscard]] double mean_only_error(RowsView exact);

}  // namespace weir
