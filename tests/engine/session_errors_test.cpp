// Errors of sessions are thrown on every rank, whichever of them finds what is wrong, and sessions can be closed after them.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "engine/every_setting.hpp"
#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"
#include "io/npy_bytes.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"

namespace weir::engine {
namespace {

using testing_support::expect_error;

const KroneckerShape shape{.n1 = 4, .n2 = 3, .d1 = 2, .d2 = 2};

Problem vector_of(std::uint64_t n) { return vector_problem({.dimension = n, .buckets = 16, .lanes = 8}); }
Problem streaming_a1() { return streaming_problem(shape, Operand::A1, {.buckets = 16, .lanes = 8}); }

class SessionErrorsTest : public testing::Test {
 protected:
  mpi::Communicator world;
  SharedFile good{world, "good.csv", "1,1\n2,2\n3,-1\n"};
  SharedFile a2{world, "a2.csv", "A2,0,0,1\nA2,2,1,3\n"};

  [[nodiscard]] std::uint64_t ranks() const { return static_cast<std::uint64_t>(world.local_size()); }
};

TEST_F(SessionErrorsTest, ABadLineOfOneRank) {
  std::string text;
  for (int k = 0; k < 20000; ++k) text += "1,1\n";
  const SharedFile late(world, "late.csv", text + "broken\n"), early(world, "early.csv", "broken\n" + text);
  for (const SharedFile* file : {&late, &early}) {
    Session session(world.local_handle(), vector_of(10), streams({file->path()}));
    expect_error([&] { session.advance(); }, {file->path() + (file == &late ? ":20001:" : ":1:")});
    EXPECT_FALSE(session.advance());
  }
}

TEST_F(SessionErrorsTest, AnEventThatAStateCannotTake) {
  const SharedFile large(world, "large.csv", "x,1,1e308\nx,1,1e308\n");
  const Problem problem = product_problem({.dimension = 5, .buckets = 16, .lanes = 8}, 2);
  Session session(world.local_handle(), problem, streams({large.path()}));
  expect_error(
      [&] {
        session.advance();
        session.snapshot();
        std::ignore = session.answer({.norm = true});
      },
      {"the sum of the changes of x[1] overflows"});
}

TEST_F(SessionErrorsTest, FilesThatAreNotThere) {
  expect_error(
      [&] {
        Session(world.local_handle(), vector_of(10), streams({good.path(), good.path() + ".gone"}));
      },
      {good.path() + ".gone: cannot open"});
  expect_error(
      [&] {
        Session(world.local_handle(), streaming_a1(), streams({}, {{Operand::A2, a2.path() + ".gone"}}));
      },
      {a2.path() + ".gone: cannot open"});
}

TEST_F(SessionErrorsTest, QuestionsThatTheStateCannotAnswer) {
  Session exact = run(world, exact_of(vector_of(10)), streams({good.path()}));
  EXPECT_THROW(std::ignore = exact.answer({.top = 2}), UsageError);
  Session sketch = run(world, vector_of(10), streams({good.path()}));
  EXPECT_THROW(std::ignore = sketch.answer({.points = {{10}}}), UsageError);
  EXPECT_THROW(std::ignore = sketch.answer({.draw = DrawQuestion{.samples = 2, .softmax = SoftmaxChoice{}}}),
               UsageError);
  EXPECT_THROW(std::ignore = sketch.answer({.top = 16}), UsageError);
  EXPECT_THROW(std::ignore = sketch.answer({.exact = ExactQuestion{.entries = {{1}}, .metric = {}}}), UsageError);
  // The session goes on.
  const Answer answer = sketch.answer({.points = {{2}}});
  if (world.local_is_root()) {
    EXPECT_EQ(answer.points.at(0).estimate.value, 2);
  }
}

TEST_F(SessionErrorsTest, StatesThatCannotBeSaved) {
  const SharedFile a1(world, "a1.csv", "A1,0,0,1\nA1,3,1,3\n");
  std::vector<Session> sessions;
  sessions.push_back(run(world, vector_of(10), streams({good.path()})));
  sessions.push_back(run(world, streaming_a1(), streams({a1.path()}, {{Operand::A2, a2.path()}})));
  for (Session& session : sessions) {
    for (const std::string& path : {good.path() + ".directory/state.weir", std::string("/dev/full")})
      expect_error([&] { session.save(path); }, {path});
    // The file ends in the middle of the state, on the root alone.
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
    const auto before = std::signal(SIGXFSZ, SIG_IGN);
    if (world.local_is_root()) {
      const rlimit small{256, limit.rlim_max};
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    }
    const std::string path = good.path() + ".weir";
    const std::string message = testing_support::message_of<InputError>([&] { session.save(path); });
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, before);
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_FALSE(std::filesystem::exists(path));
    // And then there is room again.
    session.save(path);
    std::ignore = world.all_sum(1);
    EXPECT_TRUE(std::filesystem::exists(path));
    std::ignore = world.all_sum(1);
    if (world.local_is_root()) std::filesystem::remove(path);
  }
}

TEST_F(SessionErrorsTest, StatesOfOtherProblemsAreNoStart) {
  const auto go_on = [&](const Problem& of_state, const Problem& problem) {
    Session::Options options;
    if (world.local_is_root()) options.start = create_state(of_state);
    return run(world, problem, streams({good.path()}), std::move(options));
  };
  Problem other_seed = vector_of(10);
  other_seed.sketch.seed = 77;
  EXPECT_NO_THROW(go_on(other_seed, other_seed));
  expect_error([&] { std::ignore = go_on(other_seed, vector_of(10)); }, {"another problem", "seed: 77 against 0"});
  expect_error([&] { std::ignore = go_on(vector_of(11), vector_of(10)); }, {"another problem", "11 against 10"});
  expect_error([&] { std::ignore = go_on(exact_of(vector_of(10)), vector_of(10)); }, {"another problem"});
  expect_error(
      [&] { std::ignore = go_on(product_problem({.dimension = 10, .buckets = 16, .lanes = 8}, 2), vector_of(10)); },
      {"model product", "model vector"});
}

/// Every rank looks into a directory of its own.
class OwnDirectory {
 public:
  OwnDirectory(const mpi::Communicator& world, const std::string& shared)
      : path_(shared + "." + std::to_string(world.local_rank())), before_(std::filesystem::current_path()) {
    std::filesystem::create_directory(path_);
    std::filesystem::current_path(path_);
  }
  ~OwnDirectory() {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(path_);
  }
  OwnDirectory(const OwnDirectory&) = delete;
  OwnDirectory& operator=(const OwnDirectory&) = delete;

