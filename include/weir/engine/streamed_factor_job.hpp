#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weir/engine/ingest.hpp"
#include "weir/model/streamed_factor.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/sketch/config.hpp"
#include "weir/sketch/tensor_sketch.hpp"
#include "weir/sketch/vector_sketch.hpp"

namespace weir::engine {

/// Where the operands of y = (A1 (x) A2) vec X come from, when one factor streams.
struct FactorSource {
  StreamSource stream;
  std::string fixed_factor;  ///< Path of the other factor, read by every rank, each keeping its slice.
};

struct FactorJobResult {
  VectorSketch y;  ///< Phi y, complete on rank 0: as a matrix whose rows belong to the streamed factor.
  std::optional<Estimate>
      tensor_f2;              ///< ||y||_2^2 as a TensorSketch of the operands has it; on rank 0, of a whole stream.
  StreamedFactorModel model;  ///< This rank's slices of the operands.
  IngestStatistics ingest;
  double merge_seconds = 0;  ///< Of the slowest rank.
};

/// Collective: Algorithm 1 of the paper. Every rank keeps O(n d / ranks) doubles of the operands and the sketch of its
/// slice of the columns of y, and is given every event of `streamed`; one reduction sums the sketches on rank 0. `core` is
/// X; `config` has the dimension n1 n2, and the length of a row. `start`, read on rank 0 only, is the sketch that the
/// stream continues. `tensor_buckets` is B of the TensorSketch. Throws the same error on all ranks.
[[nodiscard]] FactorJobResult run_streamed_factor_job(const mpi::Communicator& communicator,
                                                      const KroneckerShape& shape, Operand streamed,
                                                      const DenseMatrix& core, const SketchConfig& config,
                                                      std::uint64_t tensor_buckets, const FactorSource& source,
                                                      std::optional<VectorSketch> start = std::nullopt);

/// Exact entries of y, computed from the operands.
struct ExactMatrixEntries {
  double norm = 0;             ///< ||y||_2
  std::vector<double> values;  ///< One for each entry asked for.
};

/// Collective: `keys`, i * m + k for entry (i, k) of the matrix that `model` sketches (m its columns), are rank 0's; the
/// result is complete there. O(n d^2 / ranks) time.
[[nodiscard]] ExactMatrixEntries exact_entries(const mpi::Communicator& communicator, const StreamedFactorModel& model,
                                               std::vector<std::uint64_t> keys);

}  // namespace weir::engine
