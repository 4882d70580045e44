#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "measure.hpp"
#include "weir/engine/softmax.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/operand.hpp"
#include "weir/io/report.hpp"
#include "weir/sample/dense.hpp"
#include "weir/sample/dense_tensor.hpp"
#include "weir/sample/metric.hpp"
#include "weir/sample/precision.hpp"
#include "weir/sample/row_sampler.hpp"
#include "weir/sample/sampler.hpp"
#include "weir/sample/two_stage.hpp"

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

  /// The sampler decides what is kept of the stream. Throws UsageError.
  void settle() {
    SketchOptions& sketch = measure.sketch;
    if (sketch.lanes == 1U) throw UsageError("--lanes: lane 0 does not draw, expected 2 or a multiple of 8");
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
    settle_operands();
    if (is("softmax") && sketch.p) throw UsageError("--p is not for --sampler softmax, whose law is exp(y_i)");
    if (is("softmax") && exact_check) throw UsageError("--exact-check: the draws of softmax are exact");
    if (exact_check && !measure.state_path.empty())
      throw UsageError("--exact-check needs the whole stream; --state holds a sketch only");
    if (exact_check && measure.model.streams_one_factor() && measure.sketch.p.value_or(2) != 2)
      throw UsageError("--exact-check of --method streaming is for --p 2: other norms of y are not known exactly");
    measure.keep_sketch = is("perfect") || is("precision");
    // The operands of a factor that streams are there in any case.
    const bool checks = exact_check && !measure.model.streams_one_factor();
    measure.exact = is("softmax")           ? engine::Exact::slices
                    : is("exact") || checks ? engine::Exact::on_root
                                            : engine::Exact::none;
  }
  /// The same where rows, or entries of a Kronecker product, are drawn.
  void settle_operands() {
    ModelOptions& model = measure.model;
    if (metric && !model.is_rows() && measure.state_path.empty()) throw UsageError("--metric belongs to --model rows");
    if (!model.is_kronecker() && !model.is_rows()) return;
    const std::string model_name = "--model " + model.name();
    if (is("softmax") || (is("precision") && !model.streams_one_factor()))
      throw UsageError(fmt::format("--sampler {} is not for {}{}", *sampler, model_name,
                                   is("precision") && model.is_kronecker() ? " --method two-stage or exact" : ""));
    if (model.is_kronecker()) {
      if (is("exact")) {
        if (model.given_method.value_or(Method::exact) != Method::exact)
          throw UsageError(
              fmt::format("--sampler exact contradicts --method {}", weir::app::to_string(*model.given_method)));
        model.given_method = Method::exact;
      }
      if (model.method() == Method::exact) {
        if (sampler && !is("exact")) throw UsageError(fmt::format("--sampler {} contradicts --method exact", *sampler));
        sampler = "exact";
      }
    }
    if (measure.of_operands() && measure.sketch.without_replacement)
      throw UsageError(fmt::format("--without-replacement is not for {}: it draws with replacement", model_name));
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

/// --metric, ready to be used once the Gram matrix is known.
class MetricChoice {
 public:
  /// Reads the file of M, if it is one: d x d. Throws InputError.
  MetricChoice(const std::string& name, std::uint64_t d) : name_(name), d_(d) {
    if (name_ == "norm" || name_ == "leverage") return;
    DenseMatrix matrix = load_operand(name_);
    if (matrix.rows != d || matrix.columns != d)
      throw InputError(fmt::format("{}: {} x {} numbers, expected a metric of {} x {}, as rows of A have {} entries",
                                   name_, matrix.rows, matrix.columns, d, d, d));
    given_ = Metric::of(std::move(matrix), name_);
  }

  [[nodiscard]] Metric operator()(const DenseMatrix& gram) const {
    if (given_) return *given_;
    return name_ == "leverage" ? Metric::leverage(gram) : Metric::norm(d_);
  }

 private:
  std::string name_;
  std::uint64_t d_;
  std::optional<Metric> given_;
};

/// Draws from a sketch of y as a matrix become pairs.
void make_pairs(SampleResult& result, std::uint64_t row_length, bool transposed) {
  for (Draw& draw : result.draws) {
    draw.column = draw.index % row_length;
    draw.index /= row_length;
    if (transposed) std::swap(draw.index, *draw.column);
  }
}

/// On the root: from the sketch, or from the exact values or operands.
SampleResult draw(const Measured& measured, const SampleOptions& options, const std::optional<MetricChoice>& metric) {
  const engine::MeasuredVector& y = measured.job.y;
  const SketchOptions& wanted = options.measure.sketch;
  const DrawOptions perfect{.samples = wanted.samples, .threshold = wanted.threshold.value_or(1.0)};
  if (!y.sketch) {
    const DenseDrawOptions dense{.samples = wanted.samples, .p = wanted.p.value_or(2.0), .seed = measured.config.seed};
    if (y.operands) {
      if (const auto* rows = std::get_if<DenseOperand>(&*y.operands))
        return draw_rows(*rows, (*metric)(rows->gram()), dense);
      return draw_pairs(std::get<DenseTensor>(*y.operands), dense);
    }
    return wanted.without_replacement ? draw_without_replacement(*y.dense, dense)
                                      : draw_with_replacement(*y.dense, dense);
  }
  if (const auto* rows = std::get_if<RowsSketch>(&*y.sketch)) {
    const DenseMatrix gram = rows->checked_gram();
    const Metric chosen = (*metric)(gram);
    return draw_rows(rows->draws, chosen, chosen.total(gram), perfect);
  }
  if (const auto* kronecker = std::get_if<KroneckerSketch>(&*y.sketch)) return draw_pairs(*kronecker, perfect);
  const VectorSketch& sketch = y.drawn_from();
  if (const auto& target = measured.description.precision)
    return draw_by_precision_sampling(
        sketch, {.samples = wanted.samples, .epsilon = target->epsilon, .constant = target->constant});
  SampleResult result =
      wanted.without_replacement ? draw_without_replacement(sketch, perfect) : draw_with_replacement(sketch, perfect);
  return y.degree() == 2 ? draws_of_roots(std::move(result), sketch, y.y()) : result;
}

/// The true norm, values and probabilities beside the estimates: from y, or from its operands.
void add_exact_answers(SampleReport& report, const engine::MeasuredVector& y, double p,
                       const std::optional<MetricChoice>& metric) {
  if (y.dense) {
    report.exact_norm = y.dense->norm();
    for (const Draw& item : report.result.draws)
      report.exact[{item.index}] = {y.dense->table()[static_cast<std::size_t>(item.index)],
                                    y.dense->probability(item.index, p)};
    return;
  }
  const auto share = [&](double value) {
    const double root = value / *report.exact_norm;
    return root * root;
  };
  if (const auto* rows = std::get_if<DenseOperand>(&*y.operands)) {
    const DenseMatrix gram = rows->gram();
    const Metric chosen = (*metric)(gram);
    report.exact_norm = std::sqrt(chosen.total(gram));
    for (const Draw& item : report.result.draws) {
      const double value = std::sqrt(chosen.of_row(rows->row(item.index)));
      report.exact[{item.index}] = {value, share(value)};
    }
    return;
  }
  const TensorSampler exact(std::get<DenseTensor>(*y.operands));
  report.exact_norm = exact.norm();
  for (const Draw& item : report.result.draws) {
    const double value = exact.value(std::array{item.index, *item.column});
    report.exact[{item.index, item.column}] = {value, share(value)};
  }
}

/// A verified draw whose value is zero was made up by collisions: its lane has failed.
void fail_draws_of_zeros(SampleResult& result) {
  for (const Draw& draw : result.draws)
    if (draw.value == 0) result.failed.push_back({draw.lane, FailReason::no_candidate});
  std::erase_if(result.draws, [](const Draw& draw) { return draw.value == 0; });
  std::ranges::stable_sort(result.failed, {}, &FailedLane::lane);
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
  fail_draws_of_zeros(report.result);
}

/// Collective: the same from the operands of a Kronecker product one of whose factors streamed; `beside` the estimates
/// where that was asked for. The norm of other powers than squares is not known exactly: then values alone become exact.
void verify_factor(const mpi::Communicator& communicator, const Measured& measured, bool beside, SampleReport& report) {
  std::vector<std::uint64_t> keys;
  const bool transposed = measured.description.transposed;
  for (const Draw& item : report.result.draws) {
    const std::uint64_t row = transposed ? *item.column : item.index;
    keys.push_back(row * measured.config.row_length + (transposed ? item.index : *item.column));
  }
  const engine::ExactMatrixEntries exact = engine::exact_entries(communicator, *measured.factor, keys);
  if (!communicator.local_is_root()) return;
  const bool squares = measured.config.p == 2;
  report.exact_norm = exact.norm;
  report.verified = squares && !beside;
  for (std::size_t t = 0; t < keys.size(); ++t) {
    Draw& item = report.result.draws[t];
    const double root = exact.norm > 0 ? exact.values[t] / exact.norm : 0.0;
    if (beside) {
      report.exact[{item.index, item.column}] = {exact.values[t], root * root};
    } else {
      item.value = exact.values[t];
      if (squares) item.probability = root * root;
    }
  }
  if (!beside) fail_draws_of_zeros(report.result);
}

int sample(const mpi::Communicator& communicator, const SampleOptions& options) {
  OutputLabels labels;
  std::optional<MetricChoice> metric;
  std::string metric_name;
  const auto prepare = [&](const Measured& known) {
    options.require_law(known.config.law);
    if (options.measure.sketch.without_replacement &&
        (known.description.model == RowsModel::name || known.method == Method::two_stage))
      throw UsageError("--without-replacement: rows, and the pairs of --method two-stage, are drawn with replacement");
    labels = OutputLabels(options.output, known.shape.has_value());
    if (known.description.model != RowsModel::name) {
      if (options.metric) throw UsageError("--metric belongs to --model rows");
      return;
    }
    metric_name = options.metric.value_or("norm");
    metric.emplace(metric_name, *known.d);
  };
  const Measured measured = measure(communicator, options.measure, prepare);
  const engine::MeasuredVector& y = measured.job.y;
  SampleReport report;
  report.run = run_report(communicator, measured);
  if (!metric_name.empty()) report.run.metric = metric_name;
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
      report.result = draw(measured, options, metric);
      report.verified = !y.sketch;
      if (measured.config.row_length != 0)
        make_pairs(report.result, measured.config.row_length, measured.description.transposed);
      if (measured.tensor_f2) {
        report.norm_bound = norm_of(y.y().f2()).bound;
        report.tensor_norm = norm_of(*measured.tensor_f2);
      }
      if (options.measure.exact == engine::Exact::on_root && options.exact_check)
        add_exact_answers(report, y, measured.config.p * measured.degree, metric);
    });
    if (measured.factor && (options.verify || options.exact_check)) {
      verify_factor(communicator, measured, options.exact_check, report);
    } else if (options.verify && !measured.fixed_a.empty() && options.measure.keep_sketch && !options.exact_check) {
      verify(communicator, measured, report);
    }
  }
  if (!communicator.local_is_root()) return done;
  report.run.seconds.query = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::vector<std::uint64_t> indices, columns;
  for (const Draw& item : report.result.draws) {
    indices.push_back(item.index);
    if (item.column) columns.push_back(*item.column);
  }
  labels.find(indices, columns, report.labels, report.column_labels);
  print_answer(options.output.json ? to_json(report) + '\n' : to_table(report));
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
      options->settle();
      options->measure.check();
      return run_over_mpi([&](const mpi::Communicator& communicator) { return sample(communicator, *options); });
    };
  });
}

}  // namespace weir::app
