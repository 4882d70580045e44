#include "weir/setting/setting.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "state/every_kind.hpp"
#include "support/message_of.hpp"
#include "weir/error.hpp"
#include "weir/state/vector_state.hpp"

namespace weir {
namespace {

using testing_support::every_kind;
using testing_support::expect_error;
using testing_support::Kind;
using testing_support::message_of;
using testing_support::problem_of;
using testing_support::small_sketch;
using Sides = std::map<std::string, std::uint64_t, std::less<>>;
using Roles = std::map<Operand, Role>;

constexpr std::uint64_t longest = std::uint64_t{1} << 63;

Problem of_kind(const std::string& name) {
  for (const Kind& kind : every_kind())
    if (kind.name == name) return kind.problem;
  throw std::logic_error("there is no kind " + name);
}

/// What check() says of a kind whose problem has been changed.
template <class Change>
std::string complaint(const std::string& kind, const Change& change) {
  Problem problem = of_kind(kind);
  EXPECT_NO_THROW(setting_of(problem).check(problem)) << kind;
  change(problem);
  return message_of<UsageError>([&] { setting_of(problem).check(problem); });
}

template <class Change>
void expect_complaint(const std::string& kind, const std::string& part, const Change& change) {
  const std::string message = complaint(kind, change);
  EXPECT_NE(message.find(part), std::string::npos) << kind << ": " << message;
}

TEST(Settings, AreFoundByName) {
  std::vector<std::string> names;
  for (const Setting* setting : settings()) {
    names.push_back(setting->traits().name);
    EXPECT_EQ(&setting_named(setting->traits().name), setting);
  }
  ASSERT_GE(names.size(), 5U);
  names.resize(5);
  EXPECT_EQ(names,
            (std::vector<std::string>{"vector", "product", "rows", "kronecker-streaming", "kronecker-two-stage"}));
  expect_error<UsageError>([] { std::ignore = setting_named("tensor"); },
                           {"unknown setting 'tensor': this build knows vector, product, rows, kronecker-streaming"});
  EXPECT_EQ(setting_named("vector").label(), "--model vector");
  EXPECT_EQ(setting_named("kronecker-streaming").label(), "--model kronecker --method streaming");
}

class AnotherVector : public Setting {
 public:
  explicit AnotherVector(const std::string& name)
      : Setting({.name = name, .model = name, .sides = {}, .operands = {}}) {}
  void size(Problem&, const SizeRequest&) const override {}
  [[nodiscard]] std::vector<ArrayLayout> layout(const Problem& problem) const override {
    return VectorState::layout(problem.sketch);
  }
  [[nodiscard]] std::unique_ptr<Kept> make(const Problem& problem, Party) const override {
    return std::make_unique<VectorState>(problem.sketch, std::nullopt);
  }
};

TEST(Settings, AreAddedOnce) {
  const std::size_t before = settings().size();
  EXPECT_EQ(message_of<UsageError>([] { add_setting(std::make_unique<AnotherVector>("vector")); }),
            "there is a setting vector already");
  add_setting(std::make_unique<AnotherVector>("another vector"));
  EXPECT_EQ(settings().back(), &setting_named("another vector"));
  EXPECT_THROW(add_setting(std::make_unique<AnotherVector>("another vector")), UsageError);
  EXPECT_EQ(settings().size(), before + 1);
  Problem problem;
  problem.setting = "another vector";
  problem.sketch = {.dimension = 5, .rows = 1, .buckets = 2, .lanes = 1};
  EXPECT_EQ(create_state(problem).array("cells of y").size(), 2U);
}

TEST(Settings, AreChosenByModelAndMethod) {
  const auto chosen = [](const std::string& model, const std::optional<std::string>& method, const Roles& roles = {},
                         Keeps keeps = Keeps::sketch) {
    Problem problem;
    problem.roles = roles;
    problem.keeps = keeps;
    return choose_setting(model, method, problem).traits().name;
  };
  for (const char* model : {"vector", "product", "rows"}) EXPECT_EQ(chosen(model, {}), model);
  // One fixed factor makes the other stream. Otherwise both do, and exact answers have one method.
  const Roles first{{Operand::A1, Role::fixed}}, second{{Operand::A2, Role::fixed}},
      both{{Operand::A1, Role::fixed}, {Operand::A2, Role::fixed}}, core{{Operand::X, Role::fixed}};
  EXPECT_EQ(chosen("kronecker", {}, first), "kronecker-streaming");
  EXPECT_EQ(chosen("kronecker", {}, second), "kronecker-streaming");
  EXPECT_EQ(chosen("kronecker", {}), "kronecker-two-stage");
  EXPECT_EQ(chosen("kronecker", {}, both), "kronecker-two-stage");
  EXPECT_EQ(chosen("kronecker", {}, core), "kronecker-two-stage");
  EXPECT_EQ(chosen("kronecker", {}, first, Keeps::exact), "kronecker-two-stage");
  EXPECT_EQ(chosen("kronecker", "two-stage", first), "kronecker-two-stage");
  EXPECT_EQ(chosen("kronecker", "streaming"), "kronecker-streaming");
  EXPECT_EQ(message_of<UsageError>([&] { chosen("kronecker", "exact"); }), "the model kronecker has no method exact");
  EXPECT_EQ(message_of<UsageError>([&] { chosen("tensor", {}); }), "unknown model tensor");
}

TEST(Settings, InferRolesAndSides) {
  const auto inferred = [](const std::string& setting, const Sides& sides, const Roles& roles = {},
                           Keeps keeps = Keeps::sketch) {
    Problem problem;
    problem.setting = setting;
    problem.sides = sides;
    problem.roles = roles;
    problem.keeps = keeps;
    setting_named(setting).infer(problem, 1000);
    return problem;
  };
  EXPECT_EQ(inferred("vector", {}).sides, (Sides{{"n", 1000}}));
  EXPECT_EQ(inferred("vector", {}).roles, (Roles{{Operand::y, Role::streams}}));
  EXPECT_EQ(inferred("vector", {{"n", 5}}).sides, (Sides{{"n", 5}}));
  // The length of an exact state is never guessed, and columns never are.
  EXPECT_EQ(inferred("vector", {}, {}, Keeps::exact).sides, Sides());
  EXPECT_EQ(inferred("rows", {}).sides, (Sides{{"n", 1000}}));
  EXPECT_EQ(inferred("product", {{"d", 4}}).sides, (Sides{{"n", 1000}, {"d", 4}}));
  EXPECT_EQ(inferred("product", {}).roles, (Roles{{Operand::A, Role::streams}, {Operand::x, Role::streams}}));
  EXPECT_EQ(inferred("product", {}, {{Operand::A, Role::fixed}}).roles,
            (Roles{{Operand::A, Role::fixed}, {Operand::x, Role::streams}}));
  // Both fixed: A is read as a stream is.
  EXPECT_EQ(inferred("product", {}, {{Operand::A, Role::fixed}, {Operand::x, Role::fixed}}).roles,
            (Roles{{Operand::A, Role::streams}, {Operand::x, Role::fixed}}));
  const Problem pairs = inferred("kronecker-two-stage", {{"d1", 2}}, {{Operand::A2, Role::fixed}});
  EXPECT_EQ(pairs.sides, (Sides{{"n1", 1000}, {"n2", 1000}, {"d1", 2}}));
  EXPECT_EQ(pairs.roles,
            (Roles{{Operand::A1, Role::streams}, {Operand::A2, Role::fixed}, {Operand::X, Role::streams}}));
  // X is the identity unless it is given, and that is square.
  for (const char* side : {"d1", "d2"}) {
    const Problem square = inferred("kronecker-streaming", {{side, 2}}, {{Operand::A2, Role::fixed}});
    EXPECT_EQ(square.roles,
              (Roles{{Operand::A1, Role::streams}, {Operand::A2, Role::fixed}, {Operand::X, Role::fixed}}));
    EXPECT_EQ(square.side("d1"), 2U);
    EXPECT_EQ(square.side("d2"), 2U);
  }
  EXPECT_FALSE(inferred("kronecker-streaming", {{"d1", 2}}, {{Operand::A2, Role::fixed}, {Operand::X, Role::fixed}})
                   .sides.contains("d2"));
  EXPECT_EQ(message_of<UsageError>([&] {
              inferred("kronecker-streaming", {{"d1", 2}, {"d2", 3}}, {{Operand::A2, Role::fixed}});
            }),
            "X is not the identity, as A1 has 2 columns and A2 has 3: expected --fixed X=FILE");
}

TEST(Settings, NeedTheirSides) {
  for (const char* kind : {"vector", "product", "rows", "streaming_a1", "pairs"}) {
    const Problem good = of_kind(kind);
    for (const auto& [name, length] : good.sides) {
      Problem problem = good;
      for (const std::uint64_t bad : {std::uint64_t{0}, longest + 1, std::numeric_limits<std::uint64_t>::max()}) {
        problem.sides[name] = bad;
        EXPECT_THROW(setting_of(problem).require_sides(problem), UsageError) << kind << " " << name << bad;
      }
      problem.sides[name] = longest;
      EXPECT_NO_THROW(setting_of(problem).require_sides(problem)) << kind << " " << name;
      problem.sides.erase(name);
      expect_error<UsageError>([&] { setting_of(problem).require_sides(problem); }, {"--" + name});
    }
  }
  // Exact answers keep n doubles.
  for (const char* kind : {"exact_vector", "exact_product", "exact_rows"}) {
    Problem problem = of_kind(kind);
    problem.sides["n"] = std::uint64_t{1} << 31;
    EXPECT_NO_THROW(setting_of(problem).require_sides(problem));
    ++problem.sides["n"];
    EXPECT_EQ(message_of<UsageError>([&] { setting_of(problem).require_sides(problem); }),
              "exact answers keep n doubles a rank: --n 2147483649 is more than 2147483648");
    problem.sides.erase("n");
    EXPECT_EQ(message_of<UsageError>([&] { setting_of(problem).require_sides(problem); }),
              "exact answers keep n doubles a rank: --n is needed, the length of y");
  }
}

TEST(Settings, CheckWhatAllProblemsHave) {
  for (const Kind& kind : every_kind()) {
    const std::string label = setting_of(kind.problem).label();
    EXPECT_EQ(complaint(kind.name, [](Problem& problem) { problem.sides["k"] = 5; }), label + " has no side k");
    const Operand other = kind.problem.setting == "vector" ? Operand::A : Operand::y;
    EXPECT_EQ(complaint(kind.name, [&](Problem& problem) { problem.roles[other] = Role::streams; }),
              fmt::format("{} has no operand {}", label, to_string(other)));
    EXPECT_EQ(complaint(kind.name, [](Problem& problem) { problem.degree = 3; }), "degree is 3: expected 1 or 2");
    expect_complaint(kind.name, "does not draw by |y|^", [](Problem& problem) { problem.sketch.p = 3; });
    if (!setting_of(kind.problem).draws_by(4)) {
      EXPECT_EQ(complaint(kind.name, [](Problem& problem) { problem.degree = 2; }), label + " lifts no rows");
    }
    if (kind.problem.keeps != Keeps::sketch) continue;
    expect_complaint(kind.name, "", [](Problem& problem) { ++problem.sketch.dimension; });
    expect_complaint(kind.name, "rows is 2", [](Problem& problem) { problem.sketch.rows = 2; });
    if (kind.problem.precision) {
      expect_complaint(kind.name, "there is no epsilon and C of the sampler precision",
                       [](Problem& problem) { problem.precision.reset(); });
    } else {
      expect_complaint(kind.name, "there are epsilon and C of the sampler precision", [](Problem& problem) {
        problem.precision = {0.5, 1};
      });
    }
  }
  for (const char* kind : {"vector", "rows"})
    expect_complaint(kind, "cannot be fixed", [](Problem& problem) { problem.roles.begin()->second = Role::fixed; });
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (const PrecisionTarget target : {PrecisionTarget{0, 1},
                                       {1, 1},
                                       {-0.5, 1},
                                       {std::numeric_limits<double>::quiet_NaN(), 1},
                                       {0.5, 0},
                                       {0.5, -1},
                                       {0.5, infinity}})
    expect_complaint("vector_precision", "of the sampler precision: expected numbers between 0 and 1, and above 0",
                     [&](Problem& problem) { problem.precision = target; });
  expect_complaint("product_precision", "the sampler precision draws by |y|^2, not from lifted rows",
                   [](Problem& problem) { problem.degree = 2; });
  for (const char* kind : {"rows", "pairs"})
    expect_complaint(kind, "the sampler precision is not for", [](Problem& problem) {
      problem.precision = {0.5, 1};
      problem.sketch.law = ScaleLaw::uniform;
    });
}

TEST(Settings, CheckThatSketchesCanBeQueried) {
  const std::uint64_t many = std::uint64_t{1} << 50;
  const std::string part = "a query would scan more than 2^40 items";
  for (const char* kind : {"vector", "product", "rows"})
    expect_complaint(kind, part, [&](Problem& problem) { problem.sides["n"] = problem.sketch.dimension = many; });
  for (const char* side : {"n1", "n2"})
    expect_complaint("pairs", part, [&](Problem& problem) {
      problem.sides[side] = many;
      problem.sketch.dimension = problem.side("n1");
    });
}

TEST(Settings, CheckThatGroupsOfRowsAreNoRows) {
  for (const char* kind : {"rows", "pairs"})
    expect_complaint(kind, "expected 0 in a state of", [](Problem& problem) { problem.sketch.row_length = 1; });
}

TEST(Settings, CheckThatGramMatricesCanBeDecomposed) {
  for (const auto& [kind, side] : {std::pair{"rows", "d"}, {"pairs", "d1"}, {"pairs", "d2"}}) {
    expect_complaint(kind, fmt::format("{} is 32769: --model ", side),
                     [side = side](Problem& problem) { problem.sides[side] = 32769; });
    Problem largest = of_kind(kind);
    largest.sides[side] = 32768;
    EXPECT_NO_THROW(setting_of(largest).check(largest)) << kind << " " << side;
  }
}

TEST(Settings, StreamOneFactorAndFixTheOther) {
  const std::string kind = "streaming_a1";
  expect_complaint(kind, "one factor streams and the other is fixed, --fixed A1=FILE or --fixed A2=FILE",
                   [](Problem& problem) { problem.roles[Operand::A2] = Role::streams; });
  expect_complaint(kind, "A1 and A2 are both fixed, and one of them has to stream",
                   [](Problem& problem) { problem.roles[Operand::A1] = Role::fixed; });
  expect_complaint(kind, "exact states of pairs are those of the method two-stage",
                   [](Problem& problem) { problem.keeps = Keeps::exact; });
  expect_complaint(kind, "n1 n2 = 4294967296 x 4294967296 is more than 2^63",
                   [](Problem& problem) { problem.sides["n1"] = problem.sides["n2"] = std::uint64_t{1} << 32; });
  for (const char* side : {"n1", "n2"})
    expect_complaint(kind, "the sketch is not that of a matrix of these sides",
                     [&](Problem& problem) { ++problem.sides[side]; });
  expect_complaint(kind, "the sketch is not that of a matrix of these sides",
                   [](Problem& problem) { problem.sketch.row_length = 7; });
}

TEST(Settings, NumberThePairsOfASoftmax) {
  const auto with_sides = [](std::uint64_t n1, std::uint64_t n2) {
    return [=](Problem& problem) {
      problem.sides["n1"] = n1;
      problem.sides["n2"] = n2;
    };
  };
  expect_complaint("exact_pairs_shared", "n1 n2 = 4294967296 x 4294967296 is more than 2^63",
                   with_sides(std::uint64_t{1} << 32, std::uint64_t{1} << 32));
  Problem largest = of_kind("exact_pairs_shared");
  with_sides(std::uint64_t{1} << 32, std::uint64_t{1} << 31)(largest);
  EXPECT_NO_THROW(setting_of(largest).check(largest));
  // A party needs its rows of A1 X besides the operands, and blocks of a size that does not depend on n1 and n2.
  Problem large = of_kind("exact_pairs_shared");  // of 3 columns of A2
  constexpr std::uint64_t n1 = std::uint64_t{1} << 24, blocks = std::uint64_t{1} << 17;
  with_sides(n1, n1)(large);
  const auto needed = [&](Party party) { return setting_of(large).doubles_besides_arrays(large, party); };
  EXPECT_GE(needed({0, 1}), 3 * n1);
  EXPECT_LE(needed({0, 1}), 6 * n1 + blocks);
  EXPECT_LE(needed({3, 4}), 6 * n1 / 4 + blocks);
  EXPECT_EQ(setting_of(large).doubles_to_answer(large), 0U);
  EXPECT_EQ(setting_of(large).doubles_besides_arrays(of_kind("exact_pairs"), {}), 0U);
  // Draws by y^2 number no pairs.
  Problem exact = of_kind("exact_pairs");
  with_sides(std::uint64_t{1} << 32, std::uint64_t{1} << 32)(exact);
  EXPECT_NO_THROW(setting_of(exact).check(exact));
}

TEST(Settings, SizeAccordingToTheRequest) {
  SizeRequest p4 = small_sketch;
  p4.p = 4;
  EXPECT_EQ(message_of<UsageError>([&] {
              problem_of("vector", {{"n", 13}}, {}, p4);
            }),
            "--p 4 lifts the rows of A: expected --model product (or --sampler exact)");
  EXPECT_EQ(message_of<UsageError>([&] {
              problem_of("kronecker-streaming", {{"n1", 7}, {"n2", 5}, {"d1", 2}}, {Operand::A2}, p4);
            }),
            "--p 4 is for --model product; --method streaming takes 0.5, 1 and 2");
  EXPECT_EQ(
      message_of<UsageError>([&] {
        problem_of("kronecker-streaming", {{"n1", longest}, {"n2", 2}, {"d1", 2}}, {Operand::A2}, small_sketch);
      }),
      "--method streaming: n1 n2 = 9223372036854775808 x 2 is more than 2^63; --method two-stage has no such limit");
  EXPECT_EQ(message_of<UsageError>([&] {
              problem_of("rows", {{"n", 13}, {"d", 3}}, {}, p4);
            }),
            "--p 4 is for --model product; --model rows takes 2");
  EXPECT_EQ(message_of<UsageError>([&] {
              problem_of("kronecker-two-stage", {{"n1", 7}, {"n2", 5}, {"d1", 2}, {"d2", 3}}, {}, p4);
            }),
            "--p 4 is for --model product; --model kronecker --method two-stage takes 2");
  EXPECT_EQ(problem_of("product", {{"n", 13}, {"d", 3}}, {}, p4).degree, 2U);
  EXPECT_EQ(problem_of("product", {{"n", 13}, {"d", 3}}, {}, p4).exponent(), 4);
  const SketchConfig small = problem_of("vector", {{"n", 13}}, {}, small_sketch).sketch;
  EXPECT_EQ(small.rows, 3U);
  EXPECT_EQ(small.buckets, 8U);
  EXPECT_EQ(small.lanes, 8U);
  EXPECT_EQ(small.seed, small_sketch.seed);
  // Of an exact state p and the seed count.
  const Problem exact = problem_of("vector", {{"n", 13}}, {}, p4, Keeps::exact);
  EXPECT_EQ(exact.sketch.p, 4);
  EXPECT_EQ(exact.degree, 1U);
  EXPECT_EQ(exact.sketch.seed, p4.seed);
  EXPECT_NO_THROW(setting_of(exact).check(exact));
}

TEST(Settings, SayWhatTheyTake) {
  const auto shapes = [](const std::string& kind, const std::vector<Role>& roles) {
    std::string text;
    for (const OperandShape& shape : shapes_of(of_kind(kind), roles))
      text += fmt::format("{} {}x{} ", to_string(shape.operand), shape.rows, shape.columns);
    return text;
  };
  EXPECT_EQ(shapes("vector", {Role::streams}), "y 13x1 ");
  EXPECT_EQ(shapes("product", {Role::streams}), "A 13x3 x 3x1 ");
  EXPECT_EQ(shapes("product_x_fixed", {Role::streams}), "A 13x3 ");
  EXPECT_EQ(shapes("product_x_fixed", {Role::fixed}), "x 3x1 ");
  EXPECT_EQ(shapes("rows", {Role::streams, Role::fixed}), "A 13x3 ");
  EXPECT_EQ(shapes("streaming_a2", {Role::streams}), "A2 5x3 ");
  EXPECT_EQ(shapes("streaming_a2", {Role::fixed}), "A1 7x2 X 2x3 ");
  EXPECT_EQ(shapes("pairs", {Role::streams}), "A1 7x2 A2 5x3 X 2x3 ");
  EXPECT_EQ(shapes("pairs", {Role::fixed}), "");
  // A side that is not known bounds nothing.
  EXPECT_EQ(shapes("streaming_without_operands", {Role::forgotten}), "A1 7x9223372036854775808 ");

  const auto columns = [](const std::string& kind) {
    return setting_of(of_kind(kind)).columns_of_sketch(of_kind(kind));
  };
  EXPECT_EQ(columns("vector"), 1U);
  EXPECT_EQ(columns("product"), 3U);
  EXPECT_EQ(columns("product_p4"), 9U);
  EXPECT_EQ(columns("product_p4_x_fixed"), 2U);
  EXPECT_EQ(columns("rows"), 3U);
  EXPECT_EQ(columns("pairs"), 5U);
  for (const Kind& kind : every_kind()) {
    const bool is_matrix = kind.problem.setting.starts_with("kronecker");
    EXPECT_EQ(setting_of(kind.problem).shape_of_y(kind.problem),
              is_matrix ? (std::vector<std::uint64_t>{7, 5}) : std::vector<std::uint64_t>{13});
    EXPECT_EQ(setting_of(kind.problem).gives_every_party_every_event(kind.problem),
              kind.problem.setting == "kronecker-streaming");
    EXPECT_FALSE(setting_of(kind.problem).describe_memory(kind.problem).empty());
    const bool is_complete = kind.problem.setting == "product" ? kind.problem.role(Operand::A) == Role::fixed
                                                               : kind.name == "pairs_factors_fixed";
    EXPECT_EQ(setting_of(kind.problem).is_complete_without_stream(kind.problem), is_complete) << kind.name;
  }
}

TEST(Settings, CheckQuestionsWithoutAState) {
  const auto refused = [](const std::string& kind, const Question& question, const std::string& part) {
    const Problem problem = of_kind(kind);
    expect_error<UsageError>([&] { setting_of(problem).check_question(problem, question); }, {part});
  };
  refused("vector", {.draw = DrawQuestion{.samples = 0}}, "expected at least one sample");
  refused("vector", {.draw = DrawQuestion{.softmax = SoftmaxChoice{}}}, "draws by exp(y_i) come from exact values");
  refused("exact_vector_shared", {.draw = DrawQuestion{}}, "draws by exp(y_i) come from exact values");
  for (const char* kind : {"exact_vector_shared", "exact_product_shared"})
    refused(kind, {.draw = DrawQuestion{.softmax = SoftmaxChoice{.per_row = true}}}, "--per-row normalises each row");
  for (const double scale : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    refused("exact_pairs_shared", {.draw = DrawQuestion{.softmax = SoftmaxChoice{.scale = scale}}},
            "expected a finite number");
  const Problem pairs = of_kind("exact_pairs_shared");
  EXPECT_NO_THROW(setting_of(pairs).check_question(
      pairs, {.draw = DrawQuestion{.without_replacement = true, .softmax = SoftmaxChoice{-0.5, true}}}));
  refused("pairs", {.draw = DrawQuestion{.without_replacement = true}}, "it draws with replacement");
  Problem roots = of_kind("rows");
  roots.sketch.p = 1;
  EXPECT_NO_THROW(setting_of(roots).check_question(roots, {.draw = DrawQuestion{.without_replacement = true}}));
  expect_error<UsageError>([&] { setting_of(roots).check_question(roots, {.draw = DrawQuestion{}}); },
                           {"rows are drawn with replacement by p = 2", "--without-replacement"});
  refused("vector", {.draw = DrawQuestion{.metric = {.leverage = true}}}, "--metric belongs to --model rows");
  Problem few_cells = of_kind("rows");  // of 3 columns
  few_cells.sketch.rows = 1;
  few_cells.gram.buckets = 4;
  const Question by_leverage{.draw = DrawQuestion{.metric = {.leverage = true}}};
  expect_error<UsageError>([&] { setting_of(few_cells).check_question(few_cells, by_leverage); },
                           {"rows of 3 columns", "more than 4 cells: it has 1 x 4", "--gram-buckets 256"});
  few_cells.gram.exact = true;
  EXPECT_NO_THROW(setting_of(few_cells).check_question(few_cells, by_leverage));
  refused("exact_vector", {.top = 1}, "exact states answer draws and the norm");
  refused("exact_vector", {.points = {{1}}}, "exact states answer draws and the norm");
  refused("exact_vector", {.moments = {1}}, "exact states answer draws and the norm");
  refused("rows", {.top = 1}, "answers --norm alone: the Frobenius norm of A");
  refused("rows", {.points = {{1}}}, "answers --norm alone");
  refused("vector", {.points = {{13}}}, "--point: index 13 is outside y of length 13");
  refused("vector", {.points = {{1, 2}}}, "--point 1:2: y is a vector, expected I");
  refused("pairs", {.points = {{1}}}, "--point 1: y is a matrix, expected I1:I2");
  refused("pairs", {.points = {{6, 5}}}, "--point: entry 6:5 is outside y of 7 x 5");
  refused("streaming_a2", {.points = {{7, 4}}}, "--point: entry 7:4 is outside y of 7 x 5");
  refused("pairs", {.moments = {1}}, "--moment needs a sketch of y");
  refused("vector_precision", {.moments = {1}}, "and the exponential law");
  refused("vector", {.top = 8}, "--top 8: a sketch of 8 buckets tells fewer coordinates apart");
  for (const char* kind : {"vector", "product_p4", "streaming_a1"}) {
    const Problem problem = of_kind(kind);
    const bool is_matrix = setting_of(problem).shape_of_y(problem).size() == 2;
    EXPECT_NO_THROW(
        setting_of(problem).check_question(problem, {.draw = DrawQuestion{.without_replacement = true},
                                                     .norm = true,
                                                     .top = 7,
                                                     .points = {is_matrix ? EntryIndex{6, 4} : EntryIndex{12}},
                                                     .moments = {3}}));
  }
  Problem long_factors = of_kind("pairs");
  long_factors.sides["n2"] = (std::uint64_t{1} << 32) + 1;
  EXPECT_EQ(message_of<UsageError>([&] { setting_of(long_factors).check_question(long_factors, {.top = 1}); }),
            "--top looks at all rows of both factors: expected --n1 and --n2 of at most 2^32");
}

TEST(Settings, SayWhatHasNoInnerProduct) {
  const auto between = [](const Problem& a, const Problem& b) { return setting_of(a).describe_inner_difference(a, b); };
  const auto inner = [&](const std::string& a, const std::string& b) { return between(of_kind(a), of_kind(b)); };
  EXPECT_EQ(inner("vector", "vector"), "");
  EXPECT_EQ(inner("vector", "product"), "");  // both have a sketch of y
  EXPECT_EQ(inner("product_x_fixed", "product_a_fixed"), "");
  EXPECT_EQ(inner("vector", "vector_p1"), "p: 2 against 1");
  EXPECT_EQ(inner("vector", "rows"), "a sketch of y against operands");
  EXPECT_EQ(inner("rows", "vector"), "operands against a sketch of y");
  EXPECT_EQ(inner("vector", "exact_vector"), "exact values have no inner product with a sketch");
  EXPECT_EQ(inner("exact_pairs", "pairs"), "exact values have no inner product with a sketch");
  EXPECT_EQ(inner("pairs", "pairs_exact_gram"), "");
  EXPECT_EQ(inner("streaming_a1", "streaming_a2"), "row_length: 5 against 7");
  const Sides square{{"n1", 5}, {"n2", 5}, {"d1", 2}};
  EXPECT_EQ(between(problem_of("kronecker-streaming", square, {Operand::A2}, small_sketch),
                    problem_of("kronecker-streaming", square, {Operand::A1}, small_sketch)),
            "y against its transpose");
  Problem other = of_kind("pairs");
  other.sides["n2"] = 6;
  EXPECT_EQ(between(of_kind("pairs"), other), "n2: 5 against 6");
  other = of_kind("pairs");
  other.gram.buckets = 64;
  EXPECT_EQ(between(of_kind("pairs"), other), "buckets of the Gram sketch: 8 against 64");
}

}  // namespace
}  // namespace weir
