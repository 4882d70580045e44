#include "report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>

#include "weir/error.hpp"
#include "weir/setting/setting.hpp"

namespace weir::app {
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
  return value + 0.0;  // a negative zero becomes 0
}

/// The first whole number that a reader of JSON may round which keeps numbers as doubles.
constexpr std::uint64_t first_rounded = std::uint64_t{1} << 53;

/// "index", and "index_text" where a reader may round it.
void add_index(Json& json, const EntryIndex& entry) {
  if (entry.column) {
    json["index"] = {entry.index, *entry.column};
  } else {
    json["index"] = entry.index;
  }
  if (std::max(entry.index, entry.column.value_or(0)) < first_rounded) return;
  if (entry.column) {
    json["index_text"] = {fmt::to_string(entry.index), fmt::to_string(*entry.column)};
  } else {
    json["index_text"] = fmt::to_string(entry.index);
  }
}

Json run_json(const Problem& problem, const Run& run) {
  const Setting& setting = setting_of(problem);
  Json json;
  if (run.epoch) add_epoch(json, *run.epoch);
  json["model"] = setting.traits().model;
  if (const auto method = method_of(problem)) json["method"] = *method;
  if (run.metric) json["metric"] = *run.metric;
  const std::vector<std::uint64_t> shape = setting.shape_of_y(problem);
  if (shape.size() == 1) {
    json["n"] = shape.front();
  } else {
    json["shape"] = shape;
  }
  // What the shape has not said already.
  for (const SideUse& side : setting.traits().sides)
    if (side.name.front() != 'n' && problem.sides.contains(side.name)) json[side.name] = problem.side(side.name);
  json["ranks"] = run.ranks;
  json["updates"] = run.updates;
  json["skipped"] = run.skipped;
  json["seed"] = problem.sketch.seed;
  if (problem.sketch.seed >= first_rounded) json["seed_text"] = fmt::to_string(problem.sketch.seed);
  if (run.exact_sums) json["exact_sums"] = *run.exact_sums;
  if (problem.keeps == Keeps::sketch) {
    const SketchConfig& config = problem.sketch;
    json["randomness"] = to_string(config.randomness);
    json["law"] = to_string(config.law);
    json["p"] = problem.exponent();
    json["sketch"] = {{"rows", config.rows},
                      {"buckets", config.buckets},
                      {"lanes", config.lanes},
                      {"levels", config.levels},
                      {"columns", setting.columns_of_sketch(problem)},
                      {"bytes", sketch_bytes(problem)}};
    if (setting.traits().has_gram) json["gram"] = {{"buckets", problem.gram.buckets}, {"exact", problem.gram.exact}};
  }
  json["seconds"] = {{"ingest", finite(run.ingest_seconds, "seconds.ingest")},
                     {"merge", finite(run.merge_seconds, "seconds.merge")},
                     {"query", finite(run.query_seconds, "seconds.query")}};
  return json;
}

void add_label(Json& json, const EntryIndex& entry, const LabelMaps& labels) {
  const std::string* row = find_label(entry.index, labels.rows);
  if (!entry.column) {
    if (row != nullptr) json["label"] = *row;
    return;
  }
  const std::string* column = find_label(*entry.column, labels.columns);
  const auto or_null = [](const std::string* label) { return label != nullptr ? Json(*label) : Json(); };
  if (row != nullptr || column != nullptr) json["label"] = {or_null(row), or_null(column)};
}

Json coordinates_json(const std::vector<HeavyCoordinate>& coordinates, const LabelMaps& labels,
                      std::string_view field) {
  Json list = Json::array();
  for (const HeavyCoordinate& coordinate : coordinates) {
    Json item;
    add_index(item, entry_of(coordinate));
    add_label(item, entry_of(coordinate), labels);
    item["value"] = finite(coordinate.estimate.value, field);
    item["bound"] = finite(coordinate.estimate.bound, field);
    list.push_back(std::move(item));
  }
  return list;
}

/// Of a moment whose exponent is too far from that of the draws.
constexpr std::string_view no_bound_reason =
    "without a bound: the draws of this sketch miss what the sum is made of; ask a state of weir sample --p P, with P "
    "nearer to the exponent";

