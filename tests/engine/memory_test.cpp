#include "weir/engine/memory.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/mpi/communicator.hpp"

namespace weir::engine {
namespace {

using testing_support::expect_error;
using testing_support::TemporaryDirectory;

/// The limits of the control groups alone, the nearest group first.
std::vector<std::uint64_t> group_limits(const TemporaryDirectory& root) {
  std::vector<std::uint64_t> limits;
  for (const MemoryLimit& limit : memory_limits(root.path()))
    if (limit.group != "this machine") limits.push_back(limit.bytes);
  return limits;
}

using Numbers = std::vector<std::uint64_t>;

TEST(MemoryLimits, BeginWithTheMachine) {
  const TemporaryDirectory empty;
  const std::vector<MemoryLimit> limits = memory_limits(empty.path());
  ASSERT_EQ(limits.size(), 1u);
  EXPECT_EQ(limits[0].group, "this machine");
  EXPECT_GT(limits[0].bytes, 1u << 20);
}

TEST(MemoryLimits, OfVersion2AreThoseOfTheGroupAndAllAround) {
  const TemporaryDirectory root;
  root.write("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  root.write("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "3000000\n");
  root.write("sys/fs/cgroup/slurm/job_7/memory.max", "max\n");
  root.write("sys/fs/cgroup/slurm/memory.max", "2000000");
  root.write("sys/fs/cgroup/slurm/job_8/memory.max", "5\n");  // of others
  EXPECT_EQ(group_limits(root), (Numbers{3000000, 2000000}));
}

TEST(MemoryLimits, OfVersion1AreThoseOfTheMemoryController) {
  const TemporaryDirectory root;
  root.write("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:hugetlb,memory:/b:c/d\n1:name=systemd:/memory\n0::/e\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  root.write("sys/fs/cgroup/memory/b:c/d/memory.limit_in_bytes", "1000000\n");
  root.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "6\n");
  root.write("sys/fs/cgroup/memory/e/memory.limit_in_bytes", "7\n");
  EXPECT_EQ(group_limits(root), (Numbers{1000000, 9223372036854771712u}));
}

TEST(MemoryLimits, OfAContainerAreAtTheMount) {
  // /proc may tell what the host calls the group, where the container sees its own group alone.
  const TemporaryDirectory root;
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n");
  root.write("sys/fs/cgroup/memory.max", "2000000\n");
  root.write("proc/self/cgroup", "4:memory:/docker/0123\n");
  EXPECT_EQ(group_limits(root), Numbers{1000000});
  for (const char* path : {"/", "/../../other", "/docker/0123/"}) {
    root.write("proc/self/cgroup", "0::" + std::string(path) + "\n");
    EXPECT_EQ(group_limits(root), Numbers{2000000}) << path;
  }
}

TEST(MemoryLimits, AreNoneInWhatIsNoLimit) {
  const TemporaryDirectory root;
  root.write("proc/self/cgroup", "0::/a\n");
  for (const char* text : {"", "\n", "max\n", "0\n", "-1\n", "1e9\n", "12 34\n", "0x10\n", "99999999999999999999\n"}) {
    root.write("sys/fs/cgroup/a/memory.max", text);
    EXPECT_EQ(group_limits(root), Numbers{}) << text;
  }
  root.write("sys/fs/cgroup/a/memory.max", "1000000\n");
  EXPECT_EQ(group_limits(root), Numbers{1000000});
  for (const char* text :
       {"", "\n", ":", "0", "0:", "0:\n", "0::", "0::a\n", "::\n", "4:memory\n", "4:memories:/a\n"}) {
    root.write("proc/self/cgroup", text);
    EXPECT_EQ(group_limits(root), Numbers{}) << text;
  }
}

class GroupOfRanks : public testing::Test {
 protected:
  static constexpr std::uint64_t limit = std::uint64_t{12} << 20;  // the same for each of 1 to 4 ranks

  /// Puts a group with this limit under `root`.
  static void confine(const TemporaryDirectory& root) {
    root.write("proc/self/cgroup", "0::/job\n");
    root.write("sys/fs/cgroup/job/memory.max", std::to_string(limit));
  }

  mpi::Communicator world;
  [[nodiscard]] std::uint64_t ranks() const { return static_cast<std::uint64_t>(world.local_size()); }
};

TEST_F(GroupOfRanks, SharesItsMemory) {
  const TemporaryDirectory own;
  std::vector<std::byte> path;  // of the root's, for all
  for (const char c : own.path().string()) path.push_back(static_cast<std::byte>(c));
  world.broadcast(path);
  const std::filesystem::path root(std::string(reinterpret_cast<const char*>(path.data()), path.size()));
  if (world.local_is_root()) confine(own);
  std::ignore = world.all_sum(1);

  EXPECT_NO_THROW(require_memory(world, limit / ranks(), 0, "a table", root));
  const std::string who =
      std::to_string(ranks()) + " rank(s) of the control group " + (root / "sys/fs/cgroup/job").string();
  expect_error([&] { require_memory(world, limit / ranks() + 1, 0, "a table", root); },
               {"a table", who, "has 0.01172 GiB"});
  expect_error([&] { require_memory(world, limit / ranks(), 1, "a table", root); },
               {"a table", who, "has 0.01172 GiB"});
  std::ignore = world.all_sum(1);  // before the directory goes
}

TEST_F(GroupOfRanks, CountsNoRanksOfOthers) {
  const TemporaryDirectory own;
  confine(own);
  EXPECT_NO_THROW(require_memory(world, limit, 0, "a table", own.path()));
  // Too much on the root alone: every rank hears of it.
  expect_error([&] { require_memory(world, limit, 1, "a table", own.path()); }, {"a table", "1 rank(s)", "job"});
}

}  // namespace
}  // namespace weir::engine
