#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "decoder.hpp"
#include "text_run.hpp"
#include "weir/event.hpp"
#include "weir/stream/reader.hpp"

namespace weir::stream {

/// Decodes a stream, lines of text or binary records (told apart by its first bytes), that arrives in pieces of any length,
/// as soon as it can: every line, every binary block once it is whole. Never waits for more. What comes out does not depend
/// on the pieces.
class ArrivingStream {
 public:
  /// `name` is what messages call the stream. `runs` is for `options`, too, and outlives this.
  ArrivingStream(std::string name, const ReadOptions& options, const TextRuns& runs);
  ~ArrivingStream();
  ArrivingStream(const ArrivingStream&) = delete;
  ArrivingStream& operator=(const ArrivingStream&) = delete;

  /// The next bytes. Appends batches of the events that are complete now; a binary block comes as one batch, or not at all.
  void take(std::string_view bytes, std::vector<EventBatch>& out);
  /// There are no more bytes. A record that is not complete is left out, and counted.
  void finish(std::vector<EventBatch>& out);
  /// Leaves out the record that is being held, for a reason that is not in the stream, and takes no more.
  void abandon(const std::string& reason);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Bad lines, damage, and a record that was not complete at the end.
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }
  /// Of these, what was wrong with the bytes themselves: not an end in the middle of a record, and nothing abandoned.
  [[nodiscard]] std::uint64_t bad() const noexcept { return bad_; }
  /// What was wrong with the first that was skipped, and with the first that was bad: "NAME: line 7: reason",
  /// "NAME: byte 24: reason".
  [[nodiscard]] const std::string& first_skipped() const noexcept { return first_skipped_; }
  [[nodiscard]] const std::string& first_bad() const noexcept { return first_bad_; }
  /// True when the rest of the stream cannot be read.
  [[nodiscard]] bool is_over() const noexcept { return over_; }
  /// Bytes of memory that an incomplete record takes.
  [[nodiscard]] std::size_t held() const noexcept { return buffer_.capacity(); }

 private:
  class Bytes;

  bool decide(bool at_end);
  void take_text(std::string_view bytes, std::vector<EventBatch>& out);
  /// The lines behind the header of a table; none while that is not complete.
  [[nodiscard]] std::string_view without_table_header(std::string_view lines);
  void decode_lines(std::string_view lines, std::vector<EventBatch>& out);
  void take_binary(std::vector<EventBatch>& out);
  [[nodiscard]] std::size_t binary_need() const;
  void note_skipped(std::string reason);
  void note_bad(const std::string& reason);
  void drop_buffer();

  std::string name_;
  ReadOptions options_;
  const TextRuns* runs_;
  std::optional<StreamFormat> format_;
  std::string buffer_;  ///< What came and is not decoded: less than a line or a block, once take() has returned.
  bool over_ = false;
  std::uint64_t skipped_ = 0;
  std::uint64_t bad_ = 0;
  std::string first_skipped_;
  std::string first_bad_;
  // Text.
  std::uint64_t lines_ = 0;
  std::shared_ptr<const ColumnLayout> layout_;  ///< Of a table, once its header is there,
  std::string header_;                          ///< and what comes before that is known.
  bool inside_long_line_ = false;               ///< It was found bad; the rest of it is dropped.
  // Binary.
  std::unique_ptr<Decoder> decoder_;  ///< Reads from the buffer.
  std::size_t read_ = 0;              ///< Bytes of the buffer that it has read.
  std::size_t readable_ = 0;          ///< Those that it may read in this step.
  std::uint64_t blocks_ = 0;
  bool index_read_ = false;
};

}  // namespace weir::stream
