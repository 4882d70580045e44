#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "stream_testing.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

/// Standard input replaced by a file while it lives.
class StandardInput {
 public:
  explicit StandardInput(const std::string& path) : saved_(::dup(STDIN_FILENO)) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    ::dup2(::fileno(file), STDIN_FILENO);
    std::fclose(file);
  }
  ~StandardInput() {
    ::dup2(saved_, STDIN_FILENO);
    ::close(saved_);
  }
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;

 private:
  int saved_;
};

const std::string text = "1,2\n# comment\n3,4\n5,6\n";
const std::vector<Event> events = {{Operand::y, 1, 0, 2}, {Operand::y, 3, 0, 4}, {Operand::y, 5, 0, 6}};

TEST(EventFiles, FormatsAreToldByContent) {
  const TemporaryDirectory directory;
  write_events(directory / "binary", events, EventFormat::binary);
  const std::string binary = contents_of(directory / "binary");
  const std::string matrix = "%%MatrixMarket matrix coordinate integer general\n10 1 3\n2 1 2\n4 1 4\n6 1 6\n";
  for (const auto& [content, format] : {std::pair{text, StreamFormat::text}, std::pair{binary, StreamFormat::binary},
                                        std::pair{matrix, StreamFormat::matrix_market}}) {
    for (const char* name : {"a.csv", "a.weird", "a.gz", "a.mtx"}) {
      const std::string path = directory.write(name, content);
      EXPECT_EQ(stream_format(path), format);
      EXPECT_EQ(read_file(path), events);
      EXPECT_EQ((StandardInput(path), read_file("-")), events);
      directory.write(name, gzip(content));
      EXPECT_EQ(stream_format(path), StreamFormat::gzip);
      EXPECT_EQ(read_file(path), events);
      EXPECT_EQ((StandardInput(path), read_file("-")), events);
    }
  }
}

TEST(EventFiles, CompressedFilesBelongToOneSlice) {
  const TemporaryDirectory directory;
  const std::vector<std::string> paths = {directory.write("0.gz", gzip("0,1\n")),
                                          directory.write("1.gz", gzip("1,1\n")),
                                          directory.write("2.gz", gzip("2,1\n")), directory.write("3.csv", "3,1\n")};
  std::vector<Event> all;
  for (std::uint32_t slice = 0; slice < 2; ++slice) {
    EventReader reader(paths, {.slice = slice, .slice_count = 2});
    const auto part = drain(reader);
    EXPECT_EQ(part.at(0).i, slice);
    all.insert(all.end(), part.begin(), part.end());
  }
  EXPECT_EQ(all.size(), 4u);
}

TEST(EventFiles, SeveralGzipMembersAreOneFile) {
  const TemporaryDirectory directory;
  EXPECT_EQ(read_file(directory.write("e.gz", gzip("1,2\n3,") + gzip("4\n5,6\n"))), events);
}

TEST(EventFiles, DamagedGzipIsFound) {
  const TemporaryDirectory directory;
  const std::string bytes = gzip(text);
  for (const OnError on_error : {OnError::stop, OnError::skip}) {
    const ReadOptions options{.on_error = on_error};
    for (std::size_t length = 1; length < bytes.size(); ++length) {
      const std::string path = directory.write("cut.gz", bytes.substr(0, length));
      EXPECT_EQ(
          input_error([&] { (void)read_file(path, options); }),
          fmt::format(
              "{}: byte {} of the compressed data: the file ends in the middle of the compressed data; it is truncated",
              path, length));
    }
    // Byte 3 holds flags, 4 to 9 time and system, which change nothing.
    for (std::size_t at = 10; at < bytes.size(); ++at) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ 4);
      const std::string path = directory.write("flip.gz", damaged);
      // Some bits are mere padding; then nothing has changed.
      std::vector<Event> read;
      const std::string message = input_error([&] { read = read_file(path, options); });
      EXPECT_TRUE(!message.empty() || read == events) << at;
    }
  }
  EXPECT_NE(input_error([&] { (void)read_file(directory.write("more.gz", bytes + "more")); }).find("not valid gzip"),
            std::string::npos);
  EXPECT_NE(input_error([&] { (void)read_file(directory.write("twice.gz", gzip(bytes))); }).find("compressed twice"),
            std::string::npos);
  const std::string bad = directory.write("bad.gz", gzip("1,2\nx\n"));
  EXPECT_TRUE(input_error([&] { (void)read_file(bad); }).starts_with(bad + ":2: "));
  const std::string none = directory.write("none.gz", gzip("# nothing\n"));
  EXPECT_EQ(input_error([&] { (void)read_file(none); }), none + ": contains no events");
}

TEST(EventFiles, WhatCannotBeReadIsNamedAtOnce) {
  const TemporaryDirectory directory;
  const auto message = [](const std::string& path) { return input_error([&] { EventReader({path}, {}); }); };
  EXPECT_EQ(message(directory / "missing"), directory / "missing" + ": cannot open: No such file or directory");
  EXPECT_EQ(message(directory / ""), directory / "" + ": cannot open: Is a directory");
  const std::string locked = directory.write("locked", text);
  ::chmod(locked.c_str(), 0);
  ::chmod((directory / "").c_str(), 0755);
  const uid_t user = ::geteuid();
  ASSERT_EQ(::seteuid(user == 0 ? 65534 : user), 0);
  const std::string reason = message(locked);
  ASSERT_EQ(::seteuid(user), 0);
  EXPECT_EQ(reason, locked + ": cannot open: Permission denied");
  EXPECT_THROW(EventReader({"-", "-"}, {}), UsageError);
  EXPECT_THROW(EventReader({locked}, {.slice = 2, .slice_count = 2}), UsageError);
  EXPECT_THROW(EventReader({locked}, {.batch = 0}), UsageError);
  const std::string empty = directory.write("empty.csv", "");
  EXPECT_EQ(input_error([&] { (void)read_file(empty); }), empty + ": contains no events");
}

TEST(EventFiles, ALiveFeedIsDeliveredAsItComes) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EventReader reader({fmt::format("/dev/fd/{}", ends[0])}, {});
  const std::string first = "1,2\n# a comment\n3,4\n5,";
  ASSERT_EQ(::write(ends[1], first.data(), first.size()), static_cast<ssize_t>(first.size()));
  EventBatch batch;
  std::vector<Event> read;
  while (read.size() < 2) {
    ASSERT_TRUE(reader.next(batch));
    for (std::size_t t = 0; t < batch.size(); ++t) read.push_back(batch[t]);
  }
  EXPECT_EQ(read, std::vector(events.begin(), events.begin() + 2));
  ASSERT_EQ(::write(ends[1], "6\n", 2), 2);
  ASSERT_TRUE(reader.next(batch));
  EXPECT_EQ(batch[0], events[2]);
  ::close(ends[1]);
  EXPECT_FALSE(reader.next(batch));
  ::close(ends[0]);
}

}  // namespace
}  // namespace weir
