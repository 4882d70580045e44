#include "weir/sample/sizing.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "support/statistics.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

TEST(Sizing, BinomialLowerTail) {
  for (const std::uint64_t trials : {1U, 7U, 40U, 300U}) {
    for (const double success : {0.1, 0.632, 0.999}) {
      for (std::uint64_t wanted = 0; wanted <= trials; wanted += 3) {
        EXPECT_NEAR(binomial_lower_tail(trials, success, wanted),
                    1 - statistics::binomial_survival(trials, success, wanted), 1e-11);
      }
      EXPECT_EQ(binomial_lower_tail(trials, success, trials + 1), 1);
    }
  }
  EXPECT_EQ(binomial_lower_tail(5, 1.0, 5), 0);
  EXPECT_EQ(binomial_lower_tail(5, 1.0, 6), 1);
}

TEST(Sizing, LanesHonourTheFailureProbability) {
  for (const double threshold : {0.5, 1.0, 3.0}) {
    const double accept = 1 - std::exp(-1 / threshold);
    for (const std::uint32_t samples : {1U, 2U, 8U, 15U, 100U}) {
      for (const double failure : {0.3, 0.1, 0.05, 0.01, 1e-6}) {
        const std::uint32_t lanes = suggest_lanes(samples, failure, threshold);
        EXPECT_EQ(lanes % 8, 0U);
        EXPECT_LE(1 - statistics::binomial_survival(lanes - 1, accept, samples), failure * (1 + 1e-9));
        // A multiple of eight less would break the promise, at the latest when F2 comes out two deviations (13.5%) too
        // large.
        if (lanes > 8) {
          const double low = 1 - std::exp(-1 / (1.135 * threshold));
          EXPECT_GT(1 - statistics::binomial_survival(lanes - 9, low, samples), failure);
        }
      }
    }
  }
}

TEST(Sizing, LanesWithoutAThreshold) {
  EXPECT_EQ(suggest_lanes(7, 0.01, 0), 8U);
  EXPECT_EQ(suggest_lanes(8, 0.01, 0), 16U);
}

TEST(Sizing, Levels) {
  EXPECT_EQ(suggest_levels(1), 1U);
  EXPECT_EQ(suggest_levels(1U << 20U), 1U);
  EXPECT_EQ(suggest_levels((1U << 20U) + 1), 2U);
  EXPECT_EQ(suggest_levels((std::uint64_t{1} << 36U) - 1), 2U);
  EXPECT_EQ(suggest_levels(std::uint64_t{1} << 36U), 3U);
  EXPECT_EQ(suggest_levels(std::uint64_t{1} << 63U), 3U);
}

/// For p < 2 a sum is made of k = 5 entries of each of 23 lanes (epsilon 0.1), 24 buckets each: 128. Of n keys 5 (6 / B)^4 / 8 look
/// like one of them, at most 0.3: so from n = 2 * 10^5 on it is 256, as 6 (2.08 n)^(1/4) is 128 there. With groups k is 3, of 64 each.
TEST(Sizing, BucketsForSumsOfPowersBelowTwo) {
  for (const double p : {1.0, 0.5}) {
    const auto config_of = [p](std::uint64_t n, double epsilon = 0.1) {
      return suggest_config({.dimension = n, .epsilon = epsilon, .p = p});
    };
    EXPECT_EQ(config_of(1000).buckets, 128U);
    EXPECT_EQ(entries_of_lane(config_of(1000)), 5U);
    EXPECT_EQ(config_of(65536).buckets, 128U);
    EXPECT_EQ(config_of(1U << 20U).buckets, 256U);
    EXPECT_EQ(config_of(1U << 30U).buckets, 256U);
    EXPECT_EQ(entries_of_lane(config_of(1U << 30U)), 3U);
    // 1 / (0.01^2 * 23) = 435 entries of 24 buckets.
    EXPECT_EQ(config_of(65536, 0.01).buckets, 16384U);
  }
}

