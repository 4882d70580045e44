#include "attend.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "help.hpp"
#include "options.hpp"
#include "run_options.hpp"
#include "weir/attention/ams.hpp"
#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/polynomial_attention.hpp"

namespace weir::app {

void AttendOptions::check() const {
  (void)scale_of(scale, 1);
  if (keys.empty() != values.empty()) throw UsageError("--k and --v belong together: a token has a key and a value");
  if (keys.empty() && streams.empty() && state_path.empty())
    throw UsageError("nothing to attend to: give --k and --v, STREAM files, or --state FILE");
  if (is_causal() && (keys.empty() || !streams.empty() || !state_path.empty() || queries.empty()))
    throw UsageError(
        "--causal and --sliding, which answer query t from the tokens up to t, need all queries, keys and values in "
        "files: give --q, --k and --v, no STREAM and no --state");
  if (compare && !state_path.empty())
    throw UsageError("--compare needs all keys and values, and a saved state does not have them");
  std::vector<std::string> all = streams;
  for (const std::string* path : {&queries, &keys, &values})
    if (!path->empty()) all.push_back(*path);
  if (compare && std::ranges::any_of(all, is_pipe))
    throw UsageError("--compare reads queries, keys and values once more, and a pipe cannot be read twice");
  if (!save_path.empty() && is_causal())
    throw UsageError("--save: the window of --causal and --sliding is not part of a saved state; save without them");
  if (has_epochs() && (is_causal() || compare))
    throw UsageError(fmt::format("--every: {} needs all tokens, and answers once", compare ? "--compare" : "--causal"));
  if (!is_causal() && window) throw UsageError("--window belongs to --causal and --sliding");
  require_other_files({save_path, output_path, errors_path, plot_path, print.file()}, all);
}

void AttendOptions::check_mode(bool is_of_outputs) const {
  if (queries.empty() && save_path.empty() && !is_of_outputs)
    throw UsageError("give queries (--q), or --save FILE to answer them later");
  if (queries.empty() && !is_of_outputs &&
      (!output_path.empty() || !errors_path.empty() || !plot_path.empty() || compare))
    throw UsageError("there is no output without queries: give --q");
  if (has_epochs() && (is_exact() || is_sparse() || is_of_outputs))
    throw UsageError(fmt::format(
        "--every is for the modes anisotropic, paired and direct, which answer every query from a state of the "
        "tokens; not for {}",
        mode));
  if (has_epochs() && queries.empty()) throw UsageError("--every answers queries: give --q");
  if (is_exact() && !state_path.empty()) throw UsageError("--mode exact has no saved states");
  if (is_of_outputs && (!keys.empty() || !streams.empty()))
    throw UsageError(
        "queries have begun to come in the saved state, and keys and values come before them: give more queries by "
        "--q, "
        "no STREAM, --k and --v");
  if (is_exact() && !save_path.empty()) throw UsageError("--mode exact keeps no state to be saved");
  if (!errors_path.empty() && !(is_anisotropic() && estimate))
    throw UsageError(is_anisotropic() ? "--errors contradicts --no-estimate"
                                      : fmt::format("--errors: --mode {} estimates no errors", mode));
  if (!plot_path.empty() && !compare && !(is_anisotropic() && estimate))
    throw UsageError(
        fmt::format("--plot shows the errors of queries, and {}: expected --compare, which computes them{}",
                    is_anisotropic() ? "--no-estimate leaves them out" : fmt::format("--mode {} estimates none", mode),
                    state_path.empty() ? "" : " and needs all keys and values, so no --state"));
  if (is_causal() && has_polynomials())
    throw UsageError(fmt::format("--mode {} is not causal: expected anisotropic or exact", mode));
  const bool is_coordinates = output_path.ends_with(".mtx");
  if (is_coordinates && !is_sparse())
    throw UsageError(fmt::format("the outputs of --mode {} are dense: expected a name that ends in .npy, not {}", mode,
                                 output_path));
  if (is_coordinates && mean_correct)
    throw UsageError(
        "outputs of --mean-correct are a mean and sparse differences from it: expected a name that ends in .npy");
  for (const auto& [given, name, belongs] : {std::tuple{centre, "--centre", has_polynomials()},
                                             {mean_correct, "--mean-correct", is_sparse()},
                                             {row_recovery, "--row-recovery", is_sparse()},
                                             {m1.has_value(), "--m1", is_sparse() && !is_of_outputs},
                                             {m2.has_value(), "--m2", is_sparse()},
                                             {clusters.has_value(), "--clusters", is_anisotropic()},
                                             {exact_rows.has_value(), "--exact-rows", is_anisotropic()},
                                             {directions.has_value(), "--directions", is_anisotropic()}})
    if (given && !belongs)
      throw UsageError(fmt::format("{} is not for --mode {}{}", name, mode,
                                   is_of_outputs ? " with a saved state in which queries have begun to come" : ""));
  if (degree && is_anisotropic() && *degree > 12)
    throw UsageError(fmt::format("--degree {}: the mode anisotropic takes 1 to 12", *degree));
}

namespace {

/// The modes that a saved state may go on in, the default first.
std::vector<std::string_view> modes_of(const Problem& problem) {
  if (problem.setting == "attention") return {"anisotropic"};
  if (problem.setting == "attention-monomials") return {"paired", "direct", "collapsed"};
  if (problem.setting == "attention-sketched") return {"paper", "collapsed"};
  if (problem.setting == "attention-outputs") return {is_factored(problem) ? "paper" : "collapsed"};
  return {};
}

/// Collective. Loads the saved state, if there is to be one, and sets the mode that follows from it.
AttendStart begin(const mpi::Communicator& communicator, AttendOptions& options) {
  AttendStart start;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    for (const std::string* path : {&options.save_path, &options.output_path, &options.errors_path, &options.plot_path})
      if (!path->empty()) require_creatable(*path);
    options.printer = std::make_shared<Printer>(options.print, options.has_epochs() ? Reports::several : Reports::one);
    if (options.state_path.empty()) return;
    start.state = load_state(options.state_path);
    start.problem = start.state->problem();
    if (modes_of(start.problem).empty())
      throw InputError(fmt::format("{} is a state of {}, expected one of attention", options.state_path,
                                   start.state->kept().holds()));
  });
  if (options.state_path.empty()) return start;
  start.problem = engine::broadcast(communicator, start.problem);
  const std::vector<std::string_view> modes = modes_of(start.problem);
  engine::together(communicator, [&](mpi::FailureSignal&) {
    const bool wants_sparse =
        options.m1 || options.row_recovery || options.mean_correct || options.output_path.ends_with(".mtx");
    const bool has_collapsed = std::ranges::find(modes, "collapsed") != modes.end();
    options.mode = options.chosen_mode.value_or(
        wants_sparse && has_collapsed && modes.front() != "paper" ? "collapsed" : std::string(modes.front()));
    if (std::ranges::find(modes, options.mode) == modes.end())
      throw UsageError(fmt::format("--state {}: a state for --mode {}, not {}", options.state_path,
                                   fmt::join(modes, " or "), options.mode));
    options.check_mode(start.problem.setting == "attention-outputs");
  });
  return start;
}

}  // namespace

