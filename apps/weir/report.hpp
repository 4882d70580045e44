#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weir/names.hpp"
#include "weir/state/problem.hpp"
#include "weir/state/question.hpp"

namespace weir::app {

/// The end of an epoch of a running job, about which an answer is.
struct EpochStamp {
  std::uint64_t number = 0;         ///< From 1.
  double time = 0;                  ///< Seconds since 1970, UTC.
  bool is_final = false;            ///< No other comes after it.
  bool is_whole = true;             ///< False in the middle of an epoch: an answer that was asked for, or the last one.
  std::uint64_t window_epochs = 1;  ///< Epochs that the answer is about.
  std::uint64_t all_updates = 0;    ///< Since the stream began, also those that a window has left behind.
  std::uint64_t checkpoint = 0;     ///< The last one that is on disk; 0 where there is none.

  bool operator==(const EpochStamp&) const = default;
};
/// 1795959756.25 as "2026-11-29T13:42:36.250Z".
[[nodiscard]] std::string time_text(double unix_seconds);

/// What was done, apart from the problem and the answer.
struct Run {
  std::uint64_t ranks = 1;
  std::uint64_t updates = 0;               ///< Events that were ingested, by all ranks.
  std::uint64_t skipped = 0;               ///< Bad lines that were skipped.
  std::optional<bool> exact_sums = {};     ///< State::has_exact_sums(), where a sketch was kept.
  std::optional<std::string> metric = {};  ///< Where rows are drawn: "norm", "leverage" or the path of M.
  // Wall-clock time of the phases, the slowest rank's.
  double ingest_seconds = 0;
  double merge_seconds = 0;
  double query_seconds = 0;
  std::optional<EpochStamp> epoch = {};  ///< Of a job that is still running, or was asked to answer while it ran.
};

/// The names of indices, and of the second indices of pairs.
struct LabelMaps {
  std::map<std::uint64_t, std::string> rows = {};
  std::map<std::uint64_t, std::string> columns = {};

  [[nodiscard]] bool empty() const { return rows.empty() && columns.empty(); }
};

/// Adds the names that are known of the rows of the first operand that streams, where these are indices of y, to those of
/// `entries` that have no label.
void add_names(const Problem& problem, const NameTable& names, const std::vector<EntryIndex>& entries,
               LabelMaps& labels);

/// Puts the moment of an answer in front of the fields of a JSON object, which is `Json`: nlohmann::ordered_json.
template <class Json>
void add_epoch(Json& json, const EpochStamp& epoch) {
  json["epoch"] = epoch.number;
  json["time"] = epoch.time;
  json["time_text"] = time_text(epoch.time);
  json["final"] = epoch.is_final;
  json["whole"] = epoch.is_whole;
  json["window_epochs"] = epoch.window_epochs;
  json["all_updates"] = epoch.all_updates;
  if (epoch.checkpoint > 0) json["checkpoint"] = epoch.checkpoint;
}

/// The answer of `weir sample`.
struct SampleReport {
  Problem problem;
  Run run;
  Answer answer;
  std::uint64_t wanted = 0;  ///< Samples that were asked for.
  bool without_replacement = false;
  std::optional<SoftmaxChoice> softmax = {};  ///< The law, where that was asked for.
  LabelMaps labels = {};
};

/// An inner product <y, z>.
struct InnerProductReport {
  std::string other;  ///< Where z comes from: the path of its state.
  Estimate estimate;
};

/// The answer of `weir query`: whatever was asked for.
struct QueryReport {
  Problem problem;
  Run run;
  Answer answer;
  std::vector<InnerProductReport> inner = {};
  LabelMaps labels = {};
};

/// The object that JSON and CSV are made of (json_text(), csv_text()). The index of an entry of a matrix is [i1, i2], and so is its
/// label, with null where there is none. 64-bit integers are exact; those of 2^53 or more, which many readers of JSON round,
/// stand as text beside them ("index_text", "seed_text"); a negative zero is 0. Throws InputError naming the field when a number is not finite (entries so large that
/// their squares overflow).
[[nodiscard]] nlohmann::ordered_json to_json(const SampleReport& report);
[[nodiscard]] nlohmann::ordered_json to_json(const QueryReport& report);

/// A heading and an aligned table for a terminal of `width` columns (80 or more). Labels are cut to fit, and of drawn rows
/// as many entries are shown as fit; indices and numbers are not cut. Ends with a newline.
[[nodiscard]] std::string to_table(const SampleReport& report, std::size_t width = 100);
[[nodiscard]] std::string to_table(const QueryReport& report, std::size_t width = 100);

// Texts of the tables that pictures show as well.

/// 12345 as "12,345".
[[nodiscard]] std::string grouped(std::uint64_t value);
/// "1 draw", "2,000 draws".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view noun);
/// "1.5 +- 0.2".
[[nodiscard]] std::string with_bound(const Estimate& estimate);
/// The name of the index; null where it has none.
[[nodiscard]] const std::string* find_label(std::uint64_t index, const std::map<std::uint64_t, std::string>& labels);
/// "product model, 50,803 entries, x of 58; 387,564 updates on 4 ranks".
[[nodiscard]] std::string measured_text(const Problem& problem, const Run& run);
/// What probabilities are in proportion to: "|y_i|^2", "exp(0.5 y_i)".
[[nodiscard]] std::string law_text(const SampleReport& report);
/// Why there is nothing to draw from.
[[nodiscard]] std::string_view zero_text(const Problem& problem);
/// Why fewer samples came than were wanted; empty when all came, or when none did.
[[nodiscard]] std::string shortfall(const SampleReport& report);
/// How many lanes failed, and why: a line for each reason.
[[nodiscard]] std::string failures_text(const std::vector<FailedLane>& failed);

/// The method of a problem, as --method has it; none where its model has only one.
[[nodiscard]] std::optional<std::string> method_of(const Problem& problem);
/// Bytes of all tables of the sketch, or of the sketches of the operands.
[[nodiscard]] std::uint64_t sketch_bytes(const Problem& problem);

}  // namespace weir::app
