#include <algorithm>

#include "bindings.hpp"
#include "weir/error.hpp"

namespace weir::python {

Reals array_of(const DenseMatrix& matrix) {
  Reals array({static_cast<py::ssize_t>(matrix.rows), static_cast<py::ssize_t>(matrix.columns)});
  std::copy(matrix.values.begin(), matrix.values.end(), array.mutable_data());
  return array;
}

DenseMatrix matrix_of(const Reals& array) {
  if (array.ndim() > 2)
    throw UsageError("an array of " + std::to_string(array.ndim()) + " dimensions, expected 1 or 2");
  const auto numbers = span_of(array);
  return {.rows = array.ndim() == 0 ? 1 : static_cast<std::uint64_t>(array.shape(0)),
          .columns = array.ndim() == 2 ? static_cast<std::uint64_t>(array.shape(1)) : 1,
          .values = {numbers.begin(), numbers.end()}};
}

}  // namespace weir::python
