#include "io/input.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "io/pick.hpp"
#include "io/zip.hpp"
#include "weir/error.hpp"
#include "weir/io/cancelled.hpp"
#include "weir/io/file.hpp"

namespace weir {

std::string Input::at_byte(std::uint64_t offset) const { return fmt::format("{}: byte {}", name_, offset); }

std::optional<BytesRead> Input::bytes_read() const noexcept {
  const auto all = size();
  return all ? std::optional(BytesRead{offset_, *all}) : std::nullopt;
}

std::size_t Input::read(std::span<std::byte> out) {
  std::size_t count = 0;
  if (offset_ < peeked_.size()) {
    const auto ahead = std::span(peeked_).subspan(static_cast<std::size_t>(offset_));
    count = std::min(ahead.size(), out.size());
    std::copy_n(ahead.begin(), count, out.begin());
  } else {
    count = read_at(offset_, out);
  }
  offset_ += count;
  return count;
}

std::size_t Input::read_fully(std::span<std::byte> out) {
  std::size_t filled = 0;
  while (filled < out.size()) {
    const std::size_t count = read(out.subspan(filled));
    if (count == 0) break;
    filled += count;
  }
  return filled;
}

std::string_view Input::peek(std::size_t count) {
  if (const auto all = size()) count = static_cast<std::size_t>(std::min<std::uint64_t>(count, *all));
  std::size_t filled = peeked_.size();
  if (filled < count) peeked_.resize(count);
  while (filled < count) {
    const std::size_t more = read_at(filled, std::span(peeked_).subspan(filled));
    if (more == 0) break;
    filled += more;
  }
  peeked_.resize(filled);
  return {reinterpret_cast<const char*>(peeked_.data()), std::min(count, filled)};
}

void Input::seek(std::uint64_t offset) { offset_ = offset; }

namespace {

class FileInput final : public Input {
 public:
  /// `name` is what it is called in messages.
  FileInput(const std::string& path, const std::string& name, const std::optional<FileIdentity>& agreed)
      : Input(name), file_(path), size_(file_.size()) {
    if (!agreed) return;
    size_ = agreed->size;
    struct stat status {};
    if (::fstat(file_.descriptor(), &status) != 0)
      throw InputError(fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
    if (status.st_dev != agreed->device || status.st_ino != agreed->inode)
      throw InputError(fmt::format("{}: another file has taken the name since the stream was begun", path));
    if (file_.size() < size_) {
      throw InputError(fmt::format("{}: the file had {} bytes when the stream was begun, and has {} now", path, size_,
                                   file_.size()));
    }
  }
  std::optional<std::uint64_t> size() const noexcept override { return size_; }

 private:
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) override {
    const std::uint64_t left = size_ - std::min(size_, offset);
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, out.size()));
    if (wanted == 0) return 0;
    const std::size_t count = file_.read_some_at(offset, out.first(wanted));
    if (count == 0) {
      throw InputError(
          fmt::format("{}: the file had {} bytes when it was opened and now ends here", at_byte(offset), size_));
    }
    return count;
  }

  InputFile file_;
  std::uint64_t size_;
};

/// Waits for descriptors until a stop is requested.
class StoppableWait {
 public:
  explicit StoppableWait(const std::stop_token& stop)
      : stop_(stop), event_(stop.stop_possible() ? ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1) {
    if (!stop.stop_possible()) return;
    if (event_ < 0) throw InputError(fmt::format("cannot create an event descriptor: {}", std::strerror(errno)));
    callback_.emplace(stop_, Raise{event_});
  }
  ~StoppableWait() {
    callback_.reset();
    if (event_ >= 0) ::close(event_);
  }
  StoppableWait(const StoppableWait&) = delete;
  StoppableWait& operator=(const StoppableWait&) = delete;

  /// Returns when reading `descriptor` would not block. Throws Cancelled.
  void wait_for(int descriptor) const {
    std::array<pollfd, 2> events{{{descriptor, POLLIN, 0}, {event_, POLLIN, 0}}};
    do {
      if (stop_.stop_requested()) throw Cancelled();
      // Fails only when it is interrupted, or memory is short for a moment. A negative descriptor is left out.
    } while (::poll(events.data(), events.size(), -1) < 0 || events[0].revents == 0);
  }

 private:
  struct Raise {
    int event;
    void operator()() const noexcept { ::eventfd_write(event, 1); }
  };

  std::stop_token stop_;
  int event_;
  std::optional<std::stop_callback<Raise>> callback_;
};

class PipeInput final : public Input {
 public:
  /// Standard input, whose flags others rely on, so that they stay as they are.
  explicit PipeInput(const std::stop_token& stop)
      : Input("standard input"), wait_(stop), descriptor_(STDIN_FILENO), owned_(false) {
    require_standard_input();
  }
  /// O_NONBLOCK: opening does not wait for a writer. read_at() waits for it: as Linux has it, a pipe that was opened so
  /// is at its end when a writer has come and gone, not before one has come.
  PipeInput(const std::string& path, const std::stop_token& stop)
      : Input(path), wait_(stop), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), owned_(true) {
    if (descriptor_ < 0) throw InputError(fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
  }
  ~PipeInput() override {
    if (owned_) ::close(descriptor_);
  }
  bool is_live() const noexcept override { return true; }

 private:
  std::size_t read_at(std::uint64_t, std::span<std::byte> out) override {
    while (true) {
      wait_.wait_for(descriptor_);
      const ssize_t count = ::read(descriptor_, out.data(), out.size());
      if (count >= 0) return static_cast<std::size_t>(count);
      // EAGAIN: somebody else has read what there was.
      if (errno != EINTR && errno != EAGAIN)
        throw InputError(fmt::format("{}: cannot read: {}", name(), std::strerror(errno)));
    }
  }

  StoppableWait wait_;
  int descriptor_;
  bool owned_;
};

