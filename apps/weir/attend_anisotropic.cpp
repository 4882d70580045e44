#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>

#include "attend.hpp"
#include "clock.hpp"
#include "options.hpp"
#include "run_options.hpp"
#include "weir/attention/calibration.hpp"
#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/setting/attention.hpp"
#include "weir/share.hpp"
#include "weir/state/attention_state.hpp"
#include "weir/state/polynomial_attention_state.hpp"

namespace weir::app {
namespace {

/// The rows that a calibration is made of. On the root.
struct CalibrationRows {
  DenseMatrix queries, keys, values;
};

void cut(DenseMatrix& matrix, std::uint64_t rows) {
  matrix.rows = std::min(matrix.rows, rows);
  matrix.values.resize(static_cast<std::size_t>(matrix.rows * matrix.columns));
}

/// The first numbers of keys (and values) of a stream of whole rows.
void first_rows_of_streams(const AttendOptions& options, const Shapes& shapes, std::uint64_t count,
                           CalibrationRows& rows) {
  rows.keys = {0, shapes.d, {}};
  rows.values = {0, shapes.dv, {}};
  EventReader reader(options.streams, {.on_error = options.on_error,
                                       .shapes = {{keys_and_values(), shapes.tokens, shapes.d + shapes.dv}},
                                       .default_operand = keys_and_values()});
  EventBatch batch;
  while (rows.keys.rows < count && reader.next(batch))
    for (std::size_t t = 0; t < batch.rows.size() && rows.keys.rows < count; ++t) {
      if (batch.rows.weights[t] < 0) continue;
      const auto row = batch.rows.row(t);
      const auto middle = row.begin() + static_cast<std::ptrdiff_t>(shapes.d);
      rows.keys.values.insert(rows.keys.values.end(), row.begin(), middle);
      rows.values.values.insert(rows.values.values.end(), middle, row.end());
      ++rows.keys.rows;
      ++rows.values.rows;
    }
}

/// --calibrate ROWS, or FILE: an array whose rows are [query, key] or [query, key, value].
CalibrationRows calibration_rows(const AttendOptions& options, const Shapes& shapes, std::uint64_t& rows_to_fit) {
  CalibrationRows rows;
  if (is_number(options.calibrate)) {
    rows_to_fit = parse_whole("--calibrate", options.calibrate, {1, std::uint64_t{1} << 20});
    // As many again are there to judge choices by.
    const std::uint64_t count = 2 * rows_to_fit;
    if (!options.queries.empty())
      rows.queries = first_rows(options.queries, count, attention_queries(), options.on_error);
    if (!options.keys.empty()) {
      rows.keys = first_rows(options.keys, count, attention_keys(), options.on_error);
      rows.values = first_rows(options.values, count, attention_values(), options.on_error);
      // Files that do not match are found out when they are read.
      cut(rows.keys, rows.values.rows);
      cut(rows.values, rows.keys.rows);
    } else {
      if (std::ranges::any_of(options.streams, is_pipe))
        throw UsageError(
            "--calibrate ROWS reads the first rows of the stream, and a pipe cannot be read twice: expected "
            "--calibrate FILE");
      first_rows_of_streams(options, shapes, count, rows);
    }
    if (rows.keys.rows == 0) throw InputError("there is no key to calibrate by");
    return rows;
  }
  const DenseMatrix all = load_npy(options.calibrate);
  const std::uint64_t with_keys = 2 * shapes.d, with_values = with_keys + shapes.dv;
  if (all.rows == 0 || (all.columns != with_keys && all.columns != with_values))
    throw InputError(
        fmt::format("{}: the array is {} x {}, expected rows of a query and a key, {} numbers, or of a query, a key "
                    "and a value, {} numbers",
                    options.calibrate, all.rows, all.columns, with_keys, with_values));
  rows_to_fit = all.rows;
  const auto part = [&](std::uint64_t first, std::uint64_t count) {
    DenseMatrix matrix{all.rows, count, {}};
    for (std::uint64_t i = 0; i < all.rows; ++i) {
      const auto start = all.values.begin() + static_cast<std::ptrdiff_t>(i * all.columns + first);
      matrix.values.insert(matrix.values.end(), start, start + static_cast<std::ptrdiff_t>(count));
    }
    return matrix;
  };
  rows.queries = part(0, shapes.d);
  rows.keys = part(shapes.d, shapes.d);
  if (all.columns == with_values) rows.values = part(with_keys, shapes.dv);
  return rows;
}

AnisotropicOptions anisotropic_options(const AttendOptions& options, const Shapes& shapes) {
  return {.d = shapes.d,
          .dv = shapes.dv,
          .budget = options.budget,
          .clusters = options.clusters,
          .exact_rows = options.exact_rows,
          .directions = options.directions,
          .degree = options.degree,
          .automatic = options.automatic,
          .expected_rows = shapes.tokens,
          .seed = options.seed.value_or(0)};
}

/// Describes the calibration and what it decides.
void describe(const AnisotropicCalibration& calibration, AttendReport& report) {
  report.degree = calibration.degree();
  report.features = calibration.features();
  report.clusters = calibration.clusters();
  report.exact_rows = calibration.exact_rows();
  report.directions = calibration.directions();
  report.varied_directions = calibration.varied_directions();
  report.calibration_bytes = calibration.bytes();
  report.state_bytes =
      calibration.bytes() + sizeof(float) * (calibration.clusters() * calibration.features() * (calibration.dv() + 1) +
                                             calibration.exact_rows() * (calibration.d() + calibration.dv()));
  report.seed = calibration.seed();
}

/// What a rank needs besides a state: blocks of queries and outputs, batches of the readers, and what grows with the number of
/// queries.
std::uint64_t bytes_besides_state(const AttendOptions& options, const Shapes& shapes) {
  std::uint64_t bytes = bytes_of_process;
  bytes += 2 * block_of_queries * (shapes.d + shapes.dv) * sizeof(double);
  bytes += 6 * (std::uint64_t{1} << 18) * sizeof(double);
  if (options.estimate) bytes += 2 * shapes.queries * sizeof(double);
  // Ranks work on their tokens one after the other and hand over all outputs at the end.
  if (options.is_causal()) bytes += 2 * shapes.queries * shapes.dv * sizeof(double);
  bytes += shapes.query_bytes();
  if (options.is_causal() && !shapes.tokens_in_arrays) bytes += shapes.token_bytes();
  if (options.compare) bytes += shapes.token_bytes() + 3 * shapes.queries * (shapes.d + shapes.dv) * sizeof(double);
  return bytes;
}

/// What a rank needs at most, about. The state counts several times: it is broadcast, copied and read from.
std::uint64_t peak_bytes(const AnisotropicOptions& anisotropic, const AttendOptions& options, const Shapes& shapes) {
  const AnisotropicSizes sizes = anisotropic_sizes(anisotropic);
  return bytes_besides_state(options, shapes) + sizes.working_bytes + 8 * sizes.calibration_numbers +
         5 * sizes.feature_numbers * sizeof(float) + 3 * sizes.bounded_bytes;
}

/// The same where a saved state decides the sizes. Scratch is about as large as the features.
std::uint64_t peak_bytes(const Problem& problem, const AttendOptions& options, const Shapes& shapes) {
  return bytes_besides_state(options, shapes) +
         8 * sizeof(double) * doubles_of(setting_of(problem).layout(problem), {});
}

void warn_of_directions(const AttendReport& report) {
  if (report.varied_directions > AttendReport::most_varied_directions)
    say(fmt::format(
        "weir: warning: scores vary in {} directions by more than 0.1; beyond {} this state is no better than a "
        "sample of rows",
        report.varied_directions, AttendReport::most_varied_directions));
}

/// Adds rows first .. end - 1 to the state.
void add_rows(const TokenFiles& files, std::uint64_t first, std::uint64_t end, AnisotropicState& state) {
  files.for_rows(first, end, [&](const LoadedRows& loaded) {
    std::vector<std::uint64_t> tokens(static_cast<std::size_t>(loaded.keys.rows));
    std::iota(tokens.begin(), tokens.end(), loaded.first);
    state.add({.keys = loaded.keys.values, .values = loaded.values.values, .tokens = tokens});
  });
}

/// Collective: adds the states of all ranks before this one.
void add_states_before(const mpi::Communicator& communicator, const AnisotropicState& own, AnisotropicState& sum) {
  const auto features = std::as_bytes(own.features());
  const std::vector<std::byte> bounded = own.bounded_part();
  std::vector<std::byte> part(features.begin(), features.end());
  part.insert(part.end(), bounded.begin(), bounded.end());
  std::vector<std::uint64_t> lengths;
  std::vector<std::byte> all;
  for (const std::vector<std::byte>& of_rank : communicator.gather(part)) {
    lengths.push_back(of_rank.size());
    all.insert(all.end(), of_rank.begin(), of_rank.end());
  }
  communicator.broadcast(lengths);
  communicator.broadcast(all);
  engine::together(communicator, [&](mpi::FailureSignal&) {
    std::span<const std::byte> rest(all);
    for (int rank = 0; rank < communicator.local_rank(); ++rank) {
      const auto of_rank = rest.first(static_cast<std::size_t>(lengths[static_cast<std::size_t>(rank)]));
      const auto* numbers = reinterpret_cast<const float*>(of_rank.data());
      const std::span<float> sums = sum.features();
      // A copy, as the bytes of a rank may begin anywhere.
      std::vector<float> more(sums.size());
      std::memcpy(more.data(), numbers, features.size());
      for (std::size_t t = 0; t < sums.size(); ++t) sums[t] += more[t];
      sum.merge(of_rank.subspan(features.size()));
      rest = rest.subspan(of_rank.size());
    }
  });
}

/// Query t from the tokens up to t. Each rank works on consecutive blocks of tokens, with the state of all before them.
int attend_causally(const mpi::Communicator& communicator, const AttendOptions& options) {
  const bool root = communicator.local_is_root();
  const Shapes shapes = shapes_of_inputs(communicator, options, nullptr);
  AttendReport report = report_of(communicator, options, shapes);
  const auto rank = static_cast<std::uint64_t>(communicator.local_rank());
  const auto ranks = static_cast<std::uint64_t>(communicator.local_size());
  CausalOptions causal{.sinks = options.sliding > 0 ? 0U : 4U, .sliding = options.sliding};
  std::vector<double> numbers;
  std::vector<std::uint64_t> window;
  auto start = Clock::now();
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!root) return;
    AnisotropicOptions anisotropic = anisotropic_options(options, shapes);
    CalibrationRows rows = calibration_rows(options, shapes, anisotropic.calibration_rows);
    for (double& number : rows.queries.values) number *= report.scale;
    const auto fit = [&] {
      const std::uint64_t taken = sizeof(float) * causal_numbers(causal, shapes.d, shapes.dv);
      if (taken >= options.budget)
        throw UsageError(fmt::format("--window {}: these rows take {} bytes, and the budget is {}", causal.window,
                                     taken, options.budget));
      anisotropic.budget = options.budget - taken;
      return AnisotropicCalibration::fit(anisotropic, rows.queries.values, rows.keys.values, rows.values.values);
    };
    const std::uint64_t row_bytes = sizeof(float) * (shapes.d + shapes.dv);
    // One block, but no more than an eighth of the budget. Where scores vary in many directions recent rows do more than
    // features.
    causal.window =
        options.window.value_or(std::min<std::uint64_t>(CausalAttention::block, options.budget / 8 / row_bytes));
    auto calibration = fit();
    if (!options.window && calibration.varied_directions() > AttendReport::most_varied_directions) {
      causal.window = options.budget * 5 / 8 / row_bytes;
      calibration = fit();
    }
    numbers.assign(calibration.numbers().begin(), calibration.numbers().end());
    window = {causal.window};
    report.peak_bytes = peak_bytes(anisotropic, options, shapes);
  });
  communicator.broadcast(numbers);
  communicator.broadcast(window);
  causal.window = window[0];
  announce_memory(communicator, report);
  report.calibration_seconds = seconds_since(start);
  const auto calibration = AnisotropicCalibration::from_numbers(numbers);

  // Segments of this rank. Where tokens leave, each segment begins with a state that is made afresh: what rounding leaves of
  // tokens that went, and gaps in the list of exact rows, then do not depend on where ranks begin.
  constexpr std::uint64_t block = CausalAttention::block;
  const std::uint64_t segment =
      options.sliding == 0 ? block : (std::min(options.sliding, shapes.tokens) + block - 1) / block * block;
  const std::uint64_t segments = (shapes.tokens + segment - 1) / segment;
  const auto first_token = [&](std::uint64_t of) {
    return std::min(shapes.tokens, share(segments, of, ranks) * segment);
  };
  const auto first_recent = [&](std::uint64_t first) {
    return first - std::min(causal.window, first - std::min(causal.sinks, first));
  };
  const std::uint64_t first = first_token(rank), end = first_token(rank + 1);
  start = Clock::now();
  std::optional<TokenFiles> files;
  std::optional<NpyFile> queries;
  AnisotropicState before(calibration), own(calibration);
  files.emplace(communicator, options, shapes);
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (files->count() != shapes.tokens)
      throw InputError(
          fmt::format("{} of {} tokens are there: causal attention needs them all", files->count(), shapes.tokens));
  });
  engine::together(communicator, [&](mpi::FailureSignal&) {
    queries.emplace(options.queries);
    if (options.sliding == 0 && rank + 1 < ranks)
      add_rows(*files, std::max(first_recent(first), std::min(causal.sinks, shapes.tokens)), first_recent(end), own);
  });
  if (options.sliding == 0) add_states_before(communicator, own, before);
  report.merge_seconds = communicator.all_max(seconds_since(start));
  start = Clock::now();
  std::vector<double> outputs, errors;
  std::uint64_t fallbacks = 0;
  engine::together(communicator, [&](mpi::FailureSignal& signal) {
    const std::uint64_t part = options.sliding > 0 ? segment : std::max<std::uint64_t>(1, end - first);
    for (std::uint64_t begin = first; begin < end; begin += part) {
      if (options.sliding > 0) {
        before.clear();
        add_rows(*files, begin + 1 > options.sliding ? begin + 1 - options.sliding : 0, first_recent(begin), before);
      }
      const LoadedRows sinks = files->rows(0, std::min(causal.sinks, begin)),
                       recent = files->rows(first_recent(begin), begin);
      CausalAttention attention(before, causal, begin, sinks.rows(), recent.rows());
      const std::uint64_t stop = std::min(end, begin + part);
      for (std::uint64_t token = begin; token < stop && !signal.local_raised(); token += block) {
        const std::uint64_t count = std::min(block, stop - token);
        DenseMatrix asked = queries->rows(token, count);
        for (double& number : asked.values) number *= report.scale;
        const LoadedRows loaded = files->rows(token, token + count);
        const CausalAttention::Range gone = attention.leaving(count);
        const LoadedRows leaving = files->rows(gone.first, gone.first + gone.count);
        const AnisotropicAnswers answers =
            attention.answer(asked.values, loaded.keys.values, loaded.values.values, leaving.rows(), options.estimate);
        outputs.insert(outputs.end(), answers.outputs.values.begin(), answers.outputs.values.end());
        errors.insert(errors.end(), answers.errors.begin(), answers.errors.end());
        fallbacks += answers.fallbacks;
      }
    }
  });
  report.query_seconds = communicator.all_max(seconds_since(start));
  report.ingest_seconds = report.query_seconds;
  report.updates = shapes.tokens;
  report.fallbacks = communicator.all_sum(fallbacks);
  std::optional<Outputs> written;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (root) written.emplace(options, shapes, options.compare);
  });
  communicator.gather_in_order(outputs, [&](std::span<const double> piece) { written->add(piece); });
  std::vector<double> all_errors;
  communicator.gather_in_order(
      errors, [&](std::span<const double> piece) { all_errors.insert(all_errors.end(), piece.begin(), piece.end()); });
  if (options.compare)
    report.comparison =
        compare(communicator, options, shapes, root ? written->all() : DenseMatrix(), {.budget = options.budget});
  if (!root) return done;
  describe(calibration, report);
  report.window = causal.window;
  report.state_bytes += sizeof(float) * causal_numbers(causal, shapes.d, shapes.dv);
  warn_of_directions(report);
  if (options.estimate) report.estimated = estimated_errors(std::move(all_errors));
  finish(options, *written, report);
  return done;
}

}  // namespace

