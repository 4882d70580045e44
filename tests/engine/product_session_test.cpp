// Products through sessions on 1 to 4 ranks: the laws of the draws whichever operands stream, and what is exact.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
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
#include "weir/sample/precision.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/softmax.hpp"
#include "weir/share.hpp"

namespace weir::engine {
namespace {

using testing_support::expect_error;

/// Integer operands: A of rows x columns with zero rows, equal rows, a few heavy ones; x with a zero.
struct Operands {
  std::uint64_t rows = 60;
  std::uint64_t columns = 5;
  std::vector<double> a = std::vector<double>(rows * columns);
  std::vector<double> x{2, -1, 0, 3, 1};

  Operands() {
    std::mt19937_64 random(3);
    for (double& entry : a) entry = static_cast<double>(random() % 9) - 4;
    for (std::size_t j = 0; j < columns; ++j) {
      a[5 * columns + j] = 0;                            // a zero row
      a[8 * columns + j] = a[7 * columns + j];           // two equal rows
      a[20 * columns + j] = 5 + static_cast<double>(j);  // a heavy one
    }
  }
  [[nodiscard]] std::vector<double> y() const {
    std::vector<double> y(rows);
    for (std::size_t t = 0; t < a.size(); ++t) y[t / columns] += a[t] * x[t % columns];
    return y;
  }
  [[nodiscard]] std::vector<double> law(double p) const {
    std::vector<double> law = y();
    double total = 0;
    for (double& entry : law) total += entry = std::pow(std::abs(entry), p);
    for (double& entry : law) entry /= total;
    return law;
  }
  /// Entries in parts that cancel, in random order.
  [[nodiscard]] std::string a_entries() const {
    std::vector<std::string> lines;
    for (std::size_t t = 0; t < a.size(); ++t) {
      const std::string place = "A," + std::to_string(t / columns) + "," + std::to_string(t % columns) + ",";
      lines.push_back(place + std::to_string(static_cast<int>(a[t]) - 6) + "\n");
      lines.push_back(place + "6\n");
    }
    std::shuffle(lines.begin(), lines.end(), std::mt19937_64(4));
    std::string text;
    for (const std::string& line : lines) text += line;
    return text;
  }
  /// Whole rows; one more comes and leaves.
  [[nodiscard]] std::string a_rows() const {
    std::string text = "A,9,*,7,7,7,7,7\n";
    for (std::uint64_t i = 0; i < rows; ++i) {
      text += "A," + std::to_string(i) + ",*";
      for (std::size_t j = 0; j < columns; ++j) text += "," + std::to_string(static_cast<int>(a[i * columns + j]));
      text += "\n";
    }
    return text + "A,9,-*,7,7,7,7,7\n";
  }
  [[nodiscard]] std::string x_entries() const {
    std::string text;
    for (std::size_t j = 0; j < columns; ++j)
      text += "x," + std::to_string(j) + ",10\nx," + std::to_string(j) + "," +
              std::to_string(static_cast<int>(x[j]) - 10) + "\n";
    return text;
  }
};

/// A way in which the operands come.
struct Way {
  std::string name;
  OperandSet fixed;
  std::vector<std::string> stream;
  std::string file_of_a = {};
};

class ProductSessionTest : public testing::Test {
 protected:
  mpi::Communicator world;
  Operands operands;
  SharedFile entries{world, "entries.csv", operands.a_entries()};
  SharedFile rows{world, "rows.csv", operands.a_rows()};
  SharedFile x{world, "x.csv", operands.x_entries()};

