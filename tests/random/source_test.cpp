#include "weir/random/source.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <set>
#include <vector>

#include "support/simd_targets.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

constexpr std::uint64_t seed = 0x0123456789ABCDEF;

// The golden vectors come from a separate implementation of the text in source.hpp, in integers of unlimited size.
TEST(Source, MixMatchesItsGoldenVectors) {
  const WordFunction row(Randomness::mix, seed, Purpose::row, 0, 4);
  const WordFunction second_level(Randomness::mix, seed, Purpose::row, 16, 4);
  const WordFunction scale(Randomness::mix, seed, Purpose::scale, 0, 4);
  struct Golden {
    std::uint64_t key, row, scale, second_level;
  };
  constexpr std::array<Golden, 5> golden = {{
      {0, 0xf2d2685a5c808500, 0xd4ea94c6283957ec, 0xd6ff0d8533a278e3},
      {1, 0xd8c2553a1478b5a7, 0xeaacf57cc0c08682, 0x64250fd634b0ebb9},
      {2, 0x8b7822a0fefa1f75, 0xe9258c17e0301ef1, 0x6541ae7db7965db4},
      {0x100000000, 0x4441353af0e343b7, 0x428a91d09c29d425, 0x61d99a2d4c11cdf9},
      {0x7fffffffffffffff, 0x31d56faac4868dbc, 0xa2345d36d85a7df1, 0xac4b88eb97e67fb2},
  }};
  for (const Golden& g : golden) {
    EXPECT_EQ(row(g.key), g.row) << g.key;
    EXPECT_EQ(scale(g.key), g.scale) << g.key;
    EXPECT_EQ(second_level(g.key), g.second_level) << g.key;
  }
}

TEST(Source, KwiseMatchesItsGoldenVectors) {
  const WordFunction row(Randomness::kwise, seed, Purpose::row, 0, 4);
  const WordFunction lane(Randomness::kwise, seed, Purpose::scale, 5, 3);
  constexpr std::array<std::array<std::uint64_t, 3>, 5> golden = {{
      {0, 0x657ba101ebc2dbb8, 0xf4b0861f496aef28},
      {1, 0xf15b0eac9f271960, 0xf811b10050c3b7f0},
      {2, 0xbab9933ae79b41b0, 0x7c5b4df208913538},
      {0x100000000, 0xf4f8e256e0868b78, 0xa770bcec22a54fe0},
      {0x1ffffffffffffffe, 0x5b4023d1d3ca9ad8, 0x7237cd4ef286dae0},
  }};
  for (const auto& [key, row_word, lane_word] : golden) {
    EXPECT_EQ(row(key), row_word) << key;
    EXPECT_EQ(lane(key), lane_word) << key;
  }
}

/// Block `block` of G_level(v), by the recursion as it is written: G_j(v) = G_(j-1)(v) G_(j-1)(h_j(v)).
std::uint64_t block_by_recursion(std::uint32_t level, std::uint64_t v, std::uint64_t block, Purpose purpose,
                                 std::uint32_t number) {
  constexpr std::uint64_t prime = (std::uint64_t{1} << 61U) - 1;
  if (level == 0) return v;
  const std::uint64_t half = std::uint64_t{1} << (level - 1U);
  if (block < half) return block_by_recursion(level - 1, v, block, purpose, number);
  __extension__ using Wide = unsigned __int128;
  const Wide a = (subkey(seed, purpose, number, 2 * level - 1) >> 3U) % prime;
  const Wide b = (subkey(seed, purpose, number, 2 * level) >> 3U) % prime;
  return block_by_recursion(level - 1, static_cast<std::uint64_t>((a * v + b) % prime), block - half, purpose, number);
}

TEST(Source, NisanIsTheRecursion) {
  const WordFunction row(Randomness::nisan, seed, Purpose::row, 0, 4);
  const WordFunction lane(Randomness::nisan, seed, Purpose::scale, 5, 3);
  constexpr std::array<std::array<std::uint64_t, 3>, 6> golden = {{
      {0, 0x657ba101ebc2dbb8, 0xf4b0861f496aef28},
      {1, 0x32a8550c3b938298, 0xab7c707f42de42a8},
      {2, 0xccdd89e79f07cca8, 0x44be9b0e19c3ab78},
      {3, 0x061de66bceb1d0d8, 0xf8565909282633f0},
      {0x100000000, 0x2d75e7ae26373790, 0x6aad11e5e7d9c838},
      {0x1ffffffffffffffe, 0x1f369f1fc52c8350, 0xc792a80deba09520},
  }};
  for (const auto& [key, row_word, lane_word] : golden) {
    EXPECT_EQ(row(key), row_word) << key;
    EXPECT_EQ(lane(key), lane_word) << key;
  }
  for (std::uint64_t t = 0; t < 2000; ++t) {
    const std::uint64_t key = t < 1000 ? t : finalise(t) >> 4U;
    EXPECT_EQ(row(key) >> 3U, block_by_recursion(61, subkey(seed, Purpose::row, 0, 0) >> 3U, key, Purpose::row, 0))
        << key;
    EXPECT_EQ(lane(key) >> 3U, block_by_recursion(61, subkey(seed, Purpose::scale, 5, 0) >> 3U, key, Purpose::scale, 5))
        << key;
  }
  EXPECT_EQ(row.stored_bits(), 123U * 61U);
}

