#include <fmt/format.h>

#include <algorithm>
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
#include "weir/sample/sampler.hpp"

namespace weir::app {
namespace {

void require_inside(std::uint64_t index, std::uint64_t dimension) {
  if (index >= dimension)
    throw UsageError(fmt::format("--point: index {} is outside y of length {}", index, dimension));
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
  std::vector<std::uint64_t> points;
  std::vector<std::string> others;
  std::vector<double> moments;
  std::string labels_path;
  bool json = false;

  /// Collective: sizes the sketch of a stream, once n is known, from A too; a saved state has its size. Throws
  /// UsageError or InputError on all ranks.
  void settle(const mpi::Communicator& communicator) {
    if (!measure.state_path.empty()) return;
    measure.model.complete(communicator);
    SketchOptions& sketch = measure.sketch;
    if (!moments.empty()) {
      sketch.without_replacement = true;
      sketch.samples = most_draws;
      const std::uint64_t dimension = measure.dimension(measure.model);
      if (!sketch.buckets) sketch.buckets = std::max(buckets_for(epsilon), sketch.configuration(dimension).buckets);
      if (!sketch.lanes) sketch.lanes = 8;  // the wide lane that draws, and others for --top
      return;
    }
    if (!sketch.buckets) sketch.buckets = buckets_for(epsilon);
    if (sketch.lanes) return;
    sketch.lanes = 1;
    // Equal neighbours cancel in their group in lane 0, where only signs tell them apart; in scaled lanes they do not, and
    // the search for the largest looks into groups there too.
    if (top > 0 && sketch.configuration(measure.dimension(measure.model)).levels > 1) sketch.lanes = 8;
  }
  void check() const {
    measure.check();
    if (!measure.model.n) return;
    for (const std::uint64_t index : points) require_inside(index, *measure.model.n);
  }
};

/// ||y|| from ||y||^2: the bound is that of the side on which the square root moves more.
Estimate norm_of(const Estimate& f2) {
  const double norm = std::sqrt(std::max(0.0, f2.value));
  return {norm, norm - std::sqrt(std::max(0.0, f2.value - f2.bound))};
}

/// Phi z of the vector z whose state is at `path`, for an inner product with a sketch of `config`.
VectorSketch load_other(const std::string& path, const SketchConfig& config) {
  SketchState other = load_state(path).sketch;
  const std::string difference = describe_difference(config, config_of(other));
  if (!difference.empty())
    throw InputError(fmt::format("{}: no inner product with a sketch of another kind: {}", path, difference));
  return sketch_of_y(std::move(other));
}

/// Throws what answer() would, as far as it can be known without y.
void require_answerable(const SketchConfig& config, const QueryOptions& options) {
  for (const std::uint64_t index : options.points) require_inside(index, config.dimension);
  if (options.top >= config.buckets)
    throw UsageError(fmt::format("--top {}: a sketch of {} buckets tells fewer coordinates apart than it has buckets",
                                 options.top, config.buckets));
  if (!options.moments.empty() && (config.lanes < 2 || config.law != ScaleLaw::exponential))
    throw UsageError("--moment draws without replacement: the sketch needs 2 lanes at least, and the exponential law");
  // Loaded again to be used, so that memory holds one at a time, and none while the stream is read.
  for (const std::string& path : options.others) std::ignore = load_other(path, config);
}

void answer(const engine::MeasuredVector& y, const QueryOptions& options, QueryReport& report) {
  const VectorSketch& sketch = y.y();
  if (options.norm) report.norm = norm_of(sketch.f2());
  if (options.top > 0) report.top = heavy_coordinates(sketch, static_cast<std::size_t>(options.top));
  for (const std::uint64_t index : options.points) report.points.push_back({index, sketch.point(index)});
  for (const std::string& path : options.others)
    report.inner.push_back({path, sketch.inner_product(load_other(path, sketch.config()))});
  if (options.moments.empty()) return;
  const std::uint64_t draws = std::clamp<std::uint64_t>(sketch.config().buckets / buckets_a_draw, 2, most_draws);
  SampleResult sample = draw_without_replacement(y.drawn_from(), {.samples = static_cast<std::uint32_t>(draws)});
  if (y.degree() == 2) sample = draws_of_roots(std::move(sample), sketch);
  for (const double p : options.moments) {
    const MomentEstimate moment = moment_through_samples(sample.draws, p);
    report.moments.push_back({p, {moment.value, moment.bound}});
  }
}

int query(const mpi::Communicator& communicator, QueryOptions options) {
  options.settle(communicator);
  std::optional<Labels> labels;
  const Measured measured = measure(communicator, options.measure, [&](const SketchConfig& config) {
    labels = open_labels(options.labels_path);
    require_answerable(config, options);
  });
  if (!communicator.local_is_root()) return done;
  QueryReport report;
  report.run = run_report(communicator, measured);
  const auto start = std::chrono::steady_clock::now();
  answer(measured.job.y, options, report);
  report.run.seconds.query = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::vector<std::uint64_t> indices = options.points;
  if (report.top)
    for (const HeavyCoordinate& coordinate : *report.top) indices.push_back(coordinate.index);
  if (labels) report.labels = labels->find(indices);
  print_answer(options.json ? to_json(report) + '\n' : to_table(report));
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
              for (const std::uint64_t index : parse_whole_list("--point", text, {0, (std::uint64_t{1} << 63) - 1}))
                options->points.push_back(index);
          },
          "The values at these indices")
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
              for (const double p : parse_real_list("--moment", text, {0, 16, true, false}))
                options->moments.push_back(p);
          },
          "Sums of |y_i|^P, through samples; the bound is that of the sampling")
      ->allow_extra_args(false)
      ->type_name("P[,P...]")
      ->group(group);
  add_output_options(*command, options->labels_path, options->json);
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
