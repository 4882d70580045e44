#include "measure.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <tuple>
#include <utility>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"
#include "weir/io/state_file.hpp"

namespace weir::app {
namespace {

std::uint64_t system_seed() {
  std::random_device device;
  const std::uint64_t word = (std::uint64_t{device()} << 32) | device();
  return word >> 11;  // below 2^53, so that every JSON tool can repeat it
}

/// "A1", "A1 and X", "A1, A2 and X".
std::string list(OperandSet operands) {
  std::vector<std::string_view> names;
  for (const Operand operand : operands) names.push_back(to_string(operand));
  if (names.size() < 2) return fmt::format("{}", fmt::join(names, ""));
  const std::string_view last = names.back();
  names.pop_back();
  return fmt::format("{} and {}", fmt::join(names, ", "), last);
}

/// Throws UsageError unless a stream can be added to the state at `path`.
void require_goes_on(const Problem& problem, const std::string& path) {
  const OperandSet missing = problem.with_role(Role::absent);
  if (!missing.empty()) {
    std::vector<std::string> remedy;
    for (const Operand operand : missing) remedy.push_back(fmt::format("--fixed {}=FILE", to_string(operand)));
    throw UsageError(fmt::format("{} does not hold {}, which was fixed: its stream goes on with {}", path,
                                 list(missing), fmt::join(remedy, " ")));
  }
  if (problem.with_role(Role::streams).empty() && problem.with_role(Role::forgotten).empty())
    throw UsageError(fmt::format("{} holds {}, all of them fixed: there is none that a stream could change", path,
                                 list(problem.with_role(Role::fixed))));
}

/// The files of names by the sides whose indices they name.
std::map<std::string, std::string> names_of(const OutputOptions& output, const Setting& setting, bool is_keyed) {
  // Where keys are hashed, a file of names does not say how many there are.
  if (is_keyed) return {};
  std::map<std::string, std::string> names;
  const std::vector<std::string>& sides = setting.traits().sides_of_y;
  if (!output.labels_path.empty())
    for (const std::string& side : sides) names[side] = output.labels_path;
  if (!output.column_labels_path.empty() && sides.size() > 1) names[sides[1]] = output.column_labels_path;
  return names;
}

SizeRequest with_gram_options(SizeRequest request, const ModelOptions& model) {
  request.exact_gram = model.exact_gram;
  if (model.gram_buckets) request.gram_buckets = model.gram_buckets;
  return request;
}

}  // namespace

void MeasureOptions::settle_streams() {
  source.paths.insert(source.paths.end(), model.behind_fixed.begin(), model.behind_fixed.end());
  model.behind_fixed.clear();
}

void MeasureOptions::check(const SizeRequest& request) const {
  run.check();
  outside.check();
  require_other_files({save_path, output.plot_path, output.print.file()}, source.paths);
  if (has_epochs() && source.paths.empty() && model.files().empty())
    throw UsageError("--every, --checkpoint, --follow, --serve and --metrics are about a stream, and none is given");
  const bool streams = !source.paths.empty();
  if (!state_path.empty() && !like_path.empty())
    throw UsageError("--state goes on from a saved state and --like starts anew: expected one of them");
  if (!known_from().empty()) {
    std::ignore = model.files();
    if (keeps != Keeps::sketch) throw UsageError("exact answers need the whole stream; a saved state is a sketch");
    if (state_path.empty() && !streams) throw UsageError("--like needs a STREAM: it takes nothing but sizes and seed");
    return;
  }
  Problem problem = model.problem(keeps);
  const Setting& setting = setting_of(problem);
  const OperandSet fixed = problem.with_role(Role::fixed);
  Problem inferred = problem;
  setting.infer(inferred, most_keys(request));
  const bool all_fixed = std::ranges::all_of(setting.traits().operands,
                                             [&](const OperandUse& use) { return fixed.contains(use.operand); });
  if (all_fixed && streams)
    throw UsageError(
        fmt::format("--fixed: with {} all fixed nothing streams; give no STREAM, or fix fewer of them", list(fixed)));
  // An operand that never comes is zero, and y with it; but for those that have another meaning then.
  if (!streams && !all_fixed && !setting.is_complete_without_stream(problem))
    throw UsageError("nothing to measure: give STREAM files, - for standard input, or --state FILE");
  if (!save_path.empty() && keeps != Keeps::sketch)
    throw UsageError("--save writes a sketch, which this sampler does not keep");
  if (problem.keeps == Keeps::sketch && sketch.p && !setting.draws_by(*sketch.p)) {
    std::vector<std::string> models;
    for (const Setting* other : settings())
      if (other->draws_by(*sketch.p)) models.push_back(other->label());
    throw UsageError(fmt::format("--p {} is not for {}; it is for {}, and for --sampler exact", *sketch.p,
                                 setting.label(), fmt::join(models, " and ")));
  }
  // Sizes, unless a file has to say how long a side is; but for that of a fixed vector, which no size depends on.
  const bool files_may_say =
      !output.labels_path.empty() || std::ranges::any_of(source.paths, [](const auto& path) { return path != "-"; });
  for (const OperandUse& use : setting.traits().operands)
    if (files_may_say && !fixed.contains(use.operand))
      for (const std::string& side : {use.rows, use.columns})
        if (!side.empty() && !problem.sides.contains(side)) return;
  for (const OperandUse& use : setting.traits().operands)
    if (use.columns.empty() && fixed.contains(use.operand)) problem.sides.try_emplace(use.rows, 1);
  setting.infer(problem, most_keys(request));
  for (const OperandUse& use : setting.traits().operands)
    for (const std::string& side : {use.rows, use.columns})
      if (fixed.contains(use.operand) && !side.empty() && !problem.sides.contains(side)) return;
  setting.require_sides(problem);
  setting.size(problem, with_gram_options(request, model));
  setting.check(problem);
}

void add_measure_options(CLI::App& app, MeasureOptions& options) {
  add_stream_options(app, options.source);
  add_run_options(app, options.run);
  add_outside_options(app, options.outside);
  add_model_options(app, options.model);
  add_path(app, "--state", options.state_path,
           "Start from this saved state and add the STREAM files, if any, to it. The state\n"
           "knows its model, method, sides, sizes, seed and P, and fixed operands stay as they\n"
           "are: none of these need be given, and an option that contradicts the state is an\n"
           "error. --epsilon and --failure, which would choose sizes, are ignored, unless the\n"
           "state is one of --sampler precision. A file of format version 2 does not hold what\n"
           "was fixed: a stream goes on from it with --fixed")
      ->type_name("FILE")
      ->group("State");
  add_path(app, "--like", options.like_path,
           "Measure the STREAM files with the model, the sizes and the seed of this saved state,\n"
           "and its fixed operands, but without what it has seen. Such states combine with it")
      ->type_name("FILE")
      ->group("State");
  add_path(app, "--save", options.save_path,
           "Write the merged state to this file, for --state and for weir combine. The file\n"
           "appears when it is complete. A state of --sampler exact or softmax cannot be saved")
      ->type_name("FILE")
      ->group("State");
  app.add_option_function<std::string>(
         "--merge",
         [&options](const std::string& name) {
           options.merging = name == "root" ? engine::Session::Merging::root : engine::Session::Merging::distributed;
         },
         "root: the sums of all ranks go to rank 0, which answers while the others read on.\n"
         "distributed: each rank keeps its share of the sums, and all look for the answer\n"
         "together, while none of them reads. About the same events it is the same answer, for\n"
         "whole numbers and with --resolution to the bit. It pays where a question takes long or epochs of a --window\n"
         "do not fit into the memory of rank 0")
      ->check(CLI::IsMember({"root", "distributed"}))
      ->default_str("root")
      ->group("State");
  add_sketch_options(app, options.sketch);
}

namespace {

/// Throws UsageError where a state is shared out among several ranks: others can ask one that is in one place.
void require_in_one_place(const Problem& problem, int ranks) {
  for (const ArrayLayout& array : setting_of(problem).layout(problem))
    if (ranks > 1 && (array.gathering == Gathering::in_slices || array.gathering == Gathering::by_share))
      throw UsageError(fmt::format(
          "--serve: the state of {} is shared out among {} ranks, and questions from outside are answered by one; "
          "run it on 1 rank",
          setting_of(problem).label(), ranks));
}

/// What those outside see of a job, epoch by epoch.
class Watched {
 public:
  Watched(const OutsideOptions& options, OutsideView view)
      : publishes_(!options.serve.empty()), outside_(options, std::move(view.labels), view.draw) {
    for (const std::string& address : outside_.addresses()) say("weir: listening at " + address);
  }

