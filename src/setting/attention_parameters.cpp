#include "setting/attention_parameters.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <utility>

#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::string_view scale_name = "scale", degree_name = "degree";

template <class Number>
Number parse(const Problem& problem, std::string_view name, std::string_view expected) {
  const std::string_view text = parameter(problem, name);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size())
    throw UsageError(
        fmt::format("'{}' of the problem of attention is '{}': expected {}", name, text.substr(0, 40), expected));
  return number;
}

}  // namespace

std::string_view parameter(const Problem& problem, std::string_view name) {
  const auto found = problem.parameters.find(name);
  if (found == problem.parameters.end()) throw UsageError(fmt::format("the problem of attention lacks '{}'", name));
  return found->second;
}

std::uint64_t whole_parameter(const Problem& problem, std::string_view name, std::uint64_t least, std::uint64_t most) {
  const auto number = parse<std::uint64_t>(problem, name, "a whole number");
  if (number < least || number > most)
    throw UsageError(
        fmt::format("'{}' of the problem of attention is {}: expected {} to {}", name, number, least, most));
  return number;
}

double real_parameter(const Problem& problem, std::string_view name) {
  const auto number = parse<double>(problem, name, "a number");
  if (!(std::abs(number) <= 1e300))
    throw UsageError(fmt::format("'{}' of the problem of attention is {}: expected a finite number", name, number));
  return number;
}

void check_attention(const Problem& problem, std::initializer_list<Operand> streaming,
                     std::initializer_list<Operand> fixed) {
  if (problem.keeps != Keeps::sketch) throw UsageError("attention has no exact states");
  for (const Operand operand : streaming)
    if (problem.role(operand) != Role::streams)
      throw UsageError(fmt::format("{} of attention streams", to_string(operand)));
  for (const Operand operand : fixed)
    if (problem.role(operand) != Role::fixed)
      throw UsageError(fmt::format("{} of attention is fixed", to_string(operand)));
  for (const std::string_view side : {"d", "dv"})
    if (problem.side(side) > widest_attention_row)
      throw UsageError(fmt::format("{} is {}: expected at most {}", side, problem.side(side), widest_attention_row));
}

void require_attention_question(const Question& question, bool attend, bool recover, std::string_view expected) {
  if (question.draw || question.norm || question.top > 0 || !question.points.empty() || !question.moments.empty() ||
      question.inner != nullptr || question.exact || (question.attend && !attend) || (question.recover && !recover))
    throw UsageError(fmt::format("this state {}", expected));
}

PolynomialAttentionShape polynomial_attention_shape(const Problem& problem) {
  const PolynomialConfig config{.dimension = problem.side("d"),
                                .degree = static_cast<std::uint32_t>(whole_parameter(problem, degree_name, 0, 64))};
  constexpr std::uint64_t most_features = std::uint64_t{1} << 40;
  if (config.features() > most_features)
    throw UsageError(fmt::format("{} polynomial features: expected at most 2^40", config.features()));
  return {.tokens = problem.side("n"),
          .dv = problem.side("dv"),
          .features = config,
          .scale = real_parameter(problem, scale_name)};
}

void require_room_for_features(const PolynomialAttentionShape& shape, std::uint64_t rows) {
  constexpr std::uint64_t most = std::uint64_t{1} << 60;
  if (const std::uint64_t columns = shape.features.features() + shape.dv + 1; rows >= most / columns)
    throw UsageError(fmt::format("a sketch of {} rows and {} columns: expected fewer", rows, columns));
}

Problem polynomial_problem(std::string setting, const PolynomialAttentionShape& shape) {
  if (!std::isfinite(shape.scale))
    throw UsageError(fmt::format("the scale is {}: expected a finite number", shape.scale));
  Problem problem;
  problem.setting = std::move(setting);
  problem.sides = {{"n", shape.tokens}, {"d", shape.features.dimension}, {"dv", shape.dv}};
  problem.roles = {{attention_centres(), Role::fixed}};
  problem.sketch = {.dimension = 1};
  problem.parameters = {{std::string(scale_name), fmt::format("{}", shape.scale)},
                        {std::string(degree_name), fmt::to_string(shape.features.degree)}};
  return problem;
}

DenseMatrix centres_as_operand(const PolynomialConfig& config) {
  DenseMatrix numbers{2 * config.dimension, 1, {}};
  const auto d = static_cast<std::size_t>(config.dimension);
  for (const std::vector<double>* centre : {&config.centres.q0, &config.centres.k0}) {
    numbers.values.insert(numbers.values.end(), centre->begin(), centre->end());
    if (centre->empty()) numbers.values.resize(numbers.values.size() + d);
  }
  return numbers;
}

}  // namespace weir
