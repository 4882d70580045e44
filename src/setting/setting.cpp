#include "weir/setting/setting.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <utility>

#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/state/dense_state.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {
namespace {

constexpr std::uint64_t longest_side = std::uint64_t{1} << 63;
/// Doubles of a state, beyond which sizes in bytes may overflow.
constexpr std::uint64_t most_doubles = std::uint64_t{1} << 60;

/// The table of settings. Order matters where more than one suits a problem.
struct Registry {
  std::mutex mutex;
  std::vector<std::unique_ptr<const Setting>> settings;

  Registry() {
    settings.push_back(vector_setting());
    settings.push_back(product_setting());
    settings.push_back(rows_setting());
    settings.push_back(kronecker_streaming_setting());
    settings.push_back(kronecker_two_stage_setting());
    settings.push_back(attention_setting());
    settings.push_back(attention_monomials_setting());
    settings.push_back(attention_sketched_setting());
    settings.push_back(attention_outputs_setting());
  }
};

Registry& registry() {
  static Registry all;
  return all;
}

bool contains(const std::vector<double>& values, double value) {
  return std::ranges::find(values, value) != values.end();
}

}  // namespace

std::string Setting::label() const {
  return traits_.method.empty() ? "--model " + traits_.model
                                : fmt::format("--model {} --method {}", traits_.model, traits_.method);
}

bool Setting::draws_by(double p) const { return contains(traits_.exponents, p); }

void Setting::infer(Problem& problem, std::uint64_t most_keys) const {
  for (const OperandUse& use : traits_.operands) {
    problem.roles.try_emplace(use.operand, Role::streams);
    // Rows that nobody counts cost nothing. Columns do.
    if (use.may_lack_rows && problem.keeps == Keeps::sketch) problem.sides.try_emplace(use.rows, most_keys);
  }
}

void Setting::require_sides(const Problem& problem) const {
  for (const SideUse& side : traits_.sides) {
    const auto found = problem.sides.find(side.name);
    if (found == problem.sides.end())
      throw UsageError(fmt::format("{} needs --{}, the {}", label(), side.name, side.meaning));
    if (found->second < 1 || found->second > longest_side)
      throw UsageError(
          fmt::format("the {} {} is {}, expected 1 to {}", side.meaning, side.name, found->second, longest_side));
  }
}

void Setting::check(const Problem& problem) const {
  require_sides(problem);
  for (const auto& [name, length] : problem.sides)
    if (std::ranges::find(traits_.sides, name, &SideUse::name) == traits_.sides.end())
      throw UsageError(fmt::format("{} has no side {}", label(), name));
  for (const auto& [operand, role] : problem.roles) {
    const auto use = std::ranges::find(traits_.operands, operand, &OperandUse::operand);
    if (use == traits_.operands.end())
      throw UsageError(fmt::format("{} has no operand {}", label(), to_string(operand)));
    if (role == Role::fixed && !use->may_be_fixed)
      throw UsageError(fmt::format("the operand {} of {} cannot be fixed", to_string(operand), label()));
  }
  if (problem.degree != 1 && problem.degree != 2)
    throw UsageError(fmt::format("degree is {}: expected 1 or 2", problem.degree));
  if (problem.degree == 2 && !draws_by(4)) throw UsageError(fmt::format("{} lifts no rows", label()));
  const std::vector<double>& exponents = problem.keeps == Keeps::sketch ? traits_.exponents : traits_.exact_exponents;
  if (!contains(exponents, problem.exponent()))
    throw UsageError(fmt::format("{} does not draw by |y|^{}: expected p of {}", label(), problem.exponent(),
                                 fmt::join(exponents, " or ")));
  if (problem.keeps != Keeps::sketch) return;
  problem.sketch.validate();
  require_answerable(problem.sketch);
  if (problem.precision.has_value() != (problem.sketch.law == ScaleLaw::uniform))
    throw UsageError(fmt::format("{} epsilon and C of the sampler precision, and the law of the scales is {}",
                                 problem.precision ? "there are" : "there is no", to_string(problem.sketch.law)));
  if (!problem.precision) return;
  if (!traits_.has_sketch_of_y) throw UsageError(fmt::format("the sampler precision is not for {}", label()));
  if (problem.degree != 1) throw UsageError("the sampler precision draws by |y|^2, not from lifted rows");
  const auto [epsilon, constant] = *problem.precision;
  if (!(epsilon > 0 && epsilon < 1) || !(constant > 0) || !std::isfinite(constant))
    throw UsageError(
        fmt::format("epsilon {} and C = {} of the sampler precision: expected numbers between 0 and 1, and above 0",
                    epsilon, constant));
}

std::uint64_t Setting::doubles_to_answer(const Problem& problem) const { return doubles_of(layout(problem), {}); }

