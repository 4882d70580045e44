#include "weir/sample/dense.hpp"
#include "weir/sample/moment.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "support/statistics.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

// Family-wise significance 1e-3 over the dozen tests of this file.
constexpr double significance = 1e-4;

DenseVector make_dense(const std::vector<double>& values) {
  DenseVector y(values.size());
  std::copy(values.begin(), values.end(), y.table().begin());
  return y;
}

std::vector<double> law(const std::vector<double>& values, double p) {
  std::vector<double> result;
  double total = 0;
  for (const double v : values) total += std::pow(std::abs(v), p);
  for (const double v : values) result.push_back(std::pow(std::abs(v), p) / total);
  return result;
}

TEST(DenseVector, UpdatesAndMoments) {
  DenseVector y(5);
  const std::vector<std::uint64_t> keys{1, 4, 1, 0};
  const std::vector<double> deltas{2, -4, 1, 0};
  y.update(keys, deltas);
  EXPECT_EQ(y.table()[1], 3);
  EXPECT_EQ(y.table()[4], -4);
  EXPECT_DOUBLE_EQ(y.moment(2), 25);
  EXPECT_DOUBLE_EQ(y.moment(1), 7);
  EXPECT_DOUBLE_EQ(y.moment(0.5), std::sqrt(3.0) + 2);
  EXPECT_DOUBLE_EQ(y.norm(), 5);
  EXPECT_DOUBLE_EQ(y.probability(4, 2), 16.0 / 25);
  EXPECT_DOUBLE_EQ(y.probability(4, 1), 4.0 / 7);
  EXPECT_EQ(y.probability(2, 2), 0);
}

TEST(DenseVector, RangeOfDoubles) {
  const DenseVector huge = make_dense({3e300, -4e300});
  EXPECT_DOUBLE_EQ(huge.norm(), 5e300);
  EXPECT_DOUBLE_EQ(huge.probability(1, 2), 0.64);
  const DenseVector tiny = make_dense({3e-300, -4e-300});
  EXPECT_DOUBLE_EQ(tiny.norm(), 5e-300);
  EXPECT_DOUBLE_EQ(tiny.probability(0, 2), 0.36);
  EXPECT_EQ(draw_with_replacement(tiny, {.samples = 3}).draws.size(), 3U);
}

TEST(DenseVector, BadInputChangesNothing) {
  DenseVector y(3);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<std::uint64_t> good{0, 1};
  EXPECT_THROW(y.update(std::vector<std::uint64_t>{0, 3}, std::vector<double>{1, 1}), InputError);
  EXPECT_THROW(y.update(good, std::vector<double>{1, nan}), InputError);
  EXPECT_THROW(y.update(good, std::vector<double>{1, infinity}), InputError);
  EXPECT_EQ(y.table()[0], 0);
  EXPECT_THROW(DenseVector(0), UsageError);
  EXPECT_THROW(DenseVector(std::uint64_t{1} << 63U), UsageError);
  EXPECT_THROW((void)y.moment(3), UsageError);
  EXPECT_THROW((void)draw_with_replacement(y, {.p = 3}), UsageError);
  EXPECT_THROW((void)draw_without_replacement(y, {.p = 0}), UsageError);
}

TEST(DenseVector, ZeroVector) {
  const DenseVector y(4);
  for (const SampleResult& result : {draw_with_replacement(y, {}), draw_without_replacement(y, {})}) {
    EXPECT_TRUE(result.zero_vector);
    EXPECT_TRUE(result.draws.empty());
    EXPECT_EQ(result.norm, 0);
  }
  EXPECT_EQ(y.probability(0, 2), 0);
}

TEST(DenseDraws, LawWithReplacement) {
  std::vector<double> values;
  for (int i = 0; i < 3000; ++i) values.push_back(i % 7 == 0 ? 0 : (i % 2 == 0 ? 1.0 : -1.0) * 100.0 / (1 + i % 500));
  const DenseVector y = make_dense(values);
  for (const double p : {2.0, 1.0, 0.5}) {
    const std::vector<double> expected = law(values, p);
    const SampleResult result = draw_with_replacement(y, {.samples = 200000, .p = p, .seed = 12});
    std::vector<std::uint64_t> counts(values.size());
    for (const Draw& draw : result.draws) {
      ++counts[draw.index];
      ASSERT_EQ(draw.value, values[draw.index]);
      ASSERT_NEAR(draw.probability, expected[draw.index], 1e-12);
    }
    EXPECT_GT(statistics::chi_squared_fit(counts, expected).p_value, significance) << p;
    EXPECT_LT(statistics::total_variation(counts, expected),
              statistics::total_variation_bound(expected, result.draws.size(), significance));
  }
}

