// Answers, against n: 10^6 events on indices that are spread over the whole of 0 .. n-1.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <bit>
#include <map>
#include <string>
#include <tuple>

#include "weir/sample/sampler.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/stream/generate.hpp"
#include "workload.hpp"

namespace weir::bench {
namespace {

/// The sketch of 10^6 insertions: of zipf ids, scattered by an odd factor (n is a power of two) so that heavy ones are
/// no neighbours, or of uniform ids, where no coordinate stands out and a search has the least to go by.
const VectorSketch& sketch_of(std::uint64_t n, StreamKind kind, std::uint32_t lanes, std::uint64_t buckets) {
  using Key = std::tuple<std::uint64_t, StreamKind, std::uint32_t, std::uint64_t>;
  static std::map<Key, VectorSketch> sketches;
  const auto [found, is_new] =
      sketches.try_emplace(Key{n, kind, lanes, buckets}, sketch_config(n, lanes, buckets, suggest_levels(n)));
  VectorSketch& sketch = found->second;
  if (is_new) {
    GeneratorOptions options;
    options.kind = kind;
    options.n = n;
    options.events = 1'000'000;
    EventBatch batch;
    batch.resize(options.events);
    EventGenerator(options).fill(0, batch);
    for (std::uint64_t& key : batch.i) key = key * 0x9E3779B97F4A7C15U & (n - 1);
    sketch.update(batch.i, batch.delta);
  }
  return sketch;
}

template <class Answer>
void add(const std::string& name, std::uint64_t n, StreamKind kind, std::uint32_t lanes, std::uint64_t buckets,
         const Answer& answer) {
  const std::string full = fmt::format("{}/n:2^{}/levels:{}/y:{}", name, std::bit_width(n) - 1, suggest_levels(n),
                                       kind == StreamKind::zipf ? "zipf" : "flat");
  benchmark::RegisterBenchmark(full.c_str(), [=](benchmark::State& state) {
    const VectorSketch& sketch = sketch_of(n, kind, lanes, buckets);
    for (auto _ : state) benchmark::DoNotOptimize(answer(sketch));
  })->Unit(benchmark::kMillisecond);
}

}  // namespace

void register_query() {
  for (const unsigned log_n : {16U, 20U, 30U, 40U}) {
    const std::uint64_t n = std::uint64_t{1} << log_n;
    for (const StreamKind kind : {StreamKind::zipf, StreamKind::flat}) {
      for (const double threshold : {1.0, 0.0}) {
        add(fmt::format("draw/samples:15/threshold:{}", threshold), n, kind, 16, 512, [=](const VectorSketch& sketch) {
          return draw_with_replacement(sketch, {.samples = 15, .threshold = threshold});
        });
      }
    }
    add("draw_without_replacement/samples:100/buckets:8192", n, StreamKind::zipf, 2, 8192,
        [](const VectorSketch& sketch) { return draw_without_replacement(sketch, {.samples = 100}); });
    add("heavy_coordinates/count:16", n, StreamKind::zipf, 16, 512,
        [](const VectorSketch& sketch) { return heavy_coordinates(sketch, 16); });
  }
}

}  // namespace weir::bench
