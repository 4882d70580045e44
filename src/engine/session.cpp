#include "weir/engine/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/background_run.hpp"
#include "engine/checkpoint_writer.hpp"
#include "engine/merge.hpp"
#include "engine/parties.hpp"
#include "engine/stream_implementation.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/selection.hpp"
#include "weir/state/slice.hpp"

namespace weir::engine {
namespace {

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
  if (root) state.merge_other_part(start->other_part(), 1);
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

/// Collective: the question, as the root asks it. Only the root has read the file of a metric.
Question with_metric_of_root(const mpi::Communicator& communicator, Question question) {
  if (!question.draw) return question;
  MetricChoice& metric = question.draw->metric;
  metric.leverage = communicator.broadcast(bool{metric.leverage});
  if (!communicator.broadcast(metric.given.has_value())) return question;
  std::vector<double> values;
  if (communicator.local_is_root()) values = metric.given->matrix().values;
  communicator.broadcast(values);
  together(communicator, [&](mpi::FailureSignal&) {
    if (communicator.local_is_root()) return;
    const auto side = static_cast<std::uint64_t>(std::lround(std::sqrt(static_cast<double>(values.size()))));
    metric.given = Metric::of({side, side, std::move(values)}, "the metric");
  });
  return question;
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
  /// Adds the names that were read since the last time.
  void take_names() {
    if (names) state->names.merge(names->take());
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

  /// What is asked: the sum of the window, where there is one. Where that is kept in slices, the state has them all.
  [[nodiscard]] State& answering() { return windows.empty() || shares_out ? *state : windows.front().sum(); }
  [[nodiscard]] State* answering_exact() {
    if (!exact) return nullptr;
    return windows.empty() || shares_out ? &*exact : &windows.back().sum();
  }
  /// Collective over `parties`. Of what is complete where it has to be; `question` is the same on all parties that hold it.
  [[nodiscard]] Answer answer(const Question& question, Parties& parties);
  /// Sums what the ranks have read; what is asked then is complete where it has to be.
  void merge_states();
  /// Before ranks read on: what all of them have is kept once.
  void before_reading();
  /// Whether what is kept beside the states is cut among the ranks.
  [[nodiscard]] bool has_slices() const { return shares_out && !windows.empty(); }
  /// Collective: `write` runs on the root, and is given what saves state k to a path.
  using Save = std::function<void(std::size_t k, const std::string& path)>;
  void save_together(const std::vector<const State*>& states, const std::function<void(const Save&)>& write);

  void take_positions(const std::optional<Checkpoint>& checkpoint);
  void take_epochs(std::optional<Checkpoint>& checkpoint);
  void make_windows(const WindowOptions& options);
  /// Calls what may be collective itself. An error that some ranks alone meet, outside of collective calls, is thrown on all
  /// of them.
  void call_together(const std::function<void()>& work);
  [[nodiscard]] bool is_collective() const;
  [[nodiscard]] CheckpointInfo info_of(const Boundary& boundary, const EpochOptions& options) const;
  [[nodiscard]] std::vector<RankProgress> progress_of_ranks() const;
  /// Adds what the ranks have read to windows that are kept in slices, and makes the states the sums of those.
  void add_slices(std::uint64_t read, bool ends_epoch, bool is_last_again);
  void run_together(const EpochOptions& options, const std::function<void(const Boundary&)>& at_boundary);
  void run_in_background(const EpochOptions& options, const std::function<void(const Boundary&)>& at_boundary);

  mpi::Communicator communicator;
  Problem problem;
  Sources sources;
  std::optional<State> state;
  std::optional<State> exact;  ///< Beside the sketch.
  std::optional<Stream> stream;
  std::shared_ptr<NameSink> names;   ///< Where its readers leave the names of keys.
  std::uint64_t updates_before = 0;  ///< Of the state that the stream continues.
  /// Of an epoch that a run is in: on every rank where they come together for it, else on the root; the exact one last.
  std::vector<Window> windows;
  bool shares_out = false;          ///< Merging is distributed; the same on all ranks.
  bool is_everywhere = false;       ///< The states are whole on all ranks, until they read on.
  bool root_is_alone = false;       ///< It answers while the others read on.
  IngestStatistics on_root;         ///< As the root knows them then.
  Progressed progressed;            ///< Where the checkpoint stood, on all ranks.
  std::vector<State> start_epochs;  ///< Of a window of a checkpoint, this rank's parts.
  CheckpointInfo start_info;        ///< On all ranks, the window in it.
  /// Fixed operands that a checkpoint holds in a form that their files cannot be compared with: they are not read again.
  OperandSet held_by_checkpoint;
  std::size_t start_epoch_count = 0;
  bool goes_on = false;           ///< From a checkpoint.
  bool all_ranks_answer = false;  ///< As the options of the run say.
  Clock::time_point run_start;
  bool has_run = false;
  bool is_finished = false;  ///< The state is one that was loaded, with all that follows from its fixed operands.
  bool is_merged = false;
  PhaseSeconds seconds;
};

void Session::Implementation::make_states(Options& options) {
  const Party party = party_of(communicator);
  const bool has_start = communicator.broadcast(options.start.has_value());
  together(communicator, [&](mpi::FailureSignal&) { setting_of(problem).check(problem); });
  require_room(communicator, problem, std::nullopt, {.all_answer = shares_out});

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
  updates_before = communicator.broadcast(updates_before);
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
  const RankParties parties(communicator, problem, sources.files, sources.stream.edges);
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
  require_room(communicator, problem, of_exact, {.all_answer = shares_out});
  together(communicator, [&](mpi::FailureSignal&) { exact.emplace(create_state(*of_exact, party_of(communicator))); });
}

void Session::Implementation::read_fixed_operands() {
  const std::vector<OperandShape> shapes = shapes_of(problem, {Role::fixed});
  for (const OperandShape& shape : shapes) {
    if (held_by_checkpoint.contains(shape.operand)) continue;
    if (const auto file = sources.files.find(shape.operand); file != sources.files.end()) {
      const bool wanted =
          state->kept().takes_fixed(shape.operand) || (exact && exact->kept().takes_fixed(shape.operand));
      if (!wanted) continue;
      together(communicator, [&](mpi::FailureSignal&) {
        for_each_state([&](State& each) { each.kept().begin_fixed(shape.operand); });
      });
      // An exact state that reads the file again, when it answers, does not want it now.
      ingest(
          communicator, {.paths = {file->second}, .edges = sources.stream.edges, .resolution = problem.resolution},
          {shape}, shape.operand,
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
      round_to(problem.resolution, values.values);
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
  given = given - held_by_checkpoint;
  distribute(communicator, start, given, *state);
  start.reset();
}

void Session::Implementation::open_stream() {
  std::vector<OperandShape> shapes = shapes_of(problem, {Role::streams, Role::forgotten});
  StreamSource source = sources.stream;
  source.resolution = problem.resolution;
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
  source.key_seed = problem.sketch.seed;
  source.names = {};
  if (source.columns.any() && source.name_count > 0) {
    together(communicator, [&](mpi::FailureSignal&) { names = std::make_shared<NameSink>(source.name_count); });
    source.names = names;
    NameTable table(source.name_count);
    table.merge(state->names);
    state->names = std::move(table);
  }
  stream.emplace(communicator, source, std::move(shapes), first, delivery());
}

Session::Session(MPI_Comm parent, Problem problem, Sources sources, Options options)
    : implementation_(std::make_unique<Implementation>(parent, std::move(problem), std::move(sources))) {
  Implementation& own = *implementation_;
  std::optional<Checkpoint> checkpoint = std::move(options.checkpoint);
  if (checkpoint) options.start = std::move(checkpoint->sum);
  own.shares_out =
      own.communicator.broadcast(options.merging == Merging::distributed) && own.communicator.local_size() > 1;
  own.take_positions(checkpoint);
  own.make_states(options);
  own.read_fixed_operands();
  own.continue_from(options.start);
  if (!own.is_finished)
    together(own.communicator,
             [&](mpi::FailureSignal&) { own.for_each_state([](State& each) { each.kept().finish_fixed(); }); });
  own.take_epochs(checkpoint);  // with what follows from fixed operands: their memory will take events
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
  own.before_reading();
  return own.stream->read([&](const EventBatch& batch) { own.add(batch); }, until);
}

const State& Session::snapshot() {
  Implementation& own = *implementation_;
  if (own.is_merged || own.root_is_alone) return own.answering();
  const auto start = Clock::now();
  own.merge_states();
  own.state->updates = own.updates_before + statistics().updates;
  own.state->ranks = static_cast<std::uint64_t>(own.communicator.local_size());
  own.seconds.merge += own.communicator.all_max(seconds_since(start));
  own.is_merged = true;
  return *own.state;
}

void Session::Implementation::merge_states() {
  take_names();
  for_each_state([&](State& each) {
    if (!shares_out) return merge(communicator, each);
    merge_slices(communicator, each);
    share_slices(communicator, each);
  });
  is_everywhere = shares_out;
}

void Session::Implementation::before_reading() {
  if (!is_everywhere) return;
  for_each_state([&](State& each) {
    if (has_slices()) each.clear();  // the window has it
    keep_slice(each, party_of(communicator));
  });
  is_everywhere = false;
}

Answer Session::answer(const Question& question) {
  Implementation& own = *implementation_;
  snapshot();
  RankParties all_ranks(own.communicator, own.problem, own.sources.files, own.sources.stream.edges, own.is_everywhere);
  if (own.is_everywhere) return own.answer(with_metric_of_root(own.communicator, question), all_ranks);
  return own.answer(question, own.root_is_alone ? lone_party() : all_ranks);
}

Answer Session::Implementation::answer(const Question& question, Parties& parties) {
  parties.together([&] { setting_of(problem).check_question(problem, question); });
  return answer_with_exact(answering(), answering_exact(), question, parties);
}

void Session::Implementation::save_together(const std::vector<const State*>& states,
                                            const std::function<void(const Save&)>& write) {
  const bool root = communicator.local_is_root();
  const auto is_in_slices = [&](std::size_t k, std::size_t array) {
    return states[k]->layout()[array].gathering == Gathering::in_slices;
  };
  // The root writes, state by state and array by array, and asks for the slices of the others when it comes to them.
  constexpr std::uint64_t finished = std::numeric_limits<std::uint64_t>::max();
  std::exception_ptr failure;
  bool others_know = false;
  if (root) {
    const Save save = [&](std::size_t k, const std::string& path) {
      const std::vector<StateArray> arrays = states[k]->arrays();
      const ArrayPieces pieces = [&](std::size_t array, const auto& take) {
        if (!is_in_slices(k, array)) return take(arrays[array].numbers.bytes());
        std::ignore = communicator.broadcast(std::uint64_t{k << 32 | array});
        others_know = true;  // of what goes wrong in the transfer
        communicator.gather_in_order(arrays[array].numbers.doubles(),
                                     [&](std::span<const double> piece) { take(std::as_bytes(piece)); });
        others_know = false;
      };
      save_state(path, *states[k], pieces);
    };
    try {
      write(save);
    } catch (...) {
      failure = std::current_exception();
    }
    if (!others_know) std::ignore = communicator.broadcast(finished);
  } else {
    try {
      for (std::uint64_t asked; (asked = communicator.broadcast(finished)) != finished;)
        communicator.gather_in_order(
            states[asked >> 32]->arrays()[asked & std::numeric_limits<std::uint32_t>::max()].numbers.doubles(), {});
    } catch (const Error&) {
      // The root tells what it was.
    }
  }
  together(communicator, [&](mpi::FailureSignal&) {
    if (failure) std::rethrow_exception(failure);
  });
}

void Session::save(const std::string& path) {
  Implementation& own = *implementation_;
  const State& state = snapshot();
  together(own.communicator, [&](mpi::FailureSignal&) {
    if (own.communicator.local_is_root()) state.require_range();
  });
  own.save_together({&state}, [&](const Implementation::Save& save) { save(0, path); });
}

void Session::Implementation::call_together(const std::function<void()>& work) {
  if (root_is_alone) return work();
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  // What failed on all ranks was agreed on in there.
  const std::uint64_t failed = communicator.all_sum(failure ? 1U : 0U);
  if (failed == static_cast<std::uint64_t>(communicator.local_size())) std::rethrow_exception(failure);
  if (failed == 0) return;
  together(communicator, [&](mpi::FailureSignal&) {
    if (failure) std::rethrow_exception(failure);
  });
}

void Session::together_where_collective(const std::function<void()>& work) {
  if (implementation_->root_is_alone) return work();
  together(implementation_->communicator, [&](mpi::FailureSignal&) { work(); });
}

void Session::Implementation::take_positions(const std::optional<Checkpoint>& checkpoint) {
  std::vector<std::uint64_t> numbers;
  std::string positions;
  std::vector<double> decay;
  if (checkpoint) {
    const CheckpointInfo& info = checkpoint->info;
    numbers = {info.epoch,
               info.updates_in_epoch,
               info.all_updates,
               info.skipped,
               info.window.epochs.value_or(0),
               info.window.tumbling ? 1U : 0U,
               info.window_epochs,
               info.window_is_open ? 1U : 0U,
               info.number,
               checkpoint->epochs.size()};
    positions = info.positions;
    decay = {info.window.decay};
  }
  communicator.broadcast(numbers);
  if (numbers.empty()) return;
  communicator.broadcast(positions);
  communicator.broadcast(decay);
  progressed = {numbers[0], numbers[1], numbers[2], numbers[3]};
  goes_on = true;
  start_info.window = {.epochs = numbers[4] > 0 ? std::optional(numbers[4]) : std::nullopt,
                       .tumbling = numbers[5] != 0,
                       .decay = decay[0]};
  start_info.window_epochs = numbers[6];
  start_info.window_is_open = numbers[7] != 0;
  start_info.number = numbers[8];
  start_epoch_count = static_cast<std::size_t>(numbers[9]);
  together(communicator, [&](mpi::FailureSignal&) {
    for (const ArrayLayout& array : setting_of(problem).layout(problem))
      if (problem.role(array.operand) == Role::fixed && array.gathering != Gathering::in_slices &&
          array.gathering != Gathering::everywhere)
        held_by_checkpoint.insert(array.operand);
    sources.stream.start = positions_of_text(positions, fmt::format("checkpoint {}", start_info.number));
  });
}

void Session::Implementation::take_epochs(std::optional<Checkpoint>& checkpoint) {
  OperandSet none;
  for (std::size_t k = 0; k < start_epoch_count; ++k) {
    std::optional<State> epoch, whole;
    together(communicator, [&](mpi::FailureSignal&) {
      if (checkpoint) {
        whole = std::move(checkpoint->epochs[k]);
        if (const std::string difference = describe_difference(whole->problem(), problem); !difference.empty())
          throw InputError(fmt::format("the checkpoint's epochs are of another problem than its sum: {}", difference));
      }
      epoch.emplace(*state);
      epoch->clear();
    });
    distribute(communicator, whole, none, *epoch);
    if (shares_out) {
      merge_slices(communicator, *epoch);
      together(communicator, [&](mpi::FailureSignal&) { epoch.emplace(slice_of(*epoch, party_of(communicator))); });
    }
    epoch->updates = communicator.broadcast(whole ? whole->updates : 0);
    start_epochs.push_back(std::move(*epoch));
  }
}

bool Session::Implementation::is_collective() const {
  const RankParties parties(communicator, problem, sources.files, sources.stream.edges);
  return all_ranks_answer || shares_out || communicator.local_size() == 1 || !sources.stream.arrays.empty() ||
         delivery() == Delivery::every_rank || !is_summed_on_root(*state) || (exact && !is_summed_on_root(*exact)) ||
         state->kept().can_verify(parties);
}

void Session::Implementation::make_windows(const WindowOptions& options) {
  together(communicator, [&](mpi::FailureSignal&) {
    check(options);
    if (const std::string reason = describe_window_problem(options, *state); !reason.empty())
      throw UsageError("--window, --decay: " + reason);
    if (goes_on && options != start_info.window) {
      const auto text = [](const WindowOptions& window) {
        return fmt::format("window {}, tumbling {}, decay {}",
                           window.epochs ? fmt::to_string(*window.epochs) : std::string("of all epochs"),
                           window.tumbling, window.decay);
      };
      throw InputError(
          fmt::format("the checkpoint is of another window: {} against {}", text(start_info.window), text(options)));
    }
  });
  const bool together_with_others = is_collective();
  const std::uint64_t states = states_of(options);
  const std::optional<Problem> of_exact = exact ? std::optional(exact->problem()) : std::nullopt;
  require_room(communicator, problem, of_exact,
               shares_out             ? StateCopies{.everywhere = 1, .slices = states + 2, .all_answer = true}
               : together_with_others ? StateCopies{.everywhere = 1 + states, .more_on_root = 1}
                                      : StateCopies{.everywhere = 2, .more_on_root = states + 1});
  // All epochs on ranks that come together are the state itself, which is merged where it is.
  if (together_with_others && options.is_all()) return;
  // What is fixed is part of every epoch, so that it is merged first.
  for_each_state([&](State& each) { shares_out ? merge_slices(communicator, each) : merge(communicator, each); });
  together(communicator, [&](mpi::FailureSignal&) {
    for (State* each : {&*state, exact ? &*exact : nullptr}) {
      if (each == nullptr) continue;
      std::optional<State> slice;
      if (shares_out) slice.emplace(slice_of(*each, party_of(communicator)));
      State zero = slice ? std::move(*each) : *each;
      zero.clear();
      if (together_with_others || communicator.local_is_root()) {
        std::deque<State> epochs;
        if (each == &*state)
          for (State& epoch : start_epochs) epochs.push_back(std::move(epoch));
        // On the root; a state that was cut again has not been told.
        Window& window = windows.emplace_back(options, slice ? std::move(*slice) : std::move(*each), std::move(epochs),
                                              start_info.window_is_open);
        window.sum().updates = updates_before;
        window.set_covered(start_info.window_epochs);
      }
      *each = std::move(zero);
    }
  });
}

CheckpointInfo Session::Implementation::info_of(const Boundary& boundary, const EpochOptions& options) const {
  const Epoch& epoch = boundary.epoch;
  CheckpointInfo info{.epoch = epoch.number + (epoch.is_whole ? 1U : 0U),
                      .updates_in_epoch = boundary.updates_in_epoch,
                      .all_updates = epoch.all_updates,
                      .skipped = epoch.skipped,
                      .ranks = static_cast<std::uint64_t>(communicator.local_size()),
                      .time = epoch.time,
                      .is_final = boundary.is_at_end,
                      .window = options.window,
                      .positions = to_text(boundary.positions)};
  info.window_epochs = epoch.window_epochs;
  info.window_is_open = !epoch.is_whole && !windows.empty() && windows.front().is_open();
  return info;
}

void Session::Implementation::run_in_background(const EpochOptions& options,
                                                const std::function<void(const Boundary&)>& at_boundary) {
  std::vector<State> states;
  states.push_back(std::move(*state));
  if (exact) states.push_back(std::move(*exact));
  const auto give_back = [&] {
    state = std::move(states.front());
    if (exact) exact = std::move(states.back());
    root_is_alone = false;
  };
  root_is_alone = true;
  try {
    BackgroundRun(communicator, *stream, names, states, windows, options, progressed, at_boundary).run();
  } catch (...) {
    give_back();
    throw;
  }
  give_back();
}

void Session::Implementation::add_slices(std::uint64_t read, bool ends_epoch, bool is_last_again) {
  take_names();
  for (std::size_t k = 0; k < windows.size(); ++k) {
    State& whole = k == 0 ? *state : *exact;
    merge_slices(communicator, whole);
    together(communicator, [&](mpi::FailureSignal&) {
      if (!is_last_again) {
        State delta = slice_of(whole, party_of(communicator));
        delta.updates = read;
        std::ignore = windows[k].add(std::move(delta), ends_epoch);
      }
      put_slice(windows[k].sum(), whole);
    });
    share_slices(communicator, whole);
  }
  is_everywhere = true;
}

void Session::Implementation::run_together(const EpochOptions& options,
                                           const std::function<void(const Boundary&)>& at_boundary) {
  constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
  constexpr std::chrono::milliseconds longest_round(100);
  std::uint64_t epoch_number = progressed.epoch, updates_in_epoch = progressed.updates_in_epoch;
  std::uint64_t epoch_left =
      options.every.events ? *options.every.events - std::min(updates_in_epoch, *options.every.events) : unlimited;
  const std::uint64_t checkpoint_events =
      options.writes_checkpoints ? options.checkpoint_every.events.value_or(unlimited) : unlimited;
  std::uint64_t checkpoint_left = checkpoint_events;
  auto epoch_start = Clock::now(), checkpoint_start = epoch_start;
  std::uint64_t covered = 0;
  for (bool more = true; more;) {
    before_reading();
    // One segment of the stream, in rounds, after each of which the ranks listen to commands.
    std::uint64_t left = std::min(epoch_left, checkpoint_left);
    Command wanted = Command::none;
    bool epoch_is_due = false, checkpoint_is_due = false;
    do {
      auto round = std::chrono::duration_cast<std::chrono::nanoseconds>(longest_round);
      const auto shorten = [&](Clock::time_point deadline) {
        round = std::clamp(std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now()),
                           std::chrono::nanoseconds(0), round);
      };
      if (options.every.time) shorten(epoch_start + *options.every.time);
      if (options.writes_checkpoints && options.checkpoint_every.time)
        shorten(checkpoint_start + *options.checkpoint_every.time);
      const std::uint64_t before = stream->statistics().updates;
      more = stream->read([&](const EventBatch& batch) { add(batch); },
                          {.events = left == unlimited ? std::nullopt : std::optional(left), .time = round});
      is_merged = false;
      if (options.local_warn)
        for (const std::string& notice : stream->local_take_notices()) options.local_warn(notice);
      if (left != unlimited) left -= std::min(left, stream->statistics().updates - before);
      const auto now = Clock::now();
      together(communicator,
               [&](mpi::FailureSignal&) { wanted = options.local_command ? options.local_command() : Command::none; });
      wanted = static_cast<Command>(static_cast<int>(communicator.all_max(static_cast<double>(wanted))));
      const std::uint64_t due = communicator.broadcast(
          std::uint64_t{(options.every.time && now - epoch_start >= *options.every.time ? 1U : 0U) |
                        (options.writes_checkpoints && options.checkpoint_every.time &&
                                 now - checkpoint_start >= *options.checkpoint_every.time
                             ? 2U
                             : 0U)});
      epoch_is_due = (due & 1U) != 0;
      checkpoint_is_due = (due & 2U) != 0;
    } while (more && left > 0 && wanted == Command::none && !epoch_is_due && !checkpoint_is_due);

    const auto start = Clock::now();
    const IngestStatistics statistics = stream->statistics();
    const std::uint64_t read = statistics.updates - covered;
    covered = statistics.updates;
    updates_in_epoch += read;
    if (epoch_left != unlimited) epoch_left -= std::min(epoch_left, read);
    if (checkpoint_left != unlimited) checkpoint_left -= std::min(checkpoint_left, read);
    Boundary boundary;
    Epoch& epoch = boundary.epoch;
    epoch.is_final = !more || wanted == Command::stop;
    boundary.is_at_end = !more;
    const bool ends_epoch = epoch_is_due || epoch_left == 0;
    // Where the stream was stopped in the middle of an epoch, whoever goes on from the checkpoint goes on with that.
    epoch.is_whole = ends_epoch || boundary.is_at_end;
    // A stream that ends where an epoch did, which is known late of a pipe, has no empty epoch behind it.
    const bool is_last_again = boundary.is_at_end && !ends_epoch && updates_in_epoch == 0 && epoch_number > 1 &&
                               (windows.empty() || !windows.front().is_open());
    epoch.number = epoch_number - (is_last_again ? 1 : 0);
    boundary.wants_answer = ends_epoch || epoch.is_final || wanted == Command::answer;
    const bool with_each_epoch = !options.checkpoint_every.events && !options.checkpoint_every.time;
    boundary.wants_checkpoint = options.writes_checkpoints && (checkpoint_is_due || checkpoint_left == 0 ||
                                                               (with_each_epoch && ends_epoch) || epoch.is_final);
    if (has_slices())
      add_slices(read, epoch.is_whole, is_last_again);
    else
      merge_states();
    for (std::size_t k = 0; k < windows.size() && !shares_out && !is_last_again; ++k) {
      State& delta = k == 0 ? *state : *exact;
      together(communicator, [&](mpi::FailureSignal&) {
        delta.updates = read;
        State next = windows[k].add(std::move(delta), epoch.is_whole);
        delta = std::move(next);
      });
    }
    State& sum = answering();
    sum.ranks = static_cast<std::uint64_t>(communicator.local_size());
    sum.updates = windows.empty() ? updates_before + covered : windows.front().sum().updates;
    is_merged = true;
    seconds.merge += communicator.all_max(seconds_since(start));
    epoch.updates = sum.updates;
    epoch.all_updates = progressed.all_updates + covered;
    epoch.skipped = progressed.skipped + statistics.skipped;
    epoch.window_epochs = windows.empty() ? epoch.number : windows.front().epochs();
    epoch.time = unix_time();
    epoch.merge_seconds = seconds.merge;
    epoch.ranks = progress_of_ranks();
    if (boundary.wants_checkpoint) boundary.positions = stream->positions();
    if (ends_epoch) {
      epoch_start = Clock::now();
      epoch_left = options.every.events.value_or(unlimited);
    }
    if (boundary.wants_checkpoint) {
      checkpoint_start = Clock::now();
      checkpoint_left = checkpoint_events;
    }
    if (epoch.is_whole && !is_last_again) {
      ++epoch_number;
      updates_in_epoch = 0;
    }
    boundary.updates_in_epoch = updates_in_epoch;
    if (epoch.is_final) more = false;
    at_boundary(boundary);
  }
  stream->stop();
}

std::vector<RankProgress> Session::Implementation::progress_of_ranks() const {
  const RankProgress own = stream->local_progress();
  std::vector<std::uint64_t> numbers{own.updates, own.skipped};
  std::vector<RankProgress> all;
  for (const std::vector<std::byte>& of_rank : communicator.gather(std::as_bytes(std::span(numbers)))) {
    std::memcpy(numbers.data(), of_rank.data(), of_rank.size());
    all.push_back({.updates = numbers[0], .skipped = numbers[1]});
  }
  if (!all.empty()) all.front().lags = own.lags;
  return all;
}

void Session::run(const EpochOptions& options, const std::function<void(const Epoch&)>& at_epoch) {
  Implementation& own = *implementation_;
  if (own.has_run) throw UsageError("a session runs once: open another one for another stream");
  own.has_run = true;
  own.all_ranks_answer = options.all_ranks_answer;
  own.before_reading();
  own.make_windows(options.window);
  const bool collective = own.is_collective();
  std::optional<CheckpointWriter> writer;  // on the root
  together(own.communicator, [&](mpi::FailureSignal&) {
    if (!options.writes_checkpoints) return;
    for (const std::vector<std::string>* paths : {&own.sources.stream.paths, &own.sources.stream.arrays.paths})
      for (const std::string& path : *paths) {
        try {
          std::ignore = to_text(Positions{.live = {{path, {}}}});
        } catch (const std::exception&) {
          throw UsageError(path + ": the name is not UTF-8, so that checkpoints cannot hold it; expected another name");
        }
      }
    if (!own.communicator.local_is_root()) return;
    if (options.checkpoints == nullptr) throw UsageError("checkpoints are wanted, and there is no directory for them");
    writer.emplace(*options.checkpoints);
  });
  // States that are cut are written while all ranks wait.
  const bool is_cut_among_ranks = own.has_slices() || (is_cut(*own.state) && own.communicator.local_size() > 1);
  CheckpointWriter::Written written{own.start_info.number, 0};
  const auto warn = [&](const std::string& failure) {
    if (!failure.empty() && options.local_warn) options.local_warn(failure);
  };
  const auto write_alone = [&](const Boundary& boundary) {
    if (!writer) return;
    const CheckpointInfo info = own.info_of(boundary, options);
    std::optional<Window> whole;
    if (own.windows.empty()) whole.emplace(options.window, own.answering());
    const Window& window = whole ? *whole : own.windows.front();
    if (boundary.epoch.is_final) {
      try {
        writer->finish();
      } catch (const Error& error) {
        warn(error.what());
      }
    }
    // Where the one before it is still being written, the next one has to do.
    std::ignore = writer->write(info, window);
    if (boundary.epoch.is_final) writer->finish();
  };
  const auto write_with_others = [&](const Boundary& boundary) {
    std::vector<const State*> states{&own.answering()};
    if (!own.windows.empty())
      for (const State& epoch : own.windows.front().parts()) states.push_back(&epoch);
    try {
      own.save_together(states, [&](const Implementation::Save& save) {
        std::vector<SaveState> epochs;
        for (std::size_t k = 1; k < states.size(); ++k)
          epochs.push_back([&save, k](const std::string& path) { save(k, path); });
        const CheckpointInfo info = own.info_of(boundary, options);
        options.checkpoints->write(
            info, [&](const std::string& path) { save(0, path); }, epochs);
        written = {options.checkpoints->last_number(), info.time};
      });
    } catch (const InputError& error) {
      if (boundary.epoch.is_final) throw;
      if (own.communicator.local_is_root()) warn(error.what());
    }
  };
  const auto at_boundary = [&](Boundary boundary) {
    Epoch& epoch = boundary.epoch;
    own.on_root = {.updates = epoch.all_updates - own.progressed.all_updates,
                   .skipped = epoch.skipped,
                   .seconds = seconds_since(own.run_start)};
    if (own.root_is_alone) own.seconds.merge = epoch.merge_seconds;
    if (writer) {
      warn(writer->take_failure());
      if (const auto last = writer->last(); last.number > 0) written = last;
    }
    if (boundary.wants_checkpoint && is_cut_among_ranks)
      write_with_others(boundary);
    else if (boundary.wants_checkpoint && !epoch.is_final)
      together_where_collective([&] { write_alone(boundary); });
    epoch.checkpoint = written.number;
    epoch.checkpoint_time = written.time;
    if (boundary.wants_answer) own.call_together([&] { at_epoch(epoch); });
    // The last one comes after the answer: whoever waits for that need not wait for the disk.
    if (boundary.wants_checkpoint && epoch.is_final && !is_cut_among_ranks)
      together_where_collective([&] { write_alone(boundary); });
  };
  own.run_start = Clock::now();
  if (!own.stream) throw UsageError("nothing streams: there are no epochs");
  if (collective)
    own.run_together(options, at_boundary);
  else
    own.run_in_background(options, at_boundary);
  own.is_merged = true;
}

IngestStatistics Session::statistics() const {
  if (implementation_->root_is_alone) return implementation_->on_root;
  return implementation_->stream ? implementation_->stream->statistics() : IngestStatistics();
}

PhaseSeconds Session::seconds() const {
  PhaseSeconds seconds = implementation_->seconds;
  seconds.ingest = statistics().seconds;
  return seconds;
}

}  // namespace weir::engine
