#include "directory_source.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <deque>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "notices.hpp"
#include "pause.hpp"
#include "position.hpp"
#include "weir/error.hpp"
#include "weir/io/cancelled.hpp"

namespace weir::stream {

namespace {

using Clock = std::chrono::steady_clock;

/// The rests between two looks are so many times as long as the looks, which take long where there are many files.
constexpr int rest_per_look = 10;

/// Which file it was that has been read under a name.
struct Identity {
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
};

Identity identity_of(const struct stat& status) { return {status.st_ino, static_cast<std::uint64_t>(status.st_size)}; }

/// Whether a name is that of a file that is complete.
bool is_complete(std::string_view name) noexcept {
  return !name.starts_with('.') && !name.ends_with(".tmp") && !name.ends_with(".part");
}

// JSON holds valid UTF-8 only; names of files are any bytes.
std::string escaped(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (c >= ' ' && c <= '~' && c != '%') {
      text += c;
    } else {
      text += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

std::string unescaped(std::string_view text) {
  std::string name;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned char byte = 0;
    if (text[at] == '%' && text.size() - at > 2 &&
        std::from_chars(text.data() + at + 1, text.data() + at + 3, byte, 16).ptr == text.data() + at + 3) {
      name += static_cast<char>(byte);
      at += 2;
    } else {
      name += text[at];
    }
  }
  return name;
}

class DirectorySource final : public LiveSource {
 public:
  DirectorySource(const std::string& path, const ReadOptions& options, bool follow, const std::string& position)
      : path_(path), options_(options), follow_(follow) {
    options_.slice = 0;
    options_.slice_count = 1;
    options_.sources.clear();
    options_.ranges.reset();
    if (!position.empty()) resume(position);
    look();
  }

  bool next(EventBatch& batch, std::size_t most, std::chrono::milliseconds patience) override {
    batch.clear();
    const auto deadline = Clock::now() + patience;
    while (true) {
      if (options_.stop.stop_requested()) throw Cancelled();
      if (failure_) std::rethrow_exception(failure_);
      if (reading_) {
        if (read(batch, most)) return true;
        continue;
      }
      if (open_next()) continue;
      if (!follow_) return false;
      const auto now = Clock::now();
      if (now >= next_look_) {
        look();
        continue;
      }
      if (now >= deadline) return true;
      pause_until(std::min(deadline, next_look_), options_.stop);
    }
  }

  [[nodiscard]] std::string name() const override { return path_; }
  [[nodiscard]] std::vector<std::string> take_notices() override { return notices_.take(); }

  [[nodiscard]] std::string position() const override {
    nlohmann::json done = nlohmann::json::array();
    for (const auto& [name, identity] : done_) done.push_back({escaped(name), identity.inode, identity.size});
    nlohmann::json position = {{"done", std::move(done)}};
    if (reading_) {
      nlohmann::json ranges = nlohmann::json::array();
      const std::vector<std::vector<FileRange>> unread = reading_->reader.unread();
      for (const FileRange& range : unread.at(0)) ranges.push_back({range.begin, range.end});
      position["reading"] = {{"name", escaped(reading_->name)},
                             {"inode", reading_->identity.inode},
                             {"size", reading_->identity.size},
                             {"ranges", std::move(ranges)}};
    }
    return position.dump();
  }

  [[nodiscard]] std::uint64_t skipped() const override {
    return skipped_ + (reading_ ? reading_->reader.skipped() : 0);
  }
  [[nodiscard]] std::string first_skipped() const override {
    return skipped_ > 0 ? first_skipped_ : reading_ ? reading_->reader.first_skipped() : std::string();
  }

  [[nodiscard]] std::optional<Lag> lag() const override {
    std::uint64_t bytes = reading_ ? reading_->identity.size : 0;
    for (const auto& [name, size] : waiting_) bytes += size;
    return Lag{bytes, "bytes"};
  }

 private:
  struct Reading {
    std::string name;
    Identity identity;
    EventReader reader;
  };

  [[nodiscard]] std::string path_of(const std::string& name) const {
    return (std::filesystem::path(path_) / name).string();
  }

  void resume(const std::string& position) {
    std::string name;
    Identity identity;
    std::vector<FileRange> ranges;
    read_position(path_, position, [&](const nlohmann::json& whole) {
      for (const nlohmann::json& entry : whole.at("done")) {
        done_[unescaped(entry.at(0).get<std::string>())] = {entry.at(1).get<std::uint64_t>(),
                                                            entry.at(2).get<std::uint64_t>()};
      }
      if (!whole.contains("reading")) return;
      const nlohmann::json& reading = whole.at("reading");
      name = unescaped(reading.at("name").get<std::string>());
      reading.at("inode").get_to(identity.inode);
      reading.at("size").get_to(identity.size);
      for (const nlohmann::json& range : reading.at("ranges"))
        ranges.push_back({range.at(0).get<std::uint64_t>(), range.at(1).get<std::uint64_t>()});
    });
    if (name.empty()) return;
    const std::string file = path_of(name);
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0)
      throw InputError(fmt::format("{}: had been read in part, and cannot be read on: {}", file, std::strerror(errno)));
    const Identity found = identity_of(status);
    if (found.inode != identity.inode || found.size != identity.size) {
      throw InputError(
          fmt::format("{}: had been read in part, and is another file now: {} bytes (inode {}), expected {} "
                      "(inode {})",
                      file, found.size, found.inode, identity.size, identity.inode));
    }
    open(name, std::move(ranges));
  }

  /// `ranges` are what is left of it; none: all.
  void open(const std::string& name, std::optional<std::vector<FileRange>> ranges) {
    const std::string file = path_of(name);
    ReadOptions options = options_;
    options.sources = {look_at(file)};
    if (ranges) options.ranges = {std::move(*ranges)};
    const Identity identity{options.sources[0].inode, options.sources[0].size};
    reading_.emplace(Reading{name, identity, EventReader({file}, std::move(options))});
  }

  /// Begins the next file that waits; false when none does.
  bool open_next() {
    if (waiting_.empty()) return false;
    const auto [name, size] = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_names_.erase(name);
    struct stat status {};
    if (::stat(path_of(name).c_str(), &status) != 0) {
      notices_.add(fmt::format("{}: it was removed before it was read", path_of(name)));
    } else if (status.st_size == 0) {
      done_[name] = identity_of(status);
    } else {
      guard(name, identity_of(status), [&] { open(name, std::nullopt); });
    }
    return true;
  }

  /// False at the end of the file.
  bool read(EventBatch& batch, std::size_t most) {
    bool delivered = false;
    const std::string name = reading_->name;
    const Identity identity = reading_->identity;
    if (!guard(name, identity, [&] { delivered = reading_->reader.next(batch, most); })) {
      batch.clear();
      return false;
    }
    if (!delivered) {
      finish_reading();
      done_[name] = identity;
    }
    return delivered;
  }

  /// Does `work`. Where the file is bad, it is left out, or ends the reading; returns false.
  template <class Work>
  bool guard(const std::string& name, const Identity& identity, const Work& work) {
    try {
      work();
      return true;
    } catch (const InputError& error) {
      if (options_.on_error == OnError::stop) {
        failure_ = std::current_exception();
      } else {
        finish_reading();
        note_skipped(error.what());
        done_[name] = identity;
      }
      return false;
    }
  }

  void finish_reading() {
    if (!reading_) return;
    const std::uint64_t count = reading_->reader.skipped();
    if (count > 0 && skipped_ == 0) first_skipped_ = reading_->reader.first_skipped();
    skipped_ += count;
    reading_.reset();
  }

  void note_skipped(std::string reason) {
    if (skipped_++ == 0) first_skipped_ = std::move(reason);
  }

  /// Finds files that are new.
  void look() {
    const auto start = Clock::now();
    std::vector<std::pair<std::string, std::uint64_t>> found;
    std::set<std::string> present;
    std::error_code error;
    std::filesystem::directory_iterator at(path_, error);
    for (const std::filesystem::directory_iterator end; !error && at != end; at.increment(error)) {
      std::string name = at->path().filename().string();
      struct stat status {};
      if (!is_complete(name)) continue;
      // Also where stat() fails, which it may for a moment: what is forgotten is read again.
      present.insert(name);
      if (::stat(at->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
      if (is_new(name, identity_of(status))) found.emplace_back(std::move(name), identity_of(status).size);
    }
    if (error) throw InputError(fmt::format("{}: cannot list the directory: {}", path_, error.message()));
    // What is gone is forgotten, so that there are no more entries than files.
    std::erase_if(done_, [&](const auto& entry) { return !present.contains(entry.first); });
    std::sort(found.begin(), found.end());
    for (auto& file : found) {
      waiting_names_.insert(file.first);
      waiting_.push_back(std::move(file));
    }
    const auto now = Clock::now();
    next_look_ = now + std::max<Clock::duration>(look_interval, rest_per_look * (now - start));
  }

  [[nodiscard]] bool is_new(const std::string& name, const Identity& identity) {
    if (waiting_names_.contains(name)) return false;
    if (reading_ && reading_->name == name) return false;
    const auto known = done_.find(name);
    if (known == done_.end() || known->second.inode != identity.inode) return true;
    if (known->second.size == identity.size) return false;
    const std::string complaint = fmt::format(
        "{}: it has {} bytes, and had {} when it was read: a file that is still being written must have a name that "
        "begins "
        "with '.' or ends in .part or .tmp until it is complete",
        path_of(name), identity.size, known->second.size);
    if (options_.on_error == OnError::stop) throw InputError(complaint);
    known->second = identity;
    note_skipped(complaint);
    notices_.add(complaint);
    return false;
  }

  std::string path_;
  ReadOptions options_;
  bool follow_;
  Notices notices_;
  std::map<std::string, Identity> done_;
  std::deque<std::pair<std::string, std::uint64_t>> waiting_;  ///< Names and sizes.
  std::set<std::string> waiting_names_;
  std::optional<Reading> reading_;
  std::exception_ptr failure_;
  Clock::time_point next_look_{};
  std::uint64_t skipped_ = 0;  ///< But for the file that is being read.
  std::string first_skipped_;
};

}  // namespace

std::unique_ptr<LiveSource> open_directory_source(const std::string& path, const ReadOptions& options, bool follow,
                                                  const std::string& position) {
  return std::make_unique<DirectorySource>(path, options, follow, position);
}

}  // namespace weir::stream
