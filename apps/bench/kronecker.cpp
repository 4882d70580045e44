// y = (A1 (x) A2) vec X, y as a matrix of n1 x m. Where one factor streams, by rows of y, which are runs of consecutive
// keys: an item is a coordinate of y. Where both do: an item is an event.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "weir/random/source.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/sketch/vector_sketch.hpp"
#include "weir/state/rows_state.hpp"
#include "weir/state/state.hpp"
#include "weir/state/streamed_factor.hpp"
#include "workload.hpp"

namespace weir::bench {
namespace {

constexpr std::uint64_t n1 = 4096;

SketchConfig rows_as_groups(std::uint64_t m, std::uint32_t lanes, std::uint32_t levels) {
  SketchConfig config = sketch_config(n1 * m, lanes, 512, levels);
  config.row_length = m;
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
  const std::uint64_t m = config.row_length;
  std::uint64_t row = 0;
  for (auto _ : state) {
    const Updates updates = ring.next();
    for (std::size_t first = 0; first < EventRing::batch; first += m) {
      sketch.update_run(row * m, updates.deltas.subspan(first, m));
      row = (row + 1) % n1;
    }
  }
  benchmark::DoNotOptimize(sketch.table().data());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(EventRing::batch));
}

double value(std::uint64_t t) { return 1 - std::ldexp(static_cast<double>(finalise(t)), -63); }

/// `count` whole rows of n x d, or `count` entries, at random: a pure function of the arguments and of `number`.
EventBatch random_events(Operand operand, bool whole_rows, std::uint64_t n, std::uint64_t d, std::size_t count,
                         std::uint64_t number) {
  EventBatch batch;
  std::vector<double> row(d);
  for (std::uint64_t t = number * count; t < (number + 1) * count; ++t) {
    const std::uint64_t i = finalise(t) % n;
    if (!whole_rows) {
      batch.push_back({operand, i, finalise(i ^ t) % d, value(t)});
      continue;
    }
    for (std::uint64_t j = 0; j < d; ++j) row[j] = value(t * d + j);
    batch.rows.push_back(operand, i, 1, row);
  }
  return batch;
}

/// A1 streams by whole rows or single entries, `events_of_batch` at a time; A2, m x d, is fixed. Readers make batches of
/// 2^18 values of rows, or 8192 entries: more than 64 rows at a time make no difference.
void streaming(benchmark::State& state, bool whole_rows, std::size_t events_of_batch, std::uint64_t d,
               const SketchConfig& config) {
  const std::uint64_t m = config.row_length;
  DenseMatrix identity{d, d, std::vector<double>(d * d)};
  for (std::uint64_t j = 0; j < d; ++j) identity.values[j * d + j] = 1;
  StreamedFactor factor({n1, m, d, d}, Operand::A1, identity, {});
  EventBatch fixed;
  for (std::uint64_t k = 0; k < m; ++k) {
    for (std::uint64_t j = 0; j < d; ++j) fixed.rows.values.push_back(value(k * d + j));
    fixed.rows.close_row(Operand::A2, k, 1);
  }
  factor.add_fixed(fixed);
  factor.multiply();
  std::vector<EventBatch> batches;
  std::vector<std::size_t> changed_rows;  // events of the same row are taken together
  for (std::uint64_t number = 0; number < 64; ++number) {
    const EventBatch& batch =
        batches.emplace_back(random_events(Operand::A1, whole_rows, n1, d, events_of_batch, number));
    const auto& changed = whole_rows ? batch.rows.i : batch.i;
    changed_rows.push_back(std::set(changed.begin(), changed.end()).size());
  }
  VectorSketch y(config);
  std::size_t at = 0, rows = 0;
  for (auto _ : state) {
    factor.add_events(batches[at], y);
    rows += changed_rows[at];
    at = (at + 1) % batches.size();
  }
  benchmark::DoNotOptimize(y.table().data());
  state.SetItemsProcessed(static_cast<std::int64_t>(rows * m));
}

/// A1 and A2, n x 16 both, stream in turn, in batches as large as readers make them.
void two_stage(benchmark::State& state, bool whole_rows, std::uint64_t n, const PairsConfig& config) {
  constexpr std::uint64_t d = 16;
  std::vector<EventBatch> batches;
  for (std::uint64_t number = 0; number < 64; ++number)
    batches.push_back(
        random_events(number % 2 == 0 ? Operand::A1 : Operand::A2, whole_rows, n, d, EventRing::batch, number));
  const KroneckerShape shape{n, n, d, d};
  KroneckerState operands(shape, config.sketch, config.gram);
  std::size_t at = 0;
  for (auto _ : state) {
    operands.add(batches[at++ % batches.size()]);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(EventRing::batch));
  state.counters["state_bytes"] =
      8.0 * static_cast<double>(doubles_of(KroneckerState::layout(shape, config.sketch, config.gram), {}));
}

/// What is suggested for 4 pairs, of which 16 lanes come.
PairsConfig pairs_config(std::uint64_t n) { return suggest_pairs_config({.dimension = n, .samples = 4}, n, false); }

template <class Run>
void add(const std::string& name, const Run& run) {
  benchmark::RegisterBenchmark(("kronecker/" + name).c_str(), run);
}

}  // namespace

void register_kronecker() {
  for (const std::uint32_t levels : {1U, 2U}) {
    for (const std::uint32_t lanes : {1U, 8U, 16U, 64U}) {
      const SketchConfig config = rows_as_groups(4096, lanes, levels);
      const std::string name = fmt::format("m:4096/lanes:{}/levels:{}", lanes, levels);
      add("update/" + name, [=](benchmark::State& state) { updates(state, config); });
      add("update_run/" + name, [=](benchmark::State& state) { runs(state, config); });
    }
    for (const std::uint32_t lanes : {8U, 16U}) {
      for (const std::uint64_t m : {4096U, 65536U}) {
        const SketchConfig config = rows_as_groups(m, lanes, levels);
        const std::string name = fmt::format("m:{}/lanes:{}/levels:{}", m, lanes, levels);
        if (m != 4096) add("update/" + name, [=](benchmark::State& state) { updates(state, config); });
        for (const std::uint64_t d : {16U, 64U}) {
          for (const bool whole_rows : {false, true})
            add(fmt::format("streaming/event:{}/d:{}/{}", whole_rows ? "row" : "entry", d, name),
                [=](benchmark::State& state) { streaming(state, whole_rows, 128, d, config); });
        }
      }
    }
  }
  // Rows that come one by one, and rows of y that are short, or whose B is in another cache.
  for (const std::uint64_t m : {5U, 40U, 512U, 4096U, 65536U}) {
    const SketchConfig config = rows_as_groups(m, 16, 2);
    for (const std::size_t rows : {1U, 64U})
      add(fmt::format("streaming/rows:{}/d:64/m:{}/lanes:16/levels:2", rows, m),
          [=](benchmark::State& state) { streaming(state, true, rows, 64, config); });
  }
  for (const std::uint64_t n : {1'000U, 10'000U, 65'536U, 1'000'000U, 10'000'000U, 100'000'000U}) {
    for (const bool whole_rows : {false, true}) {
      for (const bool own_sizes : {false, true}) {
        PairsConfig config = pairs_config(own_sizes ? n : 100'000'000U);
        config.sketch.dimension = n;
        add(fmt::format("two_stage/event:{}/sizes_for:{}/n:{}", whole_rows ? "row" : "entry",
                        own_sizes ? "n" : "100000000", n),
            [=](benchmark::State& state) { two_stage(state, whole_rows, n, config); });
      }
    }
  }
}

}  // namespace weir::bench
