#include "stream/tcp_source.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <thread>

#include "stream_testing.hpp"
#include "support/message_of.hpp"

namespace weir {
namespace {

using namespace weir::testing_support;
using namespace std::chrono_literals;

/// Every wait of these tests ends with a failure after this.
constexpr auto patience = 60s;

std::uint16_t port_of(const LiveSource& source) {
  const std::string name = source.name();
  const std::size_t colon = name.rfind(':');
  std::uint16_t port = 0;
  std::from_chars(name.data() + colon + 1, name.data() + name.size(), port);
  EXPECT_GT(port, 0) << name;
  return port;
}

/// A TCP client that blocks.
class Client {
 public:
  explicit Client(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  explicit Client(const LiveSource& source) : Client(port_of(source)) {}
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// False when the other side has closed the connection.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  /// Bytes that can be sent without waiting, 0 when no more goes for 200 ms.
  std::size_t send_some(std::string_view bytes) {
    pollfd event{socket_, POLLOUT, 0};
    if (::poll(&event, 1, 200) <= 0) return 0;
    const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return count < 0 ? 0 : static_cast<std::size_t>(count);
  }
  void finish() { ::shutdown(socket_, SHUT_WR); }
  /// Closes it so that the other side is told that it was reset.
  void reset() {
    const linger option{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &option, sizeof option);
    close();
  }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  /// All that the other side sends until it closes.
  std::string answer() {
    std::string text;
    std::array<char, 4096> piece;
    for (ssize_t count; (count = ::recv(socket_, piece.data(), piece.size(), 0)) > 0;)
      text.append(piece.data(), static_cast<std::size_t>(count));
    return text;
  }
  /// True when something can be read, or the other side has closed.
  bool is_answered() {
    pollfd event{socket_, POLLIN, 0};
    return ::poll(&event, 1, 0) > 0;
  }

 private:
  int socket_;
};

/// Adds up what a source delivers.
struct Sums {
  std::map<std::uint64_t, double> by_index;
  std::uint64_t events = 0;

