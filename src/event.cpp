#include "weir/event.hpp"

#include <array>

namespace weir {

std::string_view to_string(Operand operand) noexcept {
  static constexpr std::array<std::string_view, 6> names = {"y", "x", "A", "A1", "A2", "X"};
  return names[static_cast<std::size_t>(operand)];
}

void EventBatch::clear() noexcept {
  operands.clear();
  i.clear();
  j.clear();
  delta.clear();
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
