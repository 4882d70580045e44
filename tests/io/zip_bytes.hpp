#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

#include "support/files.hpp"

namespace weir::testing_support {

/// The lowest `bytes` bytes of a number.
inline std::string little_endian(std::uint64_t value, int bytes) {
  std::string out;
  for (int k = 0; k < bytes; ++k) out += static_cast<char>(value >> (8 * k) & 0xff);
  return out;
}

/// The bytes of `text` without gzip's framing, which are those of a deflated member.
inline std::string deflated(const std::string& text) {
  const std::string whole = gzip(text);
  return whole.substr(10, whole.size() - 18);
}

struct ArchiveMember {
  std::string name;
  std::string content;
  bool is_deflated = false;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
};

/// A ZIP archive as PKWARE's note describes it. NumPy writes the local sizes as ZIP64, and those in the directory where they
/// are large; `zip64` puts all of them there.
inline std::string zip(const std::vector<ArchiveMember>& members, bool zip64 = false) {
  std::string out, directory;
  for (const ArchiveMember& member : members) {
    const std::string data = member.is_deflated ? deflated(member.content) : member.content;
    const auto crc =
        crc32(0, reinterpret_cast<const Bytef*>(member.content.data()), static_cast<uInt>(member.content.size()));
    const std::uint64_t header = out.size();
    const std::string common = little_endian(member.flags, 2) +
                               little_endian(member.is_deflated ? 8 : member.method, 2) + little_endian(0, 4) +
                               little_endian(crc, 4);
    const std::string local_extra = little_endian(1, 2) + little_endian(16, 2) +
                                    little_endian(member.content.size(), 8) + little_endian(data.size(), 8);
    out += "PK\x03\x04" + little_endian(45, 2) + common + little_endian(0xFFFFFFFF, 4) + little_endian(0xFFFFFFFF, 4) +
           little_endian(member.name.size(), 2) + little_endian(local_extra.size(), 2) + member.name + local_extra +
           data;
    const std::string extra = zip64 ? little_endian(7, 2) + little_endian(3, 2) + "abc" + little_endian(1, 2) +
                                          little_endian(24, 2) + little_endian(member.content.size(), 8) +
                                          little_endian(data.size(), 8) + little_endian(header, 8)
                                    : "";
    directory += "PK\x01\x02" + little_endian(45, 2) + little_endian(45, 2) + common +
                 little_endian(zip64 ? 0xFFFFFFFF : data.size(), 4) +
                 little_endian(zip64 ? 0xFFFFFFFF : member.content.size(), 4) + little_endian(member.name.size(), 2) +
                 little_endian(extra.size(), 2) + little_endian(0, 2) + little_endian(0, 8) +
                 little_endian(zip64 ? 0xFFFFFFFF : header, 4) + member.name + extra;
  }
  const std::uint64_t begin = out.size();
  out += directory;
  if (zip64) {
    const std::uint64_t end = out.size();
    out += "PK\x06\x06" + little_endian(44, 8) + little_endian(45, 2) + little_endian(45, 2) + little_endian(0, 8) +
           little_endian(members.size(), 8) + little_endian(members.size(), 8) + little_endian(directory.size(), 8) +
           little_endian(begin, 8);
    out += "PK\x06\x07" + little_endian(0, 4) + little_endian(end, 8) + little_endian(1, 4);
  }
  return out + "PK\x05\x06" + little_endian(0, 4) + little_endian(members.size(), 2) +
         little_endian(members.size(), 2) + little_endian(zip64 ? 0xFFFFFFFF : directory.size(), 4) +
         little_endian(zip64 ? 0xFFFFFFFF : begin, 4) + little_endian(0, 2);
}

}  // namespace weir::testing_support
