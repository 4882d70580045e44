#include "weir/engine/job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <utility>

#include "sample/power.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Bytes of counts that multiply; the largest number when they do not fit into one.
std::uint64_t doubles_in_bytes(std::uint64_t count, std::uint64_t times = 1) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  return times != 0 && count > most / sizeof(double) / times ? most : count * times * sizeof(double);
}

std::uint64_t add_saturated(std::uint64_t a, std::uint64_t b) {
  return a > std::numeric_limits<std::uint64_t>::max() - b ? std::numeric_limits<std::uint64_t>::max() : a + b;
}

/// Throws unless every machine has room for what its ranks will allocate.
void require_room(const mpi::Communicator& communicator, const Model& model, const Measure& measure, bool a_is_fixed) {
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

bool all_finite(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
}

/// Of every `stride`-th value.
double largest_magnitude(std::span<const double> values, std::size_t stride) {
  double largest = 0;
  for (std::size_t k = 0; k < values.size(); k += stride) largest = std::max(largest, std::abs(values[k]));
  return largest;
}

std::string describe_range_problem(bool finite, double largest) {
  if (!finite) return "the values are too large: their sums or squares overflow a double; scale them down";
  if (largest > 0 && largest * largest < std::numeric_limits<double>::min())
    return "the values are too small: their squares underflow; scale them up";
  return {};
}

std::string describe_range_problem(const DenseVector& y) {
  return describe_range_problem(all_finite(y.table()) && std::isfinite(y.moment(2)), largest_magnitude(y.table(), 1));
}

}  // namespace

std::string describe_range_problem(const VectorSketch& sketch) {
  // Lane 0 holds y itself.
  return describe_range_problem(all_finite(sketch.table()) && std::isfinite(sketch.f2().value),
                                largest_magnitude(sketch.items(), sketch.config().lanes));
}

void MeasuredVector::finish() {
  std::string problem;
  if (sketch) {
    if (const auto* product = std::get_if<ProductSketch>(&*sketch)) {
      product_ = product->y();
      if (product->degree == 2) squares_ = product->squares();
    }
    problem = describe_range_problem(y());
    if (problem.empty() && squares_) problem = describe_range_problem(*squares_);
  }
  if (problem.empty() && dense) problem = describe_range_problem(*dense);
  if (!problem.empty()) throw InputError(problem);
}

const VectorSketch& MeasuredVector::y() const { return product_ ? *product_ : std::get<VectorSketch>(*sketch); }

namespace {

void merge(const mpi::Communicator& communicator, SketchState& state) {
  communicator.require_equal(fingerprint_of(state), "the configuration of the sketch");
  if (auto* sketch = std::get_if<VectorSketch>(&state)) return communicator.reduce_sum(sketch->table());
  auto& product = std::get<ProductSketch>(state);
  communicator.reduce_sum(product.a.table());
  communicator.all_sum(product.x);
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
  const bool a_is_fixed = !source.fixed_a.empty();
  if (a_is_fixed && (product == nullptr || start))
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
      ingest(communicator, {.paths = {source.fixed_a}}, a, Operand::A,
             [&](const EventBatch& batch) { add_events(model, batch, *sketch); });
    }
    result.ingest = ingest(communicator, source.stream, x, Operand::x,
                           [&](const EventBatch& batch) { product->ingest(batch, result.x); });
  } else {
    result.ingest = ingest(communicator, source.stream, shapes, streamed_operand(model), [&](const EventBatch& batch) {
      if (sketch) add_events(model, batch, *sketch);
      if (dense) add_events(model, batch, *dense);
    });
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
    } else {
      result.y.dense = std::get<DenseVector>(std::move(*dense));
    }
    dense.reset();
  } else if (measure.exact != Exact::none) {
    result.y.dense = multiply_file(communicator, source.fixed_a, product->dimension(), result.x);
  }
  if (measure.exact == Exact::on_root) communicator.reduce_sum(result.y.dense->table());
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
