#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "weir/error.hpp"
#include "weir/io/state_file.hpp"

namespace {

/// What is read is a state, which is written as a state that reads the same, or it is an input error.
void read(std::span<const std::byte> bytes) {
  std::optional<weir::State> state;
  try {
    state = weir::deserialise(bytes, "fuzz");
  } catch (const weir::InputError&) {
    return;
  }
  const std::vector<std::byte> written = weir::serialise(*state);
  if (weir::serialise(weir::deserialise(written, "written")) != written) __builtin_trap();
}

}  // namespace

// The bytes as they come and, so that the fuzzer gets past them, with the length and the checksums put right, as version
// 3 and, for every other version byte, as version 2.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t header_size = 48;
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  read(bytes);
  if (size < header_size) return 0;
  const std::uint64_t length = size - header_size;
  const bool is_version_3 = bytes[8] == std::byte{3};
  std::memcpy(bytes.data(), "\x89WEIR\r\n\x1a\2\0\0\0\x30\0\0\0", 16);
  if (is_version_3) bytes[8] = std::byte{3};
  const std::uint64_t kind =  // of version 2; one that exists stays
      is_version_3 ? 0 : 1 + (std::to_integer<unsigned>(bytes[16]) + 4) % 5;
  std::memcpy(bytes.data() + 16, &kind, 8);
  std::memcpy(bytes.data() + 24, &length, 8);
  const std::uint64_t payload = XXH64(bytes.data() + header_size, length, weir::state_checksum_seed);
  std::memcpy(bytes.data() + 32, &payload, 8);
  const std::uint64_t header = XXH64(bytes.data(), 40, weir::state_checksum_seed);
  std::memcpy(bytes.data() + 40, &header, 8);
  read(bytes);
  return 0;
}
