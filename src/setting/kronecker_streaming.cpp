#include <fmt/format.h>

#include <limits>

#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/state/streaming_state.hpp"

namespace weir {
namespace {

bool is_kept_or_absent(Role role) { return role == Role::fixed || role == Role::absent; }

/// The factor that events change. (Where both look alike the other options have been found wrong, or the state is old.)
Operand streamed_factor(const Problem& problem) {
  return is_kept_or_absent(problem.role(Operand::A1)) ? Operand::A2 : Operand::A1;
}

Operand fixed_factor(const Problem& problem) {
  return streamed_factor(problem) == Operand::A1 ? Operand::A2 : Operand::A1;
}

StreamingOperands operands_of(const Problem& problem) {
  return {.streamed = streamed_factor(problem),
          .holds_streamed = problem.role(streamed_factor(problem)) == Role::streams,
          .holds_fixed = problem.role(fixed_factor(problem)) == Role::fixed};
}

/// Throws UsageError unless exactly one factor is one that events change.
void require_one_to_stream(const Problem& problem) {
  const bool first = is_kept_or_absent(problem.role(Operand::A1)),
             second = is_kept_or_absent(problem.role(Operand::A2));
  if (first != second) return;
  throw UsageError(
      first ? "--method streaming: A1 and A2 are both fixed, and one of them has to stream; --method two-stage and "
              "--method exact take fixed factors"
            : "--method streaming: one factor streams and the other is fixed, --fixed A1=FILE or --fixed A2=FILE; with "
              "--method two-stage both factors may stream, and X too");
}

/// a * b; the largest number where it does not fit.
std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  return b != 0 && a > std::numeric_limits<std::uint64_t>::max() / 4 / b ? std::numeric_limits<std::uint64_t>::max() / 4
                                                                         : a * b;
}

/// Without d1 and d2 where an old state does not know them.
KroneckerShape shape_of(const Problem& problem) {
  const auto columns = [&](const char* name) {
    const auto found = problem.sides.find(name);
    return found == problem.sides.end() ? 0 : found->second;
  };
  return {problem.side("n1"), problem.side("n2"), columns("d1"), columns("d2")};
}

/// y = (A1 (x) A2) vec X while one factor streams, and the other and X are fixed (Algorithm 1 of the paper).
class KroneckerStreamingSetting : public Setting {
 public:
  KroneckerStreamingSetting()
      : Setting(
            {.name = "kronecker-streaming",
             .model = "kronecker",
             .method = "streaming",
             .sides = {{"n1", "number of rows of A1"},
                       {"n2", "number of rows of A2"},
                       {"d1", "number of columns of A1"},
                       {"d2", "number of columns of A2"}},
             .sides_of_y = {"n1", "n2"},
             .operands =
                 {{.operand = Operand::A1, .rows = "n1", .columns = "d1", .may_be_fixed = true, .may_lack_rows = true},
                  {.operand = Operand::A2, .rows = "n2", .columns = "d2", .may_be_fixed = true, .may_lack_rows = true},
                  {.operand = Operand::X, .rows = "d1", .columns = "d2", .may_be_fixed = true}},
             .exponents = {0.5, 1, 2},
             .exact_draws = false,
             .advice = "with --method two-stage both factors may stream, and X too"}) {}

