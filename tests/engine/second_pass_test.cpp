// A second reading of the streams gives the exact values of what was drawn, for every setting, from files and for states.

#include "weir/engine/second_pass.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/every_setting.hpp"
#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using testing_support::message_of;

class SecondPassTest : public testing::Test {
 protected:
  mpi::Communicator world;

  [[nodiscard]] Answer draw(Session& session, std::uint32_t samples = 7) const {
    return session.answer({.draw = DrawQuestion{.samples = samples, .threshold = 0}});
  }

  /// Compares the draws of `answer` with the entries of the exact values of the same streams.
  void expect_exact(const SettingCase& setting, const Answer& answer) const {
    Session exact = run(world, exact_of(setting.problem), setting.sources);
    ExactQuestion question;
    for (const Draw& draw : answer.draws.draws) question.entries.push_back(entry_of(draw));
    if (answer.metric) question.metric.given = answer.metric;
    const Answer truth = exact.answer({.exact = question});
    if (!world.local_is_root()) return;
    EXPECT_FALSE(answer.draws.draws.empty()) << setting.name;
    EXPECT_TRUE(answer.has_exact_values) << setting.name;
    for (const Draw& draw : answer.draws.draws) {
      const ExactEntry& entry = truth.exact.at(entry_of(draw));
      EXPECT_NEAR(draw.value, entry.value, 1e-9 * std::abs(entry.value)) << setting.name;
      EXPECT_NE(draw.value, 0) << setting.name;
      EXPECT_EQ(draw.row, entry.row) << setting.name;
    }
  }
};

/// Those that a second pass is for: the others know exact values without one.
bool has_second_pass(const SettingCase& setting) {
  return setting.problem.keeps == Keeps::sketch && setting.problem.setting != "kronecker-streaming" &&
         setting.name != "product, A fixed";
}

TEST_F(SecondPassTest, GivesExactValues) {
  const EverySetting settings(world, 3000, "second");
  std::size_t tried = 0;
  for (const SettingCase& setting : settings.cases()) {
    if (!has_second_pass(setting)) continue;
    ++tried;
    Session session = run(world, setting.problem, setting.sources);
    Answer answer = draw(session);
    const Answer estimated = answer;
    read_again(session, setting.sources, answer);
    expect_exact(setting, answer);
    if (!world.local_is_root()) continue;
    EXPECT_EQ(answer.draws.draws.size() + answer.draws.failed.size(),
              estimated.draws.draws.size() + estimated.draws.failed.size());
    // Probabilities are shares of the same estimate of the sum.
    const double mass = answer.draws.mass.value;
    EXPECT_GT(mass, 0) << setting.name;
    for (const Draw& draw : answer.draws.draws) {
      const double power = std::pow(std::abs(draw.value), setting.problem.exponent());
      EXPECT_NEAR(draw.probability, std::min(1.0, power / mass), 1e-12) << setting.name;
    }
  }
  EXPECT_EQ(tried, 9U);
}

TEST_F(SecondPassTest, LeavesExactAnswersAlone) {
  const EverySetting settings(world, 500, "alone");
  for (const SettingCase& setting : settings.cases()) {
    if (has_second_pass(setting) || !setting.can_be_saved) continue;
    Session session = run(world, setting.problem, setting.sources);
    Answer answer = session.answer({.draw = DrawQuestion{.samples = 3, .threshold = 0, .verify = true}});
    const std::vector<Draw> before = answer.draws.draws;
    read_again(session, setting.sources, answer);
    ASSERT_EQ(answer.draws.draws.size(), before.size());
    for (std::size_t k = 0; k < before.size(); ++k) EXPECT_EQ(answer.draws.draws[k].value, before[k].value);
  }
}