 private:
  std::filesystem::path path_, before_;
};

void write(const std::string& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

TEST_F(SessionErrorsTest, RanksThatFindAnotherFileThanTheRoot) {
  const OwnDirectory own(world, good.path());
  const bool last = world.local_rank() == world.local_size() - 1 && ranks() > 1;
  const std::string whole = "A1,0,0,1\nA1,3,1,3\nA1,2,1,3\n";
  struct Case {
    std::string content;  ///< What the last rank has.
    std::vector<std::string> figures;
  };
  const std::vector<Case> cases{{whole + "A1,1,1,1\n", {"36", "27"}},                  // it grows
                                {"A1,0,0,1\n", {"9", "27"}},                           // it is truncated
                                {"A1,0,0,1\nA1,3,1,3\nA1,2,1,4\n", {"changed.csv"}}};  // it is another one
  write("fixed.csv", "A2,0,0,1\nA2,2,1,3\n");
  for (const Case& each : cases) {
    write("changed.csv", last ? each.content : whole);
    std::ignore = world.all_sum(1);
    const Problem two_stage = two_stage_problem(shape, {.buckets = 16, .lanes = 8}, {});
    Problem first_fixed = streaming_problem(shape, Operand::A2, {.buckets = 16, .lanes = 8});
    const std::vector<std::pair<Problem, Sources>> jobs{
        {streaming_a1(), streams({"changed.csv"}, {{Operand::A2, "fixed.csv"}})},
        {first_fixed, streams({"fixed.csv"}, {{Operand::A1, "changed.csv"}})},
        {two_stage, streams({"changed.csv"})},
    };
    for (const auto& [problem, sources] : jobs) {
      const auto work = [&problem = problem, &sources = sources, this] { std::ignore = run(world, problem, sources); };
      if (ranks() == 1) {
        EXPECT_NO_THROW(work());
        continue;
      }
      const std::string message = testing_support::message_of<InputError>(work);
      for (const std::string& figure : each.figures) EXPECT_NE(message.find(figure), std::string::npos) << message;
    }
  }
}

/// Whatever is read of a log that grows, it is a beginning of it, each event once: or an error.
TEST_F(SessionErrorsTest, ALogThatGrowsIsNeverCutInTwoWays) {
  const SharedFile log(world, "log.csv", "0,1\n");
  std::atomic<bool> stop = false;
  std::thread appender;
  if (world.local_is_root())
    appender = std::thread([&] {
      std::ofstream file(log.path(), std::ios::app);
      for (int k = 0; k < 200000 && !stop; ++k) file << "0,1\n" << std::flush;
    });
  for (int repetition = 0; repetition < 100; ++repetition) {
    try {
      Session session(world.local_handle(), exact_of(vector_of(1)), streams({log.path()}));
      session.advance();
      const std::uint64_t updates = session.statistics().updates;
      const State& state = session.snapshot();
      if (world.local_is_root()) {
        EXPECT_GT(updates, 0U);
        EXPECT_EQ(state.array("y")[0], static_cast<double>(updates));
      }
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("log.csv"), std::string::npos) << error.what();
    }
  }
  stop = true;
  if (appender.joinable()) appender.join();
  std::ignore = world.all_sum(1);
  // At rest it is read whole.
  Session session = run(world, vector_of(1), streams({log.path()}));
  EXPECT_EQ(session.statistics().updates * 4, std::filesystem::file_size(log.path()));
}

TEST_F(SessionErrorsTest, OperandsWithoutRowsOrColumns) {
  using testing_support::dictionary;
  const std::string floats = "<f8";
  const SharedFile no_rows(world, "no_rows.npy", testing_support::npy(dictionary(floats, "False", "(0, 2)"), ""));
  const SharedFile no_columns(world, "no_columns.npy", testing_support::npy(dictionary(floats, "False", "(2, 0)"), ""));
  const SharedFile x(world, "x.csv", "x,0,1\n"), a1(world, "a1.csv", "A1,0,0,1\n"),
      a2_events(world, "a2s.csv", "A2,0,0,1\n");
  struct Case {
    Problem complete;
    Operand fixed;
    std::string stream;
  };
  const std::vector<Case> cases{
      {product_problem({.dimension = 4, .buckets = 16, .lanes = 8}, 2, {Operand::A}), Operand::A, x.path()},
      {streaming_a1(), Operand::A2, a1.path()},
      {streaming_problem(shape, Operand::A2, {.buckets = 16, .lanes = 8}), Operand::A1, a2_events.path()},
      {two_stage_problem(shape, {.buckets = 16, .lanes = 8}, {}, {Operand::A1}), Operand::A1, a2_events.path()},
      {two_stage_problem(shape, {.buckets = 16, .lanes = 8}, {}, {Operand::A2}), Operand::A2, a1.path()},
      {two_stage_problem(shape, {.buckets = 16, .lanes = 8}, {}, {Operand::X}), Operand::X, a1.path()},
      {exact_of(two_stage_problem(shape, {.lanes = 8}, {}, {Operand::A2})), Operand::A2, a1.path()},
  };
  for (const Case& each : cases) {
    for (const auto& [file, stated] : {std::pair{&no_rows, "0 x 2"}, std::pair{&no_columns, "2 x 0"}}) {
      const std::string what = each.complete.setting + ", " + std::string(to_string(each.fixed)) + ", " + stated;
      // As a user gives it: sides follow from the file.
      Problem named;
      named.setting = each.complete.setting;
      named.roles[each.fixed] = Role::fixed;
      Sources sources = streams({each.stream}, {{each.fixed, file->path()}});
      const std::string message = testing_support::message_of<InputError>(
          [&] { std::ignore = prepare(world, named, sources, {}, std::uint64_t{1} << 63); });
      EXPECT_NE(message.find(file->path()), std::string::npos) << what << ": " << message;
      EXPECT_NE(message.find(stated), std::string::npos) << what << ": " << message;
      // As a program may give it.
      if (each.complete.keeps != Keeps::sketch) continue;
      const std::string of_session =
          testing_support::message_of<InputError>([&] { std::ignore = run(world, each.complete, sources); });
      EXPECT_NE(of_session.find(file->path()), std::string::npos) << what << ": " << of_session;
    }
  }
}

TEST_F(SessionErrorsTest, StreamsOfBadLinesOnly) {
  std::string text;
  for (int k = 0; k < 3000; ++k) text += "broken line\n";
  const SharedFile bad(world, "bad.csv", text);
  for (const Problem& problem : {vector_of(10), streaming_a1()}) {
    const bool vector = problem.setting == "vector";
    for (const bool pipe : {false, true}) {
      // What the root alone can open: a pipe, filled by a thread because it holds less than the stream.
      int ends[2] = {-1, -1};
      std::thread writer;
      if (pipe && world.local_is_root()) {
        ASSERT_EQ(::pipe(ends), 0);
        writer = std::thread([&] {
          EXPECT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
          ::close(ends[1]);
        });
      }
      const std::uint64_t descriptor = world.broadcast(static_cast<std::uint64_t>(std::max(ends[0], 0)));
      const std::string path = pipe ? "/dev/fd/" + std::to_string(descriptor) : bad.path();
      Sources sources = vector ? streams({path}) : streams({path}, {{Operand::A2, a2.path()}});
      sources.stream.on_error = OnError::skip;
      expect_error([&] { std::ignore = run(world, problem, sources); }, {"all 3000 lines were bad", path + ":1:"});
      if (writer.joinable()) {
        writer.join();
        ::close(ends[0]);
      }
    }
    // One good line is enough.
    const SharedFile mixed(world, "mixed.csv", text + (vector ? "1,1\n" : "A1,0,0,1\n"));
    Sources sources = vector ? streams({mixed.path()}) : streams({mixed.path()}, {{Operand::A2, a2.path()}});
    sources.stream.on_error = OnError::skip;
    Session session = run(world, problem, sources);
    EXPECT_EQ(session.statistics().skipped, 3000U);
    EXPECT_EQ(session.statistics().updates, 1U);
  }
}

TEST_F(SessionErrorsTest, ASavedStateIsNoStream) {
  const std::string saved = good.path() + ".weir";
  run(world, vector_of(10), streams({good.path()})).save(saved);
  std::ignore = world.all_sum(1);
  expect_error(
      [&] {
        std::ignore = run(world, vector_of(10), streams({good.path(), saved}));
      },
      {saved + " is a saved state", "--state"});
  expect_error(
      [&] {
        std::ignore = run(world, streaming_a1(), streams({}, {{Operand::A2, saved}}));
      },
      {saved + " is a saved state"});
  std::ignore = world.all_sum(1);
  if (world.local_is_root()) std::filesystem::remove(saved);
}

}  // namespace
}  // namespace weir::engine
