// Attention through sessions on 1 to 4 ranks: tokens are partitioned, every rank asks its own queries.

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
#include "weir/attention/exact.hpp"
#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/npy.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/attention.hpp"
#include "weir/state/attention_state.hpp"

namespace weir::engine {
namespace {

constexpr std::uint64_t n = 501, d = 3, dv = 2;
constexpr double scale = 0.7;

DenseMatrix normal(std::uint64_t rows, std::uint64_t columns, unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> law;
  DenseMatrix matrix{rows, columns, std::vector<double>(rows * columns)};
  std::ranges::generate(matrix.values, [&] { return law(random); });
  return matrix;
}

std::string npy_of(const DenseMatrix& matrix) {
  const auto bytes = std::as_bytes(std::span(matrix.values));
  return npy_header(matrix.rows, matrix.columns) +
         std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

/// Lines KV,i,*,key,value for rows first .. end - 1, or -* where they leave.
std::string lines_of(const DenseMatrix& keys, const DenseMatrix& values, std::uint64_t first, std::uint64_t end,
                     const char* star = "*") {
  std::string text;
  for (std::uint64_t i = first; i < end; ++i) {
    text += fmt::format("KV,{},{}", i, star);
    for (std::uint64_t j = 0; j < d; ++j) text += fmt::format(",{}", keys.values[i * d + j]);
    for (std::uint64_t j = 0; j < dv; ++j) text += fmt::format(",{}", values.values[i * dv + j]);
    text += '\n';
  }
  return text;
}

class AttentionSession : public testing::Test {
 protected:
  AttentionSession() {
    DenseMatrix scaled = queries;
    for (double& number : scaled.values) number *= scale;
    const auto calibration = AnisotropicCalibration::fit(
        {.d = d, .dv = dv, .budget = 12000, .clusters = 1, .exact_rows = 20, .automatic = false}, scaled.values,
        keys.values, values.values);
    problem = attention_problem(n, scale, calibration);
    if (world.local_is_root()) sources.values[attention_calibration()] = as_operand(calibration);
    exact = exact_attention(scaled, keys, values).values;
  }
  [[nodiscard]] Sources from(std::vector<std::string> paths, SideBySide arrays = {}) const {
    Sources all = sources;
    all.stream.paths = std::move(paths);
    all.stream.arrays = std::move(arrays);
    return all;
  }
  /// What every rank is told about all queries.
  [[nodiscard]] std::vector<double> ask(Session& session) const {
    return session.answer({.attend = AttendQuestion{queries, true}}).attention->outputs.values;
  }
  [[nodiscard]] double error_of(Session& session) const { return distance(exact, ask(session)); }
  [[nodiscard]] static double distance(const std::vector<double>& a, const std::vector<double>& b) {
    double difference = 0, sum = 0;
    for (std::size_t t = 0; t < a.size(); ++t) {
      difference += (a[t] - b[t]) * (a[t] - b[t]);
      sum += a[t] * a[t];
    }
    return std::sqrt(difference / sum);
  }

  mpi::Communicator world;
  const DenseMatrix queries = normal(40, d, 1), keys = normal(n, d, 2), values = normal(n, dv, 3);
  Problem problem;
  Sources sources;
  std::vector<double> exact;
};

TEST_F(AttentionSession, TokensOfTwoArraysOnAnyNumberOfRanks) {
  const SharedFile k(world, "k.npy", npy_of(keys)), v(world, "v.npy", npy_of(values));
  const SideBySide arrays{.paths = {k.path(), v.path()}, .columns = {d, dv}};
  Session session(world.local_handle(), problem, from({}, arrays));
  while (session.advance({.events = 100})) {
  }
  // One token more or less changes outputs by some 0.03: averages of 501 random values.
  EXPECT_LT(error_of(session), 0.005);
  EXPECT_EQ(session.statistics().updates, n);
  // The same on one rank: the root's own communicator.
  const std::vector<double> together = ask(session);
  MPI_Comm alone = MPI_COMM_NULL;
  MPI_Comm_split(world.local_handle(), world.local_rank(), 0, &alone);
  if (world.local_is_root()) {
    Session single(alone, problem, from({}, arrays));
    single.advance();
    EXPECT_LT(distance(ask(single), together), 1e-6);
  }
  MPI_Comm_free(&alone);
}

TEST_F(AttentionSession, LinesComeAndLeave) {
  const SharedFile come(world, "come.csv", lines_of(keys, values, 0, n)),
      more(world, "more.csv", lines_of(keys, values, 100, 200)),
      leave(world, "leave.csv", lines_of(keys, values, 100, 200, "-*"));
  Session session(world.local_handle(), problem, from({come.path(), more.path(), leave.path()}));
  session.advance();
  EXPECT_LT(error_of(session), 0.005);
}

TEST_F(AttentionSession, SavedStatesContinueAndCombine) {
  const SharedFile first(world, "first.csv", lines_of(keys, values, 0, 300)),
      second(world, "second.csv", lines_of(keys, values, 300, n)), file(world, "state.weir", "");
  Session whole(world.local_handle(), problem, from({first.path(), second.path()}));
  whole.advance();
  const std::vector<double> expected = ask(whole);
  Session part(world.local_handle(), problem, from({first.path()}));
  part.advance();
  part.save(file.path());
  std::optional<State> saved;
  together(world, [&](mpi::FailureSignal&) {
    if (world.local_is_root()) saved = load_state(file.path());
  });
  // What was saved is what comes back.
  if (world.local_is_root())
    EXPECT_EQ(saved->kept().other_part(), part.snapshot().kept().other_part());
  else
    (void)part.snapshot();
  std::optional<State> start = saved;
  Sources rest = from({second.path()});
  rest.values.clear();
  Session continued(world.local_handle(), problem, rest, {.start = std::move(start)});
  continued.advance();
  EXPECT_LT(distance(expected, ask(continued)), 1e-6);
  // Two states that were saved, added.
  Session other(world.local_handle(), problem, from({second.path()}));
  other.advance();
  const State& of_other = other.snapshot();
  together(world, [&](mpi::FailureSignal&) {
    if (!world.local_is_root()) return;
    saved->add(of_other);
    const std::vector<double> sum = saved->answer({.attend = AttendQuestion{queries, false}}).attention->outputs.values;
    EXPECT_LT(distance(expected, sum), 1e-6);
  });
}

TEST_F(AttentionSession, DamagedFilesAreRefused) {
  const SharedFile lines(world, "lines.csv", lines_of(keys, values, 0, n)), file(world, "state.weir", "");
  Session session(world.local_handle(), problem, from({lines.path()}));
  session.advance();
  session.save(file.path());
  if (!world.local_is_root()) return;
  const std::vector<std::byte> good = serialise(load_state(file.path()));
  for (std::size_t k = 0; k < good.size(); k += 97) {
    std::vector<std::byte> bad = good;
    bad[k] ^= std::byte{4};
    EXPECT_THROW((void)deserialise(bad, "bad"), InputError) << k;
  }
  for (const std::size_t size : {good.size() - 1, good.size() / 2, std::size_t{100}})
    EXPECT_THROW((void)deserialise(std::span(good).first(size), "cut"), InputError) << size;
}

TEST_F(AttentionSession, ErrorsAreThrownOnEveryRank) {
  const SharedFile k(world, "k.npy", npy_of(keys)), v(world, "v.npy", npy_of(normal(n - 1, dv, 3))),
      entry(world, "entry.csv", "KV,3,1,0.5\n");
  const SideBySide arrays{.paths = {k.path(), v.path()}, .columns = {d, dv}};
  EXPECT_THROW((void)Session(world.local_handle(), problem, from({}, arrays)), InputError);
  Session entries(world.local_handle(), problem, from({entry.path()}));
  EXPECT_THROW((void)entries.advance(), InputError);
  Session empty(world.local_handle(), problem, from({}));
  EXPECT_FALSE(empty.advance());
  EXPECT_THROW((void)ask(empty), InputError);
  EXPECT_THROW((void)empty.answer({.norm = true}), UsageError);
}

}  // namespace
}  // namespace weir::engine
