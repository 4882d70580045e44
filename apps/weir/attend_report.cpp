#include "attend_report.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace weir::app {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no infinities: null says that a number is none.
Json number(double value) { return std::isfinite(value) ? Json(value + 0.0) : Json(); }

double each(double seconds, std::uint64_t count) { return count == 0 ? 0 : seconds / static_cast<double>(count); }

Json errors_json(const OutputErrors& errors) {
  return {{"relative_frobenius", number(errors.frobenius)},
          {"median", number(errors.median)},
          {"p99", number(errors.percentile_99)},
          {"max", number(errors.largest)}};
}

std::string bytes_text(std::uint64_t bytes) {
  if (bytes < 10 * 1024) return fmt::format("{} bytes", bytes);
  if (bytes < std::uint64_t{10} << 20) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

std::string duration_text(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  return fmt::format("{:.3g} s", seconds);
}

}  // namespace

EstimatedErrors estimated_errors(std::vector<double> each) {
  return {quantile(each, 0.5), quantile(each, 0.99), quantile(each, 1), std::move(each)};
}

Json to_json(const AttendReport& report) {
  Json json;
  if (report.epoch) add_epoch(json, *report.epoch);
  json["mode"] = report.mode;
  json["n"] = report.n;
  json["queries"] = report.queries;
  json["d"] = report.d;
  json["dv"] = report.dv;
  json["scale"] = number(report.scale);
  json["ranks"] = report.ranks;
  json["updates"] = report.updates;
  json["skipped"] = report.skipped;
  json["seed"] = report.seed;
  json["degree"] = report.degree;
  json["features"] = report.features;
  json["exact_rows"] = report.exact_rows;
  json["clusters"] = report.clusters;
  if (report.sparsity) json["sparsity"] = *report.sparsity;
  if (report.m1) json["m1"] = *report.m1;
  if (report.m2) json["m2"] = *report.m2;
  if (report.window) json["window"] = *report.window;
  json["directions"] = report.directions;
  json["varied_directions"] = report.varied_directions;
  json["calibration_bytes"] = report.calibration_bytes;
  json["state_bytes"] = report.state_bytes;
  json["peak_bytes"] = report.peak_bytes;
  json["cache_bytes"] = report.cache_bytes();
  json["seconds"] = {{"features", number(report.calibration_seconds)},
                     {"ingest", number(report.ingest_seconds)},
                     {"merge", number(report.merge_seconds)},
                     {"answer", number(report.query_seconds)},
                     {"recover", number(report.query_seconds + report.recover_seconds)},
                     {"token", number(each(report.ingest_seconds, report.updates))},
                     {"query", number(each(report.query_seconds, report.queries))}};
  json["fallbacks"] = report.fallbacks;
  if (report.estimated)
    json["estimated_error"] = {{"median", number(report.estimated->median)},
                               {"p99", number(report.estimated->percentile_99)},
                               {"max", number(report.estimated->largest)}};
  if (report.comparison) {
    const Comparison& comparison = *report.comparison;
    Json error = errors_json(comparison.errors);
    if (comparison.best_k) error["best_k"] = number(*comparison.best_k);
    error["mean_only"] = number(comparison.mean_only);
    json["error"] = std::move(error);
    json["seconds"]["exact_query"] = number(each(comparison.exact_seconds, report.queries));
    json["peers"] = Json::object();
    for (const auto& [name, peer] : comparison.peers) {
      Json entry = errors_json(peer.errors);
      entry["kept"] = peer.kept;
      entry["bytes"] = peer.bytes;
      entry["seconds"] = {{"token", number(each(peer.seconds_rows, report.n))},
                          {"query", number(each(peer.seconds_queries, report.queries))}};
      json["peers"][name] = std::move(entry);
    }
  }
  return json;
}

std::string to_table(const AttendReport& report) {
  constexpr auto line = "{:<12}{}\n";
  std::string text = fmt::format("attention, {}\n", report.mode);
  text += fmt::format(line, "tokens",
                      fmt::format("{}; keys of {} numbers, values of {}; scores {:.6g} q.k", report.n, report.d,
                                  report.dv, report.scale));
  if (report.features > 0)
    text += fmt::format(
        line, "features",
        fmt::format("{}{} of degree {} at most{}",
                    report.clusters > 1 ? fmt::format("{} clusters, each with ", report.clusters) : "", report.features,
                    report.degree, report.directions > 0 ? fmt::format(", in {} directions", report.directions) : ""));
  if (report.window)
    text +=
        fmt::format(line, "window", fmt::format("{} recent tokens are exact, and those of the block", *report.window));
  if (report.sparsity)
    text += fmt::format(
        line, "outputs",
        fmt::format("{} entries a column, from a sketch of {} rows", *report.sparsity, report.m1.value_or(0)));
  if (report.mode != "exact")
    text += fmt::format(line, "state",
                        fmt::format("{}, of which the calibration is {}; {} exact rows; all keys and values are {}",
                                    bytes_text(report.state_bytes), bytes_text(report.calibration_bytes),
                                    report.exact_rows, bytes_text(report.cache_bytes())));
  text += fmt::format(line, "memory", fmt::format("at most about {} on a rank", bytes_text(report.peak_bytes)));
  text += fmt::format(
      line, "time",
      fmt::format("calibration {}, {} a token, {} a query; {} rank{}", duration_text(report.calibration_seconds),
                  duration_text(each(report.ingest_seconds, report.updates)),
                  duration_text(each(report.query_seconds, report.queries)), report.ranks,
                  report.ranks == 1 ? "" : "s"));
  if (report.fallbacks > 0)
    text += fmt::format(line, "fallbacks", fmt::format("{} of {} queries", report.fallbacks, report.queries));
  if (report.estimated)
    text +=
        fmt::format(line, "error",
                    fmt::format("of a query, estimated: median {:.2g}, 99% {:.2g}, largest {:.2g}",
                                report.estimated->median, report.estimated->percentile_99, report.estimated->largest));
  if (!report.comparison) return text;
  const Comparison& comparison = *report.comparison;
  constexpr auto row = "{:<16} {:>10} {:>10} {:>10} {:>10} {:>9} {:>11} {:>10} {:>10}\n";
  const auto errors = [&](const std::string& name, const OutputErrors& of, const std::string& kept,
                          const std::string& bytes, double token, double query) {
    text += fmt::format(row, name, fmt::format("{:.3g}", of.frobenius), fmt::format("{:.3g}", of.median),
                        fmt::format("{:.3g}", of.percentile_99), fmt::format("{:.3g}", of.largest), kept, bytes,
                        duration_text(token), duration_text(query));
  };
  text += "\nrelative error, beside what else could be kept at the same bytes\n";
  text += fmt::format(row, "", "Frobenius", "median", "99%", "largest", "kept", "state", "a token", "a query");
  errors(report.mode, comparison.errors, report.features > 0 ? fmt::to_string(report.features) : "-",
         bytes_text(report.state_bytes), each(report.ingest_seconds, report.updates),
         each(report.query_seconds, report.queries));
  for (const auto& [name, peer] : comparison.peers)
    errors(name, peer.errors, fmt::to_string(peer.kept), bytes_text(peer.bytes), each(peer.seconds_rows, report.n),
           each(peer.seconds_queries, report.queries));
  if (comparison.best_k)
    text += fmt::format("the best outputs with {} entries a column: {:.3g}\n", *report.sparsity, *comparison.best_k);
  text += fmt::format("answering every query by the mean output: {:.3g}; exact attention: {} a query\n",
                      comparison.mean_only, duration_text(each(comparison.exact_seconds, report.queries)));
  return text;
}

}  // namespace weir::app
