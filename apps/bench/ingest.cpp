// Ingest, its parts, and its rivals, all on the same events.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>

#include "weir/sketch/operator.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/stream/generate.hpp"
#include "workload.hpp"

namespace weir::bench {

EventRing::EventRing(std::uint64_t n, Keys keys) {
  GeneratorOptions options;
  options.kind = keys == Keys::uniform ? StreamKind::flat
                 : keys == Keys::zipf  ? StreamKind::zipf
                                       : StreamKind::structured;
  options.n = n;
  options.events = size;
  options.deltas = DeltaLaw::real;
  EventBatch made;
  made.resize(size);
  EventGenerator(options).fill(0, made);
  keys_ = std::move(made.i);
  deltas_ = std::move(made.delta);
}

Updates EventRing::next() noexcept {
  const Updates updates{std::span(keys_).subspan(position_, batch), std::span(deltas_).subspan(position_, batch)};
  position_ = (position_ + batch) % size;
  return updates;
}

EventRing& events(std::uint64_t n, Keys keys) {
  static std::map<std::pair<std::uint64_t, Keys>, EventRing> rings;
  return rings.try_emplace({n, keys}, n, keys).first->second;
}

SketchConfig sketch_config(std::uint64_t n, std::uint32_t lanes, std::uint64_t buckets, std::uint32_t levels) {
  SketchConfig config;
  config.dimension = n;
  config.lanes = lanes;
  config.buckets = buckets;
  config.levels = levels;
  config.seed = 1;
  return config;
}

namespace {

constexpr std::uint64_t common_n = std::uint64_t{1} << 24;
constexpr std::uint64_t billion = 1'000'000'000;

void count_events(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(EventRing::batch));
}

void ingest(benchmark::State& state, const SketchConfig& config, Keys keys) {
  EventRing& ring = events(config.dimension, keys);
  VectorSketch sketch(config);
  for (auto _ : state) {
    const Updates updates = ring.next();
    sketch.update(updates.keys, updates.deltas);
  }
  benchmark::DoNotOptimize(sketch.table().data());
  count_events(state);
}

/// Calls work(chunk of at most PhiColumns::capacity updates) as VectorSketch::update does.
template <class Work>
void for_each_chunk(benchmark::State& state, const Work& work) {
  EventRing& ring = events(common_n, Keys::uniform);
  for (auto _ : state) {
    const Updates updates = ring.next();
    for (std::size_t first = 0; first < EventRing::batch; first += PhiColumns::capacity) {
      work(Updates{updates.keys.subspan(first, PhiColumns::capacity),
                   updates.deltas.subspan(first, PhiColumns::capacity)});
    }
  }
  count_events(state);
}

void scales_only(benchmark::State& state, std::uint32_t lanes) {
  const SketchConfig config = sketch_config(common_n, lanes, 512, 1);
  const SketchOperator phi(config);
  PhiColumns columns(config);
  for_each_chunk(state, [&](const Updates& chunk) {
    for (std::uint32_t lane = 0; lane < lanes; lane += PhiColumns::lane_block) {
      phi.scales().fill(chunk.keys, lane, std::min(PhiColumns::lane_block, lanes - lane), columns.scales);
      benchmark::DoNotOptimize(columns.scales.data());
      benchmark::ClobberMemory();
    }
  });
}

void words_only(benchmark::State& state, Randomness randomness) {
  const WordFunction function(randomness, 1, Purpose::row, 0, 4);
  std::vector<std::uint64_t> words;
  for_each_chunk(state, [&](const Updates& chunk) {
    words.resize(chunk.keys.size());
    function.fill(chunk.keys, words);
    benchmark::DoNotOptimize(words.data());
    benchmark::ClobberMemory();
  });
}

void addressing_only(benchmark::State& state, std::uint64_t buckets) {
  const SketchConfig config = sketch_config(common_n, 16, buckets, 1);
  const SketchOperator phi(config);
  PhiColumns columns(config);
  for_each_chunk(state, [&](const Updates& chunk) {
    phi.locate(0, chunk.keys, columns);
    benchmark::DoNotOptimize(columns.cells.data());
    benchmark::ClobberMemory();
  });
}

void stores_only(benchmark::State& state, std::size_t lanes, std::size_t buckets) {
  constexpr std::size_t rows = 5;
  constexpr std::size_t period = std::size_t{1} << 17;
  std::vector<std::uint16_t> cells(rows * period);
  std::mt19937_64 random(1);
  std::generate(cells.begin(), cells.end(), [&] { return static_cast<std::uint16_t>(random() % buckets); });
  AlignedVector<double> table(rows * buckets * lanes);
  EventRing& ring = events(common_n, Keys::uniform);
  std::size_t position = 0;
  for (auto _ : state) {
    add_to_cells(table.data(), lanes, buckets, std::span(cells).subspan(rows * position, rows * EventRing::batch),
                 ring.next().deltas);
    position = (position + EventRing::batch) % period;
  }
  benchmark::DoNotOptimize(table.data());
  count_events(state);
}

std::uint64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(13)) * 1024;
  }
  return 0;
}

/// Asks for pages of 2 MiB, which few programs do: a random access then rarely misses the TLB.
template <class T>
struct HugePageAllocator {
  using value_type = T;
  static constexpr std::align_val_t page{std::size_t{1} << 21U};

  HugePageAllocator() noexcept = default;
  template <class U>
  HugePageAllocator(const HugePageAllocator<U>&) noexcept {}

