// The exponential sampler against the exact softmax. Each decision is at significance 1e-5, fewer than 20 of them.

#include "weir/sample/softmax.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/message_of.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"

namespace weir {
namespace {

constexpr double significance = 1e-5;

/// exp(y_i - max) over its sum, in long double.
std::vector<double> softmax_of(const std::vector<double>& y) {
  const long double largest = *std::max_element(y.begin(), y.end());
  long double total = 0;
  for (const double value : y) total += std::exp(value - largest);
  std::vector<double> law;
  for (const double value : y) law.push_back(static_cast<double>(std::exp(value - largest) / total));
  return law;
}

struct SoftmaxCase {
  std::string name;
  std::vector<double> y;
};

std::vector<SoftmaxCase> softmax_cases() {
  const auto made = [](std::size_t n, auto value) {
    std::vector<double> y(n);
    for (std::size_t i = 0; i < n; ++i) y[i] = value(static_cast<double>(i));
    return y;
  };
  return {{"all_equal", made(300, [](double) { return -7.25; })},
          {"logarithmic", made(500, [](double i) { return -std::log(i + 1); })},
          {"steep", made(64, [](double i) { return i / 2; })},  // the largest last: every block raises the bound
          {"rising_over_blocks", made(4000, [](double i) { return i / 500; })},
          {"falling_over_blocks", made(4000, [](double i) { return -i / 500; })},
          {"near_1e5", made(100, [](double i) { return 1e5 + std::sin(i); })},
          {"near_minus_1e5", made(100, [](double i) { return -1e5 + std::sin(i); })},
          {"both_ends", made(100, [](double i) { return i < 50 ? -1e5 : 1e5 - i / 20; })},
          {"beyond", made(10, [](double i) { return i < 5 ? -1e308 : 1e308; })}};
}

class SoftmaxLaw : public ::testing::TestWithParam<SoftmaxCase> {};

TEST_P(SoftmaxLaw, WithReplacement) {
  const std::vector<double>& y = GetParam().y;
  const std::vector<double> law = softmax_of(y);
  const SampleResult result = draw_softmax(y, {.samples = 20000, .seed = 5});
  ASSERT_EQ(result.draws.size(), 20000U);
  EXPECT_TRUE(result.failed.empty());
  EXPECT_FALSE(result.zero_vector);
  std::vector<std::uint64_t> counts(y.size());
  for (std::size_t s = 0; s < result.draws.size(); ++s) {
    const Draw& draw = result.draws[s];
    ASSERT_LT(draw.index, y.size());
    ++counts[draw.index];
    EXPECT_EQ(draw.lane, s + 1);
    EXPECT_EQ(draw.value, y[draw.index]);
    EXPECT_NEAR(draw.probability / law[draw.index], 1, 1e-9);
    EXPECT_FALSE(draw.inclusion.has_value());
  }
  EXPECT_GT(statistics::chi_squared_fit(counts, law).p_value, significance);
  EXPECT_LT(statistics::total_variation(counts, law),
            statistics::total_variation_bound(law, result.draws.size(), significance));
}

INSTANTIATE_TEST_SUITE_P(Vectors, SoftmaxLaw, ::testing::ValuesIn(softmax_cases()),
                         [](const ::testing::TestParamInfo<SoftmaxCase>& tested) { return tested.param.name; });

/// The first two of the draws without replacement are successive draws; an index is drawn as often as its inclusions
/// say, so that Horvitz-Thompson sums are unbiased.
TEST(Softmax, WithoutReplacementIsSuccessiveSampling) {
  const std::vector<double> y{0.5, -1, 2, 0, 1, 1};
  const std::vector<double> law = softmax_of(y);
  std::vector<double> expected(36);
  for (std::size_t a = 0; a < 6; ++a) {
    for (std::size_t b = 0; b < 6; ++b) expected[6 * a + b] = a == b ? 0 : law[a] * law[b] / (1 - law[a]);
  }
  std::vector<std::uint64_t> counts(36);
  std::vector<double> masses;
  for (std::uint64_t seed = 1; seed <= 20000; ++seed) {
    const SampleResult result = draw_softmax(y, {.samples = 2, .without_replacement = true, .seed = seed});
    ASSERT_EQ(result.draws.size(), 2U);
    ++counts[6 * result.draws[0].index + result.draws[1].index];
    double mass = 0;
    for (const Draw& draw : result.draws) {
      EXPECT_EQ(draw.lane, 1U);
      mass += draw.probability / draw.inclusion.value();
    }
    masses.push_back(mass - 1);
  }
  EXPECT_GT(statistics::chi_squared_fit(counts, expected).p_value, significance);
  const statistics::Moments m = statistics::moments(masses);
  EXPECT_GT(statistics::normal_p_value(m.mean / m.standard_error), significance);
}

TEST(Softmax, WithoutReplacementGivesAllThereIs) {
  const std::vector<double> y{3, -1e5, 3, 0};
  for (const std::uint32_t samples : {4U, 10U}) {
    const SampleResult result = draw_softmax(y, {.samples = samples, .without_replacement = true, .seed = 1});
    std::set<std::uint64_t> drawn;
    for (const Draw& draw : result.draws) {
      drawn.insert(draw.index);
      EXPECT_EQ(draw.inclusion, 1.0);
    }
    EXPECT_EQ(drawn, (std::set<std::uint64_t>{0, 1, 2, 3}));
  }
  EXPECT_TRUE(draw_softmax(y, {.samples = 0, .without_replacement = true}).draws.empty());
  EXPECT_TRUE(draw_softmax(y, {.samples = 0}).draws.empty());
}

TEST(Softmax, DifferencesBeyondTheRangeOfADouble) {
  const std::vector<double> y{-1e308, 1e308, -1e308, -1e308};
  const SampleResult result = draw_softmax(y, {.samples = 2, .without_replacement = true, .seed = 1});
  ASSERT_EQ(result.draws.size(), 2U);
  EXPECT_EQ(result.draws[0].index, 1U);
  EXPECT_EQ(result.draws[0].inclusion, 1.0);
  EXPECT_EQ(result.draws[0].probability, 1.0);
  EXPECT_EQ(result.draws[1].index, 0U);
  EXPECT_DOUBLE_EQ(result.draws[1].inclusion.value(), 1 - std::exp(-1.0));  // as large as the threshold
  EXPECT_EQ(result.draws[1].probability, 0.0);
}

/// Against the definition, every key perturbed and nothing skipped.
TEST(Softmax, SkippingChangesNothing) {
  std::vector<double> y(3000);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = 4 * std::sin(static_cast<double>(i * i));
  const double largest = *std::max_element(y.begin(), y.end());
  const SampleResult with = draw_softmax(y, {.samples = 50, .seed = 99});
  const SampleResult without = draw_softmax(y, {.samples = 50, .without_replacement = true, .seed = 99});
  for (std::uint32_t s = 0; s < 50; ++s) {
    const WordFunction words(Randomness::mix, 99, Purpose::draw, 1 + s, 2);
    std::vector<std::pair<double, std::uint64_t>> perturbed;  // negated, so that sorting puts the largest first
    for (std::uint64_t i = 0; i < y.size(); ++i) {
      const double v = (static_cast<double>(words(i)) + 0.5) * 0x1p-64;
      perturbed.emplace_back(-((y[i] - largest) - std::log(-std::log1p(-std::min(v, 1 - 0x1p-53)))), i);
    }
    std::sort(perturbed.begin(), perturbed.end());
    EXPECT_EQ(with.draws[s].index, perturbed[0].second);
    if (s > 0) continue;
    for (std::size_t k = 0; k < 50; ++k) {
      EXPECT_EQ(without.draws[k].index, perturbed[k].second);
      EXPECT_NEAR(without.draws[k].inclusion.value(),
                  1 - std::exp(-std::exp(y[perturbed[k].second] - largest + perturbed[50].first)), 1e-12);
    }
  }
}

TEST(Softmax, AnyPartitionInAnyOrderGivesTheSameBits) {
  std::vector<double> y(5000);
  for (std::size_t i = 0; i < y.size(); ++i)
    y[i] = 1000 * std::sin(static_cast<double>(i)) / static_cast<double>(1 + i % 7);
  const SoftmaxRange range = softmax_range(0, y);
  for (const bool without_replacement : {false, true}) {
    const SoftmaxOptions options{30, without_replacement, 8};
    const SampleResult whole = draw_softmax(y, options);
    for (const std::vector<std::size_t>& cuts :
         {std::vector<std::size_t>{0, 1, 5000}, {0, 2500, 2500, 5000}, {0, 1023, 1025, 4999, 5000}}) {
      SoftmaxPart joined = softmax_part(0, {}, range, options);
      for (std::size_t part = cuts.size() - 1; part-- > 0;) {  // the last first
        const auto values = std::span(y).subspan(cuts[part], cuts[part + 1] - cuts[part]);
        joined.merge(softmax_part(cuts[part], values, range, options), options);
      }
      const SampleResult result = softmax_draws(joined, range, options);
      EXPECT_EQ(result.norm, whole.norm);
      ASSERT_EQ(result.draws.size(), whole.draws.size());
      for (std::size_t s = 0; s < whole.draws.size(); ++s) {
        EXPECT_EQ(result.draws[s].index, whole.draws[s].index);
        EXPECT_EQ(result.draws[s].value, whole.draws[s].value);
        EXPECT_EQ(result.draws[s].probability, whole.draws[s].probability);
        EXPECT_EQ(result.draws[s].inclusion, whole.draws[s].inclusion);
      }
    }
  }
}

/// Scores are scale * y - shift: the draws are those from the scores, with the values of y beside them.
TEST(Softmax, ScalesAndShiftsScoresNotValues) {
  std::vector<double> y(3000), scores(3000);
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] = std::sin(static_cast<double>(i * i));
    scores[i] = 8 * y[i] - (i < 1000 ? 0 : 2);
  }
  for (const bool without_replacement : {false, true}) {
    const SoftmaxOptions plain{40, without_replacement, 6};
    const SampleResult expected = draw_softmax(scores, plain);
    SoftmaxOptions options = plain;
    options.scale = 8;
    const SoftmaxRange range{softmax_range(0, scores).maximum, softmax_range(0, y).magnitude};
    SoftmaxScan scan(range, options);
    scan.add({1000, std::span(y).subspan(1000), 2});
    scan.add({0, std::span(y).first(1000), 0});
    const SampleResult found = softmax_draws(std::move(scan).part(), range, options);
    EXPECT_EQ(found.norm, draw_softmax(y, {}).norm);
    ASSERT_EQ(found.draws.size(), expected.draws.size());
    for (std::size_t s = 0; s < found.draws.size(); ++s) {
      EXPECT_EQ(found.draws[s].index, expected.draws[s].index);
      EXPECT_EQ(found.draws[s].value, y[found.draws[s].index]);
      EXPECT_EQ(found.draws[s].probability, expected.draws[s].probability);
      EXPECT_EQ(found.draws[s].inclusion, expected.draws[s].inclusion);
    }
  }
}

