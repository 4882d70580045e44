#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>

#include "weir/error.hpp"

namespace weir::stream {

/// Parses a position of the source `name` and gives it to `read`, which may throw what nlohmann::json throws. Throws
/// InputError when it is not of this kind of source.
template <class Read>
void read_position(const std::string& name, const std::string& position, const Read& read) {
  try {
    read(nlohmann::json::parse(position));
  } catch (const nlohmann::json::exception& error) {
    throw InputError(fmt::format("{}: the position is not one of this source: {}", name, error.what()));
  }
}

}  // namespace weir::stream
