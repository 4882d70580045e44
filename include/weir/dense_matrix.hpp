#pragma once

#include <cstdint>
#include <vector>

namespace weir {

/// A matrix in memory, row after row. A vector is a matrix of one column.
struct DenseMatrix {
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
  std::vector<double> values;  ///< rows * columns of them; entry (i, j) is values[i * columns + j].

  bool operator==(const DenseMatrix&) const = default;
};

}  // namespace weir
