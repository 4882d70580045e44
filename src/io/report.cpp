#include "weir/io/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "weir/error.hpp"

namespace weir {
namespace {

using Json = nlohmann::ordered_json;
using LabelMap = std::map<std::uint64_t, std::string>;

// ------------------------------------------------------------------------------------------------------------------
// JSON

double finite(double value, std::string_view field) {
  if (!std::isfinite(value)) {
    throw InputError(
        fmt::format("the result is not finite ({} is {}): the entries of the stream are too large", field, value));
  }
  return value;
}

Json index_json(std::uint64_t index, const RunReport& run) {
  if (run.shape.size() < 2) return index;
  return {index / run.shape[1], index % run.shape[1]};
}

std::uint64_t sketch_bytes(const RunReport& run) {
  return std::uint64_t{run.sketch->table_size()} * run.columns * sizeof(double);
}

Json run_json(const RunReport& run) {
  Json json;
  json["model"] = run.model;
  if (run.shape.size() == 1) {
    json["n"] = run.shape.front();
  } else {
    json["shape"] = run.shape;
  }
  if (run.d) json["d"] = *run.d;
  json["ranks"] = run.ranks;
  json["updates"] = run.updates;
  json["skipped"] = run.skipped;
  json["seed"] = run.seed;
  if (run.sketch) {
    const SketchConfig& config = *run.sketch;
    json["randomness"] = to_string(config.randomness);
    json["law"] = to_string(config.law);
    json["p"] = config.p * run.degree;
    json["sketch"] = {{"rows", config.rows},     {"buckets", config.buckets}, {"lanes", config.lanes},
                      {"levels", config.levels}, {"columns", run.columns},    {"bytes", sketch_bytes(run)}};
  }
  json["seconds"] = {{"ingest", finite(run.seconds.ingest, "seconds.ingest")},
                     {"merge", finite(run.seconds.merge, "seconds.merge")},
                     {"query", finite(run.seconds.query, "seconds.query")}};
  return json;
}

void add_label(Json& json, std::uint64_t index, const LabelMap& labels) {
  if (const auto label = labels.find(index); label != labels.end()) json["label"] = label->second;
}

Json coordinates_json(const std::vector<HeavyCoordinate>& coordinates, const QueryReport& report,
                      std::string_view field) {
  Json list = Json::array();
  for (const HeavyCoordinate& coordinate : coordinates) {
    Json item;
    item["index"] = index_json(coordinate.index, report.run);
    add_label(item, coordinate.index, report.labels);
    item["value"] = finite(coordinate.estimate.value, field);
    item["bound"] = finite(coordinate.estimate.bound, field);
    list.push_back(std::move(item));
  }
  return list;
}

std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace); }

// -----------------------------------------------------------------------------------------------------------------
// table

std::string grouped(std::uint64_t value) {
  std::string digits = fmt::to_string(value);
  for (std::size_t k = digits.size(); k > 3; k -= 3) digits.insert(k - 3, 1, ',');
  return digits;
}

std::string counted(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(count), noun, count == 1 ? "" : "s");
}

std::string value_text(double value) { return fmt::format("{:.6g}", value); }
std::string percent_text(double probability) { return fmt::format("{:.4g} %", 100 * probability); }
std::string with_bound(const Estimate& estimate) {
  return fmt::format("{:.6g} +- {:.2g}", estimate.value, estimate.bound);
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> units{"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto amount = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; amount >= 1024 && unit + 1 < units.size(); ++unit) amount /= 1024;
  return fmt::format("{:.{}f} {}", amount, unit == 0 ? 0 : 1, units[unit]);
}

std::string seconds_text(double seconds) {
  return seconds < 1 ? fmt::format("{:.1f} ms", 1000 * seconds) : fmt::format("{:.2f} s", seconds);
}

bool continues_character(char c) noexcept { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80; }

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !continues_character(c); }));
}

