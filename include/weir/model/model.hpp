#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "weir/event.hpp"
#include "weir/model/kronecker.hpp"
#include "weir/model/rows.hpp"
#include "weir/model/streamed_product.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/dense_operand.hpp"
#include "weir/sample/dense_product.hpp"
#include "weir/sample/dense_tensor.hpp"
#include "weir/sketch/state.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// Changes of y as columns: y[keys[t]] += deltas[t]. The spans are equally long.
struct Updates {
  std::span<const std::uint64_t> keys;
  std::span<const double> deltas;
};

/// y is the stream itself: the event (y, i, delta) is the update (i, delta).
class VectorModel {
 public:
  static constexpr std::string_view name = "vector";
  static constexpr Operand streamed = Operand::y;

  /// y of length `dimension`, 1 to 2^63. Throws UsageError.
  explicit VectorModel(std::uint64_t dimension);

  [[nodiscard]] std::uint64_t dimension() const noexcept { return dimension_; }
  [[nodiscard]] std::vector<OperandShape> shapes() const { return {{Operand::y, dimension_, 1}}; }
  /// The columns of `batch` themselves, valid as long as they are. Throws InputError when it holds whole rows.
  [[nodiscard]] Updates updates(const EventBatch& batch) const;

 private:
  std::uint64_t dimension_;
};

/// y = A x with x fixed and A streamed (section 5.3 of the paper): the event (A, i, j, delta) is the update (i, delta *
/// x[j]), and a row a that comes or leaves is the update (i, weight * <a, x>).
class ProductModel {
 public:
  static constexpr std::string_view name = "product";
  static constexpr Operand streamed = Operand::A;

  /// A is rows x x.size(), rows 1 to 2^63. With `degree` 2 the squares <a, x>^2 of rows are sketched too, for the law
  /// |y_i|^4; then rows come and go whole, as in a StreamedProductModel. Throws UsageError when a side is empty or too
  /// long and for another degree than 1 and 2, InputError when an entry of x is not finite.
  ProductModel(std::uint64_t rows, std::vector<double> x, std::uint32_t degree = 1);

  [[nodiscard]] std::uint64_t dimension() const noexcept { return rows_; }
  [[nodiscard]] std::span<const double> x() const noexcept { return x_; }
  [[nodiscard]] std::uint32_t degree() const noexcept { return degree_; }
  [[nodiscard]] std::vector<OperandShape> shapes() const { return {{Operand::A, rows_, x_.size()}}; }
  /// Consecutive entries of one row become one update, as does every whole row, and updates of zero are left out. The
  /// columns are buffers of this model, valid until the next call; they are allocated once. Throws InputError naming the
  /// event when an update is not a finite double, a column is outside of x, or a whole row is not one of A, as long as x.
  [[nodiscard]] Updates updates(const EventBatch& batch);
  /// Whole rows alone, each as a row of one column: <a, x>, with its weight. Throws InputError likewise, and for a change
  /// of a single entry.
  [[nodiscard]] EventBatch products(const EventBatch& batch) const;

 private:
  /// <row t, x>. Throws InputError.
  [[nodiscard]] double product(const RowBatch& rows, std::size_t t) const;

  std::uint64_t rows_;
  std::vector<double> x_;
  std::uint32_t degree_;
  std::vector<std::uint64_t> keys_;
  std::vector<double> deltas_;
};

/// How the events of a stream make up y. A new setting is a class with a name, a dimension and shapes, and what the
/// functions below do for it.
using Model = std::variant<VectorModel, ProductModel, StreamedProductModel, RowsModel, KroneckerModel>;

/// Length of y; number of rows to draw from, and n1 where y is a matrix of n1 x n2.
[[nodiscard]] inline std::uint64_t dimension(const Model& model) noexcept {
  return std::visit([](const auto& m) { return m.dimension(); }, model);
}
/// The operands that may occur in the stream, with their index ranges.
[[nodiscard]] inline std::vector<OperandShape> operand_shapes(const Model& model) {
  return std::visit([](const auto& m) { return m.shapes(); }, model);
}
/// What a line without an operand name, and a file of numbers, mean.
[[nodiscard]] inline Operand streamed_operand(const Model& model) noexcept {
  return std::visit([](const auto& m) { return m.streamed; }, model);
}

/// The exact counterpart of a SketchState.
using DenseState = std::variant<DenseVector, DenseProduct, DenseOperand, DenseTensor>;

/// The state of no event, for one of the parties whose states are to be summed. What does not stream is put in by one
/// of them, the first.
[[nodiscard]] SketchState empty_sketch(const Model& model, const SketchConfig& config, bool is_first);
[[nodiscard]] DenseState empty_dense(const Model& model);
/// Columns of the sketched matrix, or matrices: doubles of a cell for each lane; 1 where y itself is sketched.
[[nodiscard]] std::uint64_t sketch_columns(const Model& model);

/// Adds the events to a state that empty_sketch or empty_dense of the same model made. They must lie within
/// operand_shapes(model), which readers see to. Throws InputError when they do not, when a number is not finite, and
/// for a change of a single entry of A where rows are lifted, or of a factor whose Gram matrix is kept exactly.
void add_events(Model& model, const EventBatch& batch, SketchState& state);
void add_events(Model& model, const EventBatch& batch, DenseState& state);

}  // namespace weir