// -----------------------------------------------------------------------------------------------------------------
// table

// Adding 0 makes 0 of a negative zero.
std::string value_text(double value) { return fmt::format("{:.6g}", value + 0.0); }
std::string percent_text(double probability) { return fmt::format("{:.4g} %", 100 * probability + 0.0); }
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

/// What the cells of a column are: aligned to the right, or to the left; texts are cut when the table is too wide.
enum class CellKind : std::uint8_t { number, list, text };

struct Column {
  std::string heading;
  CellKind kind = CellKind::number;
  std::vector<std::string> cells = {};
};

constexpr std::size_t column_gap = 2;

std::size_t width_of(const Column& column) {
  std::size_t widest = column.heading.size();
  for (const std::string& cell : column.cells) widest = std::max(widest, display_width(cell));
  return widest;
}

std::string render(std::vector<Column> columns, std::size_t width) {
  const auto narrowest = [](const Column& column) { return std::max<std::size_t>(8, column.heading.size()); };
  std::vector<std::size_t> widths;
  std::size_t total = 0;
  for (const Column& column : columns) {
    widths.push_back(width_of(column));
    total += column_gap + widths.back();
  }
  // The widest text gives way first.
  while (total > width) {
    std::size_t* widest = nullptr;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (columns[c].kind == CellKind::text && widths[c] > narrowest(columns[c]) &&
          (widest == nullptr || widths[c] > *widest))
        widest = &widths[c];
    }
    if (widest == nullptr) break;
    --*widest;
    --total;
  }
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (columns[c].kind != CellKind::text) continue;
    for (std::string& cell : columns[c].cells) cell = displayable(cell, widths[c]);
  }
  const auto line = [&](auto cell_of) {
    std::string text;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const std::string& cell = cell_of(columns[c]);
      const std::string padding(widths[c] - std::min(widths[c], display_width(cell)), ' ');
      text += std::string(column_gap, ' ') + (columns[c].kind == CellKind::number ? padding + cell : cell + padding);
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

/// The indices of `entries`, which are all of a vector or all of a matrix, and their labels where there are any.
std::vector<Column> index_columns(const std::vector<EntryIndex>& entries, const LabelMaps& labels) {
  constexpr std::size_t longest_label = 60;
  const auto label_text = [](std::uint64_t index, const LabelMap& map) {
    const std::string* label = find_label(index, map);
    return label == nullptr ? std::string("-") : displayable(*label, longest_label);
  };
  const bool pairs = !entries.empty() &&
                     std::ranges::all_of(entries, [](const EntryIndex& entry) { return entry.column.has_value(); });
  std::size_t widest_column = 0;
  for (const EntryIndex& entry : entries)
    widest_column = std::max(widest_column, fmt::formatted_size("{}", entry.column.value_or(0)));

  Column index{pairs ? "i1, i2" : "index"};
  Column label{pairs ? "label of i1" : "label", CellKind::text};
  Column column_label{"label of i2", CellKind::text};
  for (const EntryIndex& entry : entries) {
    index.cells.push_back(pairs ? fmt::format("{}, {:>{}}", entry.index, *entry.column, widest_column)
                                : fmt::to_string(entry.index));
    label.cells.push_back(label_text(entry.index, labels.rows));
    if (pairs) column_label.cells.push_back(label_text(*entry.column, labels.columns));
  }
  std::vector<Column> columns{std::move(index)};
  if (!labels.empty()) columns.push_back(std::move(label));
  if (!labels.empty() && pairs) columns.push_back(std::move(column_label));
  return columns;
}

/// As many entries of the row as `room` has place for, at least one.
std::string row_text(std::span<const double> row, std::size_t room) {
  constexpr std::string_view more = ", ...";
  std::string text;
  for (std::size_t j = 0; j < row.size(); ++j) {
    const std::string entry = fmt::format("{}{:.4g}", j == 0 ? "" : ", ", row[j] + 0.0);
    const std::size_t needed = text.size() + entry.size() + (j + 1 < row.size() ? more.size() : 0);
    if (j > 0 && needed > room) return text.append(more);
    text += entry;
  }
  return text;
}

constexpr std::string_view heading_line = "{:<9} {}\n";

/// What is measured, without the events that it was made of.
std::string problem_text(const Problem& problem, const Run& run) {
  const SettingTraits& traits = setting_of(problem).traits();
  const auto side = [&](const std::string& name) {
    return problem.sides.contains(name) ? grouped(problem.side(name)) : "?";
  };
  std::vector<std::string> shape;
  for (const std::uint64_t length : setting_of(problem).shape_of_y(problem)) shape.push_back(grouped(length));
  std::string text = traits.model + " model, ";
  if (traits.draws_rows) {
    text += fmt::format("{} rows of {}", shape.front(), side("d"));
    if (run.metric) text += ", metric " + *run.metric;
  } else {
    text += fmt::format("{} entries", fmt::join(shape, " x "));
    // The operands that are no longer than columns: x, and X.
    for (const OperandUse& use : traits.operands) {
      const bool known =
          problem.sides.contains(use.rows) && (use.columns.empty() || problem.sides.contains(use.columns));
      if (use.may_lack_rows || !known || use.operand == Operand::y) continue;
      text += fmt::format(", {} of {}", to_string(use.operand), side(use.rows));
      if (!use.columns.empty()) text += " x " + side(use.columns);
    }
  }
  if (const auto method = method_of(problem)) text += ", method " + *method;
  return text;
}

/// The probability of a draw, up to its constant.
std::string law_text(const Problem& problem) {
  const Setting& setting = setting_of(problem);
  if (setting.traits().draws_rows)
    return problem.exponent() == 2 ? "a_i^T M a_i" : fmt::format("(a_i^T M a_i)^{:g}", problem.exponent() / 2);
  return fmt::format("|y_{}|^{:g}", setting.shape_of_y(problem).size() < 2 ? "i" : "(i1,i2)", problem.exponent());
}

std::string run_heading(const Problem& problem, const Run& run) {
  const Setting& setting = setting_of(problem);
  std::string text = fmt::format(heading_line, setting.traits().draws_rows ? "A" : "y", measured_text(problem, run));
  if (run.epoch)
    text += fmt::format(heading_line, "epoch",
                        fmt::format("{}, {}{}", grouped(run.epoch->number), time_text(run.epoch->time),
                                    run.epoch->is_final ? ", the last one" : ""));
  if (problem.keeps == Keeps::sketch) {
    const SketchConfig& config = problem.sketch;
    const std::uint64_t columns = setting.columns_of_sketch(problem);
    text += fmt::format(
        heading_line, "sketch",
        fmt::format("{} x {}{} x {}, {}, {}", counted(config.rows, "row"), counted(config.buckets, "bucket"),
                    columns == 1 ? "" : " x " + counted(columns, "column"), counted(config.lanes, "lane"),
                    counted(config.levels, "level"), bytes_text(sketch_bytes(problem))));
    text += fmt::format(heading_line, "law",
                        fmt::format("{}, {} scales, randomness {}, seed {}", law_text(problem), to_string(config.law),
                                    to_string(config.randomness), config.seed));
    if (setting.traits().has_gram)
      text += fmt::format(heading_line, "gram",
                          problem.gram.exact ? "exact, of rows that came and went whole"
                                             : "estimated from " + counted(problem.gram.buckets, "bucket") + " a row");
  } else {
    text += fmt::format(heading_line, "sketch", fmt::format("none: exact entries, seed {}", problem.sketch.seed));
  }
  if (run.exact_sums == false)
    text += fmt::format(heading_line, "sums",
                        "rounded: not of whole numbers, or beyond the range in which those are exact; the last digits "
                        "may\n          depend on the number of ranks and on the order of events");
  text += fmt::format(heading_line, "time",
                      fmt::format("ingest {}, merge {}, query {}", seconds_text(run.ingest_seconds),
                                  seconds_text(run.merge_seconds), seconds_text(run.query_seconds)));
  return text;
}

std::string_view explanation(FailReason reason) {
  switch (reason) {
    case FailReason::below_threshold:
      return "the largest scaled entry did not stand out";
    case FailReason::no_candidate:
      return "no entry had consistent estimates";
    case FailReason::second_stage:
      return "a row of y was drawn, but nothing stood out in it";
    case FailReason::heavy_tail:
      return "the entries below the largest ones were too heavy";
  }
  return "";
}

std::string coordinates_table(const std::vector<HeavyCoordinate>& coordinates, const LabelMaps& labels,
                              std::size_t width) {
  std::vector<EntryIndex> entries;
  Column value{"value"};
  Column bound{"+-"};
  for (const HeavyCoordinate& coordinate : coordinates) {
    entries.push_back(entry_of(coordinate));
    value.cells.push_back(value_text(coordinate.estimate.value));
    bound.cells.push_back(fmt::format("{:.2g}", coordinate.estimate.bound));
  }
  std::vector<Column> columns = index_columns(entries, labels);
  columns.push_back(std::move(value));
  columns.push_back(std::move(bound));
  return render(std::move(columns), width);
}

/// The rows that were drawn, beside the other columns.
Column rows_column(const std::vector<Draw>& draws, const std::vector<Column>& others, std::size_t width) {
  constexpr std::size_t narrowest = 24;
  std::size_t taken = column_gap;
  for (const Column& column : others) taken += column_gap + width_of(column);
  const std::size_t room = std::max(narrowest, width - std::min(width, taken));
  Column column{"row", CellKind::list};
  for (const Draw& draw : draws) column.cells.push_back(row_text(draw.row, room));
  return column;
}

/// The norm, whatever it was compared with, and whether the comparison bears it out.
std::string norm_text(const Answer& answer) {
  const double norm = answer.draws.norm;
  const std::string exact = answer.exact_norm ? fmt::format(" (exact: {})", value_text(*answer.exact_norm)) : "";
  std::string text =
      fmt::format(heading_line, "norm",
                  (answer.draws_norm_bound ? with_bound({norm, *answer.draws_norm_bound}) : value_text(norm)) + exact);
  if (answer.draws.norm_p && std::isfinite(answer.draws.norm_p->bound))
    text += fmt::format(heading_line, "p-norm", with_bound(*answer.draws.norm_p));
  if (answer.tensor_norm) {
    const Estimate& other = *answer.tensor_norm;
    const bool agree = std::abs(norm - other.value) <= answer.draws_norm_bound.value_or(0) + other.bound;
    text += fmt::format(heading_line, "",
                        fmt::format("{} by TensorSketch: the two {}", with_bound(other),
                                    agree ? "agree within their bounds" : "differ by more than their bounds"));
  }
  return text;
}

/// What the softmax is normalised over: "entries" or "pairs" where it is all of y, "rows".
std::string_view softmax_law(const SampleReport& report) {
  if (report.softmax->per_row) return "rows";
  return setting_of(report.problem).shape_of_y(report.problem).size() < 2 ? "entries" : "pairs";
}

std::string softmax_text(const SampleReport& report) {
  const bool pairs = setting_of(report.problem).shape_of_y(report.problem).size() == 2;
  const double scale = report.softmax->scale;
  return fmt::format("exp({}y_{}){}", scale == 1 ? "" : fmt::format("{:.6g} ", scale), pairs ? "(i1,i2)" : "i",
                     report.softmax->per_row ? ", every row i1 normalised by itself" : "");
}

/// Why there is no draw at all, for programs.
std::string nothing_drawn_reason(const SampleResult& result) {
  if (result.zero_vector) return "zero vector";
  return result.failed.empty() ? "no samples asked for" : std::string(to_string(result.failed.front().reason));
}

}  // namespace

