#include "http_server.hpp"

#include "weir/error.hpp"

#ifdef WEIR_SERVE

#include <fcntl.h>
#include <fmt/format.h>
#include <httplib.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace weir::app {
namespace {

using Clock = std::chrono::steady_clock;

/// After its reply a client gets so long to close the connection: closed with unread bytes, the reply might be lost.
constexpr std::chrono::milliseconds longest_farewell{1000};
/// After the end of the server replies get so long to be taken.
constexpr std::chrono::milliseconds longest_end{2000};
/// When the system has no descriptor left, the next try comes after this.
constexpr std::chrono::milliseconds pause_without_descriptors{100};

/// A file descriptor, closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  [[nodiscard]] int get() const noexcept { return number_; }

 private:
  int number_;
};

InputError cannot(const std::string& option, const Address& address, const std::string& why) {
  return InputError(fmt::format("{} {}: {}", option, to_string(address), why));
}
InputError cannot(const std::string& option, const Address& address, int error) {
  return cannot(option, address, std::string(std::strerror(error)));
}

sockaddr_un unix_name(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), name.sun_path);
  return name;
}

/// Removes the socket file of a server that is gone. Throws InputError when something else has the name.
void clear_way(const std::string& option, const Address& address) {
  struct stat status {};
  if (::lstat(address.path.c_str(), &status) != 0) return;
  if (!S_ISSOCK(status.st_mode)) throw cannot(option, address, "there is a file of this name that is not a socket");
  const sockaddr_un name = unix_name(address.path);
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe.get() < 0) throw cannot(option, address, errno);
  const bool refused =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 && errno == ECONNREFUSED;
  if (!refused) throw cannot(option, address, "another process listens on this socket");
  if (::unlink(address.path.c_str()) != 0 && errno != ENOENT) throw cannot(option, address, errno);
}

/// A socket that listens. Sets the port of `address` where it was 0.
Descriptor listen_on(const std::string& option, Address& address, int backlog) {
  constexpr int kind = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  if (address.is_unix) {
    clear_way(option, address);
    const sockaddr_un name = unix_name(address.path);
    Descriptor socket(::socket(AF_UNIX, kind, 0));
    // Nobody can connect before listen(), so that the mode holds for everybody.
    if (socket.get() < 0 || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0)
      throw cannot(option, address, errno);
    if (::chmod(address.path.c_str(), 0600) != 0 || ::listen(socket.get(), backlog) != 0) {
      const int error = errno;
      ::unlink(address.path.c_str());
      throw cannot(option, address, error);
    }
    return socket;
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(address.host.c_str(), fmt::to_string(address.port).c_str(), &hints, &found))
    throw cannot(option, address, std::string(::gai_strerror(error)));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  int error = EADDRNOTAVAIL;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    Descriptor socket(::socket(each->ai_family, kind, 0));
    const int yes = 1;
    if (socket.get() >= 0) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (socket.get() < 0 || ::bind(socket.get(), each->ai_addr, each->ai_addrlen) != 0 ||
        ::listen(socket.get(), backlog) != 0) {
      error = errno;
      continue;
    }
    sockaddr_storage bound{};
    socklen_t length = sizeof bound;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &length) == 0) {
      std::array<char, NI_MAXSERV> port{};
      if (::getnameinfo(reinterpret_cast<const sockaddr*>(&bound), length, nullptr, 0, port.data(), port.size(),
                        NI_NUMERICSERV) == 0)
        std::from_chars(port.data(), port.data() + std::strlen(port.data()), address.port);
    }
    return socket;
  }
  throw cannot(option, address, error);
}

std::string_view status_text(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 411:
      return "Length Required";
    case 413:
      return "Payload Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Service Unavailable";
  }
}