/// A label as a terminal may show it: no control characters, no broken UTF-8, at most `width` characters.
std::string displayable(const std::string& label, std::size_t width) {
  // The JSON library knows UTF-8: a string that it dumps and parses has U+FFFD where bytes were not.
  std::string text = Json::parse(Json(label).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  if (display_width(text) <= width) return text;
  std::size_t end = 0;
  for (std::size_t shown = 0; end < text.size(); ++end) {
    if (!continues_character(text[end]) && shown++ == width - 2) break;
  }
  return text.substr(0, end) + "..";
}

struct Column {
  std::string heading;
  bool is_text = false;  ///< Aligned to the left, and cut when the table is too wide.
  std::vector<std::string> cells = {};
};

std::string render(std::vector<Column> columns, std::size_t width) {
  constexpr std::size_t gap = 2;
  constexpr std::size_t narrowest_text = 8;
  std::vector<std::size_t> widths;
  std::size_t total = 0;
  for (const Column& column : columns) {
    std::size_t widest = column.heading.size();
    for (const std::string& cell : column.cells) widest = std::max(widest, display_width(cell));
    widths.push_back(widest);
    total += gap + widest;
  }
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (!columns[c].is_text || total <= width) continue;
    const std::size_t excess = total - width;
    const std::size_t reduced = std::max(narrowest_text, widths[c] - std::min(widths[c], excess));
    if (reduced < widths[c]) {
      widths[c] = reduced;
      for (std::string& cell : columns[c].cells) cell = displayable(cell, reduced);
    }
  }
  const auto line = [&](auto cell_of) {
    std::string text;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::string& cell = cell_of(columns[c]);
      const std::string padding(widths[c] - std::min(widths[c], display_width(cell)), ' ');
      text += std::string(gap, ' ') + (columns[c].is_text ? cell + padding : padding + cell);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + '\n';
  };
  std::string text = line([](const Column& column) -> const std::string& { return column.heading; });
  const std::size_t lines = columns.empty() ? 0 : columns.front().cells.size();
  for (std::size_t k = 0; k < lines; ++k) {
    text += line([k](const Column& column) -> const std::string& { return column.cells[k]; });
  }
  return text;
}

std::string index_text(std::uint64_t index, const RunReport& run) {
  if (run.shape.size() < 2) return fmt::to_string(index);
  return fmt::format("({}, {})", index / run.shape[1], index % run.shape[1]);
}

std::string label_text(std::uint64_t index, const LabelMap& labels) {
  constexpr std::size_t longest = 60;
  const auto label = labels.find(index);
  return label == labels.end() ? std::string("-") : displayable(label->second, longest);
}

constexpr std::string_view heading_line = "{:<9} {}\n";

std::string run_heading(const RunReport& run) {
  std::vector<std::string> lengths;
  for (const std::uint64_t length : run.shape) lengths.push_back(grouped(length));
  std::string text =
      fmt::format(heading_line, "y",
                  fmt::format("{} model, {} entries{}; {} on {}{}", run.model, fmt::join(lengths, " x "),
                              run.d ? fmt::format(", x of {}", grouped(*run.d)) : "", counted(run.updates, "update"),
                              counted(run.ranks, "rank"),
                              run.skipped == 0 ? "" : ", " + counted(run.skipped, "bad line") + " skipped"));
  if (run.sketch) {
    const SketchConfig& config = *run.sketch;
    text += fmt::format(
        heading_line, "sketch",
        fmt::format("{} x {}{} x {}, {}, {}", counted(config.rows, "row"), counted(config.buckets, "bucket"),
                    run.columns == 1 ? "" : " x " + counted(run.columns, "column"), counted(config.lanes, "lane"),
                    counted(config.levels, "level"), bytes_text(sketch_bytes(run))));
    text += fmt::format(heading_line, "law",
                        fmt::format("|y_i|^{:g}, {} scales, randomness {}, seed {}", config.p * run.degree,
                                    to_string(config.law), to_string(config.randomness), run.seed));
  } else {
    text += fmt::format(heading_line, "sketch", fmt::format("none: exact entries, seed {}", run.seed));
  }
  text += fmt::format(heading_line, "time",
                      fmt::format("ingest {}, merge {}, query {}", seconds_text(run.seconds.ingest),
                                  seconds_text(run.seconds.merge), seconds_text(run.seconds.query)));
  return text;
}

