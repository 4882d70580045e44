#include "weir/attention/anisotropic.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attention/anisotropic_map.hpp"
#include "attention/random_head.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using test::exact_attention;
using test::fit;
using test::Head;
using test::random_head;
using test::relative_error;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

AnisotropicOptions options_for(const Head& head, std::uint64_t budget, std::optional<std::uint64_t> exact_rows = {}) {
  AnisotropicOptions options{.d = head.d, .dv = head.dv, .budget = budget};
  options.exact_rows = exact_rows;
  options.automatic = false;
  options.expected_rows = std::max<std::size_t>(head.rows(), 1);
  return options;
}

AnisotropicState state_of(const AnisotropicCalibration& calibration, const AttentionRows& rows) {
  AnisotropicState state(calibration);
  state.add(rows);
  return state;
}

std::vector<double> outputs_of(const AnisotropicState& state, std::span<const double> queries) {
  return AnisotropicReader(state).answer(queries).outputs.values;
}

void add_state(AnisotropicState& to, const AnisotropicState& other, int sign = 1) {
  for (std::size_t t = 0; t < to.features().size(); ++t) {
    to.features()[t] += static_cast<float>(sign) * other.features()[t];
  }
  to.merge(other.bounded_part(), sign);
}

/// The same rows, each with that weight.
struct Weighted {
  explicit Weighted(AttentionRows of, std::int8_t weight) : weights(of.tokens.size(), weight), rows(of) {
    rows.weights = weights;
  }
  std::vector<std::int8_t> weights;
  AttentionRows rows;
};

// With degree 10 about the middle of the range the series of exp(z), |z| <= R, misses at most R^11 e^R / 11! (Lagrange's
// remainder). Least squares under a law are within a factor of about the largest polynomial, below 50 here, of the best. Scores
// vary by at most 1.5 about the centre here, so that 1.5^11 e^1.5 / 11! * 50 = 5e-4 is a bound of the worst entry, and what is left
// is mostly the rounding of fp32.
TEST(Anisotropic, AgreesWithExactAttentionWhereAllProductsFit) {
  for (const std::size_t d : {1U, 2U, 3U}) {
    const Head head = random_head(400, d, 5, 0.1, 21);
    const AnisotropicCalibration calibration = fit(options_for(head, 1U << 17U, 0), head);
    // binomial(d + 10, 10)
    EXPECT_EQ(calibration.features(), d == 1 ? 11U : d == 2 ? 66U : 286U);
    const AnisotropicState state = state_of(calibration, head.all());
    EXPECT_EQ(state.exact_rows(), 0U);
    EXPECT_LT(relative_error(outputs_of(state, head.queries), exact_attention(head, head.queries)), 2e-6) << d;
  }
}

TEST(Anisotropic, MoreFeaturesAreBetter) {
  const Head head = random_head(1000, 6, 4, 0.5, 22);
  const std::vector<double> exact = exact_attention(head, head.queries);
  double before = 1;
  for (const std::uint64_t budget : {1024U, 2048U, 4096U, 16384U}) {
    const double error =
        relative_error(outputs_of(state_of(fit(options_for(head, budget, 0), head), head.all()), head.queries), exact);
    EXPECT_LT(error, before / 1.5) << budget;
    before = error;
  }
  EXPECT_LT(before, 1e-4);
}

TEST(Anisotropic, RowsThatAreAllKeptAreSummedExactly) {
  const Head head = random_head(100, 4, 3, 4, 23);
  const AnisotropicState state = state_of(fit(options_for(head, 1U << 16U, 100), head), head.all());
  EXPECT_EQ(state.exact_rows(), 100U);
  EXPECT_TRUE(std::all_of(state.features().begin(), state.features().end(), [](float x) { return x == 0; }));
  EXPECT_LT(relative_error(outputs_of(state, head.queries), exact_attention(head, head.queries)), 1e-12);
}

