#include "weir/names.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <random>

#include "weir/error.hpp"

namespace weir {
namespace {

std::vector<KeyName> some_names(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<KeyName> names;
  for (std::size_t k = 0; k < count; ++k) {
    const std::uint64_t index = random() % (2 * count);
    names.push_back({index, static_cast<float>(random() % 1000), fmt::format("name {}", index)});
  }
  return names;
}

TEST(NameTable, IsAFunctionOfWhatWentIn) {
  const std::vector<KeyName> all = some_names(1000, 1);
  NameTable at_once(100);
  at_once.merge(all);
  EXPECT_EQ(at_once.entries().size(), 100U);
  std::mt19937_64 random(2);
  for (int round = 0; round < 20; ++round) {
    std::vector<KeyName> shuffled = all;
    std::ranges::shuffle(shuffled, random);
    std::vector<NameTable> parts(1 + random() % 4, NameTable(100));
    for (const KeyName& name : shuffled) parts[random() % parts.size()].merge({name});
    NameTable sum(100);
    for (const NameTable& part : parts) sum.merge(part);
    EXPECT_EQ(sum, at_once);
  }
  // The heaviest are there, by the largest priority of each.
  std::map<std::uint64_t, float> best;
  for (const KeyName& name : all) best[name.index] = std::max(best[name.index], name.priority);
  std::vector<float> priorities;
  for (const auto& [index, priority] : best) priorities.push_back(priority);
  std::ranges::sort(priorities, std::greater<>());
  for (const KeyName& entry : at_once.entries()) {
    EXPECT_EQ(entry.priority, best.at(entry.index));
    EXPECT_GE(entry.priority, priorities[99]);
  }
}

TEST(NameTable, BytesAreHostileUntilVerified) {
  NameTable table(50);
  table.merge(some_names(200, 3));
  const std::vector<std::byte> good = table.to_bytes();
  EXPECT_EQ(NameTable::of_bytes(good), table);
  EXPECT_TRUE(NameTable().to_bytes().empty());
  EXPECT_TRUE(NameTable::of_bytes({}).empty());
  for (std::size_t length = 1; length < good.size(); length += 7)
    EXPECT_THROW((void)NameTable::of_bytes(std::span(good).first(length)), InputError);
  std::vector<std::byte> longer = good;
  longer.push_back(std::byte{0});
  EXPECT_THROW((void)NameTable::of_bytes(longer), InputError);
  // Counts that do not fit, in front of any allocation; names out of order.
  for (const auto& [offset, value] : {std::pair<std::size_t, std::uint64_t>{0, 0},
                                      {0, std::uint64_t{1} << 40},
                                      {8, std::uint64_t{1} << 60},
                                      {8, 51},
                                      {16, UINT64_MAX}}) {
    std::vector<std::byte> bad = good;
    std::memcpy(bad.data() + offset, &value, sizeof value);
    EXPECT_THROW((void)NameTable::of_bytes(bad), InputError) << offset;
  }
  std::mt19937_64 random(4);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::byte> bad = good;
    bad[random() % bad.size()] ^= static_cast<std::byte>(1U << random() % 8);
    try {
      const NameTable read = NameTable::of_bytes(bad);
      EXPECT_LE(read.entries().size(), read.capacity());
    } catch (const InputError&) {
    }
  }
}

/// A key with a share f of the weight is among the C of the table with a probability of at least 1 - (1 - f)^C; and the law of
/// one draw is the share itself.
TEST(NameSink, InclusionFollowsTheWeights) {
  constexpr int runs = 4000;
  // C = 1: a sample of one, in proportion to the weights, however they are cut into events.
  const std::vector<double> weights{1, 2, 3, 10};
  std::vector<int> counts(weights.size());
  for (int run = 0; run < runs; ++run) {
    NameSink sink(1);
    const std::uint64_t source = sink.source_number(fmt::format("file {}", run));
    NameTable table(1);
    std::uint64_t place = 0;
    for (int round = 0; round < 4; ++round)
      for (std::uint64_t k = 0; k < weights.size(); ++k) {
        place += 11;
        if (const auto priority = sink.wants(k, weights[k] / 4, source, place)) {
          std::vector<KeyName> names{{k, *priority, "x"}};
          sink.add(names);
        }
        table.merge(sink.take());
      }
    ASSERT_EQ(table.entries().size(), 1U);
    ++counts[table.entries()[0].index];
  }
  double chi_squared = 0;
  for (std::size_t k = 0; k < weights.size(); ++k) {
    const double expected = runs * weights[k] / 16;
    chi_squared += (counts[k] - expected) * (counts[k] - expected) / expected;
  }
  EXPECT_LT(chi_squared, 16.27);  // 3 degrees of freedom, significance 0.001
}

TEST(NameSink, WantsWhatItHasNotSeen) {
  NameSink sink(8);
  EXPECT_FALSE(sink.wants(5, 0, 1, 1));  // weighs nothing
  const auto first = sink.wants(5, 1, 1, 1);
  ASSERT_TRUE(first);
  std::vector<KeyName> names{{5, *first, std::string(5000, 'x')}};
  sink.add(names);
  EXPECT_TRUE(names.empty());
  EXPECT_FALSE(sink.wants(5, 1, 1, 1));
  EXPECT_TRUE(sink.wants(5, 2, 1, 1));  // a heavier event
  const std::vector<KeyName> taken = sink.take();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].name.size(), longest_name);
  EXPECT_TRUE(sink.take().empty());
  EXPECT_THROW(NameSink(std::size_t{0}), UsageError);
  EXPECT_THROW(NameSink(most_names + 1), UsageError);
}

}  // namespace
}  // namespace weir
