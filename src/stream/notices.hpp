#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace weir::stream {

/// The lines of LiveSource::take_notices(), in bounded memory. Several threads may use it.
class Notices {
 public:
  void add(std::string line) {
    const std::lock_guard lock(mutex_);
    if (lines_.size() + 1 < most) {
      lines_.push_back(std::move(line));
    } else {
      ++more_;
    }
  }

  [[nodiscard]] std::vector<std::string> take() {
    const std::lock_guard lock(mutex_);
    if (more_ > 0) lines_.push_back(fmt::format("and {} more notices", more_));
    more_ = 0;
    return std::exchange(lines_, {});
  }

 private:
  static constexpr std::size_t most = 100;

  std::mutex mutex_;
  std::vector<std::string> lines_;
  std::uint64_t more_ = 0;
};

}  // namespace weir::stream