TEST(Anisotropic, KeepsTheFarthestRows) {
  const Head head = random_head(500, 4, 3, 1, 24);
  const AnisotropicCalibration calibration = fit(options_for(head, 1U << 15U, 37), head);
  const AnisotropicState state = state_of(calibration, head.all());
  EXPECT_EQ(state.exact_rows(), 37U);
  EXPECT_EQ(state.rows(), 500);
  EXPECT_EQ(state.sampled_rows(), 256U);
  // The list holds the largest sum s_i k'_i^2: worked out from the content of the calibration.
  const CalibrationContent& content = calibration.map().content;
  std::vector<double> radii;
  for (std::size_t j = 0; j < head.rows(); ++j) {
    const Eigen::VectorXd key = Eigen::Map<const Eigen::VectorXd>(head.keys.data() + j * head.d, 4);
    const Eigen::VectorXd coordinates = content.to_keys * (key - content.centres.row(0).transpose());
    radii.push_back(coordinates.cwiseAbs2().dot(content.spread));
  }
  std::vector<double> sorted = radii;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  // Removing a row that is in the list makes it shorter; removing another does not.
  for (std::size_t j = 0; j < head.rows(); ++j) {
    AnisotropicState changed = state;
    const Weighted removed(head.part(j, 1), -1);
    changed.add(removed.rows);
    EXPECT_EQ(changed.exact_rows(), radii[j] >= sorted[36] ? 36U : 37U) << j;
  }
}

/// The bounded part without the weights of all that ever came and went, which end it.
std::vector<std::byte> lists_of(const AnisotropicState& state) {
  std::vector<std::byte> bytes = state.bounded_part();
  bytes.resize(bytes.size() - state.calibration().clusters() * sizeof(double));
  return bytes;
}

TEST(Anisotropic, DoesNotDependOnTheOrderOrTheNumberOfParts) {
  const Head head = random_head(2000, 5, 4, 1, 25);
  for (const std::uint32_t clusters : {1U, 5U}) {
    AnisotropicOptions options = options_for(head, 1U << 14U, 40);
    options.clusters = clusters;
    const AnisotropicCalibration calibration = fit(options, head);
    const AnisotropicState whole = state_of(calibration, head.all());
    AnisotropicReader reader(whole);
    const AnisotropicAnswers expected = reader.answer(head.queries, true);

    for (std::size_t parts = 2; parts <= 4; ++parts) {
      AnisotropicState merged(calibration);
      for (std::size_t p = parts; p-- > 0;) {  // the last part first
        const std::size_t first = head.rows() * p / parts;
        add_state(merged, state_of(calibration, head.part(first, head.rows() * (p + 1) / parts - first)));
      }
      EXPECT_EQ(merged.rows(), whole.rows());
      EXPECT_EQ(lists_of(merged), lists_of(whole)) << parts;
      const AnisotropicAnswers answers = AnisotropicReader(merged).answer(head.queries, true);
      EXPECT_LT(relative_error(answers.outputs.values, expected.outputs.values), 1e-6);
      EXPECT_LT(relative_error(answers.errors, expected.errors), 1e-2);
    }
    AnisotropicState backwards(calibration);
    for (std::size_t j = head.rows(); j-- > 0;) backwards.add(head.part(j, 1));
    EXPECT_EQ(lists_of(backwards), lists_of(whole));
    EXPECT_LT(relative_error(outputs_of(backwards, head.queries), expected.outputs.values), 1e-6);
  }
}

TEST(Anisotropic, InsertedThriceAndDeletedAgain) {
  const Head head = random_head(1500, 5, 4, 1, 26);
  const AnisotropicCalibration calibration = fit(options_for(head, 1U << 14U, 30), head);
  const AnisotropicState once = state_of(calibration, head.all());
  AnisotropicState state = once;
  state.add(head.all());
  state.add(head.all());
  const Weighted removed(head.all(), -1);
  state.add(removed.rows);
  state.add(removed.rows);
  EXPECT_EQ(lists_of(state), lists_of(once));
  EXPECT_LT(relative_error(outputs_of(state, head.queries), outputs_of(once, head.queries)), 1e-5);
  state.add(removed.rows);
  EXPECT_EQ(state.rows(), 0);
  EXPECT_EQ(state.exact_rows(), 0U);
}

