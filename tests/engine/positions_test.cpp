#include "weir/engine/positions.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using testing_support::expect_error;

constexpr std::uint64_t no_end = std::numeric_limits<std::uint64_t>::max();

Positions::File file(const std::string& path, std::vector<FileRange> unread) {
  return {{.path = path, .size = 1000, .fingerprint = 0xFFFF'FFFF'FFFF'FFF1}, std::move(unread)};
}

TEST(Positions, ComeBackFromText) {
  const Positions positions{.files = {file("a \"b\"\n.csv", {{0, 10}, {20, no_end}}), file("read", {})},
                            .arrays = {file("k.npy", {{7, 9}}), file("v.npy", {{7, 9}})},
                            .live = {{"-", ""}, {"tcp://127.0.0.1:0", R"({"a":[1,2],"b":"c"})"}}};
  EXPECT_EQ(positions_of_text(to_text(positions), "here"), positions);
  EXPECT_EQ(positions_of_text(to_text({}), "here"), Positions());
}

TEST(Positions, AnythingElseIsRefused) {
  const std::string good = to_text({.files = {file("a", {{3, 10}})}, .live = {{"x", "1"}}});
  const auto refuse = [](const std::string& text) {
    expect_error([&] { std::ignore = positions_of_text(text, "checkpoint 3"); },
                 {"checkpoint 3: the positions of the sources are damaged: "});
  };
  for (std::size_t length = 0; length < good.size(); ++length) refuse(good.substr(0, length));
  // Whatever a byte is changed to, there is an answer.
  for (std::size_t k = 0; k < good.size(); ++k)
    for (const char byte : {'\0', '"', '-', '[', '}', '9', 'e', '\xff'}) {
      std::string bad = good;
      bad[k] = byte;
      try {
        std::ignore = positions_of_text(bad, "checkpoint 3");
      } catch (const InputError&) {
      }
    }
  const auto of_file = [](const std::string& fields) {
    return R"({"files":[{"path":"a",)" + fields + R"(}],"arrays":[],"live":{}})";
  };
  EXPECT_NO_THROW(std::ignore =
                      positions_of_text(of_file(R"("bytes":1,"fingerprint":2,"unread":[[1,2],[5]])"), "here"));
  for (const std::string number : {"-1", "1.5", "1e30", "18446744073709551616", "\"1\"", "null", "[]", "true"}) {
    refuse(of_file(R"("bytes":)" + number + R"(,"fingerprint":2,"unread":[])"));
    refuse(of_file(R"("bytes":1,"fingerprint":)" + number + R"(,"unread":[])"));
    refuse(of_file(R"("bytes":1,"fingerprint":2,"unread":[[)" + number + R"(]])"));
    refuse(of_file(R"("bytes":1,"fingerprint":2,"unread":[[0,)" + number + R"(]])"));
  }
  for (const std::string unread : {"7", "{}", "[7]", "[[]]", "[[1,2,3]]", "[[2,1]]", "null"})
    refuse(of_file(R"("bytes":1,"fingerprint":2,"unread":)" + unread));
  refuse(R"({"files":{},"arrays":[],"live":{}})");
  refuse(R"({"files":[],"arrays":[],"live":[]})");
  refuse(R"({"files":[],"arrays":[]})");
  refuse("[]");
  refuse("17");
  // So deep that writing it would take all of the stack.
  refuse(R"({"files":[],"arrays":[],"live":{"a":)" + std::string(1000000, '[') + std::string(1000000, ']') + "}}");
}

TEST(Positions, ThoseOfRanksAreMerged) {
  EXPECT_EQ(merge({}), Positions());
  const Positions one{.files = {file("a", {{20, 30}, {0, 10}}), file("b", {})},
                      .arrays = {file("k", {{5, 6}})},
                      .live = {{"topic", R"({"0":5})"}, {"-", ""}}};
  const Positions two{.files = {file("a", {{10, 15}, {40, no_end}}), file("b", {{3, 3}, {7, 9}})},
                      .arrays = {file("k", {{6, 8}})},
                      .live = {{"topic", R"({"1":6})"}, {"more", "2"}}};
  const Positions three{.files = {file("a", {{30, 40}}), file("b", {})}, .arrays = {file("k", {})}};
  const Positions expected{.files = {file("a", {{0, 15}, {20, no_end}}), file("b", {{7, 9}})},
                           .arrays = {file("k", {{5, 8}})},
                           .live = {{"topic", R"({"0":5,"1":6})"}, {"more", "2"}, {"-", ""}}};
  EXPECT_EQ(merge({one, two, three}), expected);
  EXPECT_EQ(merge({three, two, one}).files, expected.files);
  EXPECT_EQ(merge({one}).files[0].unread, (std::vector<FileRange>{{0, 10}, {20, 30}}));
  expect_error(
      [&] {
        std::ignore = merge({one, Positions{.files = {file("a", {})}}});
      },
      {"positions of different sources cannot be merged"});
  expect_error(
      [&] {
        Positions other = one;
        other.files[1].seen.path = "c";
        std::ignore = merge({one, other});
      },
      {"positions of different sources cannot be merged: b and c"});
}

}  // namespace
}  // namespace weir::engine
