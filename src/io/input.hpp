#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "weir/io/bytes_read.hpp"

namespace weir {

/// A sequence of bytes that is read once from front to back: a file, a pipe, memory, or what decompression (compression.hpp)
/// or picking (pick.hpp) makes of another Input. Those with a size() can also be read from any offset.
class Input {
 public:
  explicit Input(std::string name) : name_(std::move(name)) {}
  virtual ~Input() = default;
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Bytes in all, for an Input that can seek.
  [[nodiscard]] virtual std::optional<std::uint64_t> size() const noexcept { return std::nullopt; }
  /// Bytes in all, at most, where that is known without reading them.
  [[nodiscard]] virtual std::optional<std::uint64_t> most() const noexcept { return size(); }
  /// Bytes up to offset() of one that can seek, and compressed bytes of one that is decompressed. None of a pipe.
  [[nodiscard]] virtual std::optional<BytesRead> bytes_read() const noexcept;
  /// True when bytes arrive as somebody writes them, so that a consumer should not wait for a full batch.
  [[nodiscard]] virtual bool is_live() const noexcept { return false; }
  /// "NAME: byte OFFSET", for messages.
  [[nodiscard]] virtual std::string at_byte(std::uint64_t offset) const;

  /// At most out.size() bytes, at least one unless the end has been reached. Throws InputError.
  std::size_t read(std::span<std::byte> out);
  /// As read(), but fewer than out.size() only at the end.
  std::size_t read_fully(std::span<std::byte> out);
  /// The first bytes, at most `count`, fewer only when there are no more; they will be read again. Only before the
  /// first read().
  [[nodiscard]] std::string_view peek(std::size_t count);
  /// Offset of the next byte.
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }
  /// Goes on at `offset`; only with a size().
  void seek(std::uint64_t offset);

 private:
  /// `offset` is that of the byte after the last one handed out, and after a seek whatever was asked for.
  virtual std::size_t read_at(std::uint64_t offset, std::span<std::byte> out) = 0;

  std::string name_;
  std::uint64_t offset_ = 0;
  std::vector<std::byte> peeked_;
};

/// Which file it is that has a name on this machine, and how much of it is to be read.
struct FileIdentity {
  std::uint64_t size = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
};

/// A regular file, what is picked out of one ("heads.npz[q][3]", see pick.hpp), a pipe or a device by name; "-" is standard
/// input. Opening does not wait for the writer of a pipe.
/// When `stop` is requested, opening and reading a pipe throw Cancelled at once, also while they wait. `agreed` is for
/// regular files: exactly agreed->size bytes are read, and InputError is thrown when there are fewer, or another file
/// has taken the name. Throws InputError.
[[nodiscard]] std::unique_ptr<Input> open_input(const std::string& path, const std::stop_token& stop = {},
                                                const std::optional<FileIdentity>& agreed = std::nullopt);
/// Throws InputError when there is no standard input to read.
void require_standard_input();
/// `bytes` must outlive the Input.
[[nodiscard]] std::unique_ptr<Input> memory_input(std::span<const std::byte> bytes, std::string name);

/// True when at least `enough` bytes of `magic` are in their place at the beginning `head` of a file: so is a damaged
/// file still told from text, whose bad lines may be skipped.
[[nodiscard]] bool resembles(std::string_view head, std::string_view magic, std::size_t enough) noexcept;
/// Whether a file that begins with `head`, three bytes or more, is compressed.
[[nodiscard]] bool is_gzip(std::string_view head) noexcept;
/// `size` bytes of an input that can seek, from `begin` on.
[[nodiscard]] std::unique_ptr<Input> part_of(std::unique_ptr<Input> whole, std::uint64_t begin, std::uint64_t size);
/// The same bytes without a size(), so that nobody cuts them.
[[nodiscard]] std::unique_ptr<Input> uncut(std::unique_ptr<Input> input);
/// An input that can seek: `input` itself, or else its first `most` bytes, in memory.
[[nodiscard]] std::unique_ptr<Input> seekable(std::unique_ptr<Input> input, std::uint64_t most);
/// All that is left of it.
[[nodiscard]] std::string read_all(Input& input);

}  // namespace weir
