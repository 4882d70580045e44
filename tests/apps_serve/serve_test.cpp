#include "serve.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "apps_serve/harness.hpp"
#include "metrics.hpp"
#include "plots.hpp"
#include "support/message_of.hpp"
#include "weir/io/state_file.hpp"

namespace weir::app {
namespace {

using testing_support::events_of;
using testing_support::expect_error;
using testing_support::problem_of;

json without_times(json object) {
  object.erase("seconds");
  return object;
}

TEST(Serve, EverySettingAnswersWhatItsStateAnswers) {
  SizeRequest request = served_sketch;
  std::vector<Problem> problems{
      problem_of("vector", {{"n", 500}}, {}, request),
      problem_of("product", {{"n", 200}, {"d", 3}}, {}, request),
      problem_of("rows", {{"n", 100}, {"d", 3}}, {}, request),
      problem_of("kronecker-streaming", {{"n1", 20}, {"n2", 9}, {"d1", 2}, {"d2", 3}}, {Operand::A2, Operand::X},
                 request),
      problem_of("kronecker-two-stage", {{"n1", 20}, {"n2", 9}, {"d1", 2}, {"d2", 3}}, {}, request),
      problem_of("vector", {{"n", 50}}, {}, request, Keeps::exact)};
  for (const Problem& problem : problems) {
    SCOPED_TRACE(problem.setting);
    const State state = testing_support::state_of(problem, 3);
    RunningJob job;
    const Epoch epoch = epoch_of(state, 9);
    job.published.publish(epoch);
    app::Run run = epoch.run;
    run.epoch = epoch.stamp;
    const auto expect_query = [&](const std::string& target, const Question& question) {
      try {
        setting_of(problem).check_question(problem, question);
      } catch (const UsageError& error) {
        EXPECT_FALSE(job.get(target, 400)["error"].get<std::string>().empty());
        return;
      }
      const QueryReport report{.problem = problem, .run = run, .answer = state.answer(question)};
      EXPECT_EQ(without_times(job.get(target)), without_times(json::parse(json_text(to_json(report))))) << target;
    };
    if (problem.keeps == Keeps::sketch) expect_query("/v1/norm", {.norm = true});
    expect_query("/v1/top?k=4", {.top = 4});
    expect_query("/v1/point?i=3,17", {.points = {{3}, {17}}});
    expect_query("/v1/point?i=3:1,0:8", {.points = {{3, 1}, {0, 8}}});
    expect_query("/v1/moment?p=1,2.5", {.moments = {1, 2.5}});
    expect_query("/v1/query?norm=1&top=2&i=4&p=1", {.norm = true, .top = 2, .points = {{4}}, .moments = {1}});
    for (const bool distinct : {false, true}) {
      const Question question{.draw = DrawQuestion{.samples = 3, .without_replacement = distinct}};
      const std::string target = std::string("/v1/sample?samples=3&without_replacement=") + (distinct ? "1" : "0");
      if (distinct && problem.keeps == Keeps::sketch && !setting_of(problem).traits().draws_distinct()) {
        job.get(target, 400);
        continue;
      }
      const SampleReport report{.problem = problem,
                                .run = run,
                                .answer = state.answer(question),
                                .wanted = 3,
                                .without_replacement = distinct};
      EXPECT_EQ(without_times(job.get(target)), without_times(json::parse(json_text(to_json(report)))));
    }
    const json status = job.get("/v1/status");
    EXPECT_EQ(status["epoch"], 9);
    EXPECT_EQ(status["updates"], state.updates);
    EXPECT_EQ(status["problem"]["setting"], problem.setting);
  }
}

TEST(Serve, EveryAnswerNamesItsEpoch) {
  RunningJob job;
  Epoch epoch = epoch_of(spike(-3), 18);
  epoch.stamp.is_final = true;
  job.published.publish(std::move(epoch));
  for (const std::string target :
       {"/v1/norm", "/v1/point?i=7", "/v1/top", "/v1/moment?p=2", "/v1/query", "/v1/sample", "/v1/status"}) {
    const json answer = job.get(target);
    EXPECT_EQ(answer["epoch"], 18) << target;
    EXPECT_EQ(answer["time"], 1795959774.25) << target;
    EXPECT_EQ(answer["time_text"], "2026-11-29T13:42:54.250Z") << target;
    EXPECT_EQ(answer["final"], true) << target;
    EXPECT_EQ(answer["updates"], 1) << target;
    EXPECT_EQ(answer["ranks"], 2) << target;
  }
  EXPECT_EQ(job.get("/v1/norm")["norm"], 3.0);
  EXPECT_EQ(job.get("/v1/point?i=7")["points"][0]["value"], -3.0);
}

TEST(Serve, TablesAndPicturesAreThoseOfTheProgram) {
  RunningJob job({}, {.labels = [](const std::vector<EntryIndex>& entries) {
                   LabelMaps maps;
                   for (const EntryIndex& entry : entries) maps.rows[entry.index] = "seven";
                   return maps;
                 }});
  const auto text = [&](const std::string& target) { return job.client().Get(target)->body; };
  EXPECT_NE(text("/v1/query?norm=1&i=7&format=table").find("norm      5 +- 0\n"), std::string::npos);
  EXPECT_NE(text("/v1/query?i=7&format=table").find("seven"), std::string::npos);
  EXPECT_NE(text("/v1/query?format=table").find("epoch     1, 2026-11-29T13:42:37.250Z\n"), std::string::npos);
  EXPECT_NE(text("/v1/sample?format=table").find("seven"), std::string::npos);
  EXPECT_EQ(job.get("/v1/sample")["samples"][0]["label"], "seven");
  EXPECT_EQ(job.get("/v1/top?k=1")["top"][0]["label"], "seven");
  EXPECT_TRUE(text("/v1/sample?format=csv").starts_with("epoch,time,updates,final,lane,index,label,value,"));
  EXPECT_NE(text("/v1/query?i=7&format=csv").find(",point,7,seven,,,"), std::string::npos);
  EXPECT_TRUE(text("/v1/sample?format=svg").starts_with("<svg"));
  EXPECT_TRUE(text("/v1/top?format=svg").starts_with("<svg"));
}

TEST(Serve, RequestsThatCannotBeAnsweredSayWhy) {
  const RunningJob job;
  for (const auto& [target, part] : std::map<std::string, std::string>{
           {"/v1/top?k=0", "k: '0' given, expected a whole number from 1 to 10000"},
           {"/v1/top?k=10001", "from 1 to 10000"},
           {"/v1/top?k=", "k: '' given"},
           {"/v1/top?k=64", "64 buckets"},
           {"/v1/top?k=3&k=4", "k: given twice"},
           {"/v1/top?n=3", "unknown parameter 'n': expected format, k"},
           {"/v1/point", "expected i=I"},
           {"/v1/point?i=", "i: '' given"},
           {"/v1/point?i=3,", "i: '' given"},
           {"/v1/point?i=-1", "i: '-1' given, expected a whole number from 0"},
           {"/v1/point?i=9223372036854775808", "from 0 to 9223372036854775807"},
           {"/v1/point?i=1000", "outside y of length 1000"},
           {"/v1/point?i=1:2", "y is a vector"},
           {"/v1/point?i=1:", "i: '' given"},
           {"/v1/moment", "expected p=P"},
           {"/v1/moment?p=0", "p: '0' given, expected a number above 0 and up to 16"},
           {"/v1/moment?p=nan", "p: 'nan' given"},
           {"/v1/moment?p=17", "up to 16"},
           {"/v1/sample?samples=x", "samples: 'x' given"},
           {"/v1/sample?samples=10001", "from 1 to 10000"},
           {"/v1/sample?without_replacement=yes", "expected 0 or 1"},
           {"/v1/norm?format=xml", "format: 'xml' given, expected json, csv, table or svg"},
           {"/v1/status?x=1", "unknown parameter 'x': expected none"}}) {
    const std::string error = job.get(target, 400)["error"];
    EXPECT_NE(error.find(part), std::string::npos) << target << ": " << error;
  }
  EXPECT_NE(job.get("/v1/nothing", 404)["error"].get<std::string>().find("expected /, /v1/norm"), std::string::npos);
  job.get("/metrics", 404);  // nobody has any
  job.get("/%00", 404);
  const httplib::Result wrong = job.client().Post("/v1/norm", "", "text/plain");
  EXPECT_EQ(wrong->status, 405);
  EXPECT_EQ(wrong->get_header_value("Allow"), "GET, HEAD");
  EXPECT_EQ(job.client().Get("/v1/inner")->status, 405);
  EXPECT_EQ(job.client().Delete("/v1/norm")->status, 405);
  const httplib::Result head = job.client().Head("/v1/norm");
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->body, "");
  EXPECT_EQ(head->get_header_value("X-Weir"), WEIR_VERSION);
}

TEST(Serve, NumbersThatCannotBeMeasuredAreAnErrorOfTheJob) {
  RunningJob job;
  job.published.publish(epoch_of(spike(1e200)));
  EXPECT_FALSE(job.get("/v1/norm", 500)["error"].get<std::string>().empty());
}

TEST(Serve, BeforeTheFirstEpochItSaysSo) {
  RunningJob job({}, {}, false);
  for (const std::string target : {"/v1/norm", "/v1/sample", "/v1/status"})
    EXPECT_NE(job.get(target, 503)["error"].get<std::string>().find("first epoch"), std::string::npos);
  EXPECT_EQ(job.get("/v1/history")["epochs"], json::array());
  EXPECT_EQ(job.client().Get("/")->status, 200);
  job.published.publish(epoch_of(spike(5)));
  EXPECT_EQ(job.get("/v1/norm")["norm"], 5.0);
}

TEST(Serve, TheHistoryIsThatOfTheEpochs) {
  RunningJob job({}, {}, false);
  Epoch known = epoch_of(spike(1), 1);
  known.norm = Estimate{1, 0.5};
  job.published.publish(std::move(known));
  for (std::uint64_t k = 2; k <= Published::longest_history + 3; ++k)
    job.published.publish(epoch_of(spike(static_cast<double>(k)), k));
  job.get("/v1/norm");
  const json epochs = job.get("/v1/history")["epochs"];
  ASSERT_EQ(epochs.size(), Published::longest_history);
  EXPECT_EQ(epochs[0], (json{{"epoch", 4}, {"time", 1795959760.25}, {"updates", 1}})) << "nobody asked for its norm";
  EXPECT_EQ(epochs.back()["epoch"], Published::longest_history + 3);
  EXPECT_EQ(epochs.back()["norm"], static_cast<double>(Published::longest_history + 3));

  RunningJob other({}, {}, false);
  Epoch again = epoch_of(spike(1), 1);
  again.norm = Estimate{1, 0.5};
  other.published.publish(std::move(again));
  EXPECT_EQ(other.get("/v1/history")["epochs"][0]["norm_bound"], 0.5);
}

TEST(Serve, AnInnerProductIsAskedWithAStateFile) {
  const RunningJob job;
  const auto post = [&](const std::string& body) { return job.client().Post("/v1/inner?name=z", body, "x/y"); };
  const auto bytes_of = [](const State& state) {
    const std::vector<std::byte> bytes = serialise(state);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const std::string other = bytes_of(spike(-3));
  const httplib::Result result = post(other);
  ASSERT_EQ(result->status, 200) << result->body;
  const json answer = json::parse(result->body);
  EXPECT_EQ(answer["inner"][0]["state"], "z");
  EXPECT_EQ(answer["inner"][0]["value"], -15.0);
  EXPECT_EQ(answer["epoch"], 1);

  std::string damaged = other;
  damaged[damaged.size() / 2] ^= 1;
  for (const auto& [body, part] : {std::pair<std::string, std::string>{"", "the body"},
                                   {"no state", "the body"},
                                   {damaged, "the body"},
                                   {other.substr(0, other.size() / 2), "the body"},
                                   {other + "x", "the body"},
                                   {bytes_of(spike(1, 8)), "seed"}}) {
    const httplib::Result refused = post(body);
    EXPECT_EQ(refused->status, 400);
    EXPECT_NE(json::parse(refused->body)["error"].get<std::string>().find(part), std::string::npos) << refused->body;
  }
}

TEST(Serve, MetricsAloneAreServedAsWell) {
  const testing_support::TemporaryDirectory folder;
  MetricsBoard board;
  board.set({.ranks = {{.updates = 17}}});
  const Server server("--metrics", "tcp:127.0.0.1:0", {.metrics = [&] { return to_prometheus(board.get(), 0); }});
  httplib::Client client("127.0.0.1", parse_address("", server.address()).port);
  const httplib::Result result = client.Get("/metrics");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status, 200);
  EXPECT_EQ(result->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(result->body.find("\nweir_updates_total 17\n"), std::string::npos);
  board.set({.ranks = {{.updates = 18}}});
  EXPECT_NE(client.Get("/metrics")->body.find("\nweir_updates_total 18\n"), std::string::npos);
  EXPECT_EQ(client.Get("/v1/norm")->status, 404);
  EXPECT_EQ(client.Get("/")->status, 404);
}

TEST(Serve, ThePageNeedsNothingFromElsewhere) {
  const RunningJob job;
  const httplib::Result page = job.client().Get("/");
  ASSERT_EQ(page->status, 200);
  EXPECT_EQ(page->get_header_value("Content-Type"), "text/html; charset=utf-8");
  EXPECT_NE(page->get_header_value("Content-Security-Policy").find("default-src 'none'"), std::string::npos);
  EXPECT_NE(page->body.find("v1/sample"), std::string::npos);
  std::string rest = page->body;
  for (const std::string name : {"http://www.w3.org/2000/svg"})
    for (std::size_t at; (at = rest.find(name)) != std::string::npos;) rest.erase(at, name.size());
  EXPECT_EQ(rest.find("http:"), std::string::npos);
  EXPECT_EQ(rest.find("https:"), std::string::npos);
}

// ---------------------------------------------------------------------------------------------------------------------
// Many at once.

/// 1000 epochs, the k-th of which has y[7] = k and k updates, while four clients ask: no answer mixes two of them.
TEST(ServeThreads, EveryAnswerIsOfOneEpoch) {
  RunningJob job({}, {}, false);
  constexpr std::uint64_t epochs = 1000;
  std::atomic<bool> is_over = false;
  std::atomic<bool> has_failed = false;
  std::atomic<std::uint64_t> answers = 0;
  std::vector<std::string> failures(4);
  std::vector<std::set<std::uint64_t>> seen(4);
  std::vector<std::thread> clients;
  const std::vector<std::string> targets{"/v1/query?norm=1&i=7&top=1", "/v1/sample?samples=2", "/v1/norm",
                                         "/v1/moment?p=2"};
  for (std::size_t c = 0; c < failures.size(); ++c)
    clients.emplace_back([&, c] {
      std::uint64_t last = 0;
      for (std::size_t k = c; failures[c].empty() && !(is_over && last == epochs); ++k) {
        const httplib::Result result = job.client().Get(targets[k % targets.size()]);
        if (!result) {
          failures[c] = httplib::to_string(result.error());
          has_failed = true;
          break;
        }
        if (result->status == 503 && last == 0) continue;
        const json answer = json::parse(result->body);
        const std::uint64_t epoch = answer.value("epoch", std::uint64_t{0});
        const auto value = static_cast<double>(epoch);
        const auto is = [&](const json& number) { return number.get<double>() == value; };
        bool is_right = result->status == 200 && epoch >= last && epoch >= 1 && answer["updates"] == epoch &&
                        answer["time"] == 1795959756.25 + value && answer["final"] == (epoch == epochs);
        if (answer.contains("norm")) is_right = is_right && is(answer["norm"]);
        for (const std::string list : {"points", "top", "samples"})
          if (answer.contains(list)) {
            is_right = is_right && !answer[list].empty();
            for (const json& item : answer[list]) is_right = is_right && item["index"] == 7 && is(item["value"]);
          }
        if (answer.contains("moments"))
          is_right = is_right && std::abs(answer["moments"][0]["value"].get<double>() / (value * value) - 1) < 1e-9;
        if (!is_right) {
          failures[c] = result->body;
          has_failed = true;
        }
        last = epoch;
        seen[c].insert(epoch);
        ++answers;
      }
    });
  // Each epoch waits until somebody has been answered since the one before, so that clients see many of them.
  for (std::uint64_t k = 1; k <= epochs; ++k) {
    State state = spike(static_cast<double>(k));
    state.updates = k;
    Epoch epoch = epoch_of(std::move(state), k);
    epoch.stamp.is_final = k == epochs;
    const std::uint64_t before = answers;
    job.published.publish(std::move(epoch));
    while (k % 4 == 0 && answers == before && !has_failed) std::this_thread::yield();
  }
  is_over = true;
  for (std::thread& client : clients) client.join();
  std::set<std::uint64_t> all;
  for (std::size_t c = 0; c < failures.size(); ++c) {
    EXPECT_EQ(failures[c], "");
    all.insert(seen[c].begin(), seen[c].end());
  }
  EXPECT_GT(all.size(), 100U);
}

TEST(ServeThreads, AStateStaysUntilItsQuestionIsAnswered) {
  std::atomic<bool> may_go_on = false, is_asked = false;
  RunningJob job({}, {.labels = [&](const std::vector<EntryIndex>&) {
                   is_asked = true;
                   while (!may_go_on) std::this_thread::yield();
                   return LabelMaps();
                 }});
  const std::weak_ptr<const State> first = job.published.latest()->state;
  json answer;
  std::thread client([&] { answer = job.get("/v1/point?i=7"); });
  while (!is_asked) std::this_thread::yield();
  job.published.publish(epoch_of(spike(6), 2));
  EXPECT_FALSE(first.expired());
  may_go_on = true;
  client.join();
  EXPECT_EQ(answer["epoch"], 1);
  EXPECT_EQ(answer["points"][0]["value"], 5.0);
  // The thread drops its epoch before it hands over the reply.
  EXPECT_TRUE(first.expired());
}

TEST(ServeThreads, StatusAndMetricsDoNotWaitForLongQuestions) {
  std::atomic<bool> may_go_on = false;
  std::atomic<int> asked = 0;
  RunningJob job({.threads = 3}, {.labels =
                                      [&](const std::vector<EntryIndex>&) {
                                        ++asked;
                                        while (!may_go_on) std::this_thread::yield();
                                        return LabelMaps();
                                      },
                                  .metrics = [] { return std::string("weir_up 1\n"); }});
  std::vector<std::thread> clients;
  for (int k = 0; k < 5; ++k) clients.emplace_back([&] { job.get("/v1/point?i=7"); });
  while (asked < 2) std::this_thread::yield();
  EXPECT_EQ(job.get("/v1/status")["epoch"], 1);
  EXPECT_EQ(job.client().Get("/metrics")->body, "weir_up 1\n");
  EXPECT_EQ(asked, 2) << "one thread is kept for them";
  may_go_on = true;
  for (std::thread& client : clients) client.join();
}

TEST(ServeThreads, TheEndWaitsForAnswersThatAreBeingWorkedOut) {
  std::atomic<bool> may_go_on = false, is_asked = false;
  RunningJob job({}, {.labels = [&](const std::vector<EntryIndex>&) {
                   is_asked = true;
                   while (!may_go_on) std::this_thread::yield();
                   return LabelMaps();
                 }});
  json answer;
  std::thread client([&] { answer = job.get("/v1/point?i=7"); });
  const RawClient idle(job.path);
  while (!is_asked) std::this_thread::yield();
  std::thread end([&] { job.server.reset(); });
  EXPECT_EQ(idle.receive_all(), "") << "who has not asked anything is sent away at once";
  may_go_on = true;
  end.join();
  client.join();
  EXPECT_EQ(answer["points"][0]["value"], 5.0);
}

}  // namespace
}  // namespace weir::app