TEST(Anisotropic, EstimatesKnowOfHeavyRowsThatLeft) {
  // Keys on one side of all queries weigh e^16 times as much as those on the other.
  Head head = random_head(1200, 2, 2, 1, 47);
  for (std::size_t t = 0; t < head.queries.size(); t += 2) head.queries[t] = 0.5 * head.queries[t] + 2;
  for (std::size_t j = 0; j < head.rows(); ++j) head.keys[2 * j] = 0.5 * head.keys[2 * j] + (j % 2 == 0 ? 4 : -4);
  const AnisotropicCalibration calibration = fit(options_for(head, 8192, 20), head);
  AnisotropicState light(calibration), left(calibration);
  for (std::size_t j = 1; j < head.rows(); j += 2) light.add(head.part(j, 1));
  for (std::size_t j = 0; j < head.rows(); ++j) left.add(head.part(j, 1));
  for (std::size_t j = 0; j < head.rows(); j += 2) {
    const Weighted removed(head.part(j, 1), -1);
    left.add(removed.rows);
  }
  // As another party has it: without what rounding took.
  AnisotropicState told(calibration);
  add_state(told, left);
  const AnisotropicAnswers truth = AnisotropicReader(light).answer(head.queries, true);
  const AnisotropicAnswers answers = AnisotropicReader(told).answer(head.queries, true);
  std::size_t covered = 0;
  for (std::uint64_t i = 0; i < answers.outputs.rows; ++i) {
    double difference = 0, sum = 0;
    for (std::size_t c = 0; c < 2; ++c) {
      difference += std::pow(answers.outputs.values[2 * i + c] - truth.outputs.values[2 * i + c], 2);
      sum += std::pow(truth.outputs.values[2 * i + c], 2);
    }
    if (std::sqrt(difference / sum) <= 3 * (answers.errors[i] + truth.errors[i])) ++covered;
  }
  EXPECT_GE(covered, answers.outputs.rows * 99 / 100);
  // Where nothing leaves, nothing is added to the estimates.
  AnisotropicState again(calibration);
  add_state(again, light);
  const AnisotropicAnswers same = AnisotropicReader(again).answer(head.queries, true);
  EXPECT_LT(relative_error(same.errors, truth.errors), 1e-2);
}

TEST(Anisotropic, RowsOfOthersAreDeletedWithoutATrace) {
  const Head head = random_head(1200, 5, 4, 1, 27);
  const AnisotropicCalibration calibration = fit(options_for(head, 1U << 14U, 0), head);
  AnisotropicState state = state_of(calibration, head.part(0, 400));
  const std::vector<double> expected = outputs_of(state, head.queries);
  state.add(head.part(400, 800));
  const Weighted removed(head.part(400, 800), -1);
  state.add(removed.rows);
  EXPECT_LT(relative_error(outputs_of(state, head.queries), expected), 1e-5);
}

TEST(Anisotropic, ARowThatAnotherPartyRemovesIsGoneWhenTheyMeet) {
  const Head head = random_head(300, 4, 3, 1, 28);
  const AnisotropicCalibration calibration = fit(options_for(head, 1U << 14U, 50), head);
  const AnisotropicState expected = state_of(calibration, head.part(0, 280));
  AnisotropicState first = state_of(calibration, head.all());
  AnisotropicState second(calibration);
  const Weighted removed(head.part(280, 20), -1);
  second.add(removed.rows);
  EXPECT_EQ(second.rows(), -20);
  add_state(first, second);
  EXPECT_EQ(first.rows(), 280);
  const std::vector<double> exact = outputs_of(expected, head.queries);
  EXPECT_LT(relative_error(outputs_of(first, head.queries), exact), 1e-3);  // other rows are kept exactly
  EXPECT_LE(first.exact_rows(), 50U);
}

