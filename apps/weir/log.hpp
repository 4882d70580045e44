#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace weir::app {

/// How much a line matters: at a level, it and those before it are written.
enum class LogLevel : std::uint8_t { error, warning, info, debug };
enum class LogFormat : std::uint8_t { text, json };

[[nodiscard]] std::string_view to_string(LogLevel level) noexcept;
/// Inverse; throws UsageError that lists the names.
[[nodiscard]] LogLevel parse_log_level(std::string_view text);
[[nodiscard]] LogFormat parse_log_format(std::string_view text);

/// What is logged, and how. Set once, before there are other threads.
struct LogOptions {
  LogLevel level = LogLevel::warning;
  LogFormat format = LogFormat::text;
  int rank = 0;        ///< Of this process; stands in every line.
  int descriptor = 2;  ///< Where lines go.
};
void set_log_options(const LogOptions& options) noexcept;
/// True where lines of this level are written: for values that take time to work out.
[[nodiscard]] bool logs(LogLevel level) noexcept;

/// A value that belongs to an event, with its name.
struct LogField {
  using Value = std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view>;

  LogField(std::string_view field_name, bool field) : name(field_name), value(field) {}
  LogField(std::string_view field_name, int field) : name(field_name), value(std::int64_t{field}) {}
  LogField(std::string_view field_name, std::int64_t field) : name(field_name), value(field) {}
  LogField(std::string_view field_name, std::uint64_t field) : name(field_name), value(field) {}
  LogField(std::string_view field_name, double field) : name(field_name), value(field) {}
  LogField(std::string_view field_name, std::string_view field) : name(field_name), value(field) {}
  LogField(std::string_view field_name, const std::string& field) : name(field_name), value(std::string_view(field)) {}
  LogField(std::string_view field_name, const char* field) : name(field_name), value(std::string_view(field)) {}

  std::string_view name;  ///< Lower-case letters and underscores.
  Value value;            ///< Texts are not copied.
};

/// The line that log() writes, with its newline:
///   2026-11-29T13:42:36.250Z info rank=0 checkpoint_written path="/tmp/a b" seconds=0.25
///   {"time":"2026-11-29T13:42:36.250Z","level":"info","rank":0,"event":"checkpoint_written","path":"/tmp/a b",...}
/// Texts that are not plain words are quoted, control characters are escaped, and what is longer than 1000 bytes is cut.
/// Numbers that are not finite are null in JSON.
[[nodiscard]] std::string log_line(LogFormat format, LogLevel level, int rank, double unix_seconds,
                                   std::string_view event, std::initializer_list<LogField> fields);
/// Writes one line about an event ("checkpoint_written") to standard error, by one write, from any thread. A line that
/// cannot be written is lost. Does nothing where the level is not written.
void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {}) noexcept;

}  // namespace weir::app
