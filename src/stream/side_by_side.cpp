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
    EventReader reader;
    EventBatch batch = {};
    std::size_t next = 0;  ///< Row of the batch.

    /// False at the end.
    bool has_row() { return next < batch.rows.size() || (next = 0, reader.next(batch)); }
    [[nodiscard]] std::uint64_t row() const { return batch.rows.i[next]; }
  };

  Operand operand = Operand::y;
  std::size_t batch_rows = 0;
  std::size_t batch_values = 0;
  std::vector<File> files;
};

SideBySideReader::SideBySideReader(const SideBySide& arrays, Operand operand, std::uint64_t rows,
                                   const ReadOptions& options)
    : implementation_(std::make_unique<Implementation>()) {
  if (arrays.paths.empty() || arrays.columns.size() != arrays.paths.size())
    throw UsageError(fmt::format("{} arrays with {} numbers of columns cannot be read side by side",
                                 arrays.paths.size(), arrays.columns.size()));
  Implementation& own = *implementation_;
  own.operand = operand;
  own.batch_rows = options.batch;
  own.batch_values = options.row_values;
  for (std::size_t k = 0; k < arrays.paths.size(); ++k) {
    const std::string& path = arrays.paths[k];
    if (is_pipe(path) || stream_format(path) != StreamFormat::npy)
      throw InputError(fmt::format("{}: expected a .npy file, which is read side by side with others", path));
    const auto shape = *stated_shape(path);
    if (shape[0] != rows || shape[1] != arrays.columns[k])
      throw InputError(
          fmt::format("{}: the array is {} x {}, expected {} x {}", path, shape[0], shape[1], rows, arrays.columns[k]));
    ReadOptions of_file = options;
    of_file.shapes = {{operand, rows, arrays.columns[k]}};
    of_file.default_operand = operand;
    if (!options.sources.empty()) of_file.sources = {options.sources.at(k)};
    own.files.push_back({EventReader({path}, std::move(of_file))});
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
    std::uint64_t furthest = 0;
    bool ended = false;
    for (Implementation::File& file : own.files) {
      ended = !file.has_row() || ended;
      if (!ended) furthest = std::max(furthest, file.row());
    }
    if (ended) break;
    // A bad row is missing from one file, and is passed over in the others.
    bool all_there = true;
    for (Implementation::File& file : own.files)
      if (file.row() != furthest) {
        ++file.next;
        all_there = false;
      }
    if (!all_there) continue;
    for (Implementation::File& file : own.files) {
      const std::span<const double> values = file.batch.rows.row(file.next++);
      rows.values.insert(rows.values.end(), values.begin(), values.end());
    }
    rows.close_row(own.operand, furthest, 1);
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