std::string error_body(std::string_view message) {
  return nlohmann::json{{"error", message}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

// ---------------------------------------------------------------------------------------------------------------------
// One request: cpp-httplib reads it from memory, and writes the reply into memory.

class MemoryStream : public httplib::Stream {
 public:
  explicit MemoryStream(std::string_view in) : in_(in) {}
  [[nodiscard]] bool is_readable() const override { return true; }
  [[nodiscard]] bool is_writable() const override { return true; }
  ssize_t read(char* to, size_t size) override {
    const std::size_t count = std::min(size, in_.size());
    std::copy_n(in_.data(), count, to);
    in_.remove_prefix(count);
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* from, size_t size) override {
    out.append(from, size);
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  [[nodiscard]] socket_t socket() const override { return 0; }

  std::string out;

 private:
  std::string_view in_;
};

/// Parses and formats; it never listens.
class Protocol : public httplib::Server {
 public:
  explicit Protocol(HttpServer::Handler handler) : handler_(std::move(handler)) {
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      answer(request, response);
      return HandlerResponse::Handled;
    });
    // Of requests that it refuses itself.
    set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (response.body.empty()) response.set_content(error_body("malformed request"), "application/json");
    });
  }

  /// The reply to a request line, as bytes. Thread-safe.
  [[nodiscard]] std::string reply(const std::string& line, std::string body) {
    // No header of the client gets here: what they would set off (ranges, compression, keeping connections) is not wanted.
    MemoryStream stream(line);
    bool is_closed = false;
    (void)process_request(stream, true, is_closed, [&](httplib::Request& request) { request.body = std::move(body); });
    return std::move(stream.out);
  }

 private:
  void answer(const httplib::Request& request, httplib::Response& response) const {
    HttpReply reply;
    try {
      reply = handler_({request.method, request.path, {request.params.begin(), request.params.end()}, request.body});
    } catch (const std::bad_alloc&) {
      reply = {.status = 503, .body = error_body("out of memory")};
    } catch (const std::exception& error) {
      reply = {.status = 500, .body = error_body(error.what())};
    }
    response.status = reply.status;
    for (const auto& [name, value] : reply.headers) response.set_header(name, value);
    response.set_header("Cache-Control", "no-store");
    response.set_header("X-Content-Type-Options", "nosniff");
    response.set_content(reply.body, reply.content_type);
  }

  HttpServer::Handler handler_;
};

/// The library ignores SIGPIPE for the whole process when a server is made, which is not its business here.
std::unique_ptr<Protocol> make_protocol(HttpServer::Handler handler) {
  struct sigaction before {};
  ::sigaction(SIGPIPE, nullptr, &before);
  auto protocol = std::make_unique<Protocol>(std::move(handler));
  ::sigaction(SIGPIPE, &before, nullptr);
  return protocol;
}

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool is_same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char c, char d) {
    const auto lower = [](char e) { return e >= 'A' && e <= 'Z' ? static_cast<char>(e - 'A' + 'a') : e; };
    return lower(c) == lower(d);
  });
}

/// What matters of the head of a request here.
struct Head {
  std::string line;  ///< Followed by an empty line.
  std::string path;  ///< As it was sent.
  std::string host;
  std::uint64_t body_bytes = 0;
  bool is_post = false;
  bool wants_continue = false;
  int refused = 0;  ///< The status that it is refused with; 0 where it is not.
  std::string reason = {};
};

Head parse_head(std::string_view text) {
  Head head;
  const auto refuse = [&](int status, std::string reason) {
    if (head.refused != 0) return;
    head.refused = status;
    head.reason = std::move(reason);
  };
  if (text.find('\0') != std::string_view::npos) refuse(400, "a request has no zero bytes");
  std::size_t end = text.find("\r\n");
  head.line = std::string(text.substr(0, end)) + "\r\n\r\n";
  head.is_post = head.line.starts_with("POST ");
  if (const std::size_t space = head.line.find(' '); space != std::string::npos)
    head.path = head.line.substr(space + 1, head.line.find_first_of(" ?#\r", space + 1) - space - 1);
  text.remove_prefix(end + 2);
  bool has_length = false;
  while (!text.empty()) {
    end = std::min(text.find("\r\n"), text.size());
    const std::string_view header = text.substr(0, end);
    text.remove_prefix(std::min(end + 2, text.size()));
    const std::size_t colon = header.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view name = header.substr(0, colon), value = trimmed(header.substr(colon + 1));
    if (is_same_name(name, "Host")) head.host = value;
    if (is_same_name(name, "Expect")) head.wants_continue = is_same_name(value, "100-continue");
    if (is_same_name(name, "Transfer-Encoding")) refuse(411, "expected a Content-Length");
    if (is_same_name(name, "Content-Encoding") && !is_same_name(value, "identity"))
      refuse(415, "expected a body without Content-Encoding");
    if (is_same_name(name, "Content-Length")) {
      const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), head.body_bytes);
      if (has_length || value.empty() || error != std::errc() || stop != value.data() + value.size())
        refuse(400, "expected one Content-Length, a whole number");
      has_length = true;
    }
  }
  return head;
}

