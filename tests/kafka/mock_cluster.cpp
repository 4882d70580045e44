// librdkafka's mock of a Kafka cluster as a process of its own: brokers on ports of the loopback interface, which keep what
// is produced to them in memory, 5 MiB of each partition.
//
// Usage: mock_cluster [BROKERS]      (1)
// The first line of output is the brokers' addresses, HOST:PORT,... Then it answers each line of input by "ok" or "error:
// REASON", and ends with its input:
//   topic NAME PARTITIONS       makes a topic; broker 1 leads partition 0, the next one partition 1, and so on
//   missing NAME                brokers say that there is no such topic; otherwise the mock makes what it is asked for
//   down BROKER, up BROKER      ends and allows connections to broker 1, 2, ...; 0 stands for all
//   errors API COUNT CODE       the next COUNT requests of a kind (1 is Fetch, 3 Metadata) are answered by an error
//   rtt MILLISECONDS            time that every answer takes
//   show NAME PARTITIONS        from now on brokers say that the topic has only so many partitions, until told otherwise:
//                               real topics grow, those of the mock cannot
//   corrupt COUNT               one bit is changed at the end of the next COUNT answers that bring messages
//
// The addresses belong to a relay in between, which changes answers as the last two commands say.

#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr std::int16_t fetch_api = 1;
constexpr std::int16_t metadata_api = 3;
constexpr std::int16_t coordinator_api = 10;
/// The last version of both whose answers the relay understands; 1 is the first.
constexpr std::int16_t understood_version = 2;

/// Goes through an answer. All numbers of the protocol are big-endian.
class Cursor {
 public:
  explicit Cursor(const std::string& bytes) : bytes_(&bytes) {}
  [[nodiscard]] std::size_t at() const { return at_; }
  std::int16_t i16() { return static_cast<std::int16_t>(number(2)); }
  std::int32_t i32() { return static_cast<std::int32_t>(number(4)); }
  void skip(std::size_t count) { at_ += count; }
  /// A string; empty for none.
  std::string text() {
    const std::int16_t length = i16();
    if (length < 0) return {};
    const std::string value = bytes_->substr(at_, static_cast<std::size_t>(length));
    at_ += static_cast<std::size_t>(length);
    return value;
  }
  void skip_array_of_i32() { skip(4 * static_cast<std::size_t>(i32())); }

 private:
  std::uint32_t number(std::size_t length) {
    if (at_ + length > bytes_->size()) throw std::runtime_error("an answer is shorter than it says");
    std::uint32_t value = 0;
    for (std::size_t c = 0; c < length; ++c) value = value << 8 | static_cast<unsigned char>((*bytes_)[at_++]);
    return value;
  }

  const std::string* bytes_;
  std::size_t at_ = 0;
};

void put_i32(std::string& bytes, std::size_t at, std::int32_t value) {
  const std::uint32_t big = htonl(static_cast<std::uint32_t>(value));
  std::memcpy(bytes.data() + at, &big, 4);
}

class Relay {
 public:
  explicit Relay(const std::string& brokers) {
    std::istringstream list(brokers);
    for (std::string broker; std::getline(list, broker, ',');) {
      const int port = std::atoi(broker.substr(broker.rfind(':') + 1).c_str());
      const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in address = loopback(0);
      socklen_t length = sizeof address;
      if (listener < 0 || ::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
          ::listen(listener, 64) != 0 || ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        throw std::runtime_error("cannot listen");
      }
      const int own = ntohs(address.sin_port);
      port_of_[port] = own;
      addresses_ += (addresses_.empty() ? "127.0.0.1:" : ",127.0.0.1:") + std::to_string(own);
      listeners_.emplace_back(listener, port);
    }
    // They run until the process ends.
    for (const auto& [listener, port] : listeners_) std::thread(&Relay::accept_all, this, listener, port).detach();
  }
  [[nodiscard]] const std::string& addresses() const { return addresses_; }
  void show(const std::string& topic, int partitions) {
    const std::lock_guard lock(mutex_);
    shown_[topic] = partitions;
  }
  void corrupt(int count) { corrupt_ = count; }

