#include "weir/stream/side_by_side.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "weir/error.hpp"

namespace weir {

struct SideBySideReader::Implementation {
  /// One of the files, and how far it has been read.
  struct File {
    std::string path;
    EventReader reader;
    EventBatch batch = {};
    std::size_t next = 0;  ///< Row of the batch.

    /// False at the end.
    bool has_row() {
      while (next >= batch.rows.size()) {
        next = 0;
        if (!reader.next(batch)) return false;
        if (batch.size() > 0)
          throw InputError(
              fmt::format("{0}: {1},{2},{3} changes one entry, expected whole rows {1},i,*,... or {1},i,-*,...", path,
                          to_string(batch.operands[0]), batch.i[0], batch.j[0]));
      }
      return true;
    }
    [[nodiscard]] std::uint64_t row() const { return batch.rows.i[next]; }
    [[nodiscard]] double weight() const { return batch.rows.weights[next]; }
    [[nodiscard]] std::string describe_row() const {
      return fmt::format("row {} {}", row(), weight() < 0 ? "leaves" : "comes");
    }
  };

  /// A row of each file; false at the end. Arrays have the same rows, but for bad ones, which are missing: the others pass
  /// them over.
  bool meet_in_arrays() {
    for (;;) {
      std::uint64_t furthest = 0;
      bool ended = false;
      for (File& file : files) {
        ended = !file.has_row() || ended;
        if (!ended) furthest = std::max(furthest, file.row());
      }
      if (ended) return false;
      bool all_there = true;
      for (File& file : files)
        if (file.row() != furthest) {
          ++file.next;
          all_there = false;
        }
      if (all_there) return true;
    }
  }
  bool meet_in_events() {
    const bool has_row = files.front().has_row();
    for (File& file : files) {
      if (file.has_row() != has_row) {
        const File& longer = has_row ? files.front() : file;
        throw InputError(fmt::format("{}: {} at the end, and {} has no more: expected the same tokens in both",
                                     longer.path, longer.describe_row(), (has_row ? file : files.front()).path));
      }
      if (has_row && (file.row() != files.front().row() || file.weight() != files.front().weight()))
        throw InputError(fmt::format(
            "{}: {} where {} in {}: expected the same tokens in the same order, as the files are read side by "
            "side",
            file.path, file.describe_row(), files.front().describe_row(), files.front().path));
    }
    return has_row;
  }

  static constexpr std::uint64_t block = 256;  ///< Rows that a slice delivers at a time, of events.
  [[nodiscard]] bool is_of_this_slice() const { return !has_events || passed / block % slice_count == slice; }

  Operand operand = Operand::y;
  std::size_t batch_rows = 0;
  std::size_t batch_values = 0;
  bool has_events = false;
  std::uint64_t slice = 0, slice_count = 1;
  std::uint64_t passed = 0;  ///< Rows, delivered or not.
  std::vector<File> files;
};

SideBySideReader::SideBySideReader(const SideBySide& arrays, Operand operand, std::uint64_t rows,
                                   const ReadOptions& options)
    : implementation_(std::make_unique<Implementation>()) {
  const auto is_number_of_paths = [&](std::size_t count) { return count == arrays.paths.size(); };
  if (arrays.paths.empty() || !is_number_of_paths(arrays.columns.size()) ||
      !(arrays.operands.empty() || is_number_of_paths(arrays.operands.size())))
    throw UsageError(fmt::format("{} files with {} numbers of columns and {} operands cannot be read side by side",
                                 arrays.paths.size(), arrays.columns.size(), arrays.operands.size()));
  Implementation& own = *implementation_;
  own.operand = operand;
  own.batch_rows = options.batch;
  own.batch_values = options.row_values;
  own.slice = options.slice;
  own.slice_count = options.slice_count;
  const auto is_array = [](const std::string& path) { return stream_format(path) == StreamFormat::npy; };
  for (const std::string& path : arrays.paths)
    if (is_pipe(path))
      throw InputError(fmt::format("{}: expected a file, as it is read side by side with others", path));
  own.has_events = !std::ranges::all_of(arrays.paths, is_array);
  if (own.has_events && arrays.operands.empty()) {
    const auto found = std::ranges::find_if_not(arrays.paths, is_array);
    throw InputError(fmt::format("{}: expected a .npy file, which is read side by side with others", *found));
  }
  for (std::size_t k = 0; k < arrays.paths.size(); ++k) {
    const std::string& path = arrays.paths[k];
    // One that is compressed cannot be cut, and so is read whole as events are.
    if (content_format(path) == StreamFormat::npy) {
      const auto shape = *stated_shape(path);
      if (shape[0] != rows || shape[1] != arrays.columns[k])
        throw InputError(fmt::format("{}: the array is {} x {}, expected {} x {}", path, shape[0], shape[1], rows,
                                     arrays.columns[k]));
    }
    ReadOptions of_file = options;
    of_file.default_operand = own.has_events ? arrays.operands[k] : operand;
    of_file.shapes = {{of_file.default_operand, rows, arrays.columns[k]}};
    if (!options.sources.empty()) of_file.sources = {options.sources.at(k)};
    if (own.has_events) {
      of_file.slice = 0;
      of_file.slice_count = 1;
      // A row that is missing from one file would shift all others.
      of_file.on_error = OnError::stop;
    }
    own.files.push_back({path, EventReader({path}, std::move(of_file))});
  }
}

SideBySideReader::SideBySideReader(SideBySideReader&&) noexcept = default;
SideBySideReader& SideBySideReader::operator=(SideBySideReader&&) noexcept = default;
SideBySideReader::~SideBySideReader() = default;

bool SideBySideReader::next(EventBatch& batch) {
  Implementation& own = *implementation_;
  batch.clear();
  RowBatch& rows = batch.rows;
  while (rows.size() < own.batch_rows && rows.values.size() < own.batch_values) {
    if (!(own.has_events ? own.meet_in_events() : own.meet_in_arrays())) break;
    const std::uint64_t row = own.files.front().row();
    const double weight = own.files.front().weight();
    const bool is_wanted = own.is_of_this_slice();
    for (Implementation::File& file : own.files) {
      const std::span<const double> values = file.batch.rows.row(file.next++);
      if (is_wanted) rows.values.insert(rows.values.end(), values.begin(), values.end());
    }
    if (is_wanted) rows.close_row(own.operand, row, weight);
    ++own.passed;
  }
  if (!batch.empty()) return true;
  // What is left of the others, so that a bad row at the end is found.
  for (Implementation::File& file : own.files)
    while (file.has_row()) ++file.next;
  return false;
}

std::uint64_t SideBySideReader::skipped() const noexcept {
  std::uint64_t sum = 0;
  for (const Implementation::File& file : implementation_->files) sum += file.reader.skipped();
  return sum;
}

std::string SideBySideReader::first_skipped() const {
  for (const Implementation::File& file : implementation_->files)
    if (file.reader.skipped() > 0) return file.reader.first_skipped();
  return {};
}

}  // namespace weir
