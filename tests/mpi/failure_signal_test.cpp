#include "weir/mpi/failure_signal.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace {

/// Whether MPI is as awkward to this binary as the standard allows.
bool mpi_is_awkward = false;

}  // namespace

// The profiling interface of MPI: calls of the library under test come here.

/// Awkward: a send is not complete before it is received.
extern "C" int MPI_Isend(const void* data, int count, MPI_Datatype type, int destination, int tag, MPI_Comm handle,
                         MPI_Request* request) {
  return mpi_is_awkward ? PMPI_Issend(data, count, type, destination, tag, handle, request)
                        : PMPI_Isend(data, count, type, destination, tag, handle, request);
}

/// Awkward: rank 0 comes late, and takes the message of the lowest rank that has sent one.
extern "C" int MPI_Recv(void* data, int count, MPI_Datatype type, int source, int tag, MPI_Comm handle,
                        MPI_Status* status) {
  int rank = 0;
  int size = 1;
  PMPI_Comm_rank(handle, &rank);
  PMPI_Comm_size(handle, &size);
  if (mpi_is_awkward && source == MPI_ANY_SOURCE && rank == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    for (int other = 1; other < size && source == MPI_ANY_SOURCE; ++other) {
      int arrived = 0;
      PMPI_Iprobe(other, tag, handle, &arrived, MPI_STATUS_IGNORE);
      if (arrived != 0) source = other;
    }
  }
  return PMPI_Recv(data, count, type, source, tag, handle, status);
}

