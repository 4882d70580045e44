#include "weir/sample/dense_product.hpp"

#include <fmt/format.h>

#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

#include "weir/error.hpp"

namespace weir {

DenseProduct::DenseProduct(std::uint64_t rows, std::uint64_t columns) : rows_(rows) {
  constexpr std::uint64_t most = std::numeric_limits<std::size_t>::max() / (2 * sizeof(double));
  if (rows == 0 || columns == 0 || rows > most / columns) {
    throw UsageError(
        fmt::format("A is {} x {}: expected at least 1 x 1 and at most 2^59 entries of a dense matrix", rows, columns));
  }
  x.resize(columns);
  a_.resize(rows * columns);
}

void DenseProduct::update(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> columns,
                          std::span<const double> deltas) {
  assert(rows.size() == deltas.size() && columns.size() == deltas.size());
  for (std::size_t t = 0; t < deltas.size(); ++t) {
    if (rows[t] >= rows_ || columns[t] >= x.size())
      throw InputError(
          fmt::format("update {}: entry ({}, {}) is outside A of {} x {}", t, rows[t], columns[t], rows_, x.size()));
    if (!std::isfinite(deltas[t])) throw InputError(fmt::format("update {}: delta is {}, not finite", t, deltas[t]));
  }
  for (std::size_t t = 0; t < deltas.size(); ++t) a_[rows[t] * x.size() + columns[t]] += deltas[t];
}

void DenseProduct::update_rows(std::span<const std::uint64_t> rows, std::span<const double> weights,
                               std::span<const double> values) {
  assert(weights.size() == rows.size() && values.size() == rows.size() * x.size());
  for (std::size_t t = 0; t < rows.size(); ++t) {
    if (rows[t] >= rows_) throw InputError(fmt::format("update {}: row {} is outside A of {} rows", t, rows[t], rows_));
    for (std::size_t j = 0; j < x.size(); ++j) {
      const double change = weights[t] * values[t * x.size() + j];
      if (!std::isfinite(change))
        throw InputError(fmt::format("update {}: entry {} of the row is {}, not finite", t, j, change));
    }
  }
  for (std::size_t t = 0; t < rows.size(); ++t) {
    for (std::size_t j = 0; j < x.size(); ++j) a_[rows[t] * x.size() + j] += weights[t] * values[t * x.size() + j];
  }
}

DenseVector DenseProduct::times(std::span<const double> factor) const {
  assert(factor.size() == x.size());
  DenseVector y(rows_);
  for (std::uint64_t i = 0; i < rows_; ++i) {
    const auto row = a_.begin() + static_cast<std::ptrdiff_t>(i * x.size());
    y.table()[i] = std::inner_product(factor.begin(), factor.end(), row, 0.0);
  }
  return y;
}

}  // namespace weir
