// A setting from outside of the library, with an operand and a kind of state of its own, through everything that a
// session does, on 1 to 4 ranks. No file of the library knows of it.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/shared_file.hpp"
#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/setting.hpp"

namespace weir::engine {
namespace {

const Operand w = operand_named("W", true);

/// y_i = sum over j of (j + 1) W[i][j], in a sketch; the total of all changes; and the two largest changes, which no sum
/// can tell.
class WeightedState : public KeptAs<WeightedState> {
 public:
  explicit WeightedState(const SketchConfig& config) : y_(config) {}
  static std::vector<ArrayLayout> layout(const SketchConfig& config) {
    return {{.name = "cells of y", .operand = w, .size = config.table_size()},
            {.name = "total", .operand = w, .size = 1}};
  }

  [[nodiscard]] std::string_view holds() const override { return "weighted sums"; }
  [[nodiscard]] std::vector<Numbers> arrays() override { return {y_.table(), std::span(&total_, 1)}; }
  void add(const EventBatch& batch) override {
    std::vector<double> changes;
    for (std::size_t t = 0; t < batch.size(); ++t) {
      changes.push_back(static_cast<double>(batch.j[t] + 1) * batch.delta[t]);
      total_ += batch.delta[t];
      keep(batch.delta[t]);
    }
    y_.update(batch.i, changes);
  }
  [[nodiscard]] std::optional<VectorSketch> sketch_of_y() const override { return y_; }
  [[nodiscard]] Answer answer(const Question& question, Parties& parties) const override {
    Answer answer;
    parties.together([&] {
      if (!parties.is_first()) return;
      for (const EntryIndex& entry : question.points) answer.points.push_back({entry.index, y_.point(entry.index)});
      if (question.norm) answer.norm = Estimate{total_, 0};
      if (question.top > 0) answer.top.emplace();
      for (const double delta : largest_)
        if (question.top > 0) answer.top->push_back({0, {delta, 0}});
    });
    return answer;
  }
  [[nodiscard]] std::vector<std::byte> other_part() const override {
    const auto bytes = std::as_bytes(std::span(largest_));
    return {bytes.begin(), bytes.end()};
  }
  void merge_other_part(std::span<const std::byte> bytes, double) override {
    if (bytes.size() % sizeof(double) != 0 || bytes.size() > 2 * sizeof(double))
      throw InputError("expected the two largest changes");
    for (std::size_t k = 0; k < bytes.size(); k += sizeof(double)) {
      double delta = 0;
      std::memcpy(&delta, bytes.data() + k, sizeof delta);
      keep(delta);
    }
  }
  void clear_other_part() override { largest_.clear(); }

 private:
  void keep(double delta) {
    largest_.push_back(delta);
    std::ranges::sort(largest_, std::greater());
    if (largest_.size() > 2) largest_.resize(2);
  }

  VectorSketch y_;
  double total_ = 0;
  std::vector<double> largest_;
};

class WeightedSetting : public Setting {
 public:
  WeightedSetting()
      : Setting({.name = "weighted",
                 .model = "weighted",
                 .sides = {{"n", "number of rows of W"}, {"k", "number of weights"}},
                 .operands = {{.operand = w, .rows = "n", .columns = "k"}}}) {}
  void size(Problem& problem, const SizeRequest& request) const override {
    problem.sketch = vector_config(request, problem.side("n"));
  }
  [[nodiscard]] std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return WeightedState::layout(problem.sketch);
  }
  [[nodiscard]] std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    return std::make_unique<WeightedState>(problem.sketch);
  }
};

class OwnSettingTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    static const bool added = (add_setting(std::make_unique<WeightedSetting>()), true);
    ASSERT_TRUE(added);
  }
  /// A session that has read `paths`; it continues `start`, on the root.
  [[nodiscard]] Session run(std::vector<std::string> paths, std::optional<State> start = {}) const {
    Problem problem;
    problem.setting = "weighted";
    problem.sides = {{"n", 50}, {"k", 4}};
    Sources sources{.stream = {.paths = std::move(paths)}};
    problem = prepare(world, problem, sources, {.seed = 9}, 50);
    Session session(world.local_handle(), problem, sources, {.start = std::move(start)});
    while (session.advance({.events = 100})) {
    }
    return session;
  }
  void expect_answers(Session& session, std::span<const double> y, double total, const std::string& when) const {
    const Answer answer = session.answer({.norm = true, .top = 2, .points = {{7}, {49}}});
    if (!world.local_is_root()) return;
    ASSERT_EQ(answer.points.size(), 2U) << when;
    for (const HeavyCoordinate& point : answer.points)
      EXPECT_LE(std::abs(point.estimate.value - y[point.index]), point.estimate.bound) << when;
    EXPECT_EQ(answer.norm->value, total) << when;
    ASSERT_EQ(answer.top->size(), 2U) << when;
    EXPECT_EQ((*answer.top)[0].estimate.value, 99) << when;
    EXPECT_EQ((*answer.top)[1].estimate.value, 60) << when;
  }

  mpi::Communicator world;
};

TEST_F(OwnSettingTest, GoesThroughEverythingThatASessionDoes) {
  std::vector<double> y(50);
  double total = 0;
  std::string text[2];
  for (int t = 0; t < 2000; ++t) {
    const int i = t * 7 % 50, j = t % 4, delta = t == 300 ? 60 : t == 1700 ? 99 : t % 11 - 5;
    text[t / 1000] += "W," + std::to_string(i) + "," + std::to_string(j) + "," + std::to_string(delta) + "\n";
    y[static_cast<std::size_t>(i)] += (j + 1) * delta;
    total += delta;
  }
  const SharedFile first(world, "first.csv", text[0]), second(world, "second.csv", text[1]);
  const std::string saved = first.path() + ".weir";

  Session whole = run({first.path(), second.path()});
  expect_answers(whole, y, total, "the whole stream at once");
  const std::vector<std::byte> expected = serialise(whole.snapshot());

  // Save, load, continue: the same bytes as those of the whole stream, whatever the ranks.
  run({first.path()}).save(saved);
  std::optional<State> loaded;
  together(world, [&](mpi::FailureSignal&) {
    if (world.local_is_root()) loaded = load_state(saved);
  });
  std::optional<State> part = loaded;
  Session continued = run({second.path()}, std::move(loaded));
  expect_answers(continued, y, total, "a stream that went on from a file");
  const State& whole_again = continued.snapshot();
  if (world.local_is_root()) {
    EXPECT_EQ(serialise(whole_again), expected);
  }

  // Combine, in one place.
  Session rest = run({second.path()});
  const State& other = rest.snapshot();
  if (!world.local_is_root()) return;
  part->add(other);
  EXPECT_EQ(part->updates, 2000U);
  EXPECT_EQ(serialise(*part), expected);
  part->add(other, -1);
  EXPECT_TRUE(std::ranges::equal(part->array("cells of y"), load_state(saved).array("cells of y")));
  std::vector<std::byte> damaged = expected;
  damaged[damaged.size() / 2] ^= std::byte{1};
  EXPECT_THROW(std::ignore = deserialise(damaged, "damaged"), InputError);
}

TEST_F(OwnSettingTest, IsOfferedAndCheckedLikeTheOthers) {
  EXPECT_EQ(&setting_named("weighted"), &choose_setting("weighted", std::nullopt, {}));
  Problem problem;
  problem.setting = "weighted";
  problem.sides = {{"n", 50}};
  Sources sources;
  EXPECT_THROW(std::ignore = prepare(world, problem, sources, {}, 50), UsageError);
  const SharedFile wrong(world, "wrong.csv", "W,50,0,1\n");
  EXPECT_THROW(std::ignore = run({wrong.path()}), InputError);
}

}  // namespace
}  // namespace weir::engine
