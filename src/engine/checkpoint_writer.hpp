#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "weir/io/checkpoint.hpp"

namespace weir::engine {

/// Writes checkpoints on a thread of its own, one at a time, while the root goes on.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(CheckpointDirectory& directory);
  /// Waits for what is being written.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Copies what is to be written and returns. False, with nothing done, while the one before it is being written.
  bool write(const CheckpointInfo& info, const Window& window);
  /// Waits until all is written. Throws what the last one failed with, once.
  void finish();

  /// The number and the time of the last checkpoint that is on disk; 0 where there is none.
  struct Written {
    std::uint64_t number = 0;
    double time = 0;
  };
  [[nodiscard]] Written last();
  /// Why a checkpoint could not be written, once for each; empty when there is nothing to tell.
  [[nodiscard]] std::string take_failure();

 private:
  struct Work {
    CheckpointInfo info;
    State sum;
    std::vector<std::optional<State>> epochs;  ///< Nothing where the directory has it.
  };
  void write_all(const std::stop_token& stop);

  CheckpointDirectory& directory_;
  std::mutex mutex_;
  // Below, under the mutex.
  std::condition_variable_any changed_;
  std::optional<Work> work_;
  Written written_;
  std::string failure_;
  std::exception_ptr last_failure_;
  std::jthread thread_;  ///< Last: it uses all of the above.
};

}  // namespace weir::engine