std::string_view explanation(FailReason reason) {
  switch (reason) {
    case FailReason::below_threshold:
      return "the largest scaled entry did not stand out";
    case FailReason::no_candidate:
      return "no entry had consistent estimates";
    case FailReason::heavy_tail:
      return "the entries below the largest ones were too heavy";
  }
  return "";
}

std::string failures_text(const std::vector<FailedLane>& failed) {
  std::map<FailReason, std::uint64_t> counts;
  for (const FailedLane& lane : failed) ++counts[lane.reason];
  std::string text;
  for (const auto& [reason, count] : counts) {
    text += fmt::format("{} gave no draw: {} ({})\n", counted(count, "lane"), explanation(reason), to_string(reason));
  }
  return text;
}

std::string coordinates_table(const std::vector<HeavyCoordinate>& coordinates, const QueryReport& report,
                              std::size_t width) {
  Column index{"index"};
  Column label{"label", true};
  Column value{"value"};
  Column bound{"+-"};
  for (const HeavyCoordinate& coordinate : coordinates) {
    index.cells.push_back(index_text(coordinate.index, report.run));
    label.cells.push_back(label_text(coordinate.index, report.labels));
    value.cells.push_back(value_text(coordinate.estimate.value));
    bound.cells.push_back(fmt::format("{:.2g}", coordinate.estimate.bound));
  }
  std::vector<Column> columns{std::move(index)};
  if (!report.labels.empty()) columns.push_back(std::move(label));
  columns.push_back(std::move(value));
  columns.push_back(std::move(bound));
  return render(std::move(columns), width);
}

/// Why there is no draw at all, for programs.
std::string nothing_drawn_reason(const SampleResult& result) {
  if (result.zero_vector) return "zero vector";
  return result.failed.empty() ? "no samples asked for" : std::string(to_string(result.failed.front().reason));
}

}  // namespace

std::string to_json(const SampleReport& report) {
  const SampleResult& result = report.result;
  Json json = run_json(report.run);
  json["norm"] = finite(result.norm, "norm");
  if (report.exact_norm) json["exact_norm"] = finite(*report.exact_norm, "exact_norm");
  if (result.zero_vector) json["zero_vector"] = true;
  if (result.draws.empty()) json["reason"] = nothing_drawn_reason(result);
  json["verified"] = report.verified;
  json["samples"] = Json::array();
  for (const Draw& draw : result.draws) {
    Json item;
    item["lane"] = draw.lane;
    item["index"] = index_json(draw.index, report.run);
    add_label(item, draw.index, report.labels);
    item["value"] = finite(draw.value, "value");
    item["probability"] = finite(draw.probability, "probability");
    if (draw.inclusion) item["inclusion"] = finite(*draw.inclusion, "inclusion");
    if (const auto exact = report.exact.find(draw.index); exact != report.exact.end()) {
      item["exact"] = {{"value", finite(exact->second.value, "exact.value")},
                       {"probability", finite(exact->second.probability, "exact.probability")}};
    }
    json["samples"].push_back(std::move(item));
  }
  json["failed"] = Json::array();
  for (const FailedLane& lane : result.failed) {
    json["failed"].push_back({{"lane", lane.lane}, {"reason", to_string(lane.reason)}});
  }
  return dump(json);
}