  void show(const engine::Epoch& epoch, const Run& run, const State& state) {
    Metrics metrics{.epoch = epoch.number, .merge_seconds = epoch.merge_seconds, .reduced_bytes = epoch.reduced_bytes};
    metrics.epoch_seconds = last_time_ > 0 ? epoch.time - last_time_ : run.ingest_seconds;
    std::map<std::string, Metrics::Source> sources;
    for (std::size_t r = 0; r < epoch.ranks.size(); ++r) {
      const engine::RankProgress& rank = epoch.ranks[r];
      const std::uint64_t before = r < last_updates_.size() ? last_updates_[r] : 0;
      metrics.ranks.push_back(
          {rank.updates, rank.skipped,
           metrics.epoch_seconds > 0 ? static_cast<double>(rank.updates - before) / metrics.epoch_seconds : 0});
      for (const engine::SourceLag& lag : rank.lags) {
        Metrics::Source& source =
            sources.try_emplace(lag.source, Metrics::Source{lag.source, lag.unit, 0}).first->second;
        source.lag = *source.lag + static_cast<double>(lag.amount);
      }
    }
    for (auto& [name, source] : sources) metrics.sources.push_back(std::move(source));
    if (epoch.checkpoint > 0) metrics.checkpoint_time = epoch.checkpoint_time;
    if (publishes_)
      outside_.publish({.stamp = *run.epoch,
                        .run = run,
                        .state = std::make_shared<const State>(State(state).as_part({})),
                        .norm = {}});
    outside_.set(std::move(metrics));
    last_time_ = epoch.time;
    last_updates_.clear();
    for (const engine::RankProgress& rank : epoch.ranks) last_updates_.push_back(rank.updates);
    log(LogLevel::debug, "epoch",
        {{"epoch", epoch.number}, {"updates", epoch.all_updates}, {"merge_seconds", epoch.merge_seconds}});
  }

