#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "weir/event.hpp"
#include "weir/stream/reader.hpp"

namespace weir {

/// Reads events on a thread of its own, up to four batches ahead of its user. Opening and reading a pipe may block for as
/// long as its writer is silent; the user of this class is never blocked for longer than it wishes.
class BackgroundReader {
 public:
  /// Begins to read what EventReader(paths, options) reads. Throws what that constructor throws.
  BackgroundReader(std::vector<std::string> paths, ReadOptions options);
  /// Stops reading and joins the thread, which takes microseconds, also when a pipe is silent.
  ~BackgroundReader();
  BackgroundReader(const BackgroundReader&) = delete;
  BackgroundReader& operator=(const BackgroundReader&) = delete;

  /// True with the next batch, or with an empty one when none came within `patience`; false, with an empty batch, at the
  /// end. Throws what EventReader::next threw, after the batches that came before; that is Cancelled when
  /// options.stop was requested.
  bool next(EventBatch& batch, std::chrono::milliseconds patience);

  /// Bad lines skipped so far: of the batches that next() delivered, and of those that are read ahead.
  [[nodiscard]] std::uint64_t skipped() const;
  /// As EventReader::first_skipped().
  [[nodiscard]] std::string first_skipped() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir
