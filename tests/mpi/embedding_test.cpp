// Communicators inside programs that have their own: what is made is given back, and what is the caller's is left alone.

#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/mpi/failure_signal.hpp"

namespace weir::mpi {
namespace {

using testing_support::expect_error;

/// A communicator of the caller's.
class Own {
 public:
  Own() { MPI_Comm_dup(MPI_COMM_WORLD, &handle); }
  /// Halves of the world: the ranks of even and of odd numbers, in descending order.
  static Own half_of_world() {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm half = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
    return Own(half);
  }
  ~Own() {
    if (handle != MPI_COMM_NULL) MPI_Comm_free(&handle);
  }
  Own(const Own&) = delete;
  Own& operator=(const Own&) = delete;

  MPI_Comm handle = MPI_COMM_NULL;

 private:
  explicit Own(MPI_Comm its_handle) : handle(its_handle) {}
};

/// One signal without a failure, and one that the last rank raises.
void use(const Communicator& communicator) {
  {
    FailureSignal signal(communicator);
    ASSERT_NO_THROW(signal.agree());
  }
  const int last = communicator.local_size() - 1;
  FailureSignal signal(communicator);
  if (communicator.local_rank() == last) signal.local_raise("failed");
  ASSERT_EQ(testing_support::message_of<InputError>([&] { signal.agree(); }),
            last == 0 ? "failed" : "rank " + std::to_string(last) + ": failed");
}

/// The numbers that MPI libraries give to communicators are used again after MPI_Comm_free. Without it, 1,000 rounds
/// need thousands (MPICH has none left after 2,000).
class NumbersInUse {
 public:
  void add(MPI_Comm handle) { numbers_.insert(MPI_Comm_c2f(handle)); }
  /// The number that the next communicator gets.
  void add_next(MPI_Comm parent) {
    MPI_Comm next = MPI_COMM_NULL;
    MPI_Comm_dup(parent, &next);
    add(next);
    MPI_Comm_free(&next);
  }
  [[nodiscard]] std::size_t count() const { return numbers_.size(); }

