#pragma once

#include <optional>

#include "weir/mpi/communicator.hpp"
#include "weir/state/parties.hpp"
#include "weir/state/problem.hpp"
#include "weir/state/state.hpp"

namespace weir::engine {

/// This rank as a party of the states of a communicator.
[[nodiscard]] Party party_of(const mpi::Communicator& communicator);

/// How many states of a problem are held at a time.
struct StateCopies {
  std::uint64_t everywhere = 1;
  std::uint64_t more_on_root = 0;
  std::uint64_t slices = 0;  ///< Of states that are shared out among all ranks, on each of them.
  bool all_answer = false;   ///< All ranks need the memory that an answer takes, not the root alone.
};

/// Collective: throws InputError on all ranks unless every machine has room for what its ranks will allocate for the states
/// of `problem` and, beside them, of `exact`.
void require_room(const mpi::Communicator& communicator, const Problem& problem,
                  const std::optional<Problem>& exact = std::nullopt, StateCopies copies = {});

/// Collective: sums the parts of all ranks, as each array says.
void merge(const mpi::Communicator& communicator, State& state);
/// Collective: the same, but arrays that are summed on the root are summed by shares: each rank's slice (weir/state/slice.hpp)
/// becomes that of the sum, and the other numbers become zero. Throws InputError where describe_slice_problem()
/// has a reason.
void merge_slices(const mpi::Communicator& communicator, State& state);
/// Collective: gives every rank the slices of all, after merge_slices(). The state is whole on all ranks then.
void share_slices(const mpi::Communicator& communicator, State& state);

}  // namespace weir::engine
