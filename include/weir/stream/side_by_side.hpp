#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "weir/event.hpp"
#include "weir/stream/reader.hpp"

namespace weir {

/// Files that are read side by side: row k of them all, one after the other, is row k of one operand. They are arrays (.npy)
/// of equally many rows; or some of them are files of events, in which whole rows come and go, of the same tokens in the
/// same order as in the others.
struct SideBySide {
  std::vector<std::string> paths;
  std::vector<std::uint64_t> columns;  ///< Of each of them; the operand has as many as they have together.
  std::vector<Operand> operands = {};  ///< What lines of events are of in each of them; none where all are arrays.

  [[nodiscard]] bool empty() const noexcept { return paths.empty(); }
};

/// Reads them as EventReader reads a single file, with its slices, checks and errors. A row that one array has bad (see
/// OnError::skip) is left out of all; beside events a row cannot be left out. Where there are events, every slice reads all
/// of the files, from the beginning, and delivers every slice_count-th block of rows. Holds two batches of each file.
///
/// Of ReadOptions::ranges there is one list, whose unit are rows, counted from 0 in the order in which they stand in the
/// files; a bad row of an array counts, too. Every slice is given the whole list.
class SideBySideReader {
 public:
  /// `operand` is what the rows are of; options.shapes and options.default_operand are not used. `rows` is what each array
  /// must have, and what indices are below. Throws InputError naming the file that is missing, is a pipe or has another
  /// shape, or ranges that overlap, end before they begin, or begin behind the end; UsageError for no paths, or another
  /// number of columns or operands than of paths, or of lists of ranges than one.
  SideBySideReader(const SideBySide& arrays, Operand operand, std::uint64_t rows, const ReadOptions& options);
  SideBySideReader(SideBySideReader&&) noexcept;
  SideBySideReader& operator=(SideBySideReader&&) noexcept;
  ~SideBySideReader();

  /// Replaces the contents of `batch` with the next rows, at most `most` of them; false, with an empty batch, after the last
  /// one. Throws as EventReader::next, and InputError where files have other rows beside each other, or single entries, or
  /// end before the ranges do.
  bool next(EventBatch& batch, std::size_t most = std::numeric_limits<std::size_t>::max());

  /// This reader will deliver no row of a lower number.
  [[nodiscard]] std::uint64_t passed() const noexcept;
  /// What slices leave unread, for ReadOptions::ranges of later readers, is what they all return here together, given the
  /// same `horizon`: the largest of all passed(). Of the rows below it, each slice returns its own that next() has not
  /// delivered; of those from it on, which nobody has delivered, slice 0 returns all. (How many rows there are is not known
  /// where there are events: the shares of the slices have no end.) O(ranges), and where there are events one range for each
  /// block of this slice between passed() and the horizon. Throws UsageError for a horizon below passed().
  [[nodiscard]] std::vector<FileRange> unread(std::uint64_t horizon) const;

  /// See EventReader::bytes_read; of all files.
  [[nodiscard]] BytesRead bytes_read() const;
  /// Bad rows so far, of all files.
  [[nodiscard]] std::uint64_t skipped() const noexcept;
  /// See EventReader::first_skipped.
  [[nodiscard]] std::string first_skipped() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir
