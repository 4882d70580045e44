#include "engine/reading.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

#include "engine/agreed_sources.hpp"
#include "weir/engine/together.hpp"
#include "weir/error.hpp"
#include "weir/state/problem.hpp"

namespace weir::engine {
namespace {

/// The ranges of `seen`, files of this run, that `start` has not read. A file that it does not know is read whole. One that
/// is given several times is read as often, and has as many places in `start`. Throws InputError where a file is another
/// one now, or is missing.
std::vector<std::vector<FileRange>> ranges_of(const std::vector<SourceInfo>& seen,
                                              const std::vector<Positions::File>& start) {
  std::map<std::string_view, std::deque<const Positions::File*>> known;
  for (const Positions::File& before : start) known[before.seen.path].push_back(&before);
  std::vector<std::vector<FileRange>> ranges;
  for (const SourceInfo& file : seen) {
    const auto places = known.find(file.path);
    if (places == known.end() || places->second.empty()) {
      ranges.push_back({FileRange{}});
      continue;
    }
    const Positions::File* const before = places->second.front();
    places->second.pop_front();
    if (before->seen.size != file.size || before->seen.fingerprint != file.fingerprint)
      throw InputError(fmt::format("{}: not the file that was read before the checkpoint ({} bytes now, {} then)",
                                   file.path, file.size, before->seen.size));
    ranges.push_back(before->unread);
  }
  for (const auto& [path, places] : known)
    if (!places.empty())
      throw InputError(
          fmt::format("{}: was read before the checkpoint and is not given now; expected the same streams", path));
  return ranges;
}

/// Positions::reading.
std::string reading_of(const StreamSource& source) {
  std::string text;
  const auto add = [&](std::string_view option, std::string_view value) {
    if (!value.empty()) text += fmt::format("{}{} {}", text.empty() ? "" : " ", option, value);
  };
  constexpr std::array<std::string_view, 5> edges{"", "", "out", "in",
                                                  "both"};  // those of Edges; none is as good as unsaid
  add("--edges", edges[static_cast<std::size_t>(source.edges)]);
  const Columns& columns = source.columns;
  if (!columns.any()) return text;
  add("--key", fmt::format("{}", fmt::join(columns.key, ",")));
  add("--delta", columns.delta);
  add("--sign", columns.sign);
  if (columns.separator) add("--separator", std::string_view(&*columns.separator, 1));
  if (columns.header != HeaderLine::unsaid) add("--header", columns.header == HeaderLine::yes ? "yes" : "no");
  return text;
}

}  // namespace

Reading::Reading(const mpi::Communicator& communicator, const StreamSource& source, std::vector<OperandShape> shapes,
                 Operand default_operand, Delivery delivery)
    : is_root_(communicator.local_is_root()), resolution_(source.resolution) {
  if (std::ranges::count(source.paths, "-") > 1) throw UsageError("standard input (-) can be read only once");
  const AgreedSources seen = look_at_all(communicator, source.paths, source.follow);
  const AgreedSources seen_arrays = look_at_all(communicator, source.arrays.paths);
  const bool to_all = delivery == Delivery::every_rank;
  ReadOptions options;
  options.on_error = source.on_error;
  options.edges = source.edges;
  options.columns = source.columns;
  options.key_seed = source.key_seed;
  options.names = source.names;
  options.warn = source.local_warn;
  options.advice = source.advice;
  options.shape_note = source.shape_note;
  options.shapes = std::move(shapes);
  options.default_operand = default_operand;
  if (!to_all) {
    options.slice = static_cast<std::uint32_t>(communicator.local_rank());
    options.slice_count = static_cast<std::uint32_t>(communicator.local_size());
  }
  has_files_ = !seen.files.empty() || !source.arrays.empty();
  // What every rank is to be given comes from the root.
  std::vector<std::string> at_root = seen.at_root;
  if (to_all) at_root.insert(at_root.end(), seen.in_parts.begin(), seen.in_parts.end());
  has_live_ = !at_root.empty();
  own_are_live_ = !to_all && !seen.in_parts.empty();
  const Positions start = source.start.value_or(Positions());
  const auto open = [&](const std::string& name, ReadOptions of_source) {
    of_source.row_values = std::size_t{1} << 16;  // many batches may be on their way
    const auto position = start.live.find(name);
    return Live{name, open_live_source(name, of_source, source.follow,
                                       position == start.live.end() ? std::string() : position->second)};
  };
  how_ = reading_of(source);
  together(communicator, [&](mpi::FailureSignal&) {
    if (start.reading && *start.reading != how_)
      throw InputError(
          fmt::format("the checkpoint is of lines that were read with {} and now there is {}: expected the same",
                      start.reading->empty() ? "no --key and no --edges" : *start.reading,
                      how_.empty() ? "no --key and no --edges" : how_));
    for (const auto& [name, position] : start.live)
      if (std::ranges::find(source.paths, name) == source.paths.end())
        throw InputError(
            fmt::format("{}: was read before the checkpoint and is not given now; expected the same streams", name));
    if (is_root_) {
      ReadOptions whole = options;
      whole.slice = 0;
      whole.slice_count = 1;
      for (const std::string& name : at_root) root_live_.push_back(open(name, whole));
    }
    if (own_are_live_)
      for (const std::string& name : seen.in_parts) own_live_.push_back(open(name, options));
    if (!source.arrays.empty()) {
      if (!seen_arrays.at_root.empty() || !seen_arrays.in_parts.empty())
        throw InputError(fmt::format("{}: expected a file, as arrays are read side by side",
                                     (seen_arrays.at_root.empty() ? seen_arrays.in_parts : seen_arrays.at_root)[0]));
      ReadOptions of_arrays = options;
      of_arrays.sources = seen_arrays_ = seen_arrays.files;
      // All files have the same ranges.
      if (!start.arrays.empty()) of_arrays.ranges = {ranges_of(seen_arrays_, start.arrays).front()};
      arrays_.emplace(source.arrays, options.default_operand, options.shapes.front().rows, of_arrays);
    }
    if (seen.files.empty()) {
      if (!start.files.empty()) static_cast<void>(ranges_of({}, start.files));
      return;
    }
    std::vector<std::string> paths;
    for (const SourceInfo& file : seen.files) paths.push_back(file.path);
    ReadOptions of_files = options;
    of_files.sources = seen_files_ = seen.files;
    if (source.start) of_files.ranges = ranges_of(seen_files_, start.files);
    files_.emplace(std::move(paths), of_files);
  });
}

void Reading::note_skipped(std::uint64_t count, std::string first) {
  skipped_ += count;
  if (first_skipped_.empty()) first_skipped_ = std::move(first);
}

void Reading::end(Live& live) {
  note_skipped(live.source->skipped(), live.source->first_skipped());
  live.last_position = live.source->position();
  live.source.reset();
}

bool Reading::read_from(std::vector<Live>& sources, std::size_t& turn, EventBatch& batch, std::uint64_t most,
                        std::chrono::milliseconds patience) {
  batch.clear();
  const auto open =
      static_cast<std::size_t>(std::ranges::count_if(sources, [](const Live& live) { return live.source != nullptr; }));
  bool any_left = false;
  // Each source in turn. They share the patience, so that a silent one does not hold up the others for long.
  const auto share = patience / static_cast<int>(std::max<std::size_t>(open, 1));
  for (std::size_t step = 0; step < sources.size(); ++step) {
    Live& live = sources[(turn + step) % sources.size()];
    if (!live.source) continue;
    const auto limit = static_cast<std::size_t>(std::min<std::uint64_t>(most, std::numeric_limits<std::size_t>::max()));
    if (!live.source->next(batch, limit, share)) {
      end(live);
      continue;
    }
    any_left = true;
    if (batch.empty()) continue;
    turn = (turn + step + 1) % sources.size();
    return true;
  }
  return any_left;
}

bool Reading::rounded(bool has_more, EventBatch& batch) const {
  round_to(resolution_, batch.delta);
  round_to(resolution_, batch.rows.values);
  return has_more;
}

bool Reading::read_own(EventBatch& batch, std::uint64_t most, std::chrono::milliseconds patience) {
  const auto limit = static_cast<std::size_t>(std::min<std::uint64_t>(most, std::numeric_limits<std::size_t>::max()));
  if (arrays_) {
    if (arrays_->next(batch, limit)) return rounded(true, batch);
    note_skipped(arrays_->skipped(), arrays_->first_skipped());
    rows_passed_ = arrays_->passed();
    bytes_read_ += arrays_->bytes_read();
    arrays_.reset();
  }
  if (files_) {
    if (files_->next(batch, limit)) return rounded(true, batch);
    note_skipped(files_->skipped(), files_->first_skipped());
    bytes_read_ += files_->bytes_read().value_or(BytesRead());
    files_.reset();
  }
  return rounded(read_from(own_live_, own_turn_, batch, most, patience), batch);
}

bool Reading::next_own(EventBatch& batch, std::uint64_t most, std::chrono::milliseconds patience) {
  if (!before_ahead_) return read_own(batch, most, patience);
  before_ahead_.reset();
  std::swap(batch, ahead_);
  ahead_.clear();
  return true;
}

bool Reading::own_at_end() {
  // What is left of rows side by side depends on how far other ranks are, so that it is not known beforehand.
  if (before_ahead_ || arrays_) return false;
  Before before{positions_now(rows_passed_), skipped_now(), first_skipped_now()};
  // One event, so that what was read ahead is not more than the next call may take.
  if (!read_own(ahead_, 1, std::chrono::milliseconds(0))) return true;
  if (!ahead_.empty()) before_ahead_ = std::move(before);
  return false;
}

bool Reading::next_live(EventBatch& batch, std::uint64_t most, std::chrono::milliseconds patience) {
  return rounded(read_from(root_live_, root_turn_, batch, most, patience), batch);
}

std::optional<BytesRead> Reading::bytes_read() const {
  if (has_live_ || own_are_live_) return std::nullopt;
  BytesRead sum = bytes_read_;
  try {
    if (arrays_) sum += arrays_->bytes_read();
    if (files_) {
      const auto files = files_->bytes_read();
      if (!files) return std::nullopt;
      sum += *files;
    }
  } catch (const Error&) {
    // It is reported when its turn comes.
    return std::nullopt;
  }
  return sum;
}

std::uint64_t Reading::rows_passed() const { return arrays_ ? arrays_->passed() : rows_passed_; }

Positions Reading::positions(std::uint64_t rows_passed_by_all) const {
  return before_ahead_ ? before_ahead_->positions : positions_now(rows_passed_by_all);
}

Positions Reading::positions_now(std::uint64_t rows_passed_by_all) const {
  Positions positions;
  positions.reading = how_;
  const auto add = [](const std::vector<SourceInfo>& seen, const std::vector<std::vector<FileRange>>& unread,
                      std::vector<Positions::File>& files) {
    for (std::size_t k = 0; k < seen.size(); ++k)
      files.push_back({seen[k], k < unread.size() ? unread[k] : std::vector<FileRange>()});
  };
  const std::vector<FileRange> rows = arrays_ ? arrays_->unread(rows_passed_by_all) : std::vector<FileRange>();
  for (const SourceInfo& file : seen_arrays_) positions.arrays.push_back({file, rows});
  add(seen_files_, files_ ? files_->unread() : std::vector<std::vector<FileRange>>(), positions.files);
  for (const std::vector<Live>* sources : {&own_live_, &root_live_})
    for (const Live& live : *sources)
      positions.live[live.name] = live.source ? live.source->position() : live.last_position;
  return positions;
}

std::uint64_t Reading::skipped() const { return before_ahead_ ? before_ahead_->skipped : skipped_now(); }

std::uint64_t Reading::skipped_now() const {
  std::uint64_t sum = skipped_;
  if (arrays_) sum += arrays_->skipped();
  if (files_) sum += files_->skipped();
  for (const std::vector<Live>* sources : {&own_live_, &root_live_})
    for (const Live& live : *sources)
      if (live.source) sum += live.source->skipped();
  return sum;
}

std::string Reading::first_skipped() const {
  return before_ahead_ ? before_ahead_->first_skipped : first_skipped_now();
}

std::string Reading::first_skipped_now() const {
  if (!first_skipped_.empty()) return first_skipped_;
  if (arrays_ && arrays_->skipped() > 0) return arrays_->first_skipped();
  if (files_ && files_->skipped() > 0) return files_->first_skipped();
  for (const std::vector<Live>* sources : {&own_live_, &root_live_})
    for (const Live& live : *sources)
      if (live.source && live.source->skipped() > 0) return live.source->first_skipped();
  return {};
}

std::vector<std::string> Reading::take_notices() {
  std::vector<std::string> notices;
  for (std::vector<Live>* sources : {&own_live_, &root_live_})
    for (Live& live : *sources)
      if (live.source) {
        // A listener that was given port 0 has found a free one.
        if (const std::string name = live.source->name();
            !std::exchange(live.is_known, true) && live.name.starts_with("tcp://") && name != live.name)
          notices.push_back(fmt::format("{}: it is {}", live.name, name));
        for (std::string& notice : live.source->take_notices()) notices.push_back(std::move(notice));
        if (std::string trouble = live.source->trouble(); trouble != live.last_trouble) {
          if (!trouble.empty()) notices.push_back(fmt::format("{}: {}", live.name, trouble));
          live.last_trouble = std::move(trouble);
        }
      }
  return notices;
}

std::vector<SourceLag> Reading::lags() const {
  std::vector<SourceLag> lags;
  for (const std::vector<Live>* sources : {&own_live_, &root_live_})
    for (const Live& live : *sources)
      if (const auto lag = live.source ? live.source->lag() : std::nullopt)
        lags.push_back({live.name, lag->amount, std::string(lag->unit)});
  return lags;
}

void Reading::close() {
  std::string first = first_skipped();
  skipped_ = skipped();
  first_skipped_ = std::move(first);
  arrays_.reset();
  files_.reset();
  own_live_.clear();
  root_live_.clear();
  ahead_.clear();
  before_ahead_.reset();
}

}  // namespace weir::engine
