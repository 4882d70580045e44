// The matrix sketch: single entries, whole rows, products.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "weir/random/source.hpp"
#include "weir/sketch/matrix_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "workload.hpp"

namespace weir::bench {

std::string text(const MatrixShape& shape) {
  return fmt::format("d:{}/lanes:{}/buckets:{}", shape.d, shape.lanes, shape.buckets);
}

const std::vector<EventBatch>& entry_batches(std::uint64_t d, Order order) {
  static std::map<std::pair<std::uint64_t, Order>, std::vector<EventBatch>> made;
  std::vector<EventBatch>& batches = made[{d, order}];
  if (!batches.empty()) return batches;
  const Updates ring = events(MatrixShape().n, Keys::uniform).all();
  batches.resize(EventRing::size / 4 / EventRing::batch);
  std::size_t t = 0;
  for (EventBatch& batch : batches) {
    batch.resize(EventRing::batch);
    for (std::size_t k = 0; k < EventRing::batch; ++k, ++t) {
      batch.operands[k] = Operand::A;
      batch.i[k] = ring.keys[order == Order::random ? t : t / d];
      batch.j[k] = order == Order::random ? finalise(t) % d : t % d;
      batch.delta[k] = ring.deltas[t];
    }
  }
  return batches;
}

namespace {

constexpr std::uint64_t n = MatrixShape().n;

MatrixSketch matrix_sketch(const MatrixShape& shape) { return MatrixSketch(shape.config(), shape.d); }

void entries(benchmark::State& state, const MatrixShape& shape, Order order) {
  const std::vector<EventBatch>& batches = entry_batches(shape.d, order);
  MatrixSketch sketch = matrix_sketch(shape);
  std::size_t at = 0;
  for (auto _ : state) {
    const EventBatch& batch = batches[at++ % batches.size()];
    sketch.update(batch.i, batch.j, batch.delta);
  }
  benchmark::DoNotOptimize(sketch.table().data());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(EventRing::batch));
}

/// What single entries are measured against: a vector sketch with a table as large, whose keys are random.
void vector_entries(benchmark::State& state, const MatrixShape& shape) {
  VectorSketch sketch(sketch_config(n, shape.lanes, shape.buckets * shape.d, 1));
  EventRing& ring = events(n, Keys::uniform);
  for (auto _ : state) {
    const Updates updates = ring.next();
    sketch.update(updates.keys, updates.deltas);
  }
  benchmark::DoNotOptimize(sketch.table().data());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(EventRing::batch));
}

/// Random rows, `batch` of them at a time. An item is a row.
void whole_rows(benchmark::State& state, const MatrixShape& shape, std::size_t batch) {
  MatrixSketch sketch = matrix_sketch(shape);
  EventRing& ring = events(n, Keys::uniform);
  const std::vector<double> weights(batch, 1.0);
  std::size_t at = 0;
  for (auto _ : state) {
    if (at + batch * shape.d > EventRing::size) at = 0;
    sketch.update_rows(ring.all().keys.subspan(at, batch), weights, ring.all().deltas.subspan(at, batch * shape.d));
    at += batch * shape.d;
  }
  benchmark::DoNotOptimize(sketch.table().data());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(batch));
}

void product(benchmark::State& state, const MatrixShape& shape) {
  MatrixSketch sketch = matrix_sketch(shape);
  EventRing& ring = events(n, Keys::uniform);
  sketch.update_rows(ring.all().keys.first(1024), std::vector<double>(1024, 1.0),
                     ring.all().deltas.first(1024 * shape.d));
  const std::vector<double> x(shape.d, 0.5);
  for (auto _ : state) benchmark::DoNotOptimize(sketch.product(x).table().data());
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(sketch.table().size_bytes()));
}

}  // namespace

void register_matrix() {
  const auto add = [](const std::string& name, auto run, auto... arguments) {
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, arguments...); });
  };
  std::vector<MatrixShape> shapes;
  for (const std::uint64_t d : {1U, 8U, 64U, 256U}) {
    for (const std::uint32_t lanes : {8U, 16U, 64U}) shapes.push_back({n, d, lanes, 128});
  }
  for (const std::uint32_t lanes : {8U, 16U}) shapes.push_back({n, 64, lanes, 512});
  for (const MatrixShape& shape : shapes) {
    add("matrix_entries/order:random/" + text(shape), entries, shape, Order::random);
    add("matrix_entries/order:row/" + text(shape), entries, shape, Order::row_major);
    add("matrix_entries/vector_sketch/" + text(shape), vector_entries, shape);
    for (const std::size_t batch : {1U, 64U, 1024U, 8192U}) {
      add(fmt::format("matrix_rows/batch:{}/{}", batch, text(shape)), whole_rows, shape, batch);
    }
    add("matrix_product/" + text(shape), product, shape);
  }
}

}  // namespace weir::bench
