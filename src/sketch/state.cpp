#include "weir/sketch/state.hpp"

#include <type_traits>
#include <utility>

#include "weir/error.hpp"

namespace weir {

VectorSketch sketch_of_y(SketchState state) {
  if (const auto* product = std::get_if<ProductSketch>(&state)) return product->y();
  if (auto* y = std::get_if<VectorSketch>(&state)) return std::move(*y);
  throw UsageError("the state holds the operands of a matrix, not a sketch of the vector y");
}

std::uint64_t fingerprint_of(const SketchState& state) noexcept {
  return std::visit(
      [](const auto& sketch) {
        if constexpr (std::is_same_v<std::decay_t<decltype(sketch)>, VectorSketch>)
          return sketch.config().fingerprint();
        else
          return sketch.fingerprint();
      },
      state);
}

}  // namespace weir