std::string Setting::describe_memory(const Problem& problem) const {
  return problem.keeps == Keeps::sketch ? "the tables of the sketch" : "the operands themselves, for exact answers,";
}

std::vector<std::uint64_t> Setting::shape_of_y(const Problem& problem) const {
  if (traits_.sides_of_y.empty()) return {problem.sketch.dimension};
  std::vector<std::uint64_t> shape;
  for (const std::string& side : traits_.sides_of_y) shape.push_back(problem.side(side));
  return shape;
}

std::string Setting::describe_inner_difference(const Problem& a, const Problem& b) const {
  if (a.keeps != Keeps::sketch || b.keeps != Keeps::sketch) return "exact values have no inner product with a sketch";
  std::string difference = weir::describe_difference(a.sketch, b.sketch);
  if (!difference.empty()) return difference;
  const bool mine = traits_.has_sketch_of_y, others = setting_of(b).traits().has_sketch_of_y;
  if (mine == others) return {};
  return mine ? "a sketch of y against operands" : "operands against a sketch of y";
}

void Setting::check_question(const Problem& problem, const Question& question) const {
  if (question.attend) throw UsageError(fmt::format("{} has no keys and values to attend to", label()));
  if (question.recover) throw UsageError(fmt::format("{} has no sketch of outputs of attention", label()));
  const bool is_matrix = shape_of_y(problem).size() == 2;
  const bool exact = problem.keeps != Keeps::sketch;
  if (question.draw) {
    const DrawQuestion& draw = *question.draw;
    if (draw.samples < 1) throw UsageError("expected at least one sample");
    if (draw.softmax.has_value() != (problem.keeps == Keeps::exact_shared))
      throw UsageError("draws by exp(y_i) come from exact values that are shared out among the parties");
    if (draw.softmax && !std::isfinite(draw.softmax->scale))
      throw UsageError(fmt::format("the scale of the scores is {}: expected a finite number", draw.softmax->scale));
    if (draw.softmax && draw.softmax->per_row && !is_matrix)
      throw UsageError(fmt::format("--per-row normalises each row of a matrix y: y of {} is a vector", label()));
    if (draw.without_replacement && !draw.softmax && !traits_.draws_distinct())
      throw UsageError(fmt::format("--without-replacement is not for {}: it draws with replacement", label()));
    if ((draw.metric.given || draw.metric.leverage) && !traits_.draws_rows)
      throw UsageError("--metric belongs to --model rows");
  }
  if (exact && (question.top > 0 || !question.points.empty() || !question.moments.empty() || question.inner != nullptr))
    throw UsageError("exact states answer draws and the norm: expected a sketch");
  if (traits_.draws_rows &&
      (question.top > 0 || !question.points.empty() || !question.moments.empty() || question.inner != nullptr))
    throw UsageError(fmt::format("a state of --model {} answers --norm alone: the Frobenius norm of A", traits_.model));
  const std::vector<std::uint64_t> shape = shape_of_y(problem);
  for (const EntryIndex& point : question.points) {
    if (point.column.has_value() != is_matrix)
      throw UsageError(is_matrix ? fmt::format("--point {}: y is a matrix, expected I1:I2", point.index)
                                 : fmt::format("--point {}:{}: y is a vector, expected I", point.index, *point.column));
    if (point.index < shape[0] && (!is_matrix || *point.column < shape[1])) continue;
    throw UsageError(is_matrix ? fmt::format("--point: entry {}:{} is outside y of {} x {}", point.index, *point.column,
                                             shape[0], shape[1])
                               : fmt::format("--point: index {} is outside y of length {}", point.index, shape[0]));
  }
  if (!question.moments.empty()) {
    if (!traits_.has_sketch_of_y)
      throw UsageError(fmt::format("--moment needs a sketch of y, which {} does not keep", label()));
    if (problem.sketch.lanes < 2 || problem.sketch.law != ScaleLaw::exponential)
      throw UsageError(
          "--moment draws without replacement: the sketch needs 2 lanes at least, and the exponential law");
  }
  if (traits_.has_sketch_of_y && question.top >= problem.sketch.buckets && question.top > 0)
    throw UsageError(fmt::format("--top {}: a sketch of {} buckets tells fewer coordinates apart than it has buckets",
                                 question.top, problem.sketch.buckets));
  if (question.inner != nullptr)
    if (const std::string difference = describe_inner_difference(problem, question.inner->problem());
        !difference.empty())
      throw UsageError("no inner product: " + difference);
}

std::vector<const Setting*> settings() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::vector<const Setting*> list;
  for (const auto& setting : all.settings) list.push_back(setting.get());
  return list;
}

