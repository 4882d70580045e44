#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "stream_testing.hpp"
#include "support/message_of.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

const std::string text = "1,2\n# comment\n3,4\n5,6\n";
const std::vector<Event> events = {{Operand::y, 1, 0, 2}, {Operand::y, 3, 0, 4}, {Operand::y, 5, 0, 6}};

void append_to(const std::string& path, std::string_view more) {
  std::ofstream(path, std::ios::binary | std::ios::app).write(more.data(), static_cast<std::streamsize>(more.size()));
}

ReadOptions agreed_on(const std::vector<std::string>& paths) {
  ReadOptions options;
  for (const std::string& path : paths) options.sources.push_back(look_at(path));
  return options;
}

TEST(Sources, AreLookedAt) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("e.csv", text);
  const SourceInfo info = look_at(path);
  EXPECT_EQ(info.path, path);
  EXPECT_EQ(info.size, text.size());
  EXPECT_FALSE(info.pipe);
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(info.device, status.st_dev);
  EXPECT_EQ(info.inode, status.st_ino);
  EXPECT_EQ(look_at(path), info);
  // A copy is as good, but for what numbers it.
  SourceInfo copy = look_at(directory.write("copy.csv", text));
  EXPECT_NE(copy.inode, info.inode);
  EXPECT_EQ(copy.fingerprint, info.fingerprint);
  EXPECT_NE(look_at(directory.write("other.csv", "2" + text.substr(1))).fingerprint, info.fingerprint);
  EXPECT_EQ(look_at(directory.write("empty.csv", "")).size, 0u);

  const std::string pipe = directory / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(look_at(pipe).pipe);  // does not wait
  EXPECT_TRUE(look_at("-").pipe);
  EXPECT_EQ(input_error([&] { (void)look_at(directory / "missing"); }),
            directory / "missing" + ": cannot open: No such file or directory");
  EXPECT_EQ(input_error([&] { (void)look_at(directory / ""); }), directory / "" + ": cannot open: Is a directory");
}

TEST(Sources, EndsOfALargeFileTellItFromOthers) {
  const TemporaryDirectory directory;
  const std::string large(100000, '1');
  const SourceInfo info = look_at(directory.write("large", large));
  for (const std::size_t at : {std::size_t{0}, std::size_t{4095}, large.size() - 4096, large.size() - 1}) {
    std::string other = large;
    other[at] = '2';
    EXPECT_NE(look_at(directory.write("other", other)).fingerprint, info.fingerprint) << at;
  }
}

TEST(Sources, FilesThatAreAsTheyWereAreRead) {
  const TemporaryDirectory directory;
  const std::vector<std::string> paths = {directory.write("a.csv", text), directory.write("b.gz", gzip(text))};
  ReadOptions options = agreed_on(paths);
  options.slice_count = 2;
  std::size_t count = 0;
  for (options.slice = 0; options.slice < 2; ++options.slice) {
    EventReader reader(paths, options);
    count += drain(reader).size();
  }
  EXPECT_EQ(count, 2 * events.size());
  // Another machine numbers files in its own way.
  options.slice = 0;
  options.sources[0].inode += 1;
  EXPECT_NO_THROW(EventReader(paths, options));
}

TEST(Sources, FilesThatHaveChangedAreRefusedWithBothFigures) {
  const TemporaryDirectory directory;
  for (const std::string& content : {text, gzip(text)}) {
    const std::string path = directory.write("log.csv", content);
    const ReadOptions options = agreed_on({path});
    const auto open = [&] { EventReader({path}, options); };
    append_to(path, "7,8\n");
    expect_error(open, {path, fmt::format("{} bytes here, {} where it was looked at first", content.size() + 4,
                                          content.size())});
    directory.write("log.csv", content.substr(0, 10));
    expect_error(open, {path, fmt::format("10 bytes here, {} where", content.size())});
    std::string other = content;
    other.back() = static_cast<char>(other.back() ^ 1);
    directory.write("log.csv", other);
    expect_error(open, {path, fmt::format("the {} bytes here are not those", content.size()), "fingerprints"});
    directory.write("log.csv", content);
    EXPECT_NO_THROW(open());
  }
  const std::string path = directory.write("log.csv", text);
  ReadOptions options = agreed_on({path});
  options.sources[0].pipe = true;
  expect_error([&] { EventReader({path}, options); }, {path, "a file here, a pipe where"});
  expect_error<UsageError>([&] { EventReader({path, path}, options); }, {"others than those to be read"});
  options.sources[0].path = "another";
  expect_error<UsageError>([&] { EventReader({path}, options); }, {"others than those to be read"});
}

