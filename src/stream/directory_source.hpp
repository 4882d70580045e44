#pragma once

#include <memory>
#include <string>

#include "weir/stream/live_source.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

/// Reads every file of a directory once; with `follow` those, too, that come later. See open_live_source().
[[nodiscard]] std::unique_ptr<LiveSource> open_directory_source(const std::string& path, const ReadOptions& options,
                                                                bool follow, const std::string& position);

}  // namespace weir::stream