 private:
  bool publishes_;
  double last_time_ = 0;
  std::vector<std::uint64_t> last_updates_;
  Outside outside_;
};

/// What the options say a session measures, from where.
struct Plan {
  Problem problem;
  engine::Sources sources;
  engine::Session::Options session;
};

Plan plan_of(const mpi::Communicator& communicator, const MeasureOptions& options, SizeRequest request,
             std::optional<Checkpoint> checkpoint,
             const std::function<void(const Problem& problem, bool continues)>& examine) {
  Plan plan{.problem = {},
            .sources = {.stream = options.source, .files = options.model.files()},
            .session = {.start = std::nullopt, .with_exact = options.with_exact, .merging = options.merging}};
  plan.sources.stream.follow = options.run.follow;
  const std::string& known_from = options.known_from();
  const bool continues = !known_from.empty();
  const auto examine_all = [&](const Problem& problem) {
    for (const std::string* path : {&options.save_path, &options.output.plot_path})
      if (!path->empty()) require_creatable(*path);
    examine(problem, continues);
  };
  if (continues) {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (!communicator.local_is_root()) return;
      plan.session.start = load_state(known_from);
      if (options.state_path.empty()) plan.session.start->clear();
      options.sketch.require_consistent(plan.session.start->problem());
      options.model.require_consistent(plan.session.start->problem(), known_from);
    });
    plan.problem = engine::prepare_to_continue(communicator, plan.session.start, known_from, plan.sources,
                                               [&](const Problem& whole) {
                                                 if (!plan.sources.stream.paths.empty())
                                                   require_goes_on(whole, known_from);
                                                 examine_all(whole);
                                               });
    if (const OperandSet fixed = plan.problem.with_role(Role::fixed); !fixed.empty())
      plan.sources.stream.advice = "fixed in the saved state: " + to_string(fixed);
  } else {
    Problem problem = options.model.problem(options.keeps);
    problem.resolution = options.sketch.resolution.value_or(0);
    plan.sources.names = names_of(options.output, setting_of(problem), options.source.columns.any());
    request = with_gram_options(request, options.model);
    // The options of a job that goes on need not repeat a seed that they did not choose.
    const auto seed = [&] { return checkpoint ? checkpoint->sum.problem().sketch.seed : system_seed(); };
    request.seed = communicator.broadcast(options.sketch.seed ? *options.sketch.seed : seed());
    plan.problem =
        engine::prepare(communicator, std::move(problem), plan.sources, request, most_keys(request), examine_all);
  }
  if (checkpoint) {
    plan.session.start.reset();
    plan.session.checkpoint = std::move(checkpoint);
  }
  return plan;
}

}  // namespace

