#include "weir/io/checkpoint.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <cctype>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "state/every_kind.hpp"
#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/setting.hpp"

namespace weir {
namespace {

namespace fs = std::filesystem;
using testing_support::contents_of;
using testing_support::expect_error;
using testing_support::message_of;
using testing_support::state_of;
using testing_support::TemporaryDirectory;
using Json = nlohmann::ordered_json;

/// A state of a vector, as small as it can be, that `number` tells from others.
State state_number(std::uint64_t number) {
  State state = state_of(testing_support::problem_of(
      "vector", {{"n", 3}}, {}, {.rows = 1, .buckets = 2, .lanes = 2, .gram_buckets = 2, .seed = 5}));
  for (double& value : state.arrays()[0].numbers.doubles()) value = static_cast<double>(number);
  state.updates = number;
  return state;
}

SaveState saving(std::uint64_t number) {
  return [number](const std::string& path) { save_state(path, state_number(number)); };
}

/// What a checkpoint says, all of it other than what is usual.
CheckpointInfo info_number(std::uint64_t number) {
  return {.epoch = 7 + number,
          .updates_in_epoch = 3,
          .all_updates = 1000 + number,
          .skipped = 5,
          .ranks = 4,
          .time = 1234.5,
          .is_final = true,
          .window = {.epochs = 9, .tumbling = true},
          .window_epochs = 2,
          .window_is_open = true,
          .positions = R"({"files":[],"arrays":[],"live":{"a pipe":null}})"};
}

void ignore(const std::string&) {}

/// The number of the state that is loaded, and how many were found to be damaged.
std::pair<std::uint64_t, int> load_number(const CheckpointDirectory& directory) {
  int damaged = 0;
  const std::optional<Checkpoint> checkpoint = directory.load([&](const std::string& what) {
    EXPECT_NE(what.find("is damaged: "), std::string::npos) << what;
    EXPECT_EQ(what.find('\n'), std::string::npos) << what;
    ++damaged;
  });
  return {checkpoint ? checkpoint->sum.updates : 0, damaged};
}

std::set<std::string> names_in(const fs::path& path) {
  std::set<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) names.insert(entry.path().filename().string());
  return names;
}

class CheckpointTest : public testing::Test {
 protected:
  TemporaryDirectory temporary;
  const std::string path = temporary / "made/here";

  /// Two checkpoints, numbers 1 and 2, of states 11 and 12.
  void write_two() const {
    CheckpointDirectory directory(path);
    directory.write(info_number(1), saving(11));
    directory.write(info_number(2), saving(12));
  }
  void put(const std::string& name, const std::string& contents) const {
    std::ofstream(path + "/" + name, std::ios::binary) << contents;
  }
  [[nodiscard]] std::string get(const std::string& name) const { return contents_of(path + "/" + name); }
  /// Writes the manifest `number` anew, with a right checksum.
  void forge(std::uint64_t number, const std::function<void(Json&)>& change) const {
    const std::string name = fmt::format("manifest-{}.json", number);
    Json json = Json::parse(get(name));
    json.erase("checksum");
    change(json);
    const std::string body = json.dump(1);
    json["checksum"] = fmt::format("{:016x}", XXH64(body.data(), body.size(), state_checksum_seed));
    put(name, json.dump(1) + "\n");
  }
};

TEST_F(CheckpointTest, WhatIsWrittenIsLoaded) {
  {
    CheckpointDirectory directory(path);
    EXPECT_EQ(directory.path(), path);
    EXPECT_TRUE(directory.is_empty());
    EXPECT_EQ(directory.last_number(), 0U);
    EXPECT_FALSE(directory.load(ignore).has_value());
    directory.write(info_number(1), saving(11));
    EXPECT_FALSE(directory.is_empty());
    EXPECT_EQ(directory.last_number(), 1U);
  }
  const CheckpointDirectory directory(path);
  EXPECT_EQ(directory.last_number(), 1U);
  const std::optional<Checkpoint> checkpoint = directory.load([](const std::string& what) { ADD_FAILURE() << what; });
  ASSERT_TRUE(checkpoint.has_value());
  CheckpointInfo expected = info_number(1);
  expected.number = 1;
  EXPECT_TRUE(checkpoint->info == expected);
  EXPECT_EQ(checkpoint->info.positions, expected.positions);
  EXPECT_EQ(serialise(checkpoint->sum), serialise(state_number(11)));
  EXPECT_TRUE(checkpoint->epochs.empty());
  EXPECT_TRUE(newest_checkpoint(path) == expected);
}

TEST_F(CheckpointTest, TwoAreKept) {
  CheckpointDirectory directory(path);
  for (std::uint64_t number = 1; number <= 5; ++number) directory.write(info_number(number), saving(10 + number));
  EXPECT_EQ(names_in(path),
            (std::set<std::string>{"lock", "manifest-4.json", "manifest-5.json", "state-4.weir", "state-5.weir"}));
  EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{15}, 0));
}

