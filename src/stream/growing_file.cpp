#include "growing_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "io/fields.hpp"
#include "notices.hpp"
#include "pause.hpp"
#include "position.hpp"
#include "text_run.hpp"
#include "weir/error.hpp"
#include "weir/io/cancelled.hpp"
#include "weir/io/file.hpp"

namespace weir::stream {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t piece = std::size_t{1} << 18;
/// So many of the first bytes of a file tell whether it is still the same.
constexpr std::size_t head_length = 1024;
/// Bytes that tell the format.
constexpr std::size_t telling_length = 19;

std::uint64_t hash_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

/// A file that is open, and how far it has been read.
class Log {
 public:
  /// Throws InputError.
  explicit Log(const std::string& path) : file_(path), status_(current()) {}

  [[nodiscard]] struct stat current() const {
    struct stat status {};
    if (::fstat(file_.descriptor(), &status) != 0)
      throw InputError(fmt::format("{}: cannot look at it: {}", file_.path(), std::strerror(errno)));
    return status;
  }
  [[nodiscard]] bool is(const struct stat& other) const noexcept {
    return status_.st_dev == other.st_dev && status_.st_ino == other.st_ino;
  }
  [[nodiscard]] std::uint64_t device() const noexcept { return status_.st_dev; }
  [[nodiscard]] std::uint64_t inode() const noexcept { return status_.st_ino; }
  [[nodiscard]] std::uint64_t size() const { return static_cast<std::uint64_t>(current().st_size); }

  /// All lines before this offset are done.
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
  /// The first bytes, those before offset().
  [[nodiscard]] const std::string& head() const noexcept { return head_; }
  /// What comes from offset() on, and has been read.
  [[nodiscard]] std::string_view ahead() const noexcept { return std::string_view(buffer_).substr(done_); }

  /// Reads more, if there is more; false otherwise.
  bool read_more() {
    buffer_.erase(0, std::exchange(done_, 0));
    const std::size_t before = buffer_.size();
    buffer_.resize(before + piece);
    const std::size_t count =
        file_.read_some_at(offset_ + dropped_ + before, std::as_writable_bytes(std::span(buffer_)).subspan(before));
    buffer_.resize(before + count);
    return count > 0;
  }
  /// Goes on behind the first `length` bytes of ahead().
  void pass(std::size_t length) {
    if (head_.size() == offset_ && head_.size() < head_length && dropped_ == 0)
      head_ += ahead().substr(0, std::min(length, head_length - head_.size()));
    offset_ += dropped_ + length;
    dropped_ = 0;
    done_ += length;
  }
  /// Drops ahead(), which is within a line that is too long; offset() stays at its beginning.
  void drop() {
    dropped_ += ahead().size();
    buffer_.clear();
    done_ = 0;
  }
  [[nodiscard]] bool is_inside_long_line() const noexcept { return dropped_ > 0; }

  /// Whether it begins with `head` and is at least `offset` bytes long.
  [[nodiscard]] bool continues(std::uint64_t offset, std::string_view head) const {
    std::string found(head.size(), '\0');
    return size() >= offset && file_.read_some_at(0, std::as_writable_bytes(std::span(found))) == found.size() &&
           found == head;
  }
  /// Whether what has been read is still there.
  [[nodiscard]] bool is_intact() const { return continues(offset_ + dropped_ + ahead().size(), head_); }

  /// Begins at `offset`, if it has as many bytes, and the first have this hash; else nothing is changed.
  bool resume(std::uint64_t offset, std::size_t length, std::uint64_t hash) {
    if (length > head_length || size() < offset) return false;
    std::string found(length, '\0');
    if (file_.read_some_at(0, std::as_writable_bytes(std::span(found))) != length || hash_of(found) != hash)
      return false;
    offset_ = offset;
    head_ = std::move(found);
    return true;
  }
  /// Begins anew.
  void restart() {
    offset_ = 0;
    dropped_ = 0;
    done_ = 0;
    buffer_.clear();
    head_.clear();
  }

  /// Its first bytes, at most `most`.
  [[nodiscard]] std::string beginning(std::size_t most) const {
    std::string bytes(most, '\0');
    std::size_t count = 0;
    while (const std::size_t more = file_.read_some_at(count, std::as_writable_bytes(std::span(bytes)).subspan(count)))
      count += more;
    bytes.resize(count);
    return bytes;
  }
  /// Newlines before offset().
  [[nodiscard]] std::uint64_t lines_before() const {
    std::uint64_t lines = 0;
    std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(offset_, piece)), '\0');
    for (std::uint64_t at = 0; at < offset_;) {
      const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), offset_ - at));
      const std::size_t count = file_.read_some_at(at, std::as_writable_bytes(std::span(bytes)).first(wanted));
      if (count == 0) break;
      lines += static_cast<std::uint64_t>(
          std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count), '\n'));
      at += count;
    }
    return lines;
  }

 private:
  InputFile file_;
  struct stat status_;
  std::uint64_t offset_ = 0;
  std::uint64_t dropped_ = 0;  ///< Bytes of a line that is too long.
  std::string head_;
  std::string buffer_;
  std::size_t done_ = 0;  ///< Bytes of the buffer before offset_.
};

