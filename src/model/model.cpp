#include "weir/model/model.hpp"

#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <utility>

#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::uint64_t max_dimension = std::uint64_t{1} << 63;

void require_dimension(std::uint64_t value, std::string_view what) {
  if (value < 1 || value > max_dimension)
    throw UsageError(fmt::format("{} is {}, expected 1 to {}", what, value, max_dimension));
}

}  // namespace

VectorModel::VectorModel(std::uint64_t dimension) : dimension_(dimension) {
  require_dimension(dimension, "the length n of y");
}

Updates VectorModel::updates(const EventBatch& batch) const {
  if (!batch.rows.empty())
    throw InputError(
        fmt::format("row {} of {}: y is a vector and has no rows", batch.rows.i[0], to_string(batch.rows.operands[0])));
  return {batch.i, batch.delta};
}

ProductModel::ProductModel(std::uint64_t rows, std::vector<double> x) : rows_(rows), x_(std::move(x)) {
  require_dimension(rows, "the number n of rows of A");
  if (x_.empty()) throw UsageError("the fixed operand x is empty, expected at least one entry");
  for (std::size_t j = 0; j < x_.size(); ++j)
    if (!std::isfinite(x_[j]))
      throw InputError(fmt::format("entry {} of the fixed operand x is {}, expected a finite number", j, x_[j]));
}

Updates ProductModel::updates(const EventBatch& batch) {
  const std::size_t count = batch.size();
  if (keys_.size() < batch.events()) {
    keys_.resize(batch.events());
    deltas_.resize(batch.events());
  }
  std::size_t used = 0;
  std::uint64_t row = 0;
  double sum = 0;
  const auto close = [&] {
    if (sum != 0) {
      keys_[used] = row;
      deltas_[used] = sum;
      ++used;
    }
  };
  for (std::size_t t = 0; t < count; ++t) {
    const std::uint64_t j = batch.j[t];
    if (j >= x_.size())
      throw InputError(fmt::format("event A,{},{},{}: column {} is outside x of length {}", batch.i[t], j,
                                   batch.delta[t], j, x_.size()));
    const double change = batch.delta[t] * x_[j];
    if (batch.i[t] != row) {
      close();
      row = batch.i[t];
      sum = 0;
    }
    sum += change;
    if (!std::isfinite(sum))
      throw InputError(
          fmt::format("event A,{},{},{}: delta times x[{}] = {} makes an update of y[{}] that overflows a double", row,
                      j, batch.delta[t], j, x_[j], row));
  }
  close();
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    const std::span<const double> values = batch.rows.row(t);
    row = batch.rows.i[t];
    if (batch.rows.operands[t] != Operand::A || values.size() != x_.size())
      throw InputError(fmt::format("row {} of {} has {} values, expected a row of A with {}, the length of x", row,
                                   to_string(batch.rows.operands[t]), values.size(), x_.size()));
    sum = batch.rows.weights[t] * std::transform_reduce(values.begin(), values.end(), x_.begin(), 0.0);
    if (!std::isfinite(sum))
      throw InputError(fmt::format("row {} of A times x makes an update of y[{}] that overflows a double", row, row));
    close();
  }
  return {std::span(keys_).first(used), std::span(deltas_).first(used)};
}

}  // namespace weir
