#include "weir/mpi/failure_signal.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir::mpi {
namespace {

using namespace std::chrono_literals;

std::string named(int rank, const std::string& message) {
  return Communicator().local_size() > 1 ? "rank " + std::to_string(rank) + ": " + message : message;
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
    expect_agreed(signal, named(failing, "line 7: bad"));
  }
}

TEST(FailureSignal, LowestOfSeveralFailedRanksIsNamed) {
  const Communicator world;
  for (int first = 0; first < world.local_size(); ++first) {
    FailureSignal signal(world);
    if (world.local_rank() >= first) signal.local_raise("failure of rank " + std::to_string(world.local_rank()));
    expect_agreed(signal, named(first, "failure of rank " + std::to_string(first)));
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
  expect_agreed(signal, named(last, "late"));
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
    expect_agreed(signal, named(last, "stopped by an exception"));
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
    expect_agreed(signal, named(0, message));
  };
  attempt([] { throw InputError("f.csv: line 3: bad"); }, "f.csv: line 3: bad");
  attempt([] { throw std::bad_alloc(); }, "not enough memory");
}

TEST(FailureSignal, OverlongMessagesAreCut) {
  FailureSignal signal{Communicator()};
  if (Communicator().local_is_root()) signal.local_raise(std::string(100'000, 'x'));
  expect_agreed(signal, named(0, std::string(4096, 'x')));
}

TEST(FailureSignal, RandomInterleavings) {
  const Communicator world;
  std::uint64_t state = 12345;  // the same on all ranks: everybody knows who fails and when
  const auto next = [&state] { return (state = state * 6364136223846793005U + 1442695040888963407U) >> 33U; };
  for (int round = 0; round < 200; ++round) {
    int lowest = -1;
    bool fails = false;
    std::uint64_t delay = 0;
    bool polls = false;
    for (int rank = 0; rank < world.local_size(); ++rank) {
      const bool failing = next() % 2 == 0;
      const std::uint64_t its_delay = next() % 300;
      const bool polling = next() % 2 == 0;
      if (failing && lowest < 0) lowest = rank;
      if (rank == world.local_rank()) {
        fails = failing;
        delay = its_delay;
        polls = polling;
      }
    }
    FailureSignal signal(world);
    std::this_thread::sleep_for(std::chrono::microseconds(delay));
    if (polls) (void)signal.local_raised();
    if (fails) signal.local_raise("failed");
    if (lowest < 0) {
      EXPECT_NO_THROW(signal.agree());
    } else {
      expect_agreed(signal, named(lowest, "failed"));
    }
  }
}

}  // namespace
}  // namespace weir::mpi
