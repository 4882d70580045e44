#pragma once

#include <functional>
#include <memory>
#include <string>

#include "weir/mpi/communicator.hpp"

namespace weir::mpi {

/// How ranks learn within a batch that another rank has failed, without a collective call on the hot path. The failing
/// rank sends an empty message to all others, everybody polls (MPI_Iprobe), and at the end `agree` makes every rank throw
/// the same error.
///
/// Every rank makes a signal, works, and calls agree() once; then it may make the next signal of the same Communicator.
/// Use engine::together, which does that whatever the work throws. The Communicator must outlive the signal.
class FailureSignal {
 public:
  /// What agree() throws: InputError or UsageError.
  enum class Fault { input, usage };

  /// Every rank makes the signals of a Communicator in the same order. Needs no communication: O(1). Throws UsageError
  /// when the Communicator has a signal already (one inside the work of another), and Error after an MPI call of an
  /// earlier signal has failed, since the ranks may be out of step.
  explicit FailureSignal(const Communicator& communicator);
  explicit FailureSignal(const Communicator&&) = delete;
  /// Unless agree() was called (an exception unwinds this rank), this counts as a failure of this rank, and the
  /// destructor takes part in the agreement of the others. It throws nothing and ends no process, but it waits for the
  /// others as long as they need, as any collective call does. So a caller must not let an exception pass when the
  /// others wait for this rank in another collective call: that is an error of the program.
  ~FailureSignal();
  FailureSignal(const FailureSignal&) = delete;
  FailureSignal& operator=(const FailureSignal&) = delete;

  /// This rank has failed; tell the others. Returns at once. Only the first call counts, and none after agree(). The
  /// message is cut at 4096 bytes.
  void local_raise(const std::string& message, Fault fault = Fault::input);
  /// Runs `work`. An exception from it, of any type, is raised with its message: a UsageError as usage, all else as
  /// input. True when it ended without one.
  bool local_attempt(const std::function<void()>& work);
  /// True once this rank or another has failed. One MPI_Iprobe: cheap enough to be called once a batch.
  [[nodiscard]] bool local_raised();
  /// Every rank calls it exactly once, when its work is done or local_raised() told it to stop. Returns when no rank
  /// failed. Otherwise throws on all ranks what the lowest failed rank raised: InputError or UsageError, with its
  /// message ("rank 2: ..." when there is more than one rank). Two small reductions, and a broadcast after a failure.
  /// The ranks wait without keeping a core busy.
  void agree();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir::mpi
