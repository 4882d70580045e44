// Streams that are read in epochs: what an answer is about, windows, checkpoints and how sessions go on from them, failures
// inside of a run.

#include "weir/engine/epochs.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/every_setting.hpp"
#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"
#include "support/files.hpp"
#include "support/message_of.hpp"
#include "weir/engine/session.hpp"
#include "weir/error.hpp"
#include "weir/io/npy.hpp"
#include "weir/stream/writer.hpp"

namespace weir::engine {
namespace {

using std::chrono::milliseconds;
using testing_support::expect_error;

using Arrays = std::map<std::string, std::vector<std::byte>>;

/// The bytes of this rank's arrays.
Arrays arrays_of(const State& state) {
  Arrays arrays;
  for (const StateArray& array : state.arrays())
    arrays[array.layout->name].assign(array.numbers.bytes().begin(), array.numbers.bytes().end());
  arrays["what is no sum"] = state.kept().other_part();
  return arrays;
}

/// Those of arrays that are whole on the root once they are merged.
Arrays whole_arrays_of(const State& state) {
  Arrays arrays = arrays_of(state);
  for (const ArrayLayout& layout : state.layout())
    if (layout.gathering == Gathering::in_slices || layout.gathering == Gathering::by_share) arrays.erase(layout.name);
  return arrays;
}

/// A vector whose entry 0 is the number of events.
Problem counting_problem(std::uint64_t n = 8) { return vector_problem({.dimension = n, .buckets = 16, .lanes = 8}); }

std::string counting_events(int count) {
  std::string text;
  for (int t = 0; t < count; ++t) text += "0,1\n";
  return text;
}

/// A directory that rank 0 makes; it is gone when the last rank has left the scope.
class SharedDirectory {
 public:
  SharedDirectory(const mpi::Communicator& communicator, const std::string& name) : communicator_(communicator) {
    const std::uint64_t process = communicator.broadcast(static_cast<std::uint64_t>(::getpid()));
    path_ = testing::TempDir() + "weir_epochs_" + std::to_string(process) + "_" + name;
    if (communicator.local_is_root()) std::filesystem::remove_all(path_);
    std::ignore = communicator.all_sum(1);
  }
  ~SharedDirectory() {
    std::ignore = communicator_.all_sum(1);
    std::error_code ignored;
    if (communicator_.local_is_root()) std::filesystem::remove_all(path_, ignored);
  }
  SharedDirectory(const SharedDirectory&) = delete;
  SharedDirectory& operator=(const SharedDirectory&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const mpi::Communicator& communicator_;
  std::string path_;
};

/// Collective: `work` runs on the first `count` ranks, on a communicator of theirs.
void on_first_ranks(const mpi::Communicator& world, int count, const std::function<void(MPI_Comm)>& work) {
  MPI_Comm group = MPI_COMM_NULL;
  const bool in = world.local_rank() < count;
  MPI_Comm_split(world.local_handle(), in ? 0 : MPI_UNDEFINED, world.local_rank(), &group);
  if (in) {
    work(group);
    MPI_Comm_free(&group);
  }
  std::ignore = world.all_sum(1);
}

/// What a session may be asked, whatever it keeps.
Question some_question(const Problem& problem) {
  if (problem.keeps == Keeps::exact_shared) return {.draw = DrawQuestion{.samples = 3, .softmax = SoftmaxChoice{}}};
  return {.draw = DrawQuestion{.samples = 3}, .norm = true};
}

class EpochsTest : public testing::Test {
 protected:
  mpi::Communicator world;
  [[nodiscard]] Session open(const SettingCase& of) const { return {world.local_handle(), of.problem, of.sources}; }
  [[nodiscard]] int ranks() const { return world.local_size(); }
};

/// Epochs as the root was given them, and what can be said of any of them. Not all ranks see epochs of every run.
struct Seen {
  std::vector<Epoch> epochs;

