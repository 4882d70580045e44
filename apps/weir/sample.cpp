#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "client.hpp"
#include "help.hpp"
#include "measure.hpp"
#include "plots.hpp"
#include "weir/engine/second_pass.hpp"
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
  std::optional<std::string> scale;  ///< Of --sampler softmax: sqrt, dim or a number.
  bool per_row = false;
  std::optional<std::string> metric;                    ///< norm, leverage, or the path of M.
  std::optional<std::vector<std::string>> second_pass;  ///< Files to be read once more; none: those of the stream.
  std::string at;                                       ///< The address of a running job to ask.

  [[nodiscard]] bool is(std::string_view name) const { return sampler.value_or("perfect") == name; }

  /// The sampler decides what is kept of the stream. Throws UsageError for options that contradict each other.
  void settle() {
    SketchOptions& sketch = measure.sketch;
    if (sketch.lanes == 1U) throw UsageError("--lanes: lane 0 does not draw, expected 2 or a multiple of 8");
    if (!sampler && measure.model.method == "exact") sampler = "exact";
    if (measure.model.method == "exact" && !is("exact"))
      throw UsageError(fmt::format("--sampler {} contradicts --method exact", *sampler));
    if ((is("exact") || is("softmax")) && measure.model.method && measure.model.method != "exact")
      throw UsageError(fmt::format("--sampler {} contradicts --method {}", *sampler, *measure.model.method));
    sketch.for_precision = is("precision");
    if (sketch.for_precision) {
      if (sketch.without_replacement) throw UsageError("--sampler precision draws with replacement only");
      if (sketch.threshold)
        throw UsageError(
            "--threshold belongs to the sampler perfect; that of precision follows from --epsilon and "
            "--precision-constant");
      if (sketch.p.value_or(2) != 2) throw UsageError("--sampler precision has the law |y_i|^2 only");
    } else if (sketch.precision_constant && measure.known_from().empty()) {
      throw UsageError("--precision-constant belongs to --sampler precision");
    }
    if (!is("softmax") && (scale || per_row))
      throw UsageError(fmt::format("{} belongs to --sampler softmax", scale ? "--scale" : "--per-row"));
    if (is("softmax") && sketch.p) throw UsageError("--p is not for --sampler softmax, whose law is exp(y_i)");
    if (is("softmax") && exact_check) throw UsageError("--exact-check: the draws of softmax are exact");
    measure.keeps = is("softmax") ? Keeps::exact_shared : is("exact") ? Keeps::exact : Keeps::sketch;
    measure.with_exact = exact_check && measure.keeps == Keeps::sketch;
    if (second_pass) settle_second_pass();
    if (second_pass && measure.has_epochs())
      throw UsageError(
          "--second-pass reads the whole stream again, and belongs to one answer at its end: no --every, "
          "--checkpoint and --follow");
    if (exact_check && !measure.run.checkpoint_directory.empty())
      throw UsageError("--exact-check: exact values beside the sketch are not part of checkpoints");
    if (measure.known_from().empty()) require_setting();
  }
  /// Throws UsageError when there is nothing that a second pass could read.
  void settle_second_pass() {
    if (measure.keeps != Keeps::sketch) throw UsageError("--second-pass is for sketches: these values are exact");
    std::vector<std::string>& streams = measure.source.paths;
    if (measure.state_path.empty()) {
      // Files that only this option names are the stream as well.
      if (streams.empty()) streams = *second_pass;
      if (!second_pass->empty() && *second_pass != streams)
        throw UsageError("--second-pass reads the STREAM files again: expected no FILES, or the same, without --state");
    } else if (second_pass->empty()) {
      throw UsageError("--second-pass needs the FILES that the saved state was made of, those of this run included");
    }
    const std::vector<std::string>& files = second_pass->empty() ? streams : *second_pass;
    if (std::ranges::find(files, "-") != files.end())
      throw UsageError("--second-pass reads files again: standard input (-) comes only once");
  }
  /// Throws UsageError when the setting, which the options say, cannot do what they ask for.
  void require_setting() const {
    const Setting& setting = setting_of(measure.model.problem(measure.keeps));
    const SettingTraits& traits = setting.traits();
    if (metric && !traits.draws_rows) throw UsageError("--metric belongs to --model rows");
    if (is("softmax") && !traits.has_softmax)
      throw UsageError(fmt::format("--sampler softmax is not for {}", setting.label()));
    if (scale && is_scale_by_d(*scale) && traits.dot_product_side.empty())
      throw UsageError(fmt::format("--scale {}: entries of y are no dot products in {}, expected a number", *scale,
                                   setting.label()));
    if (per_row && traits.sides_of_y.size() < 2)
      throw UsageError("--per-row belongs to --model kronecker, where y is a matrix");
    if (is("precision") && !traits.has_sketch_of_y)
      throw UsageError(fmt::format("--sampler precision is not for {}", setting.label()));
    if (measure.sketch.without_replacement && !is("softmax") && !traits.draws_distinct())
      throw UsageError(fmt::format("--without-replacement is not for {}: it draws with replacement", setting.label()));
    if (exact_check && (!traits.exact_draws || traits.draws_rows) && measure.sketch.p.value_or(2) != 2)
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
                               .verify = options.verify,
                               .show_exact = options.exact_check};
  if (options.is("softmax")) question.draw->softmax = SoftmaxChoice{.per_row = options.per_row};
  std::optional<std::string> metric;  // on the root
  SizeRequest request = wanted.size_request();
  request.leverage = options.metric == "leverage";
  const auto examine = [&](const Problem& problem, bool continues) {
    const Setting& setting = setting_of(problem);
    if (continues) options.require_saved(problem);
    labels = OutputLabels(options.measure.output, setting.shape_of_y(problem).size() == 2);
    if (setting.traits().draws_rows) {
      metric = options.metric.value_or("norm");
      question.draw->metric = metric_choice(*metric, problem.side("d"));
    } else if (options.metric) {
      throw UsageError("--metric belongs to --model rows");
    }
    setting.check_question(problem, question);
  };
  const auto answer = [&](engine::Session& session, engine::Sources sources, const engine::Epoch* epoch) {
    if (options.scale) {
      const std::string& side = setting_of(session.problem()).traits().dot_product_side;
      question.draw->softmax->scale =
          scale_of(*options.scale, is_scale_by_d(*options.scale) ? session.problem().side(side) : 1);
    }
    const auto start = std::chrono::steady_clock::now();
    SampleReport report{.problem = session.problem(),
                        .run = {},
                        .answer = session.answer(question),
                        .wanted = wanted.samples,
                        .without_replacement = wanted.without_replacement,
                        .softmax = question.draw->softmax};
    NameTable names;
    if (options.second_pass) {
      if (!options.second_pass->empty()) sources.stream.paths = *options.second_pass;
      names = engine::read_again(session, sources, report.answer);
    }
    const double query_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.run = run_of(session, epoch);
    report.run.query_seconds = query_seconds;
    report.run.metric = metric;
    const NameTable& known_names = session.snapshot().names;
    if (!communicator.local_is_root()) return Answered{};
    std::vector<EntryIndex> entries;
    for (const Draw& item : report.answer.draws.draws) entries.push_back(entry_of(item));
    report.labels = labels.find(entries);
    add_names(report.problem, names, entries, report.labels);
    add_names(report.problem, known_names, entries, report.labels);
    if (const std::string& path = options.measure.output.plot_path; !path.empty()) write_plot(path, to_svg(report));
    const ExitCode code = report.answer.draws.draws.empty() ? nothing_drawn : done;
    return Answered{printable(std::move(report), sample_records), code};
  };
  return measure(communicator, options.measure, request, examine, answer, [&] {
    return OutsideView{[&labels](const std::vector<EntryIndex>& entries) { return labels.find(entries); },
                       *question.draw};
  });
}

}  // namespace

