#pragma once

#include <Eigen/Core>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "matrix_view.hpp"
#include "random/argument_checks.hpp"
#include "weir/attention/rows_view.hpp"
#include "weir/error.hpp"

namespace weir {

[[nodiscard]] inline MatrixView matrix_view(RowsView rows) { return matrix_view(rows.values, rows.rows, rows.columns); }

[[nodiscard]] inline Eigen::Index to_index(std::uint64_t number) { return static_cast<Eigen::Index>(number); }

/// Throws UsageError unless the view has rows * columns numbers, and `columns` columns.
inline void require_view(const char* function, const char* quantity, RowsView view, std::uint64_t columns) {
  require_equal({function, quantity, "the number of columns that is expected"}, view.columns, columns);
  require_equal({function, "values.size()", "rows * columns"}, view.values.size(), view.rows * view.columns);
}

/// Numbers, and products with features, must stay below the largest 32-bit float, 3.4e38.
inline constexpr double largest_float = 1e37;

/// Throws InputError that names the first row with a number too large for 32-bit floats. The numbers are finite.
inline void require_fits_floats(RowsView rows, const char* name, const RowNumbers& numbers) {
  const auto found = std::ranges::find_if(rows.values, [](double x) { return std::abs(x) >= largest_float; });
  if (found == rows.values.end()) return;
  const auto place = static_cast<std::uint64_t>(found - rows.values.begin());
  throw InputError(fmt::format("{}: row {}, column {} is {}, more than fits into 32-bit numbers", name,
                               numbers[place / rows.columns], place % rows.columns, *found));
}

}  // namespace weir
