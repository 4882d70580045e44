#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/event.hpp"
#include "weir/sketch/matrix_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/state/state.hpp"

namespace weir {

/// Changes of y as columns: y[keys[t]] += deltas[t]. The spans are equally long.
struct Updates {
  std::span<const std::uint64_t> keys;
  std::span<const double> deltas;
};

/// The events of a y that is the stream itself, as changes of y: the columns of `batch`, valid as long as they are.
/// Throws InputError when it holds whole rows.
[[nodiscard]] Updates updates_of_y(const EventBatch& batch);

/// The events of an A as changes of y = A x, for an x that is fixed (section 5.3 of the paper): the event (A, i, j,
/// delta) is the change (i, delta * x[j]), and a row a that comes or leaves is the change (i, weight * <a, x>).
class ProductUpdates {
 public:
  /// x has d entries, 0 until set_x(). With d = 0 the length of x is not known, and events are refused.
  explicit ProductUpdates(std::uint64_t d) : x_(static_cast<std::size_t>(d)) {}

  /// Throws UsageError when `operand` is not x or `values` has another length, InputError as check().
  void set_x(Operand operand, const DenseMatrix& values);
  /// Throws InputError when an entry of x is not finite.
  void check() const;
  [[nodiscard]] std::span<double> x() noexcept { return x_; }
  [[nodiscard]] std::span<const double> x() const noexcept { return x_; }
  /// Consecutive entries of one row become one change, as does every whole row, and changes of zero are left out. The
  /// columns are buffers of this object, valid until the next call; they are allocated once. Throws InputError naming the
  /// event when a change is not a finite double, a column is outside of x, or a whole row is not one of A, as long as x.
  [[nodiscard]] Updates operator()(const EventBatch& batch);
  /// <a, x> for whole row number t of a batch. Throws InputError likewise.
  [[nodiscard]] double product(const RowBatch& rows, std::size_t t) const;

 private:
  std::vector<double> x_;
  std::vector<std::uint64_t> keys_;
  std::vector<double> deltas_;
};

/// Throws InputError for a change of a single entry of A: lifted rows come and go whole.
void require_whole_rows(const EventBatch& batch);

/// A sketch of y, whose events are those of y itself. Arrays: the cells.
class VectorState : public KeptAs<VectorState> {
 public:
  VectorState(const SketchConfig& config, const std::optional<PrecisionTarget>& precision);
  /// With the cells of `y`.
  VectorState(VectorSketch y, const std::optional<PrecisionTarget>& precision);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const SketchConfig& config);

  [[nodiscard]] std::string_view holds() const override { return "a vector"; }
  [[nodiscard]] std::vector<Numbers> arrays() override { return {y_.table()}; }
  void add(const EventBatch& batch) override;
  void add_entries(const OperandShape& shape, std::span<const std::uint64_t> i, std::span<const std::uint64_t> j,
                   std::span<const double> delta) override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] OperandSet zero_operands() const override;
  [[nodiscard]] std::optional<double> norm() const override;
  [[nodiscard]] std::optional<VectorSketch> sketch_of_y() const override { return y_; }
  [[nodiscard]] bool is_sketch_of_y() const override { return true; }
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  VectorSketch y_;
  std::optional<PrecisionTarget> precision_;
};

/// A sketch of y = A x, A streams and x is fixed. Arrays: the cells of y, then x where it is kept.
class FixedProductState : public KeptAs<FixedProductState> {
 public:
  /// `d` is the length of x; 0 where x is not known, as in states of version 2: then no event can be added.
  FixedProductState(const SketchConfig& config, std::uint64_t d, const std::optional<PrecisionTarget>& precision);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const SketchConfig& config, std::uint64_t d);

  [[nodiscard]] std::string_view holds() const override { return "a vector"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  void add(const EventBatch& batch) override;
  void set_fixed(Operand operand, const DenseMatrix& values) override { updates_.set_x(operand, values); }
  void finish_fixed() override { updates_.check(); }
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] OperandSet zero_operands() const override;
  [[nodiscard]] std::optional<double> norm() const override;
  [[nodiscard]] std::optional<VectorSketch> sketch_of_y() const override { return y_; }
  [[nodiscard]] bool is_sketch_of_y() const override { return true; }
  [[nodiscard]] bool can_verify(const Parties& parties) const override { return parties.can_read_again(Operand::A); }
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  VectorSketch y_;
  ProductUpdates updates_;
  std::optional<PrecisionTarget> precision_;
};

/// Sketches of y = A x and of its squares, for the law |y_i|^4; A streams and x is fixed. Arrays: the cells, those of y_i
/// beside those of y_i^2, then x where it is kept. Rows of A come and go whole, and a row must have left as it came before
/// another takes its place, which nothing can check. (A state that could tell rows a and b in one place from their sum
/// would decide whether two sets are disjoint, for which Omega(n) bits are needed.)
class SquaredProductState : public KeptAs<SquaredProductState> {
 public:
  /// As FixedProductState.
  SquaredProductState(const SketchConfig& config, std::uint64_t d);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const SketchConfig& config, std::uint64_t d);

  [[nodiscard]] std::string_view holds() const override { return "a vector and its squares"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  void add(const EventBatch& batch) override;
  void set_fixed(Operand operand, const DenseMatrix& values) override { updates_.set_x(operand, values); }
  void finish_fixed() override { updates_.check(); }
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] OperandSet zero_operands() const override;
  [[nodiscard]] std::optional<double> norm() const override;
  [[nodiscard]] std::optional<VectorSketch> sketch_of_y() const override;
  [[nodiscard]] bool can_verify(const Parties& parties) const override { return parties.can_read_again(Operand::A); }
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  [[nodiscard]] VectorSketch squares() const;

  MatrixSketch cells_;  // Phi [y, y^2]
  ProductUpdates updates_;
  std::vector<double> pairs_;  // scratch: y and y^2 of whole rows
};

}  // namespace weir
