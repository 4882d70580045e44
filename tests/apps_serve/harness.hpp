#pragma once

#include <gtest/gtest.h>
#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "formats.hpp"
#include "log.hpp"
#include "serve.hpp"
#include "state/every_kind.hpp"
#include "support/files.hpp"
#include "weir/setting/setting.hpp"

namespace weir::app {

using nlohmann::json;

/// Large enough for every question, small enough to be copied a thousand times.
inline const SizeRequest served_sketch{.rows = 5, .buckets = 64, .lanes = 8, .gram_buckets = 64, .seed = 7};

/// A vector of 1000 entries that is `value` at index 7 and zero elsewhere: its norm is |value|, without any error.
inline State spike(double value, std::uint64_t seed = 7) {
  SizeRequest request = served_sketch;
  request.seed = seed;
  State state = create_state(testing_support::problem_of("vector", {{"n", 1000}}, {}, request));
  EventBatch batch;
  batch.push_back({Operand::y, 7, 0, value});
  state.add(batch);
  state.updates = 1;
  return state;
}

inline Epoch epoch_of(State state, std::uint64_t number = 1) {
  const std::uint64_t updates = state.updates;
  return {.stamp = {.number = number, .time = 1795959756.25 + static_cast<double>(number), .is_final = false},
          .run = {.ranks = 2, .updates = updates, .exact_sums = true, .ingest_seconds = 1},
          .state = std::make_shared<const State>(std::move(state))};
}

/// A job that has ended one epoch, and is asked on a socket file.
struct RunningJob {
  explicit RunningJob(const HttpLimits& limits = {}, Service service = {}, bool has_epoch = true) {
    if (has_epoch) published.publish(epoch_of(spike(5)));
    service.published = &published;
    server = std::make_unique<Server>("--serve", "unix:" + path, std::move(service), limits);
  }

  [[nodiscard]] httplib::Client client() const {
    httplib::Client client(path);
    client.set_address_family(AF_UNIX);
    client.set_read_timeout(60);
    return client;
  }
  /// The object of a reply with `status`.
  json get(const std::string& target, int status = 200) const {
    const httplib::Result result = client().Get(target);
    if (!result) {
      ADD_FAILURE() << target << ": " << httplib::to_string(result.error());
      return {};
    }
    EXPECT_EQ(result->status, status) << target << "\n" << result->body;
    return json::parse(result->body);
  }

  testing_support::TemporaryDirectory folder;
  std::string path = folder / "weir.sock";
  Published published;
  std::unique_ptr<Server> server;
};

/// A client that sends what it likes.
class RawClient {
 public:
  explicit RawClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) close();
  }
  RawClient(RawClient&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  RawClient& operator=(RawClient&&) = delete;
  ~RawClient() { close(); }

  [[nodiscard]] bool is_open() const { return socket_ >= 0; }
  /// False when the server has closed.
  bool send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t count = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  /// All that comes until the server closes.
  [[nodiscard]] std::string receive_all() const {
    std::string all;
    std::array<char, 65536> buffer;
    for (ssize_t count; (count = ::recv(socket_, buffer.data(), buffer.size(), 0)) > 0;)
      all.append(buffer.data(), static_cast<std::size_t>(count));
    return all;
  }
  /// The next `size` bytes, or fewer where the server closes.
  [[nodiscard]] std::string receive(std::size_t size) const {
    std::string bytes(size, '\0');
    const ssize_t count = ::recv(socket_, bytes.data(), size, MSG_WAITALL);
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    return bytes;
  }
  /// False once the server has closed, which bytes that were not read yet do not hide.
  [[nodiscard]] bool is_peer_open() const {
    pollfd polled{.fd = socket_, .events = POLLRDHUP, .revents = 0};
    return ::poll(&polled, 1, 5) == 0;
  }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

 private:
  int socket_;
};

}  // namespace weir::app
