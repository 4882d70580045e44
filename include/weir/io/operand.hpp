#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "weir/io/dense_matrix.hpp"

namespace weir {

/// Loads an operand that is fixed rather than streamed. By content: .npy, Matrix Market, or plain text with one number
/// per line (blank lines and lines that begin with '#' are skipped), which gives one column. Throws InputError naming
/// the file and the place.
[[nodiscard]] DenseMatrix load_operand(const std::string& path);

struct MatrixShape {
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
};

/// What the header of an .npy or Matrix Market file says, without reading further; none for another file. Throws
/// InputError for a damaged header, and for an .npy that does not have the size it should.
[[nodiscard]] std::optional<MatrixShape> operand_shape(const std::string& path);

}  // namespace weir
