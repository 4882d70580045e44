#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "weir/event.hpp"
#include "weir/sample/dense_operand.hpp"
#include "weir/sketch/rows_sketch.hpp"

namespace weir {

/// Rows of a streamed A are drawn, by a_i^T M a_i.
class RowsModel {
 public:
  static constexpr std::string_view name = "rows";
  static constexpr Operand streamed = Operand::A;

  /// A is rows x columns. Throws UsageError when a side is not 1 to 2^63.
  RowsModel(std::uint64_t rows, std::uint64_t columns, const GramConfig& gram = {});

  [[nodiscard]] std::uint64_t dimension() const noexcept { return rows_; }
  [[nodiscard]] std::uint64_t columns() const noexcept { return columns_; }
  [[nodiscard]] std::vector<OperandShape> shapes() const { return {{Operand::A, rows_, columns_}}; }

  [[nodiscard]] RowsSketch sketch(const SketchConfig& config) const { return {config, columns_, gram_}; }
  [[nodiscard]] std::uint64_t sketch_columns() const noexcept { return columns_; }
  /// Bytes of its tables. Throws UsageError as its constructor does.
  [[nodiscard]] std::uint64_t sketch_bytes(const SketchConfig& config) const {
    return sizeof(double) * RowsSketch::size(config, columns_, gram_);
  }
  [[nodiscard]] DenseOperand dense() const { return {rows_, columns_, "A"}; }

  /// Adds the events of `batch`. Throws InputError for a change of another operand or outside of A, and as RowsSketch and
  /// DenseOperand do.
  void ingest(const EventBatch& batch, RowsSketch& sketch) const;
  void ingest(const EventBatch& batch, DenseOperand& dense) const;

 private:
  std::uint64_t rows_;
  std::uint64_t columns_;
  GramConfig gram_;
};

}  // namespace weir
