#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "options.hpp"
#include "weir/engine/job.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/model/model.hpp"

namespace weir::app {
namespace {

struct Term {
  double coefficient = 1;
  std::string path;
};

/// What is combined of product states.
enum class CombineOf : std::uint8_t { operands, y };

struct CombineOptions {
  std::string output;
  CombineOf of = CombineOf::operands;
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

bool x_is_zero(const State& state) {
  const auto* product = std::get_if<ProductSketch>(&state.sketch);
  return product != nullptr && product->x_is_zero();
}

bool is_lifted_vector(const State& state) {
  const auto* product = std::get_if<ProductSketch>(&state.sketch);
  return product != nullptr && weir::is_lifted_vector(*product);
}

/// Throws InputError when y of the sum cannot be measured.
void require_range(const State& sum, const std::string& output) {
  const std::string problem = engine::describe_range_problem(sketch_of_y(sum.sketch));
  if (!problem.empty())
    throw InputError(fmt::format("{}: no state of the sum, see the coefficients of --scaled: {}", output, problem));
}

int combine(const std::vector<Term>& terms, CombineOf of, const std::string& output) {
  std::optional<State> sum;
  bool all_x_zero = true;
  bool all_lifted_vectors = true;
  for (const Term& term : terms) {
    State next = load_state(term.path);
    if (of == CombineOf::y) multiply_out(next);
    all_x_zero = all_x_zero && x_is_zero(next);
    all_lifted_vectors = all_lifted_vectors && is_lifted_vector(next);
    if (const auto* product = std::get_if<ProductSketch>(&next.sketch);
        product != nullptr && product->degree == 2 && std::abs(term.coefficient) != 1)
      throw InputError(fmt::format(
          "{}: a state for the law |y_i|^4 holds rows that come and go whole: expected --add or --subtract, "
          "or --of y, which leaves |y_i|^2",
          term.path));
    if (!sum) {
      sum.emplace(std::move(next));
      scale(*sum, term.coefficient);
      continue;
    }
    const std::string difference = describe_difference(*sum, next);
    if (!difference.empty())
      throw InputError(
          fmt::format("{} and {} do not combine: {}{}", terms.front().path, term.path, difference,
                      sum->sketch.index() == next.sketch.index() ? "" : "; --of y multiplies A by x first"));
    add(*sum, next, term.coefficient);
    // Both hold a sketch of some y; only a common origin is worth telling.
    if (sum->description.model != next.description.model) sum->description.model = "vector";
  }
  // Where x is fixed it is in every state, not a part of it in each.
  if (all_lifted_vectors) std::get<ProductSketch>(sum->sketch).x.front() = 1;
  require_range(*sum, output);
  if (x_is_zero(*sum) && !all_x_zero)
    fmt::print(stderr, "weir: x of the sum is zero, and so is y = A x: --of y combines the vectors y instead\n");
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
  command
      ->add_option_function<std::string>(
          "--of", [options](const std::string& of) { options->of = of == "y" ? CombineOf::y : CombineOf::operands; },
          "What is combined of states of A and x: operands, as parts of one stream are (--scaled multiplies A and x "
          "each), or y = A x, as results of several are")
      ->check(one_of({"operands", "y"}))
      ->default_str("operands")
      ->type_name("WHAT");
  command->footer(
      "The states must agree in shape, seed and law. weir sample --state FILE draws from the result, weir query "
      "--state FILE\n"
      "answers about it: of a difference, the coordinates that changed most.");
  command->callback([options, &action] {
    action = [options, terms = options->terms()] { return combine(terms, options->of, options->output); };
  });
}

}  // namespace weir::app
