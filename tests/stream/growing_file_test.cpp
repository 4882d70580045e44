#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
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

void append(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::app).write(text.data(), static_cast<std::streamsize>(text.size()));
}

std::unique_ptr<LiveSource> follow(const std::string& path, const ReadOptions& options = {},
                                   const std::string& position = {}) {
  return open_live_source(path, options, true, position);
}

/// Reads until `count` events have come, and what comes besides at once; their indices.
std::vector<std::uint64_t> take(LiveSource& source, std::size_t count, std::size_t most = 1000) {
  std::vector<std::uint64_t> indices;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  EventBatch batch;
  while (indices.size() < count && std::chrono::steady_clock::now() < deadline) {
    EXPECT_TRUE(source.next(batch, std::min(most, count - indices.size()), 10ms));
    EXPECT_LE(batch.events(), most);
    indices.insert(indices.end(), batch.i.begin(), batch.i.end());
  }
  EXPECT_TRUE(source.next(batch, most, 0ms));
  indices.insert(indices.end(), batch.i.begin(), batch.i.end());
  return indices;
}

using Indices = std::vector<std::uint64_t>;

Indices range(std::uint64_t begin, std::uint64_t end) {
  Indices indices;
  for (std::uint64_t t = begin; t < end; ++t) indices.push_back(t);
  return indices;
}

/// Waits until `condition` holds while `source` has nothing to deliver.
bool holds_at_last(LiveSource& source, const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  EventBatch batch;
  while (!condition() && std::chrono::steady_clock::now() < deadline) {
    EXPECT_TRUE(source.next(batch, 10, 10ms));
    EXPECT_TRUE(batch.empty());
  }
  return condition();
}

TEST(GrowingFiles, DeliverLinesWhenTheyAreWhole) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log", "# a log\n1,1\n2,");
  const auto source = follow(path, {.on_error = OnError::skip});
  EXPECT_EQ(source->name(), path);
  EXPECT_EQ(take(*source, 1), (Indices{1}));
  EXPECT_EQ(source->lag()->amount, 2u);
  append(path, "5");
  EXPECT_EQ(take(*source, 0), Indices{});
  append(path, "\n\nbad\n3,1\n4,1\n");
  EXPECT_EQ(take(*source, 3, 1), (Indices{2, 3, 4}));
  EXPECT_EQ(source->skipped(), 1u);
  EXPECT_TRUE(source->first_skipped().starts_with(path + ":5: ")) << source->first_skipped();
  EXPECT_EQ(source->lag()->amount, 0u);
  EXPECT_TRUE(source->take_notices().empty());
}

TEST(GrowingFiles, StopAtABadLineInItsPlace) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log", "1,1\n2,1\nbad\n3,1\n");
  const auto source = follow(path);
  EventBatch batch;
  ASSERT_TRUE(source->next(batch, 2, 0ms));
  EXPECT_EQ(batch.i, (Indices{1, 2}));
  expect_error([&] { (void)source->next(batch, 2, 0ms); }, {path + ":3: "});
  EXPECT_TRUE(batch.empty());
  expect_error([&] { (void)source->next(batch, 2, 0ms); }, {path + ":3: "});
  // A later reader begins at the same line.
  const auto later = follow(path, {}, source->position());
  expect_error([&] { (void)later->next(batch, 2, 0ms); }, {path + ":3: "});
}

TEST(GrowingFiles, LeaveOutLongLines) {
  const TemporaryDirectory directory;
  const ReadOptions options{.on_error = OnError::skip, .shapes = {{Operand::y, 1000}}};
  const std::string path = directory.write("log", "1,1\n" + std::string(1'000'000, '7'));
  const auto source = follow(path, options);
  EXPECT_EQ(take(*source, 1), (Indices{1}));
  EXPECT_EQ(take(*source, 0), Indices{});
  EXPECT_EQ(source->skipped(), 0u);
  const std::string inside = source->position();
  append(path, "7,8\n2,1\n");
  EXPECT_EQ(take(*source, 1), (Indices{2}));
  EXPECT_EQ(source->skipped(), 1u);
  EXPECT_TRUE(source->first_skipped().starts_with(path + ":2: ")) << source->first_skipped();
  // The end of the long line is no line for a later reader either.
  const auto later = follow(path, options, inside);
  EXPECT_EQ(take(*later, 1), (Indices{2}));
  EXPECT_EQ(later->skipped(), 1u);
  append(path, "3,1\n");
  EXPECT_EQ(take(*follow(path, options, source->position()), 1), (Indices{3}));
  const auto strict = follow(path, {.shapes = options.shapes}, inside);
  EventBatch batch;
  expect_error([&] { read_on(*strict); }, {path + ":2: "});
  // A comment may be long.
  append(path, "# " + std::string(1'000'000, 'x'));
  const auto last = follow(path, {.shapes = options.shapes}, source->position());
  EXPECT_EQ(take(*last, 1), (Indices{3}));
  EXPECT_EQ(take(*last, 0), Indices{});
  append(path, "\n4,1\n");
  EXPECT_EQ(take(*last, 1), (Indices{4}));
  EXPECT_EQ(last->skipped(), 0u);
}

