#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "help.hpp"
#include "options.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/setting.hpp"

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

/// To stderr, about operands that came to nothing though they were something in the terms.
void warn_of_zero_operands(const State& sum, OperandSet zero_in_all_terms) {
  // In the one operand that streamed y is linear: it is zero where the vectors y cancel.
  if (sum.problem().with_role(Role::streams).size() <= 1) return;
  const bool has_sketch = sum.kept().sketch_of_y().has_value();
  for (const Operand operand : sum.kept().zero_operands() - zero_in_all_terms) {
    if (operand == Operand::y) continue;
    say(fmt::format("weir: {} of the sum is zero, and so is y{}", to_string(operand),
                    has_sketch ? ": --of y combines the vectors y instead" : ""));
  }
}

/// Throws InputError when the state of terms[t] cannot be a term.
void require_combinable(const State& state, const std::vector<Term>& terms, std::size_t t) {
  const std::string problem = describe_combine_problem(state, terms[t].coefficient, t == 0, terms.size() == 1);
  if (problem.empty()) return;
  const bool has_y = state.kept().sketch_of_y().has_value() && !state.kept().is_sketch_of_y();
  throw InputError(
      fmt::format("{}: {}{}", terms[t].path, problem, has_y ? "; or --of y, which combines the vectors y" : ""));
}

/// Throws InputError when y of the sum cannot be measured.
void require_range(const State& sum, const std::vector<Term>& terms, const std::string& output) {
  const std::string problem = sum.kept().describe_range_problem();
  if (problem.empty()) return;
  const bool scaled = std::ranges::any_of(terms, [](const Term& term) { return std::abs(term.coefficient) != 1; });
  throw InputError(fmt::format("{}: no state of the sum{}: {}", output,
                               scaled ? ", see the coefficients of --scaled" : "", problem));
}

int combine(const std::vector<Term>& terms, CombineOf of, const std::string& output) {
  std::optional<State> sum;
  OperandSet zero_in_all_terms;
  for (std::size_t t = 0; t < terms.size(); ++t) {
    const Term& term = terms[t];
    State next = load_state(term.path);
    if (of == CombineOf::y && !next.kept().is_sketch_of_y()) {
      if (!next.kept().sketch_of_y())
        throw UsageError(fmt::format("--of y: {}, a state of {}, holds operands and no sketch of y", term.path,
                                     setting_of(next.problem()).label()));
      next = as_vector(next);
    }
    zero_in_all_terms = t == 0 ? next.kept().zero_operands() : zero_in_all_terms & next.kept().zero_operands();
    require_combinable(next, terms, t);
    if (!sum) {
      sum.emplace(std::move(next));
      sum->scale(term.coefficient);
      continue;
    }
    // Sketches of y are added whatever y was made from; what is left of that is a vector.
    if (!describe_difference(*sum, next).empty() && sum->kept().is_sketch_of_y() && next.kept().is_sketch_of_y()) {
      *sum = as_vector(*sum);
      next = as_vector(next);
    }
    const std::string difference = describe_difference(*sum, next);
    if (!difference.empty()) {
      const bool of_y_would_do =
          sum->kept().sketch_of_y() && next.kept().sketch_of_y() && sum->problem().sketch == next.problem().sketch;
      const bool sizes_differ =
          sum->problem().sides == next.problem().sides && !(sum->problem().sketch == next.problem().sketch);
      std::string remedy;
      if (of_y_would_do) remedy = "; --of y multiplies the operands first";
      if (sizes_differ) remedy = fmt::format("; weir sample --like {} makes states that do", terms.front().path);
      throw InputError(
          fmt::format("{} and {} do not combine: {}{}", terms.front().path, term.path, difference, remedy));
    }
    sum->add(next, term.coefficient);
  }
  require_range(*sum, terms, output);
  warn_of_zero_operands(*sum, zero_in_all_terms);
  sum->ranks = 1;
  save_state(output, *sum);
  return done;
}

}  // namespace

void add_combine_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command = app.add_subcommand(
      "combine", "Add, subtract and scale saved states: what changed, or what streams hold together");
  auto options = std::make_shared<CombineOptions>();
  const std::string group = "Terms, each any number of times";
  add_path(*command, "-o,--output", options->output, "The state file to write. It appears when it is complete")
      ->required()
      ->type_name("FILE");
  add_paths(*command, "--add", options->added, "Add these states")->type_name("FILE")->group(group);
  add_paths(*command, "--subtract", options->subtracted, "Subtract these states")->type_name("FILE")->group(group);
  command
      ->add_option("--scaled", options->scaled,
                   "Add a state times a real number C. Sums stay exact when C and the stream are whole\n"
                   "numbers")
      ->type_name("C FILE")
      ->group(group);
  add_choice(
      *command, "--of", {"operands", "y"},
      [options](const std::string& of) { options->of = of == "y" ? CombineOf::y : CombineOf::operands; },
      "For states of --model product in which A and x both streamed. operands: A is added\n"
      "to A and x to x, as is right for parts of one stream; --scaled C multiplies A and\n"
      "x each, and so y by C^2. y: every state is multiplied out first, and the vectors y\n"
      "= A x are combined, as is right for the results of several streams. States of rows\n"
      "and of --method two-stage are always combined by operands. Operands that were\n"
      "fixed must be the same in all states, and stay as they are; where one operand\n"
      "alone streamed, the vectors y are combined either way")
      ->default_str("operands");
  set_help(*command,
           "The states must agree in model, sides, sizes, law and seed; if not, the message names what differs. States "
           "with\n"
           "--gram exact or --p 4 cannot be scaled, unless the rows in question were fixed.",
           {"weir sample --like monday.weir --save tuesday.weir tuesday.csv",
            "weir combine -o change.weir --add tuesday.weir --subtract monday.weir",
            "weir sample --state change.weir    # the entries that changed most",
            "weir combine -o decayed.weir --add tuesday.weir --scaled 0.5 monday.weir"});
  command->callback([options, &action] {
    action = [options, terms = options->terms()] { return combine(terms, options->of, options->output); };
  });
}

}  // namespace weir::app
