#include "weir/model/kronecker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/shape.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

RowsSketch& factor_of(KroneckerSketch& operands, Operand operand) {
  return operand == Operand::A1 ? operands.a1 : operands.a2;
}

DenseOperand& factor_of(DenseTensor& operands, Operand operand) {
  return operands.factors[operand == Operand::A1 ? 0 : 1];
}

/// Adds events of X, `columns` wide.
void add_to_core(const EventBatch& batch, std::uint64_t columns, std::vector<double>& x) {
  const auto add = [&](std::uint64_t j, std::uint64_t k, double delta) {
    if (!std::isfinite(x[j * columns + k] += delta))
      throw InputError(fmt::format("event {}: the sum of the changes of X[{}][{}] overflows a double",
                                   describe({Operand::X, j, k, delta}), j, k));
  };
  for (std::size_t t = 0; t < batch.size(); ++t) add(batch.i[t], batch.j[t], batch.delta[t]);
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    const std::span<const double> row = batch.rows.row(t);
    for (std::size_t k = 0; k < columns; ++k) add(batch.rows.i[t], k, batch.rows.weights[t] * row[k]);
  }
}

}  // namespace

KroneckerModel::KroneckerModel(const KroneckerShape& shape, const GramConfig& gram)
    : shape_(shape),
      gram_(gram),
      shapes_{
          {{Operand::A1, shape.n1, shape.d1}, {Operand::A2, shape.n2, shape.d2}, {Operand::X, shape.d1, shape.d2}}} {
  require_sides(shape);
}

DenseTensor KroneckerModel::dense() const {
  return {std::array{shape_.n1, shape_.n2}, std::array{shape_.d1, shape_.d2}};
}

const EventBatch& KroneckerModel::part_of(const EventBatch& batch, Operand operand) {
  const auto is_other = [&](Operand of_event) { return of_event != operand; };
  if (std::ranges::none_of(batch.operands, is_other) && std::ranges::none_of(batch.rows.operands, is_other))
    return batch;
  part_.clear();
  for (std::size_t t = 0; t < batch.size(); ++t)
    if (batch.operands[t] == operand) part_.push_back(batch[t]);
  for (std::size_t t = 0; t < batch.rows.size(); ++t)
    if (batch.rows.operands[t] == operand)
      part_.rows.push_back(operand, batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
  return part_;
}

template <class Operands>
void KroneckerModel::ingest_operands(const EventBatch& batch, Operands& operands) {
  require_within(batch, shapes_);
  for (const Operand operand : {Operand::A1, Operand::A2}) {
    const EventBatch& part = part_of(batch, operand);
    auto& factor = factor_of(operands, operand);
    factor.update(part.i, part.j, part.delta);
    factor.update_rows(part.rows.i, part.rows.weights, part.rows.values);
  }
  const EventBatch& of_x = part_of(batch, Operand::X);
  add_to_core(of_x, shape_.d2, operands.x);
  operands.x_events += static_cast<double>(of_x.events());
}

void KroneckerModel::ingest(const EventBatch& batch, KroneckerSketch& sketch) { ingest_operands(batch, sketch); }

void KroneckerModel::ingest(const EventBatch& batch, DenseTensor& dense) { ingest_operands(batch, dense); }

}  // namespace weir
