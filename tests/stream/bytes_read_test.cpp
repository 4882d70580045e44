#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "io/npy_bytes.hpp"
#include "stream_testing.hpp"
#include "support/files.hpp"
#include "support/message_of.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

/// One file of each kind, of some thousand events of A.
std::vector<std::string> files_of_all_kinds(const TemporaryDirectory& directory) {
  std::string text;
  std::vector<Event> events;
  for (std::uint64_t k = 0; k < 4000; ++k) {
    text += fmt::format("A,{},{},1\n", k, k % 5);
    events.push_back({Operand::A, k, k % 5, 1});
  }
  write_events(directory / "e.bin", events, EventFormat::binary);
  return {directory.write("a.csv", text), directory.write("b.csv.gz", gzip(text)), directory / "e.bin",
          directory.write("c.npy", npy(dictionary("<f8", "False", "(4000, 5)"), raw(std::vector<double>(20000, 1))))};
}

ReadOptions of_a() {
  ReadOptions options;
  options.shapes = {{Operand::A, 4000, 5}};
  options.default_operand = Operand::A;
  options.batch = 100;
  options.row_values = 500;
  return options;
}

double size_of(const std::string& path) { return static_cast<double>(std::filesystem::file_size(path)); }

TEST(BytesRead, OfAllSlicesAreThoseOfTheFiles) {
  const TemporaryDirectory directory;
  const std::vector<std::string> paths = files_of_all_kinds(directory);
  double bytes = 0;
  for (const std::string& path : paths) bytes += size_of(path);
  for (const std::uint32_t slices : {1U, 3U}) {
    double all = 0;
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
      ReadOptions options = of_a();
      options.slice = slice;
      options.slice_count = slices;
      EventReader reader(paths, options);
      BytesRead last = *reader.bytes_read();
      EXPECT_EQ(last.read, 0U);
      all += static_cast<double>(last.all);
      for (EventBatch batch; reader.next(batch);) {
        const BytesRead now = *reader.bytes_read();
        EXPECT_EQ(now.all, last.all);
        EXPECT_GE(now.read, last.read);
        EXPECT_LE(now.read, now.all);
        last = now;
      }
      EXPECT_EQ(reader.bytes_read()->read, last.all);
    }
    // Headers and ends belong to nobody.
    EXPECT_NEAR(all, bytes, 0.01 * bytes);
  }
}

TEST(BytesRead, FollowWhatIsDelivered) {
  const TemporaryDirectory directory;
  for (const std::string& path : files_of_all_kinds(directory)) {
    EventReader reader({path}, of_a());
    std::uint64_t events = 0;
    for (EventBatch batch; reader.next(batch) && events < 2000;) events += batch.events();
    const BytesRead bytes = *reader.bytes_read();
    const double share = static_cast<double>(bytes.read) / static_cast<double>(bytes.all);
    // A compressed file of this size is read at once.
    if (path.ends_with(".gz")) continue;
    EXPECT_NEAR(share, static_cast<double>(events) / 4000, 0.06) << path;
  }
}

TEST(BytesRead, OfRangesAreTheirs) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("a.csv", "A,0,0,1\nA,1,0,1\nA,2,0,1\nA,3,0,1\n");
  ReadOptions options = of_a();
  options.ranges = {{{8, 16}, {24, 1000}}};
  EventReader reader({path}, options);
  EXPECT_EQ(reader.bytes_read()->all, 16U);
  EventBatch batch;
  ASSERT_TRUE(reader.next(batch, 1));
  EXPECT_EQ(reader.bytes_read()->read, 8U);
}

TEST(BytesRead, OfAPipeAreNotKnown) {
  const TemporaryDirectory directory;
  const std::string pipe = directory / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string text = directory.write("a.csv", "A,0,0,1\n");
  EXPECT_FALSE(EventReader({text, pipe}, of_a()).bytes_read());
  std::filesystem::remove(text);
  directory.write("b.csv", "A,0,0,1\n");
  EventReader reader({directory / "b.csv"}, of_a());
  std::filesystem::remove(directory / "b.csv");
  expect_error([&] { (void)reader.bytes_read(); }, {"b.csv", "No such file"});
}

}  // namespace
}  // namespace weir
