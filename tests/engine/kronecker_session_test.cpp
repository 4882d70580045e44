// Kronecker products and rows through sessions on 1 to 4 ranks: the joint laws of the draws, and what is exact.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/law_testing.hpp"
#include "engine/session_testing.hpp"
#include "engine/shared_file.hpp"
#include "support/message_of.hpp"
#include "support/statistics.hpp"
#include "weir/error.hpp"
#include "weir/random/source.hpp"
#include "weir/sample/softmax.hpp"
#include "weir/stream/reader.hpp"

namespace weir::engine {
namespace {

using testing_support::expect_error;

std::vector<double> whole_numbers(std::uint64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> values(count);
  for (double& value : values) value = static_cast<double>(random() % 9) - 4;
  return values;
}

/// Whole-valued operands: zero rows, equal rows, heavy ones; an X of rank 2.
struct Operands {
  KroneckerShape shape{.n1 = 12, .n2 = 9, .d1 = 3, .d2 = 4};
  std::vector<double> a1 = whole_numbers(12 * 3, 1);
  std::vector<double> a2 = whole_numbers(9 * 4, 2);
  std::vector<double> x{1, 0, 2, -1, 0, 3, 1, 1, 1, 3, 3, 0};

  Operands() {
    for (std::size_t j = 0; j < 3; ++j) {
      a1[5 * 3 + j] = 0;
      a1[8 * 3 + j] = a1[7 * 3 + j];
      a1[2 * 3 + j] = 9 + static_cast<double>(j);
    }
    for (std::size_t j = 0; j < 4; ++j) a2[6 * 4 + j] = 7 - static_cast<double>(j);
  }
  /// y as a matrix, row by row.
  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> y(shape.n1 * shape.n2);
    for (std::uint64_t i1 = 0; i1 < shape.n1; ++i1)
      for (std::uint64_t i2 = 0; i2 < shape.n2; ++i2)
        for (std::uint64_t j = 0; j < shape.d1; ++j)
          for (std::uint64_t k = 0; k < shape.d2; ++k)
            y[i1 * shape.n2 + i2] += a1[i1 * shape.d1 + j] * x[j * shape.d2 + k] * a2[i2 * shape.d2 + k];
    return y;
  }
  [[nodiscard]] double squared_norm() const {
    double sum = 0;
    for (const double entry : y()) sum += entry * entry;
    return sum;
  }
  [[nodiscard]] std::vector<double> law() const {
    std::vector<double> law = y();
    for (double& entry : law) entry *= entry / squared_norm();
    return law;
  }
};

/// Entries in parts that cancel, in random order.
std::string entries(const std::string& operand, std::span<const double> matrix, std::uint64_t columns) {
  std::vector<std::string> lines;
  for (std::size_t t = 0; t < matrix.size(); ++t) {
    const std::string place = operand + "," + std::to_string(t / columns) + "," + std::to_string(t % columns) + ",";
    lines.push_back(place + std::to_string(static_cast<int>(matrix[t]) - 6) + "\n");
    lines.push_back(place + "6\n");
  }
  std::shuffle(lines.begin(), lines.end(), std::mt19937_64(4));
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

/// Whole rows; row 1 comes once more and leaves.
std::string rows(const std::string& operand, std::span<const double> matrix, std::uint64_t columns) {
  const auto row = [&](std::uint64_t i, const std::string& mark) {
    std::string line = operand + "," + std::to_string(i) + "," + mark;
    for (std::uint64_t j = 0; j < columns; ++j) line += "," + std::to_string(static_cast<int>(matrix[i * columns + j]));
    return line + "\n";
  };
  std::string text;
  for (std::uint64_t i = 0; i < matrix.size() / columns; ++i) text += row(i, "*");
  return text + row(1, "*") + row(1, "-*");
}

/// The state of one process that is given the events of `texts`.
State state_of(const Problem& problem, const std::vector<std::string>& texts) {
  State state = create_state(problem);
  for (const std::string& text : texts) {
    EventReader reader(std::as_bytes(std::span(text)), "text",
                       {.shapes = shapes_of(problem, {Role::streams, Role::fixed})});
    EventBatch batch;
    while (reader.next(batch)) {
      state.add(batch);
      state.updates += batch.events();
    }
  }
  return state;
}

void expect_same_arrays(const State& found, const State& expected, const std::string& what) {
  const std::vector<StateArray> a = found.arrays(), b = expected.arrays();
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t k = 0; k < a.size(); ++k)
    EXPECT_TRUE(std::ranges::equal(a[k].numbers.doubles(), b[k].numbers.doubles()))
        << what << ", " << a[k].layout->name;
}

class KroneckerSessionTest : public testing::Test {
 protected:
  mpi::Communicator world;
  Operands operands;
  SharedFile a1_entries{world, "a1.csv", entries("A1", operands.a1, 3)};
  SharedFile a1_rows{world, "a1_rows.csv", rows("A1", operands.a1, 3)};
  SharedFile a2_entries{world, "a2.csv", entries("A2", operands.a2, 4)};
  SharedFile a2_rows{world, "a2_rows.csv", rows("A2", operands.a2, 4)};
  SharedFile x_entries{world, "x.csv", entries("X", operands.x, 4)};

