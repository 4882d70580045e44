#include <fmt/format.h>

#include "setting/attention_parameters.hpp"
#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/setting/polynomial_attention.hpp"

namespace weir {
namespace {

constexpr std::string_view psi_name = "psi", m2_name = "m2";

Psi psi_of(const Problem& problem) {
  return {parse_psi_kind(parameter(problem, psi_name)), whole_parameter(problem, m2_name, 1, Psi::largest),
          problem.sketch.seed};
}

/// Softmax attention from sketches of V and of the features of K, as in the paper; queries are questions.
class AttentionSketchedSetting : public Setting {
 public:
  AttentionSketchedSetting()
      : Setting({.name = "attention-sketched",
                 .model = "attention",
                 .method = "sketched",
                 .sides = {{"n", "number of tokens"}, {"d", "numbers of a key"}, {"dv", "numbers of a value"}},
                 .sides_of_y = {"n"},
                 .operands = {{.operand = keys_and_values(), .rows = "n", .columns = "d", .more_columns = "dv"},
                              {.operand = attention_keys(), .rows = "n", .columns = "d"},
                              {.operand = attention_values(), .rows = "n", .columns = "dv"},
                              {.operand = attention_centres(), .rows = "", .may_be_fixed = true}},
                 .has_y = false,
                 .has_sketch_of_y = false,
                 .exact_draws = false,
                 .advice = "queries come after all keys and values, by --q"}) {}

  void size(Problem& problem, const SizeRequest&) const override { problem.sketch = {.dimension = 1}; }
  void check(const Problem& problem) const override {
    Setting::check(problem);
    check_attention(problem, {keys_and_values(), attention_keys(), attention_values()}, {attention_centres()});
    require_room_for_features(polynomial_attention_shape(problem), whole_parameter(problem, m2_name, 1, Psi::largest));
    (void)parse_psi_kind(parameter(problem, psi_name));
    if (problem.side("n") >= std::uint64_t{1} << 60)
      throw UsageError(fmt::format("n is {}: expected less than 2^60 tokens", problem.side("n")));
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return SketchedAttentionState::layout(polynomial_attention_shape(problem),
                                          whole_parameter(problem, m2_name, 1, Psi::largest));
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    return std::make_unique<SketchedAttentionState>(polynomial_attention_shape(problem), psi_of(problem));
  }
  void check_question(const Problem&, const Question& question) const override {
    require_attention_question(question, true, false, "answers queries: expected weir attend");
  }
  std::string describe_memory(const Problem&) const override { return "the sketches of keys and values"; }
};

}  // namespace

Problem attention_sketched_problem(const PolynomialAttentionShape& shape, const Psi& psi) {
  Problem problem = polynomial_problem("attention-sketched", shape);
  for (const Operand operand : {keys_and_values(), attention_keys(), attention_values()})
    problem.roles[operand] = Role::streams;
  problem.sketch.seed = psi.seed();
  problem.parameters[std::string(psi_name)] = to_string(psi.kind());
  problem.parameters[std::string(m2_name)] = fmt::to_string(psi.m2());
  return problem;
}

std::unique_ptr<const Setting> attention_sketched_setting() { return std::make_unique<AttentionSketchedSetting>(); }

}  // namespace weir
