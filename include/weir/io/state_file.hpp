#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "weir/state/state.hpp"

namespace weir {

// The `.weir` format, versions 3 and 4. All numbers are little-endian.
//
//     byte  size  header
//        0     8  magic: 89 57 45 49 52 0D 0A 1A ("\x89WEIR\r\n\x1a": a transfer as text damages it visibly)
//        8     4  format version: 4 where there are names, otherwise 3
//       12     4  size of this header: 48
//       16     8  0
//       24     8  length of the payload; the file ends with the payload
//       32     8  XXH64 of the payload, seed state_checksum_seed
//       40     8  XXH64 of the bytes 0 to 39, seed state_checksum_seed
//
//     byte  size  payload: a cereal portable binary archive
//        0     1  1: the archive is little-endian
//        1     4  T: length of the problem
//        5     T  the problem, a JSON object (weir/state/problem.hpp)
//      T+5     8  updates
//     T+13     8  ranks
//     T+21     8  SketchConfig::fingerprint() of the sketch: another value means another construction of the hashes
//     T+29     4  number of arrays, then for each array of the layout, in its order (weir/state/state.hpp)
//                   4  N: length of its name
//                   N  its name
//                   4  M: length of the name of its operand
//                   M  the name of its operand
//                   8  how many numbers it has
//                8  length of the part that is no sum (Kept::other_part), 0 in most states
//                8  of version 4: length of the names, not 0
//                   the numbers of all arrays, binary64, one array after the other
//                   the part that is no sum
//                   the names of keys (src/names.cpp)
//
// Files of version 2 are read as well (src/io/state_file_v2.cpp draws them), for ever. Files of version 1 hold sums over
// random scales of another construction: there is no way from one to the other but the stream.
//
// The checksums find damage, not malice: a forged file is still read safely, but its numbers are whatever its author
// wrote.

/// The latest format version, which is written where it is needed.
inline constexpr std::uint32_t state_format_version = 4;
/// Seed of the checksums, apart from all seeds of sketches.
inline constexpr std::uint64_t state_checksum_seed = 0x77656972'73746174;

/// Hands out the bytes of the numbers of array number `array`, complete and in order, in pieces of whole numbers. It is called for each array, in two
/// passes over all of them: one for the checksum, one for the file.
using ArrayPieces =
    std::function<void(std::size_t array, const std::function<void(std::span<const std::byte> piece)>& take)>;
/// The pieces of a state that is in one place.
[[nodiscard]] ArrayPieces pieces_of(const State& state);

/// The bytes of a `.weir` file. Throws InputError when a number is not finite.
[[nodiscard]] std::vector<std::byte> serialise(const State& state);
/// Inverse. `name` is used in messages. Throws InputError for anything but exactly one whole, unharmed state of a known
/// version and setting, with finite numbers, that can be asked. Allocates nothing before the length and the checksums have
/// been verified, then the description, at most 1 MiB, and only then the state, after its size has been found equal to
/// the bytes that are there.
[[nodiscard]] State deserialise(std::span<const std::byte> bytes, const std::string& name);

/// Writes to a temporary name beside `path`, flushes to disk, renames (see OutputFile), without a copy of the numbers in
/// memory. Throws InputError naming the file, also when a number is not finite.
void save_state(const std::string& path, const State& state);
/// The same where the arrays are not all in one place: `pieces` has them.
void save_state(const std::string& path, const State& state, const ArrayPieces& pieces);
/// Reads a regular file in two passes, one for the checksum, so that the state is all the memory that is needed. Throws
/// as deserialise does, and InputError for a missing file, a directory, ...
[[nodiscard]] State load_state(const std::string& path);
/// The format version that a state file states. Throws InputError as load_state for what is no state file.
[[nodiscard]] std::uint32_t state_version(const std::string& path);
/// The checksum of its payload that the header of a state file states. Verifies nothing else. Throws InputError for what does
/// not begin as a state file does.
[[nodiscard]] std::uint64_t state_checksum(const std::string& path);
/// True when a file begins as a state does. Throws InputError when it cannot be read.
[[nodiscard]] bool looks_like_state(const std::string& path);

}  // namespace weir