int attend_anisotropically(const mpi::Communicator& communicator, const AttendOptions& options, AttendStart begin) {
  if (options.is_causal()) return attend_causally(communicator, options);
  const bool root = communicator.local_is_root();
  const bool continues = !options.state_path.empty();
  engine::Session::Options session_options{.start = std::move(begin.state)};
  engine::Sources sources;
  const Shapes shapes = shapes_of_inputs(communicator, options, continues ? &begin.problem : nullptr);

  AttendReport report = report_of(communicator, options, shapes);
  AnisotropicOptions anisotropic = anisotropic_options(options, shapes);
  const auto start = Clock::now();
  Problem problem;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!root) return;
    if (continues) {
      problem = begin.problem;
      return;
    }
    validate(anisotropic);
    CalibrationRows rows = calibration_rows(options, shapes, anisotropic.calibration_rows);
    const double scale = scale_of(options.scale, shapes.d);
    for (double& number : rows.queries.values) number *= scale;
    const auto calibration =
        AnisotropicCalibration::fit(anisotropic, rows.queries.values, rows.keys.values, rows.values.values);
    problem = attention_problem(shapes.tokens, scale, calibration);
    sources.values[attention_calibration()] = as_operand(calibration);
  });
  problem = engine::broadcast(communicator, problem);
  report.scale = attention_scale(problem);
  report.calibration_seconds = seconds_since(start);
  report.peak_bytes = continues ? peak_bytes(problem, options, shapes) : peak_bytes(anisotropic, options, shapes);
  announce_memory(communicator, report);

  engine::together(communicator,
                   [&](mpi::FailureSignal&) { sources.stream = stream_of_tokens(options, shapes, false); });
  engine::Session session(communicator.local_handle(), problem, std::move(sources), std::move(session_options));
  read_tokens(options, session, [&](const engine::Epoch* epoch) {
    report.epoch = stamp_of(epoch);
    if (!options.save_path.empty() && (epoch == nullptr || epoch->is_final)) session.save(options.save_path);
    const State& state = session.snapshot();
    report.updates = state.updates;
    report.skipped = session.statistics().skipped;
    report.ingest_seconds = session.seconds().ingest;
    report.merge_seconds = session.seconds().merge;
    if (root) {
      describe(dynamic_cast<const AttentionState&>(state.kept()).kept()->calibration(), report);
      if (epoch == nullptr || epoch->number == 1) warn_of_directions(report);
    }
    std::optional<Outputs> outputs;
    engine::together(communicator, [&](mpi::FailureSignal&) {
      if (root) outputs.emplace(options, shapes, options.compare);
    });
    if (!options.queries.empty()) {
      std::vector<double> errors;  // on the root
      std::uint64_t fallbacks = 0;
      const auto asked = Clock::now();
      const Queries all_queries(communicator, options, shapes);
      engine::together(communicator, [&](mpi::FailureSignal&) { all_queries.require_all(); });
      all_queries.for_blocks(communicator, [&](DenseMatrix queries, std::uint64_t) {
        AttendQuestion question{.queries = std::move(queries), .with_errors = options.estimate};
        const AttendAnswer answer = *session.answer({.attend = std::move(question)}).attention;
        fallbacks += answer.fallbacks;
        communicator.gather_in_order(answer.outputs.values,
                                     [&](std::span<const double> numbers) { outputs->add(numbers); });
        communicator.gather_in_order(answer.errors, [&](std::span<const double> numbers) {
          errors.insert(errors.end(), numbers.begin(), numbers.end());
        });
      });
      report.query_seconds = communicator.all_max(seconds_since(asked));
      report.fallbacks = communicator.all_sum(fallbacks);
      if (root && options.estimate) report.estimated = estimated_errors(std::move(errors));
      if (options.compare)
        report.comparison =
            compare(communicator, options, shapes, root ? outputs->all() : DenseMatrix(), {.budget = options.budget});
    }
    if (root) finish(options, *outputs, report);
  });
  return done;
}

}  // namespace weir::app
