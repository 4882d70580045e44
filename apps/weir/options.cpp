#include "options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>

#include "weir/engine/ingest.hpp"
#include "weir/error.hpp"
#include "weir/mpi/environment.hpp"

namespace weir::app {

std::uint64_t parse_whole(const std::string& option, const std::string& text, WholeRange range) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = std::string_view(text).substr(hexadecimal ? 2 : 0);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size() || value < range.lowest || value > range.highest)
    throw CLI::ValidationError(
        option, fmt::format("'{}' given, expected a whole number from {} to {}", text, range.lowest, range.highest));
  return value;
}

double parse_real(const std::string& option, const std::string& text, RealRange range) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool inside = (range.without_lowest ? value > range.lowest : value >= range.lowest) &&
                      (range.without_highest ? value < range.highest : value <= range.highest);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) || !inside)
    throw CLI::ValidationError(option, fmt::format("'{}' given, expected a number {} {} and {} {}", text,
                                                   range.without_lowest ? "above" : "from", range.lowest,
                                                   range.without_highest ? "below" : "up to", range.highest));
  return value;
}

CLI::Option* add_whole(CLI::App& app, const std::string& name, WholeRange range,
                       const std::function<void(std::uint64_t)>& assign, const std::string& description) {
  return app
      .add_option_function<std::string>(
          name, [=](const std::string& text) { assign(parse_whole(name, text, range)); }, description)
      ->type_name("N");
}

CLI::Option* add_real(CLI::App& app, const std::string& name, RealRange range,
                      const std::function<void(double)>& assign, const std::string& description) {
  return app
      .add_option_function<std::string>(
          name, [=](const std::string& text) { assign(parse_real(name, text, range)); }, description)
      ->type_name("NUMBER");
}

CLI::Validator one_of(const std::set<std::string>& names) {
  const auto refuse = [names](const std::string& text) {
    return names.contains(text) ? std::string()
                                : fmt::format("'{}' given, expected {}", text, fmt::join(names, " or "));
  };
  return CLI::Validator(refuse, "");
}

void add_on_error_option(CLI::App& app, OnError& on_error) {
  app.add_option_function<std::string>(
         "--on-error",
         [&on_error](const std::string& text) { on_error = text == "skip" ? OnError::skip : OnError::stop; },
         "What a bad line does: stop the job with nothing emitted, or be skipped and counted")
      ->check(one_of({"stop", "skip"}))
      ->type_name("stop|skip")
      ->default_str("stop")
      ->group("Stream");
}

void add_format_option(CLI::App& app, std::optional<EventFormat>& format) {
  app.add_option_function<std::string>(
         "--to", [&format](const std::string& to) { format = to == "text" ? EventFormat::text : EventFormat::binary; },
         "Format of the output; otherwise the name decides: text for .csv, .tsv and .txt, else binary")
      ->check(one_of({"text", "binary"}))
      ->type_name("text|binary");
}

void add_stream_options(CLI::App& app, engine::StreamSource& source) {
  app.add_option(
         "STREAM", source.paths,
         "Event files, in any number: .csv .tsv .txt, .gz of them, binary records, Matrix Market, .npy (its row "
         "k is row k of A, or entry k of y); - is standard input. A line is i,delta, A,i,j,delta, or a whole row "
         "that comes, A,i,*,v0,v1,..., or leaves, A,i,-*,v0,v1,...")
      ->type_name("");
  add_on_error_option(app, source.on_error);
  add_real(
      app, "--progress", {0, 1e6, true, false}, [&source](double value) { source.progress_seconds = value; },
      "Write a line to standard error every so often; without it there are none")
      ->type_name("SECONDS")
      ->group("Stream");
}

SamplingRequest SketchOptions::request(std::uint64_t dimension) const {
  SamplingRequest request;
  request.dimension = dimension;
  request.samples = samples;
  request.failure = failure;
  request.epsilon = distortion();
  request.p = p.value_or(request.p) / degree();
  request.threshold = threshold.value_or(request.threshold);
  request.without_replacement = without_replacement;
  return request;
}

SketchConfig SketchOptions::with_overrides(SketchConfig config) const {
  config.rows = rows.value_or(config.rows);
  config.buckets = buckets.value_or(config.buckets);
  config.lanes = lanes.value_or(config.lanes);
  config.levels = levels.value_or(config.levels);
  config.randomness = randomness.value_or(config.randomness);
  config.seed = seed.value_or(config.seed);
  config.validate();
  constexpr std::uint64_t longest_scan = std::uint64_t{1} << 40;
  if (config.groups(config.levels - 1) > longest_scan)
    throw UsageError(
        fmt::format("--levels {}: a query would scan more than 2^40 items one by one; drop --levels, or give "
                    "the length of y with --n when it is shorter",
                    config.levels));
  return config;
}

SketchConfig SketchOptions::configuration(std::uint64_t dimension) const {
  if (!for_precision) return with_overrides(suggest_config(request(dimension)));
  const PrecisionTarget target = precision_target();
  return with_overrides(suggest_precision_config({.dimension = dimension,
                                                  .samples = samples,
                                                  .failure = failure,
                                                  .epsilon = target.epsilon,
                                                  .constant = target.constant}));
}