TEST_F(CheckpointTest, WhatIsNotOursStays) {
  fs::create_directories(path);
  put("notes.txt", "mine");
  put("state-x.weir", "mine");
  put("manifest-007.json", "mine");
  put("weir-12-abc.tmp", "left by a writer that was killed");
  CheckpointDirectory directory(path);
  EXPECT_TRUE(directory.is_empty());
  for (std::uint64_t number = 1; number <= 4; ++number) directory.write(info_number(number), saving(10 + number));
  const std::set<std::string> names = names_in(path);
  for (const char* name : {"notes.txt", "state-x.weir", "manifest-007.json"}) EXPECT_TRUE(names.contains(name)) << name;
  EXPECT_FALSE(names.contains("weir-12-abc.tmp"));
}

TEST_F(CheckpointTest, EpochsAreSharedByCheckpoints) {
  std::uint64_t written = 0;
  const auto epoch = [&](std::uint64_t number) -> SaveState {
    return [&written, number](const std::string& file) {
      ++written;
      save_state(file, state_number(100 + number));
    };
  };
  {
    CheckpointDirectory directory(path);
    for (std::uint64_t end = 3; end <= 8; ++end) {
      // The last three epochs are whole.
      directory.write({.epoch = end + 1, .window = {.epochs = 3}, .window_epochs = 3}, saving(end),
                      {epoch(end - 2), epoch(end - 1), epoch(end)});
      EXPECT_EQ(written, end);  // three at first, then one each
      EXPECT_TRUE(directory.has_epoch(end));
      EXPECT_FALSE(directory.has_epoch(end - 3));
    }
    // The fourth is in progress.
    directory.write({.epoch = 9, .window = {.epochs = 3}, .window_epochs = 3, .window_is_open = true}, saving(9),
                    {epoch(7), epoch(8), epoch(9)});
    EXPECT_EQ(written, 9U);
    EXPECT_FALSE(directory.has_epoch(9));
  }
  EXPECT_EQ(names_in(path),
            (std::set<std::string>{"lock", "manifest-6.json", "manifest-7.json", "state-6.weir", "state-7.weir",
                                   "epoch-6.weir", "epoch-7.weir", "epoch-8.weir", "part-7.weir"}));
  const CheckpointDirectory directory(path);
  const std::optional<Checkpoint> checkpoint = directory.load([](const std::string& what) { ADD_FAILURE() << what; });
  ASSERT_EQ(checkpoint->epochs.size(), 3U);
  for (std::size_t k = 0; k < 3; ++k) EXPECT_EQ(checkpoint->epochs[k].updates, 107 + k);
  // A shared file that is damaged takes both of them with it.
  put("epoch-7.weir", get("epoch-7.weir").substr(0, 60));
  expect_error([&] { std::ignore = directory.load(ignore); },
               {"no checkpoint is whole; the newest: checkpoint 7 of ", "epoch-7.weir: 60 bytes, expected ",
                "Remove the directory to begin again"});
}

TEST_F(CheckpointTest, TheOlderOneIsUsedWhenTheNewestIsTornAtAnyLength) {
  write_two();
  const CheckpointDirectory directory(path);
  for (const char* name : {"manifest-2.json", "state-2.weir"}) {
    const std::string whole = get(name);
    for (std::size_t length = 0; length < whole.size(); ++length) {
      put(name, whole.substr(0, length));
      // The last byte of a manifest is the end of its line, which may be missing.
      const bool is_whole = std::string(name) == "manifest-2.json" && length + 1 == whole.size();
      EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{is_whole ? 12U : 11U}, is_whole ? 0 : 1))
          << name << ", " << length;
    }
    put(name, whole + "x");
    EXPECT_EQ(load_number(directory).first, 11U);
    fs::remove(path + "/" + name);
    EXPECT_EQ(load_number(directory).first, 11U);
    put(name, whole);
    EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{12}, 0));
  }
}

