#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "weir/event.hpp"
#include "weir/sample/dense_product.hpp"
#include "weir/sketch/product_sketch.hpp"

namespace weir {

/// y = A x while x streams, and A streams too or has been read before (sections 5.2 and 5.3 of the paper). No event
/// alone is a change of y: the operands are kept apart, each linear in its own events, and multiplied when all are
/// merged.
class StreamedProductModel {
 public:
  static constexpr std::string_view name = "product";
  /// A line that names no operand is bad; a file of numbers is rows of A.
  static constexpr Operand streamed = Operand::A;

  /// A is rows x columns, rows 1 to 2^63. With `degree` 2 rows are lifted, for the law |y_i|^4; then they come and go
  /// whole, each at most once at a time. That is for the caller to see to: a state that could tell rows a and b in one
  /// place from their sum would decide whether two sets are disjoint, for which Omega(n) bits are needed. Throws
  /// UsageError when a side is 0 or too long (to lift, 2^32 columns), or for another degree than 1 and 2.
  StreamedProductModel(std::uint64_t rows, std::uint64_t columns, std::uint32_t degree = 1);

  [[nodiscard]] std::uint64_t dimension() const noexcept { return rows_; }
  [[nodiscard]] std::uint64_t columns() const noexcept { return columns_; }
  [[nodiscard]] std::uint32_t degree() const noexcept { return degree_; }
  [[nodiscard]] std::vector<OperandShape> shapes() const {
    return {{Operand::A, rows_, columns_}, {Operand::x, columns_, 1}};
  }

  /// Columns of what is sketched: those of A and, where rows are lifted, d (d + 1) / 2 more.
  [[nodiscard]] std::uint64_t sketch_columns() const { return ProductSketch::columns(columns_, degree_); }
  /// Throws InputError for a change of a single entry of A: lifted rows come and go whole.
  static void require_whole_rows(const EventBatch& batch);

  /// The operands before any event.
  [[nodiscard]] ProductSketch sketch(const SketchConfig& config) const;
  [[nodiscard]] DenseProduct dense() const { return {rows_, columns_}; }

  /// Adds the events of `batch` to the operands, which are of this model's shape. Throws InputError for an index out of
  /// range, a row of another length, a number that is not finite, and a change of a single entry of A where rows are
  /// lifted.
  void ingest(const EventBatch& batch, ProductSketch& operands);
  void ingest(const EventBatch& batch, DenseProduct& operands);
  /// Adds events of x alone.
  void ingest(const EventBatch& batch, std::vector<double>& x);

 private:
  struct Entries {
    std::vector<std::uint64_t> rows;
    std::vector<std::uint64_t> columns;
    std::vector<double> deltas;
  };

  /// Adds the events of x to `x`, and tells `update` of those of A.
  template <class Update>
  void ingest_entries(const EventBatch& batch, std::vector<double>& x, const Update& update);
  void require_rows_of_a(const RowBatch& rows) const;

  std::uint64_t rows_;
  std::uint64_t columns_;
  std::uint32_t degree_;
  Entries entries_;             // scratch: the events of A in a mixed batch
  std::vector<double> lifted_;  // scratch: lifted rows of a batch
};

}  // namespace weir