  [[nodiscard]] Session stream_a1(const SketchConfig& config, const std::string& path) const {
    return run(world, streaming_problem(operands.shape, Operand::A1, config),
               streams({path}, {{Operand::A2, a2_rows.path()}, {Operand::X, x_entries.path()}}));
  }
  [[nodiscard]] Session stream_a2(const SketchConfig& config, const std::string& path) const {
    return run(world, streaming_problem(operands.shape, Operand::A2, config),
               streams({path}, {{Operand::A1, a1_entries.path()}, {Operand::X, x_entries.path()}}));
  }
  [[nodiscard]] std::size_t place(const Draw& draw) const {
    return static_cast<std::size_t>(draw.index * operands.shape.n2 + draw.column.value());
  }
};

TEST_F(KroneckerSessionTest, OneStreamedFactorMakesTheTablesOfYToTheBit) {
  const std::vector<double> y = operands.y();
  for (const std::uint32_t levels : {1U, 2U}) {
    SketchConfig config{.dimension = 12 * 9, .buckets = 64, .lanes = 8, .levels = levels, .seed = 5, .row_length = 9};
    VectorSketch expected(config);
    for (std::uint64_t key = 0; key < y.size(); ++key) expected.update(std::array{key}, std::array{y[key]});
    for (const std::string& path : {a1_entries.path(), a1_rows.path()}) {
      Session session = stream_a1(config, path);
      EXPECT_EQ(session.statistics().updates, path == a1_rows.path() ? 14U : 72U);
      const State& state = session.snapshot();
      if (!world.local_is_root()) continue;
      EXPECT_TRUE(std::ranges::equal(state.array("cells of y"), expected.table()));
    }
    config.row_length = 12;
    VectorSketch transposed(config);
    for (std::uint64_t i1 = 0; i1 < 12; ++i1)
      for (std::uint64_t i2 = 0; i2 < 9; ++i2) transposed.update(std::array{i2 * 12 + i1}, std::array{y[i1 * 9 + i2]});
    for (const std::string& path : {a2_entries.path(), a2_rows.path()}) {
      Session session = stream_a2(config, path);
      const State& state = session.snapshot();
      if (!world.local_is_root()) continue;
      EXPECT_TRUE(std::ranges::equal(state.array("cells of y"), transposed.table()));
    }
  }
}

TEST_F(KroneckerSessionTest, OneStreamedFactorDrawsByTheJointLaw) {
  const std::vector<double> y = operands.y();
  // The matrix as the sketch of the streamed factor sees it.
  std::vector<double> transposed(y.size());
  for (std::size_t t = 0; t < y.size(); ++t) transposed[t % 9 * 12 + t / 9] = y[t];
  for (const bool first_streams : {true, false}) {
    const std::vector<double>& sketched = first_streams ? y : transposed;
    testing_support::LawCounts drawn;
    drawn.counts.resize(y.size());
    for (std::uint64_t seed = 1; seed <= 36; ++seed) {
      const SketchConfig wide{.dimension = 12 * 9,
                              .buckets = 256,
                              .lanes = 256,
                              .levels = 2,
                              .seed = seed,
                              .row_length = first_streams ? 9U : 12U};
      Session session = first_streams ? stream_a1(wide, a1_entries.path()) : stream_a2(wide, a2_entries.path());
      const Answer answer = session.answer({.draw = DrawQuestion{.samples = 255}});
      if (!world.local_is_root()) continue;
      std::vector<std::size_t> winners = testing_support::exact_winners(wide, all_entries(sketched));
      if (!first_streams)
        for (std::size_t& winner : winners) winner = winner % 12 * 9 + winner / 12;
      count_draws_of_session(
          answer.draws, winners, 1, [&](const Draw& draw) { return place(draw); }, drawn);
    }
    if (!world.local_is_root()) continue;
    SCOPED_TRACE(first_streams ? "A1 streams" : "A2 streams");
    testing_support::expect_law(drawn, operands.law());
    testing_support::expect_power(drawn, operands.law());
  }
}

TEST_F(KroneckerSessionTest, NormsAgreeAndEntriesAreVerified) {
  const std::vector<double> y = operands.y();
  const SketchConfig config{.dimension = 12 * 9, .buckets = 512, .lanes = 8, .seed = 7, .row_length = 9};
  Session session = stream_a1(config, a1_rows.path());
  const Answer answer = session.answer({.draw = DrawQuestion{.samples = 7}, .norm = true});
  const Answer exact =
      session.answer({.exact = ExactQuestion{.entries = {{0, 0}, {11, 8}, {2, 6}, {5, 3}, {2, 6}}, .metric = {}}});
  const Answer verified = session.answer({.draw = DrawQuestion{.samples = 7, .verify = true}});
  if (!world.local_is_root()) return;
  const double norm = std::sqrt(operands.squared_norm());
  ASSERT_TRUE(answer.tensor_norm && answer.norm);
  EXPECT_LE(std::abs(answer.tensor_norm->value - norm), answer.tensor_norm->bound);
  EXPECT_LE(std::abs(answer.norm->value - answer.tensor_norm->value), answer.norm->bound + answer.tensor_norm->bound);
  EXPECT_DOUBLE_EQ(exact.exact_norm.value(), norm);
  ASSERT_EQ(exact.exact.size(), 4U);
  for (const auto& [entry, value] : exact.exact) {
    const std::size_t t = static_cast<std::size_t>(entry.index * 9 + entry.column.value());
    EXPECT_EQ(value.value, y[t]);
    EXPECT_NEAR(value.probability.value(), operands.law()[t], 1e-14);
  }
  ASSERT_FALSE(verified.draws.draws.empty());
  EXPECT_TRUE(verified.verified);
  for (const Draw& draw : verified.draws.draws) EXPECT_EQ(draw.value, y[place(draw)]);
}

TEST_F(KroneckerSessionTest, AStreamOfOneFactorGoesOn) {
  const SketchConfig config{.dimension = 12 * 9, .buckets = 64, .lanes = 8, .seed = 8, .row_length = 9};
  const std::string all = rows("A1", operands.a1, 3);
  const std::size_t cut = all.find("A1,6,");
  const SharedFile first(world, "first.csv", all.substr(0, cut)), second(world, "second.csv", all.substr(cut));
  const std::string saved = first.path() + ".weir", saved_whole = a1_rows.path() + ".weir";
  stream_a1(config, a1_rows.path()).save(saved_whole);
  stream_a1(config, first.path()).save(saved);
  // The state holds its operands: nothing is given again.
  run(world, streaming_problem(operands.shape, Operand::A1, config), streams({second.path()}),
      {.start = load_on_root(world, saved)})
      .save(saved);
  if (!world.local_is_root()) return;
  EXPECT_EQ(serialise(load_state(saved)), serialise(load_state(saved_whole)));
  std::remove(saved.c_str());
  std::remove(saved_whole.c_str());
}

/// How all three operands come in two stages.
struct Way {
  std::string name;
  GramConfig gram;
  OperandSet fixed;
  Sources sources;
  std::vector<std::string> texts;
};

TEST_F(KroneckerSessionTest, AllStreamAndAreDrawnByTheJointLaw) {
  // A Gram matrix from 2^13 buckets moves the law by about sqrt(2 / (5 2^13)) = 0.007, far below 5%.
  const std::vector<Way> ways{
      {"sketched Gram",
       {.buckets = 1U << 13U, .exact = false},
       {},
       streams({a1_entries.path(), x_entries.path(), a2_entries.path()}),
       {entries("A1", operands.a1, 3), entries("X", operands.x, 4), entries("A2", operands.a2, 4)}},
      {"exact Gram",
       {.buckets = 64, .exact = true},
       {},
       streams({a2_rows.path(), a1_rows.path(), x_entries.path()}),
       {rows("A2", operands.a2, 4), rows("A1", operands.a1, 3), entries("X", operands.x, 4)}},
      {"A2 and X fixed",
       {.buckets = 64, .exact = true},
       {Operand::A2, Operand::X},
       streams({a1_rows.path()}, {{Operand::A2, a2_rows.path()}, {Operand::X, x_entries.path()}}),
       {rows("A2", operands.a2, 4), rows("A1", operands.a1, 3), entries("X", operands.x, 4)}}};
  std::vector<double> law_of_rows(12), norms;
  for (std::size_t t = 0; t < operands.law().size(); ++t) law_of_rows[t / 9] += operands.law()[t];
  for (const double mass : law_of_rows) norms.push_back(std::sqrt(mass));
  for (const Way& way : ways) {
    testing_support::LawCounts drawn;
    drawn.counts.resize(operands.law().size());
    drawn.law_of_matches = law_of_rows;
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
      const SketchConfig wide{.dimension = 12, .buckets = 256, .lanes = 256, .seed = seed};
      const Problem problem = two_stage_problem(operands.shape, wide, way.gram, way.fixed);
      Session session = run(world, problem, way.sources);
      const Answer answer = session.answer({.draw = DrawQuestion{.samples = 255}});
      const State& merged = session.snapshot();
      if (!world.local_is_root()) continue;
      if (seed == 1) expect_same_arrays(merged, state_of(problem, way.texts), way.name);
      // Which lane of A2 draws i2 depends on the other draws; matched are the rows i1.
      SketchConfig of_a1 = wide;
      of_a1.seed = subkey(seed, Purpose::operand, 0, 0);
      count_draws_of_session(
          answer.draws, testing_support::exact_winners(of_a1, all_entries(norms)), 9,
          [&](const Draw& draw) { return place(draw); }, drawn);
    }
    if (world.local_is_root()) {
      SCOPED_TRACE(way.name);
      testing_support::expect_law(drawn, operands.law());
      testing_support::expect_power(drawn, operands.law());
    }
    // 81,200 exact draws reject 5% of distortion of half of the law by their counts alone; see support/law_power.hpp.
    const Problem exact = exact_of(two_stage_problem(operands.shape, {.lanes = 8, .seed = 10}, way.gram, way.fixed));
    Session session = run(world, exact, way.sources);
    const Answer answer = session.answer({.draw = DrawQuestion{.samples = 81200}, .norm = true});
    if (!world.local_is_root()) continue;
    EXPECT_NEAR(answer.norm->value, std::sqrt(operands.squared_norm()), 1e-9);
    testing_support::LawCounts exactly;
    exactly.counts.resize(operands.law().size());
    for (const Draw& draw : answer.draws.draws) ++exactly.counts[place(draw)];
    EXPECT_EQ(exactly.draws(), 81200U);
    testing_support::expect_law(exactly, operands.law());
  }
}