TEST(Softmax, OfAMatrixHasPairsBeyond53Bits) {
  const SoftmaxOptions options{.samples = 3, .seed = 1, .row_length = (std::uint64_t{1} << 31) + 1};
  const std::vector<double> one{2.5};
  for (const std::uint64_t row : {std::uint64_t{0}, std::uint64_t{7}, std::uint64_t{1} << 31}) {
    const std::uint64_t place = row * options.row_length + 12345;
    const SoftmaxRange range = softmax_range(place, one, options);
    for (const Draw& draw : softmax_draws(softmax_part(place, one, range, options), range, options).draws) {
      EXPECT_EQ(draw.index, row);
      EXPECT_EQ(draw.column, 12345U);
    }
  }
  testing_support::expect_error([&] { (void)softmax_range(options.row_length + 3, std::vector<double>{NAN}, options); },
                                {"y[1, 3] is nan"});
}

TEST(Softmax, TiesGoToTheSmallerIndex) {
  const Perturbed seven{1.5, 7, 0.5};
  const Perturbed three{1.5, 3, 0.25};
  for (const bool without_replacement : {false, true}) {
    const SoftmaxOptions options{1, without_replacement, 0};
    for (const bool swapped : {false, true}) {
      SoftmaxPart a{{}, {}, {swapped ? three : seven}};
      a.merge({{}, {}, {swapped ? seven : three}}, options);
      EXPECT_EQ(a.largest.front().index, 3U);
    }
  }
}

