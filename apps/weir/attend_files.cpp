#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "attend.hpp"
#include "options.hpp"
#include "plots.hpp"
#include "run_options.hpp"
#include "weir/engine/memory.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/share.hpp"
#include "weir/state/polynomial_attention_state.hpp"

namespace weir::app {
namespace {

/// How many rows and columns there are.
struct Extent {
  std::uint64_t rows = 0, columns = 0;
};

/// Of a file of events: one more than the largest indices.
Extent extent_of_events(const std::string& path, Operand operand, OnError on_error) {
  EventReader reader({path}, {.on_error = on_error, .default_operand = operand});
  Extent extent;
  EventBatch batch;
  while (reader.next(batch)) {
    for (std::size_t t = 0; t < batch.size(); ++t)
      if (batch.operands[t] == operand)
        extent = {std::max(extent.rows, batch.i[t] + 1), std::max(extent.columns, batch.j[t] + 1)};
    for (std::size_t t = 0; t < batch.rows.size(); ++t)
      if (batch.rows.operands[t] == operand)
        extent = {std::max(extent.rows, batch.rows.i[t] + 1),
                  std::max<std::uint64_t>(extent.columns, batch.rows.row(t).size())};
  }
  if (extent.rows == 0)
    throw InputError(fmt::format("{0}: no row of {1} here, expected lines {1},i,*,...", path, to_string(operand)));
  return extent;
}

/// Sets `size`, or throws InputError where it is known and another.
void agree(std::uint64_t& size, std::uint64_t found, const std::string& path, const char* what) {
  if (size != 0 && size != found) throw InputError(fmt::format("{}: {} {}, expected {}", path, found, what, size));
  size = found;
}

/// Sides that are still 0 become those of the file.
void look_into(const std::string& path, Operand operand, OnError on_error, std::uint64_t& rows, std::uint64_t& columns,
               const char* what) {
  if (is_pipe(path)) return;
  if (const auto shape = stated_shape(path); shape && content_format(path) == StreamFormat::npy) {
    if ((*shape)[0] == 0 || (*shape)[1] == 0)
      throw InputError(fmt::format("{}: the array is {} x {}, expected numbers", path, (*shape)[0], (*shape)[1]));
    agree(columns, (*shape)[1], path, what);
    rows = (*shape)[0];
    return;
  }
  if (rows != 0 && columns != 0) return;
  const Extent extent = extent_of_events(path, operand, on_error);
  if (columns == 0) columns = extent.columns;
  if (rows == 0) rows = extent.rows;
}

Shapes shapes_of_options(const AttendOptions& options, const Problem* known) {
  Shapes shapes;
  if (known == nullptr)
    return {.tokens = options.tokens.value_or(0),
            .queries = options.query_count.value_or(0),
            .d = options.d.value_or(0),
            .dv = options.dv.value_or(0)};
  shapes = {.d = known->side("d"), .dv = known->side("dv")};
  const bool is_of_outputs = known->role(attention_queries()) == Role::streams;
  (is_of_outputs ? shapes.queries : shapes.tokens) = known->side("n");
  for (const auto& [name, given, held] : {std::tuple{"--n", options.tokens, shapes.tokens},
                                          {"--queries", options.query_count, shapes.queries},
                                          {"--d", options.d, shapes.d},
                                          {"--dv", options.dv, shapes.dv}})
    if (given && held != 0 && *given != held)
      throw UsageError(fmt::format("{} {} contradicts the saved state, which has {}", name, *given, held));
  if (shapes.queries == 0) shapes.queries = options.query_count.value_or(0);
  return shapes;
}

Shapes look_at_inputs(const AttendOptions& options, const Problem* known) {
  Shapes shapes = shapes_of_options(options, known);
  const auto bounded = [](const std::string& path, std::uint64_t rows, std::uint64_t& limit, const char* what) {
    if (limit == 0) limit = rows;
    if (rows > limit) throw InputError(fmt::format("{}: {} {}, but there are to be {}", path, rows, what, limit));
  };
  if (!options.keys.empty()) {
    std::uint64_t key_rows = shapes.tokens, value_rows = shapes.tokens;
    look_into(options.keys, attention_keys(), options.on_error, key_rows, shapes.d, "numbers in a key");
    look_into(options.values, attention_values(), options.on_error, value_rows, shapes.dv, "numbers in a value");
    if (is_array(options.keys) && is_array(options.values))
      agree(key_rows, value_rows, options.values, "values for as many keys");
    bounded(options.keys, std::max(key_rows, value_rows), shapes.tokens, "tokens");
    if (is_array(options.keys) && is_array(options.values) && key_rows != shapes.tokens)
      throw InputError(fmt::format("{}: {} tokens, but --n, or the saved state, says {}: expected as many rows",
                                   options.keys, key_rows, shapes.tokens));
  }
  if (!options.queries.empty()) {
    std::uint64_t rows = shapes.queries;
    look_into(options.queries, attention_queries(), options.on_error, rows, shapes.d, "numbers in a query");
    bounded(options.queries, rows, shapes.queries, "queries");
    if (is_array(options.queries) && rows != shapes.queries && !options.is_sparse())
      throw InputError(fmt::format("{}: {} queries, but --queries says {}: expected as many rows", options.queries,
                                   rows, shapes.queries));
    if (options.is_causal() && shapes.queries != shapes.tokens)
      throw InputError(fmt::format("{}: {} queries, expected one for each of {} tokens", options.queries,
                                   shapes.queries, shapes.tokens));
  }
  shapes.tokens_in_arrays =
      options.streams.empty() && !options.keys.empty() && is_array(options.keys) && is_array(options.values);
  shapes.queries_in_array = options.queries.empty() || is_array(options.queries);
  for (const auto& [name, size, is_needed] : {std::tuple{"--n", shapes.tokens, known == nullptr},
                                              {"--queries", shapes.queries, !options.queries.empty()},
                                              {"--d", shapes.d, true},
                                              {"--dv", shapes.dv, true}})
    if (is_needed && size == 0) throw UsageError(fmt::format("{} is needed: no file of numbers says it", name));
  return shapes;
}

void require_array(const NpyFile& file, const std::string& path, std::uint64_t rows, std::uint64_t columns) {
  if (file.header().rows != rows || file.header().columns != columns)
    throw InputError(fmt::format("{}: {} x {} here, {} x {} where it was looked at first", path, file.header().rows,
                                 file.header().columns, rows, columns));
}

/// Rows of a matrix as events make them up, and how often each is there.
struct GatheredRows {
  DenseMatrix matrix;
  std::vector<double> times;

