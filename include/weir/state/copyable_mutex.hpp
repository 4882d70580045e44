#pragma once

#include <mutex>

namespace weir {

/// A mutex for a member of a class whose objects are copied: each object has one of its own, and a copy begins unlocked.
/// It guards what const functions of a state work out when it is first needed, so that threads may ask one state at once.
class CopyableMutex : public std::mutex {
 public:
  CopyableMutex() = default;
  CopyableMutex(const CopyableMutex&) noexcept {}
  CopyableMutex(CopyableMutex&&) noexcept {}
  CopyableMutex& operator=(const CopyableMutex&) noexcept { return *this; }
  CopyableMutex& operator=(CopyableMutex&&) noexcept { return *this; }
  ~CopyableMutex() = default;
};

}  // namespace weir
