#include "measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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
template <class Config>
Config broadcast(const mpi::Communicator& communicator, Config config) {
  static_assert(std::is_trivially_copyable_v<Config>);
  std::vector<std::byte> bytes(sizeof config);
  std::memcpy(bytes.data(), &config, sizeof config);
  communicator.broadcast(bytes);
  std::memcpy(&config, bytes.data(), sizeof config);
  return config;
}

/// Throws UsageError when a side was given that the saved state does not have.
void require_consistent(const ModelOptions& model, const KroneckerShape& saved) {
  const auto require = [](std::string_view option, const std::optional<std::uint64_t>& given, std::uint64_t held) {
    if (given && held != 0 && *given != held)
      throw UsageError(fmt::format("{} {} contradicts the saved state, which has {}", option, *given, held));
  };
  require("--n1", model.n1, saved.n1);
  require("--n2", model.n2, saved.n2);
  require("--d1", model.d1, saved.d1);
  require("--d2", model.d2, saved.d2);
}

/// Throws UsageError when the Gram matrices of the saved state are kept in another way than was asked for.
void require_consistent(const ModelOptions& model, const GramConfig& saved) {
  if (model.exact_gram.value_or(saved.exact) != saved.exact)
    throw UsageError(fmt::format("--gram {} contradicts the saved state, which has {}",
                                 saved.exact ? "sketch" : "exact", saved.exact ? "exact" : "sketch"));
  if (model.gram_buckets.value_or(saved.buckets) != saved.buckets)
    throw UsageError(
        fmt::format("--gram-buckets {} contradicts the saved state, which has {}", *model.gram_buckets, saved.buckets));
}

/// Throws UsageError unless a stream can be added to a state of a Kronecker product by the method asked for.
void require_goes_on(const MeasureOptions& options, const State& state) {
  const ModelOptions& model = options.model;
  const bool of_y = std::holds_alternative<VectorSketch>(state.sketch);
  if (of_y != model.streams_one_factor())
    throw UsageError(
        fmt::format("{} is a state of --method {}: its stream cannot go on with --method {}{}", options.state_path,
                    of_y ? "streaming" : "two-stage", to_string(model.method()),
                    of_y ? "; it goes on with the fixed factor given again, --fixed A1=FILE or A2=FILE" : ""));
  if (of_y && (model.streamed_factor() == Operand::A2) != state.description.transposed)
    throw UsageError(fmt::format("{} is a state of a stream of {}, whose other factor was fixed", options.state_path,
                                 state.description.transposed ? "A2" : "A1"));
  if (!of_y && !model.fixed.empty())
    throw UsageError(fmt::format("--fixed: the state {} holds its own operands", options.state_path));
  if (state.description.fixed == OperandSet{Operand::A1, Operand::A2, Operand::X})
    throw UsageError(fmt::format("{} holds A1, A2 and X, all of them fixed: there is none that a stream could change",
                                 options.state_path));
}

