#include "weir/setting/attention.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <cmath>
#include <string>
#include <string_view>

#include "setting/attention_parameters.hpp"
#include "setting/settings.hpp"
#include "weir/error.hpp"
#include "weir/state/attention_state.hpp"

namespace weir {
namespace {

constexpr std::string_view scale_name = "scale", digest_name = "calibration", numbers_name = "calibration numbers",
                           features_name = "features";
/// Numbers of a calibration and of features, at most: a state is meant to be small.
constexpr std::uint64_t most_numbers = std::uint64_t{1} << 32;

AttentionShape shape_of(const Problem& problem) {
  return {.tokens = problem.side("n"),
          .d = problem.side("d"),
          .dv = problem.side("dv"),
          .scale = attention_scale(problem),
          .calibration = whole_parameter(problem, numbers_name, 0, most_numbers),
          .features = whole_parameter(problem, features_name, 0, most_numbers)};
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
    Setting::check(problem);
    check_attention(problem, {keys_and_values()}, {attention_calibration()});
    shape_of(problem);
  }
  std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return AttentionState::layout(shape_of(problem));
  }
  std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    return std::make_unique<AttentionState>(shape_of(problem));
  }
  void check_question(const Problem&, const Question& question) const override {
    require_attention_question(question, true, false, "answers queries: expected weir attend");
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

double attention_scale(const Problem& problem) { return real_parameter(problem, scale_name); }

std::unique_ptr<const Setting> attention_setting() { return std::make_unique<AttentionSetting>(); }

}  // namespace weir
