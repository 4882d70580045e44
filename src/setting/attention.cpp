#include "weir/setting/attention.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <type_traits>

#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/state/attention_state.hpp"

namespace weir {
namespace {

constexpr std::string_view scale_name = "scale", digest_name = "calibration", numbers_name = "calibration numbers",
                           features_name = "features";
constexpr std::uint64_t widest_row = 4096;
/// Numbers of a calibration and of features, at most: a state is meant to be small.
constexpr std::uint64_t most_numbers = std::uint64_t{1} << 32;

std::string_view parameter(const Problem& problem, std::string_view name) {
  const auto found = problem.parameters.find(name);
  if (found == problem.parameters.end()) throw UsageError(fmt::format("the problem of attention lacks '{}'", name));
  return found->second;
}

template <class Number>
Number number_of(const Problem& problem, std::string_view name, Number most) {
  const std::string_view text = parameter(problem, name);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const Number least = std::is_signed_v<Number> ? -most : Number{};
  if (error != std::errc() || end != text.data() + text.size() || !(number <= most) || !(number >= least))
    throw UsageError(fmt::format("'{}' of the problem of attention is '{}': expected a number of at most {}", name,
                                 text.substr(0, 40), most));
  return number;
}

AttentionShape shape_of(const Problem& problem) {
  return {.tokens = problem.side("n"),
          .d = problem.side("d"),
          .dv = problem.side("dv"),
          .scale = attention_scale(problem),
          .calibration = number_of<std::uint64_t>(problem, numbers_name, most_numbers),
          .features = number_of<std::uint64_t>(problem, features_name, most_numbers)};
}

/// Softmax attention: keys and values stream, queries are questions.
class AttentionSetting : public Setting {
 public:
  AttentionSetting()
      : Setting({.name = "attention",
                 .model = "attention",
                 .sides = {{"n", "number of tokens"}, {"d", "numbers of a key"}, {"dv", "numbers of a value"}},
                 .sides_of_y = {"n"},
                 .operands = {{.operand = keys_and_values(), .rows = "n", .columns = "d", .more_columns = "dv"},
                              {.operand = attention_calibration(), .rows = "", .may_be_fixed = true}},
                 .has_y = false,
                 .has_sketch_of_y = false,
                 .exact_draws = false,
                 .advice = "fixed before the stream begins"}) {}

  void size(Problem& problem, const SizeRequest&) const override { problem.sketch = {.dimension = 1}; }
  void check(const Problem& problem) const override {
    if (problem.keeps != Keeps::sketch) throw UsageError("attention has no exact states");
    Setting::check(problem);
    if (problem.role(attention_calibration()) != Role::fixed || problem.role(keys_and_values()) != Role::streams)
      throw UsageError("keys and values of attention stream, and its calibration is fixed");
    for (const std::string_view side : {"d", "dv"})
      if (problem.side(side) > widest_row)
        throw UsageError(fmt::format("{} is {}: expected at most {}", side, problem.side(side), widest_row));
    shape_of(problem);
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return AttentionState::layout(shape_of(problem));
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    return std::make_unique<AttentionState>(shape_of(problem));
  }
  void check_question(const Problem&, const Question& question) const override {
    if (question.draw || question.norm || question.top > 0 || !question.points.empty() || !question.moments.empty() ||
        question.inner != nullptr || question.exact)
      throw UsageError("a state of attention answers queries: expected weir attend");
  }
  std::string describe_memory(const Problem&) const override { return "the state of attention"; }
};

}  // namespace

Problem attention_problem(std::uint64_t tokens, double scale, const AnisotropicCalibration& calibration) {
  if (!std::isfinite(scale)) throw UsageError(fmt::format("the scale is {}: expected a finite number", scale));
  const auto numbers = std::as_bytes(calibration.numbers());
  Problem problem;
  problem.setting = "attention";
  problem.sides = {{"n", tokens}, {"d", calibration.d()}, {"dv", calibration.dv()}};
  problem.roles = {{keys_and_values(), Role::streams}, {attention_calibration(), Role::fixed}};
  problem.sketch = {.dimension = 1, .seed = calibration.seed()};
  problem.parameters = {{std::string(scale_name), fmt::format("{}", scale)},
                        {std::string(digest_name), fmt::format("{:016x}", XXH64(numbers.data(), numbers.size(), 0))},
                        {std::string(numbers_name), fmt::to_string(calibration.numbers().size())},
                        {std::string(features_name),
                         fmt::to_string(calibration.clusters() * calibration.features() * (calibration.dv() + 1))}};
  return problem;
}

DenseMatrix as_operand(const AnisotropicCalibration& calibration) {
  const auto numbers = calibration.numbers();
  return {numbers.size(), 1, {numbers.begin(), numbers.end()}};
}

double attention_scale(const Problem& problem) { return number_of<double>(problem, scale_name, 1e300); }

std::unique_ptr<const Setting> attention_setting() { return std::make_unique<AttentionSetting>(); }

}  // namespace weir
