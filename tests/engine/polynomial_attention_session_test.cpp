// Attention with polynomial features through sessions on 1 to 4 ranks: keys and values, then queries, as streams that come
// and go, saved and combined.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/shared_file.hpp"
#include "support/message_of.hpp"
#include "weir/attention/exact.hpp"
#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/polynomial_attention.hpp"
#include "weir/state/attention_outputs_state.hpp"
#include "weir/state/polynomial_attention_state.hpp"

namespace weir::engine {
namespace {

using testing_support::message_of;

constexpr std::uint64_t n = 301, query_count = 83, d = 3, dv = 2;
constexpr double scale = 0.15;

DenseMatrix normal(std::uint64_t rows, std::uint64_t columns, unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> law;
  DenseMatrix matrix{rows, columns, std::vector<double>(rows * columns)};
  std::ranges::generate(matrix.values, [&] { return law(random); });
  return matrix;
}

/// Lines NAME,i,*,... for rows first .. end - 1 of the matrices side by side, or -* where they leave.
std::string lines_of(const char* name, std::initializer_list<const DenseMatrix*> parts, std::uint64_t first,
                     std::uint64_t end, const char* star = "*") {
  std::string text;
  for (std::uint64_t i = first; i < end; ++i) {
    text += fmt::format("{},{},{}", name, i, star);
    for (const DenseMatrix* part : parts)
      for (std::uint64_t j = 0; j < part->columns; ++j) text += fmt::format(",{}", part->values[i * part->columns + j]);
    text += '\n';
  }
  return text;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, sum = 0;
  for (std::size_t t = 0; t < a.size(); ++t) {
    difference += (a[t] - b[t]) * (a[t] - b[t]);
    sum += a[t] * a[t];
  }
  return std::sqrt(difference / sum);
}

class PolynomialAttention : public testing::Test {
 protected:
  PolynomialAttention() {
    std::vector<double> scaled = queries.values;
    for (double& number : scaled) number *= scale;
    exact = exact_attention({scaled, query_count, d}, keys, values).values;
  }
  [[nodiscard]] Session session(const Problem& problem, std::vector<std::string> paths,
                                std::optional<State> start = {}) const {
    Sources sources;
    sources.stream.paths = std::move(paths);
    if (!start && world.local_is_root()) sources.values[attention_centres()] = centres_as_operand(centred);
    return {world.local_handle(), problem, std::move(sources), {.start = std::move(start)}};
  }
  [[nodiscard]] std::vector<double> ask(Session& of) const {
    return of.answer({.attend = AttendQuestion{.queries = queries}}).attention->outputs.values;
  }
  /// The state as the root has it in a file.
  [[nodiscard]] std::optional<State> saved(Session& of) const {
    const SharedFile file(world, "state.weir", "");
    of.save(file.path());
    std::optional<State> state;
    together(world, [&](mpi::FailureSignal&) {
      if (world.local_is_root()) state = load_state(file.path());
    });
    return state;
  }
  /// A session of outputs, with the M of `tokens`.
  [[nodiscard]] Session outputs(Session& tokens, bool is_factored, std::vector<std::string> paths) const {
    Sources sources;
    sources.stream.paths = std::move(paths);
    const State& state = tokens.snapshot();
    if (world.local_is_root()) {
      sources.values[attention_centres()] = centres_as_operand(centred);
      const auto* whole = dynamic_cast<const MonomialAttentionState*>(&state.kept());
      const std::vector<float> m = whole != nullptr
                                       ? whole->product()
                                       : dynamic_cast<const SketchedAttentionState&>(state.kept()).product(false);
      sources.values[attention_product()] = {m.size(), 1, {m.begin(), m.end()}};
    }
    return {world.local_handle(),
            attention_outputs_problem(shape, query_count, {.rows = 5, .buckets = 256}, 3, is_factored),
            std::move(sources)};
  }
  /// All outputs of a sketch that is large enough for them; rows that are not there are 0. On the root.
  [[nodiscard]] static std::vector<double> recovered(Session& of) {
    const Answer answer = of.answer({.recover = RecoveryOptions{.k = query_count}});
    return answer.recovered ? to_dense(*answer.recovered).values : std::vector<double>();
  }

