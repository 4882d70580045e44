// y = A x with x fixed, with A fixed, and with both streaming: the "static against dynamic throughput" of the paper, from
// batches of events to the state of y. An item is an event: a change of an entry, or a whole row.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weir/random/source.hpp"
#include "weir/state/product_state.hpp"
#include "weir/state/vector_state.hpp"
#include "workload.hpp"

namespace weir::bench {
namespace {

enum class Kind : std::uint8_t { entry, entry_by_row, row, x };

std::string text(Kind kind) {
  switch (kind) {
    case Kind::entry:
      return "entry";
    case Kind::entry_by_row:
      return "entry_by_row";
    case Kind::row:
      return "row";
    default:
      return "x";
  }
}

/// Random rows of A with d columns, as many in a batch as a reader puts there: 2^18 values or 8192 rows.
std::vector<EventBatch> row_batches(std::uint64_t d) {
  const Updates ring = events(MatrixShape().n, Keys::uniform).all();
  const std::size_t rows = std::min<std::size_t>((std::size_t{1} << 18) / d, EventRing::batch);
  std::vector<EventBatch> batches(EventRing::size / (rows * d));
  std::size_t t = 0;
  for (EventBatch& batch : batches) {
    for (std::size_t k = 0; k < rows; ++k, ++t)
      batch.rows.push_back(Operand::A, ring.keys[t], 1, ring.deltas.subspan(t * d, d));
  }
  return batches;
}

/// Changes of random entries of x.
std::vector<EventBatch> x_batches(std::uint64_t d) {
  const Updates ring = events(MatrixShape().n, Keys::uniform).all();
  std::vector<EventBatch> batches(EventRing::size / 4 / EventRing::batch);
  std::size_t t = 0;
  for (EventBatch& batch : batches) {
    batch.resize(EventRing::batch);
    for (std::size_t k = 0; k < EventRing::batch; ++k, ++t) {
      batch.operands[k] = Operand::x;
      batch.i[k] = finalise(t) % d;
      batch.delta[k] = ring.deltas[t];
    }
  }
  return batches;
}

/// Together more than caches hold. Made at the first call.
const std::vector<EventBatch>& batches_of(Kind kind, std::uint64_t d) {
  if (kind == Kind::entry) return entry_batches(d, Order::random);
  if (kind == Kind::entry_by_row) return entry_batches(d, Order::row_major);
  static std::map<std::pair<Kind, std::uint64_t>, std::vector<EventBatch>> made;
  std::vector<EventBatch>& batches = made[{kind, d}];
  if (batches.empty()) batches = kind == Kind::row ? row_batches(d) : x_batches(d);
  return batches;
}

template <class Ingest>
void measure(benchmark::State& state, Kind kind, std::uint64_t d, const Ingest& ingest) {
  const std::vector<EventBatch>& batches = batches_of(kind, d);
  std::size_t at = 0;
  for (auto _ : state) {
    ingest(batches[at++ % batches.size()]);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(batches.front().events()));
}

/// The state of no event while A streams and x is fixed, or both stream.
std::unique_ptr<Kept> empty_state(const std::string& streams, const MatrixShape& shape) {
  if (streams != "A") return std::make_unique<ProductState>(shape.config(), shape.d, 1, std::nullopt);
  auto state = std::make_unique<FixedProductState>(shape.config(), shape.d, std::nullopt);
  state->set_fixed(Operand::x, {shape.d, 1, std::vector<double>(shape.d, 0.5)});
  return state;
}

void into_sketch(benchmark::State& state, const std::string& streams, const MatrixShape& shape, Kind kind) {
  const std::unique_ptr<Kept> kept = empty_state(streams, shape);
  measure(state, kind, shape.d, [&](const EventBatch& batch) { kept->add(batch); });
}

void a_fixed(benchmark::State& state, std::uint64_t d) {
  ProductEntries entries;
  std::vector<double> x(d);
  measure(state, Kind::x, d, [&](const EventBatch& batch) { entries.split(batch, x); });
}

void add(const std::string& streams, const MatrixShape& shape, Kind kind) {
  benchmark::RegisterBenchmark(
      fmt::format("product/streams:{}/event:{}/n:{}/{}", streams, text(kind), shape.n, bench::text(shape)).c_str(),
      [=](benchmark::State& state) { into_sketch(state, streams, shape, kind); });
}

}  // namespace

void register_product() {
  for (const MatrixShape& shape :
       {MatrixShape{.d = 8}, MatrixShape{}, MatrixShape{.d = 256}, MatrixShape{.lanes = 8}, MatrixShape{.lanes = 64},
        MatrixShape{.lanes = 8, .buckets = 128}, MatrixShape{.buckets = 128}}) {
    for (const Kind kind : {Kind::entry, Kind::entry_by_row, Kind::row}) {
      add("A", shape, kind);
      add("both", shape, kind);
    }
    add("both", shape, Kind::x);
  }
  // An x update touches no sketch: its cost depends on nothing but d, and on that only through the caches.
  for (const std::uint64_t d : {8U, 64U, 256U, 1024U, 65536U}) {
    benchmark::RegisterBenchmark(fmt::format("product/streams:x/event:x/d:{}", d).c_str(),
                                 [=](benchmark::State& state) { a_fixed(state, d); });
  }
  for (const std::uint64_t n : {1'000U, 1'000'000U, 1'000'000'000U}) add("both", {.n = n, .buckets = 128}, Kind::x);
  for (const std::uint64_t buckets : {16U, 4096U}) add("both", {.lanes = 8, .buckets = buckets}, Kind::x);
}

}  // namespace weir::bench
