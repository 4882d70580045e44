#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "binary_layout.hpp"
#include "decoder.hpp"
#include "weir/error.hpp"
#include "weir/io/text.hpp"
#include "weir/share.hpp"

namespace weir::stream {

namespace {

constexpr std::string_view truncated = "the file ends here; it is truncated";

/// XXH3 of bytes that come in pieces.
class Checksum {
 public:
  Checksum() : state_(XXH3_createState(), &XXH3_freeState) {
    if (!state_) throw std::bad_alloc();
    XXH3_64bits_reset(state_.get());
  }
  template <class Value>
  void add(std::span<const Value> values) {
    XXH3_64bits_update(state_.get(), values.data(), values.size_bytes());
  }
  [[nodiscard]] std::uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

[[noreturn]] void fail(const Input& input, std::uint64_t offset, std::string_view what) {
  throw InputError(fmt::format("{}: {}", input.at_byte(offset), what));
}

template <class Value>
void read_exactly(Input& input, std::span<Value> out) {
  if (input.read_fully(std::as_writable_bytes(out)) < out.size_bytes()) fail(input, input.offset(), truncated);
}

template <class Value>
Value read_value(Input& input) {
  Value value;
  read_exactly(input, std::span(&value, 1));
  return value;
}

std::uint32_t read_file_header(Input& input) {
  const auto header = read_value<FileHeader>(input);
  if (std::string_view(header.magic.data(), header.magic.size()) != binary_magic) {
    fail(input, 0, "the first 8 bytes are damaged; expected the magic of a binary event file");
  }
  if (XXH3_64bits(&header, offsetof(FileHeader, checksum)) != header.checksum)
    fail(input, 0, "the header is damaged: wrong checksum");
  if (header.version > binary_version) {
    fail(input, offsetof(FileHeader, version),
         fmt::format("binary event format version {} is newer than version {}, the latest that this program reads",
                     header.version, binary_version));
  }
  if (header.version == 0 || header.flags != 0)
    fail(input, offsetof(FileHeader, version), "expected format version 1 or 2 without flags");
  return header.version;
}

/// Events that are read one after the other, and the blocks that hold them, found by the index.
struct Stretch {
  FileRange events;
  IndexEntry begin;  ///< The first block.
  IndexEntry end;    ///< The block behind the last one.
};

struct Index {
  IndexTail tail;
  std::vector<Stretch> stretches;
};

/// Finds the blocks of a part while it is shown all entries of the index in turn. The blocks of a slice of the whole file
/// are those that begin among its even share of the events.
class BlockFinder {
 public:
  BlockFinder(const Part& part, std::uint64_t events) : by_blocks_(!part.ranges) {
    if (by_blocks_) {
      stretches_.push_back({{share(events, part.slice, part.slice_count),
                             share(events, part.slice + std::uint64_t{1}, part.slice_count)},
                            {},
                            {}});
    } else {
      for (const FileRange& range : part.of_size(events)) stretches_.push_back({range, {}, {}});
    }
  }

  void see(const IndexEntry& entry) {
    for (; begun_ < stretches_.size(); ++begun_) {
      Stretch& stretch = stretches_[begun_];
      if (by_blocks_ ? entry.first < stretch.events.begin : entry.first <= stretch.events.begin) break;
      stretch.begin = by_blocks_ ? entry : last_;
    }
    for (; ended_ < stretches_.size() && entry.first >= stretches_[ended_].events.end; ++ended_)
      stretches_[ended_].end = entry;
    last_ = entry;
  }

  /// After all entries; `end` is where the blocks end.
  std::vector<Stretch> found(const IndexEntry& end) {
    for (; begun_ < stretches_.size(); ++begun_) stretches_[begun_].begin = by_blocks_ ? end : last_;
    for (; ended_ < stretches_.size(); ++ended_) stretches_[ended_].end = end;
    if (by_blocks_) {
      Stretch& stretch = stretches_.front();
      stretch.events = {stretch.begin.first, stretch.end.first};
      if (stretch.events.begin == stretch.events.end) stretches_.clear();
    }
    return std::move(stretches_);
  }

