#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/labels.hpp"
#include "weir/io/operand.hpp"
#include "weir/stream/live_source.hpp"
#include "weir/stream/reader.hpp"

namespace weir::engine {
namespace {

/// The sides of a fixed operand that is a vector, from the vector itself, which is loaded.
void take_vector(const OperandUse& use, const std::string& path, Problem& problem, Sources& sources) {
  if (!sources.values.contains(use.operand)) sources.values[use.operand] = load_operand(path);
  const DenseMatrix& vector = sources.values.at(use.operand);
  if (vector.rows != 1 && vector.columns != 1)
    throw InputError(fmt::format("{}: {} x {} numbers, expected a vector {}", path, vector.rows, vector.columns,
                                 to_string(use.operand)));
  const auto [side, is_new] = problem.sides.try_emplace(use.rows, vector.values.size());
  if (!is_new && side->second != vector.values.size())
    throw InputError(
        fmt::format("{}: a vector of length {}, but --{} is {}", path, vector.values.size(), use.rows, side->second));
}

/// The sides of a fixed operand, as its file states them. False for a file of events, which does not.
bool take_stated_shape(const OperandUse& use, const std::string& path, Edges edges, Problem& problem) {
  if (is_pipe(path))
    throw UsageError(fmt::format("--fixed: {} is read by slices and more than once: {} is a pipe, expected a file",
                                 to_string(use.operand), path));
  const auto stated = stated_shape(path, edges);
  if (!stated) return false;
  const auto [rows, columns] = *stated;
  if (rows == 0 || columns == 0)
    throw InputError(
        fmt::format("{}: {} x {} numbers of {}, expected at least one", path, rows, columns, to_string(use.operand)));
  const auto contradict = [&path = path, rows = rows, columns = columns](std::string_view side, std::uint64_t given) {
    throw InputError(fmt::format("{}: {} x {} numbers, but --{} is {}", path, rows, columns, side, given));
  };
  const auto [row_side, row_is_new] = problem.sides.try_emplace(use.rows, rows);
  if (!row_is_new && (use.may_lack_rows ? row_side->second < rows : row_side->second != rows))
    contradict(use.rows, row_side->second);
  const auto [column_side, column_is_new] = problem.sides.try_emplace(use.columns, columns);
  if (!column_is_new && column_side->second != columns) contradict(use.columns, column_side->second);
  return true;
}

/// The sides that the files of fixed operands state. Throws UsageError for a file that states none where its sides do not
/// follow from others either.
void take_shapes(const Setting& setting, Problem& problem, Sources& sources) {
  std::vector<const OperandUse*> without_shape;
  for (const OperandUse& use : setting.traits().operands) {
    const auto file = sources.files.find(use.operand);
    if (file == sources.files.end() || use.columns.empty()) continue;
    if (!take_stated_shape(use, file->second, sources.stream.edges, problem)) without_shape.push_back(&use);
  }
  for (const OperandUse& use : setting.traits().operands)
    if (const auto file = sources.files.find(use.operand); file != sources.files.end() && use.columns.empty())
      take_vector(use, file->second, problem, sources);
  Problem inferred = problem;
  setting.infer(inferred, 0);  // what is only guessed becomes 0
  for (const OperandUse* use : without_shape)
    for (const std::string& side : {use->rows, use->columns})
      if (const auto found = inferred.sides.find(side); found == inferred.sides.end() || found->second == 0)
        throw UsageError(
            fmt::format("--fixed: {} is neither .npy nor Matrix Market and does not say its shape; as a file of "
                        "events it needs --{} and --{}",
                        sources.files.at(use->operand), use->rows, use->columns));
}

/// The sides of the operand that the stream is of, as its files state them, where each of them does.
void take_shapes_of_stream(const Setting& setting, Problem& problem, Sources& sources) {
  const auto use = std::ranges::find_if(setting.traits().operands, [&](const OperandUse& each) {
    const auto role = problem.roles.find(each.operand);
    return role == problem.roles.end() || role->second == Role::streams;
  });
  if (use == setting.traits().operands.end() || sources.stream.paths.empty()) return;
  const bool is_matrix = !use->columns.empty();
  if (problem.sides.contains(use->rows) && (!is_matrix || problem.sides.contains(use->columns))) return;
  std::uint64_t rows = 0, columns = 0;
  std::string note;
  for (const std::string& path : sources.stream.paths) {
    if (live_kind(path, sources.stream.follow) != LiveKind::none) return;
    if (look_at(path).size == 0) continue;
    const auto stated = stated_shape(path, sources.stream.edges);
    if (!stated) return;
    auto [r, c] = *stated;
    if (content_format(path) == StreamFormat::text) {
      note = fmt::format("{0} states {1} nodes in its comments; --{2} says otherwise where there are larger numbers",
                         path, std::max(r, c), use->rows);
      if (!is_matrix) c = 1;
    }
    if (!is_matrix && r != 1 && c != 1) return;  // the reader says what is wrong
    rows = std::max(rows, is_matrix ? r : r * c);
    columns = std::max(columns, c);
  }
  if (rows > 0) problem.sides.try_emplace(use->rows, rows);
  if (columns > 0 && is_matrix) problem.sides.try_emplace(use->columns, columns);
  if (!note.empty()) sources.stream.shape_note = note;
}

/// The sides whose indices have names, where nothing else says how long they are.
void take_lengths_of_names(Problem& problem, Sources& sources) {
  for (const auto& [side, path] : sources.names) {
    if (problem.sides.contains(side)) continue;
    const std::uint64_t lines = Labels(path).check();
    if (lines == 0) continue;
    problem.sides[side] = lines;
    sources.stream.shape_note += fmt::format("{}{} has {} lines, which was taken as {}; --{} says otherwise",
                                             sources.stream.shape_note.empty() ? "" : "; ", path, lines, side, side);
  }
}

/// A file of a vector has been loaded; what is left is read as events.
void forget_loaded_files(const Problem& problem, Sources& sources) {
  for (const OperandUse& use : setting_of(problem).traits().operands)
    if (use.columns.empty()) sources.files.erase(use.operand);
}

/// Throws UsageError when the state holds an operand in a way that cannot be compared with a file, or lets it stream.
void require_may_be_given(const State& start, Operand operand, const std::string& path) {
  const Role role = start.problem().role(operand);
  if (role == Role::absent) return;
  const bool comparable = role == Role::fixed && std::ranges::all_of(start.layout(), [&](const ArrayLayout& array) {
                            return array.operand != operand || array.gathering == Gathering::in_slices ||
                                   array.gathering == Gathering::everywhere;
                          });
  if (!comparable)
    throw UsageError(fmt::format("--fixed {}=FILE: the state {}, of {}, has its own {}", to_string(operand), path,
                                 setting_of(start.problem()).label(), to_string(operand)));
}

}  // namespace

Problem broadcast(const mpi::Communicator& communicator, const Problem& problem) {
  std::string text = to_text(problem);
  communicator.broadcast(text);
  return problem_of_text(text, "the message from rank 0");
}

Problem prepare(const mpi::Communicator& communicator, Problem problem, Sources& sources, const SizeRequest& request,
                std::uint64_t most_keys, const std::function<void(const Problem&)>& examine) {
  together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    const Setting& setting = setting_of(problem);
    take_shapes(setting, problem, sources);
    take_shapes_of_stream(setting, problem, sources);
    take_lengths_of_names(problem, sources);
    setting.infer(problem, most_keys);
    setting.require_sides(problem);
    setting.size(problem, request);
    setting.check(problem);
    if (examine) examine(problem);
  });
  problem = broadcast(communicator, problem);
  communicator.broadcast(sources.stream.shape_note);
  forget_loaded_files(problem, sources);
  return problem;
}

Problem prepare_to_continue(const mpi::Communicator& communicator, const std::optional<State>& start,
                            const std::string& path, Sources& sources,
                            const std::function<void(const Problem&)>& examine) {
  Problem problem;
  together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    problem = start->problem();
    const Setting& setting = setting_of(problem);
    bool is_new = false;
    for (const auto& [operand, file] : sources.files) {
      require_may_be_given(*start, operand, path);
      is_new = is_new || problem.role(operand) == Role::absent;
      problem.roles[operand] = Role::fixed;
    }
    take_shapes(setting, problem, sources);
    if (is_new) setting.infer(problem, 0);
    setting.check(problem);
    if (examine) examine(problem);
  });
  problem = broadcast(communicator, problem);
  forget_loaded_files(problem, sources);
  return problem;
}

}  // namespace weir::engine
