#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

  /// What messages call it. Of a listener, the address that it is bound to, "tcp://127.0.0.1:43561": whoever gave port 0
  /// learns from it which was free.
  [[nodiscard]] virtual std::string name() const { return {}; }

  /// What happened since the last call that whoever runs the job should know, and that is no error: a connection that was
  /// refused, a log that was truncated. A line each, at most 100; the last then says how many there were besides.
  [[nodiscard]] virtual std::vector<std::string> take_notices() { return {}; }

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

  /// What keeps it waiting though it should not, such as brokers that are down, for people to read; empty when all is well.
  [[nodiscard]] virtual std::string trouble() const { return {}; }

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

/// Opens a live source.
///
/// tcp://HOST:PORT listens at the addresses of this machine that HOST means (0.0.0.0: all of IPv4; none: 127.0.0.1), up to
/// 256 clients at a time. A client sends lines of text or one binary stream, and shuts down its side of the connection;
/// when next() has delivered all its events, it gets the line {"accepted":N,"skipped":M}, with a member "error" where the
/// rest was not read, and the connection is closed. Where next() is not called for a while, clients are held back by TCP.
/// The end of a connection in the middle of a record is counted in skipped(), with OnError::stop too: a client that dies
/// must not end a job. Damage in a binary stream closes the connection. A listener never ends by itself.
///
/// A directory: every regular file in it, in any format that EventReader knows, is read once, in the order of the names; with
/// `follow` those that come later, too, in the order in which they are found (it is looked at every 100 ms). Names that
/// begin with '.' or end in .tmp or .part are left alone: a file must be written under such a name, and be renamed when it
/// is complete. One that grows after it was read is an InputError; with OnError::skip it counts as skipped, and what was
/// added is not read. A bad file (damage, no events) likewise ends the reading or is skipped; an empty one is nothing. The
/// position has an entry, some 50 bytes, for every file that is in the directory and was read: move files away when they
/// are done.
///
/// With `follow` a file is a text that grows by lines, such as a log; a last line waits for its end. When another file takes
/// its name, the old one is read to its end first, also by a reader that goes on at a position, which finds the old one under
/// another name in the same directory. A writer may go on with the old file as long as the new one is empty. When the file is
/// truncated in place, it is read from its beginning, and take_notices() says so; what was cut off unread is lost. Two
/// rotations within 100 ms, or while nobody reads, hide the file between them.
///
/// `options.slice` and `slice_count` say which part of one that is read in parts; `options.stop` ends
/// waiting. `position` is that of an earlier position(), parts merged, or empty to begin at the beginning. `follow` means
/// that files may grow and that directories are watched; without it a directory is read once. Throws InputError for what
/// cannot be opened, or for a position that is not of this source; UsageError for a name that is not understood.
[[nodiscard]] std::unique_ptr<LiveSource> open_live_source(const std::string& name, const ReadOptions& options,
                                                           bool follow, const std::string& position = {});

}  // namespace weir