TEST(Anisotropic, StatesAreSubtracted) {
  const Head head = random_head(900, 4, 3, 1, 29);
  const AnisotropicCalibration calibration = fit(options_for(head, 1U << 14U, 0), head);
  AnisotropicState window = state_of(calibration, head.all());
  add_state(window, state_of(calibration, head.part(0, 500)), -1);
  EXPECT_EQ(window.rows(), 400);
  const AnisotropicState expected = state_of(calibration, head.part(500, 400));
  EXPECT_LT(relative_error(outputs_of(window, head.queries), outputs_of(expected, head.queries)), 1e-5);
}

TEST(Anisotropic, EqualKeysGiveTheMeanOfTheValues) {
  Head head = random_head(64, 3, 2, 1, 30);
  for (std::size_t t = 0; t < head.keys.size(); ++t) head.keys[t] = head.keys[t % head.d];
  for (const std::uint32_t clusters : {1U, 4U}) {
    AnisotropicOptions options = options_for(head, 1U << 13U);
    options.clusters = clusters;
    const AnisotropicState state = state_of(fit(options, head), head.all());
    EXPECT_LT(relative_error(outputs_of(state, head.queries), exact_attention(head, head.queries)), 1e-6);
  }
}

TEST(Anisotropic, ConstantValuesAreReturned) {
  Head head = random_head(300, 4, 3, 3, 31);
  for (std::size_t t = 0; t < head.values.size(); ++t) head.values[t] = static_cast<double>(t % 3) - 1.25;
  const std::vector<double> outputs =
      outputs_of(state_of(fit(options_for(head, 4096), head), head.all()), head.queries);
  for (std::size_t t = 0; t < outputs.size(); ++t) EXPECT_EQ(outputs[t], static_cast<double>(t % 3) - 1.25);
}

TEST(Anisotropic, ZeroQueriesGiveTheMeanOfTheValues) {
  Head head = random_head(500, 4, 3, 1, 32);
  const std::vector<double> zeros(8 * head.d, 0);
  // Also where the calibration saw nothing else.
  for (const bool sees_zeros : {false, true}) {
    if (sees_zeros) std::fill(head.queries.begin(), head.queries.end(), 0);
    const AnisotropicState state = state_of(fit(options_for(head, 1U << 15U), head), head.all());
    EXPECT_LT(relative_error(outputs_of(state, zeros), exact_attention(head, zeros)), 1e-3);
  }
}

TEST(Anisotropic, ADominantKeyTakesAll) {
  Head head = random_head(2000, 4, 3, 0.2, 33);
  for (std::size_t e = 0; e < head.d; ++e) {
    head.keys[1234 * head.d + e] = 40;
    head.queries[e] = 1;  // scores 160 with that key, about -1 with the others
  }
  const AnisotropicState state = state_of(fit(options_for(head, 1U << 14U, 20), head), head.all());
  const std::span<const double> query = std::span(head.queries).first(head.d);
  EXPECT_LT(relative_error(outputs_of(state, query), exact_attention(head, query)), 1e-6);
}

TEST(Anisotropic, WorksWithHardlyAnyRows) {
  for (const std::size_t d : {1U, 5U}) {
    for (const std::size_t n : {1U, 2U, 3U, 40U}) {
      const Head head = random_head(n, d, 2, 0.1, 34);
      for (const bool automatic : {false, true}) {
        for (const std::optional<std::uint32_t> clusters :
             {std::optional<std::uint32_t>(), std::optional<std::uint32_t>(3)}) {
          AnisotropicOptions options = options_for(head, 1U << 14U, 0);
          options.automatic = automatic;
          options.clusters = clusters;
          for (const std::size_t queries : {std::size_t{0}, std::size_t{1}, n}) {
            const AnisotropicCalibration calibration = AnisotropicCalibration::fit(
                options, std::span(head.queries).first(queries * d), head.keys, head.values);
            const AnisotropicState state = state_of(calibration, head.all());
            AnisotropicReader reader(state);
            const AnisotropicAnswers answers = reader.answer(head.queries, true);
            EXPECT_LT(relative_error(answers.outputs.values, exact_attention(head, head.queries)), 0.05)
                << d << ' ' << n << ' ' << queries;
            for (const double error : answers.errors) EXPECT_TRUE(std::isfinite(error));
          }
        }
      }
    }
  }
}

