// A published state is asked by several threads at once.

#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "state/every_kind.hpp"
#include "weir/error.hpp"
#include "weir/setting/setting.hpp"
#include "weir/state/state.hpp"

namespace weir {
namespace {

using testing_support::every_kind;
using testing_support::Kind;
using testing_support::state_of;

/// The questions that states of the problem answer, each alone.
std::vector<Question> questions_of(const Problem& problem, const State& other) {
  const Setting& setting = setting_of(problem);
  const std::vector<std::uint64_t> shape = setting.shape_of_y(problem);
  const EntryIndex first = shape.size() == 2 ? EntryIndex{0, 0} : EntryIndex{0};
  std::vector<Question> all(7);
  all[0].norm = true;
  all[1].top = 3;
  all[2].points = {first};
  all[3].moments = {1};
  all[4].inner = &other;
  all[5].draw = DrawQuestion{.samples = 2};
  all[6].exact = ExactQuestion{.entries = {first}};
  std::vector<Question> answered;
  for (const Question& question : all) {
    try {
      setting.check_question(problem, question);
      if (question.exact && !other.kept().can_verify(lone_party())) continue;
      answered.push_back(question);
    } catch (const UsageError&) {
    }
  }
  return answered;
}

/// What there is to compare of an answer.
std::vector<double> numbers_of(const Answer& answer) {
  std::vector<double> numbers{answer.draws.norm, answer.exact_norm.value_or(-1)};
  for (const Draw& draw : answer.draws.draws) {
    numbers.push_back(static_cast<double>(draw.index));
    numbers.push_back(draw.value);
    numbers.push_back(draw.probability);
  }
  for (const auto& estimate : {answer.norm, answer.inner, answer.tensor_norm})
    numbers.push_back(estimate ? estimate->value : -1);
  for (const HeavyCoordinate& heavy : answer.top.value_or(std::vector<HeavyCoordinate>())) {
    numbers.push_back(static_cast<double>(heavy.index));
    numbers.push_back(heavy.estimate.value);
  }
  for (const HeavyCoordinate& point : answer.points) numbers.push_back(point.estimate.value);
  for (const MomentAnswer& moment : answer.moments) numbers.push_back(moment.estimate.value);
  for (const auto& [entry, exact] : answer.exact) numbers.push_back(exact.value);
  return numbers;
}

/// The numbers, or what is wrong with the question.
std::pair<std::vector<double>, std::string> outcome_of(const State& state, const Question& question) {
  try {
    return {numbers_of(state.answer(question)), ""};
  } catch (const Error& error) {
    return {{}, error.what()};
  }
}

TEST(StatesAmongThreads, EveryKindAnswersAllOfThemAsItAnswersOne) {
  std::size_t asked = 0;
  for (const Kind& kind : every_kind()) {
    const State other = state_of(kind.problem, 2);
    const std::vector<Question> questions = questions_of(kind.problem, other);
    std::vector<std::pair<std::vector<double>, std::string>> expected;
    for (const Question& question : questions) expected.push_back(outcome_of(state_of(kind.problem, 1), question));
    asked += questions.size();
    for (int round = 0; round < 5; ++round) {
      // A copy that has answered nothing yet.
      const State state = state_of(kind.problem, 1);
      constexpr std::size_t count = 4;
      std::atomic<std::size_t> ready = 0;
      std::vector<std::string> failures(count);
      std::vector<std::thread> threads;
      for (std::size_t t = 0; t < count; ++t) {
        threads.emplace_back([&, t] {
          ++ready;
          while (ready < count) std::this_thread::yield();
          try {
            for (std::size_t k = 0; k < questions.size(); ++k) {
              const std::size_t q = (k + t) % questions.size();
              if (outcome_of(state, questions[q]) != expected[q])
                failures[t] = "question " + std::to_string(q) + " has another answer";
              // As somebody does who saves it, or goes on from it.
              if (t == 0) (void)state.has_exact_sums();
              if (t == 1 && State(state).updates != state.updates) failures[t] = "another copy";
            }
          } catch (const std::exception& error) {
            failures[t] = error.what();
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      for (const std::string& failure : failures) EXPECT_EQ(failure, "") << kind.name;
    }
  }
  EXPECT_GT(asked, 60U);
}

}  // namespace
}  // namespace weir
