#include "state/operand_events.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace weir {
namespace {

const OperandShape& shape_of(Operand operand, const std::string& change, std::span<const OperandShape> shapes) {
  const auto shape = std::ranges::find(shapes, operand, &OperandShape::operand);
  if (shape != shapes.end()) return *shape;
  std::vector<std::string_view> names;
  for (const OperandShape& known : shapes) names.push_back(to_string(known.operand));
  throw InputError(fmt::format("{}: expected a change of {}", change, fmt::join(names, " or ")));
}

std::string describe_row(const RowBatch& rows, std::size_t t) {
  return fmt::format("row {} of {}", rows.i[t], to_string(rows.operands[t]));
}

}  // namespace

std::string describe(const Event& event) {
  const std::string place =
      has_column(event.operand) ? fmt::format("{},{}", event.i, event.j) : fmt::to_string(event.i);
  return fmt::format("{},{},{}", to_string(event.operand), place, event.delta);
}

void require_within(const EventBatch& batch, std::span<const OperandShape> shapes) {
  const OperandShape* shape = nullptr;
  for (std::size_t t = 0; t < batch.size(); ++t) {
    if (shape == nullptr || shape->operand != batch.operands[t])
      shape = &shape_of(batch.operands[t], "event " + describe(batch[t]), shapes);
    if (batch.i[t] >= shape->rows || batch.j[t] >= shape->columns)
      throw InputError(fmt::format("event {}: {} is {} x {}", describe(batch[t]), to_string(shape->operand),
                                   shape->rows, shape->columns));
  }
  const RowBatch& rows = batch.rows;
  for (std::size_t t = 0; t < rows.size(); ++t) {
    if (shape == nullptr || shape->operand != rows.operands[t])
      shape = &shape_of(rows.operands[t], describe_row(rows, t), shapes);
    if (rows.i[t] >= shape->rows || rows.row(t).size() != shape->columns)
      throw InputError(fmt::format("{} with {} values: {} is {} x {}", describe_row(rows, t), rows.row(t).size(),
                                   to_string(shape->operand), shape->rows, shape->columns));
  }
}

const EventBatch& part_of(const EventBatch& batch, Operand operand, EventBatch& scratch) {
  const auto is_other = [&](Operand of_event) { return of_event != operand; };
  if (std::ranges::none_of(batch.operands, is_other) && std::ranges::none_of(batch.rows.operands, is_other))
    return batch;
  scratch.clear();
  for (std::size_t t = 0; t < batch.size(); ++t)
    if (batch.operands[t] == operand) scratch.push_back(batch[t]);
  for (std::size_t t = 0; t < batch.rows.size(); ++t)
    if (batch.rows.operands[t] == operand)
      scratch.rows.push_back(operand, batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
  return scratch;
}

void add_to_core(const EventBatch& batch, std::uint64_t columns, std::span<double> x) {
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

}  // namespace weir