PairsConfig SketchOptions::pairs_configuration(std::uint64_t n1, std::uint64_t n2, bool exact_gram) const {
  PairsConfig config = suggest_pairs_config(request(n1), n2, exact_gram);
  // Both factors are searched alike.
  config.sketch.dimension = std::max(n1, n2);
  config.sketch = with_overrides(config.sketch);
  config.sketch.dimension = n1;
  return config;
}

SketchConfig SketchOptions::matrix_configuration(std::uint64_t matrix_rows, std::uint64_t columns) const {
  SketchOptions options = *this;
  if (!levels) {
    const std::uint32_t suggested = configuration(matrix_rows * columns).levels;
    // Groups of one entry, or one group of all, find nothing.
    options.levels = matrix_rows == 1 || columns == 1 ? 1 : std::min<std::uint32_t>(suggested, 2);
  }
  SketchConfig config = options.configuration(matrix_rows * columns);
  config.row_length = columns;
  config.validate();
  return config;
}

void SketchOptions::require_consistent(const SketchConfig& saved, std::uint32_t saved_degree,
                                       const std::optional<PrecisionTarget>& target) const {
  const auto require = [](std::string_view option, const auto& given, auto held) {
    if (given && *given != held)
      throw UsageError(fmt::format("{} {} contradicts the saved state, which has {}", option, *given, held));
  };
  require("--rows", rows, saved.rows);
  require("--buckets", buckets, saved.buckets);
  require("--lanes", lanes, saved.lanes);
  require("--levels", levels, saved.levels);
  require("--p", p, saved.p * saved_degree);
  require("--seed", seed, saved.seed);
  if (target) {
    require("--epsilon", epsilon, target->epsilon);
    require("--precision-constant", precision_constant, target->constant);
  } else if (precision_constant) {
    throw UsageError("--precision-constant contradicts the saved state, which is for the sampler perfect");
  }
  if (randomness && *randomness != saved.randomness)
    throw UsageError(fmt::format("--randomness {} contradicts the saved state, which has {}", to_string(*randomness),
                                 to_string(saved.randomness)));
}

void add_sketch_options(CLI::App& app, SketchOptions& options) {
  const std::string group = "Sketch (overrides of what epsilon and failure choose)";
  add_whole(
      app, "--rows", {1, 15}, [&options](std::uint64_t value) { options.rows = static_cast<std::uint32_t>(value); },
      "Independent repetitions, medians are taken over them; odd")
      ->group(group);
  add_whole(
      app, "--buckets", {2, std::uint64_t{1} << 32}, [&options](std::uint64_t value) { options.buckets = value; },
      "Cells of a row; a power of two")
      ->group(group);
  add_whole(
      app, "--lanes", {1, 4096}, [&options](std::uint64_t value) { options.lanes = static_cast<std::uint32_t>(value); },
      "Doubles of a cell: lane 0 measures y, every other one draws once; 1, 2 or a multiple of 8")
      ->group(group);
  add_whole(
      app, "--levels", {1, 3}, [&options](std::uint64_t value) { options.levels = static_cast<std::uint32_t>(value); },
      "1: a query scans all n items; 2, 3: groups of items make it O(n^(1/2)), O(n^(1/3)), for updates that take "
      "about 1.4 and 2.1 times as long")
      ->group(group);
  app.add_option_function<std::string>(
         "--randomness", [&options](const std::string& text) { options.randomness = parse_randomness(text); },
         "Hash functions: mix, a strong keyed mixer; kwise, polynomials over 2^61 - 1, as the theorems ask")
      ->check(one_of({"mix", "kwise"}))
      ->type_name("mix|kwise")
      ->default_str("mix")
      ->group(group);
  add_whole(
      app, "--seed", {}, [&options](std::uint64_t value) { options.seed = value; },
      "Same seed and same integer stream: the same answer to the bit for any number of ranks; decimal or 0x "
      "hexadecimal; drawn from the operating system unless given")
      ->type_name("U64")
      ->group(group);
}

int run_over_mpi(const std::function<int(const mpi::Communicator&)>& job) {
  int argc = 0;
  char** argv = nullptr;
  const mpi::Environment environment(argc, argv);
  const mpi::Communicator communicator;
  // Only the root speaks, and its exit code is that of the job: a launcher may end all processes at the first code that
  // is not 0.
  const auto fail = [&](ExitCode code, const Error& error) {
    return communicator.local_is_root() ? report_error(code, error.what()) : static_cast<int>(done);
  };
  try {
    return job(communicator);
  } catch (const UsageError& error) {
    return fail(usage_error, error);
  } catch (const InputError& error) {
    return fail(input_error, error);
  } catch (const std::exception& error) {
    // Not agreed on: other ranks may wait for this one for ever.
    const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    report_error(input_error,
                 fmt::format("rank {}: {}", communicator.local_rank(), memory ? "out of memory" : error.what()));
    environment.local_abort(input_error);
  }
}

void print_answer(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw InputError(fmt::format("standard output: {}", std::strerror(errno)));
}

int report_error(ExitCode code, const std::string& message) {
  std::string line = message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fflush(stdout);
  fmt::print(stderr, "weir: error: {}\n", line);
  return code;
}

}  // namespace weir::app
