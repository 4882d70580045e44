#include "weir/stream/background_reader.hpp"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

namespace weir {
namespace {

constexpr std::size_t most_ahead = 4;

ReadOptions with_stop(ReadOptions options, std::stop_token stop) {
  options.stop = std::move(stop);
  return options;
}

}  // namespace

struct BackgroundReader::Implementation {
  Implementation(std::vector<std::string> paths, const ReadOptions& options)
      : reader(std::move(paths), with_stop(options, source.get_token())),
        callers_stop(options.stop, StopAll{&source}),
        thread([this] { read_all(); }) {}
  ~Implementation() {
    source.request_stop();
    thread.join();
  }
  Implementation(const Implementation&) = delete;
  Implementation& operator=(const Implementation&) = delete;

  void read_all() noexcept {
    std::exception_ptr thrown;
    try {
      for (EventBatch batch; reader.next(batch); batch = {}) {
        note_skipped();
        std::unique_lock lock(mutex);
        if (!changed.wait(lock, source.get_token(), [&] { return ahead.size() < most_ahead; })) throw Cancelled();
        ahead.push_back(std::move(batch));
        changed.notify_all();
      }
      note_skipped();
    } catch (...) {
      thrown = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    failure = std::move(thrown);
    finished = true;
    changed.notify_all();
  }

  void note_skipped() {
    if (reader.skipped() == skipped) return;  // only this thread changes it
    std::string first = skipped == 0 ? reader.first_skipped() : std::string();
    const std::lock_guard lock(mutex);
    if (skipped == 0) first_skipped = std::move(first);
    skipped = reader.skipped();
  }

  struct StopAll {
    std::stop_source* source;
    void operator()() const noexcept { source->request_stop(); }
  };

  std::stop_source source;
  EventReader reader;  ///< The thread's.
  mutable std::mutex mutex;
  // All below, under the mutex.
  std::condition_variable_any changed;
  std::deque<EventBatch> ahead;
  std::exception_ptr failure;
  bool finished = false;
  std::uint64_t skipped = 0;
  std::string first_skipped;

  std::stop_callback<StopAll> callers_stop;
  std::thread thread;  ///< Last: it uses all of the above.
};

BackgroundReader::BackgroundReader(std::vector<std::string> paths, ReadOptions options)
    : implementation_(std::make_unique<Implementation>(std::move(paths), options)) {}

BackgroundReader::~BackgroundReader() = default;

bool BackgroundReader::next(EventBatch& batch, std::chrono::milliseconds patience) {
  Implementation& shared = *implementation_;
  std::unique_lock lock(shared.mutex);
  shared.changed.wait_for(lock, patience, [&] { return !shared.ahead.empty() || shared.finished; });
  batch.clear();
  if (!shared.ahead.empty()) {
    std::swap(batch, shared.ahead.front());
    shared.ahead.pop_front();
    shared.changed.notify_all();
    return true;
  }
  if (shared.failure) std::rethrow_exception(shared.failure);
  return !shared.finished;
}

std::uint64_t BackgroundReader::skipped() const {
  const std::lock_guard lock(implementation_->mutex);
  return implementation_->skipped;
}

std::string BackgroundReader::first_skipped() const {
  const std::lock_guard lock(implementation_->mutex);
  return implementation_->first_skipped;
}

}  // namespace weir
