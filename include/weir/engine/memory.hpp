#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace weir::engine {

/// Bytes of `count` times `times` doubles; the largest number when they do not fit into one.
[[nodiscard]] inline std::uint64_t doubles_in_bytes(std::uint64_t count, std::uint64_t times = 1) noexcept {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  return times != 0 && count > most / sizeof(double) / times ? most : count * times * sizeof(double);
}

[[nodiscard]] inline std::uint64_t add_saturated(std::uint64_t a, std::uint64_t b) noexcept {
  return a > std::numeric_limits<std::uint64_t>::max() - b ? std::numeric_limits<std::uint64_t>::max() : a + b;
}

[[nodiscard]] inline std::uint64_t multiply_saturated(std::uint64_t a, std::uint64_t b) noexcept {
  return b != 0 && a > std::numeric_limits<std::uint64_t>::max() / b ? std::numeric_limits<std::uint64_t>::max()
                                                                     : a * b;
}

/// How much memory the processes of a group may take together.
struct MemoryLimit {
  std::uint64_t bytes = 0;
  std::string group;  ///< For messages: "this machine", or the directory of a control group.
  /// Device and inode of that directory: the same for all processes in the group, whatever each calls it.
  std::array<std::uint64_t, 2> identity{};
};

/// The limits that this process is under: the memory of the machine, and those of its control group and of the groups
/// around it, by which batch systems and containers end what takes more (memory.max of version 2,
/// memory.limit_in_bytes of version 1). What is not there, or is no positive number, limits nothing. /proc/self/cgroup
/// and /sys/fs/cgroup are looked for under `root`.
[[nodiscard]] std::vector<MemoryLimit> memory_limits(const std::filesystem::path& root = "/");

}  // namespace weir::engine