TEST(Source, BatchesGiveTheSameWordsOnEveryTarget) {
  for (const Randomness kind : {Randomness::mix, Randomness::kwise, Randomness::nisan}) {
    const WordFunction function(kind, seed, Purpose::row, 3, 5);
    testing::for_each_simd_target([&](const std::string& target) {
      for (const std::size_t count : {0U, 1U, 3U, 7U, 8U, 9U, 31U, 64U, 100U}) {
        std::vector<std::uint64_t> keys(count);
        for (std::size_t t = 0; t < count; ++t) keys[t] = finalise(t) >> 4U;
        std::vector<std::uint64_t> words(count);
        function.fill(keys, words);
        for (std::size_t t = 0; t < count; ++t) EXPECT_EQ(words[t], function(keys[t])) << target << ' ' << t;
      }
    });
  }
}

// A polynomial of degree k - 1 is fixed by its values at k points: k = 2 must therefore repeat with a constant
// difference.
TEST(Source, KwiseOfDegreeOneIsLinearModuloThePrime) {
  constexpr std::uint64_t prime = (std::uint64_t{1} << 61U) - 1;
  const WordFunction line(Randomness::kwise, 99, Purpose::row, 0, 2);
  const std::uint64_t step = ((line(1) >> 3U) + prime - (line(0) >> 3U)) % prime;
  for (std::uint64_t key = 1; key < 50; ++key) {
    EXPECT_EQ(((line(key) >> 3U) + prime - (line(key - 1) >> 3U)) % prime, step);
  }
}

TEST(Source, NamesRoundTripAndUnknownOnesAreRefused) {
  EXPECT_EQ(parse_randomness(to_string(Randomness::mix)), Randomness::mix);
  EXPECT_EQ(parse_randomness(to_string(Randomness::kwise)), Randomness::kwise);
  EXPECT_EQ(parse_randomness(to_string(Randomness::nisan)), Randomness::nisan);
  EXPECT_THROW(static_cast<void>(parse_randomness("mt19937")), UsageError);
}

TEST(Source, SubkeysOfDifferentUsesDiffer) {
  std::set<std::uint64_t> seen;
  std::size_t count = 0;
  for (const Purpose purpose : {Purpose::row, Purpose::scale, Purpose::draw}) {
    for (std::uint32_t number = 0; number < 64; ++number) {
      for (std::uint32_t part = 0; part < 6; ++part, ++count) seen.insert(subkey(seed, purpose, number, part));
    }
  }
  EXPECT_EQ(seen.size(), count);
}

/// Ids that people use, on which weak hashes show.
std::vector<std::vector<std::uint64_t>> structured_ids(std::size_t count) {
  std::vector<std::vector<std::uint64_t>> families(4, std::vector<std::uint64_t>(count));
  for (std::size_t t = 0; t < count; ++t) {
    families[0][t] = t;
    families[1][t] = t * 4096;
    families[2][t] = static_cast<std::uint64_t>(t) << 32U;
    families[3][t] = (static_cast<std::uint64_t>(t) << 40U) + (t & 7U);
  }
  return families;
}

// Every byte of the words, and every pair of words of neighbouring ids through the XOR, must look uniform. 8 bytes x 2
// x 4 families x 3 sources = 192 tests of significance 1e-5 each: a true generator fails this test with probability
// below 0.002.
TEST(Source, WordsOfStructuredIdsAreUniform) {
  constexpr std::size_t count = 1 << 16U;
  const std::vector<double> uniform(256, 1.0 / 256);
  for (const Randomness kind : {Randomness::mix, Randomness::kwise, Randomness::nisan}) {
    const WordFunction function(kind, 7, Purpose::row, 0, 4);
    for (const auto& ids : structured_ids(count)) {
      std::vector<std::uint64_t> words(count);
      function.fill(ids, words);
      for (unsigned shift = kind == Randomness::mix ? 0 : 8; shift < 64; shift += 8) {
        std::vector<std::uint64_t> plain(256);
        std::vector<std::uint64_t> neighbours(256);
        for (std::size_t t = 0; t < count; ++t) {
          ++plain[(words[t] >> shift) & 255U];
          if (t % 2 == 1) ++neighbours[((words[t] ^ words[t - 1]) >> shift) & 255U];
        }
        EXPECT_GT(statistics::chi_squared_fit(plain, uniform).p_value, 1e-5) << to_string(kind) << ' ' << shift;
        EXPECT_GT(statistics::chi_squared_fit(neighbours, uniform).p_value, 1e-5) << to_string(kind) << ' ' << shift;
      }
    }
  }
}

// Flipping any bit of a key flips every bit of the word with probability 1/2: over 4096 keys a count has mean 2048 and
// standard deviation 32; 64 x 64 counts stay within 6 deviations except with probability 1e-5.
TEST(Source, MixAvalanches) {
  const WordFunction function(Randomness::mix, 11, Purpose::row, 0, 4);
  constexpr std::size_t keys = 4096;
  for (unsigned in = 0; in < 64; ++in) {
    std::array<int, 64> flips{};
    for (std::uint64_t key = 0; key < keys; ++key) {
      const std::uint64_t change = function(key) ^ function(key ^ (std::uint64_t{1} << in));
      for (unsigned out = 0; out < 64; ++out) flips[out] += static_cast<int>((change >> out) & 1U);
    }
    for (unsigned out = 0; out < 64; ++out) EXPECT_NEAR(flips[out], 2048, 6 * 32) << in << " to " << out;
  }
}

}  // namespace
}  // namespace weir