TEST(Sources, ExactlyTheAgreedBytesAreRead) {
  const TemporaryDirectory directory;
  const std::string zipped = gzip(text);
  for (const std::string& content : {text, zipped}) {
    const std::string path = directory.write("log.csv", content);
    EventReader agreed({path}, agreed_on({path}));
    append_to(path, content == zipped ? gzip("7,8\n") : "7,8\n");
    EXPECT_EQ(drain(agreed), events);  // grew before it was opened
  }
  const std::string path = directory.write("log.csv", text);
  EventReader alone({path}, {.batch = 1});
  EventBatch batch;
  ASSERT_TRUE(alone.next(batch));
  append_to(path, "7,8\n");
  EXPECT_EQ(drain(alone).size(), 2u);  // grew while it was read
}

TEST(Sources, FilesThatChangeBeforeTheirTurnAreFound) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("log.csv", text);
  const ReadOptions options = agreed_on({path});
  EventReader shorter({path}, options);
  std::filesystem::resize_file(path, 8);
  expect_error([&] { (void)drain(shorter); }, {path, fmt::format("had {} bytes", text.size()), "has 8 now"});

  directory.write("log.csv", text);
  EventReader rotated({path}, options);
  std::filesystem::rename(path, directory / "log.csv.1");
  directory.write("log.csv", text);
  expect_error([&] { (void)drain(rotated); }, {path, "another file has taken the name"});

  EventReader piped({path}, agreed_on({path}));
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  expect_error([&] { (void)drain(piped); }, {path, "a pipe has taken the name"});
}

TEST(SkippedLines, TheFirstIsKept) {
  const TemporaryDirectory directory;
  std::string long_text;
  for (int line = 1; line <= 1000; ++line) long_text += line == 777 || line == 888 ? "5\n" : "1,1\n";
  const std::string good = directory.write("good.csv", text);
  const std::string bad = directory.write("bad.csv", long_text);
  const std::string reason = ":777: missing field: found 1, expected 2 as in i,delta or y,i,delta";
  for (const auto& [path, what] : {std::pair{bad, bad + reason}, std::pair{directory.write("bad.gz", gzip(long_text)),
                                                                           directory / "bad.gz" + reason}}) {
    for (std::uint32_t slices = 1; slices <= 5; ++slices) {
      std::uint64_t skipped = 0;
      std::vector<std::string> firsts;
      for (std::uint32_t slice = 0; slice < slices; ++slice) {
        EventReader reader(
            {good, path, good},
            {.slice = slice, .slice_count = slices, .on_error = OnError::skip, .shapes = {{Operand::y, 10, 1}}});
        EXPECT_EQ(reader.first_skipped(), "");
        (void)drain(reader);
        skipped += reader.skipped();
        if (reader.skipped() > 0) {
          firsts.push_back(reader.first_skipped());
        } else {
          EXPECT_EQ(reader.first_skipped(), "");
        }
      }
      EXPECT_EQ(skipped, 2u);
      ASSERT_FALSE(firsts.empty());
      EXPECT_EQ(firsts[0], what);
    }
  }
  // While the file is still being read.
  EventReader reader({bad}, {.on_error = OnError::skip, .shapes = {{Operand::y, 10, 1}}, .batch = 800});
  EventBatch batch;
  ASSERT_TRUE(reader.next(batch));
  EXPECT_EQ(reader.skipped(), 1u);
  EXPECT_EQ(reader.first_skipped(), bad + reason);
  EXPECT_EQ(drain(reader).size(), 198u);
}

TEST(SkippedLines, OfOtherFormats) {
  const ReadOptions options{.on_error = OnError::skip, .default_operand = Operand::A};
  const std::string matrix = "%%MatrixMarket matrix coordinate real general\n% note\n3 3 2\n1 1 1\n1 9 1\n";
  EventReader entries(as_bytes(matrix), "m.mtx", options);
  EXPECT_EQ(drain(entries).size(), 1u);
  EXPECT_TRUE(entries.first_skipped().starts_with("m.mtx:5: entry (1, 9) is outside")) << entries.first_skipped();

  std::string array("\x93NUMPY\x01\0", 8);
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)}\n";
  array += static_cast<char>(header.size());
  array += '\0';
  array += header + std::string("\0\0\x80\x3f\0\0\xc0\x7f", 8);  // 1, nan
  EventReader rows(as_bytes(array), "a.npy", options);
  Delivered delivered;
  delivered.add(rows);
  EXPECT_EQ(delivered.rows.size(), 1u);
  EXPECT_EQ(rows.first_skipped(),
            fmt::format("a.npy: expected finite entries, found nan at row 1, column 0 (byte {}), counted from 0",
                        array.size() - 4));
}

}  // namespace
}  // namespace weir
