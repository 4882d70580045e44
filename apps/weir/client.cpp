#include "client.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "address.hpp"
#include "plots.hpp"
#include "report.hpp"
#include "serve.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"

#ifdef WEIR_SERVE
#include <httplib.h>
#include <signal.h>
#endif

namespace weir::app {
namespace {

using Json = nlohmann::ordered_json;

/// A question may take long, where the state is large.
constexpr int longest_answer_seconds = 3600;

struct Reply {
  std::string body;
  bool has_draws = false;
};

#ifdef WEIR_SERVE

/// A server that closes early must not end this process.
class WithoutBrokenPipes {
 public:
  WithoutBrokenPipes() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, &before_);
  }
  ~WithoutBrokenPipes() { ::sigaction(SIGPIPE, &before_, nullptr); }
  WithoutBrokenPipes(const WithoutBrokenPipes&) = delete;
  WithoutBrokenPipes& operator=(const WithoutBrokenPipes&) = delete;

 private:
  struct sigaction before_ {};
};

/// GET, or POST where there is a body.
Reply ask(const std::string& address_text, const std::string& path, const httplib::Params& parameters,
          const std::string* body = nullptr) {
  const Address address = parse_address("--at", address_text);
  const WithoutBrokenPipes guard;
  httplib::Client client(address.is_unix ? address.path : address.host, address.is_unix ? 80 : address.port);
  if (address.is_unix) client.set_address_family(AF_UNIX);
  client.set_connection_timeout(5);
  client.set_read_timeout(longest_answer_seconds);
  const std::string target = httplib::append_query_params(path, parameters);
  const httplib::Result result =
      body == nullptr ? client.Get(target) : client.Post(target, *body, "application/octet-stream");
  if (!result) {
    const bool is_unreachable =
        result.error() == httplib::Error::Connection || result.error() == httplib::Error::ConnectionTimeout;
    throw InputError(fmt::format("{}: {}", to_string(address),
                                 is_unreachable
                                     ? "nobody answers there, expected a running weir that was started with --serve"
                                     : "the connection broke, or who answers there does not speak HTTP as weir does"));
  }
  if (!result->has_header(std::string(server_header)))
    throw InputError(fmt::format("{}: who answers there is not a running weir", to_string(address)));
  if (result->status == 200)
    return {.body = result->body, .has_draws = result->get_header_value("X-Weir-Draws") != "0"};
  const Json json = Json::parse(result->body, nullptr, false);
  const std::string reason = json.is_object() && json.contains("error") && json["error"].is_string()
                                 ? json["error"].get<std::string>()
                                 : fmt::format("status {}", result->status);
  const std::string message = fmt::format("{}: {}", to_string(address), reason);
  if (result->status == 400) throw UsageError(message);
  throw InputError(message);
}

#else

namespace httplib {
using Params = std::multimap<std::string, std::string>;
}

Reply ask(const std::string&, const std::string&, const httplib::Params&, const std::string* = nullptr) {
  throw UsageError("--at: this weir was built without cpp-httplib");
}

#endif

/// As a terminal may show it, whoever sent it.
std::string without_controls(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return (static_cast<unsigned char>(c) < ' ' && c != '\n') || c == '\x7f'; }, '?');
  return text;
}

Json parse(const std::string& body) {
  Json json = Json::parse(body, nullptr, false);
  if (!json.is_object()) throw InputError("--at: the answer is no JSON object");
  return json;
}

httplib::Params with_format(httplib::Params parameters, const std::string& format) {
  parameters.emplace("format", format);
  return parameters;
}

using RecordsOf = Records (*)(const Json&);

Asked as_json(Json json, RecordsOf records) {
  return {.report = {.json = [json = std::move(json)] { return json; }, .table = {}, .records = records}};
}
Asked as_table(std::string text) {
  return {.report = {.json = {}, .table = [text = std::move(text)] { return text; }}};
}

