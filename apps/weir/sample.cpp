#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "measure.hpp"
#include "weir/engine/softmax.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/report.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/precision.hpp"
#include "weir/sample/sampler.hpp"

namespace weir::app {
namespace {

struct SampleOptions {
  MeasureOptions measure;
  std::optional<std::string> sampler;
  std::optional<double> precision_constant;
  bool exact_check = false;
  bool verify = true;
  std::string labels_path;
  bool json = false;

  [[nodiscard]] bool is(std::string_view name) const { return sampler.value_or("perfect") == name; }

  /// The sampler decides what is kept of the stream. Throws UsageError.
  void settle() {
    SketchOptions& sketch = measure.sketch;
    if (sketch.lanes == 1U) throw UsageError("--lanes: lane 0 does not draw, expected 2 or a multiple of 8");
    if (is("precision")) {
      if (sketch.without_replacement) throw UsageError("--sampler precision draws with replacement only");
      if (sketch.threshold)
        throw UsageError(
            "--threshold belongs to the sampler perfect; that of precision follows from --epsilon and "
            "--precision-constant");
      if (sketch.p.value_or(2) != 2) throw UsageError("--sampler precision has the law |y_i|^2 only");
      sketch.precision_constant = precision_constant.value_or(1.0);
    } else if (precision_constant) {
      throw UsageError("--precision-constant belongs to --sampler precision");
    }
    if (is("softmax") && sketch.p) throw UsageError("--p is not for --sampler softmax, whose law is exp(y_i)");
    if (is("softmax") && exact_check) throw UsageError("--exact-check: the draws of softmax are exact");
    measure.keep_sketch = is("perfect") || is("precision");
    measure.exact = is("softmax")                ? engine::Exact::slices
                    : is("exact") || exact_check ? engine::Exact::on_root
                                                 : engine::Exact::none;
  }
  /// Throws UsageError when what was asked for is not what a saved state of `law` is for.
  void require_law(ScaleLaw law) const {
    if (!measure.keep_sketch) return;
    if (law == ScaleLaw::uniform && (measure.sketch.without_replacement || measure.sketch.threshold))
      throw UsageError(fmt::format("{} contradicts the saved state, which is for the sampler precision",
                                   measure.sketch.threshold ? "--threshold" : "--without-replacement"));
    if (!sampler) return;
    if ((law == ScaleLaw::uniform) != is("precision"))
      throw UsageError(fmt::format("--sampler {} contradicts the saved state, which is for the sampler {}", *sampler,
                                   law == ScaleLaw::uniform ? "precision" : "perfect"));
  }
};

/// On the root: from the sketch, or from y itself.
SampleResult draw(const Measured& measured, const SampleOptions& options) {
  const engine::MeasuredVector& y = measured.job.y;
  const SketchOptions& wanted = options.measure.sketch;
  if (!y.sketch) {
    const DenseDrawOptions dense{.samples = wanted.samples, .p = wanted.p.value_or(2.0), .seed = measured.config.seed};
    return wanted.without_replacement ? draw_without_replacement(*y.dense, dense)
                                      : draw_with_replacement(*y.dense, dense);
  }
  const VectorSketch& sketch = y.drawn_from();
  if (sketch.config().law == ScaleLaw::uniform)
    return draw_by_precision_sampling(
        sketch,
        {.samples = wanted.samples, .epsilon = wanted.epsilon, .constant = options.precision_constant.value_or(1.0)});
  const DrawOptions perfect{.samples = wanted.samples, .threshold = wanted.threshold.value_or(1.0)};
  SampleResult result =
      wanted.without_replacement ? draw_without_replacement(sketch, perfect) : draw_with_replacement(sketch, perfect);
  return y.degree() == 2 ? draws_of_roots(std::move(result), y.y()) : result;
}

/// The true norm, values and probabilities beside the estimates.
void add_exact_answers(SampleReport& report, const DenseVector& y, double p) {
  report.exact_norm = y.norm();
  for (const Draw& item : report.result.draws)
    report.exact[{item.index}] = {y.table()[static_cast<std::size_t>(item.index)], y.probability(item.index, p)};
}

/// Collective: puts exact values and probabilities in the place of the estimates of rank 0.
void verify(const mpi::Communicator& communicator, const Measured& measured, SampleReport& report) {
  std::vector<std::uint64_t> indices;
  for (const Draw& item : report.result.draws) indices.push_back(item.index);
  const double p = measured.config.p * measured.degree;
  const engine::ExactValues exact =
      engine::exact_product(communicator, measured.fixed_a, measured.config.dimension, measured.x, p, indices);
  if (!communicator.local_is_root()) return;
  report.exact_norm = exact.norm;
  report.verified = true;
  for (Draw& item : report.result.draws) {
    item.value = exact.entries.at(item.index).value;
    item.probability = exact.entries.at(item.index).probability;
  }
}

int sample(const mpi::Communicator& communicator, const SampleOptions& options) {
  std::optional<Labels> labels;
  const Measured measured = measure(communicator, options.measure, [&](const SketchConfig& config) {
    options.require_law(config.law);
    labels = open_labels(options.labels_path);
  });
  const engine::MeasuredVector& y = measured.job.y;
  SampleReport report;
  report.run = run_report(communicator, measured);
  const auto start = std::chrono::steady_clock::now();
  const SketchOptions& wanted = options.measure.sketch;
  if (options.measure.exact == engine::Exact::slices) {
    report.result = engine::softmax_over_ranks(
        communicator, y.slice.first, y.slice.values,
        {.samples = wanted.samples, .without_replacement = wanted.without_replacement, .seed = measured.config.seed});
    report.verified = true;
  } else {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (!communicator.local_is_root()) return;
      report.result = draw(measured, options);
      report.verified = !y.sketch;
      if (options.exact_check) add_exact_answers(report, *y.dense, measured.config.p * measured.degree);
    });
    if (options.verify && !measured.fixed_a.empty() && options.measure.keep_sketch && !options.exact_check)
      verify(communicator, measured, report);
  }
  if (!communicator.local_is_root()) return done;
  report.run.seconds.query = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::vector<std::uint64_t> indices;
  for (const Draw& item : report.result.draws) indices.push_back(item.index);
  if (labels) report.labels = labels->find(indices);
  print_answer(options.json ? to_json(report) + '\n' : to_table(report));
  return report.result.draws.empty() ? nothing_drawn : done;
}

}  // namespace

