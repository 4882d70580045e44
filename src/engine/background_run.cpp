#include "engine/background_run.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "engine/stream_implementation.hpp"
#include "weir/engine/together.hpp"
#include "weir/mpi/background_sum.hpp"
#include "weir/mpi/mail.hpp"
#include "weir/mpi/poll_pause.hpp"
#include "weir/share.hpp"

namespace weir::engine {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// Kinds of letters. Those up to `finish` come from the root.
enum Kind : std::uint8_t {
  piece,    ///< Events.
  quota,    ///< What to read in the first segment.
  end,      ///< The segment ends; what to read in the next one.
  hurry,    ///< The segment ends now, whatever is left of the quota.
  finish,   ///< All segments are summed.
  request,  ///< A piece has been added: the rank would take another one.
  ended,    ///< The rank's own sources are at their end.
  full,     ///< The rank has read its quota, and waits for the end of the segment.
  report,   ///< What a rank has done up to the end of a segment.
  command,  ///< Somebody wants something of this rank.
};

/// How the root ends a segment.
struct EndOfSegment {
  std::uint64_t next_quota = 0;  ///< Of this rank.
  bool now = false;              ///< At once, and not when the quota has been read.
  bool keeps_quota = false;      ///< What is left of the quota is read in the next segment.
  bool stop = false;             ///< Nothing more is read.
};

template <class Value>
std::vector<std::byte> bytes_of(const Value& value) {
  std::vector<std::byte> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

template <class Value>
Value value_of(const std::vector<std::byte>& bytes) {
  Value value{};
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

/// What a rank tells at the end of a segment.
struct Report {
  RankProgress progress = {};
  bool has_ended = false;  ///< It reads no more.
  bool is_at_end = false;  ///< There is no more.
  Positions positions = {};
  std::string first_skipped = {};
  std::vector<std::vector<std::byte>> other_parts = {};  ///< Of each state.
};

std::vector<std::byte> to_bytes(const Report& report, bool with_positions) {
  Json lags = Json::array();
  for (const SourceLag& lag : report.progress.lags) lags.push_back({lag.source, lag.amount, lag.unit});
  Json json{{"updates", report.progress.updates},
            {"skipped", report.progress.skipped},
            {"ended", report.has_ended},
            {"at_end", report.is_at_end},
            {"lags", std::move(lags)}};
  if (!report.first_skipped.empty())
    json["first_skipped"] = std::vector<std::uint8_t>(report.first_skipped.begin(), report.first_skipped.end());
  if (with_positions) json["positions"] = to_text(report.positions);
  // Names of sources need not be UTF-8.
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::vector<std::byte> bytes;
  const auto put = [&](std::span<const std::byte> part) {
    const std::vector<std::byte> length = bytes_of(std::uint64_t{part.size()});
    bytes.insert(bytes.end(), length.begin(), length.end());
    bytes.insert(bytes.end(), part.begin(), part.end());
  };
  put(std::as_bytes(std::span(text)));
  for (const std::vector<std::byte>& part : report.other_parts) put(part);
  return bytes;
}

Report report_of(std::span<const std::byte> bytes) {
  const auto take = [&] {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    const auto part = bytes.subspan(sizeof length, static_cast<std::size_t>(length));
    bytes = bytes.subspan(sizeof length + part.size());
    return part;
  };
  const auto text = take();
  const Json json = Json::parse(std::string_view(reinterpret_cast<const char*>(text.data()), text.size()));
  Report report;
  report.progress.updates = json.at("updates");
  report.progress.skipped = json.at("skipped");
  report.has_ended = json.at("ended");
  report.is_at_end = json.at("at_end");
  for (const Json& lag : json.at("lags")) report.progress.lags.push_back({lag.at(0), lag.at(1), lag.at(2)});
  if (json.contains("first_skipped")) {
    const auto text_bytes = json.at("first_skipped").get<std::vector<std::uint8_t>>();
    report.first_skipped.assign(text_bytes.begin(), text_bytes.end());
  }
  if (json.contains("positions"))
    report.positions = positions_of_text(json.at("positions").get<std::string>(), "the report of a rank");
  while (!bytes.empty()) {
    const auto part = take();
    report.other_parts.emplace_back(part.begin(), part.end());
  }
  return report;
}

}  // namespace

bool is_summed_on_root(const State& state) {
  return std::ranges::all_of(state.layout(), [&](const ArrayLayout& layout) {
    return layout.gathering == Gathering::on_first ||
           (layout.gathering == Gathering::everywhere && state.is_fixed(layout));
  });
}

/// One run: the loop of every rank, and what the root does besides.
struct BackgroundRun::Implementation {
  Implementation(BackgroundRun& the_run, Stream::Implementation& the_stream)
      : run(the_run),
        stream(the_stream),
        reading(the_stream.reading),
        rank(the_run.communicator_.local_rank()),
        ranks(the_run.communicator_.local_size()),
        mail(the_run.communicator_),
        sum(the_run.communicator_),
        with_positions(the_run.options_.writes_checkpoints) {
    for (State& state : run.states_) aside.push_back(state);  // of no event, with what is fixed
  }

  [[nodiscard]] bool is_root() const { return rank == 0; }

  std::vector<mpi::Summands> summands(std::vector<State>& states) {
    std::vector<mpi::Summands> all;
    for (State& state : states)
      for (const StateArray& array : state.arrays())
        if (array.layout->gathering == Gathering::on_first && !state.is_fixed(*array.layout))
          array.numbers.visit([&](auto numbers) { all.emplace_back(numbers); });
    return all;
  }

  void add(const EventBatch& events) {
    for (State& state : run.states_) state.add(events);
    stream.updates += events.events();
  }

  // Every rank.

  /// Reads one batch of this rank's own sources, where it may. False when there was nothing to be done.
  bool read_own() {
    if (own_ended || stopped || left == 0) return false;
    if (!reading.next_own(batch, left, std::chrono::milliseconds(0))) {
      note_own_ended();
      return true;
    }
    if (batch.empty()) return false;
    last_event = Clock::now();
    add(batch);
    if (is_root()) stream.progress.advance(batch.events(), reading);
    if (left != unlimited) left -= std::min<std::uint64_t>(left, batch.events());
    return true;
  }
  void note_own_ended() {
    own_ended = true;
    if (!is_root()) mail.local_post(0, ended);
  }

  /// Puts the state aside and begins to sum it.
  void end_segment() {
    // A source that is at its end is to be known as such now, and not after one more, empty, segment.
    if (!own_ended && reading.own_at_end()) note_own_ended();
    if (run.names_) run.states_.front().names.merge(run.names_->take());
    std::swap(run.states_, aside);
    Report own;
    own.progress = {stream.updates, reading.skipped(), reading.lags()};
    own.is_at_end = own_ended && live_ended;
    own.has_ended = stopped || own.is_at_end;
    own.first_skipped = reading.first_skipped();
    // There are no rows side by side in a run like this.
    if (with_positions) own.positions = reading.positions(0);
    if (is_root()) {
      reports.assign(static_cast<std::size_t>(ranks), std::nullopt);
      reports[0] = std::move(own);
    } else {
      for (State& state : aside) own.other_parts.push_back(state.other_part());
      mail.local_post(0, report, to_bytes(own, with_positions));
    }
    sum.local_start(summands(aside));
    is_flying = true;
  }

  /// True where this rank's own sources may go on for ever and have been silent for a while: others, who have read their
  /// shares, do not wait for the rest of this rank's.
  [[nodiscard]] bool is_silent() const {
    return reading.own_are_live() && Clock::now() - last_event > std::chrono::milliseconds(200);
  }

  // Ranks other than the root.

  void work(mpi::FailureSignal& signal) {
    std::optional<EndOfSegment> ending;
    bool has_quota = false;
    while (!signal.local_raised()) {
      bool busy = false;
      // What comes behind the end of a segment belongs to the next one.
      while (!ending) {
        std::optional<mpi::Letter> letter = mail.local_take();
        if (!letter) break;
        busy = true;
        if (letter->kind == finish) return;
        if (letter->kind == quota) {
          left = value_of<std::uint64_t>(letter->bytes);
          has_quota = true;
        } else if (letter->kind == end) {
          ending = value_of<EndOfSegment>(letter->bytes);
          if (ending->stop) stopped = true;
        } else if (letter->kind == piece) {
          unpack(letter->bytes, received);
          add(received);
          mail.local_post(0, request);
        }
      }
      // A quota may be long in coming, and there are other reasons to end a segment.
      if (ending && mail.local_take(hurry)) ending->now = true;
      if (has_quota) busy = read_own() || busy;
      tell_notices();
      if (const Command wanted = local_command(); wanted != Command::none)
        mail.local_post(0, command, bytes_of(wanted));
      if (is_flying && sum.local_progress()) {
        for (State& state : aside) state.clear();
        is_flying = false;
        busy = true;
      }
      if (has_quota && left == 0 && !own_ended && !stopped && !ending && !has_told_full) {
        mail.local_post(0, full);
        has_told_full = true;
      }
      if (ending && !is_flying && (ending->now || own_ended || left == 0 || is_silent())) {
        end_segment();
        has_told_full = false;
        if (!ending->keeps_quota) left = ending->next_quota;
        ending.reset();
        busy = true;
      }
      pause_unless(busy);
    }
  }

  void tell_notices() {
    const auto now = Clock::now();
    if (!run.options_.local_warn || now - last_notices < std::chrono::seconds(1)) return;
    last_notices = now;
    for (const std::string& notice : reading.take_notices()) run.options_.local_warn(notice);
  }

  void pause_unless(bool busy) {
    if (busy)
      pause.reset();
    else if (is_flying)
      pause.wait_briefly();
    else
      pause.wait();
  }

  [[nodiscard]] Command local_command() const {
    return run.options_.local_command ? run.options_.local_command() : Command::none;
  }

  // The root.

  /// What is known of a segment when it ends.
  struct Segment {
    bool ends_now = false;  ///< Ranks do not read the rest of their shares.
    bool ends_epoch = false;
    bool wants_answer = false;
    bool wants_checkpoint = false;
  };

  /// Plans the next segment, and gives each rank its share of it. Returns the root's.
  std::uint64_t share_out(const std::function<void(int rank, std::uint64_t quota)>& give) {
    planned = std::min(epoch_left, checkpoint_left);
    std::vector<int> readers;
    for (int r = 0; r < ranks; ++r)
      if (r == 0 ? !(own_ended && live_ended) : !rank_ended[static_cast<std::size_t>(r)]) readers.push_back(r);
    std::uint64_t own = 0;
    std::size_t place = 0;  // among the readers
    for (int r = 0; r < ranks; ++r) {
      std::uint64_t part = planned;
      if (planned != unlimited) {
        const bool reads = place < readers.size() && readers[place] == r;
        // Turned, so that odd events do not always go to the same ranks.
        const std::uint64_t turn = reads ? (place + segments) % readers.size() : 0;
        part = reads ? share(planned, turn + 1, readers.size()) - share(planned, turn, readers.size()) : 0;
        if (reads) ++place;
      }
      if (r == 0)
        own = part;
      else
        give(r, part);
    }
    ++segments;
    if (planned != unlimited && epoch_left != unlimited) epoch_left -= planned;
    if (planned != unlimited && checkpoint_left != unlimited) checkpoint_left -= planned;
    return own;
  }

  void lead(mpi::FailureSignal& signal) {
    begin();
    while (!signal.local_raised()) {
      bool busy = take_letters();
      busy = read_own() || busy;
      if (own_ended || stopped || reading.own_are_live()) busy = read_live(busy) || busy;
      if (is_flying && sum.local_progress() &&
          std::ranges::all_of(reports, [](const auto& r) { return r.has_value(); })) {
        is_flying = false;
        busy = true;
        complete_segment();
        if (is_finished) break;
      }
      take_command(local_command());
      tell_notices();
      if (is_flying) hurry_others();
      if (!is_flying) {
        if (const std::optional<Segment> due = due_segment()) {
          end_on_all_ranks(*due);
          busy = true;
        }
      }
      pause_unless(busy);
    }
    if (is_finished)
      for (int r = 1; r < ranks; ++r) mail.local_post(r, finish);
  }

  void begin() {
    const EpochOptions& options = run.options_;
    credits.assign(static_cast<std::size_t>(ranks), 2);
    credits[0] = 0;
    rank_full.assign(static_cast<std::size_t>(ranks), false);
    epoch_start = checkpoint_start = Clock::now();
    last_answer = epoch_start - std::chrono::hours(1);
    epoch_number = run.start_.epoch;
    updates_in_epoch = run.start_.updates_in_epoch;
    if (options.every.events) epoch_left = *options.every.events - std::min(updates_in_epoch, *options.every.events);
    if (with_positions && options.checkpoint_every.events) checkpoint_left = *options.checkpoint_every.events;
    left = share_out([&](int r, std::uint64_t part) { mail.local_post(r, quota, bytes_of(part)); });
  }

  /// Letters of the other ranks.
  bool take_letters() {
    bool busy = false;
    while (auto letter = mail.local_take()) {
      busy = true;
      const auto from = static_cast<std::size_t>(letter->source);
      switch (letter->kind) {
        case request:
          ++credits[from];
          break;
        case ended:
          rank_ended[from] = true;
          break;
        case full:
          rank_full[from] = true;
          break;
        case report:
          rank_full[from] = false;
          reports[from] = report_of(letter->bytes);
          break;
        case command:
          take_command(value_of<Command>(letter->bytes));
          break;
        default:
          break;
      }
    }
    return busy;
  }

  void take_command(Command wanted) {
    // A launcher that forwards a signal sends it to all ranks, which tell the root one after the other.
    constexpr std::chrono::milliseconds one_signal(500);
    if (wanted == Command::answer && Clock::now() - last_answer > one_signal) answer_wanted = true;
    if (wanted == Command::stop) stop_wanted = true;
  }

  /// Reads a batch of live sources and hands it to the rank that has waited longest, or adds it here. `busy`: there is
  /// other work, so do not wait.
  bool read_live(bool busy) {
    if (live_ended || stopped || left == 0) return false;
    const std::chrono::milliseconds patience(busy || is_flying ? 0 : 2);
    if (!reading.next_live(batch, left, patience)) {
      live_ended = true;
      return true;
    }
    if (batch.empty()) return false;
    stream.progress.advance(batch.events(), reading);
    if (left != unlimited) left -= std::min<std::uint64_t>(left, batch.events());
    std::size_t target = 0;
    const std::size_t size = credits.size();
    for (std::size_t step = 1; step <= size; ++step) {
      const std::size_t candidate = (last_served + step) % size;
      if (credits[candidate] > credits[target]) target = candidate;
    }
    if (credits[target] == 0 || mail.local_unsent() >= most_unsent) {
      add(batch);
      return true;
    }
    last_served = target;
    --credits[target];
    std::vector<std::byte> bytes;
    pack(batch, bytes);
    mail.local_post(static_cast<int>(target), piece, std::move(bytes));
    return true;
  }

  [[nodiscard]] bool all_ended() const {
    return own_ended && live_ended && std::ranges::all_of(rank_ended, [](bool has) { return has; });
  }

  /// What the segment is that ends now; none where it goes on.
  [[nodiscard]] std::optional<Segment> due_segment() const {
    const auto now = Clock::now();
    const EpochOptions& options = run.options_;
    const bool epoch_is_due = options.every.time && now - epoch_start >= *options.every.time;
    const bool checkpoint_is_due =
        with_positions && options.checkpoint_every.time && now - checkpoint_start >= *options.checkpoint_every.time;
    const bool others_wait = is_silent() && std::ranges::any_of(rank_full, [](bool is) { return is; });
    const bool is_read = planned != unlimited && (left == 0 || (own_ended && live_ended) || others_wait);
    Segment due;
    due.ends_now = epoch_is_due || checkpoint_is_due || answer_wanted || stop_wanted || all_ended();
    if (!is_read && !due.ends_now) return std::nullopt;
    const bool is_counted = is_read && !due.ends_now;
    due.ends_epoch = epoch_is_due || (is_counted && epoch_left == 0);
    const bool with_each_epoch = !options.checkpoint_every.events && !options.checkpoint_every.time;
    due.wants_checkpoint = with_positions && (checkpoint_is_due || (is_counted && checkpoint_left == 0) ||
                                              (with_each_epoch && due.ends_epoch));
    due.wants_answer = due.ends_epoch || answer_wanted;
    return due;
  }

  /// The next segment is to end now, and the one before it has not ended on all ranks.
  void hurry_others() {
    if (has_hurried || segment.ends_now) return;
    if (const std::optional<Segment> due = due_segment(); !due || !due->ends_now) return;
    for (int r = 1; r < ranks; ++r)
      if (!reports[static_cast<std::size_t>(r)]) mail.local_post(r, hurry);
    has_hurried = true;
  }

  /// Ends the segment on all ranks.
  void end_on_all_ranks(const Segment& due) {
    segment = due;
    has_hurried = false;
    ended_at = Clock::now();
    ended_time = unix_time();
    if (stop_wanted) stopped = true;
    if (answer_wanted) last_answer = ended_at;
    answer_wanted = false;
    if (segment.ends_epoch) epoch_start = ended_at;
    if (segment.wants_checkpoint) checkpoint_start = ended_at;
    EndOfSegment letter{
        .now = segment.ends_now, .keeps_quota = segment.ends_now && !segment.ends_epoch, .stop = stopped};
    if (letter.keeps_quota) {
      for (int r = 1; r < ranks; ++r) mail.local_post(r, end, bytes_of(letter));
      end_segment();
      return;
    }
    if (segment.ends_epoch) epoch_left = run.options_.every.events.value_or(unlimited);
    if (checkpoint_left == 0) checkpoint_left = *run.options_.checkpoint_every.events;
    const std::uint64_t own = share_out([&](int r, std::uint64_t part) {
      letter.next_quota = part;
      mail.local_post(r, end, bytes_of(letter));
    });
    end_segment();
    left = own;
  }

  /// The sum of a segment is there.
  void complete_segment() {
    Boundary boundary;
    boundary.wants_answer = segment.wants_answer;
    boundary.wants_checkpoint = segment.wants_checkpoint;
    Epoch& epoch = boundary.epoch;
    std::uint64_t updates = 0;
    is_finished = boundary.is_at_end = true;
    std::vector<Positions> parts;
    for (std::size_t r = 0; r < reports.size(); ++r) {
      Report& of_rank = *reports[r];
      updates += of_rank.progress.updates;
      epoch.skipped += of_rank.progress.skipped;
      is_finished = is_finished && of_rank.has_ended;
      boundary.is_at_end = boundary.is_at_end && of_rank.is_at_end;
      for (std::size_t k = 0; k < of_rank.other_parts.size(); ++k) aside[k].merge_other_part(of_rank.other_parts[k], 1);
      if (first_skipped.empty()) first_skipped = of_rank.first_skipped;
      parts.push_back(std::move(of_rank.positions));
      epoch.ranks.push_back(std::move(of_rank.progress));
    }
    if (is_finished && updates == 0 && epoch.skipped > 0 && run.start_.all_updates == 0)
      throw InputError(fmt::format("all {} lines were bad; the first: {}", epoch.skipped, first_skipped));
    const std::uint64_t more = updates - covered;
    covered = updates;
    updates_in_epoch += more;
    // A stream that ends where an epoch did, which is known late of a pipe, has no empty epoch behind it.
    const bool is_last_again = boundary.is_at_end && !segment.ends_epoch && updates_in_epoch == 0 && epoch_number > 1 &&
                               !run.windows_.front().is_open();
    epoch.number = epoch_number - (is_last_again ? 1 : 0);
    epoch.is_final = is_finished;
    // Where the stream was stopped in the middle of an epoch, whoever goes on from the checkpoint goes on with that.
    epoch.is_whole = segment.ends_epoch || boundary.is_at_end;
    epoch.all_updates = run.start_.all_updates + covered;
    epoch.skipped += run.start_.skipped;
    if (is_finished) boundary.wants_answer = true;
    boundary.wants_checkpoint = with_positions && (boundary.wants_checkpoint || is_finished);
    for (std::size_t k = 0; k < aside.size(); ++k) {
      Window& window = run.windows_[k];
      if (!is_last_again) {
        aside[k].updates = more;
        State next = window.add(std::move(aside[k]), epoch.is_whole);
        aside[k] = std::move(next);
      }
      window.sum().ranks = static_cast<std::uint64_t>(ranks);
    }
    epoch.updates = run.windows_.front().sum().updates;
    epoch.window_epochs = run.windows_.front().epochs();
    epoch.time = ended_time;
    merge_seconds += seconds_since(ended_at);
    epoch.merge_seconds = merge_seconds;
    epoch.reduced_bytes = sum.local_bytes();
    if (boundary.wants_checkpoint) boundary.positions = merge(parts);
    if (epoch.is_whole && !is_last_again) {
      ++epoch_number;
      updates_in_epoch = 0;
    }
    boundary.updates_in_epoch = updates_in_epoch;
    run.at_boundary_(boundary);
  }

  BackgroundRun& run;
  Stream::Implementation& stream;
  Reading& reading;
  int rank;
  int ranks;
  mpi::Mail mail;
  mpi::BackgroundSum sum;
  bool with_positions;

  std::vector<State> aside;  ///< Of the segment that is being summed.
  bool is_flying = false;    ///< It is.
  bool own_ended = false;
  bool live_ended = true;  ///< Of the root.
  bool stopped = false;
  std::uint64_t left = unlimited;  ///< Of the quota.
  EventBatch batch, received;
  mpi::PollPause pause;
  Clock::time_point last_notices;
  Clock::time_point last_event;  ///< Of this rank's own sources.
  bool has_told_full = false;

  // On the root.
  static constexpr std::size_t most_unsent = 64;  ///< Letters.
  std::vector<int> credits;                       ///< Pieces that a rank would take now.
  std::size_t last_served = 0;
  std::vector<bool> rank_ended;
  std::vector<bool> rank_full;                 ///< The rank has read its quota of the segment that it is in.
  std::vector<std::optional<Report>> reports;  ///< On the segment that is being summed.
  std::uint64_t planned = unlimited;           ///< Events of the segment that is being read, of all ranks.
  std::uint64_t epoch_left = unlimited;        ///< Events that are not planned yet, to the end of the epoch
  std::uint64_t checkpoint_left = unlimited;   ///< and to the next checkpoint.
  std::uint64_t segments = 0;
  Segment segment;           ///< The one that is being summed.
  bool has_hurried = false;  ///< Ranks were told to end it.
  Clock::time_point epoch_start, checkpoint_start, ended_at, last_answer;
  double ended_time = 0;
  bool answer_wanted = false;
  bool stop_wanted = false;
  bool is_finished = false;
  std::uint64_t epoch_number = 1;
  std::uint64_t updates_in_epoch = 0;  ///< Of the epoch in progress, as far as it has been summed.
  std::uint64_t covered = 0;           ///< Events that have been summed.
  double merge_seconds = 0;
  std::string first_skipped;
};

BackgroundRun::BackgroundRun(const mpi::Communicator& communicator, Stream& stream,
                             const std::shared_ptr<NameSink>& names, std::vector<State>& states,
                             std::vector<Window>& windows, const EpochOptions& options, Progressed start,
                             std::function<void(const Boundary&)> at_boundary)
    : communicator_(communicator),
      stream_(stream),
      names_(names),
      states_(states),
      windows_(windows),
      options_(options),
      start_(start),
      at_boundary_(std::move(at_boundary)) {}

void BackgroundRun::run() {
  Stream::Implementation& stream = *stream_.implementation_;
  const auto start = Clock::now();
  Implementation own(*this, stream);
  own.live_ended = !own.is_root() || !stream.reading.has_live();
  try {
    together(communicator_, [&](mpi::FailureSignal&) { own.own_ended = stream.reading.own_at_end(); });
    const std::byte flag{own.own_ended ? std::uint8_t{1} : std::uint8_t{0}};
    for (const std::vector<std::byte>& of_rank : communicator_.gather(std::span(&flag, 1)))
      own.rank_ended.push_back(of_rank[0] != std::byte{0});
    if (own.is_root()) own.rank_ended[0] = true;  // it knows of itself
    together(communicator_, [&](mpi::FailureSignal& signal) { own.is_root() ? own.lead(signal) : own.work(signal); });
  } catch (...) {
    own.mail.finish();
    // The root begins every sum first. Its state may be on its way into the window where that has failed.
    own.sum.finish_after_failure(communicator_, own.is_root() ? std::vector<mpi::Summands>() : own.summands(own.aside));
    stream.end();
    throw;
  }
  own.mail.finish();
  stream.seconds += seconds_since(start);
  stream.progress.finish(stream_.statistics());
  stream.end();
}

}  // namespace weir::engine
