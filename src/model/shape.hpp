#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string_view>

#include "weir/error.hpp"

namespace weir {

/// Throws UsageError unless `value`, which is `what` ("the number n of rows of A"), is 1 to 2^63.
inline void require_side(std::uint64_t value, std::string_view what) {
  constexpr std::uint64_t largest = std::uint64_t{1} << 63;
  if (value < 1 || value > largest) throw UsageError(fmt::format("{} is {}, expected 1 to {}", what, value, largest));
}

}  // namespace weir
