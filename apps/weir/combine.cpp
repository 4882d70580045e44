#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "options.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/model/model.hpp"
#include "weir/sample/range.hpp"

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

/// The operands of a state of several, whose sum is that of each by itself.
OperandSet operands_of(const State& state) {
  if (std::holds_alternative<ProductSketch>(state.sketch)) return {Operand::A, Operand::x};
  if (std::holds_alternative<KroneckerSketch>(state.sketch)) return {Operand::A1, Operand::A2, Operand::X};
  return {};
}

/// Those of them that streamed.
OperandSet streamed_operands(const State& state) { return operands_of(state) - state.description.fixed; }

/// The operands that are zero, and y with them.
OperandSet zero_operands(const State& state) {
  OperandSet zero;
  const auto add = [&](Operand operand, bool is_zero) {
    if (is_zero) zero.insert(operand);
  };
  if (const auto* product = std::get_if<ProductSketch>(&state.sketch)) add(Operand::x, product->x_is_zero());
  if (const auto* kronecker = std::get_if<KroneckerSketch>(&state.sketch)) {
    add(Operand::A1, kronecker->a1.is_zero());
    add(Operand::A2, kronecker->a2.is_zero());
    add(Operand::X, kronecker->x_is_zero());
  }
  return zero;
}

/// To stderr, about operands that came to nothing though they were something in the terms.
void warn_of_zero_operands(const State& sum, OperandSet zero_in_all_terms) {
  // In the one operand that streamed y is linear: it is zero where the vectors y cancel.
  if (streamed_operands(sum).size() == 1) return;
  for (const Operand operand : all_operands) {
    if (!(zero_operands(sum) - zero_in_all_terms).contains(operand)) continue;
    fmt::print(stderr, "weir: {} of the sum is zero, and so is y = {}\n", to_string(operand),
               operand == Operand::x ? "A x: --of y combines the vectors y instead" : "(A1 (x) A2) vec X");
  }
}

bool holds_operands_only(const State& state) {
  return std::holds_alternative<RowsSketch>(state.sketch) || std::holds_alternative<KroneckerSketch>(state.sketch);
}

/// Whether the states differ in that one holds y = A x, the other A and x.
bool differ_by_a_product(const State& a, const State& b) {
  const auto is_of_vector = [](const State& state) {
    return !holds_operands_only(state) && config_of(state.sketch).row_length == 0;
  };
  return a.sketch.index() != b.sketch.index() && is_of_vector(a) && is_of_vector(b);
}

/// Throws InputError when there is nothing in the state of terms[t] that a coefficient multiplies, or the operands which
/// streamed can neither be multiplied by its coefficient nor be added to those of the terms before.
void require_combinable(const State& state, const std::vector<Term>& terms, std::size_t t) {
  const auto& [coefficient, path] = terms[t];
  const OperandSet streamed = streamed_operands(state);
  if (streamed.empty() && !operands_of(state).empty())
    throw InputError(fmt::format("{}: all its operands ({}) were fixed, none streamed: there is nothing to combine",
                                 path, to_string(operands_of(state))));
  const auto* kronecker = std::get_if<KroneckerSketch>(&state.sketch);
  if (kronecker != nullptr && streamed == OperandSet{Operand::X} && kronecker->x_events == 0 &&
      (coefficient != 1 || terms.size() > 1))
    throw InputError(
        fmt::format("{}: X, which alone streamed, had no event and is the identity, which is neither multiplied nor "
                    "added: expected an X of events, or of a file",
                    path));
  std::string_view whole_rows;
  const auto* product = std::get_if<ProductSketch>(&state.sketch);
  if (product != nullptr && product->degree == 2 && streamed.contains(Operand::A))
    whole_rows = "a state for the law |y_i|^4";
  const auto* rows = std::get_if<RowsSketch>(&state.sketch);
  if (kronecker != nullptr && streamed != OperandSet{Operand::X}) rows = &kronecker->a1;
  if (rows != nullptr && rows->gram_config().exact) whole_rows = "a state with an exact Gram matrix";
  if (whole_rows.empty()) return;
  const std::string_view or_of_y = product != nullptr ? ", or --of y, which leaves |y_i|^2" : "";
  if (std::abs(coefficient) != 1)
    throw InputError(fmt::format("{}: {} holds rows that come and go whole: expected --add or --subtract{}", path,
                                 whole_rows, or_of_y));
  if (t == 0 && coefficient == -1)
    throw InputError(
        fmt::format("{}: {} holds rows that come before they go: expected another state, added before it{}", path,
                    whole_rows, or_of_y));
}

/// Throws InputError when y of the sum cannot be measured.
void require_range(const State& sum, const std::vector<Term>& terms, const std::string& output) {
  // Parts of a stream may each be without an X.
  if (const auto* kronecker = std::get_if<KroneckerSketch>(&sum.sketch); kronecker != nullptr && !kronecker->has_core())
    return;
  const std::string problem = describe_range_problem(sum.sketch);
  if (problem.empty()) return;
  const bool scaled = std::ranges::any_of(terms, [](const Term& term) { return std::abs(term.coefficient) != 1; });
  throw InputError(fmt::format("{}: no state of the sum{}: {}", output,
                               scaled ? ", see the coefficients of --scaled" : "", problem));
}

int combine(const std::vector<Term>& terms, CombineOf of, const std::string& output) {
  std::optional<State> sum;
  OperandSet zero_in_all_terms{Operand::x, Operand::A1, Operand::A2, Operand::X};
  for (std::size_t t = 0; t < terms.size(); ++t) {
    const Term& term = terms[t];
    State next = load_state(term.path);
    if (of == CombineOf::y) {
      if (holds_operands_only(next))
        throw UsageError(fmt::format("--of y: {}, a state of --model {}, holds operands and no sketch of y", term.path,
                                     next.description.model));
      multiply_out(next);
    }
    zero_in_all_terms = zero_in_all_terms & zero_operands(next);
    require_combinable(next, terms, t);
    if (!sum) {
      sum.emplace(std::move(next));
      scale(*sum, term.coefficient);
      continue;
    }
    const std::string difference = describe_difference(*sum, next);
    if (!difference.empty())
      throw InputError(fmt::format("{} and {} do not combine: {}{}", terms.front().path, term.path, difference,
                                   differ_by_a_product(*sum, next) ? "; --of y multiplies A by x first" : ""));
    add(*sum, next, term.coefficient);
    // Both hold a sketch of some y; only a common origin is worth telling.
    if (sum->description.model != next.description.model) sum->description.model = "vector";
  }
  require_range(*sum, terms, output);
  warn_of_zero_operands(*sum, zero_in_all_terms);
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
          "each), or y = A x, as results of several are. Of states of A1, A2 and X, or of rows: operands. An operand "
          "that was fixed must be the same in all states, and stays as it is; where all but one were, the vectors y "
          "are combined either way")
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
