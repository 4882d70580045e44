// Draws of pairs by exp(scale y), y = A1 X A2^T, from the operands: against the same draws from y itself, and against the
// law in long double. Each decision about a law is at significance 1e-5.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "state/every_kind.hpp"
#include "support/law_power.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/softmax.hpp"

namespace weir {
namespace {

using testing_support::expect_error;
using testing_support::problem_of;

constexpr double significance = 1e-5;
constexpr std::uint64_t seed = 21;

/// Operands, row after row. X is the identity where it is empty.
struct Pairs {
  std::uint64_t n1, n2, d1, d2;
  std::vector<double> a1, a2, x;

  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> y;
    for (std::uint64_t i1 = 0; i1 < n1; ++i1)
      for (std::uint64_t i2 = 0; i2 < n2; ++i2) {
        double sum = 0;
        for (std::uint64_t j = 0; j < d1; ++j)
          for (std::uint64_t k = 0; k < d2; ++k)
            sum += a1[i1 * d1 + j] * (x.empty() ? (j == k ? 1 : 0) : x[j * d2 + k]) * a2[i2 * d2 + k];
        y.push_back(sum);
      }
    return y;
  }
  /// Each row comes too large, and the surplus is taken back.
  [[nodiscard]] State state() const {
    State state = create_state(problem_of("kronecker-two-stage", {{"n1", n1}, {"n2", n2}, {"d1", d1}, {"d2", d2}}, {},
                                          {.seed = seed}, Keeps::exact_shared));
    EventBatch batch;
    const auto add = [&](Operand operand, const std::vector<double>& values, std::uint64_t columns) {
      for (std::uint64_t t = 0; t < values.size(); ++t) {
        batch.push_back({operand, t / columns, t % columns, values[t] + 8});
        batch.push_back({operand, t / columns, t % columns, -8});
      }
    };
    add(Operand::A1, a1, d1);
    add(Operand::A2, a2, d2);
    add(Operand::X, x, d2);
    state.add(batch);
    return state;
  }
  [[nodiscard]] SampleResult draw(const DrawQuestion& question) const {
    return state().answer({.draw = question}).draws;
  }
};

/// Operands of whole numbers from -`largest` to `largest`.
Pairs whole_pairs(std::uint64_t n1, std::uint64_t n2, std::uint64_t d1, std::uint64_t d2, bool with_x,
                  std::uint64_t largest = 3) {
  std::mt19937_64 random(n1 + 100 * n2);
  const auto numbers = [&](std::uint64_t count) {
    std::vector<double> values(count);
    for (double& value : values)
      value = static_cast<double>(random() % (2 * largest + 1)) - static_cast<double>(largest);
    return values;
  };
  return {n1, n2, d1, d2, numbers(n1 * d1), numbers(n2 * d2), with_x ? numbers(d1 * d2) : std::vector<double>()};
}

/// The law in long double: exp(scale y) over its sum over all pairs, or over n1 times its sum over the row.
std::vector<double> law_of(const Pairs& pairs, const SoftmaxChoice& choice) {
  const std::vector<double> y = pairs.y();
  const std::uint64_t group = choice.per_row ? pairs.n2 : y.size();
  std::vector<double> law(y.size());
  for (std::uint64_t first = 0; first < y.size(); first += group) {
    long double largest = -std::numeric_limits<long double>::infinity(), total = 0;
    for (std::uint64_t t = first; t < first + group; ++t) largest = std::max<long double>(largest, choice.scale * y[t]);
    for (std::uint64_t t = first; t < first + group; ++t) total += std::exp(choice.scale * y[t] - largest);
    for (std::uint64_t t = first; t < first + group; ++t)
      law[t] = static_cast<double>(std::exp(choice.scale * y[t] - largest) / total) * static_cast<double>(group) /
               static_cast<double>(y.size());
  }
  return law;
}

void expect_equal(const SampleResult& a, const SampleResult& b) {
  EXPECT_EQ(a.norm, b.norm);
  EXPECT_EQ(a.zero_vector, b.zero_vector);
  ASSERT_EQ(a.draws.size(), b.draws.size());
  for (std::size_t s = 0; s < a.draws.size(); ++s) {
    EXPECT_EQ(a.draws[s].lane, b.draws[s].lane);
    EXPECT_EQ(a.draws[s].index, b.draws[s].index);
    EXPECT_EQ(a.draws[s].column, b.draws[s].column);
    EXPECT_EQ(a.draws[s].value, b.draws[s].value);
    EXPECT_EQ(a.draws[s].probability, b.draws[s].probability);
    EXPECT_EQ(a.draws[s].inclusion, b.draws[s].inclusion);
  }
}

/// Sides below, at and above the sizes of blocks of A2 (2048 rows) and of tiles (24 rows of A1), and columns that are no
/// multiple of the width of a vector.
std::vector<Pairs> many_pairs() {
  return {whole_pairs(1, 1, 1, 1, false),    whole_pairs(3, 5, 2, 3, true),     whole_pairs(24, 2048, 3, 3, false),
          whole_pairs(25, 2049, 2, 4, true), whole_pairs(50, 4500, 3, 2, true), whole_pairs(2, 40, 20, 19, true)};
}

/// Values of whole operands are exact, and so the draws are those from y itself, to the bit.
TEST(SoftmaxOfPairs, DrawsWhatIsDrawnFromTheMatrixItself) {
  for (const Pairs& pairs : many_pairs()) {
    SCOPED_TRACE(pairs.n1);
    const std::vector<double> y = pairs.y();
    for (const double scale : {1.0, -0.25, 0.0})
      for (const bool distinct : {false, true}) {
        const SampleResult found =
            pairs.draw({.samples = 30, .without_replacement = distinct, .softmax = SoftmaxChoice{.scale = scale}});
        expect_equal(found, draw_softmax(y, {.samples = 30,
                                             .without_replacement = distinct,
                                             .seed = seed,
                                             .scale = scale,
                                             .row_length = pairs.n2}));
        const std::vector<double> law = law_of(pairs, {.scale = scale});
        for (const Draw& draw : found.draws) {
          const std::uint64_t place = draw.index * pairs.n2 + draw.column.value();
          EXPECT_EQ(draw.value, y[place]);  // without the scale
          EXPECT_NEAR(draw.probability / law[place], 1, 1e-9);
        }
      }
  }
}

/// Against the definition: the score is y less the logarithm of the sum of the row, every pair perturbed, none skipped.
TEST(SoftmaxOfPairs, NormalisesEveryRowByItself) {
  for (const Pairs& pairs : many_pairs()) {
    SCOPED_TRACE(pairs.n1);
    const std::vector<double> y = pairs.y(), law = law_of(pairs, {.scale = 0.5, .per_row = true});
    DrawQuestion question{.samples = 12, .softmax = SoftmaxChoice{.scale = 0.5, .per_row = true}};
    const SampleResult found = pairs.draw(question);
    question.without_replacement = true;
    const SampleResult distinct = pairs.draw(question);
    ASSERT_EQ(found.draws.size(), 12U);
    ASSERT_EQ(distinct.draws.size(), std::min<std::size_t>(12, y.size()));
    for (std::uint32_t s = 0; s < 12; ++s) {
      const WordFunction words(Randomness::mix, seed, Purpose::draw, 1 + s, 2);
      std::vector<std::pair<double, std::uint64_t>> perturbed;  // negated, so that sorting puts the largest first
      for (std::uint64_t i = 0; i < y.size(); ++i) {
        const double v = (static_cast<double>(words(i)) + 0.5) * 0x1p-64;
        perturbed.emplace_back(-(std::log(law[i]) - std::log(-std::log1p(-std::min(v, 1 - 0x1p-53)))), i);
      }
      std::ranges::sort(perturbed);
      const auto expect_pair = [&](const Draw& draw, std::uint64_t place) {
        EXPECT_EQ(draw.index, place / pairs.n2);
        EXPECT_EQ(draw.column, place % pairs.n2);
        EXPECT_EQ(draw.value, y[place]);
        EXPECT_NEAR(draw.probability / law[place], 1, 1e-9);
      };
      expect_pair(found.draws[s], perturbed[0].second);
      if (s > 0) continue;
      for (std::size_t k = 0; k < distinct.draws.size(); ++k) {
        const std::uint64_t place = perturbed[k].second;
        expect_pair(distinct.draws[k], place);
        const double inclusion =
            y.size() <= 12 ? 1 : 1 - std::exp(-std::exp(std::log(law[place]) + perturbed[12].first));
        EXPECT_NEAR(distinct.draws[k].inclusion.value(), inclusion, 1e-9);
      }
    }
  }
}

/// The largest score of a row so far rises from block to block of A2, or falls: the sum of the row is measured anew.
TEST(SoftmaxOfPairs, SumsOfRowsFollowTheirMaximum) {
  Pairs pairs{3, 5000, 1, 1, {1, -1, 0.125}, {}, {}};
  for (std::uint64_t i2 = 0; i2 < pairs.n2; ++i2) pairs.a2.push_back(static_cast<double>(i2) / 256);
  const std::vector<double> law = law_of(pairs, {.per_row = true});
  std::array<std::uint64_t, 3> counts{};
  for (const Draw& draw : pairs.draw({.samples = 300, .softmax = SoftmaxChoice{.per_row = true}}).draws) {
    ++counts.at(draw.index);
    EXPECT_NEAR(draw.probability / law[draw.index * pairs.n2 + draw.column.value()], 1, 1e-9);
  }
  for (const std::uint64_t count : counts) EXPECT_GT(count, 0U);
}

/// 6 x 4 pairs: as many draws as reject, with probability 0.99, weights that are multiplied by 1.05 on half of the mass.
TEST(SoftmaxOfPairs, HasTheLaw) {
  constexpr std::uint32_t draws = 160000;
  const Pairs pairs = whole_pairs(6, 4, 2, 3, true, 1);
  for (const bool per_row : {false, true}) {
    const SoftmaxChoice choice{.scale = 0.5, .per_row = per_row};
    const std::vector<double> law = law_of(pairs, choice);
    const std::vector<statistics::Half> halves = statistics::halves_of(law);
    ASSERT_FALSE(halves.empty());
    for (const statistics::Half& half : halves) {
      const auto tests = static_cast<double>(1 + halves.size());
      EXPECT_GT(draws, statistics::draws_to_reject(half.share, 0.05, significance / tests, 0.99)) << half.name;
    }
    std::vector<std::uint64_t> counts(law.size());
    for (const Draw& draw : pairs.draw({.samples = draws, .softmax = choice}).draws)
      ++counts[draw.index * pairs.n2 + draw.column.value()];
    const statistics::Verdict verdict = statistics::judge_law(counts, law);
    EXPECT_GT(verdict.p_value, significance) << verdict.test;
  }
}

/// The two laws differ where rows do: a row without large values has its share of 1/n1 all the same.
TEST(SoftmaxOfPairs, RowsOfAnySizeHaveTheirShare) {
  const Pairs pairs{2, 3, 1, 1, {1e5, -1}, {1, 2, 2}, {}};  // rows (1e5, 2e5, 2e5) and (-1, -2, -2)
  for (const Draw& draw : pairs.draw({.samples = 40, .softmax = SoftmaxChoice{}}).draws) {
    EXPECT_EQ(draw.index, 0U);
    EXPECT_NEAR(draw.probability, 0.5, 1e-12);
  }
  std::uint64_t of_second = 0;
  for (const Draw& draw : pairs.draw({.samples = 400, .softmax = SoftmaxChoice{.per_row = true}}).draws) {
    of_second += draw.index;
    const double others = 2 * std::exp(-1.0);
    EXPECT_NEAR(draw.probability, draw.index == 0 ? 0.25 : (draw.column == 0U ? 1 : std::exp(-1.0)) / (1 + others) / 2,
                1e-11);
  }
  // 400 draws of probability 1/2.
  EXPECT_GT(statistics::normal_p_value((static_cast<double>(of_second) - 200) / 10), significance);
}

/// Without events y is zero, and the law uniform: so it is with a vector.
TEST(SoftmaxOfPairs, OfZeroIsUniform) {
  const Pairs pairs{3, 4, 2, 2, {}, {}, {}};
  for (const bool per_row : {false, true}) {
    const SampleResult result = pairs.draw({.samples = 5, .softmax = SoftmaxChoice{.per_row = per_row}});
    EXPECT_FALSE(result.zero_vector);
    EXPECT_EQ(result.norm, 0);
    ASSERT_EQ(result.draws.size(), 5U);
    for (const Draw& draw : result.draws) EXPECT_NEAR(draw.probability, 1.0 / 12, 1e-15);
  }
}

TEST(SoftmaxOfPairs, RefusesValuesThatHaveNoExponential) {
  const DrawQuestion plain{.softmax = SoftmaxChoice{}}, by_row{.softmax = SoftmaxChoice{.per_row = true}};
  const Pairs overflow{2, 3, 1, 1, {1, 1e200}, {1, 2, 1e200}, {}};
  const Pairs undefined{2, 3, 2, 2, {1, 1, 1e308, 1e308}, {1, 1, 1, 1, 4, -4}, {}};
  for (const DrawQuestion& question : {plain, by_row}) {
    expect_error([&] { std::ignore = overflow.draw(question); }, {"y[1, 2] is inf: the softmax needs finite values"});
    expect_error([&] { std::ignore = undefined.draw(question); }, {"y[1, 0] is inf"});
  }
  const Pairs large{2, 3, 1, 1, {1, 1e155}, {1, 2, 1e150}, {}};
  EXPECT_EQ(large.draw(plain).draws.front().value, 1e155 * 1e150);
  expect_error([&] { std::ignore = large.draw({.softmax = SoftmaxChoice{.scale = 1e6}}); },
               {"y[1, 2] is 1e+305: times the scale 1000000 it overflows a double"});
  // An operand whose sum overflows makes a y that is not finite, even where the other operand is zero.
  State state = Pairs{2, 3, 1, 1, {}, {}, {}}.state();
  EventBatch batch;
  for (int t = 0; t < 2; ++t) batch.push_back({Operand::A2, 1, 0, 1.5e308});
  state.add(batch);
  expect_error([&] { std::ignore = state.answer({.draw = plain}); }, {"y[0, 1] is ", "nan"});
}

TEST(SoftmaxOfPairs, RefusesWhatItCannotAnswer) {
  const Pairs no_x{2, 3, 1, 2, {}, {}, {}};
  expect_error([&] { std::ignore = no_x.draw({.softmax = SoftmaxChoice{}}); },
               {"there was no event of X, and it cannot be the identity"});
  const State state = whole_pairs(3, 5, 2, 3, true).state();
  EXPECT_FALSE(state.kept().can_verify(lone_party()));
  EXPECT_THROW(std::ignore = state.answer({.draw = DrawQuestion{}}), UsageError);
  EXPECT_THROW(std::ignore = state.answer({.draw = DrawQuestion{.softmax = SoftmaxChoice{}}, .norm = true}),
               UsageError);
  const State exact = create_state(
      problem_of("kronecker-two-stage", {{"n1", 3}, {"n2", 5}, {"d1", 2}, {"d2", 2}}, {}, {}, Keeps::exact));
  EXPECT_THROW(std::ignore = exact.answer({.draw = DrawQuestion{.softmax = SoftmaxChoice{}}}), UsageError);
  // A vector has no rows.
  State vector = create_state(problem_of("vector", {{"n", 4}}, {}, {}, Keeps::exact_shared));
  expect_error<UsageError>(
      [&] { std::ignore = vector.answer({.draw = DrawQuestion{.softmax = SoftmaxChoice{.per_row = true}}}); },
      {"a vector y has no rows"});
}

}  // namespace
}  // namespace weir
