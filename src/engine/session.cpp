#include "weir/engine/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/merge.hpp"
#include "engine/parties.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/selection.hpp"

namespace weir::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

bool is_cut(const State& state) {
  return std::ranges::any_of(state.layout(), [](const ArrayLayout& layout) {
    return layout.gathering == Gathering::in_slices || layout.gathering == Gathering::by_share;
  });
}

/// The numbers of the array called `name`, which `state` has.
Numbers array_of(const State& state, std::string_view name) {
  const std::vector<StateArray> arrays = state.arrays();
  return std::ranges::find(arrays, name, [](const StateArray& array) { return array.layout->name; })->numbers;
}

/// Copies the arrays that `start`, whole on the root, has in common with `state`, to the ranks that hold them. Those of
/// operands that `sources` gave are compared instead: throws InputError on all ranks when they differ.
void distribute(const mpi::Communicator& communicator, const std::optional<State>& start, OperandSet given,
                State& state) {
  const bool root = communicator.local_is_root();
  const Problem known = broadcast(communicator, root ? start->problem() : Problem());
  std::vector<ArrayLayout> layout;
  together(communicator, [&](mpi::FailureSignal&) { layout = setting_of(known).layout(known); });
  for (const StateArray& array : state.arrays()) {
    const auto found = std::ranges::find(layout, array.layout->name, &ArrayLayout::name);
    if (found == layout.end()) continue;
    const std::span<const std::byte> whole =
        root ? array_of(*start, array.layout->name).bytes() : std::span<std::byte>();
    std::vector<std::byte> held;  // of an operand that is given once more
    const bool compare = given.contains(array.layout->operand);
    if (compare) held.resize(array.numbers.bytes().size());
    const std::span<std::byte> target = compare ? std::span(held) : array.numbers.bytes();
    switch (array.layout->gathering) {
      case Gathering::on_first:
      case Gathering::by_share:
        std::ranges::copy(whole, target.begin());
        break;
      case Gathering::everywhere: {
        std::vector<std::byte> bytes(whole.begin(), whole.end());
        communicator.broadcast(bytes);
        std::ranges::copy(bytes, target.begin());
        break;
      }
      case Gathering::in_slices: {
        std::size_t done = 0;
        const std::span doubles(reinterpret_cast<double*>(target.data()), target.size() / sizeof(double));
        communicator.scatter_in_order(doubles, [&](std::span<double> piece) {
          std::ranges::copy(whole.subspan(done, piece.size_bytes()), std::as_writable_bytes(piece).begin());
          done += piece.size_bytes();
        });
        break;
      }
    }
    together(communicator, [&](mpi::FailureSignal&) {
      if (compare && !std::ranges::equal(held, array.numbers.bytes()))
        throw InputError(
            fmt::format("--fixed {0}=FILE: not the {0} that the saved state holds", to_string(array.layout->operand)));
    });
  }
  if (root) state.kept().merge_other_part(start->kept().other_part(), 1);
}

/// Throws InputError unless a stream that is measured as `problem` says may go on from a state of `start`: they are the
/// same, but for operands that the state does not hold and `problem` has fixed.
void require_same(Problem start, const Problem& problem) {
  for (const auto& [operand, role] : problem.roles)
    if (start.role(operand) == Role::absent) start.roles[operand] = role;
  for (const auto& [side, length] : problem.sides) start.sides.try_emplace(side, length);
  if (start == problem) return;
  if (start.setting != problem.setting)
    throw InputError(fmt::format("the state that the stream is to go on from is of {}, expected one of {}",
                                 setting_of(start).label(), setting_of(problem).label()));
  throw InputError("the state that the stream is to go on from is of another problem: " +
                   describe_difference(start, problem));
}

