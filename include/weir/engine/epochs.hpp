#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "weir/engine/ingest.hpp"
#include "weir/io/checkpoint.hpp"
#include "weir/state/window.hpp"

namespace weir::engine {

/// What somebody outside wants of a running session.
enum class Command : std::uint8_t {
  none,
  answer,  ///< An answer now, in the middle of an epoch.
  stop,    ///< Read no more. A session that goes on from the last checkpoint goes on with the epoch in progress.
};

/// How a stream is cut into epochs.
struct EpochOptions {
  /// An epoch ends after so many events, or so long, whichever comes first. Neither: the stream is one epoch.
  Until every = {};
  /// What answers are about.
  WindowOptions window = {};
  /// A checkpoint is written when so many events have come, or so much time has passed, since the last one, and at the
  /// end. It may fall into the middle of an epoch. Neither: at the end of every epoch.
  Until checkpoint_every = {};
  /// Whether there are checkpoints; the same on all ranks.
  bool writes_checkpoints = false;
  /// Where they go, on the root. It must outlive the run.
  CheckpointDirectory* checkpoints = nullptr;
  /// Called on any rank with a line for whoever runs the job: what live sources tell, and on the root that a checkpoint
  /// could not be written; the run goes on then, and tries again at the next. (The failure of the last one is an error of
  /// the run.) May be empty.
  std::function<void(const std::string&)> local_warn = {};
  /// All ranks take part in answers, which are then given while none of them reads.
  bool all_ranks_answer = false;
  /// Called on every rank between batches; what a rank answers reaches the root where that matters. May be empty.
  std::function<Command()> local_command = {};
};

/// The events up to a moment, all ranks together. Every event is in all of the answers, checkpoints and positions of the
/// moment, or in none.
struct Epoch {
  /// Of the epoch that ends, or is in progress. A stream that ends where an epoch did tells of that a second time, as final.
  std::uint64_t number = 1;
  bool is_whole = true;       ///< It has come to its end. Not the last one of a stream that was stopped in the middle.
  bool is_final = false;      ///< The stream has come to its end, or was stopped.
  std::uint64_t updates = 0;  ///< Events that the answer is about: those of the window.
  std::uint64_t all_updates =
      0;  ///< Events since the stream began, those before a checkpoint that it went on from included.
  std::uint64_t skipped = 0;
  std::uint64_t window_epochs = 1;       ///< Epochs that the answer is about.
  double time = 0;                       ///< Unix time in seconds.
  std::uint64_t checkpoint = 0;          ///< Number of the last checkpoint that is on disk; 0 where there is none.
  double checkpoint_time = 0;            ///< Unix time of what it holds.
  double merge_seconds = 0;              ///< All merges so far: from the moment to the sum, on the root.
  std::uint64_t reduced_bytes = 0;       ///< That each rank has given away so far.
  std::vector<RankProgress> ranks = {};  ///< On the root.
};

}  // namespace weir::engine