 private:
  bool by_blocks_;
  std::vector<Stretch> stretches_;
  std::size_t begun_ = 0;  ///< Stretches whose first block has been found.
  std::size_t ended_ = 0;
  IndexEntry last_{sizeof(FileHeader), 0};
};

/// Verifies the index at the end of an input of `size` bytes, in memory that is bounded but for the ranges of `part`, and
/// finds the blocks of that.
Index read_index(Input& input, std::uint64_t size, const Part& part) {
  constexpr std::uint64_t smallest = sizeof(FileHeader) + sizeof(IndexHead) + sizeof(IndexTail);
  if (size < smallest) fail(input, size, truncated);
  Index index{};
  IndexTail& tail = index.tail;
  input.seek(size - sizeof(IndexTail));
  tail = read_value<IndexTail>(input);
  if (tail.end_mark != end_mark)
    fail(input, size, "expected the end mark before this byte; the file is truncated or continued");
  const std::uint64_t latest = size - sizeof(IndexTail) - sizeof(IndexHead);
  if (tail.index_offset < sizeof(FileHeader) || tail.index_offset > latest ||
      (latest - tail.index_offset) % sizeof(IndexEntry) != 0 ||
      (latest - tail.index_offset) / sizeof(IndexEntry) != tail.blocks) {
    fail(input, size - sizeof(IndexTail), "the index is damaged: it does not fit the file");
  }
  input.seek(tail.index_offset);
  const auto head = read_value<IndexHead>(input);
  Checksum checksum;
  checksum.add(std::span(&head.tag, 1));
  checksum.add(std::span(&head.zero, 1));
  const IndexEntry end{tail.index_offset, tail.events};
  BlockFinder finder(part, tail.events);
  bool in_order = tail.blocks > 0 || tail.index_offset == sizeof(FileHeader);
  IndexEntry expected{sizeof(FileHeader), 0};
  std::vector<IndexEntry> entries(static_cast<std::size_t>(std::min<std::uint64_t>(tail.blocks, 4096)));
  for (std::uint64_t done = 0; done < tail.blocks;) {
    const auto piece =
        std::span(entries).first(static_cast<std::size_t>(std::min<std::uint64_t>(tail.blocks - done, entries.size())));
    read_exactly(input, piece);
    checksum.add(std::span<const IndexEntry>(piece));
    for (const IndexEntry& entry : piece) {
      in_order = in_order && entry.offset >= expected.offset && entry.first >= expected.first &&
                 entry.offset < end.offset && entry.first < end.first &&
                 (expected.first > 0 || (entry.offset == sizeof(FileHeader) && entry.first == 0));
      expected = {entry.offset + 1, entry.first + 1};
      finder.see(entry);
    }
    done += piece.size();
  }
  checksum.add(std::span<const IndexTail>(&tail, 1));
  if (checksum.value() != head.checksum) fail(input, tail.index_offset, "the index is damaged: wrong checksum");
  if (head.tag != index_tag || head.zero != 0 || !in_order)
    fail(input, tail.index_offset, "the index is damaged: it contradicts itself");
  index.stretches = finder.found(end);
  return index;
}

/// Elements of `column` from number `first` on, `base` added, into `out`.
template <class Element, class Value>
void widen(const std::byte* column, std::size_t first, Value base, std::span<Value> out) {
  column += first * sizeof(Element);
  for (std::size_t t = 0; t < out.size(); ++t) {
    Element element;
    std::memcpy(&element, column + t * sizeof(Element), sizeof(Element));
    out[t] = base + static_cast<Value>(element);
  }
}

void decode_indices(const std::byte* column, std::uint8_t width, std::size_t first, std::uint64_t base,
                    std::span<std::uint64_t> out) {
  switch (width) {
    case 1:
      return widen<std::uint8_t>(column, first, base, out);
    case 2:
      return widen<std::uint16_t>(column, first, base, out);
    case 4:
      return widen<std::uint32_t>(column, first, base, out);
    case 8:
      return widen<std::uint64_t>(column, first, base, out);
    default:
      std::fill(out.begin(), out.end(), base);
  }
}

void decode_deltas(const std::byte* column, std::uint8_t encoding, std::size_t first, std::span<double> out) {
  switch (encoding) {
    case delta_i8:
      return widen<std::int8_t>(column, first, 0.0, out);
    case delta_i16:
      return widen<std::int16_t>(column, first, 0.0, out);
    case delta_i32:
      return widen<std::int32_t>(column, first, 0.0, out);
    case delta_f64: {
      std::memcpy(out.data(), column + first * sizeof(double), out.size_bytes());
      return;
    }
    default: {
      double value;
      std::memcpy(&value, column, sizeof value);
      std::fill(out.begin(), out.end(), value);
    }
  }
}

// Without branches, so that compilers vectorise them.

/// True when all values are below `limit`, which is at most 2^63.
bool all_below(std::uint64_t limit, std::span<const std::uint64_t> values) noexcept {
  std::uint64_t bits = 0;
  for (const std::uint64_t value : values) bits |= value | (limit - 1 - value);
  return bits >> 63 == 0;
}

bool all_finite(std::span<const double> values) noexcept {
  constexpr std::uint64_t exponent = 0x7FF0000000000000;
  std::uint64_t bad = 0;
  for (const double value : values)
    bad |= static_cast<std::uint64_t>((std::bit_cast<std::uint64_t>(value) & exponent) == exponent);
  return bad == 0;
}

class BinaryDecoder final : public Decoder {
 public:
  BinaryDecoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits, Part part)
      : input_(std::move(input)), limits_(limits), batch_(options.batch), part_(std::move(part)) {
    version_ = read_file_header(*input_);
    if (const auto size = input_->size()) {
      Index index = read_index(*input_, *size, part_);
      if (index.tail.events == 0 && !part_.may_be_empty) throw NoEvents(input_->name());
      bytes_of_event_ = static_cast<double>(*size) / static_cast<double>(std::max<std::uint64_t>(index.tail.events, 1));
      stretches_ = std::move(index.stretches);
      std::vector<FileRange> ranges;
      for (const Stretch& stretch : stretches_) ranges.push_back(stretch.events);
      progress_ = Progress(std::move(ranges));
      begin_stretch();
    } else {
      progress_ = Progress(part_.uncut());
    }
  }

