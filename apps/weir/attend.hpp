#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attend_report.hpp"
#include "printer.hpp"
#include "weir/attention/anisotropic.hpp"
#include "weir/attention/causal.hpp"
#include "weir/attention/recovery.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/engine/ingest.hpp"
#include "weir/engine/session.hpp"
#include "weir/io/file.hpp"
#include "weir/io/npy.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/state/problem.hpp"
#include "weir/state/state.hpp"
#include "weir/stream/reader.hpp"

// What the modes of `weir attend` have in common: options, the files of queries, keys and values, outputs.

namespace weir::app {

struct AttendOptions {
  std::string queries, keys, values;
  std::vector<std::string> streams;  ///< Events KV,i,*,key...,value...
  std::optional<std::uint64_t> tokens, query_count, d, dv;
  OnError on_error = OnError::stop;
  double progress_seconds = 0;
  std::optional<std::string> chosen_mode;
  std::string mode = "anisotropic";  ///< The one that is chosen, or follows from the saved state.
  std::string scale = "sqrt";
  std::uint64_t budget = 65536;
  std::string calibrate = "512";
  std::optional<std::uint32_t> clusters;
  std::optional<std::uint64_t> exact_rows;
  std::optional<std::uint32_t> directions;
  std::optional<std::uint32_t> degree;
  std::optional<std::uint64_t> seed;
  bool automatic = true;
  bool causal = false;
  std::optional<std::uint64_t> window;  ///< Recent rows that are kept exactly.
  std::uint64_t sliding = 0;            ///< Rows that a query sees, at most; 0: all.
  std::string state_path, save_path, output_path, errors_path, plot_path;
  // Of the modes with polynomial features.
  bool centre = false, mean_correct = false, row_recovery = false;
  std::uint64_t sparsity = 32;
  std::optional<std::uint64_t> m1, m2;
  double eps1 = 0.5, eps2 = 0.1;
  std::string psi = "ams";
  bool estimate = true;
  bool compare = false;
  PrintOptions print = {};
  std::shared_ptr<Printer> printer = {};  ///< On the root, when the run has begun.
  engine::Until every;                    ///< Answer at the end of each epoch.

  [[nodiscard]] bool has_epochs() const { return every.events || every.time; }
  [[nodiscard]] bool is_exact() const { return mode == "exact"; }
  [[nodiscard]] bool is_anisotropic() const { return mode == "anisotropic"; }
  /// paper, paired, collapsed and direct.
  [[nodiscard]] bool has_polynomials() const { return !is_exact() && !is_anisotropic(); }
  /// The outputs have few entries that are not zero.
  [[nodiscard]] bool is_sparse() const { return mode == "paper" || mode == "collapsed"; }
  [[nodiscard]] bool is_causal() const { return causal || sliding > 0; }
  /// Throws UsageError for options that contradict each other, whatever the mode.
  void check() const;
  /// The same for those that not every mode has. `is_of_outputs`: the saved state is that of a sketch of outputs.
  void check_mode(bool is_of_outputs) const;
};

/// The saved state that a run goes on from.
struct AttendStart {
  std::optional<State> state = {};  ///< On the root.
  Problem problem = {};             ///< Everywhere.
};

/// Sizes that the root has read from headers or options, on all ranks.
struct Shapes {
  std::uint64_t tokens = 0, queries = 0, d = 0, dv = 0;
  /// Arrays stay in their files. What events make up is held, and gathered first.
  bool tokens_in_arrays = false, queries_in_array = false;

  /// Bytes of all keys and values in doubles, on each rank, while they are gathered.
  [[nodiscard]] std::uint64_t token_bytes() const noexcept {
    return (tokens_in_arrays ? tokens * (d + dv) : tokens * 2 * (d + dv + 1)) * sizeof(double);
  }
  /// Bytes of the queries that each rank holds.
  [[nodiscard]] std::uint64_t query_bytes() const noexcept {
    return queries_in_array ? 0 : queries * (d + 1) * sizeof(double);
  }
};

/// Collective. `known` is the problem of a saved state, if there is one. Files of events are read once to see how many rows
/// they have, where no option says it. Throws UsageError or InputError on all ranks.
[[nodiscard]] Shapes shapes_of_inputs(const mpi::Communicator& communicator, const AttendOptions& options,
                                      const Problem* known);

/// A plain .npy file: it is read at any place.
[[nodiscard]] bool is_array(const std::string& path);
/// The first rows of a .npy file or a file of events of `operand`, `count` of them or fewer. Rows that leave are passed
/// over. Throws InputError for a pipe, which could not be read again.
[[nodiscard]] DenseMatrix first_rows(const std::string& path, std::uint64_t count, Operand operand, OnError on_error);
/// What a session reads keys and values from. `apart`: they may come as events of K and of V.
[[nodiscard]] engine::StreamSource stream_of_tokens(const AttendOptions& options, const Shapes& shapes, bool apart);

/// Rows first, first + 1, ... of keys and values.
struct LoadedRows {
  std::uint64_t first = 0;
  DenseMatrix keys, values;