std::string to_json(const QueryReport& report) {
  Json json = run_json(report.run);
  if (report.norm) {
    json["norm"] = finite(report.norm->value, "norm");
    json["norm_bound"] = finite(report.norm->bound, "norm_bound");
  }
  if (report.top) json["top"] = coordinates_json(*report.top, report, "top");
  if (!report.points.empty()) json["points"] = coordinates_json(report.points, report, "points");
  if (!report.inner.empty()) json["inner"] = Json::array();
  for (const InnerProductReport& inner : report.inner) {
    json["inner"].push_back({{"state", inner.other},
                             {"value", finite(inner.estimate.value, "inner")},
                             {"bound", finite(inner.estimate.bound, "inner")}});
  }
  if (!report.moments.empty()) json["moments"] = Json::array();
  for (const MomentReport& moment : report.moments) {
    json["moments"].push_back({{"p", moment.p},
                               {"value", finite(moment.estimate.value, "moments")},
                               {"bound", finite(moment.estimate.bound, "moments")}});
  }
  return dump(json);
}

std::string to_table(const SampleReport& report, std::size_t width) {
  const SampleResult& result = report.result;
  std::string text = run_heading(report.run);
  text +=
      fmt::format(heading_line, "norm",
                  fmt::format("{}{}", value_text(result.norm),
                              report.exact_norm ? fmt::format(" (exact: {})", value_text(*report.exact_norm)) : ""));
  text += '\n';
  if (result.zero_vector) return text + "nothing to draw: y is the zero vector\n";

  Column lane{"lane"};
  Column index{"index"};
  Column label{"label", true};
  Column value{"value"};
  Column exact_value{"exact"};
  Column probability{"probability"};
  Column exact_probability{"exact"};
  Column inclusion{"inclusion"};
  bool has_inclusion = false;
  for (const Draw& draw : result.draws) {
    lane.cells.push_back(fmt::to_string(draw.lane));
    index.cells.push_back(index_text(draw.index, report.run));
    label.cells.push_back(label_text(draw.index, report.labels));
    value.cells.push_back(value_text(draw.value));
    probability.cells.push_back(percent_text(draw.probability));
    const auto exact = report.exact.find(draw.index);
    const bool has_exact = exact != report.exact.end();
    exact_value.cells.push_back(has_exact ? value_text(exact->second.value) : "-");
    exact_probability.cells.push_back(has_exact ? percent_text(exact->second.probability) : "-");
    inclusion.cells.push_back(draw.inclusion ? percent_text(*draw.inclusion) : "-");
    has_inclusion = has_inclusion || draw.inclusion.has_value();
  }
  std::vector<Column> columns;
  columns.push_back(std::move(lane));
  columns.push_back(std::move(index));
  if (!report.labels.empty()) columns.push_back(std::move(label));
  columns.push_back(std::move(value));
  if (!report.exact.empty()) columns.push_back(std::move(exact_value));
  columns.push_back(std::move(probability));
  if (!report.exact.empty()) columns.push_back(std::move(exact_probability));
  if (has_inclusion) columns.push_back(std::move(inclusion));
  text += result.draws.empty() ? "nothing could be drawn\n" : render(std::move(columns), width);
  if (!result.draws.empty())
    text += report.verified ? "\nvalues and probabilities are exact\n" : "\nvalues and probabilities are estimates\n";
  if (!result.failed.empty()) text += '\n' + failures_text(result.failed);
  return text;
}

std::string to_table(const QueryReport& report, std::size_t width) {
  std::string text = run_heading(report.run);
  if (report.norm) text += fmt::format(heading_line, "norm", with_bound(*report.norm));
  for (const InnerProductReport& inner : report.inner) {
    text += fmt::format(heading_line, "inner", fmt::format("{} with {}", with_bound(inner.estimate), inner.other));
  }
  for (const MomentReport& moment : report.moments) {
    text +=
        fmt::format(heading_line, "moment", fmt::format("sum |y_i|^{:g} = {}", moment.p, with_bound(moment.estimate)));
  }
  if (report.top) text += "\nlargest entries\n" + coordinates_table(*report.top, report, width);
  if (!report.points.empty()) text += "\nentries asked for\n" + coordinates_table(report.points, report, width);
  return text;
}

}  // namespace weir
