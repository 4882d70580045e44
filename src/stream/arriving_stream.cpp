#include "arriving_stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "binary_layout.hpp"
#include "weir/error.hpp"

namespace weir::stream {

namespace {

/// Enough to tell the format, also after a byte order mark.
constexpr std::size_t telling_length = 19;
/// An empty buffer keeps no more than this.
constexpr std::size_t kept_capacity = std::size_t{1} << 16;

bool is_plain(char c) noexcept { return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t'; }

template <class Value>
Value value_at(std::string_view bytes) {
  Value value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

/// What has arrived, as the decoder reads it: in steps, and each sees no more than it needs.
class ArrivingStream::Bytes final : public Input {
 public:
  explicit Bytes(ArrivingStream& stream) : Input(stream.name_), stream_(&stream) {}
  bool is_live() const noexcept override { return true; }

 private:
  std::size_t read_at(std::uint64_t, std::span<std::byte> out) override {
    const std::size_t count = std::min(out.size(), stream_->readable_ - stream_->read_);
    std::memcpy(out.data(), stream_->buffer_.data() + stream_->read_, count);
    stream_->read_ += count;
    return count;
  }

  ArrivingStream* stream_;
};

ArrivingStream::ArrivingStream(std::string name, const ReadOptions& options, const TextRuns& runs)
    : name_(std::move(name)), options_(options), runs_(&runs) {
  options_.sources.clear();
  options_.stop = {};
  options_.batch = largest_block;
}

ArrivingStream::~ArrivingStream() = default;

void ArrivingStream::take(std::string_view bytes, std::vector<EventBatch>& out) {
  if (over_) return;
  if (!format_) {
    buffer_ += bytes;
    if (!decide(false)) return;
    bytes = {};
    if (format_ == StreamFormat::text) {
      const std::string so_far = std::exchange(buffer_, {});
      return take_text(so_far, out);
    }
  }
  if (format_ == StreamFormat::text) return take_text(bytes, out);
  buffer_ += bytes;
  take_binary(out);
}

void ArrivingStream::finish(std::vector<EventBatch>& out) {
  if (over_) return;
  if (!format_) {
    if (!decide(true)) return;
    if (format_ == StreamFormat::text) {
      const std::string so_far = std::exchange(buffer_, {});
      take_text(so_far, out);
    } else {
      take_binary(out);
    }
    if (over_) return;
  }
  over_ = true;
  if (format_ == StreamFormat::text) {
    if (!buffer_.empty())
      note_skipped(fmt::format("{}: line {}: the stream ended here, in the middle of a line: expected a newline", name_,
                               lines_ + 1));
  } else if (!index_read_) {
    note_skipped(
        fmt::format("{}: the stream ended after {} whole blocks {}", name_, blocks_,
                    buffer_.empty() ? "without the index that ends binary events" : "in the middle of another"));
  }
  drop_buffer();
}

void ArrivingStream::abandon(const std::string& reason) {
  if (over_) return;
  over_ = true;
  note_skipped(fmt::format("{}: {}", name_, reason));
  drop_buffer();
}

/// Finds out the format; false while more bytes are needed for it. What is no format of events is over.
bool ArrivingStream::decide(bool at_end) {
  const std::string_view head = std::string_view(buffer_).substr(0, telling_length);
  if (head.empty()) {
    over_ = at_end;
    return false;
  }
  // A short line does not wait for the next one.
  const bool short_line = head.find('\n') != std::string_view::npos && std::all_of(head.begin(), head.end(), is_plain);
  if (head.size() < telling_length && !at_end && !short_line) return false;
  format_ = format_of_head(head);
  if (format_ == StreamFormat::text || format_ == StreamFormat::binary) return true;
  over_ = true;
  note_bad(fmt::format("{}: byte 0: {} data: expected lines of text or binary events", name_, to_string(*format_)));
  drop_buffer();
  return false;
}

void ArrivingStream::take_text(std::string_view bytes, std::vector<EventBatch>& out) {
  if (inside_long_line_) {
    const std::size_t newline = bytes.find('\n');
    if (newline == std::string_view::npos) return;
    bytes.remove_prefix(newline + 1);
    inside_long_line_ = false;
  }
  const std::size_t whole = bytes.rfind('\n') + 1;  // 0 where there is none
  if (whole > 0) {
    if (buffer_.empty()) {
      decode_lines(bytes.substr(0, whole), out);
    } else {
      buffer_ += bytes.substr(0, whole);
      decode_lines(buffer_, out);
      drop_buffer();
    }
  }
  buffer_ += bytes.substr(whole);
  if (buffer_.size() <= runs_->longest_line()) return;
  buffer_ += '\n';
  decode_lines(buffer_, out);
  drop_buffer();
  inside_long_line_ = true;
}

std::string_view ArrivingStream::without_table_header(std::string_view lines) {
  header_ += lines;
  try {
    std::optional<ColumnLayout> layout = layout_of(options_.columns, header_, false, name_);
    if (layout) {
      lines_ += layout->lines_before;
      lines = std::string_view(header_).substr(static_cast<std::size_t>(layout->data_begin));
      layout_ = without_header(std::move(*layout));
      return lines;
    }
    if (header_.size() > longest_record)
      throw InputError(fmt::format("{}: its first {} bytes have no line but comments", name_, header_.size()));
  } catch (const InputError& error) {
    over_ = true;
    note_bad(error.what());
    drop_buffer();
  }
  return {};
}

void ArrivingStream::decode_lines(std::string_view lines, std::vector<EventBatch>& out) {
  if (options_.columns.any() && !layout_) {
    lines = without_table_header(lines);
    if (lines.empty()) return;
  }
  EventBatch batch;
  const TextRuns::Outcome outcome = runs_->decode(lines, batch, layout_);
  if (!header_.empty()) header_ = std::string();
  if (outcome.skipped > 0) {
    note_bad(fmt::format("{}: line {}: {}", name_, lines_ + outcome.first_line, outcome.first_reason));
    skipped_ += outcome.skipped - 1;
    bad_ += outcome.skipped - 1;
  }
  lines_ += outcome.lines;
  if (!batch.empty()) out.push_back(std::move(batch));
}

/// Bytes from read_ on that the decoder needs for its next step. Never more than a block or the index.
std::size_t ArrivingStream::binary_need() const {
  if (!decoder_) return sizeof(FileHeader);
  if (index_read_) return 1;  // which is one too many
  const std::string_view left = std::string_view(buffer_).substr(read_);
  if (left.size() < sizeof(IndexHead)) return sizeof(IndexHead);
  if (value_at<IndexHead>(left).tag == index_tag)
    return sizeof(IndexHead) + static_cast<std::size_t>(blocks_) * sizeof(IndexEntry) + sizeof(IndexTail);
  if (left.size() < sizeof(BlockHead)) return sizeof(BlockHead);
  const auto head = value_at<BlockHead>(left);
  const auto layout = layout_of(head);
  // The decoder refuses a bad head before it reads further.
  return head.tag == block_tag && layout ? sizeof(BlockHead) + layout->payload : sizeof(BlockHead);
}

void ArrivingStream::take_binary(std::vector<EventBatch>& out) {
  try {
    for (std::size_t need; buffer_.size() - read_ >= (need = binary_need());) {
      readable_ = read_ + need;
      if (index_read_) throw InputError(fmt::format("{}: expected the end of the stream after the end mark", name_));
      if (!decoder_) {
        decoder_ = binary_decoder(std::make_unique<Bytes>(*this), options_, Limits(options_),
                                  Part{.name = name_, .may_be_empty = true});
        continue;
      }
      EventBatch batch;
      if (decoder_->next(batch, largest_block)) {
        ++blocks_;
        out.push_back(std::move(batch));
      } else {
        index_read_ = true;
      }
    }
    buffer_.erase(0, std::exchange(read_, 0));
    if (buffer_.empty()) drop_buffer();
  } catch (const InputError& error) {
    over_ = true;
    note_bad(error.what());
    drop_buffer();
  }
}

void ArrivingStream::note_skipped(std::string reason) {
  if (skipped_++ == 0) first_skipped_ = std::move(reason);
}

void ArrivingStream::note_bad(const std::string& reason) {
  if (bad_++ == 0) first_bad_ = reason;
  note_skipped(reason);
}

void ArrivingStream::drop_buffer() {
  read_ = 0;
  readable_ = 0;
  buffer_.clear();
  if (over_ || buffer_.capacity() > kept_capacity) std::string().swap(buffer_);
}

}  // namespace weir::stream