/// Puts exact values, and probabilities where they are known, in the place of estimates.
void verify(const Answer& exact, Answer& answer) {
  answer.verified = answer.has_exact_values = true;
  for (Draw& draw : answer.draws.draws) {
    const ExactEntry& entry = exact.exact.at(entry_of(draw));
    draw.value = entry.value;
    draw.value_bound = 0;
    if (entry.probability) {
      draw.probability = *entry.probability;
      draw.probability_bound = 0;
    }
    answer.verified = answer.verified && entry.probability.has_value();
  }
  fail_draws_of_zeros(answer.draws);
}

}  // namespace

struct Session::Implementation {
  Implementation(MPI_Comm parent, Problem the_problem, Sources the_sources)
      : communicator(parent), problem(std::move(the_problem)), sources(std::move(the_sources)) {}

  [[nodiscard]] Delivery delivery() const {
    return setting_of(problem).gives_every_party_every_event(problem) ? Delivery::every_rank : Delivery::one_rank;
  }
  void add(const EventBatch& batch) {
    state->add(batch);
    if (exact) exact->add(batch);
  }
  template <class Work>
  void for_each_state(const Work& work) {
    work(*state);
    if (exact) work(*exact);
  }
  void make_states(Options& options);
  void make_exact_state(bool has_start);
  void read_fixed_operands();
  void continue_from(std::optional<State>& start);
  void open_stream();

  mpi::Communicator communicator;
  Problem problem;
  Sources sources;
  std::optional<State> state;
  std::optional<State> exact;  ///< Beside the sketch.
  std::optional<Stream> stream;
  std::uint64_t updates_before = 0;  ///< Of the state that the stream continues; on the root.
  bool is_finished = false;  ///< The state is one that was loaded, with all that follows from its fixed operands.
  bool is_merged = false;
  PhaseSeconds seconds;
};

void Session::Implementation::make_states(Options& options) {
  const Party party = party_of(communicator);
  const bool has_start = communicator.broadcast(options.start.has_value());
  together(communicator, [&](mpi::FailureSignal&) { setting_of(problem).check(problem); });
  require_room(communicator, problem);

  // What the root continues is used as it is, unless it has to be cut.
  bool goes_on_as_it_is = false;
  together(communicator, [&](mpi::FailureSignal&) {
    if (communicator.local_is_root() && has_start) {
      require_same(options.start->problem(), problem);
      updates_before = options.start->updates;
      goes_on_as_it_is = options.start->problem() == problem && (party.count == 1 || !is_cut(*options.start)) &&
                         sources.files.empty() && sources.values.empty();
    }
  });
  goes_on_as_it_is = communicator.broadcast(goes_on_as_it_is);
  together(communicator, [&](mpi::FailureSignal&) {
    if (goes_on_as_it_is && communicator.local_is_root()) {
      state = std::move(*options.start).as_part(party);
      options.start.reset();
    } else {
      state.emplace(create_state(problem, party));
    }
  });
  if (options.with_exact) make_exact_state(has_start);
  if (!has_start) return;
  is_finished = goes_on_as_it_is && party.count == 1;
  if (!goes_on_as_it_is) return;
  for (const StateArray& array : state->arrays()) {
    if (array.layout->gathering != Gathering::everywhere) continue;
    const std::span<std::byte> target = array.numbers.bytes();
    std::vector<std::byte> bytes(target.begin(), target.end());
    communicator.broadcast(bytes);
    std::ranges::copy(bytes, target.begin());
  }
}

void Session::Implementation::make_exact_state(bool has_start) {
  // Some states have what it takes to verify draws, or can read it again.
  const RankParties parties(communicator, problem, sources.files);
  if (problem.keeps != Keeps::sketch || state->kept().can_verify(parties)) return;
  std::optional<Problem> of_exact;
  together(communicator, [&](mpi::FailureSignal&) {
    if (has_start)
      throw UsageError(
          "exact values (--exact-check) need the whole stream: the saved state does not hold what they are "
          "computed from");
    of_exact = exact_problem(problem, Keeps::exact);
    setting_of(*of_exact).check(*of_exact);
  });
  require_room(communicator, problem, of_exact);
  together(communicator, [&](mpi::FailureSignal&) { exact.emplace(create_state(*of_exact, party_of(communicator))); });
}

