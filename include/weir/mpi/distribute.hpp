#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "weir/mpi/communicator.hpp"
#include "weir/mpi/failure_signal.hpp"

namespace weir::mpi {

/// Root only: replaces `piece` with the next bytes (below 2^31) to be worked on and returns true; false at the end.
/// Returning true with an empty piece says that nothing has arrived yet: a source that can stay silent (standard input)
/// should do so a few times a second, because the root notices other ranks' failures only between calls.
using ProducePiece = std::function<bool(std::vector<std::byte>& piece)>;
/// Any rank: works on one piece.
using ConsumePiece = std::function<void(std::span<const std::byte> piece)>;

/// Collective: the root produces pieces, and every piece is consumed by exactly one rank, the root included. A piece
/// goes to a rank that has asked for one; a rank holds at most two, and at most 64 are on their way in total, so memory
/// is bounded however fast the root reads. While no rank asks, the root consumes.
///
/// An exception of `produce` or `consume` is raised in `signal` and ends the distribution on all ranks, as does a
/// failure raised elsewhere; nothing is thrown for it here: the caller goes on to signal.agree().
void distribute(const Communicator& communicator, FailureSignal& signal, const ProducePiece& produce,
                const ConsumePiece& consume);

/// Collective: as distribute(), but every piece is consumed by every rank, in the same order.
void distribute_to_all(const Communicator& communicator, FailureSignal& signal, const ProducePiece& produce,
                       const ConsumePiece& consume);

}  // namespace weir::mpi
