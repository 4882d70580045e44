#pragma once

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <streambuf>
#include <string>
#include <utility>

#include "weir/error.hpp"
#include "weir/io/state_file.hpp"

namespace weir::state_format {

inline constexpr std::array<unsigned char, 8> magic{0x89, 'W', 'E', 'I', 'R', '\r', '\n', 0x1a};
inline constexpr std::size_t header_size = 48;

/// Fills the span with the bytes from the offset on; throws InputError when there are fewer.
using ReadAt = std::function<void(std::uint64_t, std::span<std::byte>)>;
using WriteNext = std::function<void(std::span<const std::byte>)>;

/// XXH64 of bytes that come in pieces.
class Checksum {
 public:
  Checksum() : state_(XXH64_createState(), &XXH64_freeState) {
    if (!state_) throw std::bad_alloc();
    XXH64_reset(state_.get(), state_checksum_seed);
  }
  void add(std::span<const std::byte> bytes) { XXH64_update(state_.get(), bytes.data(), bytes.size()); }
  [[nodiscard]] std::uint64_t value() const { return XXH64_digest(state_.get()); }

 private:
  std::unique_ptr<XXH64_state_t, decltype(&XXH64_freeState)> state_;
};

/// Lets cereal write through a function, straight from the arrays.
class WritingBuffer : public std::streambuf {
 public:
  explicit WritingBuffer(WriteNext write) : write_(std::move(write)) {}

 protected:
  std::streamsize xsputn(const char* data, std::streamsize count) override {
    write_(std::as_bytes(std::span(data, static_cast<std::size_t>(count))));
    return count;
  }

 private:
  WriteNext write_;
};

/// Lets cereal read through a function, straight into the arrays. Nothing beyond `size` bytes is asked for.
class ReadingBuffer : public std::streambuf {
 public:
  ReadingBuffer(ReadAt read, std::uint64_t first, std::uint64_t size)
      : read_(std::move(read)), position_(first), remaining_(size) {}

  [[nodiscard]] std::uint64_t remaining() const noexcept { return remaining_; }

 protected:
  std::streamsize xsgetn(char* data, std::streamsize count) override {
    const auto wanted = static_cast<std::size_t>(count);
    if (wanted > remaining_) return 0;
    read_(position_, std::as_writable_bytes(std::span(data, wanted)));
    position_ += wanted;
    remaining_ -= wanted;
    return count;
  }

 private:
  ReadAt read_;
  std::uint64_t position_;
  std::uint64_t remaining_;
};

/// Throws the InputError for a problem from a file that cannot be. Its message is one line, whatever the names in the
/// file are.
[[noreturn]] void throw_not_a_state(const UsageError& error, const std::string& name);
/// A state without events for a problem from a file; what cannot be is the file's fault.
[[nodiscard]] State state_for(const Problem& problem, const std::string& name);
/// Throws InputError unless the file's fingerprint of the hashes is this build's.
void require_construction(std::uint64_t stated, const Problem& problem, const std::string& name);
/// Throws InputError when a number of the state is not finite.
void require_finite(const State& state, const std::string& name);

/// Version 2: the payload of `kind`, which begins after the header and has `length` bytes; its checksum holds. Throws
/// InputError.
[[nodiscard]] State read_payload_v2(const ReadAt& read, std::uint32_t kind, std::uint64_t length,
                                    const std::string& name);

}  // namespace weir::state_format
