#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "weir/event.hpp"
#include "weir/stream/binary.hpp"

namespace weir::stream {

// The structures of binary.hpp as they lie in a file.
static_assert(std::endian::native == std::endian::little,
              "structures are copied to and from little-endian files as they are");

struct FileHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t flags;
  std::uint64_t checksum;
};
static_assert(sizeof(FileHeader) == 24);

struct BlockHead {
  std::uint64_t checksum;
  std::uint32_t tag;
  std::uint32_t count;
  std::uint64_t first;
  std::uint32_t payload;
  std::uint8_t operands;
  std::uint8_t i_width;
  std::uint8_t j_width;
  std::uint8_t delta;
};
static_assert(sizeof(BlockHead) == 32);

struct IndexHead {
  std::uint64_t checksum;
  std::uint32_t tag;
  std::uint32_t zero;
};
static_assert(sizeof(IndexHead) == 16);

struct IndexEntry {
  std::uint64_t offset;
  std::uint64_t first;
};
static_assert(sizeof(IndexEntry) == 16);

struct IndexTail {
  std::uint64_t blocks;
  std::uint64_t events;
  std::uint64_t index_offset;
  std::array<char, 8> end_mark;
};
static_assert(sizeof(IndexTail) == 32);

inline constexpr std::uint32_t block_tag = std::bit_cast<std::uint32_t>(std::array{'E', 'V', 'T', 'S'});
inline constexpr std::uint32_t index_tag = std::bit_cast<std::uint32_t>(std::array{'I', 'N', 'D', 'X'});
inline constexpr std::array<char, 8> end_mark = {'W', 'E', 'V', 'E', 'N', 'D', '\r', '\n'};
inline constexpr std::uint8_t mixed_operands = 255;
inline constexpr std::uint8_t named_operands = 254;
/// Operands that have a code of their own: y, x, A, A1, A2, X.
inline constexpr std::size_t coded_operands = 6;
inline constexpr std::size_t most_names = most_operands - coded_operands;

/// An entry of the table of names.
struct OperandName {
  std::array<char, longest_operand_name> name;
  std::uint8_t indices;
};
static_assert(sizeof(OperandName) == 32);

enum DeltaEncoding : std::uint8_t { delta_constant, delta_i8, delta_i16, delta_i32, delta_f64 };

[[nodiscard]] constexpr std::size_t padded(std::size_t bytes) noexcept { return (bytes + 7) / 8 * 8; }

/// Offsets of the columns of a block from the start of its payload.
struct BlockLayout {
  std::size_t i = 0;
  std::size_t j = 0;
  std::size_t delta = 0;
  std::size_t operands = 0;
  std::size_t names = 0;
  std::size_t payload = 0;
};

/// Nothing when the head's count or encodings are none that exist, or `name_count` names do not belong there.
[[nodiscard]] constexpr std::optional<BlockLayout> layout_of(const BlockHead& head, std::size_t name_count) noexcept {
  constexpr std::array<std::size_t, 5> delta_widths = {0, 1, 2, 4, 8};
  const auto is_width = [](std::uint8_t width) { return width == 0 || (width <= 8 && std::has_single_bit(width)); };
  if (head.count == 0 || head.count > largest_block || !is_width(head.i_width) || !is_width(head.j_width) ||
      head.delta > delta_f64 || (head.operands >= coded_operands && head.operands < named_operands) ||
      (head.operands == named_operands) != (name_count > 0) || name_count > most_names) {
    return std::nullopt;
  }
  const std::size_t count = head.count;
  BlockLayout layout;
  layout.i = 16;
  layout.j = layout.i + padded(count * head.i_width);
  layout.delta = layout.j + padded(count * head.j_width);
  layout.operands = layout.delta + (head.delta == delta_constant ? 8 : padded(count * delta_widths[head.delta]));
  layout.names = layout.operands + (head.operands >= named_operands ? padded(count) : 0);
  layout.payload = layout.names + name_count * sizeof(OperandName);
  return layout;
}

/// As above, with as many names as head.payload leaves room for. Nothing, too, where they do not fill it.
[[nodiscard]] constexpr std::optional<BlockLayout> layout_of(const BlockHead& head) noexcept {
  if (head.operands != named_operands) {
    const auto layout = layout_of(head, 0);
    return layout && layout->payload == head.payload ? layout : std::nullopt;
  }
  const auto shortest = layout_of(head, 1);
  if (!shortest || head.payload < shortest->payload) return std::nullopt;
  const auto layout = layout_of(head, 1 + (head.payload - shortest->payload) / sizeof(OperandName));
  return layout && layout->payload == head.payload ? layout : std::nullopt;
}

}  // namespace weir::stream
