#include "weir/io/report.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "io/temporary_directory.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using nlohmann::json;
using testing::expect_error;

RunReport run() {
  RunReport report;
  report.model = "product";
  report.shape = {50803};
  report.ranks = 4;
  report.updates = 387564;
  report.seed = 0xFFFF'FFFF'FFFF'FFFF;
  report.sketch = SketchConfig();
  report.sketch->dimension = 50803;
  report.seconds = {0.5, 0.001, 2};
  return report;
}

SampleReport sample() {
  SampleReport report;
  report.run = run();
  report.result.norm = 26659.25;
  report.result.draws = {{1, 7, 21841.5, 0.671, std::nullopt}, {3, (std::uint64_t{1} << 63) - 1, -12, 0.0004, 0.25}};
  report.result.failed = {
      {2, FailReason::below_threshold}, {4, FailReason::below_threshold}, {5, FailReason::no_candidate}};
  report.labels = {{7, "libc6"}};
  return report;
}

/// The longest line, in bytes.
std::size_t widest(const std::string& text) {
  std::istringstream stream(text);
  std::size_t width = 0;
  for (std::string line; std::getline(stream, line);) width = std::max(width, line.size());
  return width;
}

TEST(SampleJson, HasTheFieldsOfTheCommandLineManual) {
  const json object = json::parse(to_json(sample()));
  EXPECT_EQ(object["model"], "product");
  EXPECT_EQ(object["n"], 50803);
  EXPECT_EQ(object["ranks"], 4);
  EXPECT_EQ(object["updates"], 387564);
  EXPECT_EQ(object["seed"].get<std::uint64_t>(), 0xFFFF'FFFF'FFFF'FFFF);
  EXPECT_EQ(object["norm"], 26659.25);
  EXPECT_EQ(object["sketch"]["rows"], 5);
  EXPECT_EQ(object["sketch"]["buckets"], 512);
  EXPECT_EQ(object["sketch"]["lanes"], 16);
  EXPECT_EQ(object["sketch"]["bytes"], 5 * 512 * 16 * 8);
  EXPECT_EQ(object["seconds"], (json{{"ingest", 0.5}, {"merge", 0.001}, {"query", 2.0}}));
  EXPECT_EQ(object["samples"][0],
            (json{{"lane", 1}, {"index", 7}, {"label", "libc6"}, {"value", 21841.5}, {"probability", 0.671}}));
  EXPECT_EQ(object["samples"][1]["index"].get<std::uint64_t>(), (std::uint64_t{1} << 63) - 1);
  EXPECT_EQ(object["samples"][1]["inclusion"], 0.25);
  EXPECT_EQ(object["failed"].size(), 3U);
  EXPECT_EQ(object["failed"][2], (json{{"lane", 5}, {"reason", "no_candidate"}}));
}

TEST(SampleJson, ExactReferencesPairsAndTheZeroVector) {
  SampleReport report = sample();
  report.run.shape = {10, 8};
  report.run.sketch.reset();
  report.exact_norm = 5;
  report.exact[7] = {3, 0.36};
  report.result.draws.resize(1);
  json object = json::parse(to_json(report));
  EXPECT_EQ(object["shape"], (json{10, 8}));
  EXPECT_FALSE(object.contains("n"));
  EXPECT_FALSE(object.contains("sketch"));
  EXPECT_EQ(object["exact_norm"], 5.0);
  EXPECT_EQ(object["samples"][0]["index"], (json{0, 7}));
  EXPECT_EQ(object["samples"][0]["exact"], (json{{"value", 3.0}, {"probability", 0.36}}));

  report.result = {};
  report.result.zero_vector = true;
  object = json::parse(to_json(report));
  EXPECT_EQ(object["zero_vector"], true);
  EXPECT_EQ(object["norm"], 0.0);
  EXPECT_EQ(object["samples"], json::array());
}

TEST(SampleJson, LabelsThatAreNotUtf8AreRepaired) {
  SampleReport report = sample();
  report.labels[7] = "caf\xe9\x01\"";
  EXPECT_EQ(json::parse(to_json(report))["samples"][0]["label"], "caf\xef\xbf\xbd\x01\"");
}

TEST(SampleJson, NumbersThatAreNotFiniteAreRefused) {
  SampleReport report = sample();
  report.result.norm = std::numeric_limits<double>::infinity();
  expect_error([&] { (void)to_json(report); }, {"not finite", "norm is inf"});
  report = sample();
  report.result.draws[1].probability = std::numeric_limits<double>::quiet_NaN();
  expect_error([&] { (void)to_json(report); }, {"probability is nan"});
}

TEST(SampleTable, ShowsWhatAPersonWantsToKnow) {
  const std::string table = to_table(sample());
  for (const std::string_view part :
       {"50,803 entries", "387,564 updates on 4 ranks", "5 rows x 512 buckets x 16 lanes, 1 level, 320.0 KiB",
        "seed 18446744073709551615", "ingest 500.0 ms, merge 1.0 ms, query 2.00 s", "26659.2", "libc6", "21841.5",
        "67.1 %", "9223372036854775807", "25 %", "2 lanes gave no draw", "1 lane gave no draw", "below_threshold",
        "no_candidate"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  }
  EXPECT_LE(widest(table), 100U);
}

TEST(SampleTable, SaysThatTailsWereTooHeavy) {
  SampleReport report = sample();
  report.result.failed = {{2, FailReason::heavy_tail}};
  EXPECT_EQ(json::parse(to_json(report))["failed"][0], (json{{"lane", 2}, {"reason", "heavy_tail"}}));
  EXPECT_NE(
      to_table(report).find("1 lane gave no draw: the entries below the largest ones were too heavy (heavy_tail)"),
      std::string::npos);
}

TEST(SampleTable, ColumnsAreAlignedAndLongLabelsCut) {
  SampleReport report = sample();
  report.labels[7] = std::string(300, 'a') + "\n\x1b[31m";
  report.exact[7] = {21841, 0.6713};
  report.result.draws[1].index = 41234;
  report.result.failed.clear();
  const std::string table = to_table(report, 80);
  EXPECT_LE(widest(table), 80U) << table;
  EXPECT_EQ(table.find('\x1b'), std::string::npos);
  EXPECT_NE(table.find("aaa.."), std::string::npos) << table;

  // Right-aligned numbers: both rows of the probability column end where its heading ends.
  std::istringstream stream(table);
  std::string line;
  while (std::getline(stream, line) && line.find("probability") == std::string::npos) {
  }
  const std::size_t end = line.find("probability") + std::string("probability").size();
  std::string row;
  for (int k = 0; k < 2; ++k) {
    ASSERT_TRUE(std::getline(stream, row));
    ASSERT_GE(row.size(), end) << table;
    EXPECT_EQ(row[end - 1], '%') << table;
  }
}

TEST(SampleTable, NothingToDraw) {
  SampleReport report = sample();
  report.result.draws.clear();
  EXPECT_NE(to_table(report).find("nothing could be drawn"), std::string::npos);
  report.result.zero_vector = true;
  EXPECT_NE(to_table(report).find("zero vector"), std::string::npos);
}

TEST(QueryReport, JsonAndTableGiveEachEstimateWithItsBound) {
  QueryReport report;
  report.run = run();
  EXPECT_FALSE(json::parse(to_json(report)).contains("norm"));
  report.norm = Estimate{100.5, 2.5};
  report.top = std::vector{HeavyCoordinate{7, {60, 4}}};
  report.points = std::vector{HeavyCoordinate{9, {-3, 4}}};
  report.inner = {{"other.weir", {10, 1}}};
  report.labels = {{9, "nine"}};
  const json object = json::parse(to_json(report));
  EXPECT_EQ(object["norm"], 100.5);
  EXPECT_EQ(object["norm_bound"], 2.5);
  EXPECT_EQ(object["top"], (json::array({{{"index", 7}, {"value", 60.0}, {"bound", 4.0}}})));
  EXPECT_EQ(object["points"], (json::array({{{"index", 9}, {"label", "nine"}, {"value", -3.0}, {"bound", 4.0}}})));
  EXPECT_EQ(object["inner"], (json::array({{{"state", "other.weir"}, {"value", 10.0}, {"bound", 1.0}}})));
  const std::string table = to_table(report);
  for (const std::string_view part :
       {"100.5 +- 2.5", "10 +- 1 with other.weir", "nine", "largest entries", "entries asked for"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  }
}

}  // namespace
}  // namespace weir
