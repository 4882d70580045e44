#include "io/compression.hpp"

#include <fmt/format.h>
#define ZLIB_CONST  // zlib does not change what it reads
#include <zlib.h>
#ifdef WEIR_ZSTD
#include <zstd.h>
#include <zstd_errors.h>
#endif

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/pick.hpp"
#include "weir/error.hpp"

namespace weir {

namespace {

using namespace std::string_view_literals;
using enum CompressionKind;

constexpr std::array<Compression, 13> compressions{{
    // The third byte is the only compression method that gzip knows.
    {gzip, "gzip", "\x1F\x8B\x08"sv, 0, "gzip -dc"},
    {zstd, "zstd", "\x28\xB5\x2F\xFD"sv, 0, "zstd -dc"},
    {other, "bzip2", "1AY&SY"sv, 4, "bzip2 -dc"},
    {other, "xz", "\xFD\x37zXZ\x00"sv, 0, "xz -dc"},
    {other, "lzma", "\x5D\x00\x00"sv, 0, "xz -dc --format=lzma"},
    {other, "lzip", "LZIP\x01"sv, 0, "lzip -dc"},
    {other, "lz4", "\x04\x22\x4D\x18"sv, 0, "lz4 -dc"},
    {other, "lz4", "\x02\x21\x4C\x18"sv, 0, "lz4 -dc"},
    {other, "lzop", "\x89LZO\x00"sv, 0, "lzop -dc"},
    {other, "compress", "\x1F\x9D"sv, 0, "gzip -dc"},
    {other, "snappy", "\xFF\x06\x00\x00sNaPpY"sv, 0, "snzip -dc"},
    {other, "zip", "PK\x03\x04"sv, 0, "unzip -p"},
    {other, "7-Zip", "7z\xBC\xAF\x27\x1C"sv, 0, "7z x -so"},
}};

/// A damaged file of the kinds that weir reads is still told from text, whose bad lines may be skipped.
bool is_compressed_by(const Compression& compression, std::string_view head) noexcept {
  if (compression.kind == gzip) return is_gzip(head);
  if (compression.kind == zstd)
    return head.size() >= compression.magic.size() && resembles(head, compression.magic, compression.magic.size() - 1);
  return head.substr(std::min(compression.magic_at, head.size())).starts_with(compression.magic);
}

/// Frames that zstd passes over, which may come first.
bool is_skippable_frame(std::string_view head) noexcept {
  return head.size() >= 4 && (head[0] & 0xF0) == 0x50 && head.substr(1, 3) == "\x2A\x4D\x18"sv;
}

/// What is decompressed from a sequence of compressed parts, one behind the other. A Codec has
///   most_expansion                        bytes that one compressed byte can stand for;
///   void begin()                          prepares for the next part;
///   bool step(Buffers&, std::string& wrong)  decompresses some more; true at the end of a part; `wrong` says what is wrong.
struct Buffers {
  const std::byte* in = nullptr;
  std::size_t in_left = 0;
  std::byte* out = nullptr;
  std::size_t out_left = 0;
};

template <class Codec>
class DecompressedInput final : public Input {
 public:
  DecompressedInput(std::unique_ptr<Input> compressed, std::string_view format)
      : Input(compressed->name()), compressed_(std::move(compressed)), format_(format), buffer_(std::size_t{1} << 17) {}

  bool is_live() const noexcept override { return compressed_->is_live(); }
  std::optional<std::uint64_t> most() const noexcept override {
    const auto bytes = compressed_->most();
    if (!bytes || *bytes > std::numeric_limits<std::uint64_t>::max() / Codec::most_expansion) return std::nullopt;
    return *bytes * Codec::most_expansion;
  }
  std::optional<BytesRead> bytes_read() const noexcept override {
    auto bytes = compressed_->bytes_read();
    // What has been read ahead does not count.
    if (bytes) bytes->read -= std::min<std::uint64_t>(bytes->read, buffers_.in_left);
    return bytes;
  }
  std::string at_byte(std::uint64_t offset) const override {
    return fmt::format("{}: byte {} of the decompressed data", name(), offset);
  }

 private:
  std::size_t read_at(std::uint64_t, std::span<std::byte> out) override {
    if (out.empty()) return 0;
    buffers_.out = out.data();
    buffers_.out_left = out.size();
    while (buffers_.out_left == out.size()) {
      if (buffers_.in_left == 0 && !has_output_) {
        const std::size_t count = compressed_->read(buffer_);
        if (count == 0) {
          if (between_parts_) return 0;
          fail("the file ends in the middle of the compressed data; it is truncated");
        }
        buffers_.in = buffer_.data();
        buffers_.in_left = count;
      }
      if (between_parts_ && !begin_part()) continue;
      std::string wrong;
      between_parts_ = codec_.step(buffers_, wrong);
      if (!wrong.empty()) fail(fmt::format("not valid {} ({})", format_, wrong));
      // What fills the output may have left some inside of the codec.
      has_output_ = !between_parts_ && buffers_.out_left == 0;
    }
    return out.size() - buffers_.out_left;
  }

