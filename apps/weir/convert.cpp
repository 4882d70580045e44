#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "commands.hpp"
#include "options.hpp"
#include "weir/error.hpp"
#include "weir/stream/reader.hpp"
#include "weir/stream/writer.hpp"

namespace weir::app {

namespace {

struct ConvertOptions {
  std::vector<std::string> inputs;
  std::string output;
  std::optional<EventFormat> format;
  std::optional<std::string> model;
  std::optional<std::uint64_t> n;
  std::optional<std::uint64_t> d;
  std::optional<std::uint64_t> n1;
  std::optional<std::uint64_t> n2;
  std::optional<std::uint64_t> d1;
  std::optional<std::uint64_t> d2;
  std::optional<Operand> operand;
  OnError on_error = OnError::stop;
};

ReadOptions reading(const ConvertOptions& options) {
  constexpr std::uint64_t any = std::uint64_t{1} << 63;
  const std::string model = options.model.value_or("");
  if (model.empty() && (options.n || options.d)) throw UsageError("--n and --d need --model");
  if (model != "kronecker" && (options.n1 || options.n2 || options.d1 || options.d2))
    throw UsageError("--n1, --n2, --d1 and --d2 need --model kronecker");
  if (model == "kronecker" && (options.n || options.d))
    throw UsageError("--n and --d are not for --model kronecker: expected --n1, --n2, --d1, --d2");
  if (model == "vector" && options.d) throw UsageError("--d needs --model product or rows");
  ReadOptions read;
  read.on_error = options.on_error;
  Operand first = Operand::y;
  if (model == "vector") {
    read.shapes = {{Operand::y, options.n.value_or(any), 1}};
  } else if (model == "product" || model == "rows") {
    first = Operand::A;
    read.shapes = {{Operand::A, options.n.value_or(any), options.d.value_or(any)}};
    if (model == "product") read.shapes.push_back({Operand::x, options.d.value_or(any), 1});
  } else if (model == "kronecker") {
    first = Operand::A1;
    read.shapes = {{Operand::A1, options.n1.value_or(any), options.d1.value_or(any)},
                   {Operand::A2, options.n2.value_or(any), options.d2.value_or(any)},
                   {Operand::X, options.d1.value_or(any), options.d2.value_or(any)}};
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
  fmt::print(stderr, "weir: wrote {} event{}\n", writer.events(), writer.events() == 1 ? "" : "s");
  if (reader.skipped() > 0)
    fmt::print(stderr, "weir: skipped {} bad line{}\n", reader.skipped(), reader.skipped() == 1 ? "" : "s");
  return done;
}

}  // namespace

void add_convert_command(CLI::App& app, std::function<int()>& action) {
  CLI::App& command = *app.add_subcommand("convert", "Convert event files between text and the binary format");
  const auto options = std::make_shared<ConvertOptions>();
  command
      .add_option("IN", options->inputs,
                  "Event files: text, binary, Matrix Market, .npy (told by content), gzip of them, or - for standard "
                  "input; several are concatenated")
      ->required();
  command.add_option("-o,--output", options->output, "File to write, or - for standard output")
      ->required()
      ->type_name("FILE");
  add_format_option(command, options->format);
  command
      .add_option_function<std::string>(
          "--operand",
          [options](const std::string& name) {
            for (const Operand operand : {Operand::y, Operand::x, Operand::A, Operand::A1, Operand::A2, Operand::X}) {
              if (name == to_string(operand)) options->operand = operand;
            }
          },
          "What Matrix Market and .npy files mean, and i,delta lines if it is a vector (y; A for --model product and "
          "rows, A1 for kronecker)")
      ->check(CLI::IsMember({"y", "x", "A", "A1", "A2", "X"}))
      ->type_name("NAME");
  const std::string group = "Checks (without --model: any operand, any index below 2^63)";
  command
      .add_option_function<std::string>(
          "--model", [options](const std::string& model) { options->model = model; },
          "Accept only this model's operands: vector (y), product (A, x), rows (A), kronecker (A1, A2, X)")
      ->check(CLI::IsMember({"vector", "product", "rows", "kronecker"}))
      ->type_name("MODEL")
      ->group(group);
  constexpr WholeRange dimensions{1, std::uint64_t{1} << 63};
  const auto add_side = [&](const std::string& name, std::optional<std::uint64_t> ConvertOptions::*side,
                            const std::string& description) {
    add_whole(
        command, name, dimensions, [options, side](std::uint64_t value) { (*options).*side = value; }, description)
        ->group(group);
  };
  add_side("--n", &ConvertOptions::n, "Length of y, rows of A (2^63)");
  add_side("--d", &ConvertOptions::d, "Columns of A, length of x (2^63)");
  add_side("--n1", &ConvertOptions::n1, "Rows of A1 (2^63)");
  add_side("--n2", &ConvertOptions::n2, "Rows of A2 (2^63)");
  add_side("--d1", &ConvertOptions::d1, "Columns of A1, rows of X (2^63)");
  add_side("--d2", &ConvertOptions::d2, "Columns of A2 and X (2^63)");
  command
      .add_option_function<std::string>(
          "--on-error",
          [options](const std::string& what) { options->on_error = what == "skip" ? OnError::skip : OnError::stop; },
          "At a bad line: stop and write nothing, or skip and count it (stop)")
      ->check(CLI::IsMember({"stop", "skip"}))
      ->type_name("stop|skip")
      ->group(group);
  command.footer(
      "Text has whole rows of a matrix (A,i,*,v0,v1,...). The binary format has none: a row is written as an event for "
      "each of its non-zero entries, so that their number can grow.");
  command.callback([options, &action] { action = [options] { return convert(*options); }; });
}

}  // namespace weir::app
