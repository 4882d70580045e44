#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "options.hpp"
#include "weir/engine/vector_job.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"

namespace weir::app {
namespace {

struct Term {
  double coefficient = 1;
  std::string path;
};

struct CombineOptions {
  std::string output;
  std::vector<std::string> added;
  std::vector<std::string> subtracted;
  std::vector<std::pair<std::string, std::string>> scaled;  ///< Coefficient, file.

  /// In the order added, subtracted, scaled. Throws CLI::ValidationError.
  [[nodiscard]] std::vector<Term> terms() const {
    std::vector<Term> all;
    for (const std::string& path : added) all.push_back({1, path});
    for (const std::string& path : subtracted) all.push_back({-1, path});
    for (const auto& [coefficient, path] : scaled)
      all.push_back({parse_real("--scaled", coefficient, {-1e300, 1e300}), path});
    if (all.empty()) throw CLI::ValidationError("combine", "at least one of --add, --subtract, --scaled is needed");
    return all;
  }
};

int combine(const std::vector<Term>& terms, const std::string& output) {
  std::optional<State> sum;
  for (const Term& term : terms) {
    State next = load_state(term.path);
    if (!sum) {
      sum.emplace(std::move(next));
      sum->sketch.scale(term.coefficient);
      continue;
    }
    const std::string difference = describe_difference(sum->sketch.config(), next.sketch.config());
    if (!difference.empty())
      throw InputError(fmt::format("{} and {} do not combine: {}", terms.front().path, term.path, difference));
    sum->sketch.add(next.sketch, term.coefficient);
    sum->description.updates += next.description.updates;
    // Both hold a sketch of some y; only a common origin is worth telling.
    if (sum->description.model != next.description.model) sum->description.model = "vector";
  }
  const std::string problem = engine::describe_range_problem(sum->sketch);
  if (!problem.empty())
    throw InputError(fmt::format("{}: no state of the sum, see the coefficients of --scaled: {}", output, problem));
  sum->description.ranks = 1;
  save_state(output, *sum);
  return done;
}

}  // namespace

void add_combine_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command =
      app.add_subcommand("combine", "Linear combination of saved states: what changed, what several streams share");
  auto options = std::make_shared<CombineOptions>();
  const auto add = [&](const std::string& name, auto& target, const std::string& description) {
    return command->add_option(name, target, description)
        ->allow_extra_args(false)
        ->group("Terms, each any number of times");
  };
  command->add_option("-o,--output", options->output, "The state file to write; it appears when it is complete")
      ->required()
      ->type_name("FILE");
  add("--add", options->added, "Add this state")->type_name("FILE");
  add("--subtract", options->subtracted, "Subtract this state")->type_name("FILE");
  add("--scaled", options->scaled,
      "Add this state times a real number C; sums stay exact where C and the stream are whole numbers")
      ->type_name("C FILE");
  command->footer(
      "The states must agree in shape, seed and law. weir sample --state FILE draws from the result, weir query "
      "--state FILE\n"
      "answers about it: of a difference, the coordinates that changed most.");
  command->callback(
      [options, &action] { action = [options, terms = options->terms()] { return combine(terms, options->output); }; });
}

}  // namespace weir::app
