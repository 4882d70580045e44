#include "report.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "formats.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir::app {
namespace {

using nlohmann::json;
using testing_support::expect_error;

constexpr std::uint64_t max_index = (std::uint64_t{1} << 63) - 1;

Run run() { return {.ranks = 4, .updates = 387564, .ingest_seconds = 0.5, .merge_seconds = 0.001, .query_seconds = 2}; }

Problem problem_of(const std::string& setting) {
  Problem problem;
  problem.setting = setting;
  problem.sketch.seed = 0xFFFF'FFFF'FFFF'FFFF;
  return problem;
}

/// y = A x for an x that is fixed.
Problem product() {
  Problem problem = problem_of("product");
  problem.sides = {{"n", 50803}, {"d", 12}};
  problem.roles = {{Operand::A, Role::streams}, {Operand::x, Role::fixed}};
  problem.sketch.dimension = 50803;
  return problem;
}

SampleReport sample() {
  SampleReport report{product(), run(), {}, {}};
  report.answer.draws.norm = 26659.25;
  report.answer.draws.draws = {{.lane = 1, .index = 7, .value = 21841.5, .probability = 0.671, .inclusion = {}},
                               {.lane = 3, .index = max_index, .value = -12, .probability = 0.0004, .inclusion = 0.25}};
  report.answer.draws.failed = {
      {2, FailReason::below_threshold}, {4, FailReason::below_threshold}, {5, FailReason::no_candidate}};
  report.labels.rows = {{7, "libc6"}};
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
  const json object = json::parse(json_text(to_json(sample())));
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
  EXPECT_EQ(object["samples"][1]["index"].get<std::uint64_t>(), max_index);
  EXPECT_EQ(object["samples"][1]["inclusion"], 0.25);
  EXPECT_EQ(object["failed"].size(), 3U);
  EXPECT_EQ(object["failed"][2], (json{{"lane", 5}, {"reason", "no_candidate"}}));
}

TEST(SampleReports, SayWhatNumbersAreWorth) {
  SampleReport report = sample();
  report.wanted = 2;
  json object = json::parse(json_text(to_json(report)));
  EXPECT_EQ(object["wanted"], 2);
  for (const char* absent : {"shortfall", "exact_sums"}) EXPECT_FALSE(object.contains(absent)) << absent;
  for (const char* absent : {"value_bound", "probability_bound"})
    EXPECT_FALSE(object["samples"][0].contains(absent)) << absent;
  EXPECT_EQ(object["seed_text"], "18446744073709551615");
  EXPECT_FALSE(object["samples"][0].contains("index_text"));
  EXPECT_EQ(object["samples"][1]["index_text"], "9223372036854775807");

  report.wanted = 20;
  report.run.exact_sums = false;
  report.answer.draws.draws[0].value_bound = 12.5;
  report.answer.draws.draws[0].probability_bound = 0.0625;
  object = json::parse(json_text(to_json(report)));
  EXPECT_EQ(object["exact_sums"], false);
  EXPECT_EQ(object["samples"][0]["value_bound"], 12.5);
  EXPECT_EQ(object["samples"][0]["probability_bound"], 0.0625);
  const std::string few = "2 samples of 20 came: the sketch has 15 lanes that draw, each at most once";
  EXPECT_NE(object["shortfall"].get<std::string>().find(few), std::string::npos) << object["shortfall"];
  const std::string table = to_table(report);
  for (const std::string& part :
       {few, std::string("sums      rounded"), std::string("21841.5  12"), std::string("67.1 %  6.2 %")})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;

  report.wanted = 3;
  EXPECT_NE(to_table(report).find("2 samples of 3 came: the others of the 15 lanes that draw gave none"),
            std::string::npos);
  report.without_replacement = true;
  EXPECT_NE(to_table(report).find("2 samples of 3 came: no more entries stood out"), std::string::npos);
  report.answer.has_exact_values = true;
  EXPECT_NE(to_table(report).find("values are exact, probabilities are estimates"), std::string::npos);
}

TEST(SampleJson, ExactReferencesAndTheZeroVector) {
  SampleReport report = sample();
  report.problem.keeps = Keeps::exact;
  report.answer.exact_norm = 5;
  report.answer.exact[{7}] = {3, 0.36};
  report.answer.draws.draws.resize(1);
  json object = json::parse(json_text(to_json(report)));
  EXPECT_FALSE(object.contains("sketch"));
  for (const char* absent : {"shape", "method", "metric", "d1", "d2", "gram", "norm_bound", "norm_tensor"})
    EXPECT_FALSE(object.contains(absent)) << absent;
  EXPECT_FALSE(object["samples"][0].contains("row"));
  EXPECT_EQ(object["exact_norm"], 5.0);
  EXPECT_EQ(object["samples"][0]["exact"], (json{{"value", 3.0}, {"probability", 0.36}}));

  report.answer.draws = {};
  report.answer.draws.zero_vector = true;
  object = json::parse(json_text(to_json(report)));
  EXPECT_EQ(object["zero_vector"], true);
  EXPECT_EQ(object["norm"], 0.0);
  EXPECT_EQ(object["samples"], json::array());
}

/// Of a matrix that has more entries than a 64-bit number counts.
SampleReport sample_of_pairs() {
  SampleReport report{problem_of("kronecker-two-stage"), run(), {}, {}};
  report.problem.sides = {{"n1", max_index + 1}, {"n2", 4096}, {"d1", 64}, {"d2", 48}};
  report.problem.sketch.dimension = max_index + 1;
  report.problem.gram = {.buckets = 2048, .exact = false};
  report.answer.draws.norm = 100;
  report.answer.draws.draws = {
      {.lane = 1, .index = max_index, .value = 3, .probability = 0.25, .inclusion = {}, .column = 4095},
      {.lane = 2, .index = 5, .value = -1, .probability = 0.125, .inclusion = {}, .column = 7},
      {.lane = 4, .index = 6, .value = 2, .probability = 0.5, .inclusion = {}, .column = 8}};
  report.answer.draws.failed = {{3, FailReason::second_stage}};
  report.labels.rows = {{5, "query"}, {7, "not a column"}};
  report.labels.columns = {{7, "key"}, {8, "other key"}, {6, "not a row"}};
  report.answer.exact = {{{max_index, 4095}, {3.5, 0.375}}, {{5, 8}, {9, 0.5}}};
  report.answer.draws_norm_bound = 10;
  report.answer.tensor_norm = Estimate{115, 5};
  return report;
}

TEST(SampleJson, PairsOfIndices) {
  const json object = json::parse(json_text(to_json(sample_of_pairs())));
  EXPECT_EQ(object["model"], "kronecker");
  EXPECT_EQ(object["method"], "two-stage");
  EXPECT_EQ(object["shape"], (json{max_index + 1, 4096}));
  EXPECT_FALSE(object.contains("n"));
  EXPECT_FALSE(object.contains("d"));
  EXPECT_EQ(object["d1"], 64);
  EXPECT_EQ(object["d2"], 48);
  EXPECT_EQ(object["sketch"]["columns"], 112);
  // 112 columns of cells and of buckets, and X.
  EXPECT_EQ(object["sketch"]["bytes"], 8 * (112 * (5 * 512 * 16 + 5 * 2048) + 64 * 48));
  EXPECT_EQ(object["gram"], (json{{"buckets", 2048}, {"exact", false}}));
  EXPECT_EQ(object["norm"], 100.0);
  EXPECT_EQ(object["norm_bound"], 10.0);
  EXPECT_EQ(object["norm_tensor"], (json{{"value", 115.0}, {"bound", 5.0}}));
  EXPECT_EQ(object["samples"][0], (json{{"lane", 1},
                                        {"index", {max_index, 4095}},
                                        {"index_text", {"9223372036854775807", "4095"}},
                                        {"value", 3.0},
                                        {"probability", 0.25},
                                        {"exact", {{"value", 3.5}, {"probability", 0.375}}}}));
  EXPECT_EQ(
      object["samples"][1],
      (json{{"lane", 2}, {"index", {5, 7}}, {"label", {"query", "key"}}, {"value", -1.0}, {"probability", 0.125}}));
  EXPECT_EQ(object["samples"][2]["label"], (json{nullptr, "other key"}));
  EXPECT_EQ(object["failed"][0], (json{{"lane", 3}, {"reason", "second_stage"}}));
}

SampleReport sample_of_rows(std::size_t d) {
  SampleReport report{problem_of("rows"), run(), {}, {}};
  report.run.metric = "leverage";
  report.problem.sides = {{"n", 1000}, {"d", d}};
  report.problem.roles = {{Operand::A, Role::streams}};
  report.problem.sketch.dimension = 1000;
  report.problem.gram = {.buckets = 512, .exact = true};
  report.answer.draws.norm = 2;
  std::vector<double> row(d);
  for (std::size_t j = 0; j < d; ++j) row[j] = static_cast<double>(j) + 0.25;
  report.answer.draws.draws = {
      {.lane = 1, .index = 17, .value = 0.5, .probability = 0.0625, .inclusion = {}, .row = row}};
  return report;
}

TEST(SampleJson, Rows) {
  const json object = json::parse(json_text(to_json(sample_of_rows(3))));
  EXPECT_EQ(object["metric"], "leverage");
  EXPECT_EQ(object["n"], 1000);
  EXPECT_EQ(object["d"], 3);
  EXPECT_EQ(object["gram"], (json{{"buckets", 512}, {"exact", true}}));
  EXPECT_EQ(object["samples"][0],
            (json{{"lane", 1}, {"index", 17}, {"value", 0.5}, {"probability", 0.0625}, {"row", {0.25, 1.25, 2.25}}}));
}

TEST(SampleJson, LabelsThatAreNotUtf8AreRepaired) {
  SampleReport report = sample();
  report.labels.rows[7] = "caf\xe9\x01\"";
  EXPECT_EQ(json::parse(json_text(to_json(report)))["samples"][0]["label"], "caf\xef\xbf\xbd\x01\"");
}

TEST(SampleJson, NumbersThatAreNotFiniteAreRefused) {
  SampleReport report = sample();
  report.answer.draws.norm = std::numeric_limits<double>::infinity();
  expect_error([&] { (void)to_json(report); }, {"not finite", "norm is inf"});
  report = sample();
  report.answer.draws.draws[1].probability = std::numeric_limits<double>::quiet_NaN();
  expect_error([&] { (void)to_json(report); }, {"probability is nan"});
  report = sample_of_rows(3);
  report.answer.draws.draws[0].row[2] = -std::numeric_limits<double>::infinity();
  expect_error([&] { (void)to_json(report); }, {"row is -inf"});
  report = sample_of_pairs();
  report.answer.draws_norm_bound = std::numeric_limits<double>::quiet_NaN();
  expect_error([&] { (void)to_json(report); }, {"norm_bound is nan"});
  for (const Estimate& bad :
       {Estimate{std::numeric_limits<double>::infinity(), 1}, Estimate{1, std::numeric_limits<double>::infinity()}}) {
    report = sample_of_pairs();
    report.answer.tensor_norm = bad;
    expect_error([&] { (void)to_json(report); }, {"norm_tensor is inf"});
  }
}

/// "-0" is no number that a person wants to see, nor one that all readers of JSON can read.
TEST(SampleJson, ANegativeZeroIsWrittenAsZero) {
  SampleReport report = sample();
  report.answer.draws.norm = -0.0;
  report.answer.draws.draws[0].value = -0.0;
  report.answer.exact[{7}] = {-0.0, -0.0};
  SampleReport rows = sample_of_rows(3);
  rows.answer.draws.draws[0].row[1] = -0.0;
  QueryReport query{product(), run(), {}, {}, {}};
  query.answer.norm = Estimate{-0.0, -0.0};
  query.answer.points = {{9, {-0.0, 4}}};
  query.inner = {{"other.weir", {-0.0, 1}}};
  query.answer.moments = {{1.5, {-0.0, 1}}};
  for (const std::string& text : {json_text(to_json(report)), json_text(to_json(rows)), json_text(to_json(query)),
                                  to_table(report), to_table(rows), to_table(query)})
    EXPECT_EQ(text.find("-0"), std::string::npos) << text;
  EXPECT_EQ(json::parse(json_text(to_json(report)))["samples"][0]["value"].dump(), "0.0");
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
  report.answer.draws.failed = {{2, FailReason::heavy_tail}};
  EXPECT_EQ(json::parse(json_text(to_json(report)))["failed"][0], (json{{"lane", 2}, {"reason", "heavy_tail"}}));
  EXPECT_NE(
      to_table(report).find("1 lane gave no draw: the entries below the largest ones were too heavy (heavy_tail)"),
      std::string::npos);
}

TEST(SampleTable, ColumnsAreAlignedAndLongLabelsCut) {
  SampleReport report = sample();
  report.labels.rows[7] = std::string(300, 'a') + "\n\x1b[31m";
  report.answer.exact[{7}] = {21841, 0.6713};
  report.answer.draws.draws[1].index = 41234;
  report.answer.draws.failed.clear();
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

/// The lines of the table of draws, heading first.
std::vector<std::string> draw_lines(const std::string& table) {
  std::istringstream stream(table.substr(table.find("\n\n") + 2));
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line) && !line.empty();) lines.push_back(line);
  return lines;
}

