#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "weir/io/cancelled.hpp"

namespace weir::stream {

/// How often a file or a directory is looked at for news. Looking again and again works on every file system, network ones
/// included, where the kernel is not told of what others change.
inline constexpr std::chrono::milliseconds look_interval{100};

/// Sleeps until `time`. Throws Cancelled at once when a stop is requested, or was.
inline void pause_until(std::chrono::steady_clock::time_point time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_until(lock, stop, time, [] { return false; });
  if (stop.stop_requested()) throw Cancelled();
}

}  // namespace weir::stream
