#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir {

/// The binary record format of events, versions 1 and 2. All numbers are little-endian; all checksums are XXH3 with 64 bits
/// and no seed (https://github.com/Cyan4973/xxHash). A file is a header, blocks of events, and an index of the blocks:
///
///     header     0  magic           8 bytes  89 'W' 'E' 'V' 0D 0A 1A 0A
///                8  version         u32      1; or 2, where blocks may hold operands that are known by name only;
///                                            this field and its place are the same in every version
///               12  flags           u32      0
///               16  checksum        u64      of bytes 0..15
///
///     block      0  checksum        u64      of all that follows in this block
///                8  tag             u32      "EVTS"
///               12  count           u32      events in this block, 1 to 65536
///               16  first           u64      events in all earlier blocks
///               24  payload         u32      bytes after this 32-byte head; follows from count and the encodings
///               28  operands        u8       0 to 5: the operand of all events; 255: a column of u8;
///                                            254, in version 2: a column of u8 and a table of names
///               29  width of i      u8       0, 1, 2, 4 or 8 bytes
///               30  width of j      u8       likewise
///               31  encoding of delta  u8    0: one f64 for all; 1, 2, 3: columns of i8, i16, i32; 4: a column of f64
///               32  base of i       u64
///                   base of j       u64
///                   column of i     count * width bytes, unsigned; i is base + entry modulo 2^64
///                   column of j     likewise; 0 for vectors
///                   delta           one f64, or a column
///                   operands        a column, or nothing; 6 + k is the operand of entry k of the table
///               every column is followed by 0 to 7 zero bytes up to a multiple of 8
///                   names           the table: 1 to 58 entries of 32 bytes, as many as the payload has room for: the
///                                   name, zeros behind it up to 31 bytes, and a u8, the number of its indices, 1 or 2
///
///     index      0  checksum        u64      of all that follows up to the end of the file
///                8  tag             u32      "INDX"
///               12  zero            u32
///               16  entries         for every block: offset u64 of its first byte in the file, first u64
///                   blocks          u64
///                   events          u64      in the whole file
///                   index offset    u64      of the index's first byte in the file
///                   end mark        8 bytes  "WEVEND" 0D 0A
///
/// There are no whole rows: what comes or leaves as a row is written as the changes of its non-zero entries.
///
/// The index lets any number of parties read the file by blocks; a pipe is read block by block, and its index then
/// checked. Blocks grow from 1024 events to 65536 as the file does, so that short files, too, can be shared out evenly.
inline constexpr std::string_view binary_magic{"\x89WEV\r\n\x1a\n", 8};
inline constexpr std::uint32_t binary_version = 2;  ///< The latest. Files that need no names are written as 1.
inline constexpr std::size_t largest_block = 65536;

/// What the index of a binary event file says.
struct BinarySummary {
  std::uint32_t version = 0;
  std::uint64_t blocks = 0;
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;  ///< Length of the file.
};

/// Reads header and index, and verifies their checksums. Throws InputError naming the byte when `path` is no whole
/// binary event file.
[[nodiscard]] BinarySummary summarise_binary(const std::string& path);

}  // namespace weir