  void add(const EventBatch& batch) {
    events += batch.events();
    for (std::size_t t = 0; t < batch.size(); ++t) by_index[batch.i[t]] += batch.delta[t];
  }
  [[nodiscard]] double at(std::uint64_t index) const {
    const auto found = by_index.find(index);
    return found == by_index.end() ? 0 : found->second;
  }
};

/// Waits until `condition` holds.
bool holds_at_last(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// Reads until `done`, and fails the test when that takes too long.
void read_until(LiveSource& source, Sums& sums, const std::function<bool()>& done, std::size_t most = 1000) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  EventBatch batch;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << "waited in vain; events so far: " << sums.events;
      return;
    }
    EXPECT_TRUE(source.next(batch, most, 5ms));
    EXPECT_LE(batch.events(), most);
    sums.add(batch);
  }
}

void read_events(LiveSource& source, Sums& sums, std::uint64_t events, std::size_t most = 1000) {
  read_until(
      source, sums, [&] { return sums.events >= events; }, most);
}

std::unique_ptr<LiveSource> listen(const ReadOptions& options = {}, const stream::TcpLimits& limits = {}) {
  return stream::open_tcp_source("tcp://127.0.0.1:0", options, limits);
}

std::string binary_events(std::uint64_t index, std::size_t count) {
  const TemporaryDirectory directory;
  write_events(directory / "e.weir", std::vector<Event>(count, Event{Operand::y, index, 0, 1}), EventFormat::binary);
  return contents_of(directory / "e.weir");
}

std::string text_events(std::uint64_t index, std::size_t count) {
  std::string text;
  for (std::size_t t = 0; t < count; ++t) text += fmt::format("{},1\n", index);
  return text;
}

TEST(TcpSources, DeliverAndAnswer) {
  const auto source = listen();
  EXPECT_TRUE(source->name().starts_with("tcp://127.0.0.1:")) << source->name();
  EXPECT_EQ(source->position(), "");
  Sums sums;
  EventBatch batch;
  EXPECT_TRUE(source->next(batch, 10, 0ms));
  EXPECT_TRUE(batch.empty());
  Client text(*source);
  Client binary(*source);
  Client silent(*source);
  text.send("7,1\n7,2");
  read_events(*source, sums, 1);
  EXPECT_EQ(sums.at(7), 1);
  text.send("0\n8,5\n");
  binary.send(binary_events(9, 100'000));
  text.finish();
  binary.finish();
  silent.finish();
  read_events(*source, sums, 100'003);
  EXPECT_EQ(sums.at(7), 21);
  EXPECT_EQ(sums.at(8), 5);
  EXPECT_EQ(sums.at(9), 100'000);
  EXPECT_EQ(sums.events, 100'003u);
  EXPECT_EQ(text.answer(), "{\"accepted\":3,\"skipped\":0}\n");
  EXPECT_EQ(binary.answer(), "{\"accepted\":100000,\"skipped\":0}\n");
  EXPECT_EQ(silent.answer(), "{\"accepted\":0,\"skipped\":0}\n");
  EXPECT_EQ(source->skipped(), 0u);
  EXPECT_EQ(source->first_skipped(), "");
}

TEST(TcpSources, AnswerWhenEverythingWasDeliveredNotBefore) {
  const auto source = listen();
  Client client(*source);
  client.send(text_events(1, 100));
  client.finish();
  Sums sums;
  read_events(*source, sums, 99, 1);
  EXPECT_EQ(sums.events, 99u);
  // The thread has something to do meanwhile, so that it would have answered.
  Client other(*source);
  other.send("2,1\n");
  other.finish();
  EXPECT_TRUE(holds_at_last([&] { return source->lag()->amount == 2; }));
  EXPECT_FALSE(client.is_answered());
  read_events(*source, sums, 100, 1);
  EXPECT_EQ(client.answer(), "{\"accepted\":100,\"skipped\":0}\n");
}

TEST(TcpSources, ReadFromAProcessThatIsNotOurs) {
  const TemporaryDirectory directory;
  const std::string path = directory.write("e.csv", text_events(3, 50'000));
  const auto source = listen();
  std::jthread process([&] {
    const std::string command = fmt::format("bash -c 'cat {} > /dev/tcp/127.0.0.1/{} '", path, port_of(*source));
    EXPECT_EQ(std::system(command.c_str()), 0);
  });
  Sums sums;
  read_events(*source, sums, 50'000);
  EXPECT_EQ(sums.at(3), 50'000);
}

TEST(TcpSources, CountWhatADisconnectCutsOff) {
  for (const OnError on_error : {OnError::stop, OnError::skip}) {
    const auto source = listen({.on_error = on_error});
    Sums sums;
    {
      Client client(*source);
      client.send("1,1\n1,1\n1,10");
      read_events(*source, sums, 2);
    }
    read_until(*source, sums, [&] { return source->skipped() == 1; });
    EXPECT_TRUE(source->first_skipped().starts_with(source->name() + ": connection 1 from 127.0.0.1:"));
    EXPECT_NE(source->first_skipped().find(": line 3: "), std::string::npos) << source->first_skipped();
    {
      const std::string bytes = binary_events(2, 3000);
      Client client(*source);
      client.send(std::string_view(bytes).substr(0, bytes.size() / 2));
      client.finish();
      // The first block, of 1024 events, came whole.
      read_until(*source, sums, [&] { return client.is_answered(); });
      EXPECT_EQ(client.answer(), fmt::format("{{\"accepted\":{},\"skipped\":1}}\n", sums.events - 2));
      EXPECT_EQ(sums.at(2), static_cast<double>(sums.events - 2));
      EXPECT_GT(sums.events, 1000u);
    }
    Client reset(*source);
    reset.send("3,1\n4,");
    read_events(*source, sums, sums.events + 1);
    reset.reset();
    read_until(*source, sums, [&] { return source->skipped() == 3; });
    EXPECT_EQ(sums.at(1), 2);
    EXPECT_EQ(sums.at(3), 1);
    EXPECT_EQ(sums.at(4), 0);
  }
}

TEST(TcpSources, StopAtABadLineOrSkipIt) {
  {
    const auto source = listen({.on_error = OnError::stop});
    Client good(*source), bad(*source);
    Sums sums;
    good.send("1,1\n");
    read_events(*source, sums, 1);
    bad.send("2,1\nbad\n");
    const std::string message = message_of<InputError>([&] { read_until(*source, sums, [] { return false; }); });
    EXPECT_TRUE(message.starts_with(source->name() + ": connection ")) << message;
    EXPECT_NE(message.find(" from 127.0.0.1:"), std::string::npos) << message;
    EXPECT_NE(message.find(": line 2: "), std::string::npos) << message;
    EXPECT_EQ(sums.at(2), 1);
    EventBatch batch;
    EXPECT_EQ(input_error([&] { (void)source->next(batch, 1, 0ms); }), message);  // and so it stays
  }
  const auto source = listen({.on_error = OnError::skip});
  Client client(*source);
  client.send("2,1\nbad\nworse\n2,1\n");
  client.finish();
  Sums sums;
  read_events(*source, sums, 2);
  EXPECT_EQ(client.answer(), "{\"accepted\":2,\"skipped\":2}\n");
  EXPECT_EQ(source->skipped(), 2u);
  EXPECT_NE(source->first_skipped().find(": line 2: "), std::string::npos) << source->first_skipped();
}

TEST(TcpSources, CloseConnectionsWithDamage) {
  std::string bytes = binary_events(5, 3000);
  bytes[bytes.size() / 2] ^= 1;
  {
    const auto source = listen({.on_error = OnError::stop});
    Client client(*source);
    client.send(bytes);
    Sums sums;
    expect_error([&] { read_until(*source, sums, [] { return false; }); },
                 {source->name(), ": connection 1 from 127.0.0.1:", ": byte "});
  }
  const auto source = listen({.on_error = OnError::skip});
  Client damaged(*source), garbage(*source), good(*source);
  damaged.send(bytes);  // and does not shut down its side
  garbage.send(gzip(text_events(6, 1000)));
  Sums sums;
  read_until(*source, sums, [&] { return damaged.is_answered() && garbage.is_answered(); });
  const std::string answer = damaged.answer();
  EXPECT_TRUE(answer.starts_with(fmt::format("{{\"accepted\":{},\"error\":\"tcp://", sums.events))) << answer;
  EXPECT_TRUE(answer.ends_with("\"skipped\":1}\n")) << answer;
  EXPECT_TRUE(garbage.answer().starts_with("{\"accepted\":0,\"error\":\""));
  EXPECT_EQ(source->skipped(), 2u);
  good.send("8,1\n");
  read_until(*source, sums, [&] { return sums.at(8) == 1; });
}

TEST(TcpSources, AreNotHeldUpBySlowClients) {
  const auto source = listen({.on_error = OnError::skip});
  Client stalled(*source), slow(*source), fast(*source);
  stalled.send("1,");
  std::jthread sender([&] { EXPECT_TRUE(fast.send(text_events(3, 200'000))); });
  const std::string trickle = "2,1\n2,1\n2,1\n";
  Sums sums;
  for (const char byte : trickle) {
    slow.send({&byte, 1});
    read_events(*source, sums, sums.events + 10'000);
  }
  read_events(*source, sums, 200'003);
  EXPECT_EQ(sums.at(2), 3);
  EXPECT_EQ(sums.at(3), 200'000);
  stalled.send("5\n");
  read_events(*source, sums, 200'004);
  EXPECT_EQ(sums.at(1), 5);
}

TEST(TcpSources, ServeManyAndRefuseMore) {
  constexpr std::size_t open = 256;
  const auto source = listen();
  std::vector<std::unique_ptr<Client>> clients;
  Sums sums;
  for (std::size_t c = 0; c < open; ++c) {
    clients.push_back(std::make_unique<Client>(*source));
    clients.back()->send(text_events(c, 10));
  }
  read_events(*source, sums, 10 * open);
  std::vector<std::string> notices;
  for (std::size_t c = 0; c < 44; ++c) {
    Client refused(*source);
    EXPECT_EQ(refused.answer(), "{\"accepted\":0,\"error\":\"256 connections are open already\",\"skipped\":0}\n");
    for (std::string& notice : source->take_notices()) notices.push_back(std::move(notice));
  }
  for (std::string& notice : source->take_notices()) notices.push_back(std::move(notice));
  ASSERT_EQ(notices.size(), 44u);
  EXPECT_TRUE(notices[0].starts_with(source->name() + ": refused a connection from 127.0.0.1:")) << notices[0];
  for (const auto& client : clients) client->finish();
  for (const auto& client : clients) EXPECT_EQ(client->answer(), "{\"accepted\":10,\"skipped\":0}\n");
  for (std::size_t c = 0; c < open; ++c) EXPECT_EQ(sums.at(c), 10);
  // There is room again.
  Client late(*source);
  late.send("1000,1\n");
  read_events(*source, sums, 10 * open + 1);
  EXPECT_EQ(sums.at(1000), 1);
}

TEST(TcpSources, ManyAtTheSameTimeAddUp) {
  const auto source = listen({.on_error = OnError::skip});
  const std::uint16_t port = port_of(*source);
  constexpr std::uint64_t clients = 40;
  std::vector<std::jthread> threads;
  std::vector<std::string> answers(clients);
  for (std::uint64_t c = 0; c < clients; ++c) {
    threads.emplace_back([&, c] {
      Client client(port);
      client.send(c % 2 == 0 ? text_events(c, 1000 + c) + "bad\n" : binary_events(c, 1000 + c));
      client.finish();
      answers[c] = client.answer();
    });
  }
  const std::uint64_t all = 1000 * clients + clients * (clients - 1) / 2;
  Sums sums;
  read_events(*source, sums, all, 77);
  threads.clear();
  for (std::uint64_t c = 0; c < clients; ++c) {
    EXPECT_EQ(sums.at(c), static_cast<double>(1000 + c));
    EXPECT_EQ(answers[c], fmt::format("{{\"accepted\":{},\"skipped\":{}}}\n", 1000 + c, c % 2 == 0 ? 1 : 0));
  }
  EXPECT_EQ(sums.events, all);
  EXPECT_EQ(source->skipped(), clients / 2);
}

TEST(TcpSources, HoldClientsBackWhenNobodyReads) {
  constexpr std::size_t queued = 10'000;
  const auto source = listen({}, {.queued = queued});
  Client client(*source);
  const std::string text = text_events(1, 16'384);
  std::size_t sent = 0;
  // Far less is taken than would be sent: what the queue and the buffers of the kernel hold.
  while (sent < std::size_t{256} << 20) {
    const std::size_t at = sent % text.size();
    const std::size_t count = client.send_some(std::string_view(text).substr(at));
    if (count == 0) break;
    sent += count;
  }
  EXPECT_LT(sent, std::size_t{64} << 20);
  EXPECT_LE(source->lag()->amount, queued + 16'384 + 16);
  EXPECT_GE(source->lag()->amount, queued / 2);
  // Another client is held back as well, and neither loses anything.
  Client other(*source);
  other.send("2,1\n");
  other.finish();
  EXPECT_FALSE(other.is_answered());
  const std::size_t rest = (text.size() - sent % text.size()) % text.size();
  std::jthread sender([&] {
    client.send(std::string_view(text).substr(sent % text.size(), rest));
    client.finish();
  });
  const std::size_t lines = (sent + rest) / 4;
  Sums sums;
  read_events(*source, sums, lines + 1);
  EXPECT_EQ(sums.at(1), static_cast<double>(lines));
  EXPECT_EQ(sums.at(2), 1);
  EXPECT_EQ(client.answer(), fmt::format("{{\"accepted\":{},\"skipped\":0}}\n", lines));
}

TEST(TcpSources, CloseWhoHoldsTooMuch) {
  // Without shapes a line may be a row of a million values.
  const auto source = listen({.on_error = OnError::stop}, {.held = 1'000'000});
  Client greedy(*source), modest(*source);
  Sums sums;
  modest.send("1,");
  std::jthread sender([&] {
    std::string line = "A,0,*";
    for (int t = 0; t < 1'000'000; ++t) line += ",1.5";
    greedy.send(line);
  });
  read_until(*source, sums, [&] { return source->skipped() == 1; });
  EXPECT_NE(source->first_skipped().find("have arrived in part"), std::string::npos) << source->first_skipped();
  const std::vector<std::string> notices = source->take_notices();
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_NE(notices[0].find("expected at most 1000000"), std::string::npos) << notices[0];
  modest.send("5\n");
  read_events(*source, sums, 1);
  EXPECT_EQ(sums.at(1), 5);
}

TEST(TcpSources, EndWhenTheirCallerStops) {
  std::stop_source stop;
  const auto source = listen({.stop = stop.get_token()});
  Client client(*source);
  std::jthread other([&] { stop.request_stop(); });
  EventBatch batch;
  EXPECT_THROW(while (source->next(batch, 10, 60s)){}, Cancelled);
  EXPECT_THROW((void)source->next(batch, 10, 0ms), Cancelled);
}

TEST(TcpSources, CloseEverythingAtTheirEnd) {
  std::uint16_t port = 0;
  {
    const auto source = listen();
    port = port_of(*source);
    Client client(*source);
    client.send("1,1\n");
  }
  const auto again = stream::open_tcp_source(fmt::format("tcp://127.0.0.1:{}", port), {});
  EXPECT_EQ(port_of(*again), port);
  expect_error([&] { (void)stream::open_tcp_source(again->name(), {}); }, {again->name(), ": cannot listen: "});
}

TEST(TcpAddresses, AreUnderstoodOrRefused) {
  const auto parts = [](const std::string& name) {
    const stream::TcpAddress address = stream::parse_tcp_address(name);
    return address.host + " " + address.port;
  };
  EXPECT_EQ(parts("tcp://127.0.0.1:7000"), "127.0.0.1 7000");
  EXPECT_EQ(parts("tcp://[::1]:0"), "::1 0");
  EXPECT_EQ(parts("tcp://:7"), "127.0.0.1 7");
  EXPECT_EQ(parts("tcp://localhost:65535"), "localhost 65535");
  for (const char* bad : {"tcp://", "tcp://host", "tcp://host:", "tcp://host:x", "tcp://host:65536", "tcp://host:-1",
                          "tcp://::1:7", "tcp://[]:7", "tcp://host/:7", "tcp://host:7/"}) {
    expect_error<UsageError>([&] { (void)parts(bad); }, {bad, "expected tcp://HOST:PORT"});
  }
  expect_error([] { (void)stream::open_tcp_source("tcp://no.such.host.invalid:0", {}); }, {"no.such.host.invalid"});
}

TEST(LiveNames, SayWhatTheyStandFor) {
  const TemporaryDirectory directory;
  const std::string file = directory.write("e.csv", "1,2\n");
  EXPECT_EQ(live_kind("-", false), LiveKind::at_root);
  EXPECT_EQ(live_kind("tcp://127.0.0.1:0", false), LiveKind::at_root);
  EXPECT_EQ(live_kind(directory.path().string(), false), LiveKind::at_root);
  EXPECT_EQ(live_kind(file, false), LiveKind::none);
  EXPECT_EQ(live_kind(file, true), LiveKind::at_root);
  EXPECT_EQ(live_kind("missing", false), LiveKind::none);
  expect_error<UsageError>([] { (void)live_kind("amqp://host/queue", false); }, {"amqp", "./amqp://host/queue"});
  expect_error<UsageError>([] { (void)live_kind("tcp://host", false); }, {"tcp://host"});
#ifndef WEIR_KAFKA
  // Where it is not built in, the name is refused with that reason.
  try {
    EXPECT_EQ(live_kind("kafka://host/topic", false), LiveKind::in_parts);
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("built without librdkafka"), std::string::npos);
  }
#endif
  expect_error([] { (void)open_live_source("tcp://127.0.0.1:0", {}, false, "{}"); }, {"position"});
  expect_error<UsageError>([&] { (void)open_live_source(file, {}, false); }, {file});
}

}  // namespace
}  // namespace weir
