#include "weir/mpi/communicator.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
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
