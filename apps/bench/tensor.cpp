// Tensor sketches at query time: the image of y = A1 X A2^T from the CountSketches of its factors, and its heavy entries.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "weir/sample/heavy_entries.hpp"
#include "weir/sketch/tensor_sketch.hpp"
#include "workload.hpp"

namespace weir::bench {
namespace {

/// Two factors of n rows and 64 columns, all of them touched; X the identity, or full.
TensorSketch tensor_sketch(std::uint64_t n, std::uint64_t buckets, bool is_full) {
  constexpr std::uint64_t d = 64;
  TensorSketchConfig config{.dimensions = {n, n}, .rows = 5};
  config.buckets = buckets;
  TensorSketch sketch(config, std::vector<std::uint64_t>{d, d});
  const std::span<const double> values = events(n, Keys::uniform).all().deltas;
  constexpr std::size_t batch = 4096;
  for (std::size_t q = 0; q < 2; ++q) {
    for (std::uint64_t first = 0; first < std::min<std::uint64_t>(n, 1U << 17U); first += batch) {
      std::vector<std::uint64_t> rows;
      for (std::size_t t = 0; t < batch; ++t) rows.push_back((first + t) % n);
      sketch.update_rows(q, rows, std::vector<double>(batch, 1.0), values.subspan(q * batch, batch * d));
    }
  }
  for (std::size_t j = 0; j < d * d; ++j) {
    if (is_full || j % (d + 1) == 0) sketch.core[j] = is_full ? std::cos(static_cast<double>(j)) : 1.0;
  }
  return sketch;
}

void image(benchmark::State& state, std::uint64_t buckets, bool is_full) {
  const TensorSketch sketch = tensor_sketch(1U << 14U, buckets, is_full);
  for (auto _ : state) benchmark::DoNotOptimize(sketch.image().table().data());
}

void heaviest(benchmark::State& state, std::uint64_t n) {
  const TensorSketch sketch = tensor_sketch(n, 2048, false);
  for (auto _ : state) benchmark::DoNotOptimize(heavy_entries(sketch, 16).entries.data());
}

}  // namespace

void register_tensor() {
  for (const std::uint64_t buckets : {512U, 2048U, 8192U}) {
    for (const bool is_full : {false, true}) {
      const std::string name = fmt::format("tensor_image/d:64/buckets:{}/x:{}", buckets, is_full ? "full" : "identity");
      benchmark::RegisterBenchmark(name.c_str(), image, buckets, is_full)->Unit(benchmark::kMillisecond);
    }
  }
  for (const std::uint64_t n : {std::uint64_t{1} << 14U, std::uint64_t{1} << 20U, std::uint64_t{1} << 24U}) {
    benchmark::RegisterBenchmark(fmt::format("heavy_entries/d:64/n:{}", n).c_str(), heaviest, n)
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace weir::bench
