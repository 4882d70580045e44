#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/input.hpp"

namespace weir {

/// A member of a ZIP archive (PKWARE APPNOTE 6.3), as the central directory has it.
struct ZipMember {
  std::string name;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t crc = 0;
  std::uint64_t compressed = 0;  ///< Bytes in the archive,
  std::uint64_t size = 0;        ///< and when they are decompressed.
  std::uint64_t header = 0;      ///< Offset of its local header.
};

/// Whether `file`, which stands at its beginning, is a ZIP archive.
[[nodiscard]] bool is_zip_archive(Input& file);
/// The members of an archive, with or without ZIP64; `archive` can seek. Takes no more memory than the directory has in the
/// file, and a few times that. Throws InputError for a directory that is damaged.
[[nodiscard]] std::vector<ZipMember> zip_members(Input& archive);
/// The content of a member, stored or deflated; can seek if it is stored. Its CRC-32 is verified as verified() says. Throws
/// InputError for what is encrypted, compressed in another way or does not lie in the archive.
[[nodiscard]] std::unique_ptr<Input> open_member(std::unique_ptr<Input> archive, const ZipMember& member);

}  // namespace weir
