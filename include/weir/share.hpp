#pragma once

#include <cstdint>

namespace weir {

/// `numerator / denominator` of `total`, rounded down; numerator <= denominator. Rank r of P takes [share(n, r, P),
/// share(n, r + 1, P)) of n things.
[[nodiscard]] inline std::uint64_t share(std::uint64_t total, std::uint64_t numerator,
                                         std::uint64_t denominator) noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(Wide{total} * numerator / denominator);
}

}  // namespace weir
