#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "client.hpp"
#include "help.hpp"
#include "measure.hpp"
#include "plots.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/random/key_hash.hpp"

namespace weir::app {
namespace {

/// `item` is I, or I1:I2. Throws CLI::ValidationError.
EntryIndex parse_point(const std::string& item) {
  constexpr WholeRange range{0, (std::uint64_t{1} << 63) - 1};
  const std::size_t colon = item.find(':');
  const auto parse = [&](const std::string& text) { return parse_whole("--point", text, range); };
  if (colon == std::string::npos) return {parse(item)};
  return {parse(item.substr(0, colon)), parse(item.substr(colon + 1))};
}

/// A point that was asked for: an index, or a key that is text, whose index is known once the seed is.
struct Point {
  std::string text;
  bool is_quoted = false;  ///< It can be nothing but a key.

  /// The index, or pair of them, that the text is for a stream without keys. Throws CLI::ValidationError.
  [[nodiscard]] EntryIndex entry() const { return parse_point(text); }
  [[nodiscard]] bool is_entry() const {
    try {
      std::ignore = entry();
      return !is_quoted;
    } catch (const CLI::ValidationError&) {
      return false;
    }
  }
};

/// The points in the text of --point, which commas separate where they are not between quotes: "a,b",c is a,b and c.
std::vector<Point> points_of(const std::string& text) {
  std::vector<Point> points(1);
  bool quoted = false;
  for (std::size_t k = 0; k < text.size(); ++k) {
    Point& last = points.back();
    if (text[k] == '"' && (quoted || last.text.empty())) {
      const bool is_doubled = quoted && k + 1 < text.size() && text[k + 1] == '"';
      last.is_quoted = true;
      if (is_doubled) last.text += text[k++];
      if (!is_doubled) quoted = !quoted;
    } else if (text[k] == ',' && !quoted) {
      points.emplace_back();
    } else {
      last.text += text[k];
    }
  }
  return points;
}

struct QueryOptions {
  MeasureOptions measure;
  double epsilon = 0.1;
  bool norm = false;
  std::uint64_t top = 0;
  std::vector<Point> points;
  std::vector<std::string> others;
  std::vector<double> moments;
  std::string at;  ///< The address of a running job to ask.

