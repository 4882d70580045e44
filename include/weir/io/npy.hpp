#pragma once

#include <string>
#include <string_view>

#include "weir/io/dense_matrix.hpp"

namespace weir {

/// True when `text` begins with the magic bytes of the format.
[[nodiscard]] bool looks_like_npy(std::string_view text) noexcept;

/// Reads a NumPy .npy file of format version 1.0, 2.0 or 3.0 (numpy.lib.format): floats of 4 or 8 bytes, signed and
/// unsigned integers of 1 to 8 bytes, little- or big-endian, C or Fortran order. A 0-d array is 1 x 1, a 1-d array has
/// one column, 2-d as it is. Integers beyond 2^53 are rounded to the nearest double. Throws InputError naming the file
/// and the byte or the entry: another dtype or number of dimensions, a size other than the header promises, an entry
/// that is not finite. Allocates no more than eight times the size of the file.
[[nodiscard]] DenseMatrix load_npy(const std::string& path);

}  // namespace weir
