#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "attend_report.hpp"
#include "options.hpp"
#include "weir/attention/calibration.hpp"
#include "weir/attention/causal.hpp"
#include "weir/attention/exact.hpp"
#include "weir/attention/peers.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/session.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/npy.hpp"
#include "weir/io/state_file.hpp"
#include "weir/setting/attention.hpp"
#include "weir/share.hpp"
#include "weir/state/attention_state.hpp"
#include "weir/stream/reader.hpp"

namespace weir::app {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Queries that a rank answers at a time.
constexpr std::uint64_t block_of_queries = 4096;
/// What the program and an MPI library take before they hold anything.
constexpr std::uint64_t bytes_of_process = std::uint64_t{32} << 20;

struct AttendOptions {
  std::string queries, keys, values;
  std::vector<std::string> streams;  ///< Events KV,i,*,key...,value...
  std::optional<std::uint64_t> tokens, d, dv;
  OnError on_error = OnError::stop;
  double progress_seconds = 0;
  std::string mode = "anisotropic";
  std::string scale = "sqrt";
  std::uint64_t budget = 65536;
  std::string calibrate = "512";
  std::optional<std::uint32_t> clusters;
  std::optional<std::uint64_t> exact_rows;
  std::optional<std::uint32_t> directions;
  std::optional<std::uint32_t> degree;
  std::optional<std::uint64_t> seed;
  bool automatic = true;
  bool causal = false;
  std::optional<std::uint64_t> window;  ///< Recent rows that are kept exactly.
  std::uint64_t sliding = 0;            ///< Rows that a query sees, at most; 0: all.
  std::string state_path, save_path, output_path, errors_path;
  bool estimate = true;
  bool compare = false;
  bool json = false;

