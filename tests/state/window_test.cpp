// Windows of states of every kind.

#include "weir/state/window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "state/every_kind.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::every_kind;
using testing_support::expect_error;
using testing_support::Kind;
using testing_support::numbers_of;
using testing_support::state_with_fixed;
using testing_support::stream_of;
using testing_support::takes_events;

class WindowsOfEveryKind : public testing::TestWithParam<Kind> {
 protected:
  const Problem& problem = GetParam().problem;

  /// True where there are events to have windows of.
  [[nodiscard]] bool streams() const { return takes_events(problem) && !stream_of(problem, 1).empty(); }
  /// A state of the events of these numbers.
  [[nodiscard]] State fresh(const std::vector<std::uint64_t>& seeds) const {
    State state = state_with_fixed(problem);
    for (const std::uint64_t seed : seeds) {
      const EventBatch batch = stream_of(problem, seed);
      state.add(batch);
      state.updates += batch.events();
    }
    return state;
  }
};

INSTANTIATE_TEST_SUITE_P(Windows, WindowsOfEveryKind, testing::ValuesIn(every_kind()),
                         [](const auto& kind) { return kind.param.name; });

/// Epoch e is events 2 e and 2 e + 1, which come one after the other; epoch 5 has none.
std::vector<std::uint64_t> seeds_of(std::uint64_t epoch, bool whole = true) {
  if (epoch == 5) return {};
  return whole ? std::vector{2 * epoch, 2 * epoch + 1} : std::vector{2 * epoch};
}

TEST_P(WindowsOfEveryKind, HaveTheBitsOfAFreshStateOfTheirEvents) {
  if (!streams()) return;
  for (const WindowOptions& options :
       {WindowOptions{}, WindowOptions{.epochs = 1}, WindowOptions{.epochs = 3}, WindowOptions{.epochs = 40},
        WindowOptions{.tumbling = true}, WindowOptions{.epochs = 3, .tumbling = true}}) {
    const State zero = fresh({});
    ASSERT_EQ(describe_window_problem(options, zero), "");
    Window window(options, zero);
    State spare = zero;
    for (std::uint64_t epoch = 0; epoch < 9; ++epoch) {
      const std::uint64_t length = options.epochs.value_or(1);
      const std::uint64_t first = options.is_all()   ? 0
                                  : options.tumbling ? epoch / length * length
                                                     : epoch + 1 - std::min(epoch + 1, length);
      std::vector<std::uint64_t> seeds;
      for (std::uint64_t other = first; other < epoch; ++other)
        for (const std::uint64_t seed : seeds_of(other)) seeds.push_back(seed);
      for (const bool is_second : {false, true}) {
        const std::vector<std::uint64_t> so_far = seeds_of(epoch, is_second);
        if (!so_far.empty()) {
          const EventBatch batch = stream_of(problem, so_far.back());
          spare.add(batch);
          spare.updates = batch.events();
          seeds.push_back(so_far.back());
        }
        spare = window.add(std::move(spare), is_second);
        EXPECT_EQ(numbers_of(spare), numbers_of(zero));  // ready for the next delta
        EXPECT_EQ(window.is_open(), !is_second);
        EXPECT_EQ(window.epochs(), epoch + 1 - first);
        const State expected = fresh(seeds);
        EXPECT_EQ(window.sum().updates, expected.updates);
        EXPECT_EQ(numbers_of(window.sum()), numbers_of(expected)) << epoch << ", " << first;
        EXPECT_LE(window.parts().size() + 1, states_of(options));
      }
    }
  }
}