  bool next(EventBatch& batch, std::size_t most) override {
    while (position_ == stop_) {
      if (!(input_->size() ? advance() : advance_uncut())) {
        batch.resize(0);
        return false;
      }
    }
    const std::size_t count = std::min({most, batch_, stop_ - position_});
    batch.resize(count);
    decode(batch);
    check(batch);
    position_ += count;
    progress_.pass(head_.first + position_);
    return true;
  }

  [[nodiscard]] std::vector<FileRange> unread() const override { return progress_.rest(); }
  [[nodiscard]] std::optional<BytesRead> bytes_read() const noexcept override {
    if (!input_->size()) return input_->bytes_read();
    const BytesRead events = progress_.units();
    const auto bytes = [&](std::uint64_t count) {
      return static_cast<std::uint64_t>(static_cast<double>(count) * bytes_of_event_);
    };
    return BytesRead{bytes(events.read), bytes(events.all)};
  }

 private:
  /// Goes on to the next block, or range, of an input that can seek; false at the end.
  bool advance() {
    if (progress_.is_done()) return false;
    const IndexEntry& end = stretches_[stretch_].end;
    if (input_->offset() == end.offset) {
      if (expected_ != end.first)
        fail(*input_, end.offset, "the blocks hold another number of events than the index says");
      progress_.next_range();
      ++stretch_;
      begin_stretch();
    } else {
      (void)read_block();
      choose_events();
    }
    return true;
  }

  /// The same of an input that cannot seek.
  bool advance_uncut() {
    if (progress_.is_done()) return false;
    if (progress_.current().end <= expected_) {
      progress_.next_range();
    } else if (!read_block()) {
      if (progress_.current().begin > expected_)
        throw InputError(part_.too_short_complaint(progress_.current().begin, expected_));
      progress_.finish();
    }
    choose_events();
    return true;
  }

  void begin_stretch() {
    if (progress_.is_done()) return;
    input_->seek(stretches_[stretch_].begin.offset);
    expected_ = stretches_[stretch_].begin.first;
  }

  /// Finds which events of the current block are in the current range.
  void choose_events() {
    position_ = stop_ = head_.count;
    if (progress_.is_done()) return;
    const auto in_block = [&](std::uint64_t event) {
      return static_cast<std::size_t>(std::clamp(event, head_.first, head_.first + head_.count) - head_.first);
    };
    position_ = in_block(progress_.current().begin);
    stop_ = in_block(progress_.current().end);
  }

