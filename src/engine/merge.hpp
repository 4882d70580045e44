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
};

/// Collective: throws InputError on all ranks unless every machine has room for what its ranks will allocate for the states
/// of `problem` and, beside them, of `exact`.
void require_room(const mpi::Communicator& communicator, const Problem& problem,
                  const std::optional<Problem>& exact = std::nullopt, StateCopies copies = {});

/// Collective: sums the parts of all ranks, as each array says.
void merge(const mpi::Communicator& communicator, State& state);

}  // namespace weir::engine
