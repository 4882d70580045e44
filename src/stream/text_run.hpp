#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "columns.hpp"
#include "decoder.hpp"
#include "weir/event.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

/// Decodes whole lines of text that are in memory, run by run, as text_decoder() would all of them together.
class TextRuns {
 public:
  /// Of `options`, what says which events are good; bad lines are always left out and reported.
  explicit TextRuns(const ReadOptions& options);

  struct Outcome {
    std::uint64_t lines = 0;
    std::uint64_t skipped = 0;     ///< Bad lines.
    std::uint64_t first_line = 0;  ///< The first of them, counted from 1.
    std::string first_reason;
  };
  /// Replaces the contents of `batch` with the events of `lines`, each of which ends with '\n'. A copy of the lines is
  /// made; besides it costs some microseconds a run. `layout` is that of the table that the lines are of, where options have
  /// columns.
  Outcome decode(std::string_view lines, EventBatch& batch,
                 const std::shared_ptr<const ColumnLayout>& layout = nullptr) const;

  /// Bytes in the longest line without its end. One that is longer may be cut one byte later: it stays bad.
  [[nodiscard]] std::size_t longest_line() const noexcept { return longest_line_; }

 private:
  ReadOptions options_;
  Limits limits_;
  std::size_t longest_line_;
};

}  // namespace weir::stream