  /// Reads and verifies the next block; false when a pipe has no more of them.
  bool read_block() {
    const std::uint64_t offset = input_->offset();
    const IndexEntry* end = stretches_.empty() ? nullptr : &stretches_[stretch_].end;
    const auto start = read_value<std::array<std::uint64_t, 2>>(*input_);
    if (end == nullptr && static_cast<std::uint32_t>(start[1]) == index_tag) {
      finish_pipe(offset, start);
      return false;
    }
    head_ = std::bit_cast<BlockHead>(std::array{start, read_value<std::array<std::uint64_t, 2>>(*input_)});
    position_ = stop_ = 0;
    const auto layout = layout_of(head_);
    if (head_.tag != block_tag || !layout || (head_.operands == named_operands && version_ < 2))
      fail(*input_, offset, "the head of the block is damaged");
    layout_ = *layout;
    if (end != nullptr && layout_.payload > end->offset - std::min(end->offset, input_->offset())) {
      fail(*input_, offset, "the block is damaged: it is longer than the index says");
    }
    bytes_.resize(sizeof head_ + layout_.payload);
    std::memcpy(bytes_.data(), &head_, sizeof head_);
    read_exactly(*input_, std::span(bytes_).subspan(sizeof head_));
    if (XXH3_64bits(bytes_.data() + 8, bytes_.size() - 8) != head_.checksum)
      fail(*input_, offset, "the block is damaged: wrong checksum");
    if (head_.first != expected_) {
      fail(*input_, offset, fmt::format("the block begins with event {}, expected event {}", head_.first, expected_));
    }
    if (end != nullptr && head_.count > end->first - expected_)
      fail(*input_, offset, "the blocks hold another number of events than the index says");
    block_offset_ = offset;
    if (head_.operands == named_operands) read_names();
    const IndexEntry entry{offset, head_.first};
    entries_.add(std::span(&entry, 1));
    ++blocks_;
    expected_ += head_.count;
    return true;
  }

  /// Finds the operands that the table of names in the current block means.
  void read_names() {
    const std::byte* table = bytes_.data() + sizeof head_;
    code_count_ = coded_operands;
    for (std::size_t at = layout_.names; at < layout_.payload; at += sizeof(OperandName)) {
      OperandName entry;
      std::memcpy(&entry, table + at, sizeof entry);
      const std::string_view padded_name(entry.name.data(), entry.name.size());
      const std::string_view name = padded_name.substr(0, padded_name.find('\0'));
      const auto operand = find_operand(name);
      if (!operand) {
        fail(*input_, block_offset_,
             fmt::format("the block has events of operand {}, which is not known here", quoted_excerpt(name)));
      }
      const int indices = has_column(*operand) ? 2 : 1;
      if (entry.indices != indices) {
        fail(*input_, block_offset_,
             fmt::format("operand {} has {} indices in the block; expected {}", name, entry.indices, indices));
      }
      by_code_[code_count_++] = *operand;
    }
  }

