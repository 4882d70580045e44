#include "serve.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "formats.hpp"
#include "page.hpp"
#include "plots.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/setting.hpp"

namespace weir::app {
namespace {

using Json = nlohmann::ordered_json;

// A URL is at most as long as the head of a request, which bounds lists; these bound the replies.
constexpr std::uint64_t most_top = 10000;
constexpr std::uint64_t most_samples = 10000;

std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n'; }

HttpReply error_reply(int status, std::string_view message) {
  return {.status = status, .body = dump(Json{{"error", message}})};
}

/// A request that cannot be answered as it is.
struct Refusal {
  int status;
  std::string message;
};

/// The parameters of a request, each at most once, all of them known.
class Parameters {
 public:
  Parameters(const HttpRequest& request, const std::set<std::string>& known) : request_(request) {
    for (const auto& [name, value] : request.parameters) {
      if (!known.contains(name))
        throw Refusal{
            400, fmt::format("unknown parameter '{}': {}", name.substr(0, 100),
                             known.empty() ? "expected none" : fmt::format("expected {}", fmt::join(known, ", ")))};
      if (request.parameters.count(name) > 1) throw Refusal{400, fmt::format("{}: given twice", name)};
    }
  }
  [[nodiscard]] const std::string* find(const std::string& name) const {
    const auto found = request_.parameters.find(name);
    return found == request_.parameters.end() ? nullptr : &found->second;
  }
  [[nodiscard]] bool flag(const std::string& name, bool otherwise) const {
    const std::string* text = find(name);
    if (text == nullptr) return otherwise;
    if (*text == "1" || *text == "true") return true;
    if (*text == "0" || *text == "false") return false;
    throw bad(name, *text, "0 or 1");
  }
  [[nodiscard]] std::uint64_t whole(const std::string& name, std::uint64_t otherwise, std::uint64_t most) const {
    const std::string* text = find(name);
    return text == nullptr ? otherwise : parse_whole(name, *text, 1, most);
  }
  [[nodiscard]] std::vector<EntryIndex> points(const std::string& name) const {
    std::vector<EntryIndex> points;
    for (const std::string& item : items(name)) {
      const std::size_t colon = item.find(':');
      EntryIndex point{parse_whole(name, item.substr(0, colon), 0, largest_index)};
      if (colon != std::string::npos) point.column = parse_whole(name, item.substr(colon + 1), 0, largest_index);
      points.push_back(point);
    }
    return points;
  }
  [[nodiscard]] std::vector<double> exponents(const std::string& name) const {
    std::vector<double> values;
    for (const std::string& item : items(name)) {
      double value = 0;
      const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), value);
      if (error != std::errc() || end != item.data() + item.size() || !(value > 0 && value <= 16))
        throw bad(name, item, "a number above 0 and up to 16");
      values.push_back(value);
    }
    return values;
  }

 private:
  static constexpr std::uint64_t largest_index = (std::uint64_t{1} << 63) - 1;

