#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <optional>
#include <string>

#include "weir/mpi/communicator.hpp"
#include "weir/mpi/environment.hpp"

namespace {

/// On ranks other than 0: prints failures only, with the rank.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    const std::string file = result.file_name() == nullptr ? "" : result.file_name();
    std::fprintf(stderr, "[rank %d] %s:%d: %s\n", rank_, file.c_str(), result.line_number(), result.message());
  }

 private:
  int rank_;
};

/// Before MPI_Init.
bool refuses_without_mpi() {
  try {
    const weir::mpi::Communicator world;
  } catch (const weir::UsageError&) {
    return true;
  }
  std::fputs("a Communicator before MPI_Init is not refused\n", stderr);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const bool refused = refuses_without_mpi();
  // It is destroyed after MPI_Finalize, where MPI_Comm_free would end the process with an error.
  std::optional<weir::mpi::Communicator> outlives_mpi;
  const weir::mpi::Environment environment(argc, argv);
  outlives_mpi.emplace();
  testing::InitGoogleTest(&argc, argv);
  const weir::mpi::Communicator world;
  if (!world.local_is_root()) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(world.local_rank()));
  }
  const bool failed = RUN_ALL_TESTS() != 0 || !refused;
  return world.all_sum(failed ? 1 : 0) == 0 ? 0 : 1;
}