TEST(Softmax, OneCoordinateAndTheNorm) {
  const SampleResult one = draw_softmax(std::vector<double>{-1e5}, {.samples = 3});
  ASSERT_EQ(one.draws.size(), 3U);
  for (const Draw& draw : one.draws) {
    EXPECT_EQ(draw.index, 0U);
    EXPECT_EQ(draw.value, -1e5);
    EXPECT_EQ(draw.probability, 1);
  }
  EXPECT_DOUBLE_EQ(one.norm, 1e5);
  EXPECT_NEAR(draw_softmax(std::vector<double>{3, -4, 12}, {}).norm, 13, 1e-9);
  // The zero vector has a softmax: the uniform law.
  const SampleResult zero = draw_softmax(std::vector<double>{0, 0, 0, 0}, {});
  EXPECT_EQ(zero.norm, 0);
  EXPECT_FALSE(zero.zero_vector);
  ASSERT_EQ(zero.draws.size(), 8U);
  EXPECT_DOUBLE_EQ(zero.draws[0].probability, 0.25);
  const SampleResult tiny = draw_softmax(std::vector<double>{5e-324, 0}, {});
  EXPECT_EQ(tiny.norm, 5e-324);
}

TEST(Softmax, SumsOfUnitsAreExact) {
  UnitSum sum;
  for (int k = 0; k < 1000; ++k) sum.add(1);
  for (int k = 0; k < 3; ++k) sum.add(0x1p-60);
  for (int k = 0; k < 1 << 20; ++k) sum.add(0x1p-31);  // carries from the lower half
  sum.add(0);
  EXPECT_EQ(sum.value(), 1000 + 0x1p-11);
  UnitSum small;
  small.add(0x1p-60);
  small.add(0x1.8p-59);
  EXPECT_EQ(small.value(), 0x1p-58);
  // More terms than 2^34, as parts of a merged sum: each is 2^40 ones and as many halves of 2^-60, which are there as 2^-20.
  UnitSum part{std::uint64_t{1} << 40, std::uint64_t{1} << 40}, many;
  for (int k = 0; k < 1 << 10; ++k) many.merge(part);
  EXPECT_EQ(many.value(), 0x1p50 + 0x1p-10);
  for (int k = 0; k < 1 << 10; ++k) many.merge({0, (std::uint64_t{1} << 60) - (std::uint64_t{1} << 40)});
  EXPECT_EQ(many.value(), 0x1p50 + 0x1p10);
}

TEST(Softmax, RefusesWhatHasNoSoftmax) {
  EXPECT_THROW((void)draw_softmax({}, {}), UsageError);
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()}) {
    const std::vector<double> y{1, 2, bad, bad};
    testing_support::expect_error([&] { (void)softmax_range(1000, y); }, {"y[1002] is "});
    testing_support::expect_error([&] { (void)softmax_range(1000, y, {.scale = 0}); }, {"y[1002] is "});
    EXPECT_THROW((void)draw_softmax(y, {}), InputError);
  }
  testing_support::expect_error([] { (void)softmax_range(7, std::vector<double>{-1e300}, {.scale = 1e10}); },
                                {"y[7] is -1e+300: times the scale 10000000000 it overflows a double"});
}

}  // namespace
}  // namespace weir
