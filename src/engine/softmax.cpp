#include "weir/engine/softmax.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"

namespace weir::engine {

namespace {

UnitSum sum_over_ranks(const mpi::Communicator& communicator, const UnitSum& sum) {
  return {communicator.all_sum(sum.high), communicator.all_sum(sum.low)};
}

/// Independent draws: on rank 0 the largest of each.
std::vector<Perturbed> largest_of_each_draw(const mpi::Communicator& communicator,
                                            const std::vector<Perturbed>& local) {
  std::vector<double> perturbed;
  std::vector<std::uint64_t> indices;
  for (const Perturbed& own : local) {
    perturbed.push_back(own.perturbed);
    indices.push_back(own.index);
  }
  const std::vector<mpi::Located> winners = communicator.all_max_location(perturbed, indices);
  std::vector<double> values(winners.size());  // that of the winner, plus zeros
  for (std::size_t s = 0; s < values.size(); ++s) {
    if (winners[s].rank == communicator.local_rank()) values[s] = local[s].value;
  }
  communicator.reduce_sum(values);
  std::vector<Perturbed> result;
  for (std::size_t s = 0; s < values.size(); ++s) result.push_back({winners[s].value, winners[s].index, values[s]});
  return result;
}

/// Draws without replacement: merges the lists of the ranks pairwise, in log2 P rounds, on rank 0.
void merge_on_root(const mpi::Communicator& communicator, SoftmaxPart& part, const SoftmaxOptions& options) {
  static_assert(std::is_trivially_copyable_v<Perturbed>);
  const int rank = communicator.local_rank();
  for (int step = 1; step < communicator.local_size(); step *= 2) {
    if (rank % (2 * step) != 0) {
      communicator.local_send(std::as_bytes(std::span(part.largest)), rank - step);
      return;
    }
    if (rank + step >= communicator.local_size()) continue;
    const std::vector<std::byte> bytes = communicator.local_receive(rank + step);
    SoftmaxPart other;
    other.largest.resize(bytes.size() / sizeof(Perturbed));
    if (!bytes.empty()) std::memcpy(other.largest.data(), bytes.data(), bytes.size());
    part.merge(other, options);
  }
}

}  // namespace

SampleResult softmax_over_ranks(const mpi::Communicator& communicator, std::uint64_t first,
                                std::span<const double> slice, const SoftmaxOptions& options) {
  SoftmaxRange range;
  together(communicator, [&](mpi::FailureSignal&) { range = softmax_range(first, slice); });
  range.maximum = communicator.all_max(range.maximum);
  range.magnitude = communicator.all_max(range.magnitude);
  if (std::isinf(range.maximum)) throw UsageError("the softmax of no coordinates: expected at least 1");

  SoftmaxPart part;
  together(communicator, [&](mpi::FailureSignal&) { part = softmax_part(first, slice, range, options); });
  if (options.without_replacement) {
    merge_on_root(communicator, part, options);
  } else {
    part.largest = largest_of_each_draw(communicator, part.largest);
  }
  part.exponentials = sum_over_ranks(communicator, part.exponentials);
  part.squares = sum_over_ranks(communicator, part.squares);
  if (!communicator.local_is_root()) return {};
  return softmax_draws(part, range, options);
}

}  // namespace weir::engine
