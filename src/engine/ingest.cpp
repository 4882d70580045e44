#include "weir/engine/ingest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <utility>

#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/mpi/distribute.hpp"

namespace weir::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Copies `column`, behind its length, to the front of `out`, which becomes the rest.
template <class T>
void put_column(std::span<std::byte>& out, const std::vector<T>& column) {
  const std::uint64_t count = column.size();
  const std::size_t size = column.size() * sizeof(T);
  std::memcpy(out.data(), &count, sizeof count);
  if (size > 0) std::memcpy(out.data() + sizeof count, column.data(), size);
  out = out.subspan(sizeof count + size);
}

template <class T>
void take_column(std::span<const std::byte>& bytes, std::vector<T>& column) {
  std::uint64_t count = 0;
  std::memcpy(&count, bytes.data(), sizeof count);
  column.resize(static_cast<std::size_t>(count));
  const std::size_t size = column.size() * sizeof(T);
  if (size > 0) std::memcpy(column.data(), bytes.data() + sizeof count, size);
  bytes = bytes.subspan(sizeof count + size);
}

/// All columns of a batch, those of its rows last.
template <class Batch, class Visit>
void for_each_column(Batch& batch, const Visit& visit) {
  visit(batch.operands);
  visit(batch.i);
  visit(batch.j);
  visit(batch.delta);
  visit(batch.rows.operands);
  visit(batch.rows.i);
  visit(batch.rows.weights);
  visit(batch.rows.values);
  visit(batch.rows.ends);
}

/// A batch as a message between ranks of one job: its columns, each behind its length. A reader's batch has a few
/// million bytes at most.
void pack(const EventBatch& batch, std::vector<std::byte>& out) {
  std::size_t size = 0;
  for_each_column(batch, [&](const auto& column) { size += sizeof(std::uint64_t) + column.size() * sizeof column[0]; });
  out.resize(size);
  std::span<std::byte> rest(out);
  for_each_column(batch, [&](const auto& column) { put_column(rest, column); });
}

void unpack(std::span<const std::byte> bytes, EventBatch& batch) {
  for_each_column(batch, [&](auto& column) { take_column(bytes, column); });
}

/// Reads on a thread of its own, a few batches ahead, because opening and reading a pipe may block for as long as its
/// writer is silent, and meanwhile the root must see to the other ranks. When it is destroyed before the end of the
/// stream the thread is left behind with what it holds: nothing can wake a blocked read, and the program is about to
/// end.
class BackgroundReader {
 public:
  explicit BackgroundReader(EventReader reader) : shared_(std::make_shared<Shared>(std::move(reader))) {
    std::thread([shared = shared_] { shared->read_all(); }).detach();
  }
  ~BackgroundReader() {
    const std::lock_guard lock(shared_->mutex);
    shared_->abandoned = true;
    shared_->changed.notify_all();
  }
  BackgroundReader(const BackgroundReader&) = delete;
  BackgroundReader& operator=(const BackgroundReader&) = delete;

  /// True with the next batch, or with an empty one when none came within `patience`; false at the end. Throws what the
  /// reader threw.
  bool next(EventBatch& batch, std::chrono::milliseconds patience) {
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait_for(lock, patience, [&] { return !shared_->ahead.empty() || shared_->finished; });
    batch.clear();
    if (!shared_->ahead.empty()) {
      std::swap(batch, shared_->ahead.front());
      shared_->ahead.pop_front();
      shared_->changed.notify_all();
      return true;
    }
    if (shared_->failure) std::rethrow_exception(shared_->failure);
    return !shared_->finished;
  }
  /// Only after the end.
  [[nodiscard]] std::uint64_t skipped() const { return shared_->reader.skipped(); }

 private:
  struct Shared {
    static constexpr std::size_t most_ahead = 4;

    explicit Shared(EventReader source) : reader(std::move(source)) {}

    void read_all() {
      std::exception_ptr thrown;
      try {
        for (EventBatch batch; reader.next(batch); batch = {}) {
          std::unique_lock lock(mutex);
          changed.wait(lock, [&] { return ahead.size() < most_ahead || abandoned; });
          if (abandoned) return;
          ahead.push_back(std::move(batch));
          changed.notify_all();
        }
      } catch (...) {
        thrown = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      failure = thrown;
      finished = true;
      changed.notify_all();
    }

    EventReader reader;
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<EventBatch> ahead;
    std::exception_ptr failure;
    bool finished = false;
    bool abandoned = false;
  };
  std::shared_ptr<Shared> shared_;
};

/// Lines on stderr of rank 0. It counts what rank 0 has read, from files its own slices, of pipes the whole:
/// to know more it would have to ask the other ranks.
class Progress {
 public:
  Progress(const mpi::Communicator& communicator, double interval)
      : ranks_(communicator.local_size()),
        interval_(communicator.local_is_root() ? interval : 0),
        start_(Clock::now()),
        last_(start_) {}

