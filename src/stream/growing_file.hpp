#pragma once

#include <memory>
#include <string>

#include "weir/stream/live_source.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

/// Follows a text file that others append lines to, such as a log. See open_live_source().
[[nodiscard]] std::unique_ptr<LiveSource> open_growing_file(const std::string& path, const ReadOptions& options,
                                                            const std::string& position);

}  // namespace weir::stream
