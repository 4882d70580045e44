#pragma once

#include <memory>
#include <string>

#include "weir/stream/live_source.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

/// Reads "-" or a named pipe on a thread of its own, up to its end. It has no position.
[[nodiscard]] std::unique_ptr<LiveSource> open_pipe_source(const std::string& path, const ReadOptions& options);

}  // namespace weir::stream