TEST(GrowingFiles, GoOnWithTheNewFileAfterARotation) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log", "1,1\n");
  const auto source = follow(path, {.on_error = OnError::skip});
  EXPECT_EQ(take(*source, 1), (Indices{1}));
  std::filesystem::rename(path, path + ".1");
  EXPECT_EQ(take(*source, 0), Indices{});  // the name is missing
  directory.write("log", "");
  // The writer still has the old file open.
  append(path + ".1", "2,1\n");
  EXPECT_EQ(take(*source, 1), (Indices{2}));
  append(path + ".1", "3,1\n4,");
  append(path, "5,1\n");
  EXPECT_EQ(take(*source, 2), (Indices{3, 5}));
  EXPECT_EQ(source->skipped(), 1u);
  EXPECT_TRUE(source->first_skipped().starts_with(path + ":4: ")) << source->first_skipped();
  const auto notices = source->take_notices();
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_NE(notices[0].find("was replaced after"), std::string::npos) << notices[0];
  append(path, "6,1\n");
  EXPECT_EQ(take(*source, 1), (Indices{6}));
}

TEST(GrowingFiles, BeginAnewWhenTheyAreTruncated) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log", "1,1\n2,1\n3,1\n4,");
  const auto source = follow(path);
  EXPECT_EQ(take(*source, 3), (Indices{1, 2, 3}));
  std::filesystem::resize_file(path, 0);
  EXPECT_TRUE(holds_at_last(*source, [&] { return source->skipped() == 1; }));
  EXPECT_NE(source->first_skipped().find("byte 14: the file was truncated here"), std::string::npos)
      << source->first_skipped();
  auto notices = source->take_notices();
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_NE(notices[0].find("was truncated in place after 14 bytes"), std::string::npos) << notices[0];
  append(path, "5,1\n");
  EXPECT_EQ(take(*source, 1), (Indices{5}));
  // Also when it has become longer again before anybody looked.
  std::filesystem::resize_file(path, 0);
  append(path, "6,1\n7,1\n8,1\n");
  EXPECT_EQ(take(*source, 3), (Indices{6, 7, 8}));
  EXPECT_EQ(source->skipped(), 1u);
  EXPECT_EQ(source->take_notices().size(), 1u);
}

TEST(GrowingFiles, GoOnAtAPosition) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log", "1,1\n2,1\n3,1\n");
  std::string position;
  {
    const auto source = follow(path);
    EventBatch batch;
    ASSERT_TRUE(source->next(batch, 2, 1s));
    EXPECT_EQ(batch.i, (Indices{1, 2}));
    position = source->position();
  }
  EXPECT_EQ(take(*follow(path, {}, position), 1), (Indices{3}));
  // Rotated while nobody read it.
  append(path, "4,1\n");
  std::filesystem::rename(path, path + ".1");
  directory.write("log", "5,1\n");
  EXPECT_EQ(take(*follow(path, {}, position), 3), (Indices{3, 4, 5}));
  // Not there at all for now.
  std::filesystem::rename(path, path + ".0");
  EXPECT_EQ(take(*follow(path, {}, position), 2), (Indices{3, 4}));
  std::filesystem::rename(path + ".0", path);
  // Gone.
  std::filesystem::remove(path + ".1");
  expect_error([&] { (void)follow(path, {}, position); }, {path, "up to byte 8", "is not there any more"});
  // Truncated.
  position = [&] {
    const auto source = follow(path);
    EXPECT_EQ(take(*source, 1), (Indices{5}));
    return source->position();
  }();
  std::filesystem::resize_file(path, 0);
  append(path, "6,1\n7,1\n");
  const auto source = follow(path, {}, position);
  EXPECT_EQ(take(*source, 2), (Indices{6, 7}));
  EXPECT_EQ(source->take_notices().size(), 1u);
}

