#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "weir/sketch/kronecker_sketch.hpp"
#include "weir/sketch/product_sketch.hpp"
#include "weir/sketch/rows_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// The linear state of y: its sketch, or the sketches of its operands.
using SketchState = std::variant<VectorSketch, ProductSketch, RowsSketch, KroneckerSketch>;

[[nodiscard]] inline const SketchConfig& config_of(const SketchState& state) noexcept {
  return std::visit([](const auto& sketch) -> const SketchConfig& { return sketch.config(); }, state);
}
/// Phi y: the state itself, or its operands multiplied. Throws as ProductSketch::y, and UsageError for states that have
/// no sketch of y.
[[nodiscard]] VectorSketch sketch_of_y(SketchState state);
/// 64-bit digest of all that must be equal for two states to be added.
[[nodiscard]] std::uint64_t fingerprint_of(const SketchState& state) noexcept;

}  // namespace weir
