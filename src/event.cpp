#include "weir/event.hpp"

namespace weir {

std::string_view to_string(Operand operand) noexcept {
  static constexpr std::array<std::string_view, 6> names = {"y", "x", "A", "A1", "A2", "X"};
  return names[static_cast<std::size_t>(operand)];
}

std::string to_string(OperandSet operands) {
  std::string names;
  for (const Operand operand : all_operands) {
    if (!operands.contains(operand)) continue;
    if (!names.empty()) names += ", ";
    names += to_string(operand);
  }
  return names;
}

void RowBatch::clear() noexcept {
  operands.clear();
  i.clear();
  weights.clear();
  values.clear();
  ends.clear();
}

void RowBatch::push_back(Operand operand, std::uint64_t row, double weight, std::span<const double> row_values) {
  values.insert(values.end(), row_values.begin(), row_values.end());
  close_row(operand, row, weight);
}

void RowBatch::close_row(Operand operand, std::uint64_t row, double weight) {
  operands.push_back(operand);
  i.push_back(row);
  weights.push_back(weight);
  ends.push_back(values.size());
}

void EventBatch::clear() noexcept {
  operands.clear();
  i.clear();
  j.clear();
  delta.clear();
  rows.clear();
}

void EventBatch::resize(std::size_t count) {
  operands.resize(count);
  i.resize(count);
  j.resize(count);
  delta.resize(count);
}

void EventBatch::push_back(const Event& event) {
  operands.push_back(event.operand);
  i.push_back(event.i);
  j.push_back(event.j);
  delta.push_back(event.delta);
}

}  // namespace weir