void add_sample_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command =
      app.add_subcommand("sample", "Ingest a stream, merge, draw indices i with probability |y_i|^p / sum |y|^p");
  auto options = std::make_shared<SampleOptions>();
  SketchOptions& sketch = options->measure.sketch;
  const std::string group = "Sampling";
  add_whole(
      *command, "--samples", {1, 1000000},
      [&sketch](std::uint64_t value) { sketch.samples = static_cast<std::uint32_t>(value); }, "Samples wanted")
      ->type_name("S")
      ->default_str("8")
      ->group(group);
  add_real(
      *command, "--failure", {0, 1, true, true}, [&sketch](double value) { sketch.failure = value; },
      "Probability that fewer come out: sizes the lanes")
      ->type_name("DELTA")
      ->default_str("0.05")
      ->group(group);
  add_real(
      *command, "--epsilon", {0, 1, true, true}, [&sketch](double value) { sketch.epsilon = value; },
      "Relative distortion of the law of the draws: sizes the buckets")
      ->type_name("EPS")
      ->default_str("0.1")
      ->group(group);
  command
      ->add_flag("--without-replacement", sketch.without_replacement,
                 "The S samples are distinct indices, with their inclusion probabilities")
      ->group(group);
  command
      ->add_option("--sampler", options->sampler,
                   "perfect: the exponential law on a sketch. precision: Algorithm 2 of the paper, on a sketch some 50 "
                   "times larger. exact: y itself, 8 N bytes a rank (8 N D more when A and x both stream). softmax: "
                   "exp(y_i) in place of |y_i|^P, exact, the "
                   "same memory; no small sketch exists for it")
      ->check(one_of({"perfect", "precision", "exact", "softmax"}))
      ->type_name("perfect|precision|exact|softmax")
      ->default_str("perfect")
      ->group(group);
  add_real(
      *command, "--precision-constant", {0, 1e6, true, false},
      [options](double value) { options->precision_constant = value; },
      "C of Algorithm 2: a lane draws once in about C ln(N) / EPS")
      ->type_name("C")
      ->default_str("1")
      ->group(group);
  command
      ->add_option_function<std::string>(
          "--p",
          [&sketch](const std::string& text) {
            sketch.p = parse_real("--p", text, {0, 1e6});
            if (*sketch.p != 0.5 && *sketch.p != 1 && *sketch.p != 2 && *sketch.p != 4)
              throw CLI::ValidationError("--p", fmt::format("'{}' given, expected 0.5, 1, 2 or 4", text));
          },
          "The law: |y_i|^P. 4 is for products whose rows come and go whole, and holds D (D + 1) / 2 columns where x "
          "streams")
      ->type_name("0.5|1|2|4")
      ->default_str("2")
      ->group(group);
  add_real(
      *command, "--threshold", {0, 1e6}, [&sketch](double value) { sketch.threshold = value; },
      "T: a lane draws with probability 1 - exp(-1/T); T = 0 accepts every lane, larger is closer to the law")
      ->type_name("T")
      ->default_str("1")
      ->group(group);
  command
      ->add_flag("--exact-check", options->exact_check,
                 "Keep y itself as well (8 N bytes a rank) and show the true values and probabilities beside the draws")
      ->group(group);
  command
      ->add_flag("--verify,!--no-verify", options->verify,
                 "With --fixed A=FILE: read A once more, and give exact values and probabilities of the draws in place "
                 "of estimates (on by default)")
      ->group(group);
  add_output_options(*command, options->labels_path, options->json);
  add_measure_options(*command, options->measure);
  command->footer(
      "Examples:\n"
      "  weir sample --n 1000000 events.csv\n"
      "  mpirun -n 4 weir sample --model product --n 50803 --fixed x=weights.npy --labels names.txt --json "
      "edges.csv.gz\n"
      "  weir sample --model product --fixed A=keys.npy query.csv\n\n"
      "The object of --json:\n"
      "  model; n (or shape); ranks; updates; skipped (bad lines); seed; randomness; law; p;\n"
      "  sketch {rows, buckets, lanes, levels, columns, bytes}; seconds {ingest, merge, query}; norm;\n"
      "  d of a product; verified (true: values and probabilities of the samples are exact);\n"
      "  samples [{lane, index, value, probability}], in them label with --labels, inclusion without replacement,\n"
      "  exact {value, probability} with --exact-check; failed [{lane, reason}].\n"
      "  Only sometimes: exact_norm with --exact-check or a fixed A; zero_vector (true); reason, when samples is "
      "empty.");
  command->callback([options, &action] {
    action = [options] {
      options->settle();
      options->measure.check();
      return run_over_mpi([&](const mpi::Communicator& communicator) { return sample(communicator, *options); });
    };
  });
}

}  // namespace weir::app
