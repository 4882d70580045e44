#pragma once

#include <array>
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

  /// Throws UsageError when a side is not 1 to 2^63.
  explicit KroneckerModel(const KroneckerShape& shape, const GramConfig& gram = {});

  /// n1: of y as a matrix, as n1 * n2 need not fit.
  [[nodiscard]] std::uint64_t dimension() const noexcept { return shape_.n1; }
  [[nodiscard]] const KroneckerShape& shape() const noexcept { return shape_; }
  /// A1, A2, X.
  [[nodiscard]] std::vector<OperandShape> shapes() const { return {shapes_.begin(), shapes_.end()}; }

  [[nodiscard]] KroneckerSketch sketch(const SketchConfig& config) const { return {shape_, config, gram_}; }
  [[nodiscard]] std::uint64_t sketch_columns() const noexcept { return shape_.d1 + shape_.d2; }
  /// Bytes of its tables. Throws UsageError as its constructor does.
  [[nodiscard]] std::uint64_t sketch_bytes(const SketchConfig& config) const {
    return sizeof(double) * KroneckerSketch::size(shape_, config, gram_);
  }
  [[nodiscard]] DenseTensor dense() const;

  /// Adds the events of `batch`, in any mixture of operands. A whole row of X is one event of X. Throws InputError for a
  /// change of another operand or outside of its operand, when an entry of X overflows, and as RowsSketch and
  /// DenseOperand do.
  void ingest(const EventBatch& batch, KroneckerSketch& sketch);
  void ingest(const EventBatch& batch, DenseTensor& dense);

 private:
  template <class Operands>
  void ingest_operands(const EventBatch& batch, Operands& operands);
  /// The changes of `operand`: `batch` itself when there are no others, or part_.
  [[nodiscard]] const EventBatch& part_of(const EventBatch& batch, Operand operand);

  KroneckerShape shape_;
  GramConfig gram_;
  std::array<OperandShape, 3> shapes_;
  EventBatch part_;  // scratch: the events of one operand in a mixed batch
};

}  // namespace weir
