#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace weir::stream {

/// What `kafka://HOST:PORT[,HOST:PORT...]/TOPIC[?option=value&...]` says.
struct KafkaName {
  std::string brokers;  ///< As librdkafka takes them.
  std::string topic;
  /// The name without its options, which may hold passwords: for messages.
  std::string shown;
  bool until_end = false;                    ///< until=end: only what is there at the beginning is read.
  std::chrono::milliseconds timeout{10000};  ///< timeout=SECONDS: for the first answer of a broker.
  /// Options that are not weir's, in their order: properties of librdkafka, not checked.
  std::vector<std::pair<std::string, std::string>> properties;
};

/// Parses it. Values may have %XX for any byte. Throws UsageError that says what was expected, also for properties that
/// weir sets itself: with others a position would not hold every event once.
[[nodiscard]] KafkaName parse_kafka_name(const std::string& name);

}  // namespace weir::stream
