#include "io/zip.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "io/compression.hpp"
#include "weir/error.hpp"
#include "weir/io/text.hpp"

namespace weir {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view local_magic = "PK\x03\x04"sv, directory_magic = "PK\x01\x02"sv, end_magic = "PK\x05\x06"sv,
                           locator64_magic = "PK\x06\x07"sv, end64_magic = "PK\x06\x06"sv;
constexpr std::size_t local_length = 30, directory_length = 46, end_length = 22, locator64_length = 20,
                      end64_length = 56;
constexpr std::size_t longest_comment = 0xFFFF;
/// What a field of 32 bits holds whose value is in the ZIP64 record.
constexpr std::uint64_t elsewhere = 0xFFFFFFFF;

[[noreturn]] void damaged(const Input& archive, std::string_view what) {
  throw InputError(fmt::format("{}: not a whole ZIP archive: {}", archive.name(), what));
}

/// A number of `length` bytes, little-endian.
std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t length) noexcept {
  std::uint64_t value = 0;
  for (std::size_t k = 0; k < length; ++k) value |= std::uint64_t{static_cast<unsigned char>(bytes[at + k])} << (8 * k);
  return value;
}

/// `length` bytes from `offset` on.
std::string bytes_at(Input& archive, std::uint64_t offset, std::uint64_t length, std::string_view what) {
  if (offset > *archive.size() || length > *archive.size() - offset)
    damaged(archive, fmt::format("{} lies behind its end", what));
  std::string bytes(static_cast<std::size_t>(length), '\0');
  archive.seek(offset);
  if (archive.read_fully(std::as_writable_bytes(std::span(bytes))) < bytes.size())
    damaged(archive, fmt::format("{} is cut", what));
  return bytes;
}

struct Directory {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

Directory find_directory(Input& archive) {
  const std::uint64_t size = *archive.size();
  const std::uint64_t tail_length = std::min<std::uint64_t>(size, end_length + longest_comment);
  const std::uint64_t tail_begin = size - tail_length;
  const std::string tail = bytes_at(archive, tail_begin, tail_length, "its end");
  const std::size_t end = tail.rfind(end_magic);
  if (end == std::string::npos || tail.size() - end < end_length) damaged(archive, "it has no directory at its end");
  Directory directory{number_at(tail, end + 16, 4), number_at(tail, end + 12, 4)};
  if (directory.offset != elsewhere && directory.length != elsewhere) return directory;
  if (tail_begin + end < locator64_length) damaged(archive, "it has no ZIP64 directory");
  const std::string locator =
      bytes_at(archive, tail_begin + end - locator64_length, locator64_length, "its ZIP64 locator");
  if (!locator.starts_with(locator64_magic)) damaged(archive, "it has no ZIP64 directory");
  const std::string end64 = bytes_at(archive, number_at(locator, 8, 8), end64_length, "its ZIP64 directory");
  if (!end64.starts_with(end64_magic)) damaged(archive, "it has no ZIP64 directory");
  return {number_at(end64, 48, 8), number_at(end64, 40, 8)};
}

/// Puts the values that stand in the ZIP64 field of `extra` in the place of those that say so.
void take_zip64(const Input& archive, std::string_view extra, ZipMember& member) {
  constexpr std::uint64_t zip64 = 1;
  while (extra.size() >= 4) {
    const std::uint64_t id = number_at(extra, 0, 2);
    const auto length = static_cast<std::size_t>(number_at(extra, 2, 2));
    std::string_view field = extra.substr(4, length);
    if (field.size() < length)
      damaged(archive, fmt::format("the directory entry of {} is cut", quoted_excerpt(member.name)));
    extra.remove_prefix(4 + length);
    if (id != zip64) continue;
    for (std::uint64_t* value : {&member.size, &member.compressed, &member.header}) {
      if (*value != elsewhere) continue;
      if (field.size() < 8) damaged(archive, fmt::format("the ZIP64 sizes of {} are cut", quoted_excerpt(member.name)));
      *value = number_at(field, 0, 8);
      field.remove_prefix(8);
    }
    return;
  }
}

}  // namespace

bool is_zip_archive(Input& file) { return file.peek(local_magic.size()) == local_magic; }

std::vector<ZipMember> zip_members(Input& archive) {
  const auto [offset, length] = find_directory(archive);
  const std::string bytes = bytes_at(archive, offset, length, "its directory");
  std::vector<ZipMember> members;
  for (std::string_view rest = bytes; !rest.empty();) {
    if (rest.size() < directory_length || !rest.starts_with(directory_magic))
      damaged(archive, "its directory is damaged");
    const auto name_length = static_cast<std::size_t>(number_at(rest, 28, 2));
    const auto extra_length = static_cast<std::size_t>(number_at(rest, 30, 2));
    const auto comment_length = static_cast<std::size_t>(number_at(rest, 32, 2));
    const std::size_t all = directory_length + name_length + extra_length + comment_length;
    if (rest.size() < all) damaged(archive, "its directory is cut");
    ZipMember member{.name = std::string(rest.substr(directory_length, name_length)),
                     .flags = static_cast<std::uint16_t>(number_at(rest, 8, 2)),
                     .method = static_cast<std::uint16_t>(number_at(rest, 10, 2)),
                     .crc = static_cast<std::uint32_t>(number_at(rest, 16, 4)),
                     .compressed = number_at(rest, 20, 4),
                     .size = number_at(rest, 24, 4),
                     .header = number_at(rest, 42, 4)};
    take_zip64(archive, rest.substr(directory_length + name_length, extra_length), member);
    members.push_back(std::move(member));
    rest.remove_prefix(all);
  }
  return members;
}

std::unique_ptr<Input> open_member(std::unique_ptr<Input> archive, const ZipMember& member) {
  constexpr std::uint16_t encrypted = 1, stored = 0, deflated = 8;
  if ((member.flags & encrypted) != 0)
    throw InputError(fmt::format("{}: {} is encrypted; expected an archive without a password", archive->name(),
                                 quoted_excerpt(member.name)));
  if (member.method != stored && member.method != deflated)
    throw InputError(
        fmt::format("{}: {} is compressed by method {} of ZIP; expected it stored or deflated, as "
                    "numpy.savez and numpy.savez_compressed write it",
                    archive->name(), quoted_excerpt(member.name), member.method));
  const std::string local = bytes_at(*archive, member.header, local_length, "a member");
  if (!local.starts_with(local_magic))
    damaged(*archive, fmt::format("{} is not where the directory says", quoted_excerpt(member.name)));
  const std::uint64_t begin = member.header + local_length + number_at(local, 26, 2) + number_at(local, 28, 2);
  if (begin > *archive->size() || member.compressed > *archive->size() - begin)
    damaged(*archive, fmt::format("{} lies behind its end", quoted_excerpt(member.name)));
  if (member.method == stored) {
    if (member.size != member.compressed)
      damaged(*archive, fmt::format("{} has two sizes", quoted_excerpt(member.name)));
    return verified(part_of(std::move(archive), begin, member.size), member.size, member.crc);
  }
  return inflate_part(std::move(archive), begin, member.compressed, member.size, member.crc);
}

}  // namespace weir