/// The host of a Host header, without the port.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, std::min(host.find(']'), host.size()) - 1);
  return host.substr(0, host.find(':'));
}

enum class Stage : std::uint8_t {
  head,      ///< The head is being read,
  body,      ///< the body,
  working,   ///< a thread works out the reply,
  reply,     ///< the reply is being written,
  farewell,  ///< what the client still sends is thrown away until it closes.
};

struct Connection {
  Descriptor socket;
  Stage stage = Stage::head;
  Clock::time_point since = Clock::now();  ///< Of the stage.
  std::string in = {};                     ///< The head; then the body.
  Head head = {};
  std::uint64_t reserved = 0;  ///< Bytes of the budget for bodies.
  std::string out = {};
  std::size_t written = 0;
};

}  // namespace

bool has_http() noexcept { return true; }

struct HttpServer::Implementation {
  Options options;
  Address address;
  Descriptor listener;
  Descriptor wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::optional<std::pair<dev_t, ino_t>> socket_file;
  std::unique_ptr<Protocol> protocol;
  std::atomic<bool> is_stopping = false;

  // Only the thread that waits touches connections, but for those that a worker has: `in` and `out` of these.
  std::list<Connection> connections;
  std::uint64_t reserved_bytes = 0;
  Clock::time_point accepts_from = {};

  std::mutex mutex;
  std::condition_variable has_work;
  std::deque<Connection*> quick, slow;  ///< Waiting for a worker.
  std::vector<Connection*> finished;    ///< With replies.
  bool workers_stop = false;

  std::vector<std::thread> threads;

