#pragma once

// Problems of every setting with given sketches, and sessions that read their streams to the end.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/setting.hpp"
#include "weir/sketch/kronecker_sketch.hpp"

namespace weir::engine {

/// y is the stream, and has config.dimension entries.
inline Problem vector_problem(const SketchConfig& config) {
  Problem problem;
  problem.setting = "vector";
  problem.sides["n"] = config.dimension;
  problem.roles[Operand::y] = Role::streams;
  problem.sketch = config;
  return problem;
}

/// y = A x for an A of config.dimension x d, whose operands stream but for `fixed`; degree 2 lifts rows.
inline Problem product_problem(const SketchConfig& config, std::uint64_t d, OperandSet fixed = {},
                               std::uint32_t degree = 1) {
  Problem problem;
  problem.setting = "product";
  problem.sides = {{"n", config.dimension}, {"d", d}};
  for (const Operand operand : {Operand::A, Operand::x})
    problem.roles[operand] = fixed.contains(operand) ? Role::fixed : Role::streams;
  problem.degree = degree;
  problem.sketch = config;
  return problem;
}

/// Rows of an A of config.dimension x d.
inline Problem rows_problem(const SketchConfig& config, std::uint64_t d, const GramConfig& gram) {
  Problem problem;
  problem.setting = "rows";
  problem.sides = {{"n", config.dimension}, {"d", d}};
  problem.roles[Operand::A] = Role::streams;
  problem.sketch = config;
  problem.gram = gram;
  return problem;
}

/// y = (A1 (x) A2) vec X while `streamed`, A1 or A2, streams. The dimension and the row length of `config` follow.
inline Problem streaming_problem(const KroneckerShape& shape, Operand streamed, SketchConfig config) {
  Problem problem;
  problem.setting = "kronecker-streaming";
  problem.sides = {{"n1", shape.n1}, {"n2", shape.n2}, {"d1", shape.d1}, {"d2", shape.d2}};
  for (const Operand operand : {Operand::A1, Operand::A2, Operand::X})
    problem.roles[operand] = operand == streamed ? Role::streams : Role::fixed;
  config.dimension = shape.n1 * shape.n2;
  config.row_length = streamed == Operand::A1 ? shape.n2 : shape.n1;
  problem.sketch = config;
  return problem;
}

/// The same y while all operands but `fixed` stream. The dimension of `config` follows.
inline Problem two_stage_problem(const KroneckerShape& shape, SketchConfig config, const GramConfig& gram,
                                 OperandSet fixed = {}) {
  Problem problem;
  problem.setting = "kronecker-two-stage";
  problem.sides = {{"n1", shape.n1}, {"n2", shape.n2}, {"d1", shape.d1}, {"d2", shape.d2}};
  for (const Operand operand : {Operand::A1, Operand::A2, Operand::X})
    problem.roles[operand] = fixed.contains(operand) ? Role::fixed : Role::streams;
  config.dimension = shape.n1;
  problem.sketch = config;
  problem.gram = gram;
  return problem;
}

/// The same problem, of which exact values are kept.
inline Problem exact_of(Problem problem, Keeps keeps = Keeps::exact) {
  problem.keeps = keeps;
  problem.precision.reset();
  SizeRequest request;
  request.p = problem.exponent();
  request.seed = problem.sketch.seed;
  setting_of(problem).size(problem, request);
  return problem;
}

/// A session that has read its stream to the end.
inline Session run(const mpi::Communicator& communicator, const Problem& problem, Sources sources,
                   Session::Options options = {}) {
  Session session(communicator.local_handle(), problem, std::move(sources), std::move(options));
  while (session.advance()) {
  }
  return session;
}

inline Sources streams(std::vector<std::string> paths, std::map<Operand, std::string> fixed = {}) {
  return {.stream = {.paths = std::move(paths)}, .files = std::move(fixed)};
}

/// The same where x is fixed, and at hand.
inline Sources streams_and_x(std::vector<std::string> paths, const std::vector<double>& x) {
  Sources sources = streams(std::move(paths));
  sources.values[Operand::x] = {x.size(), 1, x};
  return sources;
}

/// The saved state at `path` on the root, none elsewhere: what Session::Options::start takes. Throws on all ranks.
inline std::optional<State> load_on_root(const mpi::Communicator& communicator, const std::string& path) {
  std::optional<State> state;
  together(communicator, [&](mpi::FailureSignal&) {
    if (communicator.local_is_root()) state = load_state(path);
  });
  return state;
}

/// The merged state of a session on the root, none elsewhere.
inline std::optional<State> state_on_root(Session& session) {
  const State& state = session.snapshot();
  return session.communicator().local_is_root() ? std::optional(state) : std::nullopt;
}

/// The same draws, to the bit.
inline void expect_same_draws(const SampleResult& a, const SampleResult& b, const std::string& what) {
  EXPECT_EQ(a.norm, b.norm) << what;
  ASSERT_EQ(a.draws.size(), b.draws.size()) << what;
  for (std::size_t s = 0; s < a.draws.size(); ++s) {
    EXPECT_EQ(a.draws[s].lane, b.draws[s].lane) << what;
    EXPECT_EQ(a.draws[s].index, b.draws[s].index) << what;
    EXPECT_EQ(a.draws[s].column, b.draws[s].column) << what;
    EXPECT_EQ(a.draws[s].value, b.draws[s].value) << what;
    EXPECT_EQ(a.draws[s].probability, b.draws[s].probability) << what;
    EXPECT_EQ(a.draws[s].inclusion, b.draws[s].inclusion) << what;
  }
}

}  // namespace weir::engine
