#pragma once

#include <cstdint>

namespace weir {

/// How far something has been read.
struct BytesRead {
  std::uint64_t read = 0;
  std::uint64_t all = 0;  ///< That are to be read, those that have been read included.

  BytesRead& operator+=(const BytesRead& other) noexcept {
    read += other.read;
    all += other.all;
    return *this;
  }
};

}  // namespace weir
