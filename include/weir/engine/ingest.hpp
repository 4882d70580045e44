#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weir/engine/positions.hpp"
#include "weir/event.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/names.hpp"
#include "weir/stream/reader.hpp"
#include "weir/stream/side_by_side.hpp"

namespace weir::engine {

/// Who is given an event.
enum class Delivery : std::uint8_t {
  one_rank,    ///< One rank or another: what ranks keep is summed.
  every_rank,  ///< All of them: each does its share of what an event means.
};

/// Where events come from and how they are read.
struct StreamSource {
  /// Files, read by slices on all ranks; and live sources (weir/stream/live_source.hpp), pipes ("-" is standard input)
  /// among them, read by the root, which hands out what arrives, after the files, or by every rank in parts.
  std::vector<std::string> paths;
  OnError on_error = OnError::stop;
  Edges edges = Edges::unsaid;  ///< What lines of two or three numbers mean.
  Columns columns = {};         ///< Where there are any, text is tables or JSON with keys.
  std::uint64_t key_seed = 0;   ///< ReadOptions::key_seed; sessions take that of the sketch.
  /// Names that a session keeps of keys that are text, at most (NameTable); 0 for none.
  std::size_t name_count = usual_names;
  std::shared_ptr<NameSink> names = {};  ///< Where this rank's readers leave names; sessions have their own.
  /// ReadOptions::warn, on any rank.
  std::function<void(const std::string&)> local_warn = {};
  std::string advice = {};      ///< Added to the message about an event of an operand that may not change.
  std::string shape_note = {};  ///< The same about an index that is too large.
  double progress_seconds = 0;  ///< Above 0: rank 0 writes a line to stderr every so often.
  /// Files that have the rows of the first operand that streams side by side. They are read before `paths`.
  SideBySide arrays = {};
  double resolution = 0;                ///< Above 0: numbers are rounded to multiples of it, Problem::resolution.
  bool follow = false;                  ///< Files may grow, and directories are watched: there is no end.
  std::optional<Positions> start = {};  ///< Go on from here; otherwise from the beginning.
};

/// What went in, over all ranks.
struct IngestStatistics {
  std::uint64_t updates = 0;  ///< Events handed to a consumer.
  std::uint64_t skipped = 0;  ///< Bad events left out (OnError::skip).
  double seconds = 0;         ///< Of the slowest rank.
};

/// What has arrived at a live source and has not been read.
struct SourceLag {
  std::string source;
  std::uint64_t amount = 0;
  std::string unit;  ///< "bytes", "records".
};

/// What one rank has done.
struct RankProgress {
  std::uint64_t updates = 0;  ///< Events that it has added, in all.
  std::uint64_t skipped = 0;
  std::vector<SourceLag> lags = {};
};

/// When reading pauses: whichever comes first. Without either it goes to the end.
struct Until {
  /// So many events more, of all ranks together; fewer only where the stream ends. (One more of a symmetric Matrix Market
  /// file, whose lines are two events.)
  std::optional<std::uint64_t> events = {};
  std::optional<std::chrono::nanoseconds> time = {};  ///< So long from now; a rank reads at least one batch of a file.
};

/// A stream that is read by all ranks of a communicator, in any number of calls. Every event is handed to the consumer
/// of one rank or another, or of each of them, exactly once. What the ranks believe about the files, their sizes above
/// all, is what the root saw when the stream was opened; a rank that finds otherwise fails.
class Stream {
 public:
  /// Collective. `shapes` and `default_operand` are what is taken. The communicator must outlive the stream. Throws
  /// UsageError when standard input is named twice, InputError for a file that cannot be read; on all ranks alike.
  Stream(const mpi::Communicator& communicator, const StreamSource& source, std::vector<OperandShape> shapes,
         Operand default_operand, Delivery delivery);
  /// Stops reading, also where a pipe is silent, and joins the thread that reads it.
  ~Stream();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;

  /// Collective: reads on until the end, or until `until` says so, and hands batches to `consume`. True when there may
  /// be more. The batches of a file are the same in any number of calls. Throws on all ranks the error of the first
  /// rank that fails, be it in reading or in `consume`; the others stop within a batch, and the stream is at its end.
  /// When it ends and every line of it was bad, that is an InputError.
  bool read(const std::function<void(const EventBatch&)>& consume, const Until& until = {});
  /// Collective: of all that was read so far.
  [[nodiscard]] IngestStatistics statistics() const;
  /// Collective: where the sources stand, after what was handed to consumers; on the root.
  [[nodiscard]] Positions positions() const;
  [[nodiscard]] RankProgress local_progress() const;
  /// Lines about this rank's live sources for whoever runs the job: LiveSource::take_notices() and trouble().
  [[nodiscard]] std::vector<std::string> local_take_notices();
  /// Collective: the stream is at its end here, whatever is left of it.
  void stop();

 private:
  friend class BackgroundRun;
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Collective: reads all of a stream at once. See Stream.
IngestStatistics ingest(const mpi::Communicator& communicator, const StreamSource& source,
                        const std::vector<OperandShape>& shapes, Operand default_operand,
                        const std::function<void(const EventBatch&)>& consume, Delivery delivery = Delivery::one_rank);

}  // namespace weir::engine
