#include "outside.hpp"

#include <fmt/format.h>

#include <utility>

#include "address.hpp"
#include "http_server.hpp"
#include "weir/error.hpp"

namespace weir::app {

void OutsideOptions::check() const {
  std::optional<Address> first;
  for (const auto& [option, text] : {std::pair("--serve", &serve), {"--metrics", &metrics}}) {
    const bool is_file = option == std::string_view("--metrics") && !looks_like_address(*text);
    if (text->empty() || is_file) continue;
    const Address address = parse_address(option, *text);
    if (!has_http())
      throw UsageError(
          fmt::format("{} {}: this weir was built without cpp-httplib, which answers HTTP", option, *text));
    if (first == address && (address.is_unix || address.port != 0))
      throw UsageError(fmt::format("--metrics {}: --serve answers there, and has /metrics as well", *text));
    first = address;
  }
}

void add_outside_options(CLI::App& app, OutsideOptions& options) {
  const std::string group = "Running jobs";
  const CLI::Validator not_empty(
      [](const std::string& text) {
        return text.empty() ? std::string("an empty text given, expected an address") : std::string();
      },
      "");
  app.add_option("--serve", options.serve,
                 "Answer questions about the last epoch over HTTP while the stream runs: unix:PATH (a\n"
                 "socket file that only you can open), tcp:PORT of this machine alone, or\n"
                 "tcp:HOST:PORT. There is no password: a HOST that others reach lets all of them ask.\n"
                 "Port 0 finds a free one. \"weir query --at\" and \"weir sample --at\" ask, and a browser\n"
                 "shows the draws at /")
      ->check(not_empty)
      ->type_name("ADDRESS")
      ->group(group);
  app.add_option("--metrics", options.metrics,
                 "Write figures about the job in Prometheus text format to this file at the end of\n"
                 "every epoch, or serve them under /metrics of an ADDRESS like that of --serve, which\n"
                 "has /metrics anyway")
      ->check(not_empty)
      ->type_name("FILE|ADDRESS")
      ->group(group);
  const auto parsed = [](const std::string& option, const auto& parse) {
    return [option, parse](const std::string& text) {
      try {
        parse(text);
      } catch (const UsageError& error) {
        throw CLI::ValidationError(error.what());
      }
    };
  };
  app.add_option_function<std::string>(
         "--log-level",
         parsed("--log-level", [&options](const std::string& text) { options.log.level = parse_log_level(text); }),
         "Which events of the running job are written to standard error, one a line, with time\n"
         "and rank: at each level those of the levels before it as well")
      ->type_name("error|warning|info|debug")
      ->default_str("warning")
      ->group(group);
  app.add_option_function<std::string>(
         "--log-format",
         parsed("--log-format", [&options](const std::string& text) { options.log.format = parse_log_format(text); }),
         "How these lines look: words for people, or a JSON object each")
      ->type_name("text|json")
      ->default_str("text")
      ->group(group);
}

Outside::Outside(const OutsideOptions& options, std::function<LabelMaps(const std::vector<EntryIndex>&)> labels,
                 const DrawQuestion& draw) {
  options.check();
  const auto page = [this] { return to_prometheus(board_.get(), unix_time()); };
  if (!options.metrics.empty() && !looks_like_address(options.metrics)) {
    metrics_path_ = options.metrics;
    replace_file(metrics_path_, page());
  }
  if (!options.serve.empty())
    server_.emplace("--serve", options.serve,
                    Service{.published = &published_, .labels = std::move(labels), .metrics = page, .draw = draw});
  if (!options.metrics.empty() && metrics_path_.empty())
    metrics_server_.emplace("--metrics", options.metrics, Service{.metrics = page});
  for (const std::string& address : addresses()) log(LogLevel::info, "listening", {{"address", address}});
}

void Outside::set(Metrics metrics) {
  board_.set(std::move(metrics));
  if (metrics_path_.empty()) return;
  try {
    replace_file(metrics_path_, to_prometheus(board_.get(), unix_time()));
  } catch (const InputError& error) {
    log(LogLevel::warning, "metrics_not_written", {{"why", error.what()}});
  }
}

std::vector<std::string> Outside::addresses() const {
  std::vector<std::string> list;
  for (const std::optional<Server>* server : {&server_, &metrics_server_})
    if (*server) list.push_back((*server)->address());
  return list;
}

}  // namespace weir::app