  void advance(std::uint64_t read) {
    read_ += read;
    if (interval_ <= 0 || seconds_since(last_) < interval_) return;
    last_ = Clock::now();
    const double seconds = seconds_since(start_);
    print(fmt::format("weir: {:.1f} s: {} updates read by rank 0, {:.4g} a second, {} rank{}\n", seconds, read_,
                      static_cast<double>(read_) / seconds, ranks_, ranks_ == 1 ? "" : "s"));
  }
  void finish(const IngestStatistics& total) const {
    if (interval_ <= 0) return;
    print(fmt::format("weir: {:.1f} s: end of the stream, {} updates on {} rank{}, {:.4g} a second\n", total.seconds,
                      total.updates, ranks_, ranks_ == 1 ? "" : "s",
                      total.seconds > 0 ? static_cast<double>(total.updates) / total.seconds : 0.0));
  }

 private:
  /// One call, so that a launcher that mixes the output of ranks does not cut the line.
  static void print(const std::string& line) { std::fwrite(line.data(), 1, line.size(), stderr); }

  int ranks_;
  double interval_;
  Clock::time_point start_;
  Clock::time_point last_;
  std::uint64_t read_ = 0;
};

/// The paths of `all` that are pipes, as the root sees them: the others need not have them.
std::vector<std::string> take_pipes(const mpi::Communicator& communicator, std::vector<std::string>& all) {
  std::vector<std::byte> marks(all.size());
  if (communicator.local_is_root())
    std::ranges::transform(all, marks.begin(), [](const std::string& path) { return std::byte{is_pipe(path)}; });
  communicator.broadcast(marks);
  std::vector<std::string> files, pipes;
  for (std::size_t k = 0; k < all.size(); ++k) (marks[k] == std::byte{0} ? files : pipes).push_back(std::move(all[k]));
  all = std::move(files);
  return pipes;
}

}  // namespace

IngestStatistics ingest(const mpi::Communicator& communicator, const StreamSource& source,
                        const std::vector<OperandShape>& shapes, Operand default_operand,
                        const std::function<void(const EventBatch&)>& consume, Delivery delivery) {
  std::vector<std::string> files = source.paths;
  if (std::ranges::count(files, "-") > 1) throw UsageError("standard input (-) can be read only once");
  const std::vector<std::string> pipes = take_pipes(communicator, files);

  ReadOptions options;
  const bool to_all = delivery == Delivery::every_rank;
  if (!to_all) {
    options.slice = static_cast<std::uint32_t>(communicator.local_rank());
    options.slice_count = static_cast<std::uint32_t>(communicator.local_size());
  }
  options.on_error = source.on_error;
  options.advice = source.advice;
  options.shapes = shapes;
  options.default_operand = default_operand;

  const bool counts = !to_all || communicator.local_is_root();
  const auto start = Clock::now();
  IngestStatistics local;
  Progress progress(communicator, source.progress_seconds);
  if (!files.empty()) {
    together(communicator, [&](mpi::FailureSignal& signal) {
      EventReader reader(files, options);
      for (EventBatch batch; !signal.local_raised() && reader.next(batch);) {
        consume(batch);
        if (counts) local.updates += batch.events();
        progress.advance(batch.events());
      }
      if (counts) local.skipped += reader.skipped();
    });
  }
  if (!pipes.empty()) {
    together(communicator, [&](mpi::FailureSignal& signal) {
      std::unique_ptr<BackgroundReader> reader;
      if (communicator.local_is_root()) {
        options.slice = 0;
        options.slice_count = 1;
        options.row_values = std::size_t{1} << 16;  // many batches may be on their way
        reader = std::make_unique<BackgroundReader>(EventReader(pipes, options));
      }
      EventBatch produced, received;
      const auto produce = [&](std::vector<std::byte>& piece) {
        if (!reader->next(produced, std::chrono::milliseconds(100))) return false;
        if (!produced.empty()) pack(produced, piece);
        progress.advance(produced.events());
        return true;
      };
      const auto take = [&](std::span<const std::byte> piece) {
        unpack(piece, received);
        consume(received);
        if (counts) local.updates += received.events();
      };
      (to_all ? mpi::distribute_to_all : mpi::distribute)(communicator, signal, produce, take);
      if (reader && !signal.local_raised()) local.skipped += reader->skipped();
    });
  }

  IngestStatistics total;
  total.updates = communicator.all_sum(local.updates);
  total.skipped = communicator.all_sum(local.skipped);
  total.seconds = communicator.all_max(seconds_since(start));
  progress.finish(total);
  return total;
}

}  // namespace weir::engine
