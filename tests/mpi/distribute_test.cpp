#include "weir/mpi/distribute.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/setting.hpp"

namespace weir::mpi {
namespace {

using namespace std::chrono_literals;

/// Pieces that hold the numbers 0, 1, 2, ... in order, `filling` bytes longer than the number itself.
ProducePiece numbers(std::uint64_t count, std::size_t filling = 0) {
  return [next = std::uint64_t{0}, count, filling](std::vector<std::byte>& piece) mutable {
    if (next == count) return false;
    piece.resize(sizeof(next) + filling);
    std::memcpy(piece.data(), &next, sizeof(next));
    ++next;
    return true;
  };
}

std::uint64_t number_of(std::span<const std::byte> piece) {
  std::uint64_t number = 0;
  std::memcpy(&number, piece.data(), sizeof(number));
  return number;
}

struct Tally {
  std::uint64_t pieces = 0;
  std::uint64_t sum = 0;
  std::uint64_t sum_of_squares = 0;

  void add(std::span<const std::byte> piece) {
    const std::uint64_t number = number_of(piece);
    ++pieces;
    sum += number;
    sum_of_squares += number * number;
  }
  /// Count, sum and sum of squares over the ranks: each of 0 .. count-1 arrived exactly once.
  void expect_all(const Communicator& world, std::uint64_t count) const {
    EXPECT_EQ(world.all_sum(pieces), count);
    EXPECT_EQ(world.all_sum(sum), count == 0 ? 0 : count * (count - 1) / 2);
    EXPECT_EQ(world.all_sum(sum_of_squares), count == 0 ? 0 : (count - 1) * count * (2 * count - 1) / 6);
  }
};

std::string message_of(FailureSignal& signal) {
  try {
    signal.agree();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

std::string named(const Communicator& world, int rank, const std::string& message) {
  return world.local_size() > 1 ? "rank " + std::to_string(rank) + ": " + message : message;
}

TEST(Distribute, EveryPieceIsConsumedOnce) {
  const Communicator world;
  for (const std::uint64_t count : {0U, 1U, 2U, 1000U}) {
    FailureSignal signal(world);
    Tally tally;
    distribute(world, signal, numbers(count), [&](std::span<const std::byte> piece) { tally.add(piece); });
    EXPECT_EQ(message_of(signal), "");
    tally.expect_all(world, count);
  }
}

TEST(Distribute, LargePiecesAndSlowRanks) {
  const Communicator world;
  FailureSignal signal(world);
  Tally tally;
  distribute(world, signal, numbers(100, 1'000'000), [&](std::span<const std::byte> piece) {
    EXPECT_EQ(piece.size(), 1'000'008U);
    if (world.local_rank() == 1) std::this_thread::sleep_for(2ms);
    tally.add(piece);
  });
  EXPECT_EQ(message_of(signal), "");
  tally.expect_all(world, 100);
}

TEST(Distribute, EmptyPiecesMeanNothingYet) {
  const Communicator world;
  FailureSignal signal(world);
  Tally tally;
  const ProducePiece source = numbers(20);
  int calls = 0;
  distribute(
      world, signal, [&](std::vector<std::byte>& piece) { return ++calls % 3 != 0 || source(piece); },
      [&](std::span<const std::byte> piece) { tally.add(piece); });
  EXPECT_EQ(message_of(signal), "");
  tally.expect_all(world, 20);
}

TEST(DistributeToAll, EveryRankConsumesEveryPieceInOrder) {
  const Communicator world;
  for (const std::uint64_t count : {0U, 1U, 200U}) {
    FailureSignal signal(world);
    const ProducePiece source = numbers(count, 10'000);
    int calls = 0;
    std::vector<std::uint64_t> seen;
    distribute_to_all(
        world, signal, [&](std::vector<std::byte>& piece) { return ++calls % 5 == 0 || source(piece); },
        [&](std::span<const std::byte> piece) {
          if (world.local_rank() == 1) std::this_thread::sleep_for(100us);
          seen.push_back(number_of(piece));
        });
    EXPECT_EQ(message_of(signal), "");
    ASSERT_EQ(seen.size(), count);
    for (std::uint64_t k = 0; k < count; ++k) EXPECT_EQ(seen[k], k);
  }
}

TEST(DistributeToAll, AFailureOfTheSourceOrOfARankEndsAllRanks) {
  const Communicator world;
  const int last = world.local_size() - 1;
  for (const bool source_fails : {true, false}) {
    FailureSignal signal(world);
    // Were it not for the failure, the source would never end.
    const ProducePiece source = numbers(source_fails ? 50 : UINT64_MAX);
    distribute_to_all(
        world, signal,
        [&](std::vector<std::byte>& piece) {
          if (!source(piece)) throw InputError("-: line 51: bad");
          return true;
        },
        [&](std::span<const std::byte> piece) {
          if (!source_fails && world.local_rank() == last && number_of(piece) == 30) throw InputError("no room");
        });
    EXPECT_EQ(message_of(signal), source_fails ? named(world, 0, "-: line 51: bad") : named(world, last, "no room"));
  }
}

TEST(Distribute, AFailureOfTheSourceEndsAllRanks) {
  const Communicator world;
  FailureSignal signal(world);
  const ProducePiece source = numbers(50);
  distribute(
      world, signal,
      [&](std::vector<std::byte>& piece) {
        if (!source(piece)) throw InputError("-: line 51: bad");
        return true;
      },
      [](std::span<const std::byte>) {});
  EXPECT_EQ(message_of(signal), named(world, 0, "-: line 51: bad"));
}

// The source never ends: only the failure can end the distribution.
TEST(Distribute, AFailureOfAnyConsumerEndsAllRanks) {
  const Communicator world;
  for (int failing = 0; failing < world.local_size(); ++failing) {
    for (const bool silent : {false, true}) {
      FailureSignal signal(world);
      std::uint64_t produced = 0;
      distribute(
          world, signal,
          [&](std::vector<std::byte>& piece) {
            if (!silent || produced++ < 400) piece.resize(100'000);
            return true;
          },
          [&](std::span<const std::byte>) {
            if (world.local_rank() == failing) throw std::runtime_error("full");
            std::this_thread::sleep_for(1ms);
          });
      EXPECT_EQ(message_of(signal), named(world, failing, "full"));
    }
  }
}

TEST(Distribute, AFailureRaisedBeforehandIsHonoured) {
  const Communicator world;
  const int last = world.local_size() - 1;
  FailureSignal signal(world);
  if (world.local_rank() == last) signal.local_raise("before");
  distribute(
      world, signal,
      [](std::vector<std::byte>& piece) {
        piece.resize(10);
        return true;
      },
      [](std::span<const std::byte>) {});
  EXPECT_EQ(message_of(signal), named(world, last, "before"));
}

TEST(Distribute, LeavesNothingBehindForTheNextOne) {
  const Communicator world;
  for (int round = 0; round < 30; ++round) {
    FailureSignal signal(world);
    Tally tally;
    distribute(world, signal, numbers(17), [&](std::span<const std::byte> piece) { tally.add(piece); });
    EXPECT_EQ(message_of(signal), "");
    tally.expect_all(world, 17);
  }
}

// Alice and Bob: the last rank ingests, rank 0 adds its own updates to the state it was sent.
TEST(SendState, AStateGoesToAnotherRankAndOn) {
  const Communicator world;
  Problem problem;
  problem.sides["n"] = 1'000'000;
  problem.roles[Operand::y] = Role::streams;
  problem.sketch = {.dimension = 1'000'000, .buckets = 64, .lanes = 8, .seed = 5};
  const auto events = [](std::initializer_list<Event> list) {
    EventBatch batch;
    for (const Event& event : list) batch.push_back(event);
    return batch;
  };
  const EventBatch first = events({{Operand::y, 1, 0, 3}, {Operand::y, 2, 0, -4}, {Operand::y, 999'999, 0, 5}});
  const EventBatch second = events({{Operand::y, 2, 0, 3}, {Operand::y, 77, 0, -4}, {Operand::y, 1, 0, 5}});
  State all = create_state(problem);
  all.add(first);
  all.add(second);

  State alice = create_state(problem);
  alice.add(first);
  alice.updates = 3;
  const int last = world.local_size() - 1;
  std::vector<std::byte> message = serialise(alice);
  if (last > 0 && world.local_rank() == last) world.local_send(message, 0);
  if (!world.local_is_root()) return;
  if (last > 0) message = world.local_receive(last);
  State bob = deserialise(message, "message of Alice");
  bob.add(second);
  EXPECT_EQ(bob.updates, 3U);
  EXPECT_EQ(bob.problem(), problem);
  EXPECT_TRUE(std::ranges::equal(bob.array("cells of y"), all.array("cells of y")));
}

}  // namespace
}  // namespace weir::mpi