/// The length of the first `most` lines of `bytes`, or of all that are there, with their ends.
std::size_t length_of_lines(std::string_view bytes, std::size_t most) {
  if (bytes.size() / 2 < most) {
    // An event takes more than two bytes: there are no more than `most` in them.
    return bytes.rfind('\n') + 1;
  }
  std::size_t length = 0;
  for (std::size_t line = 0; line < most; ++line) {
    const std::size_t end = bytes.find('\n', length);
    if (end == std::string_view::npos) break;
    length = end + 1;
  }
  return length;
}

class GrowingFile final : public LiveSource {
 public:
  GrowingFile(const std::string& path, const ReadOptions& options, const std::string& position)
      : path_(path), on_error_(options.on_error), columns_(options.columns), stop_(options.stop), runs_(options) {
    if (position.empty()) {
      log_.emplace(path);
    } else {
      resume(position);
    }
    if (log_->offset() == 0 && log_->read_more()) require_text(log_->ahead());
  }

  bool next(EventBatch& batch, std::size_t most, std::chrono::milliseconds patience) override {
    batch.clear();
    const auto deadline = Clock::now() + patience;
    while (true) {
      if (stop_.stop_requested()) throw Cancelled();
      if (step(batch, most)) {
        if (!batch.empty()) return true;
        if (Clock::now() < deadline) continue;
        return true;
      }
      const auto now = Clock::now();
      if (now >= deadline) return true;
      pause_until(std::min(deadline, now + look_interval), stop_);
    }
  }

  [[nodiscard]] std::string name() const override { return path_; }
  [[nodiscard]] std::vector<std::string> take_notices() override { return notices_.take(); }
  [[nodiscard]] std::string position() const override {
    const nlohmann::json file = {{"device", log_->device()},
                                 {"inode", log_->inode()},
                                 {"offset", log_->offset()},
                                 {"head", log_->head().size()},
                                 {"head_hash", hash_of(log_->head())}};
    return nlohmann::json{{"file", file}}.dump();
  }
  [[nodiscard]] std::uint64_t skipped() const override { return skipped_; }
  [[nodiscard]] std::string first_skipped() const override { return first_skipped_; }
  [[nodiscard]] std::optional<Lag> lag() const override {
    const std::uint64_t size = log_->size();
    return Lag{size - std::min(size, log_->offset()), "bytes"};
  }

 private:
  void resume(const std::string& position) {
    std::uint64_t inode = 0, offset = 0, hash = 0;
    std::size_t length = 0;
    read_position(path_, position, [&](const nlohmann::json& whole) {
      const nlohmann::json& file = whole.at("file");
      file.at("inode").get_to(inode);
      file.at("offset").get_to(offset);
      file.at("head").get_to(length);
      file.at("head_hash").get_to(hash);
    });
    struct stat status {};
    if (::stat(path_.c_str(), &status) == 0 && status.st_ino == inode) {
      log_.emplace(path_);
      if (!log_->resume(offset, length, hash)) {
        notices_.add(
            fmt::format("{}: the file was truncated, or replaced, since byte {} was read; reading it from its "
                        "beginning",
                        path_, offset));
      }
      return;
    }
    // It was renamed. What was written to it before is still to be read.
    const std::filesystem::path parent = std::filesystem::path(path_).parent_path();
    std::error_code error;
    for (std::filesystem::directory_iterator at(parent.empty() ? "." : parent, error), end; !error && at != end;
         at.increment(error)) {
      const std::string candidate = at->path().string();
      if (::stat(candidate.c_str(), &status) != 0 || status.st_ino != inode || !S_ISREG(status.st_mode)) continue;
      log_.emplace(candidate);
      if (log_->resume(offset, length, hash)) return;
    }
    throw InputError(fmt::format(
        "{}: the file that was read up to byte {} (inode {}) is not there any more, nor under another name in "
        "its directory: lines may be lost; start without the position to read what is there",
        path_, offset, inode));
  }