class MemoryInput final : public Input {
 public:
  MemoryInput(std::span<const std::byte> bytes, std::string name) : Input(std::move(name)), bytes_(bytes) {}
  MemoryInput(std::vector<std::byte> bytes, std::string name)
      : Input(std::move(name)), owned_(std::move(bytes)), bytes_(owned_) {}
  std::optional<std::uint64_t> size() const noexcept override { return bytes_.size(); }

 private:
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) override {
    const auto from = static_cast<std::size_t>(std::min<std::uint64_t>(offset, bytes_.size()));
    const std::size_t count = std::min(out.size(), bytes_.size() - from);
    if (count > 0) std::memcpy(out.data(), bytes_.data() + from, count);
    return count;
  }

  std::vector<std::byte> owned_;
  std::span<const std::byte> bytes_;
};

/// A part of an input that can seek.
class PartInput final : public Input {
 public:
  PartInput(std::unique_ptr<Input> whole, std::uint64_t begin, std::uint64_t size)
      : Input(whole->name()), whole_(std::move(whole)), begin_(begin), size_(size) {}
  std::optional<std::uint64_t> size() const noexcept override { return size_; }

 private:
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) override {
    const std::uint64_t left = size_ - std::min(size_, offset);
    if (left == 0) return 0;
    whole_->seek(begin_ + offset);
    return whole_->read(out.first(static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), left))));
  }

  std::unique_ptr<Input> whole_;
  std::uint64_t begin_, size_;
};

class UncutInput final : public Input {
 public:
  explicit UncutInput(std::unique_ptr<Input> input) : Input(input->name()), input_(std::move(input)) {}
  bool is_live() const noexcept override { return input_->is_live(); }
  std::optional<std::uint64_t> most() const noexcept override { return input_->most(); }
  std::optional<BytesRead> bytes_read() const noexcept override { return input_->bytes_read(); }
  std::string at_byte(std::uint64_t offset) const override { return input_->at_byte(offset); }

 private:
  std::size_t read_at(std::uint64_t, std::span<std::byte> out) override { return input_->read(out); }

  std::unique_ptr<Input> input_;
};

}  // namespace

void require_standard_input() {
  const int flags = ::fcntl(STDIN_FILENO, F_GETFL);
  struct stat status {};
  // A program that starts without it may put something unreadable in its place. What has no file type is a descriptor
  // of some library, which was given the free number.
  if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY || ::fstat(STDIN_FILENO, &status) != 0 ||
      (status.st_mode & S_IFMT) == 0) {
    throw InputError("standard input: closed");
  }
}

std::unique_ptr<Input> open_input(const std::string& path, const std::stop_token& stop,
                                  const std::optional<FileIdentity>& agreed) {
  if (path == "-") return std::make_unique<PipeInput>(stop);
  if (const auto picked = picked_of(path))
    return pick(std::make_unique<FileInput>(picked->file, path, agreed), picked->picks);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    if (agreed) throw InputError(fmt::format("{}: a pipe has taken the name since the stream was begun", path));
    return std::make_unique<PipeInput>(path, stop);
  }
  auto file = std::make_unique<FileInput>(path, path, agreed);
  return is_zip_archive(*file) ? pick(std::move(file), {}) : std::move(file);
}

std::unique_ptr<Input> memory_input(std::span<const std::byte> bytes, std::string name) {
  return std::make_unique<MemoryInput>(bytes, std::move(name));
}

bool resembles(std::string_view head, std::string_view magic, std::size_t enough) noexcept {
  std::size_t equal = 0;
  for (std::size_t c = 0; c < std::min(head.size(), magic.size()); ++c) equal += head[c] == magic[c] ? 1u : 0u;
  return equal >= std::min(enough, std::max<std::size_t>(head.size(), 1));
}

bool is_gzip(std::string_view head) noexcept {
  // The third byte is the only compression method that gzip knows.
  return resembles(head, "\x1f\x8b\x08", 2);
}

std::unique_ptr<Input> part_of(std::unique_ptr<Input> whole, std::uint64_t begin, std::uint64_t size) {
  return std::make_unique<PartInput>(std::move(whole), begin, size);
}

std::unique_ptr<Input> uncut(std::unique_ptr<Input> input) { return std::make_unique<UncutInput>(std::move(input)); }

std::unique_ptr<Input> seekable(std::unique_ptr<Input> input, std::uint64_t most) {
  if (input->size()) return input;
  std::vector<std::byte> bytes(std::size_t{1} << 16);
  std::size_t filled = 0;
  while (filled < most) {
    if (filled == bytes.size()) bytes.resize(2 * bytes.size());
    const std::size_t room = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size() - filled, most - filled));
    const std::size_t count = input->read(std::span(bytes).subspan(filled, room));
    if (count == 0) break;
    filled += count;
  }
  bytes.resize(filled);
  bytes.shrink_to_fit();
  return std::make_unique<MemoryInput>(std::move(bytes), input->name());
}

std::string read_all(Input& input) {
  std::string text;
  std::size_t filled = 0;
  std::size_t count = 0;
  do {
    filled += count;
    if (filled == text.size()) text.resize(std::max<std::size_t>(2 * text.size(), std::size_t{1} << 16));
    count = input.read(std::as_writable_bytes(std::span(text)).subspan(filled));
  } while (count > 0);
  text.resize(filled);
  return text;
}

}  // namespace weir
