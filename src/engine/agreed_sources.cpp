#include "engine/agreed_sources.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdint>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"

namespace weir::engine {

AgreedSources look_at_all(const mpi::Communicator& communicator, const std::vector<std::string>& paths) {
  // The paths are the same on every rank; what is there may not be.
  constexpr std::size_t width = 5;
  std::vector<std::uint64_t> seen;
  together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    for (const std::string& path : paths) {
      const SourceInfo source = look_at(path);
      if (!source.pipe && looks_like_state(path))
        throw InputError(fmt::format("{} is a saved state, not a stream of events: expected --state {}", path, path));
      for (const std::uint64_t value :
           std::array{source.size, source.device, source.inode, source.fingerprint, std::uint64_t{source.pipe}})
        seen.push_back(value);
    }
  });
  communicator.broadcast(seen);
  AgreedSources sources;
  for (std::size_t k = 0; k < paths.size(); ++k) {
    const std::uint64_t* const value = seen.data() + width * k;
    if (value[4] != 0) {
      sources.pipes.push_back(paths[k]);
    } else {
      sources.files.push_back({paths[k], value[0], value[1], value[2], value[3], false});
    }
  }
  return sources;
}

}  // namespace weir::engine