TEST(DenseDraws, SameSeedSameDraws) {
  const DenseVector y = make_dense({1, 2, 3, 4, 5});
  const auto indices = [&](std::uint64_t seed) {
    std::vector<std::uint64_t> result;
    for (const Draw& draw : draw_with_replacement(y, {.samples = 50, .seed = seed}).draws) result.push_back(draw.index);
    return result;
  };
  EXPECT_EQ(indices(9), indices(9));
  EXPECT_NE(indices(9), indices(10));
}

TEST(DenseDraws, OnlyNonZeroCoordinatesAreDrawn) {
  std::vector<double> values(5000, 0.0);
  values[0] = 1e-9;
  values[4999] = 1;
  for (const Draw& draw : draw_with_replacement(make_dense(values), {.samples = 2000, .p = 0.5}).draws) {
    EXPECT_TRUE(draw.index == 0 || draw.index == 4999);
  }
}

/// P[first draw a, second draw b] of successive sampling without replacement.
TEST(DenseDraws, SuccessiveSamplingOfPairs) {
  const std::vector<double> values{1, -2, 3, 4, 2};
  const DenseVector y = make_dense(values);
  for (const double p : {2.0, 1.0, 0.5}) {
    const std::vector<double> first = law(values, p);
    std::vector<double> expected(25);
    for (std::size_t a = 0; a < 5; ++a) {
      for (std::size_t b = 0; b < 5; ++b) {
        if (a != b) expected[5 * a + b] = first[a] * first[b] / (1 - first[a]);
      }
    }
    std::vector<std::uint64_t> counts(25);
    for (std::uint64_t seed = 0; seed < 40000; ++seed) {
      const SampleResult result = draw_without_replacement(y, {.samples = 2, .p = p, .seed = seed});
      ++counts[5 * result.draws[0].index + result.draws[1].index];
    }
    EXPECT_GT(statistics::chi_squared_fit(counts, expected).p_value, significance) << p;
  }
}

TEST(DenseDraws, HorvitzThompsonIsUnbiased) {
  std::vector<double> values;
  for (int i = 1; i <= 300; ++i) values.push_back((i % 2 == 0 ? 1 : -1) * 1000.0 / i);
  const DenseVector y = make_dense(values);
  for (const double p : {2.0, 1.0, 0.5}) {
    std::vector<double> estimates;
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
      const SampleResult result = draw_without_replacement(y, {.samples = 20, .p = p, .seed = seed});
      std::set<std::uint64_t> distinct;
      for (const Draw& draw : result.draws) distinct.insert(draw.index);
      ASSERT_EQ(distinct.size(), 20U);
      estimates.push_back(horvitz_thompson_moment(result.draws, p));
    }
    const statistics::Moments m = statistics::moments(estimates);
    EXPECT_GT(statistics::normal_p_value((m.mean - y.moment(p)) / m.standard_error), significance) << p;
  }
}

TEST(DenseDraws, FewerCoordinatesThanSamples) {
  const SampleResult result = draw_without_replacement(make_dense({0, 5, 0, -3, 0}), {.samples = 4});
  ASSERT_EQ(result.draws.size(), 2U);
  std::map<std::uint64_t, double> drawn;
  for (const Draw& draw : result.draws) {
    EXPECT_EQ(draw.inclusion, 1.0);
    drawn[draw.index] = draw.value;
  }
  EXPECT_EQ(drawn, (std::map<std::uint64_t, double>{{1, 5.0}, {3, -3.0}}));
  EXPECT_DOUBLE_EQ(horvitz_thompson_moment(result.draws, 2), 34);
}

TEST(DenseDraws, MillionsOfSamplesOfFewCoordinatesAreAllOfThem) {
  const DenseVector y = make_dense({0, 5, 0, -3, 0});
  const DenseDrawOptions most{.samples = std::numeric_limits<std::uint32_t>::max()};
  EXPECT_EQ(draw_without_replacement(y, most).draws.size(), 2U);
}

}  // namespace
}  // namespace weir
