#include "metrics.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <string>

#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir::app {
namespace {

using testing_support::contents_of;
using testing_support::message_of;

Metrics job() {
  return {.ranks = {{.updates = 1000, .skipped = 3, .rate = 250.5}, {.updates = 500, .skipped = 0, .rate = 100}},
          .sources = {{.name = "kafka://broker/a \"b\"\\\n", .unit = "events", .lag = 7},
                      {.name = "pipe", .unit = "bytes", .lag = {}},
                      {.name = "same", .unit = "files", .lag = 1},
                      {.name = "same", .unit = "files", .lag = 2},
                      {.name = "caf\xe9", .unit = "bytes", .lag = std::numeric_limits<double>::infinity()}},
          .epoch = 18446744073709551615U,
          .epoch_seconds = 4.5,
          .merge_seconds = 0.125,
          .reduced_bytes = 1048576,
          .failed_lanes = 2,
          .checkpoint_time = 1000.0,
          .checkpoint_bytes = 4096};
}

TEST(Metrics, EachHasAValueForTheJobAndForEachRank) {
  const std::string text = to_prometheus(job(), 1012.5);
  for (const std::string_view line :
       {"weir_up 1\n",
        "weir_ranks 2\n",
        "weir_updates_total 1500\n",
        "weir_skipped_total 3\n",
        "weir_update_rate 350.5\n",
        "weir_rank_updates_total{rank=\"0\"} 1000\n",
        "weir_rank_updates_total{rank=\"1\"} 500\n",
        "weir_rank_skipped_total{rank=\"0\"} 3\n",
        "weir_rank_update_rate{rank=\"1\"} 100\n",
        "weir_source_lag{source=\"kafka://broker/a \\\"b\\\"\\\\\\n\",unit=\"events\"} 7\n",
        "weir_source_lag{source=\"same\",unit=\"files\"} 3\n",
        "weir_source_lag{source=\"caf\xef\xbf\xbd\",unit=\"bytes\"} +Inf\n",
        "weir_epoch 18446744073709551615\n",
        "weir_epoch_seconds 4.5\n",
        "weir_merge_seconds_total 0.125\n",
        "weir_reduced_bytes_total 1048576\n",
        "weir_failed_lanes 2\n",
        "weir_checkpoint_age_seconds 12.5\n",
        "weir_checkpoint_bytes 4096\n",
        "# TYPE weir_updates_total counter\n",
        "# TYPE weir_source_lag gauge\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  EXPECT_EQ(text.find("source=\"pipe\""), std::string::npos) << "a lag that is not known";
}

TEST(Metrics, WhatThereIsNotYetIsLeftOut) {
  const std::string text = to_prometheus({}, 1);
  EXPECT_EQ(text.find("checkpoint"), std::string::npos);
  EXPECT_EQ(text.find("weir_source_lag"), std::string::npos);
  EXPECT_NE(text.find("weir_up 1\n"), std::string::npos);
}

/// What Prometheus and its linter want of a page.
void expect_well_formed(const std::string& text) {
  std::istringstream lines(text);
  std::set<std::string> families, series;
  std::string family, kind;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string first, word;
    words >> first >> word;
    if (first == "#") {
      std::string name;
      words >> name;
      if (word == "HELP") {
        EXPECT_TRUE(families.insert(name).second) << "a family that comes twice: " << line;
      }
      if (word == "TYPE") {
        EXPECT_TRUE(families.contains(name)) << "no HELP before " << line;
        family = name;
        words >> kind;
      }
      continue;
    }
    const std::size_t end = line.find_first_of("{ ");
    EXPECT_EQ(line.substr(0, end), family) << "not below its TYPE: " << line;
    EXPECT_EQ(kind == "counter", family.ends_with("_total")) << line;
    EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << "a series that comes twice: " << line;
  }
  EXPECT_GT(series.size(), 5U);
}

TEST(Metrics, ThePageIsWellFormed) {
  const testing_support::TemporaryDirectory folder;
  const bool has_promtool = std::system("command -v promtool >/dev/null 2>&1") == 0;
  for (const std::string& text : {to_prometheus(job(), 1012.5), to_prometheus({}, 1)}) {
    expect_well_formed(text);
    // The better judge, where it is installed (package prometheus).
    if (!has_promtool) continue;
    const std::string path = folder / "metrics";
    replace_file(path, text);
    const std::string command = "promtool check metrics <" + path + " >" + path + ".out 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << text;
    EXPECT_EQ(contents_of(path + ".out"), "");
  }
}

TEST(Metrics, AFileIsReplacedWhole) {
  const testing_support::TemporaryDirectory folder;
  const std::string path = (folder / "metrics.prom");
  replace_file(path, "one\n");
  std::ifstream before(path);
  // Of a process that was killed while it wrote.
  std::ofstream(path + ".weir-tmp") << "half";
  replace_file(path, "two\n");
  EXPECT_EQ(contents_of(path), "two\n");
  std::string line;
  std::getline(before, line);
  EXPECT_EQ(line, "one") << "who has it open still reads the one before";
  EXPECT_FALSE(std::filesystem::exists(path + ".weir-tmp"));
}

TEST(Metrics, AFileThatCannotBeReplacedIsNamed) {
  const testing_support::TemporaryDirectory folder;
  const auto message = [](const std::string& path) {
    return message_of<InputError>([&] { replace_file(path, "text"); });
  };
  EXPECT_NE(message((folder / "no/such/folder")).find("no/such/folder: No such file"), std::string::npos);
  EXPECT_NE(message("/dev/null").find("/dev/null: not a regular file"), std::string::npos);
  EXPECT_NE(message("/dev/full").find("not a regular file"), std::string::npos);
}

}  // namespace
}  // namespace weir::app