  GatheredRows(std::uint64_t rows, std::uint64_t columns)
      : matrix{rows, columns, std::vector<double>(static_cast<std::size_t>(rows * columns))},
        times(static_cast<std::size_t>(rows)) {}
  void add(std::uint64_t i, double weight, std::span<const double> row) {
    for (std::size_t j = 0; j < row.size(); ++j) matrix.values[i * matrix.columns + j] += weight * row[j];
    times[i] += weight;
  }
  /// Throws InputError for a row that is there twice, or left more often than it came.
  void require_once(const char* what) const {
    for (std::size_t i = 0; i < times.size(); ++i)
      if (times[i] != 0 && times[i] != 1)
        throw InputError(
            fmt::format("{} {} came {} times more than it left, expected once or never", what, i, times[i]));
  }
  /// The rows that are there.
  [[nodiscard]] DenseMatrix present(const std::vector<double>& there) const {
    DenseMatrix part{0, matrix.columns, {}};
    for (std::uint64_t i = 0; i < matrix.rows; ++i) {
      if (there[i] == 0) continue;
      const auto row = matrix.values.begin() + static_cast<std::ptrdiff_t>(i * matrix.columns);
      part.values.insert(part.values.end(), row, row + static_cast<std::ptrdiff_t>(matrix.columns));
      ++part.rows;
    }
    return part;
  }
};

}  // namespace

bool is_array(const std::string& path) { return !is_pipe(path) && stream_format(path) == StreamFormat::npy; }

Shapes shapes_of_inputs(const mpi::Communicator& communicator, const AttendOptions& options, const Problem* known) {
  std::vector<std::uint64_t> numbers;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    if (!communicator.local_is_root()) return;
    const Shapes shapes = look_at_inputs(options, known);
    numbers = {shapes.tokens, shapes.queries, shapes.d, shapes.dv, shapes.tokens_in_arrays, shapes.queries_in_array};
  });
  communicator.broadcast(numbers);
  return {numbers[0], numbers[1], numbers[2], numbers[3], numbers[4] != 0, numbers[5] != 0};
}

