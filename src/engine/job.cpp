#include "weir/engine/job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include "sample/power.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/sample/range.hpp"

namespace weir::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Bytes of the operands themselves.
std::uint64_t operand_bytes(const std::vector<OperandShape>& shapes) {
  std::uint64_t bytes = 0;
  for (const OperandShape& shape : shapes) bytes = add_saturated(bytes, doubles_in_bytes(shape.rows, shape.columns));
  return bytes;
}

/// The same for models that are drawn from through their operands.
template <class OperandsModel>
void require_room(const mpi::Communicator& communicator, const OperandsModel& model, const Measure& measure) {
  std::uint64_t sketch = 0, dense = 0;
  if (measure.sketch) sketch = model.sketch_bytes(*measure.sketch);
  if (measure.exact != Exact::none) dense = operand_bytes(model.shapes());
  // To answer, the root keeps norms of cells, or multiplies out: as much as the sketch at most; and it works with a Gram
  // matrix, a metric, its factor and eigenvectors.
  std::uint64_t square = 0;
  for (const OperandShape& shape : model.shapes())
    square = std::max(square, doubles_in_bytes(shape.columns, shape.columns));
  for (int copies = 1; copies < 4; copies *= 2) square = add_saturated(square, square);
  require_memory(communicator, add_saturated(sketch, dense), add_saturated(sketch, square),
                 dense > sketch ? "the operands themselves, for exact answers," : "the tables of the sketch");
}

/// Throws unless every machine has room for what its ranks will allocate.
void require_room(const mpi::Communicator& communicator, const Model& model, const Measure& measure, bool a_is_fixed) {
  if (const auto* rows = std::get_if<RowsModel>(&model)) return require_room(communicator, *rows, measure);
  if (const auto* kronecker = std::get_if<KroneckerModel>(&model))
    return require_room(communicator, *kronecker, measure);
  const auto* product = std::get_if<StreamedProductModel>(&model);
  std::uint64_t sketch = 0, answering = 0, dense = 0;
  if (measure.sketch) {
    sketch = doubles_in_bytes(measure.sketch->table_size(), sketch_columns(model));
    // To answer, the root multiplies out, and takes from a copy what it has found.
    answering = doubles_in_bytes(measure.sketch->table_size(), product != nullptr ? 3 : 1);
  }
  if (measure.exact != Exact::none) {
    dense = doubles_in_bytes(dimension(model));
    if (product != nullptr) {
      // x is there more than once: its sum, and what it is multiplied as.
      dense = add_saturated(dense, doubles_in_bytes(product->columns(), 3));
      if (!a_is_fixed) dense = add_saturated(dense, doubles_in_bytes(dimension(model), product->columns()));
    }
  }
  const std::string x = product == nullptr ? "" : fmt::format(" and d = {}", product->columns());
  require_memory(communicator, add_saturated(sketch, dense), answering,
                 dense > 0 ? fmt::format("the exact values of n = {}{}", dimension(model), x)
                           : std::string("the table of the sketch"));
}

}  // namespace

void MeasuredVector::finish() {
  if (operands) {
    if (const auto* rows = std::get_if<DenseOperand>(&*operands)) require_range(*rows);
    if (const auto* tensor = std::get_if<DenseTensor>(&*operands)) require_range(*tensor);
  }
  const bool of_operands =
      sketch && (std::holds_alternative<RowsSketch>(*sketch) || std::holds_alternative<KroneckerSketch>(*sketch));
  if (of_operands) require_range(*sketch);
  if (sketch && !of_operands) {
    if (const auto* product = std::get_if<ProductSketch>(&*sketch)) {
      product_ = product->y();
      if (product->degree == 2) squares_ = product->squares();
    }
    require_range(y());
    if (squares_) require_range(*squares_);
  }
  if (dense) require_range(*dense);
}

const VectorSketch& MeasuredVector::y() const { return product_ ? *product_ : std::get<VectorSketch>(*sketch); }

