#include "address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <charconv>

#include "weir/error.hpp"

namespace weir::app {
namespace {

/// One byte of the field ends the text.
constexpr std::size_t longest_path = sizeof(sockaddr_un::sun_path) - 1;

}  // namespace

Address parse_address(const std::string& option, const std::string& text) {
  const auto refuse = [&](std::string_view reason) -> UsageError {
    return UsageError(fmt::format("{}: '{}' given, {}expected unix:PATH or tcp:HOST:PORT", option, text, reason));
  };
  std::string_view rest = text;
  if (rest.starts_with("unix:")) {
    rest.remove_prefix(5);
    if (rest.starts_with("//")) rest.remove_prefix(2);
    if (rest.empty()) throw refuse("without a path; ");
    if (rest.size() > longest_path || rest.find('\0') != std::string_view::npos)
      throw UsageError(fmt::format("{}: '{}' given, expected a path of at most {} bytes", option, text, longest_path));
    return {.is_unix = true, .path = std::string(rest)};
  }
  if (!rest.starts_with("tcp:")) throw refuse("");
  rest.remove_prefix(4);
  if (rest.starts_with("//")) rest.remove_prefix(2);
  std::string_view host = "127.0.0.1";
  if (const std::size_t colon = rest.rfind(':'); colon != std::string_view::npos) {
    host = rest.substr(0, colon);
    rest.remove_prefix(colon + 1);
    if (host.starts_with('[') && host.ends_with(']')) {
      host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
      throw refuse("a host with colons stands in brackets; ");
    }
    if (host.empty()) throw refuse("without a host; ");
  }
  unsigned port = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), port);
  if (rest.empty() || error != std::errc() || end != rest.data() + rest.size() || port > 65535)
    throw refuse("a port is a number from 0 to 65535; ");
  return {.host = std::string(host), .port = static_cast<std::uint16_t>(port)};
}

std::string to_string(const Address& address) {
  if (address.is_unix) return "unix:" + address.path;
  const bool is_v6 = address.host.find(':') != std::string::npos;
  return fmt::format("tcp:{}{}{}:{}", is_v6 ? "[" : "", address.host, is_v6 ? "]" : "", address.port);
}

bool looks_like_address(std::string_view text) noexcept {
  return text.starts_with("unix:") || text.starts_with("tcp:");
}

bool is_loopback(std::string_view host) {
  // A name such as 127.0.0.1.example.org may lead anywhere.
  in_addr number{};
  const bool is_number = ::inet_pton(AF_INET, std::string(host).c_str(), &number) == 1;
  return host == "localhost" || host == "::1" || (is_number && host.starts_with("127."));
}

}  // namespace weir::app