DenseMatrix first_rows(const std::string& path, std::uint64_t count, Operand operand, OnError on_error) {
  if (is_pipe(path))
    throw UsageError(fmt::format("{}: its first rows would be read, and a pipe cannot be read twice", path));
  if (is_array(path)) {
    const NpyFile file(path);
    return file.rows(0, std::min(count, file.header().rows));
  }
  DenseMatrix rows;
  EventReader reader({path}, {.on_error = on_error, .default_operand = operand});
  EventBatch batch;
  while (rows.rows < count && reader.next(batch))
    for (std::size_t t = 0; t < batch.rows.size() && rows.rows < count; ++t) {
      if (batch.rows.operands[t] != operand || batch.rows.weights[t] < 0) continue;
      const auto row = batch.rows.row(t);
      if (rows.rows == 0) rows.columns = row.size();
      if (row.size() != rows.columns)
        throw InputError(fmt::format("{}: {},{},* has {} numbers, expected {}", path, to_string(operand),
                                     batch.rows.i[t], row.size(), rows.columns));
      rows.values.insert(rows.values.end(), row.begin(), row.end());
      ++rows.rows;
    }
  return rows;
}

engine::StreamSource stream_of_tokens(const AttendOptions& options, const Shapes& shapes, bool apart) {
  engine::StreamSource source{
      .paths = options.streams, .on_error = options.on_error, .progress_seconds = options.progress_seconds};
  if (options.keys.empty()) return source;
  if (apart && !is_array(options.keys) && !is_array(options.values)) {
    source.paths.insert(source.paths.begin(), {options.values, options.keys});
  } else {
    source.arrays = {.paths = {options.keys, options.values},
                     .columns = {shapes.d, shapes.dv},
                     .operands = {attention_keys(), attention_values()}};
  }
  return source;
}

TokenFiles::TokenFiles(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes) {
  if (!shapes.tokens_in_arrays) {
    load(communicator, options, shapes);
    return;
  }
  engine::together(communicator, [&](mpi::FailureSignal&) {
    key_file_.emplace(options.keys);
    value_file_.emplace(options.values);
    require_array(*key_file_, options.keys, shapes.tokens, shapes.d);
    require_array(*value_file_, options.values, shapes.tokens, shapes.dv);
    count_ = shapes.tokens;
  });
}

void TokenFiles::load(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes) {
  engine::require_memory(communicator, engine::doubles_in_bytes(shapes.tokens, 2 * (shapes.d + shapes.dv + 1)), 0,
                         "all keys and values");
  std::optional<GatheredRows> keys, values;
  engine::together(communicator, [&](mpi::FailureSignal&) {
    keys.emplace(shapes.tokens, shapes.d);
    values.emplace(shapes.tokens, shapes.dv);
  });
  const std::vector<OperandShape> all{{keys_and_values(), shapes.tokens, shapes.d + shapes.dv},
                                      {attention_keys(), shapes.tokens, shapes.d},
                                      {attention_values(), shapes.tokens, shapes.dv}};
  const auto take = [&](const EventBatch& batch) {
    for (std::size_t t = 0; t < batch.size(); ++t) {
      if (batch.operands[t] != attention_values())
        throw InputError(fmt::format("{0},{1},{2}: {0} comes and goes as whole rows, expected {0},i,*,...",
                                     to_string(batch.operands[t]), batch.i[t], batch.j[t]));
      values->matrix.values[batch.i[t] * shapes.dv + batch.j[t]] += batch.delta[t];
    }
    for (std::size_t t = 0; t < batch.rows.size(); ++t) {
      const Operand operand = batch.rows.operands[t];
      const auto row = batch.rows.row(t);
      const auto d = operand == attention_values() ? std::size_t{0} : static_cast<std::size_t>(shapes.d);
      if (d > 0) keys->add(batch.rows.i[t], batch.rows.weights[t], row.first(d));
      if (row.size() > d) values->add(batch.rows.i[t], batch.rows.weights[t], row.subspan(d));
    }
  };
  const auto ingest = [&](const std::vector<std::string>& paths, Operand operand) {
    if (!paths.empty())
      engine::ingest(communicator, {.paths = paths, .on_error = options.on_error}, all, operand, take,
                     engine::Delivery::every_rank);
  };
  if (!options.keys.empty()) {
    ingest({options.values}, attention_values());
    ingest({options.keys}, attention_keys());
  }
  ingest(options.streams, keys_and_values());
  engine::together(communicator, [&](mpi::FailureSignal&) {
    keys->require_once("token");
    keys_ = keys->present(keys->times);
    values_ = values->present(keys->times);
    count_ = keys_.rows;
    if (count_ == 0) throw InputError("no key is there: softmax averages need one at least");
  });
}

