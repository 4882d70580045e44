#include "weir/engine/ingest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "engine/agreed_sources.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/mpi/distribute.hpp"
#include "weir/share.hpp"
#include "weir/stream/background_reader.hpp"

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

}  // namespace

struct Stream::Implementation {
  Implementation(const mpi::Communicator& the_communicator, StreamSource the_source, Delivery the_delivery)
      : communicator(the_communicator),
        source(std::move(the_source)),
        delivery(the_delivery),
        progress(the_communicator, source.progress_seconds) {}

  [[nodiscard]] bool to_all() const { return delivery == Delivery::every_rank; }
  /// True when this rank's events count: of what every rank is given, the root counts.
  [[nodiscard]] bool counts() const { return !to_all() || communicator.local_is_root(); }

  /// Of the events that all ranks may still read, those that this one may.
  struct Limit {
    std::uint64_t events = std::numeric_limits<std::uint64_t>::max();
    std::optional<Clock::time_point> deadline = {};

    [[nodiscard]] bool reached(std::uint64_t so_far) const {
      return so_far >= events || (deadline && Clock::now() >= *deadline);
    }
    /// How long to wait for a pipe before the others are told that nothing came.
    [[nodiscard]] std::chrono::milliseconds patience() const {
      constexpr std::chrono::milliseconds longest(100);
      if (!deadline) return longest;
      return std::clamp(std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()),
                        std::chrono::milliseconds::zero(), longest);
    }
  };

  template <class Reader>
  void note_skipped(const Reader& reader) {
    skipped += reader.skipped();
    if (first_skipped.empty()) first_skipped = reader.first_skipped();
  }

  /// The next batch of this rank's part of the files, arrays that are side by side first.
  bool next_of_files() {
    if (arrays) {
      if (arrays->next(batch)) return true;
      if (counts()) note_skipped(*arrays);
      arrays.reset();
    }
    return files && files->next(batch);
  }

  /// True when the files are at their end, on all ranks. A rank that is not reads one batch at least: so small goes get on
  /// too, of which its share is nothing.
  bool read_files(const Limit& limit, const std::function<void(const EventBatch&)>& consume) {
    if (!has_files) return true;
    together(communicator, [&](mpi::FailureSignal& signal) {
      bool has_read = false;
      while (!files_ended && !signal.local_raised() && !(has_read && limit.reached(done))) {
        has_read = true;
        if (!next_of_files()) {
          files_ended = true;
          break;
        }
        consume(batch);
        done += batch.events();
        if (counts()) updates += batch.events();
        progress.advance(batch.events());
      }
    });
    if (communicator.all_sum(files_ended ? 0U : 1U) > 0) return false;
    if (files && counts()) note_skipped(*files);
    files.reset();
    has_files = false;
    return true;
  }

  /// True when the pipes are at their end.
  bool read_pipes(const Limit& limit, const std::function<void(const EventBatch&)>& consume) {
    if (pipes_ended) return true;
    bool ended = false;  // on the root
    together(communicator, [&](mpi::FailureSignal& signal) {
      EventBatch received;
      bool has_tried = false;
      const auto produce = [&](std::vector<std::byte>& piece) {
        if (done >= limit.events || (has_tried && limit.reached(done))) return false;
        has_tried = true;
        if (!pipes->next(batch, limit.patience())) {
          ended = true;
          return false;
        }
        if (!batch.empty()) pack(batch, piece);
        done += batch.events();
        progress.advance(batch.events());
        return true;
      };
      const auto take = [&](std::span<const std::byte> piece) {
        unpack(piece, received);
        consume(received);
        if (counts()) updates += received.events();
      };
      (to_all() ? mpi::distribute_to_all : mpi::distribute)(communicator, signal, produce, take);
    });
    if (!communicator.broadcast(ended)) return false;
    if (pipes) note_skipped(*pipes);
    pipes.reset();
    pipes_ended = true;
    return true;
  }

  /// Nothing more is read.
  void end() {
    arrays.reset();
    files.reset();
    has_files = false;
    pipes.reset();
    pipes_ended = true;
    checked = true;
  }

  /// Collective: throws when there were lines and every one was bad.
  void require_some_good_line() {
    const std::uint64_t all_updates = communicator.all_sum(updates), all_skipped = communicator.all_sum(skipped);
    if (all_updates > 0 || all_skipped == 0) return;
    const std::vector<std::vector<std::byte>> reasons = communicator.gather(std::as_bytes(std::span(first_skipped)));
    together(communicator, [&](mpi::FailureSignal&) {
      for (const std::vector<std::byte>& reason : reasons)
        if (!reason.empty())
          throw InputError(fmt::format("all {} lines were bad; the first: {}", all_skipped,
                                       std::string_view(reinterpret_cast<const char*>(reason.data()), reason.size())));
    });
  }

  const mpi::Communicator& communicator;
  StreamSource source;
  Delivery delivery;
  Progress progress;
  bool has_files = false;                  // the same on all ranks
  std::optional<SideBySideReader> arrays;  // of this rank's part, as are
  std::optional<EventReader> files;
  bool files_ended = false;                 // of this rank's part
  std::unique_ptr<BackgroundReader> pipes;  // on the root
  bool pipes_ended = true;
  bool checked = false;
  EventBatch batch;
  std::uint64_t done = 0;  // events of this rank in this go
  // Of this rank.
  std::uint64_t updates = 0;
  std::uint64_t skipped = 0;
  std::string first_skipped;
  double seconds = 0;
};

