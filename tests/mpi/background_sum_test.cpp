#include "weir/mpi/background_sum.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/mpi/poll_pause.hpp"

namespace weir::mpi {
namespace {

using testing_support::expect_error;

constexpr std::size_t chunk = (std::size_t{4} << 20) / sizeof(double);

/// Whole numbers, whose sums are exact also in floats.
template <class Number>
std::vector<Number> numbers_of(const Communicator& world, std::size_t count, std::size_t first) {
  std::vector<Number> numbers(count);
  for (std::size_t k = 0; k < count; ++k)
    numbers[k] = static_cast<Number>((first + k) % 1000 + 1000 * static_cast<std::size_t>(world.local_rank()));
  return numbers;
}

template <class Number>
void expect_sum(const Communicator& world, const std::vector<Number>& numbers, std::size_t first) {
  const auto size = static_cast<std::size_t>(world.local_size());
  std::size_t wrong = 0;
  for (std::size_t k = 0; k < numbers.size(); ++k) {
    const std::size_t own = (first + k) % 1000;
    const std::size_t expected = world.local_is_root() ? size * own + 1000 * (size * (size - 1) / 2)
                                                       : own + 1000 * static_cast<std::size_t>(world.local_rank());
    wrong += numbers[k] != static_cast<Number>(expected) ? 1U : 0U;
  }
  EXPECT_EQ(wrong, 0U) << numbers.size() << " numbers from " << first;
}

void finish(BackgroundSum& sum) {
  for (PollPause pause; !sum.local_progress();) pause.wait_briefly();
}

TEST(BackgroundSum, AddsIntoTheRootOnly) {
  const Communicator world;
  BackgroundSum sum(world);
  EXPECT_TRUE(sum.local_progress());
  std::uint64_t bytes = 0, started = 0;
  for (const std::size_t count :
       {std::size_t{0}, std::size_t{1}, std::size_t{1000}, chunk - 1, chunk, chunk + 1, 2 * chunk, 5 * chunk + 3}) {
    std::vector<double> doubles = numbers_of<double>(world, count, 3);
    std::vector<float> floats = numbers_of<float>(world, count, 5);
    std::vector<double> none;
    sum.local_start({std::span(none), std::span(doubles), std::span(floats)});
    finish(sum);
    expect_sum(world, doubles, 3);
    expect_sum(world, floats, 5);
    bytes += count * (sizeof(double) + sizeof(float));
    EXPECT_EQ(sum.local_bytes(), bytes);
    EXPECT_EQ(sum.local_started(), ++started);
  }
  sum.local_start({});
  EXPECT_TRUE(sum.local_progress());
}

/// Ranks begin at moments of their own, and do not wait for the others.
TEST(BackgroundSum, ManyInARow) {
  const Communicator world;
  BackgroundSum sum(world);
  const std::size_t count = 5000;
  std::vector<double> numbers;
  for (std::size_t go = 0; go < 300; ++go) {
    numbers = numbers_of<double>(world, count, go);
    for (std::size_t wait = 0; wait < (go * 7 + static_cast<std::size_t>(world.local_rank()) * 13) % 17; ++wait)
      std::ignore = sum.local_progress();
    sum.local_start({std::span(numbers)});
    finish(sum);
    expect_sum(world, numbers, go);
  }
}

TEST(BackgroundSum, OneAtATime) {
  const Communicator world;
  if (world.local_size() == 1) return;
  BackgroundSum sum(world);
  std::vector<double> numbers = numbers_of<double>(world, 6 * chunk, 0), more(3);
  sum.local_start({std::span(numbers)});
  // More chunks than are on their way at a time, so that it cannot be over.
  expect_error<UsageError>([&] { sum.local_start({std::span(more)}); }, {"a sum in the background is not finished"});
  finish(sum);
  expect_sum(world, numbers, 0);
}

/// After a failure, ranks are one sum apart. The next sum is right.
TEST(BackgroundSum, CanBeFinishedAfterAFailure) {
  const Communicator world;
  const int size = world.local_size();
  for (int round = 0; round < 3 * size; ++round) {
    BackgroundSum sum(world);
    const std::size_t count = round % 3 == 0 ? 10 : round % 3 == 1 ? 5 * chunk : chunk + 5;
    std::vector<double> first = numbers_of<double>(world, count, 1), second = numbers_of<double>(world, count, 2);
    sum.local_start({std::span(first)});
    finish(sum);
    expect_sum(world, first, 1);
    // The root and some of the others have begun the second one, and the rest has not.
    const bool has_begun = world.local_rank() <= round % size;
    if (has_begun) {
      sum.local_start({std::span(second)});
      std::ignore = sum.local_progress();
    }
    sum.finish_after_failure(world, {std::span(second)});
    EXPECT_EQ(sum.local_started(), 2U);
    EXPECT_TRUE(sum.local_progress());
    // Nothing is left of it: neither here nor on the communicator.
    std::vector<double> third = numbers_of<double>(world, 100, 4);
    sum.local_start({std::span(third)});
    finish(sum);
    expect_sum(world, third, 4);
  }
}

TEST(BackgroundSum, MayOutliveItsCommunicatorAndLeavesNone) {
  const Communicator world;
  // Far more than the communicators that an MPI library has at a time.
  for (int go = 0; go < 2000; ++go) {
    std::optional<Communicator> other(std::in_place);
    BackgroundSum sum(*other);
    other.reset();
    std::vector<double> numbers = numbers_of<double>(world, 3, 0);
    sum.local_start({std::span(numbers)});
    finish(sum);
    expect_sum(world, numbers, 0);
  }
}

}  // namespace
}  // namespace weir::mpi
