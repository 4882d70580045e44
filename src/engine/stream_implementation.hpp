#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/batch_message.hpp"
#include "engine/reading.hpp"
#include "weir/engine/ingest.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/mpi/distribute.hpp"

namespace weir::engine {

using Clock = std::chrono::steady_clock;

inline double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}
inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// "45 s", "12 min", "3.5 h".
inline std::string duration_text(double seconds) {
  if (seconds < 100) return fmt::format("{:.0f} s", seconds);
  if (seconds < 6000) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
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

  /// `reading` has read so many events more.
  void advance(std::uint64_t read, const Reading& reading) {
    read_ += read;
    if (interval_ <= 0 || seconds_since(last_) < interval_) return;
    last_ = Clock::now();
    const double seconds = seconds_since(start_);
    print(fmt::format("weir: {:.1f} s: {} updates read by rank 0, {:.4g} a second, {} rank{}{}\n", seconds, read_,
                      static_cast<double>(read_) / seconds, ranks_, ranks_ == 1 ? "" : "s",
                      share_text(reading.bytes_read(), seconds)));
  }
  void finish(const IngestStatistics& total) const {
    if (interval_ <= 0) return;
    print(fmt::format("weir: {:.1f} s: end of the stream, {} updates on {} rank{}, {:.4g} a second\n", total.seconds,
                      total.updates, ranks_, ranks_ == 1 ? "" : "s",
                      total.seconds > 0 ? static_cast<double>(total.updates) / total.seconds : 0.0));
  }

 private:
  /// The share of its bytes that rank 0 has read, and how long the rest takes at that rate; empty where that is not known.
  static std::string share_text(const std::optional<BytesRead>& bytes, double seconds) {
    if (!bytes || bytes->read == 0 || bytes->all < bytes->read) return {};
    const auto read = static_cast<double>(bytes->read), all = static_cast<double>(bytes->all);
    return fmt::format(", {:.0f} % of its bytes, about {} left", std::floor(100 * read / all),
                       duration_text(seconds * (all - read) / read));
  }
  /// One call, so that a launcher that mixes the output of ranks does not cut the line.
  static void print(const std::string& line) { std::fwrite(line.data(), 1, line.size(), stderr); }

  int ranks_;
  double interval_;
  Clock::time_point start_;
  Clock::time_point last_;
  std::uint64_t read_ = 0;
};

struct Stream::Implementation {
  Implementation(const mpi::Communicator& the_communicator, const StreamSource& source,
                 std::vector<OperandShape> shapes, Operand default_operand, Delivery the_delivery)
      : communicator(the_communicator),
        delivery(the_delivery),
        progress(the_communicator, source.progress_seconds),
        goes_on(source.start.has_value()),
        reading(the_communicator, source, std::move(shapes), default_operand, the_delivery) {
    files_ended = !reading.has_files() && !reading.own_are_live();
    live_ended = !reading.has_live();
  }

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
    /// How long to wait for a live source before the others are told that nothing came.
    [[nodiscard]] std::chrono::milliseconds patience() const {
      constexpr std::chrono::milliseconds longest(100);
      if (!deadline) return longest;
      return std::clamp(std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()),
                        std::chrono::milliseconds::zero(), longest);
    }
  };

  /// True when the own sources of all ranks are at their end. A rank whose sources are not reads one batch at least, unless
  /// it may read no event at all.
  bool read_own(const Limit& limit, const std::function<void(const EventBatch&)>& consume) {
    if (files_ended) return true;
    bool ended = false;
    together(communicator, [&](mpi::FailureSignal& signal) {
      for (bool has_read = false; !signal.local_raised() && done < limit.events;) {
        if (has_read && limit.reached(done)) break;
        // The one event that own_at_end() has read is no batch.
        has_read = has_read || !reading.is_ahead();
        if (!reading.next_own(batch, limit.events - done, limit.patience())) {
          ended = true;
          return;
        }
        consume(batch);
        done += batch.events();
        if (counts()) updates += batch.events();
        progress.advance(batch.events(), reading);
      }
      ended = reading.own_at_end();
    });
    if (communicator.all_sum(ended ? 0U : 1U) > 0) return false;
    files_ended = true;
    return true;
  }

  /// True when the live sources of the root are at their end.
  bool read_live(const Limit& limit, const std::function<void(const EventBatch&)>& consume) {
    if (live_ended) return true;
    bool ended = false;  // on the root
    together(communicator, [&](mpi::FailureSignal& signal) {
      EventBatch received;
      bool has_tried = false;
      const auto produce = [&](std::vector<std::byte>& piece) {
        if (done >= limit.events || (has_tried && limit.reached(done))) return false;
        has_tried = true;
        if (!reading.next_live(batch, limit.events - done, limit.patience())) {
          ended = true;
          return false;
        }
        if (!batch.empty()) pack(batch, piece);
        done += batch.events();
        progress.advance(batch.events(), reading);
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
    live_ended = true;
    return true;
  }

  /// Nothing more is read.
  void end() {
    reading.close();
    files_ended = live_ended = checked = true;
  }

  [[nodiscard]] std::uint64_t skipped() const { return counts() ? reading.skipped() : 0; }

  /// Collective: throws when there were lines and every one was bad.
  void require_some_good_line() {
    const std::uint64_t all_updates = communicator.all_sum(updates), all_skipped = communicator.all_sum(skipped());
    // What is left behind a checkpoint may well be bad lines only.
    if (goes_on || all_updates > 0 || all_skipped == 0) return;
    const std::string first = reading.first_skipped();
    const std::vector<std::vector<std::byte>> reasons = communicator.gather(std::as_bytes(std::span(first)));
    together(communicator, [&](mpi::FailureSignal&) {
      for (const std::vector<std::byte>& reason : reasons)
        if (!reason.empty())
          throw InputError(fmt::format("all {} lines were bad; the first: {}", all_skipped,
                                       std::string_view(reinterpret_cast<const char*>(reason.data()), reason.size())));
    });
  }

  const mpi::Communicator& communicator;
  Delivery delivery;
  Progress progress;
  bool goes_on;  // from a checkpoint
  Reading reading;
  bool files_ended = false;  // of all ranks, and what they read in parts
  bool live_ended = false;
  bool checked = false;
  EventBatch batch;
  std::uint64_t done = 0;     // events of this rank in this go
  std::uint64_t updates = 0;  // of this rank
  double seconds = 0;
};

}  // namespace weir::engine
