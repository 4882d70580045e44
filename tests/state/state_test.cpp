// What all kinds of states have in common, on each of them.

#include "weir/state/state.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "state/every_kind.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/setting/setting.hpp"
#include "weir/share.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {
namespace {

using testing_support::every_kind;
using testing_support::expect_error;
using testing_support::Kind;
using testing_support::message_of;
using testing_support::numbers_of;
using testing_support::state_of;
using testing_support::state_with_fixed;
using testing_support::stream_of;
using testing_support::takes_events;

class EveryKind : public testing::TestWithParam<Kind> {
 protected:
  const Problem& problem = GetParam().problem;
};

std::string name_of(const testing::TestParamInfo<Kind>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(States, EveryKind, testing::ValuesIn(every_kind()), name_of);

/// Adds up all numbers but those of fixed operands, and the counts whatever the coefficient.
void expect_sum(const State& sum, const State& a, double coefficient, const State& b) {
  const auto of_sum = sum.arrays(), of_a = a.arrays(), of_b = b.arrays();
  for (std::size_t k = 0; k < of_sum.size(); ++k) {
    const double factor = a.is_fixed(*of_a[k].layout) ? 0 : of_a[k].layout->is_count ? 1 : coefficient;
    for (std::size_t t = 0; t < of_sum[k].numbers.doubles().size(); ++t)
      ASSERT_EQ(of_sum[k].numbers.doubles()[t], of_a[k].numbers.doubles()[t] + factor * of_b[k].numbers.doubles()[t])
          << of_sum[k].layout->name << t;
  }
}

std::string whole_rows_only(const State& state) {
  for (const ArrayLayout& layout : state.layout())
    if (!layout.whole_rows_only.empty() && !state.is_fixed(layout)) return layout.whole_rows_only;
  return {};
}

TEST_P(EveryKind, IsWhatItsSettingChecks) {
  EXPECT_NO_THROW(setting_of(problem).check(problem));
  EXPECT_NO_THROW(setting_of(problem).require_sides(problem));
}

TEST_P(EveryKind, HasTheArraysOfItsLayout) {
  const State state = state_of(problem);
  const std::vector<StateArray> arrays = state.arrays();
  const std::vector<ArrayLayout> layout = setting_of(problem).layout(problem);
  ASSERT_EQ(arrays.size(), layout.size());
  std::set<std::string> names;
  std::uint64_t doubles = 0;
  for (std::size_t k = 0; k < layout.size(); ++k) {
    EXPECT_EQ(arrays[k].layout, &state.layout()[k]);
    EXPECT_EQ(state.layout()[k].name, layout[k].name);
    EXPECT_EQ(arrays[k].numbers.doubles().size(), layout[k].size);
    EXPECT_TRUE(names.insert(layout[k].name).second) << layout[k].name;
    EXPECT_LE(layout[k].name.size(), 256U);  // as files take
    EXPECT_EQ(state.array(layout[k].name).data(), arrays[k].numbers.doubles().data());
    EXPECT_NE(problem.role(layout[k].operand), Role::absent) << layout[k].name;
    EXPECT_EQ(layout[k].size % layout[k].row_length, 0U);
    doubles += layout[k].size;
  }
  EXPECT_EQ(doubles_of(layout, {}), doubles);
  EXPECT_THROW(std::ignore = state.array("no such array"), UsageError);
  EXPECT_FALSE(state.kept().holds().empty());
}

TEST_P(EveryKind, HoldsTheOperandsThatStreamAndThoseThatAreFixed) {
  const State state = state_of(problem);
  OperandSet held;
  for (const ArrayLayout& layout : state.layout()) held.insert(layout.operand);
  for (const auto& [operand, role] : problem.roles) {
    const bool is_held =
        (role == Role::fixed && state.kept().takes_fixed(operand)) || role == Role::streams || role == Role::forgotten;
    EXPECT_EQ(held.contains(operand), is_held) << to_string(operand);
  }
}

TEST_P(EveryKind, CopiesAreTheirOwn) {
  const State state = state_of(problem);
  State copy = state;
  EXPECT_EQ(numbers_of(copy), numbers_of(state));
  EXPECT_EQ(copy.problem(), state.problem());
  EXPECT_EQ(copy.updates, state.updates);
  EXPECT_EQ(describe_difference(copy, state), "");
  const std::vector<double> before = numbers_of(state);
  for (const StateArray& array : copy.arrays())
    for (double& number : array.numbers.doubles()) number += 1;
  EXPECT_EQ(numbers_of(state), before);
  State assigned = create_state(problem);
  assigned = copy;
  EXPECT_EQ(numbers_of(assigned), numbers_of(copy));
  State& self = assigned;
  assigned = self;
  EXPECT_EQ(numbers_of(assigned), numbers_of(copy));
}

TEST_P(EveryKind, SumsAreThoseOfOneStream) {
  if (!takes_events(problem)) return;
  // The state of both streams at once, and the sum of two states.
  State whole = state_with_fixed(problem);
  for (const std::uint64_t seed : {1U, 2U}) whole.add(stream_of(problem, seed));
  State sum = state_of(problem, 1);
  const State second = state_of(problem, 2);
  sum.add(second);
  EXPECT_EQ(sum.updates, 2 * second.updates);
  expect_sum(sum, state_of(problem, 1), 1, second);
  for (std::size_t k = 0; k < sum.arrays().size(); ++k)
    EXPECT_TRUE(std::ranges::equal(sum.arrays()[k].numbers.doubles(), whole.arrays()[k].numbers.doubles()))
        << sum.layout()[k].name;
}

TEST_P(EveryKind, DifferencesCancel) {
  const State state = state_of(problem, 3);
  State difference = state;
  difference.add(state, -1);
  for (const StateArray& array : difference.arrays()) {
    if (difference.is_fixed(*array.layout)) {
      EXPECT_TRUE(std::ranges::equal(array.numbers.doubles(), state.array(array.layout->name)));
    } else if (array.layout->is_count) {
      EXPECT_EQ(array.numbers.doubles()[0], 2 * state.array(array.layout->name)[0]);
    } else {
      EXPECT_TRUE(std::ranges::all_of(array.numbers.doubles(), [](double number) { return number == 0; }))
          << array.layout->name;
    }
  }
  // Also of itself.
  State self = state;
  self.add(self, -1);
  EXPECT_EQ(numbers_of(self), numbers_of(difference));
  EXPECT_EQ(self.updates, 2 * state.updates);
}

TEST_P(EveryKind, IsScaledUnlessRowsComeAndGoWhole) {
  const State state = state_of(problem, 4), other = state_of(problem, 5);
  State scaled = state, sum = state;
  EXPECT_NO_THROW(scaled.scale(1));
  EXPECT_EQ(numbers_of(scaled), numbers_of(state));
  if (const std::string what = whole_rows_only(state); !what.empty()) {
    expect_error([&] { scaled.scale(-2); }, {what, "rows that come and go whole: expected a coefficient of 1 or -1"});
    expect_error([&] { scaled.scale(-1); }, {what, "rows that come before they go"});
    expect_error([&] { sum.add(other, 0.5); }, {"the states do not combine: " + what, "coefficient of 1 or -1"});
    EXPECT_EQ(numbers_of(scaled), numbers_of(state));
    EXPECT_EQ(numbers_of(sum), numbers_of(state));
    EXPECT_EQ(sum.updates, state.updates);
    return;
  }
  scaled.scale(-2);
  State zero = state;  // state - 3 state
  zero.add(state, -3);
  for (const StateArray& array : scaled.arrays()) {
    const State& expected = array.layout->is_count ? state : zero;
    EXPECT_TRUE(std::ranges::equal(array.numbers.doubles(), expected.array(array.layout->name))) << array.layout->name;
  }
  EXPECT_EQ(scaled.updates, state.updates);
  sum.add(other, 0.5);
  expect_sum(sum, state, 0.5, other);
}

TEST_P(EveryKind, FixedOperandsAreComparedToTheBit) {
  const State state = state_of(problem);
  for (std::size_t k = 0; k < state.layout().size(); ++k) {
    const ArrayLayout& layout = state.layout()[k];
    State other = state;
    double& last = other.arrays()[k].numbers.doubles().back();
    last = layout.is_count ? (last > 0 ? 0 : 7) : std::nextafter(last, 1e300);
    const std::string difference =
        fmt::format("{}: fixed in both, and not the same to the bit", to_string(layout.operand));
    if (!state.is_fixed(layout)) {
      EXPECT_EQ(describe_difference(state, other), "") << layout.name;
      continue;
    }
    EXPECT_EQ(describe_difference(state, other), difference);
    expect_error([&] { other.add(state); }, {"the states do not combine: " + difference});
    other.ranks = 5;
    EXPECT_EQ(describe_difference(state, other), difference + "; sums of real numbers depend on the number of ranks");
  }
}

TEST_P(EveryKind, SaysInWhatProblemsDiffer) {
  const State state = state_of(problem);
  const auto difference = [&](const auto& change) {
    Problem changed = problem;
    change(changed);
    EXPECT_NE(fingerprint_of(changed), fingerprint_of(problem));
    EXPECT_EQ(describe_difference(problem, problem), "");
    const std::string here = describe_difference(problem, changed), there = describe_difference(changed, problem);
    EXPECT_EQ(here.empty(), there.empty());
    return here;
  };
  EXPECT_EQ(difference([](Problem& changed) { changed.setting = "other"; }),
            fmt::format("setting: {} against other", problem.setting));
  EXPECT_EQ(difference([](Problem& changed) {
              changed.keeps = changed.keeps == Keeps::exact ? Keeps::sketch : Keeps::exact;
            }).substr(0, 14),
            "what is kept: ");
  EXPECT_EQ(difference([](Problem& changed) { changed.degree = 7; }),
            fmt::format("degree: {} against 7", problem.degree));
  EXPECT_EQ(difference([](Problem& changed) { changed.sketch.seed = 5; }),
            fmt::format("seed: {} against 5", problem.sketch.seed));
  EXPECT_EQ(difference([](Problem& changed) { changed.sketch.p = 0.25; }).substr(0, 3), "p: ");
  EXPECT_EQ(difference([](Problem& changed) { changed.gram.buckets = 1; }),
            fmt::format("buckets of the Gram sketch: {} against 1", problem.gram.buckets));
  EXPECT_EQ(difference([](Problem& changed) { changed.gram.exact = !changed.gram.exact; }),
            fmt::format("exact Gram matrix: {} against {}", problem.gram.exact, !problem.gram.exact));
  EXPECT_NE(difference([](Problem& changed) { changed.precision = {0.75, 3}; }), "");
  EXPECT_EQ(difference([](Problem& changed) { changed.parameters["base"] = "7"; }), "base: none against 7");
  for (const auto& [name, length] : problem.sides) {
    EXPECT_EQ(difference([&](Problem& changed) { ++changed.sides[name]; }),
              fmt::format("{}: {} against {}", name, length, length + 1));
    EXPECT_EQ(difference([&](Problem& changed) { changed.sides.erase(name); }),
              fmt::format("{}: {} against none", name, length));
  }
  for (const auto& [operand, role] : problem.roles) {
    const Role other = role == Role::fixed ? Role::streams : Role::fixed;
    const std::string expected = difference([&](Problem& changed) { changed.roles[operand] = other; });
    EXPECT_EQ(expected.substr(0, to_string(operand).size() + 2), fmt::format("{}: ", to_string(operand)));
  }
}

TEST_P(EveryKind, StatesOfOtherProblemsDoNotCombine) {
  State state = state_of(problem);
  const std::vector<double> before = numbers_of(state);
  Problem seeded = problem;
  seeded.sketch.seed = 1;
  expect_error([&] { state.add(state_of(seeded)); },
               {fmt::format("the states do not combine: seed: {} against 1", problem.sketch.seed)});
  for (const Kind& other : every_kind()) {
    if (other.problem == problem) continue;
    EXPECT_THROW(state.add(state_of(other.problem)), InputError) << other.name;
    EXPECT_NE(describe_difference(state, state_of(other.problem)), "") << other.name;
  }
  EXPECT_EQ(numbers_of(state), before);
}

TEST_P(EveryKind, PartsOfThePartiesMakeUpTheWhole) {
  if (!takes_events(problem)) return;
  const State whole = state_of(problem);
  for (std::uint32_t count = 1; count <= 4; ++count) {
    std::vector<std::vector<double>> gathered(whole.layout().size());
    for (std::uint32_t r = 0; r < count; ++r) {
      const State part = state_of(problem, 1, {r, count});
      EXPECT_EQ(part.party(), (Party{r, count}));
      for (std::size_t k = 0; k < whole.layout().size(); ++k) {
        const ArrayLayout& layout = whole.layout()[k];
        const std::span<const double> numbers = part.arrays()[k].numbers.doubles();
        const ArrayShare share = share_of(layout, {r, count});
        ASSERT_EQ(numbers.size(), share.count) << layout.name;
        if (layout.gathering == Gathering::in_slices) {
          EXPECT_EQ(share.first, gathered[k].size()) << layout.name;
          gathered[k].insert(gathered[k].end(), numbers.begin(), numbers.end());
        } else if (layout.gathering == Gathering::everywhere) {
          EXPECT_TRUE(std::ranges::equal(numbers, whole.arrays()[k].numbers.doubles())) << layout.name;
          gathered[k].assign(numbers.begin(), numbers.end());
        } else {
          gathered[k].resize(layout.size);
          for (std::size_t t = 0; t < numbers.size(); ++t) gathered[k][t] += numbers[t];
        }
      }
    }
    for (std::size_t k = 0; k < whole.layout().size(); ++k)
      EXPECT_TRUE(std::ranges::equal(gathered[k], whole.arrays()[k].numbers.doubles()))
          << whole.layout()[k].name << count;
  }
}

TEST_P(EveryKind, IsAPartWhereNoArrayIsCut) {
  State state = state_of(problem);
  const std::vector<double> before = numbers_of(state);
  const bool is_cut = std::ranges::any_of(
      state.layout(), [](const ArrayLayout& layout) { return layout.gathering == Gathering::in_slices; });
  if (is_cut) {
    EXPECT_THROW(std::ignore = std::move(state).as_part({1, 3}), std::logic_error);
    return;
  }
  const State part = std::move(state).as_part({1, 3});
  EXPECT_EQ(part.party(), (Party{1, 3}));
  EXPECT_EQ(numbers_of(part), before);
  // What is shared out among the parties is another part of the whole; the rest is the same thing on all of them.
  const bool is_shared = std::ranges::any_of(
      part.layout(), [](const ArrayLayout& layout) { return layout.gathering == Gathering::by_share; });
  EXPECT_EQ(describe_difference(part, state_of(problem)), is_shared ? "party: 1 of 3 against 0 of 1" : "");
}

TEST_P(EveryKind, IsAVectorWhereItHasASketchOfY) {
  const State state = state_of(problem);
  const std::optional<VectorSketch> y = state.kept().sketch_of_y();
  const bool expected = problem.keeps == Keeps::sketch && setting_of(problem).traits().has_sketch_of_y;
  ASSERT_EQ(y.has_value(), expected);
  if (!y) {
    EXPECT_EQ(message_of<UsageError>([&] { std::ignore = as_vector(state); }),
              fmt::format("a state of {} has no sketch of y", state.kept().holds()));
    return;
  }
  const State vector = as_vector(state);
  EXPECT_NO_THROW(setting_of(vector.problem()).check(vector.problem()));
  EXPECT_EQ(vector.problem().setting, "vector");
  EXPECT_EQ(vector.problem().sketch, y->config());
  EXPECT_EQ(vector.problem().precision, problem.precision);
  EXPECT_EQ(vector.updates, state.updates);
  EXPECT_TRUE(std::ranges::equal(vector.array("cells of y"), y->table()));
  EXPECT_EQ(vector.kept().norm(), state.kept().norm());
}

TEST_P(EveryKind, FindsNumbersThatAreNotFinite) {
  State state = state_of(problem);
  EXPECT_EQ(find_not_finite(state), std::nullopt);
  const StateArray last = state.arrays().back();
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    last.numbers.doubles().back() = bad;
    EXPECT_EQ(find_not_finite(state),
              (std::pair<std::string, std::uint64_t>(last.layout->name, last.numbers.doubles().size() - 1)));
  }
}

TEST_P(EveryKind, RefusesNumbersThatCannotBeMeasured) {
  State state = state_of(problem);
  EXPECT_NO_THROW(state.require_range());
  if (!takes_events(problem) || problem.keeps == Keeps::exact_shared) return;
  for (const StateArray& array : state.arrays())
    if (!array.layout->is_count) std::ranges::fill(array.numbers.doubles(), 1e308);
  if (state.layout().size() == 1 && problem.setting == "product" && problem.keeps == Keeps::exact) return;  // x alone
  EXPECT_THROW(state.require_range(), InputError);
  EXPECT_THROW(std::ignore = state.answer({.norm = true}), InputError);
}

TEST_P(EveryKind, HasNoOtherPart) {
  State state = state_of(problem);
  EXPECT_TRUE(state.kept().other_part().empty());
  EXPECT_NO_THROW(state.kept().merge_other_part({}, 1));
  EXPECT_EQ(message_of<InputError>([&] { state.kept().merge_other_part(std::vector<std::byte>(3), 1); }),
            fmt::format("3 bytes that are no sum, of which a state of {} has none", state.kept().holds()));
}

TEST_P(EveryKind, RefusesTheLayoutOfAnotherParty) {
  std::vector<ArrayLayout> layout = setting_of(problem).layout(problem);
  layout.back().size += layout.back().row_length;
  EXPECT_THROW(State(problem, layout, setting_of(problem).make(problem, {})), std::logic_error);
  layout.pop_back();
  EXPECT_THROW(State(problem, layout, setting_of(problem).make(problem, {})), std::logic_error);
}

TEST_P(EveryKind, EventsOfOtherOperandsAreInputErrors) {
  if (!takes_events(problem)) return;
  State state = state_with_fixed(problem);
  for (const Operand operand : {Operand::y, Operand::x, Operand::A, Operand::A1, Operand::A2, Operand::X}) {
    if (problem.roles.contains(operand)) continue;
    EventBatch row;
    row.rows.push_back(operand, 0, 1, std::vector<double>{1, 2});
    EXPECT_THROW(state.add(row), InputError) << to_string(operand);
  }
}

TEST_P(EveryKind, TellsWhatCannotBeATermOfASum) {
  const State state = state_of(problem);
  const bool streams = !(problem.with_role(Role::streams) | problem.with_role(Role::forgotten)).empty();
  ASSERT_TRUE(streams);
  EXPECT_EQ(describe_combine_problem(state, 1, true, true), "");
  EXPECT_EQ(describe_combine_problem(state, -1, false, false), "");
  const std::string what = whole_rows_only(state);
  for (const double coefficient : {0.0, 2.0, -0.5})
    EXPECT_EQ(describe_combine_problem(state, coefficient, false, false),
              what.empty() ? "" : what + " holds rows that come and go whole: expected a coefficient of 1 or -1");
  EXPECT_EQ(describe_combine_problem(state, -1, true, false),
            what.empty() ? "" : what + " holds rows that come before they go: expected another state, added before it");
}

TEST(State, WithoutAStreamIsNoTerm) {
  Problem problem = testing_support::problem_of("kronecker-two-stage", {{"n1", 3}, {"n2", 3}, {"d1", 2}, {"d2", 2}},
                                                {Operand::A1, Operand::A2, Operand::X}, {.rows = 1, .buckets = 2});
  State state = state_of(problem);
  EXPECT_EQ(describe_combine_problem(state, 1, true, true),
            "all its operands (A1, A2, X) were fixed, none streamed: there is nothing to combine");
  expect_error([&] { state.add(State(state)); }, {"none streamed"});
}

TEST(State, AnIdentityIsNeitherMultipliedNorAdded) {
  const Problem problem =
      testing_support::problem_of("kronecker-two-stage", {{"n1", 3}, {"n2", 3}, {"d1", 2}, {"d2", 2}},
                                  {Operand::A1, Operand::A2}, {.rows = 1, .buckets = 2, .gram_buckets = 4});
  State identity = state_with_fixed(problem);
  EXPECT_EQ(describe_combine_problem(identity, 1, true, true), "");
  for (const auto& [coefficient, is_only] : {std::pair(2.0, true), {1.0, false}, {-1.0, false}})
    EXPECT_NE(
        describe_combine_problem(identity, coefficient, true, is_only).find("X, which alone streamed, had no event"),
        std::string::npos);
  expect_error([&] { identity.scale(2); }, {"is the identity, which is neither multiplied nor added"});
  State core = state_of(problem);
  expect_error([&] { core.add(identity); }, {"is the identity"});
  // With events of it, it is a sum like others; the factors are kept once.
  EXPECT_NO_THROW(core.add(State(core), 0.25));
}

TEST(State, ASquaredNormHasTheBoundOfItsWiderSide) {
  EXPECT_EQ(norm_of({25, 16}).value, 5);
  EXPECT_EQ(norm_of({25, 16}).bound, 2);
  EXPECT_EQ(norm_of({25, 30}).bound, 5);
  EXPECT_EQ(norm_of({-1, 0.5}).value, 0);
}

/// Sizes that overflow are refused before anything is allocated: no machine has so much.
TEST(State, LayoutsThatOverflowAreRefused) {
  constexpr std::uint64_t huge = std::uint64_t{1} << 62;
  for (const Kind& kind : every_kind()) {
    Problem problem = kind.problem;
    for (const auto& [name, length] : kind.problem.sides) {
      if (name[0] != 'd') continue;
      problem.sides[name] = huge;
      EXPECT_THROW(std::ignore = create_state(problem), UsageError) << kind.name << " " << name;
      problem.sides[name] = std::uint64_t{1} << (problem.setting == "product" ? 31 : 15);  // the most that is taken
    }
    if (problem.keeps != Keeps::sketch || setting_of(problem).columns_of_sketch(problem) <= problem.degree) continue;
    problem.sketch.rows = 15;
    problem.sketch.buckets = std::uint64_t{1} << 32;
    problem.sketch.lanes = 4096;
    EXPECT_THROW(std::ignore = create_state(problem), UsageError) << kind.name;
  }
  for (const char* side : {"n1", "n2"}) {
    Problem problem = testing_support::problem_of("kronecker-streaming", {{"n1", 1}, {"n2", 1}, {"d1", 2}, {"d2", 2}},
                                                  {Operand::A2}, {.rows = 1, .buckets = 2, .lanes = 1});
    problem.sides[side] = huge;
    problem.sketch.dimension = huge;
    problem.sketch.row_length = problem.side("n2");
    problem.sketch.levels = 2;
    EXPECT_THROW(std::ignore = create_state(problem), UsageError) << side;
  }
}

}  // namespace
}  // namespace weir