TEST(Anisotropic, AnEmptyStateAnswersZero) {
  const Head head = random_head(50, 3, 2, 1, 35);
  const AnisotropicState state(fit(options_for(head, 8192), head));
  AnisotropicReader reader(state);
  const AnisotropicAnswers answers = reader.answer(head.queries, true);
  EXPECT_EQ(answers.outputs.rows, 50U);
  EXPECT_TRUE(
      std::all_of(answers.outputs.values.begin(), answers.outputs.values.end(), [](double x) { return x == 0; }));
  EXPECT_TRUE(reader.answer({}).outputs.values.empty());
}

// One feature is the constant. For a query whose scores are normal with variance s^2 it holds exp(-s^2) of the squared norm of the
// kernel: E[exp(z)]^2 / E[exp(2 z)]. The guard wants at least half.
TEST(Anisotropic, QueriesThatTheFeaturesCannotServeFallBack) {
  const Head head = random_head(1000, 4, 3, 1, 44);
  const std::uint64_t least = 4 * (calibration_numbers(4, 1, 4, 10) + 2 * 3 + 4);
  AnisotropicOptions options = options_for(head, least, 0);
  options.directions = 4;
  const AnisotropicCalibration calibration = fit(options, head);
  ASSERT_EQ(calibration.features(), 1U);
  AnisotropicReader reader(state_of(calibration, head.all()));
  std::size_t steep = 0;
  for (std::size_t i = 0; i < 200; ++i) {
    for (const double scale : {1.0, 2.0}) {
      std::vector<double> query(head.queries.begin() + static_cast<std::ptrdiff_t>(4 * i),
                                head.queries.begin() + static_cast<std::ptrdiff_t>(4 * i + 4));
      double sum = 0;
      double squares = 0;
      for (double& number : query) number *= scale;
      for (std::size_t j = 0; j < head.rows(); ++j) {
        const double score =
            std::inner_product(query.begin(), query.end(), head.keys.begin() + static_cast<std::ptrdiff_t>(4 * j), 0.0);
        sum += score;
        squares += score * score;
      }
      // About the mean query of the calibration, whose scores are in the tilts, variances are not the same, but of that size.
      const double variance = squares / 1000 - sum * sum / 1e6;
      if (variance > 4) {
        ++steep;
        EXPECT_EQ(reader.answer(query).fallbacks, 1U) << i << ' ' << variance;
      }
    }
  }
  EXPECT_GT(steep, 20U);
  EXPECT_EQ(reader.answer(std::vector<double>(4, 0.3)).fallbacks, 0U);  // the mean query
}

TEST(Anisotropic, AnswersForQueriesFarFromTheCalibrationAreInTheRangeOfTheValues) {
  const Head head = random_head(1000, 4, 3, 1, 36);
  const AnisotropicState state = state_of(fit(options_for(head, 4096), head), head.all());
  std::vector<double> far(head.queries.begin(), head.queries.begin() + 40 * 4);
  for (double& number : far) number *= 1e3;
  AnisotropicReader reader(state);
  const AnisotropicAnswers answers = reader.answer(far, true);
  for (std::size_t c = 0; c < 3; ++c) {
    double low = infinity;
    double high = -infinity;
    for (std::size_t j = 0; j < head.rows(); ++j) {
      low = std::min(low, head.values[j * 3 + c]);
      high = std::max(high, head.values[j * 3 + c]);
    }
    for (std::size_t i = 0; i < 40; ++i) {
      EXPECT_GE(answers.outputs.values[i * 3 + c], low);
      EXPECT_LE(answers.outputs.values[i * 3 + c], high);
    }
  }
}