int measure(const mpi::Communicator& communicator, const MeasureOptions& options, SizeRequest request,
            const std::function<void(const Problem& problem, bool continues)>& examine, const AnswerFrom& answer,
            const std::function<OutsideView()>& view) {
  std::optional<CheckpointDirectory> directory;  // on the root, as is
  std::optional<Checkpoint> checkpoint;
  std::optional<Printer> printer;  // on the root
  engine::together(communicator, [&](mpi::FailureSignal&) {
    const RunOptions& run = options.run;
    if (!communicator.local_is_root() || run.checkpoint_directory.empty()) return;
    directory.emplace(run.checkpoint_directory);
    if (run.resume) {
      checkpoint = directory->load([](const std::string& what) { say("weir: warning: " + what); });
      if (checkpoint)
        say(fmt::format("weir: going on from checkpoint {} of {}: {} updates, epoch {}", checkpoint->info.number,
                        run.checkpoint_directory, checkpoint->info.all_updates, checkpoint->info.epoch));
    } else if (!directory->is_empty()) {
      throw InputError(
          fmt::format("{}: has a checkpoint of an earlier job: --resume goes on from it; otherwise give "
                      "another directory, or remove this one",
                      run.checkpoint_directory));
    }
  });
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    const Reports reports = !options.has_epochs() ? Reports::one : checkpoint ? Reports::more : Reports::several;
    printer.emplace(options.output.print, reports, options.run.prints_lines());
  });
  Plan plan = plan_of(communicator, options, std::move(request), std::move(checkpoint), examine);
  engine::Session session(communicator.local_handle(), std::move(plan.problem), plan.sources, std::move(plan.session));
  const auto print = [&](const engine::Epoch* epoch) {
    const Answered answered = answer(session, plan.sources, epoch);
    if (printer) printer->print(answered.report);
    return answered.code;
  };
  if (!options.has_epochs()) {
    session.advance();
    if (!options.save_path.empty()) session.save(options.save_path);
    return print(nullptr);
  }
  engine::EpochOptions epochs{.every = options.run.every,
                              .window = options.run.window,
                              .checkpoint_every = options.run.checkpoint_every,
                              .writes_checkpoints = !options.run.checkpoint_directory.empty(),
                              .checkpoints = directory ? &*directory : nullptr,
                              .local_warn = [](const std::string& what) { say("weir: warning: " + what); },
                              .local_command = local_command};
  if (!options.run.prints_lines() && !epochs.checkpoint_every.events && !epochs.checkpoint_every.time)
    epochs.checkpoint_every.time = std::chrono::seconds(10);
  if (!options.run.prints_lines() && options.outside.any()) epochs.every.time = std::chrono::seconds(1);
  LogOptions log = options.outside.log;
  log.rank = communicator.local_rank();
  set_log_options(log);
  std::optional<Watched> watched;  // on the root
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!options.outside.any()) return;
    if (!options.outside.serve.empty()) require_in_one_place(session.problem(), communicator.local_size());
    if (communicator.local_is_root()) watched.emplace(options.outside, view());
  });
  listen_to_signals();
  int code = done;
  session.run(epochs, [&](const engine::Epoch& epoch) {
    if (options.outside.any()) {
      const State& state = session.snapshot();
      const Run run = run_of(session, &epoch);
      if (watched) watched->show(epoch, run, state);
    }
    // Without --every nobody waits for lines: the answer is the last one, or one that a signal asked for.
    if (options.run.prints_lines() || epoch.is_final || !epoch.is_whole) code = print(&epoch);
  });
  if (!options.save_path.empty()) session.save(options.save_path);
  return static_cast<int>(communicator.broadcast(static_cast<std::uint64_t>(code)));
}

