#include "weir/io/labels.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "support/files.hpp"
#include "support/message_of.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::gzip;
using testing_support::TemporaryDirectory;
using Names = std::map<std::uint64_t, std::string>;

TEST(Labels, FindsWantedLinesOnly) {
  const TemporaryDirectory directory;
  const Labels labels(directory.write("names", "zero\none\r\n\nthree with blanks\nlast"));
  EXPECT_EQ(labels.find(std::vector<std::uint64_t>{3, 1, 3}), (Names{{1, "one"}, {3, "three with blanks"}}));
  EXPECT_EQ(labels.find(std::vector<std::uint64_t>{2, 4, 5, std::uint64_t{1} << 62}), (Names{{2, ""}, {4, "last"}}));
  EXPECT_EQ(labels.find({}), Names{});
}

TEST(Labels, LinesThatCrossPieces) {
  const TemporaryDirectory directory;
  std::string text;
  for (int k = 0; k < 300000; ++k) text += "name" + std::to_string(k) + "\n";
  ASSERT_GT(text.size(), std::size_t{3} << 20);
  const Labels labels(directory.write("names", text));
  std::vector<std::uint64_t> all(300000);
  Names expected;
  for (std::uint64_t k = 0; k < all.size(); ++k) {
    all[k] = k;
    expected[k] = "name" + std::to_string(k);
  }
  EXPECT_EQ(labels.find(all), expected);
}

TEST(Labels, OverlongNamesAreCut) {
  const TemporaryDirectory directory;
  const Labels labels(directory.write("names", std::string(std::size_t{3} << 20, 'x') + "\nsecond\n"));
  EXPECT_EQ(labels.find(std::vector<std::uint64_t>{0, 1}), (Names{{0, std::string(1024, 'x')}, {1, "second"}}));
}

TEST(Labels, MayBeCompressed) {
  const TemporaryDirectory directory;
  std::string text;
  for (int k = 0; k < 200000; ++k) text += "name" + std::to_string(k) + "\n";
  ASSERT_GT(text.size(), std::size_t{1} << 20);
  // Content decides, not the name; members follow each other.
  const std::string compressed = gzip(text) + gzip("last\n");
  const Labels labels(directory.write("names.txt", compressed));
  EXPECT_EQ(labels.find(std::vector<std::uint64_t>{7, 199999, 200000, 200001}),
            (Names{{7, "name7"}, {199999, "name199999"}, {200000, "last"}}));

  const std::vector<std::uint64_t> last{199999};
  const Labels cut(directory.write("cut.gz", std::string_view(compressed).substr(0, 1000)));
  expect_error([&] { std::ignore = cut.find(last); }, {"cut.gz", "byte 1000 of the compressed data", "truncated"});
  const Labels twice(directory.write("twice.gz", gzip(gzip("one\n"))));
  expect_error([&] { std::ignore = twice.find(last); }, {"twice.gz", "compressed twice"});
}

TEST(Labels, EmptyAndMissingFiles) {
  const TemporaryDirectory directory;
  EXPECT_EQ(Labels(directory.write("empty", "")).find(std::vector<std::uint64_t>{0}), Names{});
  expect_error([&] { Labels(directory / "none"); }, {"none", "No such file"});
}

TEST(Labels, AreCheckedToTheirEnd) {
  const TemporaryDirectory directory;
  EXPECT_EQ(Labels(directory.write("empty", "")).check(), 0u);
  EXPECT_EQ(Labels(directory.write("names", "zero\n\ntwo\n")).check(), 3u);
  EXPECT_EQ(Labels(directory.write("names", "zero\none\r\ntwo")).check(), 3u);
  std::string text;
  for (int k = 0; k < 300000; ++k) text += "name" + std::to_string(k) + "\n";
  EXPECT_EQ(Labels(directory.write("names", text)).check(), 300000u);
  const std::string compressed = gzip(text);
  EXPECT_EQ(Labels(directory.write("names.gz", compressed)).check(), 300000u);
  // What find() does not come to.
  const Labels cut(directory.write("cut.gz", std::string_view(compressed).substr(0, compressed.size() - 4)));
  EXPECT_EQ(cut.find(std::vector<std::uint64_t>{1}), (Names{{1, "name1"}}));
  expect_error([&] { std::ignore = cut.check(); }, {"cut.gz", "truncated"});
}

}  // namespace
}  // namespace weir
