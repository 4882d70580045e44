// Addresses, and clients that mean harm.

#include "http_server.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "apps_serve/harness.hpp"
#include "support/message_of.hpp"

namespace weir::app {
namespace {

using testing_support::expect_error;
using testing_support::TemporaryDirectory;
using namespace std::chrono_literals;

TEST(Addresses, AreReadAndWritten) {
  for (const auto& [text, address, written] : std::vector<std::tuple<std::string, Address, std::string>>{
           {"unix:/tmp/a:b", {.is_unix = true, .path = "/tmp/a:b"}, "unix:/tmp/a:b"},
           {"unix:x.sock", {.is_unix = true, .path = "x.sock"}, "unix:x.sock"},
           {"unix:///run/x", {.is_unix = true, .path = "/run/x"}, "unix:/run/x"},
           {"tcp:8080", {.host = "127.0.0.1", .port = 8080}, "tcp:127.0.0.1:8080"},
           {"tcp:0.0.0.0:65535", {.host = "0.0.0.0", .port = 65535}, "tcp:0.0.0.0:65535"},
           {"tcp://localhost:1", {.host = "localhost", .port = 1}, "tcp:localhost:1"},
           {"tcp:[::1]:80", {.host = "::1", .port = 80}, "tcp:[::1]:80"}}) {
    EXPECT_EQ(parse_address("--at", text), address) << text;
    EXPECT_EQ(to_string(address), written);
    EXPECT_TRUE(looks_like_address(text));
  }
  for (const std::string text : {"", "x", "unix:", "tcp:", "tcp:x", "tcp:host:", "tcp::1", "tcp:h:65536", "tcp:h:-1",
                                 "tcp:h:1x", "tcp:::1:80", "http://h:1"})
    expect_error<UsageError>([&] { (void)parse_address("--at", text); }, {"--at: '" + text + "' given"});
  expect_error<UsageError>([] { (void)parse_address("--at", "unix:" + std::string(108, 'a')); }, {"at most 107 bytes"});
  EXPECT_FALSE(looks_like_address("metrics.prom"));
  for (const std::string host : {"localhost", "127.0.0.1", "127.1.2.3", "::1"}) EXPECT_TRUE(is_loopback(host));
  for (const std::string host : {"0.0.0.0", "10.0.0.1", "::", "example.org", "127.0.0.1.example.org", "127."})
    EXPECT_FALSE(is_loopback(host));
}

HttpServer::Options echo(const HttpLimits& limits = {}) {
  return {.handler =
              [](const HttpRequest& request) {
                if (request.path == "/throw") throw std::runtime_error("thrown");
                if (request.path == "/large") return HttpReply{.body = std::string(std::size_t{8} << 20, 'x')};
                return HttpReply{.content_type = "text/plain", .body = request.method + request.path + request.body};
              },
          .limits = limits};
}

struct EchoServer {
  explicit EchoServer(const HttpLimits& limits = {})
      : server("--serve", parse_address("--serve", "unix:" + path), echo(limits)) {}

  /// The whole reply to these bytes, after which the client sends no more.
  [[nodiscard]] std::string ask(std::string_view bytes) const {
    const RawClient client(path);
    EXPECT_TRUE(client.is_open());
    client.send(bytes);
    return client.receive_all();
  }
  [[nodiscard]] bool answers() const { return ask("GET /ping HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nGET/ping"); }