  [[nodiscard]] SizeRequest size_request() const {
    SizeRequest request = measure.sketch.size_request();
    request.epsilon = epsilon;
    request.for_answers = true;
    request.with_top = top > 0;
    request.with_moments = !moments.empty();
    return request;
  }
  void check() const {
    if (measure.model.method == "exact")
      throw UsageError("--method exact draws; questions are answered by --method streaming and two-stage");
    // Elsewhere a text is a mistake: keys are numbers.
    if (!measure.source.columns.any() && measure.known_from().empty())
      for (const Point& point : points) std::ignore = point.entry();
    measure.check(size_request());
  }
  /// The indices of the points. Where the stream has keys, a point is what the same text is in a line; where a state alone is
  /// asked, what can be an index is one, unless it is quoted. Throws UsageError for text where the rows of y have no room for
  /// hashes.
  [[nodiscard]] std::vector<EntryIndex> entries(const Problem& problem) const {
    const bool is_keyed = measure.source.columns.any();
    const std::vector<std::uint64_t> shape = setting_of(problem).shape_of_y(problem);
    const bool has_room = shape.size() == 1 && shape[0] == max_dimension;
    std::vector<EntryIndex> all;
    for (const Point& point : points) {
      if (point.is_entry() && !(is_keyed && has_room)) {
        all.push_back(point.entry());
      } else if (has_room) {
        all.push_back({key_of_text(problem.sketch.seed, point.text)});
      } else {
        throw UsageError(
            fmt::format("--point: '{}' given, expected an index: y of {} entries has no keys that are text", point.text,
                        fmt::join(shape, " x ")));
      }
    }
    return all;
  }
};

/// The state at `path`, for an inner product with one of `problem`. Throws InputError when they have none.
State load_other(const std::string& path, const Problem& problem) {
  State other = load_state(path);
  const std::string difference = setting_of(problem).describe_inner_difference(problem, other.problem());
  if (!difference.empty()) throw InputError(fmt::format("{}: no inner product with this sketch: {}", path, difference));
  return other;
}

int query(const mpi::Communicator& communicator, const QueryOptions& options) {
  OutputLabels labels;
  Question question{
      .norm = options.norm, .top = static_cast<std::size_t>(options.top), .points = {}, .moments = options.moments};
  const auto examine = [&](const Problem& problem, bool) {
    const Setting& setting = setting_of(problem);
    labels = OutputLabels(options.measure.output, setting.shape_of_y(problem).size() == 2);
    question.points = options.entries(problem);
    setting.check_question(problem, question);
    if (!options.others.empty() && setting.traits().draws_rows)
      throw UsageError(fmt::format("--inner: {} has no vector y", setting.label()));
    // Loaded again to be used, so that memory holds one at a time, and none while the stream is read.
    for (const std::string& path : options.others) std::ignore = load_other(path, problem);
  };
  const auto answer = [&](engine::Session& session, const engine::Sources&, const engine::Epoch* epoch) {
    const auto start = std::chrono::steady_clock::now();
    question.points = options.entries(session.problem());
    QueryReport report{.problem = session.problem(), .run = {}, .answer = session.answer(question)};
    const Problem& problem = session.problem();
    for (const std::string& path : options.others) {
      // It is the root that has the sum; the others, where they take part, have nothing to load.
      std::optional<State> other;
      session.together_where_collective([&] {
        if (communicator.local_is_root()) other = load_other(path, problem);
      });
      const Answer inner = session.answer({.inner = other ? &*other : nullptr});
      if (inner.inner) report.inner.push_back({path, *inner.inner});
    }
    const double query_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.run = run_of(session, epoch);
    report.run.query_seconds = query_seconds;
    const NameTable& known_names = session.snapshot().names;
    if (!communicator.local_is_root()) return Answered{};
    std::vector<EntryIndex> entries = question.points;
    if (report.answer.top)
      for (const HeavyCoordinate& coordinate : *report.answer.top) entries.push_back(entry_of(coordinate));
    report.labels = labels.find(entries);
    for (std::size_t k = 0; k < options.points.size(); ++k)
      if (const Point& point = options.points[k]; !whole_number(point.text) && !question.points[k].column)
        if (question.points[k].index == key_of_text(report.problem.sketch.seed, point.text))
          report.labels.rows.try_emplace(question.points[k].index, point.text);
    add_names(report.problem, known_names, entries, report.labels);
    if (const std::string& path = options.measure.output.plot_path; !path.empty()) write_plot(path, to_svg(report));
    return Answered{printable(std::move(report), query_records), done};
  };
  return measure(communicator, options.measure, options.size_request(), examine, answer, [&] {
    return OutsideView{[&labels](const std::vector<EntryIndex>& entries) { return labels.find(entries); },
                       DrawQuestion()};
  });
}

}  // namespace

void add_query_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command =
      app.add_subcommand("query", "Read a stream or continue a saved state, then estimate norm, entries, moments of y");
  auto options = std::make_shared<QueryOptions>();
  const std::string group = "Questions (--norm when none is asked)";
  command
      ->add_flag("--norm", options->norm,
                 "The l2 norm of y; of --model rows the Frobenius norm of A, the only question it\n"
                 "answers")
      ->group(group);
  add_whole(
      *command, "--top", {1, 1000000}, [options](std::uint64_t value) { options->top = value; },
      "The K largest entries of y in magnitude. K must be below the number of buckets;\n"
      "for --method two-stage N1 and N2 must be at most 2^32")
      ->type_name("K")
      ->group(group);
  command
      ->add_option_function<std::vector<std::string>>(
          "--point",
          [options](const std::vector<std::string>& texts) {
            for (const std::string& text : texts)
              for (Point& point : points_of(text)) {
                if (point.text.empty())
                  throw CLI::ValidationError("--point", "an empty item, expected an index or a key");
                options->points.push_back(std::move(point));
              }
          },
          "The entries of y at these indices; I1:I2 for --model kronecker. Where keys are text\n"
          "(--key, or a state that was made with it) any text is a key: 10.0.0.1; between quotes\n"
          "it is a key in any case, also one with commas, as of two columns:\n"
          "'\"007\",\"10.0.0.1,10.0.0.2\"'. A job that is asked --at its address knows indices only")
      ->allow_extra_args(false)
      ->type_name("I[,I...]")
      ->group(group);
  command
      ->add_option("--inner", options->others,
                   "The inner product with the y of another saved state, made with the same sketch:\n"
                   "the same sizes and the same --seed")
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
          "Sums of |y_i|^P over all i, for P above 0 and up to 16, estimated from 64 draws\n"
          "without replacement; the bound is that of the sampling. Not for --method two-stage")
      ->allow_extra_args(false)
      ->type_name("P[,P...]")
      ->group(group);
  add_output_options(*command, options->measure.output,
                     "Draw the answers into this picture as well, each with its bound: entries (the first\n"
                     "40 of --top and of --point), moments, the norm and inner products. The file appears\n"
                     "when it is complete");
  add_real(
      *command, "--epsilon", {0, 1, true, true}, [options](double value) { options->epsilon = value; },
      "Error of the estimate of an entry as a fraction of the norm, exceeded with\n"
      "probability 0.01 at most. It decides how many buckets a new sketch has; a state\n"
      "keeps the buckets that it was made with")
      ->type_name("EPS")
      ->default_str("0.1")
      ->group("Accuracy");
  add_at_option(*command, options->at);
  add_measure_options(*command, options->measure);
  set_help(
      *command,
      "\"weir sample --help\" explains rows, buckets, lanes and levels of a sketch. In a state that was made to "
      "draw from, all\n"
      "lanes together estimate an entry. A bound is exceeded with probability 0.01 at most; the table prints it "
      "after \"+-\".\n"
      "\n"
      "The object of --format json:\n"
      "  epoch, time, final, ... with --every: as for \"weir sample\"\n"
      "  model, method (kronecker), n or shape [N1, N2], d or d1 and d2, ranks, updates, skipped, seed, "
      "randomness, law,\n"
      "    p, sketch, gram, seconds: as for \"weir sample\"\n"
      "  norm and norm_bound; top and points [{index, label, value, bound}]; inner [{state, value, bound}];\n"
      "    moments [{p, value, bound, or no_bound where the draws support none}]: what was asked for\n"
      "\n"
      "The columns of --format csv, a line for each answer:\n"
      "  epoch, time, updates, final: only where answers come one after the other\n"
      "  question: norm, top, point, moment or inner\n"
      "  index, label: of an entry; of kronecker i1, i2, label1, label2 in place of them\n"
      "  p: of a moment; state: of an inner product\n"
      "  value, bound",
      {"weir query --n 1e6 --norm --top 10 events.csv",
       "weir query --n 1e6 --top 10 --every 1e5 --format csv events.csv", "weir query --key user.id --top 10 log.jsonl",
       "weir query --state S.weir --point 3,17 --inner OTHER.weir"});
  command->callback([options, command, &action] {
    if (!options->norm && options->top == 0 && options->points.empty() && options->others.empty() &&
        options->moments.empty())
      options->norm = true;
    if (!options->at.empty()) {
      require_only(*command,
                   {"--norm", "--top", "--point", "--inner", "--moment", "--format", "--json", "--output", "--plot"});
      action = [options] {
        const OutputOptions& output = options->measure.output;
        std::vector<EntryIndex> points;
        for (const Point& point : options->points) points.push_back(point.entry());
        Printer printer(output.print);
        const Asked asked =
            query_at(options->at,
                     {.norm = options->norm,
                      .top = static_cast<std::size_t>(options->top),
                      .points = points,
                      .moments = options->moments},
                     options->others, {.json = !printer.prints_tables(), .plot_path = output.plot_path});
        printer.print(asked.report);
        return asked.code;
      };
      return;
    }
    action = [options] {
      options->measure.settle_streams();
      options->check();
      return run_over_mpi([&](const mpi::Communicator& communicator) { return query(communicator, *options); });
    };
  });
}

}  // namespace weir::app
