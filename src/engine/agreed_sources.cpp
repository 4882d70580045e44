#include "engine/agreed_sources.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdint>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/stream/live_source.hpp"

namespace weir::engine {

AgreedSources look_at_all(const mpi::Communicator& communicator, const std::vector<std::string>& paths, bool follow) {
  // The paths are the same on every rank; what is there may not be.
  constexpr std::size_t width = 5;
  std::vector<std::uint64_t> seen;
  together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    for (const std::string& path : paths) {
      const LiveKind kind = live_kind(path, follow);
      SourceInfo source{.path = path};
      if (kind == LiveKind::none) {
        source = look_at(path);
        if (looks_like_state(path))
          throw InputError(fmt::format("{} is a saved state, not a stream of events: expected --state {}", path, path));
      } else if (is_pipe(path)) {
        source = look_at(path);
      }
      for (const std::uint64_t value :
           std::array{source.size, source.device, source.inode, source.fingerprint, static_cast<std::uint64_t>(kind)})
        seen.push_back(value);
    }
  });
  communicator.broadcast(seen);
  AgreedSources sources;
  for (std::size_t k = 0; k < paths.size(); ++k) {
    const std::uint64_t* const value = seen.data() + width * k;
    switch (static_cast<LiveKind>(value[4])) {
      case LiveKind::none:
        sources.files.push_back({paths[k], value[0], value[1], value[2], value[3], false});
        break;
      case LiveKind::at_root:
        sources.at_root.push_back(paths[k]);
        break;
      case LiveKind::in_parts:
        sources.in_parts.push_back(paths[k]);
        break;
    }
  }
  return sources;
}

}  // namespace weir::engine
