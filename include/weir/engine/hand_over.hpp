#pragma once

#include <cstdint>

#include "weir/mpi/communicator.hpp"
#include "weir/state/state.hpp"

namespace weir::engine {

// One party hands its state to another, which goes on where the first one stopped: what Alice says to Bob in a one-way
// protocol. The message is a state file, so its length is the communication of the protocol. Point to point: only the two
// parties call these.

/// Sends `state`, which is complete on this rank, and returns the bytes of the message. Throws InputError where a number is
/// not finite, UsageError when the other rank does not exist or is this one.
std::uint64_t local_send_state(const mpi::Communicator& communicator, const State& state, int destination);

struct ReceivedState {
  State state;
  std::uint64_t bytes = 0;  ///< Of the message.
};
/// Throws as deserialise() of weir/io/state_file.hpp.
[[nodiscard]] ReceivedState local_receive_state(const mpi::Communicator& communicator, int source);

}  // namespace weir::engine