  Implementation(const std::string& option, const Address& where, Options given)
      : options(std::move(given)), address(where) {
    if (wake.get() < 0) throw cannot(option, address, errno);
    listener = listen_on(option, address, static_cast<int>(options.limits.connections));
    struct stat status {};
    if (address.is_unix && ::stat(address.path.c_str(), &status) == 0) socket_file = {status.st_dev, status.st_ino};
    protocol = make_protocol(options.handler);
    // Signals are the business of the thread that made this one.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      threads.emplace_back([this] { wait_for_connections(); });
      for (std::size_t k = 0; k < std::max<std::size_t>(2, options.limits.threads); ++k)
        threads.emplace_back([this, only_quick = k == 0] { work(only_quick); });
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      stop();
      throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void notify() const noexcept {
    const std::uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
  }

  void stop() {
    is_stopping = true;
    notify();
    if (!threads.empty()) threads.front().join();
    {
      const std::lock_guard lock(mutex);
      workers_stop = true;
    }
    has_work.notify_all();
    for (std::size_t k = 1; k < threads.size(); ++k) threads[k].join();
    struct stat status {};
    if (socket_file && ::lstat(address.path.c_str(), &status) == 0 &&
        *socket_file == std::pair(status.st_dev, status.st_ino))
      ::unlink(address.path.c_str());
  }

  // --- The workers.

  void work(bool only_quick) {
    for (;;) {
      Connection* connection = nullptr;
      {
        std::unique_lock lock(mutex);
        has_work.wait(lock, [&] { return workers_stop || !quick.empty() || (!only_quick && !slow.empty()); });
        if (workers_stop) return;
        std::deque<Connection*>& queue = quick.empty() ? slow : quick;
        connection = queue.front();
        queue.pop_front();
      }
      try {
        connection->out = protocol->reply(connection->head.line, std::move(connection->in));
      } catch (const std::exception&) {  // no memory for the reply
        connection->out.clear();
      }
      connection->in = {};
      {
        const std::lock_guard lock(mutex);
        finished.push_back(connection);
      }
      notify();
    }
  }

  // --- The thread that waits.

  static void enter(Connection& connection, Stage stage) {
    connection.stage = stage;
    connection.since = Clock::now();
  }

  std::chrono::milliseconds limit_of(Stage stage) const {
    switch (stage) {
      case Stage::head:
        return options.limits.head;
      case Stage::body:
        return options.limits.body;
      case Stage::reply:
        return options.limits.reply;
      case Stage::farewell:
        return longest_farewell;
      case Stage::working:
        break;
    }
    return std::chrono::hours(24 * 365);
  }

  void release(Connection& connection) { reserved_bytes -= std::exchange(connection.reserved, 0); }

  /// A reply without the help of a worker.
  void refuse(Connection& connection, int status, std::string_view reason) {
    release(connection);
    connection.in = {};
    const std::string body = error_body(reason);
    connection.out = fmt::format(
        "HTTP/1.1 {} {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", status,
        status_text(status), body.size(), body);
    enter(connection, Stage::reply);
  }

  void hand_over(Connection& connection) {
    enter(connection, Stage::working);
    const bool is_quick = options.is_quick && options.is_quick(connection.head.path);
    {
      const std::lock_guard lock(mutex);
      (is_quick ? quick : slow).push_back(&connection);
    }
    has_work.notify_all();
  }

  void take_head(Connection& connection, std::size_t end) {
    connection.head = parse_head(std::string_view(connection.in).substr(0, end + 2));
    connection.in.erase(0, end + 4);
    const Head& head = connection.head;
    if (head.refused != 0) return refuse(connection, head.refused, head.reason);
    if (!address.is_unix && is_loopback(address.host) && !head.host.empty() && !is_loopback(without_port(head.host)))
      return refuse(connection, 403, "this server answers on a loopback address only");
    if (!head.is_post && head.body_bytes > 0) return refuse(connection, 413, "expected no body");
    if (head.body_bytes > options.limits.body_bytes)
      return refuse(connection, 413,
                    fmt::format("a body of {} bytes, expected at most {}", head.body_bytes, options.limits.body_bytes));
    if (reserved_bytes + head.body_bytes > 2 * options.limits.body_bytes)
      return refuse(connection, 503, "others are sending as much as this server takes at a time; ask again later");
    connection.reserved = head.body_bytes;
    reserved_bytes += head.body_bytes;
    if (head.wants_continue && connection.in.size() < head.body_bytes) {
      constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      // So few bytes fit into the empty buffer of a socket; a client without them goes on after a while.
      (void)!::send(connection.socket.get(), go_on.data(), go_on.size(), MSG_NOSIGNAL);
    }
    enter(connection, Stage::body);
    take_body(connection);
  }

  void take_body(Connection& connection) {
    if (connection.in.size() < connection.head.body_bytes) return;
    connection.in.resize(connection.head.body_bytes);
    hand_over(connection);
  }

  /// False when the connection is over.
  bool read(Connection& connection) {
    std::array<char, 65536> buffer;
    const ssize_t count = ::recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    if (connection.stage == Stage::farewell) return count > 0;
    if (count == 0) return false;
    const std::size_t before = connection.in.size();
    connection.in.append(buffer.data(), static_cast<std::size_t>(count));
    if (connection.stage == Stage::body) {
      take_body(connection);
      return true;
    }
    const std::size_t end = connection.in.find("\r\n\r\n", before < 3 ? 0 : before - 3);
    if (std::min(end, connection.in.size()) > options.limits.head_bytes) {
      const bool is_line = connection.in.find('\n') > options.limits.head_bytes;
      refuse(connection, is_line ? 414 : 431,
             fmt::format("expected at most {} bytes before the body", options.limits.head_bytes));
    } else if (end != std::string::npos) {
      take_head(connection, end);
    }
    return true;
  }

  /// False when the connection is over.
  bool write(Connection& connection) {
    const std::string_view rest = std::string_view(connection.out).substr(connection.written);
    if (!rest.empty()) {
      const ssize_t count = ::send(connection.socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (count < 0) return errno == EAGAIN || errno == EINTR;
      connection.written += static_cast<std::size_t>(count);
    }
    if (connection.written < connection.out.size()) return true;
    if (connection.out.empty()) return false;
    connection.out = {};
    ::shutdown(connection.socket.get(), SHUT_WR);
    enter(connection, Stage::farewell);
    return true;
  }

  void take_replies() {
    std::uint64_t count = 0;
    (void)!::read(wake.get(), &count, sizeof count);
    std::vector<Connection*> replied;
    {
      const std::lock_guard lock(mutex);
      replied.swap(finished);
    }
    for (Connection* connection : replied) {
      release(*connection);
      enter(*connection, Stage::reply);
    }
  }

  void close(std::list<Connection>::iterator connection) {
    release(*connection);
    connections.erase(connection);
  }

  /// The client that has kept the server waiting longest; the end where none has for long enough to make way.
  std::list<Connection>::iterator slowest() {
    auto found = connections.end();
    for (auto each = connections.begin(); each != connections.end(); ++each)
      if (each->stage != Stage::working && (found == connections.end() || each->since < found->since)) found = each;
    return found;
  }

  void accept() {
    for (;;) {
      if (connections.size() >= options.limits.connections) {
        const auto slow_one = slowest();
        if (slow_one == connections.end() || Clock::now() - slow_one->since < options.limits.patience) return;
        close(slow_one);
      }
      Descriptor socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (socket.get() < 0) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno != EAGAIN) accepts_from = Clock::now() + pause_without_descriptors;
        return;
      }
      connections.push_back({.socket = std::move(socket)});
    }
  }

