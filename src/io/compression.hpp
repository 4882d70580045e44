#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "io/input.hpp"

namespace weir {

enum class CompressionKind : std::uint8_t { gzip, zstd, other };

/// A way in which files are compressed.
struct Compression {
  CompressionKind kind = CompressionKind::other;
  std::string_view name;     ///< "bzip2"
  std::string_view magic;    ///< The bytes that tell,
  std::size_t magic_at = 0;  ///< from this one on.
  std::string_view command;  ///< With the name of a file behind it, writes what is in the file to standard output.
};

/// Bytes that tell compressions apart.
inline constexpr std::size_t compression_magic_length = 10;
/// How a file that begins with `head`, compression_magic_length bytes if it has so many, is compressed; null if it is not.
[[nodiscard]] const Compression* compression_of(std::string_view head) noexcept;
/// Whether weir was built with libzstd.
extern const bool reads_zstd;
/// Says which command to use for a file that is compressed in a way that is not read.
[[noreturn]] void refuse_compression(const std::string& name, const Compression& compression);
/// The decompressed bytes of `input`, which is compressed so: gzip (RFC 1952) of any number of members, zstd (RFC 8878) of
/// any number of frames, with or without zero bytes behind the last. Throws InputError when what comes out is compressed
/// again, and naming the command to use for what weir does not decompress.
[[nodiscard]] std::unique_ptr<Input> decompress(std::unique_ptr<Input> input, const Compression& compression);
/// The bytes of `input`, decompressed if they are compressed, whatever its name is.
[[nodiscard]] std::unique_ptr<Input> content_of(std::unique_ptr<Input> input);
/// `content`, whose `size` bytes have this CRC-32: InputError is thrown where they have not, at the end of them. Where
/// `content` can seek, so can the result, and what is read in another order than from front to back is not verified.
[[nodiscard]] std::unique_ptr<Input> verified(std::unique_ptr<Input> content, std::uint64_t size, std::uint32_t crc);
/// The `size` bytes that `compressed` bytes of `input` from `offset` on inflate to (RFC 1951), with this CRC-32. Throws
/// InputError, also at the end of them when size or CRC-32 are wrong.
[[nodiscard]] std::unique_ptr<Input> inflate_part(std::unique_ptr<Input> input, std::uint64_t offset,
                                                  std::uint64_t compressed, std::uint64_t size, std::uint32_t crc);

}  // namespace weir
