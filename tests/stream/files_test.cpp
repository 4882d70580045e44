#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
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

TEST(EventFiles, OnePartOfManyMayBeEmpty) {
  const TemporaryDirectory directory;
  const std::string full = directory.write("part-1", "1,2\n");
  const std::string shape_alone = "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 1), }";
  for (const std::string& content : {std::string(), std::string("# SUCCESS\n\n"), gzip(""), gzip("% none\n"),
                                     std::string("%%MatrixMarket matrix coordinate real general\n4 1 0\n"),
                                     "\x93NUMPY\x01" + std::string(1, '\0') + static_cast<char>(shape_alone.size()) +
                                         std::string(1, '\0') + shape_alone}) {
    const std::string empty = directory.write("part-0", content), other = directory.write("part-2", content);
    for (const auto& paths :
         {std::vector{empty, full, other}, std::vector{full, empty}, std::vector{empty, other, full}}) {
      for (std::uint32_t slices = 1; slices <= 4; ++slices) {
        std::vector<Event> all;
        for (std::uint32_t slice = 0; slice < slices; ++slice) {
          EventReader reader(paths, {.slice = slice, .slice_count = slices});
          (void)reader.unread();
          for (const Event& event : drain(reader)) all.push_back(event);
        }
        EXPECT_EQ(all, (std::vector<Event>{{Operand::y, 1, 0, 2}})) << content;
      }
    }
    // But not all of them.
    for (const auto& paths : {std::vector{empty, other}, std::vector{empty}}) {
      for (std::uint32_t slices = 1; slices <= 3; ++slices) {
        const std::string message = input_error([&] {
          for (std::uint32_t slice = 0; slice < slices; ++slice) {
            EventReader reader(paths, {.slice = slice, .slice_count = slices});
            (void)drain(reader);
          }
        });
        EXPECT_NE(message.find("contains no events"), std::string::npos) << message;
      }
    }
  }
}

TEST(EventFiles, ZerosBehindGzipArePadding) {
  const TemporaryDirectory directory;
  for (const std::size_t zeros : {1u, 511u, 1000000u}) {
    for (const std::string& bytes : {gzip(text), gzip("1,2\n3,") + gzip("4\n5,6\n")}) {
      const std::string padding(zeros, '\0');
      EXPECT_EQ(read_file(directory.write("e.gz", bytes + padding)), events);
      const std::string path = directory.write("f.gz", bytes + padding + gzip("7,8\n"));
      EXPECT_EQ(
          input_error([&] { (void)read_file(path); }),
          fmt::format("{}: byte {} of the compressed data: not valid gzip (zeros, and then something else, behind "
                      "its end)",
                      path, bytes.size() + zeros));
    }
  }
  EXPECT_NE(input_error([&] { (void)read_file(directory.write("g.gz", gzip(text) + "more")); }), "");
}

TEST(EventFiles, OtherCompressionsAreNamedWithTheirCommands) {
  const TemporaryDirectory directory;
  const std::string rest(100, 'x');
  for (const auto& [magic, name, command] :
       std::vector<std::array<std::string, 3>>{{"BZh91AY&SY", "bzip2", "bzip2 -dc"},
                                               {std::string("\xFD"
                                                            "7zXZ\0",
                                                            6),
                                                "xz", "xz -dc"},
                                               {std::string("\x5D\0\0", 3), "lzma", "xz -dc --format=lzma"},
                                               {"LZIP\x01", "lzip", "lzip -dc"},
                                               {"\x04\x22\x4D\x18", "lz4", "lz4 -dc"},
                                               {"\x02\x21\x4C\x18", "lz4", "lz4 -dc"},
                                               {std::string("\x89LZO\0", 5), "lzop", "lzop -dc"},
                                               {"\x1F\x9D", "compress", "gzip -dc"},
                                               {std::string("\xFF\x06\0\0sNaPpY", 10), "snappy", "snzip -dc"},
                                               {"7z\xBC\xAF\x27\x1C", "7-Zip", "7z x -so"}}) {
    const std::string path = directory.write("e.csv", magic + rest);
    const std::string expected = fmt::format(
        "compressed by {}, which this weir does not read: expected it decompressed, as by "
        "{}",
        name, command);
    EXPECT_EQ(input_error([&] { (void)read_file(path); }), path + ": " + expected + " " + path + " | weir ... -");
    EXPECT_EQ(input_error([&] { (void)stream_format(path); }), path + ": " + expected + " " + path + " | weir ... -");
    // A pipe is not waited for where its first byte may be that of a short line.
    if (name != "7-Zip") {
      EXPECT_EQ((StandardInput(path), input_error([&] { (void)read_file("-"); })),
                "standard input: " + expected + " | weir ... -");
    }
    const std::string twice = directory.write("e.gz", gzip(magic + rest));
    EXPECT_EQ(
        input_error([&] { (void)read_file(twice); }),
        fmt::format("{0}: compressed twice, by gzip and in that {1}: expected the content after one decompression, "
                    "as by gzip -dc {0} >FILE",
                    twice, name));
  }
}

}  // namespace
}  // namespace weir