  [[nodiscard]] bool is_exact() const { return mode == "exact"; }
  [[nodiscard]] bool is_causal() const { return causal || sliding > 0; }
  void check() const;
};

/// What scores are multiplied with. Throws CLI::ValidationError.
double scale_of(const std::string& text, std::uint64_t d) {
  if (text == "sqrt") return 1 / std::sqrt(static_cast<double>(d));
  if (text == "dim") return 1 / static_cast<double>(d);
  return parse_real("--scale", text, {-1e6, 1e6});
}

void AttendOptions::check() const {
  (void)scale_of(scale, 1);
  if (keys.empty() != values.empty()) throw UsageError("--k and --v belong together: a token has a key and a value");
  if (keys.empty() && streams.empty() && state_path.empty())
    throw UsageError("nothing to attend to: give --k and --v, STREAM files, or --state FILE");
  if (queries.empty() && save_path.empty()) throw UsageError("give queries (--q), or --save FILE to answer them later");
  if (queries.empty() && (!output_path.empty() || !errors_path.empty() || compare))
    throw UsageError("there is no output without queries: give --q");
  if ((compare || is_exact()) && (keys.empty() || !streams.empty() || !state_path.empty()))
    throw UsageError(fmt::format("{} needs all keys and values in files: give --k and --v, no STREAM and no --state",
                                 compare ? "--compare" : "--mode exact"));
  if (!is_causal() && window) throw UsageError("--window belongs to --causal and --sliding");
  if (is_causal() && (keys.empty() || !streams.empty() || !state_path.empty() || queries.empty()))
    throw UsageError(
        "--causal and --sliding answer query t from the tokens up to t: give --q, --k and --v, no STREAM and no "
        "--state");
  if (is_causal() && !save_path.empty())
    throw UsageError("--save: the window of --causal and --sliding is not part of a saved state; save without them");
  if (is_exact() && !save_path.empty()) throw UsageError("--mode exact keeps no state to be saved");
  if (!errors_path.empty() && !estimate) throw UsageError("--errors contradicts --no-estimate");
  if (is_exact() && !errors_path.empty()) throw UsageError("--errors: the outputs of --mode exact have no error");
}

/// Sizes that the root has read from headers or options, on all ranks.
struct Shapes {
  std::uint64_t tokens = 0, queries = 0, d = 0, dv = 0;
};

/// Rows and columns of a .npy file.
std::array<std::uint64_t, 2> shape_of_array(const std::string& path) {
  const NpyFile file(path);
  const std::array shape{file.header().rows, file.header().columns};
  if (shape[0] == 0 || shape[1] == 0)
    throw InputError(fmt::format("{}: the array is {} x {}, expected numbers", path, shape[0], shape[1]));
  return shape;
}

/// Sets `size`, or throws InputError where it is known and another.
void agree(std::uint64_t& size, std::uint64_t found, const std::string& path, const char* what) {
  if (size != 0 && size != found) throw InputError(fmt::format("{}: {} {}, expected {}", path, found, what, size));
  size = found;
}

/// Collective. `known` is the problem that a saved state has, on the root.
Shapes shapes_of_inputs(const mpi::Communicator& communicator, const AttendOptions& options, const Problem* known) {
  std::vector<std::uint64_t> numbers;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    Shapes shapes;
    if (known != nullptr) {
      shapes = {.tokens = known->side("n"), .d = known->side("d"), .dv = known->side("dv")};
      for (const auto& [name, given, held] : {std::tuple{"--n", options.tokens, shapes.tokens},
                                              {"--d", options.d, shapes.d},
                                              {"--dv", options.dv, shapes.dv}})
        if (given && *given != held)
          throw UsageError(fmt::format("{} {} contradicts the saved state, which has {}", name, *given, held));
    } else {
      shapes = {.tokens = options.tokens.value_or(0), .d = options.d.value_or(0), .dv = options.dv.value_or(0)};
    }
    if (!options.keys.empty()) {
      const auto [key_rows, key_columns] = shape_of_array(options.keys);
      const auto [value_rows, value_columns] = shape_of_array(options.values);
      std::uint64_t rows = key_rows;
      agree(rows, value_rows, options.values, "values for as many keys");
      if (known == nullptr && !options.tokens) shapes.tokens = rows;
      if (rows > shapes.tokens)
        throw InputError(fmt::format("{}: {} tokens, but n is {}", options.keys, rows, shapes.tokens));
      agree(shapes.d, key_columns, options.keys, "numbers in a key");
      agree(shapes.dv, value_columns, options.values, "numbers in a value");
    }
    if (!options.queries.empty()) {
      const auto [rows, columns] = shape_of_array(options.queries);
      shapes.queries = rows;
      agree(shapes.d, columns, options.queries, "numbers in a query");
      if (options.is_causal() && rows != shapes.tokens)
        throw InputError(
            fmt::format("{}: {} queries, expected one for each of {} tokens", options.queries, rows, shapes.tokens));
    }
    for (const auto& [name, size] : {std::pair{"--n", shapes.tokens}, {"--d", shapes.d}, {"--dv", shapes.dv}})
      if (size == 0) throw UsageError(fmt::format("{} is needed: no file of numbers says it", name));
    numbers = {shapes.tokens, shapes.queries, shapes.d, shapes.dv};
  });
  communicator.broadcast(numbers);
  return {numbers[0], numbers[1], numbers[2], numbers[3]};
}

/// The rows that a calibration is made of. On the root.
struct CalibrationRows {
  DenseMatrix queries, keys, values;
};

