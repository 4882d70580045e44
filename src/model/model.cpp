#include "weir/model/model.hpp"

#include <fmt/format.h>

#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

#include "model/shape.hpp"
#include "weir/error.hpp"

namespace weir {

VectorModel::VectorModel(std::uint64_t dimension) : dimension_(dimension) {
  require_side(dimension, "the length n of y");
}

Updates VectorModel::updates(const EventBatch& batch) const {
  if (!batch.rows.empty())
    throw InputError(
        fmt::format("row {} of {}: y is a vector and has no rows", batch.rows.i[0], to_string(batch.rows.operands[0])));
  return {batch.i, batch.delta};
}

ProductModel::ProductModel(std::uint64_t rows, std::vector<double> x, std::uint32_t degree)
    : rows_(rows), x_(std::move(x)), degree_(degree) {
  require_side(rows, "the number n of rows of A");
  std::ignore = ProductSketch::columns(1, degree);  // throws for another degree
  if (x_.empty()) throw UsageError("the fixed operand x is empty, expected at least one entry");
  for (std::size_t j = 0; j < x_.size(); ++j)
    if (!std::isfinite(x_[j]))
      throw InputError(fmt::format("entry {} of the fixed operand x is {}, expected a finite number", j, x_[j]));
}

Updates ProductModel::updates(const EventBatch& batch) {
  const std::size_t count = batch.size();
  if (keys_.size() < batch.events()) {
    keys_.resize(batch.events());
    deltas_.resize(batch.events());
  }
  std::size_t used = 0;
  std::uint64_t row = 0;
  double sum = 0;
  const auto close = [&] {
    if (sum != 0) {
      keys_[used] = row;
      deltas_[used] = sum;
      ++used;
    }
  };
  for (std::size_t t = 0; t < count; ++t) {
    const std::uint64_t j = batch.j[t];
    if (j >= x_.size())
      throw InputError(fmt::format("event A,{},{},{}: column {} is outside x of length {}", batch.i[t], j,
                                   batch.delta[t], j, x_.size()));
    const double change = batch.delta[t] * x_[j];
    if (batch.i[t] != row) {
      close();
      row = batch.i[t];
      sum = 0;
    }
    sum += change;
    if (!std::isfinite(sum))
      throw InputError(
          fmt::format("event A,{},{},{}: delta times x[{}] = {} makes an update of y[{}] that overflows a double", row,
                      j, batch.delta[t], j, x_[j], row));
  }
  close();
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    row = batch.rows.i[t];
    sum = batch.rows.weights[t] * product(batch.rows, t);
    close();
  }
  return {std::span(keys_).first(used), std::span(deltas_).first(used)};
}

double ProductModel::product(const RowBatch& rows, std::size_t t) const {
  const std::span<const double> values = rows.row(t);
  if (rows.operands[t] != Operand::A || values.size() != x_.size())
    throw InputError(fmt::format("row {} of {} has {} values, expected a row of A with {}, the length of x", rows.i[t],
                                 to_string(rows.operands[t]), values.size(), x_.size()));
  const double sum = std::transform_reduce(values.begin(), values.end(), x_.begin(), 0.0);
  if (!std::isfinite(sum))
    throw InputError(
        fmt::format("row {} of A times x makes an update of y[{}] that overflows a double", rows.i[t], rows.i[t]));
  return sum;
}

EventBatch ProductModel::products(const EventBatch& batch) const {
  StreamedProductModel::require_whole_rows(batch);
  EventBatch products;
  for (std::size_t t = 0; t < batch.rows.size(); ++t) {
    const double value = product(batch.rows, t);
    products.rows.push_back(Operand::A, batch.rows.i[t], batch.rows.weights[t], std::span(&value, 1));
  }
  return products;
}

namespace {

/// y as a matrix of one column, times an x of one 1: what the rows of a fixed x are lifted in.
StreamedProductModel column_of(const ProductModel& model) { return {model.dimension(), 1, model.degree()}; }

/// A setting whose operands are kept apart: it makes the states of them, and adds events to these.
template <class AnyModel>
concept KeepsOperands = requires(const AnyModel& model, const SketchConfig& config) {
  model.sketch(config);
  model.dense();
};

/// To a vector that changes as the model says.
template <class AnyModel, class Vector>
void add_updates(AnyModel& model, const EventBatch& batch, Vector& y) {
  const Updates updates = model.updates(batch);
  y.update(updates.keys, updates.deltas);
}

template <KeepsOperands OperandsModel>
SketchState sketch_of(const OperandsModel& model, const SketchConfig& config, bool) {
  return model.sketch(config);
}

SketchState sketch_of(const VectorModel&, const SketchConfig& config, bool) { return VectorSketch(config); }

SketchState sketch_of(const ProductModel& product, const SketchConfig& config, bool is_first) {
  if (product.degree() == 1) return VectorSketch(config);
  ProductSketch lifted = column_of(product).sketch(config);
  if (is_first) lifted.x.front() = 1;
  return lifted;
}

template <KeepsOperands OperandsModel>
void add(OperandsModel& model, const EventBatch& batch, SketchState& state) {
  model.ingest(batch, std::get<decltype(model.sketch({}))>(state));
}

void add(VectorModel& vector, const EventBatch& batch, SketchState& state) {
  add_updates(vector, batch, std::get<VectorSketch>(state));
}

void add(ProductModel& product, const EventBatch& batch, SketchState& state) {
  if (product.degree() == 1) return add_updates(product, batch, std::get<VectorSketch>(state));
  column_of(product).ingest(product.products(batch), std::get<ProductSketch>(state));
}

template <KeepsOperands OperandsModel>
std::uint64_t columns_of(const OperandsModel& model) {
  return model.sketch_columns();
}

std::uint64_t columns_of(const VectorModel&) { return 1; }

std::uint64_t columns_of(const ProductModel& product) {
  return product.degree() == 1 ? 1 : column_of(product).sketch_columns();
}

}  // namespace

SketchState empty_sketch(const Model& model, const SketchConfig& config, bool is_first) {
  return std::visit([&](const auto& m) { return sketch_of(m, config, is_first); }, model);
}

DenseState empty_dense(const Model& model) {
  return std::visit(
      []<class AnyModel>(const AnyModel& m) -> DenseState {
        if constexpr (KeepsOperands<AnyModel>)
          return m.dense();
        else
          return DenseVector(m.dimension());
      },
      model);
}

std::uint64_t sketch_columns(const Model& model) {
  return std::visit([](const auto& m) { return columns_of(m); }, model);
}

void add_events(Model& model, const EventBatch& batch, SketchState& state) {
  std::visit([&](auto& m) { add(m, batch, state); }, model);
}

void add_events(Model& model, const EventBatch& batch, DenseState& state) {
  std::visit(
      [&]<class AnyModel>(AnyModel& m) {
        if constexpr (KeepsOperands<AnyModel>)
          m.ingest(batch, std::get<decltype(m.dense())>(state));
        else
          add_updates(m, batch, std::get<DenseVector>(state));
      },
      model);
}

}  // namespace weir
