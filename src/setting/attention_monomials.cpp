#include "setting/attention_parameters.hpp"
#include "setting/settings.hpp"
#include "weir/setting/polynomial_attention.hpp"

namespace weir {
namespace {

/// Softmax attention from polynomial features: keys come with their values, queries are questions.
class AttentionMonomialsSetting : public Setting {
 public:
  AttentionMonomialsSetting()
      : Setting({.name = "attention-monomials",
                 .model = "attention",
                 .method = "monomials",
                 .sides = {{"n", "number of tokens"}, {"d", "numbers of a key"}, {"dv", "numbers of a value"}},
                 .sides_of_y = {"n"},
                 .operands = {{.operand = keys_and_values(), .rows = "n", .columns = "d", .more_columns = "dv"},
                              {.operand = attention_centres(), .rows = "", .may_be_fixed = true}},
                 .has_y = false,
                 .has_sketch_of_y = false,
                 .exact_draws = false,
                 .advice = "a key comes with its value, KV,i,*,key,value; queries come after them, by --q"}) {}

  void size(Problem& problem, const SizeRequest&) const override { problem.sketch = {.dimension = 1}; }
  void check(const Problem& problem) const override {
    Setting::check(problem);
    check_attention(problem, {keys_and_values()}, {attention_centres()});
    (void)polynomial_attention_shape(problem);
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return MonomialAttentionState::layout(polynomial_attention_shape(problem));
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    return std::make_unique<MonomialAttentionState>(polynomial_attention_shape(problem));
  }
  void check_question(const Problem&, const Question& question) const override {
    require_attention_question(question, true, false, "answers queries: expected weir attend");
  }
  std::string describe_memory(const Problem&) const override { return "the features of attention"; }
};

}  // namespace

Problem attention_monomials_problem(const PolynomialAttentionShape& shape) {
  Problem problem = polynomial_problem("attention-monomials", shape);
  problem.roles[keys_and_values()] = Role::streams;
  return problem;
}

std::unique_ptr<const Setting> attention_monomials_setting() { return std::make_unique<AttentionMonomialsSetting>(); }

}  // namespace weir
