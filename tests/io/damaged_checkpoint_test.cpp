#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "state/every_kind.hpp"
#include "support/files.hpp"
#include "weir/io/checkpoint.hpp"
#include "weir/io/state_file.hpp"

namespace weir {
namespace {

using testing_support::every_kind;
using testing_support::state_of;
using testing_support::TemporaryDirectory;

/// A checkpoint whose state says how many updates it has seen.
void write(CheckpointDirectory& directory, std::uint64_t updates) {
  State state =
      state_of(every_kind({.rows = 1, .buckets = 2, .lanes = 2, .gram_buckets = 2, .seed = 5}).front().problem);
  state.updates = updates;
  directory.write({.all_updates = updates}, [&](const std::string& path) { save_state(path, state); });
}

struct Loaded {
  std::optional<std::uint64_t> updates;
  std::size_t damaged = 0;
};

Loaded load(const CheckpointDirectory& directory) {
  Loaded loaded;
  if (const auto checkpoint = directory.load([&](const std::string&) { ++loaded.damaged; }))
    loaded.updates = checkpoint->sum.updates;
  return loaded;
}

TEST(DamagedCheckpoint, IsNotOneOfTheTwoThatAreKept) {
  const TemporaryDirectory folder;
  const std::string path = folder.path() / "checkpoints";
  const auto tear = [&](int number) {
    std::filesystem::resize_file(path + "/state-" + std::to_string(number) + ".weir", 50);
  };
  {
    CheckpointDirectory directory(path);
    for (std::uint64_t updates = 1; updates <= 3; ++updates) write(directory, updates);
  }
  tear(3);
  {
    CheckpointDirectory directory(path);
    const Loaded loaded = load(directory);
    EXPECT_EQ(loaded.updates, 2);
    EXPECT_EQ(loaded.damaged, 1);
    write(directory, 4);
  }
  // Two crashes with a checkpoint between them: the one before it must still be there.
  tear(4);
  CheckpointDirectory directory(path);
  const Loaded loaded = load(directory);
  EXPECT_EQ(loaded.updates, 2);
  EXPECT_EQ(loaded.damaged, 1) << "the one that is known to be damaged is removed";
}

}  // namespace
}  // namespace weir
