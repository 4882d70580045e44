// Merging where every rank keeps a share of the sums, and all look for the answer: it is the answer of the root.

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/every_setting.hpp"
#include "engine/merge.hpp"
#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"
#include "engine/shared_work.hpp"
#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/engine/session.hpp"
#include "weir/error.hpp"
#include "weir/io/npy.hpp"
#include "weir/sample/scan_team.hpp"
#include "weir/setting/attention.hpp"
#include "weir/state/slice.hpp"

namespace weir::engine {
namespace {

using Merging = Session::Merging;
using testing_support::expect_error;

/// What an answer says, in words that are the same for the same bits.
std::string text_of(const Answer& answer) {
  std::string text;
  const auto put = [&](const auto& value) { text += fmt::format("{} ", value); };
  const auto put_estimate = [&](const Estimate& estimate) {
    put(estimate.value);
    put(estimate.bound);
  };
  const auto put_heavy = [&](const std::vector<HeavyCoordinate>& all) {
    for (const HeavyCoordinate& heavy : all) {
      text += fmt::format("[{} {}] ", heavy.index, heavy.column.value_or(0));
      put_estimate(heavy.estimate);
    }
  };
  put(answer.draws.norm);
  put(answer.draws.threshold);
  for (const Draw& draw : answer.draws.draws) {
    text += fmt::format("({} {} {}: {} {} {} {}) ", draw.lane, draw.index, draw.column.value_or(0), draw.value,
                        draw.probability, draw.value_bound.value_or(-1), draw.inclusion.value_or(-1));
    for (const double entry : draw.row) put(entry);
  }
  for (const FailedLane& failed : answer.draws.failed)
    text += fmt::format("{} {}, ", failed.lane, to_string(failed.reason));
  if (answer.norm) put_estimate(*answer.norm);
  if (answer.top) put_heavy(*answer.top);
  put_heavy(answer.points);
  for (const MomentAnswer& moment : answer.moments) put_estimate(moment.estimate);
  return text;
}

std::vector<std::byte> bytes_of(const State& state) {
  std::vector<std::byte> bytes;
  for (const StateArray& array : state.arrays()) {
    if (array.layout->gathering != Gathering::on_first) continue;
    const std::span<const std::byte> of_array = array.numbers.bytes();
    bytes.insert(bytes.end(), of_array.begin(), of_array.end());
  }
  return bytes;
}

Question question_for(const Problem& problem) {
  if (problem.keeps == Keeps::exact_shared) return {.draw = DrawQuestion{.samples = 3, .softmax = SoftmaxChoice{}}};
  return {.draw = DrawQuestion{.samples = 3}, .norm = true};
}

class DistributedTest : public testing::Test {
 protected:
  mpi::Communicator world;

