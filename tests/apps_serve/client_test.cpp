#include "client.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "apps_serve/harness.hpp"
#include "outside.hpp"
#include "support/message_of.hpp"
#include "weir/io/state_file.hpp"

namespace weir::app {
namespace {

using testing_support::contents_of;
using testing_support::expect_error;
using testing_support::TemporaryDirectory;

json json_of(const Asked& asked) { return json::parse(json_text(asked.report.json())); }
std::string table_of(const Asked& asked) { return asked.report.table(); }

TEST(Client, PrintsWhatALocalQueryWould) {
  const RunningJob job;
  const std::string at = "unix:" + job.path;
  const Question question{.norm = true, .top = 1, .points = {{7}, {8}}, .moments = {1, 0.5}};
  const Asked as_json = query_at(at, question, {}, {.json = true});
  EXPECT_EQ(as_json.code, done);
  const json object = json_of(as_json);
  EXPECT_EQ(object["epoch"], 1);
  EXPECT_EQ(object["norm"], 5.0);
  EXPECT_EQ(object["top"][0]["index"], 7);
  EXPECT_EQ(object["points"].size(), 2U);
  EXPECT_EQ(object["moments"][1]["p"], 0.5);
  const Asked table = query_at(at, question, {}, {});
  const auto epoch = job.published.latest();
  app::Run run = epoch->run;
  run.epoch = epoch->stamp;
  const std::string expected =
      to_table(QueryReport{.problem = epoch->state->problem(), .run = run, .answer = epoch->state->answer(question)});
  const auto without_time_line = [](std::string text) {
    const std::size_t line = text.find("time ");
    return text.erase(line, text.find('\n', line) - line);
  };
  EXPECT_EQ(without_time_line(table_of(table)), without_time_line(expected));
}

TEST(Client, AsksForPairs) {
  RunningJob job;
  const Problem problem = testing_support::problem_of("kronecker-two-stage",
                                                      {{"n1", 20}, {"n2", 9}, {"d1", 2}, {"d2", 3}}, {}, served_sketch);
  job.published.publish(epoch_of(testing_support::state_of(problem, 3)));
  const Asked asked = query_at("unix:" + job.path, {.points = {{3, 4}}}, {}, {.json = true});
  EXPECT_EQ(json_of(asked)["points"][0]["index"], (json{3, 4}));
}

TEST(Client, SamplesAndWritesAPicture) {
  RunningJob job({}, {.draw = {.samples = 3}});
  const std::string at = "unix:" + job.path, picture = job.folder / "plot.svg";
  EXPECT_EQ(json_of(sample_at(at, 0, false, {.json = true}))["wanted"], 3);
  const Asked asked = sample_at(at, 2, true, {.json = true, .plot_path = picture});
  EXPECT_EQ(json_of(asked)["wanted"], 2);
  EXPECT_EQ(asked.code, done);
  EXPECT_TRUE(contents_of(picture).starts_with("<svg"));
  job.published.publish(epoch_of(spike(0), 2));
  const Asked nothing = sample_at(at, 0, false, {});
  EXPECT_EQ(nothing.code, nothing_drawn);
  EXPECT_NE(table_of(nothing).find("zero vector"), std::string::npos);
}

TEST(Client, SendsStatesForInnerProducts) {
  const RunningJob job;
  const std::string at = "unix:" + job.path, path = job.folder / "z.weir", other = job.folder / "other.weir";
  save_state(path, spike(-3));
  save_state(other, spike(1, 8));
  const json inner = json_of(query_at(at, {}, {path, path}, {.json = true}))["inner"];
  ASSERT_EQ(inner.size(), 2U);
  EXPECT_EQ(inner[0], inner[1]);
  EXPECT_EQ(inner[0]["state"], path);
  EXPECT_EQ(inner[0]["value"], -15.0);
  EXPECT_EQ(inner[0]["epoch"], 1);
  EXPECT_GT(inner[0]["bound"], 0.0);
  const Asked table = query_at(at, {}, {path}, {});
  EXPECT_NE(table_of(table).find("\ninner     -15 +- "), std::string::npos) << table_of(table);
  EXPECT_TRUE(table_of(table).ends_with(" with " + path + ", epoch 1\n")) << table_of(table);
  expect_error<UsageError>([&] { (void)query_at(at, {}, {other}, {}); }, {at, "seed"});
  expect_error([&] { (void)query_at(at, {}, {job.folder / "none"}, {}); }, {"none: cannot open: No such file"});
}

TEST(Client, InspectsARunningJob) {
  const RunningJob job;
  const std::string at = "unix:" + job.path;
  const std::string table = table_of(inspect_at(at, {}));
  for (const std::string part : {"vector model, 1,000 entries", "epoch     1, 2026-11-29T13:42:37.250Z", "\nage "})
    EXPECT_NE(table.find(part), std::string::npos) << table;
  EXPECT_EQ(json_of(inspect_at(at, {.json = true}))["problem"]["setting"], "vector");
}

TEST(Client, SaysWhyThereIsNoAnswer) {
  const TemporaryDirectory folder;
  const auto ask = [](const std::string& at) { (void)query_at(at, {.norm = true}, {}, {}); };
  expect_error([&] { ask("unix:" + (folder / "none")); }, {"unix:", "none: nobody answers there", "--serve"});
  expect_error<UsageError>([&] { ask("weir.sock"); }, {"--at: 'weir.sock' given, expected unix:PATH"});

  // A server that is no weir.
  const HttpServer stranger("--serve", {.host = "127.0.0.1", .port = 0},
                            {.handler = [](const HttpRequest&) { return HttpReply{.body = "{}"}; }});
  expect_error([&] { ask(to_string(stranger.address())); }, {"not a running weir"});
  // One that does not speak HTTP.
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  const std::string path = folder / "mute";
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  ASSERT_EQ(::bind(listener, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  std::thread mute([&] {
    const int client = ::accept(listener, nullptr, nullptr);
    (void)!::write(client, "hello\n", 6);
    ::close(client);
  });
  expect_error([&] { ask("unix:" + path); }, {"does not speak HTTP"});
  mute.join();
  ::close(listener);

  const RunningJob early({}, {}, false);
  expect_error([&] { ask("unix:" + early.path); }, {"first epoch has not ended"});
  const RunningJob job;
  expect_error<UsageError>(
      [&] {
        (void)query_at("unix:" + job.path, {.points = {{1, 2}}}, {}, {});
      },
      {"y is a vector"});
}

TEST(Client, ShowsNoControlCharacters) {
  const RunningJob job({}, {.labels = [](const std::vector<EntryIndex>&) {
                         return LabelMaps{.rows = {{7, "a\x1b[31mb\x07"}}};
                       }});
  for (const bool as_json : {false, true}) {
    const Asked asked = query_at("unix:" + job.path, {.points = {{7}}}, {}, {.json = as_json});
    const std::string text = as_json ? json_text(asked.report.json()) : table_of(asked);
    EXPECT_EQ(text.find_first_of("\x1b\x07"), std::string::npos);
  }
}

TEST(Client, RefusesOptionsThatAreTheJobs) {
  CLI::App app;
  std::string at, stream;
  std::uint64_t n = 0;
  bool norm = false;
  add_at_option(app, at);
  app.add_flag("--norm", norm);
  app.add_option("--n", n);
  app.add_option("STREAM", stream);
  app.parse("--at tcp:1 --norm");
  require_only(app, {"--norm"});
  app.parse("--at tcp:1 --norm --n 5");
  expect_error<UsageError>([&] { require_only(app, {"--norm"}); }, {"--n cannot be given, expected only --norm"});
  app.parse("--at tcp:1 x.csv");
  expect_error<UsageError>([&] { require_only(app, {"--norm"}); }, {"a STREAM cannot be given"});
}

// ---------------------------------------------------------------------------------------------------------------------

TEST(Outside, ServesTheJobAndItsMetrics) {
  const TemporaryDirectory folder;
  const std::string path = folder / "s", file = folder / "metrics.prom";
  Outside outside({.serve = "unix:" + path, .metrics = file}, {}, {});
  EXPECT_NE(contents_of(file).find("weir_up 1\n"), std::string::npos) << "before the first epoch";
  EXPECT_EQ(outside.addresses(), std::vector<std::string>{"unix:" + path});
  outside.publish(epoch_of(spike(5)));
  outside.set({.ranks = {{.updates = 17}}, .epoch = 1});
  EXPECT_EQ(json_of(query_at("unix:" + path, {.norm = true}, {}, {.json = true}))["norm"], 5.0);
  EXPECT_NE(contents_of(file).find("\nweir_updates_total 17\n"), std::string::npos);
  httplib::Client client(path);
  client.set_address_family(AF_UNIX);
  EXPECT_NE(client.Get("/metrics")->body.find("\nweir_updates_total 17\n"), std::string::npos);
}

TEST(Outside, ServesMetricsOnAnAddressOfTheirOwn) {
  Outside outside({.serve = "tcp:0", .metrics = "tcp:0"}, {}, {});
  ASSERT_EQ(outside.addresses().size(), 2U);
  EXPECT_NE(outside.addresses()[0], outside.addresses()[1]);
  httplib::Client client("127.0.0.1", parse_address("", outside.addresses()[1]).port);
  EXPECT_EQ(client.Get("/metrics")->status, 200);
  EXPECT_EQ(client.Get("/v1/status")->status, 404);
}

TEST(Outside, AFileThatCannotBeWrittenStopsOnlyTheStart) {
  const TemporaryDirectory folder;
  const std::string inner = folder / "folder";
  expect_error([&] { Outside({.metrics = inner + "/metrics"}, {}, {}); }, {"folder/metrics: No such file"});
  std::filesystem::create_directory(inner);
  Outside outside({.metrics = inner + "/metrics"}, {}, {});
  std::filesystem::remove_all(inner);
  set_log_options({.level = LogLevel::error});
  outside.set({});
  set_log_options({});
  EXPECT_FALSE(std::filesystem::exists(inner));
}

TEST(Outside, OptionsAreChecked) {
  OutsideOptions options;
  CLI::App app;
  add_outside_options(app, options);
  app.parse("--serve tcp:8080 --metrics m.prom --log-level info --log-format json");
  options.check();
  EXPECT_TRUE(options.any());
  EXPECT_EQ(options.log.level, LogLevel::info);
  EXPECT_EQ(options.log.format, LogFormat::json);
  EXPECT_THROW(app.parse(std::vector<std::string>{"", "--serve"}), CLI::ValidationError);
  EXPECT_THROW(app.parse("--log-level loud"), CLI::ValidationError);
  EXPECT_THROW(app.parse("--log-format xml"), CLI::ValidationError);
  expect_error<UsageError>([] { OutsideOptions{.serve = "x"}.check(); }, {"--serve: 'x' given"});
  expect_error<UsageError>([] { OutsideOptions{.metrics = "tcp:x"}.check(); }, {"--metrics: 'tcp:x' given"});
  expect_error<UsageError>([] { OutsideOptions{.serve = "tcp:1", .metrics = "tcp:127.0.0.1:1"}.check(); },
                           {"--serve answers there"});
}

}  // namespace
}  // namespace weir::app
