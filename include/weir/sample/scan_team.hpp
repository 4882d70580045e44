#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "weir/sketch/vector_sketch.hpp"

namespace weir {

/// Several that hold the same sketch, to the bit, and ask it the same question: each scans a part of the keys, and learns what the
/// others have found. All come to the same answer, which is that of one that scans alone.
class ScanTeam {
 public:
  virtual ~ScanTeam() = default;
  [[nodiscard]] virtual std::uint32_t number() const = 0;  ///< Of this member.
  [[nodiscard]] virtual std::uint32_t size() const = 0;
  /// Collective. Returns what each member found, in the order of their numbers. `scan` says what was scanned: throws on all
  /// members where it differs between them, as they have come to different conclusions before.
  [[nodiscard]] virtual std::vector<std::vector<ScanHit>> exchange(std::uint64_t scan,
                                                                   std::span<const ScanHit> hits) = 0;
};

/// Keys that a member scans at least, so that an exchange is cheap against it (about 1 ms of scanning with 16 lanes).
inline constexpr std::uint64_t least_keys_of_member = std::uint64_t{1} << 14U;

/// As long as it lives, long scans of this thread are shared with a team. Searches lie deep below the questions, in every kind of
/// draw, so that the team is known by the thread, not handed through all of them. Not nested. `team` must outlive it.
class SharedScans {
 public:
  explicit SharedScans(ScanTeam& team) noexcept;
  ~SharedScans();
  SharedScans(const SharedScans&) = delete;
  SharedScans& operator=(const SharedScans&) = delete;

  /// Of this thread; null where it scans alone.
  [[nodiscard]] static ScanTeam* team() noexcept;
};

}  // namespace weir
