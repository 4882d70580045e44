#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "weir/event.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/stream/reader.hpp"

namespace weir::engine {

/// Who is given an event.
enum class Delivery : std::uint8_t {
  one_rank,    ///< One rank or another: what ranks keep is summed.
  every_rank,  ///< All of them: each does its share of what an event means.
};

/// Where events come from and how they are read.
struct StreamSource {
  /// Files, read by slices on all ranks; and pipes ("-" is standard input), read by the root, which hands out what
  /// arrives, after the files.
  std::vector<std::string> paths;
  OnError on_error = OnError::stop;
  std::string advice = {};      ///< Ends the complaint about an event of an operand that the model does not take.
  double progress_seconds = 0;  ///< Above 0: rank 0 writes a line to stderr every so often.
};

/// What went in, over all ranks.
struct IngestStatistics {
  std::uint64_t updates = 0;  ///< Events handed to a consumer.
  std::uint64_t skipped = 0;  ///< Bad events left out (OnError::skip).
  double seconds = 0;         ///< Of the slowest rank.
};

/// Collective: reads every event of `source` exactly once, on one rank or another, and hands it there to `consume`, a
/// batch at a time; or, where the delivery is to every rank, reads and hands it to `consume` on each of them, in the same
/// batches. `shapes` and `default_operand` are what the model takes. Throws on all ranks the InputError of the first rank
/// that fails, be it in reading or in `consume`; the others stop within a batch.
IngestStatistics ingest(const mpi::Communicator& communicator, const StreamSource& source,
                        const std::vector<OperandShape>& shapes, Operand default_operand,
                        const std::function<void(const EventBatch&)>& consume, Delivery delivery = Delivery::one_rank);

}  // namespace weir::engine
