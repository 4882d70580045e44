#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/io/file.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;

TEST(GrowingFile, EachWriteIsThere) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("out", "of another day\n");
  GrowingFile file(path, false);
  EXPECT_TRUE(file.is_empty());
  EXPECT_EQ(contents_of(path), "");
  file.write("one\n");
  EXPECT_EQ(contents_of(path), "one\n");
  EXPECT_FALSE(file.is_empty());
  file.write("two\n");
  EXPECT_EQ(contents_of(path), "one\ntwo\n");
}

TEST(GrowingFile, GoesOnBehindTheLastWholeLine) {
  const TemporaryDirectory directory;
  const std::string long_line(200000, 'x');  // longer than what is looked at in one go
  for (const auto& [before, kept] : {std::pair<std::string, std::string>{"", ""},
                                     {"one\n", "one\n"},
                                     {"one\ntw", "one\n"},
                                     {"one", ""},
                                     {"one\n" + long_line, "one\n"},
                                     {long_line + "\n" + long_line + "\n", long_line + "\n" + long_line + "\n"}}) {
    const std::string path = directory.write("out", before);
    GrowingFile file(path, true);
    EXPECT_EQ(file.is_empty(), kept.empty());
    EXPECT_EQ(contents_of(path), kept);
    file.write("more\n");
    EXPECT_EQ(contents_of(path), kept + "more\n");
  }
  const std::string path = directory / "new";
  EXPECT_TRUE(GrowingFile(path, true).is_empty());
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(GrowingFile, NamesWhatCannotBeWritten) {
  const TemporaryDirectory directory;
  for (const bool goes_on : {false, true}) {
    expect_error([&] { GrowingFile(directory / "missing/out", goes_on); }, {"missing/out", "No such file"});
    expect_error([&] { GrowingFile(directory.path().string(), goes_on); }, {"directory"});
    expect_error([&] { GrowingFile("/dev/full", goes_on).write("some bytes"); }, {"/dev/full", "No space left"});
    GrowingFile("/dev/null", goes_on).write("gone\n");
  }
}

}  // namespace
}  // namespace weir