  [[nodiscard]] std::vector<Way> ways(std::uint32_t degree = 1) const {
    std::vector<Way> all{{"x fixed, rows", {Operand::x}, {rows.path()}},
                         {"A fixed", {Operand::A}, {x.path()}, rows.path()},
                         {"both stream, rows", {}, {x.path(), rows.path()}}};
    if (degree == 1) {
      all.push_back({"x fixed, entries", {Operand::x}, {entries.path()}});
      all.push_back({"A fixed, entries", {Operand::A}, {x.path()}, entries.path()});
      all.push_back({"both stream, entries", {}, {entries.path(), x.path()}});
    }
    return all;
  }
  [[nodiscard]] Problem problem(const SketchConfig& sketch, const Way& way, std::uint32_t degree = 1) const {
    return product_problem(sketch, operands.columns, way.fixed, degree);
  }
  [[nodiscard]] Sources sources(const Way& way) const {
    if (way.fixed.contains(Operand::x)) return streams_and_x(way.stream, operands.x);
    if (way.file_of_a.empty()) return streams(way.stream);
    return streams(way.stream, {{Operand::A, way.file_of_a}});
  }
  [[nodiscard]] SketchConfig config(std::uint32_t lanes, double p = 2) const {
    return {.dimension = operands.rows, .buckets = 256, .lanes = lanes, .p = p, .seed = 17};
  }
  [[nodiscard]] VectorSketch sketch_of(const SketchConfig& sketch, const std::vector<double>& y) const {
    return testing_support::sketch_of(sketch, all_entries(y));
  }
};

TEST_F(ProductSessionTest, EveryWayIsTheSketchOfYToTheBit) {
  for (const double p : {2.0, 1.0}) {
    const VectorSketch expected = sketch_of(config(8, p), operands.y());
    ASSERT_FALSE(expected.is_zero());
    for (const Way& way : ways()) {
      Session session = run(world, problem(config(8, p), way), sources(way));
      const State& state = session.snapshot();
      if (!world.local_is_root()) continue;
      const std::optional<VectorSketch> y = state.kept().sketch_of_y();
      ASSERT_TRUE(y);
      EXPECT_TRUE(std::ranges::equal(y->table(), expected.table())) << way.name << ", p " << p;
    }
  }
}

/// Each sketch is made in another way: that all of them make the same tables is the test above.
TEST_F(ProductSessionTest, DrawsHaveTheLaw) {
  const std::vector<double> y = operands.y();
  for (const double p : {2.0, 1.0}) {
    testing_support::LawCounts drawn;
    drawn.counts.resize(operands.rows);
    // Lanes of one sketch share their collisions: many sketches of a few lanes.
    for (std::uint64_t seed = 1; seed <= 36; ++seed) {
      const Way way = ways()[seed % 6];
      SketchConfig wide = config(256, p);
      wide.seed = seed;
      Session session = run(world, problem(wide, way), sources(way));
      const Answer answer = session.answer({.draw = DrawQuestion{.samples = 255}});
      if (!world.local_is_root()) continue;
      count_draws_of_session(
          answer.draws, testing_support::exact_winners(wide, all_entries(y)), 1,
          [](const Draw& draw) { return static_cast<std::size_t>(draw.index); }, drawn);
    }
    if (!world.local_is_root()) continue;
    SCOPED_TRACE(p);
    testing_support::expect_law(drawn, operands.law(p));
    testing_support::expect_power(drawn, operands.law(p));
  }
}

/// The law of these draws is tested with power in sample/: here every way makes the draws that one process makes from y.
TEST_F(ProductSessionTest, AlgorithmTwoDrawsWhatOneProcessDraws) {
  SketchConfig wide = config(1024);
  wide.law = ScaleLaw::uniform;
  const SampleResult expected =
      draw_by_precision_sampling(sketch_of(wide, operands.y()), {.samples = 1023, .epsilon = 0.2, .constant = 1});
  EXPECT_GT(expected.draws.size(), 10U);
  for (const Way& way : ways()) {
    Problem problem = this->problem(wide, way);
    problem.precision = PrecisionTarget{.epsilon = 0.2, .constant = 1};
    Session session = run(world, problem, sources(way));
    const Answer answer = session.answer({.draw = DrawQuestion{.samples = 1023}});
    if (world.local_is_root()) expect_same_draws(answer.draws, expected, way.name);
  }
}

TEST_F(ProductSessionTest, LiftedRowsDrawByTheFourthPower) {
  const std::vector<double> y = operands.y();
  std::vector<double> squares;
  double squared = 0;
  for (const double entry : y) squared += squares.emplace_back(entry * entry);
  testing_support::LawCounts drawn;
  drawn.counts.resize(operands.rows);
  const auto draw = [&](const Way& way, std::uint32_t lanes, std::uint64_t seed) {
    SketchConfig wide = config(lanes);
    wide.seed = seed;
    Session session = run(world, problem(wide, way, 2), sources(way));
    const SampleResult result = session.answer({.draw = DrawQuestion{.samples = lanes - 1}}).draws;
    if (!world.local_is_root()) return;
    const VectorSketch of_y = sketch_of(wide, y), of_squares = sketch_of(wide, squares);
    expect_same_draws(
        result, draws_of_roots(draw_with_replacement(of_squares, {.samples = lanes - 1}), of_squares, of_y), way.name);
    // The norm is that of y, within five standard deviations of a median of rows.
    EXPECT_NEAR(result.norm * result.norm / squared, 1, 5 * std::sqrt(2.0 / 256)) << way.name;
    for (const Draw& each : result.draws)
      EXPECT_GT(each.value * y[each.index], 0) << way.name << ", index " << each.index;
    count_draws_of_session(
        result, testing_support::exact_winners(wide, all_entries(squares)), 1,
        [](const Draw& each) { return static_cast<std::size_t>(each.index); }, drawn);
  };
  for (const Way& way : ways(2)) draw(way, 32, 0);
  for (std::uint64_t seed = 1; seed <= 36; ++seed) draw(ways(2)[0], 256, seed);
  if (!world.local_is_root()) return;
  testing_support::expect_law(drawn, operands.law(4));
  testing_support::expect_power(drawn, operands.law(4));
}

TEST_F(ProductSessionTest, ExactStatesHoldTheProduct) {
  const std::vector<double> y = operands.y();
  std::vector<EntryIndex> asked;
  for (std::uint64_t i = 0; i < operands.rows; ++i) asked.push_back({i});
  for (const Way& way : ways()) {
    Session whole = run(world, exact_of(problem(config(8), way)), sources(way));
    const Answer answer = whole.answer({.norm = true, .exact = ExactQuestion{.entries = asked}});
    if (world.local_is_root()) {
      double squared = 0;
      for (const double entry : y) squared += entry * entry;
      EXPECT_DOUBLE_EQ(answer.norm->value, std::sqrt(squared)) << way.name;
      ASSERT_EQ(answer.exact.size(), y.size()) << way.name;
      for (const auto& [entry, exact] : answer.exact) {
        EXPECT_EQ(exact.value, y[entry.index]) << way.name;
        EXPECT_NEAR(exact.probability.value(), operands.law(2)[entry.index], 1e-14) << way.name;
      }
    }
    // Where rows are shared out the draws by exp(y_i) are those that one process makes from y.
    Session shared = run(world, exact_of(problem(config(8), way), Keeps::exact_shared), sources(way));
    const Answer drawn = shared.answer({.draw = DrawQuestion{.samples = 20, .softmax = SoftmaxChoice{}}});
    if (!world.local_is_root()) continue;
    expect_same_draws(drawn.draws, draw_softmax(y, {.samples = 20, .seed = 17}), way.name);
  }
}

/// Every rank keeps the rows of its share, complete, and zeros elsewhere.
TEST_F(ProductSessionTest, SharedRowsAreThoseOfTheShare) {
  const std::vector<double> y = operands.y();
  const Way way = ways()[0];
  Session session = run(world, exact_of(problem(config(8), way), Keeps::exact_shared), sources(way));
  const std::span<const double> own = session.snapshot().array("y");
  const auto rank = static_cast<std::uint64_t>(world.local_rank()),
             ranks = static_cast<std::uint64_t>(world.local_size());
  const std::uint64_t first = share(y.size(), rank, ranks), end = share(y.size(), rank + 1, ranks);
  ASSERT_EQ(own.size(), y.size());
  for (std::uint64_t i = 0; i < y.size(); ++i) EXPECT_EQ(own[i], i >= first && i < end ? y[i] : 0.0) << i;
}

TEST_F(ProductSessionTest, ExactAnswersReadAOnceMore) {
  const std::vector<double> y = operands.y();
  double squared = 0;
  for (const double entry : y) squared += entry * entry;
  for (const double p : {4.0, 2.0, 1.0, 0.5}) {
    const std::uint32_t degree = p == 4 ? 2 : 1;
    for (const std::string& path : {rows.path(), entries.path()}) {
      if (degree == 2 && path == entries.path()) continue;  // lifted rows come whole
      for (const bool x_streams : {true, false}) {
        // With both fixed, A is read as a stream would be.
        const Problem problem =
            product_problem(config(8, p / degree), operands.columns, {x_streams ? Operand::A : Operand::x}, degree);
        Sources sources = x_streams ? streams({x.path()}) : streams_and_x({}, operands.x);
        sources.files[Operand::A] = path;
        Session session = run(world, problem, sources);
        const Answer answer = session.answer({.exact = ExactQuestion{.entries = {{20}, {5}, {59}, {20}}}});
        if (!world.local_is_root()) continue;
        EXPECT_DOUBLE_EQ(answer.exact_norm.value(), std::sqrt(squared));
        ASSERT_EQ(answer.exact.size(), 3U);
        for (const auto& [entry, exact] : answer.exact) {
          EXPECT_EQ(exact.value, y[entry.index]);
          EXPECT_NEAR(exact.probability.value(), operands.law(p)[entry.index], 1e-14);
        }
      }
    }
  }
}

TEST_F(ProductSessionTest, VerifiedDrawsHaveExactValues) {
  const std::vector<double> y = operands.y();
  for (const Way& way : ways()) {
    if (way.file_of_a.empty()) continue;
    Session session = run(world, problem(config(64), way), sources(way));
    const Answer verified = session.answer({.draw = DrawQuestion{.samples = 20, .verify = true}});
    const Answer shown = session.answer({.draw = DrawQuestion{.samples = 20, .show_exact = true}});
    if (!world.local_is_root()) continue;
    EXPECT_TRUE(verified.verified);
    EXPECT_FALSE(shown.verified);
    ASSERT_FALSE(verified.draws.draws.empty());
    for (const Draw& draw : verified.draws.draws) {
      EXPECT_EQ(draw.value, y[draw.index]);
      EXPECT_NEAR(draw.probability, operands.law(2)[draw.index], 1e-14);
      EXPECT_EQ(shown.exact.at(entry_of(draw)).value, y[draw.index]);
    }
  }
}

TEST_F(ProductSessionTest, AStateGoesOn) {
  const Way both = ways()[2];
  const Problem problem = this->problem(config(8), both);
  Session whole = run(world, problem, sources(both));
  Session first = run(world, problem, streams({x.path()}));
  Session second = run(world, problem, streams({rows.path()}), {.start = state_on_root(first)});
  const std::optional<State> expected = state_on_root(whole), found = state_on_root(second);
  if (!world.local_is_root()) return;
  EXPECT_FALSE(expected->kept().sketch_of_y()->is_zero());
  EXPECT_EQ(serialise(*found), serialise(*expected));
}

TEST_F(ProductSessionTest, AHeldOperandDoesNotChange) {
  const Problem problem = product_problem(config(8), operands.columns, {Operand::A});
  Session first = run(world, problem, streams({x.path()}, {{Operand::A, rows.path()}}));
  const auto go_on = [&](const std::string& stream) {
    return run(world, problem, streams({stream}), {.start = state_on_root(first)});
  };
  Session twice = go_on(x.path());
  const std::optional<State> before = state_on_root(first), after = state_on_root(twice);
  if (world.local_is_root()) {
    VectorSketch expected = before->kept().sketch_of_y().value();
    expected.scale(2);
    EXPECT_FALSE(expected.is_zero());
    EXPECT_TRUE(std::ranges::equal(after->kept().sketch_of_y()->table(), expected.table()));
  }
  for (const std::string& stream : {rows.path(), entries.path()})
    expect_error([&] { std::ignore = go_on(stream); }, {"A is not an operand of this model, which takes x"});
}

TEST_F(ProductSessionTest, OperandsBelongToTheirProblems) {
  Problem vector = vector_problem(config(8));
  vector.roles[Operand::A] = Role::fixed;
  EXPECT_THROW(run(world, vector, streams({}, {{Operand::A, rows.path()}})), UsageError);
  // Where nothing streams there is no stream.
  const Problem both = product_problem(config(8), operands.columns, {Operand::A, Operand::x});
  EXPECT_THROW(run(world, both, streams({x.path()}, {{Operand::A, rows.path()}})), UsageError);
}

TEST_F(ProductSessionTest, AnOverflowOfXIsNamedWhicheverRanksItIsSpreadOver) {
  const SharedFile large(world, "large.csv", "x,1,1.5e308\nx,1,1.5e308\n");
  const Problem sketch = product_problem(config(8), operands.columns, {Operand::A});
  for (const Problem& problem : {sketch, exact_of(sketch), exact_of(sketch, Keeps::exact_shared)}) {
    const bool softmax = problem.keeps == Keeps::exact_shared;
    expect_error(
        [&] {
          std::ignore =
              run(world, problem, streams({large.path()}, {{Operand::A, rows.path()}}))
                  .answer({.draw = DrawQuestion{.samples = 1,
                                                .softmax = softmax ? std::optional(SoftmaxChoice{}) : std::nullopt}});
        },
        {"the sum of the changes of x[1] overflows"});
  }
}

TEST_F(ProductSessionTest, LiftedRowsComeWhole) {
  for (Way way : ways(2)) {
    if (way.file_of_a.empty()) way.stream = {entries.path()};
    if (!way.file_of_a.empty()) way.file_of_a = entries.path();
    EXPECT_THROW(run(world, problem(config(8), way, 2), sources(way)), InputError) << way.name;
  }
}

}  // namespace
}  // namespace weir::engine
