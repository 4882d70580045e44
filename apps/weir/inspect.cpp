#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "address.hpp"
#include "client.hpp"
#include "help.hpp"
#include "options.hpp"
#include "printer.hpp"
#include "report.hpp"
#include "weir/io/checkpoint.hpp"
#include "weir/io/file.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/setting.hpp"
#include "weir/sketch/operator.hpp"
#include "weir/stream/binary.hpp"
#include "weir/stream/reader.hpp"

namespace weir::app {
namespace {

using Json = nlohmann::ordered_json;

struct InspectOptions {
  std::string path;
  OnError on_error = OnError::stop;
  Edges edges = Edges::unsaid;
  PrintOptions print = {};
};

Json names_of(OperandSet operands) {
  Json names = Json::array();
  for (const Operand operand : operands) names.push_back(to_string(operand));
  return names;
}

/// Loading a state verifies all of it, checksums first.
Json describe_state(const std::string& path, std::uint64_t bytes) {
  const State state = load_state(path);
  const Problem& problem = state.problem();
  const Setting& setting = setting_of(problem);
  const SettingTraits& traits = setting.traits();
  const SketchConfig& config = problem.sketch;
  Json json = {{"kind", "state"},
               {"version", state_version(path)},
               {"checksum", "holds"},
               {"bytes", bytes},
               {"model", traits.model}};
  if (const auto method = method_of(problem)) json["method"] = *method;
  const std::vector<std::uint64_t> shape = setting.shape_of_y(problem);
  if (shape.size() == 1) {
    json["n"] = shape.front();
  } else {
    json["shape"] = shape;
  }
  json.update({{"updates", state.updates}, {"ranks", state.ranks}});
  if (!state.names.empty()) json["names"] = state.names.entries().size();
  if (traits.has_y)
    json.update({{"rows", config.rows},
                 {"buckets", config.buckets},
                 {"lanes", config.lanes},
                 {"levels", config.levels},
                 {"law", to_string(config.law)},
                 {"p", config.p},
                 {"randomness", to_string(config.randomness)},
                 {"independence", config.independence},
                 {"random_bits", SketchOperator(config).stored_random_bits()}});
  json.update({{"seed", config.seed}, {"fingerprint", fmt::format("{:016x}", config.fingerprint())}});
  for (const auto& [name, value] : problem.parameters) json[name] = value;
  if (problem.precision)
    json.update({{"epsilon", problem.precision->epsilon}, {"constant", problem.precision->constant}});
  // What the shape has not said.
  for (const auto& [name, length] : problem.sides)
    if (name.front() != 'n') json[name] = length;
  if (traits.has_y) {
    json["columns"] = setting.columns_of_sketch(problem);
    json["degree"] = problem.degree;
  }
  if (traits.has_gram) json.update({{"gram_buckets", problem.gram.buckets}, {"gram_exact", problem.gram.exact}});
  const OperandSet fixed = problem.with_role(Role::fixed) | problem.with_role(Role::absent);
  json["fixed"] = names_of(fixed);
  json["streamed"] = to_string(problem.with_role(Role::streams) | problem.with_role(Role::forgotten));
  const OperandSet zero = state.kept().zero_operands();
  for (const ArrayLayout& layout : state.layout()) {
    std::string name(to_string(layout.operand));
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (layout.is_count) json[name + "_events"] = static_cast<std::uint64_t>(state.array(layout.name).front());
    // x, or X, where it is kept as it is.
    if (layout.name == to_string(layout.operand) && layout.gathering != Gathering::in_slices)
      json[name + "_zero"] = zero.contains(layout.operand) ||
                             (layout.gathering == Gathering::everywhere &&
                              std::ranges::all_of(state.array(layout.name), [](double entry) { return entry == 0; }));
  }
  json["zero"] = !zero.empty();
  if (const std::optional<double> norm = state.kept().norm()) json["norm"] = *norm + 0.0;
  return json;
}

/// What a stream does to one operand.
struct OperandSummary {
  std::uint64_t events = 0;
  std::uint64_t rows = 0;  ///< Of these, whole rows.
  std::uint64_t lowest_i = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t highest_i = 0;
  std::uint64_t lowest_j = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t highest_j = 0;
  bool whole = true;  ///< All deltas are whole numbers: the sketch will be exact to the bit.

