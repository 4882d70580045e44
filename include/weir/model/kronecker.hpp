#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "weir/event.hpp"
#include "weir/sample/dense_tensor.hpp"
#include "weir/sketch/kronecker_sketch.hpp"

namespace weir {

/// y = (A1 (x) A2) vec X while A1, A2 and X may all stream. While there is no event of X, it is the identity.
class KroneckerModel {
 public:
  static constexpr std::string_view name = "kronecker";
  /// A line that names no operand is bad; a file of numbers is rows of A1.
  static constexpr Operand streamed = Operand::A1;

  explicit KroneckerModel(const KroneckerShape& shape, const GramConfig& gram = {});

  /// n1: of y as a matrix, as n1 * n2 need not fit.
  [[nodiscard]] std::uint64_t dimension() const noexcept { return shape_.n1; }
  [[nodiscard]] const KroneckerShape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::vector<OperandShape> shapes() const;

  [[nodiscard]] KroneckerSketch sketch(const SketchConfig& config) const { return {shape_, config, gram_}; }
  [[nodiscard]] DenseTensor dense() const;

  /// Adds the events of `batch`, in any mixture of operands. Throws InputError.
  void ingest(const EventBatch& batch, KroneckerSketch& sketch);
  void ingest(const EventBatch& batch, DenseTensor& dense);

 private:
  KroneckerShape shape_;
  GramConfig gram_;
};

}  // namespace weir
