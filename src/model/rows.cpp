#include "weir/model/rows.hpp"

#include "model/shape.hpp"

namespace weir {
namespace {

template <class Rows>
void ingest_rows(const EventBatch& batch, const OperandShape& shape, Rows& a) {
  require_within(batch, std::span(&shape, 1));
  a.update(batch.i, batch.j, batch.delta);
  a.update_rows(batch.rows.i, batch.rows.weights, batch.rows.values);
}

}  // namespace

RowsModel::RowsModel(std::uint64_t rows, std::uint64_t columns, const GramConfig& gram)
    : rows_(rows), columns_(columns), gram_(gram) {
  require_side(rows, "the number n of rows of A");
  require_side(columns, "the number d of columns of A");
}

void RowsModel::ingest(const EventBatch& batch, RowsSketch& sketch) const {
  ingest_rows(batch, {Operand::A, rows_, columns_}, sketch);
}

void RowsModel::ingest(const EventBatch& batch, DenseOperand& dense) const {
  ingest_rows(batch, {Operand::A, rows_, columns_}, dense);
}

}  // namespace weir
