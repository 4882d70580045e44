#include "tcp_source.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "arriving_stream.hpp"
#include "notices.hpp"
#include "pending_events.hpp"
#include "weir/error.hpp"
#include "weir/io/cancelled.hpp"
#include "weir/io/text.hpp"

namespace weir::stream {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view scheme = "tcp://";
/// Bytes that are read from a connection before it is the turn of the next.
constexpr std::size_t piece = std::size_t{1} << 16;
/// How long a client whose stream was not read to its end has time to fetch the answer.
constexpr std::chrono::seconds linger{1};
/// How long no connection is accepted after the process ran out of descriptors.
constexpr std::chrono::milliseconds descriptor_pause{100};

/// What a batch in the queue takes besides its events, in events.
constexpr std::size_t batch_weight = 16;

class Descriptor {
 public:
  explicit Descriptor(int descriptor = -1) noexcept : descriptor_(descriptor) {}
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] int get() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

std::string text_of(const sockaddr_storage& address, socklen_t length) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, host.data(), host.size(), port.data(),
                    port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "an unknown address";
  }
  return address.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port.data())
                                       : fmt::format("{}:{}", host.data(), port.data());
}

/// A socket that listens at one of the addresses that `name` stands for.
Descriptor listen_at(const std::string& name) {
  const TcpAddress address = parse_tcp_address(name);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found); error != 0)
    throw InputError(fmt::format("{}: cannot find {}: {}", name, quoted_excerpt(address.host), ::gai_strerror(error)));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  int error = 0;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    Descriptor socket(
        ::socket(entry->ai_family, entry->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, entry->ai_protocol));
    const int on = 1;
    if (socket.get() >= 0 && ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        ::bind(socket.get(), entry->ai_addr, entry->ai_addrlen) == 0 && ::listen(socket.get(), SOMAXCONN) == 0) {
      return socket;
    }
    error = errno;
  }
  throw InputError(fmt::format("{}: cannot listen: {}", name, std::strerror(error)));
}

std::string bound_name(const Descriptor& listener) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    throw InputError(fmt::format("tcp: cannot find out the own address: {}", std::strerror(errno)));
  return fmt::format("{}{}", scheme, text_of(address, length));
}