  bool suits(const Problem& problem) const override {
    const bool first = problem.role(Operand::A1) == Role::fixed, second = problem.role(Operand::A2) == Role::fixed;
    return problem.keeps == Keeps::sketch && first != second;
  }
  void infer(Problem& problem, std::uint64_t) const override {
    const bool core_is_given = problem.role(Operand::X) == Role::fixed;
    problem.roles[Operand::X] = Role::fixed;  // the identity unless it is given
    for (const OperandUse& use : traits().operands) problem.roles.try_emplace(use.operand, Role::streams);
    require_one_to_stream(problem);
    if (core_is_given) return;
    const auto d1 = problem.sides.find("d1"), d2 = problem.sides.find("d2");
    if (d1 != problem.sides.end()) problem.sides.try_emplace("d2", d1->second);
    if (d2 != problem.sides.end()) problem.sides.try_emplace("d1", d2->second);
    if (problem.sides.contains("d1") && problem.side("d1") != problem.side("d2"))
      throw UsageError(fmt::format("X is not the identity, as A1 has {} columns and A2 has {}: expected --fixed X=FILE",
                                   problem.side("d1"), problem.side("d2")));
  }
  void require_sides(const Problem& problem) const override {
    Problem complete = problem;
    // States of version 2 do not know the columns of factors that they do not hold.
    if (!operands_of(problem).holds_fixed)
      for (const char* side : {"d1", "d2"}) complete.sides.try_emplace(side, 1);
    Setting::require_sides(complete);
  }
  void check(const Problem& problem) const override {
    if (problem.keeps != Keeps::sketch) throw UsageError("exact states of pairs are those of the method two-stage");
    require_one_to_stream(problem);
    Setting::check(problem);
    if (problem.side("n1") > (std::uint64_t{1} << 63) / problem.side("n2"))
      throw UsageError(
          fmt::format("--method streaming: n1 n2 = {} x {} is more than 2^63; --method two-stage has no such limit",
                      problem.side("n1"), problem.side("n2")));
    const std::uint64_t columns = problem.side(streamed_factor(problem) == Operand::A1 ? "n2" : "n1");
    if (problem.sketch.row_length != columns || problem.sketch.dimension != problem.side("n1") * problem.side("n2"))
      throw UsageError("the sketch is not that of a matrix of these sides");
  }
  void size(Problem& problem, const SizeRequest& request) const override {
    if (request.degree() == 2) throw UsageError("--p 4 is for --model product; --method streaming takes 0.5, 1 and 2");
    const std::uint64_t n1 = problem.side("n1"), n2 = problem.side("n2");
    if (n1 > (std::uint64_t{1} << 63) / n2)
      throw UsageError(fmt::format(
          "--method streaming: n1 n2 = {} x {} is more than 2^63; --method two-stage has no such limit", n1, n2));
    problem.sketch =
        streamed_factor(problem) == Operand::A1 ? matrix_config(request, n1, n2) : matrix_config(request, n2, n1);
    problem.precision = request.precision;
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return StreamingState::layout(shape_of(problem), operands_of(problem), problem.sketch);
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party party) const override {
    return std::make_unique<StreamingState>(shape_of(problem), operands_of(problem), problem.sketch, problem.precision,
                                            party);
  }
  bool gives_every_party_every_event(const Problem&) const override { return true; }
  std::uint64_t doubles_to_answer(const Problem& problem) const override { return problem.sketch.table_size(); }
  std::uint64_t doubles_besides_arrays(const Problem& problem, Party party) const override {
    // B, as long as the slice of the fixed factor and as wide as the other one, and the TensorSketch of the operands.
    const KroneckerShape shape = shape_of(problem);
    const bool first_streams = streamed_factor(problem) == Operand::A1;
    const std::uint64_t rows = (first_streams ? shape.n2 : shape.n1) / party.count + 1;
    constexpr std::uint64_t tensor_cells = 15 * 2048;
    return times(rows, first_streams ? shape.d1 : shape.d2) + times(tensor_cells, shape.d1 + shape.d2);
  }
  std::string describe_memory(const Problem& problem) const override {
    const KroneckerShape shape = shape_of(problem);
    return fmt::format("the slices of the operands, n1 = {}, n2 = {}, X, d1 = {} by d2 = {}, and the sketches",
                       shape.n1, shape.n2, shape.d1, shape.d2);
  }
  std::string describe_inner_difference(const Problem& a, const Problem& b) const override {
    std::string difference = Setting::describe_inner_difference(a, b);
    if (difference.empty() && a.setting == b.setting && streamed_factor(a) != streamed_factor(b))
      difference = "y against its transpose";
    return difference;
  }
};

}  // namespace

std::unique_ptr<const Setting> kronecker_streaming_setting() { return std::make_unique<KroneckerStreamingSetting>(); }

}  // namespace weir
