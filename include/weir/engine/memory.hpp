#pragma once

#include <cstdint>
#include <limits>

namespace weir::engine {

/// Bytes of `count` times `times` doubles; the largest number when they do not fit into one.
[[nodiscard]] inline std::uint64_t doubles_in_bytes(std::uint64_t count, std::uint64_t times = 1) noexcept {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  return times != 0 && count > most / sizeof(double) / times ? most : count * times * sizeof(double);
}

[[nodiscard]] inline std::uint64_t add_saturated(std::uint64_t a, std::uint64_t b) noexcept {
  return a > std::numeric_limits<std::uint64_t>::max() - b ? std::numeric_limits<std::uint64_t>::max() : a + b;
}

}  // namespace weir::engine
