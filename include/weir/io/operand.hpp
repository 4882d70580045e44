#pragma once

#include <string>

#include "weir/dense_matrix.hpp"

namespace weir {

/// Loads an operand that is fixed rather than streamed. By content: .npy (named as NpyFile is), Matrix Market, or plain
/// text with one number per line (blank lines and lines that begin with # or % are skipped), which gives one column; compressed
/// or not. Throws InputError naming
/// the file and the place.
[[nodiscard]] DenseMatrix load_operand(const std::string& path);

}  // namespace weir
