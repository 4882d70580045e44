#include "weir/engine/memory.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <string_view>

namespace weir::engine {
namespace {

/// The number that is the first line of a file; none when there is no such file or line.
std::optional<std::uint64_t> number_in(const std::filesystem::path& file) {
  std::string line;
  std::getline(std::ifstream(file) >> std::ws, line);
  std::uint64_t number = 0;
  const char* const end = line.data() + line.size();
  const auto [stop, status] = std::from_chars(line.data(), end, number);
  return status == std::errc() && stop == end ? std::optional(number) : std::nullopt;
}

/// Whether `name` is one of the words of `list`, which commas separate.
bool contains_word(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    if (list.substr(0, end) == name) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

/// Adds the limits in `file` of the group at `path` below `mount` and of all groups around it, up to the mount itself: in
/// a container that one is the container's, and `path` may be what the host calls it.
void add_limits(const std::filesystem::path& mount, std::string_view path, const char* file,
                std::vector<MemoryLimit>& limits) {
  if (path == "/.." || path.starts_with("/../")) path = "/";  // a group outside of what this process sees
  for (;;) {
    while (path.ends_with('/')) path.remove_suffix(1);
    const std::filesystem::path group = path.empty() ? mount : mount / path.substr(1);
    struct stat status {};
    const std::optional<std::uint64_t> bytes = number_in(group / file);
    if (bytes && *bytes > 0 && ::stat(group.c_str(), &status) == 0)
      limits.push_back({*bytes, "the control group " + group.string(), {status.st_dev, status.st_ino}});
    if (path.empty()) return;
    path = path.substr(0, path.rfind('/'));
  }
}

}  // namespace

std::vector<MemoryLimit> memory_limits(const std::filesystem::path& root) {
  std::vector<MemoryLimit> limits;
  const long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page_size > 0)
    limits.push_back({static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_size), "this machine", {}});

  // A line is "number:controllers:/path", of version 2 "0::/path". A path may hold colons.
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos || line.compare(second + 1, 1, "/") != 0) continue;
    const std::string_view all = line;
    const std::string_view controllers = all.substr(first + 1, second - first - 1), path = all.substr(second + 1);
    if (controllers.empty()) {
      add_limits(root / "sys/fs/cgroup", path, "memory.max", limits);
    } else if (contains_word(controllers, "memory")) {
      add_limits(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes", limits);
    }
  }
  return limits;
}

}  // namespace weir::engine