namespace {

// Each operand is summed by itself.

void reduce(const mpi::Communicator& communicator, VectorSketch& y) { communicator.reduce_sum(y.table()); }

void reduce(const mpi::Communicator& communicator, ProductSketch& product) {
  communicator.reduce_sum(product.a.table());
  communicator.all_sum(product.x);
}

void reduce(const mpi::Communicator& communicator, RowsSketch& rows) {
  communicator.reduce_sum(rows.draws.table());
  communicator.reduce_sum(rows.wide.table());
  communicator.reduce_sum(rows.exact_gram);
}

void reduce(const mpi::Communicator& communicator, KroneckerSketch& kronecker) {
  reduce(communicator, kronecker.a1);
  reduce(communicator, kronecker.a2);
  communicator.reduce_sum(kronecker.x);
  communicator.reduce_sum({&kronecker.x_events, 1});
}

void reduce(const mpi::Communicator& communicator, DenseOperand& operand) { communicator.reduce_sum(operand.table()); }

void reduce(const mpi::Communicator& communicator, DenseTensor& tensor) {
  for (DenseOperand& factor : tensor.factors) reduce(communicator, factor);
  communicator.reduce_sum(tensor.x);
  communicator.reduce_sum({&tensor.x_events, 1});
}

void merge(const mpi::Communicator& communicator, SketchState& state) {
  communicator.require_equal(fingerprint_of(state), "the configuration of the sketch");
  std::visit([&](auto& sketch) { reduce(communicator, sketch); }, state);
}

/// This rank's share of y = A x, when all of x is known, from its slice of A.
DenseVector multiply_file(const mpi::Communicator& communicator, const std::string& path, std::uint64_t rows,
                          std::span<const double> x) {
  ProductModel model(rows, {x.begin(), x.end()});
  DenseVector y(rows);
  ingest(communicator, {.paths = {path}}, model.shapes(), Operand::A, [&](const EventBatch& batch) {
    const Updates updates = model.updates(batch);
    y.update(updates.keys, updates.deltas);
  });
  return y;
}

}  // namespace

JobResult run_job(const mpi::Communicator& communicator, Model& model, const Measure& measure, const JobSource& source,
                  std::optional<SketchState> start) {
  auto* product = std::get_if<StreamedProductModel>(&model);
  const bool a_is_fixed = product != nullptr && !source.fixed.empty();
  if (a_is_fixed && (start || source.fixed.size() > 1 || source.fixed[0].operand != Operand::A))
    throw UsageError("a fixed A belongs to a product whose x streams, from the beginning");
  if (measure.sketch) measure.sketch->validate();
  require_room(communicator, model, measure, a_is_fixed);

  JobResult result;
  std::optional<SketchState>& sketch = result.y.sketch;
  std::optional<DenseState> dense;
  together(communicator, [&](mpi::FailureSignal&) {
    if (start) {
      sketch = std::move(start);
    } else if (measure.sketch) {
      sketch = empty_sketch(model, *measure.sketch, communicator.local_is_root());
    }
    if (measure.exact != Exact::none && !a_is_fixed) dense = empty_dense(model);
    if (a_is_fixed) result.x.resize(product->columns());
  });

  std::vector<OperandShape> shapes = operand_shapes(model);
  if (a_is_fixed) {
    const std::vector<OperandShape> a{shapes[0]}, x{shapes[1]};
    if (sketch) {
      ingest(communicator, {.paths = {source.fixed[0].path}}, a, Operand::A,
             [&](const EventBatch& batch) { add_events(model, batch, *sketch); });
    }
    result.ingest = ingest(communicator, source.stream, x, Operand::x,
                           [&](const EventBatch& batch) { product->ingest(batch, result.x); });
  } else {
    const auto consume = [&](const EventBatch& batch) {
      if (sketch) add_events(model, batch, *sketch);
      if (dense) add_events(model, batch, *dense);
    };
    for (const FixedOperand& fixed : source.fixed) {
      const auto shape = std::ranges::find(shapes, fixed.operand, &OperandShape::operand);
      if (shape == shapes.end())
        throw UsageError(fmt::format("the model has no operand {} to be fixed", to_string(fixed.operand)));
      ingest(communicator, {.paths = {fixed.path}}, {*shape}, fixed.operand, consume);
      shapes.erase(shape);
    }
    std::erase_if(shapes, [&](const OperandShape& shape) { return source.held.contains(shape.operand); });
    if (!shapes.empty()) {
      // What a file of numbers means is the first operand that streams.
      const bool first_streams =
          std::ranges::find(shapes, streamed_operand(model), &OperandShape::operand) != shapes.end();
      result.ingest = ingest(communicator, source.stream, shapes,
                             first_streams ? streamed_operand(model) : shapes[0].operand, consume);
    } else if (!source.stream.paths.empty()) {
      throw UsageError("all operands are fixed, none streams: expected no stream");
    }
  }

  const auto merge_start = Clock::now();
  if (a_is_fixed) {
    communicator.all_sum(result.x);
    // The same on all ranks, so that all throw.
    for (std::size_t j = 0; j < result.x.size(); ++j)
      if (!std::isfinite(result.x[j]))
        throw InputError(fmt::format("the sum of the changes of x[{}] overflows a double", j));
    if (sketch && communicator.local_is_root()) std::get<ProductSketch>(*sketch).x = result.x;
  }
  if (sketch) {
    // On other ranks x is zero where A is fixed, so that the sum is that of the root.
    merge(communicator, *sketch);
  }
  if (dense) {
    if (auto* operands = std::get_if<DenseProduct>(&*dense)) {
      communicator.all_sum(operands->x);
      together(communicator, [&](mpi::FailureSignal&) { result.y.dense = operands->times(operands->x); });
    } else if (auto* y = std::get_if<DenseVector>(&*dense)) {
      result.y.dense = std::move(*y);
    } else {
      if (auto* rows = std::get_if<DenseOperand>(&*dense)) reduce(communicator, *rows);
      if (auto* tensor = std::get_if<DenseTensor>(&*dense)) reduce(communicator, *tensor);
      result.y.operands = std::move(dense);
    }
    dense.reset();
  } else if (measure.exact != Exact::none) {
    result.y.dense = multiply_file(communicator, source.fixed[0].path, product->dimension(), result.x);
  }
  if (measure.exact == Exact::on_root && result.y.dense) communicator.reduce_sum(result.y.dense->table());
  if (measure.exact == Exact::slices) {
    const std::span<double> values = result.y.dense->table();
    const std::span<double> own = communicator.reduce_scatter_sum(values);
    result.y.slice = {static_cast<std::uint64_t>(own.data() - values.data()), {own.begin(), own.end()}};
    result.y.dense.reset();
  }
  result.merge_seconds = communicator.all_max(seconds_since(merge_start));
  together(communicator, [&](mpi::FailureSignal&) {
    if (communicator.local_is_root()) result.y.finish();
  });
  return result;
}

