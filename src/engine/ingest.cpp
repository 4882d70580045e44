#include "weir/engine/ingest.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "engine/stream_implementation.hpp"
#include "weir/share.hpp"

namespace weir::engine {

Stream::Stream(const mpi::Communicator& communicator, const StreamSource& source, std::vector<OperandShape> shapes,
               Operand default_operand, Delivery delivery)
    : implementation_(
          std::make_unique<Implementation>(communicator, source, std::move(shapes), default_operand, delivery)) {}

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
    const auto read = [&] { return own.to_all() ? own.done : own.communicator.all_sum(own.done); };
    // Where some ranks come to the end of their parts, the others read the more, so that all that is asked for is read.
    std::uint64_t left = events.value_or(std::numeric_limits<std::uint64_t>::max());
    bool own_ended = own.files_ended;
    for (std::uint64_t round = 0; !own_ended && left > 0; ++round) {
      own.done = 0;
      // Turned round by round: what is left may be less than one event a rank.
      const std::uint64_t turn = (rank + round) % ranks;
      if (events) limit.events = own.to_all() ? left : share(left, turn + 1, ranks) - share(left, turn, ranks);
      own_ended = own.read_own(limit, consume);
      if (!events) break;
      const std::uint64_t done = read();
      left -= std::min(done, left);
      if (!own.communicator.broadcast(!limit.deadline || Clock::now() < *limit.deadline)) break;
    }
    // Files come before live sources, which the root alone reads. Where the parts of ranks may go on for ever, both go on.
    if (!own_ended && !own.reading.own_are_live()) return false;
    own.done = 0;
    limit.events = left;
    limit.deadline = deadline;
    if (own.live_ended || left == 0) return own_ended && own.live_ended;
    return own.read_live(limit, consume) && own_ended;
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
          .skipped = own.communicator.all_sum(own.skipped()),
          .seconds = own.communicator.all_max(own.seconds)};
}

Positions Stream::positions() const {
  const Implementation& own = *implementation_;
  const auto passed = own.communicator.all_max(static_cast<double>(own.reading.rows_passed()));
  const std::string text = to_text(own.reading.positions(static_cast<std::uint64_t>(passed)));
  const std::vector<std::vector<std::byte>> texts = own.communicator.gather(std::as_bytes(std::span(text)));
  std::vector<Positions> parts;
  for (const std::vector<std::byte>& part : texts) {
    parts.push_back(positions_of_text({reinterpret_cast<const char*>(part.data()), part.size()}, "a rank's message"));
    // Every rank reads all files.
    if (own.to_all()) break;
  }
  return merge(parts);
}

RankProgress Stream::local_progress() const {
  const Implementation& own = *implementation_;
  return {own.updates, own.skipped(), own.reading.lags()};
}

std::vector<std::string> Stream::local_take_notices() { return implementation_->reading.take_notices(); }

void Stream::stop() {
  if (!implementation_->checked) implementation_->progress.finish(statistics());
  implementation_->end();
}

IngestStatistics ingest(const mpi::Communicator& communicator, const StreamSource& source,
                        const std::vector<OperandShape>& shapes, Operand default_operand,
                        const std::function<void(const EventBatch&)>& consume, Delivery delivery) {
  Stream stream(communicator, source, shapes, default_operand, delivery);
  stream.read(consume);
  return stream.statistics();
}

}  // namespace weir::engine
