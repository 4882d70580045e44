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

#include "weir/engine/ingest.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/io/operand.hpp"
#include "weir/sample/dense_operand.hpp"
#include "weir/stream/reader.hpp"

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

std::string ModelOptions::fixed_file(std::string_view operand) const {
  for (const std::string& given : fixed) {
    const std::size_t equals = given.find('=');
    if (given.substr(0, equals) == operand) return given.substr(equals + 1);
  }
  return {};
}

std::string_view to_string(Method method) noexcept {
  switch (method) {
    case Method::streaming:
      return "streaming";
    case Method::two_stage:
      return "two-stage";
    case Method::exact:
      return "exact";
  }
  return "";
}

Method ModelOptions::method() const {
  const bool one_is_fixed = fixed_file("A1").empty() != fixed_file("A2").empty();
  return given_method.value_or(one_is_fixed ? Method::streaming : Method::two_stage);
}

bool ModelOptions::factors_are_fixed() const {
  return is_kronecker() && !fixed_file("A1").empty() && !fixed_file("A2").empty();
}

KroneckerShape ModelOptions::kronecker_shape() const { return {*n1, *n2, *d1, *d2}; }

std::vector<engine::FixedOperand> ModelOptions::fixed_operands() const {
  std::vector<engine::FixedOperand> operands;
  for (const Operand operand : {Operand::A, Operand::A1, Operand::A2, Operand::X})
    if (std::string path = fixed_file(to_string(operand)); !path.empty())
      operands.push_back({operand, std::move(path)});
  return operands;
}

namespace {

/// The operands of a model that may be fixed.
std::vector<std::string_view> fixable(std::string_view model) {
  if (model == ProductModel::name) return {"A", "x"};
  if (model == KroneckerModel::name) return {"A1", "A2", "X"};
  return {};
}

/// Throws UsageError for options of other models than `name`.
void require_no_foreign_options(const ModelOptions& options, const std::string& name) {
  const auto refuse = [&](bool given, std::string_view option, std::string_view belongs_to) {
    if (given) throw UsageError(fmt::format("{} belongs to --model {}; the model is {}", option, belongs_to, name));
  };
  if (!options.is_kronecker()) {
    refuse(options.n1.has_value(), "--n1", KroneckerModel::name);
    refuse(options.n2.has_value(), "--n2", KroneckerModel::name);
    refuse(options.d1.has_value(), "--d1", KroneckerModel::name);
    refuse(options.d2.has_value(), "--d2", KroneckerModel::name);
    refuse(options.given_method.has_value(), "--method", KroneckerModel::name);
    if (!options.is_rows()) {
      refuse(options.exact_gram.has_value(), "--gram", "kronecker and rows");
      refuse(options.gram_buckets.has_value(), "--gram-buckets", "kronecker and rows");
    }
  } else {
    if (options.n || options.d)
      throw UsageError("--model kronecker has the sides --n1, --n2, --d1 and --d2, not --n and --d");
    if ((options.exact_gram || options.gram_buckets) && options.method() != Method::two_stage)
      throw UsageError("--gram and --gram-buckets belong to --method two-stage");
  }
}

}  // namespace

void ModelOptions::check(bool knows_shape) const {
  const std::string name = this->name();
  const std::vector<std::string_view> allowed = fixable(name);
  std::set<std::string> names;
  for (const std::string& given : fixed) {
    const std::size_t equals = given.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == given.size())
      throw UsageError(fmt::format("--fixed: '{}' given, expected NAME=FILE", given));
    const std::string operand = given.substr(0, equals);
    if (std::ranges::find(allowed, operand) == allowed.end())
      throw UsageError(fmt::format("--fixed: the operand '{}' cannot be fixed in the model {}; {}", operand, name,
                                   allowed.empty() ? std::string("it has none to fix")
                                                   : fmt::format("expected {}", fmt::join(allowed, " or "))));
    if (!names.insert(operand).second)
      throw UsageError(fmt::format("--fixed: the operand '{}' is given more than once", operand));
  }
  if (!knows_shape || model) require_no_foreign_options(*this, name);
  if (name == ProductModel::name && fixed.empty() && !d && !knows_shape)
    throw UsageError(
        "--model product with both operands in the stream needs --d, the length of x; or fix one of them: "
        "--fixed x=FILE, --fixed A=FILE");
  if (name == VectorModel::name && d) throw UsageError("--d is the length of x; the model vector has none");
  if (is_rows() && !d && !knows_shape) throw UsageError("--model rows needs --d, the number of columns of A");
  if (!is_kronecker()) return;
  if (method() == Method::streaming && names.contains("A1") == names.contains("A2"))
    throw UsageError(
        names.contains("A1")
            ? "--method streaming: A1 and A2 are both fixed, and one of them has to stream; --method two-stage and "
              "--method exact take fixed factors"
            : "--method streaming: one factor streams and the other is fixed, --fixed A1=FILE or --fixed A2=FILE; with "
              "--method two-stage both factors may stream, and X too");
}