  T* allocate(std::size_t count) {
    void* memory = ::operator new(count * sizeof(T), page);
    ::madvise(memory, count * sizeof(T), MADV_HUGEPAGE);
    return static_cast<T*>(memory);
  }
  void deallocate(T* pointer, std::size_t) noexcept { ::operator delete(pointer, page); }

  template <class U>
  bool operator==(const HugePageAllocator<U>&) const noexcept {
    return true;
  }
};

/// n doubles, allocated and touched once. Throws std::runtime_error when that would leave little for the rest.
template <class Vector>
Vector& dense_vector(std::uint64_t n) {
  static std::map<std::uint64_t, Vector> vectors;
  const auto found = vectors.find(n);
  if (found != vectors.end()) return found->second;
  const std::uint64_t needed = n * sizeof(double) + (std::uint64_t{2} << 30U);
  if (const std::uint64_t available = available_bytes(); available < needed) {
    throw std::runtime_error(fmt::format("{:.1f} GB of memory available, {:.1f} needed",
                                         static_cast<double>(available) * 1e-9, static_cast<double>(needed) * 1e-9));
  }
  return vectors.try_emplace(n, n).first->second;
}

template <class Container>
void accumulate(benchmark::State& state, std::uint64_t n, Container& y) {
  EventRing& ring = events(n, Keys::uniform);
  for (auto _ : state) {
    const Updates updates = ring.next();
    for (std::size_t t = 0; t < EventRing::batch; ++t) y[updates.keys[t]] += updates.deltas[t];
    benchmark::ClobberMemory();
  }
  count_events(state);
}

template <class Vector>
void dense(benchmark::State& state, std::uint64_t n) try {
  accumulate(state, n, dense_vector<Vector>(n));
} catch (const std::runtime_error& error) {
  state.SkipWithError(error.what());
}

/// Holds all keys of the stream from the start: no insertion is timed.
void unordered_map(benchmark::State& state, std::uint64_t n) {
  static std::map<std::uint64_t, std::unordered_map<std::uint64_t, double>> maps;
  std::unordered_map<std::uint64_t, double>& y = maps[n];
  if (y.empty()) {
    y.reserve(n);
    for (const std::uint64_t key : events(n, Keys::uniform).all().keys) y[key] = 0;
  }
  accumulate(state, n, y);
}

void add_ingest(const SketchConfig& config, Keys keys = Keys::uniform) {
  constexpr std::array<const char*, 3> names{"uniform", "zipf", "sequential"};
  const std::string name =
      fmt::format("ingest/lanes:{}/buckets:{}/levels:{}/n:{}/keys:{}/randomness:{}", config.lanes, config.buckets,
                  config.levels, config.dimension, names[static_cast<std::size_t>(keys)], to_string(config.randomness));
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { ingest(state, config, keys); });
}

}  // namespace

void register_ingest() {
  const auto add = [](const std::string& name, auto run, auto... arguments) {
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, arguments...); });
  };
  add_ingest(sketch_config(common_n, 1, 512, 1));
  for (const std::uint64_t buckets : {2048U, 8192U, 65536U}) add_ingest(sketch_config(common_n, 2, buckets, 1));
  for (const std::uint32_t lanes : {8U, 16U, 64U}) {
    for (const std::uint32_t levels : {1U, 2U, 3U}) add_ingest(sketch_config(common_n, lanes, 512, levels));
  }
  for (const std::uint64_t n : {std::uint64_t{100'000'000}, billion}) add_ingest(sketch_config(n, 16, 512, 1));
  for (const Keys keys : {Keys::zipf, Keys::sequential}) add_ingest(sketch_config(common_n, 16, 512, 1), keys);
  for (const Randomness randomness : {Randomness::kwise, Randomness::nisan}) {
    SketchConfig config = sketch_config(common_n, 16, 512, 1);
    config.randomness = randomness;
    add_ingest(config);
  }
  for (const Randomness randomness : {Randomness::mix, Randomness::kwise, Randomness::nisan})
    add(fmt::format("words/randomness:{}", to_string(randomness)), words_only, randomness);

  for (const std::uint32_t lanes : {2U, 8U, 16U, 64U}) add(fmt::format("scales/lanes:{}", lanes), scales_only, lanes);
  for (const std::uint64_t buckets : {512U, 8192U}) {
    add(fmt::format("addressing/buckets:{}", buckets), addressing_only, buckets);
  }
  for (const std::size_t lanes : {1U, 8U, 16U, 64U}) {
    add(fmt::format("stores/lanes:{}/buckets:512", lanes), stores_only, lanes, std::size_t{512});
  }
  for (const std::size_t buckets : {2048U, 8192U, 65536U}) {
    add(fmt::format("stores/lanes:2/buckets:{}", buckets), stores_only, std::size_t{2}, buckets);
  }

  for (const std::uint64_t n : {std::uint64_t{1} << 20, common_n, std::uint64_t{100'000'000}, billion}) {
    add(fmt::format("dense/n:{}", n), dense<std::vector<double>>, n);
  }
  for (const std::uint64_t n : {common_n, std::uint64_t{100'000'000}}) {
    add(fmt::format("dense_huge_pages/n:{}", n), dense<std::vector<double, HugePageAllocator<double>>>, n);
  }
  for (const std::uint64_t n : {std::uint64_t{1} << 20, common_n}) {
    add(fmt::format("unordered_map/n:{}", n), unordered_map, n);
  }
}

}  // namespace weir::bench
