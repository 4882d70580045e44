#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::app {

/// Where a running job is asked: a socket file, or a port of a host.
struct Address {
  bool is_unix = false;
  std::string path = {};   ///< Of a socket file; at most 107 bytes.
  std::string host = {};   ///< A name or a number, without brackets.
  std::uint16_t port = 0;  ///< 0, where a server listens: a free one.
  bool operator==(const Address&) const = default;
};

/// "unix:PATH", "tcp:HOST:PORT", "tcp:[V6]:PORT", or "tcp:PORT", which is the port of 127.0.0.1; "tcp://" means the same
/// as "tcp:". Throws UsageError naming `option` and the forms.
[[nodiscard]] Address parse_address(const std::string& option, const std::string& text);
/// In the form that parse_address() reads.
[[nodiscard]] std::string to_string(const Address& address);
/// True for what begins as an address does, in place of a file name.
[[nodiscard]] bool looks_like_address(std::string_view text) noexcept;
/// True for names and numbers of this machine that no other machine reaches.
[[nodiscard]] bool is_loopback(std::string_view host);

}  // namespace weir::app