  void note(const Epoch& epoch) {
    if (!epochs.empty()) {
      const Epoch& last = epochs.back();
      EXPECT_FALSE(last.is_final);
      // A stream that ends where an epoch did tells of that again.
      const bool is_again = epoch.is_final && epoch.number == last.number && epoch.all_updates == last.all_updates;
      EXPECT_EQ(epoch.number, last.number + (last.is_whole && !is_again ? 1 : 0));
      EXPECT_GE(epoch.all_updates, last.all_updates);
      EXPECT_GE(epoch.time, last.time);
    }
    std::uint64_t sum = 0;
    for (const RankProgress& rank : epoch.ranks) sum += rank.updates;
    EXPECT_EQ(sum, epoch.all_updates);
    epochs.push_back(epoch);
  }
};

TEST_F(EpochsTest, AnyEpochsGiveTheBitsOfOneGo) {
  const int events = 300;
  const EverySetting settings(world, events, "epochs");
  struct Way {
    std::string name;
    EpochOptions options;
  };
  const std::vector<Way> ways{{"every 70 events", {.every = {.events = 70}}},
                              {"every millisecond", {.every = {.time = milliseconds(1)}}},
                              {"every 250 events or 5 ms", {.every = {.events = 250, .time = milliseconds(5)}}},
                              {"one epoch", {}},
                              {"70, all ranks answer", {.every = {.events = 70}, .all_ranks_answer = true}}};
  for (const SettingCase& setting : settings.cases()) {
    Session whole = open(setting);
    whole.advance();
    const Arrays expected = whole_arrays_of(whole.snapshot());
    const std::uint64_t updates = whole.statistics().updates;
    for (const Way& way : ways) {
      const std::string what = setting.name + ", " + way.name;
      Session session = open(setting);
      Seen seen;
      bool may_be_short = false;
      session.run(way.options, [&](const Epoch& epoch) {
        const State& state = session.snapshot();
        const Answer answer = epoch.is_final ? session.answer(some_question(setting.problem)) : Answer{};
        if (!world.local_is_root()) return;
        seen.note(epoch);
        EXPECT_EQ(state.updates, epoch.all_updates) << what;
        EXPECT_EQ(epoch.updates, epoch.all_updates) << what;
        EXPECT_EQ(epoch.window_epochs, epoch.number) << what;
        EXPECT_TRUE(epoch.is_whole) << what;
        // Where a rank is at its end the epoch that it was in is shorter.
        if (way.options.every.events == 70U && !epoch.is_final) {
          const std::uint64_t last = seen.epochs.size() > 1 ? seen.epochs[seen.epochs.size() - 2].all_updates : 0;
          EXPECT_LE(epoch.all_updates - last, 70U) << what;
          if (!may_be_short) {
            EXPECT_TRUE(epoch.all_updates % 70 == 0 || ranks() > 1) << what;
          }
          may_be_short = epoch.all_updates % 70 != 0;
        }
        if (ranks() > 1) return;
        Session fresh(MPI_COMM_SELF, setting.problem, setting.sources);
        if (epoch.all_updates > 0) fresh.advance({.events = epoch.all_updates});
        EXPECT_TRUE(whole_arrays_of(fresh.snapshot()) == whole_arrays_of(state)) << what << ", epoch " << epoch.number;
      });
      const State& state = session.snapshot();
      EXPECT_EQ(session.statistics().updates, updates) << what;
      EXPECT_FALSE(session.advance());
      if (!world.local_is_root()) continue;
      EXPECT_TRUE(whole_arrays_of(state) == expected) << what;
      ASSERT_FALSE(seen.epochs.empty()) << what;
      EXPECT_TRUE(seen.epochs.back().is_final) << what;
      EXPECT_EQ(seen.epochs.back().all_updates, updates) << what;
      if (way.options.every.events == 70U) {
        EXPECT_GE(seen.epochs.size(), updates / 70) << what;
      }
      if (way.name == "one epoch") {
        EXPECT_EQ(seen.epochs.size(), 1U) << what;
      }
    }
  }
}

/// Every event adds 1 to one entry, so that the norm is the number of events that an answer is about.
TEST_F(EpochsTest, AnAnswerIsAboutAllEventsUpToItsMomentAndNoneLater) {
  const SharedFile file(world, "count.csv", counting_events(30011));
  for (const bool all_answer : {false, true}) {
    for (const WindowOptions& window :
         {WindowOptions{}, WindowOptions{.epochs = 3}, WindowOptions{.epochs = 2, .tumbling = true}}) {
      Session session(world.local_handle(), counting_problem(), streams({file.path(), file.path()}));
      std::atomic<int> calls = 0;
      Seen seen;
      int in_between = 0;
      session.run(
          {.every = {.events = 2000},
           .window = window,
           .all_ranks_answer = all_answer,
           // Every rank, at moments of its own.
           .local_command = [&] { return ++calls % (7 + world.local_rank()) == 3 ? Command::answer : Command::none; }},
          [&](const Epoch& epoch) {
            const Answer answer = session.answer({.norm = true});
            if (!world.local_is_root()) return;
            seen.note(epoch);
            EXPECT_EQ(answer.norm->value, static_cast<double>(epoch.updates));
            in_between += epoch.is_whole ? 0 : 1;
            if (window.is_all()) {
              EXPECT_EQ(epoch.updates, epoch.all_updates);
            }
            if (window.epochs == 3U) {
              EXPECT_EQ(epoch.window_epochs, std::min<std::uint64_t>(epoch.number, 3));
              EXPECT_LE(epoch.updates, 6000U);
              if (epoch.number >= 3 && epoch.all_updates < 40000) {
                EXPECT_GT(epoch.updates, 4000U - 1);
              }
            }
            if (window.tumbling) {
              EXPECT_EQ(epoch.window_epochs, (epoch.number - 1) % 2 + 1);
            }
          });
      if (!world.local_is_root()) continue;
      EXPECT_TRUE(seen.epochs.back().is_final);
      EXPECT_EQ(seen.epochs.back().all_updates, 60022U);
    }
  }
}

/// The differences of what two fresh sessions have read.
TEST_F(EpochsTest, AWindowHasTheBitsOfAFreshSketchOfItsEvents) {
  const EverySetting settings(world, 300, "windows");
  if (!world.local_is_root()) return;
  const auto read = [&](const SettingCase& setting, std::uint64_t events) {
    Session session(MPI_COMM_SELF, setting.problem, setting.sources);
    if (events > 0) session.advance({.events = events});
    return session.snapshot();
  };
  for (const SettingCase& setting : settings.cases()) {
    for (const WindowOptions& window :
         {WindowOptions{.epochs = 1}, WindowOptions{.epochs = 3}, WindowOptions{.epochs = 50},
          WindowOptions{.tumbling = true}, WindowOptions{.epochs = 4, .tumbling = true}}) {
      const std::string what = fmt::format("{}, {} {}", setting.name, window.epochs.value_or(0), window.tumbling);
      Session session(MPI_COMM_SELF, setting.problem, setting.sources);
      std::vector<std::uint64_t> ends{0};
      int calls = 0;
      session.run({.every = {.events = 64},
                   .window = window,
                   .local_command = [&] { return ++calls % 2 == 0 ? Command::answer : Command::none; }},
                  [&](const Epoch& epoch) {
                    const State& state = session.snapshot();
                    const std::uint64_t first =
                        window.tumbling ? (epoch.number - 1) / window.epochs.value_or(1) * window.epochs.value_or(1)
                                        : epoch.number - std::min(epoch.number, *window.epochs);
                    EXPECT_EQ(epoch.updates, epoch.all_updates - ends[first]) << what;
                    EXPECT_EQ(state.updates, epoch.updates) << what;
                    State expected = read(setting, epoch.all_updates);
                    if (ends[first] > 0) expected.add(read(setting, ends[first]), -1);
                    Arrays found = arrays_of(state), wanted = arrays_of(expected);
                    // Counts are added by State::add in either direction.
                    for (const ArrayLayout& layout : state.layout())
                      if (layout.is_count) {
                        found.erase(layout.name);
                        wanted.erase(layout.name);
                      }
                    EXPECT_TRUE(found == wanted) << what << ", epoch " << epoch.number;
                    if (epoch.is_whole) ends.push_back(epoch.all_updates);
                  });
      EXPECT_GT(ends.size(), 4U) << what;
    }
  }
}

TEST_F(EpochsTest, DecayMultipliesWhatWasThereWhenAnEpochBegins) {
  const SharedFile file(world, "decay.csv", counting_events(1000));
  for (const bool all_answer : {false, true}) {
    Session session(world.local_handle(), counting_problem(), streams({file.path()}));
    double expected = 0;
    std::uint64_t before = 0, last = 0;
    session.run({.every = {.events = 100}, .window = {.decay = 0.5}, .all_ranks_answer = all_answer},
                [&](const Epoch& epoch) {
                  const Answer answer = session.answer({.norm = true});
                  if (!world.local_is_root()) return;
                  if (epoch.number > last) expected *= 0.5;
                  last = epoch.number;
                  expected += static_cast<double>(epoch.all_updates - before);
                  before = epoch.all_updates;
                  EXPECT_EQ(answer.norm->value, expected);
                });
    EXPECT_EQ(session.statistics().updates, 1000U);
  }
}

TEST_F(EpochsTest, WindowsThatCannotBeAreRefused) {
  const EverySetting settings(world, 60, "refused");
  const auto refuse = [&](const std::string& name, const WindowOptions& window,
                          std::initializer_list<std::string_view> parts) {
    const auto setting = std::ranges::find(settings.cases(), name, &SettingCase::name);
    Session session = open(*setting);
    expect_error<UsageError>([&] { session.run({.every = {.events = 10}, .window = window}, [](const Epoch&) {}); },
                             parts);
  };
  refuse("vector", {.epochs = 0}, {"a window of 0 epochs: expected 1 or more"});
  refuse("vector", {.decay = 0}, {"a decay of 0: expected a number above 0, up to 1"});
  refuse("vector", {.decay = 1.5}, {"a decay of 1.5"});
  refuse("vector", {.epochs = 2, .decay = 0.5}, {"a window has sharp ends and a decay has none"});
  refuse("rows, exact Gram", {.decay = 0.5}, {"--window, --decay: ", "holds rows that come and go whole"});
}

TEST_F(EpochsTest, ASessionRunsOnce) {
  const SharedFile file(world, "once.csv", counting_events(10));
  Session session(world.local_handle(), counting_problem(), streams({file.path()}));
  session.run({}, [](const Epoch&) {});
  expect_error<UsageError>([&] { session.run({}, [](const Epoch&) {}); }, {"a session runs once"});
  Session nothing(world.local_handle(), counting_problem(), streams({}));
  expect_error<UsageError>([&] { nothing.run({}, [](const Epoch&) {}); }, {"nothing streams: there are no epochs"});
  Session unwritable(world.local_handle(), counting_problem(), streams({file.path()}));
  expect_error<UsageError>([&] { unwritable.run({.writes_checkpoints = true}, [](const Epoch&) {}); },
                           {"checkpoints are wanted, and there is no directory for them"});
}

// Checkpoints.

/// The part of a stream that is read before the job is stopped: at the end of an epoch, or in the middle of one.
struct Stop {
  int after_calls = 0;  ///< Of at_epoch.
  bool in_the_middle = false;
};

struct Job {
  Problem problem;
  Sources sources;
  EpochOptions options;
};

/// Collective over `group`: runs a job that writes checkpoints to `directory`, from the newest one where `resume`. The state
/// of the end is given to `at_end` on the root.
std::uint64_t run_job(MPI_Comm group, const Job& job, const std::string& path, bool resume, std::optional<Stop> stop,
                      const std::function<void(const State&, const Epoch&)>& at_end = {}) {
  const mpi::Communicator communicator(group);
  const bool root = communicator.local_is_root();
  std::optional<CheckpointDirectory> directory;
  Session::Options of_session;
  std::uint64_t before = 0;
  together(communicator, [&](mpi::FailureSignal&) {
    if (!root) return;
    directory.emplace(path);
    if (resume) of_session.checkpoint = directory->load([](const std::string& what) { ADD_FAILURE() << what; });
    if (resume) {
      EXPECT_TRUE(of_session.checkpoint.has_value());
    }
    if (of_session.checkpoint) before = of_session.checkpoint->info.all_updates;
  });
  Session session(group, job.problem, job.sources, std::move(of_session));
  EpochOptions options = job.options;
  options.writes_checkpoints = true;
  options.checkpoints = directory ? &*directory : nullptr;
  options.local_warn = [](const std::string& what) { ADD_FAILURE() << what; };
  int calls = 0;
  std::atomic<bool> wanted = false;
  options.local_command = [&] { return wanted ? Command::stop : Command::none; };
  Epoch last;
  session.run(options, [&](const Epoch& epoch) {
    if (root) {
      EXPECT_GE(epoch.all_updates, before);
      last = epoch;
    }
    if (stop && ++calls >= stop->after_calls) wanted = true;
  });
  const State& state = session.snapshot();
  if (root && at_end) at_end(state, last);
  return root ? last.all_updates : 0;
}

TEST_F(EpochsTest, JobsGoOnFromCheckpointsOnAnyNumberOfRanks) {
  const EverySetting settings(world, 300, "resume");
  const SharedDirectory directory(world, "resume");
  for (const SettingCase& setting : settings.cases()) {
    if (!setting.can_be_saved) continue;
    Session whole(MPI_COMM_SELF, setting.problem, setting.sources);
    whole.advance();
    const Arrays expected = whole_arrays_of(whole.snapshot());
    const std::uint64_t updates = whole.statistics().updates;
    int turn = 0;
    for (int first = 1; first <= ranks(); ++first) {
      for (const int second : std::set{1, ranks() + 1 - first}) {
        const std::string what = fmt::format("{}, from {} to {} ranks", setting.name, first, second);
        if (world.local_is_root()) std::filesystem::remove_all(directory.path());
        std::ignore = world.all_sum(1);
        EpochOptions options{.every = {.events = 50}};
        if (++turn % 2 == 0) options.checkpoint_every.events = 35;  // in the middle of epochs too
        const Job job{setting.problem, setting.sources, options};
        std::uint64_t read = 0;
        // Two stops, the second one on another number of ranks.
        on_first_ranks(world, first, [&](MPI_Comm group) {
          read = run_job(group, job, directory.path(), false, Stop{.after_calls = 1 + turn % 3});
        });
        on_first_ranks(world, second, [&](MPI_Comm group) {
          const std::uint64_t more = run_job(group, job, directory.path(), true, Stop{.after_calls = 2});
          if (world.local_is_root()) {
            EXPECT_GE(more, read) << what;
            EXPECT_LT(read, updates) << what;
          }
        });
        on_first_ranks(world, first, [&](MPI_Comm group) {
          run_job(group, job, directory.path(), true, std::nullopt, [&](const State& state, const Epoch& last) {
            EXPECT_EQ(last.all_updates, updates) << what;
            EXPECT_EQ(last.updates, updates) << what;
            EXPECT_EQ(state.updates, updates) << what;
            // What is cut among ranks is compared in files.
            if (first == 1) {
              EXPECT_TRUE(whole_arrays_of(state) == expected) << what;
            }
          });
        });
        if (world.local_is_root()) {
          const CheckpointDirectory opened(directory.path());
          const std::optional<Checkpoint> checkpoint =
              opened.load([](const std::string& text) { ADD_FAILURE() << text; });
          ASSERT_TRUE(checkpoint.has_value());
          EXPECT_TRUE(checkpoint->info.is_final);
          EXPECT_EQ(checkpoint->info.all_updates, updates) << what;
          EXPECT_TRUE(arrays_of(checkpoint->sum) == arrays_of(whole.snapshot())) << what;
        }
        std::ignore = world.all_sum(1);
      }
    }
  }
}

/// Where one rank reads, the epochs of a job that was stopped and went on are those of one that was not.
TEST_F(EpochsTest, WindowsOfAJobThatWasStoppedAreThoseOfOneThatWasNot) {
  const EverySetting settings(world, 250, "stopped");
  const SharedDirectory directory(world, "stopped");
  for (const SettingCase& setting : settings.cases()) {
    if (!setting.can_be_saved) continue;
    for (const WindowOptions& window : {WindowOptions{.epochs = 3}, WindowOptions{.epochs = 2, .tumbling = true}}) {
      EpochOptions options{.every = {.events = 60}, .window = window, .checkpoint_every = {.events = 42}};
      struct Told {
        std::uint64_t all_updates, updates, window_epochs;
        Arrays arrays;
        bool operator==(const Told&) const = default;
      };
      std::map<std::uint64_t, Told> expected;
      const auto note = [](const Session& session, const Epoch& epoch, const State& state,
                           std::map<std::uint64_t, Told>& told) {
        std::ignore = session;
        if (epoch.is_whole)
          told.insert_or_assign(epoch.number,
                                Told{epoch.all_updates, epoch.updates, epoch.window_epochs, whole_arrays_of(state)});
      };
      Session whole(MPI_COMM_SELF, setting.problem, setting.sources);
      whole.run(options, [&](const Epoch& epoch) { note(whole, epoch, whole.snapshot(), expected); });
      // Each job is stopped after three segments of the stream, which need not end with an epoch.
      if (world.local_is_root()) std::filesystem::remove_all(directory.path());
      std::ignore = world.all_sum(1);
      on_first_ranks(world, 1, [&](MPI_Comm group) {
        std::map<std::uint64_t, Told> found;
        bool is_at_end = false;
        int jobs = 0, stopped_in_the_middle = 0;
        for (; !is_at_end && jobs < 100; ++jobs) {
          CheckpointDirectory opened(directory.path());
          Session::Options of_session;
          of_session.checkpoint = opened.load([](const std::string& what) { ADD_FAILURE() << what; });
          EXPECT_EQ(of_session.checkpoint.has_value(), jobs > 0);
          Session session(group, setting.problem, setting.sources, std::move(of_session));
          int calls = 0;
          options.writes_checkpoints = true;
          options.checkpoints = &opened;
          options.local_command = [&] { return ++calls == 3 ? Command::stop : Command::none; };
          session.run(options, [&](const Epoch& epoch) {
            note(session, epoch, session.snapshot(), found);
            is_at_end = epoch.is_final && epoch.all_updates == expected.rbegin()->second.all_updates && epoch.is_whole;
            stopped_in_the_middle += epoch.is_final && !epoch.is_whole ? 1 : 0;
          });
        }
        EXPECT_GT(jobs, 2);
        EXPECT_GT(stopped_in_the_middle, 0);
        EXPECT_EQ(found.size(), expected.size()) << setting.name;
        for (const auto& [number, told] : expected)
          EXPECT_TRUE(found.contains(number) && found.at(number) == told) << setting.name << ", epoch " << number;
        // Whoever goes on at the end is told the same once more.
        CheckpointDirectory opened(directory.path());
        Session::Options of_session;
        of_session.checkpoint = opened.load([](const std::string& what) { ADD_FAILURE() << what; });
        EXPECT_TRUE(of_session.checkpoint->info.is_final);
        Session session(group, setting.problem, setting.sources, std::move(of_session));
        std::map<std::uint64_t, Told> again;
        session.run({.every = options.every, .window = window},
                    [&](const Epoch& epoch) { note(session, epoch, session.snapshot(), again); });
        EXPECT_EQ(again.size(), 1U) << setting.name;
        EXPECT_TRUE(*again.begin() == *expected.rbegin()) << setting.name;
      });
    }
  }
}

/// Every event is the same, so that what a window holds can be told on any number of ranks.
TEST_F(EpochsTest, WindowsGoOnOnAnyNumberOfRanks) {
  const SharedFile file(world, "same.csv", counting_events(4000));
  const SharedDirectory directory(world, "same");
  const Problem problem = counting_problem();
  for (int first = 1; first <= ranks(); ++first)
    for (int second = 1; second <= ranks(); ++second)
      for (const bool in_the_middle : {false, true}) {
        const std::string what = fmt::format("from {} to {} ranks, {}", first, second, in_the_middle);
        if (world.local_is_root()) std::filesystem::remove_all(directory.path());
        std::ignore = world.all_sum(1);
        const Job job{problem,
                      streams({file.path()}),
                      {.every = {.events = 100},
                       .window = {.epochs = 4},
                       .checkpoint_every = {.events = in_the_middle ? 130U : 100U}}};
        on_first_ranks(world, first,
                       [&](MPI_Comm group) { run_job(group, job, directory.path(), false, Stop{.after_calls = 6}); });
        std::uint64_t number = 0, in_epoch = 0;
        if (world.local_is_root()) {
          const CheckpointDirectory opened(directory.path());
          const CheckpointInfo info = opened.load([](const std::string& text) { ADD_FAILURE() << text; })->info;
          EXPECT_EQ(info.is_final, false) << what;
          EXPECT_GE(info.epoch, 6U) << what;
          number = info.epoch;
          in_epoch = info.updates_in_epoch;
          EXPECT_LE(in_epoch, 100U) << what;  // all of it, where the ranks were about to end it
        }
        on_first_ranks(world, second, [&](MPI_Comm group) {
          const mpi::Communicator communicator(group);
          std::optional<CheckpointDirectory> opened;
          Session::Options options;
          if (communicator.local_is_root()) {
            opened.emplace(directory.path());
            options.checkpoint = opened->load([](const std::string& text) { ADD_FAILURE() << text; });
          }
          Session session(group, problem, job.sources, std::move(options));
          bool some_rank_has_ended = false;
          std::uint64_t last = 0;
          session.run(job.options, [&](const Epoch& epoch) {
            const Answer answer = session.answer({.norm = true});
            if (!communicator.local_is_root()) return;
            EXPECT_EQ(answer.norm->value, static_cast<double>(epoch.updates)) << what;
            if (last == 0) {
              EXPECT_EQ(epoch.number, number) << what;
            }
            const std::uint64_t of_epoch = epoch.all_updates - last;
            if (last > 0 && of_epoch != 100) some_rank_has_ended = true;
            last = epoch.all_updates;
            if (!some_rank_has_ended) {
              EXPECT_EQ(epoch.all_updates, 100 * epoch.number) << what;
              EXPECT_EQ(epoch.updates, 400U) << what;
            }
            EXPECT_EQ(epoch.window_epochs, 4U) << what;
            if (epoch.is_final) {
              EXPECT_EQ(epoch.all_updates, 4000U) << what;
            }
          });
        });
      }
}

TEST_F(EpochsTest, AnotherWindowOrStreamThanThatOfTheCheckpointIsRefused) {
  const SharedFile file(world, "this.csv", counting_events(400)), other(world, "other.csv", counting_events(400));
  const SharedDirectory directory(world, "refuse");
  const Job job{counting_problem(), streams({file.path()}), {.every = {.events = 100}, .window = {.epochs = 2}}};
  run_job(world.local_handle(), job, directory.path(), false, Stop{.after_calls = 1});
  const auto refuse = [&](const Problem& problem, const Sources& sources, const WindowOptions& window,
                          std::initializer_list<std::string_view> parts) {
    Session::Options options;
    if (world.local_is_root())
      options.checkpoint = CheckpointDirectory(directory.path()).load([](const std::string&) {});
    expect_error(
        [&] {
          Session session(world.local_handle(), problem, sources, std::move(options));
          session.run({.every = {.events = 100}, .window = window}, [](const Epoch&) {});
        },
        parts);
  };
  refuse(job.problem, job.sources, {.epochs = 3},
         {"the checkpoint is of another window: window 2, tumbling false, decay 1 against window 3"});
  refuse(job.problem, job.sources, {}, {"against window of all epochs"});
  refuse(job.problem, streams({other.path()}), job.options.window,
         {file.path() + ": was read before the checkpoint and is not given now"});
  refuse(counting_problem(9), job.sources, job.options.window, {"of another problem", "n"});
  if (world.local_is_root()) std::ofstream(file.path(), std::ios::app) << "0,1\n";
  std::ignore = world.all_sum(1);
  refuse(job.problem, job.sources, job.options.window, {file.path() + ": not the file that was read before"});
}

/// A stream in every format, and several at once.
TEST_F(EpochsTest, JobsGoOnInFilesOfEveryFormat) {
  constexpr std::uint64_t n = 40;
  std::string text;
  EventBatch batch;
  std::vector<double> column(n);
  for (int t = 0; t < 3000; ++t) {
    const auto i = static_cast<std::uint64_t>(t * 7 % 40);
    const double delta = t % 11 - 4;
    text += fmt::format("{},{}\n", i, delta);
    batch.push_back({Operand::y, i, 0, delta});
    column[i] += delta;
  }
  const auto bytes = std::as_bytes(std::span(column));
  const std::string array = npy_header(n, 1) + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const SharedFile lines(world, "lines.csv", text), zipped(world, "lines.csv.gz", testing_support::gzip(text)),
      binary(world, "lines.bin", ""), npy(world, "column.npy", array);
  if (world.local_is_root()) {
    EventWriter writer(binary.path(), EventFormat::binary);
    writer.write(batch);
    writer.close();
  }
  std::ignore = world.all_sum(1);
  const SharedDirectory directory(world, "formats");
  const Problem problem = vector_problem({.dimension = n, .buckets = 16, .lanes = 8});
  for (const std::vector<std::string>& paths :
       {std::vector{lines.path()},
        {zipped.path()},
        {binary.path()},
        {npy.path()},
        {zipped.path(), lines.path(), npy.path(), binary.path(), zipped.path()}}) {
    Session whole(MPI_COMM_SELF, problem, streams(paths));
    whole.advance();
    const std::uint64_t updates = whole.statistics().updates;
    const Arrays expected = arrays_of(whole.snapshot());
    if (world.local_is_root()) std::filesystem::remove_all(directory.path());
    std::ignore = world.all_sum(1);
    const Job job{
        problem, streams(paths), {.every = {.events = updates / 9}, .checkpoint_every = {.events = updates / 7}}};
    std::uint64_t read = 0;
    bool resume = false;
    for (int count = ranks(), jobs = 0; jobs < 20; ++jobs, count = count % ranks() + 1) {
      on_first_ranks(world, count, [&](MPI_Comm group) {
        read = run_job(group, job, directory.path(), resume,
                       jobs < 4 ? std::optional(Stop{.after_calls = 2}) : std::nullopt,
                       [&](const State& state, const Epoch& epoch) {
                         EXPECT_EQ(state.updates, epoch.all_updates);
                         if (epoch.all_updates == updates) {
                           EXPECT_TRUE(arrays_of(state) == expected) << paths.front();
                         }
                       });
      });
      resume = true;
      if (world.broadcast(read) == updates && jobs > 4) break;
    }
    EXPECT_EQ(world.broadcast(read), updates) << paths.front();
  }
}

/// Bad lines that are skipped are counted once, whether the job was stopped or not.
TEST_F(EpochsTest, SkippedLinesAreCountedOnce) {
  std::string text;
  for (int t = 0; t < 2000; ++t) text += t % 3 == 0 || t > 1900 ? "broken\n" : "0,1\n";
  const SharedFile file(world, "skip.csv", text);
  Sources sources = streams({file.path()});
  sources.stream.on_error = OnError::skip;
  Session whole(world.local_handle(), counting_problem(), sources);
  whole.advance();
  const IngestStatistics expected = whole.statistics();
  const SharedDirectory directory(world, "skip");
  const Job job{counting_problem(), sources, {.every = {.events = 70}}};
  Epoch last;
  for (int stops = 0; stops < 40; ++stops) {
    run_job(world.local_handle(), job, directory.path(), stops > 0, Stop{.after_calls = 1},
            [&](const State&, const Epoch& epoch) { last = epoch; });
    if (world.broadcast(last.all_updates) == expected.updates && stops > 20) break;
  }
  if (!world.local_is_root()) return;
  EXPECT_EQ(last.all_updates, expected.updates);
  EXPECT_EQ(last.skipped, expected.skipped);
}

/// Whoever stopped before the last lines, which are all bad, has not read a stream of bad lines only.
TEST_F(EpochsTest, WhatIsLeftMayBeBadLinesOnly) {
  const SharedFile good(world, "ten.csv", counting_events(10)),
      file(world, "rest.csv", counting_events(10) + "broken\nbroken\n");
  Sources sources = streams({file.path()});
  sources.stream.on_error = OnError::skip;
  for (const bool all_answer : {false, true}) {
    Session begun(world.local_handle(), counting_problem(), streams({good.path()}));
    begun.advance();
    const State& state = begun.snapshot();
    Session::Options options;
    if (world.local_is_root()) {
      const Positions positions{.files = {{look_at(file.path()), {FileRange{.begin = 40}}}}};
      options.checkpoint = Checkpoint{{.epoch = 2, .all_updates = 10, .positions = to_text(positions)}, state};
    }
    Session session(world.local_handle(), counting_problem(), sources, std::move(options));
    session.run({.all_ranks_answer = all_answer}, [&](const Epoch& epoch) {
      if (!world.local_is_root()) return;
      EXPECT_TRUE(epoch.is_final);
      EXPECT_EQ(epoch.all_updates, 10U);
      EXPECT_EQ(epoch.skipped, 2U);
    });
  }
}

TEST_F(EpochsTest, CheckpointsOfSourcesWhoseNamesAreNotUtf8AreRefused) {
  const SharedFile file(world, "name\xff.csv", counting_events(10));
  Session session(world.local_handle(), counting_problem(), streams({file.path()}));
  expect_error<UsageError>([&] { session.run({.writes_checkpoints = true}, [](const Epoch&) {}); },
                           {file.path() + ": the name is not UTF-8"});
  Session without(world.local_handle(), counting_problem(), streams({file.path()}));
  EXPECT_NO_THROW(without.run({}, [](const Epoch&) {}));
}

// Failures inside of a run.

TEST_F(EpochsTest, FailuresAreThrownOnEveryRankAndLeaveTheRanksInStep) {
  const SharedFile good(world, "good.csv", counting_events(20000));
  const SharedFile bad(world, "bad.csv", counting_events(15000) + "broken\n" + counting_events(5000));
  const SharedDirectory directory(world, "failures");
  const auto check_that_ranks_are_in_step = [&] {
    Session session(world.local_handle(), counting_problem(), streams({good.path()}));
    session.run({.every = {.events = 5000}}, [](const Epoch&) {});
    EXPECT_EQ(session.statistics().updates, 20000U);
  };
  for (const bool all_answer : {false, true}) {
    const EpochOptions options{.every = {.events = 300}, .all_ranks_answer = all_answer};
    {
      Session session(world.local_handle(), counting_problem(), streams({bad.path()}));
      expect_error([&] { session.run(options, [](const Epoch&) {}); }, {bad.path() + ":15001:"});
      EXPECT_FALSE(session.advance());
      check_that_ranks_are_in_step();
    }
    for (const std::uint64_t at : {std::uint64_t{1}, std::uint64_t{7}, std::uint64_t{67}}) {
      // Whoever prints answers runs out of disk, say.
      Session session(world.local_handle(), counting_problem(), streams({good.path()}));
      expect_error(
          [&] {
            session.run(options, [&](const Epoch& epoch) {
              if (world.local_is_root() && (epoch.number == at || epoch.is_final)) throw InputError("no room for it");
            });
          },
          {"no room for it"});
      check_that_ranks_are_in_step();
    }
    {
      // What a session is asked that its state cannot answer.
      Session session(world.local_handle(), counting_problem(), streams({good.path()}));
      expect_error<UsageError>(
          [&] {
            session.run(options, [&](const Epoch& epoch) {
              if (epoch.number == 3) std::ignore = session.answer({.attend = AttendQuestion{}});
            });
          },
          {""});
      check_that_ranks_are_in_step();
    }
    for (int failing = 0; failing < ranks(); ++failing) {
      EpochOptions commanded = options;
      int calls = 0;
      commanded.local_command = [&] {
        if (world.local_rank() == failing && ++calls == 3) throw UsageError("a command that fails");
        return Command::none;
      };
      Session session(world.local_handle(), counting_problem(), streams({good.path()}));
      expect_error<UsageError>([&] { session.run(commanded, [](const Epoch&) {}); }, {"a command that fails"});
      check_that_ranks_are_in_step();
    }
  }
}

TEST_F(EpochsTest, ACheckpointThatCannotBeWrittenIsToldAndTheLastOneIsAnError) {
  const SharedFile file(world, "unwritten.csv", counting_events(3000));
  const SharedDirectory directory(world, "unwritten");
  std::optional<CheckpointDirectory> opened;
  if (world.local_is_root()) opened.emplace(directory.path());
  Session session(world.local_handle(), counting_problem(), streams({file.path()}));
  int warnings = 0, epochs = 0;
  expect_error(
      [&] {
        session.run({.every = {.events = 300},
                     .writes_checkpoints = true,
                     .checkpoints = opened ? &*opened : nullptr,
                     .local_warn =
                         [&](const std::string& what) {
                           EXPECT_NE(what.find(directory.path()), std::string::npos) << what;
                           ++warnings;
                         }},
                    [&](const Epoch& epoch) {
                      ++epochs;
                      if (epoch.number == 2 && world.local_is_root()) std::filesystem::remove_all(directory.path());
                    });
      },
      {directory.path()});
  if (world.local_is_root()) {
    EXPECT_GE(epochs, 10);
    EXPECT_GE(warnings, 1);
  }
}

}  // namespace
}  // namespace weir::engine
