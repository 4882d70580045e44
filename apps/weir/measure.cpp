#include "measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <random>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/file.hpp"

namespace weir::app {
namespace {

/// Most coordinates of a dense vector: 16 GiB of doubles a rank.
constexpr std::uint64_t max_dense_dimension = std::uint64_t{1} << 31;

std::uint64_t system_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

/// Ranks of one job run the same program on machines of one kind: the bytes of the struct will do.
SketchConfig broadcast(const mpi::Communicator& communicator, SketchConfig config) {
  static_assert(std::is_trivially_copyable_v<SketchConfig>);
  std::vector<std::byte> bytes(sizeof config);
  std::memcpy(bytes.data(), &config, sizeof config);
  communicator.broadcast(bytes);
  std::memcpy(&config, bytes.data(), sizeof config);
  return config;
}

}  // namespace

void MeasureOptions::check() const {
  const bool streams = !source.paths.empty();
  if (!streams && state_path.empty())
    throw UsageError("nothing to measure: give STREAM files, - for standard input, or --state FILE");
  model.check(streams);
  if (keep_dense && !state_path.empty())
    throw UsageError("exact answers need the whole stream; --state holds a sketch only");
  if (!keep_sketch && !save_path.empty())
    throw UsageError("--save writes a sketch, which the exact sampler does not keep");
  if (!state_path.empty()) return;
  if (keep_dense && !model.n) throw UsageError("exact answers keep n doubles a rank: --n is needed, the length of y");
  if (keep_dense && *model.n > max_dense_dimension)
    throw UsageError(
        fmt::format("exact answers keep n doubles a rank: --n {} is more than {}", *model.n, max_dense_dimension));
  if (keep_sketch) std::ignore = sketch.configuration(dimension());
}

std::uint64_t MeasureOptions::dimension() const {
  return model.n.value_or(std::min(max_dimension, key_limit(sketch.randomness.value_or(Randomness::mix))));
}

void add_measure_options(CLI::App& app, MeasureOptions& options) {
  add_stream_options(app, options.source);
  add_model_options(app, options.model);
  app.add_option("--state", options.state_path,
                 "Start from this saved state; STREAM arguments, if any, are added to it. It keeps its sizes: what "
                 "would choose "
                 "them for a new one, like --epsilon and --failure, is ignored")
      ->type_name("FILE")
      ->group("State");
  app.add_option("--save", options.save_path, "Write the merged state, for --state and weir combine")
      ->type_name("FILE")
      ->group("State");
  add_sketch_options(app, options.sketch);
}

Measured measure(const mpi::Communicator& communicator, const MeasureOptions& options,
                 const std::function<void(const SketchConfig&)>& prepare) {
  Measured measured;
  StateDescription& description = measured.description;
  std::optional<VectorSketch> start;
  SketchConfig config;
  if (!options.state_path.empty()) {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (!communicator.local_is_root()) return;
      State state = load_state(options.state_path);
      VectorSketch& saved = vector_of(state, options.state_path);
      config = saved.config();
      options.sketch.require_consistent(config);
      if (options.model.n && *options.model.n != config.dimension)
        throw UsageError(
            fmt::format("--n {} contradicts the saved state, which has {}", *options.model.n, config.dimension));
      if (!options.source.paths.empty() && options.model.name() != state.description.model)
        throw UsageError(fmt::format("{} is a state of --model {}; its stream cannot go on with --model {}",
                                     options.state_path, state.description.model, options.model.name()));
      description = state.description;
      start.emplace(std::move(saved));
    });
    config = broadcast(communicator, config);
  } else {
    if (options.keep_sketch) config = options.sketch.configuration(options.dimension());
    config.dimension = options.dimension();
    config.seed = communicator.broadcast(options.sketch.seed ? *options.sketch.seed : system_seed());
    description.model = options.model.name();
  }
  measured.dimension = config.dimension;
  measured.seed = config.seed;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    if (!options.save_path.empty()) require_creatable(options.save_path);
    prepare(config);
  });

  if (options.source.paths.empty()) {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (!communicator.local_is_root()) return;
      measured.job.y.sketch = std::move(start);
      measured.job.y.require_measurable();
    });
  } else {
    Model model = options.model.build(communicator, config.dimension);
    engine::Measure what;
    if (options.keep_sketch) what.sketch = config;
    what.dense = options.keep_dense;
    measured.job = engine::run_vector_job(communicator, model, what, options.source, std::move(start));
    description.updates += measured.job.ingest.updates;
  }
  description.ranks = static_cast<std::uint64_t>(communicator.local_size());

  if (!options.save_path.empty()) {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (!communicator.local_is_root()) return;
      State state{description, std::move(*measured.job.y.sketch)};
      save_state(options.save_path, state);
      measured.job.y.sketch = std::move(std::get<VectorSketch>(state.sketch));
    });
  }
  return measured;
}

RunReport run_report(const mpi::Communicator& communicator, const Measured& measured) {
  RunReport report;
  report.model = measured.description.model;
  report.shape = {measured.dimension};
  report.ranks = static_cast<std::uint64_t>(communicator.local_size());
  report.updates = measured.description.updates;
  report.skipped = measured.job.ingest.skipped;
  if (measured.job.y.sketch) report.sketch = measured.job.y.sketch->config();
  report.seed = measured.seed;
  report.seconds = {measured.job.ingest.seconds, measured.job.merge_seconds, 0};
  return report;
}

void add_output_options(CLI::App& app, std::string& labels_path, bool& json) {
  app.add_option("--labels", labels_path, "Text file: line i, counted from 0, names index i in the output")
      ->type_name("FILE")
      ->group("Output");
  app.add_flag("--json", json, "One JSON object instead of a table")->group("Output");
}

std::optional<Labels> open_labels(const std::string& path) {
  return path.empty() ? std::nullopt : std::optional<Labels>(path);
}

}  // namespace weir::app
