// Merging states, and turning them into bytes and back.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "weir/io/state_file.hpp"
#include "weir/setting/setting.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "workload.hpp"

namespace weir::bench {
namespace {

VectorSketch filled(const SketchConfig& config) {
  VectorSketch sketch(config);
  const Updates updates = events(config.dimension, Keys::uniform).next();
  sketch.update(updates.keys, updates.deltas);
  return sketch;
}

void count_bytes(benchmark::State& state, const SketchConfig& config) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(config.table_size() * sizeof(double)));
}

/// There and back, so that cells stay as they are.
void merge(benchmark::State& state, const SketchConfig& config) {
  VectorSketch sum = filled(config);
  const VectorSketch other = filled(config);
  double coefficient = 1;
  for (auto _ : state) {
    sum.add(other, coefficient);
    coefficient = -coefficient;
  }
  count_bytes(state, config);
}

/// The state of a vector with these cells.
State saved_state(const SketchConfig& config) {
  Problem problem;
  problem.sides["n"] = config.dimension;
  problem.roles[Operand::y] = Role::streams;
  problem.sketch = config;
  State state = create_state(problem);
  std::ranges::copy(filled(config).table(), state.array("cells of y").begin());
  return state;
}

void to_bytes(benchmark::State& state, const SketchConfig& config) {
  const State saved = saved_state(config);
  for (auto _ : state) benchmark::DoNotOptimize(serialise(saved).data());
  count_bytes(state, config);
}

void from_bytes(benchmark::State& state, const SketchConfig& config) {
  const std::vector<std::byte> bytes = serialise(saved_state(config));
  for (auto _ : state) {
    const State read = deserialise(bytes, "bytes");
    benchmark::DoNotOptimize(read.array("cells of y").data());
  }
  count_bytes(state, config);
}

}  // namespace

void register_state() {
  constexpr std::uint64_t n = std::uint64_t{1} << 24;
  for (const SketchConfig& config : {sketch_config(n, 16, 512, 1), sketch_config(n, 64, 4096, 3)}) {
    const auto add = [&config](const char* name, auto run) {
      benchmark::RegisterBenchmark(fmt::format("{}/bytes:{}", name, config.table_size() * sizeof(double)).c_str(),
                                   [=](benchmark::State& state) { run(state, config); });
    };
    add("merge", merge);
    add("serialise", to_bytes);
    add("deserialise", from_bytes);
  }
}

}  // namespace weir::bench
