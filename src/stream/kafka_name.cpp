#include "kafka_name.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "weir/error.hpp"

namespace weir::stream {

namespace {

constexpr std::string_view scheme = "kafka://";
constexpr std::string_view form = "kafka://HOST:PORT[,HOST:PORT...]/TOPIC[?OPTION=VALUE&...]";

/// Properties that weir sets, and why nobody else may.
struct Owned {
  std::string_view property;
  std::string_view why;
};
constexpr std::string_view positions = "weir keeps the positions itself";
constexpr std::array<Owned, 12> owned{{
    {"group.id", "weir shares the partitions out itself, and joins no group"},
    {"group.instance.id", "weir shares the partitions out itself, and joins no group"},
    {"enable.auto.commit", positions},
    {"auto.commit.enable", positions},
    {"auto.commit.interval.ms", positions},
    {"enable.auto.offset.store", positions},
    {"auto.offset.reset", "weir never goes on at another place than where it was"},
    {"enable.partition.eof", "weir needs it to know the end of a partition"},
    {"bootstrap.servers", "brokers are named before the topic"},
    {"metadata.broker.list", "brokers are named before the topic"},
    {"allow.auto.create.topics", "weir does not make topics"},
    {"statistics.interval.ms", "nobody reads its statistics"},
}};

[[noreturn]] void refuse(const std::string& shown, std::string_view what) {
  throw UsageError(fmt::format("{}: {}", shown, what));
}

std::string decoded(std::string_view text, const std::string& shown) {
  std::string out;
  for (std::size_t c = 0; c < text.size(); ++c) {
    if (text[c] != '%') {
      out += text[c];
      continue;
    }
    unsigned value = 0;
    const char* digits = text.data() + c + 1;
    if (c + 2 >= text.size() || std::from_chars(digits, digits + 2, value, 16).ptr != digits + 2 || value == 0)
      refuse(shown, "expected two hexadecimal digits, not both 0, behind a % in an option (%25 for % itself)");
    out += static_cast<char>(value);
    c += 2;
  }
  return out;
}

void check_broker(std::string_view broker, const std::string& shown) {
  const std::size_t colon = broker.rfind(':');
  unsigned port = 0;
  if (colon != std::string_view::npos && colon > 0) {
    const char* end = broker.data() + broker.size();
    const auto [after, error] = std::from_chars(broker.data() + colon + 1, end, port);
    if (error == std::errc() && after == end && port > 0 && port < 65536) return;
  }
  refuse(shown, fmt::format("'{}' is not HOST:PORT; expected {}", broker, form));
}

std::chrono::milliseconds seconds_of(const std::string& value, const std::string& shown) {
  double seconds = 0;
  const char* end = value.data() + value.size();
  const auto [after, error] = std::from_chars(value.data(), end, seconds);
  if (error != std::errc() || after != end || !(seconds > 0 && seconds <= 86400))
    refuse(shown, fmt::format("option timeout={}: expected a number of seconds above 0, at most 86400", value));
  return std::chrono::milliseconds(static_cast<long long>(std::ceil(seconds * 1000)));
}

}  // namespace

KafkaName parse_kafka_name(const std::string& name) {
  KafkaName result;
  const std::string_view all = name;
  const std::size_t question = std::min(all.find('?'), all.size());
  result.shown = all.substr(0, question);
  if (!all.starts_with(scheme)) refuse(result.shown, fmt::format("expected {}", form));
  const std::string_view place = all.substr(scheme.size(), question - scheme.size());
  const std::size_t slash = place.find('/');
  if (slash == std::string_view::npos) refuse(result.shown, fmt::format("no topic is named; expected {}", form));
  result.brokers = place.substr(0, slash);
  result.topic = place.substr(slash + 1);
  std::string_view rest = result.brokers;
  while (true) {
    const std::size_t comma = rest.find(',');
    check_broker(rest.substr(0, comma), result.shown);
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  // As Kafka has it.
  constexpr std::string_view legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (result.topic.empty() || result.topic.size() > 249 || result.topic.find_first_not_of(legal) != std::string::npos) {
    refuse(result.shown,
           fmt::format("'{}' cannot be a topic; expected 1 to 249 letters, digits, '.', '_' and '-'", result.topic));
  }
  for (std::string_view options = all.substr(std::min(question + 1, all.size())); !options.empty();) {
    const std::size_t end = std::min(options.find('&'), options.size());
    const std::string_view option = options.substr(0, end);
    options.remove_prefix(std::min(end + 1, options.size()));
    const std::size_t equals = option.find('=');
    if (equals == std::string_view::npos || equals == 0)
      refuse(result.shown, fmt::format("option '{}': expected OPTION=VALUE", option));
    const std::string key = decoded(option.substr(0, equals), result.shown);
    const std::string value = decoded(option.substr(equals + 1), result.shown);
    const auto* const taken =
        std::find_if(owned.begin(), owned.end(), [&](const Owned& o) { return o.property == key; });
    if (taken != owned.end()) refuse(result.shown, fmt::format("option {} cannot be given: {}", key, taken->why));
    if (key == "until") {
      if (value != "end") refuse(result.shown, fmt::format("option until={}: expected until=end", value));
      result.until_end = true;
    } else if (key == "timeout") {
      result.timeout = seconds_of(value, result.shown);
    } else {
      result.properties.emplace_back(key, value);
    }
  }
  return result;
}

}  // namespace weir::stream