 private:
  struct Connection {
    int client;
    int broker;
    std::mutex mutex;
    std::map<std::int32_t, std::int16_t> requests;  ///< Their kinds, until they are answered.
    ~Connection() {
      ::close(client);
      ::close(broker);
    }
  };

  static sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void accept_all(int listener, int port) {
    while (true) {
      const int client = ::accept(listener, nullptr, nullptr);
      if (client < 0) continue;
      const int broker = ::socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = loopback(port);
      if (::connect(broker, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        ::close(client);
        ::close(broker);
        continue;
      }
      for (const int end : {client, broker}) {
        const int on = 1;
        ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      }
      auto connection = std::make_shared<Connection>();
      connection->client = client;
      connection->broker = broker;
      std::thread(&Relay::pass_on, this, connection, true).detach();
      std::thread(&Relay::pass_on, this, connection, false).detach();
    }
  }

  static bool read_all(int end, char* out, std::size_t count) {
    while (count > 0) {
      const ssize_t got = ::read(end, out, count);
      if (got <= 0) return false;
      out += got;
      count -= static_cast<std::size_t>(got);
    }
    return true;
  }
  static bool write_all(int end, const std::string& bytes) {
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t put = ::send(end, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (put <= 0) return false;
      done += static_cast<std::size_t>(put);
    }
    return true;
  }

  void pass_on(std::shared_ptr<Connection> connection, bool requests) {
    const int from = requests ? connection->client : connection->broker;
    const int to = requests ? connection->broker : connection->client;
    std::string frame;
    while (true) {
      std::uint32_t big = 0;
      if (!read_all(from, reinterpret_cast<char*>(&big), 4)) break;
      frame.resize(4 + ntohl(big));
      std::memcpy(frame.data(), &big, 4);
      if (!read_all(from, frame.data() + 4, frame.size() - 4)) break;
      Cursor cursor(frame);
      cursor.skip(4);
      if (requests) {
        const std::int16_t api = cursor.i16();
        cursor.skip(2);
        const std::lock_guard lock(connection->mutex);
        connection->requests[cursor.i32()] = api;
      } else {
        std::int16_t api = -1;
        {
          const std::lock_guard lock(connection->mutex);
          const auto request = connection->requests.extract(cursor.i32());
          if (!request.empty()) api = request.mapped();
        }
        if (api == metadata_api) frame = changed_metadata(frame);
        if (api == coordinator_api) change_coordinator(frame);
        if (api == fetch_api && frame.size() > 300 && corrupt_ > 0 && corrupt_-- > 0) frame.back() ^= 1;
      }
      if (!write_all(to, frame)) break;
    }
    ::shutdown(connection->client, SHUT_RDWR);
    ::shutdown(connection->broker, SHUT_RDWR);
  }

  /// Puts the relay's port into an answer to a FindCoordinator request.
  void change_coordinator(std::string& frame) {
    const std::lock_guard lock(mutex_);
    Cursor cursor(frame);
    cursor.skip(8 + 4 + 2);  // the time it was held back, the error
    (void)cursor.text();
    cursor.skip(4);
    (void)cursor.text();
    const std::size_t at = cursor.at();
    if (const auto port = port_of_.find(cursor.i32()); port != port_of_.end()) put_i32(frame, at, port->second);
  }

  /// An answer to a Metadata request with the relay's ports and the partitions that are shown.
  std::string changed_metadata(const std::string& frame) {
    const std::lock_guard lock(mutex_);
    std::string out = frame.substr(0, 8);
    Cursor cursor(frame);
    cursor.skip(8);
    std::string copy = frame;
    const std::int32_t brokers = cursor.i32();
    for (std::int32_t b = 0; b < brokers; ++b) {
      cursor.skip(4);
      (void)cursor.text();
      const std::size_t at = cursor.at();
      put_i32(copy, at, port_of_.at(cursor.i32()));
      (void)cursor.text();
    }
    (void)cursor.text();  // cluster
    cursor.skip(4);       // controller
    const std::int32_t topics = cursor.i32();
    out += copy.substr(8, cursor.at() - 8);
    for (std::int32_t t = 0; t < topics; ++t) {
      const std::size_t topic_at = cursor.at();
      cursor.skip(2);
      const std::string name = cursor.text();
      cursor.skip(1);
      const std::size_t count_at = out.size() + cursor.at() - topic_at;
      const std::int32_t partitions = cursor.i32();
      out += copy.substr(topic_at, cursor.at() - topic_at);
      const auto limit = shown_.find(name);
      std::int32_t kept = 0;
      for (std::int32_t p = 0; p < partitions; ++p) {
        const std::size_t partition_at = cursor.at();
        cursor.skip(2);
        const std::int32_t id = cursor.i32();
        cursor.skip(4);
        cursor.skip_array_of_i32();
        cursor.skip_array_of_i32();
        if (limit != shown_.end() && id >= limit->second) continue;
        out += copy.substr(partition_at, cursor.at() - partition_at);
        ++kept;
      }
      put_i32(out, count_at, kept);
    }
    put_i32(out, 0, static_cast<std::int32_t>(out.size() - 4));
    return out;
  }

  std::string addresses_;
  std::map<int, int> port_of_;
  std::vector<std::pair<int, int>> listeners_;
  std::mutex mutex_;
  std::map<std::string, int> shown_;
  std::atomic<int> corrupt_{0};
};

/// What is wrong with a command; nullptr if nothing is.
const char* obey(const std::string& line, rd_kafka_mock_cluster_t* cluster, Relay& relay, int brokers) {
  std::istringstream words(line);
  std::string verb;
  std::string topic;
  int number = 0;
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
  words >> verb;
  if (verb == "topic" && words >> topic >> number) {
    error = rd_kafka_mock_topic_create(cluster, topic.c_str(), number, 1);
    // The mock draws the leaders at random, and one broker would lead all of them now and then.
    for (int p = 0; p < number && error == 0; ++p)
      error = rd_kafka_mock_partition_set_leader(cluster, topic.c_str(), p, 1 + p % brokers);
  } else if (verb == "missing" && words >> topic) {
    rd_kafka_mock_topic_set_error(cluster, topic.c_str(), RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  } else if (verb == "show" && words >> topic >> number) {
    relay.show(topic, number);
  } else if (verb == "corrupt" && words >> number) {
    relay.corrupt(number);
  } else if ((verb == "down" || verb == "up" || verb == "rtt") && words >> number) {
    const bool one = verb != "rtt" && number > 0;
    for (int b = one ? number : 1; b <= (one ? number : brokers) && error == 0; ++b) {
      error = verb == "down" ? rd_kafka_mock_broker_set_down(cluster, b)
              : verb == "up" ? rd_kafka_mock_broker_set_up(cluster, b)
                             : rd_kafka_mock_broker_set_rtt(cluster, b, number);
    }
  } else if (int api = 0, count = 0; verb == "errors" && words >> api >> count >> number) {
    const std::vector<rd_kafka_resp_err_t> codes(static_cast<std::size_t>(count),
                                                 static_cast<rd_kafka_resp_err_t>(number));
    rd_kafka_mock_push_request_errors_array(cluster, static_cast<std::int16_t>(api), codes.size(), codes.data());
  } else {
    return "not a command";
  }
  return error == 0 ? nullptr : rd_kafka_err2str(error);
}

}  // namespace

int main(int argc, char** argv) {
  const int brokers = argc > 1 ? std::atoi(argv[1]) : 1;
  char reason[256];
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
  rd_kafka_t* handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
  rd_kafka_mock_cluster_t* cluster = handle == nullptr ? nullptr : rd_kafka_mock_cluster_new(handle, brokers);
  if (cluster == nullptr) {
    std::cerr << "mock_cluster: cannot make a cluster of " << brokers << " brokers\n";
    return 1;
  }
  for (const std::int16_t api : {metadata_api, coordinator_api})
    rd_kafka_mock_set_apiversion(cluster, api, 1, understood_version);
  Relay relay(rd_kafka_mock_cluster_bootstraps(cluster));
  std::cout << relay.addresses() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const char* error = obey(line, cluster, relay, brokers);
    std::cout << (error == nullptr ? "ok" : std::string("error: ") + error) << std::endl;
  }
  // Threads of the relay still use the cluster, which the end of the process ends.
  std::_Exit(0);
}
