#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model_options.hpp"
#include "outside.hpp"
#include "printer.hpp"
#include "report.hpp"
#include "run_options.hpp"
#include "weir/engine/session.hpp"
#include "weir/io/labels.hpp"

namespace weir::app {

/// How an answer is printed.
struct OutputOptions {
  std::string labels_path;
  std::string column_labels_path;
  PrintOptions print = {};
  std::string plot_path = {};
};

/// What `sample` and `query` have in common: what is measured, where it comes from, and how it is printed.
struct MeasureOptions {
  engine::StreamSource source;
  ModelOptions model;
  SketchOptions sketch;
  std::string state_path;  ///< A saved state to start from; streams are added to it.
  std::string like_path;   ///< A saved state whose problem is measured anew.
  std::string save_path;   ///< Where the merged state goes.
  RunOptions run;
  OutsideOptions outside;
  Keeps keeps = Keeps::sketch;
  bool with_exact = false;  ///< Exact values beside the sketch.
  engine::Session::Merging merging = engine::Session::Merging::root;
  OutputOptions output = {};

  /// The saved state that says what is measured; empty where options do.
  [[nodiscard]] const std::string& known_from() const { return state_path.empty() ? like_path : state_path; }
  /// Whether the stream is read in epochs.
  [[nodiscard]] bool has_epochs() const noexcept { return run.has_epochs() || outside.any(); }
  /// Streams that stood behind --fixed NAME=FILE become streams.
  void settle_streams();
  /// What can be found wrong before anything is read, `request` being what is wanted of a new sketch. Throws UsageError.
  void check(const SizeRequest& request) const;
};
/// STREAM..., --model and its sides, --state, --save, and the options of the sketch.
void add_measure_options(CLI::App& app, MeasureOptions& options);

/// An answer, on the root.
struct Answered {
  Printable report = {};
  ExitCode code = done;
};
/// Answers from what a session has read. `epoch` is null where the stream has been read to its end in one go. Collective,
/// unless it is called in a run whose root answers alone (engine::Session::run).
using AnswerFrom =
    std::function<Answered(engine::Session& session, const engine::Sources& sources, const engine::Epoch* epoch)>;

/// What those who look at a running job are shown besides its state.
struct OutsideView {
  std::function<LabelMaps(const std::vector<EntryIndex>&)> labels = {};
  DrawQuestion draw = {};
};

/// Collective: opens a session for the options, reads its stream to the end, calls `answer` there or at the end of every
/// epoch, prints the answers, and saves the state where that was asked for. `view` is called on the root before the stream is read. Returns the code of the last answer. `request` sizes a new
/// sketch. `examine` is called on the root with the whole problem before anything is read, to refuse what could not be
/// answered; `continues` says whether it is that of a saved state. Throws the same error on all ranks.
int measure(const mpi::Communicator& communicator, const MeasureOptions& options, SizeRequest request,
            const std::function<void(const Problem& problem, bool continues)>& examine, const AnswerFrom& answer,
            const std::function<OutsideView()>& view);

/// What was done, for a report. Collective as AnswerFrom is.
[[nodiscard]] Run run_of(engine::Session& session, const engine::Epoch* epoch);

/// --labels, --labels2, --plot, and how answers are printed; `plotted` says what a picture shows.
void add_output_options(CLI::App& app, OutputOptions& options, const std::string& plotted);

/// The names of indices, where there are any.
class OutputLabels {
 public:
  OutputLabels() = default;
  /// Opens the files and reads through them once. Throws InputError, and UsageError for labels of second indices where
  /// `of_pairs` is false.
  OutputLabels(const OutputOptions& options, bool of_pairs);
  /// The names of the entries; second indices have the names of the first unless they have a file of their own.
  [[nodiscard]] LabelMaps find(const std::vector<EntryIndex>& entries) const;

 private:
  std::optional<Labels> labels_;
  std::optional<Labels> column_labels_;
};

}  // namespace weir::app
