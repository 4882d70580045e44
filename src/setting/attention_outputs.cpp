#include <fmt/format.h>

#include <utility>

#include "setting/attention_parameters.hpp"
#include "setting/settings.hpp"
#include "weir/setting/polynomial_attention.hpp"
#include "weir/state/attention_outputs_state.hpp"

namespace weir {
namespace {

constexpr std::string_view tokens_name = "tokens", rows_name = "phi rows", buckets_name = "phi buckets",
                           factored_name = "factored";

AttentionOutputsShape shape_of(const Problem& problem) {
  const PhiSize phi{.rows = static_cast<std::uint32_t>(whole_parameter(problem, rows_name, 1, 15)),
                    .buckets = whole_parameter(problem, buckets_name, 2, std::uint64_t{1} << 32)};
  PolynomialAttentionShape attention = polynomial_attention_shape(problem);
  attention.tokens = whole_parameter(problem, tokens_name, 1, std::uint64_t{1} << 63);
  return {.attention = std::move(attention),
          .queries = problem.side("n"),
          .phi = phi,
          .seed = problem.sketch.seed,
          .is_factored = is_factored(problem)};
}

/// The outputs of softmax attention from polynomial features: keys and values are fixed, queries stream.
class AttentionOutputsSetting : public Setting {
 public:
  AttentionOutputsSetting()
      : Setting({.name = "attention-outputs",
                 .model = "attention",
                 .method = "outputs",
                 .sides = {{"n", "number of queries"}, {"d", "numbers of a query"}, {"dv", "numbers of a value"}},
                 .sides_of_y = {"n"},
                 .operands = {{.operand = attention_queries(), .rows = "n", .columns = "d"},
                              {.operand = attention_product(), .rows = "", .may_be_fixed = true},
                              {.operand = attention_centres(), .rows = "", .may_be_fixed = true}},
                 .has_y = false,
                 .has_sketch_of_y = false,
                 .exact_draws = false,
                 .advice = "queries have begun to come, and keys and values come before them"}) {}

  void size(Problem& problem, const SizeRequest&) const override { problem.sketch = {.dimension = 1}; }
  void check(const Problem& problem) const override {
    Setting::check(problem);
    check_attention(problem, {attention_queries()}, {attention_product(), attention_centres()});
    const AttentionOutputsShape shape = shape_of(problem);
    require_room_for_features(shape.attention, shape.phi.rows * shape.phi.buckets);
    (void)Phi(shape.queries, shape.phi.rows, shape.phi.buckets, shape.seed);
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return AttentionOutputsState::layout(shape_of(problem));
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    return std::make_unique<AttentionOutputsState>(shape_of(problem));
  }
  void check_question(const Problem&, const Question& question) const override {
    require_attention_question(question, false, true, "has the largest outputs of queries: expected weir attend");
  }
  std::string describe_memory(const Problem&) const override { return "the sketch of the outputs"; }
};

}  // namespace

Problem attention_outputs_problem(const PolynomialAttentionShape& shape, std::uint64_t query_count, const PhiSize& phi,
                                  std::uint64_t seed, bool is_factored) {
  Problem problem = polynomial_problem("attention-outputs", shape);
  problem.sides["n"] = query_count;
  problem.parameters[std::string(tokens_name)] = fmt::to_string(shape.tokens);
  problem.roles[attention_queries()] = Role::streams;
  problem.roles[attention_product()] = Role::fixed;
  problem.sketch.seed = seed;
  problem.parameters[std::string(rows_name)] = fmt::to_string(phi.rows);
  problem.parameters[std::string(buckets_name)] = fmt::to_string(phi.buckets);
  problem.parameters[std::string(factored_name)] = is_factored ? "1" : "0";
  return problem;
}

bool is_factored(const Problem& problem) { return whole_parameter(problem, factored_name, 0, 1) == 1; }

std::uint64_t phi_rows(const Problem& problem) {
  const PhiSize size = shape_of(problem).phi;
  return size.rows * size.buckets;
}

std::unique_ptr<const Setting> attention_outputs_setting() { return std::make_unique<AttentionOutputsSetting>(); }

}  // namespace weir
