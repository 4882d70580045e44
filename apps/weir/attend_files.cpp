#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "attend.hpp"
#include "options.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/share.hpp"

namespace weir::app {
namespace {

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

}  // namespace

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

TokenFiles::TokenFiles(const AttendOptions& options, const Shapes& shapes)
    : keys_(options.keys), values_(options.values) {
  for (const auto& [file, path, columns] :
       {std::tuple{&keys_, &options.keys, shapes.d}, {&values_, &options.values, shapes.dv}})
    if (file->header().rows != shapes.tokens || file->header().columns != columns)
      throw InputError(fmt::format("{}: {} x {} here, {} x {} where it was looked at first", *path, file->header().rows,
                                   file->header().columns, shapes.tokens, columns));
}

LoadedRows TokenFiles::rows(std::uint64_t first, std::uint64_t end) const {
  end = std::max(first, end);
  return {first, keys_.rows(first, end - first), values_.rows(first, end - first)};
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
