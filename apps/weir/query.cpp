#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "measure.hpp"
#include "weir/error.hpp"
#include "weir/io/report.hpp"
#include "weir/sample/heavy_entries.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sketch/tensor_sketch.hpp"

namespace weir::app {
namespace {

/// An entry that was asked for.
struct Point {
  std::uint64_t index = 0;
  std::optional<std::uint64_t> column = {};  ///< i2, where y is a matrix.
};

/// `item` is I, or I1:I2. Throws CLI::ValidationError.
Point parse_point(const std::string& item) {
  constexpr WholeRange range{0, (std::uint64_t{1} << 63) - 1};
  const std::size_t colon = item.find(':');
  const auto parse = [&](const std::string& text) { return parse_whole("--point", text, range); };
  if (colon == std::string::npos) return {parse(item)};
  return {parse(item.substr(0, colon)), parse(item.substr(colon + 1))};
}

/// Throws UsageError for an entry that y does not have. `columns` is set where y is a matrix of `rows` rows.
void require_inside(const Point& point, std::uint64_t rows, const std::optional<std::uint64_t>& columns) {
  if (point.column.has_value() != columns.has_value())
    throw UsageError(columns ? fmt::format("--point {}: y is a matrix, expected I1:I2", point.index)
                             : fmt::format("--point {}:{}: y is a vector, expected I", point.index, *point.column));
  if (point.index < rows && (!columns || *point.column < *columns)) return;
  throw UsageError(
      columns ? fmt::format("--point: entry {}:{} is outside y of {} x {}", point.index, *point.column, rows, *columns)
              : fmt::format("--point: index {} is outside y of length {}", point.index, rows));
}

/// Draws through which a moment is estimated, where the sketch has the buckets for so many.
constexpr std::uint32_t most_draws = 64;
/// Buckets a draw of a flat vector needs (apps/experiments/README.md).
constexpr std::uint64_t buckets_a_draw = 128;

/// With them a point estimate is within epsilon ||y||, 3.16 sqrt(F2/B), of the truth except with probability 0.01, the
/// median of five rows.
std::uint64_t buckets_for(double epsilon) {
  return std::bit_ceil(static_cast<std::uint64_t>(std::min(0x1p40, std::ceil(10 / (epsilon * epsilon)))));
}

struct QueryOptions {
  MeasureOptions measure;
  double epsilon = 0.1;
  bool norm = false;
  std::uint64_t top = 0;
  std::vector<Point> points;
  std::vector<std::string> others;
  std::vector<double> moments;
  OutputOptions output;

