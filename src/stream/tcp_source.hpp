#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "weir/stream/live_source.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

struct TcpAddress {
  std::string host;  ///< A name or a number; 127.0.0.1 where none was given.
  std::string port;  ///< Decimal; 0 for any that is free.
};
/// The parts of tcp://HOST:PORT, tcp://[HOST]:PORT (needed where HOST has colons) or tcp://:PORT. Throws UsageError.
[[nodiscard]] TcpAddress parse_tcp_address(const std::string& name);

struct TcpLimits {
  std::size_t connections = 256;                   ///< At the same time; more are refused.
  std::size_t held = std::size_t{512} << 20;       ///< Bytes of records that have arrived in part, of all connections.
  std::size_t held_by_one = std::size_t{1} << 16;  ///< What each may hold whatever the others do.
  std::size_t queued = std::size_t{1} << 18;       ///< Events and values of rows that wait for next(), and a read more.
};

/// Listens at `name`. One thread serves all connections, and never waits for one of them.
///
/// A client sends lines of text or one stream of binary events, as in a file, and shuts down its side of the connection (or
/// closes it). When next() has delivered all of its events, it is answered by a line, {"accepted":N,"skipped":M}, with a
/// member "error" where the rest of what it sent was not read, and the connection is closed. That says that the events were
/// delivered, not that a checkpoint holds them. When next() is not called, no more is read than `queued`, and clients are
/// blocked by TCP's own flow control.
///
/// An end in the middle of a record counts as one that was skipped, whatever options.on_error is: a client that dies must
/// not end a job. Other bad records are as on_error says; damage to binary events closes that connection.
[[nodiscard]] std::unique_ptr<LiveSource> open_tcp_source(const std::string& name, const ReadOptions& options,
                                                          const TcpLimits& limits = {});

}  // namespace weir::stream
