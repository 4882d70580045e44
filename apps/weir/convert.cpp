#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "commands.hpp"
#include "help.hpp"
#include "model_options.hpp"
#include "options.hpp"
#include "weir/error.hpp"
#include "weir/setting/setting.hpp"
#include "weir/stream/reader.hpp"
#include "weir/stream/writer.hpp"

namespace weir::app {

namespace {

struct ConvertOptions {
  std::vector<std::string> inputs;
  std::string output;
  std::optional<EventFormat> format;
  ModelOptions model;
  std::optional<Operand> operand;
  OnError on_error = OnError::stop;
  Edges edges = Edges::unsaid;
};

ReadOptions reading(const ConvertOptions& options) {
  ReadOptions read;
  read.on_error = options.on_error;
  read.edges = options.edges;
  read.warn = [](const std::string& what) { say("weir: warning: " + what); };
  Operand first = Operand::y;
  if (options.model.model) {
    Problem problem = options.model.problem(Keeps::sketch);
    for (const OperandUse& use : setting_of(problem).traits().operands) problem.roles[use.operand] = Role::streams;
    read.shapes = shapes_of(problem, {Role::streams});
    first = read.shapes.front().operand;
  } else if (!options.model.sides.empty()) {
    throw UsageError(fmt::format("--{} needs --model", options.model.sides.begin()->first));
  }
  read.default_operand = options.operand.value_or(first);
  return read;
}

int convert(const ConvertOptions& options) {
  EventReader reader(options.inputs, reading(options));
  EventWriter writer(options.output, options.format.value_or(format_of_name(options.output)));
  EventBatch batch;
  while (reader.next(batch)) writer.write(batch);
  writer.close();
  say(fmt::format("weir: wrote {} event{}", writer.events(), writer.events() == 1 ? "" : "s"));
  if (reader.skipped() > 0)
    say(fmt::format("weir: skipped {} bad line{}", reader.skipped(), reader.skipped() == 1 ? "" : "s"));
  return done;
}

std::vector<std::string> operand_names() {
  std::vector<std::string> names;
  for (const Operand operand : known_operands()) names.emplace_back(to_string(operand));
  return names;
}

}  // namespace

void add_convert_command(CLI::App& app, std::function<int()>& action) {
  CLI::App& command = *app.add_subcommand("convert", "Convert files of events between text and the binary format");
  const auto options = std::make_shared<ConvertOptions>();
  command
      .add_option("IN", options->inputs,
                  "Files of events: text, binary, Matrix Market, .npy or .gz or .zst of these, told apart by\n"
                  "their content; - is standard input. Several are written one after the other")
      ->required();
  command
      .add_option("-o,--output", options->output, "File to write, or - for standard output (binary unless --to text)")
      ->required()
      ->type_name("FILE");
  add_format_option(command, options->format);
  add_choice(
      command, "--operand", operand_names(),
      [options](const std::string& name) { options->operand = find_operand(name); },
      "The operand that Matrix Market and .npy files hold, and lines i,delta if it is a\n"
      "vector (y; with --model product and rows A, with kronecker A1)");
  add_edges_option(command, options->edges);
  const std::string group = "Checks (without --model: any operand, any index below 2^63)";
  add_choice(
      command, "--model", model_names(), [options](const std::string& model) { options->model.model = model; },
      "Accept only events of the operands of this model, with indices below its sides")
      ->group(group);
  add_side_options(command, group,
                   [options](const std::string& name, std::uint64_t length) { options->model.sides[name] = length; });
  add_choice(
      command, "--on-error", {"stop", "skip"},
      [options](const std::string& what) { options->on_error = what == "skip" ? OnError::skip : OnError::stop; },
      "At a bad line stop and write nothing, or skip the line and count it (stop)")
      ->group(group);
  set_help(
      command,
      "Binary files are read fastest, and by all ranks at once. They have no whole rows: a row A,i,*,v0,v1,... is "
      "written as\n"
      "one event for each of its non-zero entries. The number of events that were written is told on standard error.",
      {"weir convert events.csv.gz -o events.bin --model vector --n 1e6", "weir convert events.bin -o - --to text"});
  command.callback([options, &action] { action = [options] { return convert(*options); }; });
}

}  // namespace weir::app