TEST(Sizing, BucketsGrowWithEveryDemand) {
  for (const std::uint64_t dimension :
       {std::uint64_t{1}, std::uint64_t{1000}, std::uint64_t{1} << 30U, std::uint64_t{1} << 63U}) {
    for (const bool without_replacement : {false, true}) {
      SamplingRequest request{.dimension = dimension, .without_replacement = without_replacement};
      std::uint64_t before = 0;
      for (const double epsilon : {0.5, 0.1, 0.01, 0.001}) {
        request.epsilon = epsilon;
        const SketchConfig config = suggest_config(request);
        EXPECT_NO_THROW(config.validate());
        EXPECT_TRUE(std::has_single_bit(config.buckets));
        EXPECT_GE(config.buckets, std::max<std::uint64_t>(before, 128));
        EXPECT_GE(static_cast<double>(config.buckets), 0.4 * std::log(static_cast<double>(dimension)) / epsilon);
        before = config.buckets;
      }
      request.value_epsilon = 0.001;
      EXPECT_GT(suggest_config(request).buckets, dimension == 1 ? 127 : before);
    }
  }
}

TEST(Sizing, WithoutReplacementIsOneWideLane) {
  const SketchConfig config = suggest_config({.dimension = 1U << 20U, .samples = 100, .without_replacement = true});
  EXPECT_EQ(config.lanes, 2U);
  EXPECT_EQ(config.rows, 5U);
  EXPECT_GE(config.buckets, 3200U);  // 32 a sample is what recall needs at the very least
  EXPECT_GT(suggest_config({.dimension = 1U << 20U, .samples = 1000, .without_replacement = true}).buckets,
            config.buckets);
}

TEST(Sizing, RefusesWhatIsOutOfRange) {
  const auto refused = [](SamplingRequest request) { EXPECT_THROW((void)suggest_config(request), UsageError); };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  refused({.dimension = 0});
  refused({.dimension = (std::uint64_t{1} << 63U) + 1});
  refused({.dimension = 10, .samples = 0});
  for (const double bad : {0.0, 1.0, -0.1, 2.0, nan}) {
    refused({.dimension = 10, .failure = bad});
    refused({.dimension = 10, .epsilon = bad});
  }
  for (const double bad : {0.0, -1.0, 1.5, nan}) refused({.dimension = 10, .value_epsilon = bad});
  for (const double bad : {-1.0, infinity, nan}) refused({.dimension = 10, .threshold = bad});
  for (const double bad : {3.0, 0.0, 1.5, nan}) refused({.dimension = 10, .p = bad});
  EXPECT_THROW((void)suggest_lanes(0, 0.1, 1), UsageError);
  EXPECT_THROW((void)suggest_lanes(8, nan, 1), UsageError);
  EXPECT_THROW((void)suggest_lanes(8, 0.1, nan), UsageError);
}