TEST_F(CheckpointTest, AnyFlippedByteIsFound) {
  write_two();
  const CheckpointDirectory directory(path);
  for (const char* name : {"manifest-2.json", "state-2.weir"}) {
    const std::string whole = get(name);
    for (std::size_t k = 0; k < whole.size(); ++k) {
      for (const int bit : {0, 5, 7}) {
        std::string bad = whole;
        bad[k] = static_cast<char>(static_cast<unsigned char>(bad[k]) ^ (1U << bit));
        put(name, bad);
        try {
          const std::uint64_t found = load_number(directory).first;
          // What is between the fields of a manifest means nothing.
          EXPECT_TRUE(found == 11 || (found == 12 && std::isspace(static_cast<unsigned char>(whole[k])) != 0))
              << name << ", byte " << k << ", bit " << bit;
        } catch (const InputError& error) {
          EXPECT_NE(std::string(error.what()).find("is newer than version 1"), std::string::npos) << error.what();
        }
      }
    }
    put(name, whole);
  }
}

TEST_F(CheckpointTest, ACheckpointThatWasFoundDamagedIsNotKeptInPlaceOfAWholeOne) {
  write_two();
  put("state-2.weir", get("state-2.weir").substr(0, 100));
  CheckpointDirectory directory(path);
  EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{11}, 1));
  directory.write(info_number(3), saving(13));
  EXPECT_EQ(names_in(path),
            (std::set<std::string>{"lock", "manifest-1.json", "manifest-3.json", "state-1.weir", "state-3.weir"}));
  put("state-3.weir", "");
  EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{11}, 1));
}

TEST_F(CheckpointTest, ForgedManifestsAreRefused) {
  write_two();
  const CheckpointDirectory directory(path);
  const std::string whole = get("manifest-2.json");
  temporary.write("made/outside.weir", get("state-2.weir"));
  const auto expect_fall_back = [&](const std::string& what, const std::function<void(Json&)>& change) {
    forge(2, change);
    std::string told;
    const std::optional<Checkpoint> checkpoint = directory.load([&](const std::string& text) { told = text; });
    EXPECT_EQ(checkpoint->sum.updates, 11U) << what;
    EXPECT_NE(told.find(what), std::string::npos) << told;
    put("manifest-2.json", whole);
  };
  forge(2, [](Json&) {});
  EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{12}, 0));  // so that it is the change that is refused
  for (const char* name : {"../outside.weir", "/etc/passwd", "", ".hidden", "a/b"})
    expect_fall_back("the name of a state is damaged", [&](Json& json) { json["sum"]["name"] = name; });
  expect_fall_back("state-9.weir", [](Json& json) { json["sum"]["name"] = "state-9.weir"; });
  expect_fall_back("not the state that the manifest names", [](Json& json) { json["sum"]["name"] = "state-1.weir"; });
  expect_fall_back("bytes, expected 5", [](Json& json) { json["sum"]["bytes"] = 5; });
  expect_fall_back("is no checksum", [](Json& json) { json["sum"]["checksum"] = "12"; });
  expect_fall_back("it is no manifest", [](Json& json) { json["format"] = "another"; });
  for (const char* name : {"number", "epoch", "updates_in_epoch", "all_updates", "skipped", "ranks"}) {
    expect_fall_back(fmt::format("'{}' is no whole number below 2^64", name), [&](Json& json) { json[name] = -1; });
    expect_fall_back(fmt::format("'{}' is no whole number below 2^64", name), [&](Json& json) { json[name] = 1e30; });
    expect_fall_back(name, [&](Json& json) { json.erase(name); });
  }
  expect_fall_back("'covers' is no whole number", [](Json& json) { json["window"]["covers"] = -3; });
  expect_fall_back("damaged", [](Json& json) { json["window"] = 7; });
  expect_fall_back("damaged", [](Json& json) { json["epochs"] = Json::array({1, 2}); });
  expect_fall_back("nested deeper than 64", [](Json& json) {
    Json deep = 1;
    for (int k = 0; k < 100; ++k) deep = Json::array({deep});
    json["positions"] = deep;
  });
  // So deep that writing it would take all of the stack.
  put("manifest-2.json", std::string(1000000, '[') + std::string(1000000, ']'));
  EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{11}, 1));
  put("manifest-2.json", "17");
  EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{11}, 1));
}

