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

std::uint64_t sketch_bytes(const Measure& measure) {
  return measure.sketch ? measure.sketch->table_size() * sizeof(double) : 0;
}

/// Bytes of the tables of one rank; the largest number when they do not fit into one.
std::uint64_t table_bytes(const Measure& measure, std::uint64_t dimension) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t sketch = sketch_bytes(measure);
  const std::uint64_t dense = !measure.dense                      ? 0
                              : dimension > most / sizeof(double) ? most
                                                                  : dimension * sizeof(double);
  return dense > most - sketch ? most : sketch + dense;
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

void MeasuredVector::update(const Updates& updates) {
  if (sketch) sketch->update(updates.keys, updates.deltas);
  if (dense) dense->update(updates.keys, updates.deltas);
}

void MeasuredVector::require_measurable() const {
  std::string problem = sketch ? describe_range_problem(*sketch) : std::string();
  if (problem.empty() && dense) problem = describe_range_problem(*dense);
  if (!problem.empty()) throw InputError(problem);
}

VectorJobResult run_vector_job(const mpi::Communicator& communicator, Model& model, const Measure& measure,
                               const StreamSource& source, std::optional<VectorSketch> start) {
  if (measure.sketch) measure.sketch->validate();
  // To answer, the root takes from a copy what it has found.
  require_memory(
      communicator, table_bytes(measure, dimension(model)), sketch_bytes(measure),
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
    if (communicator.local_is_root()) y.require_measurable();
  });
  return result;
}

}  // namespace weir::engine
