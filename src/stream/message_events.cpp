#include "message_events.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "io/compression.hpp"
#include "weir/error.hpp"
#include "weir/stream/binary.hpp"

namespace weir::stream {

namespace {

// Positions inside of messages count events in an order that depends on these two: lines and values of rows that are
// decoded at once. A change makes positions that were stored mean something else.
constexpr std::size_t lines_of_chunk = 8192;
constexpr std::size_t row_values_of_chunk = std::size_t{1} << 18;
/// Events of a binary message that are decoded at once: what its smallest blocks hold. A decoder clears as many first.
constexpr std::size_t records_of_chunk = 1024;

std::string_view text_of(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool is_binary(std::string_view payload) noexcept { return resembles(payload.substr(0, 16), binary_magic, 5); }

/// `what`, which begins with `name`, with ":7:" behind it as ", line 7:".
std::string with_line(const std::string& name, std::string what) {
  const std::size_t digit = name.size() + 1;
  if (what.size() <= digit || !what.starts_with(name) || what[digit] < '0' || what[digit] > '9') return what;
  return name + ", line " + what.substr(digit);
}

/// Appends entries [first, first + count) of `from`.
void append_entries(EventBatch& to, const EventBatch& from, std::size_t first, std::size_t count) {
  const auto append = [&](auto& column, const auto& other) {
    const auto begin = other.begin() + static_cast<std::ptrdiff_t>(first);
    column.insert(column.end(), begin, begin + static_cast<std::ptrdiff_t>(count));
  };
  append(to.operands, from.operands);
  append(to.i, from.i);
  append(to.j, from.j);
  append(to.delta, from.delta);
}

}  // namespace

MessageEvents::MessageEvents(const ReadOptions& options) : options_(options), limits_(options) {
  // A message is read whole by whoever got it.
  options_.slice = 0;
  options_.slice_count = 1;
  options_.row_values = row_values_of_chunk;
  // What the decoders of messages do not look at is not copied for each of them.
  options_.sources.clear();
  options_.shapes.clear();
  options_.advice.clear();
  options_.shape_note.clear();
  options_.warn = {};
  options_.stop = {};
  // A message has no header, and no line of it begins a table anew.
  if (options_.columns.any()) {
    if (options_.columns.header == HeaderLine::yes)
      throw UsageError("--header yes: messages have no header: expected numbers for columns, or JSON");
    options_.columns.header = HeaderLine::no;
  }
}

std::unique_ptr<Decoder> MessageEvents::decoder_of(std::span<const std::byte> payload, bool binary,
                                                   OnError on_error) const {
  ReadOptions options = options_;
  options.on_error = on_error;
  auto input = memory_input(payload, name_);
  if (binary) {
    options.batch = records_of_chunk;
    return binary_decoder(std::move(input), options, limits_, {});
  }
  options.batch = std::clamp<std::size_t>(most_events(payload), 1, lines_of_chunk);
  return text_decoder(std::move(input), options, limits_, {});
}

void MessageEvents::open(std::span<const std::byte> payload, std::string name, std::uint64_t done) {
  close();
  name_ = std::move(name);
  taken_ = 0;
  if (payload.empty()) return;
  const std::string_view text = text_of(payload);
  try {
    if (const Compression* compression = compression_of(text); compression != nullptr && text.size() >= 3)
      throw InputError(fmt::format("{}: is compressed by {}; expected lines of text events or a binary event stream",
                                   name_, compression->name));
    const bool binary = is_binary(text);
    // Damage must not show when half of a message has been added, so that what is left out is left out whole.
    if (binary && options_.on_error == OnError::skip) {
      const auto trial = decoder_of(payload, true, OnError::stop);
      while (trial->next(chunk_, std::numeric_limits<std::size_t>::max())) {
      }
    }
    decoder_ = decoder_of(payload, binary, options_.on_error);
    while (taken_ < done) {
      advance();
      if (!is_open()) {
        throw InputError(
            fmt::format("{}: has {} events, but the position is behind {} of them; expected the message that "
                        "it was taken from",
                        name_, taken_, done));
      }
      const std::size_t entries = static_cast<std::size_t>(std::min<std::uint64_t>(done - taken_, chunk_.size()));
      const std::size_t rows =
          static_cast<std::size_t>(std::min<std::uint64_t>(done - taken_ - entries, chunk_.rows.size()));
      entries_taken_ = entries;
      rows_taken_ = rows;
      taken_ += entries + rows;
    }
  } catch (const NoEvents&) {
    close();
  } catch (const InputError& error) {
    close();
    const std::string what = with_line(name_, error.what());
    if (options_.on_error == OnError::stop || done > 0) throw InputError(what);
    skip(what);
  }
}

void MessageEvents::advance() {
  const std::uint64_t skipped_before = decoder_->skipped();
  chunk_.rows.clear();
  entries_taken_ = rows_taken_ = 0;
  bool more = false;
  try {
    more = decoder_->next(chunk_, std::numeric_limits<std::size_t>::max());
  } catch (const NoEvents&) {
    chunk_.clear();
  } catch (const InputError& error) {
    const std::string what = with_line(name_, error.what());
    close();
    throw InputError(what);
  }
  if (const std::uint64_t bad = decoder_->skipped() - skipped_before; bad > 0) {
    if (const SkippedLine* line = decoder_->first_skipped(); first_skipped_.empty() && line != nullptr)
      first_skipped_ = fmt::format("{}, line {}: {}", name_, line->line, line->reason);
    skipped_ += bad;
  }
  if (!more) close();
}

void MessageEvents::close() {
  decoder_.reset();
  chunk_.clear();
  entries_taken_ = rows_taken_ = 0;
}

std::size_t MessageEvents::append_to(EventBatch& batch, std::size_t most) {
  const std::size_t before = batch.events();
  while (is_open() && batch.events() < most && batch.rows.values.size() < options_.row_values) {
    if (taken_of_chunk() == chunk_.events()) {
      advance();
      continue;
    }
    // A chunk that nearly fills the batch becomes the batch; small ones would leave it their small columns.
    if (batch.empty() && taken_of_chunk() == 0 && chunk_.events() <= most && chunk_.events() > most / 2) {
      taken_ += chunk_.events();
      std::swap(batch, chunk_);
      chunk_.clear();
      continue;
    }
    const std::size_t entries = std::min(most - batch.events(), chunk_.size() - entries_taken_);
    append_entries(batch, chunk_, entries_taken_, entries);
    entries_taken_ += entries;
    const std::size_t rows = std::min(most - batch.events(), chunk_.rows.size() - rows_taken_);
    for (std::size_t t = rows_taken_; t < rows_taken_ + rows; ++t)
      batch.rows.push_back(chunk_.rows.operands[t], chunk_.rows.i[t], chunk_.rows.weights[t], chunk_.rows.row(t));
    rows_taken_ += rows;
    taken_ += entries + rows;
  }
  return batch.events() - before;
}

std::size_t MessageEvents::most_events(std::span<const std::byte> text) noexcept {
  const auto ends = static_cast<std::size_t>(std::count(text.begin(), text.end(), std::byte{'\n'}));
  return ends + (text.empty() || text.back() == std::byte{'\n'} ? 0 : 1);
}

bool MessageEvents::is_plain_text(std::span<const std::byte> payload) noexcept {
  const std::string_view text = text_of(payload);
  return !text.empty() && !is_binary(text) && !is_gzip(text.substr(0, 3)) && text.find('*') == std::string_view::npos;
}

bool MessageEvents::append_lines(std::span<const std::byte> lines, std::size_t most, EventBatch& batch) {
  ReadOptions& options = options_;
  const std::size_t events_a_line = options.edges == Edges::both ? 2 : 1;
  const auto batch_before = std::exchange(options.batch, std::max<std::size_t>(events_a_line * most, 1));
  const auto on_error_before = std::exchange(options.on_error, OnError::stop);
  bool good = true;
  try {
    const auto decoder = text_decoder(memory_input(lines, "messages"), options, limits_, {});
    chunk_.rows.clear();
    good = decoder->next(chunk_, std::numeric_limits<std::size_t>::max());
  } catch (const NoEvents&) {
    chunk_.clear();
  } catch (const InputError&) {
    good = false;
  }
  options.batch = batch_before;
  options.on_error = on_error_before;
  if (!good) {
    chunk_.clear();
  } else if (batch.empty()) {
    std::swap(batch, chunk_);
  } else {
    append_entries(batch, chunk_, 0, chunk_.size());
  }
  chunk_.clear();
  return good;
}

void MessageEvents::skip(std::string reason) {
  if (skipped_++ == 0) first_skipped_ = std::move(reason);
}

}  // namespace weir::stream