Run run_of(engine::Session& session, const engine::Epoch* epoch) {
  const State& state = session.snapshot();
  const engine::PhaseSeconds seconds = session.seconds();
  const bool is_root_of_sketch = session.communicator().local_is_root() && session.problem().keeps == Keeps::sketch;
  Run run{.ranks = static_cast<std::uint64_t>(session.communicator().local_size()),
          .updates = state.updates,
          .skipped = session.statistics().skipped,
          .exact_sums = is_root_of_sketch ? std::optional(state.has_exact_sums()) : std::nullopt,
          .ingest_seconds = seconds.ingest,
          .merge_seconds = seconds.merge};
  run.epoch = stamp_of(epoch);
  return run;
}

void add_output_options(CLI::App& app, OutputOptions& options, const std::string& plotted) {
  const std::string group = "Output";
  add_path(app, "--labels", options.labels_path,
           "Text file, gzipped or not: its line i, counted from 0, is the name of index i in\n"
           "the output")
      ->type_name("FILE")
      ->group(group);
  add_path(app, "--labels2", options.column_labels_path,
           "The names of the second indices for --model kronecker. Without it --labels names\n"
           "both")
      ->type_name("FILE")
      ->group(group);
  add_print_options(app, options.print);
  add_plot_option(app, options.plot_path, plotted);
}

OutputLabels::OutputLabels(const OutputOptions& options, bool of_pairs) {
  if (!options.column_labels_path.empty() && !of_pairs)
    throw UsageError("--labels2 names second indices: they belong to --model kronecker");
  for (auto [path, labels] :
       {std::pair{&options.labels_path, &labels_}, {&options.column_labels_path, &column_labels_}}) {
    if (path->empty()) continue;
    labels->emplace(*path);
    std::ignore = (*labels)->check();
  }
}

LabelMaps OutputLabels::find(const std::vector<EntryIndex>& entries) const {
  std::vector<std::uint64_t> rows, columns;
  for (const EntryIndex& entry : entries) {
    rows.push_back(entry.index);
    if (entry.column) columns.push_back(*entry.column);
  }
  LabelMaps maps;
  if (labels_) maps.rows = labels_->find(rows);
  const std::optional<Labels>& of_columns = column_labels_ ? column_labels_ : labels_;
  if (of_columns) maps.columns = of_columns->find(columns);
  return maps;
}

}  // namespace weir::app
