// The state of attention as a state: its arrays, its part that is no sum, its refusals.

#include "weir/state/attention_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/setting/attention.hpp"
#include "weir/setting/setting.hpp"

namespace weir {
namespace {

using testing_support::message_of;

constexpr std::uint64_t n = 400, d = 4, dv = 3;
constexpr double scale = 0.2;

std::vector<double> normal(std::uint64_t count, unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> law;
  std::vector<double> numbers(count);
  std::ranges::generate(numbers, [&] { return law(random); });
  return numbers;
}

AnisotropicCalibration calibration(unsigned seed = 1) {
  std::vector<double> queries = normal(200 * d, seed);
  for (double& number : queries) number *= scale;
  return AnisotropicCalibration::fit(
      {.d = d, .dv = dv, .budget = 65536, .clusters = 1, .exact_rows = 10, .automatic = false}, queries,
      normal(200 * d, seed + 1), {});
}

State empty_state(const AnisotropicCalibration& of) {
  State state = create_state(attention_problem(n, scale, of));
  state.kept().set_fixed(attention_calibration(), as_operand(of));
  state.kept().finish_fixed();
  return state;
}

/// Rows first .. end - 1 of one random matrix of keys and values.
EventBatch rows(std::uint64_t first, std::uint64_t end, double weight = 1) {
  const std::vector<double> numbers = normal(n * (d + dv), 7);
  EventBatch batch;
  for (std::uint64_t i = first; i < end; ++i)
    batch.rows.push_back(keys_and_values(), i, weight, std::span(numbers).subspan(i * (d + dv), d + dv));
  return batch;
}

std::vector<double> outputs_of(const State& state) {
  const DenseMatrix queries{50, d, normal(50 * d, 9)};
  return state.answer({.attend = AttendQuestion{queries, false}}).attention->outputs.values;
}

/// Softmax averages by their definition.
std::vector<double> exact_outputs(std::uint64_t first, std::uint64_t end) {
  const std::vector<double> queries = normal(50 * d, 9), numbers = normal(n * (d + dv), 7);
  std::vector<double> outputs;
  for (std::uint64_t q = 0; q < 50; ++q) {
    double sum = 0;
    std::vector<double> average(dv);
    for (std::uint64_t i = first; i < end; ++i) {
      double score = 0;
      for (std::uint64_t j = 0; j < d; ++j) score += scale * queries[q * d + j] * numbers[i * (d + dv) + j];
      sum += std::exp(score);
      for (std::uint64_t j = 0; j < dv; ++j) average[j] += std::exp(score) * numbers[i * (d + dv) + d + j];
    }
    for (const double number : average) outputs.push_back(number / sum);
  }
  return outputs;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, sum = 0;
  for (std::size_t t = 0; t < a.size(); ++t) {
    difference += (a[t] - b[t]) * (a[t] - b[t]);
    sum += a[t] * a[t];
  }
  return std::sqrt(difference / sum);
}

TEST(AttentionStates, AnswersAreSoftmaxAverages) {
  State state = empty_state(calibration());
  state.add(rows(0, n));
  // One row in 400 more or less is a difference of some 0.03, as outputs are averages of 400 random values. Features of all
  // degrees to 10 leave a millionth of that.
  EXPECT_LT(distance(exact_outputs(0, n), outputs_of(state)), 1e-5);
}

TEST(AttentionStates, AddAndSubtractAsTheirRowsDo) {
  const AnisotropicCalibration same = calibration();
  State whole = empty_state(same), a = empty_state(same), b = empty_state(same);
  whole.add(rows(0, n));
  a.add(rows(0, 150));
  b.add(rows(150, n));
  State sum = a;
  sum.add(b);
  // Sums of 400 floats in another order.
  EXPECT_LT(distance(outputs_of(whole), outputs_of(sum)), 1e-6);
  sum.add(b, -1);
  EXPECT_LT(distance(outputs_of(a), outputs_of(sum)), 1e-5);
  whole.add(rows(150, n, -1));
  EXPECT_LT(distance(outputs_of(a), outputs_of(whole)), 1e-5);
  EXPECT_NE(message_of<InputError>([&] { sum.add(b, 2); }).find("coefficient of 1 or -1"), std::string::npos);
  EXPECT_THROW(sum.scale(3), InputError);
  whole.clear();
  EXPECT_NE(message_of<InputError>([&] { outputs_of(whole); }).find("no key"), std::string::npos);
}

TEST(AttentionStates, OfTwoCalibrationsDoNotCombine) {
  State a = empty_state(calibration(1)), b = empty_state(calibration(5));
  EXPECT_NE(message_of<InputError>([&] { a.add(b); }).find("calibration"), std::string::npos);
}

TEST(AttentionStates, ArraysAreFloatsAndAreCountedSo) {
  const AnisotropicCalibration of = calibration();
  const State state = empty_state(of);
  const std::uint64_t floats = of.clusters() * of.features() * (dv + 1);
  EXPECT_TRUE(state.layout()[1].is_single);
  EXPECT_EQ(state.arrays()[1].numbers.bytes().size(), 4 * floats);
  EXPECT_EQ(doubles_of(state.layout(), {}), of.numbers().size() + (floats + 1) / 2);
  EXPECT_THROW((void)state.array("features"), std::logic_error);
  EXPECT_FALSE(find_not_finite(state));
  state.arrays()[1].numbers.visit([](auto numbers) { numbers.back() = NAN; });
  EXPECT_EQ(find_not_finite(state), (std::pair<std::string, std::uint64_t>("features", floats - 1)));
}

TEST(AttentionStates, WhatIsNoRowOfTheProblemIsRefused) {
  State state = empty_state(calibration());
  const auto refused = [&](const EventBatch& batch) { return message_of<InputError>([&] { state.add(batch); }); };
  EventBatch entry;
  entry.push_back({keys_and_values(), 3, 1, 1.0});
  EXPECT_NE(refused(entry).find("whole rows"), std::string::npos);
  EventBatch twice = rows(0, 1, 2);
  EXPECT_NE(refused(twice).find("weight 2"), std::string::npos);
  EventBatch beyond = rows(0, 1);
  beyond.rows.i[0] = n;
  EXPECT_FALSE(refused(beyond).empty());
  EventBatch large = rows(0, 1);
  large.rows.values[2] = 1e200;
  EXPECT_FALSE(refused(large).empty());
  EXPECT_THROW((void)state.answer({.norm = true}), UsageError);
  EXPECT_THROW((void)state.answer({.attend = AttendQuestion{DenseMatrix{1, d + 1, std::vector<double>(d + 1)}, false}}),
               UsageError);
  EXPECT_THROW(setting_of(state.problem()).check_question(state.problem(), {.norm = true}), UsageError);
}

TEST(AttentionStates, ProblemsThatCannotBeAreRefused) {
  const Problem good = attention_problem(n, scale, calibration());
  const auto refused = [&](const auto& change) {
    Problem problem = good;
    change(problem);
    return message_of<UsageError>([&] { (void)create_state(problem); });
  };
  EXPECT_FALSE(refused([](Problem& problem) { problem.parameters.erase("scale"); }).empty());
  for (const std::string bad : {"", "x", "-1", "1e3", "18446744073709551616", "4294967297"})
    EXPECT_NE(refused([&](Problem& problem) { problem.parameters["features"] = bad; }).find("'features'"),
              std::string::npos)
        << bad;
  for (const std::string bad : {"inf", "nan", "1e301", "0x10"})
    EXPECT_NE(refused([&](Problem& problem) { problem.parameters["scale"] = bad; }).find("'scale'"), std::string::npos)
        << bad;
  EXPECT_FALSE(refused([](Problem& problem) { problem.sides["d"] = 5000; }).empty());
  EXPECT_FALSE(refused([](Problem& problem) { problem.roles.erase(attention_calibration()); }).empty());
  EXPECT_FALSE(refused([](Problem& problem) { problem.keeps = Keeps::exact; }).empty());
  EXPECT_THROW((void)attention_problem(n, NAN, calibration()), UsageError);
  // Numbers that are no calibration, or one for other sides.
  State state = create_state(good);
  EXPECT_THROW(state.kept().set_fixed(attention_calibration(), {2, 1, {1, 2}}), InputError);
  EXPECT_THROW(state.kept().finish_fixed(), InputError);
  Problem other = good;
  other.sides["dv"] = dv + 1;
  State of_other = create_state(other);
  of_other.kept().set_fixed(attention_calibration(), as_operand(calibration()));
  EXPECT_NE(message_of<InputError>([&] { of_other.kept().finish_fixed(); }).find("expected 4 and 4"),
            std::string::npos);
}

}  // namespace
}  // namespace weir