  void add(const Event& event) {
    ++events;
    add_entry(event);
  }
  void add_row(Operand operand, std::uint64_t i, std::span<const double> row) {
    ++events;
    ++rows;
    for (std::size_t j = 0; j < row.size(); ++j) add_entry({operand, i, j, row[j]});
  }

 private:
  void add_entry(const Event& event) {
    lowest_i = std::min(lowest_i, event.i);
    highest_i = std::max(highest_i, event.i);
    lowest_j = std::min(lowest_j, event.j);
    highest_j = std::max(highest_j, event.j);
    whole = whole && event.delta == std::trunc(event.delta);
  }
};

Json describe_events(const InspectOptions& options, std::uint64_t bytes) {
  const StreamFormat format = stream_format(options.path);
  const StreamFormat content = content_format(options.path);
  Json json = {{"kind", "events"}, {"format", to_string(format)}, {"bytes", bytes}};
  if (content != format) json["content"] = to_string(content);
  if (const auto shape = stated_shape(options.path, options.edges)) json["shape"] = *shape;
  if (format == StreamFormat::binary) json["version"] = summarise_binary(options.path).version;

  std::array<OperandSummary, most_operands> summaries;
  ReadOptions reading;
  reading.on_error = options.on_error;
  reading.edges = options.edges;
  const bool has_edges = options.edges != Edges::unsaid && options.edges != Edges::none;
  if (content == StreamFormat::matrix_market || content == StreamFormat::npy ||
      (content == StreamFormat::text && has_edges))
    reading.default_operand = Operand::A;
  EventReader reader({options.path}, reading);
  std::uint64_t events = 0;
  for (EventBatch batch; reader.next(batch);) {
    events += batch.events();
    for (std::size_t t = 0; t < batch.size(); ++t) summaries[static_cast<std::size_t>(batch.operands[t])].add(batch[t]);
    const RowBatch& rows = batch.rows;
    for (std::size_t t = 0; t < rows.size(); ++t)
      summaries[static_cast<std::size_t>(rows.operands[t])].add_row(rows.operands[t], rows.i[t], rows.row(t));
  }
  json["events"] = events;
  json["skipped"] = reader.skipped();
  json["operands"] = Json::array();
  for (std::size_t k = 0; k < summaries.size(); ++k) {
    const OperandSummary& summary = summaries[k];
    if (summary.events == 0) continue;
    const auto operand = static_cast<Operand>(k);
    Json item = {
        {"operand", to_string(operand)}, {"events", summary.events}, {"i", {summary.lowest_i, summary.highest_i}}};
    if (has_column(operand)) item["j"] = {summary.lowest_j, summary.highest_j};
    if (summary.rows > 0) item["rows"] = summary.rows;
    item["whole_deltas"] = summary.whole;
    json["operands"].push_back(std::move(item));
  }
  return json;
}

/// A value on a line of its own.
std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array() || std::ranges::any_of(value, [](const Json& item) { return !item.is_string(); }))
    return value.dump();
  return value.empty() ? "none" : fmt::format("{}", fmt::join(value.get<std::vector<std::string>>(), ", "));
}

std::string lines(const Json& json) {
  std::string text;
  for (const auto& [key, value] : json.items()) {
    if (key == "operands") {
      for (const Json& operand : value) {
        text += fmt::format("{:<12} {} events, i from {} to {}", "operand " + operand["operand"].get<std::string>(),
                            operand["events"].dump(), operand["i"][0].dump(), operand["i"][1].dump());
        if (operand.contains("j"))
          text += fmt::format(", j from {} to {}", operand["j"][0].dump(), operand["j"][1].dump());
        if (operand.contains("rows")) text += fmt::format(", {} of them whole rows", operand["rows"].dump());
        text += fmt::format(", {}\n", operand["whole_deltas"].get<bool>() ? "whole deltas" : "real deltas");
      }
    } else {
      text += fmt::format("{:<12} {}\n", key, text_of(value));
    }
  }
  return text;
}