void add_model_options(CLI::App& app, ModelOptions& options) {
  const std::string group = "Model";
  app.add_option(
         "--model", options.model,
         "vector: y is the stream of events i,delta. product: y = A x, with events A,i,j,delta; A,i,*,v0,v1,... "
         "for a whole row that comes, A,i,-*,... for one that leaves; x,j,delta. kronecker: y = (A1 (x) A2) vec X, the "
         "matrix A1 X A2^T, with events of A1, A2 and X. rows: whole rows a of A, by a^T M a")
      ->check(one_of({"vector", "product", "kronecker", "rows"}))
      ->type_name("vector|product|kronecker|rows")
      ->default_str("vector")
      ->group(group);
  add_whole(
      app, "--n", {1, max_dimension}, [&options](std::uint64_t value) { options.n = value; },
      "Length of y, rows of A: indices are 0 .. N-1; costs no memory. Without it any index below 2^63 is taken, at "
      "about "
      "twice the time and memory of a small N; a fixed A says it itself")
      ->group(group);
  add_whole(
      app, "--d", {1, max_dimension}, [&options](std::uint64_t value) { options.d = value; },
      "Length of x, columns of A; without it that of a fixed operand. Where x streams, or rows are drawn, the sketch "
      "holds D times as much")
      ->type_name("D")
      ->group(group);
  const auto add_side = [&](const char* name, std::optional<std::uint64_t>& side, const char* description) {
    add_whole(
        app, name, {1, max_dimension}, [&side](std::uint64_t value) { side = value; }, description)
        ->group(group);
  };
  add_side("--n1", options.n1,
           "Rows of A1: i1 is 0 .. N1-1. A fixed factor says it itself; --method two-stage can do without");
  add_side("--n2", options.n2, "Rows of A2: i2 is 0 .. N2-1");
  add_side("--d1", options.d1, "Columns of A1, rows of X; without it those of a fixed operand");
  add_side("--d2", options.d2, "Columns of A2 and of X");
  app.add_option(
         "--fixed", options.fixed,
         "An operand loaded once instead of streamed. x=FILE: .npy, .mtx, or text with one number a line. "
         "A=FILE: .npy or coordinate .mtx, read in slices by all ranks and sketched; then a change of x costs next to "
         "nothing. A1=FILE, A2=FILE, X=FILE likewise; X is the identity when it neither is fixed nor streams. With all "
         "operands fixed there is no STREAM")
      ->type_name("NAME=FILE")
      ->allow_extra_args(false)
      ->group(group);
  app.add_option_function<std::string>(
         "--method",
         [&options](const std::string& text) {
           options.given_method = text == "streaming" ? Method::streaming
                                  : text == "exact"   ? Method::exact
                                                      : Method::two_stage;
         },
         "Of --model kronecker. streaming: one factor streams into a sketch of y, the other and X are fixed; exact "
         "values, "
         "O(N2) time an event (N1 when A2 streams), O((N1 + N2) D / ranks) memory. two-stage: all may stream, O(1) in "
         "N1 "
         "and N2. exact: the operands themselves, O((N1 + N2) D) a rank. Without it streaming when one factor is "
         "fixed, "
         "else two-stage")
      ->check(one_of({"streaming", "two-stage", "exact"}))
      ->type_name("streaming|two-stage|exact")
      ->group(group);
  app.add_option_function<std::string>(
         "--gram", [&options](const std::string& text) { options.exact_gram = text == "exact"; },
         "How A^T A is kept, of --model rows and --method two-stage: sketch, for every stream; exact, D^2 numbers "
         "without "
         "error, where rows come and go whole")
      ->check(one_of({"sketch", "exact"}))
      ->type_name("sketch|exact")
      ->default_str("sketch")
      ->group(group);
  add_whole(
      app, "--gram-buckets", {2, std::uint64_t{1} << 31},
      [&options](std::uint64_t value) { options.gram_buckets = value; },
      "Buckets of that sketch, a power of two, in place of what epsilon chooses: it moves the law of the draws by "
      "about "
      "sqrt(2 / (5 BUCKETS)) / 2")
      ->type_name("BUCKETS")
      ->group(group);
}