TEST(GrowingFiles, RefuseWhatDoesNotGrowByLines) {
  const TemporaryDirectory directory;
  expect_error([&] { (void)follow(directory.write("e.gz", gzip("1,2\n3,4\n"))); },
               {"e.gz", "gzip", "only lines of text"});
  write_events(directory / "e.weir", {{Operand::y, 1, 0, 1}}, EventFormat::binary);
  expect_error([&] { (void)follow(directory / "e.weir"); }, {"e.weir", "binary", "only lines of text"});
  expect_error([&] { (void)follow(directory.write("m.mtx", "%%MatrixMarket matrix coordinate real general\n")); },
               {"m.mtx", "Matrix Market"});
  expect_error([&] { (void)follow(directory / "missing"); }, {"missing"});
  // Not known before something is in it.
  const std::string path = directory.write("late", "");
  const auto source = follow(path);
  EXPECT_EQ(take(*source, 0), Indices{});
  append(path, gzip("1,2\n3,4\n"));
  EventBatch batch;
  expect_error([&] { read_on(*source); }, {path, "gzip"});
  const std::string text = directory.write("log", "1,1\n");
  for (const char* bad :
       {"{", "[]", "{}", R"({"file":{}})", R"({"file":{"inode":"x","offset":1,"head":0,"head_hash":0}})"})
    expect_error([&] { (void)follow(text, {}, bad); }, {text, "position is not one of this source"});
}

TEST(GrowingFiles, EndWhenTheirCallerStops) {
  const TemporaryDirectory directory;
  std::stop_source stop;
  const auto source = follow(directory.write("log", ""), {.stop = stop.get_token()});
  std::jthread other([&] { stop.request_stop(); });
  EventBatch batch;
  EXPECT_THROW((void)source->next(batch, 10, 60s), Cancelled);
  EXPECT_THROW((void)source->next(batch, 10, 0ms), Cancelled);
}

/// Somebody writes, in pieces that end anywhere, and rotates the log; readers come and go at random, and take up the position
/// of the one before.
TEST(GrowingFiles, DeliverEveryEventOnceAcrossRestarts) {
  std::size_t files = 0;
  for (unsigned seed = 0; seed < 5; ++seed) {
    const TemporaryDirectory directory;
    const std::string path = directory.write("log", "");
    constexpr std::uint64_t all = 20'000;
    std::atomic<std::uint64_t> read = 0;
    std::jthread writer([&] {
      std::mt19937 random(seed);
      std::string rest;
      int rotations = 0;
      std::ofstream out(path, std::ios::binary | std::ios::app);
      for (std::uint64_t t = 0; t < all; ++t) {
        rest += fmt::format("{},1\n", t);
        if (random() % 10 != 0) continue;
        const std::size_t length = random() % (rest.size() + 1);
        out << rest.substr(0, length) << std::flush;
        rest.erase(0, length);
        if (random() % 500 != 0) continue;
        out << rest << std::flush;
        rest.clear();
        // A second rotation before the first was seen would hide a file from everybody.
        const auto deadline = std::chrono::steady_clock::now() + patience;
        while (read < t + 1 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
        out.close();
        std::filesystem::rename(path, fmt::format("{}.{}", path, ++rotations));
        out.open(path, std::ios::binary | std::ios::app);
      }
      out << rest;
    });
    std::mt19937 random(seed + 1000);
    Indices indices;
    std::string position;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (indices.size() < all && std::chrono::steady_clock::now() < deadline) {
      const auto source = follow(path, {}, position);
      for (std::size_t calls = random() % 20; calls > 0; --calls) {
        EventBatch batch;
        ASSERT_TRUE(source->next(batch, 1 + random() % 300, std::chrono::milliseconds(random() % 3)));
        indices.insert(indices.end(), batch.i.begin(), batch.i.end());
        read = indices.size();
      }
      position = source->position();
      EXPECT_EQ(source->skipped(), 0u) << source->first_skipped();
    }
    EXPECT_EQ(indices, range(0, all)) << seed;
    files += directory.entries();
  }
  EXPECT_GE(files, 10u) << "hardly anything was rotated";
}

}  // namespace
}  // namespace weir
