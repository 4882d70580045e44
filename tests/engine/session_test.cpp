// What a session promises whatever is measured: goes of any length, states that are saved and go on, sums of states.

#include "weir/engine/session.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/every_setting.hpp"
#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using std::chrono::milliseconds;

/// Copies of the arrays of this rank.
std::map<std::string, std::vector<double>> arrays_of(const State& state) {
  std::map<std::string, std::vector<double>> arrays;
  for (const StateArray& array : state.arrays())
    arrays[array.layout->name].assign(array.numbers.doubles().begin(), array.numbers.doubles().end());
  return arrays;
}

/// Something that the state of the problem can answer.
Question some_question(const Problem& problem) {
  if (problem.keeps == Keeps::exact_shared) return {.draw = DrawQuestion{.samples = 3, .softmax = SoftmaxChoice{}}};
  return {.draw = DrawQuestion{.samples = 3}, .norm = true};
}

class SessionTest : public testing::Test {
 protected:
  mpi::Communicator world;
  [[nodiscard]] Session open(const SettingCase& of) const { return {world.local_handle(), of.problem, of.sources}; }
};

/// A way to read a stream in goes: which the next one is, by number.
struct Goes {
  std::string name;
  std::function<Until(int)> until;
  bool asks = false;  ///< A snapshot or an answer after each of the first goes.
};

TEST_F(SessionTest, AnyGoesGiveTheBitsOfOne) {
  const EverySetting settings(world, 20000, "goes");
  const std::vector<Goes> all{
      {"a few events", [](int) { return Until{.events = 71}; }},
      {"700 events, with questions", [](int) { return Until{.events = 700}; }, true},
      {"1000 events", [](int) { return Until{.events = 1000}; }},
      {"no time", [](int) { return Until{.time = milliseconds(0)}; }},
      {"a millisecond, with questions", [](int) { return Until{.time = milliseconds(1)}; }, true},
      {"a mixture, with questions",
       [](int go) {
         return Until{
             .events = go % 3 == 0 ? std::optional<std::uint64_t>(5000) : std::nullopt,
             .time = go % 2 == 0 ? std::optional<std::chrono::nanoseconds>(milliseconds(go)) : milliseconds(2)};
       },
       true},
  };
  for (const SettingCase& setting : settings.cases()) {
    Session whole = open(setting);
    EXPECT_FALSE(whole.advance());
    const State& at_once = whole.snapshot();
    const auto expected = arrays_of(at_once);
    const std::uint64_t updates = at_once.updates;
    if (world.local_is_root()) {
      EXPECT_FALSE(std::ranges::all_of(expected, [](const auto& array) {
        return std::ranges::all_of(array.second, [](double number) { return number == 0; });
      })) << setting.name;
    }
    for (const Goes& goes : all) {
      Session session = open(setting);
      int count = 0;
      for (bool more = true; more; ++count) {
        ASSERT_LT(count, 2000) << setting.name << ", " << goes.name;
        more = session.advance(goes.until(count));
        if (!goes.asks || count >= 4) continue;
        if (count % 2 == 0) {
          session.snapshot();
        } else {
          std::ignore = session.answer(some_question(setting.problem));
        }
      }
      EXPECT_GT(count, goes.name == "a few events" ? 1 : 0) << setting.name;
      EXPECT_FALSE(session.advance());
      const State& in_goes = session.snapshot();
      EXPECT_EQ(arrays_of(in_goes), expected) << setting.name << ", " << goes.name;
      if (world.local_is_root()) {
        EXPECT_EQ(in_goes.updates, updates) << setting.name << ", " << goes.name;
      }
    }
  }
}

TEST_F(SessionTest, NoEventsAreNone) {
  const EverySetting settings(world, 100, "none");
  Session session = open(settings.cases().front());
  EXPECT_TRUE(session.advance({.events = 0}));
  EXPECT_EQ(session.statistics().updates, 0U);
  EXPECT_FALSE(session.advance());
  EXPECT_FALSE(session.advance({.events = 0}));
  EXPECT_EQ(session.statistics().updates, 200U);
}

/// Sums of real numbers depend on their order, which goes do not change.
TEST_F(SessionTest, RealNumbersInGoesHaveTheBitsOfOneOnOneRank) {
  std::string text;
  for (int t = 0; t < 40000; ++t) text += std::to_string(t * 7 % 100) + "," + std::to_string(1.0 / (t + 3)) + "\n";
  const SharedFile file(world, "real.csv", text);
  const Problem problem = vector_problem({.dimension = 100, .buckets = 16, .lanes = 8});
  Session whole(MPI_COMM_SELF, problem, streams({file.path()}));
  whole.advance();
  const std::vector<std::byte> expected = serialise(whole.snapshot());
  for (const Until& until : {Until{.events = 1}, Until{.events = 1000}, Until{.time = milliseconds(0)}}) {
    Session session(MPI_COMM_SELF, problem, streams({file.path()}));
    while (session.advance(until)) {
    }
    EXPECT_EQ(serialise(session.snapshot()), expected);
  }
}