/// Asks for probes, so that a client whose machine is gone does not hold a connection for ever.
void probe_when_silent(const Descriptor& socket) {
  const auto set = [&](int level, int option, int value) {
    (void)::setsockopt(socket.get(), level, option, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 6);
}

/// Sends a line that fits the buffer of a connection whose client reads at all.
void send_line(const Descriptor& socket, const nlohmann::json& content) {
  const std::string line = content.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  (void)::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// What next() has delivered of a connection.
struct Tally {
  std::uint64_t delivered = 0;  ///< Under the mutex.
};

struct Connection {
  enum class Phase : std::uint8_t {
    reading,
    ended,      ///< Nothing more is read; its events may still be in the queue.
    lingering,  ///< It was answered, and what it sends is thrown away.
  };

  Connection(Descriptor connected, std::string name, const ReadOptions& options, const TextRuns& runs)
      : socket(std::move(connected)), stream(std::move(name), options, runs) {}

  Descriptor socket;
  ArrivingStream stream;
  std::shared_ptr<Tally> tally = std::make_shared<Tally>();
  std::uint64_t queued = 0;   ///< Events, in all.
  std::uint64_t skipped = 0;  ///< Of stream.skipped(), what the source has counted.
  Phase phase = Phase::reading;
  bool at_end = false;    ///< The client has shut down its side.
  std::string complaint;  ///< Why the rest was not read.
  Clock::time_point linger_until{};
};

class TcpSource final : public LiveSource {
 public:
  TcpSource(const std::string& name, const ReadOptions& options, const TcpLimits& limits)
      : options_(options),
        limits_(limits),
        runs_(options),
        listener_(listen_at(name)),
        name_(bound_name(listener_)),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        scratch_(piece) {
    if (wake_.get() < 0)
      throw InputError(fmt::format("{}: cannot create an event descriptor: {}", name_, std::strerror(errno)));
    options_.stop = {};
    stop_ = options.stop;
    thread_ = std::thread([this] { serve_all(); });
  }

  ~TcpSource() override {
    quit_ = true;
    wake();
    thread_.join();
  }

  bool next(EventBatch& batch, std::size_t most, std::chrono::milliseconds patience) override {
    batch.clear();
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop_, patience, [&] { return !queue_.empty() || failure_; });
      if (stop_.stop_requested()) throw Cancelled();
      while (!queue_.empty() && batch.events() < most) {
        Item& item = queue_.front();
        const std::size_t taken = item.events.take(batch, most - batch.events());
        item.tally->delivered += taken;
        waiting_ -= taken;
        if (!item.events.empty()) break;
        queued_ -= item.weight;
        queue_.pop_front();
      }
      if (batch.empty() && failure_) std::rethrow_exception(failure_);
      if (batch.empty()) return true;
    }
    wake();  // there may be room again, or a connection to be answered
    return true;
  }

  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] std::vector<std::string> take_notices() override { return notices_.take(); }

  [[nodiscard]] std::uint64_t skipped() const override {
    const std::lock_guard lock(mutex_);
    return skipped_;
  }
  [[nodiscard]] std::string first_skipped() const override {
    const std::lock_guard lock(mutex_);
    return first_skipped_;
  }
  /// Of what the kernel holds for the connections nothing is known.
  [[nodiscard]] std::optional<Lag> lag() const override {
    const std::lock_guard lock(mutex_);
    return Lag{waiting_, "records"};
  }

 private:
  struct Item {
    std::shared_ptr<Tally> tally;
    PendingEvents events;
    std::size_t weight = 0;
  };

  void wake() const noexcept { (void)::eventfd_write(wake_.get(), 1); }

  void serve_all() noexcept {
    try {
      while (!quit_) serve_once();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      changed_.notify_all();
    }
  }

  void serve_once() {
    const bool full = is_full();
    const auto now = Clock::now();
    std::optional<Clock::time_point> deadline;
    const auto until = [&](Clock::time_point time) { deadline = std::min(deadline.value_or(time), time); };
    events_.clear();
    events_.push_back({wake_.get(), POLLIN, 0});
    const bool accepting = now >= accept_from_;
    if (!accepting) until(accept_from_);
    events_.push_back({accepting ? listener_.get() : -1, POLLIN, 0});
    for (const auto& connection : connections_) {
      const bool lingering = connection->phase == Connection::Phase::lingering;
      if (lingering) until(connection->linger_until);
      // poll() leaves negative descriptors out; else it would return at once for one that was hung up.
      const bool wanted = lingering || (connection->phase == Connection::Phase::reading && !full);
      events_.push_back({wanted ? connection->socket.get() : -1, POLLIN, 0});
    }
    int timeout = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - now).count();
      timeout = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
    }
    if (::poll(events_.data(), events_.size(), timeout) < 0) return;  // interrupted, or memory is short for a moment
    if (events_[0].revents != 0) {
      eventfd_t count;
      (void)::eventfd_read(wake_.get(), &count);
    }
    // The first in turn changes, so that when the queue has room for a few only, it is not always the same few.
    const std::size_t count = connections_.size();
    for (std::size_t k = 0; k < count; ++k) {
      const std::size_t at = (first_in_turn_ + k) % count;
      if (events_[2 + at].revents == 0) continue;
      Connection& connection = *connections_[at];
      if (connection.phase == Connection::Phase::lingering) {
        discard(connection);
      } else if (!is_full()) {
        read(connection);
      } else {
        first_in_turn_ = at;
        break;
      }
    }
    answer_all();
    if (events_[1].revents != 0) accept_all();
  }

  [[nodiscard]] bool is_full() const {
    const std::lock_guard lock(mutex_);
    return queued_ >= limits_.queued || failure_;
  }

  void accept_all() {
    while (!quit_) {
      sockaddr_storage address{};
      socklen_t length = sizeof address;
      Descriptor socket(
          ::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (socket.get() < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
          notices_.add(fmt::format("{}: cannot accept a connection: {}", name_, std::strerror(errno)));
          accept_from_ = Clock::now() + descriptor_pause;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        return;
      }
      const std::string peer = text_of(address, length);
      if (connections_.size() >= limits_.connections) {
        const std::string reason = fmt::format("{} connections are open already", connections_.size());
        notices_.add(fmt::format("{}: refused a connection from {}: {}", name_, peer, reason));
        send_line(socket, {{"accepted", 0}, {"skipped", 0}, {"error", reason}});
        continue;
      }
      probe_when_silent(socket);
      connections_.push_back(std::make_unique<Connection>(
          std::move(socket), fmt::format("{}: connection {} from {}", name_, ++accepted_, peer), options_, runs_));
    }
  }

  /// One piece of what a client sent.
  void read(Connection& connection) {
    const ssize_t count = ::recv(connection.socket.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    const std::size_t held_before = connection.stream.held();
    batches_.clear();
    if (count > 0) {
      connection.stream.take({scratch_.data(), static_cast<std::size_t>(count)}, batches_);
    } else {
      // A connection that was reset has ended, too; its client learns no more.
      connection.at_end = true;
      connection.phase = Connection::Phase::ended;
      connection.stream.finish(batches_);
    }
    held_ += connection.stream.held() - held_before;
    if (held_ > limits_.held && connection.stream.held() > limits_.held_by_one) {
      const std::size_t before = connection.stream.held();
      const std::string reason =
          fmt::format("closed: records of {} bytes have arrived in part, of all connections; expected at most {}",
                      held_, limits_.held);
      connection.stream.abandon(reason);
      notices_.add(fmt::format("{}: {}", connection.stream.name(), reason));
      connection.complaint = reason;
      held_ += connection.stream.held() - before;
    }
    if (connection.phase == Connection::Phase::reading && connection.stream.is_over()) {
      connection.phase = Connection::Phase::ended;
      if (connection.complaint.empty()) connection.complaint = connection.stream.first_bad();
    }
    hand_over(connection);
  }

  /// Puts what was decoded into the queue.
  void hand_over(Connection& connection) {
    const ArrivingStream& stream = connection.stream;
    if (batches_.empty() && stream.skipped() == connection.skipped) return;
    const std::lock_guard lock(mutex_);
    for (EventBatch& batch : batches_) {
      connection.queued += batch.events();
      waiting_ += batch.events();
      const std::size_t weight = batch_weight + batch.events() + batch.rows.values.size();
      queued_ += weight;
      queue_.push_back({connection.tally, PendingEvents(std::move(batch)), weight});
    }
    if (skipped_ == 0) first_skipped_ = stream.first_skipped();
    skipped_ += stream.skipped() - connection.skipped;
    connection.skipped = stream.skipped();
    if (options_.on_error == OnError::stop && stream.bad() > 0 && !failure_)
      failure_ = std::make_exception_ptr(InputError(stream.first_bad()));
    changed_.notify_all();
  }

  /// Answers the connections whose events have all been delivered, and lets go of those that are done.
  void answer_all() {
    const auto now = Clock::now();
    for (const auto& connection : connections_) {
      if (connection->phase != Connection::Phase::ended || !is_settled(*connection)) continue;
      nlohmann::json answer = {{"accepted", connection->queued}, {"skipped", connection->stream.skipped()}};
      if (!connection->complaint.empty()) answer["error"] = connection->complaint;
      send_line(connection->socket, answer);
      // Closing it while there is something to read would take the answer back.
      connection->phase = Connection::Phase::lingering;
      connection->linger_until = connection->at_end ? now : now + linger;
      if (!connection->at_end) (void)::shutdown(connection->socket.get(), SHUT_WR);
    }
    std::erase_if(connections_, [&](const auto& connection) {
      return connection->phase == Connection::Phase::lingering &&
             (connection->at_end || now >= connection->linger_until);
    });
  }

  [[nodiscard]] bool is_settled(const Connection& connection) const {
    const std::lock_guard lock(mutex_);
    return !failure_ && connection.tally->delivered == connection.queued;
  }

  void discard(Connection& connection) {
    const ssize_t count = ::recv(connection.socket.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) connection.at_end = true;
  }

  ReadOptions options_;
  TcpLimits limits_;
  TextRuns runs_;
  Descriptor listener_;
  std::string name_;
  Descriptor wake_;
  std::stop_token stop_;
  Notices notices_;
  std::atomic<bool> quit_ = false;

  // The thread's.
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<pollfd> events_;
  std::vector<char> scratch_;
  std::vector<EventBatch> batches_;
  std::uint64_t accepted_ = 0;  ///< Connections so far.
  std::size_t held_ = 0;        ///< The sum of what the connections hold.
  std::size_t first_in_turn_ = 0;
  Clock::time_point accept_from_{};

  mutable std::mutex mutex_;
  // All below, under the mutex.
  std::condition_variable_any changed_;
  std::deque<Item> queue_;
  std::size_t queued_ = 0;     ///< The weight of the queue.
  std::uint64_t waiting_ = 0;  ///< Events in it.
  std::exception_ptr failure_;
  std::uint64_t skipped_ = 0;
  std::string first_skipped_;

  std::thread thread_;
};

}  // namespace