void Session::Implementation::read_fixed_operands() {
  const std::vector<OperandShape> shapes = shapes_of(problem, {Role::fixed});
  for (const OperandShape& shape : shapes) {
    if (const auto file = sources.files.find(shape.operand); file != sources.files.end()) {
      const bool wanted =
          state->kept().takes_fixed(shape.operand) || (exact && exact->kept().takes_fixed(shape.operand));
      if (!wanted) continue;
      together(communicator, [&](mpi::FailureSignal&) {
        for_each_state([&](State& each) { each.kept().begin_fixed(shape.operand); });
      });
      // An exact state that reads the file again, when it answers, does not want it now.
      ingest(
          communicator, {.paths = {file->second}}, {shape}, shape.operand,
          [&](const EventBatch& batch) {
            for_each_state([&](State& each) {
              if (each.kept().takes_fixed(shape.operand)) each.add(batch);
            });
          },
          delivery());
    } else if (communicator.broadcast(sources.values.contains(shape.operand))) {
      DenseMatrix values;
      if (communicator.local_is_root()) values = std::move(sources.values.at(shape.operand));
      communicator.broadcast(values.values);
      values.rows = values.values.size();
      values.columns = 1;
      together(communicator, [&](mpi::FailureSignal&) {
        for_each_state([&](State& each) { each.kept().set_fixed(shape.operand, values); });
      });
    }
  }
}

void Session::Implementation::continue_from(std::optional<State>& start) {
  // Empty where the state is the one that goes on.
  if (!communicator.broadcast(start.has_value())) return;
  OperandSet given;
  for (const auto& [operand, file] : sources.files) given.insert(operand);
  for (const auto& [operand, values] : sources.values) given.insert(operand);
  // Values are at hand on the root alone.
  given.bits = communicator.broadcast(given.bits);
  distribute(communicator, start, given, *state);
  start.reset();
}

void Session::Implementation::open_stream() {
  std::vector<OperandShape> shapes = shapes_of(problem, {Role::streams, Role::forgotten});
  StreamSource source = sources.stream;
  // An operand that has a file and is not fixed is read from it as a stream would be.
  for (const OperandShape& shape : shapes)
    if (const auto file = sources.files.find(shape.operand); file != sources.files.end()) {
      if (!source.paths.empty()) throw UsageError("all operands are fixed, none streams: expected no stream");
      source.paths = {file->second};
    }
  if (shapes.empty()) {
    if (!source.paths.empty()) throw UsageError("all operands are fixed, none streams: expected no stream");
    return;
  }
  if (source.paths.empty() && source.arrays.empty()) return;
  if (source.advice.empty()) source.advice = setting_of(problem).traits().advice;
  const Operand first = shapes.front().operand;
  stream.emplace(communicator, std::move(source), std::move(shapes), first, delivery());
}

