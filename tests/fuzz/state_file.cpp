#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "weir/error.hpp"
#include "weir/io/state_file.hpp"

// Both as it comes and, so that the fuzzer gets past them, with the length and the checksums put right.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t header_size = 48;
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  const auto read = [&] {
    try {
      const weir::State state = weir::deserialise(bytes, "fuzz");
      if (weir::serialise(state).size() != bytes.size()) __builtin_trap();
    } catch (const weir::InputError&) {
    }
  };
  read();
  if (size < header_size) return 0;
  const std::uint64_t length = size - header_size;
  std::memcpy(bytes.data(), "\x89WEIR\r\n\x1a\2\0\0\0\x30\0\0\0", 16);
  const std::uint64_t kind = 1 + (std::to_integer<unsigned>(bytes[16]) + 4) % 5;  // a kind that exists stays
  std::memcpy(bytes.data() + 16, &kind, 8);
  std::memcpy(bytes.data() + 24, &length, 8);
  const std::uint64_t payload = XXH64(bytes.data() + header_size, length, weir::state_checksum_seed);
  std::memcpy(bytes.data() + 32, &payload, 8);
  const std::uint64_t header = XXH64(bytes.data(), 40, weir::state_checksum_seed);
  std::memcpy(bytes.data() + 40, &header, 8);
  read();
  return 0;
}
