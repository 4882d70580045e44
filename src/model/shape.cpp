#include "model/shape.hpp"

#include <fmt/ranges.h>

#include <algorithm>
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

}  // namespace weir
