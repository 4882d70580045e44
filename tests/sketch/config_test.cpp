#include "weir/sketch/config.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

SketchConfig good() { return {.dimension = 1000, .seed = 7}; }

TEST(Config, AcceptsItsWholeRange) {
  EXPECT_NO_THROW(good().validate());
  SketchConfig largest = good();
  largest.dimension = std::uint64_t{1} << 63U;
  largest.rows = 15;
  largest.levels = 3;
  largest.lanes = 4096;
  EXPECT_NO_THROW(largest.validate());
  EXPECT_EQ(largest.table_size(), std::size_t{3} * 15 * 512 * 4096);
}

TEST(Config, NamesTheFieldThatIsOutOfRange) {
  struct Bad {
    std::string field;
    std::function<void(SketchConfig&)> spoil;
  };
  const std::vector<Bad> cases = {
      {"dimension", [](SketchConfig& c) { c.dimension = 0; }},
      {"dimension", [](SketchConfig& c) { c.dimension = (std::uint64_t{1} << 63U) + 1; }},
      {"kwise takes at most 2^61 - 1",
       [](SketchConfig& c) {
         c.randomness = Randomness::kwise;
         c.dimension = std::uint64_t{1} << 61U;
       }},
      {"rows", [](SketchConfig& c) { c.rows = 0; }},
      {"rows", [](SketchConfig& c) { c.rows = 4; }},
      {"rows", [](SketchConfig& c) { c.rows = 17; }},
      {"buckets", [](SketchConfig& c) { c.buckets = 0; }},
      {"buckets", [](SketchConfig& c) { c.buckets = 1; }},
      {"buckets", [](SketchConfig& c) { c.buckets = 500; }},
      {"buckets", [](SketchConfig& c) { c.buckets = std::uint64_t{1} << 33U; }},
      {"lanes", [](SketchConfig& c) { c.lanes = 0; }},
      {"lanes", [](SketchConfig& c) { c.lanes = 12; }},
      {"lanes", [](SketchConfig& c) { c.lanes = 4104; }},
      {"levels", [](SketchConfig& c) { c.levels = 0; }},
      {"levels", [](SketchConfig& c) { c.levels = 4; }},
      {"p is", [](SketchConfig& c) { c.p = 3; }},
      {"p is", [](SketchConfig& c) { c.p = std::numeric_limits<double>::quiet_NaN(); }},
      {"uniform",
       [](SketchConfig& c) {
         c.law = ScaleLaw::uniform;
         c.p = 1;
       }},
      {"row_length", [](SketchConfig& c) { c.row_length = 3; }},
      {"row_length", [](SketchConfig& c) { c.row_length = 2000; }},
      {"levels",
       [](SketchConfig& c) {
         c.row_length = 100;
         c.levels = 3;
       }},
      {"independence", [](SketchConfig& c) { c.independence = 3; }},
      {"independence", [](SketchConfig& c) { c.independence = 65; }},
      {"law", [](SketchConfig& c) { c.law = static_cast<ScaleLaw>(9); }},
      {"randomness", [](SketchConfig& c) { c.randomness = static_cast<Randomness>(9); }},
  };
  for (const Bad& bad : cases) {
    SketchConfig config = good();
    bad.spoil(config);
    testing_support::expect_error<UsageError>([&] { config.validate(); }, {bad.field});
  }
}

std::vector<SketchConfig> neighbours() {
  std::vector<SketchConfig> all(13, good());
  all[1].dimension = 1001;
  all[2].rows = 7;
  all[3].buckets = 1024;
  all[4].lanes = 24;
  all[5].levels = 2;
  all[6].law = ScaleLaw::uniform;
  all[7].p = 1;
  all[8].randomness = Randomness::kwise;
  all[9].independence = 5;
  all[10].seed = 8;
  all[11].row_length = 1;
  all[12].row_length = 100;
  return all;
}

TEST(Config, EveryFieldEntersTheFingerprintAndTheDifference) {
  const std::vector<SketchConfig> all = neighbours();
  const std::vector<std::string> fields = {"",       "dimension",  "rows",      "buckets",    "lanes",
                                           "levels", "law",        "p",         "randomness", "independence",
                                           "seed",   "row_length", "row_length"};
  std::set<std::uint64_t> fingerprints;
  for (std::size_t k = 0; k < all.size(); ++k) {
    fingerprints.insert(all[k].fingerprint());
    const std::string difference = describe_difference(all[0], all[k]);
    EXPECT_EQ(difference.substr(0, difference.find(':')), fields[k]);
  }
  EXPECT_EQ(fingerprints.size(), all.size());
}

// From a separate implementation of the digest, in integers of unlimited size. Another construction has another
// version, and with it other fingerprints.
TEST(Config, FingerprintsMatchTheirGoldenValues) {
  EXPECT_EQ(good().fingerprint(), 0x61C7C9B27421DC48U);
  EXPECT_EQ((SketchConfig{.dimension = std::uint64_t{1} << 40U,
                          .rows = 7,
                          .buckets = 4096,
                          .lanes = 2,
                          .levels = 3,
                          .p = 1,
                          .randomness = Randomness::kwise,
                          .independence = 8,
                          .seed = ~std::uint64_t{0}}
                 .fingerprint()),
            0x743031F102F4D958U);
}

TEST(Config, TheTopLevelHasTheMajorityOfTheRowsMadeOdd) {
  const std::map<std::uint32_t, std::uint32_t> of_top = {{1, 1}, {3, 3},  {5, 3},  {7, 5},
                                                         {9, 5}, {11, 7}, {13, 7}, {15, 9}};
  SketchConfig config = good();
  for (const auto& [rows, top] : of_top) {
    config.rows = rows;
    config.levels = 1;
    EXPECT_EQ(config.rows_at(0), rows);
    EXPECT_EQ(config.table_size(), std::size_t{rows} * config.buckets * config.lanes);
    config.levels = 3;
    EXPECT_EQ(config.rows_at(0), rows);
    EXPECT_EQ(config.rows_at(1), rows);
    EXPECT_EQ(config.rows_at(2), top);
    EXPECT_EQ(config.rows_below(0), 0U);
    EXPECT_EQ(config.rows_below(1), rows);
    EXPECT_EQ(config.rows_below(3), 2 * rows + top);
    EXPECT_EQ(config.table_size(), std::size_t{2 * rows + top} * config.buckets * config.lanes);
  }
}

TEST(Config, ManyGroupsForTheBucketsHaveAllRows) {
  SketchConfig config = good();  // B^2 / 8 = 2^15
  config.levels = 2;
  config.dimension = std::uint64_t{1} << 30U;  // 2^15 groups
  EXPECT_EQ(config.rows_at(1), 3U);
  config.dimension += 1;  // of 2^15 items each: one group more
  EXPECT_EQ(config.rows_at(1), 5U);
  config.buckets = 1024;
  EXPECT_EQ(config.rows_at(1), 3U);
  config.dimension = std::uint64_t{1} << 63U;
  EXPECT_EQ(config.rows_at(1), 5U);
  config.buckets = std::uint64_t{1} << 32U;
  EXPECT_EQ(config.rows_at(1), 3U);
}

TEST(Config, GroupsDivideTheBitsOfAKeyEvenly) {
  SketchConfig config = good();
  config.dimension = std::uint64_t{1} << 30U;
  config.levels = 2;
  EXPECT_EQ(config.group_size(0), 1U);
  EXPECT_EQ(config.group_size(1), 1U << 15U);
  EXPECT_EQ(config.groups(0), 1U << 30U);
  EXPECT_EQ(config.groups(1), 1U << 15U);
  config.dimension = (std::uint64_t{1} << 40U) + 1;  // 41 bits
  config.levels = 3;
  EXPECT_EQ(config.group_size(1), 1U << 13U);
  EXPECT_EQ(config.group_size(2), 1U << 27U);
  EXPECT_EQ(config.groups(2), (1U << 13U) + 1);  // the last has one item
  config.dimension = 1;
  EXPECT_EQ(config.group_size(2), 1U);
  EXPECT_EQ(config.groups(2), 1U);
}

TEST(Config, AGroupIsARowWhereRowsHaveALength) {
  SketchConfig config = good();
  config.levels = 2;
  for (const std::uint64_t length : {1U, 8U, 125U, 1000U}) {
    config.row_length = length;
    EXPECT_NO_THROW(config.validate());
    EXPECT_EQ(config.group_size(0), 1U);
    EXPECT_EQ(config.group_size(1), length);
    EXPECT_EQ(config.groups(0), 1000U);
    EXPECT_EQ(config.groups(1), 1000 / length);
  }
  config.dimension = 3 * ((std::uint64_t{1} << 15U) + 1);
  config.row_length = 3;  // one group more than B^2 / 8
  EXPECT_EQ(config.rows_at(1), 5U);
  config.row_length = config.dimension / 3;
  EXPECT_EQ(config.rows_at(1), 3U);
}

TEST(Config, IsAnswerableWhenAQueryScansNoMoreThan2To40Items) {
  SketchConfig config = good();
  EXPECT_NO_THROW(require_answerable(config));
  config.dimension = longest_scan;
  EXPECT_NO_THROW(require_answerable(config));
  ++config.dimension;
  testing_support::expect_error<UsageError>(
      [&] { require_answerable(config); },
      {"levels is 1 for a sketch of 1099511627777 entries", "would scan more than 2^40 items one by one"});
  config.levels = 2;  // 2^20 items a group
  EXPECT_NO_THROW(require_answerable(config));
  config.dimension = std::uint64_t{1} << 63U;
  EXPECT_NO_THROW(require_answerable(config));
  // Rows of two entries are too many groups.
  config.row_length = 2;
  EXPECT_THROW(require_answerable(config), UsageError);
  config.row_length = std::uint64_t{1} << 23U;
  EXPECT_NO_THROW(require_answerable(config));
}

}  // namespace
}  // namespace weir
