#include "weir/state/problem.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "state/every_kind.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir {
namespace {

using testing_support::every_kind;
using testing_support::expect_error;
using testing_support::Kind;
using testing_support::message_of;
using Json = nlohmann::ordered_json;

Problem full_problem() {
  Problem problem;
  problem.setting = "kronecker-streaming";
  problem.sides = {{"n1", std::uint64_t{1} << 63}, {"n2", 1}, {"d1", 3}};
  problem.roles = {{Operand::A1, Role::streams},
                   {Operand::A2, Role::fixed},
                   {Operand::X, Role::absent},
                   {Operand::y, Role::forgotten}};
  problem.degree = 2;
  problem.sketch = {.dimension = 9007199254740993,  // 2^53 + 1, which is no double
                    .rows = 3,
                    .buckets = 64,
                    .lanes = 8,
                    .levels = 2,
                    .law = ScaleLaw::uniform,
                    .p = 0.5,
                    .randomness = Randomness::kwise,
                    .independence = 7,
                    .seed = std::numeric_limits<std::uint64_t>::max(),
                    .row_length = 9223372036854775807};
  problem.gram = {.buckets = 128, .exact = true};
  problem.precision = {0.1, 1.0 / 3};
  problem.parameters = {{"base", "7"}, {"empty", ""}};
  return problem;
}

Problem read(const std::string& text) { return problem_of_text(text, "file.weir"); }

/// The texts of all objects that `change` makes of the text of full_problem().
template <class Change>
std::string changed(const Change& change) {
  Json json = Json::parse(to_text(full_problem()));
  change(json);
  return json.dump();
}

TEST(Problem, TextRoundTrip) {
  EXPECT_EQ(read(to_text(full_problem())), full_problem());
  EXPECT_EQ(read(to_text(Problem())), Problem());
  for (const Kind& kind : every_kind()) EXPECT_EQ(read(to_text(kind.problem)), kind.problem) << kind.name;
  EXPECT_EQ(to_text(full_problem()).find('\n'), std::string::npos);
}

TEST(Problem, TextNamesEveryField) {
  // As files of version 3 have it, for ever.
  EXPECT_EQ(to_text(full_problem()),
            R"({"setting":"kronecker-streaming","keeps":"sketch","sides":{"d1":3,"n1":9223372036854775808,"n2":1},)"
            R"("operands":{"y":"forgotten","A1":"streams","A2":"fixed","X":"absent"},"degree":2,)"
            R"("sketch":{"dimension":9007199254740993,"rows":3,"buckets":64,"lanes":8,"levels":2,"law":"uniform",)"
            R"("p":0.5,"randomness":"kwise","independence":7,"seed":18446744073709551615,)"
            R"("row_length":9223372036854775807},"gram":{"buckets":128,"exact":true},)"
            R"("precision":{"epsilon":0.1,"constant":0.3333333333333333},"parameters":{"base":"7","empty":""}})");
}

TEST(Problem, NamesThatNeedEscapes) {
  Problem problem = full_problem();
  const std::string strange =
      std::string("quote\" backslash\\ line\n tab\t zero") + '\0' + "x \x01 \xC3\xA9 \xE2\x82\xAC";
  problem.setting = strange;
  problem.sides = {{strange, 5}, {std::string("zero"), 6}, {std::string("zero\0", 5), 7}};
  problem.parameters = {{strange, strange}, {"", "no name"}, {std::string(3, '\0'), "zeros"}};
  EXPECT_EQ(read(to_text(problem)), problem);
  // A message is one line, and short, whatever the names are.
  for (const char* object : {"sides", "operands", "parameters"}) {
    const std::string text =
        changed([&](Json& json) { json[object][strange + std::string(5000, 'x')] = Json::array(); });
    expect_error([&] { std::ignore = read(text); }, {"file.weir: ", object});
    EXPECT_LT(message_of<InputError>([&] { std::ignore = read(text); }).size(), 300U);
  }
  // What is no UTF-8 is replaced, so that the text stays JSON.
  problem.parameters = {{"base", "\xFF"}};
  EXPECT_NO_THROW(std::ignore = read(to_text(problem)));
}

/// Every object of the text with the names of its members.
const std::vector<std::pair<std::string, std::vector<std::string>>>& members() {
  static const std::vector<std::pair<std::string, std::vector<std::string>>> all{
      {"", {"setting", "keeps", "sides", "operands", "degree", "sketch", "gram"}},
      {"/sketch",
       {"dimension", "rows", "buckets", "lanes", "levels", "law", "p", "randomness", "independence", "seed",
        "row_length"}},
      {"/gram", {"buckets", "exact"}},
      {"/precision", {"epsilon", "constant"}}};
  return all;
}

TEST(Problem, EveryMissingFieldIsRefused) {
  for (const auto& [object, names] : members())
    for (const std::string& name : names) {
      const std::string text = changed([&](Json& json) { json[Json::json_pointer(object)].erase(name); });
      expect_error([&] { std::ignore = read(text); },
                   {"file.weir: the description of the problem: ", fmt::format("has no '{}'", name)});
    }
}

TEST(Problem, EveryUnknownMemberIsRefused) {
  for (const auto& [object, names] : members()) {
    const std::string text = changed([&](Json& json) { json[Json::json_pointer(object)]["more"] = 1; });
    expect_error([&] { std::ignore = read(text); }, {"has members that this build does not know"});
  }
  expect_error([&] { std::ignore = read(changed([](Json& json) { json["operands"]["Unknown"] = "fixed"; })); },
               {"'operands' name \"Unknown\", which no setting of this build has"});
}

TEST(Problem, EveryMemberThatComesTwiceIsRefused) {
  for (const auto& [object, names] : members())
    for (const std::string& name : names) {
      // The member once more, before all others of its object.
      const Json json = Json::parse(to_text(full_problem()));
      const std::string inner = json.at(Json::json_pointer(object)).dump();
      std::string text = json.dump();
      const std::string more = fmt::format("{{\"{}\":1,", name);
      text.replace(text.find(inner), 1, more);
      expect_error([&] { std::ignore = read(text); }, {"has the member '" + name + "' twice"});
    }
}

TEST(Problem, EveryWrongTypeIsRefused) {
  const std::vector<Json> values{
      nullptr,           true, -1, 1.5, "text", Json::array({1}), Json::object(), Json::parse("18446744073709551616"),
      Json::parse("1e3")};
  for (const auto& [object, names] : members())
    for (const std::string& name : names) {
      const Json good = Json::parse(to_text(full_problem()))[Json::json_pointer(object)][name];
      for (const Json& value : values) {
        const bool empty_object_will_do = name == "sides" || name == "operands";
        const bool is_possible = (good.is_string() && name == "setting" && value.is_string()) ||
                                 (good.is_boolean() && value.is_boolean()) ||
                                 ((name == "p" || object == "/precision") && value.is_number()) ||
                                 (empty_object_will_do && value == Json::object());
        const std::string text = changed([&](Json& json) { json[Json::json_pointer(object)][name] = value; });
        if (is_possible) {
          EXPECT_NO_THROW(std::ignore = read(text)) << name << " = " << value;
        } else {
          expect_error([&] { std::ignore = read(text); }, {"file.weir: the description of the problem: "});
        }
      }
    }
  for (const char* object : {"sides", "operands", "parameters"})
    for (const Json& value : values) {
      const std::string text = changed([&](Json& json) { json[object]["A"] = value; });
      if (std::string(object) == "parameters" && value.is_string()) {
        EXPECT_NO_THROW(std::ignore = read(text));
      } else {
        EXPECT_THROW(std::ignore = read(text), InputError) << object << " " << value;
      }
    }
}

TEST(Problem, NumbersOutOfRangeAreRefused) {
  const auto refused = [](const std::string& pointer, const std::string& value, const std::string& part) {
    const std::string text = changed([&](Json& json) { json[Json::json_pointer(pointer)] = Json::parse(value); });
    expect_error([&] { std::ignore = read(text); }, {part});
  };
  refused("/sides/n1", "9223372036854775809", "'n1' is 9223372036854775809, expected a whole number up to");
  refused("/degree", "4294967296", "'degree' is 4294967296, expected a whole number up to 4294967295");
  for (const char* field : {"rows", "lanes", "levels", "independence"})
    refused(fmt::format("/sketch/{}", field), "4294967296", fmt::format("'{}' is 4294967296", field));
  for (const char* field : {"dimension", "buckets", "seed", "row_length"})
    refused(fmt::format("/sketch/{}", field), "18446744073709551616", fmt::format("'{}' is ", field));
  refused("/keeps", "\"all\"", "'keeps' is \"all\", which this build does not know");
  refused("/operands/A1", "\"flows\"", "'A1' is \"flows\", which this build does not know");
  refused("/sketch/law", "\"normal\"", "'law' is \"normal\", which this build does not know");
  refused("/sketch/randomness", "\"none\"", "none");
  std::string text = to_text(full_problem());
  text.replace(text.find("0.5"), 3, "1e999");
  expect_error([&] { std::ignore = read(text); }, {"the description of the problem is no JSON object"});
}

TEST(Problem, TextThatIsNoObjectIsRefused) {
  for (const char* text : {"", " ", "{", "}", "[]", "5", "null", "\"text\"", "{}", "{\"setting\":}", "nan", "\xFF\xFE",
                           "{\"setting\":\"\xFF\"}", "\xEF\xBB\xBF"})
    expect_error([&] { std::ignore = read(text); }, {"file.weir: the description of the problem"});
  EXPECT_THROW(std::ignore = read(to_text(full_problem()) + "x"), InputError);
  const std::string whole = to_text(full_problem());
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_THROW(std::ignore = read(whole.substr(0, length)), InputError) << length;
  for (std::size_t k = 0; k < whole.size(); ++k) {
    std::string damaged = whole;
    damaged[k] = static_cast<char>(damaged[k] ^ 1);
    try {
      std::ignore = read(damaged);  // some make other numbers and names
    } catch (const InputError&) {
    }
  }
}

TEST(Problem, HostileTextIsRefusedInTime) {
  constexpr std::size_t most = std::size_t{1} << 20;
  // Nested as deep as 1 MiB allows, in the place of every kind of value.
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep;
    while (deep.size() < most / 2) deep += open;
    EXPECT_THROW(std::ignore = read(deep), InputError);
  }
  std::string nested(most / 4, '[');
  nested.append(most / 4, ']');
  const std::string whole = to_text(full_problem());
  for (const char* value :
       {"\"kronecker-streaming\"", "\"sketch\"", "3,\"n1\"", "\"forgotten\"", ":2,", "0.5", "true", "0.1", "\"7\""}) {
    std::string text = whole;
    std::string hostile = nested;
    if (std::string_view(value) == "3,\"n1\"") hostile += ",\"n1\"";
    if (std::string_view(value) == ":2,") hostile = ":" + nested + ",";
    text.replace(text.find(value), std::string_view(value).size(), hostile);
    expect_error([&] { std::ignore = read(text); }, {"the description of the problem: "});
  }
  // As many members as there is room for.
  std::string sides;
  for (std::size_t k = 0; sides.size() < most; ++k) sides += fmt::format("\"n{:x}\":1,", k + 16);
  std::string text = whole;
  text.insert(text.find("\"d1\""), sides);
  EXPECT_EQ(read(text).sides.size(), 3 + static_cast<std::size_t>(std::ranges::count(sides, ':')));
}

TEST(Problem, RolesAndSides) {
  const Problem problem = full_problem();
  EXPECT_EQ(problem.side("n2"), 1U);
  EXPECT_EQ(message_of<UsageError>([&] { std::ignore = problem.side("n"); }), "the side n of the problem is not known");
  EXPECT_EQ(problem.role(Operand::A2), Role::fixed);
  EXPECT_EQ(problem.role(Operand::x), Role::absent);
  EXPECT_EQ(problem.with_role(Role::streams), OperandSet{Operand::A1});
  EXPECT_EQ(problem.with_role(Role::absent), OperandSet{Operand::X});
  EXPECT_EQ(problem.exponent(), 1);
}

TEST(Problem, EqualTextsHaveEqualFingerprints) {
  EXPECT_EQ(fingerprint_of(full_problem()), fingerprint_of(full_problem()));
  std::vector<std::uint64_t> digests;
  for (const Kind& kind : every_kind()) digests.push_back(fingerprint_of(kind.problem));
  std::ranges::sort(digests);
  EXPECT_EQ(std::ranges::adjacent_find(digests), digests.end());
}

}  // namespace
}  // namespace weir
