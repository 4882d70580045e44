#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "weir/event.hpp"
#include "weir/stream/reader.hpp"

namespace weir {

/// A source whose events arrive while it is read: a pipe, a TCP listener, a watched directory, a Kafka topic. It may never
/// end. One thread uses it; what it needs to wait for others it does on threads of its own, which its destructor joins.
class LiveSource {
 public:
  virtual ~LiveSource() = default;
  LiveSource(const LiveSource&) = delete;
  LiveSource& operator=(const LiveSource&) = delete;

  /// Replaces the contents of `batch` with at most `most` events (at least 1). True with events, or with an empty batch when
  /// none came within `patience`; false, with an empty batch, at the end. Throws InputError that names the source, and
  /// what was expected; Cancelled when the stop of its options was requested.
  virtual bool next(EventBatch& batch, std::size_t most, std::chrono::milliseconds patience) = 0;

  /// Where it stands: all events that next() has delivered, and no others, come before this. One JSON object, from which
  /// open_live_source() goes on; empty for a source that cannot be read again. Of a source that several parties read in
  /// parts, the objects of the parts have different members inside their members.
  [[nodiscard]] virtual std::string position() const { return {}; }

  /// Bad events that were left out (OnError::skip), and what was wrong with the first, as next() would have thrown it.
  [[nodiscard]] virtual std::uint64_t skipped() const { return 0; }
  [[nodiscard]] virtual std::string first_skipped() const { return {}; }

  /// How much has arrived that next() has not delivered, and its unit: "bytes", "records"; none where nobody knows.
  struct Lag {
    std::uint64_t amount = 0;
    std::string_view unit = {};
  };
  [[nodiscard]] virtual std::optional<Lag> lag() const { return std::nullopt; }

 protected:
  LiveSource() = default;
};

/// How a name that stands for a live source is read.
enum class LiveKind : std::uint8_t {
  none,      ///< It is a file.
  at_root,   ///< One party opens it, and hands out its events.
  in_parts,  ///< Every party opens a part of it of its own.
};
/// What `name` is: "-", named pipes, tcp://HOST:PORT and directories are at_root, kafka://HOST:PORT/TOPIC is in_parts.
/// With `follow` files are at_root too. Throws UsageError for a scheme that is not known, or not built in.
[[nodiscard]] LiveKind live_kind(const std::string& name, bool follow);

/// Opens a live source. `options.slice` and `slice_count` say which part of one that is read in parts; `options.stop` ends
/// waiting. `position` is that of an earlier position(), parts merged, or empty to begin at the beginning. `follow` means
/// that files may grow and that directories are watched; without it a directory is read once. Throws InputError for what
/// cannot be opened, or for a position that is not of this source; UsageError for a name that is not understood.
[[nodiscard]] std::unique_ptr<LiveSource> open_live_source(const std::string& name, const ReadOptions& options,
                                                           bool follow, const std::string& position = {});

}  // namespace weir
