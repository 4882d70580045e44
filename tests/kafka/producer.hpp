#pragma once

#include <librdkafka/rdkafka.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace weir::testing_support {

/// Sends messages to a topic. Throws std::runtime_error for any failure.
class Producer {
 public:
  /// The mock answers a fetch by one batch of each partition, whatever else the consumer asked for.
  Producer(const std::string& brokers, const std::string& topic, int messages_of_batch = 10000) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", brokers);
    set(conf, "linger.ms", "5");
    // The mock acknowledges larger batches and loses them.
    set(conf, "batch.size", "1000000");
    set(conf, "batch.num.messages", std::to_string(messages_of_batch));
    set(conf, "message.max.bytes", "2000000");
    // It does not know the duplicates of messages that are sent again.
    set(conf, "message.send.max.retries", "0");
    rd_kafka_conf_set_opaque(conf, this);
    rd_kafka_conf_set_dr_msg_cb(conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
      if (message->err != 0) static_cast<Producer*>(opaque)->error_ = rd_kafka_err2str(message->err);
    });
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    char reason[256];
    handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    if (handle_ == nullptr) throw std::runtime_error(reason);
    topic_ = rd_kafka_topic_new(handle_, topic.c_str(), nullptr);
  }
  ~Producer() {
    rd_kafka_purge(handle_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(handle_, 5000);
    rd_kafka_topic_destroy(topic_);
    rd_kafka_destroy(handle_);
  }
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  /// An empty payload is a tombstone.
  void send(std::int32_t partition, std::string_view payload) {
    void* bytes = payload.empty() ? nullptr : const_cast<char*>(payload.data());
    while (rd_kafka_produce(topic_, partition, RD_KAFKA_MSG_F_COPY, bytes, payload.size(), "key", 3, nullptr) != 0) {
      if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
        throw std::runtime_error(rd_kafka_err2str(rd_kafka_last_error()));
      rd_kafka_poll(handle_, 10);
    }
    rd_kafka_poll(handle_, 0);
    require_good();
  }
  /// Returns when all is acknowledged.
  void flush() {
    if (rd_kafka_flush(handle_, 60000) != 0) throw std::runtime_error("messages were not acknowledged within a minute");
    require_good();
  }

 private:
  static void set(rd_kafka_conf_t* conf, const char* property, const std::string& value) {
    char reason[256];
    if (rd_kafka_conf_set(conf, property, value.c_str(), reason, sizeof reason) != RD_KAFKA_CONF_OK)
      throw std::runtime_error(reason);
  }
  void require_good() const {
    if (!error_.empty()) throw std::runtime_error("a message was not taken: " + error_);
  }

  rd_kafka_t* handle_ = nullptr;
  rd_kafka_topic_t* topic_ = nullptr;
  std::string error_;
};

}  // namespace weir::testing_support
