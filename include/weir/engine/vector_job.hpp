#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "weir/engine/ingest.hpp"
#include "weir/io/state_file.hpp"
#include "weir/model/model.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir::engine {

/// What a job keeps of y. At least one of the two.
struct Measure {
  std::optional<SketchConfig> sketch;  ///< The same on every rank.
  bool dense = false;                  ///< y itself, 8 n bytes a rank.
};

/// What makes the range of a sketched vector unmeasurable; empty when nothing does. Too large: a cell, or ||y||_2^2, is
/// not a finite double. Too small: y is not zero, but its squares underflow.
[[nodiscard]] std::string describe_range_problem(const VectorSketch& sketch);

/// y, or as much of it as this rank has seen.
struct MeasuredVector {
  std::optional<VectorSketch> sketch;
  std::optional<DenseVector> dense;

  /// Throws InputError when a key is out of range or a delta is not finite.
  void update(const Updates& updates);
  /// Throws InputError when the values are so large, or so small, that nothing could be said about such a vector.
  void require_measurable() const;
};

struct VectorJobResult {
  MeasuredVector y;  ///< On rank 0 all of it; elsewhere this rank's share.
  IngestStatistics ingest;
  double merge_seconds = 0;  ///< Of the slowest rank.
};

/// Collective: the whole way of a stream, once: every rank reads its part of `source`, turns events into updates of y
/// and adds them to its own tables; then all check that they hold the same kind of table, and one reduction sums the
/// tables on rank 0. `start`, read on rank 0 only, is what the stream continues; its configuration must be
/// `measure.sketch`, and the dense vector knows nothing of it. Memory of a rank: the tables, plus at most 64 MiB.
/// Throws the same error on all ranks.
[[nodiscard]] VectorJobResult run_vector_job(const mpi::Communicator& communicator, Model& model,
                                             const Measure& measure, const StreamSource& source,
                                             std::optional<VectorSketch> start = std::nullopt);

}  // namespace weir::engine