namespace weir::mpi {
namespace {

using namespace std::chrono_literals;

std::string named(const Communicator& world, int rank, const std::string& message) {
  return world.local_size() > 1 ? "rank " + std::to_string(rank) + ": " + message : message;
}

void expect_agreed(FailureSignal& signal, const std::string& message) {
  EXPECT_EQ(testing_support::message_of<InputError>([&] { signal.agree(); }), message);
}

void work_until_raised(FailureSignal& signal) {
  while (!signal.local_raised()) std::this_thread::sleep_for(100us);
}

TEST(FailureSignal, NobodyFails) {
  const Communicator world;
  for (int round = 0; round < 20; ++round) {
    FailureSignal signal(world);
    EXPECT_FALSE(signal.local_raised());
    EXPECT_NO_THROW(signal.agree());
    EXPECT_THROW(signal.agree(), UsageError);
  }
}

TEST(FailureSignal, EveryRankMayBeTheOneThatFails) {
  const Communicator world;
  for (int failing = 0; failing < world.local_size(); ++failing) {
    FailureSignal signal(world);
    if (world.local_rank() == failing) {
      signal.local_raise("line 7: bad");
      signal.local_raise("line 8: only the first counts");
      EXPECT_TRUE(signal.local_raised());
    } else {
      work_until_raised(signal);
    }
    expect_agreed(signal, named(world, failing, "line 7: bad"));
  }
}

TEST(FailureSignal, LowestOfSeveralFailedRanksIsNamed) {
  const Communicator world;
  for (int first = 0; first < world.local_size(); ++first) {
    FailureSignal signal(world);
    if (world.local_rank() >= first) signal.local_raise("failure of rank " + std::to_string(world.local_rank()));
    expect_agreed(signal, named(world, first, "failure of rank " + std::to_string(first)));
  }
}

TEST(FailureSignal, FailureAfterOthersWaitInAgree) {
  const Communicator world;
  const int last = world.local_size() - 1;
  FailureSignal signal(world);
  if (world.local_rank() == last) {
    std::this_thread::sleep_for(100ms);
    signal.local_raise("late");
  }
  expect_agreed(signal, named(world, last, "late"));
}

TEST(FailureSignal, AnExceptionThatUnwindsARankCountsAsItsFailure) {
  const Communicator world;
  const int last = world.local_size() - 1;
  if (world.local_rank() == last) {
    const auto unwind = [&] {
      FailureSignal signal(world);
      throw std::runtime_error("unexpected");
    };
    EXPECT_THROW(unwind(), std::runtime_error);
  } else {
    FailureSignal signal(world);
    work_until_raised(signal);
    expect_agreed(signal, named(world, last, "stopped by an exception"));
  }
}

TEST(FailureSignal, AllRanksUnwind) {
  const Communicator world;
  const auto unwind = [&] {
    FailureSignal signal(world);
    throw std::runtime_error("unexpected");
  };
  EXPECT_THROW(unwind(), std::runtime_error);
}

TEST(FailureSignal, AttemptRaisesWhatWasThrown) {
  const Communicator world;
  const auto attempt = [&](const std::function<void()>& work, const std::string& message) {
    FailureSignal signal(world);
    EXPECT_TRUE(signal.local_attempt([] {}));
    if (world.local_is_root()) {
      EXPECT_FALSE(signal.local_attempt(work));
    }
    expect_agreed(signal, named(world, 0, message));
  };
  attempt([] { throw InputError("f.csv: line 3: bad"); }, "f.csv: line 3: bad");
  attempt([] { throw std::bad_alloc(); }, "out of memory");
}

TEST(FailureSignal, OverlongMessagesAreCut) {
  const Communicator world;
  FailureSignal signal(world);
  if (world.local_is_root()) signal.local_raise(std::string(100'000, 'x'));
  expect_agreed(signal, named(world, 0, std::string(4096, 'x')));
}

TEST(FailureSignal, TellsUsageFromInput) {
  const Communicator world;
  const int last = world.local_size() - 1;
  FailureSignal raised(world);
  if (world.local_rank() == last) raised.local_raise("bad wish", FailureSignal::Fault::usage);
  EXPECT_EQ(testing_support::message_of<UsageError>([&] { raised.agree(); }), named(world, last, "bad wish"));
}

/// The lowest failed rank decides what is thrown, not only what is said.
TEST(FailureSignal, TheLowestFailedRankDecidesTheType) {
  const Communicator world;
  FailureSignal signal(world);
  signal.local_attempt([&] {
    if (world.local_is_root()) throw InputError("bad data");
    throw UsageError("bad wish");
  });
  expect_agreed(signal, named(world, 0, "bad data"));
}

TEST(FailureSignal, AnExceptionOfAnyTypeIsRaised) {
  const Communicator world;
  FailureSignal signal(world);
  EXPECT_FALSE(signal.local_attempt([] { throw 7; }));
  expect_agreed(signal, named(world, 0, "an exception of an unknown type"));
}

TEST(FailureSignal, OneAtATime) {
  const Communicator world;
  FailureSignal signal(world);
  EXPECT_THROW(FailureSignal{world}, UsageError);
  EXPECT_NO_THROW(signal.agree());
}

TEST(FailureSignal, SignalsOfSeveralCommunicatorsDoNotMeet) {
  const Communicator first, second;
  const int last = first.local_size() - 1;
  FailureSignal outer(first);
  FailureSignal inner(second);
  if (first.local_rank() == last) {
    inner.local_raise("inner");
  } else {
    work_until_raised(inner);
  }
  expect_agreed(inner, named(first, last, "inner"));
  EXPECT_FALSE(outer.local_raised());
  EXPECT_NO_THROW(outer.agree());
}

/// The same numbers on all ranks: everybody knows who fails, and when.
class Script {
 public:
  std::uint64_t next(std::uint64_t below) {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return (state_ >> 33U) % below;
  }

 private:
  std::uint64_t state_ = 12345;
};

/// Signals of one communicator follow each other without a pause, each rank at its own pace: some ranks wait, poll or
/// fail while others agree on the signal before, and some leave by an exception.
void expect_rounds_do_not_meet(int rounds) {
  const Communicator world;
  Script script;
  int wrong = 0;
  for (int round = 0; round < rounds; ++round) {
    struct Part {
      bool fails, unwinds, polls;
      std::uint64_t delay;
    };
    int lowest = -1;
    Part own{};
    bool lowest_unwinds = false;
    for (int rank = 0; rank < world.local_size(); ++rank) {
      const Part part{script.next(3) == 0, script.next(4) == 0, script.next(2) == 0,
                      script.next(8) == 0 ? script.next(300) : 0};
      if (part.fails && lowest < 0) {
        lowest = rank;
        lowest_unwinds = part.unwinds;
      }
      if (rank == world.local_rank()) own = part;
    }
    const std::string text = "failed in round " + std::to_string(round);
    std::string told;
    try {
      FailureSignal signal(world);
      if (own.delay > 0) std::this_thread::sleep_for(std::chrono::microseconds(own.delay));
      if (own.polls && signal.local_raised() && lowest < 0) told = "heard of a failure of another round";
      if (own.fails && own.unwinds) throw std::runtime_error(text);
      if (own.fails) signal.local_raise(text);
      signal.agree();
    } catch (const InputError& error) {
      told += error.what();
    } catch (const std::runtime_error&) {
      told += "unwound";
    }
    std::string expected;
    if (lowest >= 0) expected = named(world, lowest, lowest_unwinds ? "stopped by an exception" : text);
    if (own.fails && own.unwinds) expected = "unwound";
    wrong += told == expected ? 0 : 1;
  }
  EXPECT_EQ(wrong, 0);
}

TEST(FailureSignal, SignalsThatFollowEachOtherDoNotMeet) { expect_rounds_do_not_meet(1000); }

/// Signals that take each other's messages wait for ever here.
TEST(FailureSignal, SignalsThatFollowEachOtherDoNotMeetInAnAwkwardMpi) {
  mpi_is_awkward = true;
  expect_rounds_do_not_meet(200);
  mpi_is_awkward = false;
}

}  // namespace
}  // namespace weir::mpi
