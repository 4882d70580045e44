#include "weir/io/file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <string>
#include <utility>

#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::contents_of;
using testing_support::expect_error;
using testing_support::TemporaryDirectory;

TEST(InputFile, ReadsAtAnyOffset) {
  const TemporaryDirectory directory;
  const InputFile file(directory.write("digits", "0123456789"));
  EXPECT_EQ(file.size(), 10U);
  std::array<char, 4> out{};
  file.read_exactly_at(3, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(std::string(out.begin(), out.end()), "3456");
  EXPECT_EQ(file.read_some_at(8, std::as_writable_bytes(std::span(out))), 2U);
  EXPECT_EQ(file.read_some_at(10, std::as_writable_bytes(std::span(out))), 0U);
  EXPECT_EQ(read_whole_file(file), "0123456789");
}

TEST(InputFile, SaysWhereTheFileEnded) {
  const TemporaryDirectory directory;
  const InputFile file(directory.write("digits", "0123456789"));
  std::array<char, 4> out{};
  expect_error([&] { file.read_exactly_at(8, std::as_writable_bytes(std::span(out))); },
               {"digits", "expected 4 bytes at byte 8", "ends at byte 10"});
}

TEST(InputFile, MovesOwnership) {
  const TemporaryDirectory directory;
  InputFile first(directory.write("a", "aaa"));
  InputFile second(directory.write("b", "bb"));
  second = std::move(first);
  EXPECT_EQ(read_whole_file(second), "aaa");
  const InputFile third(std::move(second));
  EXPECT_EQ(read_whole_file(third), "aaa");
}

TEST(InputFile, RefusesWhatIsNotARegularFile) {
  const TemporaryDirectory directory;
  expect_error([&] { InputFile(directory / "missing"); }, {"missing", "No such file"});
  expect_error([&] { InputFile(directory.path().string()); }, {"expected a regular file, found a directory"});
  expect_error([] { InputFile("/dev/null"); }, {"/dev/null", "found a device"});
  const std::string pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  expect_error([&] { InputFile{pipe}; }, {"found a pipe"});
}

TEST(OutputFile, IsKnownToBeCreatableBeforehand) {
  const TemporaryDirectory directory;
  require_creatable(directory / "new");
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  const std::string old = directory.write("old", "content");
  require_creatable(old);
  EXPECT_EQ(contents_of(old), "content");
  require_creatable("/dev/null");
  const std::string pipe = directory / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  require_creatable(pipe);  // does not wait for a reader
  expect_error([&] { require_creatable(directory.path().string()); }, {"is a directory"});
  expect_error([&] { require_creatable(directory / "missing/new"); }, {"missing/new", "No such file"});
}

TEST(OutputFile, AppearsOnlyWhenCommitted) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("out", "before");
  OutputFile file(path);
  file.write("hello ");
  file.write("world");
  EXPECT_EQ(contents_of(path), "before");
  EXPECT_EQ(directory.entries(), 2U);
  file.overwrite_at(0, std::as_bytes(std::span("J", 1)));
  file.commit();
  EXPECT_EQ(contents_of(path), "Jello world");
  EXPECT_EQ(directory.entries(), 1U);
}

TEST(OutputFile, LeavesNothingBehindWithoutCommit) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("out", "before");
  { OutputFile(path).write("after"); }
  EXPECT_EQ(contents_of(path), "before");
  EXPECT_EQ(directory.entries(), 1U);
}

TEST(OutputFile, TwoWritersOfOneNameDoNotMix) {
  const TemporaryDirectory directory;
  const std::string path = directory / "out";
  OutputFile first(path);
  OutputFile second(path);
  first.write("first");
  second.write("second");
  first.commit();
  EXPECT_EQ(contents_of(path), "first");
  second.commit();
  EXPECT_EQ(contents_of(path), "second");
}

TEST(OutputFile, FollowsASymbolicLink) {
  const TemporaryDirectory directory;
  const std::string target = directory.write("target", "before");
  const std::string link = directory / "link";
  std::filesystem::create_symlink("target", link);
  OutputFile file(link);
  file.write("after");
  file.commit();
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(contents_of(target), "after");
}

TEST(OutputFile, WritesToADeviceDirectly) {
  OutputFile file("/dev/null");
  file.write("gone");
  file.commit();
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(OutputFile, NamesTheFileThatCannotBeWritten) {
  const TemporaryDirectory directory;
  expect_error([&] { OutputFile(directory / "missing/out"); }, {"missing/out", "No such file"});
  expect_error([&] { OutputFile(directory.path().string()); }, {"directory"});
  expect_error([] { OutputFile("/dev/full").write("some bytes"); }, {"/dev/full", "No space left"});
}

TEST(OutputFile, RemovesTheTemporaryFileWhenTheRenameFails) {
  const TemporaryDirectory directory;
  const std::string path = directory / "out";
  {
    OutputFile file(path);
    file.write("bytes");
    std::filesystem::create_directory(path);  // somebody takes the name meanwhile
    expect_error([&] { file.commit(); }, {"out", "rename"});
  }
  EXPECT_EQ(directory.entries(), 1U);
}

}  // namespace
}  // namespace weir
