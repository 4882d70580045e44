#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "weir/event.hpp"

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

  /// A is rows x x.size(), rows 1 to 2^63. Throws UsageError when a side is empty or too long, InputError when an entry
  /// of x is not finite.
  ProductModel(std::uint64_t rows, std::vector<double> x);

  [[nodiscard]] std::uint64_t dimension() const noexcept { return rows_; }
  [[nodiscard]] std::vector<OperandShape> shapes() const { return {{Operand::A, rows_, x_.size()}}; }
  /// Consecutive entries of one row become one update, as does every whole row, and updates of zero are left out. The
  /// columns are buffers of this model, valid until the next call; they are allocated once. Throws InputError naming the
  /// event when an update is not a finite double, a column is outside of x, or a whole row is not one of A, as long as x.
  [[nodiscard]] Updates updates(const EventBatch& batch);

 private:
  std::uint64_t rows_;
  std::vector<double> x_;
  std::vector<std::uint64_t> keys_;
  std::vector<double> deltas_;
};

/// The settings in which every event is a linear change of y that can be told from the event and the fixed operands
/// alone. A new one is a class with the members of the two above, added to this list.
using Model = std::variant<VectorModel, ProductModel>;

[[nodiscard]] inline std::string_view model_name(const Model& model) noexcept {
  return std::visit([](const auto& m) { return m.name; }, model);
}
/// Length of y.
[[nodiscard]] inline std::uint64_t dimension(const Model& model) noexcept {
  return std::visit([](const auto& m) { return m.dimension(); }, model);
}
/// The operands that may occur in the stream, with their index ranges.
[[nodiscard]] inline std::vector<OperandShape> operand_shapes(const Model& model) {
  return std::visit([](const auto& m) { return m.shapes(); }, model);
}
/// What a line without an operand name means.
[[nodiscard]] inline Operand streamed_operand(const Model& model) noexcept {
  return std::visit([](const auto& m) { return m.streamed; }, model);
}
/// What the events of `batch` do to y. They must lie within operand_shapes(model), which readers see to.
[[nodiscard]] inline Updates updates_of(Model& model, const EventBatch& batch) {
  return std::visit([&](auto& m) { return m.updates(batch); }, model);
}

}  // namespace weir
