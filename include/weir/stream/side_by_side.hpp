#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weir/event.hpp"
#include "weir/stream/reader.hpp"

namespace weir {

/// Arrays (.npy) of equally many rows that are read side by side: row k of them all, one after the other, is row k of one
/// operand.
struct SideBySide {
  std::vector<std::string> paths;
  std::vector<std::uint64_t> columns;  ///< Of each of them; the operand has as many as they have together.

  [[nodiscard]] bool empty() const noexcept { return paths.empty(); }
};

/// Reads them as EventReader reads a single array, with its slices, checks and errors. A row that one array has bad (see
/// OnError::skip) is left out of all. Holds two batches of each file.
class SideBySideReader {
 public:
  /// `operand` is what the rows are of; options.shapes and options.default_operand are not used. `rows` is what each array
  /// must have. Throws InputError naming the file that is missing, is no .npy file or has another shape; UsageError for no
  /// paths, or another number of columns than of paths.
  SideBySideReader(const SideBySide& arrays, Operand operand, std::uint64_t rows, const ReadOptions& options);
  SideBySideReader(SideBySideReader&&) noexcept;
  SideBySideReader& operator=(SideBySideReader&&) noexcept;
  ~SideBySideReader();

  /// Replaces the contents of `batch` with the next rows; false, with an empty batch, after the last one. Throws as
  /// EventReader::next.
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