/// Collective: the saved state, on the root; what describes it, everywhere.
std::optional<SketchState> load_start(const mpi::Communicator& communicator, const MeasureOptions& options,
                                      Measured& measured) {
  std::optional<SketchState> start;
  std::uint64_t columns = 0;  // of A, of a state that holds a matrix
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    State state = load_state(options.state_path);
    measured.description = state.description;
    const bool x_is_fixed = !options.model.fixed_file("x").empty();
    if (const auto* product = std::get_if<ProductSketch>(&state.sketch)) {
      if (!state.description.fixed.contains(Operand::x)) columns = product->x.size();
      measured.degree = product->degree;
      measured.sketch_columns = product->a.columns();
    }
    if (const auto* rows = std::get_if<RowsSketch>(&state.sketch)) {
      columns = rows->columns();
      measured.gram = rows->gram_config();
      require_consistent(options.model, measured.gram);
    } else if (const auto* kronecker = std::get_if<KroneckerSketch>(&state.sketch)) {
      measured.gram = kronecker->a1.gram_config();
      require_consistent(options.model, measured.gram);
    } else if (options.model.exact_gram || options.model.gram_buckets) {
      throw UsageError(
          fmt::format("--gram and --gram-buckets: the saved state {} has no Gram matrix", options.state_path));
    }
    measured.config = config_of(state.sketch);
    measured.shape = shape_of(state);
    options.sketch.require_consistent(measured.config, measured.degree, state.description.precision);
    const ModelOptions& model = options.model;
    if (measured.shape) require_consistent(model, *measured.shape);
    if (model.n && *model.n != measured.config.dimension)
      throw UsageError(
          fmt::format("--n {} contradicts the saved state, which has {}", *model.n, measured.config.dimension));
    if (!options.source.paths.empty()) {
      if (model.name() != state.description.model)
        throw UsageError(fmt::format("{} is a state of --model {}; its stream cannot go on with --model {}",
                                     options.state_path, state.description.model, model.name()));
      if (measured.shape) require_goes_on(options, state);
      if (columns > 0 && x_is_fixed)
        throw UsageError(fmt::format("--fixed x=FILE: the state {} holds its own x", options.state_path));
      if (columns == 0 && model.name() == ProductModel::name && !x_is_fixed)
        throw UsageError(
            fmt::format("{} is a state of y = A x for an x that is fixed: its stream goes on with "
                        "--fixed x=FILE",
                        options.state_path));
    }
    if (columns > 0 && model.d && *model.d != columns)
      throw UsageError(fmt::format("--d {} contradicts the saved state, which has {}", *model.d, columns));
    start.emplace(std::move(state.sketch));
  });
  measured.config = broadcast(communicator, measured.config);
  measured.gram = broadcast(communicator, measured.gram);
  measured.degree = static_cast<std::uint32_t>(communicator.broadcast(measured.degree));
  measured.sketch_columns = communicator.broadcast(measured.sketch_columns);
  if (columns = communicator.broadcast(columns); columns > 0) measured.d = columns;
  const KroneckerShape own = measured.shape.value_or(KroneckerShape());
  std::vector<std::uint64_t> sides{own.n1, own.n2, own.d1, own.d2};
  communicator.broadcast(sides);
  if (sides[0] != 0) {
    measured.shape = {sides[0], sides[1], sides[2], sides[3]};
    measured.method = measured.config.row_length != 0 ? Method::streaming : Method::two_stage;
  }
  measured.description.transposed = communicator.broadcast(measured.description.transposed ? 1 : 0) != 0;
  OperandSet& fixed = measured.description.fixed;
  fixed.bits = static_cast<std::uint8_t>(communicator.broadcast(fixed.bits));
  return start;
}

}  // namespace

void MeasureOptions::check() const {
  const bool from_state = !state_path.empty();
  const bool streams = !source.paths.empty();
  const bool has_a = !model.fixed_file("A").empty();
  if (!from_state && !has_a && !streams && !model.factors_are_fixed())
    throw UsageError("nothing to measure: give STREAM files, - for standard input, or --state FILE");
  if (from_state && !streams && (model.model || model.given_method || model.d || !model.fixed.empty()))
    throw UsageError(
        "--model, --method, --d and --fixed say how a stream is read; without one the saved state knows its model");
  if (from_state && has_a) throw UsageError("--fixed A=FILE: the saved state has its own A");
  model.check(from_state);
  if (all_is_fixed() && streams)
    throw UsageError("--fixed: with A and x both fixed nothing streams; give no STREAM, or fix only one of them");
  if (model.factors_are_fixed() && !model.fixed_file("X").empty() && streams)
    throw UsageError("--fixed: with A1, A2 and X all fixed nothing streams; give no STREAM, or fix only two of them");
  const bool from_sketch = keep_sketch && model.name() == VectorModel::name && !from_state;
  if (sketch.degree() == 2 && from_sketch)
    throw UsageError("--p 4 lifts the rows of A: expected --model product (or --sampler exact)");
  if (model.streams_one_factor()) {
    if (sketch.degree() == 2) throw UsageError("--p 4 is for --model product; --method streaming takes 0.5, 1 and 2");
  } else if ((model.is_kronecker() || model.is_rows()) && !(from_state && !streams)) {
    if (sketch.p.value_or(2) != 2)
      throw UsageError(
          fmt::format("--p {}: {} has the law of squares only, --p 2", *sketch.p,
                      model.is_rows() ? "--model rows" : fmt::format("--method {}", to_string(model.method()))));
  }
  if (exact != engine::Exact::none && from_state)
    throw UsageError("exact answers need the whole stream; --state holds a sketch only");
  if (!keep_sketch && !save_path.empty()) throw UsageError("--save writes a sketch, which this sampler does not keep");
  if (from_state || has_a || model.is_kronecker()) return;
  if (exact != engine::Exact::none && !model.n)
    throw UsageError("exact answers keep n doubles a rank: --n is needed, the length of y");
  if (exact != engine::Exact::none && *model.n > max_dense_dimension)
    throw UsageError(
        fmt::format("exact answers keep n doubles a rank: --n {} is more than {}", *model.n, max_dense_dimension));
  if (keep_sketch) std::ignore = sketch.configuration(dimension(model));
}

