#pragma once

// Heads in which few queries look at one heavy key each, so that their outputs stand out: outputs that are nearly sparse.

#include <cstdint>

#include "../heads.hpp"

namespace weir::experiments {

struct Planted {
  std::uint64_t tokens = 4096;  ///< At least 128 for each of `sparse`.
  std::uint64_t d = 8;
  std::uint64_t dv = 8;
  std::uint64_t sparse = 32;  ///< Queries that look at a heavy key of their own.
  double range = 6;           ///< Their score with it.
  double value = 16;          ///< Deviation of the values of these keys; that of others is 1.
  std::uint64_t seed = 7;
};

/// Other scores have a deviation near .1.
[[nodiscard]] Head make_planted(const Planted& planted);

}  // namespace weir::experiments