TEST_F(CheckpointTest, NewerVersionsAreRefused) {
  write_two();
  const CheckpointDirectory directory(path);
  for (const std::uint64_t version : {std::uint64_t{2}, (std::uint64_t{1} << 32) + 1}) {
    forge(2, [&](Json& json) { json["version"] = version; });
    expect_error([&] { std::ignore = directory.load(ignore); },
                 {"manifest-2.json: version ", "is newer than version 1, the latest that this program reads"});
  }
}

TEST_F(CheckpointTest, NoneThatIsWholeIsAnError) {
  write_two();
  const CheckpointDirectory directory(path);
  put("manifest-1.json", "");
  put("manifest-2.json", "{");
  expect_error([&] { std::ignore = directory.load(ignore); },
               {path + ": no checkpoint is whole; the newest: checkpoint 2 of "});
  expect_error([&] { std::ignore = newest_checkpoint(path); }, {path + ": manifest-1.json: "});
  expect_error([&] { std::ignore = newest_checkpoint(temporary / "nowhere"); }, {"cannot read the directory"});
}

TEST_F(CheckpointTest, ALargestNumberIsNotFollowedByASmallOne) {
  write_two();
  fs::rename(path + "/manifest-2.json", path + "/manifest-18446744073709551615.json");
  CheckpointDirectory directory(path);
  expect_error([&] { directory.write(info_number(3), saving(13)); }, {"a checkpoint of the largest number"});
  EXPECT_EQ(load_number(directory).first, 12U);
}

TEST_F(CheckpointTest, OneProcessAtATimeWrites) {
  write_two();
  std::optional<CheckpointDirectory> directory(path);
  expect_error([&] { const CheckpointDirectory other(path); }, {path + ": another job writes checkpoints there"});
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int code = 0;
    try {
      const CheckpointDirectory other(path);
    } catch (const InputError&) {
      code = 42;
    }
    ::_exit(code);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 42);
  // Looking in needs no lock.
  EXPECT_EQ(newest_checkpoint(path).number, 2U);
  directory.reset();
  EXPECT_NO_THROW(CheckpointDirectory{path});
}

TEST_F(CheckpointTest, APlaceThatIsNoneIsRefused) {
  const std::string file = temporary.write("file", "");
  expect_error([&] { const CheckpointDirectory directory(file); },
               {file + ": cannot make a directory for checkpoints"});
  expect_error([&] { const CheckpointDirectory directory(file + "/below"); }, {"cannot make a directory"});
  expect_error([] { const CheckpointDirectory directory("/proc/nothing"); }, {"/proc/nothing: cannot"});
}

/// Whatever fails while a checkpoint is written, those before it are as they were.
TEST_F(CheckpointTest, AFullDiskLeavesTheOldOnes) {
  write_two();
  CheckpointDirectory directory(path);
  const std::set<std::string> before = names_in(path);
  ASSERT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::size_t state_bytes = get("state-2.weir").size();
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, state_bytes - 1, state_bytes}) {
    // A manifest that is longer than the state, so that either of them may be the one that does not fit.
    CheckpointInfo info = info_number(3);
    info.positions = Json{{"live", std::string(state_bytes, 'p')}}.dump();
    const rlimit small{room, limit.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::string message = message_of<InputError>([&] { directory.write(info, saving(13)); });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{12}, 0)) << room;
    for (const std::string& name : before) EXPECT_TRUE(names_in(path).contains(name)) << name;
  }
  std::signal(SIGXFSZ, SIG_DFL);
  // There is room again: what was begun is gone.
  directory.write(info_number(4), saving(14));
  EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{14}, 0));
  EXPECT_EQ(names_in(path).size(), 5U);
  EXPECT_TRUE(names_in(path).contains("manifest-2.json"));
}

TEST_F(CheckpointTest, AStateThatCannotBeSavedLeavesTheOldOnes) {
  write_two();
  CheckpointDirectory directory(path);
  EXPECT_THROW(directory.write(info_number(3), [](const std::string&) { throw InputError("no"); }), InputError);
  EXPECT_THROW(directory.write({.epoch = 2, .window = {.epochs = 1}}, saving(13),
                               {[](const std::string&) { throw InputError("no"); }}),
               InputError);
  EXPECT_FALSE(directory.has_epoch(1));
  EXPECT_EQ(load_number(directory), std::pair(std::uint64_t{12}, 0));
}

}  // namespace
}  // namespace weir
