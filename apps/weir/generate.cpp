#include "weir/stream/generate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "commands.hpp"
#include "help.hpp"
#include "options.hpp"
#include "weir/error.hpp"
#include "weir/stream/writer.hpp"

namespace weir::app {

namespace {

struct GenerateOptions {
  GeneratorOptions generator;
  std::optional<std::uint64_t> seed;
  std::string output;
  std::optional<EventFormat> format;
  std::string final_vector;
};

int generate(GenerateOptions options) {
  if (options.seed) {
    options.generator.seed = *options.seed;
  } else {
    std::random_device entropy;
    options.generator.seed = std::uint64_t{entropy()} << 32 | entropy();
    say(fmt::format("weir: --seed {}", options.generator.seed));
  }
  const EventGenerator generator(options.generator);
  const std::string& final_vector = options.final_vector;
  if (!final_vector.empty() && options.generator.kind != StreamKind::insert_delete) {
    throw UsageError("--final-vector needs the kind insert-delete");
  }
  EventWriter writer(options.output, options.format.value_or(format_of_name(options.output)));
  EventBatch batch;
  const bool whole_rows = options.generator.whole_rows;
  const std::uint64_t most = whole_rows ? std::max<std::uint64_t>(1, (1U << 18U) / options.generator.columns) : 8192;
  for (std::uint64_t first = 0; first < options.generator.events; first += batch.events()) {
    const auto count = static_cast<std::size_t>(std::min(most, options.generator.events - first));
    batch.clear();
    if (whole_rows) {
      generator.append_rows(first, count, batch.rows);
    } else {
      batch.resize(count);
      generator.fill(first, batch);
    }
    writer.write(batch);
  }
  writer.close();
  if (!final_vector.empty()) {
    EventWriter out(final_vector, format_of_name(final_vector));
    out.write(generator.final_vector());
    out.close();
  }
  return done;
}

template <class Value>
CLI::Option* add_choice_of(CLI::App& command, const std::string& name, Value& value,
                           const std::map<std::string, Value>& choices, const std::string& description) {
  std::vector<std::string> names;
  names.reserve(choices.size());
  for (const auto& choice : choices) names.push_back(choice.first);
  return add_choice(
      command, name, names, [&value, choices](const std::string& chosen) { value = choices.at(chosen); }, description);
}

}  // namespace

void add_generate_command(CLI::App& app, std::function<int()>& action) {
  CLI::App& command =
      *app.add_subcommand("generate", "Write an artificial stream of events, to try weir and to test it");
  const auto options = std::make_shared<GenerateOptions>();
  GeneratorOptions& generator = options->generator;
  add_choice_of<StreamKind>(command, "KIND", generator.kind,
                            {{"flat", StreamKind::flat},
                             {"zipf", StreamKind::zipf},
                             {"planted", StreamKind::planted},
                             {"insert-delete", StreamKind::insert_delete},
                             {"structured", StreamKind::structured}},
                            "What the indices look like. flat: uniform. zipf: index k has a probability in\n"
                            "proportion to (k+1)^-exponent. planted: a few heavy indices over a flat\n"
                            "background. insert-delete: nearly all that is inserted is deleted again.\n"
                            "structured: regular indices, one after the other")
      ->required();
  add_whole(
      command, "--n", {1, std::uint64_t{1} << 63}, [&generator](std::uint64_t n) { generator.n = n; },
      "Length of y, or rows of a matrix operand: indices are 0 to N - 1")
      ->required();
  add_whole(
      command, "--events", {1, UINT64_MAX}, [&generator](std::uint64_t events) { generator.events = events; },
      "Number of events to write")
      ->required();
  add_whole(
      command, "--seed", {}, [options](std::uint64_t seed) { options->seed = seed; },
      "The same seed gives the same events. Unless given, it is drawn from the operating\n"
      "system and told on standard error");
  command
      .add_option("-o,--output", options->output, "File to write, or - for standard output (binary unless --to text)")
      ->required()
      ->type_name("FILE");
  add_format_option(command, options->format);
  add_choice_of<DeltaLaw>(command, "--delta", generator.deltas,
                          {{"one", DeltaLaw::one}, {"sign", DeltaLaw::sign}, {"real", DeltaLaw::real}},
                          "The change of an event. one: 1. sign: -1 or 1, evenly. real: uniform on [-1, 1).\n"
                          "insert-delete has changes of its own (one)");
  const std::string operand_group = "Another operand than y";
  add_choice_of<Operand>(command, "--operand", generator.operand,
                         {{"y", Operand::y},
                          {"x", Operand::x},
                          {"A", Operand::A},
                          {"A1", Operand::A1},
                          {"A2", Operand::A2},
                          {"X", Operand::X}},
                         "The operand that the events change (y)")
      ->group(operand_group);
  add_whole(
      command, "--d", {1, std::uint64_t{1} << 63}, [&generator](std::uint64_t d) { generator.columns = d; },
      "Columns of a matrix operand; at most 2^20 with --whole-rows (1)")
      ->group(operand_group);
  command
      .add_flag("--whole-rows", generator.whole_rows,
                "Each event is a whole row of a matrix operand, D entries. insert-delete takes away\n"
                "rows that it has inserted")
      ->group(operand_group);
  const std::string group = "Options of one kind";
  add_real(
      command, "--exponent", {0, 16, true, false}, [&generator](double exponent) { generator.exponent = exponent; },
      "zipf: the exponent (1.1)")
      ->group(group);
  add_whole(
      command, "--heavy", {1, std::uint64_t{1} << 20}, [&generator](std::uint64_t heavy) { generator.heavy = heavy; },
      "planted: number of heavy indices (8)")
      ->group(group);
  add_real(
      command, "--heavy-share", {0, 1}, [&generator](double share) { generator.heavy_share = share; },
      "planted: share of the events that go to heavy indices (0.5)")
      ->group(group);
  add_whole(
      command, "--survivors", {0, std::uint64_t{1} << 20},
      [&generator](std::uint64_t survivors) { generator.survivors = survivors; },
      "insert-delete: non-zero entries at the end; as even or odd as the number of events\n"
      "(16 or 15)")
      ->group(group);
  command
      .add_option("--final-vector", options->final_vector,
                  "insert-delete: also write what is left at the end to this file, as events")
      ->type_name("FILE")
      ->group(group);
  add_choice_of<IndexPattern>(command, "--pattern", generator.pattern,
                              {{"sequential", IndexPattern::sequential},
                               {"stride", IndexPattern::stride},
                               {"powers", IndexPattern::powers},
                               {"high", IndexPattern::high}},
                              "structured: 0, 1, 2, ... or multiples of --stride, powers of two, multiples of\n"
                              "2^32 (sequential)")
      ->group(group);
  add_whole(
      command, "--stride", {1, std::uint64_t{1} << 63},
      [&generator](std::uint64_t stride) { generator.stride = stride; },
      "structured with the pattern stride: distance of two indices (4096)")
      ->group(group);
  set_help(command, "",
           {"weir generate zipf --n 1e6 --events 5e6 --seed 1 -o zipf.bin",
            "weir generate flat --operand A1 --n 1000 --d 16 --whole-rows --events 1000 -o queries.csv"});
  command.callback([options, &action] { action = [options] { return generate(*options); }; });
}

}  // namespace weir::app
