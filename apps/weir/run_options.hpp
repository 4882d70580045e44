#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "report.hpp"
#include "weir/engine/epochs.hpp"

namespace weir::app {

/// Options of a job that answers while its stream runs.
struct RunOptions {
  engine::Until every;
  engine::Until checkpoint_every;
  WindowOptions window;
  std::string checkpoint_directory;
  bool resume = false;
  bool follow = false;

  /// Whether the stream is read in epochs.
  [[nodiscard]] bool has_epochs() const noexcept {
    return every.events || every.time || !checkpoint_directory.empty() || follow;
  }
  /// Whether answers come as lines of JSON.
  [[nodiscard]] bool prints_lines() const noexcept { return every.events || every.time; }
  /// Throws UsageError for options that contradict each other.
  void check() const;
};
/// --every, --window, --decay, --tumbling, --checkpoint, --checkpoint-every, --resume, --follow.
void add_run_options(CLI::App& app, RunOptions& options);
/// The number of events, or the time, that `text`, given for `option`, stands for: 1000, 5s, 200ms, 10m, 2h. Throws
/// CLI::ValidationError.
[[nodiscard]] engine::Until parse_until(const std::string& option, const std::string& text);

/// The moment of an epoch, for a report; none for null.
[[nodiscard]] std::optional<EpochStamp> stamp_of(const engine::Epoch* epoch);

/// From now on TERM and INT ask for the end of the stream, and USR1 for an answer now. Call after MPI has been initialised,
/// which may set handlers of its own.
void listen_to_signals() noexcept;
/// What the signals that came since the last call ask for.
[[nodiscard]] engine::Command local_command() noexcept;

}  // namespace weir::app
