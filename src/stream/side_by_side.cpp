#include "weir/stream/side_by_side.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

#include "decoder.hpp"
#include "weir/error.hpp"

namespace weir {

struct SideBySideReader::Implementation {
  /// One of the files, and how far it has been read.
  struct File {
    std::string path;
    EventReader reader;
    EventBatch batch = {};
    std::size_t next = 0;  ///< Row of the batch.

    /// False at the end. Reads at most `most` rows ahead.
    bool has_row(std::size_t most) {
      while (next >= batch.rows.size()) {
        next = 0;
        if (!reader.next(batch, most)) return false;
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
  /// them over. Where next() needs `most` more rows, no file reads more ahead: so none has skipped a bad row behind those
  /// that are delivered, which a later reader would skip again.
  bool meet_in_arrays(std::size_t most) {
    for (;;) {
      std::uint64_t furthest = 0;
      bool ended = false;
      for (File& file : files) {
        ended = !file.has_row(most) || ended;
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
    const bool has_row = files.front().has_row(batch_rows);
    for (File& file : files) {
      if (file.has_row(batch_rows) != has_row) {
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
  /// At the end of a file: goes to the end of the others too, so that a bad row there is found. The file that has ended may
  /// have skipped some that are behind the last row that all of them have.
  void pass_over_the_rest() {
    for (File& file : files)
      while (file.has_row(batch_rows)) ++file.next;
    if (!own.empty()) passed = own.back().end;
  }
  void require_end_of_ranges() const {
    if (!has_events || ranges.empty() || ranges.back().begin <= passed) return;
    throw InputError(fmt::format("{}: the range from row {} on begins behind the end, which is at {}",
                                 files.front().path, ranges.back().begin, passed));
  }

  static constexpr std::uint64_t block = 256;  ///< Rows that a slice delivers at a time, of events.

  /// Whether row number `passed` is to be delivered; asked of ascending numbers.
  [[nodiscard]] bool is_of_this_slice() {
    if (!has_events) return true;
    for (; range < ranges.size() && ranges[range].end <= passed; ++range)
      in_ranges_before += ranges[range].end - ranges[range].begin;
    if (range == ranges.size() || passed < ranges[range].begin) return false;
    return (in_ranges_before + (passed - ranges[range].begin)) / block % slice_count == slice;
  }

  /// Appends the rows of this slice in `part` of ranges[at], of which `in_ranges` rows of all ranges come before.
  void append_blocks(const FileRange& part, std::uint64_t in_ranges, std::vector<FileRange>& out) const {
    if (slice_count == 1) {
      out.push_back(part);
      return;
    }
    for (std::uint64_t row = part.begin; row < part.end;) {
      const std::uint64_t number = in_ranges + (row - part.begin);
      const std::uint64_t left_of_block = block - number % block;
      const std::uint64_t end = row + std::min(left_of_block, part.end - row);
      const std::uint64_t turn = number / block % slice_count;
      if (turn == slice) out.push_back({row, end});
      // Straight to the next block of this slice.
      const std::uint64_t others = turn == slice ? slice_count - 1 : (slice + slice_count - turn) % slice_count - 1;
      row = end + std::min(others * block, part.end - end);
    }
  }

  [[nodiscard]] std::vector<FileRange> unread(std::uint64_t horizon) const {
    std::vector<FileRange> rest;
    const auto between = [](const FileRange& all, std::uint64_t low, std::uint64_t high) {
      return FileRange{std::clamp(low, all.begin, all.end), std::clamp(high, all.begin, all.end)};
    };
    if (has_events) {
      std::uint64_t before = 0;
      for (const FileRange& all : ranges) {
        const FileRange part = between(all, delivered, horizon);
        if (part.begin < part.end) append_blocks(part, before + (part.begin - all.begin), rest);
        before += all.end - all.begin;
      }
    } else {
      for (const FileRange& all : own) {
        const FileRange part = between(all, delivered, horizon);
        if (part.begin < part.end) rest.push_back(part);
      }
    }
    for (const FileRange& all : ranges) {
      const FileRange part = between(all, horizon, all.end);
      if (slice == 0 && part.begin < part.end) rest.push_back(part);
    }
    return rest;
  }

  Operand operand = Operand::y;
  std::size_t batch_rows = 0;
  std::size_t batch_values = 0;
  bool has_events = false;
  std::uint64_t slice = 0, slice_count = 1;
  std::vector<FileRange> ranges;  ///< Of all slices, in order.
  std::vector<FileRange> own;     ///< Of arrays: those of this slice.
  std::uint64_t passed = 0;       ///< The number of the next row.
  std::uint64_t delivered = 0;    ///< The same when next() last returned.
  std::size_t range = 0;  ///< Of the ranges: the first that does not end before the row is_of_this_slice() knows.
  std::uint64_t in_ranges_before = 0;  ///< Rows in ranges before that one.
  std::size_t row_length = 0;          ///< Values.
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
  if (options.ranges && options.ranges->size() != 1)
    throw UsageError(
        fmt::format("{} lists of ranges for files that are read side by side; expected one", options.ranges->size()));
  if (own.slice >= own.slice_count)
    throw UsageError(fmt::format("slice {} of {} does not exist", own.slice, own.slice_count));
  for (const std::uint64_t columns : arrays.columns) own.row_length += static_cast<std::size_t>(columns);
  const auto is_array = [](const std::string& path) { return stream_format(path) == StreamFormat::npy; };
  for (const std::string& path : arrays.paths)
    if (is_pipe(path))
      throw InputError(fmt::format("{}: expected a file, as it is read side by side with others", path));
  own.has_events = !std::ranges::all_of(arrays.paths, is_array);
  if (own.has_events && arrays.operands.empty()) {
    const auto found = std::ranges::find_if_not(arrays.paths, is_array);
    throw InputError(fmt::format("{}: expected a .npy file, which is read side by side with others", *found));
  }
  try {
    own.ranges = stream::in_order(options.ranges ? options.ranges->front() : std::vector<FileRange>(1));
    if (!own.has_events) {
      own.ranges = share_of(own.ranges, rows, 0, 1);  // which end where the arrays end
      own.own = share_of(own.ranges, rows, options.slice, options.slice_count);
    }
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", arrays.paths.front(), error.what()));
  }
  if (!own.own.empty()) own.passed = own.delivered = own.own.front().begin;
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
      of_file.ranges.reset();
      // A row that is missing from one file would shift all others.
      of_file.on_error = OnError::stop;
    }
    own.files.push_back({path, EventReader({path}, std::move(of_file))});
  }
}

SideBySideReader::SideBySideReader(SideBySideReader&&) noexcept = default;
SideBySideReader& SideBySideReader::operator=(SideBySideReader&&) noexcept = default;
SideBySideReader::~SideBySideReader() = default;

bool SideBySideReader::next(EventBatch& batch, std::size_t most) {
  if (most == 0) throw UsageError("a reader cannot be asked for no events");
  Implementation& own = *implementation_;
  batch.clear();
  RowBatch& rows = batch.rows;
  const std::size_t filled_by = own.batch_values / std::max<std::size_t>(own.row_length, 1);
  most = std::min({most, own.batch_rows, std::max<std::size_t>(filled_by, 1)});
  while (rows.size() < most) {
    if (!(own.has_events ? own.meet_in_events() : own.meet_in_arrays(most - rows.size()))) {
      own.pass_over_the_rest();
      break;
    }
    const std::uint64_t row = own.files.front().row();
    const double weight = own.files.front().weight();
    if (!own.has_events) own.passed = row;
    const bool is_wanted = own.is_of_this_slice();
    for (Implementation::File& file : own.files) {
      const std::span<const double> values = file.batch.rows.row(file.next++);
      if (is_wanted) rows.values.insert(rows.values.end(), values.begin(), values.end());
    }
    if (is_wanted) rows.close_row(own.operand, row, weight);
    ++own.passed;
  }
  if (batch.empty()) own.require_end_of_ranges();
  own.delivered = own.passed;
  return !batch.empty();
}

BytesRead SideBySideReader::bytes_read() const {
  BytesRead sum;
  for (const Implementation::File& file : implementation_->files)
    sum += file.reader.bytes_read().value_or(BytesRead());  // none of them is a pipe
  return sum;
}

std::uint64_t SideBySideReader::passed() const noexcept { return implementation_->delivered; }

std::vector<FileRange> SideBySideReader::unread(std::uint64_t horizon) const {
  if (horizon < passed())
    throw UsageError(fmt::format("the horizon, row {}, is before row {}, which has been passed", horizon, passed()));
  return implementation_->unread(horizon);
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
