#include "options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/operand.hpp"
#include "weir/sample/sizing.hpp"
#include "weir/stream/reader.hpp"

namespace weir::app {
namespace {

std::uint64_t parse_whole(const std::string& option, std::string_view text, WholeRange range) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hexadecimal ? text.substr(2) : text;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size() || value < range.lowest || value > range.highest)
    throw CLI::ValidationError(
        option, fmt::format("'{}' given, expected a whole number from {} to {}", text, range.lowest, range.highest));
  return value;
}

}  // namespace

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

template <class Parse>
auto parse_list(const std::string& text, const Parse& parse) {
  std::vector<decltype(parse(std::string()))> values;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    values.push_back(parse(text.substr(start, comma - start)));
    start = comma + 1;
  }
  return values;
}

}  // namespace

std::vector<std::uint64_t> parse_whole_list(const std::string& option, const std::string& text, WholeRange range) {
  return parse_list(text, [&](const std::string& item) { return parse_whole(option, item, range); });
}

std::vector<double> parse_real_list(const std::string& option, const std::string& text, RealRange range) {
  return parse_list(text, [&](const std::string& item) { return parse_real(option, item, range); });
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

std::string ModelOptions::fixed_file(std::string_view operand) const {
  for (const std::string& given : fixed) {
    const std::size_t equals = given.find('=');
    if (given.substr(0, equals) == operand) return given.substr(equals + 1);
  }
  return {};
}

void ModelOptions::check(bool knows_shape) const {
  const std::string name = this->name();
  std::set<std::string> names;
  for (const std::string& given : fixed) {
    const std::size_t equals = given.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == given.size())
      throw UsageError(fmt::format("--fixed: '{}' given, expected NAME=FILE", given));
    const std::string operand = given.substr(0, equals);
    if (name != ProductModel::name || (operand != "x" && operand != "A"))
      throw UsageError(fmt::format("--fixed: the operand '{}' cannot be fixed in the model {}; {}", operand, name,
                                   name == ProductModel::name ? "expected A or x" : "it has none to fix"));
    if (!names.insert(operand).second)
      throw UsageError(fmt::format("--fixed: the operand '{}' is given more than once", operand));
  }
  if (name == ProductModel::name && fixed.empty() && !d && !knows_shape)
    throw UsageError(
        "--model product with both operands in the stream needs --d, the length of x; or fix one of them: "
        "--fixed x=FILE, --fixed A=FILE");
  if (name == VectorModel::name && d) throw UsageError("--d is the length of x; the model vector has none");
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  const std::string group = "Model";
  app.add_option(
         "--model", options.model,
         "vector: y is the stream of events i,delta. product: y = A x, with events A,i,j,delta; A,i,*,v0,v1,... "
         "for a whole row that comes, A,i,-*,... for one that leaves; x,j,delta")
      ->check(one_of({"vector", "product"}))
      ->type_name("vector|product")
      ->default_str("vector")
      ->group(group);
  add_whole(
      app, "--n", {1, max_dimension}, [&options](std::uint64_t value) { options.n = value; },
      "Length of y: indices are 0 .. N-1; costs no memory. Without it any index below 2^63 is taken, at about twice "
      "the time and memory of a small N; a fixed A says it itself")
      ->group(group);
  add_whole(
      app, "--d", {1, max_dimension}, [&options](std::uint64_t value) { options.d = value; },
      "Length of x, columns of A; without it that of a fixed operand. Where x streams, the sketch holds D times as "
      "much")
      ->type_name("D")
      ->group(group);
  app.add_option(
         "--fixed", options.fixed,
         "An operand loaded once instead of streamed. x=FILE: .npy, .mtx, or text with one number a line. "
         "A=FILE: .npy or coordinate .mtx, read in slices by all ranks and sketched; then a change of x costs next to "
         "nothing. With both there is no STREAM")
      ->type_name("NAME=FILE")
      ->allow_extra_args(false)
      ->group(group);
}

void ModelOptions::complete(const mpi::Communicator& communicator) {
  const std::string path = fixed_file("A");
  if (path.empty()) return;
  std::array<std::uint64_t, 2> shape{};
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    if (is_pipe(path))
      throw UsageError(
          fmt::format("--fixed: A is read by slices and more than once: {} is a pipe, expected a file", path));
    const auto stated = stated_shape(path);
    if (!stated && !(n && d))
      throw UsageError(
          fmt::format("--fixed: {} is neither .npy nor Matrix Market and does not say its shape; as a "
                      "file of events it needs --n and --d",
                      path));
    shape = stated.value_or(std::array{n.value_or(0), d.value_or(0)});
    if (n && *n < shape[0])
      throw InputError(fmt::format("{}: {} x {} numbers, but --n is {}", path, shape[0], shape[1], *n));
    if (d && *d != shape[1])
      throw InputError(fmt::format("{}: {} x {} numbers, but --d is {}", path, shape[0], shape[1], *d));
  });
  const std::uint64_t rows = communicator.broadcast(shape[0]);
  n = n.value_or(rows);
  d = communicator.broadcast(shape[1]);
}

Model ModelOptions::build(const mpi::Communicator& communicator, std::uint64_t dimension, std::uint32_t degree) const {
  if (name() == VectorModel::name) return VectorModel(dimension);
  const std::string path = fixed_file("x");
  if (path.empty()) return StreamedProductModel(dimension, *d, degree);
  std::vector<double> x;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    DenseMatrix operand = load_operand(path);
    if (operand.rows != 1 && operand.columns != 1)
      throw InputError(fmt::format("{}: {} x {} numbers, expected a vector x", path, operand.rows, operand.columns));
    if (d && *d != operand.values.size())
      throw InputError(fmt::format("{}: a vector of length {}, but {} {}", path, operand.values.size(),
                                   fixed_file("A").empty() ? "--d is" : "the columns of A are", *d));
    x = std::move(operand.values);
  });
  communicator.broadcast(x);
  return ProductModel(dimension, std::move(x), degree);
}

SketchConfig SketchOptions::configuration(std::uint64_t dimension) const {
  SamplingRequest request;
  request.dimension = dimension;
  request.samples = samples;
  request.failure = failure;
  request.epsilon = epsilon;
  request.p = p.value_or(request.p) / degree();
  request.threshold = threshold.value_or(request.threshold);
  request.without_replacement = without_replacement;
  SketchConfig config = precision_constant ? suggest_precision_config({.dimension = dimension,
                                                                       .samples = samples,
                                                                       .failure = failure,
                                                                       .epsilon = epsilon,
                                                                       .constant = *precision_constant})
                                           : suggest_config(request);
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

void SketchOptions::require_consistent(const SketchConfig& saved, std::uint32_t saved_degree) const {
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
    communicator.local_abort(input_error);
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