/// The bytes of a saved state, but for those which say how many ranks it was merged from.
std::vector<std::byte> without_ranks(State state) {
  state.ranks = 1;
  return serialise(state);
}

/// Groups of 1 to as many ranks as there are; `work` runs on the ranks of the first of them.
void on_first_ranks(const mpi::Communicator& world, int count, const std::function<void(MPI_Comm)>& work) {
  MPI_Comm group = MPI_COMM_NULL;
  const bool in = world.local_rank() < count;
  MPI_Comm_split(world.local_handle(), in ? 0 : MPI_UNDEFINED, world.local_rank(), &group);
  if (!in) return;
  work(group);
  MPI_Comm_free(&group);
}

TEST_F(SessionTest, SavedStatesGoOnOnAnyNumberOfRanks) {
  const EverySetting first(world, 300, "first"), second(world, 200, "second");
  const SharedFile target(world, "saved.weir", "");
  for (std::size_t k = 0; k < first.cases().size(); ++k) {
    const SettingCase& begun = first.cases()[k];
    if (!begun.can_be_saved) continue;
    // The rest of the stream comes to the operands that the saved state holds.
    const Sources rest =
        streams(second.cases()[k].sources.stream.paths,
                begun.name == "product, A fixed, exact" ? begun.sources.files : std::map<Operand, std::string>());
    std::optional<std::vector<std::byte>> saved;
    std::optional<std::vector<std::byte>> ended;
    for (int savers = 1; savers <= world.local_size(); ++savers) {
      on_first_ranks(world, savers, [&](MPI_Comm group) {
        Session session(group, begun.problem, begun.sources);
        session.advance();
        session.save(target.path());
      });
      std::ignore = world.all_sum(1);
      const std::vector<std::byte> bytes = without_ranks(load_state(target.path()));
      if (!saved) saved = bytes;
      EXPECT_TRUE(bytes == *saved) << begun.name << ", saved by " << savers;
      for (int readers = 1; readers <= world.local_size(); ++readers) {
        on_first_ranks(world, readers, [&](MPI_Comm group) {
          const mpi::Communicator ranks(group);
          Session session(group, begun.problem, rest, {.start = load_on_root(ranks, target.path())});
          session.advance();
          const std::string path = target.path() + ".next";
          session.save(path);
          if (!ranks.local_is_root()) return;
          const std::vector<std::byte> found = without_ranks(load_state(path));
          std::remove(path.c_str());
          if (!ended) ended = found;
          EXPECT_TRUE(found == *ended) << begun.name << ", from " << savers << " to " << readers << " ranks";
        });
        std::ignore = world.all_sum(1);
      }
    }
    // Both parts, combined or read in one go, are the same.
    if (world.local_is_root()) {
      Session other(MPI_COMM_SELF, begun.problem,
                    Sources{.stream = rest.stream, .files = begun.sources.files, .values = begun.sources.values});
      other.advance();
      State sum = load_state(target.path());
      sum.add(other.snapshot());
      EXPECT_TRUE(without_ranks(sum) == *ended) << begun.name;
    }
    std::ignore = world.all_sum(1);
  }
}

TEST_F(SessionTest, VerifiedDrawsAreTheSameOnAnyNumberOfRanks) {
  const EverySetting settings(world, 300, "verified");
  const SharedFile target(world, "verified.weir", "");
  for (const SettingCase& setting : settings.cases()) {
    if (setting.problem.setting != "kronecker-streaming") continue;
    Session session = run(world, setting.problem, setting.sources);
    session.save(target.path());
    const Question question{.draw = DrawQuestion{.samples = 7, .verify = true}};
    const Answer expected = session.answer(question);
    for (int readers = 1; readers <= world.local_size(); ++readers) {
      on_first_ranks(world, readers, [&](MPI_Comm group) {
        const mpi::Communicator ranks(group);
        Session loaded(group, setting.problem, {}, {.start = load_on_root(ranks, target.path())});
        const Answer found = loaded.answer(question);
        if (!world.local_is_root()) return;
        EXPECT_TRUE(found.verified);
        EXPECT_EQ(found.exact_norm, expected.exact_norm);
        ASSERT_FALSE(found.draws.draws.empty());
        ASSERT_EQ(found.draws.draws.size(), expected.draws.draws.size());
        for (std::size_t s = 0; s < found.draws.draws.size(); ++s) {
          EXPECT_EQ(entry_of(found.draws.draws[s]), entry_of(expected.draws.draws[s]));
          EXPECT_EQ(found.draws.draws[s].value, expected.draws.draws[s].value);
        }
      });
      std::ignore = world.all_sum(1);
    }
  }
}

}  // namespace
}  // namespace weir::engine