  void wait_for_connections() {
    std::optional<Clock::time_point> end;
    std::vector<pollfd> polled;
    std::vector<std::list<Connection>::iterator> owners;
    for (;;) {
      const Clock::time_point now = Clock::now();
      if (is_stopping && !end) {
        end = now + longest_end;
        const std::lock_guard lock(mutex);
        // What no worker has begun is not begun any more.
        for (std::deque<Connection*>* queue : {&quick, &slow}) {
          for (Connection* connection : *queue) connection->stage = Stage::head;
          queue->clear();
        }
      }
      bool is_full = connections.size() >= options.limits.connections;
      Clock::time_point next = now + std::chrono::hours(1);
      polled.clear();
      owners.clear();
      polled.push_back({.fd = wake.get(), .events = POLLIN, .revents = 0});
      for (auto each = connections.begin(); each != connections.end();) {
        const auto connection = each++;
        const Stage stage = connection->stage;
        if (stage == Stage::working) continue;
        const Clock::time_point deadline = connection->since + limit_of(stage);
        if (now >= deadline || (end && stage != Stage::reply && stage != Stage::farewell)) {
          close(connection);
          is_full = false;
          continue;
        }
        next = std::min(next, deadline);
        if (is_full && connection->since + options.limits.patience > now)
          next = std::min(next, connection->since + options.limits.patience);
        polled.push_back({.fd = connection->socket.get(),
                          .events = static_cast<short>(stage == Stage::reply ? POLLOUT : POLLIN),
                          .revents = 0});
        owners.push_back(connection);
      }
      if (end) {
        const bool has_working =
            std::ranges::any_of(connections, [](const Connection& each) { return each.stage == Stage::working; });
        const bool has_reply =
            std::ranges::any_of(connections, [](const Connection& each) { return each.stage == Stage::reply; });
        // A worker holds its connection, so that one must wait for it, however long.
        if (has_working) {
          end = now + longest_end;
        } else if (!has_reply || now >= *end) {
          break;
        }
        next = std::min(next, *end);
      }
      const bool may_accept = !end && now >= accepts_from;
      // A full house listens only when somebody may make way.
      const auto slow_one = is_full ? slowest() : connections.end();
      const bool has_room =
          !is_full || (slow_one != connections.end() && now - slow_one->since >= options.limits.patience);
      if (!end && !may_accept) next = std::min(next, accepts_from);
      const bool listens = may_accept && has_room;
      if (listens) polled.push_back({.fd = listener.get(), .events = POLLIN, .revents = 0});

      const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
      const int ready =
          ::poll(polled.data(), polled.size(), static_cast<int>(std::clamp<std::int64_t>(wait, 0, 3'600'000)));
      if (ready <= 0) continue;
      if (polled[0].revents != 0) take_replies();
      for (std::size_t k = 0; k < owners.size(); ++k) {
        if (polled[k + 1].revents == 0) continue;
        Connection& connection = *owners[k];
        const bool goes_on = connection.stage == Stage::reply ? write(connection) : read(connection);
        if (!goes_on) close(owners[k]);
      }
      if (listens && polled.back().revents != 0) accept();
    }
    connections.clear();
  }
};

HttpServer::HttpServer(const std::string& option, const Address& address, Options options)
    : implementation_(std::make_unique<Implementation>(option, address, std::move(options))) {}

HttpServer::~HttpServer() { implementation_->stop(); }

const Address& HttpServer::address() const noexcept { return implementation_->address; }

}  // namespace weir::app

#else

namespace weir::app {

bool has_http() noexcept { return false; }

struct HttpServer::Implementation {
  Address address;
};

HttpServer::HttpServer(const std::string& option, const Address&, Options) {
  throw UsageError(option + ": this weir was built without cpp-httplib");
}
HttpServer::~HttpServer() = default;
const Address& HttpServer::address() const noexcept { return implementation_->address; }

}  // namespace weir::app

#endif
