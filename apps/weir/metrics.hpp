#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace weir::app {

/// What a running job says about itself, as it was at the end of an epoch: for monitoring.
struct Metrics {
  /// Of one rank.
  struct Rank {
    std::uint64_t updates = 0;  ///< Events that it has taken in.
    std::uint64_t skipped = 0;  ///< Bad lines that it has left out.
    double rate = 0;            ///< Updates a second in the last epoch.
  };
  /// Of one source of events.
  struct Source {
    std::string name;  ///< "kafka://host/topic", a path.
    std::string unit;  ///< What lag is counted in: "events", "bytes", "files".
    /// What has arrived and was not taken in yet; none where that cannot be known.
    std::optional<double> lag = {};
  };

  std::vector<Rank> ranks = {};
  std::vector<Source> sources = {};
  std::uint64_t epoch = 0;
  double epoch_seconds = 0;         ///< How long the last epoch took.
  double merge_seconds = 0;         ///< Spent on merging, all epochs together; the slowest rank's.
  std::uint64_t reduced_bytes = 0;  ///< That the ranks have sent to be merged, all epochs together.
  std::uint64_t failed_lanes = 0;   ///< Lanes without a draw in the last answer.
  std::optional<double> checkpoint_time =
      {};  ///< Of the newest checkpoint, seconds since 1970; none before there is one.
  std::optional<std::uint64_t> checkpoint_bytes = {};  ///< Its size.
};

/// Prometheus text format 0.0.4, with a HELP and a TYPE for each metric. `now`: seconds since 1970, for ages. Names begin
/// with weir_; those with "rank" in them have a label rank, and the others are of the whole job.
[[nodiscard]] std::string to_prometheus(const Metrics& metrics, double now);

/// The newest metrics of a job. Any thread may call any function.
class MetricsBoard {
 public:
  void set(Metrics metrics);
  [[nodiscard]] Metrics get() const;

 private:
  mutable std::mutex mutex_;
  Metrics metrics_;
};

/// Writes a text to a file that is replaced whole, so that a reader never sees half of it. It is not flushed to disk: what
/// it says is of now. Throws InputError naming the path.
void replace_file(const std::string& path, const std::string& text);

}  // namespace weir::app
