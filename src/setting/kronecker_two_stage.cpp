#include <fmt/format.h>

#include <algorithm>

#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/sample/heavy_entries.hpp"
#include "weir/state/dense_state.hpp"
#include "weir/state/rows_state.hpp"

namespace weir {
namespace {

KroneckerShape shape_of(const Problem& problem) {
  return {problem.side("n1"), problem.side("n2"), problem.side("d1"), problem.side("d2")};
}

/// y = (A1 (x) A2) vec X while all three may stream: pairs are drawn in two stages.
class KroneckerTwoStageSetting : public Setting {
 public:
  KroneckerTwoStageSetting()
      : Setting(
            {.name = "kronecker-two-stage",
             .model = "kronecker",
             .method = "two-stage",
             .sides = {{"n1", "number of rows of A1"},
                       {"n2", "number of rows of A2"},
                       {"d1", "number of columns of A1"},
                       {"d2", "number of columns of A2"}},
             .sides_of_y = {"n1", "n2"},
             .operands =
                 {{.operand = Operand::A1, .rows = "n1", .columns = "d1", .may_be_fixed = true, .may_lack_rows = true},
                  {.operand = Operand::A2, .rows = "n2", .columns = "d2", .may_be_fixed = true, .may_lack_rows = true},
                  {.operand = Operand::X, .rows = "d1", .columns = "d2", .may_be_fixed = true}},
             .has_sketch_of_y = false,
             .has_gram = true,
             .has_softmax = true,
             .dot_product_side = "d1"}) {}

  void check(const Problem& problem) const override {
    Setting::check(problem);
    const std::uint64_t n1 = problem.side("n1"), n2 = problem.side("n2");
    if (problem.keeps == Keeps::exact_shared && n1 > (std::uint64_t{1} << 63) / n2)
      throw UsageError(fmt::format(
          "draws by exp(y) number the pairs: n1 n2 = {} x {} is more than 2^63, expected fewer rows", n1, n2));
    require_gram(problem, {"d1", "d2"});
    require_dimension(problem, "n1");
    SketchConfig longer = problem.sketch;
    longer.dimension = std::max(problem.side("n1"), problem.side("n2"));
    if (problem.keeps == Keeps::sketch) require_answerable(longer);
  }
  bool is_complete_without_stream(const Problem& problem) const override {
    return problem.role(Operand::A1) == Role::fixed && problem.role(Operand::A2) == Role::fixed;
  }
  void size(Problem& problem, const SizeRequest& request) const override {
    if (problem.keeps != Keeps::sketch) return size_exactly(problem, request, problem.side("n1"));
    if (request.degree() == 2) throw UsageError(fmt::format("--p 4 is for --model product; {} takes 2", label()));
    const PairsConfig sizes = pairs_config(request, problem.side("n1"), problem.side("n2"));
    problem.sketch = sizes.sketch;
    problem.gram = sizes.gram;
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return problem.keeps == Keeps::sketch ? KroneckerState::layout(shape_of(problem), problem.sketch, problem.gram)
                                          : DenseKroneckerState::layout(shape_of(problem), dense_law(problem));
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    if (problem.keeps == Keeps::sketch)
      return std::make_unique<KroneckerState>(shape_of(problem), problem.sketch, problem.gram);
    return std::make_unique<DenseKroneckerState>(shape_of(problem), dense_law(problem));
  }
  std::uint64_t columns_of_sketch(const Problem& problem) const override {
    return problem.side("d1") + problem.side("d2");
  }
  std::uint64_t doubles_besides_arrays(const Problem& problem, Party party) const override {
    if (problem.keeps != Keeps::exact_shared) return 0;
    return DenseKroneckerState::doubles_to_share(shape_of(problem), party);
  }
  std::uint64_t doubles_to_answer(const Problem& problem) const override {
    if (problem.keeps == Keeps::exact_shared) return 0;
    // Norms of cells, as many as there are cells at most; a Gram matrix, a metric, its factor and eigenvectors.
    const std::uint64_t widest = std::min(std::max(problem.side("d1"), problem.side("d2")), std::uint64_t{1} << 28);
    const std::uint64_t sketch = problem.keeps == Keeps::sketch ? doubles_of(layout(problem), {}) : 0;
    return sketch + 4 * widest * widest;
  }
  std::string describe_inner_difference(const Problem& a, const Problem& b) const override {
    // Fixed operands, and the columns of the factors, may differ.
    std::string difference = Setting::describe_inner_difference(a, b);
    if (!difference.empty()) return difference;
    if (b.setting != a.setting) return "operands against other operands";
    if (a.side("n2") != b.side("n2")) return fmt::format("n2: {} against {}", a.side("n2"), b.side("n2"));
    if (a.gram.buckets != b.gram.buckets)
      return fmt::format("buckets of the Gram sketch: {} against {}", a.gram.buckets, b.gram.buckets);
    return {};
  }
  void check_question(const Problem& problem, const Question& question) const override {
    Setting::check_question(problem, question);
    if (question.top > 0 && std::max(problem.side("n1"), problem.side("n2")) > longest_scanned_factor)
      throw UsageError("--top looks at all rows of both factors: expected --n1 and --n2 of at most 2^32");
  }
};

}  // namespace

std::unique_ptr<const Setting> kronecker_two_stage_setting() { return std::make_unique<KroneckerTwoStageSetting>(); }

}  // namespace weir