void ModelOptions::complete(const mpi::Communicator& communicator, std::uint64_t most_rows) {
  std::vector<std::uint64_t> sides(6);
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    for (const auto& [operand, path] : fixed_operands()) {
      const std::string name(to_string(operand));
      if (is_pipe(path))
        throw UsageError(
            fmt::format("--fixed: {} is read by slices and more than once: {} is a pipe, expected a file", name, path));
      std::optional<std::uint64_t>& rows = operand == Operand::A    ? n
                                           : operand == Operand::A1 ? n1
                                           : operand == Operand::A2 ? n2
                                                                    : d1;
      std::optional<std::uint64_t>& columns = operand == Operand::A ? d : operand == Operand::A1 ? d1 : d2;
      const auto stated = stated_shape(path);
      const std::string needed = operand == Operand::A   ? "--n and --d"
                                 : operand == Operand::X ? "--d1 and --d2"
                                                         : fmt::format("--n{0} and --d{0}", name[1]);
      if (!stated) equate_columns();
      if (!stated && !(rows && columns))
        throw UsageError(
            fmt::format("--fixed: {} is neither .npy nor Matrix Market and does not say its shape; as a "
                        "file of events it needs {}",
                        path, needed));
      if (!stated) continue;
      const auto [stated_rows, stated_columns] = *stated;
      const std::string row_option = needed.substr(0, needed.find(' '));
      const std::string column_option = needed.substr(needed.rfind(' ') + 1);
      const auto contradicts = [&](const std::string& option, std::uint64_t given) {
        throw InputError(
            fmt::format("{}: {} x {} numbers, but {} is {}", path, stated_rows, stated_columns, option, given));
      };
      if (rows && (operand == Operand::X ? *rows != stated_rows : *rows < stated_rows)) contradicts(row_option, *rows);
      if (columns && *columns != stated_columns) contradicts(column_option, *columns);
      rows = rows.value_or(stated_rows);
      columns = stated_columns;
    }
    if (is_kronecker()) complete_kronecker(most_rows);
    sides = {n.value_or(0), d.value_or(0), n1.value_or(0), n2.value_or(0), d1.value_or(0), d2.value_or(0)};
  });
  communicator.broadcast(sides);
  const std::array all{&n, &d, &n1, &n2, &d1, &d2};
  for (std::size_t k = 0; k < all.size(); ++k)
    if (sides[k] != 0) *all[k] = sides[k];
}

void ModelOptions::equate_columns() {
  if (!streams_one_factor() || !fixed_file("X").empty()) return;
  if (!d1) d1 = d2;
  if (!d2) d2 = d1;
  if (d1 && *d1 != *d2)
    throw UsageError(
        fmt::format("X is not the identity, as A1 has {} columns and A2 has {}: expected --fixed X=FILE", *d1, *d2));
}

void ModelOptions::complete_kronecker(std::uint64_t most_rows) {
  equate_columns();
  const auto require = [](const std::optional<std::uint64_t>& side, std::string_view option, std::string_view meaning) {
    if (!side) throw UsageError(fmt::format("--model kronecker needs {}, the {}", option, meaning));
  };
  require(d1, "--d1", "number of columns of A1");
  require(d2, "--d2", "number of columns of A2");
  if (method() == Method::two_stage) {
    n1 = n1.value_or(most_rows);
    n2 = n2.value_or(most_rows);
  }
  require(n1, "--n1", "number of rows of A1");
  require(n2, "--n2", "number of rows of A2");
  if (method() == Method::streaming && *n1 > max_dimension / *n2)
    throw UsageError(fmt::format(
        "--method streaming: n1 n2 = {} x {} is more than 2^63; --method two-stage has no such limit", *n1, *n2));
}

DenseMatrix ModelOptions::core(const mpi::Communicator& communicator) const {
  // Two of it, while it is read.
  const std::uint64_t bytes = engine::doubles_in_bytes(*d1, *d2);
  engine::require_memory(communicator, engine::add_saturated(bytes, bytes), 0,
                         fmt::format("X, d1 = {} by d2 = {},", *d1, *d2));
  const std::string path = fixed_file("X");
  DenseMatrix core{*d1, *d2, {}};
  if (path.empty()) {
    core.values.resize(static_cast<std::size_t>(*d1 * *d2));
    for (std::uint64_t j = 0; j < *d1; ++j) core.values[j * *d2 + j] = 1;
    return core;
  }
  DenseOperand operand(*d1, *d2, "X");
  engine::ingest(
      communicator, {.paths = {path}}, {{Operand::X, *d1, *d2}}, Operand::X,
      [&](const EventBatch& batch) {
        operand.update(batch.i, batch.j, batch.delta);
        operand.update_rows(batch.rows.i, batch.rows.weights, batch.rows.values);
      },
      engine::Delivery::every_rank);
  core.values.assign(operand.table().begin(), operand.table().end());
  return core;
}

Model ModelOptions::build(const mpi::Communicator& communicator, std::uint64_t dimension, std::uint32_t degree,
                          const GramConfig& gram) const {
  if (name() == VectorModel::name) return VectorModel(dimension);
  if (is_rows()) return RowsModel(dimension, *d, gram);
  if (is_kronecker()) return KroneckerModel(kronecker_shape(), gram);
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

SamplingRequest SketchOptions::request(std::uint64_t dimension) const {
  SamplingRequest request;
  request.dimension = dimension;
  request.samples = samples;
  request.failure = failure;
  request.epsilon = epsilon;
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
  return with_overrides(precision_constant ? suggest_precision_config({.dimension = dimension,
                                                                       .samples = samples,
                                                                       .failure = failure,
                                                                       .epsilon = epsilon,
                                                                       .constant = *precision_constant})
                                           : suggest_config(request(dimension)));
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
