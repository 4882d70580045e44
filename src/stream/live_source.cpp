#include "weir/stream/live_source.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "directory_source.hpp"
#include "growing_file.hpp"
#include "pipe_source.hpp"
#include "tcp_source.hpp"
#include "weir/error.hpp"
#ifdef WEIR_KAFKA
#include "kafka_source.hpp"
#endif

namespace weir {

namespace {

/// What a name stands for.
enum class Source : std::uint8_t { file, growing_file, pipe, directory, tcp, kafka };

/// The letters before "://"; empty when `name` is that of a file.
std::string_view scheme_of(std::string_view name) noexcept {
  const std::size_t end = name.find("://");
  if (end == std::string_view::npos || end == 0) return {};
  const std::string_view scheme = name.substr(0, end);
  const auto is_scheme = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return std::all_of(scheme.begin(), scheme.end(), is_scheme) ? scheme : std::string_view();
}

Source source_of(const std::string& name, bool follow) {
  const std::string_view scheme = scheme_of(name);
  if (scheme == "tcp") {
    (void)stream::parse_tcp_address(name);
    return Source::tcp;
  }
  if (scheme == "kafka") {
#ifdef WEIR_KAFKA
    return Source::kafka;
#else
    throw UsageError(fmt::format("{}: kafka: this weir was built without librdkafka", name));
#endif
  }
  if (!scheme.empty()) {
    throw UsageError(fmt::format(
        "{}: unknown kind of source '{}': expected tcp://, kafka:// or the path of a file; write ./{} if it is one",
        name, scheme, name));
  }
  if (is_pipe(name)) return Source::pipe;
  struct stat status {};
  if (::stat(name.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return Source::directory;
  return follow ? Source::growing_file : Source::file;
}

void require_no_position(const std::string& name, const std::string& position) {
  if (position.empty()) return;
  throw InputError(fmt::format("{}: there is a position, but what was read from it cannot be read again", name));
}

}  // namespace

LiveKind live_kind(const std::string& name, bool follow) {
  switch (source_of(name, follow)) {
    case Source::file:
      return LiveKind::none;
    case Source::kafka:
      return LiveKind::in_parts;
    default:
      return LiveKind::at_root;
  }
}

std::unique_ptr<LiveSource> open_live_source(const std::string& name, const ReadOptions& options, bool follow,
                                             const std::string& position) {
  switch (source_of(name, follow)) {
    case Source::tcp:
      require_no_position(name, position);
      return stream::open_tcp_source(name, options);
    case Source::pipe:
      require_no_position(name, position);
      return stream::open_pipe_source(name, options);
    case Source::growing_file:
      return stream::open_growing_file(name, options, position);
    case Source::directory:
      return stream::open_directory_source(name, options, follow, position);
#ifdef WEIR_KAFKA
    case Source::kafka:
      return open_kafka_source(name, options, position);
#endif
    default:
      break;
  }
  throw UsageError(fmt::format("{}: a file that does not grow is no live source", name));
}

}  // namespace weir
