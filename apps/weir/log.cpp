#include "log.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>

#include "published.hpp"
#include "report.hpp"
#include "weir/error.hpp"

namespace weir::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 4> level_names{"error", "warning", "info", "debug"};
constexpr std::size_t longest_text = 1000;

// Apart, so that every thread reads them without a lock.
std::atomic<LogLevel> level_written{LogOptions().level};
std::atomic<LogFormat> format_written{LogOptions().format};
std::atomic<int> rank_written{LogOptions().rank};
std::atomic<int> descriptor_written{LogOptions().descriptor};

/// Text of a JSON string in its quotes; bytes that are not UTF-8 become U+FFFD.
std::string quoted(std::string_view text) {
  return Json(std::string(text.substr(0, longest_text))).dump(-1, ' ', true, Json::error_handler_t::replace);
}

bool is_plain(std::string_view text) noexcept {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:+,@%";
  return !text.empty() && text.size() <= longest_text && text.find_first_not_of(plain) == std::string_view::npos;
}

struct ToText {
  bool in_json;

  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return fmt::to_string(value); }
  std::string operator()(std::uint64_t value) const { return fmt::to_string(value); }
  std::string operator()(double value) const {
    if (!in_json) return fmt::format("{:.6g}", value);
    return std::isfinite(value) ? fmt::format("{}", value) : "null";
  }
  std::string operator()(std::string_view value) const {
    return !in_json && is_plain(value) ? std::string(value) : quoted(value);
  }
};

}  // namespace

std::string_view to_string(LogLevel level) noexcept { return level_names[static_cast<std::size_t>(level)]; }

LogLevel parse_log_level(std::string_view text) {
  for (std::size_t k = 0; k < level_names.size(); ++k)
    if (text == level_names[k]) return static_cast<LogLevel>(k);
  throw UsageError(fmt::format("--log-level: '{}' given, expected error, warning, info or debug", text));
}

LogFormat parse_log_format(std::string_view text) {
  if (text == "text") return LogFormat::text;
  if (text == "json") return LogFormat::json;
  throw UsageError(fmt::format("--log-format: '{}' given, expected text or json", text));
}

void set_log_options(const LogOptions& options) noexcept {
  level_written = options.level;
  format_written = options.format;
  rank_written = options.rank;
  descriptor_written = options.descriptor;
}

bool logs(LogLevel level) noexcept { return level <= level_written.load(std::memory_order_relaxed); }

std::string log_line(LogFormat format, LogLevel level, int rank, double unix_seconds, std::string_view event,
                     std::initializer_list<LogField> fields) {
  const bool json = format == LogFormat::json;
  std::string line = json ? fmt::format(R"({{"time":"{}","level":"{}","rank":{},"event":{})", time_text(unix_seconds),
                                        to_string(level), rank, quoted(event))
                          : fmt::format("{} {} rank={} {}", time_text(unix_seconds), to_string(level), rank, event);
  for (const LogField& field : fields) {
    const std::string value = std::visit(ToText{json}, field.value);
    line += json ? fmt::format(",{}:{}", quoted(field.name), value) : fmt::format(" {}={}", field.name, value);
  }
  line += json ? "}\n" : "\n";
  return line;
}

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) noexcept {
  if (!logs(level)) return;
  try {
    const std::string line = log_line(format_written, level, rank_written, unix_time(), event, fields);
    while (::write(descriptor_written, line.data(), line.size()) < 0 && errno == EINTR) {
    }
  } catch (const std::exception&) {  // out of memory: the line is lost
  }
}

}  // namespace weir::app