DenseMatrix first_rows(const std::string& path, std::uint64_t count) {
  const NpyFile file(path);
  return file.rows(0, std::min(count, file.header().rows));
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
  const bool is_number = std::ranges::all_of(options.calibrate, [](char c) { return c >= '0' && c <= '9'; });
  if (is_number) {
    rows_to_fit = parse_whole("--calibrate", options.calibrate, {1, std::uint64_t{1} << 20});
    // As many again are there to judge choices by.
    const std::uint64_t count = 2 * rows_to_fit;
    if (!options.queries.empty()) rows.queries = first_rows(options.queries, count);
    if (!options.keys.empty()) {
      rows.keys = first_rows(options.keys, count);
      rows.values = first_rows(options.values, count);
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

/// Outputs of all queries as they come, in order, on the root.
class Outputs {
 public:
  Outputs(const AttendOptions& options, const Shapes& shapes, bool keep) : keep_(keep) {
    kept_ = {shapes.queries, shapes.dv, {}};
    if (!options.output_path.empty()) {
      file_.emplace(options.output_path);
      file_->write(npy_header(shapes.queries, shapes.dv));
    }
  }
  void add(std::span<const double> numbers) {
    if (file_) file_->write(std::as_bytes(numbers));
    if (keep_) kept_.values.insert(kept_.values.end(), numbers.begin(), numbers.end());
  }
  void finish() {
    if (file_) file_->commit();
  }
  [[nodiscard]] const DenseMatrix& all() const noexcept { return kept_; }

 private:
  bool keep_;
  DenseMatrix kept_;
  std::optional<OutputFile> file_;
};

/// Writes what is to be written, on the root.
void finish(const AttendOptions& options, const std::vector<double>& errors, Outputs& outputs,
            const AttendReport& report) {
  outputs.finish();
  if (!options.errors_path.empty()) {
    OutputFile file(options.errors_path);
    file.write(npy_header(errors.size(), 1));
    file.write(std::as_bytes(std::span(errors)));
    file.commit();
  }
  print_answer(options.json ? to_json(report) + '\n' : to_table(report));
}

/// Collective: reads the queries in blocks, and hands each rank its share of a block and the number of its first query.
/// `work` is collective.
void for_queries(const mpi::Communicator& communicator, const std::string& path, const Shapes& shapes,
                 const std::function<void(DenseMatrix, std::uint64_t)>& work) {
  std::optional<NpyFile> file;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    file.emplace(path);
    if (file->header().rows != shapes.queries || file->header().columns != shapes.d)
      throw InputError(fmt::format("{}: {} x {} here, {} x {} where it was looked at first", path, file->header().rows,
                                   file->header().columns, shapes.queries, shapes.d));
  });
  const auto rank = static_cast<std::uint64_t>(communicator.local_rank());
  const auto ranks = static_cast<std::uint64_t>(communicator.local_size());
  for (std::uint64_t first = 0; first < shapes.queries;) {
    const std::uint64_t count = std::min(shapes.queries - first, block_of_queries * ranks);
    const std::uint64_t own = share(count, rank, ranks), end = share(count, rank + 1, ranks);
    DenseMatrix queries;
    engine::together(communicator, [&](mpi::FailureSignal&) { queries = file->rows(first + own, end - own); });
    work(std::move(queries), first + own);
    first += count;
  }
}

/// Exact attention over keys and values that every rank has read whole.
class ExactOverRanks {
 public:
  ExactOverRanks(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes)
      : communicator_(communicator),
        scale_(scale_of(options.scale, shapes.d)),
        is_causal_(options.is_causal()),
        sliding_(options.sliding) {
    engine::require_memory(communicator, engine::doubles_in_bytes(shapes.tokens, shapes.d + shapes.dv), 0,
                           "all keys and values");
    engine::together(communicator, [&](mpi::FailureSignal&) {
      keys_ = load_npy(options.keys);
      values_ = load_npy(options.values);
    });
  }
  /// Collective: hands the outputs of all ranks' queries to `take`, on the root.
  void answer(DenseMatrix queries, std::uint64_t first, const std::function<void(std::span<const double>)>& take) {
    const auto start = Clock::now();
    std::vector<double> outputs;
    engine::together(communicator_, [&](mpi::FailureSignal&) {
      for (double& number : queries.values) number *= scale_;
      if (queries.rows > 0)
        outputs =
            exact_attention(queries, keys_, values_, {.causal = is_causal_, .window = sliding_, .first_query = first})
                .values;
    });
    seconds_ += seconds_since(start);
    communicator_.gather_in_order(outputs, take);
  }
  [[nodiscard]] double seconds() const { return communicator_.all_max(seconds_); }
  [[nodiscard]] const DenseMatrix& keys() const noexcept { return keys_; }
  [[nodiscard]] const DenseMatrix& values() const noexcept { return values_; }

 private:
  const mpi::Communicator& communicator_;
  double scale_;
  bool is_causal_;
  std::uint64_t sliding_;
  DenseMatrix keys_, values_;
  double seconds_ = 0;
};

/// Collective: exact outputs, and those of the peers, beside `outputs` (on the root).
Comparison compare(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes,
                   const DenseMatrix& outputs) {
  ExactOverRanks exact(communicator, options, shapes);
  DenseMatrix truth{shapes.queries, shapes.dv, {}};
  for_queries(communicator, options.queries, shapes, [&](DenseMatrix queries, std::uint64_t first) {
    exact.answer(std::move(queries), first, [&](std::span<const double> numbers) {
      truth.values.insert(truth.values.end(), numbers.begin(), numbers.end());
    });
  });
  Comparison comparison;
  comparison.exact_seconds = exact.seconds();
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    comparison.errors = compare_outputs(truth, outputs);
    comparison.mean_only = mean_only_error(truth);
    DenseMatrix queries = load_npy(options.queries);
    const double scale = scale_of(options.scale, shapes.d);
    for (double& number : queries.values) number *= scale;
    // A sliding window of the last rows is no longer what the peers were made for.
    for (const Peer peer : options.sliding > 0 ? std::span<const Peer>() : all_peers()) {
      const PeerAnswer answer =
          answer_by_peer(peer, queries, exact.keys(), exact.values(),
                         {.budget = options.budget, .causal = options.is_causal(), .seed = options.seed.value_or(0)});
      comparison.peers[std::string(to_string(peer))] = {.errors = compare_outputs(truth, answer.outputs),
                                                        .kept = answer.kept,
                                                        .bytes = answer.bytes,
                                                        .seconds_rows = answer.seconds_rows,
                                                        .seconds_queries = answer.seconds_queries};
    }
  });
  return comparison;
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

