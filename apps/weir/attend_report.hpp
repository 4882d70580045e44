#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "report.hpp"
#include "weir/attention/comparison.hpp"

namespace weir::app {

/// Errors of the queries, relative l2, and their quantiles.
struct EstimatedErrors {
  double median = 0;
  double percentile_99 = 0;
  double largest = 0;
  std::vector<double> each = {};  ///< In the order of the queries.
};
/// The quantiles of these errors. Throws UsageError where there are none.
[[nodiscard]] EstimatedErrors estimated_errors(std::vector<double> each);

/// Outputs of a method beside the exact ones.
struct ComparedMethod {
  OutputErrors errors;
  std::uint64_t kept = 0;      ///< Rows or features.
  std::uint64_t bytes = 0;     ///< Of what is kept.
  double seconds_rows = 0;     ///< To take all keys and values.
  double seconds_queries = 0;  ///< To answer all queries.
};

struct Comparison {
  OutputErrors errors;
  double mean_only = 0;  ///< Relative Frobenius error of answering every query by the mean output.
  std::optional<double> best_k = {};
  double exact_seconds = 0;  ///< Exact attention, on all ranks.
  std::map<std::string, ComparedMethod> peers = {};
};

/// What `weir attend` tells.
struct AttendReport {
  std::optional<EpochStamp> epoch = {};  ///< Of an answer while tokens come.
  std::string mode;
  std::uint64_t n = 0;  ///< Tokens.
  std::uint64_t queries = 0;
  std::uint64_t d = 0;
  std::uint64_t dv = 0;
  double scale = 1;
  std::uint64_t ranks = 1;
  std::uint64_t updates = 0;
  std::uint64_t skipped = 0;
  std::uint64_t seed = 0;
  std::uint32_t degree = 0;
  std::uint64_t features = 0;
  std::uint64_t exact_rows = 0;
  std::uint32_t clusters = 0;
  std::optional<std::uint64_t> sparsity = {}, m1 = {}, m2 = {};  ///< Where outputs are sparse, or sketched.
  std::optional<std::uint64_t> window = {};  ///< Recent rows that are kept exactly, where attention is causal.
  std::uint32_t directions = 0;              ///< That are kept.
  std::uint32_t varied_directions = 0;       ///< In which scores vary by more than .1.
  std::uint64_t calibration_bytes = 0;
  std::uint64_t state_bytes = 0;
  std::uint64_t peak_bytes = 0;
  double calibration_seconds = 0;
  double ingest_seconds = 0;
  double merge_seconds = 0;
  double query_seconds = 0;
  double recover_seconds = 0;  ///< Of sparse outputs from their sketch.
  std::uint64_t fallbacks = 0;
  std::optional<EstimatedErrors> estimated = {};
  std::optional<Comparison> comparison = {};

  /// Directions beyond which the method is no better than samples.
  static constexpr std::uint32_t most_varied_directions = 20;
  [[nodiscard]] std::uint64_t cache_bytes() const noexcept { return 4 * n * (d + dv); }  ///< Keys and values in fp32.
};

/// The object that JSON and CSV are made of; null where a number is not finite.
[[nodiscard]] nlohmann::ordered_json to_json(const AttendReport& report);
/// For a terminal; ends with a newline.
[[nodiscard]] std::string to_table(const AttendReport& report);

}  // namespace weir::app