TEST(SampleTable, PairsAreAligned) {
  const std::string table = to_table(sample_of_pairs());
  for (const std::string_view part :
       {"kronecker model, 9,223,372,036,854,775,808 x 4,096 entries, X of 64 x 48, method two-stage",
        "112 columns x 16 lanes, 1 level, 43.8 MiB", "|y_(i1,i2)|^2", "gram      estimated from 2,048 buckets a row",
        "1 lane gave no draw: a row of y was drawn, but nothing stood out in it (second_stage)"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  }
  const std::vector<std::string> lines = draw_lines(table);
  ASSERT_EQ(lines.size(), 4U) << table;
  const std::size_t end = lines[0].find("i1, i2") + 6;
  ASSERT_GE(end, 6U + 6U) << table;
  EXPECT_TRUE(lines[1].substr(0, end).ends_with("9223372036854775807, 4095")) << table;
  EXPECT_TRUE(lines[2].substr(0, end).ends_with("                  5,    7")) << table;
  EXPECT_TRUE(lines[3].substr(0, end).ends_with("                  6,    8")) << table;
  const auto label_at = [&](std::size_t line, std::string_view heading, std::string_view expected) {
    return lines[line].compare(lines[0].find(heading), expected.size(), expected) == 0;
  };
  EXPECT_TRUE(label_at(1, "label of i1", "- ")) << table;
  EXPECT_TRUE(label_at(1, "label of i2", "- ")) << table;
  EXPECT_TRUE(label_at(2, "label of i1", "query ")) << table;
  EXPECT_TRUE(label_at(2, "label of i2", "key ")) << table;
  EXPECT_TRUE(label_at(3, "label of i1", "- ")) << table;
  EXPECT_TRUE(label_at(3, "label of i2", "other key ")) << table;
}

TEST(SampleTable, LongLabelsOfPairsShareTheWidth) {
  SampleReport report = sample_of_pairs();
  report.labels.rows[5] = std::string(300, 'a');
  report.labels.columns[7] = std::string(40, 'b');
  report.answer.draws.draws[0].index = 4;
  report.answer.exact.clear();
  const std::string table = to_table(report, 80);
  for (const std::string& line : draw_lines(table)) EXPECT_LE(line.size(), 80U) << table;
  EXPECT_NE(table.find("aaaaaaaaaa.."), std::string::npos) << table;
  EXPECT_NE(table.find("bbbbbbbbbb.."), std::string::npos) << table;
}

TEST(SampleTable, SaysWhetherTheTwoNormsAgree) {
  SampleReport report = sample_of_pairs();
  EXPECT_NE(to_table(report).find("norm      100 +- 10\n          115 +- 5 by TensorSketch: the two agree within their "
                                  "bounds\n"),
            std::string::npos)
      << to_table(report);
  report.answer.tensor_norm = Estimate{116, 5};
  EXPECT_NE(to_table(report).find("116 +- 5 by TensorSketch: the two differ by more than their bounds\n"),
            std::string::npos);
  report.answer.tensor_norm.reset();
  EXPECT_EQ(to_table(report).find("TensorSketch"), std::string::npos);
}

TEST(SampleTable, RowsShowAsManyEntriesAsFit) {
  const std::string all = to_table(sample_of_rows(3));
  for (const std::string_view part :
       {"A         rows model, 1,000 rows of 3, metric leverage", "a_i^T M a_i, exponential scales",
        "gram      exact, of rows that came and went whole", "  0.25, 1.25, 2.25\n",
        "rows, values and probabilities are estimates"}) {
    EXPECT_NE(all.find(part), std::string::npos) << part << "\n" << all;
  }
  for (const std::size_t width : {std::size_t{80}, std::size_t{100}, std::size_t{120}}) {
    SampleReport report = sample_of_rows(1000);
    report.answer.verified = true;
    const std::vector<std::string> lines = draw_lines(to_table(report, width));
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_LE(lines[1].size(), width);
    EXPECT_GT(lines[1].size(), width - 12) << "the room is used";
    EXPECT_TRUE(lines[1].ends_with(".25, ...")) << lines[1];
    EXPECT_NE(to_table(report, width).find("rows, values and probabilities are exact"), std::string::npos);
  }
  SampleReport zero = sample_of_rows(3);
  zero.answer.draws = {};
  zero.answer.draws.zero_vector = true;
  EXPECT_NE(to_table(zero).find("nothing to draw: a_i^T M a_i is 0 for every row"), std::string::npos);
}

TEST(SampleTable, NothingToDraw) {
  SampleReport report = sample();
  report.answer.draws.draws.clear();
  EXPECT_NE(to_table(report).find("nothing could be drawn"), std::string::npos);
  report.answer.draws.zero_vector = true;
  EXPECT_NE(to_table(report).find("zero vector"), std::string::npos);
}

TEST(QueryReport, JsonAndTableGiveEachEstimateWithItsBound) {
  QueryReport report{product(), run(), {}, {}, {}};
  EXPECT_FALSE(json::parse(json_text(to_json(report))).contains("norm"));
  report.answer.norm = Estimate{100.5, 2.5};
  report.answer.top = std::vector{HeavyCoordinate{7, {60, 4}}};
  report.answer.points = std::vector{HeavyCoordinate{9, {-3, 4}}};
  report.inner = {{"other.weir", {10, 1}}};
  report.labels.rows = {{9, "nine"}};
  const json object = json::parse(json_text(to_json(report)));
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

TEST(QueryReport, EntriesOfAMatrixAreNamedByPairs) {
  QueryReport report{sample_of_pairs().problem, run(), {}, {}, {}};
  report.answer.top = std::vector<HeavyCoordinate>{{max_index, {60, 4}, 12}, {3, {-50, 4}, 4095}};
  report.answer.points = {{9, {-3, 4}, 10}};
  report.labels.rows = {{9, "nine"}};
  report.labels.columns = {{10, "ten"}, {12, "twelve"}};
  const json object = json::parse(json_text(to_json(report)));
  EXPECT_EQ(object["top"], (json::array({{{"index", {max_index, 12}},
                                          {"index_text", {"9223372036854775807", "12"}},
                                          {"label", {nullptr, "twelve"}},
                                          {"value", 60.0},
                                          {"bound", 4.0}},
                                         {{"index", {3, 4095}}, {"value", -50.0}, {"bound", 4.0}}})));
  EXPECT_EQ(object["points"],
            (json::array({{{"index", {9, 10}}, {"label", {"nine", "ten"}}, {"value", -3.0}, {"bound", 4.0}}})));
  const std::string table = to_table(report);
  for (const std::string_view part : {"9223372036854775807,   12  -            twelve", "3, 4095", "9, 10  nine"})
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
}

}  // namespace
}  // namespace weir::app
