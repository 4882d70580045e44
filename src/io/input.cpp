#include "io/input.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "weir/error.hpp"
#include "weir/io/file.hpp"

namespace weir {

namespace {

constexpr std::size_t gzip_magic_length = 3;

}  // namespace

std::string Input::at_byte(std::uint64_t offset) const { return fmt::format("{}: byte {}", name_, offset); }

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
  explicit FileInput(const std::string& path) : Input(path), file_(path) {}
  std::optional<std::uint64_t> size() const noexcept override { return file_.size(); }

 private:
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) override {
    const std::uint64_t left = file_.size() - std::min(file_.size(), offset);
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, out.size()));
    if (wanted == 0) return 0;
    const std::size_t count = file_.read_some_at(offset, out.first(wanted));
    if (count == 0) {
      throw InputError(
          fmt::format("{}: the file had {} bytes when it was opened and now ends here", at_byte(offset), file_.size()));
    }
    return count;
  }

  InputFile file_;
};

class PipeInput final : public Input {
 public:
  PipeInput(std::string name, int descriptor, bool owned)
      : Input(std::move(name)), descriptor_(descriptor), owned_(owned) {}
  ~PipeInput() override {
    if (owned_) ::close(descriptor_);
  }
  bool is_live() const noexcept override { return true; }

 private:
  std::size_t read_at(std::uint64_t, std::span<std::byte> out) override {
    while (true) {
      const ssize_t count = ::read(descriptor_, out.data(), out.size());
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) throw InputError(fmt::format("{}: cannot read: {}", name(), std::strerror(errno)));
    }
  }

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

std::unique_ptr<Input> open_input(const std::string& path) {
  if (path == "-") return std::make_unique<PipeInput>("standard input", STDIN_FILENO, false);
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) throw InputError(fmt::format("{}: {}", path, std::strerror(errno)));
    return std::make_unique<PipeInput>(path, descriptor, true);
  }
  return std::make_unique<FileInput>(path);
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
