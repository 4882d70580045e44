#pragma once

#include <cstdint>
#include <span>

#include "weir/mpi/communicator.hpp"
#include "weir/sample/softmax.hpp"

namespace weir::engine {

/// Collective: exact draws with probability exp(y_i) / sum exp(y) (weir/sample/softmax.hpp) from a y of which each rank
/// holds y[first + t] = slice[t]. Slices are disjoint, may be empty, and lie in the order of the ranks; `options` are
/// the same everywhere. The result, on rank 0 (empty elsewhere), is the same to the bit however y is cut. Every index
/// that is drawn costs one element of an MPI_MAXLOC reduction; memory beyond y does not depend on n.
///
/// Throws on all ranks: UsageError when all slices are empty, InputError that names the first index of the lowest rank
/// whose value is not finite.
[[nodiscard]] SampleResult softmax_over_ranks(const mpi::Communicator& communicator, std::uint64_t first,
                                              std::span<const double> slice, const SoftmaxOptions& options);

}  // namespace weir::engine
