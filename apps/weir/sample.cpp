#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "measure.hpp"
#include "weir/error.hpp"
#include "weir/io/operand.hpp"
#include "weir/setting/setting.hpp"

namespace weir::app {
namespace {

struct SampleOptions {
  MeasureOptions measure;
  std::optional<std::string> sampler;
  bool exact_check = false;
  bool verify = true;
  std::optional<std::string> metric;  ///< norm, leverage, or the path of M.
  OutputOptions output;

  [[nodiscard]] bool is(std::string_view name) const { return sampler.value_or("perfect") == name; }

  /// The sampler decides what is kept of the stream. Throws UsageError for options that contradict each other.
  void settle() {
    SketchOptions& sketch = measure.sketch;
    if (sketch.lanes == 1U) throw UsageError("--lanes: lane 0 does not draw, expected 2 or a multiple of 8");
    if (!sampler && measure.model.method == "exact") sampler = "exact";
    if (measure.model.method == "exact" && !is("exact"))
      throw UsageError(fmt::format("--sampler {} contradicts --method exact", *sampler));
    if (is("exact") && measure.model.method && measure.model.method != "exact")
      throw UsageError(fmt::format("--sampler exact contradicts --method {}", *measure.model.method));
    sketch.for_precision = is("precision");
    if (sketch.for_precision) {
      if (sketch.without_replacement) throw UsageError("--sampler precision draws with replacement only");
      if (sketch.threshold)
        throw UsageError(
            "--threshold belongs to the sampler perfect; that of precision follows from --epsilon and "
            "--precision-constant");
      if (sketch.p.value_or(2) != 2) throw UsageError("--sampler precision has the law |y_i|^2 only");
    } else if (sketch.precision_constant && measure.state_path.empty()) {
      throw UsageError("--precision-constant belongs to --sampler precision");
    }
    if (is("softmax") && sketch.p) throw UsageError("--p is not for --sampler softmax, whose law is exp(y_i)");
    if (is("softmax") && exact_check) throw UsageError("--exact-check: the draws of softmax are exact");
    measure.keeps = is("softmax") ? Keeps::exact_shared : is("exact") ? Keeps::exact : Keeps::sketch;
    measure.with_exact = exact_check && measure.keeps == Keeps::sketch;
    if (measure.state_path.empty()) require_setting();
  }
  /// Throws UsageError when the setting, which the options say, cannot do what they ask for.
  void require_setting() const {
    const Setting& setting = setting_of(measure.model.problem(measure.keeps));
    const SettingTraits& traits = setting.traits();
    if (metric && !traits.draws_rows) throw UsageError("--metric belongs to --model rows");
    if (is("softmax") && !traits.has_softmax)
      throw UsageError(fmt::format("--sampler softmax is not for {}", setting.label()));
    if (is("precision") && !traits.has_sketch_of_y)
      throw UsageError(fmt::format("--sampler precision is not for {}", setting.label()));
    if (measure.sketch.without_replacement && !traits.has_sketch_of_y)
      throw UsageError(fmt::format("--without-replacement is not for {}: it draws with replacement", setting.label()));
    if (exact_check && !traits.exact_draws && measure.sketch.p.value_or(2) != 2)
      throw UsageError(
          fmt::format("--exact-check of {} is for --p 2: other norms of y are not known exactly", setting.label()));
  }
  /// Throws UsageError when what was asked for is not what a saved state is for.
  void require_saved(const Problem& saved) const {
    const bool precision = saved.precision.has_value();
    if (precision && (measure.sketch.without_replacement || measure.sketch.threshold))
      throw UsageError(fmt::format("{} contradicts the saved state, which is for the sampler precision",
                                   measure.sketch.threshold ? "--threshold" : "--without-replacement"));
    if (sampler && precision != is("precision"))
      throw UsageError(fmt::format("--sampler {} contradicts the saved state, which is for the sampler {}", *sampler,
                                   precision ? "precision" : "perfect"));
  }
};

/// --metric, for rows of d numbers. Reads the file of M, if it is one. Throws InputError.
MetricChoice metric_choice(const std::string& name, std::uint64_t d) {
  if (name == "norm") return {};
  if (name == "leverage") return {.leverage = true};
  DenseMatrix matrix = load_operand(name);
  if (matrix.rows != d || matrix.columns != d)
    throw InputError(fmt::format("{}: {} x {} numbers, expected a metric of {} x {}, as rows of A have {} entries",
                                 name, matrix.rows, matrix.columns, d, d, d));
  return {.given = Metric::of(std::move(matrix), name)};
}

int sample(const mpi::Communicator& communicator, const SampleOptions& options) {
  const SketchOptions& wanted = options.measure.sketch;
  OutputLabels labels;
  Question question;
  question.draw = DrawQuestion{.samples = wanted.samples,
                               .threshold = wanted.threshold.value_or(1.0),
                               .without_replacement = wanted.without_replacement,
                               .softmax = options.is("softmax"),
                               .verify = options.verify,
                               .show_exact = options.exact_check};
  std::optional<std::string> metric;  // on the root
  engine::Session session =
      measure(communicator, options.measure, wanted.size_request(), [&](const Problem& problem, bool continues) {
        const Setting& setting = setting_of(problem);
        if (continues) options.require_saved(problem);
        labels = OutputLabels(options.output, setting.shape_of_y(problem).size() == 2);
        if (setting.traits().draws_rows) {
          metric = options.metric.value_or("norm");
          question.draw->metric = metric_choice(*metric, problem.side("d"));
        } else if (options.metric) {
          throw UsageError("--metric belongs to --model rows");
        }
        setting.check_question(problem, question);
      });
  const auto start = std::chrono::steady_clock::now();
  SampleReport report{.problem = session.problem(), .run = {}, .answer = session.answer(question)};
  const double query_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.run = run_of(session, session.snapshot().updates);
  report.run.query_seconds = query_seconds;
  report.run.metric = metric;
  if (!communicator.local_is_root()) return done;
  std::vector<EntryIndex> entries;
  for (const Draw& item : report.answer.draws.draws) entries.push_back(entry_of(item));
  report.labels = labels.find(entries);
  print_answer(options.output.json ? to_json(report) + '\n' : to_table(report));
  return report.answer.draws.draws.empty() ? nothing_drawn : done;
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
      [&sketch](std::uint64_t value) { sketch.samples = static_cast<std::uint32_t>(value); },
      "Samples wanted. With replacement a sketch draws at most 4095, one a lane; without, at most as many as there "
      "are buckets")
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
                   "times larger. exact: keeps y itself, 8 N bytes a rank (8 N D more when A and x both stream), for N "
                   "of at most 2^31. softmax: exp(y_i) in place of |y_i|^P, exact, with the same memory and limit; no "
                   "small sketch exists for it")
      ->check(one_of({"perfect", "precision", "exact", "softmax"}))
      ->type_name("perfect|precision|exact|softmax")
      ->default_str("perfect")
      ->group(group);
  add_real(
      *command, "--precision-constant", {0, 1e6, true, false},
      [&sketch](double value) { sketch.precision_constant = value; },
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
          "streams. A row must have left with the values that it came with before another takes its place: a row that "
          "comes twice makes the answer wrong, and nothing can tell")
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
      ->add_flag(
          "--verify,!--no-verify", options->verify,
          "With --fixed A=FILE, and --method streaming: give exact values and probabilities of the draws in place of "
          "estimates, reading A once more (on by default)")
      ->group(group);
  command
      ->add_option(
          "--metric", options->metric,
          "Of --model rows: rows a are drawn by a^T M a. norm: M = I, squared norms. leverage: M = (A^T A)^-1, the "
          "leverage scores of least squares. FILE: M itself, .npy or .mtx, symmetric and positive semi-definite")
      ->type_name("norm|leverage|FILE")
      ->default_str("norm")
      ->group(group);
  add_output_options(*command, options->output);
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
      "  d of a product or of rows; d1, d2 and method of kronecker; metric of rows; gram {buckets, exact} of both;\n"
      "  verified (true: values and probabilities of the samples are exact);\n"
      "  samples [{lane, index, value, probability}], index and label pairs [i1, i2] of kronecker; in them label with\n"
      "  --labels, inclusion without replacement, row of rows, exact {value, probability} with --exact-check;\n"
      "  failed [{lane, reason}].\n"
      "  Only sometimes: exact_norm with --exact-check, a fixed A or --method streaming; norm_bound and norm_tensor\n"
      "  {value, bound} with --method streaming; zero_vector (true); reason, when samples is empty.");
  command->callback([options, &action] {
    action = [options] {
      options->measure.settle_streams();
      options->settle();
      options->measure.check(options->measure.sketch.size_request());
      return run_over_mpi([&](const mpi::Communicator& communicator) { return sample(communicator, *options); });
    };
  });
}

}  // namespace weir::app