  /// Behind a part there is another one, or nothing but zeros, with which tapes and disks are filled up. False when all that
  /// has been read is zeros.
  bool begin_part() {
    const std::byte* end = buffers_.in + buffers_.in_left;
    if (is_padded_ || (is_begun_ && *buffers_.in == std::byte{0})) {
      is_padded_ = true;
      const std::byte* other = std::find_if(buffers_.in, end, [](std::byte b) { return b != std::byte{0}; });
      buffers_.in_left = static_cast<std::size_t>(end - other);
      buffers_.in = other;
      if (other != end) fail(fmt::format("not valid {} (zeros, and then something else, behind its end)", format_));
      return false;
    }
    codec_.begin();
    is_begun_ = true;
    between_parts_ = false;
    return true;
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(
        fmt::format("{}: byte {} of the compressed data: {}", name(), compressed_->offset() - buffers_.in_left, what));
  }

  std::unique_ptr<Input> compressed_;
  std::string_view format_;
  std::vector<std::byte> buffer_;
  Buffers buffers_;
  Codec codec_;
  bool between_parts_ = true;
  bool is_begun_ = false;
  bool is_padded_ = false;
  bool has_output_ = false;
};

/// zlib. `window` as inflateInit2() takes it.
template <int window>
class Inflater {
 public:
  static constexpr std::uint64_t most_expansion = 1032;  // 258 bytes in two bits

  Inflater() {
    if (inflateInit2(&stream_, window) != Z_OK) throw InputError("cannot initialise zlib");
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  void begin() { inflateReset(&stream_); }
  bool step(Buffers& buffers, std::string& wrong) {
    constexpr std::size_t most = std::numeric_limits<uInt>::max();
    stream_.next_in = reinterpret_cast<const Bytef*>(buffers.in);
    stream_.avail_in = static_cast<uInt>(std::min(buffers.in_left, most));
    stream_.next_out = reinterpret_cast<Bytef*>(buffers.out);
    stream_.avail_out = static_cast<uInt>(std::min(buffers.out_left, most));
    const int status = inflate(&stream_, Z_NO_FLUSH);
    buffers.in_left -= static_cast<std::size_t>(reinterpret_cast<const std::byte*>(stream_.next_in) - buffers.in);
    buffers.in = reinterpret_cast<const std::byte*>(stream_.next_in);
    buffers.out_left -= static_cast<std::size_t>(reinterpret_cast<std::byte*>(stream_.next_out) - buffers.out);
    buffers.out = reinterpret_cast<std::byte*>(stream_.next_out);
    if (status == Z_STREAM_END) return true;
    if (status != Z_OK && status != Z_BUF_ERROR) wrong = stream_.msg != nullptr ? stream_.msg : zError(status);
    return false;
  }

 private:
  z_stream stream_{};
};
// 15: the largest window; + 16: gzip framing, whose CRC-32 and length zlib verifies; negative: none.
using GzipCodec = Inflater<15 + 16>;
using DeflateCodec = Inflater<-15>;

#ifdef WEIR_ZSTD
class ZstdCodec {
 public:
  static constexpr std::uint64_t most_expansion = std::uint64_t{1} << 15;  // a block of 128 KiB in four bytes

  ZstdCodec() : stream_(ZSTD_createDStream()) {
    if (stream_ == nullptr) throw InputError("cannot initialise libzstd");
  }
  ~ZstdCodec() { ZSTD_freeDStream(stream_); }
  ZstdCodec(const ZstdCodec&) = delete;
  ZstdCodec& operator=(const ZstdCodec&) = delete;

  void begin() { ZSTD_initDStream(stream_); }
  bool step(Buffers& buffers, std::string& wrong) {
    ZSTD_inBuffer in{buffers.in, buffers.in_left, 0};
    ZSTD_outBuffer out{buffers.out, buffers.out_left, 0};
    const std::size_t status = ZSTD_decompressStream(stream_, &out, &in);
    buffers.in += in.pos;
    buffers.in_left -= in.pos;
    buffers.out += out.pos;
    buffers.out_left -= out.pos;
    if (ZSTD_isError(status) != 0) {
      // It is refused unless asked for, as it takes gigabytes of memory.
      const bool is_wide = ZSTD_getErrorCode(status) == ZSTD_error_frameParameter_windowTooLarge;
      wrong = fmt::format("{}{}", ZSTD_getErrorName(status),
                          is_wide ? "; zstd -dc --long=31 FILE | weir ... - reads it" : "");
    }
    return status == 0;
  }

