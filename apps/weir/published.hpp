#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "report.hpp"
#include "weir/state/state.hpp"

namespace weir::app {

/// What a running job has made of its stream up to the end of one epoch. It does not change any more.
struct Epoch {
  EpochStamp stamp = {};
  Run run = {};  ///< Its `epoch` is not used: `stamp` is.
  /// Whole, in one place: State::party() is the only one. Threads ask it at once, so nobody may change it.
  std::shared_ptr<const State> state = {};
  /// ||y|| where the job has worked it out, for the curve over epochs.
  std::optional<Estimate> norm = {};
};

/// A point of the curve over epochs.
struct PastEpoch {
  EpochStamp stamp = {};
  std::uint64_t updates = 0;
  std::optional<Estimate> norm = {};
};

/// The last epoch of a running job, and a short record of those before. Any thread may call any function; none waits for
/// a question that is being answered.
class Published {
 public:
  /// Epochs that are remembered at most.
  static constexpr std::size_t longest_history = 1000;

  /// Throws std::logic_error without a state, or with one that is cut among parties. O(1): nothing is copied. The state
  /// before is freed when the last question to it has been answered.
  void publish(Epoch epoch);
  /// None before the first epoch.
  [[nodiscard]] std::shared_ptr<const Epoch> latest() const;
  /// Completes the record of an epoch whose norm somebody has asked for.
  void remember_norm(std::uint64_t epoch, const Estimate& norm);
  /// The last `longest_history` epochs, the oldest first.
  [[nodiscard]] std::vector<PastEpoch> history() const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Epoch> latest_;
  std::deque<PastEpoch> history_;
};

/// Seconds since 1970 by the system clock.
[[nodiscard]] double unix_time() noexcept;

}  // namespace weir::app