void add_setting(std::unique_ptr<const Setting> setting) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  for (const auto& known : all.settings)
    if (known->traits().name == setting->traits().name)
      throw UsageError(fmt::format("there is a setting {} already", known->traits().name));
  all.settings.push_back(std::move(setting));
}

const Setting& setting_named(std::string_view name) {
  std::vector<std::string> names;
  for (const Setting* setting : settings()) {
    if (setting->traits().name == name) return *setting;
    names.push_back(setting->traits().name);
  }
  throw UsageError(
      fmt::format("unknown setting '{}': this build knows {}", name.substr(0, 40), fmt::join(names, ", ")));
}

const Setting& setting_of(const Problem& problem) { return setting_named(problem.setting); }

const Setting& choose_setting(std::string_view model, const std::optional<std::string>& method,
                              const Problem& problem) {
  for (const Setting* setting : settings()) {
    if (setting->traits().model != model) continue;
    if (method ? setting->traits().method == *method : setting->suits(problem)) return *setting;
  }
  throw UsageError(method ? fmt::format("the model {} has no method {}", model, *method)
                          : fmt::format("unknown model {}", model));
}

std::vector<OperandShape> shapes_of(const Problem& problem, const std::vector<Role>& roles) {
  const auto side = [&](const std::string& name) {
    const auto found = problem.sides.find(name);
    return name.empty() ? 1 : found == problem.sides.end() ? longest_side : found->second;
  };
  std::vector<OperandShape> shapes;
  for (const OperandUse& use : setting_of(problem).traits().operands)
    if (std::ranges::find(roles, problem.role(use.operand)) != roles.end())
      shapes.push_back(
          {use.operand, side(use.rows), side(use.columns) + (use.more_columns.empty() ? 0 : side(use.more_columns))});
  return shapes;
}

State create_state(const Problem& problem, Party party) {
  const Setting& setting = setting_of(problem);
  setting.check(problem);
  std::vector<ArrayLayout> layout = setting.layout(problem);
  if (doubles_of(layout, {}) >= most_doubles)
    throw UsageError(
        fmt::format("the state of {} has more than 2^60 numbers: expected smaller sides", setting.label()));
  return {problem, std::move(layout), setting.make(problem, party), party};
}

State as_vector(const State& state) {
  std::optional<VectorSketch> y = state.kept().sketch_of_y();
  if (!y) throw UsageError(fmt::format("a state of {} has no sketch of y", state.kept().holds()));
  Problem problem;
  problem.setting = setting_named("vector").traits().name;
  problem.sketch = y->config();
  problem.sides["n"] = problem.sketch.dimension;
  problem.roles[Operand::y] = Role::streams;
  problem.precision = state.problem().precision;
  problem.resolution = state.problem().resolution;
  std::vector<ArrayLayout> layout = VectorState::layout(problem.sketch);
  State vector(problem, std::move(layout), std::make_unique<VectorState>(std::move(*y), problem.precision));
  vector.updates = state.updates;
  vector.ranks = state.ranks;
  return vector;
}

DenseLaw dense_law(const Problem& problem) {
  return {.p = problem.exponent(), .seed = problem.sketch.seed, .shared = problem.keeps == Keeps::exact_shared};
}

void size_exactly(Problem& problem, const SizeRequest& request, std::uint64_t dimension) {
  problem.degree = 1;
  problem.sketch = {};
  problem.sketch.dimension = dimension;
  problem.sketch.p = request.p;
  problem.sketch.seed = request.seed;
}

void require_gram(const Problem& problem, std::initializer_list<std::string_view> sides) {
  if (problem.keeps != Keeps::sketch) return;
  for (const std::string_view side : sides)
    if (problem.side(side) > most_gram_columns)
      throw UsageError(fmt::format("{} is {}: {} keeps Gram matrices, of at most {} columns", side, problem.side(side),
                                   setting_of(problem).label(), most_gram_columns));
  if (problem.sketch.row_length != 0)
    throw UsageError(fmt::format("row_length of the sketch is {}: expected 0 in a state of {}",
                                 problem.sketch.row_length, setting_of(problem).label()));
}

void require_dimension(const Problem& problem, std::string_view side) {
  if (problem.keeps == Keeps::sketch && problem.sketch.dimension != problem.side(side))
    throw UsageError(fmt::format("the dimension of the sketch is {}, and {} is {}", problem.sketch.dimension, side,
                                 problem.side(side)));
}

void require_exact_length(const Problem& problem, std::string_view side) {
  const auto found = problem.sides.find(side);
  if (found == problem.sides.end())
    throw UsageError(fmt::format("exact answers keep n doubles a rank: --{} is needed, the length of y", side));
  if (found->second > most_exact_coordinates)
    throw UsageError(fmt::format("exact answers keep n doubles a rank: --{} {} is more than {}", side, found->second,
                                 most_exact_coordinates));
}

}  // namespace weir