/// What a rank needs at most, about: the state several times over (it is broadcast, copied and read from), scratch, blocks of
/// queries and outputs, and batches of the readers.
std::uint64_t peak_bytes(const AnisotropicOptions& anisotropic, const AttendOptions& options, const Shapes& shapes) {
  const AnisotropicSizes sizes = anisotropic_sizes(anisotropic);
  std::uint64_t bytes = bytes_of_process + sizes.working_bytes;
  bytes += 8 * sizes.calibration_numbers + 5 * sizes.feature_numbers * sizeof(float) + 3 * sizes.bounded_bytes;
  bytes += 2 * block_of_queries * (shapes.d + shapes.dv) * sizeof(double);
  bytes += 6 * (std::uint64_t{1} << 18) * sizeof(double);
  if (options.compare || options.is_exact())
    bytes += (shapes.tokens * (shapes.d + shapes.dv) + 3 * shapes.queries * (shapes.d + shapes.dv)) * sizeof(double);
  return bytes;
}

void warn_of_directions(const AttendReport& report) {
  if (report.varied_directions > AttendReport::most_varied_directions)
    say(fmt::format(
        "weir: warning: scores vary in {} directions by more than 0.1; beyond {} this state is no better than a "
        "sample of rows",
        report.varied_directions, AttendReport::most_varied_directions));
}