std::string time_text(double unix_seconds) {
  const double whole = std::floor(unix_seconds);
  const auto milliseconds = static_cast<int>((unix_seconds - whole) * 1000);
  const auto seconds = static_cast<std::time_t>(whole);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, milliseconds);
}

const std::string* find_label(std::uint64_t index, const LabelMap& labels) {
  const auto label = labels.find(index);
  return label == labels.end() ? nullptr : &label->second;
}

std::string grouped(std::uint64_t value) {
  std::string digits = fmt::to_string(value);
  for (std::size_t k = digits.size(); k > 3; k -= 3) digits.insert(k - 3, 1, ',');
  return digits;
}

std::string counted(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(count), noun, count == 1 ? "" : "s");
}

std::string with_bound(const Estimate& estimate) {
  return fmt::format("{} +- {:.2g}", value_text(estimate.value), estimate.bound + 0.0);
}

std::string measured_text(const Problem& problem, const Run& run) {
  return fmt::format("{}; {} on {}{}", problem_text(problem, run), counted(run.updates, "update"),
                     counted(run.ranks, "rank"),
                     run.skipped == 0 ? "" : ", " + counted(run.skipped, "bad line") + " skipped");
}

std::string law_text(const SampleReport& report) {
  return report.softmax ? softmax_text(report) : law_text(report.problem);
}