TEST(Sizing, RefusesTablesOutOfReason) {
  EXPECT_THROW((void)suggest_lanes(4096, 0.1, 1), UsageError);
  EXPECT_THROW((void)suggest_lanes(std::numeric_limits<std::uint32_t>::max(), 0.1, 0), UsageError);
  EXPECT_THROW((void)suggest_config({.dimension = 1U << 20U, .epsilon = 1e-300}), UsageError);
  EXPECT_THROW((void)suggest_config({.dimension = 1U << 20U, .samples = 100, .epsilon = 1e-8}), UsageError);
  EXPECT_THROW((void)suggest_config(
                   {.dimension = std::uint64_t{1} << 40U, .samples = 4'000'000'000U, .without_replacement = true}),
               UsageError);
}

TEST(Sizing, GramBucketsKeepTheErrorOfAQuadraticFormBelowEpsilon) {
  for (const double epsilon : {0.9, 0.05, 0.01, 0.001, 1e-5}) {
    const std::uint64_t buckets = suggest_gram_buckets(epsilon);
    EXPECT_TRUE(std::has_single_bit(buckets));
    EXPECT_GE(buckets, 256U);
    EXPECT_LE(std::sqrt(2 / (5.0 * static_cast<double>(buckets))), epsilon);
    EXPECT_TRUE(buckets == 256 || std::sqrt(2 / (2.5 * static_cast<double>(buckets))) > epsilon);
  }
  for (const double epsilon : {0.0, 1.0, -1.0, 9e-6, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW((void)suggest_gram_buckets(epsilon), UsageError) << epsilon;
  }
}

TEST(Sizing, LeverageBucketsGrowWithTheColumns) {
  for (const double epsilon : {0.5, 0.1, 0.02}) {
    for (const std::uint64_t d : {1U, 16U, 256U, 512U, 2048U, 32768U}) {
      const std::uint64_t buckets = suggest_leverage_buckets(epsilon, d);
      EXPECT_TRUE(std::has_single_bit(buckets));
      EXPECT_GE(buckets, suggest_gram_buckets(epsilon));
      const double left = 5.0 * static_cast<double>(buckets) - static_cast<double>(d);
      const double columns = static_cast<double>(d);
      EXPECT_LE(std::max(std::sqrt(2 / left), std::sqrt(columns / left) / 5), epsilon * (1 + 1e-9));
      if (buckets > suggest_gram_buckets(epsilon)) {
        const double half = 2.5 * static_cast<double>(buckets) - columns;
        EXPECT_TRUE(half <= 0 || std::max(std::sqrt(2 / half), std::sqrt(columns / half) / 5) > epsilon);
      }
    }
  }
  EXPECT_EQ(suggest_leverage_buckets(0.1, 16), 256U);
  EXPECT_EQ(suggest_leverage_buckets(0.1, 2048), 2048U);
  EXPECT_THROW((void)suggest_leverage_buckets(0.0, 16), UsageError);
  EXPECT_THROW((void)suggest_leverage_buckets(0.1, 0), UsageError);
}

TEST(Sizing, BothStagesOfPairsGetTheirShare) {
  for (const bool exact : {false, true}) {
    for (const std::uint32_t samples : {1U, 8U, 100U}) {
      const SamplingRequest request{.dimension = 1000, .samples = samples, .failure = 0.01, .epsilon = 0.02};
      const PairsConfig suggested = suggest_pairs_config(request, 1U << 30U, exact);
      EXPECT_EQ(suggested.sketch.dimension, 1000U);
      EXPECT_EQ(suggested.gram.exact, exact);
      const double accept = 1 - std::exp(-1.0);
      const double one_stage = 1 - statistics::binomial_survival(suggested.sketch.lanes - 1, accept, samples);
      EXPECT_LE(1 - (1 - one_stage) * (1 - one_stage), request.failure);
      const double of_both = 2 * 0.42 * std::log(double{1U << 30U}) / static_cast<double>(suggested.sketch.buckets);
      const double of_gram = exact ? 0 : std::sqrt(2 / (5.0 * static_cast<double>(suggested.gram.buckets)));
      EXPECT_LE(of_both + of_gram, request.epsilon * (1 + 1e-9));
      EXPECT_EQ(suggested.sketch.levels, suggest_levels(1U << 30U));
      const SamplingRequest turned{.dimension = 1U << 30U, .samples = samples, .failure = 0.01, .epsilon = 0.02};
      SketchConfig other = suggest_pairs_config(turned, 1000, exact).sketch;
      other.dimension = 1000;
      EXPECT_EQ(other, suggested.sketch);
    }
  }
}

TEST(Sizing, RefusesPairsThatItHasNoShapeFor) {
  const SamplingRequest good{.dimension = 100};
  EXPECT_NO_THROW((void)suggest_pairs_config(good, 100, false));
  EXPECT_THROW((void)suggest_pairs_config(good, 0, false), UsageError);
  SamplingRequest bad = good;
  bad.dimension = 0;
  EXPECT_THROW((void)suggest_pairs_config(bad, 100, false), UsageError);
  bad = good;
  bad.p = 1;
  EXPECT_THROW((void)suggest_pairs_config(bad, 100, false), UsageError);
  bad = good;
  bad.without_replacement = true;
  EXPECT_THROW((void)suggest_pairs_config(bad, 100, false), UsageError);
  for (const double share : {0.0, 1.0, 3.0}) {
    bad = good;
    bad.epsilon = share;
    EXPECT_THROW((void)suggest_pairs_config(bad, 100, false), UsageError);
    bad = good;
    bad.failure = share;
    EXPECT_THROW((void)suggest_pairs_config(bad, 100, false), UsageError);
  }
}

TEST(Sizing, WithoutReplacementNoMoreThanAllCoordinatesCanBeDrawn) {
  for (const std::uint64_t dimension : {std::uint64_t{1}, std::uint64_t{100}, std::uint64_t{1000}}) {
    for (const double p : {2.0, 0.5}) {
      SamplingRequest request{.dimension = dimension, .p = p, .without_replacement = true};
      request.samples = static_cast<std::uint32_t>(dimension);
      const SketchConfig all = suggest_config(request);
      for (const std::uint32_t samples : {100000U, 1000000U, 4000000000U}) {
        request.samples = samples;
        EXPECT_EQ(suggest_config(request), all) << dimension << ' ' << samples;
      }
    }
  }
}

}  // namespace
}  // namespace weir
