#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "weir/attention/rows_view.hpp"
#include "weir/dense_matrix.hpp"

namespace weir {

// What a user could have instead of our states, at the same bytes. All are implemented as favourably as their authors
// mean them: a benchmark against a crippled rival is a defect. A number that is kept (of a key, a value, a weight, a
// state) counts as 4 bytes; random directions that follow from a seed count nothing.

enum class Peer : std::uint8_t {
  /// A uniform sample of rows without replacement (a reservoir where causal), and softmax over them.
  uniform,
  /// Rows drawn with probability proportional to the norm of v (priority sampling without replacement: Duffield, Lund,
  /// Thorup 2007), weighted by the inverse of their inclusion probabilities.
  value_norm,
  /// The first four tokens and the last ones (StreamingLLM: Xiao et al. 2023).
  window,
  /// Positive random features (FAVOR+: Choromanski et al. 2021) in orthogonal blocks. Queries and keys are centred on
  /// their means and mapped so that their covariances (their variances, where the map would need more than a quarter of
  /// the budget) are equal.
  random_features,
  /// Halving of blocks by a self-balancing walk on the kernel of keys times that of values (BalanceKV: Han et al.
  /// 2025), merged and reduced as the stream goes.
  balance,
};

/// All of them, in the order of the enumeration.
[[nodiscard]] std::span<const Peer> all_peers() noexcept;
/// "uniform", "value_norm", "window", "random_features", "balance".
[[nodiscard]] std::string_view to_string(Peer peer) noexcept;
/// Inverse of to_string. Throws UsageError that lists the known names.
[[nodiscard]] Peer parse_peer(std::string_view name);

struct PeerOptions {
  std::uint64_t budget = 65536;  ///< Bytes.
  bool causal = false;           ///< Query t is answered from rows 0 .. t; else all queries from all rows.
  std::uint64_t seed = 0;
};

struct PeerAnswer {
  DenseMatrix outputs;         ///< n_q x dv.
  std::uint64_t kept = 0;      ///< Rows, or random features.
  std::uint64_t bytes = 0;     ///< Of what is kept; at most the budget.
  double seconds_rows = 0;     ///< Time to take all keys and values.
  double seconds_queries = 0;  ///< Time to answer all queries.
};

/// Answers the queries `q` (n_q x d, scale multiplied in) from keys `k` (n_k x d) and values `v` (n_k x dv) by the
/// peer, which reads rows once, in order, and keeps no more than the budget. Deterministic given the seed. Where all
/// rows fit into the budget, all but random_features are exact. What is known of all rows beforehand favours the peers:
/// centres and variances of random_features and balance, the norms of value_norm; and what is kept is kept in doubles.
/// Throws UsageError for shapes that do not fit, for no keys, where causal for another number of queries than of keys,
/// and for a budget below 1 row or random feature (5 rows for window, 16 for balance). Throws InputError that names the
/// matrix and the row with a number that is not finite.
[[nodiscard]] PeerAnswer answer_by_peer(Peer peer, RowsView q, RowsView k, RowsView v, const PeerOptions& options);

// For tests, and for states of our own that sample.

/// Rows with their weights: what uniform, value_norm, window and balance keep.
struct WeightedRows {
  std::vector<std::uint64_t> rows;  ///< Ascending.
  std::vector<double> weights;      ///< sum_j weight_j exp(q.k_j) [1, v_j] stands for the sum over all rows.
};
/// What `peer` keeps of all rows, `count` of them at most. Throws UsageError for random_features, and for a count that
/// is too small, as above.
[[nodiscard]] WeightedRows choose_rows(Peer peer, RowsView k, RowsView v, std::uint64_t count, std::uint64_t seed);

/// log of the `features` positive random features of each row x (centred): w_f . x - ||x||^2 / 2, for orthogonal
/// directions w_f with the norms of Gaussian vectors. exp(x.y) is the expectation of the mean over f of the products of
/// the features of x and y. Rows x features. Throws UsageError for no features or no columns.
[[nodiscard]] DenseMatrix random_feature_logs(RowsView rows, std::uint64_t features, std::uint64_t seed);

}  // namespace weir