void add_sample_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command =
      app.add_subcommand("sample", "Read a stream or continue a saved state, then draw random indices of y");
  auto options = std::make_shared<SampleOptions>();
  SketchOptions& sketch = options->measure.sketch;
  const std::string group = "Sampling";
  add_whole(
      *command, "--samples", {1, 1000000},
      [&sketch](std::uint64_t value) { sketch.samples = static_cast<std::uint32_t>(value); },
      "How many draws are wanted, S, from 1 to 1,000,000. With replacement every lane of\n"
      "the sketch (see Words below) but the first yields at most one draw. A sketch has\n"
      "at most 4096 lanes: at most 4095 draws come out, and with the default --failure at\n"
      "most about 2,400. Without replacement S must be below the number of buckets; at\n"
      "most N come out. --sampler exact and softmax have neither limit. A saved state\n"
      "keeps the lanes and buckets that it was made with")
      ->type_name("S")
      ->default_str("8")
      ->group(group);
  add_real(
      *command, "--failure", {0, 1, true, true}, [&sketch](double value) { sketch.failure = value; },
      "Probability that fewer than S draws come out, over the choice of the seed. It\n"
      "decides how many lanes a new sketch has")
      ->type_name("DELTA")
      ->default_str("0.05")
      ->group(group);
  add_real(
      *command, "--epsilon", {0, 1, true, true}, [&sketch](double value) { sketch.epsilon = value; },
      "Relative error of the probabilities by which indices are drawn. It decides how\n"
      "many buckets a new sketch has, and those of Gram matrices")
      ->type_name("EPS")
      ->default_str("0.1")
      ->group(group);
  command
      ->add_flag("--without-replacement", sketch.without_replacement,
                 "Draw S distinct indices, each with its inclusion probability: that of being among\n"
                 "the S (bottom-k sampling: the S largest scaled entries of one lane). Not for\n"
                 "--method two-stage and exact; --sampler softmax has it for all models")
      ->group(group);
  command
      ->add_option("--sampler", options->sampler,
                   "perfect: draws from a small sketch; the one to take. exact: keeps y itself, 8 N\n"
                   "bytes a rank (8 N D more where A and x both stream), for an N that is known and at\n"
                   "most 2^31; of --model kronecker and rows it keeps the operands. softmax: draws by\n"
                   "exp(y_i) in place of |y_i|^P, exactly (no small sketch can do it); --scale and\n"
                   "--per-row change the law. It keeps what exact keeps, with the same limits, and\n"
                   "the ranks share the work at the end. Of --model kronecker it keeps the operands,\n"
                   "and looks at all N1 N2 pairs, at most 2^63, twice, without keeping them; a draw\n"
                   "with replacement takes about 1 ns a pair. Not for --model rows. precision:\n"
                   "Algorithm 2 of arXiv:2510.03678, for comparison; its sketch is 10 to 500 times\n"
                   "larger")
      ->check(one_of({"perfect", "precision", "exact", "softmax"}))
      ->type_name("perfect|precision|exact|softmax")
      ->default_str("perfect")
      ->group(group);
  command
      ->add_option_function<std::string>(
          "--scale",
          [options](const std::string& text) {
            std::ignore = scale_of(text, 1);
            options->scale = text;
          },
          "For --sampler softmax: what y is multiplied by in the exponential. A number, or\n"
          "sqrt: 1/sqrt(D), or dim: 1/D, where D is --d1 of --model kronecker and --d of\n"
          "--model product. Values in the output are those of y all the same")
      ->type_name("sqrt|dim|NUMBER")
      ->default_str("1")
      ->group(group);
  command
      ->add_flag("--per-row", options->per_row,
                 "For --sampler softmax of --model kronecker: every row i1 of y is normalised by\n"
                 "itself, so that a pair has probability 1/N1 times the softmax over i2 of row i1:\n"
                 "the attention of a query to its keys, all queries alike. Without it all pairs are\n"
                 "normalised together")
      ->group(group);
  add_real(
      *command, "--precision-constant", {0, 1e6, true, false},
      [&sketch](double value) { sketch.precision_constant = value; },
      "C of --sampler precision: one lane in about C ln(N) / EPS yields a draw")
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
          "P: draw index i with probability |y_i|^P / sum |y|^P. P = 4 is for --model product\n"
          "where rows of A come and go whole. Where x streams the sketch then has D (D + 3) /\n"
          "2 columns, and columns times lanes must be below 2^32 (D of some 18,000 with 24\n"
          "lanes); where x is fixed it has 2. A row must leave with the values that it came\n"
          "with before another takes its place: a row that comes twice makes the answer\n"
          "wrong, and no small sketch can tell. --sampler exact takes P = 4 for --model\n"
          "vector and product, whatever the events")
      ->type_name("0.5|1|2|4")
      ->default_str("2")
      ->group(group);
  add_real(
      *command, "--threshold", {0, 1e6}, [&sketch](double value) { sketch.threshold = value; },
      "How far the largest scaled entry of a lane must stand out for the lane to yield a\n"
      "draw: it does so with probability 1 - exp(-1/T), 0.632 at T = 1. With a larger T\n"
      "fewer lanes draw, and their law is closer to the true one. T = 0 accepts every\n"
      "lane")
      ->type_name("T")
      ->default_str("1")
      ->group(group);
  command
      ->add_flag("--exact-check", options->exact_check,
                 "Keep exact values as well, in the memory and within the limits of --sampler exact,\n"
                 "and show the true value and probability beside each draw")
      ->group(group);
  command
      ->add_flag("--verify,!--no-verify", options->verify,
                 "Give exact values and probabilities of the draws in place of estimates, where the\n"
                 "operands are at hand: --fixed A=FILE, which is read once more, and --method\n"
                 "streaming. On by default")
      ->group(group);
  command
      ->add_option_function<std::vector<std::string>>(
          "--second-pass",
          [options](const std::vector<std::string>& files) {
            // CLI11 hands over a text of its own where there are none.
            const bool none = files.size() == 1 && (files[0].empty() || files[0] == "{}");
            options->second_pass = none ? std::vector<std::string>() : files;
          },
          "Read the streams once more after the draws and give exact values, and exact rows of\n"
          "--model rows, in place of estimates. A draw whose value turns out to be zero counts\n"
          "as failed. Probabilities stay estimates, as the norm does. With --state the FILES\n"
          "are all those that the state was made of")
      ->expected(0, -1)
      ->type_name("[FILE]")
      ->group(group);
  command
      ->add_option("--metric", options->metric,
                   "For --model rows: row a of A is drawn by a^T M a. norm: M = I, the squared norms\n"
                   "of the rows. leverage: M = (A^T A)^-1, the leverage scores, which say how much a\n"
                   "row matters to least squares. FILE: M itself, D x D numbers in .npy or .mtx,\n"
                   "symmetric and positive semi-definite")
      ->type_name("norm|leverage|FILE")
      ->default_str("norm")
      ->group(group);
  add_output_options(*command, options->measure.output,
                     "Draw the answer into this picture as well: probabilities and values of the most\n"
                     "probable distinct draws, 40 at most, with their bounds, how often each came, and\n"
                     "the exact ones where they are known. The file appears when it is complete, also\n"
                     "when nothing could be drawn");
  add_at_option(*command, options->at);
  add_measure_options(*command, options->measure);
  set_help(
      *command,
      "Words:\n"
      "  sketch   A table of sums that is linear in the stream: tables of several ranks, or of several days, are "
      "added.\n"
      "  row      Of the sketch: one of an odd number of independent repetitions, over which estimates take medians.\n"
      "           (A row of A is a row of the matrix A.)\n"
      "  bucket   A cell of a row of the sketch. Each entry of y is hashed to one bucket of every row of the sketch.\n"
      "  lane     A bucket holds one number for each lane. Lane 0 holds sums of y itself and gives norms and values.\n"
      "           In every other lane each entry of y is multiplied by a random factor of its own; the entry that is\n"
      "           then the largest is the draw of that lane. It is rejected when it does not stand out (--threshold).\n"
      "  level    Above level 1 further tables hold sums of groups of neighbouring indices. A query then looks at\n"
      "           groups first, in place of all N indices.\n"
      "\n"
      "The object of --format json, field by field:\n"
      "  model, method (kronecker), metric (rows), n or shape [N1, N2], d or d1 and d2\n"
      "  with --every, --serve: epoch, time (Unix seconds), time_text, final (the last one), whole (the epoch is at\n"
      "    its end), window_epochs (that the answer is about), all_updates (since the stream began), checkpoint (the\n"
      "    last on disk)\n"
      "  ranks, updates (events that the answer is about, of all ranks), skipped (bad lines left out), seed\n"
      "  exact_sums: false when sums were rounded, so that the last digits may depend on ranks and on the order of\n"
      "    events\n"
      "  wanted, shortfall: how many samples were asked for, and why fewer came\n"
      "  index_text, seed_text: numbers of 2^53 or more as text, beside index and seed\n"
      "  law, scale: of --sampler softmax: what is normalised together, entries or pairs, or with --per-row the rows\n"
      "    each; what y is multiplied by\n"
      "  randomness, law (of the random factors), p, sketch {rows, buckets, lanes, levels, columns, bytes}: where\n"
      "    there is a sketch; gram {buckets, exact}: rows and --method two-stage\n"
      "  seconds {ingest, merge, query}: of the slowest rank\n"
      "  norm, norm_bound: ||y||_2, for --model rows the root of the sum of all a^T M a\n"
      "  norm_p, norm_p_bound: (sum |y_i|^p)^(1/p) for p other than 2\n"
      "  norm_tensor {value, bound}: a second estimate of the norm, for --method streaming\n"
      "  exact_norm: with --exact-check, --fixed A=FILE, or --method streaming\n"
      "  verified: true when the values and probabilities of the samples are exact\n"
      "  samples [{lane, index, value, value_bound, probability, probability_bound}]: a bound is exceeded with\n"
      "    probability 0.01, and 0 where there is no error; of kronecker index and label are pairs [i1, i2]; besides:\n"
      "    label (with --labels or --key), inclusion (without replacement), row (of --model rows), exact {value, "
      "probability}\n"
      "    (with --exact-check)\n"
      "  failed [{lane, reason}]: lanes without a draw. below_threshold: nothing stood out; no_candidate: no entry "
      "was\n"
      "    found; second_stage: i1 was drawn but no i2 (two-stage); heavy_tail: --sampler precision\n"
      "  reason and, if y is zero, zero_vector (true): when samples is empty\n"
      "\n"
      "The columns of --format csv, a line for each sample:\n"
      "  epoch, time, updates, final: only where answers come one after the other\n"
      "  lane, index, label; of kronecker i1, i2, label1, label2 in place of index and label\n"
      "  value, value_bound, probability, probability_bound, inclusion, exact_value, exact_probability\n"
      "  row: the entries of a drawn row, separated by blanks\n"
      "  A field is empty where there is no such value. What is not of one sample, as the norm, is in the object "
      "alone.",
      {"weir sample --n 1e6 events.csv", "weir sample --n 1e6 --samples 100 --format csv -o draws.csv events.csv",
       "mpirun -n 4 weir sample --model product --n 50803 --fixed x=weights.npy --labels names.txt --json edges.csv.gz",
       "weir sample --model product --fixed A=keys.npy query.csv",
       "weir sample --model kronecker --sampler softmax --scale sqrt --per-row --fixed A2=keys.npy queries.npy",
       "weir sample --key src --delta bytes flows.csv", "weir sample --n 1e6 --save monday.weir monday.csv",
       "weir sample --state monday.weir tuesday.csv    # a saved state knows its model, its sides and its sizes",
       "weir sample --n 1e6 --every 1e6 --window 12 --checkpoint state/ --resume events.csv"});
  command->callback([options, command, &action] {
    if (!options->at.empty()) {
      require_only(*command, {"--samples", "--without-replacement", "--format", "--json", "--output", "--plot"});
      const std::uint64_t samples = command->count("--samples") > 0 ? options->measure.sketch.samples : 0;
      action = [options, samples] {
        const OutputOptions& output = options->measure.output;
        Printer printer(output.print);
        const Asked asked = sample_at(options->at, samples, options->measure.sketch.without_replacement,
                                      {.json = !printer.prints_tables(), .plot_path = output.plot_path});
        printer.print(asked.report);
        return asked.code;
      };
      return;
    }
    action = [options] {
      options->measure.settle_streams();
      options->settle();
      options->measure.check(options->measure.sketch.size_request());
      return run_over_mpi([&](const mpi::Communicator& communicator) { return sample(communicator, *options); });
    };
  });
}

}  // namespace weir::app