TEST_F(KroneckerSessionTest, RowsAreDrawnByTheirNorms) {
  const SharedFile stream(world, "a.csv", entries("A", operands.a1, 3));
  std::vector<double> law(12), norms;
  double total = 0;
  for (std::size_t t = 0; t < operands.a1.size(); ++t) {
    law[t / 3] += operands.a1[t] * operands.a1[t];
    total += operands.a1[t] * operands.a1[t];
  }
  for (const double mass : law) norms.push_back(std::sqrt(mass));
  for (double& share : law) share /= total;
  testing_support::LawCounts drawn;
  drawn.counts.resize(12);
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    const SketchConfig wide{.dimension = 12, .buckets = 256, .lanes = 256, .seed = seed};
    const Problem problem = rows_problem(wide, 3, {.buckets = 1U << 13U, .exact = false});
    Session session = run(world, problem, streams({stream.path()}));
    const Answer answer = session.answer({.draw = DrawQuestion{.samples = 255}});
    const State& merged = session.snapshot();
    if (!world.local_is_root()) continue;
    if (seed == 1) expect_same_arrays(merged, state_of(problem, {entries("A", operands.a1, 3)}), "rows");
    count_draws_of_session(
        answer.draws, testing_support::exact_winners(wide, all_entries(norms)), 1,
        [](const Draw& draw) { return static_cast<std::size_t>(draw.index); }, drawn);
  }
  Session exact = run(world, exact_of(rows_problem({.dimension = 12, .lanes = 8}, 3, {})), streams({stream.path()}));
  const State& state = exact.snapshot();
  if (!world.local_is_root()) return;
  EXPECT_TRUE(std::ranges::equal(state.array("A"), operands.a1));
  testing_support::expect_law(drawn, law);
  testing_support::expect_power(drawn, law);
}

