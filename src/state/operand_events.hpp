#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/error.hpp"
#include "weir/event.hpp"
#include "weir/sketch/kronecker_sketch.hpp"

namespace weir {

/// Throws UsageError unless `value`, which is `what` ("the number n of rows of A"), is 1 to 2^63.
inline void require_side(std::uint64_t value, std::string_view what) {
  constexpr std::uint64_t largest = std::uint64_t{1} << 63;
  if (value < 1 || value > largest) throw UsageError(fmt::format("{} is {}, expected 1 to {}", what, value, largest));
}

/// The same for the sides of A1, A2 and X.
inline void require_sides(const KroneckerShape& shape) {
  require_side(shape.n1, "the number n1 of rows of A1");
  require_side(shape.n2, "the number n2 of rows of A2");
  require_side(shape.d1, "the number d1 of columns of A1");
  require_side(shape.d2, "the number d2 of columns of A2");
}

/// As a line of a stream has it: "A,3,1,0.5", "x,3,0.5".
[[nodiscard]] std::string describe(const Event& event);

/// Throws InputError, naming the event, when `batch` changes an operand that is not among `shapes`, or something outside
/// of its operand, or a row of another length. (Readers have seen to that; programs may not have.)
void require_within(const EventBatch& batch, std::span<const OperandShape> shapes);

/// A1, A2 and X.
[[nodiscard]] inline std::array<OperandShape, 3> kronecker_shapes(const KroneckerShape& shape) {
  return {{{Operand::A1, shape.n1, shape.d1}, {Operand::A2, shape.n2, shape.d2}, {Operand::X, shape.d1, shape.d2}}};
}
/// The events of `operand`: `batch` itself when it has no others, else a copy of them in `scratch`.
[[nodiscard]] const EventBatch& part_of(const EventBatch& batch, Operand operand, EventBatch& scratch);
/// Adds events of X, which lie within it, to `x`, row by row of `columns`. Throws InputError when a sum overflows.
void add_to_core(const EventBatch& batch, std::uint64_t columns, std::span<double> x);

}  // namespace weir
