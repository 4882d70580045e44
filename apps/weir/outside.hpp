#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "log.hpp"
#include "metrics.hpp"
#include "published.hpp"
#include "serve.hpp"

namespace weir::app {

/// How a running job is looked at.
struct OutsideOptions {
  std::string serve = {};    ///< Address of the server; empty for none.
  std::string metrics = {};  ///< A file, or an address; empty for none.
  LogOptions log = {};       ///< For set_log_options(), with the rank.

  [[nodiscard]] bool any() const noexcept { return !serve.empty() || !metrics.empty(); }
  /// Throws UsageError for what cannot be: an address that is none, two servers on one port, no cpp-httplib.
  void check() const;
};
/// --serve, --metrics, --log-level, --log-format.
void add_outside_options(CLI::App& app, OutsideOptions& options);

/// What those outside see of a running job, on the rank that has the whole state: its servers and its file of metrics.
class Outside {
 public:
  /// Starts what the options ask for, and writes the file once. Throws InputError where it cannot listen or write,
  /// UsageError as check() does. `labels` is called by several threads at once; see Service.
  Outside(const OutsideOptions& options, std::function<LabelMaps(const std::vector<EntryIndex>&)> labels,
          const DrawQuestion& draw);

  /// The end of an epoch; see Published.
  void publish(Epoch epoch) { published_.publish(std::move(epoch)); }
  /// Its metrics. A file that cannot be written any more is logged, and does not stop the job.
  void set(Metrics metrics);
  /// Where the servers listen, with the ports that were found.
  [[nodiscard]] std::vector<std::string> addresses() const;

 private:
  std::string metrics_path_;
  Published published_;
  MetricsBoard board_;
  // Last, so that no server outlives what it answers from.
  std::optional<Server> server_;
  std::optional<Server> metrics_server_;
};

}  // namespace weir::app