  /// Reads some lines, or finds out what has become of the file; false when there is nothing to do for now.
  bool step(EventBatch& batch, std::size_t most) {
    std::size_t length = length_of_lines(log_->ahead(), most);
    if (length == 0) {
      const std::uint64_t read_to = log_->offset() + log_->ahead().size();
      const bool more = log_->read_more();
      // Checked after reading: what was read from a file that was truncated meanwhile is not used.
      if (!log_->is_intact()) {
        notices_.add(
            fmt::format("{}: the file was truncated in place after {} bytes had been read; reading it from its "
                        "beginning",
                        path_, read_to));
        if (read_to > log_->offset())
          note_skipped(
              1, fmt::format("{}: byte {}: the file was truncated here, in the middle of a line", path_, read_to));
        log_->restart();
        layout_ = nullptr;
        return true;
      }
      if (!more) return look_at_name();
      length = length_of_lines(log_->ahead(), most);
    }
    if (log_->offset() == 0 && !log_->is_inside_long_line()) require_text(log_->ahead());
    if (log_->is_inside_long_line()) {
      if (length == 0) {
        log_->drop();
      } else {
        if (!in_comment_)
          note_bad(1, fmt::format("{}:{}: {}", path_, log_->lines_before() + 1,
                                  overlong_complaint(runs_.longest_line(), {})));
        log_->pass(log_->ahead().find('\n') + 1);
      }
      return true;
    }
    if (length == 0) {
      if (log_->ahead().size() > runs_.longest_line()) {
        in_comment_ = is_text_comment(log_->ahead());
        log_->drop();
      }
      return true;
    }
    if (columns_.any() && !layout_ && !find_layout()) return false;
    if (log_->offset() < data_begin_) {
      log_->pass(static_cast<std::size_t>(std::min<std::uint64_t>(data_begin_ - log_->offset(), log_->ahead().size())));
      return true;
    }
    const std::string_view lines = log_->ahead().substr(0, length);
    const TextRuns::Outcome outcome = runs_.decode(lines, batch, layout_);
    if (outcome.skipped > 0) {
      note_bad(outcome.skipped,
               fmt::format("{}:{}: {}", path_, log_->lines_before() + outcome.first_line, outcome.first_reason),
               &batch);
    }
    log_->pass(length);
    return true;
  }

  /// All of the file has been read: has another one taken its name?
  bool look_at_name() {
    struct stat status {};
    if (::stat(path_.c_str(), &status) != 0) return false;  // a moment between two files, as one hopes
    if (log_->is(status)) return false;
    // A writer goes on with the old file until it opens the new one. So the old one ends when there is something in the new.
    if (!S_ISREG(status.st_mode))
      throw InputError(fmt::format("{}: what has taken the name of the file is no file", path_));
    if (status.st_size == 0) return false;
    std::optional<Log> replacement;
    try {
      replacement.emplace(path_);
    } catch (const InputError&) {
      if (::stat(path_.c_str(), &status) != 0) return false;  // it has gone again
      throw;
    }
    if (log_->read_more()) return true;  // it was written before the new one was
    if (!log_->ahead().empty() || log_->is_inside_long_line())
      note_skipped(1, fmt::format("{}:{}: the file ended here, in the middle of a line, and was replaced", path_,
                                  log_->lines_before() + 1));
    notices_.add(
        fmt::format("{}: the file was replaced after {} bytes; going on with the new one", path_, log_->offset()));
    log_ = std::move(replacement);
    layout_ = nullptr;
    return true;
  }

  /// Finds out where the columns are, which the first lines of the file say; false where they are not complete.
  bool find_layout() {
    const std::string beginning = log_->beginning(longest_record);
    std::optional<ColumnLayout> layout = layout_of(columns_, beginning, false, path_);
    if (!layout && beginning.size() == longest_record)
      throw InputError(fmt::format("{}: its first {} bytes have no line but comments", path_, longest_record));
    if (!layout) return false;
    data_begin_ = layout->data_begin;
    layout_ = without_header(std::move(*layout));
    return true;
  }

  void require_text(std::string_view head) const {
    head = head.substr(0, telling_length);
    if (head.size() < telling_length && head.find('\n') == std::string_view::npos) return;  // not known yet
    const StreamFormat format = format_of_head(head);
    if (format == StreamFormat::text) return;
    throw InputError(fmt::format(
        "{}: is {} data: only lines of text can be read while they are written; a directory can be watched for "
        "complete files of other formats",
        path_, to_string(format)));
  }

  void note_skipped(std::uint64_t count, const std::string& reason) {
    if (skipped_ == 0) first_skipped_ = reason;
    skipped_ += count;
  }
  void note_bad(std::uint64_t count, const std::string& reason, EventBatch* batch = nullptr) {
    if (on_error_ == OnError::stop) {
      if (batch != nullptr) batch->clear();
      throw InputError(reason);
    }
    note_skipped(count, reason);
  }

  std::string path_;
  OnError on_error_;
  Columns columns_;
  std::shared_ptr<const ColumnLayout> layout_;  ///< Of a table.
  std::uint64_t data_begin_ = 0;                ///< Behind its header.
  std::stop_token stop_;
  TextRuns runs_;
  Notices notices_;
  std::optional<Log> log_;   ///< The file under that name, or the one that had it before.
  bool in_comment_ = false;  ///< The line that is too long, and is being dropped, is a comment.
  std::uint64_t skipped_ = 0;
  std::string first_skipped_;
};

}  // namespace

std::unique_ptr<LiveSource> open_growing_file(const std::string& path, const ReadOptions& options,
                                              const std::string& position) {
  return std::make_unique<GrowingFile>(path, options, position);
}

}  // namespace weir::stream
