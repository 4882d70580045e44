#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <thread>

#include "stream_testing.hpp"
#include "support/message_of.hpp"
#include "weir/stream/live_source.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;
using namespace std::chrono_literals;

constexpr auto patience = 60s;

/// Reads until that throws, or in vain.
void read_on(LiveSource& source) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  EventBatch batch;
  while (source.next(batch, 10, 10ms) && std::chrono::steady_clock::now() < deadline) {
  }
}

using Indices = std::vector<std::uint64_t>;

/// A file that appears under its name when it is complete.
void drop_in(const TemporaryDirectory& directory, const std::string& name, std::string_view content) {
  directory.write("." + name, content);
  std::filesystem::rename(directory / ("." + name), directory / name);
}

std::unique_ptr<LiveSource> open(const TemporaryDirectory& directory, bool follow, const ReadOptions& options = {},
                                 const std::string& position = {}) {
  return open_live_source(directory.path().string(), options, follow, position);
}

/// All that comes until the end.
Indices drain(LiveSource& source, std::size_t most = 1000) {
  Indices indices;
  EventBatch batch;
  while (source.next(batch, most, 10s)) {
    EXPECT_LE(batch.events(), most);
    indices.insert(indices.end(), batch.i.begin(), batch.i.end());
  }
  EXPECT_TRUE(batch.empty());
  return indices;
}

/// Reads until `count` events have come, and what comes within a look at the directory more.
Indices take(LiveSource& source, std::size_t count) {
  Indices indices;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  EventBatch batch;
  while (indices.size() < count && std::chrono::steady_clock::now() < deadline) {
    EXPECT_TRUE(source.next(batch, 1000, 10ms));
    indices.insert(indices.end(), batch.i.begin(), batch.i.end());
  }
  EXPECT_TRUE(source.next(batch, 1000, 150ms));
  indices.insert(indices.end(), batch.i.begin(), batch.i.end());
  return indices;
}

std::string some_lines(std::uint64_t begin, std::uint64_t end) {
  std::string text;
  for (std::uint64_t t = begin; t < end; ++t) text += fmt::format("{},1\n", t);
  return text;
}

std::vector<Event> some_events(std::uint64_t begin, std::uint64_t end) {
  std::vector<Event> events;
  for (std::uint64_t t = begin; t < end; ++t) events.push_back({Operand::y, t, 0, 1});
  return events;
}

Indices range(std::uint64_t begin, std::uint64_t end) {
  Indices indices;
  for (std::uint64_t t = begin; t < end; ++t) indices.push_back(t);
  return indices;
}

TEST(Directories, AreReadOnceInOrderOfTheNames) {
  const TemporaryDirectory directory;
  directory.write("b.csv.gz", gzip(some_lines(10, 20)));
  directory.write("c", some_lines(20, 30));
  directory.write("a.csv", some_lines(0, 10));
  write_events(directory / "d.weir", some_events(30, 5000), EventFormat::binary);
  directory.write("empty", "");
  for (const char* other : {".hidden", "x.tmp", "y.part", "folder/z.csv"}) directory.write(other, "1000000,1\n");
  ASSERT_EQ(::symlink("a.csv", (directory / "zz").c_str()), 0);
  Indices expected = range(0, 5000);
  const auto source = open(directory, false);
  EXPECT_EQ(source->name(), directory.path().string());
  EXPECT_GT(source->lag()->amount, 100u);
  for (std::uint64_t t = 0; t < 10; ++t) expected.push_back(t);  // by the link, a second name
  EXPECT_EQ(drain(*source, 7), expected);
  EXPECT_EQ(source->lag()->amount, 0u);
  EXPECT_TRUE(drain(*open(directory, false, {}, source->position())).empty());
}

TEST(Directories, AreWatched) {
  const TemporaryDirectory directory;
  directory.write("b", some_lines(0, 5));
  const auto source = open(directory, true);
  EXPECT_EQ(take(*source, 5), range(0, 5));
  directory.write("c.part", "bad");
  drop_in(directory, "a", some_lines(5, 7));
  EXPECT_EQ(take(*source, 2), range(5, 7));
  // A new file may take an old name.
  drop_in(directory, "b", some_lines(7, 9));
  EXPECT_EQ(take(*source, 2), range(7, 9));
  const std::string position = source->position();
  EXPECT_EQ(position.find("\"c"), std::string::npos) << position;
  // Names that are gone are forgotten.
  std::filesystem::remove(directory / "a");
  (void)take(*source, 0);
  EXPECT_EQ(source->position().find("\"a\""), std::string::npos) << source->position();
  EXPECT_TRUE(source->take_notices().empty());
}

TEST(Directories, GoOnAtAnyPosition) {
  const TemporaryDirectory directory;
  directory.write("1 %\xFF\n", some_lines(0, 100));
  directory.write("2.gz", gzip(some_lines(100, 200)));
  write_events(directory / "3.weir", some_events(200, 300), EventFormat::binary);
  directory.write("4", some_lines(300, 400));
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    Indices indices;
    std::string position;
    for (bool more = true; more;) {
      const auto source = open(directory, seed % 2 == 0, {}, position);
      for (std::size_t calls = random() % 4; calls > 0 && more; --calls) {
        EventBatch batch;
        more = source->next(batch, 1 + random() % 40, 0ms) && indices.size() < 400;
        indices.insert(indices.end(), batch.i.begin(), batch.i.end());
      }
      position = source->position();
    }
    EXPECT_EQ(indices, range(0, 400)) << seed;
  }
}

