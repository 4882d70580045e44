// Sessions inside programs that have communicators, threads and files of their own: what is opened is given back.

#include <dirent.h>
#include <gtest/gtest.h>
#include <mpi.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using Clock = std::chrono::steady_clock;

std::size_t entries_of(const char* directory) {
  DIR* const listing = ::opendir(directory);
  if (listing == nullptr) return 0;
  std::size_t count = 0;
  while (::readdir(listing) != nullptr) ++count;
  ::closedir(listing);
  return count;
}

/// What this process has open.
struct Held {
  std::size_t descriptors = entries_of("/proc/self/fd");
  std::size_t threads = entries_of("/proc/self/task");
};

void expect_nothing_held_since(const Held& before) {
  const Held now;
  EXPECT_GT(before.threads, 0U);
  EXPECT_EQ(now.descriptors, before.descriptors);
  EXPECT_EQ(now.threads, before.threads);
}

Problem problem_of(std::uint64_t seed) {
  return vector_problem({.dimension = 100, .buckets = 16, .lanes = 8, .seed = seed});
}

/// `lines` events of value 1 at the indices first, first + 1, ... modulo 100.
std::string ones(int first, int lines) {
  std::string text;
  for (int t = 0; t < lines; ++t) text += std::to_string((first + t) % 100) + ",1\n";
  return text;
}

/// The cells that one process makes of them.
std::vector<double> cells_of(std::uint64_t seed, int first, int lines) {
  VectorSketch sketch(problem_of(seed).sketch);
  for (int t = 0; t < lines; ++t) {
    const std::uint64_t key = static_cast<std::uint64_t>((first + t) % 100);
    const double one = 1;
    sketch.update({&key, 1}, {&one, 1});
  }
  return {sketch.table().begin(), sketch.table().end()};
}

class SessionEmbeddingTest : public testing::Test {
 protected:
  mpi::Communicator world;
  SharedFile first{world, "first.csv", ones(3, 30000)};
  SharedFile second{world, "second.csv", ones(50, 70000)};

  void expect_cells(Session& session, const std::vector<double>& expected) const {
    const State& state = session.snapshot();
    if (!session.communicator().local_is_root()) return;
    EXPECT_TRUE(std::ranges::equal(state.array("cells of y"), expected));
  }
};

TEST_F(SessionEmbeddingTest, GroupsMeasureDifferentThingsAtTheSameTime) {
  const int color = world.local_rank() % 2;
  MPI_Comm group = MPI_COMM_NULL;
  MPI_Comm_split(world.local_handle(), color, world.local_rank(), &group);
  {
    Session session(group, problem_of(color == 0 ? 1 : 2), streams({color == 0 ? first.path() : second.path()}));
    while (session.advance({.events = 1000})) {
    }
    expect_cells(session, color == 0 ? cells_of(1, 3, 30000) : cells_of(2, 50, 70000));
    // An error in one group is no matter of the other.
    if (color == 0) {
      EXPECT_THROW(Session(group, problem_of(1), streams({first.path() + ".missing"})), InputError);
    } else {
      EXPECT_EQ(session.statistics().updates, 70000U);
    }
  }
  MPI_Comm_free(&group);
}

TEST_F(SessionEmbeddingTest, OneProcessAloneAndADuplicate) {
  MPI_Comm duplicate = MPI_COMM_NULL;
  MPI_Comm_dup(world.local_handle(), &duplicate);
  Session alone = Session(MPI_COMM_SELF, problem_of(4), streams({first.path()}));
  Session all(duplicate, problem_of(5), streams({second.path()}));
  MPI_Comm_free(&duplicate);  // the session has its own
  EXPECT_FALSE(all.advance());
  EXPECT_FALSE(alone.advance());
  expect_cells(alone, cells_of(4, 3, 30000));
  expect_cells(all, cells_of(5, 50, 70000));
}

TEST_F(SessionEmbeddingTest, ThreeAreAdvancedInTurn) {
  std::vector<Session> sessions;
  sessions.emplace_back(world.local_handle(), problem_of(1), streams({first.path()}));
  sessions.emplace_back(world.local_handle(), problem_of(2), streams({second.path()}));
  sessions.emplace_back(MPI_COMM_SELF, problem_of(3), streams({first.path(), second.path()}));
  bool more = true;
  while (more) {
    more = false;
    for (Session& session : sessions) {
      more = session.advance({.events = 3000}) || more;
      session.snapshot();
    }
    more = world.all_sum(more ? 1U : 0U) > 0;
  }
  expect_cells(sessions[0], cells_of(1, 3, 30000));
  expect_cells(sessions[1], cells_of(2, 50, 70000));
  std::vector<double> both = cells_of(3, 3, 30000);
  const std::vector<double> other = cells_of(3, 50, 70000);
  for (std::size_t k = 0; k < both.size(); ++k) both[k] += other[k];
  expect_cells(sessions[2], both);
}

TEST_F(SessionEmbeddingTest, AThousandLeaveNothingBehind) {
  const SharedFile tiny(world, "tiny.csv", "1,1\n2,-3\n");
  const auto once = [&](std::uint64_t seed) {
    Session session(world.local_handle(), problem_of(seed), streams({tiny.path()}));
    session.advance();
    return session.statistics().updates;
  };
  std::ignore = once(0);  // what MPI itself keeps
  const Held before;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) ASSERT_EQ(once(seed), 2U);
  expect_nothing_held_since(before);
}

TEST_F(SessionEmbeddingTest, ASilentPipeKeepsNobodyWaiting) {
  const SharedFile name(world, "silent", "");
  const std::string path = name.path() + ".fifo";
  if (world.local_is_root()) {
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  }
  std::ignore = world.all_sum(1);
  const auto once = [&] {
    std::optional<Session> session(std::in_place, world.local_handle(), problem_of(1), streams({path}));
    EXPECT_TRUE(session->advance({.time = std::chrono::milliseconds(1)}));
    const Answer answer = session->answer({.norm = true});
    if (world.local_is_root()) {
      EXPECT_EQ(answer.norm->value, 0);
    }
    const auto start = Clock::now();
    session.reset();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  once();
  const Held before;
  double slowest = 0;
  for (int k = 0; k < 100; ++k) slowest = std::max(slowest, once());
  expect_nothing_held_since(before);
  EXPECT_LT(slowest, 0.5);
  std::ignore = world.all_sum(1);
  if (world.local_is_root()) ::unlink(path.c_str());
}

/// One that reads what every rank is given pauses too while its pipe is silent.
TEST_F(SessionEmbeddingTest, EveryRankPausesWhileAPipeIsSilent) {
  const SharedFile name(world, "every", "");
  const std::string path = name.path() + ".fifo";
  if (world.local_is_root()) {
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  }
  std::ignore = world.all_sum(1);
  const KroneckerShape shape{.n1 = 4, .n2 = 3, .d1 = 2, .d2 = 2};
  const SharedFile fixed(world, "fixed.csv", "A2,0,0,1\nA2,2,1,3\n");
  const Problem problem = streaming_problem(shape, Operand::A1, {.buckets = 16, .lanes = 8});
  Session session(world.local_handle(), problem, streams({path}, {{Operand::A2, fixed.path()}}));
  const auto start = Clock::now();
  EXPECT_TRUE(session.advance({.time = std::chrono::milliseconds(20)}));
  EXPECT_TRUE(session.advance({.events = 5, .time = std::chrono::milliseconds(20)}));
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 5.0);
  std::ignore = world.all_sum(1);
  if (world.local_is_root()) ::unlink(path.c_str());
}

}  // namespace
}  // namespace weir::engine
