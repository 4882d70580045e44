#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attend_report.hpp"
#include "weir/attention/anisotropic.hpp"
#include "weir/attention/causal.hpp"
#include "weir/attention/recovery.hpp"
#include "weir/dense_matrix.hpp"
#include "weir/io/file.hpp"
#include "weir/io/npy.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/state/problem.hpp"
#include "weir/stream/reader.hpp"

// What the modes of `weir attend` have in common: options, the files of queries, keys and values, outputs.

namespace weir::app {

struct AttendOptions {
  std::string queries, keys, values;
  std::vector<std::string> streams;  ///< Events KV,i,*,key...,value...
  std::optional<std::uint64_t> tokens, d, dv;
  OnError on_error = OnError::stop;
  double progress_seconds = 0;
  std::string mode = "anisotropic";
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
  std::string state_path, save_path, output_path, errors_path;
  // Of the modes with polynomial features.
  bool centre = false, mean_correct = false, row_recovery = false;
  std::uint64_t sparsity = 32;
  std::optional<std::uint64_t> m1, m2;
  double eps1 = 0.5, eps2 = 0.1;
  std::string psi = "ams";
  bool estimate = true;
  bool compare = false;
  bool json = false;

  [[nodiscard]] bool is_exact() const { return mode == "exact"; }
  [[nodiscard]] bool is_anisotropic() const { return mode == "anisotropic"; }
  /// paper, paired, collapsed and direct.
  [[nodiscard]] bool has_polynomials() const { return !is_exact() && !is_anisotropic(); }
  /// The outputs have few entries that are not zero.
  [[nodiscard]] bool is_sparse() const { return mode == "paper" || mode == "collapsed"; }
  [[nodiscard]] bool is_causal() const { return causal || sliding > 0; }
  /// Throws UsageError for options that contradict each other.
  void check() const;
};

/// Sizes that the root has read from headers or options, on all ranks.
struct Shapes {
  std::uint64_t tokens = 0, queries = 0, d = 0, dv = 0;
};

/// Collective. `known` is the problem that a saved state has, on the root. Throws UsageError or InputError on all ranks.
[[nodiscard]] Shapes shapes_of_inputs(const mpi::Communicator& communicator, const AttendOptions& options,
                                      const Problem* known);

/// Rows first, first + 1, ... of keys and values.
struct LoadedRows {
  std::uint64_t first = 0;
  DenseMatrix keys, values;

  [[nodiscard]] TokenRows rows() const { return {.first = first, .keys = keys.values, .values = values.values}; }
};

/// The files of keys and values.
class TokenFiles {
 public:
  /// Throws InputError where they are not of the shapes.
  TokenFiles(const AttendOptions& options, const Shapes& shapes);
  /// Rows first .. end - 1; none where `end` is not above `first`.
  [[nodiscard]] LoadedRows rows(std::uint64_t first, std::uint64_t end) const;
  /// Calls `take` for rows first .. end - 1, a few thousand at a time.
  void for_rows(std::uint64_t first, std::uint64_t end, const std::function<void(const LoadedRows&)>& take) const;

 private:
  NpyFile keys_, values_;
};

/// Collective: reads the queries in blocks, and hands each rank its share of a block and the number of its first query.
/// `work` is collective.
void for_queries(const mpi::Communicator& communicator, const std::string& path, const Shapes& shapes,
                 const std::function<void(DenseMatrix, std::uint64_t)>& work);

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

/// Writes what is to be written, and prints the report. On the root.
void finish(const AttendOptions& options, const std::vector<double>& errors, Outputs& outputs,
            const AttendReport& report);

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
int attend_by_polynomials(const mpi::Communicator& communicator, const AttendOptions& options);
int attend_anisotropically(const mpi::Communicator& communicator, const AttendOptions& options);

}  // namespace weir::app
