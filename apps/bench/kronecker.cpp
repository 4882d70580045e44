// y = (A1 (x) A2) vec X, where one factor streams: rows of y, which are runs of consecutive keys. An item is a
// coordinate of y.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>

#include "weir/sketch/vector_sketch.hpp"
#include "workload.hpp"

namespace weir::bench {
namespace {

/// y is a matrix of 4096 x 4096.
constexpr std::uint64_t n1 = 4096;
constexpr std::uint64_t n2 = 4096;

SketchConfig rows_as_groups(std::uint32_t lanes, std::uint32_t levels) {
  SketchConfig config = sketch_config(n1 * n2, lanes, 512, levels);
  config.row_length = n2;
  return config;
}

/// Random keys in batches, as in ingest, at the same configuration.
void updates(benchmark::State& state, const SketchConfig& config) {
  EventRing& ring = events(config.dimension, Keys::uniform);
  VectorSketch sketch(config);
  for (auto _ : state) {
    const Updates updates = ring.next();
    sketch.update(updates.keys, updates.deltas);
  }
  benchmark::DoNotOptimize(sketch.table().data());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(EventRing::batch));
}

/// Whole rows of y, one after the other.
void runs(benchmark::State& state, const SketchConfig& config) {
  EventRing& ring = events(config.dimension, Keys::uniform);
  VectorSketch sketch(config);
  std::uint64_t row = 0;
  for (auto _ : state) {
    const Updates updates = ring.next();
    for (std::size_t first = 0; first < EventRing::batch; first += n2) {
      sketch.update_run(row * n2, updates.deltas.subspan(first, n2));
      row = (row + 1) % n1;
    }
  }
  benchmark::DoNotOptimize(sketch.table().data());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(EventRing::batch));
}

}  // namespace

void register_kronecker() {
  const auto add = [](const std::string& name, auto run, const SketchConfig& config) {
    benchmark::RegisterBenchmark(
        fmt::format("kronecker/{}/lanes:{}/levels:{}", name, config.lanes, config.levels).c_str(),
        [=](benchmark::State& state) { run(state, config); });
  };
  for (const std::uint32_t lanes : {1U, 8U, 16U, 64U}) {
    for (const std::uint32_t levels : {1U, 2U}) {
      add("update", updates, rows_as_groups(lanes, levels));
      add("update_run", runs, rows_as_groups(lanes, levels));
    }
  }
}

}  // namespace weir::bench
