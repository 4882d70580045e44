#pragma once

#include <cstdint>
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
/// of the files and delivers every slice_count-th block of rows. Holds two batches of each file.
class SideBySideReader {
 public:
  /// `operand` is what the rows are of; options.shapes and options.default_operand are not used. `rows` is what each array
  /// must have, and what indices are below. Throws InputError naming the file that is missing, is a pipe or has another
  /// shape; UsageError for no paths, or another number of columns or operands than of paths.
  SideBySideReader(const SideBySide& arrays, Operand operand, std::uint64_t rows, const ReadOptions& options);
  SideBySideReader(SideBySideReader&&) noexcept;
  SideBySideReader& operator=(SideBySideReader&&) noexcept;
  ~SideBySideReader();

  /// Replaces the contents of `batch` with the next rows; false, with an empty batch, after the last one. Throws as
  /// EventReader::next, and InputError where files have other rows beside each other, or single entries.
  bool next(EventBatch& batch);

  /// Bad rows so far, of all files.
  [[nodiscard]] std::uint64_t skipped() const noexcept;
  /// See EventReader::first_skipped.
  [[nodiscard]] std::string first_skipped() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir
