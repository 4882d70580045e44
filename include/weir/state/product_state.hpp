#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weir/event.hpp"
#include "weir/sketch/product_sketch.hpp"
#include "weir/state/copyable_mutex.hpp"
#include "weir/state/state.hpp"

namespace weir {

/// The entries of a batch of A and x, apart.
class ProductEntries {
 public:
  /// Adds the events of x to `x` and keeps those of A, which are valid as long as the batch and until the next call. Throws
  /// InputError for another operand, an index outside of x, and a sum that overflows.
  void split(const EventBatch& batch, std::span<double> x);

  std::span<const std::uint64_t> rows, columns;
  std::span<const double> deltas;

 private:
  std::vector<std::uint64_t> own_rows_, own_columns_;
  std::vector<double> own_deltas_;
};

/// y = A x while x streams, and A streams too or has been read before (sections 5.2 and 5.3 of the paper). No event alone
/// is a change of y: the operands are kept apart, each linear in its own events, and multiplied when all are merged.
/// Arrays: x, then the cells of A.
///
/// With `degree` 2 rows are lifted, for the law |y_i|^4; then they come and go whole, as in a SquaredProductState.
class ProductState : public KeptAs<ProductState> {
 public:
  /// A has config.dimension rows and `d` columns. Throws as ProductSketch does.
  ProductState(const SketchConfig& config, std::uint64_t d, std::uint32_t degree,
               const std::optional<PrecisionTarget>& precision);
  [[nodiscard]] static std::vector<ArrayLayout> layout(const SketchConfig& config, std::uint64_t d,
                                                       std::uint32_t degree);

  [[nodiscard]] std::unique_ptr<Kept> clone() const override;
  [[nodiscard]] std::string_view holds() const override { return "A and x of a product"; }
  [[nodiscard]] std::vector<Numbers> arrays() override;
  /// Throws InputError for an index out of range, a row of another length, a number that is not finite, and a change of a
  /// single entry of A where rows are lifted.
  void add(const EventBatch& batch) override;
  [[nodiscard]] std::string describe_range_problem() const override;
  [[nodiscard]] OperandSet zero_operands() const override;
  [[nodiscard]] std::optional<double> norm() const override { return norm_of(product()->f2()).value; }
  [[nodiscard]] std::optional<VectorSketch> sketch_of_y() const override { return *product(); }
  [[nodiscard]] bool can_verify(const Parties& parties) const override;
  /// An exact question reads A once more: O(n d / P) time, and 8 n bytes where its file has entries, not whole rows.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override;

 private:
  /// y, multiplied out once for all questions between two changes, of all threads.
  [[nodiscard]] std::shared_ptr<const VectorSketch> product() const;
  void forget_product();

  ProductSketch operands_;
  std::optional<PrecisionTarget> precision_;
  mutable CopyableMutex product_mutex_;
  mutable std::shared_ptr<const VectorSketch> product_;  // dropped whenever the operands may change

  ProductEntries entries_;      // scratch
  std::vector<double> lifted_;  // scratch: lifted rows of a batch
};

/// Throws InputError when a whole row is not one of A, of d numbers.
void require_rows_of_a(const RowBatch& rows, std::uint64_t d);

}  // namespace weir