ExactValues exact_product(const mpi::Communicator& communicator, const std::string& path, std::uint64_t rows,
                          std::span<const double> x, double p, std::vector<std::uint64_t> indices) {
  communicator.broadcast(indices);
  std::ranges::sort(indices);
  indices.erase(std::unique(indices.begin(), indices.end()), indices.end());

  std::vector<double> sums(2 + indices.size());  // of squares, of powers, and the entries asked for
  const auto add = [&](std::uint64_t i, double y) {
    sums[0] += y * y;
    sums[1] += power_of_magnitude(y, p);
    const auto place = std::ranges::lower_bound(indices, i);
    if (place != indices.end() && *place == i) sums[2 + static_cast<std::size_t>(place - indices.begin())] = y;
  };
  bool whole_rows = false;
  together(communicator, [&](mpi::FailureSignal&) { whole_rows = stream_format(path) == StreamFormat::npy; });
  if (whole_rows) {
    const std::vector<OperandShape> shapes{{Operand::A, rows, x.size()}};
    ingest(communicator, {.paths = {path}}, shapes, Operand::A, [&](const EventBatch& batch) {
      for (std::size_t t = 0; t < batch.rows.size(); ++t) {
        const std::span<const double> row = batch.rows.row(t);
        add(batch.rows.i[t], std::inner_product(row.begin(), row.end(), x.begin(), 0.0));
      }
    });
  } else {
    require_memory(
        communicator, doubles_in_bytes(rows), 0,
        fmt::format("verifying draws (--verify) with {}, a file of entries: the exact values of n = {}", path, rows));
    DenseVector y = multiply_file(communicator, path, rows, x);
    communicator.reduce_sum(y.table());
    for (std::uint64_t i = 0; communicator.local_is_root() && i < rows; ++i) add(i, y.table()[i]);
  }
  communicator.reduce_sum(sums);

  ExactValues exact{.norm = std::sqrt(sums[0]), .entries = {}};
  for (std::size_t k = 0; k < indices.size(); ++k) {
    const double value = sums[2 + k];
    exact.entries[indices[k]] = {value, sums[1] > 0 ? power_of_magnitude(value, p) / sums[1] : 0.0};
  }
  return exact;
}

}  // namespace weir::engine
