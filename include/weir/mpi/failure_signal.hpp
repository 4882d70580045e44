#pragma once

#include <functional>
#include <memory>
#include <string>

#include "weir/mpi/communicator.hpp"

namespace weir::mpi {

/// How ranks learn within a batch that another rank has failed, without a collective on the hot path: the failing rank
/// sends an empty message to all others, everybody polls (MPI_Iprobe), and at the end `agree` makes every rank throw
/// the same error.
///
/// Works on a duplicate of the communicator, so its messages meet no others. Construction is collective.
class FailureSignal {
 public:
  explicit FailureSignal(const Communicator& communicator);
  /// Without agree() before it (an exception is unwinding this rank) counts as a failure of this rank and takes part in
  /// the agreement of the others, so that they do not wait for ever; when they do not come to it within 10 seconds the
  /// job is aborted.
  ~FailureSignal();
  FailureSignal(const FailureSignal&) = delete;
  FailureSignal& operator=(const FailureSignal&) = delete;

  /// This rank has failed; tell the others. Returns at once; only the first call counts, and none after agree().
  void local_raise(const std::string& message);
  /// Runs `work`; an exception from it is raised with its message. True when it ended without one.
  bool local_attempt(const std::function<void()>& work);
  /// True once this rank or another has failed. Cheap enough to be called once a batch.
  [[nodiscard]] bool local_raised();
  /// Every rank calls it exactly once, when its work is done or local_raised() told it to stop. Throws the InputError
  /// of the lowest failed rank on all ranks ("rank 2: ..." when there is more than one rank); returns when no rank
  /// failed.
  void agree();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir::mpi