  [[nodiscard]] Session open(const Problem& problem, const Sources& sources, Merging merging) const {
    return {world.local_handle(), problem, sources, {.merging = merging}};
  }
  /// Collective: the root's.
  void expect_same_everywhere(const std::vector<std::byte>& bytes, const std::string& what) const {
    std::vector<std::byte> of_root = bytes;
    world.broadcast(of_root);
    EXPECT_TRUE(bytes == of_root) << what;
  }
};

TEST_F(DistributedTest, EverySettingAnswersAsTheRootDoesWhileItReadsOn) {
  const EverySetting settings(world, 300, "shared");
  for (const SettingCase& setting : settings.cases()) {
    Session with_root = open(setting.problem, setting.sources, Merging::root);
    Session shared = open(setting.problem, setting.sources, Merging::distributed);
    for (int piece = 0; piece < 3; ++piece) {
      const std::string what = fmt::format("{}, piece {}", setting.name, piece);
      const Until until = piece < 2 ? Until{.events = 100U * static_cast<unsigned>(world.local_size())} : Until{};
      with_root.advance(until);
      shared.advance(until);
      const State& expected = with_root.snapshot();
      const State& found = shared.snapshot();
      EXPECT_EQ(with_root.statistics().updates, shared.statistics().updates) << what;
      if (world.local_is_root()) {
        EXPECT_TRUE(bytes_of(found) == bytes_of(expected)) << what;
        EXPECT_EQ(found.updates, expected.updates) << what;
      }
      expect_same_everywhere(bytes_of(found), what);
      const Question question = question_for(setting.problem);
      const std::string answer = text_of(with_root.answer(question));
      EXPECT_EQ(text_of(shared.answer(question)), answer) << what;
      // Asked again, of what has not changed.
      EXPECT_EQ(text_of(shared.answer(question)), answer) << what;
    }
  }
}

/// Events that all ranks can make for themselves: flat, and a few heavy ones, some negative.
std::string long_vector_events(std::uint64_t n) {
  std::mt19937_64 random(7);
  std::string text;
  for (std::uint64_t i = 0; i < n; i += 3) text += fmt::format("{},{}\n", i, static_cast<int>(random() % 9) - 4);
  for (int k = 0; k < 12; ++k) text += fmt::format("{},{}\n", random() % n, (k % 2 == 0 ? 1 : -1) * (2000 + 300 * k));
  return text;
}

/// So many keys that every scan is shared, with equal values among them.
TEST_F(DistributedTest, LongScansFindWhatOneRankFinds) {
  constexpr std::uint64_t n = 5 * least_keys_of_member + 17;
  const SharedFile file(world, "long.csv", long_vector_events(n));
  struct Case {
    std::string name;
    Problem problem;
    Question question;
  };
  const SketchConfig config{.dimension = n, .buckets = 1024, .lanes = 16, .seed = 5};
  SketchConfig by_p1 = config;
  by_p1.p = 1;
  SketchConfig groups = config;
  groups.levels = 2;
  const std::vector<Case> cases{
      {"draws and all else",
       vector_problem(config),
       {.draw = DrawQuestion{.samples = 6}, .norm = true, .top = 20, .points = {{3}, {4}}, .moments = {2}}},
      {"without replacement",
       vector_problem(config),
       {.draw = DrawQuestion{.samples = 40, .without_replacement = true}}},
      {"p = 1", vector_problem(by_p1), {.draw = DrawQuestion{.samples = 4}}},
      {"two levels", vector_problem(groups), {.draw = DrawQuestion{.samples = 6}, .top = 20}},
  };
  for (const Case& each : cases) {
    Session alone(world.local_handle(), each.problem, streams({file.path()}));
    alone.advance();
    Session shared = open(each.problem, streams({file.path()}), Merging::distributed);
    shared.advance();
    const std::string expected = text_of(alone.answer(each.question));
    EXPECT_EQ(text_of(shared.answer(each.question)), expected) << each.name;
    if (world.local_is_root()) {
      EXPECT_GT(expected.size(), 100U) << each.name;
    }
  }
}

/// The metric is read by the root alone.
TEST_F(DistributedTest, RowsInAMetricThatTheRootHas) {
  constexpr std::uint64_t n = 2 * least_keys_of_member + 5;
  std::string events;
  std::mt19937_64 random(3);
  for (int t = 0; t < 4000; ++t) events += fmt::format("A,{},{},{}\n", random() % n, random() % 3, random() % 7);
  for (int t = 0; t < 5; ++t) events += fmt::format("A,{},{},{}\n", random() % n, random() % 3, 200 + t);
  const SharedFile file(world, "rows.csv", events);
  const Problem problem = rows_problem({.dimension = n, .buckets = 512, .lanes = 8, .seed = 9}, 3, {.buckets = 512});
  Question question{.draw = DrawQuestion{.samples = 5}};
  if (world.local_is_root()) question.draw->metric.given = Metric::of({3, 3, {2, 0.5, 0, 0.5, 1, 0, 0, 0, 3}}, "M");
  for (const bool distinct : {false, true}) {
    question.draw->without_replacement = distinct;
    Session alone(world.local_handle(), problem, streams({file.path()}));
    alone.advance();
    Session shared = open(problem, streams({file.path()}), Merging::distributed);
    shared.advance();
    EXPECT_EQ(text_of(shared.answer(question)), text_of(alone.answer(question)));
  }
}

TEST_F(DistributedTest, EpochsAndWindowsAreThoseOfTheRoot) {
  const EverySetting settings(world, 300, "epochs");
  for (const SettingCase& setting : settings.cases()) {
    for (const WindowOptions& window : {WindowOptions{}, WindowOptions{.epochs = 2},
                                        WindowOptions{.epochs = 2, .tumbling = true}, WindowOptions{.decay = 0.5}}) {
      if (window.decay != 1 && setting.name.find("exact Gram") + 1 + setting.name.find("lifted") + 1 != 0) continue;
      const std::string what =
          fmt::format("{}, {} {} {}", setting.name, window.epochs.value_or(0), window.tumbling, window.decay);
      const Question question = question_for(setting.problem);
      struct Told {
        std::uint64_t updates, all_updates, window_epochs, epoch;
        std::string answer;
        std::vector<std::byte> bytes;
        bool operator==(const Told&) const = default;
      };
      const auto run = [&](Merging merging) {
        Session session = open(setting.problem, setting.sources, merging);
        std::vector<Told> told;
        session.run({.every = {.events = 90}, .window = window, .all_ranks_answer = true}, [&](const Epoch& epoch) {
          const State& state = session.snapshot();
          if (merging == Merging::distributed) expect_same_everywhere(bytes_of(state), what);
          // X of pairs may have left the window.
          std::string answer;
          try {
            answer = text_of(session.answer(question));
          } catch (const InputError& error) {
            answer = error.what();
          }
          if (world.local_is_root())
            told.push_back(
                {epoch.updates, epoch.all_updates, epoch.window_epochs, epoch.number, answer, bytes_of(state)});
        });
        return told;
      };
      const std::vector<Told> expected = run(Merging::root), found = run(Merging::distributed);
      ASSERT_EQ(found.size(), expected.size()) << what;
      for (std::size_t k = 0; k < found.size(); ++k) EXPECT_TRUE(found[k] == expected[k]) << what << ", " << k;
    }
  }
}

/// One job writes, another goes on; either may keep its sums on the root or on all ranks.
TEST_F(DistributedTest, CheckpointsGoOnWhereverSumsAreKept) {
  const EverySetting settings(world, 240, "going_on");
  const std::uint64_t process = world.broadcast(static_cast<std::uint64_t>(::getpid()));
  const std::string path = testing::TempDir() + "weir_distributed_" + std::to_string(process);
  const auto run = [&](const SettingCase& setting, Merging merging, bool resume, bool stop, const WindowOptions& window,
                       const std::function<void(const State&, const Epoch&)>& at_end) {
    std::optional<CheckpointDirectory> directory;
    Session::Options options{.merging = merging};
    together(world, [&](mpi::FailureSignal&) {
      if (!world.local_is_root()) return;
      if (!resume) std::filesystem::remove_all(path);
      directory.emplace(path);
      if (resume) options.checkpoint = directory->load([](const std::string& what) { ADD_FAILURE() << what; });
      EXPECT_EQ(options.checkpoint.has_value(), resume);
    });
    Session session(world.local_handle(), setting.problem, setting.sources, std::move(options));
    int calls = 0;
    Epoch last;
    session.run({.every = {.events = 60},
                 .window = window,
                 .checkpoint_every = {.events = 100'000},  // where it is stopped, and at the end
                 .writes_checkpoints = true,
                 .checkpoints = directory ? &*directory : nullptr,
                 .local_warn = [](const std::string& what) { ADD_FAILURE() << what; },
                 .all_ranks_answer = true,
                 .local_command = [&] { return stop && ++calls == 4 ? Command::stop : Command::none; }},
                [&](const Epoch& epoch) { last = epoch; });
    const State& state = session.snapshot();
    if (world.local_is_root()) at_end(state, last);
  };
  std::size_t turn = 0;
  for (const SettingCase& setting : settings.cases()) {
    if (!setting.can_be_saved) continue;
    for (const WindowOptions& window : {WindowOptions{}, WindowOptions{.epochs = 2}}) {
      std::vector<std::byte> expected;
      std::uint64_t updates = 0, of_window = 0;
      // All are stopped alike, so that their epochs are cut alike. The ways to go on take turns.
      constexpr std::array ways{std::pair(Merging::distributed, Merging::distributed),
                                std::pair(Merging::root, Merging::distributed),
                                std::pair(Merging::distributed, Merging::root)};
      for (const auto& [first, second] : {std::pair(Merging::root, Merging::root), ways[turn++ % ways.size()]}) {
        const std::string what = fmt::format("{}, window {}, {} then {}", setting.name, window.epochs.value_or(0),
                                             static_cast<int>(first), static_cast<int>(second));
        run(setting, first, false, true, window, [&](const State&, const Epoch&) {});
        run(setting, second, true, false, window, [&](const State& state, const Epoch& epoch) {
          if (expected.empty()) {
            expected = bytes_of(state);
            updates = epoch.all_updates;
            of_window = epoch.updates;
          }
          EXPECT_EQ(epoch.all_updates, updates) << what;
          EXPECT_EQ(epoch.updates, of_window) << what;
          EXPECT_TRUE(bytes_of(state) == expected) << what;
        });
      }
    }
  }
  std::ignore = world.all_sum(1);
  if (world.local_is_root()) std::filesystem::remove_all(path);
}

TEST_F(DistributedTest, SlicesAreShareAndSum) {
  const Party party = party_of(world);
  const Problem problem = vector_problem({.dimension = 1000, .buckets = 64, .lanes = 8, .seed = 4});
  State state = create_state(problem);
  EventBatch batch;
  for (std::uint64_t i = 0; i < 50; ++i) batch.push_back({Operand::y, i * 7, 0, static_cast<double>(i) - 20});
  state.add(batch);
  state.updates = 50;
  const State slice = slice_of(state, party);
  const std::uint64_t size = state.arrays()[0].numbers.size();
  EXPECT_LE(slice.arrays()[0].numbers.size(), size / party.count + 1);
  EXPECT_EQ(world.all_sum(slice.arrays()[0].numbers.size()), size);

  State sum = slice;
  sum.add(slice, -0.5);
  EXPECT_EQ(sum.updates, 100U);
  State whole = state;
  put_slice(sum, whole);
  State kept = state;
  keep_slice(kept, party);
  kept.scale(0.5);
  EXPECT_TRUE(bytes_of(whole) == bytes_of(kept));
  share_slices(world, whole);
  State expected = state;
  expected.scale(0.5);
  EXPECT_TRUE(bytes_of(whole) == bytes_of(expected));
  EXPECT_THROW(sum.add(batch), std::logic_error);
}

TEST_F(DistributedTest, AnErrorOfOneRankIsThrownOnAll) {
  const std::vector<ScanHit> hits{{.key = 1, .lane = 0, .value = 2}};
  for (const bool before_a_scan : {false, true})
    for (int failing = 0; failing < world.local_size(); ++failing) {
      const bool fails = world.local_rank() == failing;
      expect_error<InputError>(
          [&] {
            share_work(world, [&] {
              if (fails && before_a_scan) throw InputError("it went wrong here");
              std::ignore = SharedScans::team()->exchange(7, hits);
              if (fails) throw InputError("it went wrong here");
            });
          },
          {"it went wrong here"});
      EXPECT_EQ(SharedScans::team(), nullptr);
    }
  // The ranks can go on.
  share_work(world, [&] { EXPECT_EQ(SharedScans::team()->exchange(1, hits).size(), world.local_size()); });
}

TEST_F(DistributedTest, RanksThatPartAreStopped) {
  if (world.local_size() == 1) return;
  const bool other = world.local_rank() == world.local_size() - 1;
  for (const int way : {0, 1})
    expect_error<InputError>(
        [&] {
          share_work(world, [&] {
            // Another scan, or none.
            if (way == 0) std::ignore = SharedScans::team()->exchange(other ? 8 : 7, {});
            if (way == 1 && !other) std::ignore = SharedScans::team()->exchange(7, {});
          });
        },
        {"the ranks came to different conclusions from the same numbers", "expected --merge root"});
  std::ignore = world.all_sum(1);
}

}  // namespace
}  // namespace weir::engine
