#include "weir/state/softmax_over_parties.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "engine/parties.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/share.hpp"

namespace weir::engine {
namespace {

/// The part of `y` that this rank holds.
struct Slice {
  std::uint64_t first = 0;
  std::span<const double> values;
};

Slice slice_of(const mpi::Communicator& world, const std::vector<double>& y) {
  const auto rank = static_cast<std::uint64_t>(world.local_rank());
  const auto size = static_cast<std::uint64_t>(world.local_size());
  const std::uint64_t first = share(y.size(), rank, size);
  return {first, std::span(y).subspan(first, share(y.size(), rank + 1, size) - first)};
}

void expect_equal(const SampleResult& a, const SampleResult& b) {
  EXPECT_EQ(a.norm, b.norm);
  ASSERT_EQ(a.draws.size(), b.draws.size());
  for (std::size_t s = 0; s < a.draws.size(); ++s) {
    EXPECT_EQ(a.draws[s].lane, b.draws[s].lane);
    EXPECT_EQ(a.draws[s].index, b.draws[s].index);
    EXPECT_EQ(a.draws[s].value, b.draws[s].value);
    EXPECT_EQ(a.draws[s].probability, b.draws[s].probability);
    EXPECT_EQ(a.draws[s].inclusion, b.draws[s].inclusion);
  }
}

/// What one process draws from y itself, to the bit: at lengths below, at and above the number of ranks too.
TEST(Softmax, TheSameForAnyNumberOfRanks) {
  const mpi::Communicator world;
  RankParties parties(world);
  for (const std::size_t n : {1U, 2U, 3U, 5U, 5000U}) {
    for (const double spread : {0.0, 3.0, 1e5}) {
      std::vector<double> y(n);
      for (std::size_t i = 0; i < n; ++i) y[i] = spread * std::sin(static_cast<double>(7 * i));
      for (const bool without_replacement : {false, true}) {
        for (const std::uint32_t samples : {0U, 1U, 40U}) {
          const SoftmaxOptions options{samples, without_replacement, 77};
          const Slice slice = slice_of(world, y);
          const SampleResult result = softmax_over_parties(parties, slice.first, slice.values, options);
          expect_equal(result, world.local_is_root() ? draw_softmax(y, options) : SampleResult());
        }
      }
    }
  }
}

TEST(Softmax, OneRankMayHoldEverything) {
  const mpi::Communicator world;
  RankParties parties(world);
  const std::vector<double> y{1, -2, 3.5, 0};
  for (int owner = 0; owner < world.local_size(); ++owner) {
    for (const bool without_replacement : {false, true}) {
      const SoftmaxOptions options{6, without_replacement, 3};
      const std::span<const double> slice = owner == world.local_rank() ? std::span(y) : std::span<const double>();
      const SampleResult result = softmax_over_parties(parties, 0, slice, options);
      expect_equal(result, world.local_is_root() ? draw_softmax(y, options) : SampleResult());
    }
  }
}

TEST(Softmax, ErrorsReachEveryRank) {
  const mpi::Communicator world;
  RankParties parties(world);
  EXPECT_THROW((void)softmax_over_parties(parties, 0, {}, {}), UsageError);
  std::vector<double> y(100, 1.0);
  y[97] = std::numeric_limits<double>::quiet_NaN();
  const Slice slice = slice_of(world, y);
  testing_support::expect_error([&] { (void)softmax_over_parties(parties, slice.first, slice.values, {}); },
                                {"y[97] is nan"});
}

}  // namespace
}  // namespace weir::engine
