#include "weir/mpi/communicator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir::mpi {
namespace {

using testing_support::expect_error;
using testing_support::message_of;

// Longer than two chunks of 4 MiB, and not a multiple of one.
constexpr std::size_t long_length = 2 * 524288 + 17;

TEST(Communicator, ReduceAddsIntoTheRootOnly) {
  const Communicator world;
  const auto rank = static_cast<double>(world.local_rank());
  const auto size = static_cast<double>(world.local_size());
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{524288}, long_length}) {
    std::vector<double> values(length);
    for (std::size_t k = 0; k < length; ++k) values[k] = static_cast<double>(k % 1000) * 4 + rank;
    world.reduce_sum(values);
    std::size_t wrong = 0;
    for (std::size_t k = 0; k < length; ++k) {
      const double own = static_cast<double>(k % 1000) * 4;
      wrong += values[k] != (world.local_is_root() ? size * own + size * (size - 1) / 2 : own + rank) ? 1U : 0U;
    }
    EXPECT_EQ(wrong, 0U) << length;
  }
}

TEST(Communicator, ReduceRefusesDifferentLengths) {
  const Communicator world;
  std::vector<double> values(world.local_rank() == world.local_size() - 1 ? 7 : 5, 1.0);
  if (world.local_size() == 1) {
    EXPECT_NO_THROW(world.reduce_sum(values));
    return;
  }
  expect_error<Error>([&] { world.reduce_sum(values); }, {"between 5 and 7 values"});
  EXPECT_EQ(values[0], 1.0);
}

TEST(Communicator, ReduceScatterLeavesEachRankItsSlice) {
  const Communicator world;
  const auto rank = static_cast<std::uint64_t>(world.local_rank());
  const auto size = static_cast<std::uint64_t>(world.local_size());
  // The last length gives every rank more than a chunk.
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{3}, 4 * long_length}) {
    std::vector<double> values(length);
    for (std::size_t k = 0; k < length; ++k) values[k] = static_cast<double>(k % 1000) * 4 + static_cast<double>(rank);
    const std::span<double> own = world.reduce_scatter_sum(values);
    const std::uint64_t first = length * rank / size;
    const std::uint64_t end = length * (rank + 1) / size;
    ASSERT_EQ(own.size(), end - first);
    EXPECT_EQ(own.data(), values.data() + first);
    std::size_t wrong = 0;
    for (std::size_t k = 0; k < length; ++k) {
      const std::uint64_t element = 4 * (k % 1000);
      const std::uint64_t expected = first <= k && k < end ? size * element + size * (size - 1) / 2 : element + rank;
      wrong += values[k] != static_cast<double>(expected) ? 1U : 0U;
    }
    EXPECT_EQ(wrong, 0U) << length;
  }
}

