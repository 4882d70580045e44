#include "weir/random/key_hash.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <set>
#include <string>
#include <string_view>

namespace weir {
namespace {

// The golden vectors come from Debian's python3-xxhash and the text of the headers, in integers of unlimited size.
TEST(KeyHash, MatchesItsGoldenVectors) {
  struct Golden {
    std::string text;
    std::uint64_t key, key_of_7;
  };
  const std::array<Golden, 7> golden = {{
      {"", 0x3bcf36f533a9a639, 0x448ee1a862c5ca24},
      {"a", 0x4171bcba0a5ecd8c, 0x73c076cb6f20c199},
      {"Z\xc3\xbcrich", 0x160cd4965f2404f3, 0x589fb00a3af6a02},
      {"10.0.0.1:443", 0x590dd1a5b932eff5, 0x6f4444f0eb756fd2},
      {"007", 0x54116f685990c81b, 0x190b02f40d51a6b8},
      {"9223372036854775808", 0x4efd93cdef0604ad, 0x495f3c87eec78a05},  // 2^63
      {std::string(300, 'x'), 0x2b7fd80ab3618504, 0x2c943ce6b8652f23},
  }};
  for (const Golden& g : golden) {
    EXPECT_EQ(key_of_text(0x0123456789ABCDEF, g.text), g.key) << g.text;
    EXPECT_EQ(key_of_text(7, g.text), g.key_of_7) << g.text;
  }
}

TEST(KeyHash, LeavesWholeNumbersAsTheyAre) {
  for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{7}, (std::uint64_t{1} << 63) - 1}) {
    EXPECT_EQ(whole_number(fmt::to_string(number)), number);
    EXPECT_EQ(key_of_text(1, fmt::to_string(number)), number);
  }
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {""sv, "00"sv, "007"sv, "+7"sv, "-7"sv, " 7"sv, "7 "sv, "7.0"sv, "0x7"sv, "7\0"sv, "9223372036854775808"sv,
        "18446744073709551616"sv, "99999999999999999999999999"sv})
    EXPECT_FALSE(whole_number(text)) << text;
}

TEST(KeyHash, SpreadsTextsThatAreAlike) {
  std::set<std::uint64_t> keys;
  std::array<int, 63> ones{};
  constexpr int count = 20000;
  for (int k = 0; k < count; ++k) {
    const std::uint64_t key = key_of_text(3, fmt::format("user-{}", k));
    EXPECT_LT(key, std::uint64_t{1} << 63);
    keys.insert(key);
    for (std::size_t bit = 0; bit < ones.size(); ++bit) ones[bit] += static_cast<int>(key >> bit & 1U);
  }
  EXPECT_EQ(keys.size(), count);  // two are equal with probability 2e-11
  // Each bit is 1 in half of them: 6 standard deviations of a fair coin.
  for (const int one : ones) EXPECT_NEAR(one, count / 2, 6 * std::sqrt(count) / 2);
}

TEST(KeyHash, DependsOnTheSeed) {
  int changed = 0;
  for (int k = 0; k < 100; ++k)
    changed += std::popcount(key_of_text(static_cast<std::uint64_t>(k), "text") ^
                             key_of_text(static_cast<std::uint64_t>(k) + 1, "text"));
  EXPECT_NEAR(changed, 100 * 63 / 2, 6 * std::sqrt(6300) / 2);
}

}  // namespace
}  // namespace weir
