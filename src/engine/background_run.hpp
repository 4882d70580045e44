#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weir/engine/epochs.hpp"
#include "weir/engine/ingest.hpp"
#include "weir/engine/positions.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/state/state.hpp"
#include "weir/state/window.hpp"

namespace weir::engine {

/// What the root knows at the end of a segment of the stream: what is summed in one go.
struct Boundary {
  Epoch epoch;
  bool wants_answer = false;
  bool wants_checkpoint = false;
  bool is_at_end = false;              ///< The stream has come to its end, and was not stopped before.
  std::uint64_t updates_in_epoch = 0;  ///< Of the epoch in progress, this segment included; 0 where it has ended.
  Positions positions = {};            ///< Where checkpoints are wanted.
};

/// Where a stream that goes on from a checkpoint stands.
struct Progressed {
  std::uint64_t epoch = 1;
  std::uint64_t updates_in_epoch = 0;
  std::uint64_t all_updates = 0;
  std::uint64_t skipped = 0;
};

/// Reads a stream in epochs while their sums are on their way to the root, for states whose arrays are all summed there.
///
/// Each rank adds what it reads to a state of its own. A segment of the stream ends on a rank when it has read its share
/// (its quota) and the root has told it so. The rank then puts the state aside, begins to sum it in the background, tells
/// the root in a letter what it has added and where its sources stand, and reads on into a second state. So a rank is at
/// most one segment ahead of the slowest one; where segments end by time, it reads on meanwhile, as that takes no memory.
/// The root adds each sum to its window and answers from that.
///
/// Letters of one sender arrive in order. So what the root hands out before it ends a segment is added before that.
class BackgroundRun {
 public:
  /// `states`: the sketch and, where they are kept, the exact values, each of no event, on every rank; `windows` likewise,
  /// on the root. `names` is where the readers of the stream leave names of keys, or null. `answer` is called on the root,
  /// which does not read meanwhile.
  BackgroundRun(const mpi::Communicator& communicator, Stream& stream, const std::shared_ptr<NameSink>& names,
                std::vector<State>& states, std::vector<Window>& windows, const EpochOptions& options, Progressed start,
                std::function<void(const Boundary&)> at_boundary);

  /// Collective: to the end of the stream, or until a command stops it. Throws the same error on all ranks.
  void run();

 private:
  struct Implementation;
  const mpi::Communicator& communicator_;
  Stream& stream_;
  std::shared_ptr<NameSink> names_;
  std::vector<State>& states_;
  std::vector<Window>& windows_;
  const EpochOptions& options_;
  Progressed start_;
  std::function<void(const Boundary&)> at_boundary_;
};

/// True for states that are whole on the root once they have been summed there, so that it can answer alone.
[[nodiscard]] bool is_summed_on_root(const State& state);

}  // namespace weir::engine