LoadedRows TokenFiles::rows(std::uint64_t first, std::uint64_t end) const {
  end = std::max(first, end);
  if (key_file_) return {first, key_file_->rows(first, end - first), value_file_->rows(first, end - first)};
  const auto part = [&](const DenseMatrix& of) {
    const auto at = [&](std::uint64_t row) {
      return of.values.begin() + static_cast<std::ptrdiff_t>(row * of.columns);
    };
    return DenseMatrix{end - first, of.columns, {at(first), at(end)}};
  };
  return {first, part(keys_), part(values_)};
}

void TokenFiles::for_rows(std::uint64_t first, std::uint64_t end,
                          const std::function<void(const LoadedRows&)>& take) const {
  constexpr std::uint64_t most = 4096;
  while (first < end) {
    const std::uint64_t next = std::min(end, first + most);
    take(rows(first, next));
    first = next;
  }
}

Queries::Queries(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes)
    : shapes_(shapes) {
  if (shapes.queries_in_array) {
    engine::together(communicator, [&](mpi::FailureSignal&) {
      file_.emplace(options.queries);
      require_array(*file_, options.queries, shapes.queries, shapes.d);
    });
    return;
  }
  engine::require_memory(communicator, engine::doubles_in_bytes(shapes.queries, shapes.d + 1), 0, "all queries");
  std::optional<GatheredRows> gathered;
  engine::together(communicator, [&](mpi::FailureSignal&) { gathered.emplace(shapes.queries, shapes.d); });
  engine::ingest(
      communicator, {.paths = {options.queries}, .on_error = options.on_error},
      {{attention_queries(), shapes.queries, shapes.d}}, attention_queries(),
      [&](const EventBatch& batch) {
        if (batch.size() > 0)
          throw InputError(fmt::format("Q,{},{}: queries come and go as whole rows, expected Q,i,*,... or Q,i,-*,...",
                                       batch.i[0], batch.j[0]));
        for (std::size_t t = 0; t < batch.rows.size(); ++t)
          gathered->add(batch.rows.i[t], batch.rows.weights[t], batch.rows.row(t));
      },
      engine::Delivery::every_rank);
  engine::together(communicator, [&](mpi::FailureSignal&) {
    gathered->require_once("query");
    loaded_ = std::move(gathered->matrix);
    for (const double times : gathered->times) is_there_.push_back(times != 0);
  });
}

void Queries::require_all() const {
  if (file_) return;
  if (const auto hole = std::ranges::find(is_there_, false); hole != is_there_.end())
    throw InputError(
        fmt::format("query {} is not there: expected all of 0 .. {}, as every one of them has a row of outputs",
                    hole - is_there_.begin(), shapes_.queries - 1));
}

DenseMatrix Queries::rows(std::uint64_t first, std::uint64_t count) const {
  if (file_) return file_->rows(first, count);
  const auto at = [&](std::uint64_t row) {
    return loaded_.values.begin() + static_cast<std::ptrdiff_t>(row * loaded_.columns);
  };
  return {count, loaded_.columns, {at(first), at(first + count)}};
}