int attend_exactly(const mpi::Communicator& communicator, const AttendOptions& options) {
  const Shapes shapes = shapes_of_inputs(communicator, options, nullptr);
  AttendReport report{
      .mode = options.mode, .n = shapes.tokens, .queries = shapes.queries, .d = shapes.d, .dv = shapes.dv};
  report.scale = scale_of(options.scale, shapes.d);
  report.ranks = static_cast<std::uint64_t>(communicator.local_size());
  report.peak_bytes =
      bytes_of_process +
      (shapes.tokens * (shapes.d + shapes.dv) + 2 * block_of_queries * (shapes.d + shapes.dv)) * sizeof(double);
  ExactOverRanks exact(communicator, options, shapes);
  Outputs outputs(options, shapes, options.compare);
  for_queries(communicator, options.queries, shapes, [&](DenseMatrix queries, std::uint64_t first) {
    exact.answer(std::move(queries), first, [&](std::span<const double> numbers) { outputs.add(numbers); });
  });
  report.query_seconds = exact.seconds();
  if (options.compare) report.comparison = compare(communicator, options, shapes, outputs.all());
  if (!communicator.local_is_root()) return done;
  finish(options, {}, outputs, report);
  return done;
}

/// Rows first .. end - 1 of keys and values.
struct LoadedRows {
  std::uint64_t first = 0;
  DenseMatrix keys, values;

  [[nodiscard]] TokenRows rows() const { return {.first = first, .keys = keys.values, .values = values.values}; }
};

/// The files of keys and values.
class TokenFiles {
 public:
  TokenFiles(const AttendOptions& options, const Shapes& shapes) : keys_(options.keys), values_(options.values) {
    for (const auto& [file, columns] : {std::pair{&keys_, shapes.d}, {&values_, shapes.dv}})
      if (file->header().rows != shapes.tokens || file->header().columns != columns)
        throw InputError(fmt::format("{}: {} x {} here, {} x {} where it was looked at first",
                                     file == &keys_ ? options.keys : options.values, file->header().rows,
                                     file->header().columns, shapes.tokens, columns));
  }
  [[nodiscard]] LoadedRows rows(std::uint64_t first, std::uint64_t end) const {
    end = std::max(first, end);
    return {first, keys_.rows(first, end - first), values_.rows(first, end - first)};
  }
  /// Adds rows first .. end - 1 to the state, in blocks.
  void add(std::uint64_t first, std::uint64_t end, AnisotropicState& state) const {
    constexpr std::uint64_t most = 4096;
    while (first < end) {
      const LoadedRows loaded = rows(first, std::min(end, first + most));
      std::vector<std::uint64_t> tokens(static_cast<std::size_t>(loaded.keys.rows));
      std::iota(tokens.begin(), tokens.end(), first);
      state.add({.keys = loaded.keys.values, .values = loaded.values.values, .tokens = tokens});
      first += loaded.keys.rows;
    }
  }