/// However the operands come and however many ranks there are, the pairs are those that one process draws from y, to the
/// bit; where each row is normalised by itself, those that one process draws from the operands.
TEST_F(KroneckerSessionTest, SoftmaxDrawsTheSamePairsOnAnyNumberOfRanks) {
  const std::vector<std::string> texts{entries("A1", operands.a1, 3), entries("A2", operands.a2, 4),
                                       entries("X", operands.x, 4)};
  const std::string &a1 = a1_rows.path(), &a2 = a2_entries.path(), &core = x_entries.path();
  const std::vector<std::pair<OperandSet, Sources>> ways{
      {{}, streams({a1_entries.path(), core, a2_rows.path()})},
      {{}, streams({a2, a1, core})},
      {{Operand::A1}, streams({core, a2}, {{Operand::A1, a1}})},
      {{Operand::A2, Operand::X}, streams({a1}, {{Operand::A2, a2}, {Operand::X, core}})},
      {{Operand::A1, Operand::A2, Operand::X},
       streams({}, {{Operand::A1, a1}, {Operand::A2, a2}, {Operand::X, core}})}};
  for (const auto& [fixed, sources] : ways) {
    const Problem problem =
        exact_of(two_stage_problem(operands.shape, {.lanes = 8, .seed = 17}, {}, fixed), Keeps::exact_shared);
    Session session = run(world, problem, sources);
    for (const bool without_replacement : {false, true})
      for (const bool per_row : {false, true}) {
        const Question question{.draw = DrawQuestion{.samples = 30,
                                                     .without_replacement = without_replacement,
                                                     .softmax = SoftmaxChoice{.scale = 0.125, .per_row = per_row}}};
        const Answer answer = session.answer(question);
        if (!world.local_is_root()) {
          EXPECT_TRUE(answer.draws.draws.empty());
          continue;
        }
        EXPECT_TRUE(answer.verified);
        const SampleResult expected = per_row ? state_of(problem, texts).answer(question).draws
                                              : draw_softmax(operands.y(), {.samples = 30,
                                                                            .without_replacement = without_replacement,
                                                                            .seed = 17,
                                                                            .scale = 0.125,
                                                                            .row_length = operands.shape.n2});
        expect_same_draws(answer.draws, expected, to_string(fixed));
      }
  }
}

