#include "log.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "weir/error.hpp"

namespace weir::app {
namespace {

TEST(Log, ATextLineQuotesWhatIsNoPlainWord) {
  EXPECT_EQ(log_line(LogFormat::text, LogLevel::info, 3, 1795959756.25, "checkpoint_written",
                     {{"path", "/tmp/a b"},
                      {"seconds", 0.25},
                      {"bytes", std::uint64_t{18446744073709551615U}},
                      {"final", true},
                      {"kept", -2},
                      {"state", "ckpt.weir"},
                      {"nothing", ""},
                      {"odd", "a\n\"b\x1b"}}),
            "2026-11-29T13:42:36.250Z info rank=3 checkpoint_written path=\"/tmp/a b\" seconds=0.25 "
            "bytes=18446744073709551615 final=true kept=-2 state=ckpt.weir nothing=\"\" odd=\"a\\n\\\"b\\u001b\"\n");
}

TEST(Log, AJsonLineIsOneObject) {
  const std::string line =
      log_line(LogFormat::json, LogLevel::error, 0, 1795959756.25, "failed",
               {{"why", "caf\xe9 \"x\"\n"}, {"lag", std::numeric_limits<double>::infinity()}, {"seconds", 0.5}});
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto object = nlohmann::json::parse(line);
  EXPECT_EQ(object["time"], "2026-11-29T13:42:36.250Z");
  EXPECT_EQ(object["level"], "error");
  EXPECT_EQ(object["rank"], 0);
  EXPECT_EQ(object["event"], "failed");
  EXPECT_EQ(object["why"], "caf\xef\xbf\xbd \"x\"\n");
  EXPECT_TRUE(object["lag"].is_null());
  EXPECT_EQ(object["seconds"], 0.5);
}

TEST(Log, LongTextsAreCut) {
  EXPECT_LT(log_line(LogFormat::text, LogLevel::info, 0, 0, "x", {{"text", std::string(100000, 'a')}}).size(), 1200U);
}

TEST(Log, NamesAreChecked) {
  for (const LogLevel level : {LogLevel::error, LogLevel::warning, LogLevel::info, LogLevel::debug})
    EXPECT_EQ(parse_log_level(to_string(level)), level);
  EXPECT_THROW((void)parse_log_level("loud"), UsageError);
  EXPECT_EQ(parse_log_format("json"), LogFormat::json);
  EXPECT_THROW((void)parse_log_format("xml"), UsageError);
}

TEST(Log, LinesOfManyThreadsStayWhole) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  set_log_options({.level = LogLevel::info, .format = LogFormat::json, .rank = 1, .descriptor = ends[1]});
  EXPECT_TRUE(logs(LogLevel::warning));
  EXPECT_FALSE(logs(LogLevel::debug));
  constexpr int threads = 4, lines = 50;
  std::vector<std::thread> writers;
  for (int t = 0; t < threads; ++t)
    writers.emplace_back([t] {
      for (int k = 0; k < lines; ++k) {
        log(LogLevel::debug, "not_written");
        log(LogLevel::info, "event", {{"thread", t}, {"k", k}, {"text", std::string(100, 'a')}});
      }
    });
  std::string all;
  std::array<char, 4096> buffer{};
  while (std::count(all.begin(), all.end(), '\n') < threads * lines) {
    const ssize_t count = ::read(ends[0], buffer.data(), buffer.size());
    ASSERT_GT(count, 0);
    all.append(buffer.data(), static_cast<std::size_t>(count));
  }
  for (std::thread& writer : writers) writer.join();
  set_log_options({});
  ::close(ends[0]);
  ::close(ends[1]);
  std::istringstream stream(all);
  std::set<std::pair<int, int>> seen;
  for (std::string line; std::getline(stream, line);) {
    const auto object = nlohmann::json::parse(line);
    EXPECT_EQ(object["event"], "event");
    EXPECT_TRUE(seen.emplace(object["thread"].get<int>(), object["k"].get<int>()).second);
  }
  EXPECT_EQ(seen.size(), std::size_t{threads * lines});
}

}  // namespace
}  // namespace weir::app
