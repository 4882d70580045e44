#pragma once

#include <Eigen/Core>

#include <cstdint>
#include <string>

#include "matrix_view.hpp"
#include "random/argument_checks.hpp"
#include "weir/attention/rows_view.hpp"

namespace weir {

[[nodiscard]] inline MatrixView matrix_view(RowsView rows) { return matrix_view(rows.values, rows.rows, rows.columns); }

[[nodiscard]] inline Eigen::Index to_index(std::uint64_t number) { return static_cast<Eigen::Index>(number); }

/// Throws UsageError unless the view has rows * columns numbers, and `columns` columns.
inline void require_view(const char* function, const char* quantity, RowsView view, std::uint64_t columns) {
  require_equal({function, quantity, "the number of columns that is expected"}, view.columns, columns);
  require_equal({function, "values.size()", "rows * columns"}, view.values.size(), view.rows * view.columns);
}

}  // namespace weir
