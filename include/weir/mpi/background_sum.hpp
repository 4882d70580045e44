#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "weir/mpi/communicator.hpp"

namespace weir::mpi {

/// Numbers that are summed.
using Summands = std::variant<std::span<double>, std::span<float>>;

/// Element-wise sums on rank 0 that come about while the ranks do other work (MPI_Ireduce, in chunks of 4 MiB of which four
/// are on their way at a time). MPI libraries move data only inside of MPI calls: a rank calls local_progress() often, some
/// thousand times a second, and each call takes microseconds.
///
/// Every rank makes the same calls of local_start(), in the same order and with arrays of the same lengths; it does not
/// wait for the others in them. Only the constructor and finish_after_failure() are collective.
class BackgroundSum {
 public:
  /// Collective: makes a communicator of its own. `communicator` may be destroyed before this.
  explicit BackgroundSum(const Communicator& communicator);
  /// Does not wait: a sum that is under way must have been finished. Frees the communicator.
  ~BackgroundSum();
  BackgroundSum(const BackgroundSum&) = delete;
  BackgroundSum& operator=(const BackgroundSum&) = delete;

  /// Begins to sum `arrays` into those of rank 0; the others' stay as they are. They may not be touched until
  /// local_progress() returns true. Throws UsageError when the sum before it is not finished, Error of the MPI library.
  void local_start(const std::vector<Summands>& arrays);
  /// Goes on. True when there is nothing left to do on this rank: on rank 0 the sums are then complete.
  bool local_progress();
  /// Sums that were begun.
  [[nodiscard]] std::uint64_t local_started() const noexcept;
  /// Bytes that this rank has put into sums so far.
  [[nodiscard]] std::uint64_t local_bytes() const noexcept;

  /// Collective over `communicator`, after a failure that all ranks know of: finishes what was begun on some rank, with
  /// `arrays` on the ranks that have not begun it, so that no message is left. What is in the arrays afterwards is not
  /// specified. Ranks may be one sum apart, not more.
  void finish_after_failure(const Communicator& communicator, const std::vector<Summands>& arrays);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir::mpi