TEST(Directories, DeliverWhatComesWhileTheyAreReadOnceAcrossRestarts) {
  for (unsigned seed = 0; seed < 3; ++seed) {
    const TemporaryDirectory directory;
    constexpr std::uint64_t files = 60, in_each = 100;
    std::jthread writer([&] {
      std::mt19937 random(seed);
      for (std::uint64_t f = 0; f < files; ++f) {
        const std::string lines = some_lines(f * in_each, (f + 1) * in_each);
        drop_in(directory, fmt::format("{}-{}", random() % 1000, f), f % 3 == 0 ? gzip(lines) : lines);
        if (f % 8 == 0) std::this_thread::sleep_for(20ms);
      }
    });
    std::mt19937 random(seed + 100);
    Indices indices;
    std::string position;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (indices.size() < files * in_each && std::chrono::steady_clock::now() < deadline) {
      const auto source = open(directory, true, {}, position);
      for (std::size_t calls = random() % 30; calls > 0; --calls) {
        EventBatch batch;
        ASSERT_TRUE(source->next(batch, 1 + random() % 80, std::chrono::milliseconds(random() % 3)));
        indices.insert(indices.end(), batch.i.begin(), batch.i.end());
      }
      position = source->position();
    }
    EXPECT_TRUE(take(*open(directory, true, {}, position), 0).empty());
    std::sort(indices.begin(), indices.end());
    EXPECT_EQ(indices, range(0, files * in_each)) << seed;
  }
}

TEST(Directories, ComplainAboutFilesThatGrow) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("a", some_lines(0, 5));
  const auto lenient = open(directory, true, {.on_error = OnError::skip});
  const auto strict = open(directory, true);
  EXPECT_EQ(take(*lenient, 5), range(0, 5));
  EXPECT_EQ(take(*strict, 5), range(0, 5));
  std::ofstream(path, std::ios::app) << "5,1\n";
  EXPECT_TRUE(take(*lenient, 0).empty());
  EXPECT_TRUE(take(*lenient, 0).empty());
  EXPECT_EQ(lenient->skipped(), 1u);  // and once only
  EXPECT_NE(lenient->first_skipped().find("it has 24 bytes, and had 20 when it was read"), std::string::npos)
      << lenient->first_skipped();
  EXPECT_EQ(lenient->take_notices().size(), 1u);
  EventBatch batch;
  expect_error([&] { read_on(*strict); }, {path, "it has 24 bytes, and had 20", ".part"});
  expect_error([&] { (void)open(directory, true, {}, strict->position()); }, {path, "it has 24 bytes"});
}

TEST(Directories, StopAtABadFileOrLeaveItOut) {
  const TemporaryDirectory directory;
  directory.write("a", "1,1\nbad\n2,1\n");
  write_events(directory / "b.weir", some_events(10, 3000), EventFormat::binary);
  std::string bytes = contents_of(directory / "b.weir");
  bytes.resize(bytes.size() - 1);
  directory.write("b.weir", bytes);
  directory.write("c", "3,1\n");
  const auto lenient = open(directory, false, {.on_error = OnError::skip});
  EXPECT_EQ(drain(*lenient), (Indices{1, 2, 3}));
  EXPECT_EQ(lenient->skipped(), 2u);
  EXPECT_TRUE(lenient->first_skipped().starts_with(directory / "a:2: ")) << lenient->first_skipped();
  const auto strict = open(directory, false);
  EventBatch batch;
  expect_error([&] { read_on(*strict); }, {directory / "a", ":2: "});
  expect_error([&] { (void)strict->next(batch, 10, 1s); }, {directory / "a", ":2: "});
}

TEST(Directories, RefusePositionsThatAreNotTheirs) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("a", some_lines(0, 100));
  for (const char* bad : {"{", "[]", "{}", R"({"done":[["a"]]})", R"({"done":[],"reading":{"name":"a"}})"})
    expect_error([&] { (void)open(directory, true, {}, bad); }, {directory.path().string(), "position"});
  const auto source = open(directory, true);
  EventBatch batch;
  ASSERT_TRUE(source->next(batch, 10, 0ms));
  std::ofstream(path, std::ios::app) << "100,1\n";
  expect_error([&] { (void)open(directory, true, {}, source->position()); }, {path, "is another file now"});
  std::filesystem::remove(path);
  expect_error([&] { (void)open(directory, true, {}, source->position()); }, {path, "cannot be read on"});
}

TEST(Directories, SayWhenAFileWasRemovedBeforeItsTurn) {
  const TemporaryDirectory directory;
  directory.write("a", "1,1\n");
  directory.write("b", "2,1\n");
  directory.write("c", "3,1\n");
  const auto source = open(directory, false);
  std::filesystem::remove(directory / "b");
  EXPECT_EQ(drain(*source), (Indices{1, 3}));
  const auto notices = source->take_notices();
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_NE(notices[0].find("b: it was removed before it was read"), std::string::npos) << notices[0];
}

TEST(Directories, EndWhenTheirCallerStops) {
  const TemporaryDirectory directory;
  std::stop_source stop;
  const auto source = open(directory, true, {.stop = stop.get_token()});
  std::jthread other([&] { stop.request_stop(); });
  EventBatch batch;
  EXPECT_THROW((void)source->next(batch, 10, 60s), Cancelled);
}

}  // namespace
}  // namespace weir