  mpi::Communicator world;
  const DenseMatrix queries = normal(query_count, d, 1), keys = normal(n, d, 2), values = normal(n, dv, 3);
  const PolynomialConfig centred{.dimension = d, .degree = 6, .centres = {.q0 = {0.1, 0, 0}, .k0 = {0, 0.2, 0.1}}};
  const PolynomialAttentionShape shape{
      .tokens = n, .dv = dv, .features = {.dimension = d, .degree = 6}, .scale = scale};
  const Problem monomials = attention_monomials_problem(shape);
  const Problem sketched = attention_sketched_problem(shape, Psi(PsiKind::one_nonzero, 1U << 14, 5));
  std::vector<double> exact;
};

TEST_F(PolynomialAttention, KeysWithValuesComeAndLeave) {
  const SharedFile come(world, "come.csv", lines_of("KV", {&keys, &values}, 0, n)),
      more(world, "more.csv", lines_of("KV", {&keys, &values}, 50, 150)),
      leave(world, "leave.csv", lines_of("KV", {&keys, &values}, 50, 150, "-*"));
  Session plain = session(monomials, {come.path()});
  plain.advance();
  // Scores are below 2 in magnitude, most of them below 1: the next term, z^7 / 7!, is 1 / 5040 there.
  EXPECT_LT(distance(exact, ask(plain)), 0.003);
  Session turnstile = session(monomials, {come.path(), more.path(), leave.path()});
  turnstile.advance();
  EXPECT_LT(distance(ask(plain), ask(turnstile)), 1e-5);
  // Without the centres the same function is approximated elsewhere.
  Sources sources;
  sources.stream.paths = {come.path()};
  Session uncentred(world.local_handle(), monomials, sources);
  uncentred.advance();
  const double difference = distance(ask(plain), ask(uncentred));
  EXPECT_GT(difference, 1e-7);
  EXPECT_LT(difference, 0.01);
}

TEST_F(PolynomialAttention, KeysAndValuesComeApartAndValuesByEntries) {
  std::string entries;
  for (std::uint64_t i = 0; i < n; ++i)
    for (std::uint64_t j = 0; j < dv; ++j)
      entries += fmt::format("V,{0},{1},{2}\nV,{0},{1},1\nV,{0},{1},-1\n", i, j, values.values[i * dv + j]);
  const SharedFile pairs(world, "pairs.csv", lines_of("KV", {&keys, &values}, 0, n)),
      k(world, "k.csv", lines_of("K", {&keys}, 0, n)), k_leaves(world, "kl.csv", "K,3,*,1,1,1\nK,3,-*,1,1,1\n"),
      v(world, "v.csv", lines_of("V", {&values}, 0, n)), v_entries(world, "ve.csv", entries);
  Session together_ = session(sketched, {pairs.path()});
  together_.advance();
  const std::vector<double> expected = ask(together_);
  // One sign in 2^14 rows for each token, and some share one: sqrt(n / m2) = .136 relative to random values.
  EXPECT_LT(distance(exact, expected), 0.27);
  EXPECT_GT(distance(exact, expected), 0.05);
  Session apart = session(sketched, {v.path(), k.path(), k_leaves.path()});
  apart.advance();
  EXPECT_LT(distance(expected, ask(apart)), 1e-5);
  Session by_entries = session(sketched, {k.path(), v_entries.path()});
  by_entries.advance();
  EXPECT_LT(distance(expected, ask(by_entries)), 1e-5);
}

TEST_F(PolynomialAttention, OutputsOfQueriesThatComeAndLeave) {
  const SharedFile pairs(world, "pairs.csv", lines_of("KV", {&keys, &values}, 0, n)),
      all(world, "q.csv", lines_of("Q", {&queries}, 0, query_count)),
      some(world, "some.csv", lines_of("Q", {&queries}, 0, 30)),
      leave(world, "leave.csv", lines_of("Q", {&queries}, 30, query_count, "-*"));
  for (const Problem& problem : {monomials, sketched}) {
    Session tokens = session(problem, {pairs.path()});
    tokens.advance();
    const std::vector<double> direct = ask(tokens);
    for (const bool is_factored : {false, true}) {
      Session of_all = outputs(tokens, is_factored, {all.path()}),
              of_some = outputs(tokens, is_factored, {some.path()}),
              gone = outputs(tokens, is_factored, {all.path(), leave.path()});
      for (Session* each : {&of_all, &of_some, &gone}) each->advance();
      // 83 outputs in 5 x 256 cells: nearly all are alone somewhere.
      const std::vector<double> whole = recovered(of_all), part = recovered(of_some), rest = recovered(gone);
      if (!world.local_is_root()) continue;
      EXPECT_LT(distance(direct, whole), 1e-5) << is_factored;
      std::vector<double> expected = direct;
      std::fill(expected.begin() + 30 * dv, expected.end(), 0.0);
      EXPECT_LT(distance(expected, part), 1e-5) << is_factored;
      EXPECT_LT(distance(expected, rest), 1e-5) << is_factored;
    }
  }
}

TEST_F(PolynomialAttention, StatesAreSavedContinuedAndCombined) {
  const SharedFile first(world, "first.csv", lines_of("KV", {&keys, &values}, 0, 200)),
      second(world, "second.csv", lines_of("KV", {&keys, &values}, 200, n)),
      q1(world, "q1.csv", lines_of("Q", {&queries}, 0, 40)),
      q2(world, "q2.csv", lines_of("Q", {&queries}, 40, query_count));
  for (const Problem& problem : {monomials, sketched}) {
    Session whole = session(problem, {first.path(), second.path()}), part = session(problem, {first.path()}),
            other = session(problem, {second.path()});
    for (Session* each : {&whole, &part, &other}) each->advance();
    const std::vector<double> expected = ask(whole);
    std::optional<State> sum = saved(part);
    Session continued = session(problem, {second.path()}, sum);
    continued.advance();
    EXPECT_LT(distance(expected, ask(continued)), 1e-6);
    const std::optional<State> more = saved(other);
    if (world.local_is_root()) {
      sum->add(*more);
      EXPECT_LT(
          distance(expected, sum->answer({.attend = AttendQuestion{.queries = queries}}).attention->outputs.values),
          1e-6);
      sum->add(*more, -1);
    }
    Session again = session(problem, {second.path()}, sum);
    again.advance();
    EXPECT_LT(distance(expected, ask(again)), 1e-5);

    for (const bool is_factored : {false, true}) {
      Session of_whole = outputs(whole, is_factored, {q1.path(), q2.path()}),
              of_part = outputs(whole, is_factored, {q1.path()});
      for (Session* each : {&of_whole, &of_part}) each->advance();
      const std::optional<State> start = saved(of_part);
      Session goes_on = session(of_part.problem(), {q2.path()}, start);
      goes_on.advance();
      const std::vector<double> all = recovered(of_whole), same = recovered(goes_on);
      if (world.local_is_root()) {
        EXPECT_LT(distance(all, same), 1e-5);
      }
    }
  }
}

TEST_F(PolynomialAttention, KeysThatComeAfterQueriesAreRefused) {
  const SharedFile pairs(world, "pairs.csv", lines_of("KV", {&keys, &values}, 0, n)),
      late(world, "late.csv", lines_of("Q", {&queries}, 0, 5) + lines_of("K", {&keys}, 0, 1)),
      early(world, "early.csv", lines_of("K", {&keys}, 0, 5) + lines_of("Q", {&queries}, 0, 1));
  Session tokens = session(sketched, {pairs.path()});
  tokens.advance();
  Session of_outputs = outputs(tokens, true, {late.path()});
  const std::string after = message_of<InputError>([&] { of_outputs.advance(); });
  EXPECT_NE(after.find("late.csv"), std::string::npos) << after;
  EXPECT_NE(after.find("keys and values come before"), std::string::npos) << after;
  Session mixed = session(sketched, {early.path()});
  const std::string before = message_of<InputError>([&] { mixed.advance(); });
  EXPECT_NE(before.find("queries come after all keys and values"), std::string::npos) << before;
}

TEST_F(PolynomialAttention, OtherStatesDoNotCombineAndOtherQuestionsAreRefused) {
  const SharedFile pairs(world, "pairs.csv", lines_of("KV", {&keys, &values}, 0, n)),
      q(world, "q.csv", lines_of("Q", {&queries}, 0, 40)), entry(world, "entry.csv", "KV,3,1,0.5\n"),
      few(world, "few.csv", lines_of("KV", {&keys, &values}, 0, 10));
  Session tokens = session(monomials, {pairs.path()});
  tokens.advance();
  EXPECT_THROW((void)tokens.answer({.norm = true}), UsageError);
  EXPECT_THROW((void)tokens.answer({.recover = RecoveryOptions{}}), UsageError);
  Session entries = session(monomials, {entry.path()});
  EXPECT_THROW((void)entries.advance(), InputError);
  Session empty = session(monomials, {});
  const std::string nothing = message_of<InputError>([&] { (void)ask(empty); });
  EXPECT_NE(nothing.find("no key"), std::string::npos) << nothing;

  // Outputs by another M, and features about other centres.
  Session other_tokens = session(monomials, {few.path()});
  other_tokens.advance();
  Session a = outputs(tokens, false, {q.path()}), b = outputs(other_tokens, false, {q.path()});
  Sources sources;
  Session uncentred(world.local_handle(), monomials, sources);
  EXPECT_THROW((void)a.answer({.attend = AttendQuestion{.queries = queries}}), UsageError);
  const State &of_a = a.snapshot(), &of_b = b.snapshot(), &of_tokens = tokens.snapshot(),
              &of_uncentred = uncentred.snapshot();
  if (!world.local_is_root()) return;
  State sum = of_a;
  EXPECT_THROW(sum.add(of_b), InputError);
  sum = of_tokens;
  EXPECT_THROW(sum.add(of_uncentred), InputError);
  EXPECT_THROW(sum.add(of_a), InputError);
  EXPECT_THROW(sum.scale(0.5), InputError);
}

TEST_F(PolynomialAttention, DamagedFilesAreRefused) {
  const SharedFile pairs(world, "pairs.csv", lines_of("KV", {&keys, &values}, 0, 20)),
      q(world, "q.csv", lines_of("Q", {&queries}, 0, 10)), file(world, "state.weir", "");
  Session tokens = session(sketched, {pairs.path()});
  tokens.advance();
  Session of_outputs = outputs(tokens, true, {q.path()});
  of_outputs.advance();
  of_outputs.save(file.path());
  if (!world.local_is_root()) return;
  const std::vector<std::byte> good = serialise(load_state(file.path()));
  for (std::size_t k = 0; k < good.size(); k += 1 + good.size() / 300) {
    std::vector<std::byte> bad = good;
    bad[k] ^= std::byte{4};
    EXPECT_THROW((void)deserialise(bad, "bad"), InputError) << k;
  }
  // A file with checksums that hold, and a shape that is impossible.
  for (const auto& [name, value] : {std::pair{"degree", "65"},
                                    {"degree", "-1"},
                                    {"m2", "0"},
                                    {"m2", "16777217"},
                                    {"psi", "other"},
                                    {"scale", "nan"},
                                    {"scale", ""}}) {
    Problem bad = sketched;
    bad.parameters[name] = value;
    EXPECT_THROW(setting_of(bad).check(bad), UsageError) << name << value;
    bad.parameters.erase(name);
    EXPECT_THROW(setting_of(bad).check(bad), UsageError) << name;
  }
  Problem wide = of_outputs.problem();
  wide.parameters["phi buckets"] = "4294967296";
  wide.parameters["degree"] = "12";
  wide.sides["d"] = 30;
  EXPECT_THROW(setting_of(wide).check(wide), UsageError);
  wide.sides["d"] = 4097;
  EXPECT_THROW(setting_of(wide).check(wide), UsageError);
}

}  // namespace
}  // namespace weir::engine
