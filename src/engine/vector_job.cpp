#include "weir/engine/vector_job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Bytes of the tables of one rank; the largest number when they do not fit into one.
std::uint64_t table_bytes(const Measure& measure, std::uint64_t dimension) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t sketch = measure.sketch ? measure.sketch->table_size() * sizeof(double) : 0;
  const std::uint64_t dense = !measure.dense                      ? 0
                              : dimension > most / sizeof(double) ? most
                                                                  : dimension * sizeof(double);
  return dense > most - sketch ? most : sketch + dense;
}

bool all_finite(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
}

}  // namespace

void MeasuredVector::update(const Updates& updates) {
  if (sketch) sketch->update(updates.keys, updates.deltas);
  if (dense) dense->update(updates.keys, updates.deltas);
}

void MeasuredVector::require_finite() const {
  const bool finite = (!sketch || (all_finite(sketch->table()) && std::isfinite(sketch->f2().value))) &&
                      (!dense || (all_finite(dense->table()) && std::isfinite(dense->moment(2))));
  if (!finite)
    throw InputError(
        "the values of the stream are too large: their sums or squares overflow a double; scale them down");
}

VectorJobResult run_vector_job(const mpi::Communicator& communicator, Model& model, const Measure& measure,
                               const StreamSource& source, std::optional<VectorSketch> start) {
  if (measure.sketch) measure.sketch->validate();
  require_memory(
      communicator, table_bytes(measure, dimension(model)),
      measure.dense ? fmt::format("the dense vector of n = {} doubles", dimension(model)) : "the table of the sketch");
  VectorJobResult result;
  MeasuredVector& y = result.y;
  together(communicator, [&](mpi::FailureSignal&) {
    if (start) {
      y.sketch = std::move(start);
    } else if (measure.sketch) {
      y.sketch.emplace(*measure.sketch);
    }
    if (measure.dense) y.dense.emplace(dimension(model));
  });

  result.ingest = ingest(communicator, source, operand_shapes(model), streamed_operand(model),
                         [&](const EventBatch& batch) { y.update(updates_of(model, batch)); });

  const auto merge_start = Clock::now();
  if (y.sketch) {
    communicator.require_equal(y.sketch->config().fingerprint(), "the configuration of the sketch");
    communicator.reduce_sum(y.sketch->table());
  }
  if (y.dense) communicator.reduce_sum(y.dense->table());
  result.merge_seconds = communicator.all_max(seconds_since(merge_start));
  together(communicator, [&](mpi::FailureSignal&) {
    if (communicator.local_is_root()) y.require_finite();
  });
  return result;
}

}  // namespace weir::engine
