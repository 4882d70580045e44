#include "line_buffer.hpp"

#include <algorithm>
#include <cstring>

namespace weir::stream {

namespace {

std::size_t piece_for(const Input& input) {
  constexpr std::uint64_t most = std::uint64_t{1} << 18;
  return static_cast<std::size_t>(std::clamp<std::uint64_t>(input.size().value_or(most), 4096, most));
}

}  // namespace

LineBuffer::LineBuffer(Input& input, std::size_t longest_line)
    : input_(&input), longest_line_(longest_line), piece_(piece_for(input)), buffer_(piece_ + 1 + padding) {}

void LineBuffer::restrict_to(std::uint64_t begin, std::uint64_t end) {
  filled_ = 0;
  handed_ = 0;
  end_ = end;
  first_run_ = true;
  run_end_ = begin;
  finished_ = begin >= end;
  // Whether a line begins at `begin` is told by the byte before it.
  inside_line_ = begin > 0;
  input_->seek(begin > 0 ? begin - 1 : 0);
}

std::string_view LineBuffer::hand_out(std::size_t length) {
  handed_ = length;
  run_end_ += length;
  return {buffer_.data(), length};
}

std::string_view LineBuffer::next_run() {
  filled_ -= handed_;
  std::memmove(buffer_.data(), buffer_.data() + handed_, filled_);
  handed_ = 0;
  while (!finished_) {
    // What is left of earlier pieces is the beginning of one line, at most longest_line_ bytes of it.
    const std::size_t searched = filled_;
    if (buffer_.size() < filled_ + piece_ + 1 + padding)
      buffer_.resize(filled_ + std::max(filled_, piece_) + 1 + padding);
    const std::size_t count = input_->read(std::as_writable_bytes(std::span(buffer_)).subspan(filled_, piece_));
    if (count == 0) {
      finished_ = true;
      if (filled_ == 0) return {};
      buffer_[filled_++] = '\n';
      return hand_out(filled_);
    }
    filled_ += count;
    if (inside_line_) {
      const void* newline = std::memchr(buffer_.data(), '\n', filled_);
      const std::size_t dropped =
          newline == nullptr ? filled_
                             : static_cast<std::size_t>(static_cast<const char*>(newline) - buffer_.data()) + 1;
      filled_ -= dropped;
      std::memmove(buffer_.data(), buffer_.data() + dropped, filled_);
      inside_line_ = newline == nullptr;
      if (input_->offset() - filled_ >= end_) finished_ = true;
      if (inside_line_ || filled_ == 0 || finished_) continue;
    }
    const std::uint64_t offset = input_->offset() - filled_;
    run_end_ = offset;
    if (first_run_) {
      first_line_offset_ = offset;
      first_run_ = false;
    }
    // Counted from `offset`: the first newline at or after end_ - 1 ends the last line that is ours.
    if (end_ - offset <= filled_) {
      const std::size_t from = std::max(static_cast<std::size_t>(end_ - offset) - 1, searched);
      if (const void* newline = std::memchr(buffer_.data() + from, '\n', filled_ - from)) {
        finished_ = true;
        return hand_out(static_cast<std::size_t>(static_cast<const char*>(newline) - buffer_.data()) + 1);
      }
    }
    const std::size_t whole = std::string_view(buffer_.data(), filled_).substr(searched).rfind('\n');
    if (whole != std::string_view::npos) return hand_out(searched + whole + 1);
    if (filled_ > longest_line_) {
      inside_line_ = true;
      filled_ = longest_line_ + 2;
      buffer_[filled_ - 1] = '\n';
      return hand_out(filled_);
    }
  }
  return {};
}

std::uint64_t count_newlines(Input& input, std::uint64_t length) {
  std::vector<std::byte> block(std::size_t{1} << 18);
  std::uint64_t newlines = 0;
  input.seek(0);
  while (length > 0) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(length, block.size()));
    const std::size_t count = input.read(std::span(block).first(wanted));
    if (count == 0) break;
    newlines += static_cast<std::uint64_t>(
        std::count(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(count), std::byte{'\n'}));
    length -= count;
  }
  return newlines;
}

}  // namespace weir::stream