/// The answer as it is printed. Asks once more for the picture, which is of that moment.
Reply ask_formatted(const std::string& address, const std::string& path, const httplib::Params& parameters,
                    const AskedOutput& output) {
  Reply reply = ask(address, path, with_format(parameters, output.json ? "json" : "table"));
  if (!output.json) reply.body = without_controls(std::move(reply.body));
  if (!output.plot_path.empty()) write_plot(output.plot_path, ask(address, path, with_format(parameters, "svg")).body);
  return reply;
}

}  // namespace

void add_at_option(CLI::App& command, std::string& address) {
  command
      .add_option("--at", address,
                  "Ask a job that runs elsewhere, started with --serve ADDRESS, about its last epoch,\n"
                  "in place of reading a STREAM or a saved state. unix:PATH, tcp:HOST:PORT or tcp:PORT.\n"
                  "What the job has settled, such as the model, the sizes and the labels, cannot be\n"
                  "given")
      ->check(CLI::Validator(
          [](const std::string& text) {
            return text.empty() ? std::string("an empty text given, expected an address") : std::string();
          },
          ""))
      ->type_name("ADDRESS")
      ->group("Running jobs");
}

void require_only(const CLI::App& command, const std::set<std::string>& allowed) {
  for (const CLI::Option* option : command.get_options())
    if (const std::string name = option->get_name(); option->count() > 0 && name != "--at" && !allowed.contains(name))
      throw UsageError(fmt::format("--at asks a running job: {} cannot be given, expected only {}",
                                   option->get_positional() ? "a STREAM" : name, fmt::join(allowed, ", ")));
}

Asked query_at(const std::string& address, const Question& question, const std::vector<std::string>& others,
               const AskedOutput& output) {
  httplib::Params parameters;
  if (question.norm) parameters.emplace("norm", "1");
  if (question.top > 0) parameters.emplace("top", fmt::to_string(question.top));
  std::vector<std::string> points;
  for (const EntryIndex& point : question.points)
    points.push_back(point.column ? fmt::format("{}:{}", point.index, *point.column) : fmt::to_string(point.index));
  if (!points.empty()) parameters.emplace("i", fmt::format("{}", fmt::join(points, ",")));
  if (!question.moments.empty()) parameters.emplace("p", fmt::format("{}", fmt::join(question.moments, ",")));
  std::string text = ask_formatted(address, "/v1/query", parameters, output).body;
  Json inner = Json::array();
  for (const std::string& path : others) {
    const std::string state = read_whole_file(InputFile(path));
    const Json answer = parse(ask(address, "/v1/inner", {{"name", path}}, &state).body);
    const Json& item = answer.at("inner").at(0);
    inner.push_back(item);
    // Of a question of its own, between which and the others the job may have gone on.
    inner.back()["epoch"] = answer.at("epoch");
    if (!output.json) {
      text += fmt::format("inner     {} with {}, epoch {}\n",
                          with_bound({item.at("value").get<double>(), item.at("bound").get<double>()}), path,
                          answer.at("epoch").get<std::uint64_t>());
    }
  }
  if (!output.json) return as_table(std::move(text));
  Json json = parse(text);
  if (!others.empty()) json["inner"] = std::move(inner);
  return as_json(std::move(json), query_records);
}

Asked sample_at(const std::string& address, std::uint64_t samples, bool without_replacement,
                const AskedOutput& output) {
  httplib::Params parameters;
  if (samples > 0) parameters.emplace("samples", fmt::to_string(samples));
  if (without_replacement) parameters.emplace("without_replacement", "1");
  Reply reply = ask_formatted(address, "/v1/sample", parameters, output);
  Asked asked = output.json ? as_json(parse(reply.body), sample_records) : as_table(std::move(reply.body));
  asked.code = reply.has_draws ? done : nothing_drawn;
  return asked;
}

Asked inspect_at(const std::string& address, const AskedOutput& output) {
  Json status = parse(ask(address, "/v1/status", {}).body);
  if (output.json) return as_json(std::move(status), field_records);
  const auto age = status.at("age_seconds").get<double>();
  return as_table(without_controls(ask(address, "/v1/query", {{"format", "table"}}).body) +
                  fmt::format("age       {:.1f} s\n", age));
}

}  // namespace weir::app
