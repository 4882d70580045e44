#include "weir/model/streamed_product.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "model/shape.hpp"
#include "weir/error.hpp"
#include "weir/sketch/lift.hpp"

namespace weir {
namespace {

/// Lifted values held at a time.
constexpr std::size_t lifted_capacity = std::size_t{1} << 18;

}  // namespace

StreamedProductModel::StreamedProductModel(std::uint64_t rows, std::uint64_t columns, std::uint32_t degree)
    : rows_(rows), columns_(columns), degree_(degree) {
  require_side(rows, "the number n of rows of A");
  require_side(columns, "the number d of columns of A");
  std::ignore = ProductSketch::columns(columns, degree);  // throws for another degree, and for too many to lift
}

ProductSketch StreamedProductModel::sketch(const SketchConfig& config) const {
  return ProductSketch(config, columns_, degree_);
}

template <class Update>
void StreamedProductModel::ingest_entries(const EventBatch& batch, std::vector<double>& x, const Update& update) {
  if (batch.size() == 0) return;
  const auto is_a = [](Operand operand) { return operand == Operand::A; };
  if (std::all_of(batch.operands.begin(), batch.operands.end(), is_a)) return update(batch.i, batch.j, batch.delta);
  entries_.rows.clear();
  entries_.columns.clear();
  entries_.deltas.clear();
  for (std::size_t t = 0; t < batch.size(); ++t) {
    const Event event = batch[t];
    if (event.operand == Operand::A) {
      entries_.rows.push_back(event.i);
      entries_.columns.push_back(event.j);
      entries_.deltas.push_back(event.delta);
    } else if (event.operand != Operand::x || event.i >= x.size()) {
      throw InputError(fmt::format("event {},{},{}: expected x,j,delta with j below {}", to_string(event.operand),
                                   event.i, event.delta, x.size()));
    } else if (!std::isfinite(x[event.i] += event.delta)) {
      throw InputError(fmt::format("event x,{},{}: the sum of the changes of x[{}] overflows a double", event.i,
                                   event.delta, event.i));
    }
  }
  if (!entries_.rows.empty()) update(entries_.rows, entries_.columns, entries_.deltas);
}

void StreamedProductModel::require_rows_of_a(const RowBatch& rows) const {
  for (std::size_t t = 0; t < rows.size(); ++t) {
    if (rows.operands[t] != Operand::A || rows.row(t).size() != columns_)
      throw InputError(fmt::format("a row of {} numbers for {}, expected {} for A", rows.row(t).size(),
                                   to_string(rows.operands[t]), columns_));
  }
}

void StreamedProductModel::require_whole_rows(const EventBatch& batch) {
  const auto found = std::ranges::find(batch.operands, Operand::A);
  if (found == batch.operands.end()) return;
  const Event event = batch[static_cast<std::size_t>(found - batch.operands.begin())];
  throw InputError(
      fmt::format("event A,{},{},{}: for the law |y_i|^4 rows of A come and go whole, as in A,i,*,v0,v1,... and "
                  "A,i,-*,v0,v1,...",
                  event.i, event.j, event.delta));
}

void StreamedProductModel::ingest(const EventBatch& batch, ProductSketch& operands) {
  if (degree_ == 2) require_whole_rows(batch);
  ingest_entries(batch, operands.x, [&](const auto& rows, const auto& columns, const auto& deltas) {
    operands.a.update(rows, columns, deltas);
  });
  require_rows_of_a(batch.rows);
  if (degree_ == 1) return operands.a.update_rows(batch.rows.i, batch.rows.weights, batch.rows.values);

  const std::size_t width = operands.a.columns();
  const std::size_t at_once = std::max<std::size_t>(1, lifted_capacity / width);
  for (std::size_t first = 0; first < batch.rows.size(); first += at_once) {
    const std::size_t count = std::min(at_once, batch.rows.size() - first);
    lifted_.resize(count * width);
    for (std::size_t t = 0; t < count; ++t) {
      const std::span<const double> row = batch.rows.row(first + t);
      const std::span<double> out = std::span(lifted_).subspan(t * width, width);
      std::ranges::copy(row, out.begin());
      lift_row(row, out.subspan(columns_));
    }
    operands.a.update_rows(std::span(batch.rows.i).subspan(first, count),
                           std::span(batch.rows.weights).subspan(first, count), lifted_);
  }
}

void StreamedProductModel::ingest(const EventBatch& batch, DenseProduct& operands) {
  ingest_entries(batch, operands.x, [&](const auto& rows, const auto& columns, const auto& deltas) {
    operands.a.update(rows, columns, deltas);
  });
  require_rows_of_a(batch.rows);
  operands.a.update_rows(batch.rows.i, batch.rows.weights, batch.rows.values);
}

void StreamedProductModel::ingest(const EventBatch& batch, std::vector<double>& x) {
  const auto refuse = [](std::uint64_t i) {
    throw InputError(fmt::format("a change of row {} of A, which is fixed: expected changes of x", i));
  };
  ingest_entries(batch, x, [&](const auto& rows, const auto&, const auto&) { refuse(rows.front()); });
  if (!batch.rows.empty()) refuse(batch.rows.i.front());
}

}  // namespace weir
