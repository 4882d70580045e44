#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "http_server.hpp"
#include "published.hpp"
#include "report.hpp"
#include "weir/state/question.hpp"

namespace weir::app {

/// The header of every reply, with the version of weir; a client knows by it that it talks to a weir.
inline constexpr std::string_view server_header = "X-Weir";

/// What a Server answers from. What it calls and refers to outlives it, and is used by several threads at once.
struct Service {
  /// The epochs; null for metrics alone.
  Published* published = nullptr;
  /// The names of entries; none without.
  std::function<LabelMaps(const std::vector<EntryIndex>&)> labels = {};
  /// The page of metrics; none without.
  std::function<std::string()> metrics = {};
  /// Threshold and metric of draws; the number of samples, and whether with replacement, where a request does not say.
  DrawQuestion draw = {};
};

/// Answers questions to a running job over HTTP, about its last epoch, while ingest goes on. Each answer is of one epoch,
/// and says which: epoch, time, time_text and final stand beside the fields of `weir sample --json` and `weir query
/// --json`.
///
///   GET  /v1/norm
///   GET  /v1/point?i=3,17                        or i=1:2,5:0 where y is a matrix
///   GET  /v1/top?k=10
///   GET  /v1/moment?p=1,2
///   GET  /v1/query?norm=1&top=10&i=3,17&p=1,2    several of these, of one epoch
///   GET  /v1/sample?samples=8&without_replacement=1
///   POST /v1/inner                               the inner product with the state file that is the body
///   GET  /v1/history                             epoch, time, updates and norm of the last epochs
///   GET  /v1/status                              the problem, sizes, and the age of the epoch
///   GET  /metrics                                Prometheus text format
///   GET  /                                       a page for people, which draws samples and refreshes itself
///
/// query, sample and their parts take format=json, csv, table or svg. Errors are {"error": "..."}: 400 for parameters and for
/// questions that this state does not answer, 404 and 405 for other paths and methods, 411 to 431 for requests that are too
/// large or framed in other ways, 503 before the first epoch. Whoever may connect may ask: there is no password.
class Server {
 public:
  /// Throws as HttpServer does. `option`: "--serve".
  Server(const std::string& option, const std::string& address, Service service, const HttpLimits& limits = {});
  /// Where it listens, as --at takes it.
  [[nodiscard]] std::string address() const { return to_string(http_.address()); }

 private:
  HttpServer http_;
};

}  // namespace weir::app