  static Refusal bad(const std::string& name, const std::string& text, std::string_view expected) {
    return {400, fmt::format("{}: '{}' given, expected {}", name, text.substr(0, 100), expected)};
  }
  static std::uint64_t parse_whole(const std::string& name, const std::string& text, std::uint64_t least,
                                   std::uint64_t most) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
      throw bad(name, text, fmt::format("a whole number from {} to {}", least, most));
    return value;
  }
  [[nodiscard]] std::vector<std::string> items(const std::string& name) const {
    std::vector<std::string> list;
    const std::string* text = find(name);
    if (text == nullptr) return list;
    for (std::size_t start = 0; start <= text->size();) {
      const std::size_t comma = std::min(text->find(',', start), text->size());
      list.push_back(text->substr(start, comma - start));
      start = comma + 1;
    }
    return list;
  }

  const HttpRequest& request_;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Answers {
 public:
  explicit Answers(Service service) : service_(std::move(service)) {}

  [[nodiscard]] HttpReply reply(const HttpRequest& request) const {
    HttpReply reply;
    try {
      reply = dispatch(request);
    } catch (const Refusal& refusal) {
      reply = error_reply(refusal.status, refusal.message);
    } catch (const UsageError& error) {
      reply = error_reply(400, error.what());
    } catch (const Error& error) {
      // The numbers of the state cannot be measured; see State::require_range().
      reply = error_reply(500, error.what());
    }
    reply.headers.emplace(server_header, WEIR_VERSION);
    return reply;
  }
  [[nodiscard]] static bool is_quick(const std::string& path) {
    return path == "/" || path == "/metrics" || path == "/v1/status" || path == "/v1/history";
  }

 private:
  struct Endpoint {
    std::string_view path;
    bool is_post;
    bool needs_epochs;
    HttpReply (Answers::*answer)(const HttpRequest&) const;
  };
  static const std::array<Endpoint, 11>& endpoints();

  [[nodiscard]] HttpReply dispatch(const HttpRequest& request) const {
    std::vector<std::string_view> paths;
    for (const Endpoint& endpoint : endpoints()) {
      const bool is_there = endpoint.needs_epochs ? service_.published != nullptr : service_.metrics != nullptr;
      if (!is_there) continue;
      paths.push_back(endpoint.path);
      if (request.path != endpoint.path) continue;
      const bool is_right =
          endpoint.is_post ? request.method == "POST" : request.method == "GET" || request.method == "HEAD";
      if (is_right) return (this->*endpoint.answer)(request);
      const std::string_view allowed = endpoint.is_post ? "POST" : "GET, HEAD";
      HttpReply reply = error_reply(405, fmt::format("{} {}: expected {}", request.method, endpoint.path, allowed));
      reply.headers.emplace("Allow", allowed);
      return reply;
    }
    throw Refusal{404, fmt::format("there is no {}: expected {}", request.path.substr(0, 100), fmt::join(paths, ", "))};
  }

  [[nodiscard]] std::shared_ptr<const Epoch> epoch() const {
    auto latest = service_.published->latest();
    if (latest == nullptr) throw Refusal{503, "the first epoch has not ended yet; ask again later"};
    return latest;
  }

  /// What does not depend on the question.
  static Run run_of(const Epoch& epoch) {
    Run run = epoch.run;
    run.epoch = epoch.stamp;
    return run;
  }
  [[nodiscard]] LabelMaps labels_of(const std::vector<EntryIndex>& entries, const State& state) const {
    LabelMaps labels = service_.labels && !entries.empty() ? service_.labels(entries) : LabelMaps();
    add_names(state.problem(), state.names, entries, labels);
    return labels;
  }

  template <class Report>
  static HttpReply formatted(const Parameters& parameters, const Report& report,
                             Records (*records)(const nlohmann::ordered_json&)) {
    const std::string* format = parameters.find("format");
    if (format == nullptr || *format == "json") return {.body = json_text(to_json(report), Format::ndjson) + '\n'};
    if (*format == "csv")
      return {.content_type = "text/csv; charset=utf-8", .body = csv_text(records(to_json(report)), true)};
    if (*format == "table") return {.content_type = "text/plain; charset=utf-8", .body = to_table(report)};
    if (*format == "svg") return {.content_type = "image/svg+xml", .body = to_svg(report)};
    throw Refusal{400, fmt::format("format: '{}' given, expected json, csv, table or svg", format->substr(0, 100))};
  }

  [[nodiscard]] HttpReply answer(const Parameters& parameters, const Question& question) const {
    const auto now = epoch();
    const State& state = *now->state;
    setting_of(state.problem()).check_question(state.problem(), question);
    const auto start = std::chrono::steady_clock::now();
    QueryReport report{.problem = state.problem(), .run = run_of(*now), .answer = state.answer(question)};
    report.run.query_seconds = seconds_since(start);
    if (report.answer.norm) service_.published->remember_norm(now->stamp.number, *report.answer.norm);
    std::vector<EntryIndex> entries = question.points;
    if (report.answer.top)
      for (const HeavyCoordinate& coordinate : *report.answer.top) entries.push_back(entry_of(coordinate));
    report.labels = labels_of(entries, state);
    return formatted(parameters, report, query_records);
  }

  [[nodiscard]] HttpReply norm(const HttpRequest& request) const {
    const Parameters parameters(request, {"format"});
    return answer(parameters, {.norm = true});
  }
  [[nodiscard]] HttpReply point(const HttpRequest& request) const {
    const Parameters parameters(request, {"format", "i"});
    if (parameters.find("i") == nullptr) throw Refusal{400, "expected i=I[,I...], the indices"};
    return answer(parameters, {.points = parameters.points("i")});
  }
  [[nodiscard]] HttpReply top(const HttpRequest& request) const {
    const Parameters parameters(request, {"format", "k"});
    return answer(parameters, {.top = static_cast<std::size_t>(parameters.whole("k", 10, most_top))});
  }
  [[nodiscard]] HttpReply moment(const HttpRequest& request) const {
    const Parameters parameters(request, {"format", "p"});
    if (parameters.find("p") == nullptr) throw Refusal{400, "expected p=P[,P...], the exponents"};
    return answer(parameters, {.moments = parameters.exponents("p")});
  }
  [[nodiscard]] HttpReply query(const HttpRequest& request) const {
    const Parameters parameters(request, {"format", "norm", "top", "i", "p"});
    const Question question{
        .norm = parameters.flag("norm", false),
        .top = parameters.find("top") == nullptr ? 0 : static_cast<std::size_t>(parameters.whole("top", 10, most_top)),
        .points = parameters.points("i"),
        .moments = parameters.exponents("p")};
    return answer(parameters, question);
  }

  [[nodiscard]] HttpReply inner(const HttpRequest& request) const {
    const Parameters parameters(request, {"format", "name"});
    const std::string* name = parameters.find("name");
    const auto now = epoch();
    const State& state = *now->state;
    const Setting& setting = setting_of(state.problem());
    if (setting.traits().draws_rows) throw Refusal{400, fmt::format("{} has no vector y", setting.label())};
    std::optional<State> other;
    try {
      other = deserialise(std::as_bytes(std::span(request.body)), "the body");
    } catch (const InputError& error) {
      throw Refusal{400, error.what()};
    }
    const Question question{.inner = &*other};
    setting.check_question(state.problem(), question);
    const auto start = std::chrono::steady_clock::now();
    const Answer answer = state.answer(question);
    QueryReport report{.problem = state.problem(), .run = run_of(*now), .answer = {}};
    report.run.query_seconds = seconds_since(start);
    if (answer.inner) report.inner.push_back({name == nullptr ? "the body" : *name, *answer.inner});
    return formatted(parameters, report, query_records);
  }

  [[nodiscard]] HttpReply sample(const HttpRequest& request) const {
    const Parameters parameters(request, {"format", "samples", "without_replacement"});
    const auto now = epoch();
    const State& state = *now->state;
    Question question;
    question.draw = service_.draw;
    question.draw->samples =
        static_cast<std::uint32_t>(parameters.whole("samples", service_.draw.samples, most_samples));
    question.draw->without_replacement = parameters.flag("without_replacement", service_.draw.without_replacement);
    setting_of(state.problem()).check_question(state.problem(), question);
    const auto start = std::chrono::steady_clock::now();
    SampleReport report{.problem = state.problem(),
                        .run = run_of(*now),
                        .answer = state.answer(question),
                        .wanted = question.draw->samples,
                        .without_replacement = question.draw->without_replacement,
                        .softmax = question.draw->softmax};
    report.run.query_seconds = seconds_since(start);
    if (const auto bound = report.answer.draws_norm_bound)
      service_.published->remember_norm(now->stamp.number, {report.answer.draws.norm, *bound});
    std::vector<EntryIndex> entries;
    for (const Draw& draw : report.answer.draws.draws) entries.push_back(entry_of(draw));
    report.labels = labels_of(entries, state);
    HttpReply reply = formatted(parameters, report, sample_records);
    reply.headers.emplace("X-Weir-Draws", fmt::to_string(report.answer.draws.draws.size()));
    return reply;
  }

  [[nodiscard]] HttpReply history(const HttpRequest& request) const {
    (void)Parameters(request, {});
    Json epochs = Json::array();
    for (const PastEpoch& past : service_.published->history()) {
      Json item{{"epoch", past.stamp.number}, {"time", past.stamp.time}, {"updates", past.updates}};
      if (past.norm && std::isfinite(past.norm->value)) item["norm"] = past.norm->value;
      if (past.norm && std::isfinite(past.norm->bound)) item["norm_bound"] = past.norm->bound;
      epochs.push_back(std::move(item));
    }
    return {.body = dump({{"epochs", std::move(epochs)}})};
  }

  [[nodiscard]] HttpReply status(const HttpRequest& request) const {
    (void)Parameters(request, {});
    const auto now = epoch();
    const Problem& problem = now->state->problem();
    Json json = to_json(QueryReport{.problem = problem, .run = run_of(*now), .answer = {}});
    json["age_seconds"] = std::max(0.0, unix_time() - now->stamp.time);
    json["version"] = WEIR_VERSION;
    json["problem"] = Json::parse(to_text(problem));
    return {.body = dump(json)};
  }

  [[nodiscard]] HttpReply metrics(const HttpRequest& request) const {
    (void)Parameters(request, {});
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = service_.metrics()};
  }

  [[nodiscard]] HttpReply page(const HttpRequest&) const {
    HttpReply reply{.content_type = "text/html; charset=utf-8", .body = std::string(page_html)};
    reply.headers.emplace("Content-Security-Policy",
                          "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src "
                          "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    return reply;
  }

  Service service_;
};

const std::array<Answers::Endpoint, 11>& Answers::endpoints() {
  static constexpr std::array<Endpoint, 11> all{{
      {"/", false, true, &Answers::page},
      {"/metrics", false, false, &Answers::metrics},
      {"/v1/norm", false, true, &Answers::norm},
      {"/v1/point", false, true, &Answers::point},
      {"/v1/top", false, true, &Answers::top},
      {"/v1/moment", false, true, &Answers::moment},
      {"/v1/query", false, true, &Answers::query},
      {"/v1/sample", false, true, &Answers::sample},
      {"/v1/inner", true, true, &Answers::inner},
      {"/v1/history", false, true, &Answers::history},
      {"/v1/status", false, true, &Answers::status},
  }};
  return all;
}

}  // namespace

Server::Server(const std::string& option, const std::string& address, Service service, const HttpLimits& limits)
    : http_(option, parse_address(option, address),
            {.handler = [answers = std::make_shared<const Answers>(std::move(service))](
                            const HttpRequest& request) { return answers->reply(request); },
             .is_quick = &Answers::is_quick,
             .limits = limits}) {}

}  // namespace weir::app
