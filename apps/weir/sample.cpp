#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "measure.hpp"
#include "weir/error.hpp"
#include "weir/io/report.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/sampler.hpp"

namespace weir::app {
namespace {

struct SampleOptions {
  MeasureOptions measure;
  std::string sampler = "perfect";
  bool exact_check = false;
  std::string labels_path;
  bool json = false;

  /// The sampler decides what is kept of the stream. Throws UsageError.
  void settle() {
    if (measure.sketch.lanes == 1U) throw UsageError("--lanes: lane 0 does not draw, expected 2 or a multiple of 8");
    measure.keep_sketch = sampler == "perfect";
    measure.keep_dense = sampler == "exact" || exact_check;
  }
};

SampleResult draw(const engine::MeasuredVector& y, const SketchOptions& wanted, std::uint64_t seed) {
  if (y.sketch) {
    const DrawOptions options{.samples = wanted.samples, .threshold = wanted.threshold.value_or(1.0)};
    return wanted.without_replacement ? draw_without_replacement(*y.sketch, options)
                                      : draw_with_replacement(*y.sketch, options);
  }
  const DenseDrawOptions options{.samples = wanted.samples, .p = wanted.p.value_or(2.0), .seed = seed};
  return wanted.without_replacement ? draw_without_replacement(*y.dense, options)
                                    : draw_with_replacement(*y.dense, options);
}

/// The true norm, values and probabilities beside the estimates.
void add_exact_answers(SampleReport& report, const DenseVector& y, double p) {
  report.exact_norm = y.norm();
  for (const Draw& item : report.result.draws)
    report.exact[item.index] = {y.table()[static_cast<std::size_t>(item.index)], y.probability(item.index, p)};
}

int sample(const mpi::Communicator& communicator, const SampleOptions& options) {
  std::optional<Labels> labels;
  const Measured measured =
      measure(communicator, options.measure, [&](const SketchConfig&) { labels = open_labels(options.labels_path); });
  if (!communicator.local_is_root()) return done;
  const engine::MeasuredVector& y = measured.job.y;
  SampleReport report;
  report.run = run_report(communicator, measured);
  const auto start = std::chrono::steady_clock::now();
  report.result = draw(y, options.measure.sketch, measured.seed);
  report.run.seconds.query = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.exact_check) add_exact_answers(report, *y.dense, options.measure.sketch.p.value_or(2.0));
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
                   "perfect: the exponential law on a sketch; exact: y itself, 8 N bytes a rank")
      ->check(one_of({"perfect", "exact"}))
      ->type_name("perfect|exact")
      ->default_str("perfect")
      ->group(group);
  command
      ->add_option_function<std::string>(
          "--p",
          [&sketch](const std::string& text) {
            sketch.p = parse_real("--p", text, {0, 1e6});
            if (*sketch.p != 0.5 && *sketch.p != 1 && *sketch.p != 2)
              throw CLI::ValidationError("--p", fmt::format("'{}' given, expected 0.5, 1 or 2", text));
          },
          "The law: |y_i|^P, P = 0.5, 1 or 2")
      ->type_name("0.5|1|2")
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
  add_output_options(*command, options->labels_path, options->json);
  add_measure_options(*command, options->measure);
  command->footer(
      "Examples:\n"
      "  weir sample --n 1000000 events.csv\n"
      "  mpirun -n 4 weir sample --model product --n 50803 --fixed x=weights.npy --labels names.txt --json "
      "edges.csv.gz\n\n"
      "The object of --json:\n"
      "  model; n (or shape); ranks; updates; skipped (bad lines); seed; randomness; law; p;\n"
      "  sketch {rows, buckets, lanes, levels, bytes}; seconds {ingest, merge, query}; norm;\n"
      "  samples [{lane, index, value, probability}], in them label with --labels, inclusion without replacement,\n"
      "  exact {value, probability} with --exact-check; failed [{lane, reason}].\n"
      "  Only sometimes: exact_norm with --exact-check; zero_vector (true); reason, when samples is empty.");
  command->callback([options, &action] {
    action = [options] {
      options->settle();
      options->measure.check();
      return run_over_mpi([&](const mpi::Communicator& communicator) { return sample(communicator, *options); });
    };
  });
}

}  // namespace weir::app
