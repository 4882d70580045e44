// What states answer: exact kinds against values that were computed by hand, the others against the exact ones.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "state/every_kind.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/sample/dense.hpp"
#include "weir/state/lone_party.hpp"

namespace weir {
namespace {

using testing_support::every_kind;
using testing_support::expect_error;
using testing_support::Kind;
using testing_support::message_of;
using testing_support::problem_of;

const SizeRequest request{.rows = 5, .buckets = 64, .lanes = 8, .gram_buckets = 64, .seed = 3};

EventBatch entries(std::initializer_list<Event> events) {
  EventBatch batch;
  for (const Event& event : events) batch.push_back(event);
  return batch;
}

/// A party that is alone, and has the file of A.
class WithFileOfA : public LoneParty {
 public:
  WithFileOfA(EventBatch a, bool has_rows_once) : a_(std::move(a)), has_rows_once_(has_rows_once) {}

  [[nodiscard]] bool can_read_again(Operand operand) const override { return operand == Operand::A; }
  [[nodiscard]] bool has_rows_once(Operand) const override { return has_rows_once_; }
  void read_again(Operand, const std::function<void(const EventBatch&)>& consume) override { consume(a_); }

 private:
  EventBatch a_;
  bool has_rows_once_;
};

TEST(ExactAnswers, OfAVector) {
  State state = create_state(problem_of("vector", {{"n", 5}}, {}, request, Keeps::exact));
  state.add(entries({{Operand::y, 1, 0, 3},
                     {Operand::y, 4, 0, -2},
                     {Operand::y, 4, 0, -2},
                     {Operand::y, 0, 0, 7},
                     {Operand::y, 0, 0, -7}}));
  const Answer answer =
      state.answer({.draw = DrawQuestion{.samples = 40}, .norm = true, .exact = ExactQuestion{{{0}, {1}, {4}}, {}}});
  EXPECT_EQ(answer.norm->value, 5);
  EXPECT_EQ(answer.norm->bound, 0);
  EXPECT_EQ(answer.exact_norm, 5);
  EXPECT_EQ(answer.exact.at({0}).value, 0);
  EXPECT_EQ(answer.exact.at({1}).value, 3);
  EXPECT_EQ(answer.exact.at({4}).value, -4);
  EXPECT_EQ(answer.exact.at({0}).probability, 0);
  EXPECT_DOUBLE_EQ(*answer.exact.at({1}).probability, 9.0 / 25);
  EXPECT_DOUBLE_EQ(*answer.exact.at({4}).probability, 16.0 / 25);
  EXPECT_TRUE(answer.verified);
  ASSERT_EQ(answer.draws.draws.size(), 40U);
  for (const Draw& draw : answer.draws.draws) {
    ASSERT_TRUE(draw.index == 1 || draw.index == 4);
    EXPECT_EQ(draw.value, draw.index == 1 ? 3 : -4);
  }
  EXPECT_EQ(message_of<UsageError>([&] {
              std::ignore = state.answer({.exact = ExactQuestion{{{5}}, {}}});
            }),
            "entry 5 is outside y of length 5");
  EXPECT_THROW(std::ignore = state.answer({.exact = ExactQuestion{{{1, 1}}, {}}}), UsageError);
  const Answer distinct = state.answer({.draw = DrawQuestion{.samples = 8, .without_replacement = true}});
  ASSERT_EQ(distinct.draws.draws.size(), 2U);
  EXPECT_NE(distinct.draws.draws[0].index, distinct.draws.draws[1].index);
}

TEST(ExactAnswers, OfAProductWhateverStreams) {
  // A = (1 2; 0 -1; 3 1; 0 0), x = (2, -3): y = (-4, 3, 3, 0).
  const std::vector<double> a{1, 2, 0, -1, 3, 1, 0, 0}, x{2, -3}, y{-4, 3, 3, 0};
  EventBatch rows, of_x;
  for (std::uint64_t i = 0; i < 4; ++i) rows.rows.push_back(Operand::A, i, 1, std::span(a).subspan(2 * i, 2));
  for (std::uint64_t j = 0; j < 2; ++j) of_x.push_back({Operand::x, j, 0, x[j]});
  WithFileOfA parties(rows, true);
  for (const OperandSet fixed : {OperandSet{}, {Operand::x}, {Operand::A}}) {
    for (const double p : {0.5, 1.0, 2.0, 4.0}) {
      SizeRequest with_p = request;
      with_p.p = p;
      State state = create_state(problem_of("product", {{"n", 4}, {"d", 2}}, fixed, with_p, Keeps::exact));
      if (fixed.contains(Operand::x)) {
        state.kept().set_fixed(Operand::x, {2, 1, x});
      } else {
        state.add(of_x);
      }
      if (!fixed.contains(Operand::A)) state.add(rows);
      EXPECT_TRUE(state.kept().can_verify(parties));
      const Answer answer = state.answer({.norm = true, .exact = ExactQuestion{{{0}, {1}, {2}, {3}}, {}}}, parties);
      EXPECT_DOUBLE_EQ(answer.norm->value, std::sqrt(34.0));
      double sum = 0;
      for (const double value : y) sum += std::pow(std::abs(value), p);
      for (std::uint64_t i = 0; i < 4; ++i) {
        EXPECT_EQ(answer.exact.at({i}).value, y[i]) << to_string(fixed);
        EXPECT_DOUBLE_EQ(*answer.exact.at({i}).probability, std::pow(std::abs(y[i]), p) / sum) << to_string(fixed) << p;
      }
    }
  }
}

TEST(ExactAnswers, OfRowsInAMetric) {
  State state = create_state(problem_of("rows", {{"n", 4}, {"d", 2}}, {}, request, Keeps::exact));
  EventBatch batch = entries({{Operand::A, 0, 0, 3}, {Operand::A, 0, 1, 4}});
  batch.rows.push_back(Operand::A, 2, 1, std::vector<double>{0, 12});
  state.add(batch);
  ExactQuestion exact{{{0}, {1}, {2}}, {}};
  Answer answer = state.answer({.draw = DrawQuestion{.samples = 10}, .norm = true, .exact = exact});
  EXPECT_DOUBLE_EQ(answer.norm->value, 13);  // 5^2 + 12^2
  EXPECT_DOUBLE_EQ(answer.exact.at({0}).value, 5);
  EXPECT_EQ(answer.exact.at({1}).value, 0);
  EXPECT_DOUBLE_EQ(answer.exact.at({2}).value, 12);
  EXPECT_DOUBLE_EQ(*answer.exact.at({2}).probability, 144.0 / 169);
  for (const Draw& draw : answer.draws.draws) EXPECT_TRUE(draw.index == 0 || draw.index == 2);
  exact.metric.given = Metric::leverage({2, 2, {9, 12, 12, 160}});  // A^T A: both rows are needed, each once
  answer = state.answer({.exact = exact});
  EXPECT_NEAR(answer.exact.at({0}).value, 1, 1e-12);
  EXPECT_NEAR(*answer.exact.at({2}).probability, 0.5, 1e-12);
  exact.metric = {.leverage = true};
  EXPECT_NEAR(*state.answer({.exact = exact}).exact.at({2}).probability, 0.5, 1e-12);
}

TEST(ExactAnswers, OfPairs) {
  State state = create_state(
      problem_of("kronecker-two-stage", {{"n1", 2}, {"n2", 3}, {"d1", 2}, {"d2", 1}}, {}, request, Keeps::exact));
  // A1 = (1 2; 0 1), X = (2; -1), A2 = (1; 0; 3): A1 X = (0; -1), y = (0 0 0; -1 0 -3).
  state.add(entries({{Operand::A1, 0, 0, 1},
                     {Operand::A1, 0, 1, 2},
                     {Operand::A1, 1, 1, 1},
                     {Operand::X, 0, 0, 2},
                     {Operand::X, 1, 0, -1},
                     {Operand::A2, 0, 0, 1},
                     {Operand::A2, 2, 0, 3}}));
  const Answer answer = state.answer({.draw = DrawQuestion{.samples = 30},
                                      .norm = true,
                                      .exact = ExactQuestion{{{0, 0}, {1, 0}, {1, 1}, {1, 2}}, {}}});
  EXPECT_DOUBLE_EQ(answer.norm->value, std::sqrt(10.0));
  EXPECT_EQ(answer.exact.at({0, 0}).value, 0);
  EXPECT_EQ(answer.exact.at({1, 0}).value, -1);
  EXPECT_EQ(answer.exact.at({1, 1}).value, 0);
  EXPECT_EQ(answer.exact.at({1, 2}).value, -3);
  EXPECT_DOUBLE_EQ(*answer.exact.at({1, 2}).probability, 0.9);
  for (const Draw& draw : answer.draws.draws) {
    EXPECT_EQ(draw.index, 1U);
    EXPECT_TRUE(draw.column == 0 || draw.column == 2);
  }
}

TEST(ExactAnswers, DrawByExponentialsWhereTheValuesAreShared) {
  const Problem problem = problem_of("vector", {{"n", 4}}, {}, request, Keeps::exact_shared);
  State state = create_state(problem);
  state.add(entries({{Operand::y, 1, 0, 1000}, {Operand::y, 2, 0, -1000}}));
  const Answer answer = state.answer({.draw = DrawQuestion{.samples = 5, .softmax = SoftmaxChoice{}}});
  ASSERT_EQ(answer.draws.draws.size(), 5U);
  for (const Draw& draw : answer.draws.draws) EXPECT_EQ(draw.index, 1U);
  EXPECT_THROW(std::ignore = state.answer({.draw = DrawQuestion{}}), UsageError);
  EXPECT_THROW(std::ignore = state.answer({.draw = DrawQuestion{.softmax = SoftmaxChoice{}}, .norm = true}),
               UsageError);
  EXPECT_FALSE(state.kept().can_verify(lone_party()));
  State exact = create_state(problem_of("vector", {{"n", 4}}, {}, request, Keeps::exact));
  EXPECT_THROW(std::ignore = exact.answer({.draw = DrawQuestion{.softmax = SoftmaxChoice{}}}), UsageError);
}

TEST(SketchAnswers, OfAProductAreVerifiedByTheFileOfA) {
  const std::vector<double> a{1, 2, 0, -1, 3, 1, 0, 0}, x{2, -3}, y{-4, 3, 3, 0};
  EventBatch rows, of_entries, of_x;
  for (std::uint64_t i = 0; i < 4; ++i) {
    rows.rows.push_back(Operand::A, i, 1, std::span(a).subspan(2 * i, 2));
    for (std::uint64_t j = 0; j < 2; ++j) of_entries.push_back({Operand::A, i, j, a[2 * i + j]});
  }
  for (std::uint64_t j = 0; j < 2; ++j) of_x.push_back({Operand::x, j, 0, x[j]});
  for (const bool once : {true, false}) {
    WithFileOfA parties(once ? rows : of_entries, once);
    for (const OperandSet fixed : {OperandSet{}, {Operand::x}, {Operand::A}}) {
      for (const double p : {1.0, 2.0, 4.0}) {
        SizeRequest with_p = request;
        with_p.p = p;
        State state = create_state(problem_of("product", {{"n", 4}, {"d", 2}}, fixed, with_p));
        if (fixed.contains(Operand::x)) {
          state.kept().set_fixed(Operand::x, {2, 1, x});
        } else {
          state.add(of_x);
        }
        state.add(rows);
        state.kept().finish_fixed();
        EXPECT_FALSE(state.kept().can_verify(lone_party()));
        ASSERT_TRUE(state.kept().can_verify(parties));
        const Answer answer = state.answer({.exact = ExactQuestion{{{2}, {0}, {3}, {2}}, {}}}, parties);
        EXPECT_DOUBLE_EQ(*answer.exact_norm, std::sqrt(34.0));
        double sum = 0;
        for (const double value : y) sum += std::pow(std::abs(value), p);
        for (const std::uint64_t i : {0U, 2U, 3U}) {
          EXPECT_EQ(answer.exact.at({i}).value, y[i]);
          EXPECT_DOUBLE_EQ(*answer.exact.at({i}).probability, std::pow(std::abs(y[i]), p) / sum) << p;
        }
      }
    }
  }
}

TEST(SketchAnswers, OfAStreamedFactorAreVerifiedByItsOperands) {
  for (const Operand streamed : {Operand::A1, Operand::A2}) {
    for (const double p : {1.0, 2.0}) {
      SizeRequest with_p = request;
      with_p.p = p;
      const OperandSet fixed = OperandSet{Operand::A1, Operand::A2, Operand::X} - OperandSet{streamed};
      const Problem problem =
          problem_of("kronecker-streaming", {{"n1", 7}, {"n2", 5}, {"d1", 2}, {"d2", 3}}, fixed, with_p);
      const State state = testing_support::state_of(problem);
      const auto a1 = state.array("A1"), a2 = state.array("A2"), x = state.array("X");
      std::map<EntryIndex, double> y;
      double squares = 0;
      for (std::uint64_t i = 0; i < 7; ++i)
        for (std::uint64_t k = 0; k < 5; ++k) {
          double& value = y[{i, k}];
          for (std::size_t s = 0; s < 2; ++s)
            for (std::size_t t = 0; t < 3; ++t) value += a1[2 * i + s] * x[3 * s + t] * a2[3 * k + t];
          squares += value * value;
        }
      Question question{.draw = DrawQuestion{.samples = 4}, .norm = true, .exact = ExactQuestion{}};
      for (const auto& [entry, value] : y) question.exact->entries.push_back(entry);
      const Answer answer = state.answer(question);
      EXPECT_DOUBLE_EQ(*answer.exact_norm, std::sqrt(squares));
      for (const auto& [entry, value] : y) {
        const ExactEntry& exact = answer.exact.at(entry);
        EXPECT_EQ(exact.value, value) << entry.index << ":" << *entry.column;
        ASSERT_EQ(exact.probability.has_value(), p == 2);
        if (p != 2) continue;
        EXPECT_DOUBLE_EQ(*exact.probability, value * value / squares);
      }
      // Draws are pairs of this y, whichever way it is sketched.
      for (const Draw& draw : answer.draws.draws) EXPECT_TRUE(y.contains(entry_of(draw)));
      EXPECT_TRUE(answer.tensor_norm.has_value());
      EXPECT_NEAR(answer.norm->value, std::sqrt(squares), answer.norm->bound);
      EXPECT_NEAR(answer.tensor_norm->value, std::sqrt(squares), answer.tensor_norm->bound);
      question.exact->entries = {{3}};
      EXPECT_EQ(message_of<UsageError>([&] { std::ignore = state.answer(question); }),
                "entry 3: y is a matrix, expected two indices");
    }
  }
}

TEST(SketchAnswers, OfAnOldFileCannotBeVerified) {
  for (const Kind& kind : every_kind()) {
    if (kind.name != "streaming_without_operands") continue;
    State state = testing_support::state_of(kind.problem);
    EXPECT_FALSE(state.kept().can_verify(lone_party()));
    EXPECT_EQ(message_of<UsageError>([&] {
                std::ignore = state.answer({.exact = ExactQuestion{{{0, 0}}, {}}});
              }),
              "a state of a matrix y does not know exact values, and cannot read its operands again");
    EventBatch event;
    event.push_back({Operand::A1, 0, 0, 1});
    EXPECT_EQ(message_of<UsageError>([&] { state.add(event); }),
              "the state does not hold the operands that were fixed: they must be given again for it to go on");
    EXPECT_FALSE(state.answer({.draw = DrawQuestion{}}).tensor_norm.has_value());
    return;
  }
  FAIL() << "there is no such kind";
}

/// Points, top entries and the norm of kinds with a sketch of y are those of the y that the exact kinds know.
TEST(SketchAnswers, AreThoseOfTheSketchOfY) {
  for (const Kind& kind : every_kind()) {
    const State state = testing_support::state_of(kind.problem);
    const std::optional<VectorSketch> y = state.kept().sketch_of_y();
    if (!y || kind.problem.sketch.law == ScaleLaw::uniform) continue;
    const bool is_matrix = setting_of(kind.problem).shape_of_y(kind.problem).size() == 2;
    const bool transposed = kind.problem.role(Operand::A1) == Role::fixed;
    Question question{.norm = true, .top = 2, .points = {is_matrix ? EntryIndex{1, 2} : EntryIndex{3}}};
    question.inner = &state;
    const Answer answer = state.answer(question);
    EXPECT_EQ(answer.norm->value, norm_of(y->f2()).value) << kind.name;
    EXPECT_EQ(answer.norm->value, *state.kept().norm()) << kind.name;
    const std::uint64_t key = !is_matrix ? 3 : transposed ? 2 * 7 + 1 : 1 * 5 + 2;
    const Estimate expected = estimate_entries(*y, std::array{key}).front();
    EXPECT_EQ(answer.points.at(0).estimate.value, expected.value) << kind.name;
    EXPECT_EQ(answer.points.at(0).estimate.bound, expected.bound) << kind.name;
    EXPECT_EQ(entry_of(answer.points[0]), question.points[0]) << kind.name;
    EXPECT_EQ(answer.top->size(), 2U) << kind.name;
    for (const HeavyCoordinate& heavy : *answer.top) EXPECT_EQ(heavy.column.has_value(), is_matrix) << kind.name;
    EXPECT_EQ(answer.inner->value, y->inner_product(*y).value) << kind.name;
    question.points = {is_matrix ? EntryIndex{3} : EntryIndex{1, 2}};
    EXPECT_THROW(std::ignore = state.answer(question), UsageError) << kind.name;
  }
}

TEST(SketchAnswers, OfOperandsHaveNoInnerProductWithASketchOfY) {
  const std::vector<Kind> kinds = every_kind();
  const auto state = [&](const std::string& name) {
    const auto kind = std::ranges::find(kinds, name, &Kind::name);
    return testing_support::state_of(kind->problem);
  };
  const State vector = state("vector"), pairs = state("pairs"), rows = state("rows");
  Question question;
  question.inner = &pairs;
  EXPECT_EQ(message_of<UsageError>([&] { std::ignore = vector.answer(question); }),
            "no inner product of a sketch of y with a state of A1, A2 and X");
  question.inner = &vector;
  EXPECT_EQ(message_of<UsageError>([&] { std::ignore = pairs.answer(question); }),
            "no inner product of A1, A2 and X with a vector");
  EXPECT_THROW(std::ignore = rows.answer(question), UsageError);
  question.inner = &pairs;
  EXPECT_GT(pairs.answer(question).inner->value, 0);
  EXPECT_EQ(message_of<UsageError>([&] { std::ignore = rows.answer({.top = 1}); }),
            "a state of rows of A answers draws and the norm only");
  EXPECT_THROW(std::ignore = pairs.answer({.moments = {1}}), UsageError);
  EXPECT_THROW(std::ignore = rows.answer({.draw = DrawQuestion{.softmax = SoftmaxChoice{}}}), UsageError);
  EXPECT_THROW(std::ignore = pairs.answer({.draw = DrawQuestion{.without_replacement = true}}), UsageError);
  EXPECT_THROW(std::ignore = vector.answer({.draw = DrawQuestion{.softmax = SoftmaxChoice{}}}), UsageError);
  EXPECT_THROW(std::ignore = state("vector_precision").answer({.draw = DrawQuestion{.without_replacement = true}}),
               UsageError);
}

}  // namespace
}  // namespace weir