 private:
  NpyFile keys_, values_;
};

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
  AttendReport report{
      .mode = options.mode, .n = shapes.tokens, .queries = shapes.queries, .d = shapes.d, .dv = shapes.dv};
  const auto rank = static_cast<std::uint64_t>(communicator.local_rank());
  const auto ranks = static_cast<std::uint64_t>(communicator.local_size());
  report.ranks = ranks;
  report.scale = scale_of(options.scale, shapes.d);
  CausalOptions causal{.sinks = options.sliding > 0 ? 0U : 4U, .sliding = options.sliding};
  std::vector<double> numbers;
  std::vector<std::uint64_t> window;
  auto start = Clock::now();
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!root) return;
    for (const std::string* path : {&options.output_path, &options.errors_path})
      if (!path->empty()) require_creatable(*path);
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
  report.calibration_seconds = seconds_since(start);
  const auto calibration = AnisotropicCalibration::from_numbers(numbers);

  // Blocks of this rank, and the first row that is in the window at the first of them.
  const std::uint64_t blocks = (shapes.tokens + CausalAttention::block - 1) / CausalAttention::block;
  const auto first_token = [&](std::uint64_t of) {
    return std::min(shapes.tokens, share(blocks, of, ranks) * CausalAttention::block);
  };
  const auto first_recent = [&](std::uint64_t first) {
    return first - std::min(causal.window, first - std::min(causal.sinks, first));
  };
  const std::uint64_t first = first_token(rank), end = first_token(rank + 1);
  start = Clock::now();
  std::optional<TokenFiles> files;
  std::optional<NpyFile> queries;
  AnisotropicState before(calibration), own(calibration);
  engine::together(communicator, [&](mpi::FailureSignal&) {
    files.emplace(options, shapes);
    queries.emplace(options.queries);
    if (options.sliding > 0) {
      files->add(first + 1 > options.sliding ? first + 1 - options.sliding : 0, first_recent(first), before);
    } else if (rank + 1 < ranks) {
      files->add(std::max(first_recent(first), std::min(causal.sinks, shapes.tokens)), first_recent(end), own);
    }
  });
  if (options.sliding == 0) add_states_before(communicator, own, before);
  report.merge_seconds = communicator.all_max(seconds_since(start));
  start = Clock::now();
  std::vector<double> outputs, errors;
  std::uint64_t fallbacks = 0;
  engine::together(communicator, [&](mpi::FailureSignal& signal) {
    if (first == end) return;
    const std::uint64_t recent_from = first_recent(first);
    std::optional<CausalAttention> attention;
    {
      const LoadedRows sinks = files->rows(0, std::min(causal.sinks, first)), recent = files->rows(recent_from, first);
      attention.emplace(std::move(before), causal, first, sinks.rows(), recent.rows());
    }
    for (std::uint64_t token = first; token < end && !signal.local_raised(); token += CausalAttention::block) {
      const std::uint64_t count = std::min(CausalAttention::block, end - token);
      DenseMatrix block = queries->rows(token, count);
      for (double& number : block.values) number *= report.scale;
      const LoadedRows loaded = files->rows(token, token + count);
      const CausalAttention::Range gone = attention->leaving(count);
      const LoadedRows leaving = files->rows(gone.first, gone.first + gone.count);
      const AnisotropicAnswers answers =
          attention->answer(block.values, loaded.keys.values, loaded.values.values, leaving.rows(), options.estimate);
      outputs.insert(outputs.end(), answers.outputs.values.begin(), answers.outputs.values.end());
      errors.insert(errors.end(), answers.errors.begin(), answers.errors.end());
      fallbacks += answers.fallbacks;
    }
    if (end == shapes.tokens) own = attention->state();
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
    report.comparison = compare(communicator, options, shapes, root ? written->all() : DenseMatrix());
  if (!root) return done;
  describe(calibration, report);
  report.window = causal.window;
  report.state_bytes += sizeof(float) * causal_numbers(causal, shapes.d, shapes.dv);
  warn_of_directions(report);
  if (options.estimate)
    report.estimated = {quantile(all_errors, 0.5), quantile(all_errors, 0.99), quantile(all_errors, 1)};
  finish(options, all_errors, *written, report);
  return done;
}

int attend(const mpi::Communicator& communicator, const AttendOptions& options) {
  if (options.is_exact()) return attend_exactly(communicator, options);
  if (options.is_causal()) return attend_causally(communicator, options);
  const bool root = communicator.local_is_root();
  engine::Session::Options session_options;
  engine::Sources sources;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!root) return;
    if (!options.state_path.empty()) {
      session_options.start = load_state(options.state_path);
      if (dynamic_cast<const AttentionState*>(&session_options.start->kept()) == nullptr)
        throw InputError(fmt::format("{} is a state of {}, expected one of attention", options.state_path,
                                     session_options.start->kept().holds()));
    }
    for (const std::string* path : {&options.save_path, &options.output_path, &options.errors_path})
      if (!path->empty()) require_creatable(*path);
  });
  const bool continues = !options.state_path.empty();
  const Shapes shapes =
      shapes_of_inputs(communicator, options, root && continues ? &session_options.start->problem() : nullptr);

  AttendReport report{
      .mode = options.mode, .n = shapes.tokens, .queries = shapes.queries, .d = shapes.d, .dv = shapes.dv};
  report.ranks = static_cast<std::uint64_t>(communicator.local_size());
  AnisotropicOptions anisotropic = anisotropic_options(options, shapes);
  const auto start = Clock::now();
  Problem problem;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!root) return;
    if (continues) {
      problem = session_options.start->problem();
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
  report.peak_bytes = peak_bytes(anisotropic, options, shapes);

  sources.stream.paths = options.streams;
  sources.stream.on_error = options.on_error;
  sources.stream.progress_seconds = options.progress_seconds;
  if (!options.keys.empty())
    sources.stream.arrays = {.paths = {options.keys, options.values}, .columns = {shapes.d, shapes.dv}};
  engine::Session session(communicator.local_handle(), problem, std::move(sources), std::move(session_options));
  session.advance();
  const State& state = session.snapshot();
  report.updates = state.updates;
  report.skipped = session.statistics().skipped;
  report.ingest_seconds = session.seconds().ingest;
  report.merge_seconds = session.seconds().merge;
  if (root) {
    describe(dynamic_cast<const AttentionState&>(state.kept()).kept()->calibration(), report);
    warn_of_directions(report);
  }
  if (!options.save_path.empty()) session.save(options.save_path);

  std::vector<double> all_errors;
  std::optional<Outputs> outputs;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (root) outputs.emplace(options, shapes, options.compare);
  });
  if (!options.queries.empty()) {
    std::vector<double>& errors = all_errors;  // on the root
    std::uint64_t fallbacks = 0;
    const auto asked = Clock::now();
    for_queries(communicator, options.queries, shapes, [&](DenseMatrix queries, std::uint64_t) {
      const AttendAnswer answer =
          *session.answer({.attend = AttendQuestion{std::move(queries), options.estimate}}).attention;
      fallbacks += answer.fallbacks;
      communicator.gather_in_order(answer.outputs.values,
                                   [&](std::span<const double> numbers) { outputs->add(numbers); });
      communicator.gather_in_order(answer.errors, [&](std::span<const double> numbers) {
        errors.insert(errors.end(), numbers.begin(), numbers.end());
      });
    });
    report.query_seconds = communicator.all_max(seconds_since(asked));
    report.fallbacks = communicator.all_sum(fallbacks);
    if (root && options.estimate)
      report.estimated = {quantile(errors, 0.5), quantile(errors, 0.99), quantile(errors, 1)};
    if (options.compare)
      report.comparison = compare(communicator, options, shapes, root ? outputs->all() : DenseMatrix());
  }
  if (root) finish(options, all_errors, *outputs, report);
  return done;
}

