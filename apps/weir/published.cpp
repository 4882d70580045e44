#include "published.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace weir::app {

void Published::publish(Epoch epoch) {
  if (epoch.state == nullptr || epoch.state->party().count != 1)
    throw std::logic_error("an epoch is published with the whole state");
  // Declared before the lock, so that what was published before is freed, which may take a while, after the lock.
  std::shared_ptr<const Epoch> next = std::make_shared<const Epoch>(std::move(epoch));
  const std::lock_guard lock(mutex_);
  history_.push_back({.stamp = next->stamp, .updates = next->run.updates, .norm = next->norm});
  if (history_.size() > longest_history) history_.pop_front();
  latest_.swap(next);
}

std::shared_ptr<const Epoch> Published::latest() const {
  const std::lock_guard lock(mutex_);
  return latest_;
}

void Published::remember_norm(std::uint64_t epoch, const Estimate& norm) {
  const std::lock_guard lock(mutex_);
  const auto known = std::find_if(history_.rbegin(), history_.rend(),
                                  [&](const PastEpoch& past) { return past.stamp.number == epoch; });
  if (known != history_.rend() && !known->norm) known->norm = norm;
}

std::vector<PastEpoch> Published::history() const {
  const std::lock_guard lock(mutex_);
  return {history_.begin(), history_.end()};
}

double unix_time() noexcept {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace weir::app
