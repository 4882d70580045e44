#include "io/input.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

#include "weir/error.hpp"
#include "weir/io/cancelled.hpp"
#include "weir/io/file.hpp"

namespace weir {

namespace {

constexpr std::size_t gzip_magic_length = 3;

}  // namespace

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
  FileInput(const std::string& path, const std::optional<FileIdentity>& agreed)
      : Input(path), file_(path), size_(file_.size()) {
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
  std::optional<std::uint64_t> size() const noexcept override { return bytes_.size(); }

 private:
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) override {
    const auto from = static_cast<std::size_t>(std::min<std::uint64_t>(offset, bytes_.size()));
    const std::size_t count = std::min(out.size(), bytes_.size() - from);
    if (count > 0) std::memcpy(out.data(), bytes_.data() + from, count);
    return count;
  }

  std::span<const std::byte> bytes_;
};

class GzipInput final : public Input {
 public:
  explicit GzipInput(std::unique_ptr<Input> compressed)
      : Input(compressed->name()), compressed_(std::move(compressed)), buffer_(std::size_t{1} << 17) {
    // 15: the largest window; + 16: gzip framing, whose CRC-32 and length zlib verifies.
    if (inflateInit2(&inflater_, 15 + 16) != Z_OK) throw InputError(name() + ": cannot initialise zlib");
  }
  ~GzipInput() override { inflateEnd(&inflater_); }

  bool is_live() const noexcept override { return compressed_->is_live(); }
  std::optional<BytesRead> bytes_read() const noexcept override {
    auto bytes = compressed_->bytes_read();
    // What has been read ahead does not count.
    if (bytes) bytes->read -= std::min<std::uint64_t>(bytes->read, inflater_.avail_in);
    return bytes;
  }
  std::string at_byte(std::uint64_t offset) const override {
    return fmt::format("{}: byte {} of the decompressed data", name(), offset);
  }

 private:
  std::size_t read_at(std::uint64_t, std::span<std::byte> out) override {
    const std::size_t wanted = std::min<std::size_t>(out.size(), std::numeric_limits<uInt>::max());
    inflater_.next_out = reinterpret_cast<Bytef*>(out.data());
    inflater_.avail_out = static_cast<uInt>(wanted);
    while (inflater_.avail_out == wanted) {
      if (inflater_.avail_in == 0) {
        const std::size_t count = compressed_->read(buffer_);
        if (count == 0) {
          if (between_members_) return 0;
          fail("the file ends in the middle of the compressed data; it is truncated");
        }
        inflater_.next_in = reinterpret_cast<Bytef*>(buffer_.data());
        inflater_.avail_in = static_cast<uInt>(count);
      }
      if (between_members_) {
        inflateReset(&inflater_);
        between_members_ = false;
      }
      const int status = inflate(&inflater_, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {
        between_members_ = true;
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        fail(fmt::format("not valid gzip ({})", inflater_.msg != nullptr ? inflater_.msg : zError(status)));
      }
    }
    return wanted - inflater_.avail_out;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(fmt::format("{}: byte {} of the compressed data: {}", name(),
                                 compressed_->offset() - inflater_.avail_in, what));
  }

  std::unique_ptr<Input> compressed_;
  std::vector<std::byte> buffer_;
  z_stream inflater_{};
  bool between_members_ = false;
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
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    if (agreed) throw InputError(fmt::format("{}: a pipe has taken the name since the stream was begun", path));
    return std::make_unique<PipeInput>(path, stop);
  }
  return std::make_unique<FileInput>(path, agreed);
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

std::unique_ptr<Input> decompress(std::unique_ptr<Input> compressed) {
  auto input = std::make_unique<GzipInput>(std::move(compressed));
  if (is_gzip(input->peek(gzip_magic_length)))
    throw InputError(input->name() + ": compressed twice; expected the content after one decompression");
  return input;
}

std::unique_ptr<Input> content_of(std::unique_ptr<Input> input) {
  return is_gzip(input->peek(gzip_magic_length)) ? decompress(std::move(input)) : std::move(input);
}

}  // namespace weir
