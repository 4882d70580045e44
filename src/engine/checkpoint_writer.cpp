#include "engine/checkpoint_writer.hpp"

#include <utility>

#include "weir/error.hpp"
#include "weir/io/state_file.hpp"

namespace weir::engine {

CheckpointWriter::CheckpointWriter(CheckpointDirectory& directory)
    : directory_(directory), thread_([this](const std::stop_token& stop) { write_all(stop); }) {}

CheckpointWriter::~CheckpointWriter() {
  thread_.request_stop();
  changed_.notify_all();
}

bool CheckpointWriter::write(const CheckpointInfo& info, const Window& window) {
  {
    const std::lock_guard lock(mutex_);
    if (work_) return false;
  }
  // Only this thread makes work, so that there is none until it says so.
  Work work{.info = info, .sum = window.sum(), .epochs = {}};
  const std::size_t parts = window.parts().size();
  for (std::size_t k = 0; k < parts; ++k) {
    const bool is_whole = k + 1 < parts || !window.is_open();
    const std::uint64_t epoch = info.epoch_of_part(k, parts);
    if (is_whole && directory_.has_epoch(epoch))
      work.epochs.emplace_back(std::nullopt);
    else
      work.epochs.emplace_back(window.parts()[k]);
  }
  const std::lock_guard lock(mutex_);
  work_ = std::move(work);
  changed_.notify_all();
  return true;
}

void CheckpointWriter::write_all(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  // What has been asked for is written, even when the end is asked for meanwhile.
  while (changed_.wait(lock, stop, [&] { return work_.has_value(); })) {
    lock.unlock();
    std::string failure;
    std::exception_ptr thrown;
    try {
      std::vector<SaveState> epochs;
      for (const std::optional<State>& epoch : work_->epochs)
        epochs.push_back([&epoch](const std::string& path) {
          if (!epoch) throw InputError(path + ": the file was there and is gone");
          save_state(path, *epoch);
        });
      directory_.write(
          work_->info, [&](const std::string& path) { save_state(path, work_->sum); }, epochs);
    } catch (const std::exception& error) {
      failure = error.what();
      thrown = std::current_exception();
    }
    lock.lock();
    if (thrown == nullptr) written_ = {directory_.last_number(), work_->info.time};
    failure_ = std::move(failure);
    last_failure_ = std::move(thrown);
    work_.reset();
    changed_.notify_all();
  }
}

void CheckpointWriter::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !work_.has_value(); });
  failure_.clear();
  if (last_failure_) std::rethrow_exception(std::exchange(last_failure_, nullptr));
}

CheckpointWriter::Written CheckpointWriter::last() {
  const std::lock_guard lock(mutex_);
  return written_;
}

std::string CheckpointWriter::take_failure() {
  const std::lock_guard lock(mutex_);
  return std::exchange(failure_, {});
}

}  // namespace weir::engine