TEST_P(WindowsOfEveryKind, GoOnFromWhatWasSaved) {
  if (!streams()) return;
  const WindowOptions options{.epochs = 2};
  const auto delta = [&](std::uint64_t seed) { return fresh({seed}); };
  Window whole(options, fresh({}));
  for (std::uint64_t seed = 0; seed < 7; ++seed) {
    std::ignore = whole.add(delta(seed), seed % 2 == 1);
    std::deque<State> parts = whole.parts();
    Window again(options, whole.sum(), parts, whole.is_open());
    EXPECT_EQ(again.epochs(), whole.epochs());
    Window copy = whole;
    for (std::uint64_t more = seed + 1; more < 7; ++more) {
      std::ignore = again.add(delta(more), more % 2 == 1);
      std::ignore = copy.add(delta(more), more % 2 == 1);
      EXPECT_EQ(numbers_of(again.sum()), numbers_of(copy.sum()));
      EXPECT_EQ(again.sum().updates, copy.sum().updates);
      EXPECT_EQ(again.epochs(), copy.epochs());
    }
  }
}

TEST_P(WindowsOfEveryKind, DecayMultipliesWhereItCan) {
  if (!streams()) return;
  const WindowOptions options{.decay = 0.5};
  const State zero = fresh({});
  const bool has_whole_rows = std::ranges::any_of(
      zero.layout(), [&](const ArrayLayout& array) { return !array.whole_rows_only.empty() && !zero.is_fixed(array); });
  const std::string reason = describe_window_problem(options, zero);
  EXPECT_EQ(reason.empty(), !has_whole_rows) << reason;
  Window window(options, zero);
  std::ignore = window.add(fresh({1}), true);
  if (has_whole_rows) {
    EXPECT_NE(reason.find("holds rows that come and go whole: expected no decay"), std::string::npos) << reason;
    EXPECT_THROW(std::ignore = window.add(fresh({2}), true), InputError);
    return;
  }
  std::ignore = window.add(fresh({2}), false);
  std::ignore = window.add(fresh({3}), true);  // the same epoch
  State expected = fresh({1});
  expected.scale(0.5);
  expected.add(fresh({2}));
  expected.add(fresh({3}));
  EXPECT_EQ(numbers_of(window.sum()), numbers_of(expected));
  EXPECT_EQ(window.sum().updates, expected.updates);
  EXPECT_EQ(window.epochs(), 2U);
}

TEST(Window, OptionsThatCannotBeAreRefused) {
  expect_error<UsageError>([] { check({.epochs = 0}); }, {"a window of 0 epochs: expected 1 or more"});
  for (const double decay : {0.0, -1.0, 1.5, std::numeric_limits<double>::quiet_NaN()})
    expect_error<UsageError>([&] { check({.decay = decay}); }, {"expected a number above 0, up to 1"});
  expect_error<UsageError>([] { check({.epochs = 2, .decay = 0.5}); }, {"expected one of the two"});
  expect_error<UsageError>([] { check({.tumbling = true, .decay = 0.5}); }, {"expected one of the two"});
  EXPECT_NO_THROW(check({}));
  EXPECT_NO_THROW(check({.epochs = 1, .tumbling = true}));
  EXPECT_EQ(states_of({}), 1U);
  EXPECT_EQ(states_of({.epochs = 5}), 6U);
  EXPECT_EQ(states_of({.epochs = 5, .tumbling = true}), 1U);
  EXPECT_EQ(states_of({.decay = 0.5}), 1U);
}

/// The cost of a slide: the least of several measurements, of windows of 2 and of 200 epochs.
TEST(Window, ASlideCostsTheSameWhateverTheLength) {
  const Problem problem = testing_support::problem_of("vector", {{"n", 1000}}, {}, {.buckets = 512, .lanes = 8});
  const auto seconds_of = [&](std::uint64_t length) {
    Window window({.epochs = length}, state_with_fixed(problem));
    State delta = state_with_fixed(problem);
    double least = 1e9;
    for (std::uint64_t epoch = 0; epoch < length + 200; ++epoch) {
      delta.updates = 1;
      const auto start = std::chrono::steady_clock::now();
      delta = window.add(std::move(delta), true);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (epoch >= length) least = std::min(least, seconds);
    }
    return least;
  };
  // A cost that grows with the length would make the ratio 100.
  EXPECT_LT(seconds_of(200), 10 * seconds_of(2));
}

}  // namespace
}  // namespace weir
