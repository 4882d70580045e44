#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace weir::mpi {

/// Waits between polls: yields first, then sleeps up to a millisecond, so that waiting ranks leave the cores to working
/// ones.
class PollPause {
 public:
  void wait() {
    if (polls_ < yields) {
      ++polls_;
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(pause_);
      pause_ = std::min(2 * pause_, longest);
    }
  }
  /// The same for polls that move data themselves, as those of large messages do, some tens of KiB each: sleeps stay short.
  void wait_briefly() {
    if (polls_ < yields) {
      ++polls_;
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(shortest);
    }
  }
  void reset() noexcept {
    polls_ = 0;
    pause_ = shortest;
  }

 private:
  static constexpr int yields = 100;
  static constexpr std::chrono::microseconds shortest{20};
  static constexpr std::chrono::microseconds longest{1000};
  int polls_ = 0;
  std::chrono::microseconds pause_ = shortest;
};

}  // namespace weir::mpi
