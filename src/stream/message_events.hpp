#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "decoder.hpp"
#include "weir/event.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

/// The events of messages: blocks of bytes that hold text events, one a line, or one whole binary event stream, told by
/// its magic. An empty message, or one of blank lines and comments, has no events and is not at fault.
///
/// The events of a message have an order that follows from its bytes alone, so that "the first 17 of them" means the same
/// whenever it is read again, in pieces of any size. (Not quite the order of the lines: where whole rows and changes of
/// entries are mixed, the entries among 8192 lines come first.)
class MessageEvents {
 public:
  explicit MessageEvents(const ReadOptions& options);

  /// Begins with a message, of which the first `done` events are left out. `payload` must outlive its reading; `name`
  /// begins what is said about it. Throws InputError where it is damaged, or has fewer events than `done`.
  void open(std::span<const std::byte> payload, std::string name, std::uint64_t done = 0);
  /// True from open() until all of the message has been taken, or it was found to be bad.
  [[nodiscard]] bool is_open() const noexcept { return decoder_ != nullptr; }
  /// Events of the message that have been taken, those left out included.
  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_; }
  /// Appends events to `batch` until it has `most`, or so many values of whole rows that it is full, or the message has no
  /// more; returns how many. Throws InputError, and then has appended nothing that was not taken. With OnError::skip bad
  /// lines are counted and left out; a binary message is left out whole, which counts as one.
  std::size_t append_to(EventBatch& batch, std::size_t most);

  /// Events of text messages, at most: one for each line.
  [[nodiscard]] static std::size_t most_events(std::span<const std::byte> text) noexcept;
  /// True for messages that append_lines() takes.
  [[nodiscard]] static bool is_plain_text(std::span<const std::byte> payload) noexcept;
  /// Appends all events of `lines`: many plain text messages one after the other, each ended by a line end, with at most
  /// `most` lines. Much cheaper than one by one. False, with nothing appended, where a line is bad: then they must be read
  /// one by one, to tell which it is.
  bool append_lines(std::span<const std::byte> lines, std::size_t most, EventBatch& batch);

  /// Over all messages, as of LiveSource.
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }
  [[nodiscard]] const std::string& first_skipped() const noexcept { return first_skipped_; }

 private:
  [[nodiscard]] std::unique_ptr<Decoder> decoder_of(std::span<const std::byte> payload, bool binary,
                                                    OnError on_error) const;
  /// Decodes the next chunk; closes the message at its end.
  void advance();
  void close();
  void skip(std::string reason);
  [[nodiscard]] std::size_t taken_of_chunk() const noexcept { return entries_taken_ + rows_taken_; }

  ReadOptions options_;
  Limits limits_;
  std::string name_;
  std::unique_ptr<Decoder> decoder_;
  std::uint64_t taken_ = 0;
  EventBatch chunk_;
  std::size_t entries_taken_ = 0;  ///< Of the chunk.
  std::size_t rows_taken_ = 0;
  std::uint64_t skipped_ = 0;
  std::string first_skipped_;
};

}  // namespace weir::stream