std::uint64_t parse_bytes(const std::string& text) {
  constexpr WholeRange range{64, std::uint64_t{1} << 40};
  for (const auto& [suffix, factor] : {std::pair{std::string("KiB"), std::uint64_t{1} << 10},
                                       {"MiB", std::uint64_t{1} << 20},
                                       {"GiB", std::uint64_t{1} << 30}}) {
    if (!text.ends_with(suffix)) continue;
    const std::uint64_t count =
        parse_whole("--budget", text.substr(0, text.size() - suffix.size()), {1, range.highest / factor});
    return count * factor;
  }
  return parse_whole("--budget", text, range);
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
                   "numbers when it leaves. They need --n, --d and --dv")
      ->group(inputs);
  add_path(*command, "--q", options->queries, "Queries: a .npy array, one a row")->type_name("FILE")->group(inputs);
  add_path(*command, "--k", options->keys, "Keys: a .npy array, one token a row")->type_name("FILE")->group(inputs);
  add_path(*command, "--v", options->values, "Values: a .npy array with as many rows")
      ->type_name("FILE")
      ->group(inputs);
  add_whole(
      *command, "--n", {1, max_dimension}, [options](std::uint64_t value) { options->tokens = value; },
      "Number of tokens: their indices are below it. By default that of the rows of --k")
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
  add_real(
      *command, "--progress", {0, 1e9, true}, [options](double value) { options->progress_seconds = value; },
      "A line on standard error every so many seconds")
      ->type_name("SECONDS")
      ->group(output);
  command
      ->add_option("--mode", options->mode,
                   "anisotropic: a state of --budget bytes that is linear in the tokens, with features\n"
                   "chosen for the directions in which scores vary. exact: all keys and values on every\n"
                   "rank, in doubles")
      ->check(one_of({"anisotropic", "exact"}))
      ->type_name("anisotropic|exact")
      ->capture_default_str()
      ->group(method);
  command->add_option("--scale", options->scale, "Scores are scale q.k. sqrt: 1/sqrt(D). dim: 1/D. Or a number")
      ->type_name("sqrt|dim|NUMBER")
      ->capture_default_str()
      ->group(method);
  command
      ->add_option_function<std::string>(
          "--budget", [options](const std::string& text) { options->budget = parse_bytes(text); },
          "Bytes of the state, 4 a number: calibration, features and exact rows. Errors fall fast\n"
          "with it. A sample of 256 rows, which errors are estimated from, comes on top")
      ->type_name("BYTES")
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
      *command, "--degree", {1, 12},
      [options](std::uint64_t value) { options->degree = static_cast<std::uint32_t>(value); },
      "Highest degree of a feature; 10, or 6 with clusters")
      ->type_name("G")
      ->group(method);
  add_whole(
      *command, "--seed", {0, (std::uint64_t{1} << 53) - 1}, [options](std::uint64_t value) { options->seed = value; },
      "Of the sample of rows that errors are estimated from, and of the methods of --compare")
      ->type_name("U53")
      ->default_str("0")
      ->group(method);
  add_path(*command, "--state", options->state_path,
           "Go on from this saved state, with its calibration: more tokens, or queries alone")
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
  command->add_flag("--json", options->json, "Print one JSON object in place of a table; its fields are listed below")
      ->group(output);
  command->footer(
      "Examples:\n"
      "  weir attend --q Q.npy --k K.npy --v V.npy -o Y.npy --compare\n"
      "  mpirun -n 4 weir attend --q Q.npy --k K.npy --v V.npy --budget 256KiB --save S.weir\n"
      "  weir attend --state S.weir --q MORE.npy -o Y.npy\n"
      "\n"
      "The object of --json:\n"
      "  mode, n, queries, d, dv, scale, ranks, updates, skipped, seed\n"
      "  degree, features (of each cluster), exact_rows, clusters, directions, varied_directions (in which scores vary "
      "by\n"
      "    more than 0.1)\n"
      "  calibration_bytes, state_bytes (with the calibration), peak_bytes (of a rank, at most, about), cache_bytes "
      "(of all\n"
      "    keys and values in fp32)\n"
      "  seconds: features (the calibration), ingest, merge, recover (all queries), token and query (one each); with\n"
      "    --compare exact_query\n"
      "  fallbacks: queries whose normaliser was replaced by a lower bound\n"
      "  estimated_error: median, p99, max over the queries, relative l2. Three times it covers the error of 99% of\n"
      "    queries\n"
      "  with --compare: error {relative_frobenius, median, p99, max, mean_only}, and peers {uniform, value_norm, "
      "window,\n"
      "    random_features, balance: the same errors, kept, bytes, seconds {token, query}}");
  command->callback([options, &action] {
    action = [options] {
      options->check();
      return run_over_mpi([&](const mpi::Communicator& communicator) { return attend(communicator, *options); });
    };
  });
}

}  // namespace weir::app