TEST(Anisotropic, ThreeTimesTheEstimateCoversTheError) {
  // Truncation errors of very different sizes. 2000 queries: the bound 0.99 of the promise.
  for (const double deviation : {0.3, 1.0, 2.0}) {
    const Head head = random_head(2000, 5, 4, deviation, 37);
    AnisotropicOptions options = options_for(head, 1U << 13U);
    options.automatic = true;
    options.calibration_rows = 500;
    const AnisotropicCalibration calibration =
        AnisotropicCalibration::fit(options, std::span(head.queries).first(1000 * 5),
                                    std::span(head.keys).first(1000 * 5), std::span(head.values).first(1000 * 4));
    const AnisotropicState state = state_of(calibration, head.all());
    AnisotropicReader reader(state);
    const AnisotropicAnswers answers = reader.answer(head.queries, true);
    const std::vector<double> exact = exact_attention(head, head.queries);
    std::size_t covered = 0;
    double estimated = 0;
    for (std::size_t i = 0; i < head.rows(); ++i) {
      const double error =
          relative_error(std::span(answers.outputs.values).subspan(i * 4, 4), std::span(exact).subspan(i * 4, 4));
      if (error <= 3 * answers.errors[i]) ++covered;
      estimated += answers.errors[i];
    }
    EXPECT_GE(covered, 1980U) << deviation;
    // It is not far above the errors either: by ten times on the average.
    EXPECT_LT(estimated / 2000, 10 * relative_error(answers.outputs.values, exact)) << deviation;
  }
}

TEST(Anisotropic, AutomaticIsNoWorseThanWithoutAChoice) {
  for (const double deviation : {0.3, 4.0}) {
    const Head head = random_head(2000, 6, 4, deviation, 38);
    const std::vector<double> exact = exact_attention(head, head.queries);
    double errors[2];
    for (const bool automatic : {false, true}) {
      AnisotropicOptions options = options_for(head, 1U << 14U);
      options.automatic = automatic;
      const AnisotropicCalibration calibration =
          AnisotropicCalibration::fit(options, std::span(head.queries).first(1024 * 6),
                                      std::span(head.keys).first(1024 * 6), std::span(head.values).first(1024 * 4));
      errors[automatic ? 1 : 0] = relative_error(outputs_of(state_of(calibration, head.all()), head.queries), exact);
    }
    EXPECT_LT(errors[1], 1.3 * errors[0]) << deviation;
  }
}

TEST(Anisotropic, RowsThatAreHeldElsewhereAreAddedToTheSums) {
  const Head head = random_head(600, 4, 3, 1, 39);
  const AnisotropicCalibration calibration = fit(options_for(head, 1U << 16U), head);
  AnisotropicReader reader(state_of(calibration, head.part(0, 500)));
  const std::span<const double> queries = std::span(head.queries).first(20 * 4);
  AttentionSums sums = reader.sums(queries);
  for (std::size_t j = 500; j < 600; ++j) {
    const std::span<const double> value = std::span(head.values).subspan(j * 3, 3);
    reader.widen_range(value);
    for (std::size_t i = 0; i < 20; ++i) {
      double score = 0;
      for (std::size_t e = 0; e < 4; ++e) score += queries[i * 4 + e] * head.keys[j * 4 + e];
      sums.add(i, score, value);
    }
  }
  EXPECT_LT(relative_error(reader.finish(sums).outputs.values, exact_attention(head, queries)), 1e-3);
  EXPECT_THROW(sums.add(20, 0, std::vector<double>(3)), UsageError);
  EXPECT_THROW(sums.add(0, 0, std::vector<double>(2)), UsageError);
}

