#include "weir/engine/second_pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/merge.hpp"
#include "engine/parties.hpp"
#include "engine/reading.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/setting/selection.hpp"

namespace weir::engine {
namespace {

/// The entries that were drawn, without repetitions, on all ranks.
std::vector<EntryIndex> drawn_entries(const mpi::Communicator& communicator, const Answer& answer) {
  std::vector<std::uint64_t> numbers;
  const auto add = [&](const Draw& draw) {
    numbers.push_back(draw.index);
    numbers.push_back(draw.column ? 1 : 0);
    numbers.push_back(draw.column.value_or(0));
  };
  for (const Draw& draw : answer.draws.draws) add(draw);
  if (answer.draws.next) add(*answer.draws.next);
  communicator.broadcast(numbers);
  std::vector<EntryIndex> entries;
  for (std::size_t k = 0; k < numbers.size(); k += 3)
    entries.push_back({numbers[k], numbers[k + 1] != 0 ? std::optional(numbers[k + 2]) : std::nullopt});
  std::ranges::sort(entries);
  entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
  return entries;
}

/// A fixed operand that the state of a session holds whole, as every party does.
std::optional<DenseMatrix> held_operand(const State& state, Operand operand, const OperandShape& shape) {
  for (const StateArray& array : state.arrays()) {
    const ArrayLayout& layout = *array.layout;
    if (layout.operand != operand || layout.is_count || layout.gathering != Gathering::everywhere ||
        layout.size != shape.rows * shape.columns)
      continue;
    const std::span<double> numbers = array.numbers.doubles();
    return DenseMatrix{shape.rows, shape.columns, {numbers.begin(), numbers.end()}};
  }
  return std::nullopt;
}

/// Gives the fixed operands of the whole problem to the state of a selection.
void give_fixed_operands(const Session& session, const State& whole, const Sources& sources, RowSelection& selection,
                         State& state) {
  const mpi::Communicator& communicator = session.communicator();
  for (const OperandShape& shape : shapes_of(session.problem(), {Role::fixed})) {
    if (const auto file = sources.files.find(shape.operand); file != sources.files.end()) {
      ingest(communicator,
             {.paths = {file->second}, .edges = sources.stream.edges, .resolution = session.problem().resolution},
             {shape}, shape.operand, [&](const EventBatch& batch) { state.add(selection.select(batch)); });
      continue;
    }
    const auto given = sources.values.find(shape.operand);
    std::optional<DenseMatrix> values =
        given != sources.values.end() ? std::optional(given->second) : held_operand(whole, shape.operand, shape);
    if (!communicator.broadcast(values.has_value()))
      throw UsageError(
          fmt::format("a second pass needs {}, which was fixed and is not at hand: {} holds no more of it "
                      "than a sketch",
                      to_string(shape.operand), whole.kept().holds()));
    std::vector<double> numbers = values ? std::move(values->values) : std::vector<double>();
    round_to(session.problem().resolution, numbers);
    communicator.broadcast(numbers);
    together(communicator, [&](mpi::FailureSignal&) {
      if (!has_column(shape.operand)) {
        state.kept().set_fixed(shape.operand, {numbers.size(), 1, std::move(numbers)});
      } else if (communicator.local_is_root()) {
        EventBatch batch;
        for (std::uint64_t row = 0; row < shape.rows; ++row)
          batch.rows.push_back(shape.operand, row, 1,
                               std::span(numbers).subspan(static_cast<std::size_t>(row * shape.columns),
                                                          static_cast<std::size_t>(shape.columns)));
        state.add(selection.select(batch));
      }
    });
  }
}

/// Throws InputError on all ranks unless `sources` hold the stream that the state of the session was made of.
void require_same_stream(Session& session, const Sources& sources) {
  const mpi::Communicator& communicator = session.communicator();
  const State& state = session.snapshot();
  Sources all = sources;
  for (const OperandShape& shape : shapes_of(session.problem(), {Role::fixed}))
    if (!all.files.contains(shape.operand))
      if (std::optional<DenseMatrix> held = held_operand(state, shape.operand, shape))
        all.values[shape.operand] = std::move(*held);
  Session again(communicator.local_handle(), session.problem(), std::move(all));
  again.advance();
  const State& sketched = again.snapshot();
  together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    const std::vector<StateArray> had = state.arrays(), has = sketched.arrays();
    for (std::size_t k = 0; k < had.size(); ++k) {
      double largest = 0, difference = 0;
      for (std::size_t t = 0; t < had[k].numbers.doubles().size(); ++t) {
        largest = std::max(largest, std::abs(had[k].numbers.doubles()[t]));
        difference = std::max(difference, std::abs(had[k].numbers.doubles()[t] - has[k].numbers.doubles()[t]));
      }
      if (difference > 1e-9 * largest)
        throw InputError(
            "the second pass has read another stream than the state was made of: expected all files that went into it, "
            "and a state that is their plain sum");
    }
  });
}

/// Puts exact values in the place of estimates, on the root.
void replace_estimates(const Answer& exact, const RowSelection& selection, double exponent, Answer& answer) {
  SampleResult& result = answer.draws;
  const auto replace = [&](Draw& draw) {
    const ExactEntry& entry = exact.exact.at(selection.place_of(entry_of(draw)));
    draw.value = entry.value;
    draw.value_bound = 0;
    draw.row = entry.row;
    draw.probability_bound.reset();
    const Estimate& mass = result.mass;
    if (!(mass.value > 0)) return;
    const double power = std::pow(std::abs(entry.value), exponent);
    draw.probability = std::min(1.0, power / mass.value);
    if (mass.bound == 0) return;
    const double largest_share = power / std::max(power, mass.value - mass.bound);
    const double smallest_share = power / std::max(power, mass.value + mass.bound);
    draw.probability_bound = std::max(largest_share - draw.probability, draw.probability - smallest_share);
  };
  std::ranges::for_each(result.draws, replace);
  if (result.next) replace(*result.next);
}

}  // namespace

NameTable read_again(Session& session, const Sources& sources, Answer& answer) {
  const mpi::Communicator& communicator = session.communicator();
  const Problem& problem = session.problem();
  if (communicator.broadcast(answer.has_exact_values || problem.keeps != Keeps::sketch)) return NameTable();
  for (const std::string& path : sources.stream.paths)
    if (is_pipe(path)) throw UsageError(fmt::format("a second pass reads files: {} is a pipe", path));
  const std::vector<EntryIndex> entries = drawn_entries(communicator, answer);
  if (entries.empty()) return NameTable();
  const State& whole = session.snapshot();

  std::optional<RowSelection> selection;
  together(communicator, [&](mpi::FailureSignal&) { selection.emplace(problem, entries); });
  require_room(communicator, selection->problem());
  std::optional<State> state;
  together(communicator,
           [&](mpi::FailureSignal&) { state.emplace(create_state(selection->problem(), party_of(communicator))); });
  give_fixed_operands(session, whole, sources, *selection, *state);
  const std::vector<OperandShape> shapes = shapes_of(problem, {Role::streams});
  StreamSource stream = sources.stream;
  stream.resolution = session.problem().resolution;
  if (stream.columns.any()) {
    std::vector<std::uint64_t> wanted;
    for (const EntryIndex& entry : entries) {
      wanted.push_back(entry.index);
      if (entry.column) wanted.push_back(*entry.column);
    }
    stream.key_seed = problem.sketch.seed;
    stream.names = std::make_shared<NameSink>(std::move(wanted));
  }
  const IngestStatistics read = ingest(communicator, stream, shapes, shapes.front().operand,
                                       [&](const EventBatch& batch) { state->add(selection->select(batch)); });
  if (const std::uint64_t seen = communicator.broadcast(whole.updates); seen != read.updates)
    throw InputError(fmt::format("the second pass has read {} events where the first had {}: expected the same streams",
                                 read.updates, seen));
  if (session.statistics().updates != read.updates) require_same_stream(session, sources);
  together(communicator, [&](mpi::FailureSignal&) { state->kept().finish_fixed(); });
  if (stream.names) {
    state->names = NameTable(most_names);
    state->names.merge(stream.names->take());
  }
  merge(communicator, *state);
  NameTable names = std::move(state->names);

  ExactQuestion question;
  for (const EntryIndex& entry : entries) question.entries.push_back(selection->place_of(entry));
  if (answer.metric) question.metric.given = answer.metric;
  RankParties parties(communicator);
  const Answer exact = state->answer({.exact = std::move(question)}, parties);
  if (!communicator.local_is_root()) return NameTable();
  answer.has_exact_values = true;
  replace_estimates(exact, *selection, problem.exponent(), answer);
  fail_draws_of_zeros(answer.draws);
  if (!answer.draws.draws.empty() && answer.draws.draws.front().inclusion)
    follow_exact_values(answer.draws, problem.exponent(), problem.sketch.p);
  return names;
}

}  // namespace weir::engine
