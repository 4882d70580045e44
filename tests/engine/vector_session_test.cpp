// Vectors, and products of a fixed x, through a session on 1 to 4 ranks: merged states are those of one rank.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using testing_support::message_of;

SketchConfig small_config(std::uint64_t n) { return {.dimension = n, .buckets = 64, .lanes = 8, .seed = 5}; }

class VectorSessionTest : public testing::Test {
 protected:
  mpi::Communicator world;
};

TEST_F(VectorSessionTest, MergedTablesAreThoseOfOneRankToTheBit) {
  constexpr std::uint64_t n = 500;
  std::mt19937_64 random(11);
  std::vector<double> y(n);
  std::string text;
  for (int t = 0; t < 30000; ++t) {
    const std::uint64_t i = random() % n;
    const int delta = static_cast<int>(random() % 15) - 5;
    y[i] += delta;
    text += std::to_string(i) + "," + std::to_string(delta) + "\n";
  }
  const SharedFile file(world, "stream.csv", text);
  const Problem problem = vector_problem(small_config(n));
  Session sketched = run(world, problem, streams({file.path()}));
  Session exact = run(world, exact_of(problem), streams({file.path()}));
  EXPECT_EQ(sketched.statistics().updates, 30000U);
  const State& state = sketched.snapshot();
  const State& values = exact.snapshot();
  if (!world.local_is_root()) return;

  // y itself, known from the generator, in one update a coordinate.
  VectorSketch expected(small_config(n));
  std::vector<std::uint64_t> keys(n);
  for (std::uint64_t i = 0; i < n; ++i) keys[i] = i;
  expected.update(keys, y);
  EXPECT_TRUE(std::ranges::equal(state.array("cells of y"), expected.table()));
  EXPECT_TRUE(std::ranges::equal(values.array("y"), y));
  EXPECT_EQ(state.updates, 30000U);
  EXPECT_EQ(state.ranks, static_cast<std::uint64_t>(world.local_size()));
}

TEST_F(VectorSessionTest, RealValuedTablesAgreeUpToRounding) {
  constexpr std::uint64_t n = 500;
  std::mt19937_64 random(12);
  std::vector<std::uint64_t> keys(20000);
  std::vector<double> deltas(keys.size());
  std::string text;
  for (std::size_t t = 0; t < keys.size(); ++t) {
    keys[t] = random() % n;
    deltas[t] = (static_cast<double>(random() % 2000001) - 1e6) / 7e4;
    std::array<char, 64> line{};  // 17 digits say which double it is
    std::snprintf(line.data(), line.size(), "%llu,%.17g\n", static_cast<unsigned long long>(keys[t]), deltas[t]);
    text += line.data();
  }
  const SharedFile file(world, "real.csv", text);
  Session session = run(world, vector_problem(small_config(n)), streams({file.path()}));
  const State& state = session.snapshot();
  if (!world.local_is_root()) return;

  VectorSketch expected(small_config(n));
  expected.update(keys, deltas);
  const std::span<const double> table = state.array("cells of y");
  double largest = 0, difference = 0;
  for (std::size_t k = 0; k < expected.table().size(); ++k) {
    largest = std::max(largest, std::abs(expected.table()[k]));
    difference = std::max(difference, std::abs(expected.table()[k] - table[k]));
  }
  EXPECT_GT(largest, 0);
  EXPECT_LE(difference, 1e-12 * largest);
}

TEST_F(VectorSessionTest, AStreamGoesOnFromAState) {
  constexpr std::uint64_t n = 50;
  const SharedFile file(world, "rest.csv", "3,4\n5,-2\n");
  const Problem problem = vector_problem(small_config(n));
  Session::Options options;
  VectorSketch expected(small_config(n));
  const std::vector<std::uint64_t> before{1, 3}, after{1, 3, 5};
  const std::vector<double> before_deltas{10, 1}, after_deltas{10, 5, -2};
  if (world.local_is_root()) {
    options.start = create_state(problem);
    VectorSketch saved(small_config(n));
    saved.update(before, before_deltas);
    std::ranges::copy(saved.table(), options.start->array("cells of y").begin());
    options.start->updates = 2;
  }
  Session session = run(world, problem, streams({file.path()}), std::move(options));
  expected.update(after, after_deltas);
  const State& state = session.snapshot();
  if (!world.local_is_root()) return;
  EXPECT_TRUE(std::ranges::equal(state.array("cells of y"), expected.table()));
  EXPECT_EQ(state.updates, 4U);
}

TEST_F(VectorSessionTest, ProductsAreMultipliedBeforeTheyAreMerged) {
  const std::vector<double> expected{0, 320, 0, 0, -100, 0};
  for (const char* text : {"A,1,0,2\nA,1,1,3\nA,4,1,-1\n", "A,1,*,2,3\nA,4,0,7\nA,4,-*,7,1\n"}) {
    const SharedFile file(world, "a.csv", text);
    const Problem problem = product_problem(small_config(6), 2, {Operand::x});
    Session session = run(world, exact_of(problem), streams_and_x({file.path()}, {10, 100}));
    EXPECT_EQ(session.statistics().updates, 3U);
    const State& state = session.snapshot();
    if (!world.local_is_root()) continue;
    EXPECT_TRUE(std::ranges::equal(state.array("y"), expected)) << text;
  }
}

TEST_F(VectorSessionTest, DifferentProblemsDoNotMerge) {
  const SharedFile file(world, "one.csv", "1,1\n");
  SketchConfig config = small_config(10);
  config.seed = static_cast<std::uint64_t>(world.local_rank());
  Session session = run(world, vector_problem(config), streams({file.path()}));
  if (world.local_size() == 1) {
    EXPECT_NO_THROW(session.snapshot());
  } else {
    testing_support::expect_error([&] { session.snapshot(); }, {"the problem that is measured"});
  }
}

TEST_F(VectorSessionTest, SumsThatOverflowAreAnError) {
  const SharedFile file(world, "large.csv", "1,1e308\n1,1e308\n1,1e308\n1,1e308\n");
  const Problem problem = vector_problem(small_config(10));
  for (const Problem& each : {problem, exact_of(problem)}) {
    EXPECT_THROW(run(world, each, streams({file.path()})).answer({.norm = true}), InputError);
    EXPECT_THROW(run(world, each, streams({file.path()})).save(file.path() + ".weir"), InputError);
  }
}

TEST_F(VectorSessionTest, SquaresThatUnderflowAreAnError) {
  const SharedFile file(world, "small.csv", "1,1e-200\n2,3e-200\n");
  const Problem problem = vector_problem(small_config(10));
  for (const Problem& each : {problem, exact_of(problem)}) {
    Session session = run(world, each, streams({file.path()}));
    testing_support::expect_error([&] { std::ignore = session.answer({.norm = true}); }, {"too small"});
    testing_support::expect_error([&] { session.save(file.path() + ".weir"); }, {"too small"});
  }
}

TEST_F(VectorSessionTest, ImpossibleProblemsAreUsageErrors) {
  SketchConfig config = small_config(10);
  config.buckets = 3;
  EXPECT_THROW(Session(world.local_handle(), vector_problem(config), {}), UsageError);
  Problem unknown = vector_problem(small_config(10));
  unknown.setting = "no such setting";
  EXPECT_THROW(Session(world.local_handle(), unknown, {}), UsageError);
}

}  // namespace
}  // namespace weir::engine