void Queries::for_blocks(const mpi::Communicator& communicator,
                         const std::function<void(DenseMatrix, std::uint64_t)>& work) const {
  const auto rank = static_cast<std::uint64_t>(communicator.local_rank());
  const auto ranks = static_cast<std::uint64_t>(communicator.local_size());
  for (std::uint64_t first = 0; first < shapes_.queries;) {
    const std::uint64_t count = std::min(shapes_.queries - first, block_of_queries * ranks);
    const std::uint64_t own = share(count, rank, ranks), end = share(count, rank + 1, ranks);
    DenseMatrix queries;
    engine::together(communicator, [&](mpi::FailureSignal&) { queries = rows(first + own, end - own); });
    work(std::move(queries), first + own);
    first += count;
  }
}

Outputs::Outputs(const AttendOptions& options, const Shapes& shapes, bool keep)
    : keep_(keep), kept_{shapes.queries, shapes.dv, {}} {
  if (options.output_path.empty()) return;
  file_.emplace(options.output_path);
  is_coordinates_ = options.output_path.ends_with(".mtx");
  if (is_coordinates_) return;
  file_->write(npy_header(shapes.queries, shapes.dv));
}

void Outputs::add(std::span<const double> numbers) {
  if (file_) file_->write(std::as_bytes(numbers));
  if (keep_) kept_.values.insert(kept_.values.end(), numbers.begin(), numbers.end());
}

void Outputs::set(const SparseOutputs& outputs) {
  if (keep_ || !is_coordinates_) {
    const DenseMatrix dense = to_dense(outputs);
    if (!is_coordinates_) return add(dense.values);
    kept_ = dense;
  }
  std::uint64_t entries = 0;
  for (const auto& column : outputs.columns) entries += column.size();
  file_->write(fmt::format("%%MatrixMarket matrix coordinate real general\n{} {} {}\n", outputs.rows,
                           outputs.columns.size(), entries));
  for (std::size_t j = 0; j < outputs.columns.size(); ++j) {
    std::string lines;
    for (const SparseEntry& entry : outputs.columns[j])
      lines += fmt::format("{} {} {}\n", entry.row + 1, j + 1, entry.value);
    file_->write(lines);
  }
}

void Outputs::finish() {
  if (file_) file_->commit();
}

void read_tokens(const AttendOptions& options, engine::Session& session,
                 const std::function<void(const engine::Epoch*)>& answer) {
  if (!options.has_epochs()) {
    session.advance();
    answer(nullptr);
    return;
  }
  listen_to_signals();
  // Queries are shared out among the ranks.
  session.run({.every = options.every,
               .local_warn = [](const std::string& what) { say("weir: warning: " + what); },
               .all_ranks_answer = true,
               .local_command = local_command},
              [&](const engine::Epoch& epoch) { answer(&epoch); });
}

void finish(const AttendOptions& options, Outputs& outputs, const AttendReport& report) {
  outputs.finish();
  if (!options.errors_path.empty()) {
    const std::vector<double>& errors = report.estimated->each;
    OutputFile file(options.errors_path);
    file.write(npy_header(errors.size(), 1));
    file.write(std::as_bytes(std::span(errors)));
    file.commit();
  }
  if (!options.plot_path.empty()) write_plot(options.plot_path, to_svg(report));
  options.printer->print(printable(report, field_records));
}

void announce_memory(const mpi::Communicator& communicator, const AttendReport& report) {
  if (communicator.local_is_root())
    say(fmt::format("weir: a rank needs about {:.0f} MiB", static_cast<double>(report.peak_bytes) / (1 << 20)));
}

AttendReport report_of(const mpi::Communicator& communicator, const AttendOptions& options, const Shapes& shapes) {
  AttendReport report;
  report.mode = options.mode;
  report.n = shapes.tokens;
  report.queries = shapes.queries;
  report.d = shapes.d;
  report.dv = shapes.dv;
  report.scale = scale_of(options.scale, shapes.d);
  report.ranks = static_cast<std::uint64_t>(communicator.local_size());
  return report;
}

}  // namespace weir::app