std::uint64_t MeasureOptions::dimension(const ModelOptions& known) const { return known.n.value_or(most_keys()); }

std::uint64_t MeasureOptions::most_keys() const {
  return std::min(max_dimension, key_limit(sketch.randomness.value_or(Randomness::mix)));
}

void add_measure_options(CLI::App& app, MeasureOptions& options) {
  add_stream_options(app, options.source);
  add_model_options(app, options.model);
  app.add_option(
         "--state", options.state_path,
         "Start from this saved state; STREAM arguments, if any, are added to it. It keeps its sizes: what "
         "would choose them for a new one, like --epsilon and --failure, is ignored; of the sampler precision it "
         "keeps --epsilon and --precision-constant, and of operands those that were fixed: a stream changes the "
         "others only")
      ->type_name("FILE")
      ->group("State");
  app.add_option("--save", options.save_path, "Write the merged state, for --state and weir combine")
      ->type_name("FILE")
      ->group("State");
  add_sketch_options(app, options.sketch);
}

PairsConfig MeasureOptions::sizes(const ModelOptions& known) const {
  PairsConfig sizes;
  sizes.gram.exact = known.exact_gram.value_or(false);
  if (!known.is_kronecker()) {
    sizes.sketch = sketch.configuration(dimension(known));
    if (known.is_rows()) sizes.gram.buckets = suggest_gram_buckets(sketch.distortion());
  } else if (known.streams_one_factor()) {
    const KroneckerShape shape = known.kronecker_shape();
    sizes.sketch = known.streamed_factor() == Operand::A1 ? sketch.matrix_configuration(shape.n1, shape.n2)
                                                          : sketch.matrix_configuration(shape.n2, shape.n1);
  } else {
    sizes = sketch.pairs_configuration(*known.n1, *known.n2, sizes.gram.exact);
  }
  sizes.gram.buckets = known.gram_buckets.value_or(sizes.gram.buckets);
  return sizes;
}

namespace {

/// Collective: the shape of a saved state, for a stream that goes on; a sketch of y does not know d1 and d2, which the
/// files of the fixed operands say.
void take_shape(const mpi::Communicator& communicator, const KroneckerShape& shape, ModelOptions& options) {
  options.n1 = shape.n1;
  options.n2 = shape.n2;
  if (shape.d1 != 0) {
    options.d1 = shape.d1;
    options.d2 = shape.d2;
  } else {
    options.complete(communicator, max_dimension);
  }
}

/// Collective: Algorithm 1.
void stream_one_factor(const mpi::Communicator& communicator, const ModelOptions& model, const MeasureOptions& options,
                       std::optional<SketchState> start, Measured& measured) {
  std::optional<VectorSketch> start_of_y;
  if (start) start_of_y = std::get<VectorSketch>(std::move(*start));
  const Operand streamed = model.streamed_factor();
  engine::FactorSource source{.stream = options.source,
                              .fixed_factor = model.fixed_file(streamed == Operand::A1 ? "A2" : "A1")};
  source.stream.advice = "with --method two-stage both factors may stream, and X too";
  constexpr std::uint64_t tensor_buckets = 2048;
  engine::FactorJobResult job =
      engine::run_streamed_factor_job(communicator, model.kronecker_shape(), streamed, model.core(communicator),
                                      measured.config, tensor_buckets, source, std::move(start_of_y));
  measured.job.y.sketch = std::move(job.y);
  measured.job.ingest = job.ingest;
  measured.job.merge_seconds = job.merge_seconds;
  measured.shape = model.kronecker_shape();
  measured.description.updates += job.ingest.updates;
  // What a saved state has seen of the operands is not known any more.
  if (options.state_path.empty()) {
    measured.factor = std::move(job.model);
    measured.tensor_f2 = job.tensor_f2;
  }
}

}  // namespace