Session::Session(MPI_Comm parent, Problem problem, Sources sources, Options options)
    : implementation_(std::make_unique<Implementation>(parent, std::move(problem), std::move(sources))) {
  Implementation& own = *implementation_;
  own.make_states(options);
  own.read_fixed_operands();
  own.continue_from(options.start);
  if (!own.is_finished)
    together(own.communicator,
             [&](mpi::FailureSignal&) { own.for_each_state([](State& each) { each.kept().finish_fixed(); }); });
  own.open_stream();
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const Problem& Session::problem() const noexcept { return implementation_->problem; }

const mpi::Communicator& Session::communicator() const noexcept { return implementation_->communicator; }

bool Session::advance(const Until& until) {
  Implementation& own = *implementation_;
  if (!own.stream) return false;
  own.is_merged = false;
  return own.stream->read([&](const EventBatch& batch) { own.add(batch); }, until);
}

const State& Session::snapshot() {
  Implementation& own = *implementation_;
  if (own.is_merged) return *own.state;
  const auto start = Clock::now();
  own.for_each_state([&](State& each) { merge(own.communicator, each); });
  own.state->updates = own.updates_before + statistics().updates;
  own.state->ranks = static_cast<std::uint64_t>(own.communicator.local_size());
  own.seconds.merge += own.communicator.all_max(seconds_since(start));
  own.is_merged = true;
  return *own.state;
}

Answer Session::answer(const Question& question) {
  Implementation& own = *implementation_;
  snapshot();
  together(own.communicator,
           [&](mpi::FailureSignal&) { setting_of(own.problem).check_question(own.problem, question); });
  RankParties parties(own.communicator, own.problem, own.sources.files);
  Answer answer = own.state->answer(question, parties);
  if (!question.draw || !(question.draw->verify || question.draw->show_exact)) return answer;
  const State* const source = own.exact ? &*own.exact : own.state->kept().can_verify(parties) ? &*own.state : nullptr;
  // Exact draws need no verification, only their probabilities beside them where that is asked for.
  if (source == nullptr || (own.problem.keeps != Keeps::sketch && !question.draw->show_exact)) return answer;
  ExactQuestion about{.entries = {}, .metric = question.draw->metric};
  for (const Draw& draw : answer.draws.draws) about.entries.push_back(entry_of(draw));
  Answer exact = source->answer({.exact = std::move(about)}, parties);
  if (!own.communicator.local_is_root()) return answer;
  answer.exact_norm = exact.exact_norm;
  if (question.draw->show_exact) {
    answer.exact = std::move(exact.exact);
  } else {
    verify(exact, answer);
  }
  return answer;
}

void Session::save(const std::string& path) {
  Implementation& own = *implementation_;
  const State& state = snapshot();
  const mpi::Communicator& communicator = own.communicator;
  const bool root = communicator.local_is_root();
  together(communicator, [&](mpi::FailureSignal&) {
    if (root) state.require_range();
  });
  std::vector<StateArray> arrays = state.arrays();
  const auto is_in_slices = [&](std::size_t array) { return arrays[array].layout->gathering == Gathering::in_slices; };
  // The root writes, array by array, and asks for the slices of the others when it comes to them.
  constexpr std::uint64_t finished = std::numeric_limits<std::uint64_t>::max();
  std::exception_ptr failure;
  bool others_know = false;
  if (root) {
    const ArrayPieces pieces = [&](std::size_t array, const auto& take) {
      if (!is_in_slices(array)) return take(arrays[array].numbers.bytes());
      std::ignore = communicator.broadcast(std::uint64_t{array});
      others_know = true;  // of what goes wrong in the transfer
      communicator.gather_in_order(arrays[array].numbers.doubles(),
                                   [&](std::span<const double> piece) { take(std::as_bytes(piece)); });
      others_know = false;
    };
    try {
      save_state(path, state, pieces);
    } catch (...) {
      failure = std::current_exception();
    }
    if (!others_know) std::ignore = communicator.broadcast(finished);
  } else {
    try {
      for (std::uint64_t array; (array = communicator.broadcast(finished)) != finished;)
        communicator.gather_in_order(arrays[array].numbers.doubles(), {});
    } catch (const Error&) {
      // The root tells what it was.
    }
  }
  together(communicator, [&](mpi::FailureSignal&) {
    if (failure) std::rethrow_exception(failure);
  });
}

IngestStatistics Session::statistics() const {
  return implementation_->stream ? implementation_->stream->statistics() : IngestStatistics();
}

PhaseSeconds Session::seconds() const {
  PhaseSeconds seconds = implementation_->seconds;
  seconds.ingest = statistics().seconds;
  return seconds;
}

}  // namespace weir::engine