 private:
  ZSTD_DStream* stream_;
};
#endif

/// As verified().
class VerifiedInput final : public Input {
 public:
  VerifiedInput(std::unique_ptr<Input> content, std::uint64_t size, std::uint32_t crc)
      : Input(content->name()), content_(std::move(content)), size_(size), expected_(crc) {}
  std::optional<std::uint64_t> size() const noexcept override { return content_->size(); }
  std::optional<std::uint64_t> most() const noexcept override { return size_; }
  std::string at_byte(std::uint64_t offset) const override { return content_->at_byte(offset); }
  std::optional<BytesRead> bytes_read() const noexcept override {
    return size() ? Input::bytes_read() : content_->bytes_read();
  }

 private:
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) override {
    if (out.empty()) return 0;
    if (size()) content_->seek(offset);
    const std::size_t count = content_->read(out.first(std::min<std::size_t>(out.size(), std::size_t{1} << 30)));
    if (offset != read_) return count;
    if (count > size_ - read_ || (count == 0 && read_ != size_))
      throw InputError(fmt::format("{}: decompressed it has {} bytes, but the archive says {}", name(),
                                   count > 0 ? "more" : fmt::to_string(read_), size_));
    crc_ = crc32(crc_, reinterpret_cast<const Bytef*>(out.data()), static_cast<uInt>(count));
    read_ += count;
    if (read_ == size_ && crc_ != expected_)
      throw InputError(
          fmt::format("{}: its CRC-32 is {:08x}, but the archive says {:08x}: it is damaged", name(), crc_, expected_));
    return count;
  }

  std::unique_ptr<Input> content_;
  std::uint64_t size_;
  std::uint64_t read_ = 0;  ///< From the beginning on, in order.
  std::uint32_t expected_;
  uLong crc_ = 0;
};

}  // namespace

#ifdef WEIR_ZSTD
const bool reads_zstd = true;
#else
const bool reads_zstd = false;
#endif

void refuse_compression(const std::string& name, const Compression& compression) {
  const bool is_file = name != "standard input";
  throw InputError(
      fmt::format("{}: compressed by {}, which this weir does not read{}: expected it decompressed, as by "
                  "{}{}{} | weir ... -",
                  name, compression.name, compression.kind == zstd ? " (it was built without libzstd)" : "",
                  compression.command, is_file ? " " : "", is_file ? file_of(name) : ""));
}

const Compression* compression_of(std::string_view head) noexcept {
  for (const Compression& compression : compressions)
    if (is_compressed_by(compression, head)) return &compression;
  return is_skippable_frame(head) ? &compressions[1] : nullptr;
}

std::unique_ptr<Input> decompress(std::unique_ptr<Input> input, const Compression& compression) {
  std::unique_ptr<Input> content;
  if (compression.kind == gzip) {
    content = std::make_unique<DecompressedInput<GzipCodec>>(std::move(input), compression.name);
#ifdef WEIR_ZSTD
  } else if (compression.kind == zstd) {
    content = std::make_unique<DecompressedInput<ZstdCodec>>(std::move(input), compression.name);
#endif
  } else {
    refuse_compression(input->name(), compression);
  }
  const Compression* inner = compression_of(content->peek(compression_magic_length));
  if (inner != nullptr) {
    const std::string file = file_of(content->name());
    throw InputError(fmt::format(
        "{0}: compressed twice, by {1} and in that {2}: expected the content after one decompression, as by "
        "{3} {4} >FILE",
        content->name(), compression.name, inner->name, compression.command, file));
  }
  return content;
}

std::unique_ptr<Input> content_of(std::unique_ptr<Input> input) {
  const Compression* compression = compression_of(input->peek(compression_magic_length));
  return compression != nullptr ? decompress(std::move(input), *compression) : std::move(input);
}

std::unique_ptr<Input> verified(std::unique_ptr<Input> content, std::uint64_t size, std::uint32_t crc) {
  return std::make_unique<VerifiedInput>(std::move(content), size, crc);
}

std::unique_ptr<Input> inflate_part(std::unique_ptr<Input> input, std::uint64_t offset, std::uint64_t compressed,
                                    std::uint64_t size, std::uint32_t crc) {
  auto part = part_of(std::move(input), offset, compressed);
  auto content = std::make_unique<DecompressedInput<DeflateCodec>>(std::move(part), "deflate");
  return verified(std::move(content), size, crc);
}

}  // namespace weir
