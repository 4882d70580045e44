#include "weir/engine/together.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <new>
#include <numeric>
#include <span>
#include <tuple>
#include <vector>

#include "weir/engine/memory.hpp"
#include "weir/error.hpp"

namespace weir::engine {

namespace {

using Identity = decltype(MemoryLimit::identity);

/// The groups that the ranks of one machine are in, one rank after the other.
struct Groups {
  std::vector<Identity> identities;
  std::size_t of_first_rank = 0;  ///< How many of them.
};

Groups gather_groups(MPI_Comm machine, const std::vector<MemoryLimit>& limits) {
  int ranks = 1;
  MPI_Comm_size(machine, &ranks);
  std::vector<Identity> own;
  for (const MemoryLimit& limit : limits) own.push_back(limit.identity);
  constexpr int words = std::tuple_size_v<Identity>;
  const int length = words * static_cast<int>(own.size());
  std::vector<int> lengths(static_cast<std::size_t>(ranks)), starts(lengths.size());
  MPI_Allgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, machine);
  std::exclusive_scan(lengths.begin(), lengths.end(), starts.begin(), 0);
  Groups all{std::vector<Identity>(static_cast<std::size_t>((starts.back() + lengths.back()) / words)),
             static_cast<std::size_t>(lengths.front() / words)};
  MPI_Allgatherv(own.data(), length, MPI_UINT64_T, all.identities.data(), lengths.data(), starts.data(), MPI_UINT64_T,
                 machine);
  return all;
}

}  // namespace

void together(const mpi::Communicator& communicator, const std::function<void(mpi::FailureSignal& signal)>& work) {
  mpi::FailureSignal signal(communicator);
  bool usage = false;
  try {
    work(signal);
  } catch (const UsageError& error) {
    usage = true;
    signal.local_raise(error.what());
  } catch (const std::bad_alloc&) {
    signal.local_raise("out of memory");
  } catch (const std::exception& error) {
    signal.local_raise(error.what());
  }
  try {
    signal.agree();
  } catch (const Error& error) {
    if (communicator.all_sum(usage ? 1 : 0) > 0) throw UsageError(error.what());
    throw;
  }
}

void require_memory(const mpi::Communicator& communicator, std::uint64_t bytes, std::uint64_t bytes_more_on_root,
                    const std::string& what, const std::filesystem::path& root) {
  MPI_Comm machine = MPI_COMM_NULL;
  MPI_Comm_split_type(communicator.local_handle(), MPI_COMM_TYPE_SHARED, communicator.local_rank(), MPI_INFO_NULL,
                      &machine);
  int lowest_rank_here = communicator.local_rank();
  MPI_Allreduce(MPI_IN_PLACE, &lowest_rank_here, 1, MPI_INT, MPI_MIN, machine);
  const std::vector<MemoryLimit> limits = memory_limits(root);
  const Groups groups = gather_groups(machine, limits);
  MPI_Comm_free(&machine);

  together(communicator, [&](mpi::FailureSignal&) {
    constexpr double gibibyte = 1024.0 * 1024.0 * 1024.0;
    for (const MemoryLimit& limit : limits) {
      const auto ranks = std::ranges::count(groups.identities, limit.identity);
      const auto of_first_rank = std::span(groups.identities).first(groups.of_first_rank);
      const bool with_root = lowest_rank_here == 0 && std::ranges::count(of_first_rank, limit.identity) > 0;
      const double wanted = static_cast<double>(bytes) * static_cast<double>(ranks) +
                            (with_root ? static_cast<double>(bytes_more_on_root) : 0.0);
      const auto available = static_cast<double>(limit.bytes);
      if (wanted > available)
        throw InputError(
            fmt::format("{} would take {:.4g} GiB for the {} rank(s) of {}, which has {:.4g} GiB of memory", what,
                        wanted / gibibyte, ranks, limit.group, available / gibibyte));
    }
  });
}

}  // namespace weir::engine
