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

#include "process.hpp"
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

namespace {

/// Refuses an empty name, which a script gives by mistake.
CLI::Validator not_empty() {
  return CLI::Validator(
      [](const std::string& text) { return text.empty() ? std::string("an empty text given, expected a file") : ""; },
      "");
}

}  // namespace

CLI::Option* add_path(CLI::App& app, const std::string& name, std::string& path, const std::string& description) {
  return app.add_option(name, path, description)->check(not_empty());
}

CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::string>& paths,
                       const std::string& description) {
  return app.add_option(name, paths, description)->check(not_empty());
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

SizeRequest SketchOptions::size_request() const {
  SizeRequest request;
  request.samples = samples;
  request.failure = failure;
  request.epsilon = epsilon.value_or(request.epsilon);
  request.without_replacement = without_replacement;
  request.p = p.value_or(request.p);
  request.threshold = threshold.value_or(request.threshold);
  if (for_precision) request.precision = precision_target();
  request.rows = rows;
  request.buckets = buckets;
  request.lanes = lanes;
  request.levels = levels;
  request.randomness = randomness.value_or(request.randomness);
  request.seed = seed.value_or(request.seed);
  return request;
}

void SketchOptions::require_consistent(const Problem& saved) const {
  const auto require = [](std::string_view option, const auto& given, auto held) {
    if (given && *given != held)
      throw UsageError(fmt::format("{} {} contradicts the saved state, which has {}", option, *given, held));
  };
  const SketchConfig& sketch = saved.sketch;
  require("--rows", rows, sketch.rows);
  require("--buckets", buckets, sketch.buckets);
  require("--lanes", lanes, sketch.lanes);
  require("--levels", levels, sketch.levels);
  require("--p", p, saved.exponent());
  require("--seed", seed, sketch.seed);
  if (saved.precision) {
    require("--epsilon", epsilon, saved.precision->epsilon);
    require("--precision-constant", precision_constant, saved.precision->constant);
  } else if (precision_constant) {
    throw UsageError("--precision-constant contradicts the saved state, which is for the sampler perfect");
  }
  if (randomness && *randomness != sketch.randomness)
    throw UsageError(fmt::format("--randomness {} contradicts the saved state, which has {}", to_string(*randomness),
                                 to_string(sketch.randomness)));
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
  handle_signals();  // again, whatever MPI has made of them
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
    throw InputError(fmt::format("standard output: {}", errno == EBADF ? "closed" : std::strerror(errno)));
}

void say(const std::string& line) {
  // One call, so that a launcher that mixes the output of ranks does not cut the line.
  const std::string whole = line + '\n';
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

int report_error(ExitCode code, const std::string& message) {
  std::string line = message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::fflush(stdout);
  say("weir: error: " + line);
  return code;
}

}  // namespace weir::app
