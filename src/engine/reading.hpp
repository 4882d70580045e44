#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "weir/engine/ingest.hpp"
#include "weir/engine/positions.hpp"
#include "weir/mpi/communicator.hpp"
#include "weir/stream/live_source.hpp"

namespace weir::engine {

/// What one rank reads of a stream. Every rank has sources of its own: its parts of files, which come first, and of live
/// sources that are read in parts. The root has live sources besides, whose events it hands out.
class Reading {
 public:
  /// Collective: the root looks at the sources, and all ranks open what it saw. See Stream.
  Reading(const mpi::Communicator& communicator, const StreamSource& source, std::vector<OperandShape> shapes,
          Operand default_operand, Delivery delivery);

  /// The next events of this rank's own sources, `most` at most; false at the end of them all. The batch is empty when
  /// nothing came within `patience`, which files do not need.
  bool next_own(EventBatch& batch, std::uint64_t most, std::chrono::milliseconds patience);
  /// True when next_own() would return false. May read ahead, which positions() and skipped() do not show.
  [[nodiscard]] bool own_at_end();
  /// True where it has read an event, which next_own() gives alone.
  [[nodiscard]] bool is_ahead() const noexcept { return before_ahead_.has_value(); }
  /// True, on all ranks, where own sources may go on without end.
  [[nodiscard]] bool own_are_live() const noexcept { return own_are_live_; }
  /// True, on all ranks, where there were files when the stream was opened.
  [[nodiscard]] bool has_files() const noexcept { return has_files_; }

  /// True, on all ranks, where the root reads live sources.
  [[nodiscard]] bool has_live() const noexcept { return has_live_; }
  /// On the root: the next events of its live sources, one after the other; false at the end of them all.
  bool next_live(EventBatch& batch, std::uint64_t most, std::chrono::milliseconds patience);

  /// Bytes of files that this rank has read, and reads in all. None where there are live sources, whose end is not known, and
  /// while a file that comes later cannot be looked at.
  [[nodiscard]] std::optional<BytesRead> bytes_read() const;

  /// Rows of files side by side that this rank will not deliver any more.
  [[nodiscard]] std::uint64_t rows_passed() const;
  /// What this rank has not read. Of what the root reads alone, on the root. `rows_passed_by_all` is the largest
  /// rows_passed() of all ranks; it does not matter where no files are read side by side.
  [[nodiscard]] Positions positions(std::uint64_t rows_passed_by_all) const;
  /// Lines for whoever runs the job; see LiveSource::take_notices().
  [[nodiscard]] std::vector<std::string> take_notices();
  [[nodiscard]] std::uint64_t skipped() const;
  [[nodiscard]] std::string first_skipped() const;
  [[nodiscard]] std::vector<SourceLag> lags() const;

  /// Closes everything; there is no more to read.
  void close();

 private:
  struct Live {
    std::string name;
    std::unique_ptr<LiveSource> source;  ///< Null at its end.
    std::string last_position = {};      ///< Of a source that has ended.
    bool is_known = false;               ///< Its name() has been told.
    std::string last_trouble = {};       ///< That has been told.
  };

  bool read_own(EventBatch& batch, std::uint64_t most, std::chrono::milliseconds patience);
  bool read_from(std::vector<Live>& sources, std::size_t& turn, EventBatch& batch, std::uint64_t most,
                 std::chrono::milliseconds patience);
  /// `has_more`, with the batch rounded.
  bool rounded(bool has_more, EventBatch& batch) const;
  void note_skipped(std::uint64_t count, std::string first);
  void end(Live& live);
  [[nodiscard]] Positions positions_now(std::uint64_t rows_passed_by_all) const;
  [[nodiscard]] std::uint64_t skipped_now() const;
  [[nodiscard]] std::string first_skipped_now() const;

  bool is_root_ = false;
  double resolution_ = 0;
  bool has_files_ = false;
  bool has_live_ = false;
  bool own_are_live_ = false;
  std::optional<SideBySideReader> arrays_;
  std::optional<EventReader> files_;
  std::string how_;  ///< Positions::reading.
  std::vector<SourceInfo> seen_arrays_, seen_files_;
  std::vector<Live> own_live_, root_live_;
  std::size_t own_turn_ = 0, root_turn_ = 0;
  std::uint64_t rows_passed_ = 0;  ///< Of files side by side that are closed.
  /// What was read to see whether there is more, and where the sources stood before.
  EventBatch ahead_;
  struct Before {
    Positions positions;
    std::uint64_t skipped = 0;
    std::string first_skipped;
  };
  std::optional<Before> before_ahead_;
  // Of sources that are closed.
  BytesRead bytes_read_;
  std::uint64_t skipped_ = 0;
  std::string first_skipped_;
};

}  // namespace weir::engine
