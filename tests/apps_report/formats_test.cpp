#include "formats.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace weir::app {
namespace {

using Json = nlohmann::ordered_json;

TEST(Csv, QuotesAsTheStandardSays) {
  const Records records{{"a", "b,c"}, {{"x", "1.5"}, {"a \"b\"", ""}, {"two\nlines", "true"}, {" blank ", "-3"}}};
  EXPECT_EQ(csv_text(records, true),
            "a,\"b,c\"\n"
            "x,1.5\n"
            "\"a \"\"b\"\"\",\n"
            "\"two\nlines\",true\n"
            " blank ,-3\n");
  EXPECT_EQ(csv_text({{"a"}, {{"cr\r"}}}, false), "\"cr\r\"\n");
  EXPECT_EQ(csv_text({{"a"}, {}}, true), "a\n");
}

TEST(Csv, NumbersAreThoseOfTheObject) {
  const Json report{
      {"n", 18446744073709551615U}, {"m", 9007199254740993}, {"x", 0.1}, {"y", 1e300}, {"z", 0.0}, {"t", true}};
  EXPECT_EQ(csv_text(field_records(report), false), "18446744073709551615,9007199254740993,0.1,1e+300,0.0,true\n");
}

TEST(Csv, FieldsOfFieldsHaveBothNames) {
  const Json report{{"n", 3},
                    {"shape", {4, 5}},
                    {"seconds", {{"ingest", 0.5}, {"merge", 1}}},
                    {"operands", {{{"operand", "A"}, {"i", {0, 7}}}}},
                    {"none", nullptr},
                    {"empty", Json::array()}};
  EXPECT_EQ(
      csv_text(field_records(report), true),
      "n,shape.0,shape.1,seconds.ingest,seconds.merge,operands.0.operand,operands.0.i.0,operands.0.i.1,none,empty\n"
      "3,4,5,0.5,1,A,0,7,,\n");
}

TEST(Csv, ColumnsDoNotDependOnWhatCameOut) {
  const Json empty{{"n", 9}, {"samples", Json::array()}};
  Json full = empty;
  full["samples"] = {{{"lane", 1}, {"index", 7}, {"label", "x"}, {"value", 2.0}, {"row", {1.0, 0.5}}}};
  EXPECT_EQ(sample_records(empty).columns, sample_records(full).columns);
  EXPECT_EQ(csv_text(sample_records(full), false), "1,7,x,2.0,,,,,,,1.0 0.5\n");

  Json pairs{{"epoch", 3}, {"time", 1.5}, {"final", true}, {"updates", 11}, {"shape", {2, 3}}};
  EXPECT_EQ(csv_text(query_records(pairs), true),
            "epoch,time,updates,final,question,i1,i2,label1,label2,p,state,value,bound\n");
  pairs["norm"] = 5;
  pairs["norm_bound"] = 0.5;
  pairs["points"] = {{{"index", {1, 2}}, {"label", {"one", nullptr}}, {"value", -1.0}, {"bound", 0.25}}};
  pairs["moments"] = {{{"p", 1.0}, {"value", 6.0}, {"no_bound", "why"}}};
  pairs["inner"] = {{{"state", "a,b.weir"}, {"value", 2.0}, {"bound", 0.0}}};
  EXPECT_EQ(csv_text(query_records(pairs), false),
            "3,1.5,11,true,norm,,,,,,,5,0.5\n"
            "3,1.5,11,true,point,1,2,one,,,,-1.0,0.25\n"
            "3,1.5,11,true,moment,,,,,1.0,,6.0,\n"
            "3,1.5,11,true,inner,,,,,,\"a,b.weir\",2.0,0.0\n");
}

TEST(JsonText, IsIndentedOrOneLine) {
  const Json report{{"a", {1, 2}}, {"label", "\xff"}};
  EXPECT_EQ(json_text(report, Format::ndjson), "{\"a\":[1,2],\"label\":\"\xef\xbf\xbd\"}");
  EXPECT_EQ(json_text(report).find("{\n  \"a\""), 0U);
}

}  // namespace
}  // namespace weir::app