Measured measure(const mpi::Communicator& communicator, const MeasureOptions& options,
                 const std::function<void(const Measured&)>& prepare) {
  Measured measured;
  StateDescription& description = measured.description;
  SketchConfig& config = measured.config;
  ModelOptions model_options = options.model;
  engine::JobSource source{.stream = options.source, .fixed = {}};
  const bool has_streams = !options.source.paths.empty();
  std::optional<SketchState> start;
  if (!options.state_path.empty()) {
    start = load_start(communicator, options, measured);
    if (measured.d) model_options.d = measured.d;
    if (measured.shape && has_streams) take_shape(communicator, *measured.shape, model_options);
  } else {
    model_options.complete(communicator, options.most_keys());
    measured.degree = options.sketch.degree();
    config.p = options.sketch.p.value_or(config.p) / measured.degree;
    if (options.keep_sketch) {
      const PairsConfig sizes = options.sizes(model_options);
      config = sizes.sketch;
      measured.gram = sizes.gram;
    }
    if (!model_options.is_kronecker()) config.dimension = options.dimension(model_options);
    if (model_options.is_rows()) measured.d = model_options.d;
    if (model_options.is_kronecker()) {
      measured.shape = model_options.kronecker_shape();
      measured.method = model_options.method();
    }
    config.seed = communicator.broadcast(options.sketch.seed ? *options.sketch.seed : system_seed());
    description.model = model_options.name();
    description.transposed = model_options.streams_one_factor() && model_options.streamed_factor() == Operand::A2;
    description.fixed = model_options.held_operands(measured.degree);
    if (options.sketch.for_precision) description.precision = options.sketch.precision_target();
  }
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    if (!options.save_path.empty()) require_creatable(options.save_path);
    prepare(measured);
  });

  const bool has_start = !options.state_path.empty();
  if (has_streams && has_start && model_options.streams_one_factor()) measured.method = Method::streaming;
  if (model_options.streams_one_factor() && !(has_start && !has_streams)) {
    stream_one_factor(communicator, model_options, options, std::move(start), measured);
  } else if (has_start && !has_streams) {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (!communicator.local_is_root()) return;
      measured.job.y.sketch = std::move(start);
      measured.job.y.finish();
    });
  } else {
    Model model = model_options.build(communicator, config.dimension, measured.degree, measured.gram);
    if (options.all_is_fixed()) {
      source.stream = {.paths = {model_options.fixed_file("A")}};
    } else {
      source.fixed = model_options.fixed_operands();
    }
    if (has_start && !description.fixed.empty()) {
      source.held = description.fixed;
      source.stream.advice = "fixed in the saved state: " + to_string(description.fixed);
    }
    const engine::Measure what{.sketch = options.keep_sketch ? std::optional(config) : std::nullopt,
                               .exact = options.exact};
    measured.job = engine::run_job(communicator, model, what, source, std::move(start));
    description.updates += measured.job.ingest.updates;
    measured.sketch_columns = sketch_columns(model);
    measured.d = model_options.d;
    measured.fixed_a = options.model.fixed_file("A");
    measured.x = measured.job.x;
    if (const auto* product = std::get_if<ProductModel>(&model)) {
      measured.x.assign(product->x().begin(), product->x().end());
      measured.d = product->x().size();
    }
  }
  description.ranks = static_cast<std::uint64_t>(communicator.local_size());

  if (!options.save_path.empty()) {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (!communicator.local_is_root()) return;
      State state{description, std::move(*measured.job.y.sketch)};
      save_state(options.save_path, state);
      measured.job.y.sketch = std::move(state.sketch);
    });
  }
  return measured;
}

