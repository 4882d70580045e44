#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "weir/mpi/failure_signal.hpp"

namespace weir::engine {

/// Collective: runs `work` on every rank. When it throws on any rank, every rank throws the same error, with the
/// message of the lowest rank that failed: UsageError if it was one there, InputError otherwise. Running out of memory
/// counts as a failure. Work that lasts polls `signal.local_raised()` and returns early when it is true.
///
/// `work` must not wait for other ranks in a collective call that a failed rank does not reach, and must not call
/// together itself with the same communicator (UsageError). Two small reductions; no communicator is made.
void together(const mpi::Communicator& communicator, const std::function<void(mpi::FailureSignal& signal)>& work);

/// Collective: throws InputError on all ranks when `bytes` on each of them, and `bytes_more_on_root` on rank 0 besides,
/// would not fit into the memory of some machine, all its ranks counted, or of a control group, all ranks in it counted
/// (memory_limits(root)). Linux hands out memory that it does not have, and ends the process later: ask first.
void require_memory(const mpi::Communicator& communicator, std::uint64_t bytes, std::uint64_t bytes_more_on_root,
                    const std::string& what, const std::filesystem::path& root = "/");

}  // namespace weir::engine
