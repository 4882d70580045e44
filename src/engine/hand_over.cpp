#include "weir/engine/hand_over.hpp"

#include <fmt/format.h>

#include <vector>

#include "weir/io/state_file.hpp"

namespace weir::engine {

std::uint64_t local_send_state(const mpi::Communicator& communicator, const State& state, int destination) {
  const std::vector<std::byte> message = serialise(state);
  communicator.local_send(message, destination);
  return message.size();
}

ReceivedState local_receive_state(const mpi::Communicator& communicator, int source) {
  const std::vector<std::byte> message = communicator.local_receive(source);
  return {deserialise(message, fmt::format("the state from rank {}", source)), message.size()};
}

}  // namespace weir::engine