 private:
  std::set<MPI_Fint> numbers_;
};

/// 1,000, or 100 where MPICH has more ranks than 2: it waits busily, and takes minutes when there are fewer cores.
int rounds() {
#ifdef MPICH_VERSION
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  return ranks > 2 ? 100 : 1000;
#else
  return 1000;
#endif
}

void expect_no_leak(MPI_Comm parent) {
  NumbersInUse numbers;
  for (int round = 0; round < rounds(); ++round) {
    const Communicator communicator(parent);
    use(communicator);
    if (round % 100 == 0) {
      std::ignore = communicator.all_gather_on_machine({});
      numbers.add_next(parent);
    }
    numbers.add(communicator.local_handle());
  }
  EXPECT_LT(numbers.count(), 50U);
}

TEST(Embedding, ManyOneAfterTheOther) { expect_no_leak(MPI_COMM_WORLD); }

TEST(Embedding, ManyOnASplitOfTheWorld) {
  const Own half = Own::half_of_world();
  expect_no_leak(half.handle);
}

TEST(Embedding, ManyOnARankAlone) { expect_no_leak(MPI_COMM_SELF); }

TEST(Embedding, ManyWithOthersAlive) {
  NumbersInUse numbers;
  const Own half = Own::half_of_world();
  const Communicator longest;
  std::vector<Communicator> alive;
  for (int round = 0; round < rounds(); ++round) {
    const std::vector<MPI_Comm> parents{MPI_COMM_WORLD, half.handle, MPI_COMM_SELF};
    Communicator next(parents[static_cast<std::size_t>(round) % parents.size()]);
    if (alive.size() < 4) {
      alive.push_back(std::move(next));
    } else {
      alive[static_cast<std::size_t>(round * 7 + 1) % alive.size()] = std::move(next);
    }
    use(alive[static_cast<std::size_t>(round) % alive.size()]);
    for (const Communicator& each : alive) numbers.add(each.local_handle());
  }
  use(longest);
  EXPECT_LT(numbers.count(), 50U);
}

TEST(Embedding, SignalsNeedNoCommunicators) {
  const Communicator world;
  NumbersInUse numbers;
  for (int round = 0; round < rounds(); ++round) use(world);
  numbers.add_next(MPI_COMM_WORLD);
  const FailureSignal signal(world);
  numbers.add_next(MPI_COMM_WORLD);
  EXPECT_LE(numbers.count(), 2U);
}

TEST(Embedding, HalvesOfTheWorldWorkByThemselves) {
  const Own half = Own::half_of_world();
  const Communicator communicator(half.handle);
  const Communicator world;
  const int parity = world.local_rank() % 2;
  EXPECT_EQ(communicator.local_size(), (world.local_size() + 1 - parity) / 2);
  EXPECT_EQ(communicator.local_rank(), communicator.local_size() - 1 - world.local_rank() / 2);  // descending
  // One half fails many times while the other goes on.
  for (int round = 0; round < 50 * (1 - parity); ++round) use(communicator);
  EXPECT_EQ(communicator.all_sum(1), static_cast<std::uint64_t>(communicator.local_size()));
  EXPECT_EQ(world.all_sum(1), static_cast<std::uint64_t>(world.local_size()));
}

TEST(Embedding, TheParentMayBeFreedFirst) {
  std::optional<Own> parent(std::in_place);
  const Communicator communicator(parent->handle);
  parent.reset();
  use(communicator);
}

TEST(Embedding, MovedCommunicatorsWork) {
  Communicator first;
  Communicator second(std::move(first));
  use(second);
  const int rank = second.local_rank();
  first = std::move(second);
  EXPECT_EQ(first.local_rank(), rank);
  use(first);
}

int errors_heard = 0;

void hear_error(MPI_Comm* /*handle*/, int* /*code*/, ...) { ++errors_heard; }  // NOLINT(cert-dcl50-cpp)

TEST(Embedding, TheErrorHandlerOfTheCallerStays) {
  const Own parent;
  MPI_Errhandler handler = MPI_ERRHANDLER_NULL;
  MPI_Comm_create_errhandler(hear_error, &handler);
  MPI_Comm_set_errhandler(parent.handle, handler);
  errors_heard = 0;
  {
    const Communicator communicator(parent.handle);
    const int count = -1;
    // An error on the duplicate is returned, and the caller's handler is not called.
    EXPECT_NE(MPI_Send(nullptr, count, MPI_BYTE, 0, 0, communicator.local_handle()), MPI_SUCCESS);
  }
  EXPECT_EQ(errors_heard, 0);
  MPI_Errhandler found = MPI_ERRHANDLER_NULL;
  MPI_Comm_get_errhandler(parent.handle, &found);
  EXPECT_EQ(found, handler);
  EXPECT_NE(MPI_Send(nullptr, -1, MPI_BYTE, 0, 0, parent.handle), MPI_SUCCESS);
  EXPECT_EQ(errors_heard, 1);
  MPI_Errhandler_free(&found);
  MPI_Errhandler_free(&handler);
  MPI_Comm_get_errhandler(MPI_COMM_WORLD, &found);
  EXPECT_EQ(found, MPI_ERRORS_ARE_FATAL);
}

/// Messages of the caller's on its own communicator are not taken, whatever their tag.
TEST(Embedding, MessagesOfTheCallerAreNotTaken) {
  const Own parent;
  const Communicator communicator(parent.handle);
  const int rank = communicator.local_rank();
  const int size = communicator.local_size();
  MPI_Request request = MPI_REQUEST_NULL;
  ASSERT_EQ(MPI_Isend(&rank, 1, MPI_INT, (rank + 1) % size, 0, parent.handle, &request), MPI_SUCCESS);
  use(communicator);
  FailureSignal signal(communicator);
  EXPECT_FALSE(signal.local_raised());
  EXPECT_NO_THROW(signal.agree());
  int received = -1;
  MPI_Recv(&received, 1, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, parent.handle, MPI_STATUS_IGNORE);
  EXPECT_EQ(received, (rank + size - 1) % size);
  MPI_Wait(&request, MPI_STATUS_IGNORE);
}

TEST(Embedding, OnlyIntracommunicators) {
  expect_error<UsageError>([] { const Communicator none(MPI_COMM_NULL); }, {"MPI_COMM_NULL"});
  const Communicator world;
  if (world.local_size() == 1) return;
  const Own half = Own::half_of_world();
  MPI_Comm between = MPI_COMM_NULL;
  // The leader of a half is its rank 0, the highest rank of the world in it.
  const int last = world.local_size() - 1;
  const int leader_of_others = last % 2 == world.local_rank() % 2 ? last - 1 : last;
  ASSERT_EQ(MPI_Intercomm_create(half.handle, 0, MPI_COMM_WORLD, leader_of_others, 1, &between), MPI_SUCCESS);
  expect_error<UsageError>([&] { const Communicator none(between); }, {"intercommunicator"});
  MPI_Comm_free(&between);
}

}  // namespace
}  // namespace weir::mpi