TEST_F(SecondPassTest, DrawsOfZerosHaveFailed) {
  // Nine of ten entries come and go. A sketch as small as this one draws some of them.
  std::string text;
  for (int i = 0; i < 500; ++i) text += std::to_string(i) + ",1\n";
  for (int i = 0; i < 500; ++i)
    if (i % 10 != 0) text += std::to_string(i) + ",-1\n";
  const SharedFile file(world, "zeros.csv", text);
  std::size_t zeros = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Session session = run(world, vector_problem({.dimension = 500, .rows = 1, .buckets = 8, .lanes = 16, .seed = seed}),
                          streams({file.path()}));
    Answer answer = draw(session, 15);
    std::set<std::uint32_t> lanes_of_zeros;
    for (const Draw& draw : answer.draws.draws)
      if (draw.index % 10 != 0) lanes_of_zeros.insert(draw.lane);
    read_again(session, streams({file.path()}), answer);
    if (!world.local_is_root()) continue;
    zeros += lanes_of_zeros.size();
    for (const Draw& draw : answer.draws.draws) {
      EXPECT_EQ(draw.index % 10, 0U);
      EXPECT_EQ(draw.value, 1);
      EXPECT_FALSE(lanes_of_zeros.contains(draw.lane));
    }
    std::set<std::uint32_t> failed;
    for (const FailedLane& lane : answer.draws.failed) failed.insert(lane.lane);
    for (const std::uint32_t lane : lanes_of_zeros) EXPECT_TRUE(failed.contains(lane));
  }
  if (world.local_is_root()) {
    EXPECT_GT(zeros, 20U);
  }
}

TEST_F(SecondPassTest, IsForSavedStatesToo) {
  const EverySetting settings(world, 2000, "saved");
  for (const SettingCase& setting : settings.cases()) {
    if (!has_second_pass(setting)) continue;
    const SharedFile saved(world, "second.weir", "");
    {
      Session session = run(world, setting.problem, setting.sources);
      session.save(saved.path());
    }
    Session session(world.local_handle(), setting.problem, {}, {.start = load_on_root(world, saved.path())});
    Answer answer = draw(session);
    read_again(session, setting.sources, answer);
    expect_exact(setting, answer);
    // Fixed operands come from the state, where it holds them whole.
    Answer again = draw(session);
    const Sources streamed = streams(setting.sources.stream.paths);
    if (setting.sources.files.empty()) {
      read_again(session, streamed, again);
      expect_exact(setting, again);
    } else {
      EXPECT_NE(message_of<UsageError>([&] { read_again(session, streamed, again); }).find("which was fixed"),
                std::string::npos)
          << setting.name;
    }
  }
}

TEST_F(SecondPassTest, NoticesOtherStreams) {
  const SharedFile first(world, "first.csv", "1,5\n2,7\n3,9\n"), second(world, "other.csv", "1,5\n2,7\n4,9\n"),
      longer(world, "longer.csv", "1,5\n2,7\n3,9\n3,1\n");
  const Problem problem = vector_problem({.dimension = 10, .buckets = 8, .lanes = 8, .seed = 1});
  Session session = run(world, problem, streams({first.path()}));
  Answer answer = draw(session);
  EXPECT_EQ(message_of<InputError>([&] { read_again(session, streams({longer.path()}), answer); }),
            "the second pass has read 4 events where the first had 3: expected the same streams");
  EXPECT_EQ(message_of<UsageError>([&] { read_again(session, streams({"-"}), answer); }),
            "a second pass reads files: - is a pipe");
  // As many events, but others; and a state that is no plain sum.
  const std::string complaint = "the second pass has read another stream than the state was made of";
  const auto complains = [&](Session& of, const Sources& sources, Answer& of_it) {
    return message_of<InputError>([&] { read_again(of, sources, of_it); }).find(complaint) != std::string::npos;
  };
  std::optional<State> state = state_on_root(session), twice = state;
  if (twice) twice->scale(2);
  Session of_state(world.local_handle(), problem, {}, {.start = state}),
      of_twice(world.local_handle(), problem, {}, {.start = twice});
  Answer drawn = draw(of_state), of_scaled = draw(of_twice);
  EXPECT_TRUE(complains(of_state, streams({second.path()}), drawn));
  EXPECT_TRUE(complains(of_twice, streams({first.path()}), of_scaled));
  read_again(of_state, streams({first.path()}), drawn);
  EXPECT_TRUE(!world.local_is_root() || drawn.has_exact_values);
}

}  // namespace
}  // namespace weir::engine