Stream::Stream(const mpi::Communicator& communicator, StreamSource source, std::vector<OperandShape> shapes,
               Operand default_operand, Delivery delivery) {
  if (std::ranges::count(source.paths, "-") > 1) throw UsageError("standard input (-) can be read only once");
  const AgreedSources seen = look_at_all(communicator, source.paths);
  const AgreedSources seen_arrays = look_at_all(communicator, source.arrays.paths);
  implementation_ = std::make_unique<Implementation>(communicator, std::move(source), delivery);
  Implementation& own = *implementation_;
  ReadOptions options;
  options.on_error = own.source.on_error;
  options.advice = own.source.advice;
  options.shape_note = own.source.shape_note;
  options.shapes = std::move(shapes);
  options.default_operand = default_operand;
  own.pipes_ended = seen.pipes.empty();
  together(communicator, [&](mpi::FailureSignal&) {
    if (!seen.pipes.empty() && communicator.local_is_root()) {
      ReadOptions of_pipes = options;
      of_pipes.row_values = std::size_t{1} << 16;  // many batches may be on their way
      own.pipes = std::make_unique<BackgroundReader>(seen.pipes, of_pipes);
    }
    own.has_files = !seen.files.empty() || !own.source.arrays.empty();
    if (!own.has_files) return;
    if (!own.to_all()) {
      options.slice = static_cast<std::uint32_t>(communicator.local_rank());
      options.slice_count = static_cast<std::uint32_t>(communicator.local_size());
    }
    if (!own.source.arrays.empty()) {
      if (!seen_arrays.pipes.empty())
        throw InputError(
            fmt::format("{}: expected a file, as arrays are read side by side", seen_arrays.pipes.front()));
      options.sources = seen_arrays.files;
      own.arrays.emplace(own.source.arrays, options.default_operand, options.shapes.front().rows, options);
    }
    if (seen.files.empty()) return;
    std::vector<std::string> paths;
    for (const SourceInfo& file : seen.files) paths.push_back(file.path);
    options.sources = seen.files;
    own.files.emplace(std::move(paths), options);
  });
}

Stream::~Stream() = default;
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;

bool Stream::read(const std::function<void(const EventBatch&)>& consume, const Until& until) {
  Implementation& own = *implementation_;
  if (until.events == 0U) return !own.checked;
  const auto start = Clock::now();
  const auto go_on = [&](std::optional<std::uint64_t> events, std::optional<Clock::time_point> deadline) {
    Implementation::Limit limit;
    // What every rank is given, all pause at the same event. Of files each rank reads its own copy.
    if (!own.to_all()) limit.deadline = deadline;
    const auto rank = static_cast<std::uint64_t>(own.communicator.local_rank());
    const auto ranks = static_cast<std::uint64_t>(own.communicator.local_size());
    own.done = 0;
    if (events) limit.events = own.to_all() ? *events : share(*events, rank + 1, ranks) - share(*events, rank, ranks);
    if (!own.read_files(limit, consume)) return false;
    // Files come before pipes, which the root alone reads.
    if (events) {
      const std::uint64_t done = own.to_all() ? own.done : own.communicator.all_sum(own.done);
      limit.events = *events - std::min(done, *events);
    }
    limit.deadline = deadline;
    own.done = 0;
    return own.read_pipes(limit, consume);
  };
  const auto deadline = until.time ? std::optional(start + *until.time) : std::nullopt;
  const auto read_on = [&] {
    if (!own.to_all() || !deadline) return go_on(until.events, deadline);
    // In rounds, of which the root asks for one after the other.
    constexpr std::uint64_t round = std::uint64_t{1} << 16;
    std::uint64_t left = until.events.value_or(std::numeric_limits<std::uint64_t>::max());
    bool ended = false;
    do {
      ended = go_on(std::min(left, round), deadline);
      left -= std::min(left, round);
    } while (!ended && left > 0 && own.communicator.broadcast(Clock::now() < *deadline));
    return ended;
  };
  bool ended = false;
  try {
    ended = read_on();
  } catch (...) {
    own.end();
    throw;
  }
  own.seconds += seconds_since(start);
  if (ended && !own.checked) {
    own.checked = true;
    own.require_some_good_line();
    own.progress.finish(statistics());
  }
  return !ended;
}

IngestStatistics Stream::statistics() const {
  const Implementation& own = *implementation_;
  return {.updates = own.communicator.all_sum(own.updates),
          .skipped = own.communicator.all_sum(own.skipped),
          .seconds = own.communicator.all_max(own.seconds)};
}

IngestStatistics ingest(const mpi::Communicator& communicator, const StreamSource& source,
                        const std::vector<OperandShape>& shapes, Operand default_operand,
                        const std::function<void(const EventBatch&)>& consume, Delivery delivery) {
  Stream stream(communicator, source, shapes, default_operand, delivery);
  stream.read(consume);
  return stream.statistics();
}

}  // namespace weir::engine