  [[nodiscard]] TokenRows rows() const { return {.first = first, .keys = keys.values, .values = values.values}; }
};

/// Keys and values themselves, for exact attention and where it is causal. Arrays stay in their files; what events make up
/// is kept, on every rank.
class TokenFiles {
 public:
  /// Collective. Throws InputError where files are not of the shapes, and for a token that is there several times.
  TokenFiles(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes);
  /// Tokens that are there: they are numbered without those that are not.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Rows first .. end - 1; none where `end` is not above `first`.
  [[nodiscard]] LoadedRows rows(std::uint64_t first, std::uint64_t end) const;
  /// Calls `take` for rows first .. end - 1, a few thousand at a time.
  void for_rows(std::uint64_t first, std::uint64_t end, const std::function<void(const LoadedRows&)>& take) const;

 private:
  void load(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes);

  std::uint64_t count_ = 0;
  std::optional<NpyFile> key_file_, value_file_;
  DenseMatrix keys_, values_;
};

/// Queries, from an array or from events.
class Queries {
 public:
  /// Collective. Throws InputError where the file is not of the shapes, and for a query that is there several times.
  Queries(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes);
  /// False for a row that never came, or left again.
  [[nodiscard]] bool is_there(std::uint64_t query) const { return file_ || is_there_[query]; }
  /// Throws InputError that names the first one that is not there.
  void require_all() const;
  /// Collective: hands each rank its share of a block of queries and the number of its first one. `work` is collective.
  void for_blocks(const mpi::Communicator& communicator,
                  const std::function<void(DenseMatrix, std::uint64_t)>& work) const;
  /// All of them.
  [[nodiscard]] DenseMatrix all() const { return rows(0, shapes_.queries); }

 private:
  [[nodiscard]] DenseMatrix rows(std::uint64_t first, std::uint64_t count) const;

  Shapes shapes_;
  std::optional<NpyFile> file_;
  DenseMatrix loaded_;
  std::vector<bool> is_there_;
};

/// Outputs of all queries as they come, in order, on the root.
class Outputs {
 public:
  /// Creates the file of outputs, where there is to be one. `keep`: all() is wanted.
  Outputs(const AttendOptions& options, const Shapes& shapes, bool keep);
  void add(std::span<const double> numbers);
  /// All outputs at once: a coordinate file where the name ends in .mtx.
  void set(const SparseOutputs& outputs);
  void finish();
  [[nodiscard]] const DenseMatrix& all() const noexcept { return kept_; }

 private:
  bool keep_;
  bool is_coordinates_ = false;
  DenseMatrix kept_;
  std::optional<OutputFile> file_;
};

/// Collective: reads the tokens of a session to their end, and calls `answer`, which is collective, at the end of every
/// epoch, or once, with null, where there are none.
void read_tokens(const AttendOptions& options, engine::Session& session,
                 const std::function<void(const engine::Epoch*)>& answer);

/// Writes what is to be written, and prints the report. On the root.
void finish(const AttendOptions& options, Outputs& outputs, const AttendReport& report);

/// The report of what is known before anything is read.
[[nodiscard]] AttendReport report_of(const mpi::Communicator& communicator, const AttendOptions& options,
                                     const Shapes& shapes);
/// Says on the root how much memory a rank is going to need, report.peak_bytes, before it does.
void announce_memory(const mpi::Communicator& communicator, const AttendReport& report);
/// Queries that a rank answers at a time, at most.
inline constexpr std::uint64_t block_of_queries = 4096;
/// What the program and an MPI library take before they hold anything, about.
inline constexpr std::uint64_t bytes_of_process = std::uint64_t{32} << 20;
struct ComparisonOptions {
  std::uint64_t budget = 0;    ///< Bytes that the peers may keep.
  std::uint64_t sparsity = 0;  ///< Above 0: the best outputs with so many entries a column are of interest.
};
/// Collective: exact outputs, and those of the peers, beside `outputs` (on the root).
[[nodiscard]] Comparison compare(const mpi::Communicator& communicator, const AttendOptions& options,
                                 const Shapes& shapes, const DenseMatrix& outputs, const ComparisonOptions& about);

// The modes. Each is collective, and returns an ExitCode.
int attend_exactly(const mpi::Communicator& communicator, const AttendOptions& options);
int attend_by_polynomials(const mpi::Communicator& communicator, const AttendOptions& options, AttendStart start);
int attend_anisotropically(const mpi::Communicator& communicator, const AttendOptions& options, AttendStart start);

}  // namespace weir::app