TcpAddress parse_tcp_address(const std::string& name) {
  const auto fail = [&](std::string_view what) {
    throw UsageError(
        fmt::format("{}: {}: expected tcp://HOST:PORT, as in tcp://127.0.0.1:7000 or tcp://[::1]:7000, where "
                    "port 0 is any that is free",
                    name, what));
  };
  std::string_view rest(name);
  rest.remove_prefix(std::min(rest.size(), scheme.size()));
  const std::size_t colon = rest.rfind(':');
  if (!name.starts_with(scheme) || colon == std::string_view::npos) fail("no port is given");
  std::string_view host = rest.substr(0, colon);
  const std::string_view port = rest.substr(colon + 1);
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (port.empty() || error != std::errc() || end != port.data() + port.size())
    fail("the port is no whole number from 0 to 65535");
  if (host.starts_with('[') && host.ends_with(']') && host.size() > 2) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of("[]:/") != std::string_view::npos) {
    fail("the host is not understood");
  }
  return {host.empty() ? "127.0.0.1" : std::string(host), std::to_string(number)};
}

std::unique_ptr<LiveSource> open_tcp_source(const std::string& name, const ReadOptions& options,
                                            const TcpLimits& limits) {
  return std::make_unique<TcpSource>(name, options, limits);
}

}  // namespace weir::stream
