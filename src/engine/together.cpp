#include "weir/engine/together.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <exception>
#include <new>

#include "weir/error.hpp"

namespace weir::engine {

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
                    const std::string& what) {
  MPI_Comm machine = MPI_COMM_NULL;
  int ranks_here = 1;
  MPI_Comm_split_type(communicator.local_handle(), MPI_COMM_TYPE_SHARED, communicator.local_rank(), MPI_INFO_NULL,
                      &machine);
  MPI_Comm_size(machine, &ranks_here);
  int lowest_rank_here = communicator.local_rank();
  MPI_Allreduce(MPI_IN_PLACE, &lowest_rank_here, 1, MPI_INT, MPI_MIN, machine);
  MPI_Comm_free(&machine);
  const double available = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  const double wanted =
      static_cast<double>(bytes) * ranks_here + (lowest_rank_here == 0 ? static_cast<double>(bytes_more_on_root) : 0.0);
  together(communicator, [&](mpi::FailureSignal&) {
    constexpr double gibibyte = 1024.0 * 1024.0 * 1024.0;
    if (wanted > available)
      throw InputError(
          fmt::format("{} would take {:.4g} GiB for the {} rank(s) of this machine, which has {:.4g} GiB of memory",
                      what, wanted / gibibyte, ranks_here, available / gibibyte));
  });
}

}  // namespace weir::engine