std::string_view zero_text(const Problem& problem) {
  return setting_of(problem).traits().draws_rows ? "nothing to draw: a_i^T M a_i is 0 for every row"
                                                 : "nothing to draw: y is the zero vector";
}

std::string shortfall(const SampleReport& report) {
  const SampleResult& result = report.answer.draws;
  const std::size_t came = result.draws.size();
  if (came >= report.wanted || came == 0) return {};
  const std::string counts = fmt::format("{} of {} came: ", counted(came, "sample"), grouped(report.wanted));
  const bool is_sketch = report.problem.keeps == Keeps::sketch;
  if (report.without_replacement)
    return counts + (is_sketch        ? "no more entries stood out of the sketch"
                     : report.softmax ? "y has no more entries"
                                      : "y has no more entries that are not zero");
  if (!is_sketch) return counts + "the others failed";
  const std::uint64_t lanes = report.problem.sketch.lanes - 1;
  if (lanes >= report.wanted)
    return counts + fmt::format("the others of the {} that draw gave none", counted(lanes, "lane"));
  return counts + fmt::format("the sketch has {} that draw, each at most once; a new one with --samples {} has enough",
                              counted(lanes, "lane"), report.wanted);
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

void add_names(const Problem& problem, const NameTable& names, const std::vector<EntryIndex>& entries,
               LabelMaps& labels) {
  if (names.empty()) return;
  const SettingTraits& traits = setting_of(problem).traits();
  const auto named = std::ranges::find_if(
      traits.operands, [&](const OperandUse& use) { return problem.role(use.operand) == Role::streams; });
  if (named == traits.operands.end()) return;
  const auto add = [&](std::size_t side, std::map<std::uint64_t, std::string>& of_side, std::uint64_t index) {
    if (side >= traits.sides_of_y.size() || traits.sides_of_y[side] != named->rows) return;
    if (const std::string* name = names.find(index)) of_side.try_emplace(index, *name);
  };
  for (const EntryIndex& entry : entries) {
    add(0, labels.rows, entry.index);
    if (entry.column) add(1, labels.columns, *entry.column);
  }
}

std::optional<std::string> method_of(const Problem& problem) {
  const std::string& method = setting_of(problem).traits().method;
  if (method.empty()) return std::nullopt;
  return problem.keeps == Keeps::sketch ? method : "exact";
}

std::uint64_t sketch_bytes(const Problem& problem) {
  std::uint64_t numbers = 0;
  for (const ArrayLayout& array : setting_of(problem).layout(problem)) {
    const bool is_vector_operand = array.operand != Operand::y && !has_column(array.operand);
    if (array.gathering == Gathering::on_first && !array.is_count && !is_vector_operand) numbers += array.size;
  }
  return numbers * sizeof(double);
}

Json to_json(const SampleReport& report) {
  const Answer& answer = report.answer;
  const SampleResult& result = answer.draws;
  Json json = run_json(report.problem, report.run);
  if (report.softmax) {
    json["law"] = softmax_law(report);
    json["scale"] = report.softmax->scale;
  }
  json["norm"] = finite(result.norm, "norm");
  if (answer.draws_norm_bound) json["norm_bound"] = finite(*answer.draws_norm_bound, "norm_bound");
  if (result.norm_p && std::isfinite(result.norm_p->bound)) {
    json["norm_p"] = finite(result.norm_p->value, "norm_p");
    json["norm_p_bound"] = result.norm_p->bound;
  }
  if (answer.tensor_norm) {
    json["norm_tensor"] = {{"value", finite(answer.tensor_norm->value, "norm_tensor")},
                           {"bound", finite(answer.tensor_norm->bound, "norm_tensor")}};
  }
  if (answer.exact_norm) json["exact_norm"] = finite(*answer.exact_norm, "exact_norm");
  if (result.zero_vector) json["zero_vector"] = true;
  if (result.draws.empty()) json["reason"] = nothing_drawn_reason(result);
  json["verified"] = answer.verified;
  json["wanted"] = report.wanted;
  if (const std::string reason = shortfall(report); !reason.empty()) json["shortfall"] = reason;
  json["samples"] = Json::array();
  for (const Draw& draw : result.draws) {
    Json item;
    item["lane"] = draw.lane;
    add_index(item, entry_of(draw));
    add_label(item, entry_of(draw), report.labels);
    item["value"] = finite(draw.value, "value");
    if (draw.value_bound) item["value_bound"] = finite(*draw.value_bound, "value_bound");
    item["probability"] = finite(draw.probability, "probability");
    if (draw.probability_bound) item["probability_bound"] = finite(*draw.probability_bound, "probability_bound");
    if (draw.inclusion) item["inclusion"] = finite(*draw.inclusion, "inclusion");
    if (!draw.row.empty()) item["row"] = Json::array();
    for (const double entry : draw.row) item["row"].push_back(finite(entry, "row"));
    if (const auto exact = answer.exact.find(entry_of(draw)); exact != answer.exact.end()) {
      item["exact"] = {{"value", finite(exact->second.value, "exact.value")}};
      if (exact->second.probability)
        item["exact"]["probability"] = finite(*exact->second.probability, "exact.probability");
    }
    json["samples"].push_back(std::move(item));
  }
  json["failed"] = Json::array();
  for (const FailedLane& lane : result.failed) {
    json["failed"].push_back({{"lane", lane.lane}, {"reason", to_string(lane.reason)}});
  }
  return json;
}

Json to_json(const QueryReport& report) {
  const Answer& answer = report.answer;
  Json json = run_json(report.problem, report.run);
  if (answer.norm) {
    json["norm"] = finite(answer.norm->value, "norm");
    json["norm_bound"] = finite(answer.norm->bound, "norm_bound");
  }
  if (answer.top) json["top"] = coordinates_json(*answer.top, report.labels, "top");
  if (!answer.points.empty()) json["points"] = coordinates_json(answer.points, report.labels, "points");
  if (!report.inner.empty()) json["inner"] = Json::array();
  for (const InnerProductReport& inner : report.inner) {
    json["inner"].push_back({{"state", inner.other},
                             {"value", finite(inner.estimate.value, "inner")},
                             {"bound", finite(inner.estimate.bound, "inner")}});
  }
  if (!answer.moments.empty()) json["moments"] = Json::array();
  for (const MomentAnswer& moment : answer.moments) {
    Json item = {{"p", moment.exponent}, {"value", finite(moment.estimate.value, "moments")}};
    if (std::isfinite(moment.estimate.bound)) {
      item["bound"] = moment.estimate.bound;
    } else {
      item["no_bound"] = no_bound_reason;
    }
    json["moments"].push_back(std::move(item));
  }
  return json;
}

std::string to_table(const SampleReport& report, std::size_t width) {
  const Answer& answer = report.answer;
  const SampleResult& result = answer.draws;
  std::string text = run_heading(report.problem, report.run);
  if (report.softmax) text += fmt::format(heading_line, "law", law_text(report));
  text += norm_text(answer) + '\n';
  if (result.zero_vector) {
    return text.append(zero_text(report.problem)) + '\n';
  }

  std::vector<EntryIndex> entries;
  Column lane{"lane"};
  Column value{"value"};
  Column value_bound{"+-"};
  Column exact_value{"exact"};
  Column probability{"probability"};
  Column probability_bound{"+-"};
  Column exact_probability{"exact"};
  Column inclusion{"inclusion"};
  bool has_inclusion = false;
  bool has_rows = false;
  bool has_value_bound = false;
  bool has_probability_bound = false;
  for (const Draw& draw : result.draws) {
    entries.push_back(entry_of(draw));
    lane.cells.push_back(fmt::to_string(draw.lane));
    value.cells.push_back(value_text(draw.value));
    value_bound.cells.push_back(draw.value_bound ? fmt::format("{:.2g}", *draw.value_bound) : "-");
    probability_bound.cells.push_back(draw.probability_bound ? fmt::format("{:.2g} %", 100 * *draw.probability_bound)
                                                             : "-");
    // What is exact needs no column of zeros.
    has_value_bound = has_value_bound || draw.value_bound.value_or(0) > 0;
    has_probability_bound = has_probability_bound || draw.probability_bound.value_or(0) > 0;
    probability.cells.push_back(percent_text(draw.probability));
    const auto exact = answer.exact.find(entry_of(draw));
    const bool has_exact = exact != answer.exact.end();
    exact_value.cells.push_back(has_exact ? value_text(exact->second.value) : "-");
    exact_probability.cells.push_back(has_exact && exact->second.probability ? percent_text(*exact->second.probability)
                                                                             : "-");
    inclusion.cells.push_back(draw.inclusion ? percent_text(*draw.inclusion) : "-");
    has_inclusion = has_inclusion || draw.inclusion.has_value();
    has_rows = has_rows || !draw.row.empty();
  }
  std::vector<Column> columns = index_columns(entries, report.labels);
  columns.insert(columns.begin(), std::move(lane));
  columns.push_back(std::move(value));
  if (has_value_bound) columns.push_back(std::move(value_bound));
  if (!answer.exact.empty()) columns.push_back(std::move(exact_value));
  columns.push_back(std::move(probability));
  if (has_probability_bound) columns.push_back(std::move(probability_bound));
  if (!answer.exact.empty()) columns.push_back(std::move(exact_probability));
  if (has_inclusion) columns.push_back(std::move(inclusion));
  if (has_rows) columns.push_back(rows_column(result.draws, columns, width));
  text += result.draws.empty() ? "nothing could be drawn\n" : render(std::move(columns), width);
  if (!result.draws.empty()) {
    text += answer.has_exact_values && !answer.verified
                ? fmt::format("\n{} are exact, probabilities are estimates\n", has_rows ? "rows and values" : "values")
                : fmt::format("\n{} and probabilities are {}\n", has_rows ? "rows, values" : "values",
                              answer.verified ? "exact" : "estimates");
  }
  const std::string missing = shortfall(report);
  if (!missing.empty() || !result.failed.empty()) text += '\n';
  if (!missing.empty()) text += missing + '\n';
  text += failures_text(result.failed);
  return text;
}

std::string to_table(const QueryReport& report, std::size_t width) {
  const Answer& answer = report.answer;
  std::string text = run_heading(report.problem, report.run);
  if (answer.norm) text += fmt::format(heading_line, "norm", with_bound(*answer.norm));
  for (const InnerProductReport& inner : report.inner) {
    text += fmt::format(heading_line, "inner", fmt::format("{} with {}", with_bound(inner.estimate), inner.other));
  }
  for (const MomentAnswer& moment : answer.moments) {
    const bool has_bound = std::isfinite(moment.estimate.bound);
    text +=
        fmt::format(heading_line, "moment",
                    fmt::format("sum |y_i|^{:g} = {}", moment.exponent,
                                has_bound ? with_bound(moment.estimate)
                                          : fmt::format("{}, {}", value_text(moment.estimate.value), no_bound_reason)));
  }
  if (answer.top) text += "\nlargest entries\n" + coordinates_table(*answer.top, report.labels, width);
  if (!answer.points.empty()) text += "\nentries asked for\n" + coordinates_table(answer.points, report.labels, width);
  return text;
}

}  // namespace weir::app
