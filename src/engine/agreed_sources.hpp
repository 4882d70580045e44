#pragma once

#include <string>
#include <vector>

#include "weir/mpi/communicator.hpp"
#include "weir/stream/reader.hpp"

namespace weir::engine {

/// Sources as the root saw them.
struct AgreedSources {
  std::vector<SourceInfo> files;   ///< To be read by slices, by every rank.
  std::vector<std::string> pipes;  ///< To be read by the root alone: the others need not have them.
};

/// Collective: the root looks at `paths`, and every rank is told what it saw. Throws InputError on all ranks for what
/// cannot be read, and for a saved state, which is no stream.
[[nodiscard]] AgreedSources look_at_all(const mpi::Communicator& communicator, const std::vector<std::string>& paths);

}  // namespace weir::engine