TEST(Anisotropic, RefusesRowsThatAreNotFiniteAndNamesThem) {
  Head head = random_head(50, 3, 2, 1, 40);
  head.tokens[17] = 99017;
  AnisotropicState state = state_of(fit(options_for(head, 8192, 5), head), head.part(0, 10));
  const std::vector<std::byte> bounded = state.bounded_part();
  const std::vector<float> features(state.features().begin(), state.features().end());
  const auto refused = [&](std::vector<double>& numbers, std::size_t place, double bad, const std::string& what) {
    const double good = std::exchange(numbers[place], bad);
    try {
      state.add(head.all());
      ADD_FAILURE() << "not refused: " << what;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
    numbers[place] = good;
    EXPECT_EQ(state.bounded_part(), bounded);
    EXPECT_TRUE(std::equal(features.begin(), features.end(), state.features().begin()));
  };
  refused(head.keys, 17 * 3 + 1, nan, "row 17 (token 99017): key[1] is nan");
  refused(head.values, 17 * 2, infinity, "row 17 (token 99017): value[0] is inf");
  refused(head.keys, 0, -2e12, "row 0 (token 0): key[0] is -2");
  EXPECT_THROW(state.add({head.keys, head.values, std::span(head.tokens).first(49)}), UsageError);
  std::vector<std::int8_t> weights(50, 1);
  weights[3] = 2;
  AttentionRows rows = head.all();
  rows.weights = weights;
  EXPECT_THROW(state.add(rows), UsageError);
  AnisotropicReader reader(state);
  EXPECT_THROW(static_cast<void>(reader.answer(std::vector<double>{1, 2})), UsageError);
  try {
    static_cast<void>(reader.answer(std::vector<double>{1, 2, 3, 4, nan, 6}));
    ADD_FAILURE() << "not refused";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("query 1: number 1 is nan"), std::string::npos) << error.what();
  }
}

TEST(Anisotropic, LargeNumbersStayFinite) {
  Head head = random_head(300, 4, 3, 1, 41);
  const AnisotropicCalibration calibration = fit(options_for(head, 8192, 3), head);
  for (std::size_t t = 0; t < head.keys.size(); t += 5) head.keys[t] *= 1e11;
  for (std::size_t t = 0; t < head.values.size(); t += 5) head.values[t] *= 1e11;
  const AnisotropicState state = state_of(calibration, head.all());
  EXPECT_TRUE(std::all_of(state.features().begin(), state.features().end(), [](float x) { return std::isfinite(x); }));
  for (const double output : outputs_of(state, head.queries)) EXPECT_TRUE(std::isfinite(output));
}

TEST(Anisotropic, DamagedBytesAreRefusedOrHarmless) {
  const Head head = random_head(40, 2, 2, 1, 42);
  const AnisotropicCalibration calibration = fit(options_for(head, 8192, 6), head);
  const std::vector<std::byte> bytes = state_of(calibration, head.all()).bounded_part();
  EXPECT_LE(bytes.size(), anisotropic_sizes(options_for(head, 8192, 6)).bounded_bytes);
  const AnisotropicState empty(calibration);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    AnisotropicState state = empty;
    EXPECT_THROW(state.merge(std::span(bytes).first(length)), InputError) << length;
    EXPECT_EQ(state.bounded_part(), empty.bounded_part());
  }
  for (std::size_t place = 0; place < bytes.size(); ++place) {
    for (const unsigned bits : {0x01U, 0x80U, 0xFFU}) {
      std::vector<std::byte> damaged = bytes;
      damaged[place] ^= static_cast<std::byte>(bits);
      AnisotropicState state = empty;
      try {
        state.merge(damaged);
      } catch (const InputError&) {
        EXPECT_EQ(state.bounded_part(), empty.bounded_part());
      }
      EXPECT_TRUE(
          std::all_of(state.features().begin(), state.features().end(), [](float x) { return std::isfinite(x); }));
    }
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  AnisotropicState state = empty;
  EXPECT_THROW(state.merge(longer), InputError);
  EXPECT_THROW(state.merge(bytes, 2), UsageError);
  state.merge(bytes);
  EXPECT_EQ(state.bounded_part(), bytes);
  state.clear_bounded_part();
  EXPECT_EQ(state.bounded_part(), empty.bounded_part());
}

TEST(Anisotropic, CopiesAreValues) {
  const Head head = random_head(200, 3, 2, 1, 43);
  AnisotropicState state = state_of(fit(options_for(head, 8192, 10), head), head.part(0, 100));
  const AnisotropicState copy = state;
  state.add(head.part(100, 100));
  EXPECT_EQ(copy.rows(), 100);
  EXPECT_NE(copy.bounded_part(), state.bounded_part());
  state.clear();
  EXPECT_EQ(state.rows(), 0);
  EXPECT_EQ(state.bounded_part(), AnisotropicState(copy.calibration()).bounded_part());
}

}  // namespace
}  // namespace weir