namespace {

/// What sketches of operands hold besides a table of `columns` columns.
void add_operand_sketches(RunReport& report, const SketchState& state) {
  const auto bytes = [](const RowsSketch& rows) {
    return sizeof(double) * (rows.draws.table().size() + rows.wide.table().size() + rows.exact_gram.size());
  };
  if (const auto* rows = std::get_if<RowsSketch>(&state)) {
    report.columns = rows->columns();
    report.bytes = bytes(*rows);
    report.gram = rows->gram_config();
  } else if (const auto* kronecker = std::get_if<KroneckerSketch>(&state)) {
    report.columns = kronecker->a1.columns() + kronecker->a2.columns();
    report.bytes = bytes(kronecker->a1) + bytes(kronecker->a2) + sizeof(double) * kronecker->x.size();
    report.gram = kronecker->a1.gram_config();
  }
}

}  // namespace

RunReport run_report(const mpi::Communicator& communicator, const Measured& measured) {
  RunReport report;
  report.model = measured.description.model;
  report.shape = {measured.config.dimension};
  report.d = measured.d;
  if (measured.shape) {
    report.shape = {measured.shape->n1, measured.shape->n2};
    if (measured.shape->d1 != 0) {
      report.d1 = measured.shape->d1;
      report.d2 = measured.shape->d2;
    }
  }
  if (measured.method) report.method = to_string(*measured.method);
  report.ranks = static_cast<std::uint64_t>(communicator.local_size());
  report.updates = measured.description.updates;
  report.skipped = measured.job.ingest.skipped;
  if (measured.job.y.sketch) report.sketch = measured.config;
  report.columns = measured.sketch_columns;
  if (measured.job.y.sketch) add_operand_sketches(report, *measured.job.y.sketch);
  report.degree = measured.degree;
  report.seed = measured.config.seed;
  report.seconds = {measured.job.ingest.seconds, measured.job.merge_seconds, 0};
  return report;
}

void add_output_options(CLI::App& app, OutputOptions& options) {
  const std::string group = "Output";
  app.add_option("--labels", options.labels_path,
                 "Text file, gzipped or not: line i, counted from 0, names index i in the output")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--labels2", options.column_labels_path,
                 "The same for the second index of --model kronecker; without it --labels names both")
      ->type_name("FILE")
      ->group(group);
  app.add_flag("--json", options.json, "One JSON object instead of a table")->group(group);
}

OutputLabels::OutputLabels(const OutputOptions& options, bool of_pairs) {
  if (!options.column_labels_path.empty() && !of_pairs)
    throw UsageError("--labels2 names second indices: they belong to --model kronecker");
  if (!options.labels_path.empty()) labels_.emplace(options.labels_path);
  if (!options.column_labels_path.empty()) column_labels_.emplace(options.column_labels_path);
}

void OutputLabels::find(const std::vector<std::uint64_t>& indices, const std::vector<std::uint64_t>& columns,
                        std::map<std::uint64_t, std::string>& labels,
                        std::map<std::uint64_t, std::string>& column_labels) const {
  if (labels_) labels = labels_->find(indices);
  const std::optional<Labels>& of_columns = column_labels_ ? column_labels_ : labels_;
  if (of_columns) column_labels = of_columns->find(columns);
}

Estimate norm_of(const Estimate& f2) {
  const double norm = std::sqrt(std::max(0.0, f2.value));
  return {norm, norm - std::sqrt(std::max(0.0, f2.value - f2.bound))};
}

}  // namespace weir::app
