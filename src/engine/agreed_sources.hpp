#pragma once

#include <string>
#include <vector>

#include "weir/mpi/communicator.hpp"
#include "weir/stream/reader.hpp"

namespace weir::engine {

/// Sources as the root saw them.
struct AgreedSources {
  std::vector<SourceInfo> files;      ///< To be read by slices, by every rank.
  std::vector<std::string> at_root;   ///< Live sources that the root alone reads: the others need not have them.
  std::vector<std::string> in_parts;  ///< Live sources of which every rank reads a part.
};

/// Collective: the root looks at `paths`, and every rank is told what it saw. `follow`: files may grow. Throws InputError
/// on all ranks for what cannot be read, and for a saved state, which is no stream; UsageError for names that are not
/// understood.
[[nodiscard]] AgreedSources look_at_all(const mpi::Communicator& communicator, const std::vector<std::string>& paths,
                                        bool follow = false);

}  // namespace weir::engine
