#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model_options.hpp"
#include "weir/engine/job.hpp"
#include "weir/engine/streamed_factor_job.hpp"
#include "weir/io/labels.hpp"
#include "weir/io/report.hpp"
#include "weir/io/state_file.hpp"

namespace weir::app {

/// What `sample` and `query` have in common: which y they look at, and with what.
struct MeasureOptions {
  engine::StreamSource source;
  ModelOptions model;
  SketchOptions sketch;
  std::string state_path;  ///< A saved state to start from; with streams as well they go on top of it.
  std::string save_path;   ///< Where the merged state goes.
  bool keep_sketch = true;
  engine::Exact exact = engine::Exact::none;  ///< Exact values too, or instead.

  /// Both operands of a product are fixed: A is read as a stream would be.
  [[nodiscard]] bool all_is_fixed() const { return !model.fixed_file("A").empty() && !model.fixed_file("x").empty(); }
  /// Draws, and answers, come from the operands of a matrix: the models rows, and kronecker but for one factor that
  /// streams into a sketch of y.
  [[nodiscard]] bool of_operands() const {
    return model.is_rows() || (model.is_kronecker() && !model.streams_one_factor());
  }
  /// What can be found wrong before anything is read. Throws UsageError.
  void check() const;
  /// n as given, or all that a key may be: then the stream needs no known bound, and states of any streams combine.
  [[nodiscard]] std::uint64_t dimension(const ModelOptions& known) const;
  /// The most that the hash functions asked for tell apart.
  [[nodiscard]] std::uint64_t most_keys() const;
  /// Sizes of the sketch, and of the Gram matrices of operands, `known` being complete. Throws UsageError.
  [[nodiscard]] PairsConfig sizes(const ModelOptions& known) const;
};
/// STREAM..., --model and its shape, --state, --save, and the options of the sketch.
void add_measure_options(CLI::App& app, MeasureOptions& options);

/// y after the stream, complete on rank 0.
struct Measured {
  engine::JobResult job;
  StateDescription description;
  SketchConfig config;               ///< Of the sketch; without one only the dimension and the seed count.
  GramConfig gram;                   ///< Of the models that draw from operands.
  std::uint32_t degree = 1;          ///< 2 where rows are lifted.
  std::optional<std::uint64_t> d;    ///< Length of x, of a product.
  std::uint64_t sketch_columns = 1;  ///< Columns of the sketched matrix.
  std::string fixed_a;               ///< Path of A, when it is at hand.
  std::vector<double> x;             ///< Then, on every rank.
  std::optional<KroneckerShape>
      shape;                     ///< Of a Kronecker product; d1 and d2 are 0 where a saved state does not know them.
  std::optional<Method> method;  ///< Likewise.
  std::optional<StreamedFactorModel> factor;  ///< One factor streamed, all of it: this rank's slices of the operands.
  std::optional<Estimate> tensor_f2;          ///< Then, on rank 0.
};

/// Collective: loads the state, ingests the streams and merges; the root saves the result where that was asked for. A
/// stream may take hours: before it the root calls `prepare`, with all that is known by then, to find out whether the
/// answer will be possible. Throws the same error on all ranks, that of `prepare` too.
[[nodiscard]] Measured measure(const mpi::Communicator& communicator, const MeasureOptions& options,
                               const std::function<void(const Measured&)>& prepare);

/// Its account for a report, except for the time of the query.
[[nodiscard]] RunReport run_report(const mpi::Communicator& communicator, const Measured& measured);

/// How an answer is printed.
struct OutputOptions {
  std::string labels_path;
  std::string column_labels_path;
  bool json = false;
};
/// --labels, --labels2, --json.
void add_output_options(CLI::App& app, OutputOptions& options);

/// The names of indices, where there are any.
class OutputLabels {
 public:
  OutputLabels() = default;
  /// Opens the files. Throws InputError, and UsageError for labels of second indices where `of_pairs` is false.
  OutputLabels(const OutputOptions& options, bool of_pairs);
  /// The names of the indices, and of the second indices of pairs; those have the names of the first unless they have a
  /// file of their own.
  void find(const std::vector<std::uint64_t>& indices, const std::vector<std::uint64_t>& columns,
            std::map<std::uint64_t, std::string>& labels, std::map<std::uint64_t, std::string>& column_labels) const;

 private:
  std::optional<Labels> labels_;
  std::optional<Labels> column_labels_;
};

/// ||y|| from ||y||^2: the bound is that of the side on which the square root moves more.
[[nodiscard]] Estimate norm_of(const Estimate& f2);

}  // namespace weir::app