  /// Checks the index at the end of a pipe against the blocks that came before it.
  void finish_pipe(std::uint64_t offset, const std::array<std::uint64_t, 2>& start) {
    Checksum whole;
    Checksum entries;
    whole.add(std::span(&start[1], 1));
    std::vector<IndexEntry> piece(static_cast<std::size_t>(std::min<std::uint64_t>(blocks_, 4096)));
    for (std::uint64_t left = blocks_; left > 0; left -= piece.size()) {
      piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left, piece.size())));
      read_exactly(*input_, std::span(piece));
      whole.add(std::span<const IndexEntry>(piece));
      entries.add(std::span<const IndexEntry>(piece));
    }
    const auto tail = read_value<IndexTail>(*input_);
    whole.add(std::span(&tail, 1));
    if (whole.value() != start[0]) fail(*input_, offset, "the index is damaged: wrong checksum");
    if (entries.value() != entries_.value() || tail.blocks != blocks_ || tail.events != expected_ ||
        tail.index_offset != offset || tail.end_mark != end_mark || start[1] != index_tag) {
      fail(*input_, offset, "the index contradicts the blocks");
    }
    std::byte more;
    if (input_->read(std::span(&more, 1)) > 0)
      fail(*input_, input_->offset() - 1, "expected the end of the file after the end mark");
    if (expected_ == 0 && !part_.may_be_empty) throw NoEvents(input_->name());
  }

  void decode(EventBatch& batch) const {
    const std::byte* payload = bytes_.data() + sizeof head_;
    std::uint64_t i_base;
    std::uint64_t j_base;
    std::memcpy(&i_base, payload, 8);
    std::memcpy(&j_base, payload + 8, 8);
    decode_indices(payload + layout_.i, head_.i_width, position_, i_base, batch.i);
    decode_indices(payload + layout_.j, head_.j_width, position_, j_base, batch.j);
    decode_deltas(payload + layout_.delta, head_.delta, position_, batch.delta);
    if (head_.operands >= named_operands) {
      const std::size_t codes = head_.operands == named_operands ? code_count_ : coded_operands;
      const std::byte* column = payload + layout_.operands + position_;
      for (std::size_t t = 0; t < batch.size(); ++t) {
        const auto code = std::to_integer<std::uint8_t>(column[t]);
        if (code >= codes) fail_at(t, fmt::format("operand code {} does not exist; expected 0 to {}", code, codes - 1));
        batch.operands[t] = by_code_[code];
      }
    } else {
      std::fill(batch.operands.begin(), batch.operands.end(), static_cast<Operand>(head_.operands));
    }
  }

  void check(const EventBatch& batch) const {
    const auto operand = static_cast<Operand>(head_.operands);
    if (head_.operands < coded_operands && all_finite(batch.delta) && all_below(limits_.rows(operand), batch.i) &&
        all_below(limits_.columns(operand), batch.j)) {
      return;
    }
    for (std::size_t t = 0; t < batch.size(); ++t) {
      const Event event = batch[t];
      if (!limits_.takes(event.operand)) fail_at(t, limits_.complaint(event.operand));
      if (event.i >= index_limit || event.j >= (has_column(event.operand) ? index_limit : 1)) {
        fail_at(t, fmt::format("indices ({}, {}) cannot belong to {}", event.i, event.j, to_string(event.operand)));
      }
      if (!limits_.contain(event.operand, event.i, event.j))
        fail_at(t, limits_.complaint(event.operand, event.i, event.j));
      if (!std::isfinite(event.delta)) fail_at(t, fmt::format("delta = {} is not finite", event.delta));
    }
  }

  /// `t` counts from the current position.
  [[noreturn]] void fail_at(std::size_t t, const std::string& what) const {
    fail(*input_, block_offset_,
         fmt::format("event {} (of the block that begins here): {}", head_.first + position_ + t, what));
  }

  std::unique_ptr<Input> input_;
  Limits limits_;
  std::size_t batch_;
  std::uint32_t version_ = 1;
  /// Operands by their code; those from coded_operands on up to code_count_ are the current block's.
  std::array<Operand, most_operands> by_code_ = {Operand::y,  Operand::x,  Operand::A,
                                                 Operand::A1, Operand::A2, Operand::X};
  std::size_t code_count_ = coded_operands;
  Part part_;
  std::vector<Stretch> stretches_;  ///< Of an input that can seek.
  std::size_t stretch_ = 0;
  Progress progress_;
  double bytes_of_event_ = 0;   ///< On average, where the input can seek.
  std::uint64_t expected_ = 0;  ///< Number of the first event of the next block.
  BlockHead head_{};
  BlockLayout layout_;
  std::vector<std::byte> bytes_;  ///< The current block.
  std::uint64_t block_offset_ = 0;
  std::size_t position_ = 0;  ///< Of the next event in the current block.
  std::size_t stop_ = 0;      ///< Of the event after the last one that is wanted of this block.
  Checksum entries_;
  std::uint64_t blocks_ = 0;
};

}  // namespace

std::unique_ptr<Decoder> binary_decoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits,
                                        Part part) {
  return std::make_unique<BinaryDecoder>(std::move(input), options, limits, std::move(part));
}

}  // namespace weir::stream

namespace weir {

BinarySummary summarise_binary(const std::string& path) {
  const auto input = open_input(path);
  const auto size = input->size();
  if (!size) throw InputError(fmt::format("{}: expected a regular file", path));
  const std::uint32_t version = stream::read_file_header(*input);
  const stream::IndexTail tail = stream::read_index(*input, *size, {.name = path}).tail;
  return {version, tail.blocks, tail.events, *size};
}

}  // namespace weir
