#include <fmt/format.h>

#include <limits>

#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/state/dense_state.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {
namespace {

/// y is the stream itself: the event (y, i, delta) is the change (i, delta).
class VectorSetting : public Setting {
 public:
  VectorSetting()
      : Setting({.name = "vector",
                 .model = "vector",
                 .sides = {{"n", "length of y",
                            "\nIndices are 0 to N - 1. Without it .npy and Matrix Market files of the stream say\n"
                            "it, or the number of lines of --labels. Otherwise every index below 2^63 is taken,\n"
                            "which takes 24 times the memory of N = 65536, twice the time and 0.4 s a query"}},
                 .sides_of_y = {"n"},
                 .operands = {{.operand = Operand::y, .rows = "n", .may_lack_rows = true}},
                 .exponents = {0.5, 1, 2},
                 .exact_exponents = {0.5, 1, 2, 4},
                 .has_softmax = true}) {}

  void require_sides(const Problem& problem) const override {
    if (problem.keeps != Keeps::sketch) require_exact_length(problem, "n");
    Setting::require_sides(problem);
  }
  void check(const Problem& problem) const override {
    Setting::check(problem);
    require_dimension(problem, "n");
  }
  void size(Problem& problem, const SizeRequest& request) const override {
    if (problem.keeps != Keeps::sketch) return size_exactly(problem, request, problem.side("n"));
    if (request.degree() == 2)
      throw UsageError("--p 4 lifts the rows of A: expected --model product (or --sampler exact)");
    problem.sketch = vector_config(request, problem.side("n"));
    problem.precision = request.precision;
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return problem.keeps == Keeps::sketch ? VectorState::layout(problem.sketch)
                                          : DenseVectorState::layout(problem.side("n"), 0, dense_law(problem));
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party party) const override {
    if (problem.keeps != Keeps::sketch)
      return std::make_unique<DenseVectorState>(problem.side("n"), 0, dense_law(problem), party);
    return std::make_unique<VectorState>(problem.sketch, problem.precision);
  }
  std::uint64_t doubles_to_answer(const Problem& problem) const override {
    // A copy, from which what has been found is taken.
    return problem.keeps == Keeps::sketch ? problem.sketch.table_size() : 0;
  }
  std::string describe_memory(const Problem& problem) const override {
    return problem.keeps == Keeps::sketch ? "the table of the sketch"
                                          : fmt::format("the exact values of n = {}", problem.side("n"));
  }
};

}  // namespace

std::unique_ptr<const Setting> vector_setting() { return std::make_unique<VectorSetting>(); }

}  // namespace weir