/// The newest checkpoint in a directory, as its manifest says; its states are not read.
Json describe_checkpoints(const std::string& directory) {
  const CheckpointInfo info = newest_checkpoint(directory);
  Json json{{"kind", "checkpoints"},
            {"checkpoint", info.number},
            {"time", info.time},
            {"time_text", time_text(info.time)},
            {"is_final", info.is_final},
            {"ranks", info.ranks},
            {"epoch", info.epoch},
            {"updates_in_epoch", info.updates_in_epoch},
            {"all_updates", info.all_updates},
            {"skipped", info.skipped}};
  if (info.window.epochs) json["window"] = *info.window.epochs;
  if (info.window.tumbling) json["tumbling"] = true;
  if (info.window.decay != 1) json["decay"] = info.window.decay;
  json["window_epochs"] = info.window_epochs;
  json["positions"] = info.positions.empty() ? Json() : Json::parse(info.positions);
  return json;
}

int inspect(const InspectOptions& options) {
  Printer printer(options.print);
  if (looks_like_address(options.path)) {
    printer.print(inspect_at(options.path, {.json = !printer.prints_tables()}).report);
    return done;
  }
  const auto describe = [&] {
    if (std::filesystem::is_directory(options.path)) return describe_checkpoints(options.path);
    const InputFile file(options.path);
    return looks_like_state(options.path) ? describe_state(options.path, file.size())
                                          : describe_events(options, file.size());
  };
  printer.print({.json = describe, .table = [&] { return lines(describe()); }});
  return done;
}

}  // namespace

void add_inspect_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command =
      app.add_subcommand("inspect", "Check a file of state or events and say what it holds; or ask a running job");
  auto options = std::make_shared<InspectOptions>();
  command
      ->add_option("FILE", options->path,
                   "A saved state, or a file of events in any format that weir reads; its content\n"
                   "tells which. Or a directory of checkpoints: what the newest one holds, and where its\n"
                   "sources stand. Or the address of a running job that was started with --serve:\n"
                   "unix:PATH, tcp:HOST:PORT or tcp:PORT")
      ->required()
      ->type_name("");
  add_on_error_option(*command, options->on_error);
  add_edges_option(*command, options->edges);
  add_print_options(*command, options->print);
  set_help(*command,
           "A damaged file is an error that names the byte or the line; the exit code is 1.\n"
           "\n"
           "What is printed:\n"
           "  Of a state: version of the format, bytes, model, method, sides, updates, ranks that it was merged from, "
           "names of keys that are text, sizes of\n"
           "    the sketch (rows, buckets, lanes, levels, columns), law, p, randomness, seed, fingerprint (two states "
           "with the\n"
           "    same one have the same random functions), fixed and streamed operands, which operands are zero, and "
           "the norm\n"
           "    of y.\n"
           "  Of events: format, bytes, events, bad lines skipped, and for each operand its events, the range of its "
           "indices,\n"
           "    and whether all changes are whole numbers, so that sums are exact to the bit.\n"
           "  Of a directory of checkpoints: the newest one, its epoch and updates, and the positions of its sources.\n"
           "  Of a running job: what it measures, updates, ranks, the last epoch and its age.\n"
           "  The columns of --format csv are the fields of the object of --format json; those of lists are numbered "
           "from 0:\n"
           "    shape.0, operands.0.events.",
           {"weir inspect events.csv", "weir inspect --format json monday.weir"});
  command->callback([options, &action] { action = [options] { return inspect(*options); }; });
}

}  // namespace weir::app
