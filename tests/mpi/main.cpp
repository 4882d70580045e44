#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
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

}  // namespace

int main(int argc, char** argv) {
  const weir::mpi::Environment environment(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  const weir::mpi::Communicator world;
  if (!world.local_is_root()) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(world.local_rank()));
  }
  const int failed = RUN_ALL_TESTS();
  return world.all_sum(failed == 0 ? 0 : 1) == 0 ? 0 : 1;
}