  /// Collective: sizes the sketch of a stream, once n is known, from A too; a saved state has its size. Throws
  /// UsageError or InputError on all ranks.
  void settle(const mpi::Communicator& communicator) {
    if (!measure.state_path.empty()) return;
    measure.model.complete(communicator, measure.most_keys());
    SketchOptions& sketch = measure.sketch;
    if (measure.of_operands()) {
      // Answers come from the wide sketches of the operands; those that draw are kept small.
      std::optional<std::uint64_t>& wide = measure.model.gram_buckets;
      if (!wide) wide = std::max(GramConfig().buckets, buckets_for(epsilon));
      if (!sketch.buckets) sketch.buckets = 2;
      if (!sketch.lanes) sketch.lanes = 1;
      return;
    }
    if (!moments.empty()) {
      sketch.without_replacement = true;
      sketch.samples = most_draws;
      if (!sketch.buckets) sketch.buckets = std::max(buckets_for(epsilon), measure.sizes(measure.model).sketch.buckets);
      if (!sketch.lanes) sketch.lanes = 8;  // the wide lane that draws, and others for --top
      return;
    }
    if (!sketch.buckets) sketch.buckets = buckets_for(epsilon);
    if (sketch.lanes) return;
    sketch.lanes = 1;
    // Equal neighbours cancel in their group in lane 0, where only signs tell them apart; in scaled lanes they do not, and
    // the search for the largest looks into groups there too.
    if (top > 0 && measure.sizes(measure.model).sketch.levels > 1) sketch.lanes = 8;
  }
  void check() const {
    measure.check();
    if (measure.model.is_kronecker() && measure.model.given_method == Method::exact)
      throw UsageError("--method exact draws; questions are answered by --method streaming and two-stage");
    if (!measure.model.n || measure.model.is_rows()) return;
    for (const Point& point : points) require_inside(point, *measure.model.n, std::nullopt);
  }
};

/// In what a state differs from what is known of another so that they have no inner product; empty when they have one.
/// Fixed operands, and the columns of the factors, may differ.
std::string describe_difference_of_y(const Measured& known, const State& other) {
  std::string difference = describe_difference(known.config, config_of(other.sketch));
  if (!difference.empty()) return difference;
  const auto* kronecker = std::get_if<KroneckerSketch>(&other.sketch);
  const bool of_operands = known.method == Method::two_stage;
  if (of_operands != (kronecker != nullptr) || std::holds_alternative<RowsSketch>(other.sketch))
    return of_operands ? "operands against a sketch of y" : "a sketch of y against operands";
  if (known.description.transposed != other.description.transposed) return "y against its transpose";
  if (kronecker == nullptr) return {};
  if (known.shape->n2 != kronecker->shape.n2)
    return fmt::format("n2: {} against {}", known.shape->n2, kronecker->shape.n2);
  const std::uint64_t buckets = kronecker->a1.gram_config().buckets;
  if (known.gram.buckets != buckets)
    return fmt::format("buckets of the Gram sketch: {} against {}", known.gram.buckets, buckets);
  return {};
}

/// The state at `path`, for an inner product with that of `known`.
SketchState load_other(const std::string& path, const Measured& known) {
  State other = load_state(path);
  const std::string difference = describe_difference_of_y(known, other);
  if (!difference.empty()) throw InputError(fmt::format("{}: no inner product with this sketch: {}", path, difference));
  return std::move(other.sketch);
}

/// Throws what answer() would, as far as it can be known without y.
void require_answerable(const Measured& known, const QueryOptions& options) {
  const SketchConfig& config = known.config;
  const bool is_matrix = known.shape.has_value();
  const bool is_rows = known.description.model == RowsModel::name;
  if (is_rows && (!options.points.empty() || options.top > 0 || !options.others.empty() || !options.moments.empty()))
    throw UsageError("a state of --model rows answers --norm alone: the Frobenius norm of A");
  for (const Point& point : options.points)
    require_inside(point, is_matrix ? known.shape->n1 : config.dimension,
                   is_matrix ? std::optional(known.shape->n2) : std::nullopt);
  if (is_matrix && known.method == Method::two_stage) {
    if (!options.moments.empty())
      throw UsageError("--moment needs a sketch of y: of --model kronecker, --method streaming");
    if (options.top > 0 && std::max(known.shape->n1, known.shape->n2) > longest_scanned_factor)
      throw UsageError("--top looks at all rows of both factors: expected --n1 and --n2 of at most 2^32");
  } else {
    if (options.top >= config.buckets)
      throw UsageError(fmt::format("--top {}: a sketch of {} buckets tells fewer coordinates apart than it has buckets",
                                   options.top, config.buckets));
    if (!options.moments.empty() && (config.lanes < 2 || config.law != ScaleLaw::exponential))
      throw UsageError(
          "--moment draws without replacement: the sketch needs 2 lanes at least, and the exponential law");
  }
  // Loaded again to be used, so that memory holds one at a time, and none while the stream is read.
  for (const std::string& path : options.others) std::ignore = load_other(path, known);
}

/// ||A||_F, with the bound of a sketch of B buckets.
Estimate frobenius_norm(const RowsSketch& rows) {
  const DenseMatrix gram = rows.checked_gram();
  double f2 = 0;
  for (std::uint64_t j = 0; j < gram.rows; ++j) f2 += gram.values[j * gram.columns + j];
  // The mean of R rows of variance 2 F2^2 / B each, by Chebyshev.
  const double deviation =
      rows.exact_gram.empty()
          ? std::sqrt(2.0 / (static_cast<double>(rows.wide.config().buckets) * rows.wide.config().rows)) * f2
          : 0.0;
  return norm_of({f2, 10 * deviation});
}

/// From the operands of a Kronecker product: a TensorSketch of them.
void answer(const KroneckerSketch& kronecker, const Measured& measured, const QueryOptions& options,
            QueryReport& report) {
  const TensorSketch tensor = kronecker.tensor();
  const TensorImage image = tensor.image();
  if (options.norm) report.norm = norm_of(image.f2());
  if (options.top > 0) {
    report.top.emplace();
    for (const HeavyEntry& heavy : heavy_entries(tensor, static_cast<std::size_t>(options.top)).entries)
      report.top->push_back({heavy.index, heavy.estimate, heavy.column});
  }
  std::vector<std::array<std::uint64_t, 2>> places;
  for (const Point& point : options.points) places.push_back({point.index, *point.column});
  const std::vector<Estimate> estimates = estimate_entries(tensor, places);
  for (std::size_t t = 0; t < places.size(); ++t) report.points.push_back({places[t][0], estimates[t], places[t][1]});
  for (const std::string& path : options.others) {
    const auto other = std::get<KroneckerSketch>(load_other(path, measured));
    report.inner.push_back({path, image.inner_product(other.tensor().image())});
  }
}

/// From a sketch of y, a matrix where it is one.
void answer(const Measured& measured, const QueryOptions& options, QueryReport& report) {
  const engine::MeasuredVector& y = measured.job.y;
  const VectorSketch& sketch = y.y();
  const bool transposed = measured.description.transposed;
  const std::uint64_t row_length = sketch.config().row_length;
  const auto key_of = [&](const Point& point) {
    if (row_length == 0) return point.index;
    return transposed ? *point.column * row_length + point.index : point.index * row_length + *point.column;
  };
  const auto entry_at = [&](std::uint64_t key, const Estimate& estimate) -> HeavyCoordinate {
    if (row_length == 0) return {key, estimate};
    std::uint64_t index = key / row_length, column = key % row_length;
    if (transposed) std::swap(index, column);
    return {index, estimate, column};
  };
  if (options.norm) report.norm = norm_of(sketch.f2());
  if (options.top > 0) {
    report.top.emplace();
    for (const HeavyCoordinate& heavy : heavy_coordinates(sketch, static_cast<std::size_t>(options.top)))
      report.top->push_back(entry_at(heavy.index, heavy.estimate));
  }
  for (const Point& point : options.points)
    report.points.push_back(entry_at(key_of(point), sketch.point(key_of(point))));
  for (const std::string& path : options.others)
    report.inner.push_back({path, sketch.inner_product(sketch_of_y(load_other(path, measured)))});
  if (options.moments.empty()) return;
  const std::uint64_t draws = std::clamp<std::uint64_t>(sketch.config().buckets / buckets_a_draw, 2, most_draws);
  SampleResult sample = draw_without_replacement(y.drawn_from(), {.samples = static_cast<std::uint32_t>(draws)});
  if (y.degree() == 2) sample = draws_of_roots(std::move(sample), y.drawn_from(), sketch);
  for (const double p : options.moments) {
    const MomentEstimate moment = moment_through_samples(sample.draws, p);
    report.moments.push_back({p, {moment.value, moment.bound}});
  }
}

int query(const mpi::Communicator& communicator, QueryOptions options) {
  options.settle(communicator);
  OutputLabels labels;
  const Measured measured = measure(communicator, options.measure, [&](const Measured& known) {
    labels = OutputLabels(options.output, known.shape.has_value());
    require_answerable(known, options);
  });
  if (!communicator.local_is_root()) return done;
  QueryReport report;
  report.run = run_report(communicator, measured);
  const auto start = std::chrono::steady_clock::now();
  const SketchState& state = *measured.job.y.sketch;
  if (const auto* kronecker = std::get_if<KroneckerSketch>(&state)) {
    answer(*kronecker, measured, options, report);
  } else if (const auto* rows = std::get_if<RowsSketch>(&state)) {
    report.norm = frobenius_norm(*rows);
  } else {
    answer(measured, options, report);
  }
  report.run.seconds.query = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::vector<std::uint64_t> indices, columns;
  const auto note = [&](std::uint64_t index, const std::optional<std::uint64_t>& column) {
    indices.push_back(index);
    if (column) columns.push_back(*column);
  };
  for (const Point& point : options.points) note(point.index, point.column);
  if (report.top)
    for (const HeavyCoordinate& coordinate : *report.top) note(coordinate.index, coordinate.column);
  labels.find(indices, columns, report.labels, report.column_labels);
  print_answer(options.output.json ? to_json(report) + '\n' : to_table(report));
  return done;
}

}  // namespace

void add_query_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command =
      app.add_subcommand("query", "Ingest a stream, or load a state, and answer: norm, points, heavy coordinates");
  auto options = std::make_shared<QueryOptions>();
  const std::string group = "Questions (--norm when none is asked)";
  command->add_flag("--norm", options->norm, "The l2 norm of y")->group(group);
  add_whole(
      *command, "--top", {1, 1000000}, [options](std::uint64_t value) { options->top = value; },
      "The K coordinates that are largest in magnitude")
      ->type_name("K")
      ->group(group);
  command
      ->add_option_function<std::vector<std::string>>(
          "--point",
          [options](const std::vector<std::string>& texts) {
            for (const std::string& text : texts)
              for (const Point& point : parse_list(text, parse_point)) options->points.push_back(point);
          },
          "The values at these indices; I1:I2 of --model kronecker")
      ->allow_extra_args(false)
      ->type_name("I[,I...]")
      ->group(group);
  command
      ->add_option("--inner", options->others,
                   "The inner product with the vector of another saved state of the same sketch")
      ->allow_extra_args(false)
      ->type_name("FILE")
      ->group(group);
  command
      ->add_option_function<std::vector<std::string>>(
          "--moment",
          [options](const std::vector<std::string>& texts) {
            for (const std::string& text : texts)
              for (const double p : parse_list(text, [](const std::string& item) {
                     return parse_real("--moment", item, {0, 16, true, false});
                   }))
                options->moments.push_back(p);
          },
          "Sums of |y_i|^P, through samples; the bound is that of the sampling")
      ->allow_extra_args(false)
      ->type_name("P[,P...]")
      ->group(group);
  add_output_options(*command, options->output);
  add_real(
      *command, "--epsilon", {0, 1, true, true}, [options](double value) { options->epsilon = value; },
      "Error of a point estimate as a fraction of the norm, except with probability 0.01: sizes the buckets")
      ->type_name("EPS")
      ->default_str("0.1")
      ->group("Accuracy");
  add_measure_options(*command, options->measure);
  command->footer("Example: weir query --state S.weir --norm --top 10 --point 3,17");
  command->callback([options, &action] {
    if (!options->norm && options->top == 0 && options->points.empty() && options->others.empty() &&
        options->moments.empty())
      options->norm = true;
    action = [options] {
      options->check();
      return run_over_mpi([&](const mpi::Communicator& communicator) { return query(communicator, *options); });
    };
  });
}

}  // namespace weir::app