  TemporaryDirectory folder;
  std::string path = folder / "s";
  HttpServer server;
};

TEST(HttpServer, ASocketFileIsPrivateAndGoneAtTheEnd) {
  const TemporaryDirectory folder;
  const std::string path = folder / "s";
  const Address address{.is_unix = true, .path = path};
  {
    const HttpServer server("--serve", address, echo());
    struct stat status {};
    ASSERT_EQ(::lstat(path.c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    expect_error([&] { HttpServer("--serve", address, echo()); },
                 {"--serve unix:" + path, "another process listens on this socket"});
    EXPECT_TRUE(RawClient(path).is_open()) << "the one that was refused has left it alone";
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(HttpServer, ASocketFileThatNobodyListensOnIsReplaced) {
  const TemporaryDirectory folder;
  const std::string path = folder / "s";
  const int dead = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  ASSERT_EQ(::bind(dead, reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  ::close(dead);
  ASSERT_TRUE(std::filesystem::exists(path));
  const HttpServer server("--serve", {.is_unix = true, .path = path}, echo());
  EXPECT_TRUE(RawClient(path).is_open());
}

TEST(HttpServer, AFileThatIsNoSocketIsLeftAlone) {
  const TemporaryDirectory folder;
  const std::string path = folder.write("s", "precious");
  expect_error([&] { HttpServer("--serve", {.is_unix = true, .path = path}, echo()); }, {path, "not a socket"});
  EXPECT_EQ(testing_support::contents_of(path), "precious");
  expect_error([&] { HttpServer("--serve", {.is_unix = true, .path = folder / "no/s"}, echo()); },
               {"no/s: No such file"});
}

TEST(HttpServer, ASocketFileOfAnotherServerIsNotRemoved) {
  const TemporaryDirectory folder;
  const std::string path = folder / "s";
  auto first = std::make_unique<HttpServer>("--serve", Address{.is_unix = true, .path = path}, echo());
  std::filesystem::remove(path);
  const HttpServer second("--serve", {.is_unix = true, .path = path}, echo());
  first.reset();
  EXPECT_TRUE(RawClient(path).is_open());
}

TEST(HttpServer, APortIsFoundOrRefused) {
  const HttpServer server("--serve", {.host = "127.0.0.1", .port = 0}, echo());
  const std::uint16_t port = server.address().port;
  EXPECT_GT(port, 0);
  httplib::Client client("127.0.0.1", port);
  const httplib::Result result = client.Get("/a");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->body, "GET/a");
  expect_error([&] { HttpServer("--serve", server.address(), echo()); },
               {"--serve tcp:127.0.0.1:" + std::to_string(port), "Address already in use"});
  expect_error([] { HttpServer("--serve", {.host = "203.0.113.1", .port = 0}, echo()); }, {"Cannot assign"});
  expect_error([] { HttpServer("--serve", {.host = "no host", .port = 0}, echo()); }, {"--serve tcp:no host:0"});
}

/// A page of another site may have a name that leads here.
TEST(HttpServer, OnLoopbackOtherHostsAreRefused) {
  const HttpServer server("--serve", {.host = "127.0.0.1", .port = 0}, echo());
  const std::uint16_t port = server.address().port;
  const auto status = [&](const std::string& host) {
    httplib::Client client("127.0.0.1", port);
    return client.Get("/", {{"Host", host}})->status;
  };
  for (const std::string host : {"127.0.0.1", "localhost", "[::1]"}) {
    EXPECT_EQ(status(host), 200) << host;
    EXPECT_EQ(status(host + ":" + std::to_string(port)), 200) << host;
  }
  for (const std::string host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "[::2]"})
    EXPECT_EQ(status(host), 403) << host;
}

TEST(HttpServer, WhatTheHandlerThrowsIsAReply) {
  const EchoServer server;
  const std::string reply = server.ask("GET /throw HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 500 ")) << reply;
  EXPECT_NE(reply.find("{\"error\":\"thrown\"}"), std::string::npos) << reply;
  EXPECT_TRUE(server.answers());
}

TEST(HttpServer, BadRequestsGetTheirStatus) {
  const EchoServer server({.body_bytes = 1000});
  const std::string get = "GET / HTTP/1.1\r\n", post = "POST /p HTTP/1.1\r\n", end = "\r\n";
  for (const auto& [request, status] : std::vector<std::pair<std::string, std::string>>{
           {get + end, "200"},
           {post + "Content-Length: 3\r\n\r\nabc", "200"},
           {post + "content-length:0\r\n\r\n", "200"},
           {post + "Content-Length: 1000\r\n\r\n" + std::string(1000, 'b'), "200"},
           {post + end, "200"},
           {post + "Content-Length: 1001\r\n\r\n", "413"},
           {post + "Content-Length: 18446744073709551616\r\n\r\n", "400"},
           {post + "Content-Length: -1\r\n\r\n", "400"},
           {post + "Content-Length: \r\n\r\n", "400"},
           {post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
           {post + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "411"},
           {post + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "415"},
           {get + "Content-Length: 3\r\n\r\nabc", "413"},
           {get + "Long: " + std::string(9000, 'a') + "\r\n\r\n", "431"},
           {get + std::string(100000, 'a'), "431"},
           {"GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n", "414"},
           {std::string(100000, 'a'), "414"},
           {"GET /" + std::string(8100, 'a') + " HTTP/1.1\r\n\r\n", "200"},
           {"GET\r\n\r\n", "400"},
           {"\r\n\r\n", "400"},
           {"  \r\n\r\n", "400"},
           {"GET / HTTP/3\r\n\r\n", "400"},
           {"BREW / HTTP/1.1\r\n\r\n", "400"},
           {"GET /?a?b?c HTTP/1.1\r\n\r\n", "400"},
           {std::string("GET /\0 HTTP/1.1\r\n\r\n", 19), "400"},
           {"\x16\x03\x01\x02\r\n\r\n", "400"},
           // Would be many copies of the reply.
           {get + "Range: bytes=0-,0-,0-,0-,0-,0-\r\n\r\n", "200"},
           {get + "Range: " + std::string(8000, '-') + "\r\n\r\n", "200"},
           {get + "Accept-Encoding: gzip, br\r\nConnection: keep-alive\r\n\r\n", "200"}}) {
    const std::string reply = server.ask(request);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 " + status + " ")) << request.substr(0, 100) << "\n"
                                                               << reply.substr(0, 300);
    EXPECT_NE(reply.find("Connection: close\r\n"), std::string::npos) << reply.substr(0, 300);
    EXPECT_EQ(reply.find("Content-Encoding:"), std::string::npos);
    const bool is_refused = status != "200";
    const std::size_t body = reply.find("\r\n\r\n") + 4;
    if (is_refused) {
      EXPECT_TRUE(json::parse(reply.substr(body)).contains("error")) << reply.substr(0, 300);
    }
  }
  EXPECT_TRUE(server.answers());
}

TEST(HttpServer, APipelinedRequestIsNotTakenForABody) {
  const EchoServer server;
  EXPECT_TRUE(
      server.ask("POST /p HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET /q HTTP/1.1\r\n\r\n").ends_with("POST/pab"));
}

TEST(HttpServer, ABodyThatIsAskedForIsSent) {
  const EchoServer server;
  const RawClient client(server.path);
  client.send("POST /p HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  // As curl does: the body comes when the server has agreed.
  std::string got;
  const std::string agreed = "HTTP/1.1 100 Continue\r\n\r\n";
  got = client.receive(agreed.size());
  EXPECT_EQ(got, agreed);
  client.send("abcd");
  EXPECT_TRUE(client.receive_all().ends_with("POST/pabcd"));
}

TEST(HttpServer, AClientThatStopsInTheMiddleIsSentAway) {
  const EchoServer server({.head = 100ms, .body = 100ms});
  EXPECT_EQ(server.ask(""), "");
  EXPECT_EQ(server.ask("GET / HT"), "");
  EXPECT_EQ(server.ask("GET / HTTP/1.1\r\nHost: x\r\n"), "");
  EXPECT_EQ(server.ask("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"), "");
  EXPECT_TRUE(server.answers());
}

/// The limit is one for the whole head, not for each byte of it.
TEST(HttpServer, AClientThatDribblesIsSentAway) {
  const EchoServer server({.head = 200ms});
  const RawClient slow(server.path);
  slow.send("GET / HTTP/1.1\r\n");
  const auto start = std::chrono::steady_clock::now();
  std::size_t sent = 0;
  for (; slow.send("a"); ++sent) {
    std::this_thread::sleep_for(5ms);
    ASSERT_LT(std::chrono::steady_clock::now() - start, 30s) << "still there after " << sent << " bytes";
  }
  EXPECT_GT(sent, 0U);
  EXPECT_TRUE(server.answers());
}

TEST(HttpServer, AClientThatDoesNotReadIsSentAway) {
  const EchoServer server({.reply = 200ms});
  const RawClient deaf(server.path);
  deaf.send("GET /large HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(server.answers());
  // The server is seen to close when what it has sent ends too soon.
  const std::size_t most = std::size_t{8} << 20;
  const auto start = std::chrono::steady_clock::now();
  while (deaf.is_peer_open()) ASSERT_LT(std::chrono::steady_clock::now() - start, 30s);
  EXPECT_LT(deaf.receive_all().size(), most);
}

TEST(HttpServer, AClientThatVanishesCostsNothing) {
  const EchoServer server;
  for (int k = 0; k < 40; ++k) {
    RawClient client(server.path);
    client.send(k % 2 == 0 ? "GET /large HTTP/1.1\r\n\r\n" : "GET / HTTP");
    client.close();
    if (k % 10 == 0) {
      EXPECT_TRUE(server.answers());
    }
  }
  EXPECT_TRUE(server.answers());
}

TEST(HttpServer, IdleClientsDoNotKeepOthersOut) {
  const EchoServer server({.connections = 8, .head = 600s, .body = 600s, .patience = 50ms});
  std::vector<RawClient> idle;
  for (int k = 0; k < 8; ++k) {
    idle.emplace_back(server.path);
    ASSERT_TRUE(idle.back().is_open());
    idle.back().send(k % 2 == 0 ? "GET / HTTP/1.1\r\n" : "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
  }
  for (int k = 0; k < 12; ++k) EXPECT_TRUE(server.answers()) << k;
}

TEST(HttpServer, BodiesOfAllTogetherAreBounded) {
  const EchoServer server({.body_bytes = 1000});
  const std::string head = "POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n";
  {
    const RawClient first(server.path), second(server.path);
    for (const RawClient* client : {&first, &second}) {
      client->send(head);
      client->send(std::string(500, 'a'));
    }
    // Connections are read in the order in which they came.
    EXPECT_TRUE(server.ask(head).starts_with("HTTP/1.1 503 "));
    first.send(std::string(500, 'a'));
    EXPECT_TRUE(first.receive_all().starts_with("HTTP/1.1 200 "));
  }
  // What was taken by those who are gone is free again.
  for (int k = 0; k < 5; ++k) {
    RawClient gone(server.path);
    gone.send(head + "a");
    gone.close();
  }
  const auto start = std::chrono::steady_clock::now();
  for (std::string reply; !reply.starts_with("HTTP/1.1 200 ");) {
    reply = server.ask(head + std::string(1000, 'a'));
    ASSERT_LT(std::chrono::steady_clock::now() - start, 30s) << reply;
  }
}

TEST(HttpServer, SignalsOfTheProcessStayAsTheyWere) {
  struct sigaction before {
  }, after{};
  ::sigaction(SIGPIPE, nullptr, &before);
  { const EchoServer server; }
  ::sigaction(SIGPIPE, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
}

}  // namespace
}  // namespace weir::app
