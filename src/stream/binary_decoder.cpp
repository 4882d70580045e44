#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <vector>

#include "binary_layout.hpp"
#include "decoder.hpp"
#include "weir/error.hpp"
#include "weir/io/text.hpp"

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

/// The blocks of one slice, found by the index.
struct BlockRange {
  IndexEntry begin;
  IndexEntry end;
};

struct Index {
  IndexTail tail;
  BlockRange range;
};

/// Verifies the index at the end of an input of `size` bytes, in bounded memory, and finds the blocks of a slice: those
/// that begin among its even share of the events.
Index read_index(Input& input, std::uint64_t size, std::uint32_t slice, std::uint32_t slice_count) {
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
  const std::uint64_t low = share(tail.events, slice, slice_count);
  const std::uint64_t high = share(tail.events, slice + std::uint64_t{1}, slice_count);
  const IndexEntry end{tail.index_offset, tail.events};
  index.range = {end, end};
  bool begin_found = false;
  bool end_found = false;
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
      if (!begin_found && entry.first >= low) {
        index.range.begin = entry;
        begin_found = true;
      }
      if (!end_found && entry.first >= high) {
        index.range.end = entry;
        end_found = true;
      }
    }
    done += piece.size();
  }
  checksum.add(std::span<const IndexTail>(&tail, 1));
  if (checksum.value() != head.checksum) fail(input, tail.index_offset, "the index is damaged: wrong checksum");
  if (head.tag != index_tag || head.zero != 0 || !in_order)
    fail(input, tail.index_offset, "the index is damaged: it contradicts itself");
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
  BinaryDecoder(std::unique_ptr<Input> input, const ReadOptions& options, const Limits& limits)
      : input_(std::move(input)), limits_(limits), batch_(options.batch) {
    version_ = read_file_header(*input_);
    if (const auto size = input_->size()) {
      const Index index = read_index(*input_, *size, options.slice, options.slice_count);
      if (index.tail.events == 0) throw InputError(fmt::format("{}: contains no events", input_->name()));
      range_ = index.range;
      expected_ = index.range.begin.first;
      input_->seek(index.range.begin.offset);
    }
  }

  bool next(EventBatch& batch) override {
    batch.resize(batch_);
    if (position_ == head_.count && !read_block()) {
      batch.resize(0);
      return false;
    }
    const std::size_t count = std::min<std::size_t>(batch_, head_.count - position_);
    batch.resize(count);
    decode(batch);
    check(batch);
    position_ += count;
    return true;
  }

 private:
  /// Reads and verifies the next block; false after the last one.
  bool read_block() {
    const std::uint64_t offset = input_->offset();
    if (finished_) return false;
    if (range_ && offset == range_->end.offset) {
      if (expected_ != range_->end.first)
        fail(*input_, offset, "the blocks hold another number of events than the index says");
      finished_ = true;
      return false;
    }
    const auto start = read_value<std::array<std::uint64_t, 2>>(*input_);
    if (!range_ && static_cast<std::uint32_t>(start[1]) == index_tag) {
      finish_pipe(offset, start);
      return false;
    }
    head_ = std::bit_cast<BlockHead>(std::array{start, read_value<std::array<std::uint64_t, 2>>(*input_)});
    position_ = head_.count;
    const auto layout = layout_of(head_);
    if (head_.tag != block_tag || !layout || (head_.operands == named_operands && version_ < 2))
      fail(*input_, offset, "the head of the block is damaged");
    layout_ = *layout;
    if (range_ && layout_.payload > range_->end.offset - std::min(range_->end.offset, input_->offset())) {
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
    block_offset_ = offset;
    if (head_.operands == named_operands) read_names();
    const IndexEntry entry{offset, head_.first};
    entries_.add(std::span(&entry, 1));
    ++blocks_;
    expected_ += head_.count;
    position_ = 0;
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
    if (expected_ == 0) throw InputError(fmt::format("{}: contains no events", input_->name()));
    finished_ = true;
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
  std::optional<BlockRange> range_;  ///< Empty when the input cannot seek.
  std::uint64_t expected_ = 0;       ///< Number of the next event.
  BlockHead head_{};
  BlockLayout layout_;
  std::vector<std::byte> bytes_;  ///< The current block.
  std::uint64_t block_offset_ = 0;
  std::size_t position_ = 0;  ///< Events of the current block that have been delivered.
  Checksum entries_;
  std::uint64_t blocks_ = 0;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<Decoder> binary_decoder(std::unique_ptr<Input> input, const ReadOptions& options,
                                        const Limits& limits) {
  return std::make_unique<BinaryDecoder>(std::move(input), options, limits);
}

}  // namespace weir::stream

namespace weir {

BinarySummary summarise_binary(const std::string& path) {
  const auto input = open_input(path);
  const auto size = input->size();
  if (!size) throw InputError(fmt::format("{}: expected a regular file", path));
  const std::uint32_t version = stream::read_file_header(*input);
  const stream::IndexTail tail = stream::read_index(*input, *size, 0, 1).tail;
  return {version, tail.blocks, tail.events, *size};
}

}  // namespace weir
