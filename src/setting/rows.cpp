#include <fmt/format.h>

#include <algorithm>

#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/state/dense_state.hpp"
#include "weir/state/rows_state.hpp"

namespace weir {
namespace {

/// Whole rows of a streamed A are drawn, by a_i^T M a_i.
class RowsSetting : public Setting {
 public:
  RowsSetting()
      : Setting({.name = "rows",
                 .model = "rows",
                 .sides = {{"n", "number of rows of A"}, {"d", "number of columns of A"}},
                 .sides_of_y = {"n"},
                 .operands = {{.operand = Operand::A, .rows = "n", .columns = "d", .may_lack_rows = true}},
                 .exponents = {0.5, 1, 2},
                 .exact_exponents = {0.5, 1, 2},  // for a second pass
                 .draws_rows = true,
                 .has_sketch_of_y = false,
                 .has_gram = true}) {}

  void require_sides(const Problem& problem) const override {
    if (problem.keeps != Keeps::sketch) require_exact_length(problem, "n");
    Setting::require_sides(problem);
  }
  void check(const Problem& problem) const override {
    Setting::check(problem);
    require_gram(problem, {"d"});
    require_dimension(problem, "n");
  }
  void size(Problem& problem, const SizeRequest& request) const override {
    if (problem.keeps != Keeps::sketch) return size_exactly(problem, request, problem.side("n"));
    if (request.degree() == 2) throw UsageError(fmt::format("--p 4 is for --model product; {} takes 2", label()));
    const PairsConfig sizes = rows_config(request, problem.side("n"), problem.side("d"));
    problem.sketch = sizes.sketch;
    problem.gram = sizes.gram;
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return problem.keeps == Keeps::sketch ? RowsState::layout(problem.sketch, problem.side("d"), problem.gram)
                                          : DenseRowsState::layout(problem.side("n"), problem.side("d"));
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    if (problem.keeps == Keeps::sketch)
      return std::make_unique<RowsState>(problem.sketch, problem.side("d"), problem.gram);
    return std::make_unique<DenseRowsState>(problem.side("n"), problem.side("d"), dense_law(problem));
  }
  void check_question(const Problem& problem, const Question& question) const override {
    Setting::check_question(problem, question);
    if (question.draw && problem.keeps == Keeps::sketch && problem.sketch.p != 2 && !question.draw->without_replacement)
      throw UsageError(fmt::format(
          "rows are drawn with replacement by p = 2: expected --without-replacement, or --p 2 in place of {:g}",
          problem.sketch.p));
    if (question.draw && problem.keeps != Keeps::sketch &&
        (question.draw->without_replacement || problem.sketch.p != 2))
      throw UsageError("rows that are kept exactly are drawn with replacement and by p = 2: expected a sketch");
    if (!question.draw || !question.draw->metric.is_leverage()) return;
    if (problem.keeps != Keeps::sketch || problem.gram.exact) return;
    const std::uint64_t d = problem.side("d"), cells = problem.sketch.rows * problem.gram.buckets;
    if (cells > d + 1) return;
    throw UsageError(fmt::format(
        "leverage scores of rows of {} columns need a Gram sketch of more than {} cells: it has {} x {}; "
        "expected --gram-buckets {} or more, or --gram exact",
        d, d + 1, problem.sketch.rows, problem.gram.buckets, suggest_leverage_buckets(SizeRequest().epsilon, d)));
  }
  std::uint64_t columns_of_sketch(const Problem& problem) const override { return problem.side("d"); }
  std::uint64_t doubles_to_answer(const Problem& problem) const override {
    // Norms of cells, as many as there are cells at most; a Gram matrix, a metric, its factor and eigenvectors.
    const std::uint64_t d = std::min(problem.side("d"), std::uint64_t{1} << 28);
    return (problem.keeps == Keeps::sketch ? doubles_of(layout(problem), {}) : 0) + 4 * d * d;
  }
};

}  // namespace

std::unique_ptr<const Setting> rows_setting() { return std::make_unique<RowsSetting>(); }

}  // namespace weir