/// A rank may have no row of A1.
TEST_F(KroneckerSessionTest, SoftmaxOfFewerRowsThanRanks) {
  const SharedFile both(world, "one.csv", "A1,0,0,2\nA2,0,0,1\nA2,1,0,3\n");
  const Problem problem = exact_of(two_stage_problem({.n1 = 1, .n2 = 2, .d1 = 1, .d2 = 1}, {.lanes = 8, .seed = 3}, {}),
                                   Keeps::exact_shared);
  Session session = run(world, problem, streams({both.path()}));
  for (const bool per_row : {false, true}) {
    const Answer answer =
        session.answer({.draw = DrawQuestion{.samples = 10, .softmax = SoftmaxChoice{.per_row = per_row}}});
    if (!world.local_is_root()) continue;
    expect_same_draws(answer.draws,
                      draw_softmax(std::vector<double>{2, 6}, {.samples = 10, .seed = 3, .row_length = 2}), "one row");
  }
}

TEST_F(KroneckerSessionTest, ErrorsOfSoftmaxReachAllRanks) {
  const auto draw = [&](const KroneckerShape& shape, const std::string& path, const SoftmaxChoice& choice) {
    const Problem problem = exact_of(two_stage_problem(shape, {.lanes = 8}, {}), Keeps::exact_shared);
    Session session = run(world, problem, streams({path}));
    std::ignore = session.answer({.draw = DrawQuestion{.samples = 2, .softmax = choice}});
  };
  // The last row of A1 is that of the last rank; its value with the last row of A2 overflows.
  const SharedFile large(world, "large.csv", "A1,0,0,1\nA1,8,0,1e200\nA2,0,0,1\nA2,2,0,1e200\n");
  for (const bool per_row : {false, true})
    expect_error([&] { draw({9, 3, 1, 1}, large.path(), {.per_row = per_row}); }, {"y[8, 2] is inf"});
  const SharedFile scaled(world, "scaled.csv", "A1,8,0,1e160\nA2,2,0,1e145\n");
  expect_error([&] { draw({9, 3, 1, 1}, scaled.path(), {.scale = 1e6}); }, {"y[8, 2] is 1e+305", "the scale 1000000"});
  expect_error([&] { draw({9, 3, 1, 2}, scaled.path(), {}); }, {"no event of X, and it cannot be the identity"});
}

TEST_F(KroneckerSessionTest, ErrorsReachAllRanks) {
  const SketchConfig config{.dimension = 12 * 9, .buckets = 64, .lanes = 8, .seed = 5, .row_length = 9};
  expect_error([&] { std::ignore = stream_a1(config, a2_entries.path()); }, {a2_entries.path() + ":1: "});
  const SharedFile outside(world, "outside.csv", "A1,0,0,1\nA1,12,0,1\n");
  expect_error([&] { std::ignore = stream_a1(config, outside.path()); }, {outside.path() + ":2: "});
  const SharedFile huge(world, "huge.csv", "A1,0,0,1e308\nA1,0,1,1e308\nA1,0,2,1e308\n");
  EXPECT_THROW(std::ignore = stream_a1(config, huge.path()), InputError);
  Problem problem = two_stage_problem(operands.shape, {.lanes = 8}, {});
  problem.roles[Operand::A] = Role::fixed;
  EXPECT_THROW(run(world, problem, streams({a1_rows.path()}, {{Operand::A, a2_rows.path()}})), UsageError);
}

}  // namespace
}  // namespace weir::engine