TEST(Communicator, SharesOfAllRanksMakeTheWhole) {
  const Communicator world;
  const auto rank = static_cast<std::uint64_t>(world.local_rank());
  const auto size = static_cast<std::uint64_t>(world.local_size());
  for (const std::uint64_t row_length : {std::uint64_t{1}, std::uint64_t{5}}) {
    for (const std::uint64_t rows : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{700'001}}) {
      std::vector<double> values(rows * row_length, -1);
      for (std::uint64_t k = rows * rank / size * row_length; k < rows * (rank + 1) / size * row_length; ++k)
        values[k] = static_cast<double>(k);
      world.all_gather_shares(values, row_length);
      std::size_t wrong = 0;
      for (std::size_t k = 0; k < values.size(); ++k) wrong += values[k] != static_cast<double>(k) ? 1U : 0U;
      EXPECT_EQ(wrong, 0U) << rows << " of " << row_length;
    }
  }
  std::vector<double> values(7);
  expect_error<UsageError>([&] { world.all_gather_shares(values, 2); }, {"7 doubles are no rows of 2"});
  expect_error<UsageError>([&] { std::ignore = world.reduce_scatter_sum(values, 0); }, {"7 doubles are no rows of 0"});
}

TEST(Communicator, AllGather) {
  const Communicator world;
  const std::vector<std::byte> own(static_cast<std::size_t>(3 * world.local_rank()), std::byte(world.local_rank()));
  const std::vector<std::vector<std::byte>> all = world.all_gather(own);
  ASSERT_EQ(all.size(), static_cast<std::size_t>(world.local_size()));
  for (std::size_t r = 0; r < all.size(); ++r) EXPECT_EQ(all[r], std::vector<std::byte>(3 * r, std::byte(r)));
}

TEST(Communicator, LocationsOfMaxima) {
  const Communicator world;
  const int rank = world.local_rank();
  const int last = world.local_size() - 1;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  // Largest on the last rank, largest on rank 0, the same on all, and only rank 0 has anything.
  const std::vector<double> values{static_cast<double>(rank), -static_cast<double>(rank), 2.5,
                                   rank == 0 ? -1e300 : -infinity};
  const std::uint64_t large = std::uint64_t{1} << 63U;
  const std::vector<std::uint64_t> indices(4, large + static_cast<std::uint64_t>(rank));
  const std::vector<Located> maxima = world.all_max_location(values, indices);
  ASSERT_EQ(maxima.size(), 4U);
  const std::vector<double> expected{static_cast<double>(last), 0, 2.5, -1e300};
  for (std::size_t k = 0; k < 4; ++k) {
    EXPECT_EQ(maxima[k].value, expected[k]);
    EXPECT_EQ(maxima[k].rank, k == 0 ? last : 0);
    EXPECT_EQ(maxima[k].index, large + static_cast<std::uint64_t>(k == 0 ? last : 0));
  }
  EXPECT_TRUE(world.all_max_location({}, {}).empty());
}

/// More elements than a chunk holds, every rank in its turn the largest.
TEST(Communicator, LocationsOfManyMaxima) {
  const Communicator world;
  const auto rank = static_cast<std::size_t>(world.local_rank());
  const auto size = static_cast<std::size_t>(world.local_size());
  std::vector<double> values(long_length);
  std::vector<std::uint64_t> indices(long_length);
  for (std::size_t k = 0; k < long_length; ++k) {
    values[k] = k % size == rank ? 7 : -7;
    indices[k] = 10 * k + rank;
  }
  const std::vector<Located> maxima = world.all_max_location(values, indices);
  std::size_t wrong = 0;
  for (std::size_t k = 0; k < long_length; ++k) {
    const bool right =
        maxima[k].value == 7 && maxima[k].rank == static_cast<int>(k % size) && maxima[k].index == 10 * k + k % size;
    wrong += right ? 0U : 1U;
  }
  EXPECT_EQ(wrong, 0U);
}

TEST(Communicator, DifferentLengthsAreRefusedEverywhere) {
  const Communicator world;
  if (world.local_size() == 1) return;
  const std::size_t length = world.local_is_root() ? 5 : 7;
  std::vector<double> values(length, 1.0);
  const std::vector<std::uint64_t> indices(length);
  EXPECT_THROW((void)world.reduce_scatter_sum(values), Error);
  EXPECT_THROW((void)world.all_max_location(values, indices), Error);
  EXPECT_EQ(values, std::vector<double>(length, 1.0));
}

TEST(Communicator, SmallCollectives) {
  const Communicator world;
  const auto rank = static_cast<std::uint64_t>(world.local_rank());
  const auto size = static_cast<std::uint64_t>(world.local_size());
  EXPECT_EQ(world.all_sum(rank + 1), size * (size + 1) / 2);
  EXPECT_EQ(world.all_max(-static_cast<double>(rank)), 0.0);
  const std::uint64_t large = 0xFFFF'FFFF'FFFF'FFF0;
  EXPECT_EQ(world.broadcast(large + rank), large);
  std::vector<std::byte> bytes(world.local_is_root() ? 100'003 : rank,
                               std::byte{static_cast<unsigned char>(42 + rank)});
  world.broadcast(bytes);
  EXPECT_EQ(bytes, std::vector<std::byte>(100'003, std::byte{42}));
}

TEST(Communicator, FingerprintsMustAgree) {
  const Communicator world;
  EXPECT_NO_THROW(world.require_equal(0xABCD, "the fingerprint"));
  if (world.local_size() == 1) return;
  const bool is_last = world.local_rank() == world.local_size() - 1;
  EXPECT_EQ(message_of<InputError>([&] { world.require_equal(is_last ? 0xEF : 0xABCD, "the fingerprint"); }),
            "the fingerprint must be equal on all ranks: 0x000000000000abcd on rank 0, 0x00000000000000ef on rank " +
                std::to_string(world.local_size() - 1));
}

TEST(Communicator, FingerprintsMayDifferInTheHighestBit) {
  const Communicator world;
  if (world.local_size() == 1) return;
  const std::uint64_t high = world.local_rank() == 1 ? std::uint64_t{1} << 63U : 0;
  EXPECT_EQ(message_of<InputError>([&] { world.require_equal(high | 5, "it"); }),
            "it must be equal on all ranks: 0x0000000000000005 on rank 0, 0x8000000000000005 on rank 1");
}

TEST(Communicator, MaximaAndSumsOfArrays) {
  const Communicator world;
  const auto rank = static_cast<double>(world.local_rank());
  const auto size = static_cast<double>(world.local_size());
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, long_length}) {
    std::vector<double> maxima(length), sums(length);
    for (std::size_t k = 0; k < length; ++k) {
      const auto own = static_cast<double>(k % 1000) * 4;
      maxima[k] = k % 2 == 0 ? own + rank : -own - rank;
      sums[k] = own + rank;
    }
    world.all_max(maxima);
    world.all_sum(sums);
    std::size_t wrong = 0;
    for (std::size_t k = 0; k < length; ++k) {
      const auto own = static_cast<double>(k % 1000) * 4;
      wrong += maxima[k] != (k % 2 == 0 ? own + size - 1 : -own) ? 1U : 0U;
      wrong += sums[k] != size * own + size * (size - 1) / 2 ? 1U : 0U;
    }
    EXPECT_EQ(wrong, 0U) << length;
  }
}

TEST(Communicator, TextsAndTruthsAreBroadcast) {
  const Communicator world;
  std::string text(world.local_is_root() ? 70'001 : 3, world.local_is_root() ? 'a' : 'b');
  world.broadcast(text);
  EXPECT_EQ(text, std::string(70'001, 'a'));
  std::string empty(world.local_is_root() ? "" : "not empty");
  world.broadcast(empty);
  EXPECT_EQ(empty, "");
  EXPECT_TRUE(world.broadcast(world.local_is_root()));
  EXPECT_FALSE(world.broadcast(!world.local_is_root()));
}

TEST(Communicator, PlacesOfMaximaNeedAnIndexForEachValue) {
  const Communicator world;
  const std::vector<double> values(3);
  const std::vector<std::uint64_t> indices(2);
  expect_error<UsageError>([&] { (void)world.all_max_location(values, indices); }, {"3 values but 2 indices"});
}

TEST(Communicator, GatherKeepsTheOrderOfTheRanks) {
  const Communicator world;
  for (const std::size_t unit : {std::size_t{0}, std::size_t{1}, std::size_t{3'000'001}}) {
    // Rank r gives r * unit bytes of value r + 1, so rank 0 always gives none.
    const auto given = [&](int rank) {
      return std::vector<std::byte>(static_cast<std::size_t>(rank) * unit,
                                    std::byte{static_cast<unsigned char>(rank + 1)});
    };
    const std::vector<std::vector<std::byte>> all = world.gather(given(world.local_rank()));
    ASSERT_EQ(all.size(), world.local_is_root() ? static_cast<std::size_t>(world.local_size()) : 0U);
    for (std::size_t rank = 0; rank < all.size(); ++rank) EXPECT_EQ(all[rank], given(static_cast<int>(rank)));
  }
}

TEST(Communicator, GatherNeedsMemoryOnTheRoot) {
  const Communicator world;
  const std::byte one{};
  // More bytes than any vector can have; nothing of them is read.
  const std::span<const std::byte> endless(&one, std::numeric_limits<std::size_t>::max());
  const bool is_last = world.local_rank() == world.local_size() - 1;
  expect_error([&] { (void)world.gather(is_last ? endless : endless.first(1)); }, {"rank 0 has not enough memory"});
  EXPECT_EQ(world.gather(endless.first(1)).size(),
            world.local_is_root() ? static_cast<std::size_t>(world.local_size()) : 0U);
}

/// The ranks of these tests run on one machine.
TEST(Communicator, GatherOnAMachine) {
  const Communicator world;
  for (int round = 0; round < 3; ++round) {
    const auto given = [&](int rank) {
      return std::vector<std::byte>(static_cast<std::size_t>(10 * rank + round),
                                    std::byte{static_cast<unsigned char>(rank)});
    };
    const std::vector<std::vector<std::byte>> all = world.all_gather_on_machine(given(world.local_rank()));
    ASSERT_EQ(all.size(), static_cast<std::size_t>(world.local_size()));
    for (std::size_t rank = 0; rank < all.size(); ++rank) EXPECT_EQ(all[rank], given(static_cast<int>(rank)));
  }
  const std::byte one{};
  const std::span<const std::byte> long_one(&one, std::size_t{1} << 31U);  // nothing of it is read
  expect_error<UsageError>([&] { (void)world.all_gather_on_machine(long_one); }, {"2147483647 bytes"});
}

// Slices of gather_in_order and scatter_in_order: the k-th double of rank r is 1e7 r + k.
double element(int rank, std::size_t k) { return 1e7 * rank + static_cast<double>(k); }

/// Lengths of the slices of up to 4 ranks: none, short ones, some beyond one and two pieces of 4 MiB, exactly a piece.
const std::vector<std::vector<std::size_t>> slice_lengths{
    {0, 0, 0, 0}, {5, 0, 7, 0}, {0, 3, 0, long_length}, {long_length, 524'288, 1, 524'289}};

TEST(Communicator, GatherInOrder) {
  const Communicator world;
  for (const std::vector<std::size_t>& lengths : slice_lengths) {
    std::vector<double> own(lengths[static_cast<std::size_t>(world.local_rank())]);
    for (std::size_t k = 0; k < own.size(); ++k) own[k] = element(world.local_rank(), k);
    std::vector<double> taken;
    std::size_t longest = 0, shortest = own.size() + 1;
    world.gather_in_order(own, [&](std::span<const double> piece) {
      longest = std::max(longest, piece.size());
      shortest = std::min(shortest, piece.size());
      taken.insert(taken.end(), piece.begin(), piece.end());
    });
    std::vector<double> expected;
    for (int rank = 0; rank < world.local_size() && world.local_is_root(); ++rank)
      for (std::size_t k = 0; k < lengths[static_cast<std::size_t>(rank)]; ++k) expected.push_back(element(rank, k));
    EXPECT_TRUE(taken == expected) << taken.size() << " doubles, expected " << expected.size();
    EXPECT_LE(longest, 524'288U);
    EXPECT_GT(shortest, 0U);
  }
}

TEST(Communicator, ScatterInOrder) {
  const Communicator world;
  for (const std::vector<std::size_t>& lengths : slice_lengths) {
    std::vector<double> own(lengths[static_cast<std::size_t>(world.local_rank())], -1.0);
    int rank = 0;
    std::size_t k = 0, longest = 0;
    world.scatter_in_order(own, [&](std::span<double> piece) {
      longest = std::max(longest, piece.size());
      for (double& value : piece) {
        while (k == lengths[static_cast<std::size_t>(rank)]) ++rank, k = 0;
        value = element(rank, k++);
      }
    });
    EXPECT_LE(longest, 524'288U);
    std::size_t wrong = 0;
    for (std::size_t j = 0; j < own.size(); ++j) wrong += own[j] != element(world.local_rank(), j) ? 1U : 0U;
    EXPECT_EQ(wrong, 0U);
    std::size_t given = k;
    for (int before = 0; before < rank; ++before) given += lengths[static_cast<std::size_t>(before)];
    std::size_t all = 0;
    for (int each = 0; each < world.local_size(); ++each) all += lengths[static_cast<std::size_t>(each)];
    EXPECT_EQ(given, world.local_is_root() ? all : 0U);
  }
}

/// Runs `transfer`, whose callback on rank 0 fails at its call number `failing`, for all such numbers; all ranks hear of
/// it, and what follows on the communicator is not disturbed.
template <class Transfer>
void expect_failures_everywhere(const Communicator& world, const Transfer& transfer) {
  std::vector<double> own(long_length);  // three pieces
  const int calls = 3 * world.local_size();
  for (int failing = 0; failing <= calls; ++failing) {
    int call = 0;
    const auto callback = [&](std::span<const double>) {
      if (call++ == failing) throw std::runtime_error("disk full");
    };
    std::string told = "nothing";
    try {
      transfer(own, callback);
    } catch (const InputError& error) {
      told = error.what();
    } catch (const std::runtime_error& error) {
      told = std::string("own: ") + error.what();
    }
    const bool fails = failing < calls;
    EXPECT_EQ(told, !fails ? "nothing" : world.local_is_root() ? "own: disk full" : "rank 0: disk full") << failing;
    EXPECT_EQ(call, !world.local_is_root() ? 0 : fails ? failing + 1 : calls);
    EXPECT_EQ(world.all_sum(1), static_cast<std::uint64_t>(world.local_size()));
  }
}

TEST(Communicator, AFailureOfTakeEndsTheGatheringEverywhere) {
  const Communicator world;
  expect_failures_everywhere(world, [&](std::span<double> own, const auto& take) { world.gather_in_order(own, take); });
}

TEST(Communicator, AFailureOfGiveEndsTheScatteringEverywhere) {
  const Communicator world;
  expect_failures_everywhere(world,
                             [&](std::span<double> own, const auto& give) { world.scatter_in_order(own, give); });
}

TEST(Communicator, BytesGoRoundTheRing) {
  const Communicator world;
  if (world.local_size() == 1) {
    EXPECT_THROW(world.local_send({}, 0), UsageError);
    EXPECT_THROW((void)world.local_receive(1), UsageError);
    return;
  }
  const int next = (world.local_rank() + 1) % world.local_size();
  const int previous = (world.local_rank() + world.local_size() - 1) % world.local_size();
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, std::size_t{9'000'001}}) {
    std::vector<std::byte> token(length, std::byte{0x5A});
    if (world.local_is_root()) {
      world.local_send(token, next);
      EXPECT_EQ(world.local_receive(previous), token);
    } else {
      const std::vector<std::byte> received = world.local_receive(previous);
      EXPECT_EQ(received, token);
      world.local_send(received, next);
    }
  }
  EXPECT_THROW(world.local_send({}, world.local_size()), UsageError);
  EXPECT_THROW(world.local_send({}, world.local_rank()), UsageError);
  EXPECT_THROW((void)world.local_receive(-1), UsageError);
}

// The two parties disagree on purpose: the sender's first message is longer than the length that the receiver expects.
TEST(Communicator, ErrorsOfTheLibraryCarryItsText) {
  const Communicator world;
  if (world.local_size() == 1) {
    EXPECT_THROW(world.local_send({}, 0), UsageError);
    return;
  }
  if (world.local_rank() == 1) {
    const std::vector<std::byte> bytes(16);
    constexpr int tag_of_bytes = 0x5731;
    ASSERT_EQ(MPI_Send(bytes.data(), 16, MPI_BYTE, 0, tag_of_bytes, world.local_handle()), MPI_SUCCESS);
  } else if (world.local_is_root()) {
    expect_error<Error>([&] { (void)world.local_receive(1); }, {"MPI_Recv: ", "truncated"});
  }
}

}  // namespace
}  // namespace weir::mpi
