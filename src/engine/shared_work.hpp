#pragma once

#include <functional>

#include "weir/mpi/communicator.hpp"

namespace weir::engine {

/// Collective: runs `work` on every rank. All do the same with the same numbers, and share the long scans in it
/// (weir/sample/scan_team.hpp). When it throws on any rank, every rank throws the same error, as together() does; InputError where
/// the ranks came to different conclusions, as processors of several kinds in one job might round differently. `work` is
/// not collective by itself.
void share_work(const mpi::Communicator& communicator, const std::function<void()>& work);

}  // namespace weir::engine
