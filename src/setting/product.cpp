#include <fmt/format.h>

#include <limits>

#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/state/dense_state.hpp"
#include "weir/state/product_state.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {
namespace {

/// The side n is 2^63 where nobody has counted rows.
std::uint64_t columns_of(const Problem& problem) {
  const auto d = problem.sides.find("d");
  return d == problem.sides.end() ? 0 : d->second;
}

/// x is fixed, or was: what is kept is a sketch of y.
bool x_is_fixed(const Problem& problem) {
  return problem.role(Operand::x) == Role::fixed || problem.role(Operand::x) == Role::absent;
}

/// y = A x, whichever of the operands stream.
class ProductSetting : public Setting {
 public:
  ProductSetting()
      : Setting({.name = "product",
                 .model = "product",
                 .sides = {{"n", "number of rows of A",
                            "\nIndices are 0 to N - 1. Without it files that state a shape say it, or the number\n"
                            "of lines of --labels. Otherwise every index below 2^63 is taken,\n"
                            "which takes 24 times the memory of N = 65536, twice the time and 0.4 s a query"},
                           {"d", "number of columns of A",
                            "\nFor --model product it is the length of x; the file of a fixed operand says it.\n"
                            "Where A is sketched the sketch is D times as large"}},
                 .sides_of_y = {"n"},
                 .operands =
                     {{.operand = Operand::A, .rows = "n", .columns = "d", .may_be_fixed = true, .may_lack_rows = true},
                      {.operand = Operand::x, .rows = "d", .may_be_fixed = true}},
                 .exponents = {0.5, 1, 2, 4},
                 .exact_exponents = {0.5, 1, 2, 4},
                 .has_softmax = true,
                 .dot_product_side = "d"}) {}

  void infer(Problem& problem, std::uint64_t most_keys) const override {
    Setting::infer(problem, most_keys);
    // With both fixed, A is read as a stream would be, and only y is kept.
    if (problem.role(Operand::x) == Role::fixed) problem.roles[Operand::A] = Role::streams;
  }
  void require_sides(const Problem& problem) const override {
    if (problem.keeps != Keeps::sketch && problem.role(Operand::A) != Role::fixed) require_exact_length(problem, "n");
    Problem complete = problem;
    // States of version 2 do not know how long an x was that is multiplied into them.
    if (problem.role(Operand::x) == Role::absent) complete.sides.try_emplace("d", 1);
    if (columns_of(complete) == 0)
      throw UsageError(
          "--model product with both operands in the stream needs --d, the length of x; or fix one of them: "
          "--fixed x=FILE, --fixed A=FILE");
    Setting::require_sides(complete);
  }
  void check(const Problem& problem) const override {
    Setting::check(problem);
    require_dimension(problem, "n");
  }
  bool is_complete_without_stream(const Problem& problem) const override {
    // A sketch of A alone is worth keeping: x can stream later.
    return problem.role(Operand::A) == Role::fixed;
  }
  void size(Problem& problem, const SizeRequest& request) const override {
    const std::uint64_t n = problem.side("n");
    if (problem.keeps != Keeps::sketch) return size_exactly(problem, request, n);
    problem.degree = request.degree();
    problem.sketch = vector_config(request, n);
    problem.precision = request.precision;
    const std::uint64_t most_columns = std::numeric_limits<std::uint32_t>::max() / problem.sketch.lanes;
    if (columns_of_sketch(problem) > most_columns)
      throw UsageError(
          fmt::format("d is {}: the sketch needs {} columns of {} lanes each, and columns times lanes must be below "
                      "2^32; expected a "
                      "smaller d, or fewer samples",
                      columns_of(problem), columns_of_sketch(problem), problem.sketch.lanes));
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    const std::uint64_t d = columns_of(problem), n = problem.side("n");
    const DenseLaw law = dense_law(problem);
    if (problem.keeps != Keeps::sketch) {
      if (x_is_fixed(problem)) return DenseVectorState::layout(n, d, law);
      return problem.role(Operand::A) == Role::fixed ? DenseFactorState::layout(d)
                                                     : DenseProductState::layout(n, d, law);
    }
    if (!x_is_fixed(problem)) return ProductState::layout(problem.sketch, d, problem.degree);
    const std::uint64_t held = problem.role(Operand::x) == Role::fixed ? d : 0;
    return problem.degree == 1 ? FixedProductState::layout(problem.sketch, held)
                               : SquaredProductState::layout(problem.sketch, held);
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party party) const override {
    const std::uint64_t d = columns_of(problem), n = problem.side("n");
    const DenseLaw law = dense_law(problem);
    if (problem.keeps != Keeps::sketch) {
      if (x_is_fixed(problem)) return std::make_unique<DenseVectorState>(n, d, law, party);
      if (problem.role(Operand::A) == Role::fixed) return std::make_unique<DenseFactorState>(n, d, law);
      return std::make_unique<DenseProductState>(n, d, law, party);
    }
    if (!x_is_fixed(problem))
      return std::make_unique<ProductState>(problem.sketch, d, problem.degree, problem.precision);
    const std::uint64_t held = problem.role(Operand::x) == Role::fixed ? d : 0;
    if (problem.degree == 1) return std::make_unique<FixedProductState>(problem.sketch, held, problem.precision);
    return std::make_unique<SquaredProductState>(problem.sketch, held);
  }
  std::uint64_t columns_of_sketch(const Problem& problem) const override {
    return x_is_fixed(problem) ? problem.degree : ProductSketch::columns(columns_of(problem), problem.degree);
  }
  std::uint64_t doubles_to_answer(const Problem& problem) const override {
    // The root multiplies out, and takes from a copy what it has found.
    if (problem.keeps == Keeps::sketch) return 3 * std::uint64_t{problem.sketch.table_size()};
    return problem.role(Operand::A) == Role::fixed ? problem.side("n") : 0;
  }
  std::string describe_memory(const Problem& problem) const override {
    if (problem.keeps == Keeps::sketch) return "the table of the sketch";
    return fmt::format("the exact values of n = {} and d = {}", problem.side("n"), columns_of(problem));
  }
};

}  // namespace

std::unique_ptr<const Setting> product_setting() { return std::make_unique<ProductSetting>(); }

}  // namespace weir