void add_attend_command(CLI::App& app, std::function<int()>& action) {
  CLI::App* command = app.add_subcommand(
      "attend", "Softmax attention of queries to a stream of keys and values, from a state of a fixed size");
  auto options = std::make_shared<AttendOptions>();
  const std::string inputs = "Input", state = "State", method = "Method", output = "Output";
  command
      ->add_option("STREAM", options->streams,
                   "Files of events, or - for standard input, in place of --k and --v or after them: a\n"
                   "line KV,i,*,k1,...,kD,v1,...,vDV when token i comes, KV,i,-*,... with the same\n"
                   "numbers when it leaves. They need --n, --d and --dv. In --mode paper keys and\n"
                   "values may come apart, as K,i,*,... and V,i,*,..., and entries of values change one\n"
                   "by one, V,i,j,delta")
      ->group(inputs);
  add_path(*command, "--q", options->queries,
           "Queries: a .npy array, one a row, or events Q,i,*,q1,...,qD. Only --mode paper and\n"
           "collapsed take queries that leave again, Q,i,-*,...")
      ->type_name("FILE")
      ->group(inputs);
  add_path(*command, "--k", options->keys, "Keys: a .npy array, one token a row, or events K,i,*,k1,...,kD")
      ->type_name("FILE")
      ->group(inputs);
  add_path(*command, "--v", options->values,
           "Values: a .npy array with as many rows, or events V,i,*,v1,...,vDV, of the same tokens in\n"
           "the same order (in --mode paper in any)")
      ->type_name("FILE")
      ->group(inputs);
  add_whole(
      *command, "--n", {1, max_dimension}, [options](std::uint64_t value) { options->tokens = value; },
      "Number of tokens: their indices are below it. By default that of the rows of --k")
      ->group(inputs);
  add_whole(
      *command, "--queries", {1, max_dimension}, [options](std::uint64_t value) { options->query_count = value; },
      "Number of queries: their indices are below it. By default that of the rows of --q")
      ->group(inputs);
  add_whole(
      *command, "--d", {1, 4096}, [options](std::uint64_t value) { options->d = value; },
      "Numbers of a key and of a query, up to 4096; taken from the files")
      ->group(inputs);
  add_whole(
      *command, "--dv", {1, 4096}, [options](std::uint64_t value) { options->dv = value; },
      "Numbers of a value, up to 4096; taken from the files")
      ->group(inputs);
  add_on_error_option(*command, options->on_error);
  command
      ->add_option_function<std::string>(
          "--every", [options](const std::string& text) { options->every = parse_until("--every", text); },
          "Answer all queries at the end of every epoch, after so many tokens (1000) or so much\n"
          "time (5s, 200ms), from the tokens so far. Each report is a line with one JSON object,\n"
          "and -o, --errors and --plot are written anew. USR1 asks for an answer now, TERM and\n"
          "INT for the last one")
      ->type_name("N|TIME")
      ->group(output);
  add_real(
      *command, "--progress", {0, 1e9, true}, [options](double value) { options->progress_seconds = value; },
      "A line on standard error every so many seconds")
      ->type_name("SECONDS")
      ->group(output);
  add_choice(
      *command, "--mode", {"anisotropic", "paper", "paired", "collapsed", "direct", "exact"},
      [options](const std::string& mode) { options->chosen_mode = options->mode = mode; },
      "anisotropic: a state of --budget bytes that is linear in the tokens, with features\n"
      "chosen for the directions in which scores vary. exact: all keys and values on every\n"
      "rank, in doubles. The others have all monomials up to --degree as features, r =\n"
      "C(D + G, G) of them. paper: sketches of V, of K, then of Q, and the largest outputs\n"
      "of each column, as in [Attention]. collapsed: keys with their values, then a sketch\n"
      "of the outputs. paired, direct: keys with their values, and all outputs")
      ->default_str("anisotropic")
      ->group(method);
  command->add_option("--scale", options->scale, "Scores are scale q.k. sqrt: 1/sqrt(D). dim: 1/D. Or a number")
      ->type_name("sqrt|dim|NUMBER")
      ->capture_default_str()
      ->group(method);
  add_bytes(
      *command, "--budget", {64, std::uint64_t{1} << 40}, [options](std::uint64_t value) { options->budget = value; },
      "Bytes of the state, 4 a number: calibration, features and exact rows. Errors fall fast\n"
      "with it. A sample of 256 rows, which errors are estimated from, comes on top")
      ->default_str("64KiB")
      ->group(method);
  command
      ->add_option("--calibrate", options->calibrate,
                   "What directions and features are chosen by. ROWS: so many first rows of --q and of\n"
                   "the keys, and as many again to judge choices by. FILE: a .npy array whose rows are\n"
                   "a query, a key and perhaps a value, one after the other. States combine only if\n"
                   "their calibrations are equal")
      ->type_name("ROWS|FILE")
      ->capture_default_str()
      ->group(method);
  command
      ->add_flag("--auto,!--no-auto", options->automatic,
                 "Choose the directions, --clusters and --exact-rows that are not given by trying them\n"
                 "on the calibration rows. This is the default; --no-auto takes 1 cluster and a tenth\n"
                 "of the budget for exact rows")
      ->group(method);
  command
      ->add_flag("--causal", options->causal,
                 "Query t is answered from the tokens 0 to t: exactly from those of its block of 64, the\n"
                 "window before that and the first 4, and from the state of all others")
      ->group(method);
  add_whole(
      *command, "--window", {0, std::uint64_t{1} << 32}, [options](std::uint64_t value) { options->window = value; },
      "Tokens before a block that are kept as they are, at the cost of the budget. By default\n"
      "64, but an eighth of the budget at most; five eighths where scores vary in more than\n"
      "20 directions")
      ->type_name("W")
      ->group(method);
  add_whole(
      *command, "--sliding", {1, max_dimension}, [options](std::uint64_t value) { options->sliding = value; },
      "Query t is answered from the tokens t - W + 1 to t: those before are taken out of the\n"
      "state again. The files are read a second time for that")
      ->type_name("W")
      ->group(method);
  add_whole(
      *command, "--clusters", {1, 256},
      [options](std::uint64_t value) { options->clusters = static_cast<std::uint32_t>(value); },
      "Clusters of keys, each with features of its own: for heads whose scores are peaked")
      ->type_name("C")
      ->group(method);
  add_whole(
      *command, "--exact-rows", {0, std::uint64_t{1} << 32},
      [options](std::uint64_t value) { options->exact_rows = value; },
      "Tokens that are kept as they are: those with the most extreme keys")
      ->type_name("M")
      ->group(method);
  add_whole(
      *command, "--directions", {1, 4096},
      [options](std::uint64_t value) { options->directions = static_cast<std::uint32_t>(value); },
      "Directions of the keys that features know of")
      ->type_name("R")
      ->group(method);
  add_whole(
      *command, "--degree", {1, 64},
      [options](std::uint64_t value) { options->degree = static_cast<std::uint32_t>(value); },
      "Highest degree of a feature. anisotropic: 1 to 12, by default 10, or 6 with clusters.\n"
      "Others: 2; an even one keeps normalisers positive")
      ->type_name("G")
      ->group(method);
  const std::string polynomial = "Modes with monomials";
  command
      ->add_flag("--centre", options->centre,
                 "Subtract the means of the first --calibrate queries and keys. Errors are far smaller,\n"
                 "and outputs are the same otherwise")
      ->group(polynomial);
  add_whole(
      *command, "--sparsity", {1, std::uint64_t{1} << 32},
      [options](std::uint64_t value) { options->sparsity = value; },
      "Entries of a column of the outputs that paper and collapsed recover")
      ->type_name("K")
      ->default_str("32")
      ->group(polynomial);
  add_whole(
      *command, "--m1", {1, std::uint64_t{1} << 32}, [options](std::uint64_t value) { options->m1 = value; },
      "Rows of the sketch of the outputs: 5 times a power of two, rounded up. By default from\n"
      "--eps1 and K")
      ->type_name("M1")
      ->group(polynomial);
  add_whole(
      *command, "--m2", {1, Psi::largest}, [options](std::uint64_t value) { options->m2 = value; },
      "Rows of the sketches of V and K. For paper ln(n) / eps2^2 by default; collapsed, which\n"
      "takes keys and values together, sketches them only if this is given")
      ->type_name("M2")
      ->group(polynomial);
  add_real(
      *command, "--eps1", {0, 1, true}, [options](double value) { options->eps1 = value; },
      "Error of a column beyond that of its K largest entries, as a fraction of it")
      ->default_str("0.5")
      ->group(polynomial);
  add_real(
      *command, "--eps2", {0, 1, true}, [options](double value) { options->eps2 = value; },
      "Error that the sketches of V and K add")
      ->default_str("0.1")
      ->group(polynomial);
  command
      ->add_option("--psi", options->psi,
                   "The sketch of V and K. ams: signs. one_nonzero: one sign in each column, O(1) a token")
      ->check(one_of({"ams", "one_nonzero"}))
      ->type_name("ams|one_nonzero")
      ->capture_default_str()
      ->group(polynomial);
  command
      ->add_flag("--mean-correct", options->mean_correct,
                 "Sketch V and the outputs without their means, which are added back: outputs are a mean\n"
                 "and K entries a column that differ from it")
      ->group(polynomial);
  command->add_flag("--row-recovery", options->row_recovery, "Recover K whole rows, the same in all columns")
      ->group(polynomial);
  add_whole(
      *command, "--seed", {0, (std::uint64_t{1} << 53) - 1}, [options](std::uint64_t value) { options->seed = value; },
      "Of the sample of rows that errors are estimated from, and of the methods of --compare")
      ->type_name("U53")
      ->default_str("0")
      ->group(method);
  add_path(*command, "--state", options->state_path,
           "Go on from this saved state: more tokens, or queries alone. It has its calibration, scale\n"
           "and sizes, so that options which choose them are not taken. With --q the modes paper and\n"
           "collapsed save what the queries have come to, which takes more queries, and no tokens")
      ->type_name("FILE")
      ->group(state);
  add_path(*command, "--save", options->save_path, "Write the merged state, for --state and for weir combine")
      ->type_name("FILE")
      ->group(state);
  add_path(*command, "-o,--output", options->output_path, "Outputs, a .npy array of doubles: a row for each query")
      ->type_name("FILE")
      ->group(output);
  add_path(*command, "--errors", options->errors_path,
           "The estimated relative error of each query, a .npy array of doubles")
      ->type_name("FILE")
      ->group(output);
  command
      ->add_flag("--estimate,!--no-estimate", options->estimate,
                 "Estimate the error of every query. This is the default; queries are two to three\n"
                 "times as fast without it")
      ->group(output);
  command
      ->add_flag("--compare", options->compare,
                 "Compare with exact attention, and show what else could be kept at the same bytes.\n"
                 "Takes O(queries x tokens) time, and all keys and values in memory on every rank")
      ->group(output);
  add_plot_option(*command, options->plot_path,
                  "Draw the estimated errors of the queries into this picture; with --compare the\n"
                  "true ones beside them, and those of what else could be kept at the same bytes. The\n"
                  "file appears when it is complete");
  add_print_options(*command, options->print, "--report");
  // A saved state has its calibration, and all that follows from it.
  for (const char* name : {"--scale", "--budget", "--calibrate", "--auto", "--clusters", "--exact-rows", "--directions",
                           "--degree", "--seed", "--centre", "--m2", "--eps2", "--psi"})
    command->get_option(name)->excludes("--state");
  set_help(
      *command,
      "The object of --format json:\n"
      "  mode, n, queries, d, dv, scale, ranks, updates, skipped, seed\n"
      "  degree, features (of each cluster), exact_rows, clusters, directions, varied_directions (in which scores "
      "vary\n"
      "    by more than 0.1)\n"
      "  calibration_bytes, state_bytes (with the calibration), peak_bytes (of a rank, at most, about), cache_bytes "
      "(of\n"
      "    all keys and values in fp32)\n"
      "  seconds: features (the calibration), ingest, merge, answer (all queries), recover (that and the recovery of\n"
      "    sparse outputs), token and query (one each); with --compare exact_query\n"
      "  window, with --causal and --sliding; sparsity, m1, m2, where outputs are sparse\n"
      "  fallbacks: queries whose normaliser was replaced by a lower bound\n"
      "  estimated_error: median, p99, max over the queries, relative l2. Three times it covers the error of 99% of\n"
      "    queries\n"
      "  with --compare: error {relative_frobenius, median, p99, max, mean_only, best_k where outputs are sparse}, "
      "and\n"
      "    peers {uniform, value_norm, window, random_features, balance: the same errors, kept, bytes, seconds "
      "{token,\n"
      "    query}}\n"
      "\n"
      "The columns of --format csv, a line for each report:\n"
      "  The fields of the object; a field of a field has both names: seconds.ingest, error.median",
      {"weir attend --q Q.npy --k K.npy --v V.npy -o Y.npy --compare",
       "mpirun -n 4 weir attend --q Q.npy --k K.npy --v V.npy --budget 256KiB --save S.weir",
       "weir attend --state S.weir --q MORE.npy -o Y.npy --format csv --report errors.csv",
       "weir attend --mode paper --v V.csv --k K.csv --q Q.csv --degree 2 -o T.mtx"});
  command->callback([options, &action] {
    action = [options] {
      options->check();
      if (options->state_path.empty()) options->check_mode(false);
      return run_over_mpi([&](const mpi::Communicator& communicator) {
        AttendStart start = begin(communicator, *options);
        return options->is_exact()          ? attend_exactly(communicator, *options)
               : options->has_polynomials() ? attend_by_polynomials(communicator, *options, std::move(start))
                                            : attend_anisotropically(communicator, *options, std::move(start));
      });
    };
  });
}

}  // namespace weir::app
