#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "address.hpp"

namespace weir::app {

/// True where this program was built with cpp-httplib. Without it an HttpServer cannot be made (UsageError).
[[nodiscard]] bool has_http() noexcept;

struct HttpRequest {
  std::string method;  ///< "GET", "HEAD", "POST", ...
  std::string path;    ///< Decoded, without the parameters.
  std::multimap<std::string, std::string> parameters;
  std::string body;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  std::map<std::string, std::string> headers = {};
};

/// What clients may ask of a server at most, each with its default.
struct HttpLimits {
  std::size_t threads = 4;        ///< That work out replies, 2 at least.
  std::size_t connections = 64;   ///< Open at a time; others wait in the queue of the system, as many again.
  std::size_t head_bytes = 8192;  ///< Of the request line and the headers.
  std::size_t body_bytes = std::size_t{1} << 28;  ///< Of a POST; those of all connections together at most twice that.
  std::chrono::milliseconds head{5000};           ///< Within this time the head has to be there,
  std::chrono::milliseconds body{30000};          ///< within this the body after it,
  std::chrono::milliseconds reply{10000};         ///< and within this the client has to take the reply.
  /// A client that has kept the server waiting for so long makes way when another one comes and all connections are taken.
  std::chrono::milliseconds patience{500};
};

/// Answers HTTP requests on one address until it is destroyed, one request for each connection. One thread waits for all
/// connections, and hands over requests that are complete: a slow client takes no thread, and time limits hold for the
/// request as a whole, however it dribbles in. A client that vanishes, or sends anything at all, costs its connection.
class HttpServer {
 public:
  using Handler = std::function<HttpReply(const HttpRequest&)>;

  struct Options {
    Handler handler;  ///< Called by several threads at once. What it throws becomes a reply of status 500.
    /// Paths whose replies take no time: one thread is kept for them, so that they are answered while the others work.
    std::function<bool(const std::string& path)> is_quick = {};
    HttpLimits limits = {};
  };

  /// Listens. A socket file gets mode 0600; one that nobody listens on any more is replaced. On a loopback address only
  /// requests for a loopback host are answered, so that no page of a browser can be made to read it under another name.
  /// `option` names the address in messages. Throws InputError when it cannot listen there, UsageError where the program
  /// was built without cpp-httplib.
  HttpServer(const std::string& option, const Address& address, Options options);
  /// Stops listening and removes the socket file. Requests that are being answered get their replies, for at most two
  /// seconds once they are worked out; others are dropped.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Where it listens; with the port that was found where 0 was asked for.
  [[nodiscard]] const Address& address() const noexcept;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace weir::app
